"""Where a message body ends: RFC 9112 sections 6 and 7, as trackers over bytes that pass by.

A tracker never holds a body. `feed(data)` returns `(pass_on, rest)`: what may go on to the other side, and
what this feed left alone: the next message's bytes once `done`, else bytes to feed again after a turn of
the event loop (a chunked body of tiny chunks stops at a bound of work). Nothing is copied unless bytes have
to be dropped: `pass_on` is then usually the very object that came in. Chunk extensions and trailers are
never passed on. Knows nothing of heads, sockets or who is talking; what it cannot read unambiguously is a
FramingError, and the connection that sent it cannot be used any more.
"""

from __future__ import annotations

import re
from typing import Final

CHUNKS_A_FEED: Final = 2000
"""A feed handles this many chunks at most: about two milliseconds of one-byte chunks."""
MAX_CHUNK_SIZE_DIGITS: Final = 16
MAX_EXTENSION_BYTES: Final = 4096
"""Of one chunk."""
MAX_EXTENSION_EXCESS: Final = 16 * 1024
"""Of all chunks, after what each has earned by its data (CVE-2023-39326, and Go's answer to it)."""
MAX_TRAILER_BYTES: Final = 16 * 1024
MAX_LENGTH_DIGITS: Final = 18
"""Of a Content-Length. More may overflow another parser: aiohttp takes 2^64-1 for "no body"."""

_LARGEST_CHUNK: Final = 2**63 - 1
_EXTENSION_BYTES_EARNED: Final = 16
_TEXT: Final = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_SIZE_LINE: Final = re.compile(rb"[0-9a-fA-F]{1,16}\r\n")
# No obs-fold, no space before the colon, no control byte: RFC 9112 section 5.
_FIELD_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n")

Data = bytes | memoryview
"""What trackers are fed, and what they pass on: of what was a view, views."""

_CR: Final = 0x0D
_LF: Final = 0x0A
_SEMICOLON: Final = 0x3B
_BLANKS: Final = b" \t"


class FramingError(Exception):
    """The body's framing is malformed, ambiguous or abusive. The message holds none of its bytes."""


