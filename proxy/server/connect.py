"""`nbgate connect`: a port of this machine that adds a program's token to all that goes through it.

For programs that know Jupyter and send no token with their WebSockets (jupyter_server's gateway client, by which
nbclient and papermill run notebooks elsewhere). The rule: 127.0.0.1 alone is listened at, and that keeps out neither
other users of the machine nor pages in its browsers: so everything has to stand below a path that nobody can guess, to
be asked by the port's own name, and not for a page of another site. The token goes to the gateway's address and nowhere
else; cookies go neither way. Bodies stream; a WebSocket's messages are held one at a time. It must not know
the command line or a configuration.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest
from typing import Final

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.routing.authority import parse_authority
from proxy.tasks import Tasks
from proxy.telemetry.events import unquoting
from proxy.websocket_messages import carry_messages
from proxy.wire.browsers import CHANGES_SOMETHING
from proxy.wire.credentials import subprotocols, take_out
from proxy.wire.fields import REQUEST_RULES, RESPONSE_RULES, Rule, nominated

LOOPBACK: Final = "127.0.0.1"
MOST_AT_ONCE: Final = 256
"""Requests and WebSockets; above it 503."""
MESSAGE_BYTES: Final = 512 * 1024 * 1024
"""Of a WebSocket, as large as a body that Jupyter takes; above it 1009."""
CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 0.5
"""For what is under way when somebody presses Ctrl-C. 0 would be for ever."""
_FIELD_BYTES: Final = 65_536
_REFUSAL_BYTES: Final = 65_536

_PASSED_ON: Final = frozenset({Rule.PASS, Rule.ACCEPT_ENCODING})
_PASSED_BACK: Final = frozenset(
    {
        Rule.PASS,
        Rule.CONTENT_LENGTH,
        Rule.CONTENT_TYPE,
        Rule.CONTENT_ENCODING,
        Rule.SERVER,
        Rule.BY_VALUE,
        Rule.OWN_ORIGIN,
    }
)
_NOT_PASSED_ON: Final = frozenset(
    {
        # Ours is put in its place.
        "authorization",
        # Answered here: the body is asked for at once.
        "expect",
        # A handshake of its own is made with the gateway.
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "sec-websocket-accept",
    }
)
_NOT_CARRIED: Final = frozenset({"CONNECT", "TRACE"})
"""CONNECT names a host and no path below the secret; TRACE would show the token."""


class _RefusedError(Exception):
    """The gateway answered an upgrade with something else than 101; `ws_connect` would forget what it said."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        super().__init__(response.status)
        self.status = response.status
        self.reason = response.reason
        self.raw_headers = response.raw_headers
        self.body = body


@dataclass(frozen=True, slots=True)
class LocalPort:
    """An open port: what programs are to be given as Jupyter's address. It is a secret, as a token is."""

    address: str


