"""What of a response's head depends on the mount at which its caller sees the notebook: where it leads, how far a
service worker reaches, and whose its cookies are.

The rule: plain functions of the head and the route; how lines change is `proxy.wire.heads`' business. Knows no
connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.routing.jupyters import is_jupyters_own, is_proxied
from proxy.routing.pages import rewrite_location
from proxy.routing.workers import worker_scope
from proxy.wire.credentials import take_out
from proxy.wire.heads import response_head

if TYPE_CHECKING:
    from proxy.routing.router import Route, Router
    from proxy.wire.heads import ResponseFacts, Translation

_FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses whose `Location` browsers go to by themselves (Fetch, "redirect status")."""


def mounts_head(
    facts: ResponseFacts, translation: Translation, *, route: Route, framing: bytes, router: Router
) -> bytes:
    """The head of a response of which something depends on the mount."""

    def scope(allowed: bytes) -> bytes:
        """`Service-Worker-Allowed`, cut to the mount."""
        return worker_scope(
            allowed.decode("latin-1"),
            script=(route.prefix + route.upstream_target).partition("?")[0],
            mount=route.mount.path or "/",
            others=router.others_at(route.mount),
        ).encode("latin-1")

    return response_head(
        facts,
        translation,
        framing=framing,
        location=_location(facts, translation, route) if facts.location else b"",
        worker_scope=scope,
        by_application=is_proxied(route.upstream_target),
    )


def may_set_session(target: str) -> bool:
    """Whether cookies of an answer to `target` may be those of the session that all callers share.

    Not those that an application sets, whatever it calls them, nor what a caller's own presigned URL buys.
    """
    return is_jupyters_own(target) and not take_out(target).links


def _location(facts: ResponseFacts, translation: Translation, route: Route) -> bytes:
    """`Location` as the caller is to see it."""
    return rewrite_location(
        facts.location.decode("utf-8", "surrogateescape"),
        prefix=route.prefix,
        upstream_origin=translation.upstream_origin.decode("ascii"),
        own_origin=translation.own_origin.decode("ascii"),
        is_followed=facts.status in _FOLLOWED,
    ).encode("utf-8", "surrogateescape")
