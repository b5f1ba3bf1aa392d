"""What stands behind a notebook host when a test wants no Jupyter: a small server that tells what it saw.

It starts in milliseconds, records every request as it arrived, and answers a few fixed paths. A test that
needs another answer sets `handler`. It knows nothing of notebooks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp import hdrs, web

from proxy.sandbox.relay import MAX_FIELD_BYTES, hang_up

SERVER = {hdrs.SERVER: "TornadoServer/6.5"}
"""Jupyter's answers name their server, also its own 401 and 403; a notebook host's do not."""

PlainHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Upstream(Protocol):
    """A server behind a notebook host. It listens on a unix socket, so that only the host can reach it."""

    async def start(self, socket_path: Path) -> None:
        """Listen on `socket_path`, whose directory is the server's own; return when it answers."""

    async def stop(self) -> None:
        """End it and all that it started; harmless if it does not run."""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it arrived: the raw target, and the fields in order, repeated ones repeated."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for seen, value in self.headers if seen.lower() == name.lower()]


class PlainUpstream:
    """Answers, unless `handler` is set:

    - any WebSocket upgrade: echoes messages, takes the first subprotocol, closes on `close CODE`;
    - `/bytes/N`: N bytes, with a length; `/chunks/N`: the same, chunked;
    - `/truncated/N`: a length of N, half of it, and then the connection breaks;
    - `/status/CODE`: that status; `/repeated`: three fields `X-Repeated` and two cookies;
    - anything else: JSON `{"method", "target", "headers", "body_bytes", "body_sha256"}`.
    """

    def __init__(self) -> None:
        self.seen: list[SeenRequest] = []
        self.handler: PlainHandler | None = None
        self._runner: web.ServerRunner | None = None

    async def start(self, socket_path: Path) -> None:
        server = web.Server(
            self._answer,
            access_log=None,
            auto_decompress=False,
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(socket_path)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        fields = tuple(
            (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
            for name, value in request.raw_headers
        )
        self.seen.append(SeenRequest(request.method, request.raw_path, fields))
        if self.handler is not None:
            return await self.handler(request)
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await _echo(request)
        match request.raw_path.split("?")[0].split("/"):
            case ["", "bytes", size]:
                return await _bytes(request, int(size), chunked=False)
            case ["", "chunks", size]:
                return await _bytes(request, int(size), chunked=True)
            case ["", "truncated", size]:
                return await _bytes(request, int(size), chunked=False, stop_at=int(size) // 2)
            case ["", "status", status]:
                return web.Response(status=int(status), headers=SERVER)
            case ["", "repeated"]:
                return _repeated()
            case _:
                return await _describe(request, self.seen[-1])


async def _echo(request: web.BaseRequest) -> web.StreamResponse:
    offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")[0].strip()
    socket = web.WebSocketResponse(protocols=(offered,) if offered else (), max_msg_size=0, compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            command, _, code = message.data.partition(" ")
            if command == "close":
                await socket.close(code=int(code), message=b"as asked")
            else:
                await socket.send_str(message.data)
    return socket


async def _bytes(
    request: web.BaseRequest, size: int, *, chunked: bool, stop_at: int | None = None
) -> web.StreamResponse:
    response = web.StreamResponse(headers=SERVER | {hdrs.CONTENT_TYPE: "application/octet-stream"})
    if chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = size
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    block = bytes(range(256)) * 256
    left = size if stop_at is None else stop_at
    while left > 0:
        await response.write(block[:left])
        left -= len(block)
    if stop_at is not None:
        hang_up(request)
    return response


def _repeated() -> web.Response:
    response = web.Response(text="repeated\n", headers=SERVER)
    for name, value in (
        ("X-Repeated", "one"),
        (hdrs.SET_COOKIE, "_xsrf=a; Path=/"),
        ("X-Repeated", "two"),
        (hdrs.SET_COOKIE, "username-x=b; HttpOnly; Path=/"),
        ("X-Repeated", "three"),
    ):
        response.headers.add(name, value)
    return response


async def _describe(request: web.BaseRequest, seen: SeenRequest) -> web.Response:
    digest = hashlib.sha256()
    size = 0
    async for chunk in request.content.iter_any():
        digest.update(chunk)
        size += len(chunk)
    return web.json_response(
        {
            "method": seen.method,
            "target": seen.target,
            "headers": seen.headers,
            "body_bytes": size,
            "body_sha256": digest.hexdigest(),
        },
        headers=SERVER,
    )
