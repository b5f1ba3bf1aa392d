"""Small messages of one turn of the event loop, sent one right behind the other when the turn is over.

The event loop writes at once, in between the work for one message and for the next. Each write then finds its reader
asleep again and has to wake it, which under load is a third of a small request's time in the kernel; sent together,
most find it awake. The rule: only a message that nothing follows for now waits here. Whoever writes to the same
connection after all, or ends it, flushes first; `turn` tells whether there is anything to flush. Knows no protocol.
"""

from __future__ import annotations

import asyncio
from typing import Final

LONELY_TURNS: Final = 4
DIRECT_MESSAGES: Final = 128


class TurnBatch:
    """What waits for the end of the turn. Belongs to one event loop.

    Where messages come one at a time, waiting for others is for nothing: after `LONELY_TURNS` turns in a row with one
    message, the next `DIRECT_MESSAGES` are sent at once.
    """

    __slots__ = ("_direct", "_lonely", "_waiting", "turn")

    def __init__(self) -> None:
        self.turn = 0
        """Counts flushes: what was added at this count may still wait."""
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []
        self._lonely = 0
        self._direct = 0

    def add(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send `data` when the event loop has done what it is about to do in this turn, if not sooner."""
        if self._direct:
            self._direct -= 1
            transport.write(data)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append((transport, data))

    def flush(self) -> None:
        """Send all that waits, in its order; what waits for a connection that has ended since is dropped."""
        waiting = self._waiting
        if not waiting:
            return
        self.turn += 1
        self._waiting = []
        if len(waiting) > 1:
            self._lonely = 0
        elif self._lonely < LONELY_TURNS:
            self._lonely += 1
        else:
            self._lonely = 0
            self._direct = DIRECT_MESSAGES
        for transport, data in waiting:
            try:
                if not transport.is_closing():
                    transport.write(data)
            except Exception as error:
                # The others' messages are not to be lost with this one.
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a message could not be sent", "exception": error, "transport": transport}
                )
                transport.abort()
