"""Bodies end where RFC 9112 says, wherever the stream is cut; what is ambiguous or abusive is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.body import (
    CHUNKS_A_FEED,
    MAX_EXTENSION_BYTES,
    MAX_TRAILER_BYTES,
    Body,
    ChunkedBody,
    Data,
    FramingError,
    LengthBody,
    UntilClose,
    parse_content_length,
    request_body,
    response_body,
)


def run(body: Body, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """Feed `data` cut at `cuts`, and again what a bound of work left; return (passed on, what follows)."""
    bounds = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    passed, after = b"", b""
    for start, stop in pairwise(bounds):
        rest: Data = data[start:stop]
        while rest and not body.done:
            pass_on, rest = body.feed(rest)
            passed += pass_on
        after += rest
    return passed, after


# --- length and close ---


def test_a_length_body_passes_the_same_object_until_its_end() -> None:
    body = LengthBody(10)
    data = b"12345"
    pass_on, rest = body.feed(data)
    assert pass_on is data
    assert rest == b""
    assert not body.done
    pass_on, rest = body.feed(data)
    assert pass_on is data
    assert rest == b""
    assert body.done


def test_what_follows_a_length_body_is_the_next_messages() -> None:
    body = LengthBody(3)
    assert body.feed(b"abcGET /") == (b"abc", b"GET /")
    assert body.done
    assert body.feed(b"more") == (b"", b"more")


def test_an_empty_length_body_is_done_before_any_byte() -> None:
    assert LengthBody(0).done


def test_a_body_until_close_passes_everything_and_is_completed_by_the_close_alone() -> None:
    body = UntilClose()
    data = b"anything"
    assert body.feed(data)[0] is data
    assert not body.done


# --- chunked ---

MESSAGE = (
    b'5;a=b\r\nhello\r\n1 \t; x="\xe9"\r\n!\r\n00001A\r\n'
    + b"y" * 26
    + b"\r\n00;q\r\nX-Sum: 1\r\nEmpty:\r\n\r\n"
)
WITHOUT = b"5\r\nhello\r\n1\r\n!\r\n00001A\r\n" + b"y" * 26 + b"\r\n00\r\n\r\n"
PAYLOAD = b"hello!" + b"y" * 26


def test_extensions_and_trailers_are_dropped_wherever_the_body_is_cut_in_two() -> None:
    for cut in range(len(MESSAGE) + 1):
        body = ChunkedBody()
        assert run(body, MESSAGE + b"GET /", [cut]) == (WITHOUT, b"GET /"), cut
        assert body.done
        assert run(ChunkedBody(decode=True), MESSAGE + b"GET /", [cut]) == (PAYLOAD, b"GET /"), cut


def test_extensions_and_trailers_are_dropped_byte_by_byte() -> None:
    everywhere = list(range(len(MESSAGE)))
    assert run(ChunkedBody(), MESSAGE, everywhere) == (WITHOUT, b"")
    assert run(ChunkedBody(decode=True), MESSAGE, everywhere) == (PAYLOAD, b"")


chunks = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=40),
        st.sampled_from([b"", b";", b";a", b' ; a = "b;c"', b"\t;x=\xff"]),
        st.sampled_from([b"%x", b"%X", b"%08x", b"%016X"]),
    ),
    max_size=8,
)
trailers = st.lists(st.sampled_from([b"A: b\r\n", b"Host: evil\r\n", b"x:\r\n"]), max_size=3).map(b"".join)


@given(
    chunks,
    st.sampled_from([b"0", b"000"]),
    trailers,
    st.lists(st.integers(0, 400), max_size=9),
    st.booleans(),
)
def test_any_cut_yields_the_same_bytes(
    content: list[tuple[bytes, bytes, bytes]], last: bytes, trailer: bytes, cuts: list[int], decode: bool
) -> None:
    sent = b"".join(
        form % len(payload) + extension + b"\r\n" + payload + b"\r\n" for payload, extension, form in content
    )
    clean = b"".join(form % len(payload) + b"\r\n" + payload + b"\r\n" for payload, _, form in content)
    message = sent + last + b";l\r\n" + trailer + b"\r\n"
    body = ChunkedBody(decode=decode, chunks_a_feed=3)
    expected = b"".join(row[0] for row in content) if decode else clean + last + b"\r\n\r\n"
    assert run(body, message + b"next", cuts) == (expected, b"next")
    assert body.done
    assert body.feed(b"more") == (b"", b"more")


def test_nothing_to_drop_passes_the_same_object() -> None:
    data = b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n"
    pass_on, rest = ChunkedBody().feed(data)
    assert pass_on is data
    assert rest == b""


def test_a_chunk_that_spans_reads_passes_each_as_the_same_object() -> None:
    body = ChunkedBody()
    for data in [b"22\r\n12", b"3456789 123456789 123456789 1234", b"\r", b"\n0\r", b"\n\r", b"\n"]:
        pass_on, rest = body.feed(data)
        assert pass_on is data
        assert rest == b""
    assert body.done
    body = ChunkedBody(decode=True)
    assert body.feed(b"4\r\n") == (b"", b"")
    data = b"abcd"
    assert body.feed(data)[0] is data
    assert body.feed(b"") == (b"", b"")
    assert body.feed(b"\r\n0\r\n\r\n") == (b"", b"")
    assert body.done


MALFORMED = [
    # 7.1: chunk-size = 1*HEXDIG, and nothing else that int() or strtol() would take.
    b"\r\n",
    b";a\r\n",
    b"+5\r\nhello\r\n",
    b"-1\r\n",
    b"0x5\r\nhello\r\n",
    b"1_0\r\n",
    b" 5\r\nhello\r\n",
    b"g\r\n",
    b"\xb2\r\n",
    b"5\0\r\n",
    # More than 63 bits, or more digits than they need.
    b"00000000000000005\r\nhello\r\n",
    b"8000000000000000\r\n",
    b"ffffffffffffffff\r\n",
    # Line ends: CRLF and nothing else.
    b"5\nhello\r\n",
    b"5\r\rhello\r\n",
    b"5 \r\nhello\r\n",
    b"5\t\r\nhello\r\n",
    b"5 x\r\nhello\r\n",
    b"5;a\nhello\r\n",
    b"5;a\rb\r\nhello\r\n",
    b"5;a\0\r\nhello\r\n",
    b"5;a\x7f\r\nhello\r\n",
    # Payload longer or shorter than its size.
    b"5\r\nhello!\r\n",
    b"5\r\nhello\n",
    b"5\r\nhello\rx",
    b"5\r\nhell\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    # Trailer fields are field lines.
    b"0\r\nHost evil\r\n\r\n",
    b"0\r\nHost : evil\r\n\r\n",
    b"0\r\n folded\r\n\r\n",
    b"0\r\nA: b\n\r\n",
    b"0\r\nA: b\0\r\n\r\n",
    b"0\r\nA: b\rc\r\n\r\n",
    b"0\r\n: b\r\n\r\n",
    b"0\r\n\rx",
    b"0\r\n\n",
]


@pytest.mark.parametrize("bad", MALFORMED)
@pytest.mark.parametrize("decode", [False, True])
def test_malformed_framing_is_refused_wherever_it_is_cut(bad: bytes, decode: bool) -> None:
    for before in (b"", b"3\r\nabc\r\n"):
        for cut in range(len(before + bad) + 1):
            with pytest.raises(FramingError):
                run(ChunkedBody(decode=decode), before + bad, [cut])


def test_the_largest_chunk_size_is_63_bits() -> None:
    body = ChunkedBody()
    assert body.feed(b"7fffffffffffffff\r\nabc") == (b"7fffffffffffffff\r\nabc", b"")
    assert not body.done


def test_an_extension_is_bounded() -> None:
    fine = b"1;" + b"a" * (MAX_EXTENSION_BYTES - 1) + b"\r\n"
    assert ChunkedBody().feed(fine) == (b"1\r\n", b"")
    with pytest.raises(FramingError, match="too long"):
        ChunkedBody().feed(b"1;" + b"a" * MAX_EXTENSION_BYTES)


def test_many_chunks_with_extensions_are_refused_unless_their_data_outweighs_them() -> None:
    small = b"1;" + b"a" * 100 + b"\r\nx\r\n"
    with pytest.raises(FramingError, match="too long"):
        run(ChunkedBody(), small * 1000, [])
    large = b"400;" + b"a" * 100 + b"\r\n" + b"x" * 1024 + b"\r\n"
    run(ChunkedBody(), large * 1000, [])


def test_data_without_extensions_works_off_their_excess() -> None:
    def after(plain: bytes) -> None:
        body = ChunkedBody()
        for _ in range(8):
            run(body, (b"1;" + b"a" * 4000 + b"\r\nx\r\n") * 3, [])
            run(body, plain, [])

    after(b"1000\r\n" + b"x" * 4096 + b"\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n")
    with pytest.raises(FramingError):
        after(b"1\r\nx\r\n")


def test_the_trailer_section_is_bounded() -> None:
    line = b"A: " + b"b" * 59 + b"\r\n"
    fits = MAX_TRAILER_BYTES // len(line)
    body = ChunkedBody()
    assert body.feed(b"0\r\n" + line * fits + b"\r\n") == (b"0\r\n\r\n", b"")
    with pytest.raises(FramingError, match="too long"):
        ChunkedBody().feed(b"0\r\n" + line * (fits + 1) + b"\r\n")
    with pytest.raises(FramingError, match="too long"):
        ChunkedBody().feed(b"0\r\n" + b"A" * (MAX_TRAILER_BYTES + 1))


def test_a_feed_handles_a_bounded_number_of_chunks_and_leaves_the_rest() -> None:
    one = b"1\r\nx\r\n"
    data = one * (CHUNKS_A_FEED + 10)
    body = ChunkedBody()
    pass_on, rest = body.feed(data)
    assert pass_on == one * CHUNKS_A_FEED
    assert rest == one * 10
    assert not body.done
    assert body.feed(bytes(rest) + b"0\r\n\r\n") == (bytes(rest) + b"0\r\n\r\n", b"")
    assert body.done


# --- which body a message has ---


@pytest.mark.parametrize(("value", "length"), [("0", 0), ("7", 7), (b"12", 12), ("9" * 18, 10**18 - 1)])
def test_a_content_length_is_digits(value: str | bytes, length: int) -> None:
    assert parse_content_length(value) == length


@pytest.mark.parametrize(
    "value",
    ["", "+5", "-0", "1_0", " 5", "5 ", "0x5", "5, 5", "1.0", "²", "٣", "1" * 19, b"\xb2", str(2**64 - 1)],
)
def test_anything_else_is_refused(value: str | bytes) -> None:
    with pytest.raises(FramingError):
        parse_content_length(value)


def test_a_request_has_the_body_that_its_head_announces() -> None:
    assert request_body(content_length=None, chunked=False) is None
    assert request_body(content_length="0", chunked=False) is None
    length = request_body(content_length="5", chunked=False)
    assert isinstance(length, LengthBody)
    assert length.remaining == 5
    chunked = request_body(content_length=None, chunked=True, decode=True)
    assert isinstance(chunked, ChunkedBody)
    assert chunked.feed(b"1\r\nx\r\n0\r\n\r\n") == (b"x", b"")


def test_a_length_beside_the_chunked_coding_is_refused() -> None:
    with pytest.raises(FramingError):
        request_body(content_length="5", chunked=True)
    with pytest.raises(FramingError):
        response_body(method="GET", status=200, content_length="5", chunked=True)


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 101), ("GET", 103), ("GET", 204), ("GET", 304)]
)
def test_some_responses_have_no_body_whatever_their_head_says(method: str, status: int) -> None:
    assert response_body(method=method, status=status, content_length="5", chunked=False) is None
    assert response_body(method=method, status=status, content_length=None, chunked=False) is None
    # But what it says must be a length: a caller is told.
    for malformed in (b"abc", b"-1", b"5, 5", b"9" * 5000, b""):
        with pytest.raises(FramingError):
            response_body(method=method, status=status, content_length=malformed, chunked=False)


def test_a_response_without_framing_ends_with_the_connection() -> None:
    assert isinstance(response_body(method="GET", status=200, content_length=None, chunked=False), UntilClose)
    assert isinstance(response_body(method="GET", status=200, content_length=b"5", chunked=False), LengthBody)
    assert response_body(method="GET", status=200, content_length=b"0", chunked=False) is None
    assert isinstance(response_body(method="PUT", status=404, content_length=None, chunked=True), ChunkedBody)


@pytest.mark.parametrize("decode", [False, True])
def test_views_are_read_as_bytes_are(decode: bool) -> None:
    """What came as a view of shared memory passes on as one, wherever it is cut."""
    expected = PAYLOAD if decode else WITHOUT
    for cut in range(len(MESSAGE) + 1):
        passed, after = b"", b""
        body = ChunkedBody(decode=decode)
        for part in (memoryview(MESSAGE)[:cut], memoryview(MESSAGE + b"GET /")[cut:]):
            pass_on, rest = body.feed(part)
            passed += bytes(pass_on)
            after += bytes(rest)
        assert (passed, after, body.done) == (expected, b"GET /", True)


def test_a_view_that_passes_whole_is_not_copied() -> None:
    data = bytearray(b"5\r\nhello\r\n5\r\nworld\r\n")
    for body in (ChunkedBody(), LengthBody(100), UntilClose()):
        pass_on, _ = body.feed(memoryview(data))
        assert isinstance(pass_on, memoryview)
        assert pass_on.obj is data
