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


class SessionState(Enum):
    """`value` is the word for logs and metrics."""

    COLD = "cold"
    MINTING = "minting"
    EXCHANGING = "exchanging"
    LIVE = "live"
    REFRESHING = "refreshing"
    REPLACING = "replacing"


class SessionEvent(Enum):
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
        SessionState.COLD: {SessionEvent.WANTED: SessionState.MINTING},
        SessionState.MINTING: {
            SessionEvent.URL_READY: SessionState.EXCHANGING,
            SessionEvent.FAILED: SessionState.COLD,
            SessionEvent.LATE: SessionState.MINTING,
        },
        SessionState.EXCHANGING: {
            SessionEvent.SIGNED_IN: SessionState.LIVE,
            SessionEvent.URL_SPENT: SessionState.MINTING,
            SessionEvent.FAILED: SessionState.COLD,
            SessionEvent.LATE: SessionState.EXCHANGING,
        },
        SessionState.LIVE: {
            SessionEvent.WANTED: SessionState.REFRESHING,
            SessionEvent.LOST: SessionState.COLD,
        },
        # A session lost while its successor is on the way: the sign-in goes on, and callers wait for it.
        SessionState.REFRESHING: {
            SessionEvent.URL_READY: SessionState.REPLACING,
            SessionEvent.FAILED: SessionState.LIVE,
            SessionEvent.LOST: SessionState.MINTING,
        },
        SessionState.REPLACING: {
            SessionEvent.SIGNED_IN: SessionState.LIVE,
            SessionEvent.URL_SPENT: SessionState.REFRESHING,
            SessionEvent.FAILED: SessionState.LIVE,
            SessionEvent.LOST: SessionState.EXCHANGING,
        },
    }
)


def state_after(state: SessionState, event: SessionEvent) -> SessionState:
    """The state that follows; RuntimeError for an event that cannot happen there."""
    following = TRANSITIONS[state].get(event)
    if following is None:
        raise RuntimeError(f"a session that is {state.value} cannot meet the event {event.value!r}")
    return following
