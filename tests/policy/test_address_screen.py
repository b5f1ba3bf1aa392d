"""Whether an address could ever be let in: never no where some request from it would be allowed."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.networks import Address, NetworkSet, parse_address, parse_network
from proxy.policy.address_screen import AddressScreen
from proxy.policy.context import CONNECT, Context
from proxy.policy.elements import read_statement
from proxy.policy.evaluate import evaluate
from proxy.policy.lists import NamedList, Remark
from proxy.policy.short_form import ShortForm, gateway_policy, instance_policy
from proxy.policy.statements import Policy
from tests.policy.test_evaluate import policies
from tests.policy.test_oracle import Cases, compiled

INSIDE, OUTSIDE, IPV6 = (parse_address(text) for text in ("203.0.113.5", "198.51.100.1", "2001:db8::1"))
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/"
NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
IN_OFFICE = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
NOT_IN_OFFICE = {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}


class CountedSet(NetworkSet):
    """Counts how often it is searched."""

    searched = 0

    def __contains__(self, address: Address) -> bool:
        self.searched += 1
        return super().__contains__(address)


OFFICE = NamedList("office", NetworkSet([parse_network("203.0.113.0/24")]))


def statement(effect: str, condition: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    made = {"Effect": effect, "Action": "*", "Resource": "*"} | changes
    return made | ({"Condition": condition} if condition else {})


def could(statements: list[dict[str, Any]], address: Address, context: Context = Context(None)) -> bool:
    policy = Policy(tuple(read_statement(one, sid=f"s{index}") for index, one in enumerate(statements)))
    return AddressScreen([(policy, context.resource)], context).could_allow(address)


@pytest.mark.parametrize(
    ("statements", "inside", "outside"),
    [
        ([], False, False),
        ([statement("Allow")], True, True),
        ([statement("Allow", IN_OFFICE)], True, False),
        ([statement("Allow"), statement("Deny", NOT_IN_OFFICE)], True, False),
        ([statement("Allow"), statement("Deny")], False, False),
        # What a request may bring besides its address counts for it.
        ([statement("Allow", {"Bool": {"aws:SecureTransport": "true"}})], True, True),
        ([statement("Allow", IN_OFFICE | {"StringEquals": {"aws:username": "alice"}})], True, False),
        (
            [statement("Allow", IN_OFFICE), statement("Allow", {"Null": {"aws:username": "false"}})],
            True,
            True,
        ),
        ([statement("Allow"), statement("Deny", {"Bool": {"aws:SecureTransport": "false"}})], True, True),
        (
            [
                statement("Allow"),
                statement("Deny", NOT_IN_OFFICE | {"StringLike": {"aws:PrincipalTag/team": "*"}}),
            ],
            True,
            True,
        ),
        # What it cannot change counts as it is.
        ([statement("Allow", Action="sagemaker:StopNotebookInstance")], False, False),
        ([statement("Allow", Resource=f"{ARN}b")], False, False),
        ([statement("Allow", {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}})], True, True),
        ([statement("Allow", {"StringEquals": {"aws:RequestedRegion": "us-east-1"}})], False, False),
        (
            [statement("Allow"), statement("Deny", {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}})],
            False,
            False,
        ),
    ],
)
def test_an_allow_counts_if_it_may_apply_and_a_deny_if_it_must(
    statements: list[dict[str, Any]], inside: bool, outside: bool
) -> None:
    context = Context(None, resource=f"{ARN}a", region="eu-west-1")
    assert (could(statements, INSIDE, context), could(statements, OUTSIDE, context)) == (inside, outside)


@pytest.mark.parametrize(("now", "expected"), [(None, True), (NOON, False), (NOON.replace(hour=11), True)])
def test_an_entry_that_has_ended_lets_nobody_in_any_more(now: datetime | None, expected: bool) -> None:
    """The time is that of the snapshot, which another replaces when a date passes; an unknown time may be any."""
    ending = NamedList(
        "ending", OFFICE.networks, (Remark(parse_network("203.0.113.0/24"), until=NOON),), origin=""
    )
    policy = gateway_policy(ShortForm(allow=(ending,)))
    asked = AddressScreen([(policy, "*")], Context(None, now=now))
    assert asked.could_allow(INSIDE) is expected
    assert not asked.could_allow(OUTSIDE)


def test_one_of_several_policies_is_enough() -> None:
    gateway = gateway_policy(
        ShortForm(),
        tuple(
            read_statement(
                statement("Allow", {"IpAddress": {"aws:SourceIp": network}}, Resource=ARN + name), sid=name
            )
            for name, network in (("a", "203.0.113.0/24"), ("b", "2001:db8::/32"))
        ),
    )
    asked = AddressScreen([(gateway, "*"), (gateway, f"{ARN}a"), (gateway, f"{ARN}b")], Context(None))
    assert [asked.could_allow(one) for one in (INSIDE, OUTSIDE, IPV6)] == [True, False, True]


def test_hundreds_of_instances_that_narrow_one_policy_cost_what_one_costs() -> None:
    networks = CountedSet([parse_network("203.0.113.0/24")])
    gateway = gateway_policy(ShortForm(allow=(NamedList("office", networks),)))
    narrowed = []
    for number in range(300):
        own = NamedList(f"own{number}", CountedSet([parse_network(f"203.0.113.{number % 250}")]))
        form = ShortForm(allow=(own,))
        narrowed.append((instance_policy(gateway, name=f"i{number}", form=form), f"{ARN}{number}"))
    asked = AddressScreen([(gateway, "*"), *narrowed], Context(None))
    assert asked.could_allow(INSIDE)
    assert not asked.could_allow(OUTSIDE)
    assert networks.searched == 2


def test_an_address_that_only_an_instance_would_let_in_is_found_behind_wider_cases() -> None:
    """Where the gateway's own pages are closed to somebody, an instance may still be open."""
    elsewhere = gateway_policy(
        ShortForm(allow=(NamedList("six", NetworkSet([parse_network("2001:db8::/32")])),))
    )
    office = gateway_policy(ShortForm(allow=(OFFICE,)))
    nobody = gateway_policy(ShortForm())
    asked = AddressScreen([(elsewhere, "*"), (nobody, "*"), (office, "*")], Context(None))
    assert [asked.could_allow(one) for one in (INSIDE, OUTSIDE, IPV6)] == [True, False, True]


