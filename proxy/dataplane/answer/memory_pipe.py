"""Two transports that are joined in memory: what one end writes, the other end's protocol receives.

The gateway's own pages are reached through such a pair: aiohttp's server protocol holds one end, and the other is one
more connection to an upstream. The rule: each end behaves as a socket's transport does. Bytes come in order and at
once while the other end reads; what it does not read waits, and above a bound the writer is told to pause. Nothing
raises inside `write`, the end of a connection is told in a later turn of the loop, and pausing and resuming
alternate. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

HIGH_BYTES: Final = 64 * 1024
"""When so much waits for an end that does not read, the other is told to pause."""
LOW_BYTES: Final = 16 * 1024
PIECE_BYTES: Final = 64 * 1024


class PipeEnd(asyncio.Transport):
    """One end. `pipe` makes two."""

    def __init__(self, loop: asyncio.AbstractEventLoop, extra: Mapping[str, Any]) -> None:
        super().__init__()
        self._loop = loop
        self._facts = extra
        self._protocol: asyncio.BaseProtocol | None = None
        self._other: PipeEnd
        self._waiting: deque[bytes] = deque()
        """Written here, and not received at the other end."""
        self._waiting_bytes = 0
        self._reads = True
        self._is_full = False
        self._is_closing = False
        self._is_lost = False
        self._is_pumped = False

    # -- as a transport ---------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._facts.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_reading(self) -> bool:
        return self._reads and not self._is_closing

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        if not self._reads:
            self._reads = True
            self._pump_soon()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or self._is_lost or not data:
            return
        other, rest = self._other, bytes(data)
        while rest and not self._waiting and other._reads and not other.is_closing():
            # In pieces, so that a reader that has enough can say so before it has all.
            piece, rest = (
                (rest, b"") if len(rest) <= PIECE_BYTES else (rest[:PIECE_BYTES], rest[PIECE_BYTES:])
            )
            other._receive(piece)
        if not rest or self.is_closing():
            return
        self._waiting.append(rest)
        self._waiting_bytes += len(rest)
        if self._waiting_bytes > HIGH_BYTES and not self._is_full:
            self._is_full = True
            self._tell("pause_writing")

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return LOW_BYTES, HIGH_BYTES

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The bounds are the module's."""

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._is_closing or self._is_lost

    def close(self) -> None:
        if not self._is_closing and not self._is_lost:
            self._is_closing = True
            self._other._pump_soon()

    def abort(self) -> None:
        if self._is_lost:
            return
        self._is_closing = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._lose()

    # -- between the two --------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        """Have what waits for this end received in another turn."""
        if not self._is_pumped and not self._is_lost:
            self._is_pumped = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pumped = False
        if self._is_lost:
            return
        writer = self._other
        while writer._waiting and self._reads and not self._is_closing:
            data = writer._waiting.popleft()
            writer._waiting_bytes -= len(data)
            self._receive(data)
        if writer._is_full and writer._waiting_bytes <= LOW_BYTES and not writer.is_closing():
            writer._is_full = False
            writer._tell("resume_writing")
        if writer._is_closing and not writer._is_lost and (not writer._waiting or self._is_closing):
            writer._lose()

    def _receive(self, data: bytes) -> None:
        if not self._is_closing and not self._is_lost:
            self._tell("data_received", data)

    def _tell(self, method: str, *arguments: object) -> None:
        try:
            getattr(self._protocol, method)(*arguments)
        except Exception as error:
            context = {"message": f"{method} failed", "exception": error, "transport": self}
            self._loop.call_exception_handler(context)
            self.abort()

    def _lose(self) -> None:
        for end in (self, self._other):
            if not end._is_lost:
                end._is_lost = True
                end._waiting.clear()
                end._waiting_bytes = 0
                self._loop.call_soon(end._tell_lost)

    def _tell_lost(self) -> None:
        protocol, self._protocol = self._protocol, None
        # They hold each other, and whoever asks: without this that would wait for the collector.
        del self._other
        if protocol is not None:
            try:
                protocol.connection_lost(None)
            except Exception as error:
                self._loop.call_exception_handler({"message": "connection_lost failed", "exception": error})


def pipe(
    one: asyncio.BaseProtocol, other: asyncio.BaseProtocol, *, facts: Mapping[str, Any]
) -> tuple[PipeEnd, PipeEnd]:
    """Join two protocols, and tell them of their connections. `facts` are what `other` can ask its transport for."""
    loop = asyncio.get_running_loop()
    near, far = PipeEnd(loop, {}), PipeEnd(loop, facts)
    near._other, far._other = far, near
    for end, protocol in ((far, other), (near, one)):
        end.set_protocol(protocol)
        protocol.connection_made(end)
    return near, far
