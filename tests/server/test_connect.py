"""`nbgate connect`: a port of this machine leads to an instance, with its token, for who was given its address."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from proxy.identity.tokens import TokenKind
from proxy.sandbox.plain_upstream import SeenRequest
from proxy.server import connect
from proxy.server.connect import LocalPort, open_local_port
from tests.harness.certificates import self_signed, trusting
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.ports import held_port
from tests.harness.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

SECRET = "0123456789abcdef" * 4
HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
PATH: dict[str, str] = {"path": "/research/"}
on_each_mount = pytest.mark.parametrize("laptop", ["root", PATH], ids=str, indirect=True)


class Laptop:
    """A gateway, and a port here that leads to its instance."""

    def __init__(self, rig: Rig, line: LocalPort, token: str) -> None:
        self.rig = rig
        self.address = line.address
        self.token = token
        self.port = URL(line.address).port

    async def raw(self, target: str, *, extra: str = "", host: str = "", method: str = "GET") -> bytes:
        """A request as it stands here; without a secret of ours in it."""
        host = host or f"127.0.0.1:{self.port}"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\n\r\n".encode()
        )
        try:
            async with asyncio.timeout(30):
                return await reader.read()
        finally:
            writer.close()

    async def sign_in(self) -> None:
        """Have the gateway sign in to the notebook, before a test decides what that answers."""
        assert status_of(await self.raw(f"/{SECRET}/api/status")) == 200

    @property
    def seen(self) -> SeenRequest:
        """What the notebook saw last of a caller."""
        return self.rig.upstream.seen[-1]


@pytest.fixture
async def laptop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Laptop]:
    mount: Any = getattr(request, "param", PATH)
    mounted = {"research": {"notebook": "research-gpu-1", "mount": mount}}
    async with open_rig(tmp_path, clock=FakeClock(), mounted=mounted, access="presigned") as rig:
        settings = rig.gateway.reloader.settings
        token = rig.gateway.serving.tokens.issue(
            TokenKind.API,
            instance="research",
            leads_to=settings.leads_to("research"),
            principal="zoe",
            address=None,
            seconds=300,
        )
        prefix = "/" if mount == "root" else "/research/"
        async with open_local_port(URL(f"{rig.origin}{prefix}"), token=token, secret=SECRET) as line:
            yield Laptop(rig, line, token)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@on_each_mount
async def test_what_a_program_asks_comes_with_the_token_it_was_not_given(
    laptop: Laptop, client: aiohttp.ClientSession
) -> None:
    fields = {"Cookie": "a=b", "Referer": laptop.address, "X-Own": "1", "X-Forwarded-For": "203.0.113.7"}
    async with client.get(
        URL(f"{laptop.address}api/a%2Fb?c=%20&c=2&", encoded=True), headers=fields
    ) as answer:
        assert answer.status == 200
        assert "set-cookie" not in answer.headers
        said = await answer.json()
    assert said["target"] == "/api/a%2Fb?c=%20&c=2&"
    assert laptop.seen.values("x-own") == ["1"]
    assert laptop.seen.values("x-forwarded-for") == ["127.0.0.1"]
    told = json.dumps(laptop.seen.headers)
    assert laptop.token not in told
    assert SECRET not in told
    assert laptop.seen.values("referer") == []


async def test_credentials_of_the_programs_own_do_not_stand_beside_it(
    laptop: Laptop, client: aiohttp.ClientSession
) -> None:
    other = "nbgate2_a.other"
    async with client.get(
        f"{laptop.address}api/x?token={other}&a=1", headers={"Authorization": f"token {other}"}
    ) as answer:
        assert answer.status == 200
        assert (await answer.json())["target"] == "/api/x?a=1"
    async with client.ws_connect(
        f"{laptop.address}ws?token={other}",
        protocols=[f"v1.token.websocket.jupyter.org.{other}", "v1.kernel.websocket.jupyter.org"],
    ) as socket:
        assert socket.protocol == "v1.kernel.websocket.jupyter.org"


@on_each_mount
async def test_websockets_come_with_it_too_and_end_as_they_end(
    laptop: Laptop, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(f"{laptop.address}api/kernels/1/channels", max_msg_size=0) as socket:
        await socket.send_str("text")
        assert await socket.receive_str() == "text"
        large = bytes(5 * 1024 * 1024)
        await socket.send_bytes(large)
        assert await socket.receive_bytes() == large
        await socket.send_str("close 4321")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4321


async def test_a_websocket_that_breaks_breaks_here(laptop: Laptop, client: aiohttp.ClientSession) -> None:
    async with client.ws_connect(f"{laptop.address}ws") as socket:
        await socket.send_str("there?")
        assert await socket.receive_str() == "there?"
        laptop.rig.sandbox.faults.drop_websockets()
        async with asyncio.timeout(30):
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_a_refused_handshake_says_why(laptop: Laptop) -> None:
    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(
            {"message": "no such kernel"}, status=404, headers={"Server": "TornadoServer/6"}
        )

    await laptop.sign_in()
    laptop.rig.upstream.handler = refuse
    answer = await laptop.raw(f"/{SECRET}/api/kernels/9/channels", extra=HANDSHAKE)
    assert status_of(answer) == 404
    assert b"no such kernel" in body_of(answer)


async def test_bodies_of_any_size_pass_both_ways(laptop: Laptop, client: aiohttp.ClientSession) -> None:
    size = 8 * 1024 * 1024

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 65_536):
            yield bytes(65_536)

    for body in (io.BytesIO(bytes(size)), chunks()):
        async with client.put(f"{laptop.address}api/contents/a", data=body) as answer:
            said = await answer.json()
            assert (said["body_bytes"], said["body_sha256"]) == (
                size,
                hashlib.sha256(bytes(size)).hexdigest(),
            )
    for kind in ("bytes", "chunks"):
        async with client.get(f"{laptop.address}{kind}/{size}") as answer:
            assert len(await answer.read()) == size


async def test_what_was_said_so_far_is_here_at_once(laptop: Laptop, client: aiohttp.ClientSession) -> None:
    more = asyncio.Event()

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Server": "TornadoServer/6"})
        await response.prepare(request)
        await response.write(b"first")
        await more.wait()
        await response.write(b"second")
        return response

    await laptop.sign_in()
    laptop.rig.upstream.handler = stream
    async with asyncio.timeout(30), client.get(f"{laptop.address}proxy/8000/events") as answer:
        assert await answer.content.readexactly(5) == b"first"
        more.set()
        assert await answer.content.read() == b"second"


async def test_what_was_cut_short_does_not_look_complete(
    laptop: Laptop, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{laptop.address}truncated/100000") as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


@on_each_mount
async def test_addresses_of_the_instance_are_this_ports(
    laptop: Laptop, client: aiohttp.ClientSession
) -> None:
    location = ""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=201, headers={"Location": location, "Server": "TornadoServer/6"})

    await laptop.sign_in()
    laptop.rig.upstream.handler = answer
    location = "/api/contents/a"
    async with client.post(f"{laptop.address}api/contents") as made:
        assert URL(laptop.address).join(URL(made.headers["Location"])) == URL(
            f"{laptop.address}api/contents/a"
        )
    location = "https://elsewhere.example/x"
    async with client.post(f"{laptop.address}api/contents") as made:
        assert made.headers["Location"] == "https://elsewhere.example/x"


OUTSIDERS = [
    ("/", "", "", 404),
    ("/api/status", "", "", 404),
    (f"/{SECRET[:-1]}/api/status", "", "", 404),
    (f"/{SECRET}0/api/status", "", "", 404),
    (f"/{SECRET.upper()}/api/status", "", "", 404),
    (f"/x/../{SECRET}/api/status", "", "", 404),
    (f"http://127.0.0.1/{SECRET}/api/status", "", "", 404),
    (f"/{SECRET}/api/status", "evil.example", "", 421),
    (f"/{SECRET}/api/status", "127.0.0.1", "", 421),
    (f"/{SECRET}/api/status", "", "Host: evil.example\r\n", 421),
    (f"/{SECRET}/api/status", "", "Origin: https://evil.example\r\n", 403),
    (f"/{SECRET}/api/status", "", "Origin: null\r\n", 403),
    (f"/{SECRET}/api/status", "", "Sec-Fetch-Site: cross-site\r\n", 403),
    (f"/{SECRET}/api/status", "", "Sec-Fetch-Site: same-site\r\n", 403),
]
"""What another user of the machine asks, and a page in a browser on it, whatever name it has for this port."""


async def test_whoever_was_not_given_the_address_gets_nowhere(laptop: Laptop) -> None:
    for target, host, extra, status in OUTSIDERS:
        for handshake in ("", HANDSHAKE):
            answer = await laptop.raw(target, host=host, extra=extra + handshake)
            # Two `Host` fields are malformed, too.
            assert status_of(answer) in ({status, 400} if "Host:" in extra else {status}), target
            assert laptop.token.encode() not in answer
            assert SECRET.encode() not in answer
    assert not laptop.rig.upstream.seen
    assert not [line for line in laptop.rig.log_lines() if line.get("kind") in ("http", "websocket")]


@pytest.mark.program
async def test_a_gateway_that_ends_tls_is_one_whose_certificate_is_trusted(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    certificate = self_signed(tmp_path, name="IP:127.0.0.1")
    listener = {"bind": "127.0.0.1:0", "tls": {"certificate": str(certificate), "key": str(certificate)}}
    async with open_rig(tmp_path, listeners=[listener]) as rig:
        base = URL(f"https://{rig.authority}/")
        async with open_local_port(base, token="t", secret=SECRET, tls=trusting(certificate)) as line:
            async with client.get(f"{line.address}api/x") as answer:
                assert (answer.status, (await answer.json())["target"]) == (200, "/api/x")
            async with client.ws_connect(f"{line.address}ws") as socket:
                await socket.send_str("there?")
                assert await socket.receive_str() == "there?"
        async with (
            open_local_port(base, token="t", secret=SECRET) as line,
            client.get(f"{line.address}api/x") as answer,
        ):
            assert answer.status == 502
            assert "ClientConnectorCertificateError" in await answer.text()


async def test_more_than_it_carries_is_told_to_come_again(
    laptop: Laptop, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "MOST_AT_ONCE", 1)
    async with client.ws_connect(f"{laptop.address}ws"), client.get(f"{laptop.address}api/status") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_what_is_no_request_for_a_page_is_not_carried(laptop: Laptop, method: str) -> None:
    await laptop.sign_in()
    seen = len(laptop.rig.log_lines())
    assert status_of(await laptop.raw(f"/{SECRET}/api", method=method)) == 405
    assert len(laptop.rig.log_lines()) == seen


async def test_who_offers_another_protocol_is_answered_in_this_one(laptop: Laptop) -> None:
    """Java's HttpClient and `curl --http2` do so with everything that they ask."""
    head = f"GET /{SECRET}/api/x HTTP/1.1\r\nHost: 127.0.0.1:{laptop.port}\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", laptop.port)
    writer.write(f"{head}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
    writer.close()
    assert laptop.seen.values("upgrade") == []


async def test_what_cannot_be_read_is_told_without_what_it_said(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """aiohttp quotes it, with a traceback, on standard error."""
    async with open_local_port(URL("http://gateway.invalid/"), token="token", secret=SECRET) as line:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(line.address).port)
        writer.write(f"GET /{SECRET}/\u00e4?token=hidden-credential HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert status_of(await reader.read()) == 400
        writer.close()
    said = "".join(capsys.readouterr()) + caplog.text
    assert "a request could not be carried (InvalidURLError)" in said
    assert SECRET not in said
    assert "hidden-credential" not in said
    assert "Traceback" not in said


async def test_a_gateway_that_is_away_is_told_without_the_token(client: aiohttp.ClientSession) -> None:
    with held_port() as port:
        nowhere = URL(f"http://127.0.0.1:{port}/research/")
        async with (
            open_local_port(nowhere, token="nbgate2_a.t", secret=SECRET) as line,
            client.get(f"{line.address}api?x=secret") as answer,
        ):
            assert answer.status == 502
            assert await answer.json() == {
                "message": f"{nowhere.origin()} cannot be reached (ClientConnectorError)."
            }


async def test_it_ends_at_once_although_programs_keep_their_connections(
    tmp_path: Path, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for its next request, one for the rest of an answer, and one holds a WebSocket."""
    waited_for: list[float | None] = []
    shutdown = web.Server.shutdown

    async def noting(server: web.Server, timeout: float | None = None) -> None:
        waited_for.append(timeout)
        await shutdown(server, timeout)

    monkeypatch.setattr(web.Server, "shutdown", noting)

    async def begin(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Server": "TornadoServer/6"})
        await response.prepare(request)
        await response.write(b"first")
        await asyncio.Event().wait()
        return response

    async with open_rig(tmp_path) as rig:
        stack = AsyncExitStack()
        line = await stack.enter_async_context(
            open_local_port(URL(f"{rig.origin}/"), token="t", secret=SECRET)
        )
        async with client.get(f"{line.address}api/x") as answer:
            await answer.read()
        socket = await client.ws_connect(f"{line.address}ws")
        rig.upstream.handler = begin
        events = await client.get(f"{line.address}proxy/1/events")
        assert await events.content.readexactly(5) == b"first"
        async with asyncio.timeout(PATIENCE_SECONDS):
            await stack.aclose()
        assert connect.CLOSE_SECONDS in waited_for
        assert all(seconds is not None and seconds <= connect.CLOSE_SECONDS for seconds in waited_for)
        events.close()
        await socket.close()
