"""The access log: exact fields, no credentials, hostile text made safe, the cost of a line bounded."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.access_log import (
    MAX_PATH_CHARACTERS,
    MAX_REMEMBERED,
    AccessLog,
    LogStyle,
    RequestRecord,
    loggable_path,
)
from proxy.telemetry.sink import LineSink
from tests.harness.clocks import FakeClock
from tests.harness.held import most_held_by, texts_held_by

SECRET = "eyJhbGciOiJIUzI1NiJ9.eyJmYXNDcmVkZW50aWFscyI6InNlY3JldCJ9.c2lnbmF0dXJl"


class Lines:
    """Stands in for a sink: keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.flushes = 0

    def add(self, line: str) -> None:
        self.lines.append(line)

    def flush(self) -> None:
        self.flushes += 1


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 3, 4, 5, 6, 7, 250_000, tzinfo=UTC))


@pytest.fixture
def log(lines: Lines, clock: FakeClock) -> AccessLog:
    return AccessLog(lines, clock, finished=defaultdict(int), style=LogStyle.JSON)  # type: ignore[arg-type]


def request(**changes: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "request_id": "0123456789abcdef",
        "client": "203.0.113.7",
        "peer": "10.0.0.1",
        "instance": "research",
        "method": "GET",
        "target": "/research/lab?reset",
        "host": "notebooks.internal",
        "status": 200,
        "bytes_in": 12,
        "bytes_out": 3456,
        "started_at": 999.95,
        "allowed": True,
    }
    return RequestRecord(**fields | changes)


def test_one_http_request_is_one_json_object_with_exactly_these_fields(log: AccessLog, lines: Lines) -> None:
    log.write(request())
    (line,) = lines.lines
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": "2026-03-04T05:06:07.250Z",
        "kind": "http",
        "request_id": "0123456789abcdef",
        "client": "203.0.113.7",
        "peer": "10.0.0.1",
        "instance": "research",
        "host": "notebooks.internal",
        "method": "GET",
        "path": "/research/lab",
        "status": 200,
        "bytes_in": 12,
        "bytes_out": 3456,
        "duration_ms": 50.0,
        "decision": "allow",
        "error": None,
    }


def test_a_websocket_adds_its_close_code(log: AccessLog, lines: Lines) -> None:
    log.write(request(is_websocket=True, status=101, close_code=1008))
    record = json.loads(lines.lines[0])
    assert (record["kind"], record["status"], record["close_code"]) == ("websocket", 101, 1008)


def test_what_is_not_known_is_null(log: AccessLog, lines: Lines) -> None:
    log.write(request(client=None, peer=None, instance="", allowed=None, error="BAD_REQUEST", status=400))
    record = json.loads(lines.lines[0])
    assert [record[name] for name in ("client", "peer", "instance", "decision")] == [None] * 4
    assert record["error"] == "BAD_REQUEST"


async def test_the_time_follows_the_clock_across_seconds(
    log: AccessLog, lines: Lines, clock: FakeClock
) -> None:
    for step in (0.0, 0.749, 0.001, 3600.5):
        await clock.advance(step)
        log.write(request())
    assert [json.loads(line)["time"] for line in lines.lines] == [
        "2026-03-04T05:06:07.250Z",
        "2026-03-04T05:06:07.999Z",
        "2026-03-04T05:06:08.000Z",
        "2026-03-04T06:06:08.500Z",
    ]


def test_requests_that_repeat_are_logged_with_their_own_values(log: AccessLog, lines: Lines) -> None:
    """What is remembered from one line to the next never leaks from one caller, host or path to another."""
    log.write(request())
    log.write(request(client="203.0.113.8"))
    log.write(request(instance="other", host="other.internal"))
    log.write(request(target="/research/tree?reset"))
    log.write(request(target="/research/tree?reset=1"))
    seen = [
        (r["client"], r["instance"], r["host"], r["path"]) for r in (json.loads(line) for line in lines.lines)
    ]
    assert seen == [
        ("203.0.113.7", "research", "notebooks.internal", "/research/lab"),
        ("203.0.113.8", "research", "notebooks.internal", "/research/lab"),
        ("203.0.113.7", "other", "other.internal", "/research/lab"),
        ("203.0.113.7", "research", "notebooks.internal", "/research/tree"),
        ("203.0.113.7", "research", "notebooks.internal", "/research/tree"),
    ]


