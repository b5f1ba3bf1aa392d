"""Message heads as they leave the gateway, byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.wire import heads
from proxy.wire.heads import (
    RequestHead,
    ResponseFacts,
    Translation,
    read_response,
    request_head,
    response_head,
    upstream_referer,
)

ROOT = Translation(
    upstream_authority=b"nb.notebook.eu-west-1.sagemaker.aws",
    upstream_origin=b"https://nb.notebook.eu-west-1.sagemaker.aws",
    own_origin=b"https://notebooks.internal:8443",
    prefix=b"",
    cookies=b"auth=secret; sid=hidden",
    withheld_cookies=frozenset({b"auth", b"sid"}),
    forwarding=b"X-Forwarded-For: 203.0.113.9\r\n",
)
PATH = replace(ROOT, prefix=b"/research")


def sent(fields: list[tuple[bytes, bytes]], *, translation: Translation = ROOT, **changes) -> list[bytes]:
    """The field lines of a GET with these fields."""
    head = RequestHead(**{"method": "GET", "target": b"/lab", "fields": fields, **changes})
    lines = request_head(head, translation).split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    return lines[:-2]


def test_a_request_head_is_rebuilt_for_the_notebook() -> None:
    fields = [(b"Host", b"notebooks.internal"), (b"Accept", b"*/*"), (b"X-Twice", b"1"), (b"X-Twice", b"2")]
    assert sent(fields) == [
        b"GET /lab HTTP/1.1",
        b"Host: nb.notebook.eu-west-1.sagemaker.aws",
        b"Accept: */*",
        b"X-Twice: 1",
        b"X-Twice: 2",
        b"Cookie: auth=secret; sid=hidden",
        b"X-Forwarded-For: 203.0.113.9",
    ]


def test_the_target_passes_byte_for_byte() -> None:
    target = b"/files/a%2Fb%20c;x=1?q=1&q=%2B"
    assert sent([], target=target)[0] == b"GET " + target + b" HTTP/1.1"


def test_framing_is_stated_by_the_gateway_alone() -> None:
    fields = [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")]
    lines = sent(fields, method="POST", framing=b"Content-Length: 5\r\n")
    assert [line for line in lines if b"ength" in line or b"ncoding" in line] == [b"Content-Length: 5"]


def test_without_cookies_there_is_no_cookie_field() -> None:
    bare = replace(ROOT, cookies=b"")
    assert not [line for line in sent([], translation=bare) if line.startswith(b"Cookie")]
    tossed = sent([(b"Cookie", b"auth=tossed")], translation=bare)
    assert not [line for line in tossed if line.startswith(b"Cookie")]


def test_the_callers_cookies_are_overlaid_and_its_copies_of_the_sessions_dropped() -> None:
    """Cookie tossing: a caller that sends the session's own names does not choose the session."""
    fields = [(b"Cookie", b"_xsrf=a; auth=tossed"), (b"Cookie", b"_xsrf=b")]
    [cookie] = [line for line in sent(fields) if line.startswith(b"Cookie")]
    assert cookie == b"Cookie: _xsrf=a; _xsrf=b; auth=secret; sid=hidden"


@pytest.mark.parametrize("value", [b"keep-alive", b"close", b"Upgrade", b"Keep-Alive, Upgrade", b"TE, close"])
def test_connection_ends_here(value: bytes) -> None:
    assert not [line for line in sent([(b"Connection", value)]) if line.lower().startswith(b"connection")]


def test_connection_removes_what_it_names_of_the_callers_and_nothing_of_ours() -> None:
    """CVE-2024-45410: `Connection: X-Forwarded-For` must not strip what the proxy adds."""
    fields = [
        (b"Connection", b"X-Forwarded-For, Cookie, X-Mine, close"),
        (b"X-Mine", b"1"),
        (b"Cookie", b"_xsrf=a"),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"Accept", b"*/*"),
        (b"Connection", b"Host"),
    ]
    assert sent(fields)[2:] == [
        b"Accept: */*",
        b"Cookie: auth=secret; sid=hidden",
        b"X-Forwarded-For: 203.0.113.9",
    ]


@pytest.mark.parametrize(
    ("origin", "passed"),
    [
        (b"https://notebooks.internal:8443", b"https://nb.notebook.eu-west-1.sagemaker.aws"),
        (b"HTTPS://Notebooks.Internal:8443", b"https://nb.notebook.eu-west-1.sagemaker.aws"),
        (b"https://evil.example", b"https://evil.example"),
        (b"https://notebooks.internal:8443.evil", b"https://notebooks.internal:8443.evil"),
        (b"null", b"null"),
    ],
)
def test_our_origin_becomes_the_notebooks_and_a_foreign_one_stays_foreign(
    origin: bytes, passed: bytes
) -> None:
    assert b"Origin: " + passed in sent([(b"Origin", origin)])


