"""Pages whose text changes under a path mount: collected, rewritten, and sent with a length of their own.

The rule: this is the only place where the data plane holds a response's body, and only up to a limit; what is
larger, encoded, or not a page passes unchanged. What changes in a page is `proxy.routing.pages`' business.
"""

from __future__ import annotations

from typing import Final

from multidict import MultiMapping

from proxy.routing.mounts import MountKind
from proxy.routing.pages import (
    Rewriting,
    needs_rewrite,
    rewrite_csp,
    rewrite_html,
    rewrite_kernelspecs,
    rewritten_etag,
)
from proxy.routing.router import Route
from proxy.wire.heads import ResponseFacts

_KERNELSPECS: Final = "/api/kernelspecs"


def wants_plain(method: str, route: Route, headers: MultiMapping[str]) -> bool:
    """Whether the answer may be a page to rewrite, so that it must not be compressed."""
    if route.mount.kind is not MountKind.PATH or method != "GET":
        return False
    if route.upstream_target.startswith(_KERNELSPECS):
        return True
    return any("text/html" in value.lower() for value in headers.getall("Accept", ()))


class PageRewrite:
    """One page on its way."""

    __slots__ = ("_kind", "_limit", "_parts", "_prefix", "_size", "facts")

    def __init__(self, kind: Rewriting, facts: ResponseFacts, *, prefix: str, limit_bytes: int) -> None:
        self.facts = facts
        self._kind = kind
        self._prefix = prefix
        self._limit = limit_bytes
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_too_large(self) -> bool:
        """By its own word, before anything of it came."""
        length = self.facts.content_length
        return length is not None and int(length) > self._limit

    def add(self, data: bytes) -> bool:
        """Collect; False when it has become too large (the data is collected all the same)."""
        self._parts.append(data)
        self._size += len(data)
        return self._size <= self._limit

    @property
    def facts_as_rewritten(self) -> ResponseFacts:
        """The head of the rewritten page: each field for itself, and none of a length that no longer holds."""
        fields = [
            b"%b: %b" % (name, value)
            for name, old in self.facts.fields
            if (value := _field_of_page(name, old, self._prefix)) or not old
        ]
        return self.facts.with_fields(fields)

    def collected(self) -> bytes:
        """The page as it came."""
        return b"".join(self._parts)

    def rewritten(self) -> bytes:
        """The page as the caller is to see it."""
        rewrite = rewrite_html if self._kind == "html" else rewrite_kernelspecs
        return rewrite(self.collected(), self._prefix)


def page_rewrite(route: Route, facts: ResponseFacts, limit_bytes: int) -> PageRewrite | None:
    """The rewriting that a response needs, or None."""
    if route.mount.kind is not MountKind.PATH:
        return None
    if facts.content_encoding not in {b"", b"identity"}:
        return None
    kind = needs_rewrite(
        target=route.upstream_target,
        content_type=facts.content_type.decode("latin-1"),
        status=facts.status,
    )
    if kind is None:
        return None
    return PageRewrite(kind, facts, prefix=route.prefix, limit_bytes=limit_bytes)


def _field_of_page(name: bytes, value: bytes, prefix: str) -> bytes:
    match name.lower():
        case b"content-length":
            return b""
        case b"etag":
            return rewritten_etag(value)
        case b"content-security-policy" | b"content-security-policy-report-only":
            return rewrite_csp(value, prefix)
        case _:
            return value
