"""Explanations agree with the gateway that serves, and denials carry theirs in the audit log."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from proxy.cli import main
from proxy.server.explaining import audited
from tests.harness.gateway import open_rig, status_of


async def test_a_denials_record_holds_the_statements_that_made_it_and_their_lines(tmp_path: Path) -> None:
    policy = {
        "allow": ["here"],
        "statements": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
                "Condition": {
                    "Bool": {"aws:SecureTransport": "false"},
                    "StringNotEquals": {"aws:username": "secret"},
                },
            }
        ],
    }
    async with open_rig(tmp_path, policy=policy) as rig:
        assert status_of(await rig.get("/lab")) == 403
        [record] = [line for line in rig.log_lines() if line["kind"] == "audit"]
    lines = (tmp_path / "nbgate.yaml").read_text().splitlines()
    written = next(
        number for number, line in enumerate(lines, start=1) if line.startswith("  - ") and "Action" in line
    )
    assert record["statements"] == [
        {
            "sid": "TlsOnly",
            "effect": "Deny",
            "applies": True,
            # The policy's own values are left out: they may hold what is nobody's business.
            "because": [
                "Bool aws:SecureTransport=false holds",
                "StringNotEquals aws:username, which is absent, holds",
            ],
            "at": f"{tmp_path}/nbgate.yaml:{written}",
        }
    ]


def test_nothing_is_audited_where_no_statement_was_asked() -> None:
    assert audited(()) == ()


def test_an_explanation_says_what_an_allowed_caller_needs_besides(tmp_path: Path) -> None:
    config = tmp_path / "nbgate.yaml"
    config.write_text(
        "hostname: nb\naws: {region: eu-west-1}\nallowlists: {office: [203.0.113.0/24]}\npolicy: {allow: [office]}\n"
        "instances: {research: {notebook: a}, nlp: {notebook: b, access: presigned}}\n"
    )

    def explained(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["explain", "--config", str(config), *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    said = explained("--ip", "203.0.113.7", "--instance", "nlp").splitlines()[0]
    assert said == "allowed: nlp; on gateway-allow (office); with a link or a token besides"
    assert "with a link" not in explained("--ip", "203.0.113.7", "--instance", "research")
    assert "with a link" not in explained("--ip", "192.0.2.1", "--instance", "nlp")
    decisions = json.loads(explained("--ip", "203.0.113.7", "--json"))["decisions"]
    assert {one["instance"]: one["access"] for one in decisions} == {"research": "open", "nlp": "presigned"}
