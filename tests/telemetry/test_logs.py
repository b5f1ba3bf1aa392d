"""All logs opened together: one stream, in order, closed in time, and nothing secret in all of it."""

from __future__ import annotations

import json
import logging
import os
import pty
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.logs import Logs, open_logs
from tests.harness.clocks import FakeClock

Open = Callable[..., Logs]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def open_on_file(file: Path) -> Iterator[Open]:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    opened: list[Logs] = []

    def open_them(**options: Any) -> Logs:
        opened.append(open_logs(FakeClock(), fd=fd, **({"environ": {}} | options)))
        return opened[-1]

    yield open_them
    for logs in opened:
        logs.close()
    os.close(fd)


def one_request(logs: Logs) -> None:
    assert logs.access is not None
    logs.access.write(
        RequestRecord(
            request_id="r1",
            client="203.0.113.7",
            peer="203.0.113.7",
            instance="research",
            method="GET",
            target="/lab?authToken=eyJsecret",
            host="h",
            status=200,
            bytes_in=0,
            bytes_out=1,
            started_at=1000.0,
            allowed=True,
        )
    )


def one_denial(logs: Logs) -> None:
    logs.audit.denied(
        request_id="r2",
        client="198.51.100.9",
        peer="198.51.100.9",
        action="sagemaker:CreatePresignedNotebookInstanceUrl",
        source="peer",
        problem="",
        instance="research",
        sids=("s",),
        reason="no statement allows it",
        method="GET",
        target="/lab?authToken=eyJsecret",
        host="h",
    )


def test_requests_denials_and_events_share_one_stream_without_secrets(open_on_file: Open, file: Path) -> None:
    logs = open_on_file()
    one_request(logs)
    one_denial(logs)
    logs.flush()
    logs.events.warning(
        "renewal failed", url="https://x.notebook.eu-west-1.sagemaker.aws?authToken=eyJsecret"
    )
    logging.getLogger("botocore").warning("cookie: %s", "eyJsecret")
    logs.close()
    text = file.read_text()
    assert [json.loads(line)["kind"] for line in text.splitlines()] == ["http", "audit", "event", "event"]
    assert "eyJsecret" not in text
    assert logs.lost == 0


def test_the_line_per_request_can_be_switched_off_but_denials_stay(open_on_file: Open, file: Path) -> None:
    logs = open_on_file(access=False)
    assert logs.access is None
    one_denial(logs)
    logs.close()
    assert json.loads(file.read_text())["kind"] == "audit"


def test_a_file_gets_json_unless_told_otherwise(open_on_file: Open, file: Path) -> None:
    for options in ({}, {"style": "json"}, {"style": "console"}, {"level": "error"}):
        logs = open_on_file(**options)
        logs.events.info("listening")
        logs.close()
    lines = file.read_text().splitlines()
    assert [line.startswith("{") for line in lines] == [True, True, False]
    assert "\x1b" not in lines[2]


@pytest.mark.parametrize(
    ("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_gets_console_lines_with_colour_unless_it_does_not_want_it(
    environ: dict[str, str], coloured: bool
) -> None:
    master, slave = pty.openpty()
    try:
        logs = open_logs(FakeClock(), fd=slave, environ=environ)
        logs.events.info("listening")
        logs.close()
        text = os.read(master, 1000).decode()
        assert "listening" in text
        assert not text.startswith("{")
        assert ("\x1b[" in text) is coloured
    finally:
        os.close(master)
        os.close(slave)


def test_closing_gives_the_standard_logging_back(open_on_file: Open) -> None:
    before = logging.getLogger().handlers[:]
    logs = open_on_file()
    assert logging.getLogger().handlers != before
    logs.close()
    assert logging.getLogger().handlers == before


def test_a_log_that_cannot_be_written_is_complained_of_and_told_of_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: one line on standard error at once, and one in the log, with the reason, when there is room."""
    error_file = (tmp_path / "stderr").open("wb")
    monkeypatch.setattr("proxy.telemetry.logs.STANDARD_ERROR", error_file.fileno())
    full, log_file = os.open("/dev/full", os.O_WRONLY), tmp_path / "log"
    logs = open_logs(FakeClock(), fd=full, style="json", environ={})
    waits = threading.Event()
    for number in range(3):
        logs.events.info("lost", number=number)
        while logs.lost <= number:
            waits.wait(0.001)
    room = os.open(log_file, os.O_CREAT | os.O_WRONLY)
    os.dup2(room, full)
    logs.events.info("written")
    logs.close()
    [complaint] = [json.loads(line) for line in (tmp_path / "stderr").read_text().splitlines()]
    loss, written = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert (complaint["event"], complaint["code"]) == ("the log cannot be written", "LOG_LOST")
    assert (loss["event"], loss["code"], loss["count"]) == ("log lines lost", "LOG_LOST", 3)
    assert complaint["detail"] == loss["detail"] == "No space left on device"
    assert "disk" in loss["remedy"]
    assert written["event"] == "written"
    error_file.close()
    os.close(room)
    os.close(full)
