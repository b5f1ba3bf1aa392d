"""The way from a caller's mount to an upstream session: how heads change on it, and where connections rest.

The rule: made once for a connection, and again when the session or the mount is another one; nothing in it
depends on a single request.
"""

from __future__ import annotations

from typing import NamedTuple

from proxy.aws.sessions import UpstreamSession
from proxy.dataplane.upstream import UpstreamConnection
from proxy.gateway import Caller
from proxy.wire.heads import Translation


class Link(NamedTuple):
    """See the module's docstring."""

    translation: Translation
    shelf: list[UpstreamConnection]
    """Where idle connections to that notebook rest."""


def link(session: UpstreamSession, caller: Caller, *, prefix: str, shelf: list[UpstreamConnection]) -> Link:
    """Join `caller`, at a mount with the path `prefix` ("" if it has none), to `session`."""
    own_authority = str(caller.authority)
    translation = Translation(
        upstream_authority=session.origin.authority,
        upstream_origin=str(session.origin).encode("ascii"),
        own_origin=f"{caller.scheme}://{own_authority}".encode("ascii"),
        prefix=prefix.encode("ascii"),
        cookies=session.cookie_header,
        withheld_cookies=session.cookie_names | caller.door.own_cookies,
        forwarding=(
            f"X-Forwarded-For: {caller.address}\r\n"
            f"X-Forwarded-Proto: {caller.scheme}\r\n"
            f"X-Forwarded-Host: {own_authority}\r\n"
        ).encode("ascii"),
    )
    return Link(translation, shelf)
