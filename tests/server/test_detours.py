"""Addresses under no mount, of which it is known where they belong: whose page asks for them, or what was there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.sandbox.instance import InstanceSpec
from tests.harness.gateway import Rig, body_of, open_rig, status_of

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SPECS = tuple(InstanceSpec(name=f"nb-{number}") for number in (1, 2, 3))
MOUNTED: dict[str, Any] = {
    "research": {"notebook": "nb-1", "aliases": ["old", {"host": "localhost"}]},
    "secret": {"notebook": "nb-2", "allow": ["elsewhere"], "aliases": ["hidden"]},
    "team": {"notebook": "nb-3", "mount": {"path": "/team/gpu/"}, "access": "presigned"},
}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, instances=SPECS, mounted=MOUNTED, hostname=["127.0.0.1"]) as opened:
        yield opened


def fields_of(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def audited(rig: Rig) -> list[dict[str, Any]]:
    return [line for line in rig.log_lines() if line.get("kind") == "audit"]


def of(rig: Rig, page: str) -> str:
    return f"Referer: {rig.origin}{page}\r\n"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("page", "target", "location"),
    [
        (
            "/research/proxy/8050/",
            "/proxy/8050/_dash-layout?a=%2F&b",
            "/research/proxy/8050/_dash-layout?a=%2F&b",
        ),
        ("/research/lab", "/files/plot.png", "/research/files/plot.png"),
        ("/research/", "//evil.example/x", "/research//evil.example/x"),
        ("/team/gpu/proxy/1/?x=/research/", "/static/x", "/team/gpu/static/x"),
        ("/team/gpu/", "/team/x", "/team/gpu/team/x"),
    ],
)
async def test_what_a_page_asks_for_outside_of_its_mount_is_looked_for_there(
    rig: Rig, method: str, page: str, target: str, location: str
) -> None:
    answer = await rig.get(target, extra=of(rig, page), method=method)
    assert status_of(answer) == 307
    assert fields_of(answer)["location"] == location
    assert fields_of(answer)["cache-control"] == "no-store"
    assert body_of(answer) == b""


async def test_it_is_judged_there_again(rig: Rig) -> None:
    """Whom the address lets in needs a session all the same, and what arrives is the same request."""
    led = fields_of(await rig.get("/x?y", extra=of(rig, "/research/proxy/1/")))["location"]
    assert json.loads(body_of(await rig.get(led)))["target"] == "/x?y"
    led = fields_of(await rig.get("/x", extra=of(rig, "/team/gpu/")))["location"]
    assert status_of(await rig.get(led)) == 401


@pytest.mark.parametrize(
    ("page", "target"),
    [
        ("/secret/proxy/8050/", "/proxy/8050/x"),
        ("/nobodys/proxy/8050/", "/proxy/8050/x"),
        ("/research", "/proxy/8050/x"),
        ("/old/", "/proxy/8050/x"),
        ("/", "/proxy/8050/x"),
        ("/.nbgate/", "/proxy/8050/x"),
    ],
)
async def test_who_may_not_reach_the_page_is_told_nothing(rig: Rig, page: str, target: str) -> None:
    for method in ("GET", "POST"):
        answer = await rig.get(target, extra=of(rig, page), method=method)
        assert status_of(answer) == 403
        assert "location" not in fields_of(answer)
        assert json.loads(body_of(answer))["error"]["code"] == "ACCESS_DENIED"
    assert [record["reason"] for record in audited(rig)] == ["denied: nothing is mounted there"] * 2


@pytest.mark.parametrize(
    "referers",
    [
        "Referer: https://evil.example/research/\r\n",
        "Referer: http://127.0.0.1:1/research/\r\n",
        "Referer: https://{}/research/\r\n",
        "Referer: http://{0}/research/\r\nReferer: http://{0}/research/\r\n",
        "",
    ],
)
async def test_another_origins_page_leads_nowhere(rig: Rig, referers: str) -> None:
    assert status_of(await rig.get("/proxy/1/", extra=referers.format(rig.authority))) == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_what_changes_something_is_not_led_on_but_told_what_to_set(rig: Rig, method: str) -> None:
    answer = await rig.get("/proxy/8050/_dash-update", extra=of(rig, "/research/proxy/8050/"), method=method)
    assert status_of(answer) == 404
    told = json.loads(body_of(answer))["error"]
    assert told["code"] == "OUTSIDE_MOUNT"
    assert "/research/proxy/PORT/" in told["message"]
    [record] = audited(rig)
    assert (record["instance"], record["path"]) == ("research", "/proxy/8050/_dash-update")


async def test_nor_is_a_websocket(rig: Rig) -> None:
    head = f"GET /proxy/1/ws HTTP/1.1\r\nHost: {rig.authority}\r\n{HANDSHAKE}{of(rig, '/research/')}\r\n"
    answer = await rig.raw(head.replace("Upgrade\r\n", "Upgrade, close\r\n", 1).encode(), until_eof=False)
    assert status_of(answer) == 404


async def test_the_page_says_what_to_set(rig: Rig) -> None:
    extra = of(rig, "/research/proxy/8050/") + "Accept: text/html\r\n"
    page = body_of(await rig.get("/proxy/8050/x", extra=extra, method="POST")).decode()
    assert "begins with /research/proxy/PORT/" in page
    page = body_of(await rig.get("/proxy/8050/", extra="Accept: text/html\r\n")).decode()
    assert "/NOTEBOOK/proxy/PORT/" in page


async def test_the_gateways_own_pages_win(rig: Rig) -> None:
    for target in ("/", "/.nbgate/", "/.nbgate/nothing", "/api/gateway/v1/instances"):
        assert status_of(await rig.get(target, extra=of(rig, "/research/"))) != 307


async def test_a_mount_wins_and_so_does_the_root(tmp_path: Path) -> None:
    mounted = {
        "research": {"notebook": "nb-1", "mount": {"path": "/research/"}},
        "main": {"notebook": "nb-2", "mount": "root"},
    }
    async with open_rig(tmp_path, instances=SPECS, mounted=mounted) as rig:
        for target in ("/x", "/research/x"):
            assert status_of(await rig.get(target, extra=of(rig, "/research/"))) == 200


async def test_former_addresses_lead_to_the_mount(rig: Rig) -> None:
    for method, target in [("GET", "/old/lab?x=1"), ("POST", "/old/lab?x=1"), ("HEAD", "/old/lab?x=1")]:
        answer = await rig.get(target, method=method)
        assert status_of(answer) == 308
        assert fields_of(answer)["location"] == "/research/lab?x=1"
    answer = await rig.get("/lab", host=f"localhost:{rig.port}")
    assert (status_of(answer), fields_of(answer)["location"]) == (308, f"//{rig.authority}/research/lab")


async def test_and_of_who_may_not_reach_it_none_is_told(rig: Rig) -> None:
    hidden, absent = await rig.get("/hidden/lab"), await rig.get("/nothing/lab")
    assert status_of(hidden) == status_of(absent) == 403
    assert "location" not in fields_of(hidden)
