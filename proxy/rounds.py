"""What runs for ever, in rounds: each is guarded, and a loop that has died or stands still says its name.

The rule: nothing that a round does may end the rounds after it. Whatever it raises is a fault that is met, and the next
round comes in its time; within a round, items are guarded one by one (`proxy.faults.Faults.each`). What no guard can
mend, a task that was ended or a round that never ends, shows in `unwell`, by which the process is restarted. It must
not know what a round is for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.clock import Clock
from proxy.faults import Faults
from proxy.tasks import Tasks

STUCK_PERIODS: Final = 10
"""So many rounds that did not come make a loop stuck,"""
STUCK_SECONDS: Final = 30.0
"""but no sooner than after so long: a busy machine is no reason to end everybody's connections."""

Do = Callable[[], "Awaitable[float | None] | float | None"]
"""One round. It may return in how many seconds the next one is due, if sooner than usual."""


class Round:
    """One loop. `stop` ends it for good, and it is no longer looked for."""

    __slots__ = ("_rounds", "every_seconds", "name", "stuck_seconds", "task", "turned_at")

    def __init__(
        self, rounds: Rounds, name: str, *, every_seconds: float, stuck_seconds: float, now: float
    ) -> None:
        self._rounds = rounds
        self.name = name
        self.every_seconds = every_seconds
        self.stuck_seconds = stuck_seconds
        self.turned_at = now
        """When the last round ended."""
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Also from within a round, which is then the last one."""
        self._rounds._forget(self)
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()


class Rounds:
    """All loops of one process."""

    def __init__(self, *, clock: Clock, tasks: Tasks, faults: Faults) -> None:
        self._clock = clock
        self._tasks = tasks
        self._faults = faults
        self._running: list[Round] = []

    def start(
        self,
        name: str,
        do: Do,
        *,
        every_seconds: float,
        stuck_seconds: float = STUCK_SECONDS,
        at_once: bool = False,
    ) -> Round:
        """Have `do` done every so many seconds, counted from the end of one round to the start of the next.

        `stuck_seconds` is how long a round may take at least before the loop counts as stuck. `at_once`: the first
        round does not wait.
        """
        most = max(stuck_seconds, STUCK_PERIODS * every_seconds)
        one = Round(self, name, every_seconds=every_seconds, stuck_seconds=most, now=self._clock.monotonic())
        self._running.append(one)
        self._faults.counts[name] += 0
        one.task = self._tasks.start(self._run(one, do, at_once=at_once), name=name)
        return one

    @property
    def running(self) -> tuple[Round, ...]:
        """All loops that were started and not stopped, be they well or not."""
        return tuple(self._running)

    def unwell(self) -> tuple[str, ...]:
        """What has died, and what is stuck, in words for whoever has to restart the process."""
        now = self._clock.monotonic()
        words = []
        for one in self._running:
            if one.task is None or one.task.done():
                words.append(f"{one.name}: ended")
            elif now - one.turned_at > one.stuck_seconds:
                words.append(f"{one.name}: stuck")
        return tuple(words)

    async def _run(self, one: Round, do: Do, *, at_once: bool) -> None:
        if not at_once:
            await self._clock.sleep(one.every_seconds)
        while True:
            sooner = await self._turn(one, do)
            if one not in self._running:
                return
            usual = one.every_seconds
            await self._clock.sleep(usual if sooner is None else min(max(sooner, 0.0), usual))

    async def _turn(self, one: Round, do: Do) -> float | None:
        try:
            outcome = do()
            if inspect.isawaitable(outcome):
                outcome = await outcome
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this loop: something that the round waited for.
            self._faults.met(one.name, error)
            outcome = None
        except Exception as error:
            self._faults.met(one.name, error)
            outcome = None
        one.turned_at = self._clock.monotonic()
        return outcome

    def _forget(self, one: Round) -> None:
        if one in self._running:
            self._running.remove(one)
