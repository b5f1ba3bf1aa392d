"""The log's words: which faults are named with what to mend, and which have a traceback."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from proxy.aws.presigned import SessionKey
from proxy.aws.session_news import Loss, Lost, News, NotObtained, Obtained
from proxy.aws.session_states import SessionEvent, SessionState
from proxy.errors import CredentialsRefused, InternalError, PermissionMissing, UpstreamRefused
from proxy.faults import Faults
from proxy.server.operations.reports import NotebookReports, SessionReports, report_failed_task, report_fault
from proxy.telemetry.counts import GatewayCounts
from proxy.telemetry.troubles import Troubles
from tests.harness.clocks import FakeClock

KEY = SessionKey("research-gpu-1")


class Told:
    """Stands in for the log of events."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def _tell(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append({"level": level, "event": event, **fields})

    def __getattr__(self, level: str) -> Any:
        return self._tell(level)


class One:
    notebook = "research-gpu-1"
    assume_role = None


class Configured:
    instances = {"research": One}  # noqa: RUF012


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sessions(told: Told) -> SessionReports:
    troubles = Troubles(FakeClock(), told.warning)
    return SessionReports(told, troubles, GatewayCounts(), settings=Configured)  # type: ignore[arg-type]


def test_only_a_fault_of_our_own_has_a_traceback(told: Told) -> None:
    ours: list[BaseException] = [KeyError("x"), InternalError(), OSError(errno.EBADF, "Bad file descriptor")]
    for error in ours:
        report_fault(told, "sweep", "", error, 0)
    assert [line.get("exc_info") for line in told.lines] == ours
    told.lines.clear()
    theirs = [PermissionMissing(detail="no"), OSError(errno.ENOSPC, "No space left on device", "/etc/x")]
    for error in theirs:
        report_fault(told, "sweep", "what", error, 3)
    assert [line["code"] for line in told.lines] == ["PERMISSION_MISSING", "DISK_FULL"]
    for line in told.lines:
        assert "exc_info" not in line
        assert line["remedy"]
        assert (line["where"], line["what"], line["times_since"]) == ("sweep", "what", 3)


def test_what_a_fault_came_from_is_looked_for_and_never_without_end(told: Told) -> None:
    error = RuntimeError("reading failed")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    report_fault(told, "configuration", "", error, 0)
    assert told.lines[0]["code"] == "NO_DESCRIPTORS"
    error.__cause__ = error
    report_fault(told, "configuration", "", error, 0)
    assert told.lines[1]["exc_info"] is error


def test_a_task_that_failed_as_expected_is_one_line(told: Told) -> None:
    faults = Faults(lambda where, what, error, untold: None, monotonic=lambda: 0.0)
    report_failed_task(told, faults, "reload", PermissionMissing(detail="no"))
    assert told.lines[0]["code"] == "PERMISSION_MISSING"
    assert not faults.counts
    report_failed_task(told, faults, "reload", KeyError())
    assert faults.counts["task"] == 1


NEWS: list[News] = [
    Obtained(43200.4),
    Lost(Loss.REJECTED),
    NotObtained(CredentialsRefused(detail="ExpiredToken"), 1, 5.04, "request-1"),
    NotObtained(CredentialsRefused(detail="ExpiredToken"), 2, 5.0, "request-2"),
    Obtained(43200.0),
    Lost(Loss.EXPIRED),
]


def test_sessions_that_are_opened_lost_renewed_or_not_obtained_are_events(
    told: Told, sessions: SessionReports
) -> None:
    for news in NEWS:
        sessions.learnt(KEY, news)
    sessions.changed(KEY, SessionEvent.LATE, SessionState.MINTING)
    whose = {"instance": "research", "notebook": "research-gpu-1"}
    for line in told.lines:
        assert whose.items() <= line.items()
    assert [(line["level"], line["event"]) for line in told.lines] == [
        ("info", "session opened"),
        ("warning", "session lost"),
        ("warning", "sign-in failed"),
        ("info", "session renewed"),
        ("info", "session lost"),
        ("warning", "signing in takes long, callers are told to come again"),
    ]
    assert told.lines[2] == {
        "level": "warning",
        "event": "sign-in failed",
        **whose,
        "request_id": "request-1",
        "attempt": 1,
        "next_try_seconds": 5.0,
        "code": "CREDENTIALS_REFUSED",
        "detail": "ExpiredToken",
        "remedy": CredentialsRefused.remedy,
    }


def test_a_notebook_that_fails_and_answers_again_is_two_events(told: Told) -> None:
    notebooks = NotebookReports(told, Troubles(FakeClock(), told.warning), settings=Configured)  # type: ignore[arg-type]
    notebooks.answered("research")
    for number in range(100):
        notebooks.failed(UpstreamRefused(detail="connect: refused"), "research", f"request-{number}")
    notebooks.answered("research")
    notebooks.answered("research")
    # A reload may have taken it away.
    notebooks.failed(UpstreamRefused(), "gone", "request-1")
    first, again, gone = told.lines
    assert (
        first | {"event": "notebook failed", "code": "UPSTREAM_REFUSED", "request_id": "request-0"} == first
    )
    assert (again["event"], again["instance"]) == ("notebook answers again", "research")
    assert "notebook" not in gone
