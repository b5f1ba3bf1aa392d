"""The admin listener's connections: few, short, and never none for whoever asks next.

The rule: a connection is for one request, and over when its time is up. It is counted when it is accepted, in all and
by its address; where that is too many, the one that has been open longest makes room for the one that comes, for
whoever asks is answered at once, and only who says nothing is open for long. Descriptors are kept for as many as there
may be, so that health is told whatever callers do. What is answered is aiohttp's matter, and
`proxy.server.operations.admin`'s.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Network
from typing import Final, cast

from proxy.client_address.networks import Address, subscriber
from proxy.clock import Clock
from proxy.server.accepting import Acceptor
from proxy.tasks import Tasks
from proxy.telemetry.limits_met import Bound

CONNECTIONS: Final = 64
CONNECTIONS_PER_ADDRESS: Final = 16

IN_ALL: Final = Bound("admin", "ADMIN_TOO_MANY_CONNECTIONS")
OF_ADDRESS: Final = Bound("admin", "ADMIN_TOO_MANY_FROM_ADDRESS")
LATE: Final = Bound("timeouts.request_head", "ADMIN_TIMEOUT")
OF_ADMIN: Final = (IN_ALL, OF_ADDRESS, LATE)

_Key = Address | IPv6Network | None


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
        self._open: dict[_Visitor, None] = {}
        """In the order in which they came."""
        self._by_address: Counter[_Key] = Counter()
        self._acceptor = Acceptor(sock, self._receive, on_fault=on_fault, clock=clock, tasks=tasks)

    def open(self) -> None:
        """Listen. Raises OSError."""
        self._acceptor.open()

    def close(self) -> None:
        """Take nothing more, and cut what is open. Harmless when done already."""
        self._acceptor.close()
        for visitor in tuple(self._open):
            visitor.abort()

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def _receive(self, sock: socket.socket, peer: Address | None) -> None:
        key = None if peer is None else subscriber(peer)
        if self._by_address[key] >= CONNECTIONS_PER_ADDRESS:
            self._make_room(OF_ADDRESS, key)
        elif len(self._open) >= CONNECTIONS:
            self._make_room(IN_ALL)
        visitor = _Visitor(self._make(), key, peer, on_lost=self._left)
        self._open[visitor] = None
        self._by_address[key] += 1
        visitor.task = self._tasks.start(self._serve(visitor, sock), name="admin connection")
        # Not at the end of what it runs: one that makes room in the turn in which it came runs nothing.
        visitor.task.add_done_callback(lambda _task: self._served(visitor, sock))

    def _make_room(self, bound: Bound, key: _Key = None) -> None:
        oldest = next(one for one in self._open if bound is IN_ALL or one.key == key)
        self._refused(bound, oldest.peer)
        self._left(oldest)
        oldest.abort()

    async def _serve(self, visitor: _Visitor, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: visitor, sock)
            await self._clock.sleep(self._seconds())
            self._refused(LATE, visitor.peer)
        except OSError:
            pass  # gone already

    def _served(self, visitor: _Visitor, sock: socket.socket) -> None:
        self._left(visitor)
        if visitor.transport is None:
            sock.close()
        else:
            visitor.transport.abort()

    def _left(self, visitor: _Visitor) -> None:
        if visitor in self._open:
            del self._open[visitor]
            self._by_address[visitor.key] -= 1
            if not self._by_address[visitor.key]:
                del self._by_address[visitor.key]


class _Visitor(asyncio.Protocol):
    """One connection: passes everything on to the protocol that answers it, and says when it is over."""

    def __init__(
        self,
        inner: asyncio.Protocol,
        key: _Key,
        peer: Address | None,
        *,
        on_lost: Callable[[_Visitor], None],
    ) -> None:
        self._inner = inner
        self.key = key
        self.peer = peer
        self._on_lost = on_lost
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Cut it off."""
        if self.task is not None:
            self.task.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._on_lost(self)
        self.abort()

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
