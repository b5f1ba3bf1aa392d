"""The log says who: the user of each link, session, token and key, and by whose order an instance starts or stops.

And what is refused before anything is decided stands in the audit log like any denial.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.client_address.networks import parse_address
from proxy.identity.tokens import TokenKind
from proxy.sandbox.instance import InstanceSpec
from tests.harness.aws_clients import call, sagemaker
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.portals import location, post_form, shown
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

BROWSER = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\n"
HERE = parse_address("127.0.0.1")
HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
KEYS = {"NBGATEALICE1": {"secret": "0123456789abcdef0123456789abcdef", "user": "alice"}}


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, clock=FakeClock(), access="presigned") as rig:
        yield rig


def made(rig: Rig, kind: TokenKind = TokenKind.URL, *, principal: str = "zoe") -> str:
    return rig.gateway.serving.tokens.issue(
        kind,
        instance="research",
        leads_to=rig.gateway.reloader.settings.leads_to("research"),
        principal=principal,
        address=HERE,
        seconds=300,
        session_seconds=1800 if kind is TokenKind.URL else 0,
    )


async def enter(rig: Rig, target: str) -> str:
    """Open a link as a browser does; the `Cookie` line that it sends from then on."""
    answer = await rig.get(f"{target}?authToken={made(rig)}", extra=BROWSER)
    found = re.search(rb"\r\nSet-Cookie: ([^;]*);", answer)
    assert found
    return f"Cookie: {found[1].decode()}\r\n"


def lines(rig: Rig, kind: str) -> list[dict[str, Any]]:
    return [line for line in rig.log_lines() if line["kind"] == kind]


async def test_a_link_its_session_and_a_token_name_their_user(guarded: Rig) -> None:
    session = await enter(guarded, "/lab")
    assert status_of(await guarded.get("/lab", extra=session)) == 200
    token = made(guarded, TokenKind.API, principal="build")
    assert status_of(await guarded.get("/api", extra=f"Authorization: token {token}\r\n")) == 200
    assert [(line["status"], line["user"]) for line in lines(guarded, "http")] == [
        (302, "zoe"),
        (200, "zoe"),
        (200, "build"),
    ]


async def test_a_websocket_names_its_user_at_its_end(guarded: Rig) -> None:
    token = made(guarded, TokenKind.API, principal="build")
    head = f"GET /ws?token={token} HTTP/1.1\r\nHost: {guarded.authority}\r\nOrigin: {guarded.origin}\r\n{HANDSHAKE}\r\n"
    assert status_of(await guarded.raw(head.encode(), until_eof=False)) == 101
    await eventually(lambda: not guarded.gateway.plane.open.relays)
    [line] = lines(guarded, "websocket")
    assert line["user"] == "build"
    assert token not in json.dumps(line)


async def test_a_session_names_its_user_where_none_is_needed(tmp_path: Path) -> None:
    """An instance that is open to allowed addresses; a session that is not good any more is no objection there."""
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock) as rig:
        session = await enter(rig, "/lab")
        assert status_of(await rig.get("/lab", extra=session)) == 200
        assert status_of(await rig.get("/lab", extra="Cookie: nbgate-session=nonsense\r\n")) == 200
        assert status_of(await rig.get("/lab")) == 200
        await clock.advance(3600.0)
        assert status_of(await rig.get("/lab", extra=session)) == 200
        assert [line.get("user") for line in lines(rig, "http")] == ["zoe", "zoe", None, None, None]


async def test_a_refusal_names_whom_a_genuine_credential_was_made_for(guarded: Rig) -> None:
    link = f"/lab?authToken={made(guarded)}"
    await guarded.get(link, extra=BROWSER)
    await guarded.get(link, extra=BROWSER)
    forged = made(guarded, TokenKind.API)[:-3] + "AAA"
    await guarded.get("/api", extra=f"Authorization: token {forged}\r\n")
    foreign = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n"
    token = made(guarded, TokenKind.API, principal="build")
    await guarded.get("/api", extra=f"Authorization: token {token}\r\n{foreign}")
    used, forgery, other_site = lines(guarded, "audit")
    assert (used["user"], used["reason"], used["error"]) == (
        "zoe",
        "a link that was used before",
        "TOKEN_REFUSED",
    )
    assert forgery["user"] is None
    assert (other_site["user"], other_site["error"]) == ("build", "CROSS_SITE_REFUSED")


async def test_a_key_names_its_user_also_in_the_lines_of_requests(tmp_path: Path) -> None:
    specs = [InstanceSpec(name="research-gpu-1")]
    mounted = {"research": {"notebook": "research-gpu-1"}}
    async with open_rig(tmp_path, instances=specs, mounted=mounted, api_keys=KEYS) as rig:
        client = sagemaker(rig.origin, key="NBGATEALICE1", secret=KEYS["NBGATEALICE1"]["secret"])
        await call(client, "stop_notebook_instance", NotebookInstanceName="research")
        [line] = lines(rig, "http")
        assert line["user"] == "alice"
        [stopped] = [line for line in lines(rig, "event") if line["event"] == "instance told to stop"]
        assert stopped["by"] == "AWS API"
        assert (stopped["user"], stopped["client"]) == ("alice", "127.0.0.1")
        assert stopped["request_id"] == line["request_id"]


async def test_whoever_starts_and_stops_an_instance_is_named(tmp_path: Path) -> None:
    """By the portal and by the API; `test_idleness` sees idleness and visitors."""
    specs = [InstanceSpec(name="research-gpu-1"), InstanceSpec(name="nlp-team", status="Stopped")]
    mounted = {"research": {"notebook": "research-gpu-1"}, "nlp": {"notebook": "nlp-team"}}
    async with open_rig(tmp_path, instances=specs, mounted=mounted) as rig:
        page = await shown(rig)
        for action in ("/.nbgate/stop/research", "/.nbgate/start/nlp"):
            assert location(await rig.raw(post_form(rig, page.form(action))))
        post = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        head = f"POST /api/gateway/v1/instances/nlp/stop HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\n"
        await eventually(lambda: rig.sandbox.instances["nlp-team"].status == "InService")
        assert status_of(await rig.raw(f"{head}{post}".encode())) == 202
        told = [line for line in lines(rig, "event") if line["event"].startswith("instance told to")]
        assert [(line["event"], line["instance"], line["by"], line["client"]) for line in told] == [
            ("instance told to stop", "research", "portal", "127.0.0.1"),
            ("instance told to start", "nlp", "portal", "127.0.0.1"),
            ("instance told to stop", "nlp", "api", "127.0.0.1"),
        ]
        requests = {line["request_id"] for line in lines(rig, "http")}
        assert {line["request_id"] for line in told} <= requests


EARLY = {
    "another host": (b"GET / HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n", 421),
    "no host name": (b"GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", 400),
    "a target": (b"GET nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
    "a head": (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    "no head": (b"\x00\x01", 400),
    "TLS": (b"\x16\x03\x01", 400),
    "a large head": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    "many fields": (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: 1\r\n" * 200 + b"\r\n", 431),
    "framing": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
}


@pytest.mark.parametrize("what", EARLY)
@pytest.mark.parametrize("denials", ["both", "audit"])
async def test_what_is_refused_before_the_decision_is_audited(
    tmp_path: Path, what: str, denials: str
) -> None:
    """Once, with its code and reason; and with `log.denials: audit` it stands nowhere else."""
    sent, status = EARLY[what]
    async with open_rig(tmp_path, log={"format": "json", "denials": denials}) as rig:
        answer = await rig.raw(sent)
        assert status_of(answer) == status
        [record] = lines(rig, "audit")
        assert record["reason"].startswith("before any decision: ")
        assert (record["client"], record["peer"]) == ("127.0.0.1", "127.0.0.1")
        told = lines(rig, "http")
        if denials == "audit":
            assert told == []
        else:
            [line] = told
            assert (line["request_id"], line["error"]) == (record["request_id"], record["error"])
        assert record["request_id"].encode() in answer


async def test_one_line_per_denial_leaves_all_others_as_they_are(tmp_path: Path) -> None:
    log = {"format": "json", "denials": "audit"}
    async with open_rig(tmp_path, log=log, policy={"allow": ["here"]}) as rig:
        assert status_of(await rig.get("/lab")) == 200
        assert status_of(await rig.get("/lab", host="elsewhere")) == 421
        head = f"GET /ws HTTP/1.1\r\nHost: {rig.authority}\r\nOrigin: https://evil.example\r\n{HANDSHAKE}\r\n"
        assert status_of(await rig.raw(head.encode(), until_eof=False)) == 403
        assert status_of(await rig.get("/.nbgate/start/nothing")) == 404
        assert [line["status"] for line in lines(rig, "http")] == [200]
        assert [line["error"] for line in lines(rig, "audit")] == [
            "MISDIRECTED_REQUEST",
            "ORIGIN_REFUSED",
            "NOT_FOUND",
        ]
        assert rig.gateway.logs.counts.finished["research", 403] == 1


@pytest.mark.parametrize("host", [None, "elsewhere"], ids=["denied", "not decided"])
async def test_the_one_line_of_a_denial_says_what_a_trusted_proxy_calls_it(
    tmp_path: Path, host: str | None
) -> None:
    changes: dict[str, Any] = {
        "log": {"format": "json", "denials": "audit"},
        "client_address": {"trusted_proxies": ["127.0.0.0/8"]},
    }
    extra = (
        "X-Forwarded-For: 192.0.2.1\r\nX-Amzn-Trace-Id: Root=1-67891233-abc\r\nX-Request-Id: token=abcdef\r\n"
    )
    async with open_rig(tmp_path, **changes) as rig:
        await rig.get("/lab", extra=extra, host=host)
        [line] = [one for one in rig.log_lines() if one["kind"] in ("http", "audit")]
        assert (line["kind"], line["amzn_trace_id"]) == ("audit", "Root=1-67891233-abc")
        assert "proxy_request_id" not in line
        assert "abcdef" not in rig.log_file.read_text()


async def test_a_caller_that_speaks_for_itself_calls_its_denial_nothing(tmp_path: Path) -> None:
    async with open_rig(tmp_path, policy={"allow": ["elsewhere"]}) as rig:
        await rig.get("/lab", extra="X-Amzn-Trace-Id: Root=1-67891233-abc\r\n")
        [line] = lines(rig, "audit")
        assert "amzn_trace_id" not in line
