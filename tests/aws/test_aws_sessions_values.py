"""Sessions as values, and the table of states."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

import pytest

from proxy.aws.session_states import TRANSITIONS, SessionEvent, SessionState, state_after
from proxy.aws.sessions import UpstreamSession
from tests.aws.fakes import COOKIE_SECRET, ORIGIN, jar

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def session(*fields: bytes) -> UpstreamSession:
    return UpstreamSession(ORIGIN, jar(*fields, now=NOW), obtained_at=1.0, renew_at=2.0, expires_at=3.0)


def test_header_and_names_are_ready_made() -> None:
    one = session(b"a=1", b"b=2")
    assert one.cookie_header == b"a=1; b=2"
    assert one.cookie_names == {b"a", b"b"}


def test_absorbing_takes_only_names_that_the_exchange_brought() -> None:
    one = session(b"a=1", b"b=2")
    two = one.absorb([b"b=3; Path=/", b"_xsrf=x", b"new=1"], now=NOW)
    assert two.cookie_header == b"a=1; b=3"
    assert one.cookie_header == b"a=1; b=2"
    assert two.generation == one.generation


def test_absorbing_nothing_of_ours_is_the_same_object() -> None:
    one = session(b"a=1")
    assert one.absorb([b"_xsrf=x", b"a=1"], now=NOW) is one
    assert one.absorb([], now=NOW) is one


def test_absorbing_a_deletion_removes_the_cookie() -> None:
    assert session(b"a=1", b"b=2").absorb([b"a=; Max-Age=0"], now=NOW).cookie_header == b"b=2"


def test_a_session_does_not_print_its_values_and_cannot_change() -> None:
    one = session(b"a=" + COOKIE_SECRET.encode())
    assert COOKIE_SECRET not in repr(one) + str(one)
    with pytest.raises(AttributeError):
        one.generation = 2  # type: ignore[misc]
    assert copy.copy(one) == one


def test_every_state_has_its_way_on_and_its_way_back() -> None:
    reachable = {SessionState.COLD}
    for _ in SessionState:
        reachable |= {following for state in reachable for following in TRANSITIONS[state].values()}
    assert reachable == set(SessionState)
    for state in SessionState:
        assert TRANSITIONS[state]


@pytest.mark.parametrize(
    "path",
    [
        [
            (SessionEvent.WANTED, SessionState.MINTING),
            (SessionEvent.URL_READY, SessionState.EXCHANGING),
            (SessionEvent.SIGNED_IN, SessionState.LIVE),
        ],
        [(SessionEvent.WANTED, SessionState.MINTING), (SessionEvent.FAILED, SessionState.COLD)],
    ],
)
def test_the_ways_of_the_design(path: list[tuple[SessionEvent, SessionState]]) -> None:
    state = SessionState.COLD
    for event, expected in path:
        state = state_after(state, event)
        assert state is expected


def test_an_event_that_cannot_happen_is_a_bug_that_says_so() -> None:
    with pytest.raises(RuntimeError, match="cold cannot meet the event 'signed in'"):
        state_after(SessionState.COLD, SessionEvent.SIGNED_IN)
