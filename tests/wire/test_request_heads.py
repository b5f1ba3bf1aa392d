"""Request heads, read strictly: what is refused, what is read, and what two well-known readers say of the same bytes.

llhttp (through httptools) is what Node.js and aiohttp read with; h11 is what httpx and uvicorn do. Nothing may be
accepted here that both of them refuse; where this reader differs from one of them, there is a reason in a table.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Iterator

import h11
import httptools
import pytest
from multidict import CIMultiDict

from proxy.wire import request_heads
from proxy.wire.request_heads import (
    METHODS,
    SINGLETONS,
    FaultKind,
    FieldTexts,
    HeadBounds,
    HeadFault,
    ReceivedHead,
    own_lines,
    read_numbers,
    read_request,
    request_field,
    too_large,
    without_numbers,
)
from tests.harness.held import most_held_by, texts_held_by
from tests.harness.other_readers import with_faults

BOUNDS = HeadBounds(head_bytes=64 * 1024, fields=128)


def read(text: str | bytes, bounds: HeadBounds = BOUNDS) -> ReceivedHead:
    """A head whose lines are written with `\n`."""
    if isinstance(text, str):
        text = text.replace("\n", "\r\n").encode("latin-1")
    return read_request(text, bounds)


def with_fields(*lines: str, method: str = "GET", version: str = "1.1") -> str:
    return "\n".join((f"{method} / HTTP/{version}", "Host: a", *lines, "", ""))


def test_a_head_is_read() -> None:
    head = read("POST /a%2Fb?x=1 HTTP/1.1\nHost: a\nX-Two:  \t b c\t \nx-two:\nContent-Length: 12\n\n")
    assert (head.method, head.target, head.host) == (b"POST", b"/a%2Fb?x=1", "a")
    assert head.fields == [
        (b"Host", b"a"),
        (b"X-Two", b"b c"),
        (b"x-two", b""),
        (b"Content-Length", b"12"),
    ]
    assert (head.content_length, head.is_chunked, head.has_body) == (12, False, True)
    assert (head.is_kept, head.is_http_10, head.is_websocket, head.expects_continue) == (
        True,
        False,
        False,
        False,
    )


def test_a_head_without_fields_is_one_of_http_10() -> None:
    head = read("GET / HTTP/1.0\n\n")
    assert (head.host, head.fields, head.is_kept, head.is_http_10, head.has_body) == (
        "",
        [],
        False,
        True,
        False,
    )


@pytest.mark.parametrize("method", sorted(METHODS))
def test_each_known_method_is_read(method: bytes) -> None:
    assert read(with_fields(method=method.decode())).method == method


@pytest.mark.parametrize("target", ["*", "/", "//a", '/"|^`{}<>\\', "http://a", "HTTPS://a/b?c", "/%23%00"])
def test_targets_are_read_as_they_come(target: str) -> None:
    assert read(f"OPTIONS {target} HTTP/1.1\nHost: a\n\n").target == target.encode()


@pytest.mark.parametrize(
    "line",
    [
        *("", " ", "GET", "GET /", "GET / ", "GET  / HTTP/1.1", "GET /  HTTP/1.1", " GET / HTTP/1.1"),
        *("GET / HTTP/1.1 ", "GET\t/ HTTP/1.1", "GET /\tHTTP/1.1", "get / HTTP/1.1", "GET / http/1.1"),
        *("GET / HTTP/1.2", "GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/1.10", "GET / HTTP/01.1"),
        *("GET / RTSP/1.0", "GET / ICE/1.0", "PRI * HTTP/2.0", "FETCH / HTTP/1.1", "GETS / HTTP/1.1"),
        *(
            "GET a HTTP/1.1",
            "CONNECT a:443 HTTP/1.1",
            "GET ** HTTP/1.1",
            "GET *a HTTP/1.1",
            "GET ftp://a HTTP/1.1",
        ),
        *(
            "GET /# HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET /\x7f HTTP/1.1",
            "GET /\xe4 HTTP/1.1",
            "GET /\x00 HTTP/1.1",
        ),
        *("GET /\r HTTP/1.1", "GET / HTTP/1.1\r", "\x16\x03\x01"),
    ],
)
def test_request_lines_that_are_none(line: str) -> None:
    with pytest.raises(HeadFault) as fault:
        read(line.encode("latin-1") + b"\r\nHost: a\r\n\r\n")
    assert fault.value.fault is FaultKind.MALFORMED


@pytest.mark.parametrize(
    "line",
    [
        *(
            "a",
            ":",
            ": a",
            "a : b",
            "a\t: b",
            " a: b",
            "\ta: b",
            "a b: c",
            "a\x00: b",
            "ä: b",
            "(a): b",
            'a": b',
        ),
        *(
            "a: b\x00",
            "a: \x01",
            "a: \x7f",
            "a: b\rc: d",
            "a: b\r",
            "\ra: b",
            "a: b\nc: d",
            "a: b\n c",
            "a: \x0b",
        ),
    ],
)
def test_field_lines_that_are_none(line: str) -> None:
    with pytest.raises(HeadFault):
        read(b"GET / HTTP/1.1\r\nHost: a\r\n" + line.encode("latin-1") + b"\r\n\r\n")


@pytest.mark.parametrize("name", sorted(SINGLETONS))
def test_a_field_that_is_one_value_stands_there_once(name: bytes) -> None:
    value = {b"content-length": "1", b"transfer-encoding": "chunked", b"expect": "100-continue"}.get(
        name, "a"
    )
    line = f"{name.decode()}: {value}"
    lines = [line.upper(), line] if name != b"host" else [line]
    with pytest.raises(HeadFault, match=r"twice|beside|not chunked|100-continue"):
        read(with_fields(*lines))
    assert read(with_fields(*lines[1:]))


def test_others_may_be_repeated() -> None:
    assert len(read(with_fields("Cookie: a=1", "Cookie: b=2", "Accept: a", "Accept: b")).fields) == 5


@pytest.mark.parametrize(
    "length", ["", "a", "+1", "-1", "1 ,1", "1,1", "0x1", "1_0", "1" * 19, "\xb2", "1.0", "1 1"]
)
def test_lengths_that_are_none(length: str) -> None:
    with pytest.raises(HeadFault, match="number"):
        read(with_fields(f"Content-Length: {length}"))


@pytest.mark.parametrize(("length", "has_body"), [("0", False), ("00", False), ("1", True), ("9" * 18, True)])
def test_lengths(length: str, has_body: bool) -> None:
    head = read(with_fields(f"Content-Length: {length}"))
    assert (head.content_length, head.has_body) == (int(length), has_body)


@pytest.mark.parametrize(
    "coding", ["", "gzip", "gzip, chunked", "chunked, chunked", "xchunked", "identity", "chunked,"]
)
def test_codings_that_are_refused(coding: str) -> None:
    with pytest.raises(HeadFault, match="chunked"):
        read(with_fields(f"Transfer-Encoding: {coding}"))


def test_the_chunked_coding_is_one_of_http_11_alone_and_beside_no_length() -> None:
    assert read(with_fields("Transfer-Encoding: CHUNKED")).is_chunked
    with pytest.raises(HeadFault):
        read(with_fields("Transfer-Encoding: chunked", version="1.0"))
    with pytest.raises(HeadFault):
        read(with_fields("Transfer-Encoding: chunked", "Content-Length: 0"))


def test_lines_that_number_a_request_are_told_apart() -> None:
    """Whatever stands around them is what it was, ended as it was."""
    numbers = [b"X-Request-Id: 1", b"x-AMZN-trace-id:Root=1", b"traceparent: \xe9"]
    others = [b"Host: a", b"X-Request-Idea: b", b"X: X-Request-Id: 1"]
    for lines in itertools.permutations([*numbers, *others]):
        rest, found = without_numbers(b"".join(line + b"\r\n" for line in lines) + b"\r\n")
        assert found == [line for line in lines if line in numbers]
        assert rest == b"".join(line + b"\r\n" for line in lines if line in others) + b"\r\n"
    for whole in (b"\r\n", b"A: b\r\n\r\n", b"A: b\nX-Request-Id: 1\n\r\n", b"A: b\rX-Request-Id: 1\r\n\r\n"):
        assert without_numbers(whole) == (whole, [])
    fields = read_numbers(numbers)
    assert fields is not None
    assert [field[2:4] for field in fields] == [
        (b"X-Request-Id", b"1"),
        (b"x-AMZN-trace-id", b"Root=1"),
        (b"traceparent", b"\xe9"),
    ]
    assert read_numbers([b"X-Request-Id: 1", b"X-Request-Id: \0"]) is None


def test_numbers_are_set_apart_from_the_fields() -> None:
    read = read_request(b"GET / HTTP/1.1\r\nHost: a\r\nCF-Ray: 1\r\nAccept: b\r\n\r\n", BOUNDS)
    read.set_numbers_apart()
    assert read.fields == [(b"Host", b"a"), (b"Accept", b"b")]
    assert read.texts == [("Host", "a"), ("Accept", "b")]
    assert read.numbers == (request_field(b"CF-Ray", b"1"),)
    read.set_numbers_apart()
    read = read_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", BOUNDS)
    read.set_numbers_apart()
    assert read.numbers == ()


def test_a_host_is_named_in_http_11() -> None:
    with pytest.raises(HeadFault, match="Host"):
        read("GET / HTTP/1.1\nA: b\n\n")
    assert read("GET / HTTP/1.1\nHost:\n\n").host == ""


@pytest.mark.parametrize(
    ("lines", "is_kept"),
    [
        ([], True),
        (["Connection: keep-alive"], True),
        (["Connection: close"], False),
        (["Connection: Keep-Alive,\tCLOSE "], False),
        (["Connection: upgrade", "Connection: close"], False),
        (["Connection: closed"], True),
        (["Connection:"], True),
        (["Upgrade: websocket"], True),
        (["Connection: upgrade", "Upgrade: websocket"], False),
        (["Connection: upgrade", "Upgrade: h2c"], True),
        (["Connection: upgrade", "Upgrade: websocket", "Upgrade: websocket"], True),
    ],
)
def test_a_connection_is_kept_or_not(lines: list[str], is_kept: bool) -> None:
    assert read(with_fields(*lines)).is_kept is is_kept
    assert not read(with_fields(*lines, version="1.0")).is_kept


@pytest.mark.parametrize(
    ("upgrade", "connection", "version", "is_websocket"),
    [
        ("websocket", "Upgrade", "1.1", True),
        ("WebSocket", "keep-alive, upgrade", "1.1", True),
        ("websocket", "Upgrade", "1.0", False),
        ("websocket", "keep-alive", "1.1", False),
        ("websocket, h2c", "upgrade", "1.1", False),
        ("h2c", "upgrade", "1.1", False),
    ],
)
def test_what_asks_for_a_websocket(upgrade: str, connection: str, version: str, is_websocket: bool) -> None:
    lines = (f"Upgrade: {upgrade}", f"Connection: {connection}")
    assert read(with_fields(*lines, version=version)).is_websocket is is_websocket


@pytest.mark.parametrize("line", ["Content-Length: 1", "Transfer-Encoding: chunked"])
def test_a_handshake_has_no_body(line: str) -> None:
    with pytest.raises(HeadFault, match="WebSocket"):
        read(with_fields("Upgrade: websocket", "Connection: upgrade", line))
    assert read(with_fields("Upgrade: websocket", "Connection: upgrade", "Content-Length: 0")).is_websocket


def test_a_handshake_of_before_the_standard_is_none() -> None:
    """Eight bytes follow it that nothing announces."""
    with pytest.raises(HeadFault, match="obsolete"):
        read(with_fields("Upgrade: WebSocket", "Connection: Upgrade", "Sec-WebSocket-Key1: 1 2"))


def test_what_is_expected() -> None:
    assert read(with_fields("Expect: 100-Continue")).expects_continue
    assert not read(with_fields("Expect: 100-continue", version="1.0")).expects_continue
    with pytest.raises(HeadFault):
        read(with_fields("Expect: 200-ok"))


def test_each_bound_is_met_as_written() -> None:
    head = with_fields("A: " + "a" * 20)
    size = len(head.replace("\n", "\r\n"))
    assert read(head, HeadBounds(head_bytes=size, fields=2))
    for bounds, kind in (
        (HeadBounds(head_bytes=size - 1, fields=2), FaultKind.TOO_LARGE),
        (HeadBounds(head_bytes=size, fields=1), FaultKind.TOO_MANY_FIELDS),
    ):
        with pytest.raises(HeadFault) as fault:
            read(head, bounds)
        assert fault.value.fault is kind
        assert fault.value.request == (b"GET", b"/")
    for no_request in (b"FOO / HTTP/1.1", b"GET", b"GET\t/"):
        assert too_large(no_request).request is None
    asked = too_large(b"GET /" + b"a" * 100_000).request
    assert asked is not None
    assert len(asked[1]) < 5000


def test_a_name_of_any_length_is_read_each_time() -> None:
    for _ in range(2):
        assert read(with_fields(f"{'x' * 300}: y")).received[-1][2:4] == (b"x" * 300, b"y")


def test_what_was_seen_before_reads_the_same_and_what_is_remembered_is_bounded() -> None:
    head = with_fields(*(f"X-{number}: {number}" for number in range(100)))
    assert read(head).fields == read(head).fields
    for number in range(10_000):
        for _ in range(2):
            read(with_fields(f"X: {number}", f"Cookie: {number}", f"Y: {'y' * 300}{number}"))
    assert most_held_by(request_heads) <= 4096
    remembered = texts_held_by(request_heads)
    assert sum(text.startswith("X: ") for text in remembered) > 1000
    assert not any(text.lower().startswith(("cookie: ", "y: ")) for text in remembered)


def test_fields_are_read_as_text_as_any_multidict_is() -> None:
    received = read(with_fields("Accept: a", "X-Other: b", "accept: c")).received
    fields, texts = FieldTexts(received), CIMultiDict([field[5] for field in received])
    assert len(fields) == len(texts) == 4
    assert fields["ACCEPT"] == "a"
    assert list(fields) == list(texts)
    assert list(fields.items()) == list(texts.items())
    assert list(fields.values()) == list(texts.values())
    assert fields.getall("accept") == ["a", "c"]
    assert (fields.getone("accept"), fields.getone("none", "else"), fields.getall("none", [])) == (
        "a",
        "else",
        [],
    )
    for ask in (fields.getone, fields.getall, fields.__getitem__):
        with pytest.raises(KeyError):
            ask("none")


def test_a_long_name_reads_as_any_other_and_is_remembered_by_nobody() -> None:
    name = b"X-" + b"long" * 100
    for _ in range(2):
        assert read(f"GET / HTTP/1.1\nHost: a\n{name.decode()}: b\n\n").fields == [
            (b"Host", b"a"),
            (name, b"b"),
        ]
    assert name.decode() not in texts_held_by(request_heads)


def test_what_may_hold_a_credential_is_remembered_by_its_connection_alone_and_not_if_it_is_large() -> None:
    own = own_lines()
    for value in ("a=1", "a" * 5000):
        head = with_fields(f"Cookie: {value}").replace("\n", "\r\n").encode()
        first, again = read_request(head, BOUNDS, own), read_request(head, BOUNDS, own)
        assert first.fields == again.fields == [(b"Host", b"a"), (b"Cookie", value.encode())]
    assert list(own) == [b"Cookie: a=1"]


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Cookie",
        "Referer",
        "Sec-WebSocket-Protocol",  # JEP 119: v1.token.websocket.jupyter.org.…
        "X-XSRFToken",
        "X-CSRFToken",
        "X-Auth-Token",
        "X-Api-Key",
        "X-Amzn-OIDC-Data",
        "X-Forwarded-Access-Token",
        "X-Client-Secret",
    ],
)
def test_no_other_connection_remembers_a_credential(name: str) -> None:
    value = f"a-credential-in-{name}"
    for spelled in (name, name.lower(), name.upper()):
        for _ in range(3):  # what comes once is remembered by nobody
            head = read(with_fields(f"{spelled}: {value}", f"X-Other: beside-{name}"))
            assert head.fields[-2] == (spelled.encode(), value.encode())
    remembered = texts_held_by(request_heads)
    assert any(f"beside-{name}" in text for text in remembered)
    assert not any(value in text for text in remembered)


# -- beside others ----------------------------------------------------------------------------------------


class Llhttp:
    """What llhttp, as strict as it comes, made of a head."""

    def __init__(self, head: bytes) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.is_read = self.is_kept = False
        self.has_body = True
        self.is_over = False
        self.target = b""
        self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # What follows is the application's: another protocol, or a body.
            self.is_over = True
        except httptools.HttpParserError:
            self.is_read = False
        self.method = self._parser.get_method() if self.is_read else b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_read = True
        self.is_kept = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self.has_body = False


def by_h11(head: bytes) -> tuple[h11.Request, bool] | None:
    """The request, and whether a body follows."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        connection.receive_data(head)
        event = connection.next_event()
        return (event, connection.next_event() is h11.NEED_DATA) if isinstance(event, h11.Request) else None
    except h11.RemoteProtocolError:
        return None


