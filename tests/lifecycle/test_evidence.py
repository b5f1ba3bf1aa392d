"""Jupyter's answers are read strictly: what is not understood is unreadable, and never "nothing there"."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lifecycle.evidence import (
    MOST_ENTRIES,
    Bodies,
    Evidence,
    Kernel,
    Terminal,
    UnreadableState,
    read_state,
)
from proxy.lifecycle.judge import IdleRules, judge

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STATUS = {"started": "2026-01-01T08:00:00.000000Z", "last_activity": "2026-01-01T11:30:00.5Z", "kernels": 1}
KERNEL = {"id": "k1", "name": "python3", "last_activity": "2026-01-01T11:00:00Z", "execution_state": "idle"}


def bodies(
    *, status: object = STATUS, kernels: object = (), terminals: object = (), date: str = ""
) -> Bodies:
    def body(content: object) -> bytes:
        return content if isinstance(content, bytes) else json.dumps(content).encode()

    return Bodies(body(status), body(kernels), None if terminals is None else body(terminals), date)


def test_everything_is_read() -> None:
    reading = read_state(
        bodies(
            kernels=[{**KERNEL, "connections": 2}],
            terminals=[{"name": "1", "last_activity": "2026-01-01T12:00:00+02:00"}],
            date="Thu, 01 Jan 2026 12:00:05 GMT",
        ),
        read_at=7.0,
        now=NOW,
    )
    assert reading.read_at == 7.0
    assert reading.clock == datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)
    assert reading.started == datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert reading.last_activity == datetime(2026, 1, 1, 11, 30, 0, 500_000, tzinfo=UTC)
    assert reading.kernels == (Kernel("k1", "idle", datetime(2026, 1, 1, 11, tzinfo=UTC), 2),)
    assert reading.terminals == (Terminal("1", datetime(2026, 1, 1, 10, tzinfo=UTC)),)


def test_an_old_jupyter_says_less() -> None:
    reading = read_state(bodies(kernels=[{"id": "k1"}], terminals=[{"name": "1"}]), read_at=0.0, now=NOW)
    assert reading.kernels == (Kernel("k1"),)
    assert reading.terminals == (Terminal("1"),)


def test_an_instant_without_a_zone_is_utc() -> None:
    reading = read_state(bodies(status={**STATUS, "started": "2026-01-01T08:00:00"}), read_at=0.0, now=NOW)
    assert reading.started == datetime(2026, 1, 1, 8, tzinfo=UTC)


def test_without_terminals_there_are_none() -> None:
    assert read_state(bodies(terminals=None), read_at=0.0, now=NOW).terminals == ()


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Jan 2026 12:00:05 GMT", "\x00", "1 " * 200])
def test_without_a_usable_date_our_own_clock_counts(date: str) -> None:
    assert read_state(bodies(date=date), read_at=0.0, now=NOW).clock == NOW


@pytest.mark.parametrize("date", ["Thu, 01 Jan 2026 11:00:00", "Thu, 01 Jan 2026 13:00:00 +0200"])
def test_dates_of_any_zone_are_utc(date: str) -> None:
    assert read_state(bodies(date=date), read_at=0.0, now=NOW).clock == datetime(2026, 1, 1, 11, tzinfo=UTC)


NONSENSE = [
    {"status": b"<html>Sign in</html>"},
    {"status": b""},
    {"status": b"\xff\xfe"},
    {"status": []},
    {"status": {}},
    {"status": {"started": STATUS["started"]}},
    {"status": {**STATUS, "last_activity": None}},
    {"status": {**STATUS, "last_activity": 5}},
    {"status": {**STATUS, "last_activity": "soon"}},
    {"status": {**STATUS, "last_activity": "2026" * 100}},
    {"status": {**STATUS, "last_activity": "0001-01-01T00:00:00+23:00"}},
    {"kernels": {}},
    {"kernels": {"message": "Forbidden"}},
    {"kernels": [1]},
    {"kernels": [{}]},
    {"kernels": [{"id": 1}]},
    {"kernels": [{**KERNEL, "execution_state": None}]},
    {"kernels": [{**KERNEL, "last_activity": "x"}]},
    {"kernels": [KERNEL] * (MOST_ENTRIES + 1)},
    {"kernels": b"[" * 100_000},
    {"terminals": b"not json"},
    {"terminals": [{"name": None}]},
    {"terminals": [{"name": "1", "last_activity": {}}]},
]


@pytest.mark.parametrize("content", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_unreadable(content: dict[str, Any]) -> None:
    with pytest.raises(UnreadableState):
        read_state(bodies(**content), read_at=0.0, now=NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.datetimes().map(str),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "started", "last_activity", "execution_state", "connections"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)
anything = st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())


@given(anything, anything, anything | st.none(), st.text(max_size=40))
def test_whatever_a_notebook_answers_it_is_read_or_unreadable(
    status: bytes, kernels: bytes, terminals: bytes | None, date: str
) -> None:
    with contextlib.suppress(UnreadableState):
        reading = read_state(Bodies(status, kernels, terminals, date), read_at=0.0, now=NOW)
        assert reading.clock.tzinfo is UTC
        judge(Evidence("InService", reading), IdleRules(after_seconds=3600.0), 0.0)


@pytest.mark.parametrize("connections", [None, "3", -1])
def test_connections_are_only_shown(connections: object) -> None:
    reading = read_state(bodies(kernels=[{**KERNEL, "connections": connections}]), read_at=0.0, now=NOW)
    assert reading.kernels[0].connections == 0
