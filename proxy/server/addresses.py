"""Where a caller finds an instance: its mount's address, as this caller would type it.

The rule: what the caller calls the gateway by is kept as far as the instance is there, so that a link works wherever
the one who asked for it came through; everything else is the configuration's. It must not know tokens.
"""

from __future__ import annotations

from proxy.admission.caller import Caller
from proxy.config.settings import Settings
from proxy.routing.mounts import MountKind


def mount_url(settings: Settings, name: str, *, caller: Caller, port: int) -> str:
    """The address of an instance, `https://notebooks.internal/research/`; `port` is the listener's that `caller`
    came to, as callers see it. KeyError for an instance that is not configured.
    """
    mount = settings.instances[name].mount
    ports = {one.port for one in settings.mounts.values() if one.kind is MountKind.PORT}
    configured = settings.urls(name)
    if configured and (mount.kind is MountKind.PORT or port in ports):
        return configured[0]
    called = caller.authority
    if mount.kind is MountKind.HOST:
        host = mount.host
    else:
        host = called.host if called.host in settings.hostnames else settings.hostnames[0]
    authority = host if called.port is None else f"{host}:{called.port}"
    return f"{caller.scheme}://{authority}{mount.path if mount.kind is MountKind.PATH else '/'}"
