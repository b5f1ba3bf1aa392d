"""What is open: connections that are new, those that requests are read from, and WebSockets.

The rule: whatever is open stands here from its first moment to its last, and everything that has to be done to all of
it is done here, a bounded number in each turn of the event loop, and guarded: what fails at it is cut, because nobody
would look at it again. What is to be done is said by others; this module knows no policy and no bytes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from itertools import chain, islice
from typing import Final, Protocol, TypeVar

from proxy.admission.verdict import Admission
from proxy.chance import Jitter
from proxy.client_address.networks import Address, subscriber
from proxy.clock import Clock
from proxy.dataplane.bounds import HELD_TOO_MUCH
from proxy.dataplane.budgets import Budgets
from proxy.dataplane.draining import farewells, in_turn
from proxy.dataplane.holdings import HELD_EACH_BYTES, Holding, surplus
from proxy.dataplane.websocket.relay import Relay, RelayTimeouts
from proxy.errors import Draining
from proxy.faults import Faults
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.limits_met import Bound
from proxy.wire.frames import SERVICE_RESTART

DRAIN_STEP_SECONDS: Final = 0.05
"""Between two looks at what is still open while draining."""
SWEPT_AT_ONCE: Final = 512
"""Open connections whose deadlines are judged within one turn of the loop: a millisecond or two."""
JUDGED_AT_ONCE: Final = 512
"""Open connections that are judged again within one turn of the loop: some 8 ms, or 15 ms if none may stay."""

T = TypeVar("T")


class Sweepable(Protocol):
    """Whatever is open has deadlines, and can be cut off."""

    def sweep(self, now: float) -> None:
        """Judge silence. `now` is the monotonic clock's."""

    def abort(self) -> None:
        """Cut it off."""


class OpenConnection(Sweepable, Protocol):
    """A connection that requests are read from (`proxy.dataplane.caller.connection`)."""

    @property
    def client(self) -> Address | None:
        """Whom what is under way is attributed to."""

    @property
    def held_bytes(self) -> int:
        """What waits here in memory for somebody to take it."""

    @property
    def is_idle(self) -> bool:
        """No request is under way."""

    @property
    def under_way(self) -> tuple[Admission, str, str, int] | None:
        """The request that is being answered: its admission, method and target, and the bytes of bodies so far."""

    def judge(self) -> None:
        """Another gateway decides now: end what it does not admit."""

    def drain(self) -> None:
        """No request after the one under way."""

    def cut(self, bound: Bound) -> None:
        """End it for a limit that it met."""


