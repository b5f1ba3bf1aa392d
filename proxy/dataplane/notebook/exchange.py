"""What a connection to a notebook tells whoever uses it: one request sent, and its response as it comes.

The rule: calls come in this order: interim heads, one final head, the body, its end; or a failure, after which nothing
comes. Knows no sockets.
"""

from __future__ import annotations

from typing import Protocol

from proxy.errors import UpstreamError
from proxy.wire.body import Body, Data
from proxy.wire.heads import ResponseFacts


class BodyTaker(Protocol):
    """Takes a response's body."""

    def on_body(self, data: Data) -> None:
        """Bytes of it, framing included, valid as they stand."""

    def flush(self) -> None:
        """No more has come for now: what was kept back, to go out with what follows it, goes out."""


class UpstreamExchange(Protocol):
    """What a connection tells whoever uses it now."""

    method: str

    @property
    def taker(self) -> BodyTaker:
        """Whom the body is given to, once its head was."""

    def on_interim(self, facts: ResponseFacts) -> None:
        """A 1xx response other than 101 (RFC 9110 section 15.2)."""

    def on_head(self, facts: ResponseFacts, body: Body | None) -> Body | None:
        """The final response's head; `body` tracks what follows, None if nothing does.

        Returns the tracker to use, which is another one if the body is wanted without its chunks' framing.
        """

    def on_switched(self, facts: ResponseFacts, tail: bytes) -> None:
        """101: what comes from now on, `tail` first, is not HTTP. Reading is paused."""

    def on_end(self) -> None:
        """The response is complete; called once, after `on_head`. The exchange releases the connection."""

    def on_failure(self, error: UpstreamError) -> None:
        """The connection broke or spoke nonsense before the response was complete. It is gone."""

    def on_upstream_full(self) -> None:
        """The notebook takes no more of the request's body for now."""

    def on_upstream_drained(self) -> None:
        """It does again."""
