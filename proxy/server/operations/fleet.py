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
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

from proxy.aws.control_plane import ControlPlane, InstanceDescription
from proxy.aws.presigned import SessionKey
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneTimeout,
    InstanceNotFound,
)
from proxy.faults import Faults
from proxy.instance_status import InstanceStatus
from proxy.lifecycle.order import THE_GATEWAY, OrderedBy
from proxy.rounds import Round, Rounds
from proxy.server.operations.role_listing import LISTED_AT_MOST, RoleListing
from proxy.server.operations.watched_instance import (
    LOOK_SECONDS,
    KnownState,
    SessionsOfInstance,
    WatchedInstance,
    says_the_same,
)
from proxy.shared_fetch import SharedFetch, StillUnderWay
from proxy.tasks import Tasks
from proxy.telemetry.events import EventLog
from proxy.telemetry.troubles import Troubles

UNKNOWN: Final = "state of instance unknown"
SETTLED_AT_A_LOOK: Final = 10
"""Instances that are not on their way anywhere, asked about in turn: two calls a second, however many there are."""
PATIENCE_SECONDS: Final = 20.0
"""How long somebody waits for a description, whatever is asked before it: less than load balancers do, even where an
instance was to be started or stopped first, which takes 30 s at most."""
FAILURE_SECONDS: Final = 5.0
"""How long a failure to describe is remembered: a crowd must not become a storm."""
_AT_ONCE: Final = 3
"""Descriptions asked for at the same time: the control plane has four threads, and one is left for sign-ins."""

StatusListener = Callable[[str, InstanceDescription], None]


