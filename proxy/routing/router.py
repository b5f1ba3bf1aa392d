"""From a request's host, listener and target to the instance that is mounted there.

The rule: the instance comes out of the configured mounts and nothing else, by comparing bytes as they came.
Targets are never decoded or normalised, so the policy and the notebook judge the same path; no header but
`Host` has a say. Knows nothing of policies, schemes or what the gateway's own pages are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple

from proxy.errors import Misdirected
from proxy.routing.authority import Authority, parse_authority
from proxy.routing.mounts import OWN_PATHS, Mount, MountKind

_Mounted = tuple[str, Mount]
_NONE: Final[Mapping[str, Sequence[Mount]]] = MappingProxyType({})


class Route(NamedTuple):
    """A request for an instance's notebook."""

    instance: str
    mount: Mount
    upstream_target: str
    """The target in origin-form as the notebook is to see it, byte for byte but for the mount's prefix."""
    prefix: str
    """`/research`, or "" where the mount has no path."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """The mount's address without its last slash, or a former one; `location` is the right one, with the query.
    `instance` is mounted there, which only who may reach it is told."""

    status: ClassVar[int] = 308
    location: str
    instance: str = field(default="", kw_only=True)

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The answer's, but for its framing."""
        return (("Location", self.location), ("Cache-Control", "no-store"))


@dataclass(frozen=True, slots=True)
class Detour(Redirect):
    """The same path under the mount of the page that asked, which took it for one of the notebook's own."""

    # For this once: another page's link to the same address may mean something else.
    status: ClassVar[int] = 307


@dataclass(frozen=True, slots=True)
class OwnPage:
    """A page of the gateway's own, or a path where one could be; `path` is raw and without the query."""

    instance: ClassVar[str] = ""
    path: str


class Router:
    """The mounts of one snapshot, indexed."""

    def __init__(
        self,
        hostnames: Sequence[str],
        mounts: Mapping[str, Mount],
        aliases: Mapping[str, Sequence[Mount]] = _NONE,
    ) -> None:
        """`hostnames` are the gateway's public names; mounts on hosts add theirs. `aliases` are paths and hosts where
        an instance was before, by its name. Raises BadRequest."""
        names = [parse_authority(name).host for name in hostnames]
        self._hostnames = frozenset(names)
        self._main_name = names[0] if names else ""
        self._by_host: dict[str, _Mounted] = {}
        self._by_port: dict[int, _Mounted] = {}
        self._by_path: dict[str, _Mounted] = {}
        self._root: _Mounted | None = None
        for instance, mount in mounts.items():
            mounted = (instance, mount)
            if mount.kind is MountKind.HOST:
                self._by_host[mount.host] = mounted
            elif mount.kind is MountKind.PORT:
                self._by_port[mount.port] = mounted
            elif mount.kind is MountKind.PATH:
                self._by_path[mount.path] = mounted
            else:
                self._root = mounted
        self._former_paths: dict[str, _Mounted] = {}
        self._former_hosts: dict[str, _Mounted] = {}
        for instance, former in aliases.items():
            for alias in former:
                if alias.kind is MountKind.HOST:
                    self._former_hosts[alias.host] = (instance, mounts[instance])
                else:
                    self._former_paths[alias.path] = (instance, mounts[instance])
        paths = (*self._by_path, *self._former_paths)
        self._beside_root = (*OWN_PATHS, *paths)
        self._deepest = max((path.count("/") for path in paths), default=0)

    def match(
        self, *, host: str, listener_port: int, target: str, port: int | None = None
    ) -> Route | Redirect | OwnPage | None:
        """Find what is mounted at `host` (canonical) on that listener, for a `target` in origin-form; None for nothing.

        Ports come before hosts, hosts before paths (the longest first), paths before the root; the gateway's
        own paths come before all. `port` is the one that the caller named. Raises Misdirected for a host that is not
        ours, and for an instance's host on another's port: browsers keep cookies by host, so they would hand that
        one's cookies over.
        """
        by_host = self._by_host.get(host)
        by_port = self._by_port.get(listener_port)
        if by_host is None:
            if host not in self._hostnames:
                return self._at_former_host(host, target, port, is_taken=by_port is not None)
        elif by_port is not None:
            raise Misdirected
        if target.startswith(OWN_PATHS):
            return OwnPage(_path(target))
        mounted = by_port or by_host
        if mounted is None:
            if self._deepest and (found := self._at_path(target, host, port)) is not None:
                return found
            mounted = self._root
            if mounted is None:
                return OwnPage("/") if _path(target) == "/" else None
        instance, mount = mounted
        return Route(instance, mount, target, "")

    def tenant(self, *, host: str, listener_port: int) -> str:
        """The instance that has that host or port, and with it the browser origin, for itself; "" for none."""
        mounted = self._by_port.get(listener_port) or self._by_host.get(host)
        return mounted[0] if mounted is not None else ""

    def home(self, *, host: str, listener_port: int) -> str:
        """Where the gateway's own first page is, there: `/` where nothing is mounted at the root."""
        taken = self._root is not None or self.tenant(host=host, listener_port=listener_port)
        return OWN_PATHS[0] if taken else "/"

    def others_at(self, mount: Mount) -> tuple[str, ...]:
        """The paths on a mount's origin that lead elsewhere and may lie below it."""
        if mount.kind is MountKind.PATH:
            return ()
        return self._beside_root if mount.kind is MountKind.ROOT else OWN_PATHS

    def under(self, path: str) -> _Mounted | None:
        """The instance and the mount that a path (raw, without a query) of the gateway's own hosts lies under."""
        found = self._at_path(path, self._main_name, None)
        return (found.instance, found.mount) if isinstance(found, Route) else None

    def _at_path(self, target: str, host: str, port: int | None) -> Route | Redirect | None:
        path = _path(target)
        found: Route | Redirect | None = None
        end = 0
        for _ in range(self._deepest - 1):
            end = path.find("/", end + 1)
            if end < 0:
                if (mounted := self._by_path.get(f"{path}/")) is not None:
                    return Redirect(f"{path}/{target[len(path) :]}", instance=mounted[0])
                if (mounted := self._former_paths.get(f"{path}/")) is not None:
                    return self._moved(mounted, f"/{target[len(path) :]}", host, port)
                break
            if (mounted := self._by_path.get(path[: end + 1])) is not None:
                instance, mount = mounted
                found = Route(instance, mount, target[end:], mount.prefix)
            elif (mounted := self._former_paths.get(path[: end + 1])) is not None:
                found = self._moved(mounted, target[end:], host, port)
        return found

    def _at_former_host(self, host: str, target: str, port: int | None, *, is_taken: bool) -> Redirect:
        mounted = self._former_hosts.get(host)
        if mounted is None or is_taken:
            raise Misdirected
        return self._moved(mounted, target, host, port)

    def _moved(self, mounted: _Mounted, target: str, host: str, port: int | None) -> Redirect:
        """To a mount, for a target in the notebook's words. Where there is no prefix, an authority keeps a target such
        as `//host` from being one (RFC 3986 section 4.2); the scheme stays the caller's."""
        instance, mount = mounted
        if mount.kind is MountKind.PATH and host in self._hostnames:
            return Redirect(mount.prefix + target, instance=instance)
        if mount.kind is MountKind.HOST:
            host = mount.host
        elif host not in self._hostnames:
            host = self._main_name
        if mount.kind is MountKind.PORT:
            port = mount.port
        authority = Authority(host, port)
        return Redirect(f"//{authority}{mount.prefix}{target}", instance=instance)


def _path(target: str) -> str:
    return target.partition("?")[0]
