"""Documents in and out: the lines that are printed mean what the document said, and problems have its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.client_address.networks import parse_address
from proxy.config import documents
from proxy.config.documents import export_callers, export_gateway, import_file
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.errors import ConfigError, Problem
from proxy.policy.context import CONNECT, Context
from proxy.policy.evaluate import evaluate
from tests.config.config_files import BASE, EXAMPLES, load_text

NETWORKS = ["192.0.2.0/24", "2001:db8::/32"]
GUIDE = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": CONNECT,
            "Resource": "*",
            "Condition": {"IpAddress": {"aws:SourceIp": NETWORKS}},
        }
    ],
}
OTHER: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Weekdays2027",
            "Effect": "Allow",
            "Action": ["sagemaker:*"],
            "Resource": "arn:aws:sagemaker:*:*:notebook-instance/research-*",
            "Condition": {
                "IpAddress": {"aws:SourceIp": [*NETWORKS, "::ffff:198.51.100.0/120"]},
                "DateLessThan": {"aws:CurrentTime": "2028-01-01"},
                "Bool": {"aws:SecureTransport": "true"},
                "StringNotLikeIfExists": {"aws:username": ["on", "*!&%@`: #'\"\\", "12:30:00", "é", "\n"]},
                "Null": {"aws:PrincipalTag/team": True},
            },
        },
        {"Effect": "Deny", "NotAction": CONNECT, "Resource": "*"},
    ],
}


def written(directory: Path, document: Any) -> Path:
    file = directory / "policy.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document, indent=4))
    return file


def configured(directory: Path, lines: str) -> Settings:
    """The configuration with imported lines in the place of its own."""
    sections = yaml.safe_load(lines)
    kept = [text for name, text in BASE.items() if name not in sections]
    return load_text(directory, lines + "\n".join(kept))


def test_the_guides_document_becomes_a_list(tmp_path: Path) -> None:
    lines = import_file(written(tmp_path, GUIDE), list_name="aws")
    assert lines == (
        "# From policy.json.\n"
        "# The document is about connecting alone; the list counts for describing, starting and stopping, too.\n"
        "allowlists:\n  aws:\n  - 192.0.2.0/24\n  - 2001:db8::/32\npolicy:\n  allow:\n  - aws\n"
    )
    settings = configured(tmp_path, lines)
    assert evaluate(settings.policy, Context(parse_address("192.0.2.1"))).allowed
    assert not evaluate(settings.policy, Context(parse_address("198.51.100.1"))).allowed


def test_statements_come_back_as_they_were_whatever_they_hold(tmp_path: Path) -> None:
    lines = import_file(written(tmp_path, OTHER), list_name="aws")
    settings = configured(tmp_path, lines)
    assert yaml.safe_load(lines)["policy"]["statements"] == OTHER["Statement"]
    first, second = settings.statements
    assert first.sid == "Weekdays2027"
    written_values = {(one.operator.name, one.key.name): list(one.written) for one in first.conditions}
    assert (
        written_values["StringNotLikeIfExists", "aws:username"]
        == (OTHER["Statement"][0]["Condition"]["StringNotLikeIfExists"]["aws:username"])
    )
    assert second.sid == "policy-statement-2"


def test_what_was_exported_is_imported_and_decides_the_same(tmp_path: Path) -> None:
    settings = load(EXAMPLES / "nbgate.yaml", environ={})
    file = written(tmp_path, dict(export_callers(settings).document))
    lines = import_file(file, list_name="aws")
    sections = {**yaml.safe_load((EXAMPLES / "nbgate.yaml").read_text()), **yaml.safe_load(lines)}
    for section in sections["instances"].values():
        section.pop("allow", None)
        section.pop("deny", None)
    (tmp_path / "nbgate.yaml").write_text(yaml.safe_dump(sections))
    imported = load(tmp_path / "nbgate.yaml", environ={})
    for name, instance in settings.instances.items():
        for address in (
            "203.0.113.5",
            "203.0.113.201",
            "198.51.100.7",
            "198.51.100.8",
            "192.0.2.1",
            "2001:db8:10::1",
        ):
            for secure in (True, False):
                context = Context(parse_address(address), resource=instance.arn, secure_transport=secure)
                expected = evaluate(instance.policy, context).allowed
                assert evaluate(imported.instances[name].policy, context).allowed is expected, (
                    name,
                    address,
                    secure,
                )


def test_the_gateways_role_and_those_that_it_assumes_have_documents_of_their_own() -> None:
    settings = load(EXAMPLES / "nbgate.yaml", environ={})
    own = export_gateway(settings, role=None, egress=(), endpoints=["vpce-0a1b2c3d"]).document["Statement"]
    assert [arn.rpartition("/")[2] for arn in own[0]["Resource"]] == ["research-gpu-1", "nlp-team", "shared"]
    role = "arn:aws:iam::123456789012:role/nbgate-vision"
    # Three of its own are worth listing.
    assert (own[1]["Sid"], own[1]["Resource"]) == ("NbgateLists", "*")
    assert own[2]["Resource"] == [role]
    (vision,) = export_gateway(settings, role=role, egress=(), endpoints=["vpce-0a1b2c3d"]).document[
        "Statement"
    ]
    assert vision["Resource"] == ["arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/vision-team"]


def problems(directory: Path, document: Any) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        import_file(written(directory, document), list_name="aws")
    return [
        Problem(Path(one.file).name, one.line, where=one.where, message=one.message, hint=one.hint)
        for one in caught.value.problems
    ]


def test_problems_carry_the_documents_lines(tmp_path: Path) -> None:
    statement = {
        **GUIDE["Statement"][0],  # type: ignore[dict-item]
        "Principal": "*",
        "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "192.0.2.1/24"], "aws:SourceVpce": "x"}},
    }
    found = problems(tmp_path, {"Version": "2012-10-17", "Statement": [statement]})
    assert [(one.line, one.where) for one in found] == [
        (12, "Statement[0].Condition.IpAddress.aws:SourceIp[1]"),
        (14, "Statement[0].Condition.IpAddress.aws:SourceVpce"),
        (17, "Statement[0].Principal"),
    ]
    assert found[0].hint.startswith("write 192.0.2.0/24 for the network")


@pytest.mark.parametrize(
    ("document", "line", "message"),
    [
        ('{"Version": "2012-10-17",\n "Statement": [}', 2, "is not JSON: Expecting value"),
        ('{"Statement":\n [],\t"Statement": []}', 0, "the key 'Statement' is in one mapping twice"),
        ('{"PolicyDocument":\n "%7Bnonsense"}', 1, "is not JSON: "),
        ("[]", 1, "is not a policy document"),
    ],
)
def test_what_is_no_document_is_said(tmp_path: Path, document: str, line: int, message: str) -> None:
    (problem,) = problems(tmp_path, document)
    assert (problem.file, problem.line) == ("policy.json", line)
    assert problem.message.startswith(message)


def test_files_that_cannot_be_read_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        import_file(tmp_path / "nowhere.json", list_name="aws")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        import_file(tmp_path / "binary", list_name="aws")
    monkeypatch.setattr(documents, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="is larger than"):
        import_file(written(tmp_path, GUIDE), list_name="aws")
