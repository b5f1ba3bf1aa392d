"""Events: one line each, no credential in any, libraries' own logging included."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.telemetry.access_log import LogStyle
from proxy.telemetry.events import (
    EventLog,
    Level,
    Threshold,
    loss_line,
    open_events,
    route_standard_logging,
    unquoting,
)
from tests.harness.clocks import FakeClock

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJmYXNDcmVkZW50aWFscyI6InNlY3JldCJ9.c2lnbmF0dXJl"
PRESIGNED = f"https://research-d8ka.notebook.eu-west-1.sagemaker.aws/?authToken={TOKEN}"


class Lines:
    """Stands in for a sink."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, line: str) -> None:
        self.lines.append(line)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 3, 4, 5, 6, 7, 250_000, tzinfo=UTC))


def events_into(
    lines: Lines, clock: FakeClock, *, style: LogStyle = LogStyle.JSON, level: Level = "info", **more: bool
) -> EventLog:
    return open_events(lines, clock, style=style, threshold=Threshold(level), **more)  # type: ignore[arg-type]


@pytest.fixture
def events(lines: Lines, clock: FakeClock) -> EventLog:
    return events_into(lines, clock)


@pytest.fixture
def routed(events: EventLog) -> Iterator[None]:
    undo = route_standard_logging(events)
    yield
    undo()


def test_an_event_is_one_json_line_with_its_time_level_and_fields(events: EventLog, lines: Lines) -> None:
    events.info("session renewed", instance="research", seconds=0.5)
    assert lines.lines == [
        '{"time":"2026-03-04T05:06:07.250Z","kind":"event","level":"info",'
        '"event":"session renewed","instance":"research","seconds":0.5}\n'
    ]


def test_an_event_is_one_console_line_for_people(lines: Lines, clock: FakeClock) -> None:
    events = events_into(lines, clock, style=LogStyle.CONSOLE)
    events.warning("config kept", file="nbgate.yaml", problems=["a", "b"])
    events.info("listening")
    assert lines.lines == [
        '05:06:07.250 warning config kept  file=nbgate.yaml problems=["a", "b"]\n',
        "05:06:07.250 info    listening\n",
    ]


def test_colour_is_used_only_when_asked_for(lines: Lines, clock: FakeClock) -> None:
    events_into(lines, clock, style=LogStyle.CONSOLE, colour=True).error("broken")
    assert lines.lines == ["05:06:07.250 \x1b[31merror  \x1b[0m broken\n"]


def test_a_console_line_cannot_steer_a_terminal(lines: Lines, clock: FakeClock) -> None:
    events_into(lines, clock, style=LogStyle.CONSOLE).info("odd\x1b[2J", field="x\r\ny\x07")
    assert lines.lines[0][:-1].isprintable()


def test_events_below_the_level_are_left_out(lines: Lines, clock: FakeClock) -> None:
    events = events_into(lines, clock, level="warning")
    events.debug("no")
    events.info("no")
    events.warning("yes")
    events.error("yes")
    assert [record["level"] for record in lines.records] == ["warning", "error"]


def test_the_level_moves_for_loggers_that_are_in_use(lines: Lines, clock: FakeClock) -> None:
    threshold = Threshold("warning")
    bound = open_events(lines, clock, style=LogStyle.JSON, threshold=threshold).bind(part="aws")  # type: ignore[arg-type]
    bound.info("no")
    threshold.move("debug")
    bound.debug("yes")
    threshold.move("error")
    bound.warning("no")
    bound.critical("yes")
    assert [record["level"] for record in lines.records] == ["debug", "critical"]


def test_fields_bound_once_are_in_every_event(events: EventLog, lines: Lines) -> None:
    bound = events.bind(instance="research")
    bound.info("one")
    bound.error("two")
    assert [record["instance"] for record in lines.records] == ["research", "research"]


class Opaque:
    def __str__(self) -> str:
        return PRESIGNED


