"""Sockets that a test speaks byte by byte, at either end of the gateway.

A `Peer` is one connection: what it reads and writes is exactly what the test says, and nothing answers by
itself. `RawUpstream` is a listening socket whose connections the test takes one by one and plays the notebook
on.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import Self

from tests.harness.waiting import PATIENCE_SECONDS

READ_LIMIT_BYTES = 64 * 1024
"""What a peer that does not read still takes off the kernel: twice this, and then the socket fills."""


class Peer:
    """One connection, played by the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> Self:
        """Write, without waiting until it is sent."""
        self._writer.write(data)
        return self

    async def drain(self) -> None:
        """Wait until nearly all that was written went to the kernel."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._writer.drain()

    @property
    def unsent_bytes(self) -> int:
        """What was written and the kernel did not take."""
        return self._writer.transport.get_write_buffer_size()

    async def head(self) -> bytes:
        """The next head, its blank line included."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def line(self) -> bytes:
        """The next line, its end included."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.readuntil(b"\r\n")

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.readexactly(count)

    async def expect(self, data: bytes) -> None:
        """The next bytes are these."""
        got = await self.exactly(len(data))
        assert got == data

    async def rest(self) -> bytes:
        """All until the other side ends the connection properly. Raises ConnectionResetError if it is reset."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.read()

    async def response(self) -> tuple[bytes, bytes]:
        """A head, and the body that its Content-Length announces."""
        head = await self.head()
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        return head, await self.exactly(length)

    async def gone(self) -> bool:
        """Wait until the other side ended the connection, in whatever way, and sent nothing before."""
        try:
            return await self.rest() == b""
        except ConnectionResetError:
            return True

    @property
    def is_silent(self) -> bool:
        """Nothing has come that was not read."""
        return not self._reader._buffer  # type: ignore[attr-defined]

    def end(self) -> None:
        """Send nothing more (FIN), but go on reading."""
        self._writer.write_eof()

    def close(self) -> None:
        """Close properly, once all was sent."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection: the other side gets a reset."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class RawUpstream:
    """Listens on a port of its own; `accept` gives the connections in the order in which they came."""

    def __init__(self) -> None:
        self.accepted = 0
        self._waiting: asyncio.Queue[Peer] = asyncio.Queue()
        self._peers: list[Peer] = []
        self._server: asyncio.Server | None = None
        self.tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._arrived, "127.0.0.1", 0, limit=READ_LIMIT_BYTES, ssl=self.tls
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.refuse()
        for peer in self._peers:
            peer._writer.transport.abort()

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    async def accept(self) -> Peer:
        """The next connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._waiting.get()

    def refuse(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.close()

    def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        peer = Peer(reader, writer)
        self._peers.append(peer)
        self._waiting.put_nowait(peer)


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
