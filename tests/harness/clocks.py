"""Clocks that a test moves: one that stands still until then, and the machine's own put forward."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

from proxy.clock import SystemClock
from tests.harness.waiting import settle


class FakeClock:
    """Implements `proxy.clock.Clock`. `advance` wakes the sleepers in the order of their time."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), waiter))
        await waiter

    @property
    def sleeping(self) -> int:
        """How many are asleep now."""
        return sum(1 for _, _, waiter in self._sleepers if not waiter.done())

    async def advance(self, seconds: float) -> None:
        """Move time, and let everything that woke run until it waits again."""
        target = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            wake_at, _, waiter = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, wake_at)
            if not waiter.done():
                waiter.set_result(None)
            await settle()
        self._elapsed = target
        await settle()

    def set(self, seconds: float) -> None:
        """Have it say that so many seconds passed since it began. Nobody wakes."""
        self._elapsed = seconds

    async def jump(self, seconds: float) -> None:
        """Move time in one step, as if the machine had slept: whoever is due wakes once."""
        self._elapsed += seconds
        await self.advance(0)


class AheadClock(SystemClock):
    """The machine's clock, put forward by the test. Whoever sleeps is not woken by it."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_seconds)

    def monotonic(self) -> float:
        return SystemClock.monotonic() + self.ahead_seconds
