"""Looks at instances that are to be stopped when nobody uses them, warns, and stops them.

The rule: it knows who is asked (`Instances`, `Notebooks`, `TrafficReport`) but not how, and decides nothing: that is
`proxy.lifecycle.judge`'s. Right before a stop everything is asked once more. What it remembers is lost with the
process, which errs on the side of running.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from proxy.clock import Clock
from proxy.errors import NbgateError
from proxy.faults import Faults
from proxy.instance_status import InstanceStatus
from proxy.lifecycle.awake import AwakeState, checked_hours
from proxy.lifecycle.evidence import Bodies, Evidence, JupyterReading, UnreadableState, read_state
from proxy.lifecycle.judge import WATCHED_SECONDS, IdleFinding, IdleRules, IdleVerdict, judge
from proxy.lifecycle.order import THE_GATEWAY, OrderedBy
from proxy.tasks import Tasks

TICK_SECONDS: Final = 10.0
"""Between two looks at the gateway's own traffic."""
LOOK_SECONDS: Final = 60.0
"""Between two looks at an instance; so much later than it could, it is stopped at most."""
LOOKS_AT_A_TICK: Final = 10
"""Instances looked at in turn: one call a second of an API that is throttled, unless there are so many that each would
be left unwatched for too long."""
FAILED_STOP_SECONDS: Final = 600.0
"""Between two tries to stop an instance that SageMaker would not stop."""


class Described(Protocol):
    """An instance as SageMaker describes it."""

    @property
    def status(self) -> str: ...


class Instances(Protocol):
    """The fleet, by the gateway's names. Each raises NbgateError's branch, also for a name that is gone."""

    async def describe(self, name: str, *, max_age_seconds: float) -> Described: ...
    async def stop(self, name: str) -> None: ...


class Notebooks(Protocol):
    """Jupyter, by the gateway's names."""

    async def read(self, name: str) -> Bodies:
        """What Jupyter says of itself. Raises NbgateError's branch."""


class TrafficReport(Protocol):
    """What passed the gateway."""

    def look(self) -> None: ...
    def last_use(self, name: str) -> float | None: ...


class Events(Protocol):
    """The log of events: a phrase, then fields."""

    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


@dataclass(slots=True, eq=False)
class _Watch:
    """What is remembered of one notebook, under whatever names. Instants are monotonic seconds."""

    names: tuple[str, ...]
    rules: IdleRules
    _: KW_ONLY
    notebook: Hashable = None
    verdict: IdleVerdict | None = None
    reading: JupyterReading | None = None
    used_at: float | None = None
    was_out_of_service: bool = False
    in_service_since: float | None = None
    awake_until: float | None = None
    warned_at: float | None = None
    judged_at: float | None = None
    look_at: float = -math.inf
    is_looking: bool = False
    problem: str = ""
    """Why its state could not be read at the last look, as it was logged."""
    told_dry_run: bool = False
    stopped_at: float | None = None
    """When it was stopped for want of use, if it has been so since."""
    saved_seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.names[0]


