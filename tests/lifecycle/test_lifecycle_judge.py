"""Each situation ends as it should: a table, on clocks that stand still."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lifecycle.evidence import Evidence, JupyterReading, Kernel, Terminal
from proxy.lifecycle.judge import FRESH_SECONDS, WATCHED_SECONDS, IdleFinding, IdleRules, judge

NOW = 100_000.0
THERE = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""What the instance's clock says at NOW."""
HOUR = 3600.0
RULES = IdleRules(after_seconds=HOUR, warning_seconds=600.0)


def ago(seconds: float) -> datetime:
    """An instant on the instance's clock."""
    return THERE - timedelta(seconds=seconds)


def kernel(quiet_seconds: float, state: str = "idle", *, connections: int = 0, id: str = "k1") -> Kernel:
    return Kernel(id, state, ago(quiet_seconds), connections)


def reading(*things: Kernel | Terminal, up: float = 50 * HOUR, polled: float | None = None) -> JupyterReading:
    """What Jupyter says at NOW. It has been up for so long; an API call was `polled` seconds ago."""
    kernels = tuple(one for one in things if isinstance(one, Kernel))
    terminals = tuple(one for one in things if isinstance(one, Terminal))
    return JupyterReading(
        NOW,
        THERE,
        started=ago(up),
        last_activity=ago(up if polled is None else polled),
        kernels=kernels,
        terminals=terminals,
    )


def earlier(seconds: float, now: JupyterReading) -> JupyterReading:
    """The same reading, so many seconds ago."""
    return replace(now, read_at=now.read_at - seconds, clock=now.clock - timedelta(seconds=seconds))


def evidence(now: JupyterReading | None, **changes) -> Evidence:
    """Of an instance that has been looked at for a while, and Jupyter said the same a minute ago."""
    watched = Evidence(
        "InService",
        reading=now,
        previous=None if now is None else earlier(60, now),
        used_at=NOW - 50 * HOUR,
        judged_at=NOW - 60,
    )
    return replace(watched, **changes)


def warned(now: JupyterReading, seconds: float, **changes) -> Evidence:
    """Evidence after a warning was given so many seconds ago."""
    return evidence(now, warned_at=NOW - seconds, **changes)


LONG_IDLE = reading(kernel(5 * HOUR))
OLD_TERMINAL = reading(Terminal("1"))

