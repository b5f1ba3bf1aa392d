"""What all connections use: the settings of now, the pool, the clock, memory and logs, and where traces are left.

The rule: connections ask it, and it asks nobody. What a reload exchanges is one frozen value, `current`, exchanged in
one step: no request meets an old part and a new one. What is open stands in `open`, the register.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission, Objection
from proxy.chance import Jitter, NewId
from proxy.client_address.networks import Address, subscriber
from proxy.clock import Clock
from proxy.config.sections import Limits, Timeouts
from proxy.dataplane import descriptors
from proxy.dataplane.answer.fixed import Render
from proxy.dataplane.answer.outages import Outages
from proxy.dataplane.batching import TurnBatch
from proxy.dataplane.bounds import RAN_OUT, bound_of
from proxy.dataplane.budgets import Budgets, Claim, Place
from proxy.dataplane.caller.reader import ReadingLimits
from proxy.dataplane.notebook.pool import PoolLimits, UpstreamPool
from proxy.dataplane.register import Register
from proxy.dataplane.sessions import FrontEnd, Keeper
from proxy.dataplane.turns import Turns
from proxy.dataplane.websocket.relay import RelayTimeouts
from proxy.errors import NbgateError
from proxy.faults import Faults
from proxy.gateway import Gateway
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.limits_met import Bound, LimitsMet
from proxy.upstream import Origin
from proxy.wire.request_heads import HeadBounds

SWEEP_SECONDS: Final = 1.0
REQUEST_FIELDS: Final = 128
"""In one head. Browsers and proxies send two or three dozen; each costs some microseconds."""
SURPLUS_SECONDS: Final = 5.0
"""How long a connection above a limit may take to ask, and so be told of the limit."""

OnError = Callable[[NbgateError, Admission, Inbound], NbgateError]
"""What is answered in an error's place to a caller who was admitted; the error itself, mostly."""


OnTrouble = Callable[[NbgateError, str, str], None]
"""Is told of what a notebook's side did to a request: the error, the instance and the request's id."""

OwnPagesHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Answers for the gateway's own pages."""


def as_it_is(error: NbgateError, _admission: Admission, _inbound: Inbound) -> NbgateError:
    return error


def untold(_error: NbgateError, _instance: str, _request_id: str) -> None:
    pass


