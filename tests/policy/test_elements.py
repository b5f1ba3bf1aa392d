"""Statements as policy documents spell them: read whole, or refused with every reason and its place."""

from __future__ import annotations

import pytest

from proxy.client_address.networks import parse_address
from proxy.policy.conditions import compile_condition
from proxy.policy.context import ACTIONS, CONNECT, Context
from proxy.policy.elements import ELEMENTS, StatementError, concerns_us, read_statement
from proxy.policy.resources import ArnPatterns
from proxy.policy.statements import AllBut, Effect, Statement
from proxy.policy.wildcards import Wildcards

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/gpu-1"
IP = {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24"]}}
BASE = {"Effect": "Deny", "Action": CONNECT, "Resource": "*"}


def test_a_statement_is_read_as_it_stands() -> None:
    element = {
        "Sid": "Office1",
        "Effect": "Allow",
        "Action": ["sagemaker:createpresignednotebookinstanceurl", "sagemaker:Describe*"],
        "Resource": [ARN, "arn:aws:sagemaker:*:*:notebook-instance/nlp-*"],
        "Condition": {
            "IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "198.51.100.7"]},
            "Bool": {"aws:SecureTransport": "true"},
            "StringLike": {"aws:username": "a*", "aws:PrincipalTag/team": ["x"]},
        },
    }
    assert read_statement(element, sid="policy-1", origin="nbgate.yaml:3") == Statement(
        "Office1",
        Effect.ALLOW,
        actions=Wildcards(element["Action"], ignore_case=True),
        resources=ArnPatterns(element["Resource"]),
        conditions=(
            compile_condition("IpAddress", "aws:SourceIp", ["203.0.113.0/24", "198.51.100.7/32"]),
            compile_condition("Bool", "aws:SecureTransport", ["true"]),
            compile_condition("StringLike", "aws:username", ["a*"]),
            compile_condition("StringLike", "aws:PrincipalTag/team", ["x"]),
        ),
    )
    assert read_statement(element, sid="x", origin="nbgate.yaml:3").origin == "nbgate.yaml:3"


def test_without_a_sid_it_gets_one() -> None:
    assert read_statement(BASE, sid="policy-1").sid == "policy-1"


def test_what_is_left_out_by_not_is_all_but_that() -> None:
    element = {"Effect": "Deny", "NotAction": "sagemaker:Describe*", "NotResource": [ARN], "Condition": {}}
    statement = read_statement(element, sid="s")
    assert statement.actions == AllBut(Wildcards(("sagemaker:Describe*",), ignore_case=True))
    assert statement.resources == AllBut(ArnPatterns((ARN,)))
    applying = {action for action in ACTIONS if statement.applies(Context(None, action, "arn:x"))}
    assert applying == set(ACTIONS) - {"sagemaker:DescribeNotebookInstance"}
    assert not statement.applies(Context(None, CONNECT, ARN))


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("*", ACTIONS),
        ("sagemaker:*", ACTIONS),
        ("SageMaker:*PRESIGNED*", (CONNECT,)),
        ("sagemaker:St?rt*", ("sagemaker:StartNotebookInstance",)),
        ("sagemaker:*NotebookInstance", ACTIONS[1:2] + ACTIONS[3:]),
    ],
)
def test_actions_are_matched_in_any_case(pattern: str, matching: tuple[str, ...]) -> None:
    statement = read_statement({**BASE, "Action": pattern}, sid="s")
    assert tuple(action for action in ACTIONS if statement.applies(Context(None, action))) == matching
    assert concerns_us(pattern)


def test_other_services_do_not_concern_us() -> None:
    assert not concerns_us("s3:*")
    assert not concerns_us(7)