SITUATIONS = [
    # -- busy ------------------------------------------------------------------------------------------
    (
        "a long-running cell without a browser",
        evidence(reading(kernel(9 * HOUR, "busy"))),
        IdleFinding.IN_USE,
    ),
    (
        "… also among idle kernels",
        warned(reading(kernel(9 * HOUR, id="a"), kernel(9 * HOUR, "busy", id="b")), 700),
        IdleFinding.IN_USE,
    ),
    ("… and just before the stop", warned(reading(kernel(9 * HOUR, "busy")), 700), IdleFinding.IN_USE),
    (
        "a kernel that nobody ever connected to",
        warned(reading(kernel(9 * HOUR, "starting")), 700),
        IdleFinding.STOP,
    ),
    ("a kernel that is just starting", evidence(reading(kernel(5, "starting"))), IdleFinding.IDLE),
    ("a kernel that died long ago", warned(reading(kernel(9 * HOUR, "dead")), 700), IdleFinding.STOP),
    (
        "a kernel whose state an old Jupyter does not tell",
        warned(reading(kernel(9 * HOUR, "")), 700),
        IdleFinding.IN_USE,
    ),
    (
        "a kernel whose last activity is not told",
        warned(reading(Kernel("k", "idle")), 700),
        IdleFinding.IN_USE,
    ),
    # -- open tabs -------------------------------------------------------------------------------------
    (
        "an idle kernel with an open tab that polls",
        warned(reading(kernel(5 * HOUR, connections=3), polled=4), 700),
        IdleFinding.STOP,
    ),
    (
        "… whose polls are new since the last reading",
        warned(reading(kernel(5 * HOUR, connections=3), polled=4), 700, previous=earlier(60, LONG_IDLE)),
        IdleFinding.STOP,
    ),
    ("no kernel at all, an open tab that polls", warned(reading(polled=2), 700), IdleFinding.STOP),
    ("a cell that ended a moment ago", evidence(reading(kernel(20))), IdleFinding.IDLE),
    ("an idle kernel, not for long enough", evidence(reading(kernel(49 * 60))), IdleFinding.IDLE),
    ("an idle kernel, for nearly long enough", evidence(reading(kernel(51 * 60))), IdleFinding.WARN),
    # -- terminals -------------------------------------------------------------------------------------
    ("a terminal that moved a moment ago", warned(reading(Terminal("1", ago(30))), 700), IdleFinding.IDLE),
    (
        "a terminal that moved a minute ago, beside old kernels",
        warned(reading(kernel(9 * HOUR), Terminal("1", ago(60))), 700),
        IdleFinding.IDLE,
    ),
    (
        "a terminal that has long been still",
        warned(reading(Terminal("1", ago(5 * HOUR))), 700),
        IdleFinding.STOP,
    ),
    ("a terminal of an old Jupyter, which says nothing", warned(OLD_TERMINAL, 700), IdleFinding.IN_USE),
    # -- what could not be read ------------------------------------------------------------------------
    ("Jupyter's state could not be read", warned(LONG_IDLE, 700, reading=None), IdleFinding.UNREADABLE),
    ("… ever", evidence(None, used_at=None, judged_at=None), IdleFinding.UNREADABLE),
    (
        "… for so long that the last reading is stale",
        warned(LONG_IDLE, 700, reading=earlier(FRESH_SECONDS + 1, LONG_IDLE)),
        IdleFinding.UNREADABLE,
    ),
    (
        "… because it is of the future",
        warned(LONG_IDLE, 700, reading=earlier(-1, LONG_IDLE)),
        IdleFinding.UNREADABLE,
    ),
    # -- SageMaker's status ----------------------------------------------------------------------------
    ("a stopped instance", warned(LONG_IDLE, 700, status="Stopped"), IdleFinding.NOT_RUNNING),
    ("a starting instance", evidence(None, status="Pending"), IdleFinding.NOT_RUNNING),
    (
        "a status of which nobody has heard",
        warned(LONG_IDLE, 700, status="Hibernating"),
        IdleFinding.NOT_RUNNING,
    ),
    ("a status that could not be read", warned(LONG_IDLE, 700, status=""), IdleFinding.UNREADABLE),
    # -- kept awake ------------------------------------------------------------------------------------
    ("kept awake", warned(LONG_IDLE, 700, awake_until=NOW + 1), IdleFinding.KEPT_AWAKE),
    ("kept awake, and unreadable", evidence(None, awake_until=NOW + 1), IdleFinding.KEPT_AWAKE),
    ("kept awake, and in use", evidence(reading(kernel(1, "busy")), awake_until=NOW + 1), IdleFinding.IN_USE),
    ("kept awake until a moment ago", evidence(LONG_IDLE, awake_until=NOW - 1), IdleFinding.WARN),
    ("kept awake until a while ago", warned(LONG_IDLE, 700, awake_until=NOW - 701), IdleFinding.STOP),
    # -- the gateway's own traffic ---------------------------------------------------------------------
    ("an upload a moment ago", warned(LONG_IDLE, 700, traffic_at=NOW - 5), IdleFinding.IDLE),
    ("typing since the warning", warned(LONG_IDLE, 700, traffic_at=NOW - 699), IdleFinding.IDLE),
    ("traffic long ago", warned(LONG_IDLE, 700, traffic_at=NOW - 2 * HOUR), IdleFinding.STOP),
    # -- beginnings ------------------------------------------------------------------------------------
    (
        "an instance just started",
        evidence(reading(up=60), previous=None, used_at=None, in_service_since=NOW - 30),
        IdleFinding.IDLE,
    ),
    (
        "… although its kernels remember older days",
        evidence(LONG_IDLE, in_service_since=NOW - 30),
        IdleFinding.IDLE,
    ),
    ("Jupyter just restarted", warned(reading(kernel(5 * HOUR), up=20), 700), IdleFinding.IDLE),
    (
        "the gateway just started, an open tab polls: who knows what was before",
        evidence(reading(kernel(5 * HOUR), polled=3), previous=None, used_at=None, judged_at=None),
        IdleFinding.IDLE,
    ),
    (
        "the gateway just started, and nothing has moved for hours",
        evidence(reading(kernel(5 * HOUR), polled=5 * HOUR), previous=None, used_at=None, judged_at=None),
        IdleFinding.WARN,
    ),
    # -- the warning -----------------------------------------------------------------------------------
    ("long idle, and not warned yet", evidence(LONG_IDLE), IdleFinding.WARN),
    ("long idle, and warned a moment ago", warned(LONG_IDLE, 599), IdleFinding.WARN),
    ("long idle, and warned long enough ago", warned(LONG_IDLE, 600), IdleFinding.STOP),
    ("used after the warning, and idle since", warned(reading(kernel(61 * 60)), 2 * HOUR), IdleFinding.WARN),
    ("a warning of the future", warned(LONG_IDLE, -5), IdleFinding.WARN),
    # -- clocks that jump ------------------------------------------------------------------------------
    (
        "the machine slept: the warning is given once more",
        warned(LONG_IDLE, 5 * HOUR, judged_at=NOW - WATCHED_SECONDS - 1),
        IdleFinding.WARN,
    ),
    (
        "the instance's clock was set back: activity lies in its future",
        warned(reading(kernel(-2 * HOUR)), 700),
        IdleFinding.IDLE,
    ),
    (
        "the instance's clock was set ahead: what is new is new",
        warned(reading(kernel(3 * HOUR)), 700, previous=earlier(60, LONG_IDLE)),
        IdleFinding.IDLE,
    ),
    (
        "a kernel is new since the last reading, whatever its clock says",
        warned(
            reading(kernel(3 * HOUR), kernel(3 * HOUR, id="k2")),
            700,
            previous=earlier(60, reading(kernel(3 * HOUR))),
        ),
        IdleFinding.IDLE,
    ),
    (
        "an idle kernel was culled since the last reading",
        warned(LONG_IDLE, 700, previous=earlier(60, reading(kernel(5 * HOUR), kernel(5 * HOUR, id="k2")))),
        IdleFinding.STOP,
    ),
    (
        "our own clock: a use of the future is one of now",
        evidence(LONG_IDLE, used_at=NOW + HOUR),
        IdleFinding.IDLE,
    ),
]


