"""One caller's bytes taken apart: without a socket."""

from __future__ import annotations

import random

import pytest
from multidict import CIMultiDict

from proxy.dataplane.caller.reader import (
    REPEATED_HEAD_BYTES,
    REPEATED_HEADS,
    Reader,
    ReadingLimits,
    RequestHead,
)
from proxy.wire.body import FramingError
from proxy.wire.request_heads import FaultKind, HeadBounds, HeadFault

BOUNDS = HeadBounds(head_bytes=64 * 1024, fields=128)
FIELDS = b"Host: a\r\nAccept: */*\r\nCookie: _xsrf=a\r\n\r\n"


def a_reader(*, fields: int = 1000) -> Reader:
    return Reader(ReadingLimits(BOUNDS, fields=fields))


def a_proxys_reader() -> Reader:
    return Reader(ReadingLimits(BOUNDS, fields=1000), is_proxys=True)


def read(reader: Reader, data: bytes) -> RequestHead:
    reader.hold(data)
    head = reader.next_head()
    assert head is not None
    return reader.read(head)


def test_a_head_is_there_once_it_is_whole() -> None:
    head = b"GET /a HTTP/1.1\r\n" + FIELDS
    for cut in range(1, len(head)):
        reader = a_reader()
        reader.hold(head[:cut])
        assert reader.next_head() is None
        assert reader.has_begun
        reader.hold(head[cut:] + b"GET")
        assert reader.next_head() == head
        assert (reader.held_bytes, reader.has_begun, reader.take()) == (3, False, b"GET")


@pytest.mark.parametrize("lines", [b"\r\n", b"\n", b"\r\n\r\n\n\r"])
def test_empty_lines_before_a_request_are_none(lines: bytes) -> None:
    reader = a_reader()
    reader.hold(lines)
    assert reader.next_head() is None
    assert (reader.held_bytes, reader.has_begun) == (0, False)
    assert not reader.whole_head(lines + b"GET / HTTP/1.1\r\n" + FIELDS)
    assert read(reader, lines + b"GET / HTTP/1.1\r\n" + FIELDS).target == "/"


@pytest.mark.parametrize(
    ("first", "said"), [(b"\x16\x03\x01", "TLS"), (b"\0", "not HTTP"), (b"get / HTTP/1.1", "not HTTP")]
)
def test_what_can_be_no_request_is_not_waited_for(first: bytes, said: str) -> None:
    reader = a_reader()
    reader.hold(first)
    with pytest.raises(HeadFault, match=said) as fault:
        reader.next_head()
    assert fault.value.fault is FaultKind.NO_HTTP


def test_a_head_that_is_too_large_is_refused_before_it_ends() -> None:
    reader = a_reader()
    reader.hold(b"GET / HTTP/1.1\r\nX: ".ljust(BOUNDS.head_bytes, b"x"))
    assert reader.next_head() is None
    reader.hold(b"x")
    with pytest.raises(HeadFault) as fault:
        reader.next_head()
    assert fault.value.fault is FaultKind.TOO_LARGE


def test_what_comes_as_one_head_alone_needs_no_keeping() -> None:
    reader = a_reader()
    head = b"GET / HTTP/1.1\r\n" + FIELDS
    assert reader.whole_head(head)
    assert not reader.whole_head(head + head)
    assert not reader.whole_head(head[:-1])
    reader.hold(b"G")
    assert not reader.whole_head(head)


def test_what_was_held_comes_back_in_its_order() -> None:
    reader = a_reader()
    reader.hold(b"ab")
    reader.hold(b"c")
    assert (reader.take(), reader.held_bytes) == (b"abc", 0)


