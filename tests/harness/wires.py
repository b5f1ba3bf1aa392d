"""Wires in memory, so that a test decides what comes in which order: a caller's connection, and those to the notebook.

A `Wire` is the transport that a protocol of the gateway's is given. It is as strict as uvloop's: nothing is received
while reading is paused (under TLS, one read may be on its way), nothing can be written behind the end, and its loss is
told in a turn of its own. The test says what comes (`feed`), whether the other side takes what it is sent (`stall`,
`take`), and when it is gone (`lose`).
"""

from __future__ import annotations

import asyncio
from typing import Any

HIGH_BYTES = 64 * 1024
LOW_BYTES = 16 * 1024
READ_BYTES = 256 * 1024


class Wire(asyncio.Transport):
    """`sent` is what the other side has taken; `errors` collects what the protocol's callbacks raised."""

    def __init__(self, errors: list[BaseException], *, is_tls: bool = False) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._errors = errors
        self._is_tls = is_tls
        self._protocol: Any = None
        self._coming = bytearray()
        self._unsent = bytearray()
        self._takes = True
        self._is_full = False
        self._conn_lost = False
        self._closing = False
        self._ends = False
        self._is_late = False
        """One read more comes although reading was paused: it was decrypted already."""
        self.sent = bytearray()
        self.dropped_bytes = 0
        """What was written, not taken, and lost with the connection."""
        self.reads = True
        self.has_ended = False
        """The gateway says that nothing more comes."""
        self.is_lost = False
        """Its protocol was told."""

    # -- for the test -----------------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """What was fed and not received."""
        return len(self._coming)

    def feed(self, data: bytes) -> None:
        """The other side sends that."""
        self._coming += data
        self._deliver()

    def end(self) -> None:
        """The other side sends nothing more."""
        self._ends = True
        self._deliver()

    def stall(self) -> None:
        """The other side takes nothing more for now."""
        self._takes = False

    def take(self) -> None:
        """It takes all that waits, and what follows."""
        self._takes = True
        if not self._conn_lost:
            self.sent += self._unsent
            self._unsent.clear()
            if self._is_full:
                self._is_full = False
                self._tell("resume_writing")
            if self._closing:
                self._lose_soon()

    def lose(self) -> None:
        """The other side is gone."""
        self.abort()

    # -- asyncio.Transport ------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return object() if name == "sslcontext" and self._is_tls else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_reading(self) -> bool:
        return self.reads and not self._closing

    def pause_reading(self) -> None:
        if self.reads:
            self.reads = False
            self._is_late = self._is_tls

    def resume_reading(self) -> None:
        if not self.reads and not self._closing:
            self.reads = True
            self._loop.call_soon(self._deliver)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_lost or self.has_ended:
            raise RuntimeError("written behind the end")
        if self._conn_lost:
            return
        if self._takes and not self._unsent:
            self.sent += data
            return
        self._unsent += data
        if len(self._unsent) > HIGH_BYTES and not self._is_full:
            self._is_full = True
            self._tell("pause_writing")

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def can_write_eof(self) -> bool:
        return not self._is_tls

    def write_eof(self) -> None:
        if self.is_lost:
            raise RuntimeError("ended twice")
        self.has_ended = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._unsent:
                self._lose_soon()

    def abort(self) -> None:
        self._closing = True
        self.dropped_bytes += len(self._unsent)
        self._unsent.clear()
        self._lose_soon()

    # -- inside -----------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        while self._coming and (self.reads or self._is_late) and not self._closing:
            self._is_late = False
            if isinstance(self._protocol, asyncio.BufferedProtocol):
                memory = memoryview(self._protocol.get_buffer(-1))
                data = self._next(len(memory))
                memory[: len(data)] = data
                self._tell("buffer_updated", len(data))
            else:
                self._tell("data_received", self._next(READ_BYTES))
        if self._ends and not self._coming and self.reads and not self._closing:
            self._ends = False
            if not self._tell("eof_received"):
                self.close()

    def _next(self, most: int) -> bytes:
        data = bytes(self._coming[:most])
        del self._coming[:most]
        return data

    def _tell(self, method: str, *arguments: object) -> Any:
        try:
            return getattr(self._protocol, method)(*arguments)
        except Exception as error:
            self._errors.append(error)
            self.abort()

    def _lose_soon(self) -> None:
        if not self._conn_lost:
            self._conn_lost = True
            self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        self.is_lost = True
        self._tell("connection_lost", None)
        self._protocol = None
