"""One connection to a notebook host: sends bytes as they are, understands response heads, counts bodies.

The rule: response heads are read strictly (`proxy.wire.heads`), bodies are tracked strictly and passed on as they
came, and every violation of HTTP ends the connection. What a response means is the exchange's business: this
module knows no caller, no policy and no session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from proxy.dataplane.buffers import LARGE_BYTES, ReadMemory, begin_large_reads
from proxy.dataplane.notebook.exchange import UpstreamExchange
from proxy.dataplane.notebook.response_heads import declared_body, fault_of
from proxy.errors import (
    ResponseHeadTooLarge,
    TooManyInterims,
    UpstreamError,
    UpstreamInvalid,
    UpstreamUnreachable,
)
from proxy.upstream import Origin
from proxy.wire.body import Body, Data, FramingError, LengthBody, UntilClose
from proxy.wire.heads import ResponseFacts, read_response

INTERIM_RESPONSES: Final = 16
"""Of one exchange; Apache passes 10. A notebook that sends them without end would fill the gateway on its caller's
behalf, and have the loop read a whole head for each."""

_HEAD_END: Final = b"\r\n\r\n"


class _PutOff:
    """An answer that waits: its head, what has come behind it, and whether the notebook has ended it."""

    __slots__ = ("data", "facts", "has_ended")

    def __init__(self, facts: ResponseFacts) -> None:
        self.facts = facts
        self.data = bytearray()
        self.has_ended = False


class UpstreamConnection(asyncio.Protocol):
    """A connection that carries one exchange at a time, and rests in a pool between them."""

    __slots__ = (
        "_body",
        "_failed",
        "_head",
        "_head_limit",
        "_held",
        "_interim_bytes",
        "_interim_left",
        "_is_full",
        "_is_keep_alive",
        "_on_closed",
        "_put_off",
        "_read_memory",
        "_read_paused",
        "_response_done",
        "_rest",
        "exchange",
        "exchanges",
        "has_answered",
        "idle_since",
        "origin",
        "siblings",
        "transport",
    )

    def __init__(
        self,
        origin: Origin,
        *,
        head_limit_bytes: int,
        read_memory: ReadMemory | None,
        on_closed: Callable[[UpstreamConnection], None],
    ) -> None:
        """`read_memory` takes large reads; None where the transport has objects of its own for what comes."""
        self.origin = origin
        self.siblings: list[UpstreamConnection] = []
        """Where it rests between two exchanges: the pool's, with the others of its origin."""
        self.exchange: UpstreamExchange | None = None
        self.exchanges = 0
        """How many it has carried: more than one means that it may have gone stale in the pool."""
        self.has_answered = False
        """Whether any byte came for the exchange under way."""
        self.idle_since = 0.0
        self._head_limit = head_limit_bytes
        self._read_memory = read_memory
        self._on_closed = on_closed
        self._head: bytearray | None = None
        """What has come of a head that is not whole."""
        self._body: Body | None = None
        self._response_done = True
        self._is_keep_alive = False
        self._interim_left = INTERIM_RESPONSES
        self._interim_bytes = 0
        """Of the exchange under way. The limit is for all its heads together."""
        self._is_full = False
        self._held = False
        self._rest = b""
        self._put_off: _PutOff | None = None
        self._read_paused = False
        self._failed = False

    # -- for the exchange -------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return not self._failed and not self.transport.is_closing()

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange left the connection fit for another one (RFC 9112 section 9.3).

        A notebook that answered before it read what is queued for it may never read: nothing would hold the
        next body back.
        """
        return self._response_done and self._is_keep_alive and not self._is_full and not self._failed

    @property
    def may_have_been_stale(self) -> bool:
        """Whether it may have ended in the pool already, when the exchange under way began."""
        return self.exchanges > 1 and not self.has_answered

    def begin(self, exchange: UpstreamExchange) -> None:
        """Take an exchange. Its request is for whoever calls this to write to `transport`."""
        self.exchange = exchange
        self.exchanges += 1
        self.has_answered = False
        self._response_done = False

    def put_off(self, facts: ResponseFacts) -> None:
        """For `on_head`, which then returns None: the answer waits until `proceed`, and nothing more is read."""
        self._put_off = _PutOff(facts)
        self._response_done = True
        self.pause_reading()

    def proceed(self) -> None:
        """Give the exchange the answer that was put off, from its head on."""
        put_off, self._put_off = self._put_off, None
        exchange = self.exchange
        assert put_off is not None
        assert exchange is not None
        self._response_done = False
        # Before what waited is given: that may pause reading again, and nobody would resume.
        self.resume_reading()
        self._final(put_off.facts, bytes(put_off.data))
        if put_off.has_ended:
            self._failed = False
            self.eof_received()
        elif self._failed and not self._response_done:
            self._failed = False
            self._broke("closed")

    def abort(self) -> None:
        """Drop the connection at once, telling nobody."""
        self.exchange = None
        self._failed = True
        self.transport.abort()

    def pause_reading(self) -> None:
        self._held = True
        self._read_or_not()

    def resume_reading(self) -> None:
        if self._held:
            self._held = False
            self._read_or_not()

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        body = self._body
        if body is not None and not self._response_done:
            self._feed_body(body, data)
            if len(data) >= LARGE_BYTES and self._body is body and self._read_memory is not None:
                begin_large_reads(self, self.transport, self._read_memory)
        elif self._response_done:
            if self._put_off is not None:
                # Somebody had reading resumed meanwhile, or TLS had it already.
                self._put_off.data += data
                self.pause_reading()
                return
            # Bytes that no request asked for would be taken for the next one's answer (response splitting).
            self._failed = True
            self.transport.abort()
        else:
            self.has_answered = True
            self._feed_head(data)

    def large_received(self, data: memoryview) -> bool:
        body = self._body
        if body is None or self._response_done:
            self.data_received(bytes(data))
            return False
        self._feed_body(body, data)
        return True

    def eof_received(self) -> None:
        """The notebook sends nothing more: FIN, and under TLS only together with close_notify.

        Nothing else ends a close-delimited body (RFC 9112 section 9.8). Waiting for `connection_lost` would
        mean waiting until the notebook has taken all that is queued for it.
        """
        if self._put_off is not None:
            self._put_off.has_ended = True
            return
        while self._rest and self._body is not None:
            # Under TLS the end may be told although reading is paused.
            self._feed_rest(self._body)
        exchange = self.exchange
        if exchange is not None and isinstance(self._body, UntilClose) and not self._failed:
            self._is_keep_alive = False
            self._end(exchange)
        else:
            self._broke("closed")

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_closed(self)
        self._broke(type(exc).__name__ if exc else "closed")

    def pause_writing(self) -> None:
        self._is_full = True
        if self.exchange is not None:
            self.exchange.on_upstream_full()

    def resume_writing(self) -> None:
        self._is_full = False
        if self.exchange is not None:
            self.exchange.on_upstream_drained()

    # -- inside -----------------------------------------------------------------------------------------

    def _feed_head(self, data: bytes) -> None:
        if self._head is not None:
            # A head may come byte by byte: what was searched before is neither searched nor copied again.
            held, searched = self._head, len(self._head)
            held += data
            if held.find(_HEAD_END, max(0, searched - 3)) < 0:
                if len(held) > self._head_limit - self._interim_bytes:
                    self._fail(ResponseHeadTooLarge(detail="response head"))
                return
            data, self._head = bytes(held), None
        while True:
            end = data.find(_HEAD_END) + 4
            if end == 3:
                if len(data) > self._head_limit - self._interim_bytes:
                    self._fail(ResponseHeadTooLarge(detail="response head"))
                else:
                    self._head = bytearray(data)
                return
            if end > self._head_limit - self._interim_bytes:
                self._fail(ResponseHeadTooLarge(detail="response head"))
                return
            facts = read_response(data[:end])
            if facts is None:
                self._fail(fault_of(data[:end]))
                return
            data = data[end:]
            if facts.status >= 200 or facts.status == 101:
                break
            if not self._interim_left:
                self._fail(TooManyInterims())
                return
            self._interim_left -= 1
            self._interim_bytes += end
            assert self.exchange is not None
            self.exchange.on_interim(facts)
            if not data:
                return
        self._final(facts, data)

    def _final(self, facts: ResponseFacts, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        self._interim_left = INTERIM_RESPONSES
        self._interim_bytes = 0
        if facts.status == 101:
            # What follows is not HTTP, and whoever takes over is not there yet: read nothing until then.
            self.pause_reading()
            exchange.on_switched(facts, data)
            return
        try:
            body = declared_body(facts, exchange.method)
        except FramingError as error:
            self._fail(UpstreamInvalid(detail=f"response framing: {error}"))
            return
        self._is_keep_alive = facts.is_http_11 and not facts.says_close and not isinstance(body, UntilClose)
        self._body = body = exchange.on_head(facts, body)
        if self.exchange is not exchange:
            return  # it repeats itself elsewhere
        if body is None:
            if self._put_off is not None:
                self._put_off.data += data
                return
            if data:
                self._is_keep_alive = False
            self._end(exchange)
            return
        if type(body) is LengthBody and body.remaining == len(data):
            # All of it is there, as of most small answers.
            exchange.taker.on_body(data)
            self._end(exchange)
            return
        if data:
            self._feed_body(body, data)
        if self.exchange is exchange:
            exchange.taker.flush()

    def _feed_body(self, body: Body, data: Data) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        try:
            part, rest = body.feed(data)
        except FramingError as error:
            self._fail(UpstreamInvalid(detail=f"response body: {error}"))
            return
        if part:
            exchange.taker.on_body(part)
        if body.done:
            if rest:
                self._is_keep_alive = False
            self._end(exchange)
        elif rest:
            # Many tiny chunks: the rest, and what comes behind it, waits for the next turn of the loop.
            self._rest = bytes(rest)
            self._read_or_not()
            asyncio.get_running_loop().call_soon(self._feed_rest, body)

    def _feed_rest(self, body: Body) -> None:
        rest, self._rest = self._rest, b""
        if rest and self._body is body and self.exchange is not None:
            self._feed_body(body, rest)
            if not self._failed:
                self._read_or_not()

    def _read_or_not(self) -> None:
        """Read while the exchange takes it and nothing that came before still waits."""
        paused = self._held or bool(self._rest)
        if paused != self._read_paused and not self.transport.is_closing():
            self._read_paused = paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _end(self, exchange: UpstreamExchange) -> None:
        self._response_done = True
        self._body = None
        exchange.on_end()

    def _broke(self, how: str) -> None:
        if not self._failed and not self._response_done:
            self._fail(UpstreamUnreachable("The connection to the notebook broke.", detail=how))
        self._failed = True

    def _fail(self, error: UpstreamError) -> None:
        exchange, self.exchange = self.exchange, None
        self._failed = True
        self.transport.abort()
        if exchange is not None:
            exchange.on_failure(error)