def test_a_flood_of_different_targets_and_hosts_keeps_memory_bounded(log: AccessLog, lines: Lines) -> None:
    for number in range(3 * MAX_REMEMBERED):
        log.write(request(target=f"/{number}", host=f"h{number}"))
    assert most_held_by(log) <= MAX_REMEMBERED + len(lines.lines)
    assert json.loads(lines.lines[-1])["path"] == f"/{3 * MAX_REMEMBERED - 1}"
    log.write(request(target="/" + "x" * 5000, host="h" * 5000))
    lines.lines.clear()
    assert not any(len(text) >= 5000 for text in texts_held_by(log))


@pytest.mark.parametrize("style", list(LogStyle))
@pytest.mark.parametrize(
    "changes",
    [
        {"target": f"/lab?authToken={SECRET}"},
        {"target": f"/lab#authToken={SECRET}"},
        {"target": f"/lab%3FauthToken%3D{SECRET}"},
        {"target": f"/lab%3fAUTHTOKEN%3d{SECRET}&view=lab"},
        {"target": f"/lab%25253FauthToken%25253D{SECRET}"},
        {"target": f"/lab;authToken={SECRET}/tree"},
        {"target": f"/a/nbgate1_a.00000000.{SECRET}/b"},
        {"target": f"/a/%6Ebgate2_a.00000000.{SECRET}"},
        {"target": f"/lab?next=%252Flab%253Fx%253Dnbgate2_u.{SECRET}"},
        {"host": f"nbgate2_a.00000000.{SECRET}"},
        {"host": f"h:1token={SECRET}"},
        {"target": f"https://user:{SECRET}@notebooks.internal/lab?token={SECRET}"},
        {"target": f"https://user:{SECRET}@notebooks.internal"},
        {"target": f"user:{SECRET}@notebooks.internal:443"},
        {"target": SECRET},
        {"host": f"user:{SECRET}@notebooks.internal"},
    ],
    ids=lambda changes: next(iter(changes.values())).replace(SECRET, "SECRET"),
)
def test_no_credential_reaches_a_line(
    lines: Lines, clock: FakeClock, style: LogStyle, changes: dict[str, str]
) -> None:
    log = AccessLog(lines, clock, finished=defaultdict(int), style=style)  # type: ignore[arg-type]
    for _ in range(2):
        log.write(request(**changes))
    assert "eyJ" not in "".join(lines.lines)
    assert not any("eyJ" in text for text in texts_held_by(log))


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a%2Fb%20c;x=1?q=1&q=2", "/a%2Fb%20c;x=1"),
        ("/", "/"),
        ("*", "*"),
        ("", ""),
        ("//evil/x", "//evil/x"),
        ("http://h/p/q?x", "/p/q"),
        ("http://h", ""),
        ("://h/p", ""),
        ("h:443", ""),
        ("/\udcff\udcc3\udca9", "/\\xffé"),
        ("/tokens/list", "/tokens/list"),
        ("/x" * MAX_PATH_CHARACTERS, "/x" * (MAX_PATH_CHARACTERS // 2) + "…"),
    ],
)
def test_the_path_of_each_form_of_target(target: str, path: str) -> None:
    assert loggable_path(target) == path


hostile = st.text(st.characters(codec=None), max_size=60)


@given(method=hostile, target=hostile, host=hostile, instance=hostile)
def test_any_text_gives_one_line_of_valid_json(method: str, target: str, host: str, instance: str) -> None:
    lines = Lines()
    log = AccessLog(lines, FakeClock(), finished=defaultdict(int), style=LogStyle.JSON)  # type: ignore[arg-type]
    log.write(request(method=method, target=target, host=host, instance=instance))
    (line,) = lines.lines
    assert line.isascii()
    assert line[:-1].isprintable()
    assert json.loads(line)["method"] == method


@given(method=hostile, target=hostile, host=hostile, instance=hostile)
def test_any_text_gives_one_console_line_that_cannot_steer_a_terminal(
    method: str, target: str, host: str, instance: str
) -> None:
    lines = Lines()
    log = AccessLog(lines, FakeClock(), finished=defaultdict(int), style=LogStyle.CONSOLE)  # type: ignore[arg-type]
    log.write(request(method=method, target=target, host=host, instance=instance))
    (line,) = lines.lines
    assert line[-1] == "\n"
    assert line[:-1].isprintable()


def console(lines: Lines, clock: FakeClock, *, colour: bool = False, **changes: Any) -> str:
    log = AccessLog(lines, clock, finished=defaultdict(int), style=LogStyle.CONSOLE, colour=colour)  # type: ignore[arg-type]
    log.write(request(**changes))
    return lines.lines[-1]