@pytest.mark.parametrize(("name", "seen", "finding"), SITUATIONS, ids=[name for name, *_ in SITUATIONS])
def test_a_situation_ends_as_it_should(name: str, seen: Evidence, finding: IdleFinding) -> None:
    verdict = judge(seen, RULES, NOW)
    assert verdict.finding is finding, verdict
    assert verdict.why


@pytest.mark.parametrize(("name", "seen", "finding"), SITUATIONS, ids=[name for name, *_ in SITUATIONS])
def test_without_a_rule_nothing_is_ever_stopped(name: str, seen: Evidence, finding: IdleFinding) -> None:
    assert judge(seen, IdleRules(), NOW).finding is IdleFinding.OFF


@pytest.mark.parametrize(("name", "seen", "finding"), SITUATIONS, ids=[name for name, *_ in SITUATIONS])
def test_a_dry_run_judges_alike(name: str, seen: Evidence, finding: IdleFinding) -> None:
    assert judge(seen, replace(RULES, dry_run=True), NOW) == judge(seen, RULES, NOW)


def test_terminals_that_say_nothing_can_be_ignored() -> None:
    ignoring = replace(RULES, ignore_unknown_terminals=True)
    assert judge(warned(OLD_TERMINAL, 700), ignoring, NOW).finding is IdleFinding.STOP
    assert judge(warned(reading(Terminal("1", ago(30))), 700), ignoring, NOW).finding is IdleFinding.IDLE


def test_idle_says_since_when_and_until_when() -> None:
    verdict = judge(evidence(reading(kernel(1800))), RULES, NOW)
    assert (verdict.idle_since, verdict.stops_at) == (NOW - 1800, NOW + 1800)


def test_a_warning_says_when_it_ends_and_never_leaves_less_time_than_it_promises() -> None:
    assert judge(evidence(reading(kernel(3300))), RULES, NOW).stops_at == NOW + 600
    assert judge(evidence(LONG_IDLE), RULES, NOW).stops_at == NOW + 600
    assert judge(warned(LONG_IDLE, 100), RULES, NOW).stops_at == NOW + 500


def test_what_is_in_use_was_used_now() -> None:
    verdict = judge(evidence(reading(kernel(9 * HOUR, "busy"))), RULES, NOW)
    assert (verdict.used_at, verdict.idle_since, verdict.stops_at) == (NOW, None, None)


instants = st.none() | st.floats(min_value=NOW - 10 * HOUR, max_value=NOW + HOUR)
moments = st.none() | st.floats(min_value=-HOUR, max_value=9 * HOUR).map(ago)
readings = st.none() | st.builds(
    JupyterReading,
    read_at=st.floats(min_value=NOW - HOUR, max_value=NOW + 60),
    clock=st.floats(min_value=-HOUR, max_value=HOUR).map(ago),
    started=st.floats(min_value=0, max_value=9 * HOUR).map(ago),
    last_activity=st.floats(min_value=0, max_value=9 * HOUR).map(ago),
    kernels=st.lists(
        st.builds(
            Kernel,
            id=st.sampled_from("ab"),
            state=st.sampled_from(["idle", "busy", ""]),
            last_activity=moments,
        ),
        max_size=3,
    ).map(tuple),
    terminals=st.lists(
        st.builds(Terminal, name=st.sampled_from("12"), last_activity=moments), max_size=2
    ).map(tuple),
)


@given(
    st.builds(
        Evidence,
        status=st.sampled_from(["InService", "Stopped", ""]),
        reading=readings,
        previous=readings,
        used_at=instants,
        traffic_at=instants,
        in_service_since=instants,
        awake_until=instants,
        warned_at=instants,
        judged_at=instants,
    )
)
def test_there_is_always_a_verdict_and_stop_is_never_the_careless_one(seen: Evidence) -> None:
    verdict = judge(seen, RULES, NOW)
    assert verdict.used_at is None or verdict.used_at <= NOW
    if verdict.finding is IdleFinding.STOP:
        assert seen.status == "InService"
        assert seen.reading is not None
        assert NOW - seen.reading.read_at <= FRESH_SECONDS
        assert all(one.state not in ("busy", "") for one in seen.reading.kernels)
        assert all(one.last_activity is not None for one in seen.reading.kernels)
        assert all(one.last_activity is not None for one in seen.reading.terminals)
        assert seen.awake_until is None or seen.awake_until <= NOW
        assert seen.warned_at is not None
        assert NOW - seen.warned_at >= RULES.warning_seconds
        for used_at in (seen.used_at, seen.traffic_at, seen.in_service_since):
            assert used_at is None or NOW - used_at >= HOUR
