"""What notebooks answer, read by a connection to one, by llhttp and by h11: heads, and where their bodies end.

Nothing may be accepted here that both of the others refuse; where this reader differs from one of them, there is a
reason in a table. Each answer has a fault or three planted into it, and the connection's end behind it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

import h11
import httptools
import pytest

from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.notebook.response_heads import fault_of
from proxy.errors import TooManyFields, UpstreamError, UpstreamInvalid
from proxy.upstream import Origin
from proxy.wire.body import Body, ChunkedBody, Data
from proxy.wire.heads import RESPONSE_FIELDS, ResponseFacts
from tests.harness.other_readers import mutated

SEEDS = (
    b"HTTP/1.1 200 OK\r\nServer: TornadoServer/6.5\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: z\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nX-A: \x80\xff\r\nX-B:\t b\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nSet-Cookie: a=1\r\n\r\n",
    b"HTTP/1.1 304\r\nETag: a\r\nContent-Length: 12\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x01a",
)


@dataclass
class Read:
    """What became of the bytes of a connection. `status` is 0 where no final head was read."""

    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    is_whole: bool = False
    """The answer had ended before the connection did."""
    is_whole_at_the_end: bool = False
    refused: str = ""


class _Transport:
    """Of a connection whose bytes the test feeds."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...


class Taking:
    """An exchange that collects what it is told."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.read = Read()

    @property
    def taker(self) -> Taking:
        return self

    def on_interim(self, facts: ResponseFacts) -> None: ...

    def on_head(self, facts: ResponseFacts, body: Body | None) -> Body | None:
        self.read.status, self.read.fields = facts.status, facts.fields
        return ChunkedBody(decode=True) if isinstance(body, ChunkedBody) else body

    def on_switched(self, facts: ResponseFacts, tail: bytes) -> None:
        self.read.status, self.read.fields, self.read.is_whole = facts.status, facts.fields, True

    def on_body(self, data: Data) -> None:
        self.read.body += bytes(data)

    def flush(self) -> None: ...

    def on_end(self) -> None:
        self.read.is_whole = True

    def on_failure(self, error: UpstreamError) -> None:
        self.read.refused = error.detail

    def on_upstream_full(self) -> None: ...

    def on_upstream_drained(self) -> None: ...


def here(data: bytes, method: str) -> Read:
    exchange = Taking(method)
    connection = UpstreamConnection(
        Origin("http", "a.test", 80), head_limit_bytes=1 << 16, read_memory=None, on_closed=lambda _: None
    )
    connection.connection_made(_Transport())  # type: ignore[arg-type]
    connection.begin(exchange)
    connection.data_received(data)
    read = exchange.read
    was_whole, failed = read.is_whole, read.refused
    if not failed and not was_whole:
        connection.eof_received()
        read.is_whole_at_the_end, read.is_whole, read.refused = read.is_whole, False, ""
    read.is_whole_at_the_end |= was_whole
    return read


class Llhttp:
    """What llhttp made of an answer to a GET. It is not told that the connection ends."""

    def __init__(self, data: bytes) -> None:
        self.read = Read()
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.read.is_whole = True
        except httptools.HttpParserError as error:
            if not self.read.is_whole:
                self.read.refused = str(error)

    def on_message_begin(self) -> None:
        if not self.read.is_whole:
            self.read.fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.read.is_whole:
            self.read.fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self.read.is_whole and (status >= 200 or status == 101):
            self.read.status = status

    def on_body(self, data: bytes) -> None:
        if not self.read.is_whole:
            self.read.body += data

    def on_message_complete(self) -> None:
        self.read.is_whole = self.read.status != 0


def by_h11(data: bytes, method: str) -> Read:
    read = Read()
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a"), ("Upgrade", "websocket")]))
    connection.send(h11.EndOfMessage())
    has_ended = False
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            match event:
                case h11.Response():
                    read.status, read.fields = event.status_code, list(event.headers.raw_items())
                case h11.InformationalResponse(status_code=101):
                    read.status, read.fields = 101, list(event.headers.raw_items())
                    read.is_whole = read.is_whole_at_the_end = True
                    return read
                case h11.Data():
                    read.body += bytes(event.data)
                case h11.EndOfMessage():
                    read.is_whole, read.is_whole_at_the_end = not has_ended, True
                    return read
                case h11.NEED_DATA if not has_ended:
                    has_ended = True
                    connection.receive_data(b"")
                case h11.ConnectionClosed() | h11.NEED_DATA:
                    return read
    except h11.RemoteProtocolError as error:
        # That the connection ended too early is no fault of the bytes.
        read.refused = "" if has_ended else str(error)
    return read


REFUSED_HERE_ALONE = {
    "response head: malformed": "A control byte in a value or a reason, a bare LF, a folded line, other blanks in the "
    "status line, a status below 100: h11 reads the lines, to be kind, and llhttp the reason.",
    "response framing: an unknown transfer coding": "llhttp reads such a body to the connection's end, as RFC 9112 "
    "section 6.3 has it; a gateway cannot know what it passes on.",
    "response framing: several content lengths": "h11 takes them for one where they are the same.",
    "response framing: a content length and a transfer coding exclude each other": "h11 takes the coding's word. RFC "
    "9112 section 6.3: it may be response splitting.",
    "response framing: the content length is not a number": "Of 19 digits and more, which some readers let overflow.",
    "response body: a trailer field is malformed": "h11 ends lines at a bare LF, and folds them.",
    "response body: a chunk extension holds a control byte": "h11 skips extensions unread.",
    "response body: a chunk size's line does not end in CRLF": "h11 skips extensions unread, a bare CR among them.",
    "response body: a chunk size is followed by white space": "h11 skips blanks at a line's end.",
}
"""What at least one of the others reads, and why it is not read here."""

REFUSED_ELSEWHERE_ALONE = {
    "Invalid character in chunk extensions": "llhttp. Extensions are dropped; control bytes alone are refused.",
    "Invalid character in chunk extensions name": "The same.",
    "Invalid character in chunk extensions value": "The same.",
    "Invalid character in chunk extensions quoted value": "The same.",
    "Content-Length can't be present with Transfer-Encoding": "llhttp. In a trailer, which is dropped.",
    "Transfer-Encoding can't be present with Content-Length": "llhttp. The same, or in an answer that has no body.",
    "Data after `Connection: close`": "llhttp. After an interim answer, which ends no connection.",
    "Only Transfer-Encoding: chunked is supported": "h11. In an interim answer: it has no body, and its framing is "
    "dropped.",
}
"""What one of the others refuses, and why it is read here as the third reads it."""

TAB_BESIDE_A_CODING = re.compile(rb"(?i)\r\ntransfer-encoding:[^\r]*\t")
"""There llhttp alone knows the coding no more, and reads to the connection's end. Blanks are tabs, too (RFC
9110 section 5.6.3).
"""
CHUNKED = (b"transfer-encoding", b"chunked")


def alike(read: Read, other: Read) -> bool:
    """Whether two have read the same, as far as the connection's end does not count."""
    fields, others = comparable(read.fields), comparable(other.fields)
    if CHUNKED in fields:
        # llhttp tells a trailer's fields, which are dropped here, in the same way.
        others = others[: len(fields)]
    return (read.status, fields, read.body, read.is_whole) == (
        other.status,
        others,
        other.body,
        other.is_whole,
    )


