"""Places at accept: who draws on what, and that strangers never use up the places of those who may come in."""

from __future__ import annotations

import random

import pytest

from proxy.client_address.networks import parse_address
from proxy.config.sections import Limits
from proxy.dataplane import budgets as module
from proxy.dataplane.bounds import IN_ALL, OF_ADDRESS, OF_STRANGER, OF_STRANGERS
from proxy.dataplane.budgets import (
    ANSWERED,
    ANSWERED_OF_ADDRESS,
    Budgets,
    Claim,
    Place,
)
from proxy.telemetry.limits_met import Bound
from tests.harness.held import held_by

WELCOME, STRANGER, TRUSTED = Claim.WELCOME, Claim.STRANGER, Claim.TRUSTED


def budgets(connections: int = 100, per_address: int = 10, per_stranger: int = 3, **more: int) -> Budgets:
    limits = Limits(
        connections=connections, connections_per_address=per_address, connections_per_stranger=per_stranger
    )
    return Budgets(limits, **more)


def take(counted: Budgets, text: str | None, claim: Claim) -> Place | Bound:
    return counted.take(None if text is None else parse_address(text), claim)


def outcome(taken: Place | Bound) -> Bound | None:
    """The limit that was met, told to the caller or not."""
    return taken.met if isinstance(taken, Place) else taken


def test_each_address_has_its_own_budget_and_gets_its_places_back() -> None:
    counted = budgets()
    places = [take(counted, "203.0.113.1", WELCOME) for _ in range(10)]
    assert outcome(take(counted, "203.0.113.1", WELCOME)) is OF_ADDRESS
    assert outcome(take(counted, "203.0.113.2", WELCOME)) is None
    assert isinstance(places[0], Place)
    places[0].leave()
    places[0].leave()  # once is enough, and twice is no more
    assert outcome(take(counted, "203.0.113.1", WELCOME)) is None
    assert outcome(take(counted, "203.0.113.1", WELCOME)) is OF_ADDRESS


def test_ipv6_addresses_count_by_their_64_bits() -> None:
    counted = budgets()
    for number in range(10):
        assert outcome(take(counted, f"2001:db8::{number:x}", WELCOME)) is None
    assert outcome(take(counted, "2001:db8::ffff", WELCOME)) is OF_ADDRESS
    assert outcome(take(counted, "2001:db8:0:1::1", WELCOME)) is None


def test_a_stranger_in_somebodys_64_bits_draws_on_a_budget_of_its_own() -> None:
    counted = budgets()
    for number in range(3):
        assert outcome(take(counted, f"2001:db8::{number:x}", STRANGER)) is None
    assert outcome(take(counted, "2001:db8::3", STRANGER)) is OF_STRANGER
    assert outcome(take(counted, "2001:db8::7", WELCOME)) is None


def test_strangers_get_little_each_and_a_quarter_together() -> None:
    counted = budgets()
    met = [outcome(take(counted, f"198.51.100.{number % 50}", STRANGER)) for number in range(250)]
    assert met.count(None) == 25
    assert set(met) == {None, OF_STRANGERS}
    assert [outcome(take(counted, "203.0.113.1", WELCOME)) for _ in range(10)] == [None] * 10


def test_a_stranger_is_never_kept_to_be_told() -> None:
    counted = budgets()
    for _ in range(3):
        take(counted, "198.51.100.1", STRANGER)
    assert take(counted, "198.51.100.1", STRANGER) is OF_STRANGER
    assert counted.in_all == 3


def test_trusted_proxies_are_bound_by_the_whole_alone() -> None:
    counted = budgets(connections=20)
    assert [outcome(take(counted, "203.0.113.9", TRUSTED)) for _ in range(20)] == [None] * 20
    assert outcome(take(counted, "203.0.113.9", TRUSTED)) is IN_ALL
    assert outcome(take(counted, None, TRUSTED)) is IN_ALL
    assert outcome(take(counted, "203.0.113.1", WELCOME)) is IN_ALL


def test_few_are_kept_above_a_limit_to_be_told_of_it() -> None:
    counted = budgets(connections=10)
    for number in range(10):
        take(counted, f"203.0.113.{number}", WELCOME)
    told = [take(counted, "203.0.113.200", WELCOME) for _ in range(ANSWERED_OF_ADDRESS + 2)]
    assert [isinstance(one, Place) for one in told] == [True] * ANSWERED_OF_ADDRESS + [False] * 2
    others = [take(counted, f"203.0.113.{number}", WELCOME) for number in range(100)]
    assert sum(isinstance(one, Place) for one in others) == ANSWERED - ANSWERED_OF_ADDRESS
    for one in (*told, *others):
        if isinstance(one, Place):
            assert one.fault.status == 503
            one.leave()
    # They took no place of anybody's.
    assert counted.in_all == 10
    assert outcome(take(counted, "203.0.113.200", WELCOME)) is IN_ALL


def test_descriptors_may_bind_more_closely_than_the_configuration() -> None:
    assert budgets(connections=100, most=40).most == 40
    assert budgets(connections=100, most=400).most == 100
    counted = budgets(connections=100, most=40)
    assert counted.value(IN_ALL) == 40
    assert counted.value(OF_STRANGERS) == 10
    assert counted.value(OF_ADDRESS) == 10
    assert counted.value(OF_STRANGER) == 3
    assert counted.value(Bound("timeouts.request_head", "TLS_TIMEOUT")) is None


def test_new_limits_count_for_what_comes() -> None:
    counted = budgets(per_address=2)
    places = [take(counted, "203.0.113.1", WELCOME) for _ in range(2)]
    counted.limits = Limits(connections=100, connections_per_address=1)
    assert outcome(take(counted, "203.0.113.1", WELCOME)) is OF_ADDRESS
    for place in places:
        assert isinstance(place, Place)
        place.leave()
    assert outcome(take(counted, "203.0.113.1", WELCOME)) is None


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_and_goes_the_counts_stay_true(seed: int) -> None:
    chance = random.Random(seed)
    counted = budgets(connections=40, per_address=6, per_stranger=3)
    held: list[Place] = []
    for _ in range(4000):
        if held and chance.random() < 0.45:
            held.pop(chance.randrange(len(held))).leave()
        else:
            claim = chance.choice(list(Claim))
            taken = take(counted, f"203.0.113.{chance.randrange(12)}", claim)
            if isinstance(taken, Place):
                held.append(taken)
        counted_in = [place for place in held if place.met is None]
        assert counted.in_all == len(held)
        assert len(counted_in) <= 40
        assert sum(place.claim is STRANGER for place in counted_in) <= 10
        assert len(held) - len(counted_in) <= ANSWERED
    for place in held:
        place.leave()
    assert counted.in_all == 0
    assert not any("203.0.113." in str(one) for one in held_by(counted))
    strangers = [take(counted, f"198.51.100.{number}", STRANGER) for number in range(20)]
    assert sum(isinstance(one, Place) and one.met is None for one in strangers) == 10


def test_the_part_for_strangers_is_never_nothing() -> None:
    assert module.STRANGERS_PART > 1
    assert outcome(take(budgets(connections=2), "198.51.100.1", STRANGER)) is None
