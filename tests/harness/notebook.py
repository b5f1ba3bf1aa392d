"""A notebook host in bytes, on a port of its own.

By hand it only accepts, and the test plays the notebook on the connections that it takes one by one (`accept`). Else
it answers each request with `OK`, or with what `answer` says, and each WebSocket handshake with its 101; what it was
sent stands in `heads`, `bodies` and `tunnelled`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Callable
from typing import Self

from tests.harness.peer import READ_LIMIT_BYTES, Peer, Response
from tests.harness.waiting import PATIENCE_SECONDS

OK = b"HTTP/1.1 200 OK\r\nServer: TornadoServer/6.5\r\nContent-Length: 2\r\n\r\nok"


def ok(body: bytes = b"", *, fields: bytes = b"") -> bytes:
    """A response with a body of known length."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


def switching(head: bytes) -> bytes:
    """The 101 that belongs to a handshake (RFC 6455 section 4.2.2)."""
    key = head.lower().partition(b"sec-websocket-key: ")[2].split(b"\r")[0]
    start = head.lower().find(key)
    accept = hashlib.sha1(head[start : start + len(key)] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(accept)
    )


class Notebook:
    """Use as an asynchronous context manager. `accepted` counts connections; `tls` makes it speak TLS from then on;
    `limit_bytes` is half of what a connection takes that nobody reads.
    """

    def __init__(self, *, by_hand: bool = True, limit_bytes: int = READ_LIMIT_BYTES) -> None:
        self.accepted = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.tunnelled: list[bytearray] = []
        self.answer: Callable[[bytes, bytes], bytes] | None = None
        """What it answers to a head and a body."""
        self.tls: ssl.SSLContext | None = None
        self._by_hand = by_hand
        self._limit_bytes = limit_bytes
        self._waiting: asyncio.Queue[Peer] = asyncio.Queue()
        self._peers: list[Peer] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=self._limit_bytes, ssl=self.tls
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.refuse()
        for peer in self._peers:
            peer.abort()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def accept(self) -> Peer:
        """The next connection, in the order in which they came."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._waiting.get()

    def refuse(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.close()

    def fields(self, index: int = -1) -> Response:
        """A head that arrived, its fields in reach; `status` means nothing."""
        return Response(b"HTTP/1.1 200 OK\r\n" + self.heads[index].partition(b"\r\n")[2])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        peer = Peer(reader, writer)
        self._peers.append(peer)
        if self._by_hand:
            self._waiting.put_nowait(peer)
            return
        try:
            while await self._answer(peer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def _answer(self, peer: Peer) -> bool:
        """Read a request and answer it; whether another one may follow."""
        head = await peer.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        lower, body = head.lower(), b""
        if b"\r\ntransfer-encoding: chunked" in lower:
            body = await peer.reader.readuntil(b"0\r\n\r\n")
        elif b"\r\ncontent-length: " in lower:
            length = int(lower.partition(b"\r\ncontent-length: ")[2].split(b"\r")[0])
            body = await peer.reader.readexactly(length)
        self.bodies.append(body)
        if self.answer is not None:
            answer = self.answer(head, body)
            peer.send(answer)
            return b"\r\nconnection: close" not in answer.lower()
        if b"\r\nupgrade: websocket" not in lower:
            peer.send(OK)
            return True
        peer.send(switching(head))
        tunnelled = bytearray()
        self.tunnelled.append(tunnelled)
        while data := await peer.reader.read(65536):
            tunnelled += data
        return False
