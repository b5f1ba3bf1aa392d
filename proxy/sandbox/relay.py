"""Carry an admitted request from the notebook host to the Jupyter server on the instance, and back.

The rule: what a browser and Jupyter say to each other passes unchanged, whatever its size: raw request
targets, repeated fields, `Host`, bodies of any length, WebSocket messages and close codes. Nothing here
knows about tokens or sessions; the notebook host removes its own cookies before it calls.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.tasks import Tasks
from proxy.websocket_messages import carry_messages

MAX_FIELD_BYTES = 65536
"""Tokens and cookies of this family are long; aiohttp's own limit is 8190."""

_HOP_BY_HOP = frozenset(
    name.lower()
    for name in (
        hdrs.CONNECTION,
        hdrs.KEEP_ALIVE,
        hdrs.PROXY_AUTHENTICATE,
        hdrs.PROXY_AUTHORIZATION,
        hdrs.TE,
        hdrs.TRAILER,
        hdrs.TRANSFER_ENCODING,
        hdrs.UPGRADE,
        # Answered here: the body is asked for at once.
        hdrs.EXPECT,
    )
)
_HANDSHAKE = frozenset(
    name.lower()
    for name in (
        hdrs.SEC_WEBSOCKET_KEY,
        hdrs.SEC_WEBSOCKET_VERSION,
        hdrs.SEC_WEBSOCKET_EXTENSIONS,
        hdrs.SEC_WEBSOCKET_PROTOCOL,
        hdrs.SEC_WEBSOCKET_ACCEPT,
    )
)


@dataclass(frozen=True, slots=True)
class BodyCut:
    """Where the notebook host breaks the connection on purpose: after `body_bytes` of the body."""

    body_bytes: int


@dataclass(frozen=True, slots=True)
class AnswerChanges:
    """What the front end does to Jupyter's answers on their way: fields that it hides (in small letters), and how it
    compresses HTML ("" or an entry of `CODINGS`)."""

    hidden: frozenset[str] = frozenset()
    html_coding: str = ""


CODINGS: dict[str, int] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Content codings (RFC 9110 section 8.4.1), with the window that zlib writes each by."""
_UNCHANGED = AnswerChanges()


class _Refusal(Exception):
    """The Jupyter server answered an upgrade with something else than 101; `answer` is for the caller."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__(answer.status)
        self.answer = answer


class JupyterRelay:
    """Connections to one Jupyter server, over its unix socket."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = str(socket_path)
        self._http: aiohttp.ClientSession | None = None
        self._websocket: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> JupyterRelay:
        self._http = self._session()
        self._websocket = self._session(middlewares=(_keep_refusal,))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for session in (self._http, self._websocket):
            if session is not None:
                await session.close()

    async def forward(
        self,
        request: web.BaseRequest,
        *,
        target: str,
        headers: CIMultiDict[str],
        set_cookies: tuple[str, ...] = (),
        cut: BodyCut | None = None,
        changes: AnswerChanges = _UNCHANGED,
    ) -> web.StreamResponse:
        """Stream the request to Jupyter and its answer back; a body cut short there is cut short here."""
        assert self._http is not None
        body = _body(request) if request.body_exists else None
        try:
            upstream = await self._http.request(
                request.method, _url(target), headers=headers, data=body, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError) as error:
            return web.Response(status=502, text=f"The notebook host cannot reach Jupyter: {error}\n")
        async with upstream:
            response = web.StreamResponse(
                status=upstream.status,
                reason=upstream.reason,
                headers=_response_headers(upstream.raw_headers),
            )
            _hide(response.headers, changes.hidden)
            for cookie in set_cookies:
                response.headers.add(hdrs.SET_COOKIE, cookie)
            compress = _compressor(response, changes, has_body=request.method != hdrs.METH_HEAD)
            await response.prepare(request)
            try:
                await _copy_body(upstream, response, cut=cut, compress=compress)
            except aiohttp.ClientPayloadError:
                hang_up(request)
            else:
                if cut is not None:
                    hang_up(request)
            return response

    async def splice(
        self,
        request: web.BaseRequest,
        *,
        target: str,
        headers: CIMultiDict[str],
        tasks: Tasks,
        set_cookies: tuple[str, ...] = (),
    ) -> web.StreamResponse:
        """Open the same WebSocket at Jupyter, then carry messages both ways until either side closes."""
        assert self._websocket is not None
        offered = [
            protocol.strip()
            for line in request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ())
            for protocol in line.split(",")
        ]
        for name in _HANDSHAKE & {name.lower() for name in headers}:
            del headers[name]
        try:
            upstream = await self._websocket.ws_connect(
                _url(target),
                headers=headers,
                protocols=offered,
                max_msg_size=0,
                autoping=False,
                autoclose=False,
            )
        except _Refusal as refusal:
            return refusal.answer
        except (aiohttp.ClientError, OSError) as error:
            return web.Response(status=502, text=f"The notebook host cannot reach Jupyter: {error}\n")
        async with upstream:
            downstream = web.WebSocketResponse(
                protocols=(upstream.protocol,) if upstream.protocol else (),
                compress=False,
                max_msg_size=0,
                autoping=False,
                autoclose=False,
            )
            for cookie in set_cookies:
                downstream.headers.add(hdrs.SET_COOKIE, cookie)
            await downstream.prepare(request)
            await carry_messages(
                downstream, upstream, tasks=tasks, name="notebook host", hang_up=partial(hang_up, request)
            )
        return downstream

    def _session(
        self, *, middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = ()
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(self._socket_path, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            auto_decompress=False,
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            middlewares=middlewares,
        )


def request_headers(request: web.BaseRequest) -> CIMultiDict[str]:
    """The fields to pass on, in order and repeated as they came; not the hop-by-hop ones (RFC 9110 7.6.1)."""
    return _without_hop_by_hop(request.headers)


def hang_up(request: web.BaseRequest) -> None:
    """Close the caller's connection where it stands, so that what was sent does not look complete."""
    if request.transport is not None:
        request.transport.close()


