"""Where a notebook's upstream session stands, as data: states, events and the table that joins them.

    COLD -> MINTING -> EXCHANGING -> LIVE -> REFRESHING -> REPLACING -> LIVE ...

REFRESHING and REPLACING are MINTING and EXCHANGING while the old session still serves. An event that the
table does not hold for a state is a bug of the keeper, and says so. Pure: knows nothing of time, tasks or
AWS.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final


class State(Enum):
    """`value` is the word for logs and metrics."""

    COLD = "cold"
    MINTING = "minting"
    EXCHANGING = "exchanging"
    LIVE = "live"
    REFRESHING = "refreshing"
    REPLACING = "replacing"


class Event(Enum):
    WANTED = "wanted"
    """A session is needed and none is under way, or the live one comes of age."""
    URL_READY = "url ready"
    URL_SPENT = "url spent"
    """The exchange used the URL up without success; another one is to be minted."""
    SIGNED_IN = "signed in"
    FAILED = "failed"
    LATE = "late"
    """It takes so long that those who waited were told to come again; it goes on."""
    LOST = "lost"
    """The session expired, or the notebook's front end no longer honours it."""


TRANSITIONS: Final = MappingProxyType(
    {
        State.COLD: {Event.WANTED: State.MINTING},
        State.MINTING: {
            Event.URL_READY: State.EXCHANGING,
            Event.FAILED: State.COLD,
            Event.LATE: State.MINTING,
        },
        State.EXCHANGING: {
            Event.SIGNED_IN: State.LIVE,
            Event.URL_SPENT: State.MINTING,
            Event.FAILED: State.COLD,
            Event.LATE: State.EXCHANGING,
        },
        State.LIVE: {Event.WANTED: State.REFRESHING, Event.LOST: State.COLD},
        # A session lost while its successor is on the way: the flight goes on, and callers wait for it.
        State.REFRESHING: {
            Event.URL_READY: State.REPLACING,
            Event.FAILED: State.LIVE,
            Event.LOST: State.MINTING,
        },
        State.REPLACING: {
            Event.SIGNED_IN: State.LIVE,
            Event.URL_SPENT: State.REFRESHING,
            Event.FAILED: State.LIVE,
            Event.LOST: State.EXCHANGING,
        },
    }
)


def after(state: State, event: Event) -> State:
    """The state that follows; RuntimeError for an event that cannot happen there."""
    following = TRANSITIONS[state].get(event)
    if following is None:
        raise RuntimeError(f"a session that is {state.value} cannot meet the event {event.value!r}")
    return following
