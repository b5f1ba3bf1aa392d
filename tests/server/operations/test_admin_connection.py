"""One connection of the admin listener: what is answered by whom, and what of a request goes on."""

from __future__ import annotations

import asyncio

import pytest

from proxy.server.operations.admin import MALFORMED
from proxy.server.operations.admin_connection import AdminConnection


class Answering(asyncio.Protocol):
    """Stands in for aiohttp's protocol."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def write_eof(self) -> None:
        self.is_ended = True


def asked(*parts: bytes) -> tuple[list[bytes], Transport]:
    """What reached whoever answers (one of them for each request), and what was answered without it."""
    made: list[Answering] = []

    def make() -> Answering:
        made.append(Answering())
        return made[-1]

    connection, transport = AdminConnection(make, None, None, on_lost=lambda _connection: None), Transport()
    connection.connection_made(transport)
    for part in parts:
        connection.data_received(part)
    return [one.received for one in made], transport


HEAD = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/metrics", b"/metrics"),
        (b"/metrics?name[]=a|b", b"/metrics"),
        (b"http://localhost/readyz", b"/readyz"),
        (b"HTTPS://localhost/readyz?x", b"/readyz"),
        (b"/", b"/"),
        (b"/<script>", b"/"),
        (b"/metrics/", b"/"),
        (b"//metrics", b"/"),
        (b"/%6detrics", b"/"),
        (b"http://localhost", b"/"),
        (b"*", b"/"),
    ],
)
def test_a_target_goes_on_as_one_of_the_paths_that_there_are_or_as_none(target: bytes, path: bytes) -> None:
    received, transport = asked(HEAD % target)
    assert received == [HEAD % path]
    assert transport.sent == b""


def test_fields_that_pages_go_by_go_on_and_no_others() -> None:
    received, _ = asked(
        b"GET /metrics HTTP/1.0\r\nCookie: a=b\r\nAccept: text/plain\r\nConnection: keep-alive\r\n"
        b"accept: */*\r\nX-Other: \xff\r\n\r\n"
    )
    assert received == [b"GET /metrics HTTP/1.0\r\nAccept: text/plain\r\nAccept: */*\r\n\r\n"]


@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 5", b"hello"), (b"Transfer-Encoding: chunked", b"5;ext=1\r\nhello\r\n0\r\n\r\n")],
)
def test_a_body_goes_on_however_it_is_cut_and_what_follows_it_does_not(framing: bytes, body: bytes) -> None:
    head = b"POST /readyz HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n"
    sent = head + body + b"GET / HTTP/1.1\r\n\r\n"
    whole, _ = asked(sent)
    assert len(whole) == 1
    assert whole[0].startswith(head)
    assert whole[0].count(b"hello") == 1
    assert b"GET" not in whole[0]
    assert asked(*(sent[at : at + 1] for at in range(len(sent))))[0] == whole


def test_a_body_that_is_framed_badly_goes_no_further() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    received, transport = asked(head, b"z\r\n", b"5\r\nhello\r\n")
    assert received == [head]
    # It is answered by whoever has the request already.
    assert transport.sent == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01",
        b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / RTSP/1.0\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: <script>\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"<script>" * 10_000,
    ],
)
def test_what_is_no_request_gets_the_same_few_words_and_nobody_else_sees_it(sent: bytes) -> None:
    received, transport = asked(sent, b"and more")
    assert received == []
    assert transport.sent == MALFORMED
    assert transport.is_ended
