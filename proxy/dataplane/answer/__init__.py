"""Whoever answers a request: a notebook (`forward`), or a page of the gateway's own (`page`). One protocol for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.dataplane.answer.stream import AnswerStream
    from proxy.errors import NbgateError
    from proxy.wire.body import Data


class Answerer(Protocol):
    """What the caller's connection tells whoever answers, and asks of it."""

    status: int
    code: str
    """For the record, where there is something to say of an answer that is complete."""
    bytes_in: int
    """Of the request's body, framing included."""

    @property
    def out(self) -> AnswerStream:
        """What goes back to the caller."""

    takes_views: bool
    """Whether large parts of a body may come as views of memory that is used again: they go on at once, uncopied."""

    @property
    def held_bytes(self) -> int:
        """What of the request waits for somebody to take it."""

    def start(self) -> None:
        """Begin. The request's body, if there is one, waits until it is asked for."""

    def on_request_body(self, data: Data) -> None:
        """Bytes of the request's body, framing included."""

    def on_request_end(self) -> None:
        """The request's body is complete."""

    def on_caller_drained(self) -> None:
        """The caller takes bytes again."""

    def cancel(self) -> None:
        """The caller is gone, or its request is: nothing more is to be answered."""

    def in_place_of(self, error: NbgateError) -> NbgateError:
        """What to answer in an error's place where no answer came."""

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
