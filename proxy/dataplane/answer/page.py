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

from proxy.dataplane.answer.forward import CORKED_BYTES
from proxy.dataplane.answer.memory_pipe import PipeEnd, pipe
from proxy.dataplane.bounds import SEND_LATE
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.errors import InternalError, NbgateError, UpstreamError
from proxy.upstream import Origin
from proxy.wire.body import Body, ChunkedBody, Data, LengthBody
from proxy.wire.heads import ResponseFacts

if TYPE_CHECKING:
    from proxy.dataplane.caller.request import Request
    from proxy.dataplane.plane import DataPlane

_ORIGIN: Final = Origin("http", "pages.invalid", 80)
_HEAD_BYTES: Final = 64 * 1024
"""Of an answer's head: all that the handlers send is the gateway's own."""
_WITHOUT_BODY: Final = b"GET / HTTP/1.1\r\nHost: pages.invalid\r\nConnection: close\r\n\r\n"
_WITH_BODY: Final = b"POST / HTTP/1.1\r\nHost: pages.invalid\r\nConnection: close\r\n%b\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
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


class Page:
    """The exchange of one request for a page; implements `proxy.dataplane.notebook.exchange.UpstreamExchange`."""

    method = "GET"
    """Of what the handler's side is asked: an answer to HEAD comes with its body, which ends here."""
    takes_views = False
    """A handler keeps what it does not read yet."""
    status = 0
    code = ""
    bytes_in = 0
    bytes_out = 0
    _unsent = b""
    _head_sent = False
    _ended = False
    _quiet_since = 0.0
    _swept_bytes = -1

    def __init__(
        self,
        plane: DataPlane,
        caller: Request,
        server: web.Server,
        *,
        method: str,
        framing: bytes,
        is_http_10: bool,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._plane = plane
        self._caller = caller
        self._server = server
        self._is_head = method == "HEAD"
        self._framing = framing
        self._is_http_10 = is_http_10
        self._keep_alive = keep_alive
        self.has_not_asked = expects_continue and bool(framing)
        self._connection: UpstreamConnection | None = None
        self._ends: tuple[PipeEnd, ...] = ()
        """Of the connection in memory: ours, and the handler's."""

    # -- for the caller's connection --------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """What of the request the handler has not taken yet, and what of its answer waits behind what was sent on."""
        return sum(end.get_write_buffer_size() for end in self._ends)

    def told(self, error: NbgateError) -> NbgateError:
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

    def ask_for_body(self) -> None:
        if self.has_not_asked and not self._ended:
            self.has_not_asked = False
            self._caller.write_interim(_CONTINUE)

    def on_request_body(self, data: Data) -> None:
        self.bytes_in += len(data)
        # Nobody waits for what is there.
        self.has_not_asked = False
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
        if not self._head_sent or not self._caller.is_full:
            return
        taken = self.bytes_out - self._caller.unsent_bytes
        if taken != self._swept_bytes:
            self._swept_bytes = taken
            self._quiet_since = now
        elif now - self._quiet_since >= self._plane.current.timeouts.send_seconds:
            self.cancel()
            self._caller.broken(SEND_LATE)

    # -- from the handler -------------------------------------------------------------------------------

    def on_interim(self, facts: ResponseFacts) -> None:
        """`Expect` was answered here, so that none is left."""

    def on_head(self, facts: ResponseFacts, body: Body | None) -> Body | None:
        self.status = facts.status
        lines = [line for line in facts.lines if not line.lower().startswith(b"server:")]
        lines.append(self._length(facts, body))
        self._unsent = b"\r\n".join(line for line in lines if line) + b"\r\n" + self._closing() + b"\r\n"
        if self._is_head or (self._is_http_10 and isinstance(body, ChunkedBody)):
            return ChunkedBody(decode=True) if isinstance(body, ChunkedBody) else body
        return body

    def on_body(self, data: Data) -> None:
        if self._is_head:
            return
        self.bytes_out += len(data)
        if self._unsent:
            if len(data) <= CORKED_BYTES:
                self._unsent += data
                return
            self.flush()
        self._write(data)

    def flush(self) -> None:
        if self._unsent:
            unsent, self._unsent = self._unsent, b""
            self._head_sent = True
            self._write(unsent)

    def on_end(self) -> None:
        last, self._unsent = self._unsent, b""
        if last:
            self._head_sent = True
            self._caller.write_last(last)
        self.cancel()
        self._caller.finished(keep_alive=self._keep_alive)

    def on_switched(self, facts: ResponseFacts, tail: bytes) -> None:
        self.on_failure(UpstreamError())

    def on_failure(self, error: UpstreamError) -> None:
        """The handler's side broke off: somebody ended a stream on purpose, or the fault is our own."""
        if self._ended:
            return
        self.cancel()
        if self._head_sent:
            self._caller.broken(detail="the page was ended")
        else:
            self._unsent = b""
            own = InternalError()
            self.status = own.status
            self._caller.answer(own)

    def on_upstream_full(self) -> None:
        self._caller.pause_body()

    def on_upstream_drained(self) -> None:
        self._caller.resume_body()

    # -- inside -----------------------------------------------------------------------------------------

    def _write(self, data: Data) -> None:
        self._caller.write(data)
        if self._caller.is_full and self._connection is not None:
            self._connection.pause_reading()

    def _length(self, facts: ResponseFacts, body: Body | None) -> bytes:
        if isinstance(body, LengthBody):
            return b"Content-Length: %d" % body.remaining
        if isinstance(body, ChunkedBody):
            if self._is_http_10:
                self._keep_alive = False
                return b""
            return b"Transfer-Encoding: chunked"
        return b"" if facts.content_length is None else b"Content-Length: %b" % facts.content_length

    def _closing(self) -> bytes:
        if self._plane.leaving or self._caller.ends_connection or self.has_not_asked:
            # Who was not asked for the body may send it all the same, or something else: where the request ends is not
            # known.
            self._keep_alive = False
        line = self._caller.id_line
        return line if self._keep_alive else line + b"Connection: close\r\n"


def _ignore(_connection: Any) -> None:
    pass