class Fleet:
    """The configured instances and their states. One for each process; `adopt` follows the configuration.

    Methods take the gateway's names of instances. One that is not configured, or not any more, for a reload may come at
    any time, is not found: they raise InstanceNotFound, or know nothing of it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sessions: Mapping[str, SessionsOfInstance],
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
        self._watched: dict[str, WatchedInstance] = {}
        self._listings: defaultdict[str, RoleListing] = defaultdict(
            lambda: RoleListing(SharedFetch(clock=clock, tasks=tasks))
        )
        self._listeners: dict[object, StatusListener] = {}
        self._poller: Round | None = None
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self.adopt(settings, sessions)

    def adopt(self, settings: Settings, sessions: Mapping[str, SessionsOfInstance]) -> None:
        """Know these instances from now on; what is known of those that stay is kept."""
        before = {watched.key: watched for watched in self._watched.values()}
        names: dict[SessionKey, list[str]] = {}
        for name, instance in settings.instances.items():
            names.setdefault(SessionKey(instance.notebook, instance.assume_role or ""), []).append(name)
        self._watched = {}
        for key, shared in names.items():
            watched = before.get(key) or WatchedInstance(
                key, SharedFetch(clock=self._clock, tasks=self._tasks)
            )
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

    def known(self, name: str) -> KnownState | None:
        """What SageMaker last said of it, however long ago, without asking; None if it never did."""
        watched = self._watched.get(name)
        return None if watched is None else watched.known

    async def start(self, name: str, *, by: OrderedBy = THE_GATEWAY) -> None:
        """StartNotebookInstance, by whose order the log says. Raises as `ControlPlane.start`."""
        watched = self._named(name)
        await self._control_plane(watched.key.role_arn).start(watched.key.notebook)
        self._moved(watched, starts=True)
        for keeper in watched.sessions:
            keeper.retry()
        self._events.info(
            "instance told to start", instance=name, notebook=watched.key.notebook, **by.fields()
        )

    async def stop(self, name: str, *, by: OrderedBy = THE_GATEWAY) -> None:
        """StopNotebookInstance, by whose order the log says. Raises as `ControlPlane.stop`."""
        watched = self._named(name)
        await self._control_plane(watched.key.role_arn).stop(watched.key.notebook)
        self._moved(watched, starts=False)
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
        return None if watched is None else watched.usual_start_seconds()

    def _named(self, name: str) -> WatchedInstance:
        watched = self._watched.get(name)
        if watched is None:
            raise InstanceNotFound(
                "The gateway serves no such instance any more.", detail="not configured any more"
            )
        return watched

    # -- asking ---------------------------------------------------------------------------------------------

    def _ask(self, watched: WatchedInstance, *, closely: bool = False) -> asyncio.Task[InstanceDescription]:
        """The fetch that is under way, or a new one; `closely`: no listing is to answer it."""
        if not watched.fetch.is_under_way:
            watched.asked_at = self._clock.monotonic()
        # Nobody need wait, and a failure is told where it is met.
        return watched.fetch.begin(
            partial(self._describe, watched, closely),
            name=f"describe {watched.key}",
            expected=(ControlPlaneError,),
        )

    async def _describe(self, watched: WatchedInstance, closely: bool) -> InstanceDescription:
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

    def _of(self, role: str) -> list[WatchedInstance]:
        return [watched for watched in self._all() if watched.key.role_arn == role]

    def _can_list(self, role: str, *, wanted: int | None = None) -> bool:
        """Whether listing is worth it for so many instances (None: for all of the role), and works."""
        count = len(self._of(role)) if wanted is None else wanted
        return self._listings[role].is_worth_it(count, self._clock.monotonic())

    def _list(self, role: str) -> asyncio.Task[None]:
        """The listing that is under way, or a new one."""
        listing = self._listings[role]
        return listing.fetch.begin(partial(self._take_list, role, listing), name=f"list {role}".strip())

    async def _take_list(self, role: str, listing: RoleListing) -> None:
        try:
            async with self._at_once:
                changes = {watched.key: watched.changes for watched in self._of(role)}
                found = await self._control_plane(role).list_all(at_most=LISTED_AT_MOST)
        except ControlPlaneError as error:
            self._not_listed(role, listing, error)
            return
        listing.succeeded(len(found))
        seen = {description.name: description for description in found}
        news = []
        for watched in self._of(role):
            if changes.get(watched.key) != watched.changes:
                continue
            summary, known = seen.get(watched.key.notebook), watched.known
            watched.is_listed = summary is not None
            if summary is None:
                continue
            if known is not None and says_the_same(known.description, summary):
                self._learnt(watched, known.description)
            elif not watched.fetch.is_under_way:
                news.append(watched)
        news.sort(key=lambda watched: watched.asked_at)
        for watched in news[:SETTLED_AT_A_LOOK]:
            self._ask(watched, closely=True)

    def _not_listed(self, role: str, listing: RoleListing, error: ControlPlaneError) -> None:
        if not listing.failed(error, self._clock.monotonic()):
            return
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

    def _failed(self, watched: WatchedInstance, error: ControlPlaneError) -> None:
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

    def _learnt(self, watched: WatchedInstance, description: InstanceDescription) -> None:
        before = watched.known
        has_changed = watched.learn(description, self._clock.monotonic())
        self._troubles.over(UNKNOWN, of=watched.key)
        if has_changed:
            self._changed(watched, before, description)
        self._wake()

    def _changed(
        self, watched: WatchedInstance, before: KnownState | None, description: InstanceDescription
    ) -> None:
        status = description.status
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

    def _tell(self, watched: WatchedInstance, description: InstanceDescription) -> None:
        for name in watched.names:
            self._tell_of(name, description)

    def _tell_of(self, name: str, description: InstanceDescription) -> None:
        # One listener's fault is not to keep it from the others.
        self._faults.each(
            "telling of an instance's change",
            tuple(self._listeners.values()),
            lambda listener: listener(name, description),
        )

    def _moved(self, watched: WatchedInstance, *, starts: bool) -> None:
        watched.moves(self._clock.monotonic(), starts=starts)
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

    def _ask_closely(self, watched: WatchedInstance) -> None:
        self._ask(watched, closely=True)

    def _looked_at_together(self, role: str) -> list[WatchedInstance]:
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

    def _all(self) -> list[WatchedInstance]:
        return list({watched.key: watched for watched in self._watched.values()}.values())

    def _passing(self) -> list[WatchedInstance]:
        now = self._clock.monotonic()
        return [watched for watched in self._all() if watched.is_passing(now)]

    def _due(self, *, without: Collection[SessionKey]) -> list[WatchedInstance]:
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