class Register:
    """Of one process."""

    def __init__(
        self,
        *,
        clock: Clock,
        jitter: Jitter,
        faults: Faults,
        budgets: Budgets,
        sweeps: Sequence[tuple[str, Callable[[float], None]]],
    ) -> None:
        """`sweeps` are what else is done once a second, by what it is called where it fails."""
        self.new_connections: set[Sweepable] = set()
        """Those that nobody reads requests from yet (`proxy.dataplane.caller.prelude`)."""
        self.connections: set[OpenConnection] = set()
        self.relays: dict[Relay, RequestRecord] = {}
        """Each with the record of its handshake."""
        self.ending: dict[Relay, float] = {}
        """WebSockets that a session or a token let in, and when those end, by the clock's `now`."""
        self.withdrawn: Counter[str] = Counter()
        """What ended because a later gateway did not admit it: "websockets", "requests", "connections"."""
        self._clock = clock
        self._jitter = jitter
        self._faults = faults
        self._budgets = budgets
        self._sweeps = sweeps
        self._sweeping: Iterator[int] | None = None
        """What is left of the sweep under way."""

    # -- judging again ----------------------------------------------------------------------------------

    async def judge(self, timeouts: RelayTimeouts) -> None:
        """Another gateway decides now: no byte passes on a WebSocket from here on before it was judged.

        Returns when all that is open was.
        """
        for relay in self.relays:
            relay.timeouts = timeouts
            relay.suspend()
        # Requests first: what is under way there goes on until it is judged.
        connections = sorted(self.connections, key=lambda connection: connection.is_idle)
        judged: chain[OpenConnection | Relay] = chain(connections, tuple(self.relays))
        while some := tuple(islice(judged, JUDGED_AT_ONCE)):
            # What could not be judged is cut: it must not go on by a decision that no longer counts.
            self._faults.each("judging what is open", some, _judge, broken=_cut)
            await self._clock.sleep(0)

    # -- deadlines --------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Judge every deadline. Called about once a second; where much is open, it goes on in the turns after this."""
        if self._sweeping is None:
            self._sweeping = self._swept_pieces(self._clock.monotonic())
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
        each = self._faults.each
        for ending in _pieces(self.ending):
            each("sweep of sessions", ending, self._end_session, broken=_cut)
            yield len(ending)
        registers: list[Collection[Sweepable | Relay]]
        registers = [self.connections, self.new_connections, self.relays]
        for register in registers:
            for some in _pieces(register):
                each("sweep", some, lambda one: one.sweep(now), broken=_cut)
                yield len(some)
        for name, sweep in self._sweeps:
            each(name, (sweep,), lambda one: one(now))
        yield from self._bound_holdings()

    def _end_session(self, relay: Relay) -> None:
        """Have a WebSocket judged whose session, or whose token, is over."""
        if self.ending[relay] <= self._clock.now().timestamp():
            relay.suspend()
            relay.judge_now()

    def _bound_holdings(self) -> Iterator[int]:
        """Cut what holds most of those addresses that hold too much; in pieces, as a sweep."""
        most = self._budgets.limits.held_per_address_bytes
        if (len(self.connections) + len(self.relays)) * HELD_EACH_BYTES <= most:
            return  # as nearly always
        holdings: list[tuple[OpenConnection | Relay, Holding]] = []

        def weigh(one: OpenConnection | Relay) -> None:
            holdings.append((one, Holding(_counted(one.client), one.held_bytes)))

        registers: list[Collection[OpenConnection | Relay]] = [self.connections, self.relays]
        for register in registers:
            for some in _pieces(register):
                self._faults.each("sweep of holdings", some, weigh, broken=_cut)
                yield len(some)
        still_open = [one for one in holdings if one[0] in self.connections or one[0] in self.relays]
        self._faults.each(
            "sweep of holdings",
            surplus(still_open, most=most),
            lambda one: one.cut(HELD_TOO_MUCH),
            broken=_cut,
        )

    # -- the end ----------------------------------------------------------------------------------------

    async def drain(self, seconds: float, *, is_hurried: Callable[[], bool]) -> None:
        """Let what is under way end, for so long at most, or until `is_hurried`.

        Requests finish; WebSockets are told one after the other (1012), so that their pages, which come again at
        once, do so in turn.
        """
        began_at = self._clock.monotonic()
        for some in _pieces(self.connections):
            self._faults.each("drain", some, lambda one: one.drain(), broken=_cut)
            if len(some) == SWEPT_AT_ONCE:
                await self._clock.sleep(0)
        self._faults.each("drain", tuple(self.new_connections), _cut)
        relays = in_turn((relay, record.target) for relay, record in self.relays.items())
        to_tell = deque(zip(farewells(len(relays), seconds, self._jitter), relays, strict=True))
        is_over = False
        while self._budgets.in_all and not is_over:
            passed = self._clock.monotonic() - began_at
            is_over = passed >= seconds or is_hurried()
            due: list[Relay] = []
            while to_tell and (is_over or to_tell[0][0] <= passed):
                due.append(to_tell.popleft()[1])
            self._faults.each("drain", due, self.say_goodbye, broken=_cut)
            # What was said last is sent before the rest is cut.
            await self._clock.sleep(0 if is_over else DRAIN_STEP_SECONDS)

    def say_goodbye(self, relay: Relay) -> None:
        """The gateway goes away: tell both sides of a WebSocket."""
        now = self._clock.monotonic()
        relay.close(SERVICE_RESTART, "the gateway is restarting", now=now, why=Draining.code)

    def cut_all(self) -> None:
        """Cut what is left."""
        self._faults.each("close", (*self.new_connections, *self.connections, *self.relays), _cut)


def _pieces(register: Collection[T]) -> Iterator[list[T]]:
    """What is open now, some at a time; without what has ended before its turn came."""
    everything = iter(tuple(register))
    while some := tuple(islice(everything, SWEPT_AT_ONCE)):
        yield [one for one in some if one in register]


def _counted(client: Address | None) -> Hashable:
    return None if client is None else subscriber(client)


def _judge(one: OpenConnection | Relay) -> None:
    if isinstance(one, Relay):
        one.judge_now()
    else:
        one.judge()


def _cut(one: Sweepable | Relay) -> None:
    one.abort()
