"""What many wait for is asked once. Whoever waits ends nothing, and all are told how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from proxy.errors import Draining, NbgateError, Throttled
from proxy.shared_fetch import Hold, SharedFetch, StillUnderWay
from proxy.tasks import Tasks
from tests.harness.clocks import FakeClock
from tests.harness.waiting import settle


class World:
    """Something that takes `lasts` seconds to be fetched, and what fetches it."""

    def __init__(self, *, hold: Hold[int] | None = None) -> None:
        self.clock = FakeClock()
        self.told: list[BaseException] = []
        self.tasks = Tasks(lambda _name, error: self.told.append(error))
        self.shared: SharedFetch[int] = SharedFetch(clock=self.clock, tasks=self.tasks, hold=hold)
        self.lasts = 1.0
        self.failure: Exception | None = None
        self.fetched = 0

    async def fetch(self) -> int:
        self.fetched += 1
        number = self.fetched
        await self.clock.sleep(self.lasts)
        if self.failure is not None:
            raise self.failure
        return number

    async def ask(self, **within: float) -> int:
        return await self.shared.outcome(
            self.shared.begin(self.fetch, name="fetch", expected=(NbgateError,)), **within
        )

    async def crowd(self, count: int = 20) -> list[asyncio.Task[int]]:
        asking = [asyncio.ensure_future(self.ask()) for _ in range(count)]
        await settle()
        return asking


Make = Callable[..., World]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    worlds: list[World] = []

    def build(**options: Hold[int]) -> World:
        worlds.append(World(**options))
        return worlds[-1]

    yield build
    for world in worlds:
        await world.tasks.close()


async def failure(awaitable: Awaitable[object]) -> BaseException:
    with pytest.raises(Exception) as caught:
        await awaitable
    return caught.value


async def test_all_who_ask_at_once_share_a_fetch_and_one_who_leaves_takes_nothing_along(make: Make) -> None:
    world = make()
    first, *others = await world.crowd()
    first.cancel()
    await settle()
    assert first.cancelled()
    await world.clock.advance(1.0)
    assert await asyncio.gather(*others) == [1] * len(others)
    assert world.fetched == 1
    assert not world.shared.is_under_way
    (later,) = await world.crowd(1)
    await world.clock.advance(1.0)
    assert await later == 2
    assert len(world.tasks) == 0


async def test_a_failure_reaches_all_who_wait_each_as_its_own(make: Make) -> None:
    world = make()
    cause = OSError("reset")
    world.failure = Throttled(detail="twice a second")
    world.failure.__cause__ = cause
    asking = await world.crowd()
    await world.clock.advance(1.0)
    told = [await failure(one) for one in asking]
    assert {(type(one), one.log_detail) for one in told if isinstance(one, Throttled)} == {
        (Throttled, "twice a second")
    }
    assert len({id(one) for one in told}) == len(asking)
    assert all(one.__cause__ is cause for one in told)
    assert world.told == [], "whoever asks tells of what is expected"


async def test_a_fault_of_our_own_reaches_all_who_wait_and_the_tasks_owner(make: Make) -> None:
    world = make()
    world.failure = ZeroDivisionError()
    asking = await world.crowd()
    await world.clock.advance(1.0)
    assert {type(await failure(one)) for one in asking} == {ZeroDivisionError}
    assert world.told == [world.failure]


@pytest.mark.parametrize(("lasts", "comes"), [(1.0, True), (4.9, True), (5.1, False)])
async def test_who_waits_waits_for_so_long_by_the_clock(make: Make, lasts: float, comes: bool) -> None:
    world = make()
    world.lasts = lasts
    asking = asyncio.ensure_future(world.ask(within_seconds=5.0))
    await settle()
    await world.clock.advance(5.0)
    if comes:
        assert await asking == 1
    else:
        assert isinstance(await failure(asking), StillUnderWay)
        assert world.shared.is_under_way, "it goes on"
        await world.clock.advance(0.2)
    assert len(world.tasks) == 0, "nothing is left of the waiting"


async def test_who_is_late_does_not_wait_at_all(make: Make) -> None:
    world = make()
    fetch = world.shared.begin(world.fetch, name="fetch")
    for late in (0.0, -3.0):
        assert isinstance(await failure(world.shared.outcome(fetch, within_seconds=late)), StillUnderWay)
    await settle()
    await world.clock.advance(1.0)
    assert await world.shared.outcome(fetch, within_seconds=-3.0) == 1


async def test_who_is_cancelled_leaves_the_fetch_and_no_timer(make: Make) -> None:
    world = make()
    asking = asyncio.ensure_future(world.ask(within_seconds=5.0))
    await settle()
    asking.cancel()
    await settle()
    assert asking.cancelled()
    assert world.shared.is_under_way
    assert len(world.tasks) == 1


@pytest.mark.parametrize("has_run", [True, False])
async def test_all_are_told_where_it_is_ended(make: Make, has_run: bool) -> None:
    world = make()
    fetch = world.shared.begin(world.fetch, name="fetch")
    asking = [asyncio.ensure_future(world.shared.outcome(fetch)) for _ in range(3)]
    if has_run:
        await settle()
    world.shared.cancel()
    assert {type(await failure(one)) for one in asking} == {Draining}
    assert not world.shared.is_under_way
    world.shared.cancel()


async def test_what_was_fetched_counts_for_as_long_as_it_says(make: Make) -> None:
    world = make(hold=Hold(float, after_failure=-1))
    assert world.shared.held() is None
    for number in (1, 2):
        asking = asyncio.ensure_future(world.ask())
        await settle()
        await world.clock.advance(1.0)
        assert await asking == number
        assert world.shared.held() == number
        await world.clock.advance(number - 0.1)
        assert world.shared.held() == number
        await world.clock.advance(0.1)
        assert world.shared.held() is None


async def test_what_failed_counts_too(make: Make) -> None:
    world = make(hold=Hold(lambda _number: 3.0, after_failure=-1))
    world.failure = ZeroDivisionError()
    asking = asyncio.ensure_future(world.ask())
    await settle()
    await world.clock.advance(1.0)
    assert await failure(asking) is world.failure
    assert world.shared.held() == -1


async def test_what_is_forgotten_reaches_those_who_wait_and_nobody_else(make: Make) -> None:
    world = make(hold=Hold(lambda _number: 10.0, after_failure=-1))
    before = await world.crowd(2)
    await world.clock.advance(0.5)
    world.shared.forget()
    after = await world.crowd(2)
    await world.clock.advance(0.5)
    assert await asyncio.gather(*before) == [1, 1]
    assert world.shared.held() is None
    assert world.shared.is_under_way
    await world.clock.advance(0.5)
    assert await asyncio.gather(*after) == [2, 2]
    assert world.shared.held() == 2
    world.shared.forget()
    assert world.shared.held() is None
