"""What goes out to one caller: in order, and together with what else goes out in this turn where that is cheaper.

The rule: whatever is written through here leaves in the order in which it was written, whether it waits in the batch
or not; nobody else flushes. Knows no protocol.
"""

from __future__ import annotations

import asyncio

from proxy.dataplane.batching import TurnBatch
from proxy.dataplane.transports import reset
from proxy.wire.body import Data


class Writer:
    """One caller's. `is_full`: it takes no more for now."""

    __slots__ = ("_batch", "_last_turn", "is_full", "transport")

    def __init__(self, transport: asyncio.Transport, batch: TurnBatch) -> None:
        self.transport = transport
        self.is_full = False
        self._batch = batch
        self._last_turn = -1
        """The batch's, when something was put there last."""

    @property
    def unsent_bytes(self) -> int:
        """How much of what was written still waits for the caller to take it."""
        return self.transport.get_write_buffer_size()

    def write(self, data: Data) -> None:
        """Send."""
        if self._last_turn == self._batch.turn:
            self._batch.flush()
        self.transport.write(data)

    def write_last(self, data: bytes) -> None:
        """Send the end of an answer, at the end of this turn of the event loop."""
        batch = self._batch
        self._last_turn = batch.turn
        batch.add(self.transport, data)

    def give(self) -> asyncio.Transport:
        """The transport, for somebody else to write to."""
        self._flush()
        return self.transport

    def close(self) -> None:
        """Close when all that was written has gone out."""
        self._flush()
        self.transport.close()

    def half_close(self) -> bool:
        """Say that nothing more comes, and go on reading. False: that cannot be said here."""
        self._flush()
        if not self.transport.can_write_eof():
            return False
        self.transport.write_eof()
        return True

    def reset(self) -> None:
        """Break the connection so that the caller sees it."""
        reset(self.transport)

    def abort(self) -> None:
        """Cut it off."""
        self.transport.abort()

    def _flush(self) -> None:
        if self._last_turn == self._batch.turn:
            self._batch.flush()