class IdleStopper:
    """One per process; survives reloads. Instances are known by the gateway's names."""

    def __init__(
        self,
        *,
        clock: Clock,
        tasks: Tasks,
        faults: Faults,
        instances: Instances,
        notebooks: Notebooks,
        traffic: TrafficReport,
        events: Events,
    ) -> None:
        self.stops = 0
        """Instances stopped for want of use so far."""
        self._clock = clock
        self._tasks = tasks
        self._faults = faults
        self._instances = instances
        self._notebooks = notebooks
        self.traffic = traffic
        self._events = events
        self._is_leaving = False
        self._watches: dict[str, _Watch] = {}
        self._saved_before = 0.0
        """Seconds saved by instances that are no longer configured."""

    def adopt(self, rules: Mapping[str, IdleRules], notebooks: Mapping[str, Hashable]) -> None:
        """Go by these rules from now on. `notebooks` says which names are one notebook; theirs are equal rules.

        What is remembered of notebooks that stay is kept, whatever their names.
        """
        before = {watch.notebook: watch for watch in self._watches.values()}
        gone = set(before.values())
        shared: dict[Hashable, list[str]] = {}
        for name in rules:
            shared.setdefault(notebooks[name], []).append(name)
        self._watches = {}
        for notebook, names in shared.items():
            watch = before.get(notebook) or _Watch((), rules[names[0]])
            gone.discard(watch)
            watch.notebook = notebook
            watch.names = tuple(names)
            if watch.rules != rules[names[0]]:
                watch.rules = rules[names[0]]
                watch.told_dry_run = False
                watch.look_at = -math.inf
            self._watches |= dict.fromkeys(names, watch)
        now = self._clock.monotonic()
        self._saved_before += sum(_saved(watch, now) for watch in gone)

    def leave(self) -> None:
        """Stop nothing any more: the gateway goes away, and what passes its successor is not seen here."""
        self._is_leaving = True

    # -- for people -------------------------------------------------------------------------------------

    def keep_awake(self, name: str, hours: float, by: OrderedBy = THE_GATEWAY) -> AwakeState:
        """Do not stop an instance for so long, 0 to take that back; the last word counts, and the log says whose.

        Raises KeyError for an instance that is not configured, AwakeRefused for hours out of bounds.
        """
        watch = self._watches[name]
        seconds = checked_hours(hours) * 3600
        watch.awake_until = self._clock.monotonic() + seconds if seconds else None
        watch.look_at = -math.inf
        self._events.info("instance kept awake", instance=name, hours=hours, **by.fields())
        return self.state(name)

    def state(self, name: str) -> AwakeState:
        """What is known of an instance's idleness, without asking anybody. Raises KeyError as `keep_awake`."""
        watch = self._watches[name]
        rules = watch.rules
        if rules.after_seconds is None:
            return AwakeState(kept_awake_until=self._instant(self._awake_until(watch)))
        verdict = watch.verdict or IdleVerdict(IdleFinding.UNREADABLE, "not looked at yet")
        finding, stops_at = verdict.finding, verdict.stops_at
        awake_until = self._awake_until(watch)
        if awake_until is not None and finding in (IdleFinding.IDLE, IdleFinding.WARN, IdleFinding.STOP):
            finding, stops_at = IdleFinding.KEPT_AWAKE, None
        return AwakeState(
            finding=finding,
            why=verdict.why,
            after_seconds=rules.after_seconds,
            idle_since=self._instant(verdict.idle_since),
            stops_at=self._instant(stops_at),
            kept_awake_until=self._instant(awake_until),
            dry_run=rules.dry_run,
        )

    @property
    def saved_hours(self) -> float:
        """Hours that instances have not run, in all, because they were stopped for want of use."""
        now = self._clock.monotonic()
        seconds = sum(_saved(watch, now) for watch in self._all())
        return (self._saved_before + seconds) / 3600

    # -- looking ----------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Begin the looks that are due. Called once in `TICK_SECONDS`.

        A fault in looking at the traffic ends this tick: who cannot see whether an instance is used, stops none.
        """
        watches = [watch for watch in self._all() if watch.rules.after_seconds is not None]
        if not watches or self._is_leaving:
            return
        self.traffic.look()
        now = self._clock.monotonic()
        taken_back: list[_Watch] = []
        due: list[_Watch] = []

        def choose(watch: _Watch) -> None:
            if watch.is_looking:
                return
            if self._is_used_after_warning(watch):
                taken_back.append(watch)
            elif now >= watch.look_at:
                due.append(watch)

        def begin(watch: _Watch) -> None:
            watch.is_looking = True
            watch.look_at = now + LOOK_SECONDS
            self._tasks.start(self._look(watch), name=f"idleness of {watch.name}")

        self._faults.each("idleness", watches, choose)
        due.sort(key=lambda watch: watch.look_at)
        quota = max(LOOKS_AT_A_TICK, math.ceil(len(watches) * TICK_SECONDS / (WATCHED_SECONDS / 2)))
        self._faults.each("idleness", (*taken_back, *due[:quota]), begin)

    async def _look(self, watch: _Watch) -> None:
        try:
            verdict = await self._judge(watch, max_age_seconds=LOOK_SECONDS / 2)
            if verdict.finding is IdleFinding.STOP and not watch.rules.dry_run:
                # Once more, from the beginning: nothing lies between this judgement and the stop.
                verdict = await self._judge(watch, max_age_seconds=0.0)
            self._tell(watch, verdict)
            if verdict.finding is IdleFinding.STOP and not self._is_leaving:
                await self._stop(watch, verdict)
        finally:
            watch.is_looking = False

    async def _judge(self, watch: _Watch, *, max_age_seconds: float) -> IdleVerdict:
        status, reading = "", None
        try:
            status = (await self._instances.describe(watch.name, max_age_seconds=max_age_seconds)).status
            if status == InstanceStatus.IN_SERVICE:
                reading = await self._read(watch)
            self._tell_problem(watch, "", "")
        except NbgateError as error:
            self._tell_problem(watch, error.code, error.detail)
        except UnreadableState as error:
            self._tell_problem(watch, "UNREADABLE", str(error))
        # From here on nothing waits: what was seen is judged as one.
        if self._watches.get(watch.name) is not watch:
            # The name may lead to another notebook by now, which must not be stopped for what this one did.
            return IdleVerdict(IdleFinding.OFF, "not configured any more")
        if not max_age_seconds:
            self.traffic.look()
        now = self._clock.monotonic()
        if status:
            self._note_status(watch, status, now)
        verdict = judge(self._evidence(watch, status, reading), watch.rules, now)
        watch.verdict = verdict
        watch.judged_at = now
        watch.used_at = verdict.used_at
        if reading is not None:
            watch.reading = reading
        return verdict

    async def _read(self, watch: _Watch) -> JupyterReading:
        read_at, now = self._clock.monotonic(), self._clock.now()
        return read_state(await self._notebooks.read(watch.name), read_at=read_at, now=now)

    def _evidence(self, watch: _Watch, status: str, reading: JupyterReading | None) -> Evidence:
        traffic = [at for name in watch.names if (at := self.traffic.last_use(name)) is not None]
        return Evidence(
            status=status,
            reading=reading,
            previous=watch.reading,
            used_at=watch.used_at,
            traffic_at=max(traffic, default=None),
            in_service_since=watch.in_service_since,
            awake_until=watch.awake_until,
            warned_at=watch.warned_at,
            judged_at=watch.judged_at,
        )

    def _note_status(self, watch: _Watch, status: str, now: float) -> None:
        """It left service, or came back to it."""
        if status == InstanceStatus.IN_SERVICE:
            if watch.was_out_of_service:
                watch.was_out_of_service = False
                watch.in_service_since = now
        else:
            watch.was_out_of_service = True
        if watch.stopped_at is not None and status in (InstanceStatus.IN_SERVICE, InstanceStatus.PENDING):
            watch.saved_seconds += now - watch.stopped_at
            watch.stopped_at = None

    # -- telling and acting -----------------------------------------------------------------------------

    def _tell(self, watch: _Watch, verdict: IdleVerdict) -> None:
        """Warn, once for each time that it is idle; and say that the warning is off."""
        before, watch.warned_at = watch.warned_at, verdict.warned_at
        if verdict.warned_at is not None:
            if verdict.warned_at != before:
                watch.told_dry_run = False
                self._events.warning(
                    "instance is idle and will be stopped",
                    instance=watch.name,
                    dry_run=watch.rules.dry_run,
                    **self._times(verdict),
                )
        elif before is not None:
            self._events.info(
                "instance will not be stopped",
                instance=watch.name,
                why=f"{verdict.finding.value}: {verdict.why}",
            )

    def _tell_problem(self, watch: _Watch, code: str, detail: str) -> None:
        if code == watch.problem:
            return
        watch.problem = code
        if code:
            self._events.warning(
                "state of instance unreadable, so it is not stopped",
                instance=watch.name,
                code=code,
                detail=detail,
            )

    async def _stop(self, watch: _Watch, verdict: IdleVerdict) -> None:
        if watch.rules.dry_run:
            if not watch.told_dry_run:
                watch.told_dry_run = True
                self._events.warning(
                    "idle instance would be stopped now (dry run)",
                    instance=watch.name,
                    **self._times(verdict),
                )
            return
        try:
            await self._instances.stop(watch.name)
        except NbgateError as error:
            watch.look_at = self._clock.monotonic() + FAILED_STOP_SECONDS
            self._events.error(
                "idle instance could not be stopped",
                instance=watch.name,
                **error.log_fields(),
                next_try_seconds=FAILED_STOP_SECONDS,
            )
            return
        self.stops += 1
        watch.stopped_at = self._clock.monotonic()
        watch.warned_at = None
        watch.was_out_of_service = True
        watch.verdict = IdleVerdict(IdleFinding.NOT_RUNNING, "stopped, since nobody used it")
        self._events.warning("idle instance stopped", instance=watch.name, **self._times(verdict))

    def _times(self, verdict: IdleVerdict) -> dict[str, str]:
        since, stops_at = self._instant(verdict.idle_since), self._instant(verdict.stops_at)
        return {
            "idle_since": f"{since:%Y-%m-%dT%H:%M:%SZ}" if since else "",
            "stops_at": f"{stops_at:%Y-%m-%dT%H:%M:%SZ}" if stops_at else "",
        }

    # -- inside -----------------------------------------------------------------------------------------

    def _all(self) -> list[_Watch]:
        return list(dict.fromkeys(self._watches.values()))

    def _is_used_after_warning(self, watch: _Watch) -> bool:
        """Somebody came: whoever looks at the warning should see it go."""
        warned_at = watch.warned_at
        return warned_at is not None and any(
            (at := self.traffic.last_use(name)) is not None and at > warned_at for name in watch.names
        )

    def _awake_until(self, watch: _Watch) -> float | None:
        until = watch.awake_until
        return until if until is not None and until > self._clock.monotonic() else None

    def _instant(self, monotonic: float | None) -> datetime | None:
        """The wall clock's name for an instant."""
        if monotonic is None:
            return None
        return self._clock.now() + timedelta(seconds=monotonic - self._clock.monotonic())


def _saved(watch: _Watch, now: float) -> float:
    return watch.saved_seconds + (now - watch.stopped_at if watch.stopped_at is not None else 0.0)