def test_a_console_line_is_aligned_for_people(lines: Lines, clock: FakeClock) -> None:
    assert console(lines, clock) == (
        "05:06:07.250 200 GET     203.0.113.7     research      50.0ms in    12 B out  3.5 kB  "
        "notebooks.internal/research/lab 0123456789abcdef\n"
    )


def test_a_console_line_says_what_went_wrong_and_how_a_websocket_ended(
    lines: Lines, clock: FakeClock
) -> None:
    denied = console(lines, clock, status=403, allowed=False, error="ACCESS_DENIED", instance="")
    assert " 403 GET " in denied
    assert " [denied, ACCESS_DENIED] " in denied
    closed = console(lines, clock, status=101, is_websocket=True, close_code=1001)
    assert " 101 WS " in closed
    assert " [closed 1001] " in closed
    assert " --- GET " in console(lines, clock, status=0)


def test_colour_is_used_only_when_asked_for(lines: Lines, clock: FakeClock) -> None:
    assert "\x1b" not in console(lines, clock)
    assert "\x1b[33m404\x1b[0m" in console(lines, clock, status=404, colour=True)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (2_000_000_000, "2.0 GB"),
        (3_000_000_000_000, "3 TB"),
    ],
)
def test_sizes_for_people(lines: Lines, clock: FakeClock, count: int, text: str) -> None:
    assert f"out {text:>7} " in console(lines, clock, bytes_out=count)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0012, "1.2ms"), (0.5, "500ms"), (1.5, "1.5s"), (59.96, "0m59s"), (125, "2m05s"), (7260, "2h01m")],
)
def test_durations_for_people(lines: Lines, clock: FakeClock, seconds: float, text: str) -> None:
    assert f" {text:>7} in " in console(lines, clock, started_at=1000.0 - seconds)


def test_flush_hands_the_lines_over(log: AccessLog, lines: Lines) -> None:
    log.flush()
    assert lines.flushes == 1


@pytest.fixture
def file_sink(tmp_path: Path) -> Iterator[tuple[LineSink, Path]]:
    path = tmp_path / "access.log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    sink = LineSink(fd, loss_line=lambda count, _why: f"{count} lost\n")
    yield sink, path
    sink.close()
    os.close(fd)


def test_lines_arrive_whole_and_in_order_through_a_real_sink(
    file_sink: tuple[LineSink, Path], clock: FakeClock
) -> None:
    sink, path = file_sink
    log = AccessLog(sink, clock, finished=defaultdict(int), style=LogStyle.JSON)
    for number in range(2000):
        log.write(request(bytes_out=number))
    log.flush()
    sink.close()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["bytes_out"] for record in records] == list(range(2000))


def test_what_few_requests_have_stands_in_members_of_its_own(log: AccessLog, lines: Lines) -> None:
    log.write(request(error="UPSTREAM_REFUSED", detail="connect: refused", user="zoe", status=503))
    log.write(request(incoming_ids=(("traceparent", "00-1-2-03"), ("proxy_request_id", "a"))))
    log.write(request(user="zoe", is_websocket=True, status=101, close_code=1000))
    first, second, third = (json.loads(line) for line in lines.lines)
    assert (first["error"], first["detail"], first["user"]) == (
        "UPSTREAM_REFUSED",
        "connect: refused",
        "zoe",
    )
    assert (second["traceparent"], second["proxy_request_id"]) == ("00-1-2-03", "a")
    assert not {"detail", "user"} & second.keys()
    assert (third["user"], third["close_code"]) == ("zoe", 1000)


@pytest.mark.parametrize("style", LogStyle)
def test_a_detail_is_of_one_line_bounded_and_holds_no_credential(
    lines: Lines, clock: FakeClock, style: LogStyle
) -> None:
    log = AccessLog(lines, clock, finished=defaultdict(int), style=style)  # type: ignore[arg-type]
    for detail in (f"https://x/?authToken={SECRET}", f"Cookie: a={SECRET}\n\x1b[31m", "x" * 5000):
        log.write(request(error="UPSTREAM_INVALID", detail=detail, user=f"token={SECRET}\n", status=502))
    for line in lines.lines:
        assert SECRET not in line
        assert line.count("\n") == 1
        assert "\x1b" not in line
        assert len(line) < 1500
        assert "UPSTREAM_INVALID" in line
