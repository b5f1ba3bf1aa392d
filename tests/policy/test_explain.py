"""Explanations: each statement's verdict, which is the decision's own, and why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given

from proxy.client_address.networks import NetworkSet, parse_address, parse_network
from proxy.policy.conditions import compile_condition
from proxy.policy.context import CONNECT, Context
from proxy.policy.elements import read_statement
from proxy.policy.evaluate import evaluate
from proxy.policy.explain import decisive, explain
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm, gateway_policy
from proxy.policy.statements import Effect, Policy, Statement
from tests.policy.test_evaluate import contexts, policies

ADDRESS = parse_address("192.0.2.1")


@given(policies, contexts)
def test_an_explanation_is_of_the_decision(policy: Policy, context: Context) -> None:
    verdicts = explain(policy, context)
    assert [each.statement for each in verdicts] == list(policy.statements)
    assert [each.applies for each in verdicts] == [each.applies(context) for each in policy.statements]
    decision = evaluate(policy, context)
    if decision.sids:
        assert tuple(each.statement.sid for each in decisive(verdicts)) == decision.sids
    else:
        assert all(each.statement.effect is Effect.ALLOW and not each.applies for each in decisive(verdicts))
    assert all(each.reasons() for each in verdicts if not each.applies)


def reasons(element: dict[str, object], context: Context, *, values: bool = True) -> tuple[str, ...]:
    statement = read_statement({"Effect": "Deny", "Action": "*", "Resource": "*", **element}, sid="s")
    (verdict,) = explain(Policy((statement,)), context)
    return verdict.reasons(values=values)


@pytest.mark.parametrize(
    ("element", "context", "expected"),
    [
        ({}, Context(ADDRESS), ()),
        (
            {"Condition": {"NotIpAddress": {"aws:SourceIp": ["203.0.113.0/24", "10.0.0.0/8"]}}},
            Context(ADDRESS),
            ("NotIpAddress aws:SourceIp=192.0.2.1 holds (203.0.113.0/24, 10.0.0.0/8)",),
        ),
        (
            {
                "Condition": {
                    "IpAddress": {"aws:SourceIp": "10.0.0.0/8"},
                    "Bool": {"aws:SecureTransport": "true"},
                }
            },
            Context(ADDRESS, secure_transport=False),
            (
                "IpAddress aws:SourceIp=192.0.2.1 does not hold (10.0.0.0/8)",
                "Bool aws:SecureTransport=false does not hold (true)",
            ),
        ),
        (
            {"Condition": {"StringEquals": {"aws:username": ["a", "b", "c", "d", "e"]}}},
            Context(ADDRESS),
            ("StringEquals aws:username, which is absent, does not hold (a, b, c and 2 more)",),
        ),
        (
            {"Condition": {"DateLessThan": {"aws:CurrentTime": "2027-01-31"}}},
            Context(ADDRESS, now=datetime(2027, 1, 1, tzinfo=UTC)),
            ("DateLessThan aws:CurrentTime=2027-01-01T00:00:00Z holds (2027-01-31)",),
        ),
        (
            {"Action": "sagemaker:Stop*", "Resource": "arn:aws:sagemaker:a:b:c"},
            Context(ADDRESS, CONNECT),
            ("the action is another one", "the resource is another one"),
        ),
    ],
)
def test_reasons_say_what_a_verdict_hung_on(element, context: Context, expected: tuple[str, ...]) -> None:
    assert reasons(element, context) == expected


def test_the_policys_values_can_be_left_out() -> None:
    element: dict[str, object] = {
        "Condition": {"StringNotEquals": {"aws:PrincipalTag/team": ["confidential"]}}
    }
    context = Context(ADDRESS, tags={"team": "x"})
    assert reasons(element, context, values=False) == ("StringNotEquals aws:PrincipalTag/team=x holds",)


def test_the_short_form_is_explained_by_the_names_of_lists() -> None:
    office = NamedList("office", NetworkSet([parse_network("203.0.113.0/24")]))
    policy = gateway_policy(ShortForm((office,)))
    outside, listed = explain(policy, Context(ADDRESS))
    assert outside.reasons(values=False) == ("NotIpAddress aws:SourceIp=192.0.2.1 holds (office)",)
    assert (listed.applies, listed.reasons()) == (True, ())
    assert decisive(explain(policy, Context(ADDRESS))) == (outside,)


@pytest.mark.parametrize(
    ("networks", "listed"), [([], "no networks"), (["10.0.0.0/8"], "10.0.0.0/8"), (
        ["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8", "13.0.0.0/8", "14.0.0.0/8"],
        "10.0.0.0/8, 11.0.0.0/8, 12.0.0.0/8 and 2 more",
    )],
)  # fmt: skip
def test_compiled_networks_are_listed_too(networks: list[str], listed: str) -> None:
    condition = compile_condition("NotIpAddress", "aws:SourceIp", NetworkSet(map(parse_network, networks)))
    (verdict,) = explain(Policy((Statement("s", Effect.DENY, conditions=(condition,)),)), Context(ADDRESS))
    assert verdict.reasons() == (f"NotIpAddress aws:SourceIp=192.0.2.1 holds ({listed})",)