SEEDS = [
    b"GET /lab?a=1 HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nCookie: a=1\r\n\r\n",
    b"POST /api HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n",
    b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, close\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nX-A: \x80\xff\r\nX-B:\t b\r\n\r\n",
]


def mutated(seed: int, count: int) -> Iterator[bytes]:
    """Heads with faults in them, always with an empty line at their end and nowhere else."""
    chance = random.Random(seed)
    while count:
        head = with_faults(chance.choice(SEEDS)[:-4], chance)
        if (
            b"\r\n\r\n" not in head
            and not head.startswith((b"\r", b"\n"))
            and not head.endswith((b"\r", b"\n"))
        ):
            count -= 1
            yield head + b"\r\n\r\n"


REFUSED_HERE_ALONE = {
    "Host is missing": "RFC 9112 section 3.2 wants 400. llhttp leaves it to the application.",
    "a WebSocket handshake has no body": "Who answers 101 takes what follows for frames; who does not, for a body.",
    "a field that is one value stands there twice": "Readers take the first, the last, or a list of both.",
    "a line is no field": "A control byte in a value, a bare LF, a folded line: h11 reads some of them, to be kind.",
    "a transfer coding stands beside a length, or in HTTP/1.0": "RFC 9112 section 6.1: it may be smuggling.",
    "nothing else than 100-continue can be expected": "RFC 9110 section 10.1.1 has 417 for it. Nobody sends it.",
    "the method is not known": "h11 takes any token.",
    "the request line is malformed": "A `#`, which belongs to the browser, or no path. h11 takes any target; "
    "llhttp takes other protocols.",
    "a tab stands beside what frames the body": "h11 takes it for the blank that it is.",
    "the transfer coding is not chunked": "llhttp skips empty elements of the list, and takes the last one's word.",
    "the content length is not a number": "Of 19 digits and more, which some readers let overflow.",
}
"""What at least one of the others reads, and why it is not read here."""