@pytest.mark.parametrize(
    ("fields", "has_body", "framing"),
    [
        (b"", False, b""),
        (b"Content-Length: 0\r\n", False, b"Content-Length: 0\r\n"),
        (b"Content-Length: 012\r\n", True, b"Content-Length: 12\r\n"),
        (b"Transfer-Encoding: Chunked\r\n", True, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_a_bodys_framing_is_said_anew(fields: bytes, has_body: bool, framing: bytes) -> None:
    head = read(a_reader(), b"POST / HTTP/1.1\r\n" + fields + FIELDS)
    assert (head.has_body, head.framing) == (has_body, framing)


def test_a_head_tells_who_asks_for_what() -> None:
    head = read(
        a_reader(),
        b"GET /ws HTTP/1.1\r\nX-A: \xc3\xa4\xff\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + FIELDS,
    )
    assert (head.method, head.target, head.fields.host) == ("GET", "/ws", "a")
    assert head.fields.sent["x-a"] == "ä\udcff"
    assert head.fields.sent.pairs[0] == (b"X-A", b"\xc3\xa4\xff")
    assert (head.is_websocket, head.is_kept, head.is_http_10, head.expects_continue) == (
        True,
        False,
        False,
        False,
    )


def test_what_follows_a_body_waits() -> None:
    reader = a_reader()
    read(reader, b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n" + FIELDS)
    assert (reader.has_body, reader.part_of_body(b"ab"), reader.held_bytes) == (True, b"ab", 0)
    assert (reader.part_of_body(b"cGET"), reader.has_body, reader.held_bytes) == (b"c", False, 3)


def test_nothing_is_left_of_what_is_not_read_on() -> None:
    reader = a_reader()
    read(reader, b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n" + FIELDS)
    reader.hold(b"a")
    reader.stop()
    assert (reader.has_body, reader.held_bytes) == (False, 0)


# -- what repeats itself ------------------------------------------------------------------------------------


def test_fields_that_came_before_to_the_letter_are_the_same_object() -> None:
    """From the second time on: what comes once is not remembered."""
    reader = a_reader()
    once, first = (read(reader, b"GET /a HTTP/1.1\r\n" + FIELDS) for _ in range(2))
    assert not once.is_repeated
    assert not first.is_repeated
    for line in (
        b"GET /b?c=%2F HTTP/1.1",
        b"HEAD /c HTTP/1.1",
        b"DELETE /d HTTP/1.1",
        b"OPTIONS /e HTTP/1.1",
    ):
        again = read(reader, line + b"\r\n" + FIELDS)
        assert again.fields is first.fields
        assert f"{again.method} {again.target} HTTP/1.1".encode() == line
    other = read(reader, b"GET /a HTTP/1.1\r\n" + FIELDS.replace(b"=a", b"=b"))
    assert other.fields is not first.fields
    assert other.fields.sent["Cookie"] == "_xsrf=b"


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"GET /x#y HTTP/1.1",
            b"GET /x HTTP/2.0",
            b"GET /\xc3\xa4 HTTP/1.1",
            b"get /x HTTP/1.1",
            b"GET  /x HTTP/1.1",
        ),
        b"GET /" + b"a" * BOUNDS.head_bytes + b" HTTP/1.1",
    ],
)
def test_fields_that_came_before_excuse_no_request_line(line: bytes) -> None:
    reader = a_reader()
    for _ in range(2):
        read(reader, b"GET /a HTTP/1.1\r\n" + FIELDS)
    with pytest.raises(HeadFault):
        reader.read(line + b"\r\n" + FIELDS)


@pytest.mark.parametrize("line", [b"POST /x HTTP/1.1", b"GET http://a/ HTTP/1.1", b"GET / HTTP/1.0"])
def test_other_request_lines_are_read_anew(line: bytes) -> None:
    reader = a_reader()
    _, known = (read(reader, b"GET /a HTTP/1.1\r\n" + FIELDS) for _ in range(2))
    assert read(reader, line + b"\r\n" + FIELDS).fields is not known.fields
    assert read(reader, b"GET /a HTTP/1.1\r\n" + FIELDS).fields is known.fields


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"Content-Length: 3\r\n", id="a length"),
        pytest.param(b"Content-Length: 0\r\n", id="no length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", id="chunked"),
        pytest.param(b"Connection: close\r\n", id="the last one"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: h2c\r\n", id="an upgrade"),
        pytest.param(b"Expect: 100-continue\r\n", id="an expectation"),
        pytest.param(b"Service-Worker: script\r\n", id="a worker"),
        pytest.param(b"X: " + b"y" * REPEATED_HEAD_BYTES + b"\r\n", id="large"),
    ],
)
def test_fields_that_say_more_are_read_each_time(fields: bytes) -> None:
    reader = a_reader()
    line = b"GET / HTTP/1.1\r\n"
    seen = [read(reader, line + fields + FIELDS).fields for _ in range(4)]
    assert len({id(one) for one in seen}) == 4


def test_few_heads_are_remembered() -> None:
    limits = ReadingLimits(BOUNDS, fields=1000)
    reader = Reader(limits)
    heads = [b"GET / HTTP/1.1\r\nX: %d\r\n" % number + FIELDS for number in range(10 * REPEATED_HEADS)]
    for head in heads:
        for _ in range(2):
            last = read(reader, head).fields
        assert read(reader, head).fields is last
        assert 1000 - limits.fields <= 4 * REPEATED_HEADS
    assert 1000 - limits.fields == 4 * REPEATED_HEADS
    reader.forget()
    assert limits.fields == 1000


