"""The judge's answers are the evaluator's own, asked in any order; and the evaluator is asked once for all questions
that no statement tells apart.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.networks import Address, Memberships, NetworkSet, parse_address, parse_network
from proxy.policy import judge as judge_module
from proxy.policy.address_screen import AddressScreen
from proxy.policy.conditions import compile_condition
from proxy.policy.context import CONNECT, Context, Principal
from proxy.policy.elements import read_statement
from proxy.policy.evaluate import evaluate
from proxy.policy.explain import explain
from proxy.policy.judge import Judge, Question
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm, gateway_policy, instance_policy
from proxy.policy.statements import Effect, Policy, Statement
from tests.policy.test_evaluate import contexts, policies
from tests.policy.test_oracle import Cases, compiled

INSIDE, OUTSIDE, IPV6 = (parse_address(text) for text in ("203.0.113.5", "198.51.100.1", "2001:db8::1"))
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/"
START = "sagemaker:StartNotebookInstance"
OFFICE = NamedList("office", NetworkSet([parse_network("203.0.113.0/24"), parse_network("2001:db8::/32")]))
VPN = NamedList("vpn", NetworkSet([parse_network("203.0.113.0/30"), parse_network("198.51.100.7")]))
NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)


def judge_of(policy: Policy, **more: Any) -> Judge:
    """A judge who is asked about one instance, `gpu`."""
    return Judge({"gpu": policy}, policy, **more)


def written(*statements: dict[str, Any]) -> Policy:
    return Policy(tuple(read_statement(one, sid=f"s{index}") for index, one in enumerate(statements)))


def statement(effect: str, condition: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    made = {"Effect": effect, "Action": "*", "Resource": "*"} | changes
    return made | ({"Condition": condition} if condition else {})


def of(address: Address | None, **more: Any) -> Question:
    return Question(address, "gpu", **more)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    """What the evaluator was asked."""
    seen: list[Context] = []

    def counted(policy: Policy, context: Context) -> Any:
        seen.append(context)
        return evaluate(policy, context)

    monkeypatch.setattr(judge_module, "evaluate", counted)
    return seen


# -- addresses


def test_each_address_gets_its_own_decision_whoever_came_before() -> None:
    policy = gateway_policy(ShortForm(allow=(OFFICE,), deny=(VPN,)))
    judge = judge_of(policy)
    addresses = [INSIDE, OUTSIDE, IPV6, None, parse_address("203.0.113.1"), parse_address("198.51.100.7")]
    for address in [*addresses, *reversed(addresses)]:
        assert judge.decide(of(address)) == evaluate(policy, Context(address))
    allowed = [judge.decide(of(address)).allowed for address in addresses]
    assert allowed == [True, False, True, False, False, False]


def test_the_evaluator_is_asked_once_for_all_addresses_of_a_group(asked: list[Context]) -> None:
    judge = judge_of(gateway_policy(ShortForm(allow=(OFFICE,))))
    for number in range(256):
        assert judge.decide(of(parse_address(f"203.0.113.{number}"))).allowed
        assert not judge.decide(of(parse_address(f"198.51.100.{number}"))).allowed
    assert judge.decide(of(IPV6)).allowed
    assert len(asked) == 2


def test_an_unknown_address_is_a_group_of_its_own(asked: list[Context]) -> None:
    judge = judge_of(gateway_policy(ShortForm(allow=(OFFICE,))))
    assert not any(judge.decide(of(address)).allowed for address in (OUTSIDE, None, OUTSIDE, None))
    assert [context.source_ip for context in asked] == [OUTSIDE, None]
    assert "unknown" in judge.decide(of(None)).reason
    assert "unknown" not in judge.decide(of(OUTSIDE)).reason


def test_a_policy_that_asks_for_no_address_has_two_groups(asked: list[Context]) -> None:
    present = compile_condition("Null", "aws:SourceIp", ["false"])
    judge = judge_of(Policy((Statement("s", Effect.ALLOW, conditions=(present,)),)))
    assert [judge.decide(of(each)).allowed for each in (INSIDE, OUTSIDE, None)] == [True, True, False]
    assert [context.source_ip for context in asked] == [INSIDE, None]


def test_a_set_that_several_statements_share_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = gateway_policy(ShortForm(allow=(OFFICE,)))
    policy = instance_policy(gateway, name="research", form=ShortForm(allow=(OFFICE,), deny=(VPN,)))
    searched: list[int] = []

    def counting(sets: Any) -> Any:
        given = tuple(sets)
        searched.append(len(given))
        return Memberships(given)

    monkeypatch.setattr("proxy.policy.judge.Memberships", counting)
    assert judge_of(policy).decide(of(parse_address("203.0.113.9"))).allowed
    assert searched == [2]


# -- all else


def test_statements_about_something_else_tell_nothing_apart(asked: list[Context]) -> None:
    condition = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
    policy = written(
        statement("Deny", condition, Action="sagemaker:Start*"),
        statement("Deny", condition, Resource=f"{ARN}other"),
        statement("Deny", {"Bool": {"aws:SecureTransport": "false"}}, Action=START),
        statement("Allow"),
    )
    judge = Judge(
        {"gpu": policy, "other": policy}, policy, resources={"gpu": f"{ARN}gpu", "other": f"{ARN}other"}
    )
    for address, secure in product((INSIDE, OUTSIDE), (True, False, None)):
        assert judge.decide(of(address, secure=secure)).allowed
    assert len(asked) == 1
    for question in (
        of(INSIDE, action=START),
        Question(INSIDE, "other"),
        of(OUTSIDE, action=START, secure=False),
    ):
        assert not judge.decide(question).allowed
    for question in (
        of(OUTSIDE, action=START),
        of(OUTSIDE, action=START, secure=True),
        Question(OUTSIDE, "other"),
    ):
        assert judge.decide(question).allowed


def test_people_are_told_apart_by_what_statements_ask_of_them_and_nothing_else(asked: list[Context]) -> None:
    policy = written(
        statement("Allow", {"StringEquals": {"aws:PrincipalTag/Team": "nlp"}}),
        statement("Deny", {"Bool": {"aws:SecureTransport": "false"}}),
    )
    judge = judge_of(policy)

    def decided(username: str, team: str | None) -> bool:
        tags = () if team is None else (("team", team), ("floor", username))
        return judge.decide(of(INSIDE, secure=True, principal=Principal(username, tags))).allowed

    for number in range(100):
        assert decided(f"user{number}", "nlp")
        assert not decided(f"user{number}", "vision")
        assert not decided(f"user{number}", None)
        assert not judge.decide(of(INSIDE, secure=True)).allowed
    assert len(asked) == 3


def test_a_name_that_a_statement_asks_for_counts() -> None:
    policy = written(statement("Allow", {"StringEquals": {"aws:username": ["alice", "bob"]}}))
    judge = judge_of(policy)
    for _ in range(2):
        for username, allowed in (("alice", True), ("bob", True), ("carol", False)):
            assert judge.decide(of(INSIDE, principal=Principal(username))).allowed is allowed
        assert not judge.decide(of(INSIDE)).allowed


def test_the_time_and_the_region_are_the_snapshots(asked: list[Context]) -> None:
    policy = written(
        statement("Allow", {"DateLessThan": {"aws:CurrentTime": "2027-02-01T00:00:00Z"}}),
        statement("Deny", {"StringNotEquals": {"aws:RequestedRegion": "eu-west-1"}}),
    )
    for at, region, allowed in (
        (NOON, "eu-west-1", True),
        (NOON, "us-east-1", False),
        (NOON + timedelta(days=1), "eu-west-1", False),
        (None, "eu-west-1", False),
    ):
        judge = judge_of(policy, at=at, region=region)
        assert {judge.decide(of(address)).allowed for address in (INSIDE, OUTSIDE)} == {allowed}
    assert len(asked) == 4
    assert {(context.now, context.region) for context in asked} >= {(NOON, "eu-west-1"), (None, "eu-west-1")}


def test_an_instance_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        judge_of(Policy()).decide(Question(None, "stranger"))


def test_the_own_pages_have_a_policy_of_their_own() -> None:
    judge = Judge({"gpu": written(statement("Allow"))}, Policy())
    assert judge.decide(of(INSIDE)).allowed
    assert not judge.decide(Question(INSIDE, "")).allowed
    assert judge.policy("") == Policy()


def two_instances() -> Judge:
    policy = gateway_policy(
        ShortForm(allow=(OFFICE,)),
        written(
            statement(
                "Deny", {"IpAddress": {"aws:SourceIp": "203.0.113.7"}}, Action=START, Resource=f"{ARN}nlp"
            ),
            statement("Deny", {"Bool": {"aws:SecureTransport": "false"}}, Resource=f"{ARN}research"),
        ).statements,
    )
    return Judge(
        {"research": instance_policy(policy, name="research", form=ShortForm(allow=(VPN,))), "nlp": policy},
        policy,
        resources={name: f"{ARN}{name}" for name in ("research", "nlp")},
        region="eu-west-1",
    )


@pytest.mark.parametrize("remembered", [1, 4096])
def test_no_question_gets_the_answer_to_another(monkeypatch: pytest.MonkeyPatch, remembered: int) -> None:
    """By address, instance, TLS and action; however much of it is remembered."""
    monkeypatch.setattr(judge_module, "ANSWERS_REMEMBERED", remembered)
    judge = two_instances()
    addresses = [
        None if text is None else parse_address(text)
        for text in ("203.0.113.1", "203.0.113.7", "192.0.2.1", "2001:db8::1", "2001:db9::1", None)
    ]
    questions = [
        Question(address, instance, action, secure)
        for address, instance, secure, action in product(
            addresses, ("research", "nlp", ""), (True, False, None), (CONNECT, START)
        )
    ]
    allowed = 0
    for question in [*questions, *reversed(questions)]:
        said, policy, context = (
            judge.decide(question),
            judge.policy(question.instance),
            judge.context(question),
        )
        assert said == evaluate(policy, context)
        assert judge.explain(question) == explain(policy, context)
        allowed += said.allowed
    assert 0 < allowed < 2 * len(questions)


def test_only_addresses_that_some_rule_could_let_in_are_no_strangers() -> None:
    """Whatever else a request brings: over TLS `research` is open to the few, `nlp` and the own pages to the office."""
    judge = two_instances()
    for _ in range(2):
        for text, could in (
            ("203.0.113.1", True),
            ("203.0.113.200", True),
            ("2001:db8::1", True),
            ("198.51.100.1", False),
            ("2001:db9::1", False),
        ):
            assert judge.could_allow(parse_address(text)) is could


def test_whether_it_could_is_worked_out_once_for_all_addresses_of_a_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge, worked_out = two_instances(), []
    could_allow = AddressScreen.could_allow

    def counted(self: Any, address: Address) -> bool:
        worked_out.append(address)
        return could_allow(self, address)

    monkeypatch.setattr(AddressScreen, "could_allow", counted)
    for number in range(256):
        assert judge.could_allow(parse_address(f"203.0.113.{number}"))
        assert not judge.could_allow(parse_address(f"192.0.2.{number}"))
    assert len(worked_out) == 2


def test_the_next_change_is_the_first_of_any_policy_after_now() -> None:
    def until(text: str) -> Policy:
        return written(statement("Allow", {"DateLessThan": {"aws:CurrentTime": text}}))

    policies_of = {"a": until("2027-03-01T00:00:00Z"), "b": until("2027-02-01T00:00:00Z")}
    own = until("2027-01-01T00:00:00Z")
    assert Judge(policies_of, own, at=NOON).changes_at == datetime(2027, 2, 1, tzinfo=UTC)
    assert Judge(policies_of, own, at=datetime(2028, 1, 1, tzinfo=UTC)).changes_at is None
    assert Judge(policies_of, own).changes_at is None


# -- any policy


@given(policies, contexts, st.lists(contexts, max_size=6))
def test_the_evaluator_says_the_same(policy: Policy, context: Context, others: list[Context]) -> None:
    judge = judge_of(policy, at=context.now, region=context.region, resources={"gpu": context.resource})
    for other in others:
        tags = tuple(sorted(other.tags.items()))
        principal = Principal(other.username, tags) if other.username is not None or tags else None
        question = of(
            other.source_ip, action=other.action, secure=other.secure_transport, principal=principal
        )
        assert judge.decide(question) == evaluate(policy, judge.context(question))


def test_the_evaluator_says_the_same_of_policies_with_all_operators() -> None:
    cases = Cases(random.Random(7))
    for statements, context in cases.draw(500):
        policy = compiled(statements)
        judge = judge_of(policy, at=context.now, region=context.region, resources={"gpu": context.resource})
        for other in [cases.context() for _ in range(8)]:
            principal = Principal(other.username, tuple(other.tags.items()))
            question = of(
                other.source_ip, action=other.action, secure=other.secure_transport, principal=principal
            )
            expected = other._replace(resource=context.resource, now=context.now, region=context.region)
            assert judge.decide(question) == evaluate(policy, expected)
