"""What is known of the instances' states, whoever asks: described once for many, watched while it matters.

The rule: SageMaker's API is throttled per account, so it is asked as little as is honest. Callers who ask at once
share a fetch, its outcome is remembered for seconds, and nobody is asked about unless somebody subscribed or an
instance is on its way from one state to another. Where a role has several instances and may list them, one listing
tells of all; only what it has news of is described. What is learnt goes to the keepers of sessions, too: an instance
that left service took its sessions along, and one that came into service is worth a sign-in at once.
It must not know callers, policies or HTTP; who may start what is for others to decide.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Final, Protocol

from proxy.aws.control_plane import ControlPlane, InstanceDescription
from proxy.aws.presigned import SessionKey
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    ControlPlaneTimeout,
    InstanceNotFound,
    PermissionMissing,
    Throttled,
)
from proxy.faults import Faults
from proxy.instance_status import PASSING, InstanceStatus
from proxy.lifecycle.order import THE_GATEWAY, OrderedBy
from proxy.rounds import Round, Rounds
from proxy.shared_fetch import SharedFetch, StillUnderWay
from proxy.tasks import Tasks
from proxy.telemetry.events import EventLog
from proxy.telemetry.troubles import Troubles

UNKNOWN: Final = "state of instance unknown"
LOOK_SECONDS: Final = 5.0
"""Between two looks at what is watched."""
SETTLED_AT_A_LOOK: Final = 10
"""Instances that are not on their way anywhere, asked about in turn: two calls a second, however many there are."""
PATIENCE_SECONDS: Final = 20.0
"""How long somebody waits for a description, whatever is asked before it: less than load balancers do, even where an
instance was to be started or stopped first, which takes 30 s at most."""
FAILURE_SECONDS: Final = 5.0
"""How long a failure to describe is remembered: a crowd must not become a storm."""
MOVING_SECONDS: Final = 60.0
"""How long an instance is looked at after it was told to start or stop, even if its status does not show it yet."""
STARTS_REMEMBERED: Final = 15
LIST_FROM: Final = 3
"""So many instances of one role are worth a listing. Fewer are described, which tells more."""
LISTED_AT_MOST: Final = 1000
"""Of an account with more instances than that, ten calls' worth, those of the configuration are described."""
_LISTED_AT_ONCE: Final = 100
"""Instances in one answer."""
NOT_LISTED_SECONDS: Final = 900.0
"""How long it counts that a role may not list, or that there are too many."""
LIST_FAILED_SECONDS: Final = 60.0
"""The same for failures that pass."""
_AT_ONCE: Final = 3
"""Descriptions asked for at the same time: the control plane has four threads, and one is left for sign-ins."""

StatusListener = Callable[[str, InstanceDescription], None]


@dataclass(frozen=True, slots=True)
class Known:
    """What SageMaker last said of an instance. Instants are monotonic seconds: when it said so, and from when on
    that status is known to hold."""

    description: InstanceDescription
    seen_at: float
    since: float


class Sessions(Protocol):
    """What of a keeper (`proxy.aws.keeper.SessionKeeper`) depends on its instance's state."""

    def retry(self) -> None: ...
    def drop(self) -> None: ...


@dataclass(slots=True)
class _Watched:
    """One notebook and role: instances of the gateway that share both share it."""

    key: SessionKey
    fetch: SharedFetch[InstanceDescription]
    names: tuple[str, ...] = ()
    sessions: tuple[Sessions, ...] = ()
    known: Known | None = None
    is_fresh: bool = False
    """Nothing was done since that would make `known` untrue."""
    failure: ControlPlaneError | None = None
    failed_at: float = -math.inf
    changes: int = 0
    """How often it was started or stopped: what was asked before tells nothing of what came then."""
    asked_at: float = -math.inf
    moving_until: float = -math.inf
    is_listed: bool = True
    """The last listing, if there was one, had it."""
    pending_since: float | None = None
    """When it began to start, if that was seen."""
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=STARTS_REMEMBERED))


