"""What many wait for at once: asked once, by a task that none of them owns.

The rule: whoever waits ends nothing by giving up or by being cancelled. The task goes on, its failure reaches all who
wait for it, and what it brings may count for a while for whoever comes then. It must not know what is fetched.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from proxy.clock import Clock
from proxy.errors import Draining, NbgateError
from proxy.tasks import Tasks

T = TypeVar("T")


class StillUnderWay(Exception):
    """What was waited for has not come in time. It is still awaited."""


@dataclass(frozen=True, slots=True)
class Hold(Generic[T]):
    """How long what was fetched counts for whoever comes then, and what counts in its place where that failed: a crowd
    must not repeat a fault without end."""

    seconds: Callable[[T], float]
    after_failure: T


class SharedFetch(Generic[T]):
    """Of one thing that is fetched: at most one at a time. Event loop's thread only."""

    def __init__(self, *, clock: Clock, tasks: Tasks, hold: Hold[T] | None = None) -> None:
        self._clock = clock
        self._tasks = tasks
        self._hold = hold
        self._task: asyncio.Task[T] | None = None
        self._turn = object()
        """Of the task that began last, unless it was forgotten: what that brings is held."""
        self._held: T | None = None
        self._held_until = -math.inf
        self.began_at = -math.inf
        """Monotonic seconds; of the last one."""

    @property
    def is_under_way(self) -> bool:
        """Until the turn after its end, so that who looks in the same turn does not take it for one that never was."""
        return self._task is not None

    def begin(
        self,
        fetch: Callable[[], Coroutine[Any, Any, T]],
        *,
        name: str,
        expected: tuple[type[BaseException], ...] = (),
    ) -> asyncio.Task[T]:
        """The task that is under way, or a new one, whatever is held. `expected`: see `Tasks.start`."""
        if self._task is None or self._task.done():
            self._turn = turn = object()
            self.began_at = self._clock.monotonic()
            self._task = self._tasks.start(self._fetch(fetch, turn), name=name, expected=expected)
            self._task.add_done_callback(self._ended)
        return self._task

    def held(self) -> T | None:
        """What was fetched a moment ago; None if nothing is held."""
        return self._held if self._clock.monotonic() < self._held_until else None

    async def outcome(self, task: asyncio.Task[T], *, within_seconds: float = math.inf) -> T:
        """What a task brings that `begin` returned.

        Raises what that raised, StillUnderWay after `within_seconds`, or Draining where it was ended.
        """
        if not task.done():
            await self._wait(task, within_seconds)
        if not task.done():
            raise StillUnderWay
        if task.cancelled():
            raise Draining
        error = task.exception()
        if error is not None:
            raise _again(error)
        return task.result()

    def forget(self) -> None:
        """What was fetched, or is on its way, is of the past: it reaches those who wait, and nobody else."""
        self._turn = object()
        self._task = None
        self._held_until = -math.inf

    def cancel(self) -> None:
        """End what is under way: all who wait are told Draining."""
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task is self._task:
            self._task = None

    async def _wait(self, task: asyncio.Task[T], within_seconds: float) -> None:
        # `wait` leaves alone what it waits for, whatever becomes of whoever waits.
        if math.isinf(within_seconds):
            await asyncio.wait({task})
        elif within_seconds > 0:
            patience = self._tasks.start(self._clock.sleep(within_seconds), name="patience")
            try:
                await asyncio.wait({task, patience}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                patience.cancel()

    async def _fetch(self, fetch: Callable[[], Coroutine[Any, Any, T]], turn: object) -> T:
        hold = self._hold
        if hold is None:
            return await fetch()
        outcome = hold.after_failure
        try:
            outcome = await fetch()
        finally:
            if turn is self._turn:
                self._held = outcome
                self._held_until = self._clock.monotonic() + hold.seconds(outcome)
        return outcome


def _again(error: BaseException) -> BaseException:
    """For each who is told a copy: raising one exception many times would grow its traceback without end."""
    if not isinstance(error, NbgateError):
        return error
    again = copy.copy(error)
    again.__cause__ = error.__cause__
    return again
