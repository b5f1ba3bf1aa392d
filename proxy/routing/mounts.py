"""Mounts: where an instance appears to callers. Values that are valid by construction, and how they clash.

The rule: a mount is canonical (lower-case host, path between slashes), so that equal text is the equal mount
and matching never normalises. Nothing here knows requests; `proxy.routing.router` matches them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import combinations
from typing import Final

from proxy.errors import BadRequest
from proxy.routing.authority import parse_authority

OWN_PATHS: Final = ("/.nbgate/", "/api/gateway/")
"""The gateway's own pages and JSON API, on every host and port, whatever is mounted there."""

# RFC 3986's unreserved characters: no encoding can spell the same path in another way that browsers keep.
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~-]+/)+")


class MountKind(Enum):
    """What tells one instance's requests from another's."""

    ROOT = "root"
    HOST = "host"
    PORT = "port"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Mount:
    """Where one instance appears. Use the constructors `root`, `on_host`, `on_port` and `at_path`."""

    kind: MountKind
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def root(cls) -> Mount:
        """The whole gateway is one instance."""
        return cls(MountKind.ROOT)

    @classmethod
    def on_host(cls, host: str) -> Mount:
        """A host name of its own, such as `research.notebooks.internal`. Raises ValueError."""
        try:
            authority = parse_authority(host)
        except BadRequest:
            raise ValueError(f"{host!r} is not a host name") from None
        if authority.port is not None:
            raise ValueError(f"{host!r} names a port, which a host mount has not")
        return cls(MountKind.HOST, host=authority.host)

    @classmethod
    def on_port(cls, port: int) -> Mount:
        """A listening port of its own, 1 to 65535. Raises ValueError."""
        if not 0 < port < 65536:
            raise ValueError(f"{port} is not a port: 1 to 65535")
        return cls(MountKind.PORT, port=port)

    @classmethod
    def at_path(cls, path: str) -> Mount:
        """A path of its own, such as `/research/` (the slashes may be left out). Raises ValueError."""
        canonical = f"/{path.strip('/')}/"
        if not _PATH.fullmatch(canonical):
            raise ValueError(
                f"{path!r} cannot be a mount's path: letters, digits, '.', '_', '~', '-' between slashes"
            )
        if not {".", ".."}.isdisjoint(canonical.split("/")):
            raise ValueError(f"{path!r} has a dot segment, which browsers resolve before they ask")
        for own in OWN_PATHS:
            if own.startswith(canonical) or canonical.startswith(own):
                raise ValueError(f"{path!r} meets the gateway's own pages at {own}")
        return cls(MountKind.PATH, path=canonical)

    @property
    def prefix(self) -> str:
        """What stands before the instance's own paths: `/research`, or nothing."""
        return self.path[:-1]

    def __str__(self) -> str:
        place = self.host or self.path or str(self.port or "")
        return f"{self.kind.value} {place}".rstrip()


def clashes(mounts: Mapping[str, Mount]) -> list[tuple[str, str, str]]:
    """Return (instance, other instance, reason) for every two mounts that exclude each other.

    Paths inside one another are refused too: a browser sends the outer instance's cookies to the inner one.
    A root mount beside path mounts is fine, and takes what they leave.
    """
    return [
        (one, other, reason)
        for (one, mount), (other, second) in combinations(mounts.items(), 2)
        if (reason := _clash(mount, second))
    ]


def hides(mount: Mount, alias: Mount) -> bool:
    """Whether what is mounted there answers everything that an alias stands for."""
    if mount.kind is alias.kind is MountKind.PATH:
        return alias.path.startswith(mount.path)
    return mount == alias


def _clash(mount: Mount, other: Mount) -> str:
    if mount == other:
        return "only one instance can be mounted at the root" if mount == Mount.root() else f"both at {mount}"
    if mount.kind is other.kind is MountKind.PATH:
        inner, outer = (
            (mount.path, other.path) if mount.path.startswith(other.path) else (other.path, mount.path)
        )
        if inner.startswith(outer):
            return f"path {inner} lies inside {outer}, whose cookies browsers would send along"
    return ""