@pytest.mark.parametrize(
    ("referer", "passed"),
    [
        (b"https://notebooks.internal:8443/research/lab?x=1", b"/lab?x=1"),
        (b"https://notebooks.internal:8443/research", b"/"),
        (b"https://notebooks.internal:8443/research?x", b"?x"),
        (b"https://notebooks.internal:8443/other/lab", b"/"),
        (b"https://notebooks.internal:8443/researcher/lab", b"/"),
    ],
)
def test_a_referer_of_ours_becomes_the_notebooks(referer: bytes, passed: bytes) -> None:
    assert upstream_referer(referer, PATH) == PATH.upstream_origin + passed
    assert b"Referer: " + PATH.upstream_origin + passed in sent([(b"Referer", referer)], translation=PATH)


@pytest.mark.parametrize(
    "referer", [b"https://evil.example/", b"https://notebooks.internal:84431/research/", b""]
)
def test_a_foreign_referer_stays_for_jupyter_to_judge(referer: bytes) -> None:
    assert upstream_referer(referer, PATH) == referer
    assert upstream_referer(referer, ROOT) == referer


def test_an_upgrade_is_asked_for_in_our_own_words() -> None:
    lines = sent([(b"Upgrade", b"WebSocket"), (b"Sec-WebSocket-Key", b"k")], is_upgrade=True)
    assert b"Connection: Upgrade" in lines
    assert b"Upgrade: websocket" in lines
    assert b"Sec-WebSocket-Key: k" in lines


def test_a_page_to_be_rewritten_is_asked_for_uncompressed() -> None:
    lines = sent([(b"Accept-Encoding", b"gzip, br")], plain_encoding=True)
    assert [line for line in lines if line.startswith(b"Accept-Encoding")] == [b"Accept-Encoding: identity"]
    assert b"Accept-Encoding: gzip, br" in sent([(b"Accept-Encoding", b"gzip, br")])


def test_a_translation_does_not_print_cookies() -> None:
    assert "secret" not in repr(ROOT)


# -- responses ------------------------------------------------------------------------------------------


def facts_of(status: int, reason: bytes, fields: list[tuple[bytes, bytes]]) -> ResponseFacts:
    lines = b"".join(b"%b: %b\r\n" % pair for pair in fields)
    facts = read_response(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines))
    assert facts is not None
    return facts


def passed_on(
    fields: list[tuple[bytes, bytes]], *, translation: Translation = ROOT, **options
) -> list[bytes]:
    facts = facts_of(200, b"OK", fields)
    options = {"framing": b"", "location": b"", **options}
    return response_head(facts, translation, **options).split(b"\r\n")[1:-2]


def test_a_responses_fields_pass_in_order_and_repeated() -> None:
    fields = [
        (b"X-A", b"1"),
        (b"Server", b"TornadoServer/6"),
        (b"X-A", b"2"),
        (b"Content-Type", b"text/plain"),
    ]
    assert passed_on(fields) == [b"%b: %b" % pair for pair in fields]


def test_the_sessions_cookies_stay_in_the_gateway_and_jupyters_pass() -> None:
    fields = [
        (b"Set-Cookie", b"_xsrf=a; Path=/; Domain=sagemaker.aws"),
        (b"set-cookie", b"auth=new; HttpOnly"),
        (b"Set-Cookie", b"username-x=b; HttpOnly; Path=/"),
    ]
    lines = passed_on(fields, translation=PATH)
    assert [line.partition(b"=")[0] for line in lines] == [b"Set-Cookie: _xsrf", b"Set-Cookie: username-x"]
    assert all(b"/research/" in line and b"Domain" not in line for line in lines)


def test_location_is_said_anew() -> None:
    assert passed_on([(b"Location", b"/lab")], location=b"/research/lab") == [b"Location: /research/lab"]


def test_hop_by_hop_fields_of_a_response_end_here_with_those_that_connection_names() -> None:
    fields = [
        (b"Connection", b"X-Hop, close"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"5"),
        (b"Upgrade", b"h2c"),
        (b"X-End", b"2"),
    ]
    assert passed_on(fields, framing=b"Content-Length: 5\r\n") == [b"X-End: 2", b"Content-Length: 5"]