def test_addresses_in_the_same_of_its_networks_have_the_same_answer() -> None:
    """What can let nobody in, or is about something else, tells no addresses apart."""
    gateway = gateway_policy(
        ShortForm(allow=(OFFICE,)),
        (read_statement(statement("Deny", IN_OFFICE, Action="sagemaker:StartNotebookInstance"), sid="s"),),
    )
    asked = AddressScreen([(gateway, "*"), (gateway_policy(ShortForm()), "*")], Context(None))
    groups = {asked.networks.of(address): asked.could_allow(address) for address in (INSIDE, OUTSIDE, IPV6)}
    assert groups == {1: True, 0: False}
    present = Policy((read_statement(statement("Allow", {"Null": {"aws:SourceIp": "false"}}), sid="s"),))
    asked = AddressScreen([(present, "*")], Context(None))
    assert {asked.networks.of(address) for address in (INSIDE, OUTSIDE, IPV6)} == {0}
    assert asked.could_allow(INSIDE)


@given(
    st.lists(st.tuples(policies, st.sampled_from(["*", "arn:x", "arn:y"])), max_size=4),
    st.lists(st.one_of(st.sampled_from([INSIDE, OUTSIDE, IPV6]), st.ip_addresses()), max_size=4),
)
def test_where_the_address_alone_decides_it_is_exact(
    asked: list[tuple[Policy, str]], addresses: list[Address]
) -> None:
    asking = AddressScreen(asked, Context(None))
    for address in addresses:
        allowed = [evaluate(policy, Context(address, resource=arn)).allowed for policy, arn in asked]
        assert asking.could_allow(address) is any(allowed)


def test_no_is_said_only_where_the_evaluator_denies_whatever_else_comes() -> None:
    """Policies with all operators and keys; each answered for several resources, and held against completions."""
    cases = Cases(random.Random(20271130))
    answers = {True: 0, False: 0}
    for number in range(400):
        told = [compiled([cases.statement() for _ in range(cases.chance.randint(1, 4))]) for _ in range(2)]
        completions = [cases.context() for _ in range(30)]
        fixed = completions[0]._replace(action=CONNECT, now=completions[0].now if number % 2 else None)
        asked = [(policy, one.resource) for policy in told for one in completions[:3]]
        asking = AddressScreen(asked, fixed)
        for one in completions:
            if one.source_ip is None:
                continue
            known = one._replace(
                action=CONNECT,
                region=fixed.region,
                now=one.now if fixed.now is None else fixed.now,
            )
            allowed = any(evaluate(policy, known._replace(resource=arn)).allowed for policy, arn in asked)
            answer = asking.could_allow(one.source_ip)
            answers[answer] += 1
            assert answer or not allowed
    assert min(answers.values()) > 1000