@asynccontextmanager
async def open_local_port(
    base: URL,
    *,
    token: str,
    secret: str,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[LocalPort]:
    """Listen at 127.0.0.1. `base` is the instance's address at the gateway, with a slash at its end; `secret` names the
    path that everything stands below. Raises OSError where the port cannot be had.
    """
    tasks = Tasks(lambda name, error: None)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        port = sock.getsockname()[1]
        async with open_client(token, tls=tls) as client:
            carrier = _Carrier(client, base, secret=secret, port=port, tasks=tasks)
            server = web.Server(
                carrier.answer,
                access_log=None,
                # aiohttp quotes what it cannot read: that may hold the secret, or credentials.
                logger=unquoting("nbgate connect", "a request could not be carried"),
                auto_decompress=False,
                max_line_size=_FIELD_BYTES,
                max_field_size=_FIELD_BYTES,
            )
            listening = await asyncio.get_running_loop().create_server(server, sock=sock)
            try:
                yield LocalPort(f"http://{LOOPBACK}:{port}/{secret}/")
            finally:
                listening.close()
                await tasks.close()
                # Connections that wait for a next request first: for those it would wait, too.
                server.pre_shutdown()
                await server.shutdown(CLOSE_SECONDS)
    finally:
        sock.close()


def open_client(token: str, *, tls: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """A client that shows the token with all that it asks. Redirects are not followed: it must go nowhere else."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls or True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        headers={hdrs.AUTHORIZATION: f"token {token}"},
        auto_decompress=False,
        skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
        max_line_size=_FIELD_BYTES,
        max_field_size=_FIELD_BYTES,
        middlewares=(_keep_refusal,),
    )


async def _keep_refusal(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    response = await handler(request)
    if hdrs.UPGRADE not in request.headers or response.status == 101:
        return response
    body = await response.content.read(_REFUSAL_BYTES)
    response.close()
    raise _RefusedError(response, body)


class _Carrier:
    """Takes requests at the port, and carries them to the gateway."""

    def __init__(
        self, client: aiohttp.ClientSession, base: URL, *, secret: str, port: int, tasks: Tasks
    ) -> None:
        self._client = client
        self._base = base
        self._prefix = f"/{secret}"
        self._names = frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})
        self._tasks = tasks
        self._count = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """What `web.Server` calls for each request."""
        if refusal := self._refusal(request):
            return refusal
        if self._count >= MOST_AT_ONCE:
            return _plain_answer(
                503, "More is going on at once than nbgate connect carries.", **{"Retry-After": "1"}
            )
        self._count += 1
        try:
            target = self._target(request)
            # Of other protocols (h2c) a gateway speaks none, and goes on in HTTP/1.1.
            if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
                return await self._splice(request, target)
            return await self._forward(request, target)
        finally:
            self._count -= 1

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Why whoever asks is no program that was given this port's address; None if it may be."""
        if request.headers.getall(hdrs.HOST, []) not in [[name] for name in self._names]:
            # A page whose own name was made to lead here (DNS rebinding).
            return _plain_answer(421, "Not a name of this port.")
        if request.method in _NOT_CARRIED:
            return _plain_answer(
                405, "This method is not supported.", Allow="GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
            )
        if not any(
            CHANGES_SOMETHING.lets(request.headers, scheme="http", authority=parse_authority(name))
            for name in self._names
        ):
            return _plain_answer(403, "Not for pages of other sites.")
        path = request.raw_path.partition("?")[0]
        given = path[: len(self._prefix)]
        if not compare_digest(given.encode("utf-8", "surrogateescape"), self._prefix.encode("ascii")) or (
            path[len(self._prefix) :][:1] not in ("", "/")
        ):
            return _plain_answer(404, "Nothing is here.")
        return None

    def _target(self, request: web.BaseRequest) -> URL:
        """The same, below the instance's address; without a token that a program was given besides."""
        rest = take_out(request.raw_path[len(self._prefix) :].removeprefix("/")).target
        base = self._base
        # All of it goes in as "path": yarl then keeps every byte, an empty query's "?" included.
        return URL.build(
            scheme=base.scheme, host=base.host or "", port=base.port, path=base.raw_path + rest, encoded=True
        )

    async def _forward(self, request: web.BaseRequest, target: URL) -> web.StreamResponse:
        body = _body(request) if request.body_exists else None
        try:
            upstream = await self._client.request(
                request.method, target, headers=_onward(request.headers), data=body, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError) as error:
            return self._unreachable(error)
        async with upstream:
            response = web.StreamResponse(
                status=upstream.status,
                reason=upstream.reason,
                headers=self._back(upstream.raw_headers),
            )
            await response.prepare(request)
            try:
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
            except aiohttp.ClientError:
                # What was cut short there must not look complete here.
                _hang_up(request)
            return response

    async def _splice(self, request: web.BaseRequest, target: URL) -> web.StreamResponse:
        """The same WebSocket at the gateway, and messages both ways until either side has closed it."""
        values = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ())
        offered = [one.strip() for value in values for one in value.split(",") if not subprotocols([one])]
        try:
            upstream = await self._client.ws_connect(
                target,
                headers=_onward(request.headers),
                protocols=offered,
                max_msg_size=MESSAGE_BYTES,
                autoping=False,
                autoclose=False,
            )
        except _RefusedError as refused:
            headers = self._back(refused.raw_headers)
            headers.popall(hdrs.CONTENT_LENGTH, None)
            return web.Response(
                status=refused.status, reason=refused.reason, headers=headers, body=refused.body
            )
        except (aiohttp.ClientError, OSError) as error:
            return self._unreachable(error)
        async with upstream:
            downstream = web.WebSocketResponse(
                protocols=(upstream.protocol,) if upstream.protocol else (),
                compress=False,
                max_msg_size=MESSAGE_BYTES,
                autoping=False,
                autoclose=False,
            )
            await downstream.prepare(request)
            await carry_messages(
                downstream, upstream, tasks=self._tasks, name="connect", hang_up=partial(_hang_up, request)
            )
        return downstream

    def _back(self, raw: Iterable[tuple[bytes, bytes]]) -> CIMultiDict[str]:
        fields = tuple(raw)
        dropped = nominated([value for name, value in fields if name.lower() == b"connection"])
        kept: CIMultiDict[str] = CIMultiDict()
        for name, value in fields:
            rule = RESPONSE_RULES[name]
            text = value.decode("utf-8", "surrogateescape")
            if rule is Rule.LOCATION:
                kept.add(name.decode("ascii"), self._local(text))
            elif rule in _PASSED_BACK and name.lower() not in dropped:
                kept.add(name.decode("ascii"), text)
        return kept

    def _local(self, location: str) -> str:
        """An address below the instance's as it is here; others as they are."""
        for base in (str(self._base), self._base.raw_path):
            if location.startswith(base):
                return f"{self._prefix}/{location.removeprefix(base)}"
        return location

    def _unreachable(self, error: Exception) -> web.Response:
        # Not its text: that may hold the address, and whatever a program wrote into its query.
        return _plain_answer(502, f"{self._base.origin()} cannot be reached ({type(error).__name__}).")


def _onward(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """A program's fields without those that are between it and this port, and without credentials and cookies."""
    dropped = nominated(
        [value.encode("utf-8", "surrogateescape") for value in headers.getall("Connection", ())]
    )
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lower = name.lower()
        raw = lower.encode("ascii", "replace")
        passes = REQUEST_RULES[raw] in _PASSED_ON or lower == "content-length"
        if (
            passes
            and lower not in _NOT_PASSED_ON
            and not lower.startswith("sec-fetch-")
            and raw not in dropped
        ):
            kept.add(name, value)
    return kept


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    async for chunk in request.content.iter_any():
        yield chunk


def _hang_up(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _plain_answer(status: int, message: str, **headers: str) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps({"message": message}).encode() + b"\n",
        content_type="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )
