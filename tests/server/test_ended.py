"""A session that has ended, and access that was withdrawn: each who asks is answered so that it can go on.

A page of JupyterLab's or Notebook 7's that is told 401 or 403 of its kernel gives it up for ever; told 424 it asks
again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.threats.callers import HANDSHAKE, audited, untouched

MOUNTED: dict[str, Any] = {
    "root": {"notebook": "research-gpu-1", "mount": "root"},
    "path": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}},
}
DENIED: dict[str, Any] = {"policy": {"allow": ["elsewhere"]}}
GUARDED: dict[str, Any] = {"access": "presigned"}
REASONS = {"denied": "ACCESS_WITHDRAWN", "no session": "SESSION_ENDED", "a bad session": "SESSION_ENDED"}
CODES = {"denied": "ACCESS_DENIED", "no session": "SIGN_IN_REQUIRED", "a bad session": "TOKEN_REFUSED"}
CHROME = "Accept: text/html,*/*;q=0.8\r\n"


@pytest.fixture(params=["root", "path"])
def prefix(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "root" else "/research"


@pytest.fixture(params=list(REASONS))
def why(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def rig(tmp_path: Path, prefix: str, why: str) -> AsyncIterator[Rig]:
    one = MOUNTED["path" if prefix else "root"] | ({} if why == "denied" else GUARDED)
    changes = DENIED if why == "denied" else {}
    async with open_rig(tmp_path, clock=FakeClock(), mounted={"research": one}, **changes) as opened:
        yield opened
        assert untouched(opened)


def fields(why: str, *lines: str) -> str:
    cookie = ["Cookie: nbgate-session=nbgate1_s.x"] if why == "a bad session" else []
    return "".join(f"{line}\r\n" for line in [*cookie, *lines])


def head_fields(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


@pytest.mark.parametrize("target", ["/api/kernels/1", "/lab/api/settings", "/api/kernels?1", "/api/me"])
@pytest.mark.parametrize("mode", ["cors", "same-origin", None])
async def test_a_page_that_asks_by_itself_is_told_424_and_why(
    rig: Rig, prefix: str, why: str, target: str, mode: str | None
) -> None:
    told = f"Sec-Fetch-Mode: {mode}" if mode else f"Referer: {rig.origin}{prefix}/lab/tree/a.ipynb"
    answer = await rig.get(prefix + target, extra=fields(why, "Accept: */*", told))
    assert status_of(answer) == 424
    said = json.loads(body_of(answer))
    assert said["reason"] == REASONS[why]
    assert said["error"]["code"] == CODES[why]
    assert said["message"] == said["error"]["message"]
    assert "goes on by itself" in said["message"]
    assert said["error"].get("client_address") == ("127.0.0.1" if why == "denied" else None)
    assert "www-authenticate" not in head_fields(answer)
    assert "retry-after" not in head_fields(answer)


async def test_programs_are_told_401_or_403_and_how_to_come_in(rig: Rig, prefix: str, why: str) -> None:
    for extra in ("Accept: */*", "Accept: application/json", "Sec-Fetch-Mode: no-cors"):
        answer = await rig.get(f"{prefix}/api/kernels/1", extra=fields(why, extra))
        assert json.loads(body_of(answer))["error"]["code"] == CODES[why]
        assert "reason" not in json.loads(body_of(answer))
        if why == "denied":
            assert status_of(answer) == 403
        else:
            assert status_of(answer) == 401
            # RFC 6750 section 3: where nothing was brought, nothing is said of it.
            expected = "Bearer" if why == "no session" else 'Bearer error="invalid_token"'
            assert head_fields(answer)["www-authenticate"] == expected


@pytest.mark.parametrize("target", ["/lab", "/files/plot.png", "/proxy/8000/api/items", "/"])
async def test_what_is_not_jupyters_api_is_told_as_before(
    rig: Rig, prefix: str, why: str, target: str
) -> None:
    for extra in ("Sec-Fetch-Mode: cors", f"Referer: {rig.origin}{prefix}/lab"):
        answer = await rig.get(prefix + target, extra=fields(why, extra))
        assert status_of(answer) == (403 if why == "denied" else 401)


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE"])
async def test_424_is_for_what_a_page_reads(rig: Rig, prefix: str, why: str, method: str) -> None:
    answer = await rig.get(
        f"{prefix}/api/kernels/1", extra=fields(why, "Sec-Fetch-Mode: cors"), method=method
    )
    assert status_of(answer) == (403 if why == "denied" else 401)


async def test_a_window_gets_the_page(rig: Rig, prefix: str, why: str) -> None:
    for extra in (f"{CHROME}Sec-Fetch-Mode: navigate", f"{CHROME}Referer: {rig.origin}{prefix}/lab"):
        # Also where JupyterLab's API is opened in a window of its own.
        for target in ("/lab", "/api/kernels/1"):
            answer = await rig.get(prefix + target, extra=fields(why, extra))
            if why == "denied":
                assert status_of(answer) == 403
                assert head_fields(answer)["content-type"] == "text/html; charset=utf-8"
            else:
                assert status_of(answer) == 302
                assert head_fields(answer)["location"] == "/.nbgate/sign-in"


async def test_a_pages_handshake_is_refused_with_403(rig: Rig, prefix: str, why: str) -> None:
    for extra in (f"Origin: {rig.origin}", "Sec-Fetch-Mode: websocket"):
        head = f"GET {prefix}/api/kernels/1/channels HTTP/1.1\r\nHost: {rig.authority}\r\n"
        answer = await rig.raw(f"{head}{HANDSHAKE}{fields(why, extra)}\r\n".encode(), until_eof=False)
        assert status_of(answer) == 403
        assert "www-authenticate" not in head_fields(answer)


async def test_a_programs_handshake_is_told_how_to_come_in(rig: Rig, prefix: str, why: str) -> None:
    head = f"GET {prefix}/api/kernels/1/channels HTTP/1.1\r\nHost: {rig.authority}\r\n"
    answer = await rig.raw(f"{head}{HANDSHAKE}{fields(why)}\r\n".encode(), until_eof=False)
    assert status_of(answer) == (403 if why == "denied" else 401)


async def test_each_leaves_the_same_audit_record(rig: Rig, prefix: str, why: str) -> None:
    """Whatever the status: who was refused, by which rule, and why."""
    target = f"{prefix}/api/kernels/1"
    await rig.get(target, extra=fields(why))
    await rig.get(target, extra=fields(why, "Sec-Fetch-Mode: cors"))
    program, page = (
        {name: value for name, value in record.items() if name not in ("time", "request_id")}
        for record in audited(rig)
    )
    assert program == page
    statuses = [line["status"] for line in rig.log_lines() if line.get("kind") == "http"]
    assert statuses == [403 if why == "denied" else 401, 424]
    assert {line["error"] for line in rig.log_lines() if line.get("kind") == "http"} == {CODES[why]}


async def test_the_gateways_own_api_is_for_programs(tmp_path: Path) -> None:
    async with open_rig(tmp_path, mounted={"research": MOUNTED["path"]}, **DENIED) as rig:
        answer = await rig.get("/api/gateway/v1/instances", extra="Sec-Fetch-Mode: cors\r\n")
        assert status_of(answer) == 403
