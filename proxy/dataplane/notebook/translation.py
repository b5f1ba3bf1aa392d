"""From a caller's mount to a notebook's session: how heads change on the way, and which connections lead there.

The rule: made once for a caller on a connection, and again when the session or the mount is another one; nothing in it
depends on a single request.
"""

from __future__ import annotations

from typing import Final

from proxy.admission.caller import Caller
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.memory import Memo
from proxy.routing.mounts import Mount, MountKind
from proxy.upstream import NotebookSession
from proxy.wire.heads import Translation

CALLERS_REMEMBERED: Final = 64
"""Of one connection, at most."""


class ToNotebook:
    """How the requests of one caller reach a notebook: made anew where its session or mount is another one."""

    __slots__ = ("idle", "joined", "translation")

    translation: Translation
    """How heads change on the way."""
    idle: list[UpstreamConnection]
    """The connections to that notebook which are free."""
    joined: tuple[NotebookSession, Caller, Mount] | None
    """What it was made for."""

    def __init__(self) -> None:
        self.joined = None

    def join(
        self,
        session: NotebookSession,
        caller: Caller,
        mount: Mount,
        *,
        idle: list[UpstreamConnection],
        tells_address: bool,
    ) -> None:
        """`tells_address`: the notebook may know who calls."""
        self.translation = translation_for(session, caller, mount=mount, tells_address=tells_address)
        self.idle = idle
        self.joined = (session, caller, mount)


class ToNotebooks:
    """Those of one connection's callers: a proxy's has many, and each caller's is made once."""

    __slots__ = ("_by_caller",)

    def __init__(self) -> None:
        self._by_caller = Memo[Caller, ToNotebook](CALLERS_REMEMBERED)

    def of(self, caller: Caller) -> ToNotebook:
        """That caller's, whom an equal one is as good as."""
        return self._by_caller.get(caller) or self._by_caller.keep(caller, ToNotebook())


_OWN_ORIGINS: Final = (MountKind.HOST, MountKind.PORT)
"""A mount at the root shares its origin with the gateway's own pages for all instances, and with path mounts."""


def translation_for(
    session: NotebookSession, caller: Caller, *, mount: Mount, tells_address: bool
) -> Translation:
    """How heads change between `caller`, at a mount, and a notebook with `session`.

    `tells_address`: the notebook may know who calls.
    """
    own_authority = str(caller.authority)
    # A caller on a Unix socket may have none.
    is_told = tells_address and caller.address is not None
    address = f"X-Forwarded-For: {caller.address}\r\n" if is_told else ""
    return Translation(
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
