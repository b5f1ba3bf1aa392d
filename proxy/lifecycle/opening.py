"""Starts a stopped instance for whoever opens it: once, however many come.

The rule: only a page that a person opens starts anything, never a script's request, be it the poll of a tab from
yesterday; a frame, a prefetch or a chat's preview does not either. Who may enter was decided before. What came of the
last try is remembered for a moment, so that a page that reloads itself neither repeats it nor hides why it failed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from multidict import MultiMapping

from proxy.clock import Clock
from proxy.errors import ControlPlaneError, InstanceNotInService, NbgateError, UpstreamError
from proxy.instance_status import InstanceStatus
from proxy.lifecycle.idle_stopper import Events
from proxy.lifecycle.order import THE_GATEWAY, OrderedBy
from proxy.tasks import Tasks
from proxy.wire.browsers import STARTS_AN_INSTANCE, SURELY_STARTS_ONE

STARTED_SECONDS: Final = 60.0
"""How long SageMaker may go on saying Stopped after it took the order."""
FAILED_SECONDS: Final = 30.0
"""How long a failure stands before the next visitor causes another try."""
COOL_DOWN_SECONDS: Final = 120.0
"""After a stop for want of use: so long a visitor must be a browser's, by its own word."""


LOOK_SECONDS: Final = 5.0
"""An unreachable notebook's instance is asked about no more often than this."""


class Starter(Protocol):
    """The fleet, by the gateway's names."""

    async def describe(self, name: str, *, max_age_seconds: float) -> object:
        """Ask SageMaker anew. Raises NbgateError's branch."""

    async def start(self, name: str, *, by: OrderedBy) -> None:
        """StartNotebookInstance, by a visitor's order. Raises ControlPlaneError's branch."""


@dataclass(frozen=True, slots=True)
class PageVisit:
    """What tells a person from a script: a request's method and fields."""

    method: str
    headers: MultiMapping[str] = field(repr=False)
    by: OrderedBy = THE_GATEWAY
    """Whose it is, for the log."""


def is_opened(visit: PageVisit, *, by_browser: bool = False) -> bool:
    """Whether somebody opens a page; `by_browser`: a browser has to say so."""
    rule = SURELY_STARTS_ONE if by_browser else STARTS_AN_INSTANCE
    return rule.fits(visit.method, visit.headers)


@dataclass(slots=True, kw_only=True)
class _Start:
    """The last try, in monotonic seconds."""

    is_under_way: bool = False
    told_at: float = -math.inf
    failure: NbgateError | None = None
    failed_at: float = -math.inf
    stopped_at: float = -math.inf


class Opening:
    """One per process; survives reloads."""

    def __init__(self, *, clock: Clock, tasks: Tasks, starter: Starter, events: Events) -> None:
        self.starts = 0
        """Instances started for a visitor so far."""
        self._clock = clock
        self._tasks = tasks
        self._starter = starter
        self._events = events
        self._keys: dict[str, Hashable] = {}
        self._starts: dict[Hashable, _Start] = {}

    def adopt(self, notebooks: Mapping[str, Hashable]) -> None:
        """Start these instances from now on; names of one notebook have equal values."""
        self._keys = dict(notebooks)
        self._starts = {key: self._starts.get(key) or _Start() for key in notebooks.values()}

    def stopped_idle(self, name: str) -> None:
        """It was stopped for want of use, just now."""
        if name in self._keys:
            self._starts[self._keys[name]].stopped_at = self._clock.monotonic()

    def serves(self, name: str) -> bool:
        """Whether it is started for visitors."""
        return name in self._keys

    def answer_for(self, name: str, error: NbgateError, visit: PageVisit) -> NbgateError:
        """A permitted visitor was to be answered with `error`; what to answer instead, or `error` itself."""
        if name not in self._keys:
            return error
        start, now = self._starts[self._keys[name]], self._clock.monotonic()
        if not isinstance(error, InstanceNotInService):
            if isinstance(error, UpstreamError) and is_opened(visit):
                # It may have been stopped elsewhere, and its session not know: the next visit finds out.
                self._tasks.start(self._look(name), name=f"look at {name}")
            return error
        by_browser = now - start.stopped_at < COOL_DOWN_SECONDS
        if error.instance_status == InstanceStatus.STOPPING and is_opened(visit, by_browser=by_browser):
            return _stopping()
        if error.instance_status != InstanceStatus.STOPPED:
            return error
        if start.is_under_way:
            # Not started yet, and perhaps never: what SageMaker says to the order is not known.
            return copy.copy(start.failure) if start.failure is not None else _asking()
        if now - start.told_at < STARTED_SECONDS:
            return _starting()
        if not is_opened(visit, by_browser=by_browser):
            return error
        if start.failure is not None and now - start.failed_at < FAILED_SECONDS:
            # A copy: raising one exception many times would grow its traceback without end.
            return copy.copy(start.failure)
        start.is_under_way = True
        if start.failure is not None and start.failure.wait_seconds:
            start.failure = None
        self._tasks.start(self._start(name, start, visit.by), name=f"start {name}")
        # What did not pass by itself before is still the best that is known.
        return copy.copy(start.failure) if start.failure is not None else _asking()

    async def _start(self, name: str, start: _Start, by: OrderedBy) -> None:
        if self._starts.get(self._keys.get(name)) is not start:
            # The name leads to another notebook by now, which nobody opened.
            start.is_under_way = False
            return
        try:
            await self._starter.start(name, by=by)
            start.told_at, start.failure = self._clock.monotonic(), None
            self.starts += 1
            self._events.info("instance started for a visitor", instance=name, **by.fields())
        except InstanceNotInService:
            # Somebody else was quicker.
            start.told_at, start.failure = self._clock.monotonic(), None
        except ControlPlaneError as error:
            start.failure, start.failed_at = error, self._clock.monotonic()
            self._events.error(
                "instance could not be started for a visitor",
                instance=name,
                **error.log_fields(),
                next_try_seconds=FAILED_SECONDS,
            )
        finally:
            start.is_under_way = False

    async def _look(self, name: str) -> None:
        try:
            await self._starter.describe(name, max_age_seconds=LOOK_SECONDS)
        except NbgateError:
            pass  # the fleet has logged it


def _asking() -> InstanceNotInService:
    return InstanceNotInService(
        "SageMaker is being asked to start the notebook instance.",
        instance_status=InstanceStatus.PENDING,
        retry_after_seconds=2,
    )


def _starting() -> InstanceNotInService:
    return InstanceNotInService(
        "The notebook instance is starting.", instance_status=InstanceStatus.PENDING, retry_after_seconds=10
    )


def _stopping() -> InstanceNotInService:
    return InstanceNotInService(
        "The notebook instance is stopping. It is started again as soon as it has stopped.",
        instance_status=InstanceStatus.STOPPING,
        retry_after_seconds=10,
    )
