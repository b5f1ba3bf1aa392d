"""Lists with notes, ends and files of their own, and IAM statements: what they mean, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from proxy.client_address.networks import parse_address
from proxy.config import includes
from proxy.errors import Problem
from proxy.policy.context import Context
from proxy.policy.evaluate import evaluate
from proxy.policy.lists import NamedList, Remark
from proxy.policy.statements import Effect
from tests.config.config_files import load_text, problems_of, said, text_of

JANUARY = datetime(2027, 1, 31, tzinfo=UTC)
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/research-gpu-1"
DENY = "{Effect: Deny, Action: '*', Resource: '*', Condition: {IpAddress: {'aws:SourceIp': 203.0.113.9}}}"


def problem_lines(directory: Path, **sections: str) -> list[tuple[int, str, str, str]]:
    return [said(one) for one in problems_of(directory, text_of(**sections))]


# Entries with a note and an end.


def test_entries_have_notes_and_ends(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        text_of(
            allowlists="allowlists:\n  office:\n  - 203.0.113.0/24\n  - {cidr: 198.51.100.7, note: contractor, "
            "until: 2027-01-31}\n  - cidr: 198.51.100.8\n    note: HQ\n  - cidr: 198.51.100.9\n"
            "    until: 2027-01-31T12:00:00+02:00\n"
        ),
    )
    office = settings.allowlists["office"]
    assert list(office.networks) == [
        ip_network(text) for text in ("203.0.113.0/24", "198.51.100.7", "198.51.100.8", "198.51.100.9")
    ]
    assert office.remarks == (
        Remark(ip_network("198.51.100.7"), "contractor", JANUARY),
        Remark(ip_network("198.51.100.8"), "HQ"),
        Remark(ip_network("198.51.100.9"), "", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    )
    assert office.origin == f"{tmp_path}/nbgate.yaml:2"
    policy = settings.instances["research"].policy
    assert policy.changes_at == (JANUARY, datetime(2027, 1, 31, 10, tzinfo=UTC))
    context = Context(parse_address("198.51.100.7"), now=datetime(2027, 1, 30, tzinfo=UTC))
    assert evaluate(policy, context).allowed
    assert not evaluate(policy, context._replace(now=JANUARY)).allowed


def test_an_end_that_has_passed_is_no_mistake(tmp_path: Path) -> None:
    """Otherwise the same file would be valid one day and not the next."""
    settings = load_text(
        tmp_path, text_of(allowlists="allowlists: {office: [{cidr: 203.0.113.0/24, until: 2001-01-01}]}")
    )
    context = Context(parse_address("203.0.113.1"), now=JANUARY)
    assert not evaluate(settings.policy, context).allowed


def test_a_network_that_is_listed_without_an_end_too_has_none(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        text_of(allowlists="allowlists: {office: [{cidr: 10.0.0.0/8, until: 2027-01-31}, 10.0.0.0/8]}"),
    )
    assert settings.policy.changes_at == ()


@pytest.mark.parametrize(
    ("entry", "where", "message", "hint"),
    [
        ("{cidr: 10.0.0.1/8}", ".cidr", "'10.0.0.1/8' has host bits set", "write 10.0.0.0/8"),
        ("{note: x}", ".cidr", "is missing", "'cidr' is needed here"),
        ("{cidr: 10.0.0.0/8, untill: x}", ".untill", "no setting called 'untill'", "did you mean 'until'?"),
        ("{cidr: 10.0.0.0/8, until: 2027}", ".until", "2027 is not a date", "write 2027-01-01"),
        ("{cidr: 10.0.0.0/8, until: soon}", ".until", "'soon' is not a date", "such as 2027-01-31"),
        ("{cidr: 10.0.0.0/8, until: 2027-02-29}", ".until", "'2027-02-29' does not exist", "such as"),
        ('{cidr: 10.0.0.0/8, note: "a\\nb"}', ".note", "is not one line", "such as"),
        ("{cidr: 10.0.0.0/8, note: 7}", ".note", "must be text, not the number 7", 'quotes: "7"'),
        ("10.0.0.1/8", "", "'10.0.0.1/8' has host bits set", "write 10.0.0.0/8"),
        ("[10.0.0.0/8]", "", "must be a network, not a list", "write it as text"),
    ],
)
def test_a_wrong_entry_is_told_with_its_line(
    tmp_path: Path, entry: str, where: str, message: str, hint: str
) -> None:
    (problem,) = problem_lines(
        tmp_path, allowlists=f"allowlists:\n  office:\n  - 203.0.113.0/24\n  - {entry}"
    )
    assert problem[:2] == (4, f"allowlists.office[1]{where}")
    assert message in problem[2]
    assert hint in problem[3]


# Lists in files of their own.


def included(directory: Path, content: str | bytes, *, name: str = "office.txt") -> str:
    (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"allowlists:\n  office: {{file: {name}}}"


def test_a_list_may_stand_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    section = included(
        tmp_path, "\ufeff# written by a tool\n\n203.0.113.0/24\n  2001:db8::/32  # office\r\n198.51.100.7\n"
    )
    settings = load_text(tmp_path, text_of(allowlists=section))
    office = settings.allowlists["office"]
    assert [str(network) for network in office.networks] == [
        "203.0.113.0/24",
        "2001:db8::/32",
        "198.51.100.7/32",
    ]
    assert office.origin == f"{tmp_path}/office.txt"
    assert settings.files == (tmp_path / "nbgate.yaml", tmp_path / "office.txt")
    assert evaluate(settings.policy, Context(parse_address("2001:db8::1"))).allowed


def test_a_file_that_two_lists_share_is_named_once(tmp_path: Path) -> None:
    section = included(tmp_path, "10.0.0.0/8\n") + "\n  other: {file: office.txt}"
    assert len(load_text(tmp_path, text_of(allowlists=section)).files) == 2


def test_problems_in_such_a_file_carry_its_lines(tmp_path: Path) -> None:
    section = included(tmp_path, "10.0.0.0/8\n010.0.0.1\n# fine\n10.0.0.1/8 # not fine\nexample.com\n")
    assert problems_of(tmp_path, text_of(allowlists=section)) == [
        Problem("office.txt", 2, where="", message="'010.0.0.1' has leading zeros, which some programs read as octal",
                hint="write 10.0.0.1 if that is meant"),
        Problem("office.txt", 4, where="", message="'10.0.0.1/8' has host bits set",
                hint="write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address"),
        Problem("office.txt", 5, where="", message="'example.com' is not an IP address",
                hint="write an address such as 203.0.113.7 or 2001:db8::7"),
    ]  # fmt: skip


def test_the_twenty_first_problem_is_one_too_many(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, text_of(allowlists=included(tmp_path, "nonsense\n" * 50)))
    assert len(problems) == 21
    assert problems[-1].message == "here and below may be more"


@pytest.mark.parametrize("content", ["", "# nothing\n\n"])
def test_a_file_without_a_network_is_refused(tmp_path: Path, content: str) -> None:
    (problem,) = problems_of(tmp_path, text_of(allowlists=included(tmp_path, content)))
    assert (problem.file, problem.line) == ("office.txt", 0)
    assert problem.message == "holds no network; it would let nobody in"


@pytest.mark.parametrize(
    ("section", "where", "message"),
    [
        ("{file: nowhere.txt}", ".file", "nowhere.txt cannot be read: No such file or directory"),
        ("{file: .}", ".file", "is not a file"),
        ("{file: binary}", ".file", "is not UTF-8 text"),
        ("{file: 7}", ".file", "must be a path, not 7"),
        ("{file: ''}", ".file", "must be a path, not ''"),
        ("{}", "", "is neither a list nor a file"),
        ("{fil: x}", ".fil", "there is no setting called 'fil'"),
    ],
)
def test_what_is_no_file_of_networks_is_told(tmp_path: Path, section: str, where: str, message: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    problem = problem_lines(tmp_path, allowlists=f"allowlists:\n  office: {section}")[0]
    assert problem[:2] == (2, f"allowlists.office{where}")
    assert message in problem[2]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(includes, "MAX_BYTES", 1024)
    section = included(tmp_path, "10.0.0.0/8\n" * 100)
    assert "is larger than" in problem_lines(tmp_path, allowlists=section)[0][2]


# Statements.


def test_statements_join_the_short_form_and_know_their_lines(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        text_of(
            policy=f"policy:\n  allow: [office]\n  statements:\n  - {DENY}\n",
            instances="instances:\n  research:\n    notebook: research-gpu-1\n    statements:\n"
            "    - Sid: Tls\n      Effect: Deny\n      NotAction: sagemaker:Describe*\n      Resource: '*'\n"
            "      Condition: {Bool: {aws:SecureTransport: false}}\n",
        ),
    )
    policy = settings.instances["research"].policy
    assert [(statement.sid, statement.origin.rpartition(":")[2]) for statement in policy.statements] == [
        ("gateway-allow", "2"),
        ("gateway-allow-listed", "2"),
        ("policy-statement-1", "4"),
        ("Tls", "10"),
    ]
    assert settings.statements == (policy.statements[2],)
    assert settings.instances["research"].statements == (policy.statements[3],)
    context = Context(parse_address("203.0.113.1"), secure_transport=True)
    assert evaluate(policy, context).allowed
    assert evaluate(policy, context._replace(secure_transport=False)).sids == ("Tls",)
    assert evaluate(settings.policy, context._replace(secure_transport=False)).allowed
    assert evaluate(policy, context._replace(source_ip=parse_address("203.0.113.9"))).sids == (
        "policy-statement-1",
    )


def test_statements_alone_say_who_is_let_in(tmp_path: Path) -> None:
    allow = DENY.replace("Deny", "Allow").replace("Resource: '*'", f"Resource: {ARN}")
    settings = load_text(
        tmp_path,
        text_of(
            aws="aws: {region: eu-west-1, account: 123456789012}",
            policy=f"policy: {{statements: [{allow}]}}",
        ),
    )
    instance = settings.instances["research"]
    assert instance.arn == ARN
    assert {statement.effect for statement in instance.policy.statements} == {Effect.ALLOW}
    context = Context(parse_address("203.0.113.9"), resource=instance.arn)
    assert evaluate(instance.policy, context).allowed
    assert not evaluate(instance.policy, context._replace(resource="*")).allowed


@pytest.mark.parametrize(
    ("aws", "instance", "account"),
    [
        ("{region: eu-west-1}", "", ""),
        ("{region: eu-west-1, account: '012345678901'}", "", "012345678901"),
        ("{region: eu-west-1, account: 012345678901}", "", "012345678901"),
        ("{region: eu-west-1, assume_role: 'arn:aws:iam::111111111111:role/x'}", "", "111111111111"),
        (
            "{region: eu-west-1, assume_role: 'arn:aws:iam::111111111111:role/x'}",
            ", assume_role: 'arn:aws:iam::222222222222:role/y'",
            "222222222222",
        ),
    ],
)
def test_the_account_is_that_of_the_role(tmp_path: Path, aws: str, instance: str, account: str) -> None:
    text = text_of(aws=f"aws: {aws}", instances=f"instances: {{a: {{notebook: n{instance}}}}}")
    arn = load_text(tmp_path, text).instances["a"].arn
    assert arn == f"arn:aws:sagemaker:eu-west-1:{account}:notebook-instance/n"


MISTAKES = [
    (
        "{Effect: Deny, Action: '*', Resource: '*', Principal: '*'}",
        "[0].Principal", "says who is meant", "leave it out",
    ),
    ("{Effect: Deny, Resource: '*'}", "[0]", "Action or NotAction is missing", "write Action: '*'"),
    ("{Effect: Deny, Action: '*', Resource: gpu}", "[0].Resource", "not the ARN", "write arn:"),
    ("{Effect: Deny, Action: ['*', 's3:*'], Resource: '*'}", "[0].Action[1]", "matches no action", "sagemaker:Create"),
    (
        "{Effect: Deny, Action: '*', Resource: '*', Condition: {IpAddress: {aws:SourceIp: [10.0.0.0/8, 10.0.0.1/8]}}}",
        "[0].Condition.IpAddress.aws:SourceIp[1]", "has host bits set", "write 10.0.0.0/8",
    ),
    (
        "{Effect: Deny, Action: '*', Resource: '*', Condition: {StringEquals: {aws:SourceVpce: x}}}",
        "[0].Condition.StringEquals.aws:SourceVpce", "key 'aws:SourceVpce' is not supported", "aws:SourceIp",
    ),
    (
        "{Effect: Deny, Action: '*', Resource: '*', Condition: {StringLike: {aws:username: '$${aws:username}'}}}",
        "[0].Condition.StringLike.aws:username", "policy variable", "write the value itself",
    ),
    ("Deny", "[0]", "must be a statement, not 'Deny'", "begin with Effect"),
    (
        f"{{Effect: Deny, Action: '*', NotResource: [{ARN}]}}",
        "[0].NotResource[0]", "names an account, and the instances' account is not known", "write aws: {account:",
    ),
    (
        f"{{Effect: Deny, Action: '*', Resource: {ARN.replace('123456789012', '*')[:-1]}2}}",
        "[0].Resource", "matches no instance", "an instance's ARN is arn:aws:sagemaker:eu-west-1:",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "where", "message", "hint"), MISTAKES)
@pytest.mark.parametrize("place", ["policy", "instances.research"])
def test_a_statement_that_cannot_be_honoured_is_refused_with_its_line(
    tmp_path: Path, place: str, statement: str, where: str, message: str, hint: str
) -> None:
    inside = f"\n    statements:\n    - {statement}"
    if place == "policy":
        sections = {"policy": f"policy:\n    allow: [office]{inside}"}
    else:
        sections = {"instances": f"instances:\n  research:\n    notebook: research-gpu-1{inside}"}
    (problem,) = problem_lines(tmp_path, **sections)
    assert problem[:2] == (4 if place == "policy" else 5, f"{place}.statements{where}")
    assert message in problem[2]
    assert hint in problem[3]


def test_an_instance_cannot_widen(tmp_path: Path) -> None:
    allow = DENY.replace("Deny", "Allow")
    (problem,) = problem_lines(
        tmp_path, instances=f"instances: {{a: {{notebook: n, statements: [{allow}]}}}}"
    )
    assert problem[:2] == (1, "instances.a.statements[0].Effect")
    assert "so its statements deny" in problem[2]


def test_ids_are_taken_once(tmp_path: Path) -> None:
    one = DENY.replace("{Effect", "{Sid: One, Effect")
    problems = problem_lines(
        tmp_path,
        instances=f"instances: {{a: {{notebook: n, statements: [{one}]}}, b: {{notebook: m}}}}",
        policy=f"policy: {{statements: [{one}, {one}]}}",
    )
    assert [problem[1:3] for problem in problems] == [
        ("instances.a.statements[0].Sid", "the id One is taken"),
        ("policy.statements[1].Sid", "the id One is taken"),
    ]


def test_two_instances_may_use_the_same_id(tmp_path: Path) -> None:
    one = DENY.replace("{Effect", "{Sid: One, Effect")
    instances = (
        f"instances: {{a: {{notebook: n, statements: [{one}]}}, b: {{notebook: m, statements: [{one}]}}}}"
    )
    assert load_text(tmp_path, text_of(instances=instances)).instances["b"].policy.statements[-1].sid == "One"


def test_an_instances_arn_is_its_own(tmp_path: Path) -> None:
    """A Deny under one instance that names another would deny nobody."""
    other = DENY.replace("Resource: '*'", "Resource: 'arn:aws:sagemaker:*:*:notebook-instance/m'")
    instances = f"instances: {{a: {{notebook: n, statements: [{other}]}}, b: {{notebook: m}}}}"
    (problem,) = problem_lines(tmp_path, instances=instances)
    assert problem[1] == "instances.a.statements[0].Resource"
    assert problem[3].endswith("notebook-instance/n")


@pytest.mark.parametrize(
    ("sections", "where", "message"),
    [
        ({"policy": "policy: {statements: []}"}, "policy.statements", "statements is empty"),
        (
            {"policy": "policy: {statements: {Effect: Deny}}"},
            "policy.statements",
            "must be a list, not a mapping",
        ),
        ({"policy": "policy: {}"}, "policy.allow", "is missing"),
        (
            {"aws": "aws: {region: eu-west-1, account: 1234}"},
            "aws.account",
            "1234 is not the number of an AWS account",
        ),
        (
            {"aws": "aws: {region: eu-west-1, account: 1234-5678-9012}"},
            "aws.account",
            "'1234-5678-9012' is not the number of an AWS account",
        ),
        (
            {
                "aws": "aws: {region: eu-west-1, account: 123456789012, "
                "assume_role: 'arn:aws:iam::111111111111:role/x'}"
            },
            "aws.account",
            "is not the account of assume_role",
        ),
    ],
)
def test_other_mistakes(tmp_path: Path, sections: dict[str, str], where: str, message: str) -> None:
    problems = problem_lines(tmp_path, **sections)
    assert any(problem[:3] == (1, where, message) for problem in problems), problems


def test_an_account_need_not_be_known_where_its_instances_are_others(tmp_path: Path) -> None:
    deny = DENY.replace("Resource: '*'", f"Resource: {ARN[:-14]}other")
    role = "arn:aws:iam::123456789012:role/x"
    instances = f"instances: {{a: {{notebook: n}}, b: {{notebook: other, assume_role: '{role}'}}}}"
    load_text(
        tmp_path, text_of(instances=instances, policy=f"policy: {{allow: [office], statements: [{deny}]}}")
    )


def test_nothing_is_said_of_arns_where_something_they_are_made_of_is_wrong(tmp_path: Path) -> None:
    deny = DENY.replace("Resource: '*'", "Resource: 'arn:aws:sagemaker:*:*:notebook-instance/m'")
    problems = problem_lines(
        tmp_path, aws="aws: {region: nowhere}", policy=f"policy: {{allow: [office], statements: [{deny}]}}"
    )
    assert [problem[1] for problem in problems] == ["aws.region"]


def test_lists_are_what_the_policy_was_made_of(tmp_path: Path) -> None:
    settings = load_text(tmp_path, text_of())
    assert settings.restriction.allow == (settings.allowlists["office"],)
    assert isinstance(settings.allowlists["office"], NamedList)
