"""Faults of others: told when they begin, seldom while they last, and when they are over."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.errors import CredentialsMissing, NbgateError, Throttled, UpstreamRefused
from proxy.telemetry.troubles import LONGEST_PAUSE_SECONDS, REMEMBERED, Troubles
from tests.harness.clocks import FakeClock


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[dict[str, Any]] = []
        self.troubles = Troubles(self.clock, lambda event, **fields: self.told.append(fields))

    def met(self, error: NbgateError, of: str = "one") -> None:
        self.troubles.met("sign-in failed", error, of=of, notebook=of)


@pytest.fixture
def world() -> World:
    return World()


def test_an_event_says_whose_what_why_and_what_to_mend(world: World) -> None:
    world.met(UpstreamRefused(detail="connect: refused"))
    assert world.told == [
        {
            "notebook": "one",
            "code": "UPSTREAM_REFUSED",
            "detail": "connect: refused",
            "remedy": UpstreamRefused.remedy,
        }
    ]


async def test_what_lasts_is_told_ever_more_seldom_and_counted(world: World) -> None:
    for _ in range(24 * 3600 // 5):
        world.met(CredentialsMissing())
        await world.clock.advance(5.0)
    counts = [fields.get("times_since", 0) for fields in world.told]
    # After 1, 2, 4 … minutes and then once an hour.
    assert counts[:4] == [0, 11, 23, 47]
    assert len(counts) <= 7 + 24 * 3600 / LONGEST_PAUSE_SECONDS


def test_other_faults_and_other_notebooks_are_told_at_once(world: World) -> None:
    world.met(CredentialsMissing())
    world.met(Throttled())
    world.met(Throttled(), of="other")
    world.met(CredentialsMissing())
    assert [(fields["notebook"], fields["code"]) for fields in world.told] == [
        ("one", "CREDENTIALS_MISSING"),
        ("one", "THROTTLED"),
        ("other", "THROTTLED"),
    ]


def test_that_it_is_over_is_news_once_and_the_next_one_is_told_anew(world: World) -> None:
    assert not world.troubles.over("sign-in failed", of="one")
    world.met(Throttled())
    assert world.troubles.over("sign-in failed", of="one")
    assert not world.troubles.over("sign-in failed", of="one")
    world.met(Throttled())
    assert len(world.told) == 2


def test_what_is_remembered_is_bounded(world: World) -> None:
    for number in range(3 * REMEMBERED):
        world.met(Throttled(), of=str(number))
    assert len(world.told) == REMEMBERED + 1
