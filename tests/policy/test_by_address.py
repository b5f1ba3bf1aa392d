"""Decisions by groups of addresses are the evaluator's own, which is asked once for each group."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_evaluate import contexts, policies
from test_oracle import Cases, compiled

from proxy.client_address.networks import Address, NetworkSet, parse_address, parse_network
from proxy.policy import by_address
from proxy.policy.by_address import ByAddress
from proxy.policy.conditions import compile_condition
from proxy.policy.context import CONNECT, Context
from proxy.policy.elements import read_statement
from proxy.policy.evaluate import evaluate
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm, gateway_policy, instance_policy
from proxy.policy.statements import Effect, Policy, Statement

INSIDE, OUTSIDE, IPV6 = (parse_address(text) for text in ("203.0.113.5", "198.51.100.1", "2001:db8::1"))
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/gpu-1"
OFFICE = NamedList("office", NetworkSet([parse_network("203.0.113.0/24"), parse_network("2001:db8::/32")]))
VPN = NamedList("vpn", NetworkSet([parse_network("203.0.113.0/30"), parse_network("198.51.100.7")]))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Address | None]]:
    """The addresses that the evaluator was asked about."""
    addresses: list[Address | None] = []

    def counted(policy: Policy, context: Context) -> Any:
        addresses.append(context.source_ip)
        return evaluate(policy, context)

    monkeypatch.setattr(by_address, "evaluate", counted)
    return addresses


def test_each_address_gets_its_own_decision_whoever_came_before() -> None:
    policy = gateway_policy(ShortForm(allow=(OFFICE,), deny=(VPN,)))
    decider = ByAddress(policy, Context(None))
    addresses = [INSIDE, OUTSIDE, IPV6, None, parse_address("203.0.113.1"), parse_address("198.51.100.7")]
    for address in [*addresses, *reversed(addresses)]:
        assert decider.decide(address) == evaluate(policy, Context(address))
    assert [decider.decide(address).allowed for address in addresses] == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]


def test_the_evaluator_is_asked_once_for_all_addresses_of_a_group(asked: list[Address | None]) -> None:
    decider = ByAddress(gateway_policy(ShortForm(allow=(OFFICE,))), Context(None))
    for number in range(256):
        assert decider.decide(parse_address(f"203.0.113.{number}")).allowed
        assert not decider.decide(parse_address(f"198.51.100.{number}")).allowed
    assert decider.decide(IPV6).allowed
    assert len(asked) == 2


def test_an_unknown_address_is_a_group_of_its_own(asked: list[Address | None]) -> None:
    decider = ByAddress(gateway_policy(ShortForm(allow=(OFFICE,))), Context(None))
    assert [decider.decide(address).allowed for address in (OUTSIDE, None, OUTSIDE, None)] == [False] * 4
    assert asked == [OUTSIDE, None]
    assert "unknown" in decider.decide(None).reason
    assert "unknown" not in decider.decide(OUTSIDE).reason


def test_a_policy_that_asks_for_no_address_has_two_groups(asked: list[Address | None]) -> None:
    present = compile_condition("Null", "aws:SourceIp", ["false"])
    decider = ByAddress(Policy((Statement("s", Effect.ALLOW, conditions=(present,)),)), Context(None))
    assert [decider.decide(each).allowed for each in (INSIDE, OUTSIDE, None)] == [True, True, False]
    assert asked == [INSIDE, None]


def test_statements_about_something_else_tell_no_addresses_apart(asked: list[Address | None]) -> None:
    condition = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
    others = [
        {"Effect": "Deny", "Action": "sagemaker:Start*", "Resource": "*", "Condition": condition},
        {"Effect": "Deny", "Action": "*", "Resource": ARN, "Condition": condition},
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
    ]
    policy = Policy(tuple(read_statement(one, sid=f"s{index}") for index, one in enumerate(others)))
    connecting = ByAddress(policy, Context(None, CONNECT))
    assert connecting.decide(INSIDE).allowed
    assert connecting.decide(OUTSIDE).allowed
    assert asked == [INSIDE]
    for context in (Context(None, "sagemaker:StartNotebookInstance"), Context(None, CONNECT, ARN)):
        concerned = ByAddress(policy, context)
        assert [concerned.decide(each).allowed for each in (INSIDE, OUTSIDE)] == [False, True]


def test_a_set_that_several_statements_share_is_searched_once() -> None:
    gateway = gateway_policy(ShortForm(allow=(OFFICE,)))
    policy = instance_policy(gateway, name="research", form=ShortForm(allow=(OFFICE,), deny=(VPN,)))
    assert len(ByAddress(policy, Context(None))._memberships._v4) == 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_address, "GROUPS_REMEMBERED", 2)
    policy = gateway_policy(ShortForm(allow=(OFFICE, VPN), deny=(VPN,)))
    decider = ByAddress(policy, Context(None))
    for address in (INSIDE, OUTSIDE, parse_address("198.51.100.7"), None, INSIDE):
        assert decider.decide(address) == evaluate(policy, Context(address))
        assert len(decider._decisions) <= 2


@given(policies, contexts, st.lists(contexts.map(lambda context: context.source_ip), max_size=6))
def test_the_evaluator_says_the_same(
    policy: Policy, context: Context, addresses: list[Address | None]
) -> None:
    decider = ByAddress(policy, context)
    for address in addresses:
        assert decider.decide(address) == evaluate(policy, context._replace(source_ip=address))


def test_the_evaluator_says_the_same_of_policies_with_all_operators() -> None:
    cases = Cases(random.Random(7))
    for statements, context in cases.draw(500):
        policy = compiled(statements)
        decider = ByAddress(policy, context)
        for address in [cases.context().source_ip for _ in range(8)]:
            assert decider.decide(address) == evaluate(policy, context._replace(source_ip=address))
