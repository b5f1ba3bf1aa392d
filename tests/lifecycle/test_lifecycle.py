"""Instances are looked at by the clock, warned about, and stopped; and people can keep them awake."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from clocks import FakeClock

from proxy.lifecycle.awake import AwakeRefused
from proxy.lifecycle.judge import Finding, IdleRules
from proxy.lifecycle.lifecycle import Lifecycle

RULES = IdleRules(after_seconds=3600.0)


def test_keeping_awake_says_until_when_and_ends_by_itself() -> None:
    clock = FakeClock()
    lifecycle = Lifecycle(clock, {"research": RULES})
    assert lifecycle.keep_awake("research", 2).kept_awake_until == clock.now() + timedelta(hours=2)
    assert lifecycle.state("research").kept_awake_until == clock.now() + timedelta(hours=2)
    clock._elapsed += 7201
    assert lifecycle.state("research").kept_awake_until is None


def test_keeping_awake_can_be_taken_back() -> None:
    lifecycle = Lifecycle(FakeClock(), {"research": RULES})
    lifecycle.keep_awake("research", 2)
    assert lifecycle.keep_awake("research", 0).kept_awake_until is None


@pytest.mark.parametrize("hours", [-1, 72.1, math.inf, -math.inf, math.nan])
def test_no_instance_is_kept_awake_for_ever(hours: float) -> None:
    lifecycle = Lifecycle(FakeClock(), {"research": RULES})
    with pytest.raises(AwakeRefused):
        lifecycle.keep_awake("research", hours)
    assert lifecycle.state("research").kept_awake_until is None


def test_only_configured_instances_have_a_state() -> None:
    lifecycle = Lifecycle(FakeClock(), {"research": RULES})
    with pytest.raises(KeyError):
        lifecycle.state("vision")
    with pytest.raises(KeyError):
        lifecycle.keep_awake("vision", 1)


def test_without_a_rule_the_state_is_off() -> None:
    lifecycle = Lifecycle(FakeClock(), {"research": IdleRules()})
    assert lifecycle.state("research").finding is Finding.OFF
    assert lifecycle.state("research").after_seconds is None


def test_a_reload_forgets_nothing_of_what_stays() -> None:
    lifecycle = Lifecycle(FakeClock(), {"research": RULES, "vision": RULES})
    lifecycle.keep_awake("research", 1)
    lifecycle.adopt({"research": IdleRules(after_seconds=60.0)})
    assert lifecycle.state("research").after_seconds == 60.0
    assert lifecycle.state("research").kept_awake_until is not None
    with pytest.raises(KeyError):
        lifecycle.state("vision")
