"""An evaluator that no one here wrote agrees: thousands of random policies, decided by @cloud-copilot/iam-simulate too.

Where the two differ, AWS's documentation decides, and the difference has a test of its own below. The simulator is
installed into build/ from a committed lock file; it is another program, and nothing of it is part of nbgate.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.client_address.networks import parse_address
from proxy.policy.conditions import OPERATORS, Kind
from proxy.policy.context import ACTIONS, CONNECT, Context
from proxy.policy.elements import read_statement
from proxy.policy.evaluate import evaluate
from proxy.policy.statements import Policy
from tests.policy.simulator import simulate

pytestmark = pytest.mark.program

POLICIES = 2_500
CONTEXTS = 4
"""Of each policy."""

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/"
Case = tuple[list[dict[str, Any]], Context]


def _request(statements: list[dict[str, Any]], context: Context) -> dict[str, Any]:
    keys = {
        "aws:SourceIp": context.source_ip and str(context.source_ip),
        "aws:VpcSourceIp": context.source_ip and str(context.source_ip),
        "aws:CurrentTime": context.now and context.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:SecureTransport": None
        if context.secure_transport is None
        else str(context.secure_transport).lower(),
        "aws:username": context.username,
        "aws:RequestedRegion": context.region,
        **{f"aws:PrincipalTag/{key}": value for key, value in context.tags.items()},
    }
    return {
        "policy": {"Version": "2012-10-17", "Statement": statements},
        "context": {key: value for key, value in keys.items() if value is not None},
        "action": context.action,
        "resource": context.resource,
    }


def simulated(cases: Iterable[Case]) -> list[str]:
    return simulate(_request(statements, context) for statements, context in cases)


def compiled(statements: list[dict[str, Any]]) -> Policy:
    return Policy(tuple(read_statement(one, sid=f"s{index}") for index, one in enumerate(statements)))


def ours(policy: Policy, context: Context) -> str:
    decision = evaluate(policy, context)
    return "Allowed" if decision.allowed else "ExplicitlyDenied" if decision.sids else "ImplicitlyDenied"


# Cases. Values are few and near each other, so that conditions hold about as often as not.

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
NETWORKS = ["203.0.113.0/24", "203.0.113.128/25", "198.51.100.7/32", "10.0.0.0/8", "2001:db8::/32", "2001:db8:1::/48",
            "::/1", "128.0.0.0/1", "2001:db8::1/128"]  # fmt: skip
ADDRESSES = ["203.0.113.5", "203.0.113.200", "198.51.100.7", "10.1.2.3", "192.0.2.1", "2001:db8::1", "2001:db8:1::5",
             "fd00::1"]  # fmt: skip
DATES = ["2027-01-31", "2027-01-31T12:00:00Z", "2027-01-31T13:00:00+01:00", "2027-01-31T12:00:01Z", "2027-02",
         "2027-01-31T11:59:59.000Z"]  # fmt: skip
NAMES = [
    "alice",
    "Alice",
    "ALICE",
    "bob",
    "a*",
    "*",
    "?lice",
    "b?b",
    "al*e",
    "*l*c*",
    "",
    "a.ice",
    "al(ce",
    "[ab]ob",
]
PATTERNS = ["*", "sagemaker:*", "SageMaker:create*", CONNECT, "sagemaker:*NotebookInstance", "sagemaker:St?rt*",
            "sagemaker:describenotebookinstance", "sagemaker:*o*Instance*"]  # fmt: skip
RESOURCES = ["*", ARN + "*", ARN + "gpu-?", ARN + "gpu-1", "arn:aws:sagemaker:*:*:notebook-instance/nlp*",
             "arn:aws:sagemaker:us-*:*:*", "arn:*:sagemaker:eu-west-1:123456789012:*", ARN + "g*-*1*"]  # fmt: skip
KEYS = {
    Kind.ADDRESS: ["aws:SourceIp", "aws:VpcSourceIp", "AWS:sourceIP"],
    Kind.TEXT: ["aws:username", "aws:RequestedRegion", "aws:PrincipalTag/team", "aws:PrincipalTag/Team"],
    Kind.INSTANT: ["aws:CurrentTime", "aws:currenttime"],
    Kind.FLAG: ["aws:SecureTransport"],
}
VALUES = {
    Kind.ADDRESS: NETWORKS,
    Kind.TEXT: [*NAMES, "eu-west-1", "eu-*"],
    Kind.INSTANT: DATES,
    Kind.FLAG: ["true", "false", "True"],
}
# Both say what an absent key amounts to, and not the same; see below.
DISPUTED = {name for name in OPERATORS if name.startswith("ForAnyValue:") and name.endswith("IfExists")}


@dataclass(frozen=True)
class Cases:
    chance: random.Random

    def some(self, values: list[str], most: int = 3) -> str | list[str]:
        chosen = self.chance.sample(values, self.chance.randint(1, min(most, len(values))))
        return chosen[0] if len(chosen) == 1 and self.chance.random() < 0.5 else chosen

    def condition(self) -> dict[str, dict[str, Any]]:
        block: dict[str, dict[str, Any]] = {}
        for _ in range(self.chance.choice((0, 1, 1, 1, 2, 3))):
            operator = OPERATORS[self.chance.choice([name for name in OPERATORS if name not in DISPUTED])]
            kind = operator.kind or self.chance.choice(list(Kind))
            key = self.chance.choice(KEYS[kind])
            if key.lower() not in {one.lower() for one in block.get(operator.name, {})}:
                values = VALUES[kind] if operator.kind else ["true", "false"]
                block.setdefault(operator.name, {})[key] = self.some(values)
        return block

    def statement(self) -> dict[str, Any]:
        statement: dict[str, Any] = {
            "Effect": self.chance.choice(("Allow", "Allow", "Deny")),
            self.chance.choice(("Action", "Action", "NotAction")): self.some(PATTERNS),
            self.chance.choice(("Resource", "Resource", "NotResource")): self.some(RESOURCES),
        }
        if condition := self.condition():
            statement["Condition"] = condition
        return statement

    def context(self) -> Context:
        def sometimes(value: Any) -> Any:
            return None if self.chance.random() < 0.25 else value

        tags = {"team": sometimes(self.chance.choice(NAMES))}
        return Context(
            source_ip=sometimes(parse_address(self.chance.choice(ADDRESSES))),
            action=self.chance.choice(ACTIONS),
            resource=ARN + self.chance.choice(("gpu-1", "gpu-12", "nlp", "GPU-1")),
            now=sometimes(NOON + timedelta(seconds=self.chance.choice((-43200, -1, 0, 1, 86400)))),
            secure_transport=sometimes(self.chance.random() < 0.5),
            region=sometimes("eu-west-1"),
            username=sometimes(self.chance.choice(NAMES)),
            tags={key: value for key, value in tags.items() if value is not None},
        )

    def draw(self, policies: int) -> list[Case]:
        return [
            (statements, self.context())
            for statements in (
                [self.statement() for _ in range(self.chance.randint(1, 4))] for _ in range(policies)
            )
            for _ in range(CONTEXTS)
        ]


@pytest.mark.slow
def test_an_independent_simulator_decides_the_same() -> None:
    cases = Cases(random.Random(20270131)).draw(POLICIES)
    theirs = simulated(cases)
    assert len(theirs) == len(cases)
    different = []
    for at in range(0, len(cases), CONTEXTS):
        policy = compiled(cases[at][0])
        for (statements, context), said in zip(
            cases[at : at + CONTEXTS], theirs[at : at + CONTEXTS], strict=True
        ):
            if said != ours(policy, context):
                different.append((statements, context, said))
    assert not different, f"{len(different)} of {len(cases)}; the first: {different[0]}"
    # Neither of the three is rare, or the comparison would say little.
    assert min(Counter(theirs).values()) > len(cases) / 10


# What AWS's documentation decides. Each: a condition, a context, what the simulator makes of an Allow with it, and we.


def differ(condition: dict[str, Any], context: Context, *, theirs: str, expected: str) -> None:
    statements = [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}]
    assert simulated([(statements, context)]) == [theirs]
    assert ours(compiled(statements), context) == expected


def test_a_prefix_of_no_bits_holds_every_address() -> None:
    """IAM User Guide, "IP address condition operators": "the value must be in the standard CIDR format". RFC 4632: a
    prefix of length 0 covers all. The simulator shifts a 32-bit number by 32, which leaves it as it is.
    """
    differ(
        {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}},
        Context(parse_address("203.0.113.5")),
        theirs="ImplicitlyDenied",
        expected="Allowed",
    )


def test_an_address_alone_is_a_network_of_one_for_both_families() -> None:
    """IAM User Guide, "IP address condition operators": `NotIpAddress` is "all IP addresses except the specified IP
    address or range", and "if you specify an IP address without the associated routing prefix, IAM uses the default
    prefix". The simulator lets an address of the other family fail both `IpAddress` and `NotIpAddress`.
    """
    differ(
        {"NotIpAddress": {"aws:SourceIp": "203.0.113.5"}},
        Context(parse_address("2001:db8::1")),
        theirs="ImplicitlyDenied",
        expected="Allowed",
    )


def test_an_ipv6_address_is_the_same_however_it_is_spelled() -> None:
    """RFC 4291 section 2.2: the spellings are of one address. The simulator compares them as text."""
    differ(
        {"IpAddress": {"aws:SourceIp": "2001:DB8:0::1"}},
        Context(parse_address("2001:db8::1")),
        theirs="ImplicitlyDenied",
        expected="Allowed",
    )


def test_if_exists_is_true_of_an_absent_key_under_a_set_operator_too() -> None:
    """IAM User Guide, "…IfExists condition operators": "You can add IfExists to the end of any condition operator name
    except the Null condition"; "if the key is not present, evaluate the condition element as true"; other elements
    "can still result in a nonmatch, but not a missing key when checked with …IfExists". The simulator says false, as of
    `ForAnyValue` without it.
    """
    differ(
        {"ForAnyValue:StringEqualsIfExists": {"aws:username": "alice"}},
        Context(None),
        theirs="ImplicitlyDenied",
        expected="Allowed",
    )


def test_the_disputed_operators_agree_on_keys_that_are_there() -> None:
    cases: list[Case] = []
    chance = random.Random(7)
    for name in sorted(DISPUTED):
        kind = OPERATORS[name].kind
        assert kind is not None
        for _ in range(20):
            context = Cases(chance).context()
            context = context._replace(
                source_ip=context.source_ip or parse_address("203.0.113.5"),
                now=context.now or NOON,
                secure_transport=bool(context.secure_transport),
                username=context.username or "alice",
                region="eu-west-1",
                tags={"team": "bob"},
            )
            condition = {name: {chance.choice(KEYS[kind]): Cases(chance).some(VALUES[kind])}}
            cases.append(
                ([{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}], context)
            )
    assert simulated(cases) == [ours(compiled(statements), context) for statements, context in cases]


def test_epoch_time_is_in_seconds() -> None:
    """IAM User Guide, "Date condition operators": "or in epoch (UNIX) time", which counts seconds. The simulator takes
    the number for milliseconds.
    """
    differ(
        {"DateGreaterThan": {"aws:CurrentTime": "1900000000"}},
        Context(None, now=NOON),
        theirs="Allowed",
        expected="ImplicitlyDenied",
    )
