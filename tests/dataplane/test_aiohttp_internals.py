"""What the data plane relies on inside of aiohttp: each test says what broke when a new release moves it.

The list is `proxy.dataplane.aiohttp_internals`' docstring; nothing here tests the gateway itself.
"""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from clocks import settle

from proxy.dataplane.aiohttp_internals import FIELDS, LINE_BYTES, Connection, has_too_many_fields, new_parser

ROOT = Path(__file__).parents[2]

HEAD = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
USED_ATTRIBUTES = (
    "_parser",
    "_messages",
    "_waiter",
    "_task_handler",
    "_manager",
    "_loop",
    "_reading_paused",
    "_request_count",
    "_paused",
    "transport",
)
USED_METHODS = (
    "start",
    "finish_response",
    "_process_keepalive",
    "resume_reading",
    "connection_lost",
    "force_close",
)


class Transport(asyncio.Transport):
    """Records what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.is_reading_paused = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def writelines(self, data: Any) -> None:
        self.written += b"".join(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False


class Recorded(Connection):
    """A connection that tells which responses aiohttp finished."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop)
        self.finished: list[web.StreamResponse] = []

    def native_finished(self, response: web.StreamResponse) -> None:
        self.finished.append(response)


def connect(handler: Any) -> tuple[Recorded, Transport]:
    server = web.Server(handler, handler_cancellation=True)
    connection = Recorded(server, asyncio.get_running_loop())
    assert isinstance(connection, Recorded)
    transport = Transport()
    connection.connection_made(transport)
    return connection, transport


async def parser() -> HttpRequestParser:
    loop = asyncio.get_running_loop()
    return new_parser(BaseProtocol(loop), loop)


async def test_the_release_is_one_that_was_looked_at() -> None:
    """The request smuggling fixes came with 3.14.4 (CVE-2026-69243, -59881, -69244), of which pip-audit does not know;
    another minor release may move anything below, so it is let in only by whoever ran these tests with it."""
    assert tuple(int(part) for part in version("aiohttp").split(".")[:3]) >= (3, 14, 4)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "aiohttp>=3.14.4,<3.15" in project["dependencies"]


async def test_the_parser_is_llhttps() -> None:
    """Broken: the C parser is missing, and the pure Python one is slower and splits requests in other places."""
    assert HttpRequestParser.__module__ == "aiohttp._http_parser"


async def test_feeding_one_head_gives_one_message_and_its_payload() -> None:
    """Broken: `parse` unpacks exactly that, and reads these attributes of the message."""
    messages, upgraded, tail = (await parser()).feed_data(HEAD)
    [(message, payload)] = messages
    assert isinstance(message, RawRequestMessage)
    assert (upgraded, tail) == (False, b"")
    assert payload is EMPTY_PAYLOAD
    assert (message.method, message.path, tuple(message.version)) == ("GET", "/x", (1, 1))
    assert message.raw_headers == ((b"Host", b"a"),)
    assert message.headers.getall("host") == ["a"]
    assert (message.should_close, message.chunked, message.upgrade) == (False, False, False)


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_message_with_a_body_is_announced_by_its_head_alone(framing: bytes) -> None:
    """Broken: bodies of forwarded requests could not be led past aiohttp."""
    [(message, payload)], _, _ = (await parser()).feed_data(
        b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n"
    )
    assert message.chunked is (b"chunked" in framing)
    assert isinstance(payload, StreamReader)
    assert not payload.is_eof()


async def test_the_parser_keeps_nothing_between_two_messages() -> None:
    """Broken: a request would depend on the one before it; `_read_head` feeds each head to the same parser."""
    fed = await parser()
    for number in range(2000):
        extra = b"X: y\r\n" * (number % 3)
        [(message, _)], _, _ = fed.feed_data(b"GET /%d HTTP/1.1\r\nHost: a\r\n%b\r\n" % (number, extra))
        fed.message_consumed()
        assert message.path == f"/{number}"
        assert len(message.raw_headers) == 1 + number % 3


async def test_empty_lines_are_no_message() -> None:
    """Broken: `parse` takes no message for empty lines (RFC 9112 section 2.2)."""
    fed = await parser()
    assert not fed.feed_data(b"\r\n\r\n")[0]
    assert len(fed.feed_data(b"\r\n" + HEAD)[0]) == 1


async def test_an_upgrade_is_told_and_can_be_undone() -> None:
    """Broken: behind a refused upgrade the parser would not read HTTP any more."""
    fed = await parser()
    messages, upgraded, tail = fed.feed_data(UPGRADE)
    assert (len(messages), upgraded, tail) == (1, True, b"")
    assert messages[0][0].upgrade
    fed.set_upgraded(False)
    messages, upgraded, _ = fed.feed_data(HEAD)
    assert (len(messages), upgraded) == (1, False)


async def test_limits_are_the_parsers_own_and_its_errors_of_one_kind() -> None:
    """Broken: `limits.request_head` would not count, or `_read_head`, which catches HttpProcessingError, would not tell
    431 from 400 by the number of fields.
    """
    longest = b"X: " + b"y" * (LINE_BYTES - 3)
    messages, *_ = (await parser()).feed_data(HEAD[:-2] + longest + b"\r\n\r\n")
    assert len(messages) == 1
    for count in (FIELDS, FIELDS + 1):
        head = HEAD[:-2] + b"X: y\r\n" * (count - 1) + b"\r\n"
        assert has_too_many_fields(head) is (count > FIELDS)
        if count > FIELDS:
            with pytest.raises(HttpProcessingError):
                (await parser()).feed_data(head)
        else:
            (await parser()).feed_data(head)
    for bad in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
    ):
        with pytest.raises(HttpProcessingError):
            (await parser()).feed_data(bad)


