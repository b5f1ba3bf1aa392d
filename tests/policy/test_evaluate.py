"""The evaluator: default deny, explicit Deny wins, and the documents in AWS's guide decide as AWS says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.networks import Address, parse_address
from proxy.policy.conditions import Condition, compile_condition
from proxy.policy.context import CONNECT, Context
from proxy.policy.errors import PolicyError
from proxy.policy.evaluate import Decision, evaluate
from proxy.policy.statements import Effect, Policy, Statement
from proxy.policy.wildcards import Wildcards

LIST = ["192.0.2.0/24", "203.0.113.0/24"]
INSIDE, OUTSIDE = parse_address("203.0.113.5"), parse_address("198.51.100.1")


def condition(operator: str, *values: str) -> Condition:
    return compile_condition(operator, "aws:SourceIp", values or LIST)


ALLOW_INSIDE = Statement(
    "allow-inside", Effect.ALLOW, actions=Wildcards([CONNECT]), conditions=(condition("IpAddress"),)
)
DENY_OUTSIDE = Statement(
    "deny-outside", Effect.DENY, actions=Wildcards([CONNECT]), conditions=(condition("NotIpAddress"),)
)
ALLOW_ALL = Statement("allow-all", Effect.ALLOW)

effects = st.sampled_from(Effect)
ip_conditions = st.builds(
    lambda operator, value: condition(operator, value),
    st.sampled_from(["IpAddress", "NotIpAddress", "IpAddressIfExists", "NotIpAddressIfExists"]),
    st.sampled_from(["192.0.2.0/24", "203.0.113.0/24", "0.0.0.0/0", "::/0", "203.0.113.5"]),
)
patterns = st.sampled_from(
    [Wildcards(["*"]), Wildcards([CONNECT]), Wildcards(["sagemaker:St*"]), Wildcards(["arn:x"])]
)
statements = st.builds(
    Statement,
    sid=st.uuids().map(str),
    effect=effects,
    actions=patterns,
    resources=patterns,
    conditions=st.lists(ip_conditions, max_size=2).map(tuple),
)
policies = st.lists(statements, max_size=6).map(lambda listed: Policy(tuple(listed)))
contexts = st.builds(
    Context,
    st.one_of(st.none(), st.sampled_from([INSIDE, OUTSIDE, parse_address("2001:db8::1")]), st.ip_addresses()),
    st.sampled_from([CONNECT, "sagemaker:StartNotebookInstance"]),
    st.sampled_from(["*", "arn:x", "arn:y"]),
)


@pytest.mark.parametrize(
    ("statements", "address", "allowed", "sids"),
    [
        # Developer Guide 2023: only the Allow. API reference and 2018: only the Deny, beside some other Allow.
        ((ALLOW_INSIDE,), INSIDE, True, ("allow-inside",)),
        ((ALLOW_INSIDE,), OUTSIDE, False, ()),
        ((ALLOW_INSIDE,), None, False, ()),
        ((DENY_OUTSIDE,), INSIDE, False, ()),
        ((DENY_OUTSIDE,), OUTSIDE, False, ("deny-outside",)),
        ((DENY_OUTSIDE, ALLOW_ALL), INSIDE, True, ("allow-all",)),
        ((ALLOW_ALL, DENY_OUTSIDE), OUTSIDE, False, ("deny-outside",)),
        ((ALLOW_ALL, DENY_OUTSIDE), None, False, ("deny-outside",)),
        # 2020: the pair.
        ((DENY_OUTSIDE, ALLOW_INSIDE), INSIDE, True, ("allow-inside",)),
        ((DENY_OUTSIDE, ALLOW_INSIDE), OUTSIDE, False, ("deny-outside",)),
        ((DENY_OUTSIDE, ALLOW_INSIDE), None, False, ("deny-outside",)),
        ((ALLOW_INSIDE, ALLOW_ALL), INSIDE, True, ("allow-inside", "allow-all")),
        ((), INSIDE, False, ()),
    ],
)
def test_documents_decide_as_aws_says(
    statements: tuple[Statement, ...], address: Address | None, allowed: bool, sids: tuple[str, ...]
) -> None:
    decision = evaluate(Policy(statements), Context(address))
    assert (decision.allowed, decision.sids) == (allowed, sids)


def test_an_allow_if_exists_lets_an_unknown_address_in_as_at_aws() -> None:
    """The one statement that fails open by its author's own words; the short form never makes one."""
    statement = Statement("open", Effect.ALLOW, conditions=(condition("IpAddressIfExists"),))
    assert evaluate(Policy((statement,)), Context(None)).allowed


def test_conditions_are_anded() -> None:
    both = Statement(
        "both", Effect.ALLOW, conditions=(condition("IpAddress"), condition("NotIpAddress", "203.0.113.5"))
    )
    assert evaluate(Policy((both,)), Context(parse_address("203.0.113.6"))).allowed
    assert not evaluate(Policy((both,)), Context(INSIDE)).allowed
    assert not evaluate(Policy((both,)), Context(OUTSIDE)).allowed


@pytest.mark.parametrize(
    ("action", "resource", "applies"),
    [
        (CONNECT, "arn:aws:sagemaker:eu-west-1:1:notebook-instance/a", True),
        ("sagemaker:StopNotebookInstance", "arn:aws:sagemaker:eu-west-1:1:notebook-instance/a", False),
        (CONNECT, "arn:aws:sagemaker:eu-west-1:1:notebook-instance/b", False),
    ],
)
def test_action_and_resource_must_match_too(action: str, resource: str, applies: bool) -> None:
    statement = Statement(
        "one",
        Effect.ALLOW,
        actions=Wildcards(["sagemaker:Create*"], ignore_case=True),
        resources=Wildcards(["*/a"]),
    )
    assert statement.applies(Context(INSIDE, action, resource)) is applies


def test_the_reason_says_which_statements_decided() -> None:
    noted = Statement("noted", Effect.DENY, note="on gateway-deny (tor)")
    bare = Statement("bare", Effect.DENY)
    other = Statement("other", Effect.ALLOW)
    assert evaluate(Policy((ALLOW_ALL, noted, bare, other)), Context(INSIDE)) == Decision(
        False, ("noted", "bare"), "denied: on gateway-deny (tor); bare"
    )
    assert evaluate(Policy((noted,)), Context(None)).reason == (
        "denied: on gateway-deny (tor); the client address is unknown"
    )
    assert evaluate(Policy((ALLOW_ALL, other)), Context(INSIDE)).reason == "allowed: allow-all; other"
    assert evaluate(Policy(), Context(INSIDE)) == Decision(False, (), "denied: no statement allows it")


def test_statement_ids_are_unique() -> None:
    with pytest.raises(PolicyError, match="more than once: allow-all") as caught:
        Policy((ALLOW_ALL, DENY_OUTSIDE, ALLOW_ALL))
    assert caught.value.hint


@given(policies, contexts)
def test_agrees_with_the_rule_in_one_line(policy: Policy, context: Context) -> None:
    applying = [statement for statement in policy.statements if statement.applies(context)]
    effects = {statement.effect for statement in applying}
    decision = evaluate(policy, context)
    assert decision.allowed == (effects == {Effect.ALLOW})
    decisive = Effect.DENY if Effect.DENY in effects else Effect.ALLOW
    assert decision.sids == tuple(statement.sid for statement in applying if statement.effect is decisive)


@given(policies, contexts, statements, st.integers(0, 6))
def test_a_deny_more_never_allows_more_wherever_it_stands(
    policy: Policy, context: Context, statement: Statement, at: int
) -> None:
    deny = Statement(
        statement.sid,
        Effect.DENY,
        actions=statement.actions,
        resources=statement.resources,
        conditions=statement.conditions,
    )
    more = Policy((*policy.statements[:at], deny, *policy.statements[at:]))
    assert not evaluate(more, context).allowed or evaluate(policy, context).allowed
