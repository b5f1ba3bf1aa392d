"""The way from a caller's mount to an upstream session: how heads change on it, and where connections rest.

The rule: made once for a caller on a connection, and again when the session or the mount is another one; nothing in it
depends on a single request.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.aws.cookies import STEERING
from proxy.aws.sessions import UpstreamSession
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.gateway import Caller
from proxy.routing.mounts import Mount, MountKind
from proxy.wire.heads import Translation


class Link(NamedTuple):
    """See the module's docstring."""

    translation: Translation
    shelf: list[UpstreamConnection]
    """Where idle connections to that notebook rest."""


class Way:
    """The link that a caller's requests took last, and what it joined."""

    __slots__ = ("joined", "link")

    joined: tuple[UpstreamSession, Caller, Mount] | None
    link: Link

    def __init__(self) -> None:
        self.joined = None

    def leads(self, session: UpstreamSession, caller: Caller, mount: Mount) -> bool:
        """Whether the link is one for that caller, at that mount, to that session."""
        joined = self.joined
        return (
            joined is not None and joined[0] == session and joined[2] == mount and _is_same(joined[1], caller)
        )

    def is_for(self, caller: Caller) -> bool:
        """Whether that caller may have it: nobody else has."""
        return self.joined is None or _is_same(self.joined[1], caller)


def _is_same(before: Caller, caller: Caller) -> bool:
    """Behind a proxy each request's caller is worked out anew, and mostly turns out to be the same one."""
    return before is caller or (
        before.door is caller.door
        and before.address == caller.address
        and before.scheme == caller.scheme
        and before.authority == caller.authority
    )


_OWN_ORIGINS: Final = (MountKind.HOST, MountKind.PORT)
"""A mount at the root shares its origin with the gateway's own pages for all instances, and with path mounts."""


def link(
    session: UpstreamSession,
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
        steering_cookies=STEERING,
    )
    return Link(translation, shelf)
