"""Takes connections off a listening socket.

The rule: some in each turn of the event loop, so that a flood delays nobody who is in already; and never without
end where it cannot go on. An event loop's own server closes what it has no descriptor for, without a word, and may
stop listening for good; here the kernel keeps what waits until there are descriptors again, and whoever runs this is
told. What becomes of a connection is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from proxy.client_address.networks import Address, peer_address
from proxy.clock import Clock
from proxy.tasks import Tasks

BACKLOG: Final = 1024
AT_ONCE: Final = 64
"""Connections that are taken in one turn: some 10 us each where there is no place for them, 100 us where there is."""
REST_SECONDS: Final = 0.25
"""How long nothing is taken after it failed: what keeps it from succeeding needs time to pass."""

Receive = Callable[[socket.socket, Address | None], None]
"""Is given each connection, not blocking, to close it one day, and the address that it comes from (None: a Unix
socket)."""


class Acceptor:
    """One listening socket. `on_fault` is told of what keeps it from taking more, each time."""

    def __init__(
        self,
        sock: socket.socket,
        receive: Receive,
        *,
        on_fault: Callable[[OSError], None],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._sock = sock
        self._receive = receive
        self._on_fault = on_fault
        self._clock = clock
        self._tasks = tasks
        self._is_closed = False

    def open(self) -> None:
        """Listen, and take what comes. Raises OSError."""
        self._sock.listen(BACKLOG)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._take)

    def close(self) -> None:
        """Take nothing more; what still waits in the kernel is broken off. Harmless when done already."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            if self._is_closed:
                return
            try:
                sock, name = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue  # it was gone before its turn
            except OSError as error:
                self._loop.remove_reader(self._sock)
                self._tasks.start(self._rest(), name="rest before accepting")
                self._on_fault(error)
                return
            sock.setblocking(False)
            try:
                self._receive(sock, peer_address(name[0]) if isinstance(name, tuple) else None)
            except BaseException:
                sock.close()
                raise

    async def _rest(self) -> None:
        while True:
            await self._clock.sleep(REST_SECONDS)
            if self._is_closed:
                return
            try:
                self._loop.add_reader(self._sock, self._take)
                return
            except OSError as error:
                # Else nobody would be let in any more, and nobody would know.
                self._on_fault(error)
