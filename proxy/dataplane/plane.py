"""The data plane as a whole: what all connections share, and the register of what is open.

The rule: one place holds the gateway of now, the pool, the keepers of upstream sessions, the limits and the clock;
connections and relays ask it, and it asks nobody. `adopt` exchanges them all in one step, after which everything
open is judged again. One sweep a second judges all deadlines, so that no request needs a timer of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from itertools import chain, islice
from typing import Final, cast

from aiohttp import web

from proxy.aws.hosts import SIGN_IN_HOSTS
from proxy.aws.keeper import SessionKeeper
from proxy.aws.sessions import UpstreamSession
from proxy.aws.signed_out import signed_out
from proxy.chance import NewId
from proxy.client_address.networks import Address
from proxy.clock import Clock
from proxy.config.settings import Limits, Listener, Timeouts
from proxy.dataplane.aiohttp_internals import Server
from proxy.dataplane.answers import Render
from proxy.dataplane.arrival import Arrival
from proxy.dataplane.closes import told
from proxy.dataplane.downstream import Downstream
from proxy.dataplane.outbox import Outbox
from proxy.dataplane.pool import PoolLimits, UpstreamPool
from proxy.dataplane.relay import Relay, RelayTimeouts
from proxy.dataplane.upstream import UpstreamConnection
from proxy.dataplane.visit import Visit
from proxy.errors import NbgateError
from proxy.faults import Faults
from proxy.gateway import Admission, Gateway, Inbound
from proxy.routing.router import Route
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.wire.frames import POLICY_VIOLATION, SERVICE_RESTART
from proxy.wire.heads import ResponseFacts

SWEEP_SECONDS: Final = 1.0
JUDGED_AT_ONCE: Final = 512
"""Open connections that are judged again within one turn of the loop: some 8 ms, or 15 ms if none may stay."""


OnError = Callable[[NbgateError, Admission, Inbound], NbgateError]
"""What is answered in an error's place to a caller who was admitted; the error itself, mostly."""


def _as_it_is(error: NbgateError, _admission: Admission, _inbound: Inbound) -> NbgateError:
    return error


