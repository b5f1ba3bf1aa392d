"""Message heads as they leave the gateway, byte for byte."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from httptools import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import heads
from proxy.wire.heads import (
    RESPONSE_FIELDS,
    OutgoingRequest,
    RequestFields,
    ResponseFacts,
    Translation,
    has_too_many_fields,
    read_response,
    request_head,
    response_head,
    upstream_referer,
)
from proxy.wire.request_heads import request_field
from tests.harness.held import most_held_by, texts_held_by

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
    received = RequestFields([request_field(*pair) for pair in fields])
    head = OutgoingRequest("GET", b"/lab", received)
    for name, value in changes.items():
        setattr(head, name, value)
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


def test_what_numbers_a_request_passes_but_for_what_the_gateway_says_itself() -> None:
    numbers = (
        request_field(b"TraceParent", b"00-1"),
        request_field(b"X-Request-Id", b"1"),
    )
    assert sent([(b"Accept", b"*/*")], numbers=numbers)[2:] == [
        b"Accept: */*",
        b"Cookie: auth=secret; sid=hidden",
        b"TraceParent: 00-1",
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


@pytest.mark.parametrize("name", [b"Cookie", b"Referer"])
@pytest.mark.parametrize("value", [b"a=1", b"a=" + b"x" * 5000], ids=["small", "large"])
def test_what_a_caller_repeats_is_sent_as_before_whatever_it_sends_between(name: bytes, value: bytes) -> None:
    way = replace(ROOT)
    for fields in ([(name, value)], [(name, value)], [(name, b"b=2")], [(name, value), (name, b"b=2")]) * 2:
        assert sent(fields, translation=way) == sent(fields, translation=replace(ROOT))


def test_a_requests_fields_are_told_as_they_came() -> None:
    assert RequestFields([request_field(b"X-a", b"1"), request_field(b"x-A", b"2")]).pairs == [
        (b"X-a", b"1"),
        (b"x-A", b"2"),
    ]


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


T = b"nbgate1_a.00000000.AAAA.BBBB"


@pytest.mark.parametrize("translation", [ROOT, PATH], ids=["root", "path"])
@pytest.mark.parametrize(
    "referer",
    [
        b"https://notebooks.internal:8443/research/lab?token=" + T,
        b"https://notebooks.internal:8443/research?authToken=" + T,
        b"https://notebooks.internal:8443/lab?authToken=" + T,
        b"HTTPS://NOTEBOOKS.internal:8443/research/lab?token=" + T,
        b"https://other.internal/lab?token=" + T,
        b"https://evil.example/?x=%6Ebgate1%5Fa.00000000.AAAA.BBBB",
        b"https://notebooks.internal:8443/research/" + T,
        T,
    ],
)
@pytest.mark.parametrize("name", [b"Referer", b"referer", b"Ping-From", b"Ping-To"])
def test_a_token_in_an_address_of_the_callers_ends_here(
    name: bytes, referer: bytes, translation: Translation
) -> None:
    lines = sent([(name, referer)], translation=translation)
    assert not [line for line in lines if b"nbgate" in line or b"oken" in line or b"%6E" in line]
    assert len([line for line in lines if line.startswith(name)]) == 1


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


@pytest.mark.parametrize("translation", [ROOT, PATH], ids=["root", "path"])
@pytest.mark.parametrize(
    "cookie",
    [
        b"nbgate-session=x; Path=/",
        b"__Host-nbgate-session=x; Path=/; Secure",
        b"__SECURE-NBGATE-session-8444=x",
        b"=nbgate-session=x",
        b" nbgate-login-1 = x",
    ],
)
def test_no_answer_sets_a_cookie_of_the_gateways(cookie: bytes, translation: Translation) -> None:
    for by_application in (False, True):
        lines = passed_on(
            [(b"Set-Cookie", cookie), (b"set-cookie", b"a=1")],
            translation=translation,
            by_application=by_application,
        )
        assert lines == [b"set-cookie: a=1"]


@pytest.mark.parametrize(
    ("cookie", "by_jupyter", "by_application"),
    [
        (b"expiryTime=1; Path=/", False, False),
        (b"expiryTime=1; Path=/proxy/8080/", False, False),
        (b"=expiryTime=1", False, False),
        (b"expiryTime=soon; Path=/", False, True),
        (b"expiryTime=", False, True),
        (b"redirectURL=1; Path=/other", True, True),
    ],
)
def test_what_steers_the_page_does_not_reach_it(
    cookie: bytes, by_jupyter: bool, by_application: bool
) -> None:
    """Whoever sets it; but an application's cookie of that name, with a value of its own, is its own."""
    steered = replace(ROOT, steering_cookies={b"expiryTime": re.compile(rb"[0-9]+")})
    for application, passes in ((False, by_jupyter), (True, by_application)):
        lines = passed_on([(b"Set-Cookie", cookie)], translation=steered, by_application=application)
        assert lines == ([b"Set-Cookie: " + cookie] if passes else [])


