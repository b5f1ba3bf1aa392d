"""The longest turn of the event loop, measured from within."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from proxy.server.operations.longest_turn import BEAT_SECONDS, WINDOW_SECONDS, LongestTurn


class Loop:
    """A loop whose time the test moves; `turn` is one that is busy for a while before the next beat comes."""

    def __init__(self) -> None:
        self.now = self.worked = 0.0
        self._due: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self._due = (self.now + delay, callback)
        return self  # type: ignore[return-value]

    def cancel(self) -> None:
        self._due = None

    def pass_time(self, seconds: float) -> None:
        """Nothing to do but beats."""
        until = self.now + seconds
        while self._due is not None and self._due[0] <= until + 1e-9:
            self.now, beat = self._due
            beat()
        self.now = until

    def turn(self, *, cpu: float, wall: float | None = None) -> None:
        assert self._due is not None
        self.now += cpu if wall is None else wall
        self.worked += cpu
        if self.now >= self._due[0]:
            self._due[1]()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def longest(loop: Loop) -> LongestTurn:
    return LongestTurn(loop, busy=lambda: loop.worked)  # type: ignore[arg-type]


def test_a_loop_that_is_on_time_has_no_long_turn(loop: Loop, longest: LongestTurn) -> None:
    loop.pass_time(10)
    for _ in range(100):
        loop.turn(cpu=BEAT_SECONDS / 3)
    assert longest.seconds == (0.0, 0.0)


def test_the_longest_turn_is_told_to_the_length_of_a_beat(loop: Loop, longest: LongestTurn) -> None:
    for seconds in (0.02, 0.08, 0.03):
        loop.pass_time(0.104)
        loop.turn(cpu=seconds)
    cpu, wall = longest.seconds
    assert 0.08 <= cpu <= wall <= 0.08 + BEAT_SECONDS


def test_what_others_on_the_machine_take_is_on_the_walls_clock_alone(
    loop: Loop, longest: LongestTurn
) -> None:
    loop.turn(cpu=0.02, wall=3.0)
    cpu, wall = longest.seconds
    assert (round(cpu, 6), round(wall, 6)) == (0.02, 3.0)


def test_it_is_forgotten_after_two_minutes(loop: Loop, longest: LongestTurn) -> None:
    loop.turn(cpu=0.5)
    loop.pass_time(WINDOW_SECONDS * 0.99)
    assert longest.seconds[0] == 0.5
    loop.pass_time(WINDOW_SECONDS * 0.99)
    assert longest.seconds[0] == 0.5
    loop.pass_time(WINDOW_SECONDS)
    assert longest.seconds == (0.0, 0.0)


def test_stopping_ends_the_beats(loop: Loop, longest: LongestTurn) -> None:
    longest.stop()
    loop.pass_time(1)
    assert loop._due is None


async def test_it_measures_the_loop_that_runs() -> None:
    longest = LongestTurn(asyncio.get_running_loop())
    await asyncio.sleep(0.05)
    began_at = time.thread_time()
    while time.thread_time() - began_at < 0.1:
        pass
    await asyncio.sleep(0.05)
    longest.stop()
    cpu, wall = longest.seconds
    assert cpu <= wall
    assert 0.09 <= cpu <= 0.15
