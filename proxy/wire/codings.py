"""Content codings (RFC 9110 section 8.4.1) undone while a body streams by: gzip and deflate, which zlib knows.

The rule: a feed makes little more than was asked for, however much is packed into however little; what it did not look
at comes back to be fed again. What is malformed, or stops short, is a CodingError, never a whole body.
Knows nothing of what is in a body.
"""

from __future__ import annotations

import zlib
from typing import Final

_GZIP: Final = frozenset({b"gzip", b"x-gzip"})
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_GZIP_BEGINS: Final = b"\x1f"


class CodingError(Exception):
    """The body is not what its coding says. The message holds none of its bytes."""


class Decoder:
    """Decodes one body."""

    __slots__ = ("_begun", "_inflate", "_is_gzip")

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._begun = b""
        """Where nothing is open yet: too few bytes to tell what this is."""
        self._inflate: zlib._Decompress | None = None
        """What is open, or has ended."""

    def feed(self, data: bytes, at_most: int) -> tuple[bytes, bytes]:
        """Return (what is decoded, so many bytes or some kilobytes more; what is to be fed again, for it has not been
        looked at). `data` is not empty. Raises CodingError."""
        inflate = self._inflate
        if inflate is None:
            data = self._begun + data
            if len(data) < 2:
                self._begun = data
                return b"", b""
            self._begun = b""
            inflate = self._inflate = self._opened(data)
        elif inflate.eof:
            # Another member (RFC 1952 section 2.2); anything else behind the end means nothing.
            if self._is_gzip and data.startswith(_GZIP_BEGINS):
                self._inflate = None
                return b"", data
            return b"", b""
        try:
            text = inflate.decompress(data, at_most)
            while len(text) >= at_most and not inflate.eof and not inflate.unconsumed_tail:
                # The last bits that it took may stand for some kilobytes more.
                if not (more := inflate.decompress(b"", at_most)):
                    break
                text += more
        except zlib.error:
            raise CodingError from None
        return text, inflate.unused_data if inflate.eof else inflate.unconsumed_tail

    def finish(self) -> None:
        """All of the body has come. Raises CodingError if that is less than there should be. Nothing is nothing."""
        if self._begun or (self._inflate is not None and not self._inflate.eof):
            raise CodingError

    def _opened(self, data: bytes) -> zlib._Decompress:
        if self._is_gzip:
            return zlib.decompressobj(_GZIP_BITS)
        # "deflate" is zlib's format (RFC 1950). Some send what is in it alone, and browsers take that, too.
        is_wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if is_wrapped else -zlib.MAX_WBITS)


def decoder(coding: bytes) -> Decoder | None:
    """For the value of Content-Encoding, in small letters; None for one that is not known here, or several."""
    if coding in _GZIP:
        return Decoder(is_gzip=True)
    return Decoder(is_gzip=False) if coding == b"deflate" else None
