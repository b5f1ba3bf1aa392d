"""What one caller's connection may be doing, as data: two tables of transitions, and what each pair of states means.

A request comes in and an answer goes out, and each of the two has its own pace: an answer may be complete while its
request's body still comes. So there are two machines, as in h11. The rule: a connection changes its state here alone,
and a transition that no table has is a fault of the gateway's own. Pure: no socket, no clock.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Reading(Enum):
    """What of a request has come."""

    HEAD = "head"
    """Nothing, or part of a head."""
    BODY = "body"
    """Its head, and part of its body."""
    DONE = "done"
    """All of it. What comes now is the next request's, and waits."""
    STOPPED = "stopped"
    """Nothing more is read: where a message ends is not known any more, or the connection ends."""


class Answering(Enum):
    """What of its answer has gone out."""

    IDLE = "idle"
    """Nothing is owed: there is no request, or all of its answer has gone out."""
    OWED = "owed"
    BEGUN = "begun"
    """Its head has gone out, so that no other answer can be given."""
    OVER = "over"
    """The connection is cut, or somebody else's."""


class Doing(Enum):
    """What becomes of bytes that arrive."""

    READ = "read a head"
    CARRY = "give them to whoever answers, or keep them until that one takes them"
    WAIT = "keep them: they are the next request's"
    DROP = "drop them: the request is answered, and only its end counts"
    IGNORE = "let them go: nothing is read any more"


READING: Final = {
    (Reading.HEAD, "head"): Reading.DONE,
    (Reading.HEAD, "head with body"): Reading.BODY,
    (Reading.BODY, "end"): Reading.DONE,
    (Reading.DONE, "next"): Reading.HEAD,
    **{(state, "stop"): Reading.STOPPED for state in Reading},
}

ANSWERING: Final = {
    (Answering.IDLE, "asked"): Answering.OWED,
    (Answering.OWED, "began"): Answering.BEGUN,
    (Answering.OWED, "answered"): Answering.IDLE,
    (Answering.BEGUN, "answered"): Answering.IDLE,
    **{(state, "over"): Answering.OVER for state in Answering},
}

DOING: Final = {
    (Reading.HEAD, Answering.IDLE): Doing.READ,
    (Reading.BODY, Answering.OWED): Doing.CARRY,
    (Reading.BODY, Answering.BEGUN): Doing.CARRY,
    (Reading.BODY, Answering.IDLE): Doing.DROP,
    (Reading.DONE, Answering.OWED): Doing.WAIT,
    (Reading.DONE, Answering.BEGUN): Doing.WAIT,
    (Reading.DONE, Answering.IDLE): Doing.WAIT,
    **{(Reading.STOPPED, state): Doing.IGNORE for state in Answering},
}
"""The pairs that are not here are none: a head is read only when nothing is owed, and what is over reads nothing."""


class State:
    """One pair, and the pairs that follow it. `START` is the first one."""

    __slots__ = ("after", "answering", "doing", "reading")

    def __init__(self, reading: Reading, answering: Answering, doing: Doing) -> None:
        self.reading = reading
        self.answering = answering
        self.doing = doing
        self.after: dict[str, State] = {}
        """By what happens. A KeyError is a fault of the gateway's own."""

    def __repr__(self) -> str:
        return f"<{self.reading.value}, {self.answering.value}>"


def _joined() -> dict[tuple[Reading, Answering], State]:
    states = {pair: State(*pair, doing) for pair, doing in DOING.items()}
    for (reading, answering), state in states.items():
        steps = {event: (to, answering) for (at, event), to in READING.items() if at is reading}
        steps |= {event: (reading, to) for (at, event), to in ANSWERING.items() if at is answering}
        state.after = {event: states[pair] for event, pair in steps.items() if pair in states}
    return states


STATES: Final = _joined()
START: Final = STATES[Reading.HEAD, Answering.IDLE]
ASKED: Final = START.after["head"].after["asked"]
ASKED_WITH_BODY: Final = START.after["head with body"].after["asked"]
"""A head was read, and somebody is to answer: what each request begins with, looked up once."""
