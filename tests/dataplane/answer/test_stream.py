"""What goes back to a caller, whoever answers: how a body's end is told, what goes out as one, and who is too slow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.dataplane.answer.stream import CORKED_BYTES, AnswerStream
from proxy.dataplane.bounds import RESPONSE_LATE, SEND_LATE
from proxy.dataplane.plane import DataPlane
from proxy.wire.body import Body, ChunkedBody, Data, LengthBody, UntilClose
from proxy.wire.heads import ResponseFacts, read_response

SEND_SECONDS = 30.0
ID = b"X-Request-Id: r\r\n"
CLOSE = b"Connection: close\r\n"


class Caller:
    """Writes down what it is sent, one entry for each write."""

    def __init__(self) -> None:
        self.ends_connection = False
        self.waits_to_be_asked = False
        self.is_full = False
        self.unsent_bytes = 0
        self.id_line = ID
        self.sent: list[bytes] = []

    def write(self, data: Data) -> None:
        self.sent.append(bytes(data))

    def write_last(self, data: bytes) -> None:
        self.sent.append(data)


class Source:
    """Where a body comes from."""

    def __init__(self) -> None:
        self.is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True


def stream_to(
    caller: Caller, *, method: str = "GET", is_http_10: bool = False, leaving: bool = False
) -> AnswerStream:
    current = SimpleNamespace(timeouts=SimpleNamespace(send_seconds=SEND_SECONDS))
    plane = cast(DataPlane, SimpleNamespace(leaving=leaving, current=current))
    return AnswerStream(plane, caller, method=method, is_http_10=is_http_10, keep_alive=True)


def facts(status: int = 200, *lines: str) -> ResponseFacts:
    read = read_response("\r\n".join([f"HTTP/1.1 {status} x", *lines, "", ""]).encode())
    assert read is not None
    return read


@pytest.mark.parametrize(
    ("answer", "body", "told"),
    [
        (facts(), LengthBody(5), b"Content-Length: 5\r\n"),
        (facts(), None, b"Content-Length: 0\r\n"),
        (facts(204), None, b""),
        (facts(304), None, b""),
        (facts(304, "Content-Length: 7"), None, b"Content-Length: 7\r\n"),
        (facts(), ChunkedBody(), b"Transfer-Encoding: chunked\r\n"),
        (facts(), UntilClose(), b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_a_head_says_how_its_body_ends_and_the_requests_id(
    answer: ResponseFacts, body: Body | None, told: bytes
) -> None:
    assert stream_to(Caller()).framing(answer, body) == told + ID


def test_nothing_is_said_of_a_length_that_nobody_told_to_head() -> None:
    assert stream_to(Caller(), method="HEAD").framing(facts(), None) == ID


@pytest.mark.parametrize("body", [ChunkedBody(), UntilClose()])
def test_to_http_1_0_a_body_without_a_length_ends_with_the_connection(body: Body) -> None:
    out = stream_to(Caller(), is_http_10=True)
    assert out.framing(facts(), body) == ID + CLOSE
    assert not out.keep_alive
    out.on_body(b"hello")
    out.end()
    assert out.bytes_out == 5


@pytest.mark.parametrize("why", ["ends_connection", "waits_to_be_asked", "leaving"])
def test_a_head_says_so_where_no_request_is_to_follow(why: str) -> None:
    caller = Caller()
    if why != "leaving":
        setattr(caller, why, True)
    out = stream_to(caller, leaving=why == "leaving")
    assert out.framing(facts(), LengthBody(1)).endswith(ID + CLOSE)
    assert not out.keep_alive


def test_a_head_and_a_small_body_are_sent_as_one() -> None:
    caller = Caller()
    out = stream_to(caller)
    out.unsent = b"head"
    out.on_body(b"body")
    assert not caller.sent
    out.end()
    assert caller.sent == [b"headbody"]
    assert (out.bytes_out, out.has_begun) == (4, True)


def test_a_head_is_not_copied_before_a_large_body() -> None:
    caller = Caller()
    out = stream_to(caller)
    out.unsent = b"head"
    large = bytes(CORKED_BYTES + 1)
    out.on_body(large)
    out.end()
    assert caller.sent == [b"head", large]


def test_a_head_waits_no_longer_than_for_what_came_with_it() -> None:
    caller = Caller()
    out = stream_to(caller)
    out.unsent = b"head"
    out.flush()
    out.on_body(b"late")
    assert caller.sent == [b"head", b"late"]


def test_a_body_without_a_length_gets_chunks_and_their_end() -> None:
    caller = Caller()
    out = stream_to(caller)
    out.unsent = out.framing(facts(), UntilClose())
    out.on_body(b"hello")
    out.end()
    assert b"".join(caller.sent).endswith(b"\r\n5\r\nhello\r\n0\r\n\r\n")
    assert out.bytes_out == len(b"5\r\nhello\r\n")


def test_an_answer_that_broke_off_unsent_leaves_nothing_to_the_next_one() -> None:
    caller = Caller()
    out = stream_to(caller)
    out.unsent = out.framing(facts(), UntilClose())
    out.forget()
    out.unsent = out.framing(facts(), LengthBody(2))
    out.on_body(b"ok")
    out.end()
    assert caller.sent == [b"Content-Length: 2\r\n" + ID + b"ok"]


def test_nothing_more_is_read_for_a_caller_that_takes_no_more() -> None:
    caller, source = Caller(), Source()
    out = stream_to(caller)
    out.source = cast(Any, source)
    out.on_body(b"a")
    assert not source.is_paused
    caller.is_full = True
    out.on_body(b"b")
    assert source.is_paused


def test_who_stands_still_for_too_long_is_late_and_it_is_told_which_of_the_two() -> None:
    caller = Caller()
    out = stream_to(caller)
    out.on_body(b"hello")
    assert out.late(0.0, response_seconds=60.0) is None
    assert out.late(59.0, response_seconds=60.0) is None
    assert out.late(60.0, response_seconds=60.0) is RESPONSE_LATE
    caller.is_full, caller.unsent_bytes = True, 3
    assert out.late(100.0) is None
    caller.unsent_bytes = 1
    assert out.late(100.0 + SEND_SECONDS) is None, "it has taken something"
    assert out.late(100.0 + 2 * SEND_SECONDS) is SEND_LATE