def test_what_a_worker_may_cover_is_said_anew() -> None:
    scopes: list[bytes] = []

    def scope(allowed: bytes) -> bytes:
        scopes.append(allowed)
        return b"/research/" if allowed == b"/" else b""

    fields = [(b"Service-Worker-Allowed", b"/"), (b"X", b"1"), (b"service-worker-allowed", b"..")]
    assert passed_on(fields, worker_scope=scope) == [b"Service-Worker-Allowed: /research/", b"X: 1"]
    assert scopes == [b"/", b".."]


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
    assert facts.repeats_length
    assert facts.transfer_encoding == b"gzip,chunked"
    assert not facts.is_chunked
    assert facts.says_close
    assert facts.content_type == b"text/html"
    assert facts.content_encoding == b"gzip"
    assert (facts.location, facts.server, facts.upgrade) == (b"/x", b"TornadoServer/6", b"websocket")
    assert facts.set_cookies == (b"a=1", b"b=2")


def test_a_head_may_have_many_fields_and_not_one_more() -> None:
    head = b"HTTP/1.1 200 OK\r\n%b\r\n"
    fields = b"Set-Cookie: a=1\r\n" * RESPONSE_FIELDS
    facts = read_response(head % fields)
    assert facts is not None
    assert len(facts.set_cookies) == RESPONSE_FIELDS
    assert read_response(head % (fields + b"A:\r\n")) is None
    assert has_too_many_fields(head % (fields + b"A:\r\n"))
    assert not has_too_many_fields(head % fields)


def test_the_last_location_counts_and_further_codings_change_nothing() -> None:
    facts = facts_of(
        200, b"OK", [(b"Location", b"/x"), (b"Location", b"/y")] + [(b"Transfer-Encoding", b"a")] * 5
    )
    assert facts.location == b"/y"
    assert facts.transfer_encoding == b"a,a"


def test_a_connection_is_closed_by_whichever_of_several_fields_says_so() -> None:
    facts = facts_of(200, b"OK", [(b"Connection", b"x-a"), (b"Connection", b"close"), (b"X-A", b"1")])
    assert facts.says_close
    assert facts.lines == [b"HTTP/1.1 200 OK"]


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
    assert not facts.repeats_length
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
    assert sum("299 Reason" in text for text in texts_held_by(heads)) <= 128 * 2
    long = b"HTTP/1.1 200 " + b"y" * 60_000
    assert read_response(long + b"\r\n\r\n") is not None
    assert "y" * 60_000 not in "".join(texts_held_by(heads))


def test_other_fields_can_be_put_in_place_of_the_received() -> None:
    facts = facts_of(404, b"No", [(b"ETag", b"a"), (b"Content-Length", b"5")])
    other = facts.with_fields([b"ETag: b"])
    assert (other.status, other.lines, other.content_length) == (404, [b"HTTP/1.1 404 No", b"ETag: b"], None)


FIELD = st.tuples(
    st.sampled_from(
        [b"X-A", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Set-Cookie", b"", b"a b", b"\xe9"]
    )
    | st.binary(max_size=4),
    st.sampled_from([b":", b": ", b" :", b"", b":\t"]),
    st.sampled_from([b"1", b"chunked", b"x\r", b"\x00", b"y\nZ: 1", b" a b ", b"\xff"])
    | st.binary(max_size=6),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n "]),
)
STATUS_LINE = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 404\r\n",
        b"HTTP/1.1 200 O\x01K\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 20 x\r\n",
        b"\r\n",
    ]
)


