"""One side of a WebSocket: receives its frames, knows where each of them ends, and hands them to the other side.

The rule: bytes pass verbatim and are never held; frames of the gateway's own (close, ping) are put in at a frame
boundary only. What both sides come to together is the pair's (`proxy.dataplane.websocket.relay`), which is asked before
the next byte passes where it says so, with the one flag that frames look at. Knows no policy and no clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from proxy.chance import mask_key
from proxy.dataplane.buffers import LARGE_BYTES, ReadMemory, begin_large_reads
from proxy.wire.frames import (
    CloseBegins,
    FrameError,
    FrameTracker,
    MessageOpenings,
    close_frame,
    is_only_control,
    ping_frame,
)

PING_PAYLOAD: Final = b"nbgate"
CLOSES: Final = frozenset(range(1000, 5000))
"""All codes of close frames, and what stands for none: whichever comes first is looked at."""


class Pair(Protocol):
    """What a side asks of both together, and tells them."""

    is_suspended: bool
    """What comes may not simply pass: `judge_now` says whether it does."""
    closing: tuple[int, str] | None
    """The code and reason with which both are being ended."""
    read_memory: ReadMemory

    def judge_now(self) -> bool:
        """Whether bytes pass."""

    def code_for_other(self, end: End, code: int) -> int:
        """The code for the other side, where `end` begins a close with `code`."""

    def finish(self) -> None:
        """Both have closed."""

    def broken(self, end: End, error: FrameError) -> None:
        """`end` sent an ill-formed frame."""

    def lost(self, end: End) -> None:
        """`end` is gone."""


class End(asyncio.Protocol):
    """One side of a relay: receives its frames and hands them to the other side."""

    __slots__ = (
        "_follow",
        "_is_upstream",
        "_openings",
        "_pass_on",
        "_rest",
        "bytes_received",
        "close_sent",
        "is_broken",
        "is_full",
        "is_held",
        "is_lost",
        "is_used",
        "other",
        "pinged",
        "quiet_since",
        "read_paused",
        "relay",
        "seen_bytes",
        "tracker",
        "transport",
    )

    other: End
    _pass_on: Callable[[bytes | memoryview], None]
    """The other side's `transport.write`, looked up once for all frames, as is `_follow`."""

    def __init__(
        self,
        relay: Pair,
        transport: asyncio.Transport,
        *,
        is_upstream: bool,
        max_frame_bytes: int,
        extensions: bool,
    ) -> None:
        self.relay = relay
        self.transport = transport
        self._is_upstream = is_upstream
        # Clients mask, servers don't (RFC 6455 section 5.1).
        self.tracker = FrameTracker(
            masked=not is_upstream,
            max_frame_bytes=max_frame_bytes,
            extensions=extensions,
            told_codes=CLOSES,
        )
        self._follow = self.tracker.feed
        self._rest: memoryview | None = None
        """What came in one read and is more than one turn's work; nothing more is read meanwhile."""
        self.is_used = False
        """A message began since `watch`, or one that counts since `watch_openings`."""
        self._openings: MessageOpenings | None = None
        self.bytes_received = 0
        self.seen_bytes = 0
        self.quiet_since = 0.0
        self.pinged = False
        self.close_sent = False
        self.is_broken = False
        self.is_full = False
        self.is_lost = False
        self.read_paused = False
        """The other side takes no more for now."""
        self.is_held = False
        """The transport does not read."""

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def data_received(self, data: bytes | memoryview) -> None:
        self.bytes_received += len(data)
        relay = self.relay
        if relay.is_suspended and not relay.judge_now():
            self._receive_while_closing(data)
            return
        try:
            stopped_at = self._follow(data)
        except CloseBegins as begun:
            data = self._with_code_for_other(data, begun)
            self._follow = self._follow_to_the_end
            try:
                stopped_at = self._follow(data[begun.size :])
                if stopped_at:
                    stopped_at += begun.size
            except FrameError as error:
                self._pass_on(data[: begun.size + error.good])
                relay.broken(self, error)
                return
        except FrameError as error:
            if error.good:
                self._pass_on(data[: error.good])
            relay.broken(self, error)
            return
        if stopped_at:
            self._pass_on(data[:stopped_at])
            self._go_on_later(data[stopped_at:])
            return
        self._pass_on(data)
        if len(data) >= LARGE_BYTES:
            begin_large_reads(self, self.transport, self.relay.read_memory)

    def _go_on_later(self, rest: bytes | memoryview) -> None:
        """Tiny frames: give the loop a turn between two bounds of work."""
        view = memoryview(rest)
        # What large reads land in is used again.
        self._rest = view if isinstance(view.obj, bytes) else memoryview(bytes(view))
        self.bytes_received -= len(view)
        self._read_or_not()
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            self.data_received(rest)
            self._read_or_not()

    def _follow_to_the_end(self, data: bytes | memoryview) -> int:
        """Its close has begun. Once both are whole nothing is to come, and neither need wait for the other's end."""
        stopped_at = self.tracker.feed(data)
        if self.tracker.is_over and self.other.tracker.is_over:
            # What came is passed on first.
            asyncio.get_running_loop().call_soon(self.relay.finish)
        return stopped_at

    def _with_code_for_other(self, data: bytes | memoryview, begun: CloseBegins) -> bytes | memoryview:
        """`data`, with the code that has just come as the other side is to be told it.

        The codes in question differ in their last byte alone, which is here: their first may have passed already.
        """
        told = self.relay.code_for_other(self, begun.code)
        if told == begun.code:
            return data
        assert told >> 8 == begun.code >> 8
        return b"".join((data[: begun.size - 1], bytes((told & 0xFF,)), data[begun.size :]))

    def large_received(self, data: memoryview) -> bool:
        self.data_received(data)
        return True

    def watch(self) -> None:
        """Note in `is_used` whether a message comes. The first one ends the looking: the others cost nothing."""
        self.is_used = False
        if not self.tracker.close_seen:
            self._follow = self._look

    def _look(self, data: bytes | memoryview) -> int:
        tracker = self.tracker
        if not tracker.at_boundary or not is_only_control(data):
            self.is_used = True
            self._follow = tracker.feed
        return tracker.feed(data)

    def watch_openings(self, counts: Callable[[bytes], bool]) -> None:
        """Note in `is_used` whether a message comes that counts by its first bytes. The first one ends the looking.

        Where none came since the last call, the looking goes on, also within a frame.
        """
        self.is_used = False
        if self._openings is None:
            self._follow = partial(self._look_into, counts)

    def _look_into(self, counts: Callable[[bytes], bool], data: bytes | memoryview) -> int:
        tracker = self.tracker
        reader = self._openings
        if reader is None and tracker.at_boundary:
            reader = self._openings = MessageOpenings()
        stopped_at = tracker.feed(data)
        openings = None if reader is None else reader.feed(data[:stopped_at] if stopped_at else data)
        # What cannot be looked at counts: the rest of a frame that began before, and very many small ones.
        if openings is None or any(map(counts, openings)):
            self.is_used = True
            self._openings = None
            self._follow = tracker.feed
        return stopped_at

    def eof_received(self) -> None:
        return None  # the transport closes itself, and `connection_lost` follows

    def connection_lost(self, exc: Exception | None) -> None:
        # Under TLS the end may be told although reading is paused.
        while self._rest is not None:
            self._go_on()
        self.is_lost = True
        self.relay.lost(self)

    def pause_writing(self) -> None:
        self.is_full = True
        self.other.pause_reading()

    def resume_writing(self) -> None:
        self.is_full = False
        self.other.resume_reading()

    # -- for the relay ----------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        self.read_paused = True
        self._read_or_not()

    def resume_reading(self) -> None:
        self.read_paused = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read while the other side takes it, and nothing that came before still waits."""
        held = self.read_paused or self._rest is not None
        if held != self.is_held and not self.is_lost and not self.transport.is_closing():
            self.is_held = held
            if held:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    @property
    def held_bytes(self) -> int:
        """What this side was sent and did not take, and what it sent that is still to be looked at."""
        rest = 0 if self._rest is None else len(self._rest)
        return rest + (0 if self.is_lost else self.transport.get_write_buffer_size())

    def send_close(self, code: int, reason: str) -> None:
        """Tell this side that it is over; once, and only at a boundary of what it was being sent."""
        if self.close_sent or self.is_lost or not self.other.tracker.at_boundary:
            return
        self.close_sent = True
        if not self.other.tracker.close_seen:
            self.transport.write(close_frame(code, reason, mask=mask_key() if self._is_upstream else None))
        if self.is_broken and self.transport.can_write_eof():
            self.transport.write_eof()

    def send_ping(self) -> bool:
        """Ask this side for a sign of life, if it stands at a boundary of what it is being sent."""
        if not self.other.tracker.at_boundary or self.other.tracker.close_seen:
            return False
        self.transport.write(ping_frame(PING_PAYLOAD, mask=mask_key() if self._is_upstream else None))
        return True

    def read_for_close(self) -> None:
        """Read until this side closes: also if it was paused, once nothing it sends is passed on any more.

        Until then a frame under way waits for the other side to take it, and is cut when that takes too long.
        """
        if self.other.close_sent or not self.other.is_full:
            self.resume_reading()
        if self.tracker.is_over and self.close_sent:
            self.transport.close()

    def _receive_while_closing(self, data: bytes | memoryview) -> None:
        """Let the frame under way end, then put our close behind it; what follows is not passed on."""
        closing = self.relay.closing
        assert closing is not None
        if self.is_broken:
            return
        tracker = self.tracker
        try:
            if not self.other.close_sent:
                rest_of_frame = data[: tracker.boundary_in(data)]
                told, _ = self._fed(rest_of_frame)
                self.other.transport.write(told)
                data = data[len(rest_of_frame) :]
                self.other.send_close(*closing)
            # Only its own close is still of interest.
            _, stopped_at = self._fed(data)
        except FrameError:
            self.transport.abort()
            return
        if stopped_at:
            self._go_on_later(data[stopped_at:])
        self.read_for_close()

    def _fed(self, data: bytes | memoryview) -> tuple[bytes | memoryview, int]:
        """Follow `data`; returns it as the other side is to get it, and where that stopped, as `feed` has it."""
        try:
            return data, self.tracker.feed(data)
        except CloseBegins as begun:
            data = self._with_code_for_other(data, begun)
            stopped_at = self.tracker.feed(data[begun.size :])
            return data, stopped_at + begun.size if stopped_at else 0
