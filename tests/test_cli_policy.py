"""`nbgate policy`: what it prints is what AWS, and a configuration, take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.test_explain_command import CONFIG, run

DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Deny",
        "Action": "sagemaker:CreatePresignedNotebookInstanceUrl",
        "Resource": "*",
        "Condition": {"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}},
    },
}


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "nbgate.yaml"
    file.write_text(CONFIG)
    return str(file)


def test_import_prints_lines_for_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(DOCUMENT))
    result = run("policy", "import", str(file), "--list", "office")
    assert result.exit_code == 0
    assert result.stdout.endswith("allowlists:\n  office:\n  - 192.0.2.0/24\npolicy:\n  allow:\n  - office\n")


def test_import_refuses_with_lines_and_status_2(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(DOCUMENT, indent=2).replace("192.0.2.0/24", "192.0.2.1/24"))
    result = run("policy", "import", str(file))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"{file}:10: Statement.Condition.NotIpAddress.aws:SourceIp[0]: '192.0.2.1/24' has host bits set "
        "(write 192.0.2.0/24 for the network, or 192.0.2.1 for the one address)\n"
        "1 problem; nothing was imported.\n"
    )
    assert "cannot be a list's name" in run("policy", "import", str(file), "--list", "a b").stderr


def test_export_prints_the_callers_restriction(config: str) -> None:
    result = run("policy", "export", "--config", config)
    assert result.exit_code == 0
    sids = [one["Sid"] for one in json.loads(result.stdout)["Statement"]]
    assert sids == [
        "GatewayAllow",
        "GatewayAllowUntil20310131T000000Z",
        "GatewayAllowListed",
        "Tls",
        "NoEve",
        "InstanceNlpAllow",
        "InstanceNlpAllowUntil20310131T000000Z",
    ]
    assert result.stderr == "aws:username is of IAM's users there, and of the gateway's here.\n"


def test_export_prints_the_gateways_own_policy(config: str) -> None:
    result = run(
        "policy", "export", "-c", config, "--gateway", "--egress", "203.0.113.1", "--egress", "203.0.113.2"
    )
    (statement,) = json.loads(result.stdout)["Statement"]
    assert statement["Condition"] == {"IpAddress": {"aws:SourceIp": ["203.0.113.1/32", "203.0.113.2/32"]}}
    assert statement["Resource"] == [
        "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/research-gpu-1",
        "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/nlp-team",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gateway",), "With --gateway, give --egress or --vpc-endpoint."),
        (("--gateway", "--egress", "203.0.113.1", "--vpc-endpoint", "vpce-0a1b2c3d"), "With --gateway, give"),
        (("--egress", "203.0.113.1"), "are about --gateway"),
        (("--gateway", "--egress", "10.0.0.1"), "10.0.0.1/32 is no public address"),
        (("--gateway", "--egress", "203.0.113.01"), "has leading zeros"),
        (("--gateway", "--vpc-endpoint", "x"), "no VPC endpoint's id (such as vpce-"),
        (("--gateway", "--egress", "203.0.113.1", "--role", "arn:x"), "names the role arn:x"),
    ],
)
def test_what_cannot_be_exported(config: str, arguments: tuple[str, ...], said: str) -> None:
    result = run("policy", "export", "-c", config, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
