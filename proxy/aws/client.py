"""Single requests to notebook hosts, for what the gateway asks by itself: one GET, and errors of ours.

No redirects are followed, no cookies kept, bodies read only where they are asked for, and bounded; TLS is verified, and
connections go the same way as the data plane's (`proxy.aws.dial`). Exceptions of aiohttp may
hold the URL and with it the token: they end here, without a chain. Knows nothing of what a request is for.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Protocol

import aiohttp
from yarl import URL

from proxy.aws.cookies import Cookies, SetCookie, Unkept, parse_set_cookies, unkept
from proxy.aws.dial import Egress, dial
from proxy.aws.sessions import NotConnected, NotLetThrough, NotTrusted, no_connection
from proxy.errors import (
    ConnectTimeout,
    UpstreamError,
    UpstreamInvalid,
    UpstreamProxyRefused,
    UpstreamUnreachable,
    UpstreamUntrusted,
)
from proxy.upstream import Origin

_HEAD_LIMIT_BYTES: Final = 64 * 1024
"""A token of several KiB may come back in `Location` and `Set-Cookie`; aiohttp's own limit is 8190."""


@dataclass(frozen=True, slots=True)
class NotebookAnswer:
    """A response's head, as far as signing in is concerned; b"" for absent fields."""

    status: int
    location: bytes
    _: KW_ONLY
    server: bytes
    content_type: bytes
    cookies: tuple[SetCookie, ...]
    date: bytes = b""
    unkept: tuple[Unkept, ...] = ()
    """What it set besides, and what no jar takes."""
    fields: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """All of them."""


class _Dialling(aiohttp.BaseConnector):
    """Connects as `proxy.aws.dial` does."""

    def __init__(self, egress: Egress, tls: ssl.SSLContext | None, *, seconds: float) -> None:
        super().__init__(limit=2)
        self._egress = egress
        self._tls = tls
        self._seconds = seconds

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Any:
        origin, protocol = Origin.of(req.url), self._factory()
        tls = self._tls or ssl.create_default_context()
        try:
            await dial(
                origin,
                protocol,
                tls=tls if origin.tls else None,
                egress=self._egress,
                within_seconds=self._seconds,
            )
        except ssl.SSLCertVerificationError as error:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        return protocol


class HowToConnect(Protocol):
    """How notebook hosts are reached. `ssl_context` replaces the system's trust."""

    @property
    def connect_seconds(self) -> float: ...
    @property
    def ssl_context(self) -> ssl.SSLContext | None: ...
    @property
    def egress(self) -> Egress: ...


def open_client(how: HowToConnect) -> aiohttp.ClientSession:
    """A client for a few requests to one host."""
    return aiohttp.ClientSession(
        connector=(
            aiohttp.TCPConnector(limit=2, ssl=how.ssl_context or True)
            if how.egress.is_direct
            else _Dialling(how.egress, how.ssl_context, seconds=how.connect_seconds)
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=how.connect_seconds),
        headers={"User-Agent": "nbgate", "Accept-Encoding": "identity"},
        auto_decompress=False,
        max_line_size=_HEAD_LIMIT_BYTES,
        max_field_size=_HEAD_LIMIT_BYTES,
    )


async def ask(
    client: aiohttp.ClientSession, target: URL, *, headers: Mapping[str, str], first: bool = False
) -> NotebookAnswer:
    """One GET, head only: the body is left unread and its connection dropped.

    Raises UpstreamUnreachable, UpstreamUntrusted or UpstreamProxyRefused (NotConnected, NotTrusted, NotLetThrough if
    nothing was sent yet, which `first` says) or UpstreamInvalid; outside the `except` clauses, so that no chain leads
    to an exception of aiohttp. How long to wait for the answer is the caller's to bound.
    """
    answer, _ = await _get(client, target, headers, first=first, max_bytes=0, is_all=False)
    return answer


async def peek(
    client: aiohttp.ClientSession,
    target: URL,
    *,
    headers: Mapping[str, str],
    max_bytes: int,
    wants: Callable[[NotebookAnswer], bool],
) -> tuple[NotebookAnswer, bytes]:
    """One GET, with the beginning of its body if its head `wants` that: a body may never end. Raises as `ask`."""
    return await _get(client, target, headers, first=False, max_bytes=max_bytes, is_all=False, wants=wants)