def test_what_the_gateway_must_know_of_a_response_is_read_once() -> None:
    facts = facts_of(
        302,
        b"Found",
        [
            (b"Content-Length", b"5"),
            (b"content-length", b"6"),
            (b"Transfer-Encoding", b"gzip"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Connection", b"close, X-Hop"),
            (b"Content-Type", b"Text/HTML"),
            (b"Content-Encoding", b"GZIP"),
            (b"Location", b"/x"),
            (b"Server", b"TornadoServer/6"),
            (b"Upgrade", b"websocket"),
            (b"Set-Cookie", b"a=1"),
            (b"Set-Cookie", b"b=2"),
        ],
    )
    assert facts.conflicting_lengths
    assert facts.transfer_encoding == b"gzip,chunked"
    assert not facts.is_chunked
    assert facts.says_close
    assert facts.content_type == b"text/html"
    assert facts.content_encoding == b"gzip"
    assert (facts.location, facts.server, facts.upgrade) == (b"/x", b"TornadoServer/6", b"websocket")
    assert facts.set_cookies == (b"a=1", b"b=2")


def test_a_connection_that_is_kept_says_so_to_the_gateway_alone() -> None:
    facts = facts_of(200, b"OK", [(b"Connection", b"keep-alive"), (b"X-A", b"1")])
    assert not facts.says_close
    assert facts.lines == [b"HTTP/1.1 200 OK", b"X-A: 1"]


def test_a_connection_that_ends_says_so_to_the_gateway_alone() -> None:
    facts = facts_of(200, b"OK", [(b"Connection", b"Close"), (b"X-A", b"1")])
    assert facts.says_close
    assert facts.lines == [b"HTTP/1.1 200 OK", b"X-A: 1"]


def test_the_fields_of_a_response_can_be_replaced() -> None:
    facts = facts_of(404, b"Not Found", [(b"X-A", b"1"), (b"Content-Length", b"5"), (b"x-a", b"2")])
    assert facts.fields == [(b"X-A", b"1"), (b"Content-Length", b"5"), (b"x-a", b"2")]
    other = facts.with_fields([b"X-B:  3 ", b"Content-Length: 7"])
    assert (other.status, other.is_http_11, other.content_length) == (404, True, b"7")
    assert other.fields == [(b"X-B", b"3"), (b"Content-Length", b"7")]
    assert other.lines[0] == b"HTTP/1.1 404 Not Found"


def test_a_chunked_response_is_known() -> None:
    facts = facts_of(
        200, b"OK", [(b"Transfer-Encoding", b" Chunked "), (b"Content-Length", b"1"), (b"X", b"y")]
    )
    assert facts.is_chunked
    assert not facts.conflicting_lengths
    assert not facts.says_close


def test_what_connection_names_goes_and_what_is_translated_keeps_its_place() -> None:
    fields = [
        (b"Set-Cookie", b"_xsrf=a; Path=/"),
        (b"X-Hop", b"1"),
        (b"X-A", b"1"),
        (b"Set-Cookie", b"auth=new"),
        (b"Location", b"/lab"),
        (b"Connection", b"x-hop, Set-Cookie, HTTP/1.1 200 OK"),
        (b"X-B", b"2"),
    ]
    assert passed_on(fields, location=b"/lab") == [
        b"Set-Cookie: _xsrf=a; Path=/",
        b"X-A: 1",
        b"Location: /lab",
        b"X-B: 2",
    ]


@pytest.mark.parametrize(
    ("received", "passed"),
    [
        (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.0 404 Not here, sorry", b"HTTP/1.1 404 Not here, sorry"),
        (b"HTTP/1.1 299", b"HTTP/1.1 299 "),
    ],
)
def test_a_status_line_keeps_the_notebooks_words(received: bytes, passed: bytes) -> None:
    for _ in range(2):
        facts = read_response(received + b"\r\n\r\n")
        assert facts is not None
        assert facts.lines == [passed]
        assert facts.is_http_11 is received.startswith(b"HTTP/1.1")


@pytest.mark.parametrize(
    "line", [b"HTTP/2 200 OK", b"HTTP/1.1 099 Low", b"ICY 200 OK", b"HTTP/1.1 2000 OK", b""]
)
def test_what_is_no_status_line_is_no_head(line: bytes) -> None:
    assert read_response(line + b"\r\n\r\n") is None


def test_status_lines_do_not_pile_up() -> None:
    for number in range(300):
        facts = read_response(b"HTTP/1.1 299 Reason %d\r\n\r\n" % number)
        assert facts is not None
    assert len(heads._STATUS_LINES) <= heads._STATUS_LINES_REMEMBERED


def test_other_fields_can_be_put_in_place_of_the_received() -> None:
    facts = facts_of(404, b"No", [(b"ETag", b"a"), (b"Content-Length", b"5")])
    other = facts.with_fields([b"ETag: b"])
    assert (other.status, other.lines, other.content_length) == (404, [b"HTTP/1.1 404 No", b"ETag: b"], None)