def unheard(_instance: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Current:
    """What decides and bounds now; a reload puts another one in its place. `keepers` are by instance."""

    gateway: Gateway
    keepers: Mapping[str, Keeper]
    limits: Limits
    timeouts: Timeouts
    relay_timeouts: RelayTimeouts = field(init=False)

    def __post_init__(self) -> None:
        timeouts = self.timeouts
        relays = RelayTimeouts(timeouts.websocket_ping_seconds, timeouts.websocket_silence_seconds)
        object.__setattr__(self, "relay_timeouts", relays)


class DataPlane:
    """Shared by all connections of one process."""

    def __init__(
        self,
        *,
        current: Current,
        pool: UpstreamPool,
        front_end: FrontEnd,
        clock: Clock,
        new_id: NewId,
        jitter: Jitter,
        tasks: Tasks,
        render: Render,
        log: Callable[[RequestRecord], None],
        own_pages: OwnPagesHandler,
        faults: Faults,
        budgets: Budgets,
        limits_met: LimitsMet,
        tells_address: Callable[[Origin], bool] = lambda _origin: True,
        on_error: OnError = as_it_is,
        on_trouble: OnTrouble = untold,
        on_recovery: Callable[[str], None] = unheard,
    ) -> None:
        """`tells_address`: whether a notebook is told callers' addresses; `on_recovery` is told of an instance whose
        notebook answers again, or for the first time on a connection.
        """
        self.current = current
        self.pool = pool
        self.front_end = front_end
        self.tells_address = tells_address
        self.budgets = budgets
        self.limits_met = limits_met
        self.clock = clock
        self.new_id = new_id
        self.tasks = tasks
        self.render = render
        self.log = log
        self.faults = faults
        self.own_pages = own_pages
        self.on_error = on_error
        self.on_trouble = on_trouble
        self.on_recovery = on_recovery
        self.is_over = False
        """What is still under way is cut."""
        self.leaving = False
        """Callers are to go elsewhere next time: each answer ends its connection."""
        self.draining = False
        """Nothing new is taken on: no connection, no WebSocket."""
        self.outages = Outages(current.timeouts.outage_seconds, faults=faults)
        self.batch = TurnBatch()
        self.reading = ReadingLimits(_head_bounds(current.limits))
        self.turns = Turns()
        self.read_memory = pool.read_memory
        self.page_servers: list[web.Server] = []
        """What makes the protocols that own pages are served by, one for each listener."""
        self.open = Register(
            clock=clock,
            jitter=jitter,
            faults=faults,
            budgets=budgets,
            sweeps=(
                ("sweep", lambda _now: self.ran_out(descriptors.probe())),
                ("sweep", lambda _now: limits_met.sweep()),
                ("sweep of outages", self.outages.sweep),
            ),
        )

    # -- who may stay -----------------------------------------------------------------------------------

    def keeper(self, instance: str) -> Keeper:
        return self.current.keepers[instance]

    def still_admits(
        self, admission: Admission, keeper: Keeper | None, *, has_ended: bool = False
    ) -> Admission | Objection:
        """As `Gateway.still_admits`, by the gateway of now. `keeper` is that of the notebook's session; None for a page
        of the gateway's own.
        """
        verdict = self.current.gateway.still_admits(admission, has_ended=has_ended)
        if verdict is admission or isinstance(verdict, Objection):
            return verdict
        if verdict.instance and self.keeper(verdict.instance) is not keeper:
            return Objection("this address leads to another notebook now")
        return verdict

    def has_ended(self, admission: Admission) -> bool:
        """Whether the session, or the token, that let a request in is over."""
        permit = admission.permit
        return permit is not None and permit.ends_at <= self.clock.now().timestamp()

    def claim(self, peer: Address | None) -> Claim:
        """What a connection from `peer` may draw on."""
        if peer is None or self.current.gateway.rules.trusts(peer):
            return Claim.TRUSTED
        return Claim.WELCOME if self.current.gateway.rules.judge.could_allow(peer) else Claim.STRANGER

    def patience(self, place: Place) -> float:
        """How long a connection may take to ask for something, in seconds."""
        patience = self.current.timeouts.request_head_seconds
        return patience if place.met is None else min(patience, SURPLUS_SECONDS)

    # -- traces -----------------------------------------------------------------------------------------

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
            text, now = None if peer is None else str(peer), self.clock.monotonic()
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
        descriptors.note_exhausted(error, self.limits_met)

    # -- for the server ---------------------------------------------------------------------------------

    async def adopt(self, current: Current) -> None:
        """Decide by `current` from now on, and judge what is open: returns when all of it was.

        The exchange is one step, done before this first waits. What goes on keeps the size limits that it began with,
        and gets the new timeouts.
        """
        limits, timeouts = current.limits, current.timeouts
        self.current = current
        self.budgets.limits = limits
        self.reading.bounds = _head_bounds(limits)
        self.outages.patience_seconds = timeouts.outage_seconds
        self.pool.limits = pool_limits(limits, timeouts)
        await self.open.judge(current.relay_timeouts)

    def sweep(self) -> None:
        """Judge every deadline. Called once in `SWEEP_SECONDS`."""
        self.open.sweep()
        self.pool.sweep(self.faults)

    async def drain(self, seconds: float, *, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Let what is under way end, for so long at most, or until `is_hurried`."""
        self.leaving = self.draining = True
        self.faults.each("drain", (self.outages,), lambda one: one.close())
        await self.open.drain(seconds, is_hurried=is_hurried)

    async def close(self) -> None:
        """Cut what is left."""
        self.is_over = True
        self.batch.flush()
        self.open.cut_all()
        for server in self.page_servers:
            server.pre_shutdown()
            await server.shutdown(0)
        self.pool.close()


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