@pytest.mark.parametrize("style", list(LogStyle))
@pytest.mark.parametrize(
    "fields",
    [
        {"url": PRESIGNED},
        {"presigned_url": PRESIGNED},
        {"authToken": TOKEN},
        {"auth_token": "plainsecret"},
        {"cookie": "plainsecret=1"},
        {"Set-Cookie": "a=plainsecret"},
        {"aws_credentials": "plainsecret"},
        {"client_secret": "plainsecret"},
        {"headers": {"Cookie": "a=plainsecret", "Authorization": "Bearer plainsecret"}},
        {"headers": [("Cookie", "a=1"), f"Cookie: session=plainsecret{TOKEN}"]},
        {"nested": {"a": [{"password": "plainsecret"}]}},
        {"deep": [[[[[[[[PRESIGNED]]]]]]]]},
        {"raw": PRESIGNED.encode()},
        {"object": Opaque()},
        {"text": "Authorization: Bearer plainsecret"},
        {"text": "{'Cookie': 'session=plainsecret; a=b'}"},
        {"text": "https://user:plainsecret@example.com/x"},
        {"text": "GET /?X-Amz-Signature=plainsecret&X-Amz-Security-Token=plainsecret HTTP/1.1"},
        {"text": "next=%2Flab%3FauthToken%3Dplainsecret"},
        {"exc_info": ValueError(f"cannot follow {PRESIGNED}")},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_no_credential_leaves_in_an_event(
    lines: Lines, clock: FakeClock, style: LogStyle, fields: dict[str, Any]
) -> None:
    events_into(lines, clock, style=style).error("something failed", **fields)
    (line,) = lines.lines
    assert "eyJ" not in line
    assert "plainsecret" not in line


def test_a_credential_in_the_events_own_words_does_not_leave_either(events: EventLog, lines: Lines) -> None:
    events.info(f"following {PRESIGNED}")
    assert lines.records[0]["event"] == (
        "following https://research-d8ka.notebook.eu-west-1.sagemaker.aws/?authToken=***"
    )


def test_what_is_no_credential_stays_readable(events: EventLog, lines: Lines) -> None:
    events.info("x", url="https://a.example/lab?reset=1", count=3, ok=True, none=None, names={"b"})
    record = lines.records[0]
    assert record["url"] == "https://a.example/lab?reset=1"
    assert (record["count"], record["ok"], record["none"], record["names"]) == (3, True, None, ["b"])


def failing() -> None:
    raise RuntimeError(f"refused: {PRESIGNED}")


@pytest.mark.parametrize("style", list(LogStyle))
def test_a_traceback_is_kept_without_its_secrets(lines: Lines, clock: FakeClock, style: LogStyle) -> None:
    events = events_into(lines, clock, style=style)
    try:
        failing()
    except RuntimeError:
        events.exception("unexpected")
    (line,) = lines.lines
    assert "in failing" in line
    assert "authToken=***" in line
    assert "eyJ" not in line


@pytest.mark.usefixtures("routed")
def test_libraries_warnings_and_errors_join_the_events(lines: Lines) -> None:
    logging.getLogger("botocore.retries").warning("retrying %s", PRESIGNED)
    logging.getLogger("aiohttp.access").info("a request")
    logging.getLogger("odd").log(35, "between two levels")
    assert [(r["level"], r["logger"], r["event"]) for r in lines.records] == [
        (
            "warning",
            "botocore.retries",
            "retrying https://research-d8ka.notebook.eu-west-1.sagemaker.aws/?authToken=***",
        ),
        ("warning", "odd", "between two levels"),
    ]


@pytest.mark.usefixtures("routed")
def test_a_librarys_traceback_is_kept(lines: Lines) -> None:
    try:
        failing()
    except RuntimeError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    assert "in failing" in lines.records[0]["exception"]
    assert "eyJ" not in lines.lines[0]


@pytest.mark.usefixtures("routed")
def test_of_what_others_failed_at_it_is_told_without_a_traceback(lines: Lines) -> None:
    """botocore gives one with each refreshing of credentials that fails."""
    try:
        raise FileNotFoundError(2, "No such file or directory", PRESIGNED)
    except FileNotFoundError:
        logging.getLogger("botocore.credentials").warning("Refreshing failed", exc_info=True)
    [record] = lines.records
    assert "exception" not in record
    assert record["detail"].startswith("FileNotFoundError: [Errno 2] No such file or directory")
    assert "eyJ" not in lines.lines[0]


@pytest.mark.usefixtures("routed")
def test_python_warnings_join_the_events(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("soon to be removed", DeprecationWarning, stacklevel=1)
    assert "soon to be removed" in lines.records[0]["event"]


def test_a_record_that_cannot_be_formatted_is_shown_as_it_was_meant_without_its_arguments(
    events: EventLog, lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    undo = route_standard_logging(events)
    handler = logging.getLogger().handlers[-1]
    undo()
    handler.handle(logging.LogRecord("odd", logging.ERROR, "f.py", 1, "%d bytes", (f"not {TOKEN}",), None))
    assert lines.records[0]["event"] == "%d bytes"
    assert "eyJ" not in lines.lines[0] + capsys.readouterr().err


def test_routing_is_undone_as_it_was(events: EventLog) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    undo = route_standard_logging(events)
    assert root.handlers[:-1] == before[0]
    undo()
    undo()
    assert (root.handlers, root.level) == before


@pytest.mark.parametrize(
    ("style", "line"),
    [
        (
            LogStyle.JSON,
            '{"time":"2026-03-04T05:06:07.250Z","kind":"event","level":"error",'
            '"event":"log lines lost","code":"LOG_LOST","detail":"no room","count":7,'
            '"remedy":"make room on the disk, or look at what reads the log"}\n',
        ),
        (
            LogStyle.CONSOLE,
            "05:06:07.250 error   log lines lost  code=LOG_LOST detail=no room count=7 "
            "remedy=make room on the disk, or look at what reads the log\n",
        ),
    ],
)
def test_missing_lines_are_told_as_an_event(clock: FakeClock, style: LogStyle, line: str) -> None:
    assert loss_line(clock, style=style)(7, "no room") == line


def test_what_a_library_quotes_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logger = unquoting("a port", "a request could not be carried")
    try:
        failing()
    except RuntimeError:
        logger.exception("Error handling request %s", PRESIGNED)
    logger.warning("Unhandled: %s", PRESIGNED)
    assert capsys.readouterr().err.splitlines() == [
        "a request could not be carried (RuntimeError)",
        "a request could not be carried",
    ]
