"""The admin listener's connections: few, short, and never none for whoever asks next.

The rule: a connection is for one request, and over when its time is up. It is counted when it is accepted, in all and
by its address; where that is too many, the one that has been open longest makes room for the one that comes, for
whoever asks is answered at once, and only who says nothing is open for long. Descriptors are kept for as many as there
may be, so that health is told whatever callers do. What a connection asks is read by
`proxy.server.operations.admin_connection`, and answered by `proxy.server.operations.admin`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from proxy.client_address.networks import Address, subscriber
from proxy.clock import Clock
from proxy.server.accepting import Acceptor
from proxy.server.operations.admin_connection import AdminConnection, Key
from proxy.tasks import Tasks
from proxy.telemetry.limits_met import Bound

CONNECTIONS: Final = 64
CONNECTIONS_PER_ADDRESS: Final = 16

IN_ALL: Final = Bound("admin", "ADMIN_TOO_MANY_CONNECTIONS")
OF_ADDRESS: Final = Bound("admin", "ADMIN_TOO_MANY_FROM_ADDRESS")
LATE: Final = Bound("timeouts.request_head", "ADMIN_TIMEOUT")
OF_ADMIN: Final = (IN_ALL, OF_ADDRESS, LATE)


class AdminListener:
    """One listening socket. `make` makes what answers a connection, `seconds()` is how long that may take, and
    `refused` is told of each limit that is met, and by whom."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        make: Callable[[], asyncio.Protocol],
        seconds: Callable[[], float],
        refused: Callable[[Bound, Address | None], None],
        on_fault: Callable[[OSError], None],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._make = make
        self._seconds = seconds
        self._refused = refused
        self._clock = clock
        self._tasks = tasks
        self._open: dict[AdminConnection, None] = {}
        """In the order in which they came."""
        self._by_address: Counter[Key] = Counter()
        self._acceptor = Acceptor(sock, self._receive, on_fault=on_fault, clock=clock, tasks=tasks)

    def open(self) -> None:
        """Listen. Raises OSError."""
        self._acceptor.open()

    def close(self) -> None:
        """Take nothing more, and cut what is open. Harmless when done already."""
        self._acceptor.close()
        for connection in tuple(self._open):
            connection.abort()

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def _receive(self, sock: socket.socket, peer: Address | None) -> None:
        key = None if peer is None else subscriber(peer)
        if self._by_address[key] >= CONNECTIONS_PER_ADDRESS:
            self._make_room(OF_ADDRESS, key)
        elif len(self._open) >= CONNECTIONS:
            self._make_room(IN_ALL)
        connection = AdminConnection(self._make, peer, key, on_lost=self._left)
        self._open[connection] = None
        self._by_address[key] += 1
        connection.task = self._tasks.start(self._serve(connection, sock), name="admin connection")
        # Not at the end of what it runs: one that makes room in the turn in which it came runs nothing.
        connection.task.add_done_callback(lambda _task: self._served(connection, sock))

    def _make_room(self, bound: Bound, key: Key = None) -> None:
        oldest = next(one for one in self._open if bound is IN_ALL or one.key == key)
        self._refused(bound, oldest.peer)
        self._left(oldest)
        oldest.abort()

    async def _serve(self, connection: AdminConnection, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, sock)
            await self._clock.sleep(self._seconds())
            self._refused(LATE, connection.peer)
        except OSError:
            pass  # gone already

    def _served(self, connection: AdminConnection, sock: socket.socket) -> None:
        self._left(connection)
        if connection.transport is None:
            sock.close()
        else:
            connection.transport.abort()

    def _left(self, connection: AdminConnection) -> None:
        if connection in self._open:
            del self._open[connection]
            self._by_address[connection.key] -= 1
            if not self._by_address[connection.key]:
                del self._by_address[connection.key]
