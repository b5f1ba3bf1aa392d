"""The states of a caller's connection, as data."""

from __future__ import annotations

import pytest

from proxy.dataplane.caller.states import (
    ANSWERING,
    DOING,
    READING,
    START,
    STATES,
    Answering,
    Doing,
    Reading,
    State,
)

EVENTS = {event for _, event in (*READING, *ANSWERING)}


def after(*events: str) -> State:
    state = START
    for event in events:
        state = state.after[event]
    return state


@pytest.mark.parametrize(
    ("events", "doing"),
    [
        ((), Doing.READ),
        (("head", "asked"), Doing.WAIT),
        (("head", "asked", "began"), Doing.WAIT),
        (("head", "asked", "began", "answered"), Doing.WAIT),
        (("head", "asked", "answered", "next"), Doing.READ),
        (("head with body", "asked"), Doing.CARRY),
        (("head with body", "asked", "began"), Doing.CARRY),
        (("head with body", "asked", "began", "end"), Doing.WAIT),
        (("head with body", "asked", "answered"), Doing.DROP),
        (("head with body", "asked", "began", "answered"), Doing.DROP),
        (("head with body", "asked", "answered", "end"), Doing.WAIT),
        (("head with body", "asked", "answered", "end", "next"), Doing.READ),
        (("stop", "asked", "answered"), Doing.IGNORE),
        (("head with body", "asked", "stop", "over"), Doing.IGNORE),
    ],
)
def test_what_is_done_after_what_happened(events: tuple[str, ...], doing: Doing) -> None:
    assert after(*events).doing is doing


def test_a_request_is_read_only_when_nothing_is_owed() -> None:
    """So no request is begun before the one in front of it has all of its answer."""
    reading = {pair for pair, doing in DOING.items() if doing is Doing.READ}
    assert reading == {(Reading.HEAD, Answering.IDLE)}
    for state in STATES.values():
        if "next" in state.after and state.answering is not Answering.IDLE:
            pytest.fail(f"{state} leads to the next request")


def test_an_answer_that_has_begun_is_not_begun_again_nor_owed() -> None:
    for state in STATES.values():
        if state.answering is Answering.BEGUN:
            assert not {"asked", "began"} & state.after.keys()


def test_from_everywhere_a_connection_can_be_stopped_and_then_be_over() -> None:
    for state in STATES.values():
        over = state.after["stop"].after["over"]
        assert (over.reading, over.answering) == (Reading.STOPPED, Answering.OVER)
        assert over.after.keys() == {"stop", "over"}


def test_each_state_can_be_reached_and_each_event_happens() -> None:
    reached, waiting = {START}, [START]
    happened = set()
    while waiting:
        for event, state in waiting.pop().after.items():
            happened.add(event)
            if state not in reached:
                reached.add(state)
                waiting.append(state)
    assert reached == set(STATES.values())
    assert happened == EVENTS


def test_a_state_tells_what_it_is() -> None:
    assert repr(START) == "<head, idle>"
