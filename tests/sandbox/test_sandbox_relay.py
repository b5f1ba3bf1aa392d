"""What passes the notebook host passes unchanged: targets, fields, bodies, messages, close codes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from proxy.sandbox.sandbox import Sandbox
from tests.sandbox.sandbox_calls import NAME, UPGRADE


@pytest.mark.parametrize(
    "target",
    [
        "/files/a%2Fb%20c;x=1?q=1&q=%2B",
        "/a/../b/./c//d",
        "/x?",
        "/?a&b=&=c&authtoken=1",
        "/%e4%bd%a0?%E4",
        "//double",
    ],
)
async def test_the_target_passes_byte_for_byte(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, target: str
) -> None:
    raw = URL.build(scheme="http", authority=URL(sandbox.origins[NAME]).authority, path=target, encoded=True)
    async with signed_in.get(raw) as response:
        assert (await response.json())["target"] == target


async def test_the_fields_of_a_request_pass_in_order_without_the_hop_by_hop_ones(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    fields = [
        ("X-Twice", "1"),
        ("Connection", "x-hop"),
        ("X-Hop", "dropped"),
        ("TE", "trailers"),
        ("Origin", sandbox.origins[NAME]),
        ("X-Twice", "2"),
    ]
    async with signed_in.get(f"{sandbox.origins[NAME]}/x", headers=fields, skip_auto_headers=["Accept"]):
        pass
    seen = sandbox.plain[NAME].seen[-1]
    assert seen.values("X-Twice") == ["1", "2"]
    assert seen.values("Host") == [sandbox.hosts[NAME].authority]
    assert seen.values("Origin") == [sandbox.origins[NAME]]
    assert seen.values("X-Hop") == seen.values("TE") == seen.values("Accept") == []


async def test_the_fields_of_an_answer_stay_repeated_and_in_order(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    async with signed_in.get(f"{sandbox.origins[NAME]}/repeated") as response:
        assert response.headers.getall("X-Repeated") == ["one", "two", "three"]
        assert response.headers.getall("Set-Cookie") == ["_xsrf=a; Path=/", "username-x=b; HttpOnly; Path=/"]


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_the_status_passes(sandbox: Sandbox, signed_in: aiohttp.ClientSession, status: int) -> None:
    async with signed_in.get(f"{sandbox.origins[NAME]}/status/{status}") as response:
        assert response.status == status


@pytest.mark.parametrize("path", ["bytes", "chunks"])
async def test_large_downloads_pass_in_their_own_framing(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, path: str
) -> None:
    size = 20_000_000
    async with signed_in.get(f"{sandbox.origins[NAME]}/{path}/{size}") as response:
        assert response.headers.get("Content-Length") == (str(size) if path == "bytes" else None)
        received = 0
        async for chunk in response.content.iter_any():
            received += len(chunk)
    assert received == size


async def test_head_tells_the_length_and_sends_nothing(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    async with signed_in.head(f"{sandbox.origins[NAME]}/bytes/1000") as response:
        assert response.headers["Content-Length"] == "1000"
        assert await response.read() == b""


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_uploads_pass_in_their_own_framing(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, chunked: bool
) -> None:
    block, count = bytes(range(256)) * 4096, 20

    async def body() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield block

    headers = {"Expect": "100-continue"} | ({} if chunked else {"Content-Length": str(len(block) * count)})
    async with signed_in.put(f"{sandbox.origins[NAME]}/x", data=body(), headers=headers) as response:
        answer = await response.json()
    assert answer["body_bytes"] == len(block) * count
    assert answer["body_sha256"] == hashlib.sha256(block * count).hexdigest()
    assert sandbox.plain[NAME].seen[-1].values("Transfer-Encoding") == (["chunked"] if chunked else [])


async def test_compressed_bodies_stay_compressed(sandbox: Sandbox, signed_in: aiohttp.ClientSession) -> None:
    async with signed_in.post(
        f"{sandbox.origins[NAME]}/x", data=b"not really gzip", headers={"Content-Encoding": "gzip"}
    ) as response:
        assert (await response.json())["body_sha256"] == hashlib.sha256(b"not really gzip").hexdigest()


async def test_a_truncated_body_stays_truncated(sandbox: Sandbox, signed_in: aiohttp.ClientSession) -> None:
    async with signed_in.get(f"{sandbox.origins[NAME]}/truncated/100000") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_caller_that_goes_away_ends_the_request_behind_the_host(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        began.set()
        assert request.transport is not None
        while not request.transport.is_closing():
            await asyncio.sleep(0)
        ended.set()
        return web.Response()

    sandbox.plain[NAME].handler = hang
    pending = asyncio.ensure_future(signed_in.get(f"{sandbox.origins[NAME]}/x"))
    await began.wait()
    pending.cancel()
    await ended.wait()


async def test_websocket_messages_pass_both_ways_whatever_their_size(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    async with signed_in.ws_connect(
        f"{sandbox.origins[NAME]}/ws?session_id=1",
        protocols=["v1.kernel.websocket.jupyter.org"],
        max_msg_size=0,
    ) as socket:
        assert socket.protocol == "v1.kernel.websocket.jupyter.org"
        for message in (b"", b"x" * 20_000_000):
            await socket.send_bytes(message)
            assert await socket.receive_bytes() == message
        await socket.send_str("größer")
        assert await socket.receive_str() == "größer"
    assert sandbox.plain[NAME].seen[-1].target == "/ws?session_id=1"
    assert sandbox.plain[NAME].seen[-1].values("Cookie") == []


async def test_pings_are_answered_by_the_far_end(sandbox: Sandbox, signed_in: aiohttp.ClientSession) -> None:
    async with signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws", autoping=False) as socket:
        await socket.ping(b"hello")
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"hello")


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4000])
async def test_the_close_code_passes_outward(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, code: int
) -> None:
    async with signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws", autoclose=False) as socket:
        await socket.send_str(f"close {code}")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, code, "as asked")


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xf4soon back"], ids=["no code", "1000", "1012"])
async def test_a_close_handshake_passes_as_it_is(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, payload: bytes
) -> None:
    """Jupyter closes without a code: to a page, 1000 in its place would say that it must not come again."""
    answered: asyncio.Future[tuple[aiohttp.WSMsgType, int, str | None]] = (
        asyncio.get_running_loop().create_future()
    )

    async def close(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoclose=False)
        await socket.prepare(request)
        await socket.send_frame(payload, aiohttp.WSMsgType.CLOSE)
        message = await socket.receive()
        answered.set_result((message.type, message.data, message.extra))
        return socket

    sandbox.plain[NAME].handler = close
    code, reason = int.from_bytes(payload[:2]), payload[2:].decode()
    async with signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws", autoclose=False) as socket:
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, code, reason)
        await socket.send_frame(payload, aiohttp.WSMsgType.CLOSE)
        assert await answered == (aiohttp.WSMsgType.CLOSE, code, reason)
        # And nothing behind it.
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSED


async def test_the_close_code_passes_inward(sandbox: Sandbox, signed_in: aiohttp.ClientSession) -> None:
    closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def listen(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        closed.set_result(socket.close_code)
        return socket

    sandbox.plain[NAME].handler = listen
    async with signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws") as socket:
        await socket.close(code=4321)
    assert await closed == 4321


async def test_a_websocket_that_breaks_behind_the_host_breaks_in_front_of_it(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    """No close frame is made up: a kernel's server that crashed does not look like one that said goodbye."""

    async def crash(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        assert request.transport is not None
        request.transport.abort()
        return socket

    sandbox.plain[NAME].handler = crash
    async with signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws", autoclose=False) as socket:
        await socket.send_str("go")
        message = await socket.receive()
        assert message.type is not aiohttp.WSMsgType.CLOSE


async def test_a_refused_upgrade_keeps_its_status_its_fields_and_its_body(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    async def refuse(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(
            status=404, text='{"message": "Kernel does not exist"}', headers={"X-Why": "gone"}
        )

    sandbox.plain[NAME].handler = refuse
    async with signed_in.get(f"{sandbox.origins[NAME]}/ws", headers=UPGRADE) as response:
        assert response.status == 404
        assert response.headers["X-Why"] == "gone"
        assert await response.text() == '{"message": "Kernel does not exist"}'


async def test_without_a_server_behind_it_the_host_answers_502(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    await sandbox.plain[NAME].stop()
    async with signed_in.get(f"{sandbox.origins[NAME]}/x") as response:
        assert response.status == 502
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws")
    assert refused.value.status == 502
