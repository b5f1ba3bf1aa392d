"""The data plane as a whole: what all connections share, and the register of what is open.

The rule: one place holds the gateway of now, the pool, the keepers of upstream sessions, the limits and the clock;
connections and relays ask it, and it asks nobody. `adopt` exchanges them all in one step, after which everything
open is judged again. One sweep a second judges all deadlines, so that no request needs a timer of its own.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterator, Mapping
from itertools import chain, islice
from typing import Final, TypeVar

from aiohttp import web

from proxy.chance import Jitter, NewId
from proxy.client_address.networks import Address, subscriber
from proxy.clock import Clock
from proxy.config.settings import Limits, Listener, Timeouts
from proxy.dataplane import descriptors
from proxy.dataplane.answer.outages import Outages
from proxy.dataplane.answer.page import page_server
from proxy.dataplane.answers import Render
from proxy.dataplane.batching import Outbox
from proxy.dataplane.bounds import DRAIN_OVER, HELD_TOO_MUCH, RAN_OUT, bound_of
from proxy.dataplane.budgets import Budgets, Claim, Place
from proxy.dataplane.caller.connection import CallerConnection
from proxy.dataplane.caller.prelude import Arrival, Reception
from proxy.dataplane.caller.reader import ReadingLimits
from proxy.dataplane.draining import farewells, in_turn
from proxy.dataplane.holdings import HELD_EACH_BYTES, Holding, surplus
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.notebook.pool import PoolLimits, UpstreamPool
from proxy.dataplane.records import text_of
from proxy.dataplane.sessions import FrontEnd, Keeper
from proxy.dataplane.turns import Turns
from proxy.dataplane.websocket.closes import told
from proxy.dataplane.websocket.relay import Relay, RelayTimeouts
from proxy.errors import Draining, NbgateError, NoDescriptor
from proxy.faults import Faults
from proxy.gateway import Admission, Gateway, Inbound, Objection
from proxy.routing.router import Route
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.limits_met import Bound, LimitsMet
from proxy.upstream import NotebookSession, Origin
from proxy.wire.frames import MAX_PAYLOAD, POLICY_VIOLATION, SERVICE_RESTART
from proxy.wire.request_heads import HeadBounds

SWEEP_SECONDS: Final = 1.0
REQUEST_FIELDS: Final = 128
"""In one head. Browsers and proxies send two or three dozen; each costs some microseconds."""
SURPLUS_SECONDS: Final = 5.0
"""How long a connection above a limit may take to ask, and so be told of the limit."""
DRAIN_STEP_SECONDS: Final = 0.05
"""Between two looks at what is still open while draining."""
LEADS_ELSEWHERE: Final = "LEADS_ELSEWHERE"
"""In the record of a WebSocket that ended because its address leads to another notebook, or elsewhere, now."""
SWEPT_AT_ONCE: Final = 512
"""Open connections whose deadlines are judged within one turn of the loop: a millisecond or two."""
JUDGED_AT_ONCE: Final = 512
"""Open connections that are judged again within one turn of the loop: some 8 ms, or 15 ms if none may stay."""


T = TypeVar("T")
_Open = CallerConnection | Arrival | Relay

OnError = Callable[[NbgateError, Admission, Inbound], NbgateError]
"""What is answered in an error's place to a caller who was admitted; the error itself, mostly."""


OnTrouble = Callable[[NbgateError, str, str], None]
"""Is told of what a notebook's side did to a request: the error, the instance and the request's id."""


def _as_it_is(error: NbgateError, _admission: Admission, _inbound: Inbound) -> NbgateError:
    return error


def _untold(_error: NbgateError, _instance: str, _request_id: str) -> None:
    pass


def _unheard(_instance: str) -> None:
    pass


