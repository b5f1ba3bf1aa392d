"""The audit log: every denial leaves one record that says why, and no credential."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.telemetry.access_log import LogStyle
from proxy.telemetry.audit import MAX_STATEMENTS, AuditedStatement, AuditLog
from tests.harness.clocks import FakeClock

OUTSIDE = AuditedStatement(
    "gateway-allow",
    "Deny",
    applies=True,
    because=("NotIpAddress aws:SourceIp=198.51.100.9 holds (office)",),
    origin="nbgate.yaml:12",
)


class Lines:
    """Stands in for a sink."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)


def record(style: LogStyle, *, colour: bool = False, times: int = 1, **changes: Any) -> list[str]:
    lines = Lines()
    clock = FakeClock(datetime(2026, 3, 4, 5, 6, 7, 250_000, tzinfo=UTC))
    log = AuditLog(lines, clock, style=style, colour=colour)  # type: ignore[arg-type]
    fields: dict[str, Any] = {
        "request_id": "0123456789abcdef",
        "client": "198.51.100.9",
        "peer": "10.0.0.1",
        "action": "sagemaker:StartNotebookInstance",
        "user": "alice",
        "source": "x-forwarded-for",
        "problem": "",
        "instance": "research",
        "sids": ("gateway-allow",),
        "reason": "explicit deny",
        "error": "ACCESS_DENIED",
        "statements": (OUTSIDE,),
        "method": "GET",
        "target": "/research/lab?token=eyJsecret",
        "host": "notebooks.internal",
    }
    for _ in range(times):
        log.denied(**(fields | changes))
    return lines.lines


def test_a_denial_is_one_json_record_with_exactly_these_fields() -> None:
    (line,) = record(LogStyle.JSON)
    assert json.loads(line) == {
        "time": "2026-03-04T05:06:07.250Z",
        "kind": "audit",
        "event": "denied",
        "request_id": "0123456789abcdef",
        "client": "198.51.100.9",
        "peer": "10.0.0.1",
        "action": "sagemaker:StartNotebookInstance",
        "user": "alice",
        "source": "x-forwarded-for",
        "problem": None,
        "instance": "research",
        "sids": ["gateway-allow"],
        "reason": "explicit deny",
        "error": "ACCESS_DENIED",
        "statements": [
            {
                "sid": "gateway-allow",
                "effect": "Deny",
                "applies": True,
                "because": ["NotIpAddress aws:SourceIp=198.51.100.9 holds (office)"],
                "at": "nbgate.yaml:12",
            }
        ],
        "method": "GET",
        "host": "notebooks.internal",
        "path": "/research/lab",
    }


def test_an_address_that_could_not_be_determined_is_null_and_explained() -> None:
    (line,) = record(LogStyle.JSON, client=None, problem="hop 2 is not an address", instance="", sids=())
    told = json.loads(line)
    assert (told["client"], told["problem"]) == (None, "hop 2 is not an address")
    assert (told["instance"], told["sids"]) == (None, [])


def test_a_denial_is_one_console_line() -> None:
    assert record(LogStyle.CONSOLE) == [
        "05:06:07.250 DENIED 198.51.100.9 (from x-forwarded-for, peer 10.0.0.1) research GET "
        "notebooks.internal/research/lab by gateway-allow: explicit deny [nbgate.yaml:12] 0123456789abcdef\n"
    ]
    (line,) = record(
        LogStyle.CONSOLE, client=None, problem="no such hop", sids=(), statements=(), colour=True
    )
    assert "\x1b[31mDENIED\x1b[0m unknown address " in line
    assert " by default: explicit deny; no such hop " in line


def test_statements_of_one_line_are_told_once_on_a_console_and_one_without_a_line_not() -> None:
    bare = replace(OUTSIDE, origin="")
    (line,) = record(LogStyle.CONSOLE, statements=(OUTSIDE, bare, OUTSIDE))
    assert "explicit deny [nbgate.yaml:12] 0123" in line
    (line,) = record(LogStyle.JSON, statements=(bare,))
    assert json.loads(line)["statements"][0]["at"] is None


def test_a_policy_of_any_length_makes_a_record_of_bounded_length() -> None:
    (line,) = record(LogStyle.JSON, statements=(OUTSIDE,) * 1000)
    assert len(json.loads(line)["statements"]) == MAX_STATEMENTS


def test_no_denial_is_sampled_or_merged() -> None:
    assert len(record(LogStyle.JSON, times=5000)) == 5000


@pytest.mark.parametrize("style", list(LogStyle))
@pytest.mark.parametrize(
    "changes",
    [
        {"target": "/lab?authToken=eyJsecret"},
        {"target": "https://u:eyJsecret@h/lab"},
        {"target": "/lab%3FauthToken%3DeyJsecret"},
        {"target": "/a/nbgate1_u.00000000.eyJsecret/b"},
        {"host": "u:eyJsecret@h"},
        {"host": "nbgate1_a.00000000.eyJsecret"},
        {"reason": "because authToken=eyJsecret"},
        {
            "statements": (
                AuditedStatement(
                    "s", "Deny", applies=True, because=("aws:username=token=eyJsecret",), origin="f:1"
                ),
            )
        },
        {"problem": "hop 'token=eyJsecret' is not an address"},
    ],
)
def test_no_credential_reaches_a_record(style: LogStyle, changes: dict[str, Any]) -> None:
    assert "eyJsecret" not in record(style, **changes)[0]


@pytest.mark.parametrize("style", list(LogStyle))
def test_hostile_text_stays_on_its_line(style: LogStyle) -> None:
    hostile = "/\r\n\x1b[2J\udcff\u2028"
    (line,) = record(style, target=hostile, host=hostile, method=hostile, problem=hostile)
    assert line.endswith("\n")
    assert line[:-1].isprintable()


@pytest.mark.parametrize("style", LogStyle)
def test_what_proxies_call_a_request_stands_there(style: LogStyle) -> None:
    [line] = record(style, incoming_ids=(("amzn_trace_id", "Root=1-a"),))
    assert ("amzn_trace_id=Root=1-a" in line) or (json.loads(line)["amzn_trace_id"] == "Root=1-a")
