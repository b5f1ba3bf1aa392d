"""The page that a request came from, where it lies on the very origin that was asked (RFC 9110 section 10.1.3).

Applications that are told `/proxy/PORT/`, as on a notebook of their own, ask for addresses that no path mount holds;
the page that asks lies under one. The rule: `Referer` says where to look, and never whether one may. Knows no mounts.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.routing.authority import Authority, same_origin


def referring_path(referers: Sequence[str], *, scheme: str, authority: Authority) -> str:
    """The path (raw, without its query) of the page that asked, or "" if it is another origin's, or none is named.

    `referers` are the field's values, of which there may be one; `scheme` and `authority` are what the caller called.
    """
    if len(referers) != 1:
        return ""
    start = referers[0].find("/", referers[0].find("://") + 3)
    if start < 0 or not same_origin(referers[0][:start], scheme=scheme, authority=authority):
        return ""
    path = referers[0][start:].partition("#")[0].partition("?")[0]
    return path if path.isascii() and path.isprintable() and " " not in path else ""