class DataPlane:
    """Shared by all connections of one process."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        keepers: Mapping[str, Keeper],
        pool: UpstreamPool,
        limits: Limits,
        timeouts: Timeouts,
        clock: Clock,
        new_id: NewId,
        jitter: Jitter,
        tasks: Tasks,
        render: Render,
        log: Callable[[RequestRecord], None],
        own_pages: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        faults: Faults,
        budgets: Budgets,
        limits_met: LimitsMet,
        front_end: FrontEnd,
        tells_address: Callable[[Origin], bool] = lambda _origin: True,
    ) -> None:
        """`tells_address`: whether a notebook is told callers' addresses."""
        self.tells_address = tells_address
        self.front_end = front_end
        self.gateway = gateway
        self.pool = pool
        self.limits = limits
        self.budgets = budgets
        self.limits_met = limits_met
        self.timeouts = timeouts
        self.clock = clock
        self.new_id = new_id
        self.jitter = jitter
        self.tasks = tasks
        self.render = render
        self.log = log
        self.faults = faults
        self.on_error: OnError = _as_it_is
        self.on_trouble: OnTrouble = _untold
        self.on_recovery: Callable[[str], None] = _unheard
        """Is told of an instance whose notebook answers again, or for the first time on a connection."""
        self.is_over = False
        """What is still under way is cut."""
        self.leaving = False
        """Callers are to go elsewhere next time: each answer ends its connection."""
        self.draining = False
        """Nothing new is taken on: no connection, no WebSocket."""
        self.outages = Outages(timeouts.outage_seconds, faults=faults)
        self.outbox = Outbox()
        self.reading = ReadingLimits(_head_bounds(limits))
        self.turns = Turns()
        self.landing = pool.landing
        self.relays: dict[Relay, RequestRecord] = {}
        """What is open, each with the record of its handshake."""
        self.connections: set[CallerConnection] = set()
        self.arrivals: set[Arrival] = set()
        self.withdrawn: Counter[str] = Counter()
        """What ended because a later `gateway` did not admit it: "websockets", "requests", "connections"."""
        self._keepers = keepers
        self._own_pages = own_pages
        self._ending: dict[Relay, Admission] = {}
        """WebSockets that a session or a token let in: those end."""
        self._sweeping: Iterator[int] | None = None
        """What is left of the sweep under way."""
        self._servers: list[web.Server] = []
        self._relay_timeouts = _relay_timeouts(timeouts)

    # -- for connections --------------------------------------------------------------------------------

    def keeper(self, instance: str) -> Keeper:
        return self._keepers[instance]

    def claim(self, peer: Address | None) -> Claim:
        """What a connection from `peer` may draw on."""
        if peer is None or self.gateway.trusts(peer):
            return Claim.TRUSTED
        return Claim.WELCOME if self.gateway.could_let_in(peer) else Claim.STRANGER

    def patience(self, place: Place) -> float:
        """How long a connection may take to ask for something, in seconds."""
        patience = self.timeouts.request_head_seconds
        return patience if place.met is None else min(patience, SURPLUS_SECONDS)

    def met(self, bound: Bound, peer: Address | None, **about: str) -> bool:
        """`peer` met a limit. True: that is worth an access record, where no request is there to have one."""
        counted = None if peer is None else str(subscriber(peer))
        return self.limits_met.note(bound, counted, most=self.budgets.value(bound), **about)

    def refused(
        self,
        bound: Bound,
        peer: Address | None,
        *,
        detail: str = "",
        status: int = 0,
        request_id: str = "",
    ) -> None:
        """`peer` met a limit before it asked for anything: its connection is cut, answered with `status` or not."""
        about = {"detail": detail} if detail else {}
        if self.met(bound, peer, **about):
            text, now = text_of(peer), self.clock.monotonic()
            record = RequestRecord(
                *(request_id or self.new_id(), text, text, "", "-", "-", "", status, 0, 0, now, None),
                error=bound.code,
                detail=detail or bound.setting,
            )
            self.log(record)

    def blame(self, error: NbgateError, client: Address | None, **about: str) -> None:
        """Leave a trace of the limit that made an error, if one did; `about` says what it was met by. The access record
        is the request's own.
        """
        if bound := bound_of(error):
            more = {"detail": error.detail, "remedy": error.remedy, **about}
            self.met(bound, client, **{name: value for name, value in more.items() if value})
        if bound != RAN_OUT:
            self.ran_out(error)

    def answered(self, keeper: Keeper, instance: str) -> None:
        """A notebook did, on a connection that was opened for it: an outage, if there was one, is over."""
        self.outages.answered(keeper)
        self.on_recovery(instance)

    def ran_out(self, error: BaseException | None) -> None:
        """Something failed, perhaps because there are no descriptors left: that is worth a word of its own."""
        if descriptors.ran_out(error):
            self.limits_met.note(RAN_OUT, None, most=descriptors.allowed(), remedy=NoDescriptor.remedy)

    def _look_for_descriptors(self) -> None:
        self.ran_out(descriptors.probe())

    def still_admits(
        self, admission: Admission, keeper: Keeper | None, *, has_ended: bool = False
    ) -> Admission | Objection:
        """As `Gateway.still_admits`, by the gateway of now. `keeper` is that of the notebook's session; None for a page
        of the gateway's own.
        """
        verdict = self.gateway.still_admits(admission, has_ended=has_ended)
        if verdict is admission or isinstance(verdict, Objection):
            return verdict
        if verdict.instance and self.keeper(verdict.instance) is not keeper:
            return Objection("this address leads to another notebook now")
        return verdict

    def splice(
        self,
        caller: asyncio.Transport,
        connection: UpstreamConnection,
        *,
        place: Place,
        admission: Admission,
        keeper: Keeper,
        session: NotebookSession,
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
        route, client = admission.route, admission.caller.client.address
        assert isinstance(route, Route)
        target = route.upstream_target
        let_in = admission

        def judge(relay: Relay) -> None:
            if relay not in self.relays:
                return  # it ended while others were judged
            nonlocal let_in
            verdict = self.still_admits(let_in, keeper, has_ended=self._has_ended(let_in))
            if isinstance(verdict, Objection):
                self.withdrawn["websockets"] += 1
                why = LEADS_ELSEWHERE if verdict.refusal is None else verdict.refusal.error.code
                relay.close(POLICY_VIOLATION, verdict.reason, now=self.clock.monotonic(), why=why)
                return
            let_in = verdict
            if verdict.permit is not None:
                # Here and not once at the start: a reload may have made a session needed that was not.
                self._ending[relay] = verdict

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
            place.leave()
            record.bytes_in = relay.caller.bytes_received
            record.bytes_out = relay.notebook.bytes_received
            record.close_code = relay.close_code
            if self.is_over and relay.closing is None:
                relay.met = DRAIN_OVER
            if relay.why:
                record.error = relay.why
            if relay.met is not None:
                record.error, record.detail = relay.met.code, relay.met.setting
                self.met(relay.met, client)
            if relay.closing is not None and record.error:
                record.detail = relay.closing[1]
            record.is_websocket = True
            self.log(record)

        connection.exchange = None
        relay = Relay(
            caller=caller,
            notebook=connection.transport,
            max_frame_bytes=self.limits.websocket_frame_bytes or MAX_PAYLOAD,
            extensions=extensions,
            timeouts=self._relay_timeouts,
            landing=self.landing,
            judge=judge,
            on_end=ended,
            client=client,
            tell=tell,
        )
        self.relays[relay] = record
        # The gateway may have changed since the handshake was admitted.
        relay.doubt()
        relay.start(is_full=is_full, tail=tail, inbox=inbox)
        relay.settle()
        if self.draining:
            self._say_goodbye(relay)

    # -- for the server ---------------------------------------------------------------------------------

    def reception(
        self, listener: Listener, *, tls: ssl.SSLContext | None = None
    ) -> Callable[[socket.socket, Address | None], None]:
        """What takes one listener's connections: each as it was accepted, and the address that it comes from."""
        return Reception(self, listener, make=self.maker(listener), tls=tls).receive

    def maker(self, listener: Listener) -> Callable[[Place, float], CallerConnection]:
        """Makes what reads the requests of a connection, given its place and the deadline of its first head."""
        pages = page_server(self._own_pages)
        self._servers.append(pages)
        return lambda place, deadline: CallerConnection(self, listener, place, deadline=deadline, pages=pages)

    async def adopt(
        self,
        *,
        gateway: Gateway,
        keepers: Mapping[str, Keeper],
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
        self.limits = self.budgets.limits = limits
        self.reading.bounds = _head_bounds(limits)
        self.timeouts = timeouts
        self.outages.patience_seconds = timeouts.outage_seconds
        self._relay_timeouts = _relay_timeouts(timeouts)
        self.pool.limits = pool_limits(limits, timeouts)
        for relay in self.relays:
            relay.timeouts = self._relay_timeouts
            relay.doubt()
        # Requests first: what is under way there goes on until it is judged.
        connections = sorted(self.connections, key=lambda connection: connection.is_idle)
        judged: chain[CallerConnection | Relay] = chain(connections, tuple(self.relays))
        while some := tuple(islice(judged, JUDGED_AT_ONCE)):
            # What could not be judged is cut: it must not go on by a decision that no longer counts.
            self.faults.each("judging what is open", some, _judge, broken=_cut)
            await self.clock.sleep(0)

    def sweep(self) -> None:
        """Judge every deadline. Called once in `SWEEP_SECONDS`; where much is open, it goes on in the turns after this.

        What fails at it is cut: nobody would judge its deadlines any more, and it would be open for ever.
        """
        if self._sweeping is None:
            self._sweeping = self._swept_pieces(self.clock.monotonic())
            self._sweep_on()

    def _sweep_on(self) -> None:
        """As much of a sweep as a turn may do."""
        pieces, self._sweeping = self._sweeping, None
        left = SWEPT_AT_ONCE
        for size in pieces or ():
            left -= size
            if left <= 0:
                self._sweeping = pieces
                asyncio.get_running_loop().call_soon(self._sweep_on)
                return

    def _swept_pieces(self, now: float) -> Iterator[int]:
        """A sweep, piece by piece: how much each was. What ended between two of them is passed over."""
        each = self.faults.each
        for ending in _pieces(self._ending):
            each("sweep of sessions", ending, self._end_session, broken=_cut)
            yield len(ending)
        registers: list[Collection[_Open]] = [self.connections, self.arrivals, self.relays]
        for register in registers:
            for some in _pieces(register):
                each("sweep", some, lambda one: one.sweep(now), broken=_cut)
                yield len(some)
        each("sweep", (self._look_for_descriptors, self.limits_met.sweep), lambda look: look())
        each("sweep of outages", (self.outages,), lambda one: one.sweep(now))
        yield from self._bound_holdings()
        self.pool.sweep(self.faults)

    def _bound_holdings(self) -> Iterator[int]:
        """Cut what holds most of those addresses that hold too much; in pieces, as a sweep."""
        most = self.limits.held_per_address_bytes
        if (len(self.connections) + len(self.relays)) * HELD_EACH_BYTES <= most:
            return  # as nearly always
        holdings: list[tuple[CallerConnection | Relay, Holding]] = []

        def weigh(one: CallerConnection | Relay) -> None:
            holdings.append((one, Holding(_counted(one.client), one.held_bytes)))

        registers: list[Collection[CallerConnection | Relay]] = [self.connections, self.relays]
        for register in registers:
            for some in _pieces(register):
                self.faults.each("sweep of holdings", some, weigh, broken=_cut)
                yield len(some)
        still_open = [one for one in holdings if one[0] in self.connections or one[0] in self.relays]
        self.faults.each(
            "sweep of holdings",
            surplus(still_open, most=most),
            lambda one: one.cut(HELD_TOO_MUCH),
            broken=_cut,
        )

    def _end_session(self, relay: Relay) -> None:
        """Have a WebSocket judged whose session, or whose token, is over."""
        if self._has_ended(self._ending[relay]):
            relay.doubt()
            relay.settle()

    def _has_ended(self, admission: Admission) -> bool:
        """Whether the session, or the token, that let a request in is over."""
        permit = admission.permit
        return permit is not None and permit.ends_at <= self.clock.now().timestamp()

    async def drain(self, seconds: float, *, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Let what is under way end, for so long at most, or until `is_hurried`.

        Requests finish; WebSockets are told one after the other (1012), so that their pages, which come again at
        once, do so in turn.
        """
        self.leaving = self.draining = True
        self.faults.each("drain", (self.outages,), lambda one: one.close())
        began_at = self.clock.monotonic()
        for some in _pieces(self.connections):
            self.faults.each("drain", some, lambda one: one.drain(), broken=_cut)
            if len(some) == SWEPT_AT_ONCE:
                await self.clock.sleep(0)
        self.faults.each("drain", tuple(self.arrivals), _cut)
        told = in_turn((relay, record.target) for relay, record in self.relays.items())
        to_tell = deque(zip(farewells(len(told), seconds, self.jitter), told, strict=True))
        is_over = False
        while self.budgets.in_all and not is_over:
            passed = self.clock.monotonic() - began_at
            is_over = passed >= seconds or is_hurried()
            due: list[Relay] = []
            while to_tell and (is_over or to_tell[0][0] <= passed):
                due.append(to_tell.popleft()[1])
            self.faults.each("drain", due, self._say_goodbye, broken=_cut)
            # What was said last is sent before the rest is cut.
            await self.clock.sleep(0 if is_over else DRAIN_STEP_SECONDS)

    def _say_goodbye(self, relay: Relay) -> None:
        now = self.clock.monotonic()
        relay.close(SERVICE_RESTART, "the gateway is restarting", now=now, why=Draining.code)

    async def close(self) -> None:
        """Cut what is left."""
        self.is_over = True
        self.outbox.flush()
        left: tuple[Arrival | CallerConnection | Relay, ...]
        left = (*self.arrivals, *self.connections, *self.relays)
        self.faults.each("close", left, _cut)
        for server in self._servers:
            server.pre_shutdown()
            await server.shutdown(0)
        self.pool.close()


def _pieces(register: Collection[T]) -> Iterator[list[T]]:
    """What is open now, some at a time; without what has ended before its turn came."""
    everything = iter(tuple(register))
    while some := tuple(islice(everything, SWEPT_AT_ONCE)):
        yield [one for one in some if one in register]


def _counted(client: Address | None) -> Hashable:
    return None if client is None else subscriber(client)


def _judge(one: CallerConnection | Relay) -> None:
    if isinstance(one, Relay):
        one.settle()
    else:
        one.judge()


def _cut(one: CallerConnection | Arrival | Relay) -> None:
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


def _head_bounds(limits: Limits) -> HeadBounds:
    return HeadBounds(limits.request_head_bytes, REQUEST_FIELDS)


def _relay_timeouts(timeouts: Timeouts) -> RelayTimeouts:
    return RelayTimeouts(timeouts.websocket_ping_seconds, timeouts.websocket_silence_seconds)