class LengthBody:
    """A body of `length` bytes (RFC 9112 section 6.2)."""

    __slots__ = ("done", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0

    def feed(self, data: Data) -> tuple[Data, Data]:
        """Return (what belongs to this body, what follows it)."""
        remaining = self.remaining
        size = len(data)
        if size < remaining:
            self.remaining = remaining - size
            return data, b""
        self.remaining = 0
        self.done = True
        return data[:remaining], data[remaining:]


class UntilClose:
    """A response body that the end of the connection ends (RFC 9112 section 6.3, rule 8)."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: Data) -> tuple[Data, Data]:
        """Return (data, nothing): every byte belongs to this body."""
        return data, b""


# States of a chunked body, named after what is expected next.
_SIZE: Final = 0  # the first digit of a chunk size, or more digits
_BLANK: Final = 1  # white space after the digits: only an extension may follow
_EXTENSION: Final = 2
_SIZE_LF: Final = 3
_DATA: Final = 4
_DATA_CR: Final = 5
_DATA_LF: Final = 6
_TRAILER: Final = 7  # the start of a trailer line, or of the empty line that ends the body
_TRAILER_LINE: Final = 8
_LAST_LF: Final = 9
_DONE: Final = 10

# What is dropped is a set of whole states, so that a body may be cut anywhere between two feeds.
_DROPPED_ENCODED: Final = frozenset({_BLANK, _EXTENSION, _TRAILER_LINE})
_DROPPED_DECODED: Final = frozenset(range(_DONE + 1)) - {_DATA}


class ChunkedBody:
    """A body in the chunked transfer coding (RFC 9112 section 7.1), read strictly.

    What passes on is the same coding without extensions and trailers, or the payload alone with
    `decode=True`.
    """

    __slots__ = (
        "_decode",
        "_digits",
        "_dropped",
        "_excess",
        "_extension",
        "_line",
        "_remaining",
        "_size",
        "_state",
        "_trailers",
        "chunks_a_feed",
        "done",
    )

    def __init__(self, *, decode: bool = False, chunks_a_feed: int = CHUNKS_A_FEED) -> None:
        self.done = False
        self.chunks_a_feed = chunks_a_feed
        self._decode = decode
        self._dropped = _DROPPED_DECODED if decode else _DROPPED_ENCODED
        self._state = _SIZE
        self._digits = 0
        self._size = 0
        self._extension = 0
        self._excess = 0
        self._remaining = 0
        self._trailers = 0
        self._line = bytearray()

    def feed(self, data: Data) -> tuple[Data, Data]:
        """Return (what may pass on, what was not looked at).

        Raises FramingError; what this feed had accepted before the fault is then lost on purpose.
        """
        state = self._state
        length = len(data)
        if state == _DATA and length <= self._remaining:
            self._remaining -= length
            if self._remaining == 0:
                self._state = _DATA_CR
            return data, b""
        return self._feed(data, state, length)

    def _feed(self, data: Data, state: int, length: int) -> tuple[Data, Data]:
        decode = self._decode
        dropped = self._dropped
        kept: list[Data] = []
        # data[keep_from:position] passes on unless something of it is dropped.
        keep_from = length if state in dropped else 0
        position = 0
        chunks = 0
        while position < length:
            if state == _SIZE:
                if self._digits == 0:
                    if chunks == self.chunks_a_feed:
                        break
                    chunks += 1
                    # The whole line lies in this feed nearly always; the steps below take it byte by byte.
                    if line := _SIZE_LINE.match(data, position):
                        start = line.end()
                        size = int(bytes(data[position : start - 2]), 16)
                        end = start + size
                        if size and data[end : end + 2] == b"\r\n":
                            if self._excess:
                                self._earn(size)
                            if decode:
                                kept.append(data[start:end])
                            position = end + 2
                        else:
                            position = start
                            self._size = size
                            state = self._chunk_begins()
                        continue
                byte = data[position]
                if byte in _HEX:
                    self._digit(byte)
                elif not self._digits:
                    raise FramingError("a chunk size is missing")
                elif byte == _CR:
                    state = _SIZE_LF
                elif byte == _SEMICOLON or byte in _BLANKS:
                    if not decode and keep_from < position:
                        kept.append(data[keep_from:position])
                    keep_from = length
                    state = _BLANK
                    continue
                else:
                    raise FramingError("a chunk size is malformed")
                position += 1
            elif state == _DATA:
                step = min(self._remaining, length - position)
                if decode:
                    kept.append(data[position : position + step])
                position += step
                self._remaining -= step
                if self._remaining == 0:
                    state = _DATA_CR
            elif state == _DATA_CR:
                if data[position] != _CR:
                    raise FramingError("a chunk is longer than its size")
                position += 1
                state = _DATA_LF
            elif state == _DATA_LF:
                if data[position] != _LF:
                    raise FramingError("a chunk is longer than its size")
                position += 1
                state = _SIZE
            elif state == _BLANK:
                byte = data[position]
                if byte == _SEMICOLON:
                    state = _EXTENSION
                elif byte not in _BLANKS:
                    raise FramingError("a chunk size is followed by white space")
                position += 1
                self._overhead(1)
            elif state == _EXTENSION:
                data = bytes(data)
                end = data.find(b"\r", position)
                stop = length if end < 0 else end
                self._overhead(stop - position)
                if data[position:stop].translate(None, _TEXT):
                    raise FramingError("a chunk extension holds a control byte")
                position = stop
                if end >= 0:
                    if not decode:
                        keep_from = position
                    position += 1
                    state = _SIZE_LF
            elif state == _SIZE_LF:
                if data[position] != _LF:
                    raise FramingError("a chunk size's line does not end in CRLF")
                position += 1
                state = self._chunk_begins()
            elif state == _TRAILER:
                if data[position] == _CR:
                    if not decode:
                        keep_from = min(keep_from, position)
                    position += 1
                    state = _LAST_LF
                else:
                    if not decode and keep_from < position:
                        kept.append(data[keep_from:position])
                    keep_from = length
                    state = _TRAILER_LINE
            elif state == _TRAILER_LINE:
                data = bytes(data)
                end = data.find(b"\n", position) + 1
                stop = end or length
                self._trailer(data, position, stop)
                position = stop
                if end:
                    self._trailer_ends()
                    state = _TRAILER
            elif state == _LAST_LF:
                if data[position] != _LF:
                    raise FramingError("the trailer section does not end in CRLF")
                position += 1
                state = _DONE
                self.done = True
            else:
                break
        self._state = state
        if not decode and keep_from < position:
            kept.append(data[keep_from:position])
        return (kept[0] if len(kept) == 1 else b"".join(kept)), data[position:]

    def _digit(self, byte: int) -> None:
        self._digits += 1
        if self._digits > MAX_CHUNK_SIZE_DIGITS:
            raise FramingError("a chunk size has too many digits")
        self._size = self._size << 4 | (byte & 15 if byte < 0x40 else (byte & 7) + 9)

    def _chunk_begins(self) -> int:
        size = self._size
        if size > _LARGEST_CHUNK:
            raise FramingError("a chunk size is too large")
        self._digits = self._size = self._extension = 0
        self._earn(size)
        self._remaining = size
        return _DATA if size else _TRAILER

    def _overhead(self, count: int) -> None:
        self._extension += count
        self._excess += count
        if self._extension > MAX_EXTENSION_BYTES or self._excess > MAX_EXTENSION_EXCESS:
            raise FramingError("chunk extensions are too long")

    def _earn(self, size: int) -> None:
        self._excess = max(0, self._excess - _EXTENSION_BYTES_EARNED - 2 * size)

    def _trailer(self, data: Data, start: int, stop: int) -> None:
        self._trailers += stop - start
        if self._trailers > MAX_TRAILER_BYTES:
            raise FramingError("the trailer section is too long")
        self._line += data[start:stop]

    def _trailer_ends(self) -> None:
        if not _FIELD_LINE.fullmatch(self._line):
            raise FramingError("a trailer field is malformed")
        self._line.clear()


Body = LengthBody | ChunkedBody | UntilClose


def parse_content_length(value: str | bytes) -> int:
    """Return a Content-Length in bytes (RFC 9110 section 8.6).

    Raises FramingError for anything but 1 to 18 ASCII digits: no sign, underscore, white space or list.
    """
    # str.isdigit() alone would take superscripts and other scripts' digits.
    if not (value.isascii() and value.isdigit()) or len(value) > MAX_LENGTH_DIGITS:
        raise FramingError("the content length is not a number")
    return int(value)


def request_body(
    *, content_length: str | bytes | None, chunked: bool, decode: bool = False
) -> LengthBody | ChunkedBody | None:
    """Return the tracker of a request's body, or None if it has none (RFC 9112 section 6.3).

    Raises FramingError for a malformed length, and for a length beside the chunked coding.
    """
    if chunked:
        if content_length is not None:
            raise FramingError("a content length and a transfer coding exclude each other")
        return ChunkedBody(decode=decode)
    if content_length is None:
        return None
    length = parse_content_length(content_length)
    return LengthBody(length) if length else None


def response_body(
    *, method: str, status: int, content_length: str | bytes | None, chunked: bool, decode: bool = False
) -> Body | None:
    """Return the tracker of a response's body, or None if it has none (RFC 9112 section 6.3).

    `method` is the request's. Raises FramingError as `request_body` does, also for a length that nothing follows: a
    caller is told it all the same.
    """
    if method == "HEAD" or status < 200 or status in (204, 304):
        if content_length is not None:
            parse_content_length(content_length)
        return None
    if not chunked and content_length is None:
        return UntilClose()
    return request_body(content_length=content_length, chunked=chunked, decode=decode)