@given(STATUS_LINE, st.lists(FIELD, max_size=4))
def test_whatever_is_read_as_a_response_llhttp_reads_too(
    status_line: bytes, fields: list[tuple[bytes, ...]]
) -> None:
    """An independent parser accepts each head that we accept, and finds the same fields in it."""
    head = status_line + b"".join(b"".join(parts) for parts in fields)
    head = head.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n\r\n"
    facts = read_response(head)
    if facts is None or facts.repeats_length or facts.transfer_encoding is not None:
        return  # what the data plane refuses as ambiguous framing, llhttp may refuse here
    if facts.content_length is not None and not facts.content_length.isdigit():
        return
    found = Noted()
    parser = HttpResponseParser(found)
    parser.feed_data(head)
    assert parser.get_status_code() == facts.status
    assert [(name, value.strip(b" \t")) for name, value in found.fields] == facts.fields


class Noted:
    """What llhttp saw."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


@pytest.mark.parametrize(
    "line",
    [
        b"X",
        b": 1",
        b"X : 1",
        b" X: 1",
        b"X: a\rb",
        b"X: a\nb",
        b"X: \x00",
        b"X: \x7f",
        b"X\xe9: 1",
        b"X: " + b" " * 60_000 + b"\x01",
    ],
)
def test_a_malformed_field_spoils_the_response_each_time(line: bytes) -> None:
    for _ in range(2):
        assert read_response(b"HTTP/1.1 200 OK\r\nA: 1\r\n" + line + b"\r\n\r\n") is None


def test_lines_are_remembered_within_bounds_and_cookies_never() -> None:
    large = b"X: " + b"y" * 300
    for number in range(6000):
        lines = (b"Etag: %d" % number, b"Set-Cookie: a=kept-out", b"Location: /x?token=kept-out", large)
        facts = read_response(b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(lines) + b"\r\n\r\n")
        assert facts is not None
        assert facts.fields[0] == (b"Etag", b"%d" % number)
    assert most_held_by(heads) <= 2048
    assert not any("kept-out" in text or "y" * 300 in text for text in texts_held_by(heads))


@pytest.mark.parametrize("name", ["Authorization", "X-Auth-Token", "X-CSRFToken", "X-Session-Id"])
def test_what_may_hold_a_credential_is_not_remembered(name: str) -> None:
    """Of an application's answer, which is one caller's: what is remembered belongs to all connections."""
    for _ in range(3):
        facts = read_response(f"HTTP/1.1 200 OK\r\n{name}: a-secret\r\nX-Other: {name}\r\n\r\n".encode())
        assert facts is not None
        assert facts.fields[0] == (name.encode(), b"a-secret")
    remembered = texts_held_by(heads)
    assert any(text == f"X-Other: {name}" for text in remembered)
    assert not any("a-secret" in text for text in remembered)


def test_fields_are_translated_anew_for_another_way() -> None:
    """What is remembered belongs to one way: another session's cookies, or another variant, are never sent."""
    fields = RequestFields([request_field(b"Accept-Encoding", b"gzip"), request_field(b"X-A", b"1")])
    head, plain, upgrade = (OutgoingRequest("GET", b"/", fields) for _ in range(3))
    plain.plain_encoding = upgrade.is_upgrade = True
    other = replace(ROOT, cookies=b"auth=other")
    for _ in range(2):
        assert b"Cookie: auth=secret; sid=hidden\r\n" in request_head(head, ROOT)
        assert b"Cookie: auth=other\r\n" in request_head(head, other)
        assert b"gzip" not in request_head(plain, other)
        assert b"Upgrade: websocket" in request_head(upgrade, other)


def test_fields_that_go_the_same_way_again_come_out_the_same() -> None:
    fields = RequestFields([request_field(b"Accept-Encoding", b"gzip"), request_field(b"Cookie", b"a=1")])
    heads_sent = {request_head(OutgoingRequest("GET", b"/", fields), ROOT) for _ in range(2)}
    assert len(heads_sent) == 1
