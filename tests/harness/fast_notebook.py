"""A notebook that is fast, or stands still, as a test says: blocking sockets in threads, no HTTP library.

It answers SageMaker's API too, so that a gateway in another process signs in with it and needs nothing else.
What it counts and what it waits for are attributes. `GET /bytes/N` and WebSockets send as fast as the socket
takes it; `PUT` and WebSockets are read as far as `may_read` allows.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

BLOCK = bytes(1024 * 1024)
_SERVER = b"Server: TornadoServer/6.5\r\n"
_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
SERVER_FRAME = b"\x82\x7f" + len(BLOCK).to_bytes(8, "big") + BLOCK
CLIENT_FRAME = b"\x82\xff" + len(BLOCK).to_bytes(8, "big") + bytes(4) + BLOCK


class FastNotebook:
    """Use as a context manager. `sent` and `received` count bytes of bodies, over all connections."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.may_read = threading.Event()
        self.may_read.set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: set[socket.socket] = set()
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.may_read.set()
        # Waking the thread in accept() takes more than closing.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            pending = b""
            while True:
                while b"\r\n\r\n" not in pending:
                    if not (data := connection.recv(65536)):
                        return
                    pending += data
                head, _, pending = pending.partition(b"\r\n\r\n")
                pending = self._answer(connection, head, pending)
        except OSError:
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, head: bytes, pending: bytes) -> bytes:
        method, target, _ = head.split(b" ", 2)
        length = int(match[1]) if (match := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)) else 0
        if b"upgrade: websocket" in head.lower():
            connection.sendall(_SWITCHED)
            threading.Thread(target=self._read, args=(connection, 1 << 62), daemon=True).start()
            while True:
                self._send(connection, SERVER_FRAME)
        if method == b"PUT":
            self.received += len(pending)
            self._read(connection, length - len(pending))
            connection.sendall(self._page(b"received"))
            return b""
        while len(pending) < length:
            pending += connection.recv(65536)
        if b"amz-target" in head.lower():
            url = json.dumps({"AuthorizedUrl": f"{self.origin}/?authToken=not-a-secret"}).encode()
            connection.sendall(self._page(url))
        elif b"authToken" in target:
            fields = b"Set-Cookie: nb-session=1; Path=/\r\nLocation: /\r\n"
            connection.sendall(b"HTTP/1.1 302 Found\r\n" + fields + b"Content-Length: 0\r\n\r\n")
        elif target.startswith(b"/bytes/"):
            size = int(target.rpartition(b"/")[2])
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + _SERVER + b"Content-Length: %d\r\n\r\n" % size)
            while size:
                block = BLOCK[:size]
                self._send(connection, block)
                size -= len(block)
        else:
            connection.sendall(self._page(b"{}"))
        return pending[length:]

    def _page(self, body: bytes) -> bytes:
        fields = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        return b"HTTP/1.1 200 OK\r\n" + _SERVER + fields + body

    def _send(self, connection: socket.socket, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = connection.send(view)
            self.sent += count
            view = view[count:]

    def _read(self, connection: socket.socket, count: int) -> None:
        buffer = memoryview(bytearray(1024 * 1024))
        with contextlib.suppress(OSError):
            while count and self.may_read.wait():
                if not (size := connection.recv_into(buffer[: min(count, len(buffer))])):
                    return
                count -= size
                self.received += size


def wait_until_still(count: Callable[[], int], *, seconds: float = 20.0) -> None:
    """Return once `count()` has not moved for a moment, which is how a full pipe looks from its end."""
    deadline = time.monotonic() + seconds
    last, still = count(), 0
    while still < 5:
        assert time.monotonic() < deadline, "it never stands still"
        time.sleep(0.02)
        now = count()
        last, still = now, still + 1 if now == last else 0
