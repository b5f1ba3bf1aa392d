"""What has come of one caller, and whether more is read: the reader, and the reasons against reading on.

The rule: reading goes on exactly while nobody has a reason against it, whoever has it and in whatever order reasons
come and go. Tiny chunks are taken a bound of them in each turn of the event loop; while much comes at once, it lands
in memory that is used again. Decides about nothing: what becomes of bytes, the connection says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.dataplane.buffers import begin_large_reads
from proxy.dataplane.caller.reader import Reader, ReadingLimits
from proxy.wire.body import Data

if TYPE_CHECKING:
    from proxy.dataplane.buffers import ReadMemory, Receiver

HELD_BYTES: Final = 64 * 1024
"""Reading pauses when this much waits. What one read brings (256 KiB) may come on top of it."""

INBOX: Final = 1
"""Enough waits already."""
ANSWERER: Final = 2
"""Whoever answers takes no more of the body."""
TURN: Final = 4
"""Many tiny chunks: others get their turn of the event loop."""
ALL: Final = INBOX | ANSWERER | TURN


class Intake:
    """One connection's. `reasons` are bits: why nothing is read for now."""

    __slots__ = ("_transport", "reader", "reasons", "was_paused")

    def __init__(self, limits: ReadingLimits, *, is_proxys: bool) -> None:
        """As the reader has them."""
        self.reader = Reader(limits, is_proxys=is_proxys)
        self.reasons = 0
        self.was_paused = False
        """Since somebody last looked, for that one to take back: who cannot send is not silent."""
        self._transport: asyncio.Transport | None = None

    def open(self, transport: asyncio.Transport) -> None:
        """Bytes come from there."""
        self._transport = transport

    def close(self) -> None:
        """They come no more, or for somebody else."""
        self._transport = None
        self.reader.forget()

    @property
    def gives_others_a_turn(self) -> bool:
        """What waits has to wait for another turn of the event loop."""
        return self.reasons & TURN != 0

    def pause(self, reason: int) -> None:
        """Read no more, for one more reason."""
        if not self.reasons and self._transport is not None:
            self._transport.pause_reading()
        self.reasons |= reason
        self.was_paused = True

    def resume(self, reasons: int) -> None:
        """These are none any more."""
        if self.reasons & reasons:
            self.reasons &= ~reasons
            if not self.reasons and self._transport is not None:
                self._transport.resume_reading()

    def hold(self, data: Data) -> None:
        """Keep what has come; enough of it is a reason to read no more."""
        self.reader.hold(data)
        if self.reader.held_bytes >= HELD_BYTES:
            self.pause(INBOX)

    def has_taken(self) -> None:
        """Something of what waited was taken."""
        if self.reader.held_bytes < HELD_BYTES:
            self.resume(INBOX)

    def part_of_body(self, data: Data, then: Callable[[], None]) -> Data:
        """What of `data` is the body's and may pass on. Where more of it is left, `then` is called in another turn.

        Raises FramingError.
        """
        part = self.reader.part_of_body(data)
        if self.reader.held_bytes and self.reader.has_body:
            self.pause(TURN)
            asyncio.get_running_loop().call_soon(self._turn, then)
        return part

    def _turn(self, then: Callable[[], None]) -> None:
        self.resume(TURN)
        then()

    def read_large(self, receiver: Receiver, read_memory: ReadMemory) -> None:
        """Much comes at once: have it land in memory that is used again, until little comes."""
        if self._transport is not None:
            begin_large_reads(receiver, self._transport, read_memory)