def _url(target: str) -> URL:
    # All of the target goes in as "path": yarl then keeps every byte, an empty query's "?" included.
    return URL.build(scheme="http", host="jupyter", path=target, encoded=True)


def _without_hop_by_hop(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> CIMultiDict[str]:
    named = {
        token.strip().lower() for line in headers.getall(hdrs.CONNECTION, ()) for token in line.split(",")
    }
    dropped = _HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def _response_headers(raw: tuple[tuple[bytes, bytes], ...]) -> CIMultiDict[str]:
    fields = CIMultiDict(
        (name.decode("ascii"), value.decode("utf-8", "surrogateescape")) for name, value in raw
    )
    return _without_hop_by_hop(fields)


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    async for chunk in request.content.iter_any():
        yield chunk


def _hide(headers: CIMultiDict[str], hidden: frozenset[str]) -> None:
    for name in hidden & {name.lower() for name in headers}:
        del headers[name]
    if hdrs.SERVER.lower() in hidden:
        # aiohttp would write its own.
        headers[hdrs.SERVER] = "front-end"


class _Compressor(Protocol):
    """zlib's."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def _compressor(
    response: web.StreamResponse, changes: AnswerChanges, *, has_body: bool
) -> _Compressor | None:
    """Compresses the body of a response whose head it changes accordingly; None for one that is left as it is."""
    is_plain_html = response.content_type == "text/html" and hdrs.CONTENT_ENCODING not in response.headers
    if not changes.html_coding or not is_plain_html or not has_body or response.status == 304:
        return None
    response.headers.popall(hdrs.CONTENT_LENGTH, None)
    response.headers[hdrs.CONTENT_ENCODING] = changes.html_coding
    return zlib.compressobj(wbits=CODINGS[changes.html_coding])


async def _copy_body(
    upstream: aiohttp.ClientResponse,
    response: web.StreamResponse,
    *,
    cut: BodyCut | None,
    compress: _Compressor | None = None,
) -> None:
    left = cut.body_bytes if cut is not None else None
    async for chunk in upstream.content.iter_any():
        if compress is not None:
            await response.write(compress.compress(chunk))
            continue
        if left is None:
            await response.write(chunk)
            continue
        await response.write(chunk[:left])
        left -= len(chunk)
        if left <= 0:
            return
    if compress is not None:
        await response.write(compress.flush())


async def _keep_refusal(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """`ws_connect` forgets the body of a refused upgrade; Jupyter's says why, so it is kept."""
    response = await handler(request)
    if response.status == 101:
        return response
    body = await response.read()
    headers = _response_headers(response.raw_headers)
    headers.popall(hdrs.CONTENT_LENGTH, None)
    raise _Refusal(web.Response(status=response.status, reason=response.reason, headers=headers, body=body))
