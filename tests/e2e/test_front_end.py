"""A real Jupyter behind a front end that hands it another `Host` and hides all that it says of itself: what a page
sends is let through, and nothing of it costs a URL.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.sandbox.instance import InstanceSpec
from tests.harness.gateway import Rig, body_of, open_rig, status_of

NAME = "research-gpu-1"
MINT = "CreatePresignedNotebookInstanceUrl"
MARKS = ("Server", "Content-Security-Policy")
HANDSHAKE = (
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    instance = InstanceSpec(name=NAME, jupyter=True, jupyter_host="localhost:8443", steering_cookies=True)
    async with open_rig(tmp_path, instances=[instance]) as opened:
        opened.sandbox.faults.hide(fields=MARKS)
        yield opened


async def upgrade(rig: Rig, *, origin: str) -> int:
    head = (
        f"GET /api/events/subscribe HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: Upgrade\r\n{HANDSHAKE}"
        f"Origin: {origin}\r\n\r\n"
    )
    return status_of(await rig.raw(head.encode(), until_eof=False))


async def test_a_real_jupyter_that_is_handed_another_host_takes_what_its_page_sends(rig: Rig) -> None:
    """It knows its page by the origin, which the gateway translates, and a pattern allows."""
    page = await rig.get("/lab", extra="Accept: text/html\r\n")
    assert status_of(page) == 200
    assert b"expiryTime" not in page
    xsrf = next(
        line.partition(b"_xsrf=")[2].partition(b";")[0].decode()
        for line in page.split(b"\r\n")
        if line.lower().startswith(b"set-cookie: _xsrf=")
    )
    own = f"Origin: {rig.origin}\r\nReferer: {rig.origin}/lab\r\n"
    assert status_of(await rig.get("/api/kernels", extra=own)) == 200
    body = json.dumps({"type": "directory"})
    created = await rig.raw(
        f"POST /api/contents HTTP/1.1\r\nHost: {rig.authority}\r\n{own}Cookie: _xsrf={xsrf}\r\n"
        f"X-XSRFToken: {xsrf}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    )
    assert status_of(created) == 201
    assert await upgrade(rig, origin=rig.origin) == 101
    assert rig.sandbox.calls[MINT] == 1


async def test_what_a_real_jupyter_refuses_costs_nothing_though_nothing_marks_it(rig: Rig) -> None:
    """XSRF, a hidden file, another page, a path that is not there, an argument: all of them its own words."""
    assert status_of(await rig.get("/api/status")) == 200
    for method, target, status in (
        ("POST", "/api/contents", 403),
        ("GET", "/api/contents/.hidden", 404),
        ("GET", "/files/.hidden", 403),
        ("GET", "/api/kernels/00000000-0000-0000-0000-000000000000", 404),
        ("GET", "/no/such/page", 404),
        ("GET", "/api/contents/welcome.ipynb?content=7", 400),
    ):
        for _ in range(2):
            answer = await rig.get(target, method=method, extra="Content-Length: 0\r\n")
            assert status_of(answer) == status, target
            assert b"JUPYTER_STARTING" not in body_of(answer)
    assert rig.sandbox.calls[MINT] == 1