@dataclass(slots=True)
class _Listing:
    """What is known of listing instances as one role. Instants are monotonic seconds."""

    fetch: SharedFetch[None]
    calls: int = 1
    """That the last one took."""
    not_before: float = -math.inf
    """Until then instances are described."""
    rests_until: float = -math.inf
    """SageMaker throttles: what is watched waits."""
    problem: str = ""
    """Why it does not work, as it was logged."""


class Fleet:
    """The configured instances and their states. One for each process; `adopt` follows the configuration.

    Methods take the gateway's names of instances. One that is not configured, or not any more, for a reload may come at
    any time, is not found: they raise InstanceNotFound, or know nothing of it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sessions: Mapping[str, Sessions],
        control_plane: Callable[[str], ControlPlane],
        clock: Clock,
        tasks: Tasks,
        rounds: Rounds,
        faults: Faults,
        events: EventLog,
    ) -> None:
        """`sessions` are the keepers by instance; `control_plane` is SageMaker as a role ("": as ourselves)."""
        self.names: tuple[str, ...] = ()
        self._control_plane = control_plane
        self._clock = clock
        self._tasks = tasks
        self._rounds = rounds
        self._faults = faults
        self._events = events
        self._troubles = Troubles(clock, events.warning)
        self._watched: dict[str, _Watched] = {}
        self._listings: defaultdict[str, _Listing] = defaultdict(
            lambda: _Listing(SharedFetch(clock=clock, tasks=tasks))
        )
        self._listeners: dict[object, StatusListener] = {}
        self._poller: Round | None = None
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._turn = 0
        self.adopt(settings, sessions)

    def adopt(self, settings: Settings, sessions: Mapping[str, Sessions]) -> None:
        """Know these instances from now on; what is known of those that stay is kept."""
        before = {watched.key: watched for watched in self._watched.values()}
        names: dict[SessionKey, list[str]] = {}
        for name, instance in settings.instances.items():
            names.setdefault(SessionKey(instance.notebook, instance.assume_role or ""), []).append(name)
        self._watched = {}
        for key, shared in names.items():
            watched = before.get(key) or _Watched(key, SharedFetch(clock=self._clock, tasks=self._tasks))
            watched.names = tuple(shared)
            watched.sessions = tuple({id(sessions[name]): sessions[name] for name in shared}.values())
            self._watched |= dict.fromkeys(shared, watched)
        self.names = tuple(settings.instances)
        self._wake()

    async def describe(self, name: str, *, max_age_seconds: float = 5.0) -> InstanceDescription:
        """DescribeNotebookInstance, or what it answered within the last `max_age_seconds`, or before that if a listing
        tells that nothing has changed (never with 0).

        Raises ControlPlaneError's branch (also for a moment after it failed), or Draining when the gateway shuts
        down meanwhile.
        """
        watched = self._named(name)
        now = self._clock.monotonic()
        if watched.known is not None and watched.is_fresh and now - watched.known.seen_at < max_age_seconds:
            return watched.known.description
        if watched.failure is not None and now - watched.failed_at < min(max_age_seconds, FAILURE_SECONDS):
            # A copy: raising one exception many times would grow its traceback without end.
            raise copy.copy(watched.failure)
        task = self._ask(watched, closely=max_age_seconds <= 0)
        try:
            return await watched.fetch.outcome(task, within_seconds=PATIENCE_SECONDS)
        except StillUnderWay:
            # Many may be asked about, a few at a time, each for as long as a call may take.
            detail = "other instances are asked about first, and that takes long"
            raise ControlPlaneTimeout(detail=detail) from None

    def known(self, name: str) -> Known | None:
        """What SageMaker last said of it, however long ago, without asking; None if it never did."""
        watched = self._watched.get(name)
        return None if watched is None else watched.known

    async def start(self, name: str, *, by: OrderedBy = THE_GATEWAY) -> None:
        """StartNotebookInstance, by whose order the log says. Raises as `ControlPlane.start`."""
        watched = self._named(name)
        await self._control_plane(watched.key.role_arn).start(watched.key.notebook)
        watched.pending_since = self._clock.monotonic()
        self._moved(watched)
        for keeper in watched.sessions:
            keeper.retry()
        self._events.info(
            "instance told to start", instance=name, notebook=watched.key.notebook, **by.fields()
        )

    async def stop(self, name: str, *, by: OrderedBy = THE_GATEWAY) -> None:
        """StopNotebookInstance, by whose order the log says. Raises as `ControlPlane.stop`."""
        watched = self._named(name)
        await self._control_plane(watched.key.role_arn).stop(watched.key.notebook)
        watched.pending_since = None
        self._moved(watched)
        for keeper in watched.sessions:
            keeper.drop()
        self._events.info(
            "instance told to stop", instance=name, notebook=watched.key.notebook, **by.fields()
        )

    def subscribe(self, listener: StatusListener) -> Callable[[], None]:
        """Have `listener` called with an instance's name and description on each change of its status, the first one
        that is learnt included. Until the result is called, all instances are watched.
        """
        key = object()
        self._listeners[key] = listener
        self._wake()

        def unsubscribe() -> None:
            self._listeners.pop(key, None)

        return unsubscribe

    def started_in(self, name: str) -> float | None:
        """Seconds that it usually takes from Pending to InService: the median of the starts that were seen, to
        within `LOOK_SECONDS`; None before the first.
        """
        watched = self._watched.get(name)
        return median(watched.starts) if watched is not None and watched.starts else None

    def _named(self, name: str) -> _Watched:
        watched = self._watched.get(name)
        if watched is None:
            raise InstanceNotFound(
                "The gateway serves no such instance any more.", detail="not configured any more"
            )
        return watched

    # -- asking ---------------------------------------------------------------------------------------------

    def _ask(self, watched: _Watched, *, closely: bool = False) -> asyncio.Task[InstanceDescription]:
        """The fetch that is under way, or a new one; `closely`: no listing is to answer it."""
        if not watched.fetch.is_under_way:
            watched.asked_at = self._clock.monotonic()
        # Nobody need wait, and a failure is told where it is met.
        return watched.fetch.begin(
            partial(self._describe, watched, closely),
            name=f"describe {watched.key}",
            expected=(ControlPlaneError,),
        )

    async def _describe(self, watched: _Watched, closely: bool) -> InstanceDescription:
        """Ask, and note the outcome."""
        if not closely and watched.is_listed and self._can_list(watched.key.role_arn):
            asked_at, changes = self._clock.monotonic(), watched.changes
            # Others wait for it, too: who is cancelled leaves it alone.
            await asyncio.wait({self._list(watched.key.role_arn)})
            known = watched.known
            if changes == watched.changes and known is not None and known.seen_at >= asked_at:
                return known.description
        async with self._at_once:
            changes = watched.changes
            try:
                description = await self._control_plane(watched.key.role_arn).describe(watched.key.notebook)
            except ControlPlaneError as error:
                if changes == watched.changes:
                    self._failed(watched, error)
                raise
            if changes == watched.changes:
                self._learnt(watched, description)
            return description

    # -- listing ------------------------------------------------------------------------------------------

    def _of(self, role: str) -> list[_Watched]:
        return [watched for watched in self._all() if watched.key.role_arn == role]

    def _can_list(self, role: str, *, wanted: int | None = None) -> bool:
        """Whether listing is worth it for so many instances (None: for all of the role), and works."""
        listing, now = self._listings[role], self._clock.monotonic()
        count = len(self._of(role)) if wanted is None else wanted
        is_worth_it = count >= max(LIST_FROM, 2 * listing.calls)
        return is_worth_it and now >= listing.not_before and now >= listing.rests_until

    def _list(self, role: str) -> asyncio.Task[None]:
        """The listing that is under way, or a new one."""
        listing = self._listings[role]
        return listing.fetch.begin(partial(self._take_list, role, listing), name=f"list {role}".strip())

    async def _take_list(self, role: str, listing: _Listing) -> None:
        try:
            async with self._at_once:
                changes = {watched.key: watched.changes for watched in self._of(role)}
                found = await self._control_plane(role).list_all(at_most=LISTED_AT_MOST)
        except ControlPlaneError as error:
            self._not_listed(role, listing, error)
            return
        listing.calls = max(1, math.ceil(len(found) / _LISTED_AT_ONCE))
        listing.problem = ""
        seen = {description.name: description for description in found}
        news = []
        for watched in self._of(role):
            if changes.get(watched.key) != watched.changes:
                continue
            summary, known = seen.get(watched.key.notebook), watched.known
            watched.is_listed = summary is not None
            if summary is None:
                continue
            if known is not None and _says_the_same(known.description, summary):
                self._learnt(watched, known.description)
            elif not watched.fetch.is_under_way:
                news.append(watched)
        news.sort(key=lambda watched: watched.asked_at)
        for watched in news[:SETTLED_AT_A_LOOK]:
            self._ask(watched, closely=True)

    def _not_listed(self, role: str, listing: _Listing, error: ControlPlaneError) -> None:
        now = self._clock.monotonic()
        if isinstance(error, Throttled):
            listing.rests_until = now + LIST_FAILED_SECONDS / 2
            return
        is_lasting = isinstance(error, PermissionMissing | ControlPlaneFailed)
        listing.not_before = now + (NOT_LISTED_SECONDS if is_lasting else LIST_FAILED_SECONDS)
        if listing.problem != error.code:
            listing.problem = error.code
            self._events.info(
                "instances cannot be listed, so each is described",
                role=role,
                code=error.code,
                detail=error.detail,
            )
        # This look is theirs all the same.
        alone = [watched for watched in self._due(without=()) if watched.key.role_arn == role]
        self._faults.each("states of instances", alone, self._ask_closely)

    # -- learning -----------------------------------------------------------------------------------------

    def _failed(self, watched: _Watched, error: ControlPlaneError) -> None:
        watched.failure = error
        watched.failed_at = self._clock.monotonic()
        self._troubles.met(
            UNKNOWN,
            error,
            of=watched.key,
            instance=watched.names[0],
            notebook=watched.key.notebook,
            next_try_seconds=FAILURE_SECONDS,
        )

    def _learnt(self, watched: _Watched, description: InstanceDescription) -> None:
        now, before = self._clock.monotonic(), watched.known
        status = description.status
        has_changed = before is None or before.description.status != status
        since = now if before is None or has_changed else before.since
        watched.known = Known(description, seen_at=now, since=since)
        watched.is_fresh = True
        watched.failure = None
        self._troubles.over(UNKNOWN, of=watched.key)
        if has_changed:
            self._changed(watched, before, description)
        self._wake()

    def _changed(self, watched: _Watched, before: Known | None, description: InstanceDescription) -> None:
        status = description.status
        self._measure(watched, before, status)
        if before is not None or status in PASSING:
            watched.moving_until = -math.inf
        for keeper in watched.sessions:
            if status == InstanceStatus.IN_SERVICE:
                keeper.retry()
            elif before is not None and before.description.in_service:
                keeper.drop()
        if before is not None:
            self._events.info(
                "instance changed",
                instance=watched.names[0],
                notebook=watched.key.notebook,
                before=before.description.status,
                status=status,
            )
        self._tell(watched, description)

    def _measure(self, watched: _Watched, before: Known | None, status: str) -> None:
        """How long starts take. One whose begin was not seen counts for nothing: it would look quicker."""
        now = self._clock.monotonic()
        if status == InstanceStatus.PENDING:
            told = watched.pending_since is not None and now - watched.pending_since < MOVING_SECONDS
            if not told:
                seen = before is not None and now - before.seen_at <= 2 * LOOK_SECONDS
                watched.pending_since = now if seen else None
            return
        if status == InstanceStatus.IN_SERVICE and watched.pending_since is not None:
            watched.starts.append(now - watched.pending_since)
        if status == InstanceStatus.IN_SERVICE or (
            before is not None and before.description.status == InstanceStatus.PENDING
        ):
            watched.pending_since = None

    def _tell(self, watched: _Watched, description: InstanceDescription) -> None:
        for name in watched.names:
            self._tell_of(name, description)

    def _tell_of(self, name: str, description: InstanceDescription) -> None:
        # One listener's fault is not to keep it from the others.
        self._faults.each(
            "telling of an instance's change",
            tuple(self._listeners.values()),
            lambda listener: listener(name, description),
        )

    def _moved(self, watched: _Watched) -> None:
        """It was told to change: what was known and asked of it is of the past."""
        watched.changes += 1
        watched.is_fresh = False
        watched.failure = None
        watched.fetch.forget()
        watched.moving_until = self._clock.monotonic() + MOVING_SECONDS
        self._ask(watched, closely=True)
        self._wake()

    # -- watching -------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._poller is None and (self._listeners or self._passing()):
            self._poller = self._rounds.start(
                "states of instances", self._look, every_seconds=LOOK_SECONDS, at_once=True
            )

    def _look(self) -> None:
        """One look; the last one, where there is nothing to watch any more.

        Nobody waits for the answers: SageMaker may take minutes to fail, and who is asked about meanwhile is not asked
        about twice.
        """
        if not self._listeners and not self._passing():
            if self._poller is not None:
                self._poller.stop()
                self._poller = None
            return
        waiting = {
            watched.key
            for role in {watched.key.role_arn for watched in self._all()}
            for watched in self._looked_at_together(role)
        }
        self._faults.each("states of instances", self._due(without=waiting), self._ask_closely)

    def _ask_closely(self, watched: _Watched) -> None:
        self._ask(watched, closely=True)

    def _looked_at_together(self, role: str) -> list[_Watched]:
        """List a role's instances, if that is worth it; those that need not be asked about one by one at this look."""
        passing = [watched for watched in self._passing() if watched.key.role_arn == role]
        watched = self._of(role) if self._listeners else passing
        if self._clock.monotonic() < self._listings[role].rests_until:
            moving = {one.key for one in passing}
            return [one for one in watched if one.key not in moving]
        if not self._can_list(role, wanted=len(watched)):
            return []
        self._list(role)
        return [one for one in watched if one.is_listed]

    def _all(self) -> list[_Watched]:
        return list({watched.key: watched for watched in self._watched.values()}.values())

    def _passing(self) -> list[_Watched]:
        now = self._clock.monotonic()
        return [
            watched
            for watched in self._all()
            if now < watched.moving_until
            or (watched.known is not None and watched.known.description.status in PASSING)
        ]

    def _due(self, *, without: Collection[SessionKey]) -> list[_Watched]:
        """Whom to ask about one by one at this look."""
        passing = [
            watched
            for watched in self._passing()
            if not watched.fetch.is_under_way and watched.key not in without
        ]
        if not self._listeners:
            return passing
        now, busy = self._clock.monotonic(), {watched.key for watched in passing}
        settled = [
            watched
            for watched in self._all()
            if watched.key not in busy
            and watched.key not in without
            and not watched.fetch.is_under_way
            and now - watched.asked_at >= LOOK_SECONDS
        ]
        settled.sort(key=lambda watched: watched.asked_at)
        under_way = sum(watched.fetch.is_under_way for watched in self._all())
        return passing + settled[: max(0, SETTLED_AT_A_LOOK - under_way)]


def _says_the_same(described: InstanceDescription, summary: InstanceDescription) -> bool:
    """Whether a listing has no news of an instance: `modified_at` moves with whatever it does not tell."""
    return (described.status, described.modified_at, described.url, described.instance_type) == (
        summary.status,
        summary.modified_at,
        summary.url,
        summary.instance_type,
    )
