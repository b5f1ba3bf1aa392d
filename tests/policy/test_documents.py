"""Policy documents as AWS prints them: the guide's own patterns become a list, others statements, and what cannot be
honoured is refused with its place.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from proxy.client_address.networks import NetworkSet, parse_address, parse_network
from proxy.policy.context import CONNECT, Context
from proxy.policy.documents import DocumentError, Imported, import_document, parse_document
from proxy.policy.elements import read_statement
from proxy.policy.evaluate import evaluate
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm, gateway_policy
from proxy.policy.statements import Policy

LIST = ["192.0.2.0/24", "203.0.113.0/24"]
DENY = {
    "Effect": "Deny",
    "Action": CONNECT,
    "Resource": "*",
    "Condition": {"NotIpAddress": {"aws:SourceIp": LIST}},
}
ALLOW: dict[str, Any] = {
    "Effect": "Allow",
    "Action": [CONNECT],
    "Resource": ["*"],
    "Condition": {"IpAddress": {"aws:SourceIp": LIST}},
}
INSIDE, OUTSIDE = parse_address("203.0.113.5"), parse_address("198.51.100.1")


def document(*statements: Any, **others: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements), **others}


def policy_of(imported: Imported) -> Policy:
    """What the configuration makes of it."""
    if imported.networks:
        networks = NetworkSet(map(parse_network, imported.networks))
        return gateway_policy(ShortForm((NamedList("imported", networks),)))
    statements = (read_statement(one, sid=f"s{index}") for index, one in enumerate(imported.statements))
    return gateway_policy(ShortForm(), tuple(statements))


@pytest.mark.parametrize(
    ("statements", "remarks"),
    [
        # 2018 (and AWS's blog): relies on an Allow elsewhere. 2020: the pair. 2023: the Allow alone.
        ([DENY], 2),
        ([DENY, ALLOW], 1),
        ([ALLOW, DENY], 1),
        ([ALLOW], 1),
    ],
)
def test_the_guides_patterns_become_a_list_and_decide_as_aws_says(statements, remarks: int) -> None:
    imported = import_document(document(*statements))
    assert imported.networks == tuple(LIST)
    assert imported.statements == ()
    assert len(imported.remarks) == remarks
    policy = policy_of(imported)
    assert evaluate(policy, Context(INSIDE)).allowed
    assert not evaluate(policy, Context(OUTSIDE)).allowed
    assert not evaluate(policy, Context(None)).allowed


def test_the_guides_pattern_is_known_in_other_spellings() -> None:
    spelled = {
        **ALLOW,
        "Action": CONNECT.lower(),
        "Condition": {"IpAddress": {"AWS:sourceip": "192.0.2.0/24"}},
    }
    assert import_document({"Statement": spelled}).networks == ("192.0.2.0/24",)


@pytest.mark.parametrize(
    "statements",
    [
        [{**ALLOW, "Action": [CONNECT, "sagemaker:DescribeNotebookInstance"]}],
        [{**ALLOW, "Resource": "arn:aws:sagemaker:*:*:notebook-instance/gpu-1"}],
        [{**ALLOW, "Condition": {**ALLOW["Condition"], "Bool": {"aws:SecureTransport": "true"}}}],
        [{**ALLOW, "Condition": {"IpAddress": {"aws:VpcSourceIp": LIST}}}],
        [{**ALLOW, "Condition": {"IpAddress": {"aws:SourceIp": LIST, "aws:VpcSourceIp": LIST}}}],
        [{**ALLOW, "Condition": {"IpAddressIfExists": {"aws:SourceIp": LIST}}}],
        [{**DENY, "Condition": {"IpAddress": {"aws:SourceIp": LIST}}}],
        [{key: value for key, value in ALLOW.items() if key != "Condition"}],
        [DENY, {**ALLOW, "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}}}],
        [ALLOW, {**ALLOW, "Sid": "Again"}],
        [
            {
                "Effect": "Allow",
                "NotAction": "sagemaker:Stop*",
                "Resource": "*",
                "Condition": ALLOW["Condition"],
            }
        ],
    ],
)
def test_anything_else_becomes_the_statements_it_is(statements: list[dict[str, Any]]) -> None:
    imported = import_document(document(*statements))
    assert imported.networks == ()
    assert list(imported.statements) == statements


def test_a_document_that_only_denies_lets_nobody_in_by_itself() -> None:
    deny = {**DENY, "Condition": {"IpAddress": {"aws:SourceIp": LIST}}}
    imported = import_document(document(deny))
    assert "Nothing here allows" in imported.remarks[-1]
    assert not evaluate(policy_of(imported), Context(OUTSIDE)).allowed


def test_statements_about_other_services_are_left_out_and_said() -> None:
    imported = import_document(
        document(
            {
                "Sid": "Buckets",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": "*",
            },
            {**ALLOW, "Action": [CONNECT, "sagemaker:CreatePresignedDomainUrl"]},
            {"Effect": "Deny", "NotAction": ["s3:*", "sagemaker:Describe*"], "Resource": "*"},
            {"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"},
        )
    )
    assert imported.remarks[:4] == (
        "Left out: statement Buckets, which is about other actions (s3:GetObject, s3:ListBucket).",
        "Left out of statement 2: other actions (sagemaker:CreatePresignedDomainUrl).",
        "Left out of statement 3: other actions (s3:*).",
        "Left out of statement 4: other actions (iam:*).",
    )
    assert [one.get("Action", one.get("NotAction")) for one in imported.statements] == [
        [CONNECT],
        ["sagemaker:Describe*"],
        "*",
    ]


def test_ids_with_spaces_as_in_awss_own_examples_are_made_plain() -> None:
    imported = import_document(document({**ALLOW, "Sid": "Enable Notebook-Access 1", "Action": "*"}))
    assert imported.statements[0]["Sid"] == "EnableNotebookAccess1"


WRAPPED = [
    json.dumps(document(ALLOW)),
    "\n" + json.dumps(document(ALLOW), indent=4),
    json.dumps({"RoleName": "r", "PolicyName": "p", "PolicyDocument": document(ALLOW)}),
    json.dumps({"PolicyDocument": quote(json.dumps(document(ALLOW)))}),
    json.dumps({"PolicyDocument": json.dumps(document(ALLOW))}),
    json.dumps({"PolicyVersion": {"Document": document(ALLOW), "VersionId": "v1", "IsDefaultVersion": True}}),
    quote(json.dumps(document(ALLOW))),
]


@pytest.mark.parametrize("text", WRAPPED)
def test_it_is_found_in_what_aws_prints(text: str) -> None:
    parsed, path = parse_document(text)
    assert import_document(parsed, path).networks == tuple(LIST)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", (), "is not JSON"),
        ("Version: x", (), "is not JSON"),
        ("[" * 100_000, (), "is nested too deep"),
        ('{"Statement": [], "Statement": []}', (), "the key 'Statement' is in one mapping twice"),
        (json.dumps({"PolicyDocument": "%7Bnonsense"}), ("PolicyDocument",), "is not JSON"),
        ("[]", (), "is not a policy document"),
        ("{}", (), "is not a policy document"),
        (
            json.dumps({"PolicyVersion": {"Document": {}}}),
            ("PolicyVersion", "Document"),
            "is not a policy document",
        ),
        (json.dumps(document(ALLOW, Author="x")), ("Author",), "there is no element called 'Author'"),
        (json.dumps(document(ALLOW, Version="2024-01-01")), ("Version",), "'2024-01-01' is not a version"),
        (json.dumps(document()), (), "no statement is about an action of this gateway"),
        (
            json.dumps(document({**ALLOW, "Action": "s3:*"})),
            (),
            "no statement is about an action of this gateway",
        ),
        (json.dumps(document("x")), ("Statement", 0), "must be a statement"),
        (
            json.dumps({"Statement": {**ALLOW, "Principal": "*"}}),
            ("Statement", "Principal"),
            "says who is meant",
        ),
        (json.dumps(document({**ALLOW, "Action": [7]})), ("Statement", 0, "Action"), "must be text"),
        (json.dumps(document({"Effect": "Deny", "Resource": "*"})), ("Statement", 0), "Action or NotAction"),
        (
            json.dumps(document({**ALLOW, "Sid": "a"}, {**ALLOW, "Sid": "a"})),
            ("Statement", 1, "Sid"),
            "the id a is taken",
        ),
        (json.dumps(document({**ALLOW, "Sid": 7})), ("Statement", 0, "Sid"), "is no statement id"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_place(text: str, path, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        import_document(*parse_document(text))
    (flaw,) = caught.value.flaws
    assert flaw.path == path
    assert message in flaw.message


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        (
            {"StringEquals": {"aws:SourceVpce": ["vpce-1"]}},
            "it tells through which VPC endpoint AWS was called",
        ),
        ({"ForAnyValue:StringEquals": {"aws:sourceVpce": ["vpce-1"]}}, "through which VPC endpoint"),
        ({"StringEquals": {"aws:SourceVpc": "vpc-1"}}, "through which VPC AWS"),
        ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, "how AWS's own sign-in went"),
        ({"StringEquals": {"sagemaker:ResourceTag/team": "x"}}, "use one of"),
        ({"ArnLike": {"aws:PrincipalArn": "x"}}, "use one of"),
    ],
)
def test_keys_of_awss_own_are_refused_with_the_reason(condition: dict[str, Any], hint: str) -> None:
    with pytest.raises(DocumentError) as caught:
        import_document(document({**ALLOW, "Condition": condition}))
    assert hint in caught.value.hint
    assert caught.value.flaws[0].path[:3] == ("Statement", 0, "Condition")


def test_all_flaws_are_told_at_once() -> None:
    with pytest.raises(DocumentError) as caught:
        import_document(document({**ALLOW, "Effect": "x"}, {**DENY, "Resource": "y"}, Version="z"))
    assert [flaw.path for flaw in caught.value.flaws] == [
        ("Version",),
        ("Statement", 0, "Effect"),
        ("Statement", 1, "Resource"),
    ]
