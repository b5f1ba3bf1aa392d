"""A page of the gateway's own, answered as one more upstream: aiohttp's handler behind a connection in memory.

The rule: the caller's side treats a page as it treats a notebook. What the caller sends goes on in its framing, what
the handler answers comes back through the same strict reader of responses, and the same bounds and records hold. The
handler sees a head that is always the same; who asks for what, it learns from the transport
(`get_extra_info("request")`). One connection a request: nothing of one request is there for the next. Knows no page and
no policy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.dataplane.answer.memory_pipe import PipeEnd, pipe
from proxy.dataplane.answer.stream import AnswerStream
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.errors import InternalError, NbgateError, UpstreamError
from proxy.upstream import Origin
from proxy.wire.body import Body, ChunkedBody, Data
from proxy.wire.heads import ResponseFacts

if TYPE_CHECKING:
    from proxy.dataplane.caller.request import Request
    from proxy.dataplane.notebook.exchange import BodyTaker
    from proxy.dataplane.plane import DataPlane

_ORIGIN: Final = Origin("http", "pages.invalid", 80)
_HEAD_BYTES: Final = 64 * 1024
"""Of an answer's head: all that the handlers send is the gateway's own."""
_WITHOUT_BODY: Final = b"GET / HTTP/1.1\r\nHost: pages.invalid\r\nConnection: close\r\n\r\n"
_WITH_BODY: Final = b"POST / HTTP/1.1\r\nHost: pages.invalid\r\nConnection: close\r\n%b\r\n"
READ_BYTES: Final = 64 * 1024


def page_server(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
    """What makes the protocols that pages are served by."""
    return web.Server(
        handler,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=0,
        lingering_time=0,
        # Of a body that the handler does not read yet; about twice as much is taken before the caller has to wait.
        read_bufsize=READ_BYTES,
    )


class PageAnswer:
    """The exchange of one request for a page; implements `proxy.dataplane.notebook.exchange.UpstreamExchange`."""

    method = "GET"
    """Of what the handler's side is asked: an answer to HEAD comes with its body, which ends here."""
    takes_views = False
    """A handler keeps what it does not read yet."""
    status = 0
    code = ""
    bytes_in = 0
    taker: BodyTaker
    _ended = False

    def __init__(
        self,
        plane: DataPlane,
        caller: Request,
        *,
        server: web.Server,
        method: str,
        framing: bytes,
        is_http_10: bool,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._plane = plane
        self._caller = caller
        self._server = server
        self.out = AnswerStream(
            plane, caller, method=self.method, is_http_10=is_http_10, keep_alive=keep_alive
        )
        self._is_head = method == "HEAD"
        self._framing = framing
        caller.waits_to_be_asked = expects_continue and bool(framing)
        self._connection: UpstreamConnection | None = None
        self._ends: tuple[PipeEnd, ...] = ()
        """Of the connection in memory: ours, and the handler's."""

    # -- for the caller's connection --------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """What of the request the handler has not taken yet, and what of its answer waits behind what was sent on."""
        return sum(end.get_write_buffer_size() for end in self._ends)

    def in_place_of(self, error: NbgateError) -> NbgateError:
        return error

    def start(self) -> None:
        self._connection = connection = UpstreamConnection(
            _ORIGIN, head_limit_bytes=_HEAD_BYTES, read_memory=None, on_closed=_ignore
        )
        self._ends = pipe(connection, self._server(), facts={"request": self._caller})
        near = self._ends[0]
        connection.begin(self)
        near.write(_WITH_BODY % self._framing if self._framing else _WITHOUT_BODY)
        if self._framing:
            self._caller.take_body()

    def on_request_body(self, data: Data) -> None:
        self.bytes_in += len(data)
        # Nobody waits for what is there.
        self._caller.waits_to_be_asked = False
        if self._ends and not self._ended:
            self._ends[0].write(data)

    def on_request_end(self) -> None:
        """The framing told the handler so."""

    def on_caller_drained(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()

    def cancel(self) -> None:
        """The caller is gone, or no longer admitted: its handler is cancelled."""
        self._ended = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def sweep(self, now: float) -> None:
        """Judge silence of the caller's. A page's own may be long: a stream of events waits for some."""
        if self.out.has_begun and self._caller.is_full and (late := self.out.late(now)) is not None:
            self.cancel()
            self._caller.broken(late)

    # -- from the handler -------------------------------------------------------------------------------

    def on_interim(self, facts: ResponseFacts) -> None:
        """`Expect` was answered here, so that none is left."""

    def on_head(self, facts: ResponseFacts, body: Body | None) -> Body | None:
        self.status = facts.status
        lines = [line for line in facts.lines if not line.lower().startswith(b"server:")]
        out = self.out
        out.unsent = b"\r\n".join(lines) + b"\r\n" + out.framing(facts, body) + b"\r\n"
        out.source = self._connection
        if not self._is_head:
            self.taker = out
            return out.tracker(body)
        self.taker = _HeadOnly(out)
        return ChunkedBody(decode=True) if isinstance(body, ChunkedBody) else body

    def on_end(self) -> None:
        # A head for which nobody is to have a body ends with itself, whatever it says of that.
        self.out.in_chunks = False
        self.out.end()
        self.cancel()
        self._caller.finished(keep_alive=self.out.keep_alive)

    def on_switched(self, facts: ResponseFacts, tail: bytes) -> None:
        self.on_failure(UpstreamError())

    def on_failure(self, error: UpstreamError) -> None:
        """The handler's side broke off: somebody ended a stream on purpose, or the fault is our own."""
        if self._ended:
            return
        self.cancel()
        if self.out.has_begun:
            self._caller.broken(detail="the page was ended")
        else:
            self.out.forget()
            own = InternalError()
            self.status = own.status
            self._caller.answer(own)

    def on_upstream_full(self) -> None:
        self._caller.pause_body()

    def on_upstream_drained(self) -> None:
        self._caller.resume_body()


class _HeadOnly:
    """Takes the body of an answer to HEAD, of which the caller gets nothing."""

    __slots__ = ("flush",)

    def __init__(self, out: AnswerStream) -> None:
        self.flush = out.flush

    def on_body(self, data: Data) -> None:
        pass


def _ignore(_connection: Any) -> None:
    pass
