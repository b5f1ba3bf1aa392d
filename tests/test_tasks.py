"""Background tasks have an owner."""

from __future__ import annotations

import asyncio

from proxy.tasks import Tasks
from tests.harness.waiting import settle


async def test_a_task_that_fails_is_told_with_its_name_and_forgotten() -> None:
    told: list[tuple[str, BaseException]] = []
    tasks = Tasks(lambda name, error: told.append((name, error)))

    async def fail() -> None:
        raise ValueError("no")

    tasks.start(fail(), name="sweep")
    await settle()
    assert [(name, str(error)) for name, error in told] == [("sweep", "no")]
    assert len(tasks) == 0


async def test_closing_cancels_what_still_runs_and_waits_for_it() -> None:
    tasks = Tasks(lambda name, error: None)
    ended = asyncio.Event()

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    tasks.start(run(), name="forever")
    await settle()
    assert len(tasks) == 1
    await tasks.close()
    assert ended.is_set()
    assert len(tasks) == 0