def comparable(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Names in lower case, and the coding, too: h11 tells it so."""
    lower = [(name.lower(), value) for name, value in fields]
    return [CHUNKED if (name, value.lower()) == CHUNKED else (name, value) for name, value in lower]


@pytest.mark.parametrize(
    "count", [5_000, pytest.param(int(os.environ.get("NBGATE_RESPONSES", "100000")), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_is_read_here_that_both_others_refuse_and_what_is_read_is_read_alike(
    method: str, count: int
) -> None:
    reasons = set()
    for data in mutated(SEEDS, seed=20261128, count=count):
        ours, hers = here(data, method), by_h11(data, method)
        # llhttp cannot be told that it was a HEAD.
        theirs = Llhttp(data).read if method == "GET" else None
        if ours.refused:
            if hers.is_whole_at_the_end or (theirs is not None and not theirs.refused):
                assert ours.refused in REFUSED_HERE_ALONE, data
                reasons.add(ours.refused)
            continue
        if not ours.status:
            continue  # the connection ended before a head did
        if theirs is not None and theirs.refused and not ours.is_whole_at_the_end:
            theirs = None  # of what was cut, each tells what it noticed first
        refusals = [other.refused for other in (hers, theirs) if other is not None and other.refused]
        assert len(refusals) < 2, data
        for other in (hers, theirs):
            if other is not None and not other.refused:
                assert alike(ours, other) or (other is theirs and TAB_BESIDE_A_CODING.search(data)), data
        assert hers.refused or ours.is_whole_at_the_end == hers.is_whole_at_the_end, data
        assert REFUSED_ELSEWHERE_ALONE.keys() >= {*refusals}, (data, refusals)
        reasons.update(refusals)
    listed = REFUSED_HERE_ALONE.keys() | REFUSED_ELSEWHERE_ALONE.keys()
    assert count < 100_000 or method == "HEAD" or reasons == listed, listed - reasons


@pytest.mark.parametrize(
    ("fields", "fault"), [(RESPONSE_FIELDS + 1, TooManyFields), (1, UpstreamInvalid), (0, UpstreamInvalid)]
)
def test_a_head_that_is_not_read_has_too_many_fields_or_is_malformed(
    fields: int, fault: type[UpstreamInvalid]
) -> None:
    assert type(fault_of(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * fields + b"\r\n")) is fault
