"""From what has come to requests: heads are taken out of it one by one, and whoever answers each is asked for.

The rule: a request begins when its head is whole, or cannot become one; from then on there is an answer and a record of
it, whatever happens. What a head says is read in `caller.reader`, who answers is decided in `caller.admitting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.dataplane.caller.admitting import error_of, refuse_unread, who_answers
from proxy.dataplane.caller.channel import Channel
from proxy.dataplane.caller.closing import NEVER
from proxy.dataplane.caller.request import Request
from proxy.dataplane.caller.states import ASKED, ASKED_WITH_BODY, Doing
from proxy.wire.request_heads import HeadFault

if TYPE_CHECKING:
    from proxy.dataplane.caller.closing import Closing
    from proxy.dataplane.caller.states import State
    from proxy.errors import NbgateError

_READ: Final = Doing.READ


class ReadingConnection(Channel, Protocol):
    """The connection that heads come on (`caller.connection.CallerConnection`)."""

    state: State
    closing: Closing
    request: Request | None

    def go(self, event: str) -> None:
        """Something has happened: go on to the state that follows."""


def read_heads(connection: ReadingConnection) -> None:
    """Take heads out of what waits."""
    reader = connection.reader
    while connection.state.doing is _READ:
        had_begun = reader.has_begun
        try:
            head = reader.next_head()
        except HeadFault as fault:
            turn_away(connection, fault, error_of(fault))
            return
        if head is None:
            if reader.has_begun and not had_begun and connection.request is not None:
                # The first head's time began with the connection.
                head_seconds = connection.plane.current.timeouts.request_head_seconds
                connection.closing.deadline = connection.plane.clock.monotonic() + head_seconds
            return
        read_head(connection, head)
    connection.intake.hold(b"")


def read_head(connection: ReadingConnection, head: bytes) -> None:
    """Make a request of a whole head, and have whoever answers begin."""
    try:
        read = connection.reader.read(head)
    except HeadFault as fault:
        turn_away(connection, fault, error_of(fault))
        return
    plane = connection.plane
    connection.request = request = Request(connection, plane)
    connection.closing.deadline = NEVER
    connection.state = ASKED_WITH_BODY if read.has_body else ASKED
    connection.keeps = read.is_kept and not plane.leaving
    answerer = who_answers(connection, request, read)
    if answerer is not None:
        request.answerer = answerer
        answerer.start()


def turn_away(
    connection: ReadingConnection, fault: HeadFault, error: NbgateError, *, began_at: float | None = None
) -> None:
    """Refuse what could not be read, so that nobody was asked about it."""
    connection.request = request = Request(connection, connection.plane)
    connection.closing.deadline = NEVER
    if began_at is not None:
        request.started_at = began_at
    connection.go("stop")
    connection.go("asked")
    refuse_unread(connection, request, error, fault)
