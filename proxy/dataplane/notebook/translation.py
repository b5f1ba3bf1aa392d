"""The way from a caller's mount to an upstream session: how heads change on it, and where connections rest.

The rule: made once for a caller on a connection, and again when the session or the mount is another one; nothing in it
depends on a single request.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.admission.caller import Caller
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.routing.mounts import Mount, MountKind
from proxy.upstream import NotebookSession
from proxy.wire.heads import Translation

CALLERS_REMEMBERED: Final = 64
"""Of one connection, at most; the one that came first goes first."""


class Link(NamedTuple):
    """See the module's docstring."""

    translation: Translation
    shelf: list[UpstreamConnection]
    """Where idle connections to that notebook rest."""


class Way:
    """The link that a caller's requests took last, and what it joined."""

    __slots__ = ("joined", "link")

    joined: tuple[NotebookSession, Caller, Mount] | None
    link: Link

    def __init__(self) -> None:
        self.joined = None


class Ways:
    """The ways of one connection's callers: a proxy's has many, and each caller's is made once."""

    __slots__ = ("_ways",)

    def __init__(self) -> None:
        self._ways: dict[Caller, Way] = {}

    def of(self, caller: Caller) -> Way:
        """That caller's, whom an equal one is as good as."""
        ways = self._ways
        way = ways.get(caller)
        if way is None:
            if len(ways) >= CALLERS_REMEMBERED:
                ways.pop(next(iter(ways)))
            way = ways[caller] = Way()
        return way


_OWN_ORIGINS: Final = (MountKind.HOST, MountKind.PORT)
"""A mount at the root shares its origin with the gateway's own pages for all instances, and with path mounts."""


def link(
    session: NotebookSession,
    caller: Caller,
    *,
    mount: Mount,
    shelf: list[UpstreamConnection],
    tells_address: bool,
) -> Link:
    """Join `caller`, at a mount, to `session`. `tells_address`: the notebook may know who calls."""
    own_authority = str(caller.authority)
    # A caller on a Unix socket may have none.
    is_told = tells_address and caller.address is not None
    address = f"X-Forwarded-For: {caller.address}\r\n" if is_told else ""
    translation = Translation(
        upstream_authority=session.origin.authority,
        upstream_origin=str(session.origin).encode("ascii"),
        own_origin=f"{caller.scheme}://{own_authority}".encode("ascii"),
        prefix=mount.prefix.encode("ascii"),
        cookies=session.cookie_header,
        withheld_cookies=session.cookie_names,
        forwarding=(
            address + f"X-Forwarded-Proto: {caller.scheme}\r\nX-Forwarded-Host: {own_authority}\r\n"
        ).encode("ascii"),
        owns_origin=mount.kind in _OWN_ORIGINS,
        steering_cookies=session.steering_cookies,
    )
    return Link(translation, shelf)
