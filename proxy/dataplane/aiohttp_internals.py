"""Everything of aiohttp's insides that the data plane touches, in one place.

aiohttp's `RequestHandler` reads, handles and writes one connection's requests in a task. Forwarded requests go past
that task, so it is started only for a page of the gateway's own. What is used beyond aiohttp's public interface
(line 3.14; `tests/dataplane/test_aiohttp_internals.py` says which of these a new release moved):

- `aiohttp.http_parser.HttpRequestParser(protocol, loop, limit, …)`, its `feed_data(data) -> (messages, upgraded, tail)`
  with `messages` pairs of `RawRequestMessage` and payload, `message_consumed()`, `set_upgraded()`, and that it holds
  no state between two messages;
- of `RequestHandler`: `_parser`, `_messages`, `_waiter`, `_task_handler`, `_manager`, `_loop`, `_reading_paused`,
  `_request_count`, `_paused`, `start()`, `resume_reading()`, `finish_response()`, `_process_keepalive()`, and that
  `start()` serves `_messages` in order, awaits `_waiter` when there are none, and reads on behind a response until
  the payload is at its end, which `StreamReader.feed_eof()` brings about;
- of `web.Server`: `connection_made()` and `connection_lost()` as its register of connections.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.tcp_helpers import tcp_keepalive
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

LINE_BYTES: Final = 1024 * 1024
"""Longest request line, and longest field, that aiohttp's parser takes: the most that `limits.request_head` can be, by
which a head is judged as a whole before it is parsed. Browsers send all cookies in one line, and some tokens are long.
"""
FIELDS: Final = 128
"""In one head. Browsers and proxies send two or three dozen; each costs some microseconds."""
PAYLOAD_BUFFER_BYTES: Final = 64 * 1024


def new_parser(protocol: BaseProtocol, loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    """A request parser that stands at the start of a message."""
    return HttpRequestParser(
        protocol,
        loop,
        PAYLOAD_BUFFER_BYTES,
        max_line_size=LINE_BYTES,
        max_field_size=LINE_BYTES,
        max_headers=FIELDS,
        payload_exception=RequestPayloadError,
        # Bodies pass as they are; a page of our own never wants a compressed one.
        auto_decompress=False,
    )


def has_too_many_fields(head: bytes) -> bool:
    """Whether that is why the parser did not take a request's head."""
    return head.count(b"\r\n") > FIELDS + 2


class Connection(RequestHandler):
    """A `RequestHandler` whose task runs only when there is a request for it (`serve_native`)."""

    __slots__ = ("_payload",)

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        self._payload: StreamReader | None = None
        super().__init__(server, loop=loop, access_log=None, auto_decompress=False)  # type: ignore[arg-type]
        self._parser = new_parser(self, loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register, but start no task and no timer."""
        BaseProtocol.connection_made(self, transport)
        tcp_keepalive(cast(asyncio.Transport, transport))
        assert self._manager is not None
        self._manager.connection_made(self, cast(asyncio.Transport, transport))

    def parse(self, head: bytes) -> tuple[RawRequestMessage, StreamReader] | None:
        """Feed one head; None for empty lines, which may stand before one.

        Raises aiohttp.http_exceptions.HttpProcessingError.
        """
        assert self._parser is not None
        messages, upgraded, _ = self._parser.feed_data(head)
        if upgraded:
            # Whether to switch protocols is decided by us, so that a refused upgrade leaves an HTTP connection.
            self._parser.set_upgraded(False)
        if not messages:
            return None
        self._parser.message_consumed()
        [message] = messages
        return message

    def serve_native(self, message: RawRequestMessage, payload: StreamReader) -> None:
        """Have aiohttp handle a request. `native_finished` follows."""
        self._request_count += 1
        self._payload = payload
        self._messages.append((message, payload))
        if self._task_handler is None:
            self._task_handler = self._loop.create_task(self.start())
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def feed_native(self, data: bytes) -> None:
        """More of the body of the request that aiohttp handles; b"" for what the parser kept back."""
        if self._parser is not None:
            self._parser.feed_data(data)

    def fail_native(self, error: Exception) -> None:
        """Whoever reads that request's body meets `error`, however much of the body came before."""
        if self._payload is not None:
            self._payload.set_exception(error)
            # aiohttp is not to wait for the rest.
            self.end_native()

    def end_native(self) -> None:
        """Whatever is left of that request's body is no longer for aiohttp, nor for the parser that it reads from."""
        payload, self._payload = self._payload, None
        if payload is not None and not payload.is_eof():
            payload.feed_eof()
            self._parser = new_parser(self, self._loop)

    def native_finished(self, response: web.StreamResponse) -> None:
        """aiohttp has written a whole response."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """There is room in aiohttp's buffer: first for what the parser kept back, then for more from the caller."""
        self._reading_paused = False
        if resume_parser:
            self.feed_native(b"")
        if not self._reading_paused:
            self._resume_transport_reading()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        response, reset = await super().finish_response(request, resp, start_time)
        if not reset:
            self._loop.call_soon(self.native_finished, response)
        return response, reset

    def _process_keepalive(self) -> None:
        """Idle connections are the sweep's business."""

    @property
    def is_native_idle(self) -> bool:
        """aiohttp's own handling has nothing under way."""
        return not self._messages and (self._task_handler is None or self._waiter is not None)

    def take_transport(self) -> asyncio.Transport:
        """Give the transport away: this object is done with."""
        transport = self.transport
        assert transport is not None
        self.transport = None
        RequestHandler.connection_lost(self, None)
        return transport

    def pause_writing(self) -> None:
        # Not `assert not self._paused`, as aiohttp has it: a transport that was handed over may repeat itself.
        self._paused = True

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Close at once what is left; draining was done before."""
        if self._task_handler is not None:
            self._task_handler.cancel()
        self.force_close()
