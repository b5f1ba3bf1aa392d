"""One connection to a notebook, without a socket: what it makes of the bytes, in whatever pieces they come."""

from __future__ import annotations

import asyncio

import pytest

from proxy.dataplane.buffers import ReadMemory
from proxy.dataplane.notebook.connection import INTERIM_RESPONSES, UpstreamConnection
from proxy.dataplane.notebook.exchange import BodyTaker
from proxy.dataplane.notebook.response_heads import fault_of
from proxy.errors import (
    ResponseHeadTooLarge,
    TooManyFields,
    TooManyInterims,
    UpstreamError,
    UpstreamInvalid,
    UpstreamUnreachable,
)
from proxy.upstream import Origin
from proxy.wire.body import CHUNKS_A_FEED, Body, Data
from proxy.wire.heads import RESPONSE_FIELDS, ResponseFacts, read_response
from tests.harness.waiting import settle


class FakeTransport(asyncio.Transport):
    """Records what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class Transcript:
    """An exchange that writes down what it is told. `pauses` makes it hold the connection at every body byte."""

    def __init__(self, connection: UpstreamConnection, method: str = "GET", *, pauses: bool = False) -> None:
        self.method = method
        self.taker: BodyTaker = self
        self.told: list[object] = []
        self.body = b""
        self._connection = connection
        self._pauses = pauses

    def on_interim(self, facts: ResponseFacts) -> None:
        self.told.append(facts.status)

    def on_head(self, facts: ResponseFacts, body: Body | None) -> Body | None:
        self.told.append(facts.status)
        return body

    def on_switched(self, facts: ResponseFacts, tail: bytes) -> None:
        self.told += [facts.status, tail]

    def on_body(self, data: Data) -> None:
        self.body += data
        if self._pauses:
            self._connection.pause_reading()

    def flush(self) -> None:
        """What it keeps back is its own business."""

    def on_end(self) -> None:
        self.told.append("end")

    def on_failure(self, error: UpstreamError) -> None:
        self.told.append(type(error))

    def on_upstream_full(self) -> None:
        self.told.append("full")

    def on_upstream_drained(self) -> None:
        self.told.append("drained")


def connect() -> tuple[UpstreamConnection, FakeTransport, list[UpstreamConnection]]:
    closed: list[UpstreamConnection] = []
    connection = UpstreamConnection(
        Origin("http", "notebook", 80),
        head_limit_bytes=1000,
        read_memory=ReadMemory(),
        on_closed=closed.append,
    )
    transport = FakeTransport()
    connection.connection_made(transport)
    return connection, transport, closed


def begin(
    method: str = "GET", *, pauses: bool = False
) -> tuple[UpstreamConnection, FakeTransport, Transcript]:
    connection, transport, _ = connect()
    transcript = Transcript(connection, method, pauses=pauses)
    connection.begin(transcript)
    connection.transport.write(b"head")
    return connection, transport, transcript


def read(head: bytes) -> ResponseFacts:
    facts = read_response(head)
    assert facts is not None
    return facts


# -- heads ----------------------------------------------------------------------------------------------------


def test_a_head_is_read_with_names_and_values_as_they_came() -> None:
    facts = read(b"HTTP/1.1 200 All right\r\nX-a:1\r\nx-A:  2  \r\nX-Empty:\r\nX-Latin: \xe9\r\n\r\n")
    assert (facts.status, facts.lines[0], facts.is_http_11) == (200, b"HTTP/1.1 200 All right", True)
    assert facts.fields == [(b"X-a", b"1"), (b"x-A", b"2"), (b"X-Empty", b""), (b"X-Latin", b"\xe9")]


@pytest.mark.parametrize("reason", [b"", b" ", b" OK"])
def test_a_reason_may_be_missing(reason: bytes) -> None:
    facts = read(b"HTTP/1.1 200" + reason + b"\r\n\r\n")
    assert facts.lines == [b"HTTP/1.1 200 " + reason.strip()]


def test_each_head_has_a_parser_of_its_own() -> None:
    assert read_response(b"nonsense\r\n\r\n") is None
    assert read(b"HTTP/1.0 404 No\r\n\r\n").status == 404


RESPONSE = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nX: y\r\n\r\n"
)


@pytest.mark.parametrize("cut", range(1, len(RESPONSE)))
async def test_a_response_may_be_cut_anywhere(cut: int) -> None:
    connection, _, transcript = begin()
    connection.data_received(RESPONSE[:cut])
    connection.data_received(RESPONSE[cut:])
    assert transcript.told == [100, 103, 200, "end"]
    assert transcript.body == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert connection.is_reusable


async def test_a_response_may_come_byte_by_byte() -> None:
    connection, _, transcript = begin()
    for byte in RESPONSE:
        connection.data_received(bytes([byte]))
    assert transcript.told == [100, 103, 200, "end"]


@pytest.mark.parametrize("size", [1000, 1001])
async def test_heads_are_bounded(size: int) -> None:
    connection, transport, transcript = begin()
    frame = b"HTTP/1.1 204 OK\r\nX: %b\r\n\r\n"
    connection.data_received(frame % (b"y" * (size - len(frame) + 2)))
    assert transcript.told == ([204, "end"] if size == 1000 else [ResponseHeadTooLarge])
    assert transport.closed is (size > 1000)


async def test_a_head_that_does_not_end_is_given_up_at_the_limit() -> None:
    connection, transport, transcript = begin()
    for _ in range(1001):
        connection.data_received(b"H")
    assert transcript.told == [ResponseHeadTooLarge]
    assert transport.closed


async def test_interim_responses_are_counted_for_each_exchange() -> None:
    connection, _, transcript = begin()
    for _ in range(3):
        connection.data_received(b"HTTP/1.1 103 Hm\r\n\r\n" * INTERIM_RESPONSES + b"HTTP/1.1 204 OK\r\n\r\n")
        assert transcript.told[-1] == "end"
        connection.begin(transcript)
        connection.transport.write(b"head")
    connection.data_received(b"HTTP/1.1 103 Hm\r\n\r\n" * (INTERIM_RESPONSES + 1))
    assert transcript.told[-1] is TooManyInterims


async def test_all_heads_of_an_exchange_have_one_limit_together() -> None:
    connection, transport, transcript = begin()
    hint = b"HTTP/1.1 103 Hm\r\nX: %b\r\n\r\n"
    final = b"HTTP/1.1 204 OK\r\n\r\n"
    rest = 1000 - len(final) - len(hint) + 2
    connection.data_received(hint % (b"y" * rest) + final)
    assert transcript.told == [103, 204, "end"]
    connection.begin(transcript)
    connection.data_received(hint % (b"y" * (rest + 1)) + final[:-1])
    connection.data_received(final[-1:])
    assert transcript.told == [103, 204, "end", 103, ResponseHeadTooLarge]
    assert transport.closed


def test_a_head_of_too_many_fields_says_so() -> None:
    head = b"HTTP/1.1 200 OK\r\n%b\r\n"
    assert len(read(head % (b"A: 1\r\n" * RESPONSE_FIELDS)).lines) == RESPONSE_FIELDS + 1
    for fields, fault in (
        (b"A: 1\r\n" * (RESPONSE_FIELDS + 1), TooManyFields),
        (b"A 1\r\n", UpstreamInvalid),
    ):
        assert read_response(head % fields) is None
        assert type(fault_of(head % fields)) is fault


# -- ends -----------------------------------------------------------------------------------------------------


async def test_a_length_ends_a_body() -> None:
    connection, _, transcript = begin()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
    assert transcript.told == [200]
    connection.data_received(b"c")
    assert transcript.told == [200, "end"]
    assert transcript.body == b"abc"
    assert connection.is_reusable


async def test_the_notebooks_end_ends_a_body_without_framing() -> None:
    connection, _, transcript = begin()
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nab")
    connection.eof_received()
    assert transcript.told == [200, "end"]
    assert not connection.is_reusable
    connection.connection_lost(None)
    assert transcript.told == [200, "end"]


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 2",
        b"HTTP/1.1 103 Hm\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nab",
    ],
)
async def test_a_connection_that_is_lost_ends_no_body(start: bytes, error: Exception | None) -> None:
    connection, transport, transcript = begin()
    connection.data_received(start)
    connection.connection_lost(error)
    assert transcript.told[-1] is UpstreamUnreachable
    assert not connection.is_open
    assert transport.closed


async def test_an_end_is_told_once() -> None:
    connection, _, transcript = begin()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
    connection.eof_received()
    connection.connection_lost(None)
    assert transcript.told == [200, UpstreamUnreachable]


async def test_the_pool_is_told_that_a_connection_is_gone_in_use_or_not() -> None:
    connection, _, closed = connect()
    connection.connection_lost(None)
    assert closed == [connection]
    connection, _, closed = connect()
    connection.begin(Transcript(connection))
    connection.transport.write(b"head")
    connection.connection_lost(None)
    assert closed == [connection]


async def test_an_aborted_exchange_hears_nothing_more() -> None:
    connection, transport, transcript = begin()
    connection.abort()
    connection.connection_lost(None)
    connection.pause_writing()
    connection.resume_writing()
    assert transport.closed
    assert transcript.told == []


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    connection, transport, transcript = begin()
    connection.data_received(b"HTTP/1.1 204 OK\r\n\r\n")
    assert connection.is_reusable
    connection.data_received(b"H")
    assert transport.closed
    assert not connection.is_open
    assert transcript.told == [204, "end"]


async def test_bytes_before_the_first_request_end_the_connection() -> None:
    connection, transport, _ = connect()
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    assert transport.closed


# -- flow -----------------------------------------------------------------------------------------------------


async def test_what_follows_101_is_handed_over_and_nothing_more_is_read() -> None:
    connection, transport, transcript = begin()
    connection.data_received(
        b"HTTP/1.1 101 Go on\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
    )
    assert transcript.told == [101, b"\x81\x00"]
    assert not transport.reading


async def test_the_exchange_pauses_and_resumes_reading() -> None:
    connection, transport, _ = begin(pauses=True)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    assert not transport.reading
    connection.resume_reading()
    assert transport.reading
    transport.closed = True
    connection.pause_reading()
    connection.resume_reading()


MANY = 3 * CHUNKS_A_FEED
CHUNKS = b"1\r\nx\r\n" * MANY + b"0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_tiny_chunks_take_turns_of_the_loop_and_nothing_is_read_meanwhile() -> None:
    connection, transport, transcript = begin()
    connection.data_received(CHUNKED + CHUNKS)
    assert len(transcript.body) == 6 * CHUNKS_A_FEED
    assert not transport.reading
    await settle()
    assert transcript.body == CHUNKS
    assert transcript.told == [200, "end"]
    assert transport.reading


async def test_a_caller_that_drains_within_a_turn_does_not_let_later_bytes_overtake() -> None:
    connection, transport, transcript = begin(pauses=True)
    connection.data_received(CHUNKED + CHUNKS[:-5])
    connection.resume_reading()
    assert not transport.reading
    await settle()
    assert transcript.body == CHUNKS[:-5]
    assert not transport.reading
    connection.resume_reading()
    assert transport.reading
    connection.data_received(CHUNKS[-5:])
    assert transcript.told == [200, "end"]


async def test_an_end_that_is_told_between_two_turns_waits_for_them() -> None:
    connection, _, transcript = begin()
    connection.data_received(CHUNKED + CHUNKS)
    connection.eof_received()
    assert transcript.body == CHUNKS
    assert transcript.told == [200, "end"]
    await settle()
    assert transcript.body == CHUNKS


async def test_turns_end_with_the_exchange() -> None:
    connection, _, transcript = begin()
    connection.data_received(CHUNKED + CHUNKS)
    connection.abort()
    seen = transcript.body
    await settle()
    assert transcript.body == seen


async def test_a_full_notebook_is_told_to_the_exchange() -> None:
    connection, _, transcript = begin()
    connection.pause_writing()
    connection.resume_writing()
    assert transcript.told == ["full", "drained"]


async def test_a_connection_that_is_still_full_is_not_reused() -> None:
    connection, _, _ = begin()
    connection.pause_writing()
    connection.data_received(b"HTTP/1.1 204 OK\r\n\r\n")
    assert not connection.is_reusable
    connection.resume_writing()
    assert connection.is_reusable
