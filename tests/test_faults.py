"""What fails among many is met, counted, told at a bounded rate, and costs the others nothing."""

from __future__ import annotations

import asyncio

import pytest

from proxy.faults import KINDS, REPEAT_SECONDS, Faults
from tests.harness.clocks import FakeClock


class Told:
    """A log of what was told: where, what, which error, and how often it came untold before."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.lines: list[tuple[str, str, str, int]] = []
        self.faults = Faults(self._tell, monotonic=self.clock.monotonic)

    def _tell(self, where: str, what: str, error: BaseException, untold: int) -> None:
        self.lines.append((where, what, type(error).__name__, untold))


@pytest.fixture
def told() -> Told:
    return Told()


def fault(number: int = 0) -> Exception:
    try:
        raise ValueError(number)
    except ValueError as error:
        return error


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, RecursionError])
def test_each_gives_all_their_turn_whatever_one_of_them_does(told: Told, error: type[BaseException]) -> None:
    done: list[int] = []
    ended: list[int] = []

    def do(number: int) -> None:
        if number == 2:
            raise error
        done.append(number)

    told.faults.each("sweep", [1, 2, 3], do, broken=ended.append)
    assert (done, ended) == ([1, 3], [2])
    assert told.lines == [("sweep", "", error.__name__, 0)]


def test_what_cannot_even_be_ended_costs_the_others_nothing(told: Told) -> None:
    def fail(number: int) -> None:
        raise ValueError(number)

    told.faults.each("sweep", [1, 2], fail, broken=fail)
    assert told.faults.counts["sweep"] == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_is_not_outlived(told: Told, error: type[BaseException]) -> None:
    def end(_number: int) -> None:
        raise error

    with pytest.raises(error):
        told.faults.each("sweep", [1], end)


async def test_a_kind_is_told_once_and_then_once_a_minute_with_how_often_it_came(told: Told) -> None:
    for _ in range(100):
        told.faults.met("sweep", fault(), what="a relay")
    assert told.lines == [("sweep", "a relay", "ValueError", 0)]
    await told.clock.advance(REPEAT_SECONDS)
    told.faults.met("sweep", fault(), what="a relay")
    told.faults.met("sweep", fault(), what="a relay")
    assert told.lines[1:] == [("sweep", "a relay", "ValueError", 99)]
    assert told.faults.counts == {"sweep": 102}


def test_places_types_and_lines_are_different_kinds(told: Told) -> None:
    told.faults.met("sweep", fault())
    told.faults.met("flush", fault())
    told.faults.met("sweep", KeyError())
    try:
        raise ValueError
    except ValueError as error:
        told.faults.met("sweep", error)
    assert len(told.lines) == 4


def test_a_flood_of_kinds_is_bounded_too(told: Told) -> None:
    for number in range(10 * KINDS):
        told.faults.met("callback", type(f"Fault{number}", (Exception,), {})())
    assert len(told.lines) == KINDS + 1
    assert told.faults.counts["callback"] == 10 * KINDS


def test_a_log_that_is_broken_itself_ends_nothing() -> None:
    def broken(*_told: object) -> None:
        raise OSError

    faults = Faults(broken, monotonic=lambda: 0.0)
    faults.met("sweep", fault())
    assert faults.counts == {"sweep": 1, "log": 1}
