"""The reverse proxy that people write with aiohttp: a handler, a ClientSession, two loops for a WebSocket.

The baseline of the benchmarks, kept plain on purpose: bodies are streamed, uvloop is on, and nothing else was
thought of. `python -m tests.benchmarks.aiohttp_plain PORT ORIGIN_PORT`
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDictProxy

HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "proxy-authenticate",
}
WEBSOCKET_HANDSHAKE = "sec-websocket-"

ORIGIN = web.AppKey("origin", str)
SESSION = web.AppKey("session", aiohttp.ClientSession)


def forwarded(headers: CIMultiDictProxy[str]) -> list[tuple[str, str]]:
    """All but what belongs to one connection."""
    return [
        (name, value)
        for name, value in headers.items()
        if name.lower() not in HOP_BY_HOP and not name.lower().startswith(WEBSOCKET_HANDSHAKE)
    ]


async def proxy(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await websocket(request)
    body = request.content.iter_any() if request.body_exists else None
    async with request.app[SESSION].request(
        request.method,
        request.app[ORIGIN] + request.raw_path,
        headers=forwarded(request.headers),
        data=body,
        allow_redirects=False,
    ) as upstream:
        response = web.StreamResponse(status=upstream.status, headers=forwarded(upstream.headers))
        await response.prepare(request)
        async for data in upstream.content.iter_any():
            await response.write(data)
        await response.write_eof()
        return response


async def websocket(request: web.Request) -> web.WebSocketResponse:
    downstream = web.WebSocketResponse(max_msg_size=0)
    await downstream.prepare(request)
    url = request.app[ORIGIN] + request.raw_path
    async with request.app[SESSION].ws_connect(
        url, headers=forwarded(request.headers), max_msg_size=0
    ) as upstream:
        pumps = [
            asyncio.create_task(pump(downstream, upstream)),
            asyncio.create_task(pump(upstream, downstream)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        await upstream.close()
    await downstream.close()
    return downstream


WebSocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def pump(source: WebSocket, sink: WebSocket) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)


async def session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as app[
        SESSION
    ]:
        yield


def main(port: int, origin_port: int) -> None:
    app = web.Application(client_max_size=1 << 40)
    app[ORIGIN] = f"http://127.0.0.1:{origin_port}"
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", proxy)
    web.run_app(
        app, host="127.0.0.1", port=port, access_log=None, print=lambda _: None, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