def test_what_all_connections_remember_together_is_bounded() -> None:
    """One caller may have thousands of them."""
    limits = ReadingLimits(BOUNDS, fields=7)
    first, second = Reader(limits), Reader(limits)
    line = b"GET / HTTP/1.1\r\n"
    for reader in (first, first, second, second):
        read(reader, line + b"X: 1\r\n" + FIELDS)
    assert limits.fields == 3
    assert read(first, line + b"X: 1\r\n" + FIELDS).fields is read(first, line + b"X: 1\r\n" + FIELDS).fields
    assert (
        read(second, line + b"X: 1\r\n" + FIELDS).fields
        is not read(second, line + b"X: 1\r\n" + FIELDS).fields
    )
    first.forget()
    assert (
        read(second, line + b"X: 1\r\n" + FIELDS).fields is read(second, line + b"X: 1\r\n" + FIELDS).fields
    )


# -- however it is cut --------------------------------------------------------------------------------------

REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nPUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: z\r\n\r\n",
    b"HEAD /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /e HTTP/1.0\r\n\r\n",
    b"GET  /f HTTP/1.1\r\n\r\n",
    b"POST /g HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03",
]


def transcript(pieces: list[bytes]) -> list[tuple[object, ...]]:
    """What a connection reads of these pieces: what heads say, bodies and their ends, and the fault that ends it."""
    reader = a_reader()
    told: list[tuple[object, ...]] = []
    body = b""
    for piece in pieces:
        reader.hold(piece)
        try:
            while reader.held_bytes:
                if reader.has_body:
                    body += reader.part_of_body(reader.take())
                    if not reader.has_body:
                        told.append(("body", body))
                        body = b""
                    continue
                head = reader.next_head()
                if head is None:
                    break
                read = reader.read(head)
                says = (read.is_kept, read.is_http_10, read.is_websocket, read.expects_continue)
                told.append(
                    ("head", read.method, read.target, read.framing, says, tuple(read.fields.sent.pairs))
                )
        except (HeadFault, FramingError) as fault:
            # What was read of the body together with the fault is lost on purpose.
            return [*told, (type(fault).__name__, str(fault))]
    return [*told, ("cut", body, reader.has_body, reader.has_begun, reader.held_bytes)]


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_transcripts_read_the_same_however_they_are_cut(count: int) -> None:
    chance = random.Random(20261127)
    for _ in range(count):
        data = b"".join(chance.choices(REQUESTS, weights=[8, 8, 8, 2, 2, 1, 1, 1], k=chance.randrange(1, 6)))
        if chance.random() < 0.3:
            at = chance.randrange(len(data))
            data = data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
        cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(1, 8)))
        pieces = [data[at:to] for at, to in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        whole = transcript([data])
        assert transcript(pieces) == whole, pieces
        assert transcript([data[at : at + 1] for at in range(len(data))]) == whole, data


def test_fields_that_are_read_again_are_remembered_once() -> None:
    """Of a method that is read each time, they come as often as the caller likes."""
    limits = ReadingLimits(BOUNDS, fields=1000)
    reader = Reader(limits)
    heads = [read(reader, b"POST / HTTP/1.1\r\n" + FIELDS) for _ in range(1000)]
    assert limits.fields == 1000 - 3
    assert read(reader, b"GET / HTTP/1.1\r\n" + FIELDS).fields is heads[1].fields
    reader.forget()
    assert limits.fields == 1000


# -- what proxies number requests with

NUMBERED = b"Host: a\r\nX-Request-Id: %b\r\nAccept: */*\r\ntraceparent: %b\r\n\r\n"


def numbered(first: bytes, second: bytes = b"2", *, request: bytes = b"GET / HTTP/1.1\r\n") -> bytes:
    return request + NUMBERED % (first, second)


def test_what_differs_by_its_number_alone_is_repeated() -> None:
    reader = a_proxys_reader()
    first, second = read(reader, numbered(b"1")), read(reader, numbered(b"3"))
    assert (first.is_repeated, second.is_repeated) == (False, True)
    assert second.fields is first.fields
    assert dict(first.fields.sent) == {"Host": "a", "Accept": "*/*"}
    assert first.fields.sent.pairs == [(b"Host", b"a"), (b"Accept", b"*/*")]
    assert dict(first.headers) == {"Host": "a", "Accept": "*/*", "X-Request-Id": "1", "traceparent": "2"}
    assert dict(second.headers) == {"Host": "a", "Accept": "*/*", "X-Request-Id": "3", "traceparent": "2"}
    assert [field[2:4] for field in second.numbers] == [
        (b"X-Request-Id", b"3"),
        (b"traceparent", b"2"),
    ]
    # And without any number, too.
    assert read(reader, b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n").numbers == ()


@pytest.mark.parametrize(
    "request_line",
    [b"POST / HTTP/1.1\r\n", b"GET http://a/ HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n"],
)
def test_what_is_read_each_time_has_all_its_fields(request_line: bytes) -> None:
    reader = a_proxys_reader()
    for number in (b"1", b"3"):
        head = read(reader, numbered(number, request=request_line))
        assert not head.is_repeated
        assert head.headers.getall("X-Request-Id") == [number.decode()]
        assert head.headers.getall("traceparent") == ["2"]


def test_a_number_that_is_malformed_is_refused_as_any_line() -> None:
    reader = a_proxys_reader()
    read(reader, numbered(b"1"))
    for bad in (b"\0", b"a\rb", b"a\nb"):
        with pytest.raises(HeadFault) as caught:
            read(reader, numbered(bad))
        assert caught.value.request == (b"GET", b"/")


def test_numbers_count_among_the_fields_of_a_head() -> None:
    reader = Reader(ReadingLimits(HeadBounds(head_bytes=64 * 1024, fields=4)), is_proxys=True)
    read(reader, numbered(b"1"))
    with pytest.raises(HeadFault) as caught:
        read(reader, b"GET / HTTP/1.1\r\nCF-Ray: 1\r\n" + NUMBERED % (b"1", b"2"))
    assert caught.value.fault is FaultKind.TOO_MANY_FIELDS


def test_fields_are_read_as_any_multidict_is() -> None:
    fields = read(a_reader(), b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\n\r\n").headers
    assert (fields["x-A"], fields.getone("X-a"), fields.get("x-a"), "X-A" in fields) == ("1", "1", "1", True)
    assert (fields.getall("X-a"), fields.getall("X-B", None), fields.getone("X-B", "c")) == (
        ["1", "2"],
        None,
        "c",
    )
    same = CIMultiDict([("Host", "a"), ("X-A", "1"), ("x-a", "2")])
    assert (list(fields), len(fields)) == (list(same), len(same))
    assert list(fields.items()) == [("Host", "a"), ("X-A", "1"), ("x-a", "2")]
    assert list(fields.values()) == ["a", "1", "2"]
    for lookup in (fields.__getitem__, fields.getone, fields.getall):
        with pytest.raises(KeyError):
            lookup("X-B")


def outcome(reader: Reader, head: bytes) -> tuple[bool, bool, object]:
    """Whether a head repeats another one's fields, whether it is refused, and what is read of it, or why it is not."""
    try:
        read = reader.read(head)
    except HeadFault as fault:
        return False, True, (str(fault), fault.fault, fault.request)
    fields = sorted((name.lower(), value) for name, value in read.headers.items())
    return read.is_repeated, False, (read.method, read.target, fields)


def a_head(lines: list[bytes]) -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def test_what_is_known_of_other_heads_changes_nothing_of_what_is_read() -> None:
    """Whatever is written where the numbers stand, and wherever they are put: as if it were the first head."""
    chance = random.Random(20261128)
    numbers = [b"X-Request-Id: 1", b"traceparent: 2", b"CF-RAY: 3", b"X-Request-Id"]
    pieces = [b"\r", b"\n", b"\r\n", b"\0", b":", b" ", b"X-Request-Id:", b"\r\nCF-Ray: 9", b"a"]
    repeated = refused = 0
    for _ in range(3_000):
        known = a_proxys_reader()
        lines = [b"Host: a", b"Accept: */*", b"X: y"]
        known.read(a_head(lines))
        for number in chance.choices(numbers, weights=[8, 8, 8, 1], k=chance.randrange(4)):
            lines.insert(chance.randrange(len(lines) + 1), number)
        head = bytearray(a_head(lines))
        if chance.random() < 0.6:
            at = chance.randrange(16, len(head) - 4)
            head[at : at + chance.randrange(2)] = chance.choice(pieces)
        is_repeated, is_refused, found = outcome(known, bytes(head))
        assert found == outcome(a_reader(), bytes(head))[-1], bytes(head)
        repeated += is_repeated
        refused += is_refused
    assert repeated > 900
    assert refused > 200
