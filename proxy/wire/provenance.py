"""Whose page caused a request: one rule for WebSockets, for forms and for what changes something at a notebook.

It rests on what no page can forge in a browser: `Origin` (RFC 6454 section 7) and `Sec-Fetch-Site` (Fetch Metadata,
W3C), which browsers send to https and to loopback addresses. The rule: both have to agree where both are there, and
what is said twice says nothing good. A path on the same origin is not told apart: pages of all path mounts are each
other's own, and `Referer`, which a page may leave out or shorten, has no say.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from multidict import MultiMapping

from proxy.routing.authority import Authority, same_origin


class Provenance(Enum):
    """What caused a request, as far as it says."""

    OWN = "own"
    """A page of the very origin that was asked."""
    UNNAMED = "unnamed"
    """One by the browser's word alone: without an `Origin`, or with `null`, as under `Referrer-Policy: no-referrer`."""
    USER = "user"
    """No page, but the user: the address bar, a bookmark, a reload."""
    FOREIGN = "foreign"
    """A page of another origin, or of none."""
    UNSAID = "unsaid"
    """Fields that browsers send, and none that says from where: neither a browser's nor a program's way."""
    PROGRAM = "program"
    """None of a browser's fields; or a mode alone, as Node's `fetch` and `WebSocket` have it."""


_NODES: Final = ("cors", "websocket")
"""Modes of Node's own. What a page sends unasked is of another, and a browser never says one alone."""


def provenance(headers: MultiMapping[str], *, scheme: str, authority: Authority) -> Provenance:
    """Judge a request to `scheme` (what the caller's browser used) and `authority`."""
    origins = headers.getall("Origin", [])
    sites = headers.getall("Sec-Fetch-Site", [])
    site = sites[0].strip().lower() if sites else None
    if len(origins) > 1 or len(sites) > 1 or site not in {None, "same-origin", "none"}:
        return Provenance.FOREIGN
    if origins:
        if same_origin(origins[0], scheme=scheme, authority=authority):
            return Provenance.USER if site == "none" else Provenance.OWN
        is_hidden = origins[0] == "null" and site == "same-origin"
        return Provenance.UNNAMED if is_hidden else Provenance.FOREIGN
    if site is not None:
        return Provenance.USER if site == "none" else Provenance.UNNAMED
    modes = headers.getall("Sec-Fetch-Mode", [])
    is_programs = "Sec-Fetch-Dest" not in headers and (not modes or (len(modes) == 1 and modes[0] in _NODES))
    return Provenance.PROGRAM if is_programs else Provenance.UNSAID