@pytest.mark.parametrize(
    ("element", "path", "message", "hint"),
    [
        ("Deny", (), "must be a statement, not 'Deny'", "begin with Effect"),
        ([], (), "must be a statement, not a list", "begin with Effect"),
        (None, (), "must be a statement, not nothing", "begin with Effect"),
        ({**BASE, "Principal": "*"}, ("Principal",), "says who is meant", "leave it out"),
        ({**BASE, "NotPrincipal": {}}, ("NotPrincipal",), "says who is not meant", "leave it out"),
        ({**BASE, "effect": "Deny"}, ("effect",), "there is no element called 'effect'", "write Effect"),
        ({**BASE, "Conditions": IP}, ("Conditions",), "no element called 'Conditions'", ", ".join(ELEMENTS)),
        ({**BASE, "Sid": "a-b"}, ("Sid",), "'a-b' is no statement id", "letters and digits"),
        ({**BASE, "Sid": 7}, ("Sid",), "7 is no statement id", "letters and digits"),
        ({**BASE, "Effect": "deny"}, ("Effect",), "'deny' is no effect", "Allow or Deny"),
        ({**BASE, "Effect": True}, ("Effect",), "true is no effect", "Allow or Deny"),
        ({"Action": "*", "Resource": "*"}, (), "Effect is missing", "write Effect"),
        ({"Effect": "Deny", "Resource": "*"}, (), "Action or NotAction is missing", "write Action: '*'"),
        ({"Effect": "Deny", "Action": "*"}, (), "Resource or NotResource is missing", "write Resource: '*'"),
        ({**BASE, "NotAction": "*"}, ("NotAction",), "Action and NotAction stand in one", "keep one"),
        ({**BASE, "Action": []}, ("Action",), "Action is empty", "list at least one"),
        ({**BASE, "Action": [CONNECT, None]}, ("Action", 1), "must be text, not nothing", "write Action"),
        ({**BASE, "Action": {"a": 1}}, ("Action",), "must be text, not a mapping", "write Action"),
        ({**BASE, "Action": [CONNECT, "sagemaker:CreateApp"]}, ("Action", 1), "matches no action", CONNECT),
        ({**BASE, "Action": "s3:*"}, ("Action",), "matches no action", CONNECT),
        ({**BASE, "Resource": "gpu-1"}, ("Resource",), "not the ARN of a notebook", "write arn:"),
        ({**BASE, "Resource": f"{ARN[:-5]}${{aws:username}}"}, ("Resource",), "policy variable", "use * or ?"),
        ({**BASE, "Condition": None}, ("Condition",), "must be a mapping, not nothing", "IpAddress"),
        ({**BASE, "Condition": {"IpAdress": {}}}, ("Condition", "IpAdress"), "not supported", "use one of"),
        ({**BASE, "Condition": {"IpAddress": {}}}, ("Condition", "IpAddress"), "has no key", "aws:SourceIp"),
        ({**BASE, "Condition": {"IpAddress": ["x"]}}, ("Condition", "IpAddress"), "has no key", "aws:SourceIp"),
        ({**BASE, "Condition": {"IpAddress": {"aws:SourceVpce": "x"}}},
         ("Condition", "IpAddress", "aws:SourceVpce"), "key 'aws:SourceVpce' is not supported", "aws:SourceIp"),
        ({**BASE, "Condition": {"Bool": {"aws:SourceIp": "true"}}},
         ("Condition", "Bool", "aws:SourceIp"), "does not fit", "use IpAddress"),
        ({**BASE, "Condition": {"IpAddress": {"aws:SourceIp": []}}},
         ("Condition", "IpAddress", "aws:SourceIp"), "has no values", "list at least one"),
        ({**BASE, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.1/8"}}},
         ("Condition", "IpAddress", "aws:SourceIp"), "has host bits set", "write 10.0.0.0/8"),
        ({**BASE, "Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", 7]}}},
         ("Condition", "IpAddress", "aws:SourceIp", 1), "is a int, not text", "in quotes"),
        ({**BASE, "Condition": {"Bool": {"aws:SecureTransport": "1"}}},
         ("Condition", "Bool", "aws:SecureTransport"), "neither true nor false", "write true"),
        ({**BASE, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8", "AWS:sourceip": "10.0.0.0/9"}}},
         ("Condition", "IpAddress", "AWS:sourceip"), "is here twice", "one list"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(element: object, path, message: str, hint: str) -> None:
    with pytest.raises(StatementError) as caught:
        read_statement(element, sid="s")
    (flaw,) = caught.value.flaws
    assert flaw.path == path
    assert message in flaw.message
    assert hint in flaw.hint
    assert (str(caught.value), caught.value.hint) == (flaw.message, flaw.hint)


def test_every_flaw_is_told_at_once() -> None:
    element = {
        "Effect": "maybe",
        "Principal": "*",
        "Action": ["s3:x", "sagemaker:*"],
        "Condition": {"NoOperator": 1, "IpAddress": {"aws:SourceIp": ["x", "y"]}},
    }
    with pytest.raises(StatementError) as caught:
        read_statement(element, sid="s")
    assert [flaw.path for flaw in caught.value.flaws] == [
        ("Principal",),
        ("Effect",),
        ("Action", 0),
        (),
        ("Condition", "NoOperator"),
        ("Condition", "IpAddress", "aws:SourceIp", 0),
        ("Condition", "IpAddress", "aws:SourceIp", 1),
    ]


def test_a_read_statement_decides() -> None:
    statement = read_statement({**BASE, "Condition": IP}, sid="s")
    assert statement.applies(Context(parse_address("203.0.113.9")))
    assert not statement.applies(Context(parse_address("192.0.2.9")))
