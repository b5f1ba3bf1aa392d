"""`nbgate explain`: what it prints, and that it is the gateway's own decision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main

CONFIG = """\
hostname: nb.internal
aws: {region: eu-west-1, account: 123456789012}
client_address: {trusted_proxies: [10.0.0.0/24]}
allowlists:
  office: [203.0.113.0/24]
  vpn:
    - 198.51.100.7
    - {cidr: 198.51.100.8, note: contractor, until: 2031-01-31}
  big: [10.1.0.0/16, 10.2.0.0/16]
policy:
  allow: [office, vpn]
  statements:
    - {Sid: Tls, Effect: Deny, Action: "*", Resource: "*", Condition: {Bool: {aws:SecureTransport: "false"}}}
    - Sid: NoEve
      Effect: Deny
      Action: "*"
      Resource: "*"
      Condition: {StringEquals: {aws:username: eve}}
instances:
  research: {notebook: research-gpu-1}
  nlp: {notebook: nlp-team, allow: [vpn]}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"AWS_REGION": None, "NBGATE_CONFIG": None})


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "nbgate.yaml"
    file.write_text(CONFIG)
    return str(file)


def explained(config: str, *arguments: str) -> list[str]:
    result = run("explain", "--config", config, "--at", "2027-01-31", *arguments)
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.replace(config, "nbgate.yaml").splitlines()]


def test_without_a_caller_it_is_a_table_of_instances_and_lists(config: str) -> None:
    assert explained(config) == [
        "INSTANCE office vpn big",
        "research let in let in denied",
        "nlp denied let in denied",
    ]
    assert explained(config, "--at", "2031-01-31")[1] == "research let in 1 of 2 denied"
    assert explained(config, "--scheme", "http")[1] == "research denied denied denied"


def test_the_table_as_json(config: str) -> None:
    result = run("explain", "-c", config, "--at", "2031-01-31", "--json")
    assert json.loads(result.stdout)["nlp"] == {
        "office": {"networks": 1, "let_in": 0},
        "vpn": {"networks": 2, "let_in": 1},
        "big": {"networks": 2, "let_in": 0},
    }


def test_a_caller_is_explained_for_every_instance(config: str) -> None:
    assert explained(config, "--ip", "203.0.113.5") == [
        "client address 203.0.113.5: as given",
        "time 2027-01-31T00:00:00Z, over https",
        "lists office (203.0.113.0/24), nbgate.yaml:5",
        "",
        "INSTANCE DECISION BECAUSE AT",
        "research allowed on gateway-allow (office or vpn) nbgate.yaml:11",
        "nlp denied not on instance-nlp-allow (vpn) nbgate.yaml:21",
    ]


def test_a_caller_of_one_instance_is_explained_statement_by_statement(config: str) -> None:
    lines = explained(config, "--ip", "198.51.100.8", "--instance", "nlp", "--at", "2031-02-01")
    assert lines == [
        "denied: nlp; no longer on gateway-allow (198.51.100.8/32: contractor, until 2031-01-31T00:00:00Z); "
        "no longer on instance-nlp-allow (198.51.100.8/32: contractor, until 2031-01-31T00:00:00Z)",
        "",
        "client address 198.51.100.8: as given",
        "time 2031-02-01T00:00:00Z, over https",
        "lists vpn (198.51.100.8/32, contractor, until 2031-01-31T00:00:00Z), nbgate.yaml:6",
        "",
        "STATEMENT EFFECT APPLIES BECAUSE AT",
        "gateway-allow Deny no NotIpAddress aws:SourceIp=198.51.100.8 does not hold (office or vpn) nbgate.yaml:11",
        "→ gateway-allow-until-2031-01-31T00:00:00Z Deny yes DateGreaterThanEqualsIfExists "
        "aws:CurrentTime=2031-02-01T00:00:00Z holds (2031-01-31T00:00:00Z) nbgate.yaml:11",
        "IpAddress aws:SourceIp=198.51.100.8 holds (office or vpn)",
        "gateway-allow-listed Allow yes it applies to everything nbgate.yaml:11",
        "Tls Deny no Bool aws:SecureTransport=true does not hold (false) nbgate.yaml:13",
        "NoEve Deny no StringEquals aws:username, which is absent, does not hold (eve) nbgate.yaml:14",
        "instance-nlp-allow Deny no NotIpAddress aws:SourceIp=198.51.100.8 does not hold (vpn) nbgate.yaml:21",
        "→ instance-nlp-allow-until-2031-01-31T00:00:00Z Deny yes DateGreaterThanEqualsIfExists "
        "aws:CurrentTime=2031-02-01T00:00:00Z holds (2031-01-31T00:00:00Z) nbgate.yaml:21",
        "IpAddress aws:SourceIp=198.51.100.8 holds (vpn)",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--peer", "10.0.0.5", "--via", "192.0.2.1, 203.0.113.5"),
            "client address 203.0.113.5: from x-forwarded-for, which the trusted proxy 10.0.0.5 sent",
        ),
        (
            ("--peer", "203.0.113.5", "--via", "198.51.100.7"),
            "client address 203.0.113.5: the peer's; it is no trusted proxy, so x-forwarded-for is ignored",
        ),
        (("--peer", "203.0.113.5"), "client address 203.0.113.5: the peer's"),
        (
            ("--peer", "10.0.0.5"),
            "client address 10.0.0.5: the peer's: a trusted proxy that sent no x-forwarded-for",
        ),
        (("--peer", "10.0.0.5", "--via", "nonsense"), "client address unknown: not found"),
    ],
)
def test_it_says_which_address_counts_and_why(config: str, arguments: tuple[str, ...], line: str) -> None:
    assert line in explained(config, *arguments)