async def fetch(
    client: aiohttp.ClientSession, target: URL, *, headers: Mapping[str, str], max_bytes: int
) -> tuple[NotebookAnswer, bytes]:
    """One GET with its body. Raises as `ask`, and UpstreamInvalid for a body of more than `max_bytes`."""
    return await _get(client, target, headers, first=False, max_bytes=max_bytes, is_all=True)


async def _get(
    client: aiohttp.ClientSession,
    target: URL,
    headers: Mapping[str, str],
    *,
    first: bool,
    max_bytes: int,
    is_all: bool,
    wants: Callable[[NotebookAnswer], bool] = lambda _answer: True,
) -> tuple[NotebookAnswer, bytes]:
    """`max_bytes` 0: the body is left unread. `is_all`: a longer one is an error."""
    failure: UpstreamError
    try:
        async with client.get(target, headers=headers, allow_redirects=False) as response:
            answer = _head(response)
            if not max_bytes or not wants(answer):
                return answer, b""
            body = await _body(response.content, max_bytes)
            if is_all and len(body) > max_bytes:
                raise UpstreamInvalid(detail=f"{where(target)} answered more than {max_bytes} bytes")
            return answer, body
    except UpstreamProxyRefused as error:
        failure = NotLetThrough(detail=error.detail) if first else error
    except (UpstreamUnreachable, ConnectTimeout) as error:
        # Of the way there: a proxy on it that is away, or hangs.
        failure = _no_connection(first, error.detail)
    except aiohttp.ConnectionTimeoutError:
        failure = _no_connection(first, f"connecting to {where(target)} took too long")
    except aiohttp.ClientConnectorCertificateError as error:
        reason = getattr(error.certificate_error, "verify_message", "") or "why is not said"
        detail = f"the certificate of {where(target)} is not trusted: {reason}"
        failure = NotTrusted(detail=detail) if first else UpstreamUntrusted(detail=detail)
    except aiohttp.ClientConnectorError as error:
        reason = error.os_error.strerror or type(error).__name__
        failure = no_connection(error.os_error, first=first)(
            detail=f"connecting to {where(target)}: {reason}"
        )
    except (aiohttp.ServerConnectionError, aiohttp.ClientOSError) as error:
        failure = UpstreamUnreachable(detail=f"{where(target)} did not answer: {type(error).__name__}")
    except (aiohttp.ClientError, ValueError) as error:
        failure = UpstreamInvalid(detail=f"{where(target)} did not answer HTTP: {type(error).__name__}")
    raise failure


async def _body(content: aiohttp.StreamReader, max_bytes: int) -> bytes:
    """All of it, or more than `max_bytes` of it."""
    # It may come byte by byte: what is there already is not copied with each.
    body = bytearray()
    while len(body) <= max_bytes and (part := await content.readany()):
        body += part
    return bytes(body)


def _head(response: aiohttp.ClientResponse) -> NotebookAnswer:
    set_cookies = [value for name, value in response.raw_headers if name.lower() == b"set-cookie"]
    return NotebookAnswer(
        status=response.status,
        location=_field(response, b"location"),
        server=_field(response, b"server"),
        content_type=_field(response, b"content-type"),
        cookies=parse_set_cookies(set_cookies),
        unkept=unkept(set_cookies, host=(response.url.raw_host or "").lower()),
        date=_field(response, b"date"),
        fields=response.raw_headers,
    )


def cookie_field(cookies: Cookies) -> dict[str, str]:
    """The `Cookie` field for a request, nothing for an empty jar."""
    return {"Cookie": cookies.header.decode("latin-1")} if cookies.pairs else {}


def where(url: URL | None) -> str:
    """What of a URL may be told: its origin."""
    return "somewhere that is no URL" if url is None else str(Origin.of(url))


def _no_connection(first: bool, detail: str) -> UpstreamUnreachable:
    return NotConnected(detail=detail) if first else UpstreamUnreachable(detail=detail)


def _field(response: aiohttp.ClientResponse, wanted: bytes) -> bytes:
    return next((value for name, value in response.raw_headers if name.lower() == wanted), b"")
