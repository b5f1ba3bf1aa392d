"""Calls that block run in a few threads, and those that never come back cost no more than their threads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from proxy.threads import MOST_LOST, Threads
from tests.harness.clocks import FakeClock

LOST_SECONDS = 100.0


class Stage:
    """Four threads, a clock, and calls that hang until they are let go."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.threads = Threads(4, name="calls", lost_seconds=LOST_SECONDS, monotonic=self.clock.monotonic)
        self.let_go = threading.Event()
        self.hanging = threading.Semaphore(0)

    def hang(self) -> str:
        self.hanging.release()
        self.let_go.wait(30)
        return "late"

    async def all_hang(self, count: int = 4) -> list[asyncio.Task[str]]:
        calls = [asyncio.ensure_future(self.threads.run(self.hang)) for _ in range(count)]
        for _ in range(count):
            assert await asyncio.to_thread(self.hanging.acquire, True, 30)
        return calls


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    stage.let_go.set()
    stage.threads.close()


async def test_what_a_call_returns_or_raises_is_its_outcome(stage: Stage) -> None:
    assert await stage.threads.run(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await stage.threads.run(lambda: 1 / 0)
    names = await asyncio.gather(
        *(stage.threads.run(lambda: threading.current_thread().name) for _ in range(20))
    )
    assert set(names) == {"calls"}


async def test_no_more_than_so_many_are_at_work(stage: Stage) -> None:
    calls = await stage.all_hang()
    fifth = asyncio.ensure_future(stage.threads.run(lambda: "at last"))
    await asyncio.sleep(0)
    assert not stage.hanging.acquire(blocking=False)
    stage.let_go.set()
    assert await asyncio.gather(*calls) == ["late"] * 4
    assert await fifth == "at last"


async def test_threads_that_are_lost_are_replaced_and_leave_when_they_come_back(stage: Stage) -> None:
    """A name server that never answers must not end all calls for the life of the process."""
    calls = await stage.all_hang()
    await stage.clock.advance(LOST_SECONDS)
    assert await asyncio.gather(*(stage.threads.run(lambda: "well") for _ in range(8))) == ["well"] * 8
    assert stage.threads.lost >= 1
    assert not stage.threads.is_stuck
    stage.let_go.set()
    assert await asyncio.gather(*calls) == ["late"] * 4
    async with asyncio.timeout(30):
        while stage.threads.lost:
            await asyncio.sleep(0.001)
    assert await stage.threads.run(lambda: "well") == "well"


async def test_writing_off_has_a_bound_and_is_told(stage: Stage) -> None:
    calls = []
    for _ in range(MOST_LOST // 4):
        calls += await stage.all_hang()
        assert not stage.threads.is_stuck
        await stage.clock.advance(LOST_SECONDS)
    calls += await stage.all_hang()
    assert stage.threads.lost == MOST_LOST
    assert not stage.threads.is_stuck
    await stage.clock.advance(LOST_SECONDS)
    assert stage.threads.is_stuck
    waiting = asyncio.ensure_future(stage.threads.run(lambda: "well"))
    await asyncio.sleep(0)
    assert not waiting.done()
    stage.let_go.set()
    assert await waiting == "well"
    await asyncio.gather(*calls)
    assert not stage.threads.is_stuck


async def test_who_gives_up_before_its_turn_is_not_called_for(stage: Stage) -> None:
    calls = await stage.all_hang()
    called: list[int] = []
    given_up = asyncio.ensure_future(stage.threads.run(lambda: called.append(1)))
    await asyncio.sleep(0)
    given_up.cancel()
    calls[0].cancel()
    await asyncio.sleep(0)
    stage.let_go.set()
    await stage.threads.run(lambda: called.append(2))
    assert called == [2]
    await asyncio.gather(*calls[1:])


async def test_closing_ends_the_waiting_and_begins_nothing(stage: Stage) -> None:
    calls = await stage.all_hang()
    waiting = asyncio.ensure_future(stage.threads.run(lambda: 1))
    await asyncio.sleep(0)
    stage.threads.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(RuntimeError):
        await stage.threads.run(lambda: 1)
    stage.let_go.set()
    assert await asyncio.gather(*calls) == ["late"] * 4


def test_python_does_not_wait_for_them_when_it_ends() -> None:
    """As it does for those of `concurrent.futures`, daemons or not."""
    code = """
import asyncio, threading, time
from proxy.threads import Threads
async def main():
    threads = Threads(1, name="calls", lost_seconds=1e9, monotonic=time.monotonic)
    hangs = threading.Event()
    def hang():
        hangs.set()
        threading.Event().wait()
    asyncio.ensure_future(threads.run(hang))
    while not hangs.is_set():
        await asyncio.sleep(0.01)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