def test_an_unknown_address_is_explained(config: str) -> None:
    lines = explained(config, "--peer", "10.0.0.5", "--via", "nonsense", "--instance", "research")
    assert lines[0] == "denied: research; not on gateway-allow (office or vpn); the client address is unknown"
    assert "hop 1 from the right of x-forwarded-for is not an IP address: 'nonsense'" in lines
    assert "lists none" in lines


def test_a_single_value_header_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nbgate.yaml"
    strategy = "{strategy: single_header, trusted_proxies: [10.0.0.0/24], header: cf-connecting-ip}"
    file.write_text(CONFIG.replace("{trusted_proxies: [10.0.0.0/24]}", strategy))
    lines = explained(str(file), "--peer", "10.0.0.5", "--via", "203.0.113.5")
    assert (
        lines[0] == "client address 203.0.113.5: from cf-connecting-ip, which the trusted proxy 10.0.0.5 sent"
    )


def test_statements_about_users_can_be_tried(config: str) -> None:
    lines = explained(config, "--ip", "203.0.113.5", "--instance", "research", "--user", "eve")
    assert lines[0] == "denied: research; NoEve"
    assert "user eve; known only where a call to the SageMaker API here is signed" in lines


def test_an_explanation_as_json_is_complete(config: str) -> None:
    result = run(
        "explain", "-c", config, "--ip", "192.0.2.1", "--instance", "research", "--at", "2027-01-31", "--json"
    )
    told = json.loads(result.stdout)
    assert {
        key: told[key] for key in ("at", "scheme", "user", "client", "peer", "source", "found", "problem")
    } == {
        "at": "2027-01-31T00:00:00Z",
        "scheme": "https",
        "user": None,
        "client": "192.0.2.1",
        "peer": "192.0.2.1",
        "source": "peer",
        "found": "as given",
        "problem": None,
    }
    assert told["lists"][0] == {"name": "office", "entries": [], "at": f"{config}:5"}
    (decision,) = told["decisions"]
    assert (decision["instance"], decision["allowed"], decision["sids"]) == (
        "research",
        False,
        ["gateway-allow"],
    )
    assert decision["reason"] == "denied: not on gateway-allow (office or vpn)"
    assert [one["sid"] for one in decision["statements"] if one["decisive"]] == ["gateway-allow"]
    assert decision["statements"][0] == {
        "sid": "gateway-allow",
        "effect": "Deny",
        "applies": True,
        "decisive": True,
        "because": ["NotIpAddress aws:SourceIp=192.0.2.1 holds (office or vpn)"],
        "at": f"{config}:11",
    }


def test_many_entries_are_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "nbgate.yaml"
    nested = ", ".join(f"203.0.113.0/{bits}" for bits in range(24, 30))
    file.write_text(CONFIG.replace("office: [203.0.113.0/24]", f"office: [{nested}]"))
    lines = explained(str(file), "--ip", "203.0.113.1")
    assert "lists office (203.0.113.0/24; 203.0.113.0/25; 203.0.113.0/26; 3 more), nbgate.yaml:5" in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ip", "203.0.113.5", "--peer", "10.0.0.5"), "Give --ip, or --peer"),
        (("--via", "203.0.113.5"), "Give --ip, or --peer"),
        (("--ip", "203.0.113.05"), "has leading zeros, which some programs read as octal (write 203.0.113.5"),
        (("--peer", "fe80::1%eth0"), "has a zone"),
        (("--at", "tomorrow"), "'tomorrow' is not a date (write a date such as 2027-01-31"),
        (("--instance", "other"), "has no instance called 'other'. It has: research, nlp"),
    ],
)
def test_what_cannot_be_asked(config: str, arguments: tuple[str, ...], said: str) -> None:
    result = run("explain", "-c", config, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_now_is_the_time_where_none_is_given(config: str) -> None:
    assert json.loads(run("explain", "-c", config, "--ip", "192.0.2.1", "--json").stdout)["at"].endswith("Z")