@pytest.mark.parametrize(
    "target",
    [
        "http://[/",
        "http://",
        "//[",
        "//a:b@[",
        "/\x00",
        "a:b",
        "http://a:99999999/",
        "*",
        "?x",
        "/é",
        "http://é/",
    ],
)
async def test_no_target_makes_the_parser_raise_anything_else(target: str) -> None:
    """Broken: an exception of another kind (yarl's ValueError) would end in the event loop, without an answer."""
    try:
        (await parser()).feed_data(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())
    except HttpProcessingError:
        pass


async def test_bodies_are_not_decompressed() -> None:
    """Broken: a page of our own would get another body than its tracker counted."""
    fed = await parser()
    [(_, payload)], _, _ = fed.feed_data(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert isinstance(payload, StreamReader)
    assert await payload.read() == b"abc"


async def test_the_names_that_are_used_are_there() -> None:
    """Broken: one of them was renamed or removed."""
    connection, _ = connect(None)
    for name in USED_ATTRIBUTES:
        assert hasattr(connection, name), name
    for name in USED_METHODS:
        assert callable(getattr(RequestHandler, name)), name
    assert list(inspect.signature(RequestHandler.finish_response).parameters) == [
        "self",
        "request",
        "resp",
        "start_time",
    ]
    assert list(inspect.signature(BaseProtocol.resume_reading).parameters) == ["self", "resume_parser"]


async def test_no_task_runs_before_a_page_of_our_own_is_asked_for() -> None:
    """Broken: each connection would pay for a task, and aiohttp might write where the gateway does."""
    connection, transport = connect(None)
    await settle()
    assert connection._task_handler is None
    assert connection.is_native_idle
    assert transport.written == b""


async def test_the_server_registers_connections() -> None:
    """Broken: shutting down would forget connections."""
    connection, transport = connect(None)
    manager = connection._manager
    assert manager is not None
    assert manager.connections == [connection]
    connection.connection_lost(None)
    assert manager.connections == []
    assert not transport.closed or connection.transport is None


async def test_messages_are_served_in_order_and_the_task_then_waits() -> None:
    """Broken: pages of our own would hang, or be answered out of order."""

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(text=request.path)

    connection, transport = connect(handler)
    for number in range(3):
        parsed = connection.parse(b"GET /page-%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        assert parsed is not None
        connection.serve_native(*parsed)
        assert not connection.is_native_idle
    await settle()
    places = [transport.written.find(b"/page-%d" % number) for number in range(3)]
    assert -1 < places[0] < places[1] < places[2]
    assert len(connection.finished) == 3
    assert connection.is_native_idle
    assert connection._waiter is not None
    parsed = connection.parse(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
    assert parsed is not None
    connection.serve_native(*parsed)
    await settle()
    assert transport.written.endswith(b"/late")
    connection.connection_lost(None)
    await settle()


async def test_a_page_that_did_not_read_its_body_leaves_the_task_waiting() -> None:
    """Broken: `StreamReader.feed_eof()` no longer ends aiohttp's lingering, so a page would hold its connection for ten
    seconds and then close it."""

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response()

    connection, transport = connect(handler)
    parsed = connection.parse(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    assert parsed is not None
    connection.serve_native(*parsed)
    while not connection.finished:
        await asyncio.sleep(0)
    connection.end_native()
    await settle()
    assert connection._waiter is not None
    assert not transport.closed
    assert connection.parse(HEAD) is not None
    connection.connection_lost(None)
    await settle()


async def test_a_full_payload_pauses_the_transport_and_room_resumes_it() -> None:
    """Broken: large bodies for pages of our own would pile up, or stop for good."""
    go_on = asyncio.Event()
    sizes = []

    async def handler(request: web.BaseRequest) -> web.Response:
        await go_on.wait()
        sizes.append(len(await request.read()))
        return web.Response()

    connection, transport = connect(handler)
    size = 1_000_000
    parsed = connection.parse(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    assert parsed is not None
    connection.serve_native(*parsed)
    for _ in range(size // 100_000):
        connection.feed_native(b"x" * 100_000)
    await settle()
    assert connection._reading_paused
    assert transport.is_reading_paused
    go_on.set()
    await settle()
    assert sizes == [size]
    assert not transport.is_reading_paused
    connection.connection_lost(None)
    await settle()


async def test_a_transport_can_be_taken_away() -> None:
    """Broken: a WebSocket's connection would be closed together with the handler it was taken from."""
    connection, transport = connect(None)
    assert connection.take_transport() is transport
    assert not transport.closed
    assert connection._manager is None
    connection.connection_lost(None)


async def test_writing_may_be_paused_twice() -> None:
    """Broken: aiohttp asserts that it is not, and a transport that was handed over may say so again."""
    connection, _ = connect(None)
    connection.pause_writing()
    connection.pause_writing()
    connection.resume_writing()
    assert not connection._paused


async def test_shutting_down_closes_at_once() -> None:
    """Broken: the end of the process would wait for pages that nobody reads."""

    async def handler(request: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    connection, transport = connect(handler)
    parsed = connection.parse(HEAD)
    assert parsed is not None
    connection.serve_native(*parsed)
    await settle()
    await asyncio.wait_for(connection.shutdown(0), 30)
    assert transport.closed
    await settle()
