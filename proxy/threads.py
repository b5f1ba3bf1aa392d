"""Calls that block, in a few threads of their own. One that never comes back costs its thread, and nothing else.

The rule: a thread cannot be ended. One whose call has taken longer than any call does is written off as soon as
somebody needs it, and another takes its place; that has a bound, too, and beyond it `is_stuck` says so. Python does not
wait for these threads when it ends. It must not know what is called.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

MOST_LOST: Final = 16
"""Threads that are written off at a time."""

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class _Worker:
    """A thread, and since when it has been at its call."""

    __slots__ = ("busy_since", "is_lost")

    def __init__(self) -> None:
        self.busy_since: float | None = None
        self.is_lost = False


class Threads:
    """At most `count` at work, not counting those that are lost. `monotonic` tells the time in seconds."""

    def __init__(self, count: int, *, name: str, lost_seconds: float, monotonic: Callable[[], float]) -> None:
        self._count = count
        self._name = name
        self._lost_seconds = lost_seconds
        self._monotonic = monotonic
        self._change = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._workers: list[_Worker] = []
        self._idle = 0
        self._lost = 0
        self._is_closed = False

    @property
    def lost(self) -> int:
        """How many are written off now, because their calls do not come back."""
        return self._lost

    @property
    def is_stuck(self) -> bool:
        """Nothing is called any more: all hang, and as many as may be are written off already."""
        with self._change:
            return self._lost >= MOST_LOST and len(self._hanging()) >= self._count

    async def run(self, call: Callable[[], T]) -> T:
        """Call it in a thread, as soon as one is free. Whoever is cancelled meanwhile hears nothing of it."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        with self._change:
            if self._is_closed:
                raise RuntimeError("closed")
            self._jobs.append((call, outcome, loop))
            self._see_to_it()
            self._change.notify()
        return await outcome

    def close(self) -> None:
        """Begin no more calls; those under way are not waited for. For the event loop's thread."""
        with self._change:
            self._is_closed = True
            for _, outcome, _ in self._jobs:
                outcome.cancel()
            self._jobs.clear()
            self._change.notify_all()

    def _see_to_it(self) -> None:
        """Have a thread for what waits, if there may be one more."""
        if self._idle >= len(self._jobs):
            return
        if len(self._workers) >= self._count:
            for worker in self._hanging()[: MOST_LOST - self._lost]:
                worker.is_lost = True
                self._workers.remove(worker)
                self._lost += 1
        if len(self._workers) < self._count:
            worker = _Worker()
            self._workers.append(worker)
            threading.Thread(target=self._work, args=(worker,), name=self._name, daemon=True).start()

    def _hanging(self) -> list[_Worker]:
        oldest = self._monotonic() - self._lost_seconds
        return [one for one in self._workers if one.busy_since is not None and one.busy_since <= oldest]

    def _work(self, worker: _Worker) -> None:
        while (job := self._next(worker)) is not None:
            call, outcome, loop = job
            result, failure = None, None
            try:
                result = call()
            except BaseException as error:
                failure = error
            try:
                loop.call_soon_threadsafe(_hand_over, outcome, result, failure)
            except RuntimeError:
                pass  # the loop is over, and with it whoever waited
            # Neither is to be kept alive until the next call.
            del job, call, outcome, loop, result, failure

    def _next(self, worker: _Worker) -> _Job | None:
        with self._change:
            worker.busy_since = None
            if worker.is_lost:
                self._lost -= 1
                return None
            while not self._is_closed:
                while self._jobs:
                    job = self._jobs.popleft()
                    if not job[1].cancelled():
                        worker.busy_since = self._monotonic()
                        return job
                self._idle += 1
                try:
                    self._change.wait()
                finally:
                    self._idle -= 1
            return None


def _hand_over(outcome: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if outcome.done():
        return
    if failure is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(failure)
