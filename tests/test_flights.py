"""Whoever waits for what many wait for, waits for so long at most, and ends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.flights import has_landed
from proxy.tasks import Tasks
from tests.harness.clocks import FakeClock, settle


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    failed: list[BaseException] = []
    owner = Tasks(lambda _name, error: failed.append(error))
    yield owner
    await owner.close()
    assert failed == []


@pytest.mark.parametrize(("lands_after", "landed"), [(1.0, True), (4.9, True), (5.1, False)])
async def test_a_flight_is_waited_for_by_the_clock(tasks: Tasks, lands_after: float, landed: bool) -> None:
    clock = FakeClock()
    flight = tasks.start(clock.sleep(lands_after), name="flight")
    waiter = asyncio.ensure_future(has_landed(flight, within_seconds=5.0, clock=clock, tasks=tasks))
    await settle()
    await clock.advance(5.0)
    assert await waiter is landed
    await clock.advance(1.0)
    assert flight.done()
    assert not flight.cancelled()
    assert len(tasks) == 0, "nothing is left of the waiting"


async def test_who_comes_too_late_does_not_wait_at_all(tasks: Tasks) -> None:
    clock = FakeClock()
    flight = tasks.start(clock.sleep(1.0), name="flight")
    assert await has_landed(flight, within_seconds=0.0, clock=clock, tasks=tasks) is False
    assert await has_landed(flight, within_seconds=-3.0, clock=clock, tasks=tasks) is False
    await settle()
    await clock.advance(1.0)
    assert await has_landed(flight, within_seconds=-3.0, clock=clock, tasks=tasks) is True


async def test_who_is_cancelled_leaves_the_flight_and_no_timer(tasks: Tasks) -> None:
    clock = FakeClock()
    flight = tasks.start(clock.sleep(10.0), name="flight")
    waiter = asyncio.ensure_future(has_landed(flight, within_seconds=5.0, clock=clock, tasks=tasks))
    await settle()
    waiter.cancel()
    await settle()
    assert waiter.cancelled()
    assert not flight.done()
    assert len(tasks) == 1


async def test_a_flight_that_fails_has_landed(tasks: Tasks) -> None:
    async def fail() -> None:
        raise ValueError

    flight = asyncio.ensure_future(fail())
    assert await has_landed(flight, within_seconds=5.0, clock=FakeClock(), tasks=tasks) is True
    assert isinstance(flight.exception(), ValueError)