def read_by_llhttp_not(head: bytes) -> bool:
    """What llhttp does not read and this reader does: characters in the authority of an absolute target. It is compared
    with `Host` later, which has none of them.
    """
    return re.match(rb"[A-Z-]+ https?://[^ /?]*[^ /?0-9A-Za-z.:@%_~!$&'()*+,;=\[\]-]", head) is not None


def kept_by_llhttp(head: ReceivedHead) -> bool:
    """Whose connection llhttp keeps, and this reader does not: a WebSocket's, which is no HTTP any more; and one of
    HTTP/1.0 that is to be kept and closed at once.
    """
    said = b",".join(value.lower() for name, value in head.fields if name.lower() == b"connection")
    return head.is_websocket or (head.is_http_10 and b"close" in said and not head.is_kept)


def outcome(head: bytes) -> ReceivedHead | str:
    """What is read, or why nothing is."""
    try:
        return read_request(head, BOUNDS)
    except HeadFault as fault:
        return str(fault)


@pytest.mark.parametrize(
    "count", [4_000, pytest.param(int(os.environ.get("NBGATE_HEADS", "200000")), marks=pytest.mark.slow)]
)
def test_nothing_is_read_here_that_both_others_refuse_and_what_is_read_is_read_alike(count: int) -> None:
    reasons = set()
    for head in mutated(20261128, count):
        theirs, hers = Llhttp(head), by_h11(head)
        ours = outcome(head)
        if isinstance(ours, str):
            if theirs.is_read or hers is not None:
                assert ours in REFUSED_HERE_ALONE, head
                reasons.add(ours)
            continue
        assert theirs.is_read or read_by_llhttp_not(head), head
        if theirs.is_read:
            assert (theirs.method, theirs.target, theirs.fields) == (ours.method, ours.target, ours.fields), (
                head
            )
            assert theirs.is_over or theirs.has_body is ours.has_body, head
            assert theirs.is_kept is ours.is_kept or kept_by_llhttp(ours), head
        assert hers is not None, head
        request, has_body = hers
        assert (request.method, request.target) == (ours.method, ours.target), head
        assert list(request.headers) == [
            # h11 tells the one coding that there is in lower case.
            (name.lower(), value.lower() if name.lower() == b"transfer-encoding" else value)
            for name, value in ours.fields
        ], head
        assert has_body is ours.has_body, head
    assert count < 100_000 or reasons == set(REFUSED_HERE_ALONE)
