"""Texts that come in pieces, and are rewritten in turns."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.routing.links import Rewriter


def rewritten(rewriter: Rewriter, pieces: Iterable[bytes]) -> bytes:
    """All of it, when all of it came. No piece is ever held back as a whole, and none for ever."""
    out = []
    for piece in pieces:
        rest = piece
        while rest:
            text, left = rewriter.feed(rest)
            assert len(left) < len(rest)
            rest = left
            out.append(text)
    out.append(rewriter.finish())
    return b"".join(out)


def cut(text: bytes, *sizes: int) -> list[bytes]:
    """The text in pieces of these sizes, the last one again and again."""
    pieces, at, number = [], 0, 0
    while at < len(text):
        size = sizes[min(number, len(sizes) - 1)]
        pieces.append(text[at : at + size])
        at, number = at + size, number + 1
    return pieces
