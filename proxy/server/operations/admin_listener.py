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
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from proxy.client_address.networks import Address, subscriber
from proxy.config.binds import SocketAddress
from proxy.dataplane.plane import DataPlane
from proxy.server.accepting import Acceptor
from proxy.server.listening import address_of, bind
from proxy.server.operations.admin_connection import HEAD_BYTES, AdminConnection, CountedBy
from proxy.telemetry.limits_met import Bound

CONNECTIONS: Final = 64
CONNECTIONS_PER_ADDRESS: Final = 16

IN_ALL: Final = Bound("admin", "ADMIN_TOO_MANY_CONNECTIONS")
OF_ADDRESS: Final = Bound("admin", "ADMIN_TOO_MANY_FROM_ADDRESS")
LATE: Final = Bound("timeouts.request_head", "ADMIN_TIMEOUT")
OF_ADMIN: Final = (IN_ALL, OF_ADDRESS, LATE)


async def open_admin(
    address: SocketAddress, application: web.Application, *, plane: DataPlane, closing: AsyncExitStack
) -> SocketAddress:
    """Have `application` answer at `address`; returns the bound one. Raises OSError where that cannot be had."""
    runner = web.AppRunner(application, access_log=None, max_line_size=HEAD_BYTES, max_field_size=HEAD_BYTES)
    await runner.setup()
    closing.push_async_callback(runner.cleanup)
    server = runner.server
    assert server is not None
    sock = bind(address)
    listener = AdminListener(
        sock,
        make=server,
        plane=plane,
    )
    closing.callback(listener.close)
    listener.open()
    return address_of(sock)


class AdminListener:
    """One listening socket. `make` makes what answers a connection. Limits, and those of time, are the data plane's to
    say, and it is told of each that is met, and by whom."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        make: Callable[[], asyncio.Protocol],
        plane: DataPlane,
    ) -> None:
        self._make = make
        self._plane = plane
        self._open: dict[AdminConnection, None] = {}
        """In the order in which they came."""
        self._by_address: Counter[CountedBy] = Counter()
        self._acceptor = Acceptor(
            sock, self._receive, on_fault=plane.ran_out, clock=plane.clock, tasks=plane.tasks
        )

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
        connection.task = self._plane.tasks.start(self._serve(connection, sock), name="admin connection")
        # Not at the end of what it runs: one that makes room in the turn in which it came runs nothing.
        connection.task.add_done_callback(lambda _task: self._served(connection, sock))

    def _make_room(self, bound: Bound, key: CountedBy = None) -> None:
        oldest = next(one for one in self._open if bound is IN_ALL or one.key == key)
        self._plane.refused(bound, oldest.peer)
        self._left(oldest)
        oldest.abort()

    async def _serve(self, connection: AdminConnection, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, sock)
            await self._plane.clock.sleep(self._plane.current.timeouts.request_head_seconds)
            self._plane.refused(LATE, connection.peer)
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
