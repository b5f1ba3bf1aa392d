"""One end of a connection, of which a test writes and reads every byte; nothing answers by itself.

A `Peer` is a caller that the test plays (`dial`), or what a notebook accepted (`tests/harness/notebook.py`). What it
waits for and does not come is a failure after `PATIENCE_SECONDS`. It must not know what the gateway makes of it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple, Self, SupportsIndex

from tests.harness.waiting import PATIENCE_SECONDS

READ_LIMIT_BYTES = 64 * 1024
"""What a peer that does not read still takes off the kernel: twice this, and then the socket fills."""


class Response(NamedTuple):
    """A response that was read."""

    head: bytes
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names in lower case, in their order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found == name.lower()]

    def value(self, name: str) -> str:
        return ", ".join(self.values(name))


class Peer:
    """`reader` and `writer` are there for what the methods lack."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    # -- writing ----------------------------------------------------------------------------------------

    def send(self, data: bytes | str) -> Self:
        """Write, without waiting until it is sent."""
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    async def drain(self) -> None:
        """Wait until nearly all that was written went to the kernel."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.writer.drain()

    @property
    def unsent_bytes(self) -> int:
        """What was written and the kernel did not take."""
        return self.writer.transport.get_write_buffer_size()

    # -- reading ----------------------------------------------------------------------------------------

    async def until(self, end: bytes) -> bytes:
        """All up to and with these bytes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readuntil(end)

    async def head(self) -> bytes:
        """The next head, its blank line included."""
        return await self.until(b"\r\n\r\n")

    async def line(self) -> bytes:
        """The next line, its end included."""
        return await self.until(b"\r\n")

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readexactly(count)

    async def expect(self, data: bytes) -> None:
        """The next bytes are these."""
        got = await self.exactly(len(data))
        assert got == data

    async def response(self) -> Response:
        """A head, and the body that its Content-Length announces, if it has one."""
        response = Response(await self.head())
        length = response.value("content-length")
        return response._replace(body=await self.exactly(int(length))) if length else response

    async def rest(self) -> bytes:
        """All until the other side ends the connection properly. Raises ConnectionResetError if it is reset."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read()

    async def gone(self) -> bool:
        """Wait until the other side ended the connection, in whatever way, and sent nothing before."""
        try:
            return await self.rest() == b""
        except ConnectionResetError:
            return True

    @property
    def unread(self) -> bytes:
        """What has come and was not read."""
        return bytes(self.reader._buffer)  # type: ignore[attr-defined]

    @property
    def is_silent(self) -> bool:
        """Nothing has come that was not read."""
        return not self.unread

    def stop_reading(self) -> None:
        """Take nothing more off the kernel."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    # -- ending -----------------------------------------------------------------------------------------

    def end(self) -> None:
        """Send nothing more (FIN), but go on reading."""
        self.writer.write_eof()

    def close(self) -> None:
        """Close properly, once all was sent."""
        self.writer.close()

    def abort(self) -> None:
        """Close at once, whatever is not sent."""
        self.writer.transport.abort()

    def reset(self) -> None:
        """Break the connection: the other side gets a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()


class WithoutIds(asyncio.StreamReader):
    """What a caller is sent, without the answers' ids (`X-Request-Id`): transcripts are of all else.

    That every answer has its id, `tests/dataplane/test_request_ids.py` sees.
    """

    _LINE = re.compile(rb"X-Request-Id: [0-9a-f]{16}\r\n")
    _START = b"X-Request-Id: "

    def __init__(self) -> None:
        super().__init__(limit=READ_LIMIT_BYTES)
        self._kept = b""

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        data = bytes(data)
        data = self._LINE.sub(b"", self._kept + data)
        # Of a line that has not come as a whole, the rest is waited for.
        at = data.rfind(b"X", -len(self._START) - 18)
        whole = len(self._START)
        is_begun = at >= 0 and (data[at : at + whole] == self._START[: len(data) - at])
        self._kept = data[at:] if is_begun else b""
        super().feed_data(data[: len(data) - len(self._kept)])

    def feed_eof(self) -> None:
        kept, self._kept = self._kept, b""
        if kept:
            super().feed_data(kept)
        super().feed_eof()


async def dial(port: int, *, receive_bytes: int = 0, reader: asyncio.StreamReader | None = None) -> Peer:
    """Connect to a port of this machine; `receive_bytes` bounds the kernel's buffer for what comes back, which goes
    through `reader`.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    reader = reader or asyncio.StreamReader(limit=READ_LIMIT_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
    return Peer(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
