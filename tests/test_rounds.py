"""Rounds come for ever, whatever one of them does; what no guard can mend is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.rounds import STUCK_PERIODS, STUCK_SECONDS, Round, Rounds
from proxy.tasks import Tasks
from tests.harness.clocks import FakeClock
from tests.harness.faulty import collecting
from tests.harness.waiting import settle


@dataclass
class Stage:
    clock: FakeClock
    rounds: Rounds
    met: list[BaseException]
    came: list[float] = field(default_factory=list)

    async def start(self, do: Any, **options: Any) -> Any:
        def round_() -> Any:
            self.came.append(self.clock.monotonic() - 1000.0)
            return do()

        loop = self.rounds.start("sweep", round_, **{"every_seconds": 1.0, **options})
        await settle()
        return loop


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    clock, met = FakeClock(), list[BaseException]()
    tasks = Tasks(lambda _name, error: met.append(error))
    faults = collecting(met, monotonic=clock.monotonic)
    yield Stage(clock, Rounds(clock=clock, tasks=tasks, faults=faults), met)
    await tasks.close()


def fail() -> None:
    raise ValueError


async def fail_later() -> None:
    raise ValueError


async def cancelled_by_somebody_else() -> None:
    waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waited_for.cancel()
    await waited_for


@pytest.mark.parametrize("do", [fail, fail_later, cancelled_by_somebody_else])
async def test_the_next_round_comes_whatever_a_round_does(stage: Stage, do: Any) -> None:
    await stage.start(do)
    await stage.clock.advance(3)
    assert stage.came == [1.0, 2.0, 3.0]
    assert len(stage.met) == 1
    assert stage.rounds.unwell() == ()


async def test_the_first_round_may_come_at_once_and_a_later_one_sooner(stage: Stage) -> None:
    pauses = [0.25, None, 5.0, -1.0, None]
    await stage.start(lambda: pauses.pop(0), at_once=True)
    await stage.clock.advance(2.3)
    assert stage.came == [0.0, 0.25, 1.25, 2.25, 2.25]


async def test_a_round_that_does_not_end_is_named_and_well_again_when_it_does(stage: Stage) -> None:
    over = asyncio.Event()
    await stage.start(over.wait)
    await stage.clock.advance(STUCK_SECONDS)
    assert stage.rounds.unwell() == ()
    await stage.clock.advance(0.1)
    assert stage.rounds.unwell() == ("sweep: stuck",)
    over.set()
    await settle()
    assert stage.rounds.unwell() == ()


async def test_what_comes_seldom_or_takes_long_has_longer(stage: Stage) -> None:
    await stage.start(asyncio.Event().wait, every_seconds=60.0)
    await stage.clock.advance(60.0 * STUCK_PERIODS)
    assert stage.rounds.unwell() == ()
    await stage.clock.advance(0.1)
    assert stage.rounds.unwell() == ("sweep: stuck",)
    stage.rounds.start("reading", asyncio.Event().wait, every_seconds=0.3, stuck_seconds=120.0)
    await stage.clock.advance(119.0)
    assert stage.rounds.unwell() == ("sweep: stuck",)


async def test_a_loop_whose_task_has_ended_is_named(stage: Stage) -> None:
    loop = await stage.start(lambda: None)
    await stage.clock.advance(2)
    loop.task.cancel()
    await settle()
    assert stage.rounds.unwell() == ("sweep: ended",)


async def test_a_loop_that_is_stopped_is_not_missed(stage: Stage) -> None:
    other = await stage.start(lambda: None)
    loop: Round = await stage.start(lambda: loop.stop())
    await stage.clock.advance(1)
    other.stop()
    await stage.clock.advance(1000)
    assert stage.rounds.unwell() == ()
    assert stage.rounds.running == ()
    assert len(stage.came) == 2
    assert stage.met == []
