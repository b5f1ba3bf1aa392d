"""Pages whose text changes under a path mount: rewritten while they stream by, whatever their size.

The rule: a page is rewritten in pieces, one in a turn of the event loop, so that no page keeps the others waiting; what
waits is no more than one read brought, and nothing more is read meanwhile. A page that comes compressed, although that
was not asked for, is decoded piece by piece. What is not a page passes unchanged. What changes in a page is
`proxy.routing.pages`' business.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from multidict import MultiMapping

from proxy.routing.mounts import MountKind
from proxy.routing.pages import (
    Rewriting,
    is_of_interest,
    needs_rewrite,
    rewrite_csp,
    rewriter,
    rewritten_etag,
)
from proxy.routing.router import Route
from proxy.wire.codings import decoder
from proxy.wire.heads import ResponseFacts

PIECE_BYTES: Final = 64 * 1024
_PLAIN: Final = frozenset({b"", b"identity"})


def wants_plain(method: str, route: Route, headers: MultiMapping[str]) -> bool:
    """Whether the answer may be a page to rewrite, so that it must not be compressed."""
    if route.mount.kind is not MountKind.PATH or method != "GET":
        return False
    if is_of_interest(route.upstream_target):
        return True
    return any("text/html" in value.lower() for value in headers.getall("Accept", ()))


class PageRewrite:
    """One page on its way."""

    __slots__ = ("_coded", "_decoder", "_pieces", "_prefix", "_rewriter", "facts", "is_readable")

    def __init__(self, kind: Rewriting, facts: ResponseFacts, *, prefix: str) -> None:
        self.facts = facts
        is_plain = facts.content_encoding in _PLAIN
        self._decoder = None if is_plain else decoder(facts.content_encoding)
        self.is_readable = is_plain or self._decoder is not None
        """Whether its coding is known here."""
        self._coded: deque[bytes] = deque()
        self._prefix = prefix
        self._rewriter = rewriter(kind, prefix)
        self._pieces: deque[bytes] = deque()

    @property
    def facts_as_rewritten(self) -> ResponseFacts:
        """The head of the rewritten page: each field for itself, and none of a length that no longer holds."""
        fields = [
            b"%b: %b" % (name, value)
            for name, old in self.facts.fields
            if (value := _field_of_page(name, old, self._prefix)) or not old
        ]
        return self.facts.with_fields(fields)

    @property
    def is_waiting(self) -> bool:
        """Something of what came is not rewritten yet."""
        return bool(self._pieces or self._coded)

    def add(self, data: bytes) -> None:
        """More of the page has come."""
        waiting = self._pieces if self._decoder is None else self._coded
        waiting.extend(data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))

    def rewrite(self) -> bytes:
        """Rewrite the next piece, or as much of it as is work for one turn of the event loop. Raises CodingError."""
        if self._decoder is not None and not self._pieces:
            text, left = self._decoder.feed(self._coded.popleft(), PIECE_BYTES)
            if left:
                self._coded.appendleft(left)
            if not text:
                return b""
            self._pieces.append(text)
        rewritten, rest = self._rewriter.feed(self._pieces.popleft())
        if rest:
            self._pieces.appendleft(rest)
        return rewritten

    def finish(self) -> bytes:
        """What is left when all of it has come and is rewritten. Raises CodingError."""
        if self._decoder is not None:
            self._decoder.finish()
        return self._rewriter.finish()


def page_rewrite(route: Route, facts: ResponseFacts) -> PageRewrite | None:
    """The rewriting that a response needs, or None."""
    if route.mount.kind is not MountKind.PATH:
        return None
    kind = needs_rewrite(
        target=route.upstream_target,
        content_type=facts.content_type.decode("latin-1"),
        status=facts.status,
    )
    if kind is None:
        return None
    return PageRewrite(kind, facts, prefix=route.prefix)


def _field_of_page(name: bytes, value: bytes, prefix: str) -> bytes:
    match name.lower():
        case (
            b"content-length"
            | b"content-encoding"
            # What is said of the bytes (RFC 9530, RFC 9110 section 14.3), which are others.
            | b"content-digest"
            | b"repr-digest"
            | b"digest"
            | b"content-md5"
            | b"accept-ranges"
        ):
            return b""
        case b"etag":
            return rewritten_etag(value)
        case b"content-security-policy" | b"content-security-policy-report-only":
            return rewrite_csp(value, prefix)
        case _:
            return value
