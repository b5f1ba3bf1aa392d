"""Bodies that come compressed: decoded as they come, a bounded piece at a time, and never taken for whole too early."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.codings import CodingError, decoder

TEXT = b"<a href=/lab>lab</a>" * 200


def raw(text: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(text) + made.flush()


def decoded(coding: bytes, body: bytes, *, pieces: int = 0, at_most: int = 64 * 1024) -> bytes:
    """All of it, when all of it came in pieces of that size."""
    reader = decoder(coding)
    assert reader is not None
    out = b""
    for at in range(0, len(body), pieces or len(body) or 1):
        rest = body[at : at + (pieces or len(body))]
        while rest:
            text, rest = reader.feed(rest, at_most)
            assert len(text) <= at_most + 16 * 1024
            out += text
    reader.finish()
    return out


CODINGS = pytest.mark.parametrize(
    ("coding", "encode"),
    [(b"gzip", gzip.compress), (b"x-gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", raw)],
)


@CODINGS
@pytest.mark.parametrize("text", [TEXT, b"", b"x"])
@pytest.mark.parametrize("pieces", [0, 1, 2, 7])
def test_it_is_what_was_compressed_however_it_is_cut(coding: bytes, encode, text: bytes, pieces: int) -> None:
    assert decoded(coding, encode(text), pieces=pieces) == text
    assert decoded(coding, encode(text), pieces=pieces, at_most=5) == text


@CODINGS
def test_what_stops_short_is_no_whole_body(coding: bytes, encode) -> None:
    body = encode(TEXT)
    for size in (1, 2, 5, len(body) // 2, len(body) - 1):
        with pytest.raises(CodingError):
            decoded(coding, body[:size])


@CODINGS
def test_nothing_at_all_is_nothing(coding: bytes, encode) -> None:
    assert decoded(coding, b"") == b""


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_what_is_not_compressed_is_an_error(coding: bytes) -> None:
    for pieces in (0, 1):
        with pytest.raises(CodingError):
            decoded(coding, b"<html>" + TEXT, pieces=pieces)


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_members_follow_one_another_and_what_else_follows_means_nothing(pieces: int) -> None:
    one, two = gzip.compress(b"one"), gzip.compress(b"two")
    assert decoded(b"gzip", one + two, pieces=pieces) == b"onetwo"
    assert decoded(b"gzip", one + b"\0" * 512, pieces=pieces) == b"one"
    assert decoded(b"deflate", zlib.compress(b"one") + two, pieces=pieces) == b"one"
    with pytest.raises(CodingError):
        decoded(b"gzip", one + two[:-1], pieces=pieces)


def test_little_stands_for_much_and_is_made_a_piece_at_a_time() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    assert len(bomb) < 20_000
    assert decoded(b"gzip", bomb, at_most=64 * 1024) == bytes(10_000_000)


@pytest.mark.parametrize("coding", [b"", b"identity", b"br", b"zstd", b"gzip,gzip", b"gzip, br", b"compress"])
def test_others_are_not_known(coding: bytes) -> None:
    assert decoder(coding) is None


@given(st.binary(max_size=2000), st.integers(1, 50), st.integers(1, 300))
def test_any_text_in_any_pieces(text: bytes, pieces: int, at_most: int) -> None:
    for coding, encode in ((b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", raw)):
        assert decoded(coding, encode(text * 20), pieces=pieces, at_most=at_most) == text * 20


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_decoded_or_an_error(body: bytes) -> None:
    for coding in (b"gzip", b"deflate"):
        try:
            decoded(coding, body)
        except CodingError:
            pass
