"""What a caller may hold secret stands in no line and on no page, wherever the caller, or a program of its, puts it.

That it is looked for by value, in every spelling, is `leaks`' doing, after this test as after each; here stands where
tokens, keys and signatures come from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from proxy.client_address.networks import parse_address
from proxy.identity.tokens import TokenKind
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.leaks import WATCH, found, in_form
from tests.threats.callers import HANDSHAKE

KEY = "the-key-of-all-tokens-0123456789-abcdef"
API_SECRET = "the-secret-of-an-access-key-0123456789"
MOUNTED: dict[str, Any] = {
    "research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}, "access": "presigned"}
}


def encoded(text: str, times: int) -> str:
    for _ in range(times):
        text = quote(text, safe="")
    return text


def placed(token: str) -> list[tuple[str, str]]:
    """A target and fields for each place that a token may stray into."""
    link = f"/research/lab?authToken={token}"
    places = [
        (f"/research/{token}/lab", ""),
        (f"/research/lab/{token}", ""),
        (f"/{token}", ""),
        (f"/research/lab;authToken={token}", ""),
        (f"/research/lab?x={token}", ""),
        (f"/research/lab?authToken={token}&authToken={token}", ""),
        (f"/research/lab?token={token}", ""),
        (f"/research/lab#{token}", ""),
        (f"http://{{host}}/research/{token}", ""),
        (f"http://user:{token}@{{host}}/research/", ""),
        (f"//{token}/research/", ""),
        (f"/.nbgate/start/{token}", ""),
        (f"/api/gateway/v1/instances/{token}", ""),
        (f"/api/gateway/v1/explain?instance={token}", ""),
        (f"/.nbgate/sign-in?next={encoded(link, 1)}", ""),
        ("/research/lab", f"Cookie: nbgate-session={token}; other={token}\r\n"),
        ("/research/lab", f"Authorization: Bearer {token}\r\n"),
        ("/research/lab", f"Authorization: Basic {token}\r\n"),
        ("/research/lab", f"Authorization: {token}\r\n"),
        ("/research/lab", f"Referer: http://{{host}}{link}\r\n"),
        ("/research/lab", f"User-Agent: {token}\r\nX-Forwarded-For: {token}\r\n"),
        ("/research/lab", f"X-Request-Id: {token}\r\nX-Amz-Target: SageMaker.{token}\r\n"),
        ("/research/ws", f"{HANDSHAKE}Sec-WebSocket-Protocol: v1.token.websocket.jupyter.org.{token}\r\n"),
        ("/research/ws", f"{HANDSHAKE}Origin: http://{token}\r\n"),
        ("/", f"Authorization: AWS4-HMAC-SHA256 Credential={token}/20260101/x, Signature={token}\r\n"),
    ]
    places += [(f"/research/lab{encoded(f'?authToken={token}', times)}", "") for times in range(1, 6)]
    places += [(f"/research/lab?next={encoded(link, times)}", "") for times in range(1, 6)]
    places += [(f"/research/{encoded(token.replace('_', '%5f'), times)}", "") for times in range(4)]
    places += [("/research/" + "".join(f"%{ord(one):02X}" for one in token), "")]
    return places


async def send(rig: Rig, target: str, extra: str, *, host: str = "", method: str = "GET") -> bytes:
    target, extra = (text.replace("{host}", rig.authority) for text in (target, extra))
    head = f"{method} {target} HTTP/1.1\r\nHost: {host or rig.authority}\r\n{extra}Connection: close\r\n\r\n"
    # A WebSocket that a token opens stays open.
    return await rig.raw(head.encode("latin-1"), until_eof="token.websocket" not in extra)


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("allowed", ["here", "elsewhere"])
@pytest.mark.parametrize("kind", TokenKind)
async def test_wherever_a_token_is_put_no_line_has_it(
    tmp_path: Path, kind: TokenKind, allowed: str, style: str
) -> None:
    async with open_rig(
        tmp_path,
        clock=FakeClock(),
        mounted=MOUNTED,
        policy={"allow": [allowed]},
        tokens={"key": KEY},
        log={"format": style, "level": "debug"},
        api_keys={"NBGATEALICE1": {"secret": API_SECRET}},
    ) as rig:
        token = rig.gateway.serving.tokens.issue(
            kind,
            instance="research",
            leads_to=rig.gateway.reloader.settings.leads_to("research"),
            principal="zoe",
            address=parse_address("127.0.0.1"),
            seconds=300,
            session_seconds=1800 if kind is TokenKind.URL else 0,
        )
        for target, extra in placed(token):
            answer = await send(rig, target, extra)
            # A link that is good leads on, and a session's cookie is what it buys.
            if status_of(answer) not in (101, 200, 302, 303):
                assert token.encode() not in answer, (target, extra)
        for host in (token, f"user:{token}@{rig.authority}", f"{token}.example", f"{rig.authority}:{token}"):
            assert token.encode() not in await send(rig, "/research/", "", host=host)
        # What was in another version of the gateway good is secret all the same: it may be so in a replica yet.
        for old in (token.replace("nbgate2_", "nbgate1_"), token.replace("nbgate2_", "nbgate12_")):
            await send(rig, f"/research/{old}/x", "")
            await send(rig, f"/research/lab?x={encoded(old, 2)}", f"Authorization: token {old}\r\n")
        rig.gateway.logs.close()
        lines = rig.log_file.read_text()
        assert lines.count("/research/") > 40
        sought = {token: "the token", KEY: "the key", API_SECRET: "the secret"}
        sought |= dict.fromkeys(token.split(".")[2:], "a part")
        assert found(sought, lines) == []
        assert in_form(lines) == []
        # And it is looked for once more when this test is over.
        assert token in WATCH.secrets
        assert any(where == "the log" for where, _ in WATCH.written)


async def test_what_buys_the_session_with_sagemaker_is_in_no_line(tmp_path: Path) -> None:
    async with open_rig(tmp_path, clock=FakeClock(), log={"format": "json", "level": "debug"}) as rig:
        assert status_of(await rig.get("/lab")) == 200
        rig.sandbox.faults.expire_sessions()
        assert status_of(await rig.get("/lab")) == 200
        rig.sandbox.faults.expire_sessions()
        rig.sandbox.faults.deny(times=3)
        assert status_of(await rig.get("/lab")) >= 400
        kinds = set(WATCH.secrets.values())
        assert {"a presigned URL", "a presigned URL's token", "a cookie of a session with SageMaker"} <= kinds
        rig.gateway.logs.close()
        assert found(WATCH.secrets, rig.log_file.read_text()) == []


async def test_a_secret_that_stands_in_the_place_of_its_keys_id_is_in_no_line(tmp_path: Path) -> None:
    """Who configured a client with both exchanged. An id that is one is told, for the operator to find the client."""
    keys = {"NBGATEALICE1": {"secret": API_SECRET}}
    async with open_rig(tmp_path, clock=FakeClock(), mounted=MOUNTED, api_keys=keys) as rig:
        for key_id, name in ((API_SECRET, "NBGATEALICE1"), ("AKIAIOSFODNN7EXAMPLE", API_SECRET)):
            scope = "20260101/us-east-1/sagemaker/aws4_request"
            signed = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders=host;x-amz-date, Signature={name}"
            extra = (
                f"Authorization: {signed}\r\nX-Amz-Date: 20260101T000000Z\r\nContent-Length: 2\r\n"
                "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: SageMaker.ListNotebookInstances\r\n"
            )
            head = f"POST / HTTP/1.1\r\nHost: {rig.authority}\r\n{extra}Connection: close\r\n\r\n{{}}"
            assert status_of(await rig.raw(head.encode())) >= 400
        lines = rig.log_lines()
        reasons = [line["reason"] for line in lines if line["kind"] == "audit"]
        assert len(reasons) == 2
        assert "AKIAIOSFODNN7EXAMPLE" in reasons[1]
        assert found({API_SECRET: "it"}, json.dumps(lines)) == []
