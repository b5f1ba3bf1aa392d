"""What the threat tests do over and over: ask twice, as a GET and as a WebSocket upgrade, and expect a denial."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.sandbox.plain_upstream import SeenRequest
from tests.harness.gateway import Rig, open_rig, status_of

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def ask(rig: Rig, target: str = "/", *, extra: str = "", host: str | None = None) -> list[int]:
    """The statuses of a GET and of an upgrade, the latter with an own Origin."""
    host = host or rig.authority
    got = await rig.get(target, extra=extra, host=host)
    head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{HANDSHAKE}Origin: http://{host}\r\n{extra}\r\n"
    upgraded = await rig.raw(head.encode("latin-1"), until_eof=False)
    return [status_of(got), status_of(upgraded)]


def asked(rig: Rig) -> list[SeenRequest]:
    """What callers' requests looked like to the notebook; the gateway's own, of its signing in, come first."""
    return [seen for seen in rig.upstream.seen if seen.values("x-forwarded-proto")]


def audited(rig: Rig) -> list[dict[str, Any]]:
    """The audit records so far."""
    return [line for line in rig.log_lines() if line.get("kind") == "audit"]


def untouched(rig: Rig) -> bool:
    """Neither SageMaker nor any notebook host heard of anything."""
    return (
        not rig.sandbox.calls
        and all(instance.counts.requests == 0 for instance in rig.sandbox.instances.values())
        and not any(plain.seen for plain in rig.sandbox.plain.values())
    )


@asynccontextmanager
async def denying(directory: Path, **changes: Any) -> AsyncIterator[Rig]:
    """A gateway that every caller is denied by whose address is not in 203.0.113.0/24; checks at the end that each
    denial was audited once and that nothing was dialled. `rig.get` comes from 127.0.0.1.
    """
    async with open_rig(directory, **{"policy": {"allow": ["elsewhere"]}, **changes}) as rig:
        yield rig
        assert untouched(rig)
        lines = rig.log_lines()
        denied = {
            line["request_id"]
            for line in lines
            if line.get("kind") == "http" and line["status"] in (400, 403)
        }
        records = [line["request_id"] for line in lines if line.get("kind") == "audit"]
        assert denied
        assert sorted(denied) == sorted(records)