class DataPlane:
    """Shared by all connections of one process."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        keepers: Mapping[str, SessionKeeper],
        pool: UpstreamPool,
        limits: Limits,
        timeouts: Timeouts,
        clock: Clock,
        new_id: NewId,
        tasks: Tasks,
        render: Render,
        log: Callable[[RequestRecord], None],
        own_pages: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        faults: Faults,
        sign_in_hosts: frozenset[str] = SIGN_IN_HOSTS,
    ) -> None:
        self.gateway = gateway
        self.pool = pool
        self.limits = limits
        self.timeouts = timeouts
        self.clock = clock
        self.new_id = new_id
        self.tasks = tasks
        self.render = render
        self.log = log
        self.faults = faults
        self.on_error: OnError = _as_it_is
        self.draining = False
        self.outbox = Outbox()
        self.landing = pool.landing
        self.relays: dict[Relay, RequestRecord] = {}
        """What is open, each with the record of its handshake."""
        self.connections: set[Downstream] = set()
        self.arrivals: set[Arrival] = set()
        self.withdrawn: Counter[str] = Counter()
        """What ended because a later `gateway` did not admit it: "websockets", "requests", "connections"."""
        self._keepers = keepers
        self._own_pages = own_pages
        self._sign_in_hosts = sign_in_hosts
        self._ending: dict[Relay, Visit] = {}
        """WebSockets that a session or a token let in: those end."""
        self._open = 0
        self._open_by_address: Counter[Address] = Counter()
        self._servers: list[Server] = []
        self._relay_timeouts = _relay_timeouts(timeouts)

    # -- for connections --------------------------------------------------------------------------------

    def keeper(self, instance: str) -> SessionKeeper:
        return self._keepers[instance]

    def arrived(self, arrival: Arrival) -> bool:
        """Count a connection in that has yet to say where it comes from; False if it is one too many."""
        self.arrivals.add(arrival)
        return self._open + len(self.arrivals) <= self.limits.connections and not self.draining

    def opened(self, connection: Downstream, peer: Address | None) -> bool:
        """Count a connection in; False if it is one too many."""
        self.connections.add(connection)
        self._open += 1
        if peer is not None:
            self._open_by_address[peer] += 1
            if self._open_by_address[peer] > self.limits.connections_per_address and not self.gateway.trusts(
                peer
            ):
                return False
        return self._open <= self.limits.connections and not self.draining

    def closed(self, peer: Address | None) -> None:
        """Count it out again: a connection, or the WebSocket that it became."""
        self._open -= 1
        if peer is not None:
            self._open_by_address[peer] -= 1
            if not self._open_by_address[peer]:
                del self._open_by_address[peer]

    def signed_out(self, facts: ResponseFacts, route: Route, session: UpstreamSession) -> bool:
        """Whether a response means that the session is over."""
        return signed_out(
            status=facts.status,
            target=route.upstream_target,
            origin=session.origin,
            location=facts.location,
            content_type=facts.content_type,
            server=facts.server,
            jupyter_shows=session.jupyter_shows,
            sign_in_hosts=self._sign_in_hosts,
        )

    def splice(
        self,
        caller: asyncio.Transport,
        connection: UpstreamConnection,
        *,
        visit: Visit,
        session: UpstreamSession,
        record: RequestRecord,
        extensions: bool,
        is_full: bool,
        tail: bytes,
        inbox: bytes,
    ) -> None:
        """From a request to a WebSocket: both transports change hands before anything else can arrive.

        `session` is the upstream session that the handshake was made with; `tail` and `inbox` are what already came
        from the notebook and from the caller.
        """
        keeper, route = visit.keeper, visit.admission.route
        assert keeper is not None
        assert isinstance(route, Route)
        target = route.upstream_target

        def judge(relay: Relay) -> None:
            if reason := visit.objection(self.gateway, self.keeper):
                self.withdrawn["websockets"] += 1
                relay.close(POLICY_VIOLATION, reason, now=self.clock.monotonic())
            elif visit.admission.permit is not None:
                # Here and not once at the start: a reload may have made a session needed that was not.
                self._ending[relay] = visit

        def tell(code: int, page_closed: bool) -> int:
            said = told(
                code,
                target=target,
                page_closed=page_closed,
                session_is_over=lambda: keeper.is_over(session),
            )
            if said != code:
                record.error = f"UPSTREAM_CLOSED_{code}"
            return said

        def ended(relay: Relay) -> None:
            self.relays.pop(relay, None)
            self._ending.pop(relay, None)
            self.pool.forget(connection)
            self.closed(visit.inbound.peer)
            record.bytes_in = relay.caller.bytes_received
            record.bytes_out = relay.notebook.bytes_received
            record.close_code = relay.close_code
            record.is_websocket = True
            self.log(record)

        connection.exchange = None
        relay = Relay(
            caller=caller,
            notebook=connection.transport,
            max_frame_bytes=self.limits.websocket_frame_bytes,
            extensions=extensions,
            timeouts=self._relay_timeouts,
            landing=self.landing,
            judge=judge,
            on_end=ended,
            tell=tell,
        )
        self.relays[relay] = record
        # The gateway may have changed since the handshake was admitted.
        relay.doubt()
        relay.start(is_full=is_full, tail=tail, inbox=inbox)
        relay.settle()
        if self.draining:
            relay.close(SERVICE_RESTART, "the gateway is restarting", now=self.clock.monotonic())

    # -- for the server ---------------------------------------------------------------------------------

    def server(
        self, listener: Listener, *, tls: ssl.SSLContext | None = None
    ) -> Callable[[], asyncio.BaseProtocol]:
        """A protocol factory for one listener's sockets.

        `tls` is for a listener with preludes, behind which TLS begins; elsewhere it is the socket's own.
        """
        server = Server(lambda server, loop: Downstream(server, loop, self, listener), self._own_pages)
        self._servers.append(server)
        if listener.proxy_protocol is None:
            return server
        return lambda: Arrival(self, listener, make=lambda: cast(Downstream, server()), tls=tls)

    async def adopt(
        self,
        *,
        gateway: Gateway,
        keepers: Mapping[str, SessionKeeper],
        limits: Limits,
        timeouts: Timeouts,
    ) -> None:
        """Decide by `gateway` from now on, and judge what is open: returns when all of it was.

        The exchange is one step, done before this first waits: no request meets an old part and a new one. From
        then on no byte passes on a WebSocket that was not judged. What goes on keeps the size limits that it began
        with, and gets the new timeouts.
        """
        self.gateway = gateway
        self._keepers = keepers
        self.limits = limits
        self.timeouts = timeouts
        self._relay_timeouts = _relay_timeouts(timeouts)
        self.pool.limits = pool_limits(limits, timeouts)
        for relay in self.relays:
            relay.timeouts = self._relay_timeouts
            relay.doubt()
        # Requests first: what is under way there goes on until it is judged.
        connections = sorted(self.connections, key=lambda connection: connection.is_idle)
        judged: chain[Downstream | Relay] = chain(connections, tuple(self.relays))
        while some := tuple(islice(judged, JUDGED_AT_ONCE)):
            # What could not be judged is cut: it must not go on by a decision that no longer counts.
            self.faults.each("judging what is open", some, _judge, broken=_cut)
            await self.clock.sleep(0)

    def sweep(self) -> None:
        """Judge every deadline. Called once in `SWEEP_SECONDS`.

        What fails at it is cut: nobody would judge its deadlines any more, and it would be open for ever.
        """
        now = self.clock.monotonic()
        each = self.faults.each
        open_ones: tuple[Downstream | Arrival | Relay, ...]
        open_ones = (*self.connections, *self.arrivals, *self.relays)
        if self._ending:
            each("sweep of sessions", tuple(self._ending), self._end_session, broken=_cut)
        each("sweep", open_ones, lambda one: one.sweep(now), broken=_cut)
        self.pool.sweep(self.faults)

    def _end_session(self, relay: Relay) -> None:
        """Have a WebSocket judged whose session, or whose token, is over."""
        visit = self._ending[relay]
        permit = visit.admission.permit
        if permit is not None and permit.ends_at <= self.clock.now().timestamp():
            visit.has_ended = True
            relay.doubt()
            relay.settle()

    async def drain(self, seconds: float) -> None:
        """Let requests under way end, for so long at most, and tell WebSockets that the gateway goes away."""
        self.draining = True
        now = self.clock.monotonic()
        for connection in tuple(self.connections):
            connection.drain()
        for arrival in tuple(self.arrivals):
            arrival.abort()
        for relay in tuple(self.relays):
            relay.close(SERVICE_RESTART, "the gateway is restarting", now=now)
        while self._open and self.clock.monotonic() - now < seconds:
            await self.clock.sleep(0.05)

    async def close(self) -> None:
        """Cut what is left."""
        self.outbox.flush()
        for arrival in tuple(self.arrivals):
            arrival.abort()
        for relay in tuple(self.relays):
            relay.abort()
        for server in self._servers:
            await server.shutdown(0)
        self.pool.close()


def _judge(one: Downstream | Relay) -> None:
    if isinstance(one, Relay):
        one.settle()
    else:
        one.judge()


def _cut(one: Downstream | Arrival | Relay) -> None:
    one.abort()


def pool_limits(limits: Limits, timeouts: Timeouts) -> PoolLimits:
    """What counts for connections to notebooks."""
    return PoolLimits(
        connect_seconds=timeouts.connect_seconds,
        idle_seconds=timeouts.upstream_idle_seconds,
        connections=limits.upstream_connections,
        idle_connections=limits.upstream_idle_connections,
        head_bytes=limits.response_head_bytes,
    )


def _relay_timeouts(timeouts: Timeouts) -> RelayTimeouts:
    return RelayTimeouts(timeouts.websocket_ping_seconds, timeouts.websocket_silence_seconds)
