"""deploy/log.md lists what the log says: every event that the code writes, and every field of a request's line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from proxy.server.operations import reports

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "deploy" / "log.md").read_text()
FIELDS = (
    *("time", "request_id", "client", "peer", "instance", "method", "host", "path", "status", "bytes_in"),
    *("bytes_out", "duration_ms", "decision", "error", "close_code", "detail", "user"),
    *("traceparent", "amzn_trace_id", "proxy_request_id"),
)
NOT_OF_THE_GATEWAY = ("sandbox", "wire")


def events() -> set[str]:
    """The first argument of what looks like an event, and those that have names."""
    found = {reports.SIGN_IN_FAILED, reports.NOTEBOOK_FAILED, "log lines lost", "the log cannot be written"}
    for file in (ROOT / "proxy").rglob("*.py"):
        if file.relative_to(ROOT / "proxy").parts[0] in NOT_OF_THE_GATEWAY:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                first = node.args[0]
                is_event = node.func.attr in ("info", "warning", "error", "_warn")
                is_of_a_log = "event" in ast.unparse(node.func.value) or node.func.attr == "_warn"
                if is_event and is_of_a_log and isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


@pytest.mark.parametrize("event", sorted(events()))
def test_each_event_is_listed(event: str) -> None:
    assert f"`{event}`" in PAGE


def test_events_are_found() -> None:
    assert {"serving", "limit met", "instance told to stop", "notebook answers again"} <= events()


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_of_a_request_is_listed(field: str) -> None:
    assert f"`{field}`" in PAGE
