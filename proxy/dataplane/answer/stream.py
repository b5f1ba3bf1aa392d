"""An answer on its way to its caller, whoever gives it: a head, then a body as it comes, then its end.

The rule: a head waits until it is known whether a body comes with it, and goes out with a small first part as one;
while the caller takes no more, nothing more is read from where the body comes from. What is sent is counted here, and
nowhere else. Knows neither what an answer means nor where it comes from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from proxy.dataplane.bounds import RESPONSE_LATE, SEND_LATE
from proxy.wire.body import ChunkedBody, LengthBody

if TYPE_CHECKING:
    from proxy.dataplane.notebook.connection import UpstreamConnection
    from proxy.dataplane.plane import DataPlane
    from proxy.telemetry.limits_met import Bound
    from proxy.wire.body import Body, Data
    from proxy.wire.heads import ResponseFacts

CORKED_BYTES: Final = 16 * 1024
"""A first part of a body up to this size is joined to the head; copying more costs more than a second buffer."""


class AnsweredCaller(Protocol):
    """Who gets the answer (`proxy.dataplane.caller.request`)."""

    ends_connection: bool
    """No request is to follow on the connection."""
    waits_to_be_asked: bool
    """It waits to be asked for the request's body, and nobody has."""

    @property
    def is_full(self) -> bool:
        """It takes no more for now."""

    @property
    def unsent_bytes(self) -> int:
        """How much of what was written still waits for it to take it."""

    @property
    def id_line(self) -> bytes:
        """The field that tells the request's id, its line end included."""

    def write(self, data: Data) -> None:
        """Send a part of the answer."""

    def write_last(self, data: bytes) -> None:
        """Send the end of the answer."""


class Standstill:
    """For how long a count has not changed, as far as whoever looks about once a second has seen."""

    __slots__ = ("_count", "_since")

    def __init__(self) -> None:
        self._count = -1
        self._since = 0.0

    def seconds(self, count: int, now: float) -> float:
        if count != self._count:
            self._count, self._since = count, now
        return now - self._since


class AnswerStream:
    """See the module's docstring; implements `proxy.dataplane.notebook.exchange.BodyTaker`.

    What few answers need has its first value in the class: an instance is then made for little.
    """

    bytes_out = 0
    """Of the body, framing included."""
    has_begun = False
    """Its head has gone out, so that no other answer can be given."""
    unsent = b""
    """The head, and what goes out with it."""
    in_chunks = False
    """The body gets chunks of our own, for its length is not known."""
    source: UpstreamConnection | None = None
    """Where the body comes from."""
    _standstill: Standstill | None = None

    def __init__(
        self, plane: DataPlane, caller: AnsweredCaller, *, method: str, is_http_10: bool, keep_alive: bool
    ) -> None:
        self.keep_alive = keep_alive
        self.plane = plane
        self._caller = caller
        self.method = method
        self.is_http_10 = is_http_10

    # -- its head ---------------------------------------------------------------------------------------

    def framing(self, facts: ResponseFacts, body: Body | None) -> bytes:
        """The lines that say how the body ends, and those that every head has which is not an interim one."""
        if isinstance(body, LengthBody):
            return b"Content-Length: %d\r\n%b" % (body.remaining, self._closing())
        if body is None:
            return _length_of_nothing(facts, self.method) + self._closing()
        if isinstance(body, ChunkedBody) and not self.is_http_10:
            return b"Transfer-Encoding: chunked\r\n" + self._closing()
        return self._unknown_length()

    def framing_of_page(self, length: int | None) -> bytes:
        """As `framing`, for a body of our own making; None: its length is not known."""
        if length is None:
            return self._unknown_length()
        return b"Content-Length: %d\r\n" % length + self._closing()

    def tracker(self, body: Body | None) -> Body | None:
        """What follows a body that is passed on as the caller understands it."""
        if self.is_http_10 and isinstance(body, ChunkedBody):
            return ChunkedBody(decode=True)
        return body

    def _unknown_length(self) -> bytes:
        """For a body whose end only its sender knows: chunks of our own where the caller knows those, for the end of
        a connection alone does not tell a whole body from half a one.
        """
        if self.is_http_10:
            self.keep_alive = False
            return self._closing()
        self.in_chunks = True
        return b"Transfer-Encoding: chunked\r\n" + self._closing()

    def _closing(self) -> bytes:
        caller = self._caller
        if self.plane.leaving or caller.ends_connection or caller.waits_to_be_asked:
            # Who was not asked for the body may send it all the same, or something else: where the request ends is not
            # known.
            self.keep_alive = False
        if self.keep_alive:
            return caller.id_line
        return caller.id_line + b"Connection: close\r\n"

    # -- its body ---------------------------------------------------------------------------------------

    def on_body(self, data: Data) -> None:
        """A part of the body."""
        if self.in_chunks:
            data = b"".join((b"%x\r\n" % len(data), data, b"\r\n"))
        self.bytes_out += len(data)
        if self.unsent:
            if len(data) <= CORKED_BYTES:
                self.unsent += data
                return
            self.flush()
        self._write(data)

    def flush(self) -> None:
        """No more has come for now: what waits goes out."""
        if self.unsent:
            unsent, self.unsent = self.unsent, b""
            self.has_begun = True
            self._write(unsent)

    def end(self) -> None:
        """All of the body has come."""
        last = self.unsent + b"0\r\n\r\n" if self.in_chunks else self.unsent
        if last:
            self.unsent = b""
            self.has_begun = True
            self._caller.write_last(last)

    def forget(self) -> None:
        """The answer broke off before anything of it was sent."""
        self.unsent = b""
        self.in_chunks = False

    def late(self, now: float, *, response_seconds: float = math.inf) -> Bound | None:
        """The limit that is met, if one is: by a caller that takes nothing, or by a body of which nothing comes for so
        many seconds. Called about once a second; `now` is the monotonic clock's.
        """
        if self._standstill is None:
            self._standstill = Standstill()
        is_full = self._caller.is_full
        patience = self.plane.current.timeouts.send_seconds if is_full else response_seconds
        if self._standstill.seconds(self.bytes_out - self._caller.unsent_bytes, now) < patience:
            return None
        return SEND_LATE if is_full else RESPONSE_LATE

    @property
    def is_full(self) -> bool:
        """The caller takes no more for now."""
        return self._caller.is_full

    def _write(self, data: Data) -> None:
        self._caller.write(data)
        if self._caller.is_full and self.source is not None:
            self.source.pause_reading()


def _length_of_nothing(facts: ResponseFacts, method: str) -> bytes:
    """What a head says of the length of a body that does not follow (RFC 9110 section 8.6)."""
    if facts.status == 204:
        return b""
    if facts.content_length is not None:
        return b"Content-Length: %b\r\n" % facts.content_length
    return b"" if method == "HEAD" or facts.status == 304 else b"Content-Length: 0\r\n"
