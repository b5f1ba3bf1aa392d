"""Connections to notebook hosts, kept for the next request.

The rule: last in, first out, so that few connections stay warm and the others run into their idle limit;
a connection comes back only when its exchange ended cleanly in both directions (DESIGN: cross-caller
smuggling). TLS is always verified. This module knows no requests.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections import Counter, defaultdict
from dataclasses import dataclass

from proxy.clock import Clock
from proxy.dataplane.bounds import UPSTREAM_IDLE, UPSTREAM_SURPLUS
from proxy.dataplane.buffers import ReadMemory
from proxy.dataplane.descriptors import ran_out
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.sessions import Dial
from proxy.errors import NbgateError, NoDescriptor, TooManyUpstreams, UpstreamUnreachable
from proxy.faults import Faults
from proxy.telemetry.limits_met import Bound
from proxy.upstream import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Seconds, bytes and counts; the counts are per origin."""

    connect_seconds: float = 5.0
    idle_seconds: float = 50.0
    connections: int = 1024
    idle_connections: int = 32
    head_bytes: int = 64 * 1024


class UpstreamPool:
    """All connections to all notebook hosts."""

    def __init__(
        self,
        limits: PoolLimits,
        *,
        clock: Clock,
        dial: Dial,
        tls: ssl.SSLContext | None = None,
        most: float = math.inf,
    ) -> None:
        """`most`: no more connections than that to all hosts together; what is idle makes room."""
        self.limits = limits
        """May be exchanged; what is open stays as it is."""
        self.read_memory = ReadMemory()
        self.ended: Counter[Bound] = Counter()
        """How many that were at rest were not kept (any longer), by the limit that ended them."""
        self._clock = clock
        self._tls = tls
        self._most = most
        self.dial = dial
        self._idle: defaultdict[Origin, list[UpstreamConnection]] = defaultdict(list)
        self._open: defaultdict[Origin, set[UpstreamConnection]] = defaultdict(set)

    def idle(self, origin: Origin) -> list[UpstreamConnection]:
        """An origin's idle connections; always the same list, so that it need be looked up only once."""
        return self._idle[origin]

    def take(self, idle: list[UpstreamConnection]) -> UpstreamConnection | None:
        """The idle connection used last, or None."""
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
        return None

    async def connect(self, origin: Origin) -> UpstreamConnection:
        """Open another connection.

        Raises UpstreamUnreachable, ConnectTimeout, UpstreamUntrusted, UpstreamProxyRefused, TooManyUpstreams and
        NoDescriptor.
        """
        limits = self.limits
        if self.open_connections(origin) >= limits.connections:
            raise TooManyUpstreams(detail="limits.upstream_connections")
        if len(self) >= self._most and not self._make_room():
            raise NoDescriptor(detail="connections to all notebooks")
        connection = UpstreamConnection(
            origin, head_limit_bytes=limits.head_bytes, read_memory=self.read_memory, on_closed=self.forget
        )
        connection.siblings = self._idle[origin]
        self._open[origin].add(connection)
        try:
            await self.dial(
                origin,
                connection,
                tls=self._context() if origin.tls else None,
                within_seconds=limits.connect_seconds,
            )
        except BaseException as error:
            self.forget(connection)
            if isinstance(error, NbgateError) and ran_out(error):
                raise NoDescriptor(detail=error.detail) from error
            raise
        if not connection.is_open:
            # Lost within the turn of the loop: nobody would tell whoever uses it.
            raise UpstreamUnreachable(detail="connect: closed at once")
        if (sock := connection.transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange ended cleanly in both directions; close any other."""
        connection.exchange = None
        idle = connection.siblings
        if connection.is_reusable and len(idle) < self.limits.idle_connections:
            connection.idle_since = self._clock.monotonic()
            connection.resume_reading()
            idle.append(connection)
        else:
            if connection.is_reusable:
                self.ended[UPSTREAM_SURPLUS] += 1
            connection.abort()

    def sweep(self, faults: Faults) -> None:
        """Close what has been idle for too long. Called about once a second."""
        idle = [connection for idle in self._idle.values() for connection in idle]
        faults.each("sweep of the pool", idle, self._retire, broken=UpstreamConnection.abort)

    def _retire(self, connection: UpstreamConnection) -> None:
        idle_for = self._clock.monotonic() - connection.idle_since
        if idle_for >= self.limits.idle_seconds or not connection.is_open:
            self.ended[UPSTREAM_IDLE] += connection.is_open
            connection.siblings.remove(connection)
            connection.abort()

    def _make_room(self) -> bool:
        """Close what has been idle longest; False if nothing is."""
        oldest = min(
            (idle[0] for idle in self._idle.values() if idle),
            key=lambda connection: connection.idle_since,
            default=None,
        )
        if oldest is None:
            return False
        oldest.siblings.remove(oldest)
        oldest.abort()
        return True

    def empty(self, idle: list[UpstreamConnection]) -> None:
        """Close what rests there."""
        while idle:
            idle.pop().abort()

    def close(self) -> None:
        """Close what is idle; connections in use belong to their exchanges."""
        for idle in self._idle.values():
            self.empty(idle)

    def __len__(self) -> int:
        """How many are open, or being opened: idle, in use, and taken over by WebSockets."""
        return sum(map(len, self._open.values()))

    def open_connections(self, origin: Origin) -> int:
        return len(self._open.get(origin, ()))

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection has ended; whoever took its transport over (a WebSocket) says so in its place."""
        self._open[connection.origin].discard(connection)
        if (idle := self._idle.get(connection.origin)) and connection in idle:
            idle.remove(connection)

    def _context(self) -> ssl.SSLContext:
        # Reading the system's certificates takes tens of milliseconds: only when first needed.
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
