"""Limits that were met leave a trace each, and no flood of them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.telemetry.limits_met import (
    ADDRESSES_TOLD,
    OTHERS,
    RECORDS_EACH,
    RECORDS_IN_ALL,
    WINDOW_SECONDS,
    Bound,
    LimitsMet,
    ignore,
)
from tests.harness.clocks import FakeClock

PER_ADDRESS = Bound("limits.connections_per_address", "TOO_MANY_FROM_ADDRESS")
HANDSHAKE = Bound("timeouts.request_head", "TLS_TIMEOUT")


class Told:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[dict[str, Any]] = []
        self.met = LimitsMet(self.clock, self._warn)

    def _warn(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, **fields})

    async def pass_minute(self) -> None:
        await self.clock.advance(WINDOW_SECONDS)
        self.met.sweep()


@pytest.fixture
def told() -> Told:
    return Told()


async def test_the_first_time_is_told_at_once_and_the_others_as_one_number(told: Told) -> None:
    for _ in range(1000):
        told.met.note(PER_ADDRESS, "203.0.113.7", most=4096)
    first = {
        "event": "limit met",
        "limit": "limits.connections_per_address",
        "code": "TOO_MANY_FROM_ADDRESS",
        "address": "203.0.113.7",
        "times": 1,
        "most": 4096,
    }
    assert told.events == [first]
    await told.clock.advance(WINDOW_SECONDS - 1)
    told.met.sweep()
    assert told.events == [first]
    await told.clock.advance(1)
    told.met.sweep()
    assert [one["times"] for one in told.events] == [1, 999]
    await told.pass_minute()
    assert len(told.events) == 2
    assert told.met.counts == {PER_ADDRESS: 1000}


async def test_it_is_told_again_in_the_next_minute(told: Told) -> None:
    for _ in range(3):
        told.met.note(HANDSHAKE, "203.0.113.7")
        await told.pass_minute()
    assert [one["times"] for one in told.events] == [1, 1, 1]


def test_each_address_and_limit_is_told_by_itself(told: Told) -> None:
    for bound in (PER_ADDRESS, HANDSHAKE):
        for address in ("203.0.113.7", "2001:db8::/64", None):
            told.met.note(bound, address)
    assert [(one["code"], one["address"]) for one in told.events] == [
        (bound.code, address)
        for bound in (PER_ADDRESS, HANDSHAKE)
        for address in ("203.0.113.7", "2001:db8::/64", "-")
    ]


async def test_a_record_is_worth_it_a_few_times_a_minute(told: Told) -> None:
    worth = [told.met.note(HANDSHAKE, "203.0.113.7") for _ in range(100)]
    assert worth == [True] * RECORDS_EACH + [False] * (100 - RECORDS_EACH)
    assert told.met.note(PER_ADDRESS, "203.0.113.7")
    assert told.met.note(HANDSHAKE, "203.0.113.8")
    await told.pass_minute()
    assert told.met.note(HANDSHAKE, "203.0.113.7")


def test_ten_thousand_addresses_are_a_bounded_number_of_lines(told: Told) -> None:
    worth = sum(
        told.met.note(HANDSHAKE, f"10.0.{number // 256}.{number % 256}")
        for _ in range(3)
        for number in range(10_000)
    )
    assert worth <= RECORDS_IN_ALL
    assert len(told.events) <= ADDRESSES_TOLD + 1
    assert told.events[-1]["address"] == OTHERS
    assert told.met.counts == {HANDSHAKE: 30_000}


def test_a_flood_at_one_limit_hides_nobody_at_another(told: Told) -> None:
    """Strangers choose how many addresses they come from; an office that meets its limit is named all the same."""
    for number in range(10_000):
        told.met.note(HANDSHAKE, f"10.0.{number // 256}.{number % 256}")
    assert told.met.note(PER_ADDRESS, "203.0.113.7")
    assert (told.events[-1]["code"], told.events[-1]["address"]) == ("TOO_MANY_FROM_ADDRESS", "203.0.113.7")


def test_whoever_tells_nobody_counts_all_the_same() -> None:
    met = LimitsMet(FakeClock(), ignore)
    met.note(HANDSHAKE, "203.0.113.7")
    assert met.counts[HANDSHAKE] == 1
