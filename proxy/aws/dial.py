"""Opening connections to notebook hosts: to where SageMaker says, to an endpoint of one's own, or through a proxy.

The rule: TLS is with the notebook and nobody else, by its own name, whatever stands between; of a proxy's answer only
its status counts, and it is bounded in size and time. What is between must not change what the connection is used
for: the protocol that gets it knows of none of this. It must not know HTTP beyond CONNECT, sessions or callers.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

from proxy.aws.sessions import no_connection
from proxy.errors import ConnectTimeout, UpstreamProxyRefused, UpstreamUnreachable, UpstreamUntrusted
from proxy.upstream import Origin
from proxy.wire.egress import EgressProxy, authority, connect_request, connect_status, goes_without

_HEAD_BYTES: Final = 16 * 1024
"""Of a proxy's answer to CONNECT; those that want a person to sign in send pages of some KiB behind it."""
_HEAD_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Egress:
    """How connections leave. `no_proxy` is read as urllib and botocore do; `endpoint` is where all notebooks are."""

    proxy: EgressProxy | None = None
    no_proxy: str = ""
    endpoint: tuple[str, int] | None = None

    @property
    def is_direct(self) -> bool:
        return self.proxy is None and self.endpoint is None

    def address(self, origin: Origin) -> tuple[str, int]:
        """Where an origin's connections lead."""
        return self.endpoint or (origin.host, origin.port)

    def proxy_for(self, scheme: str, host: str, port: int) -> EgressProxy | None:
        """The proxy that leads there; None: none does."""
        if self.proxy is None or scheme != "https" or goes_without(host, port, no_proxy=self.no_proxy):
            return None
        return self.proxy


DIRECT: Final = Egress()


async def dial(
    origin: Origin,
    protocol: asyncio.Protocol,
    *,
    tls: ssl.SSLContext | None,
    egress: Egress,
    within_seconds: float,
) -> None:
    """Connect `protocol` to a notebook; `tls` is for an origin that has it.

    Raises OSError where the notebook itself cannot be connected to, or is not trusted; ConnectTimeout; and where a
    proxy is at fault, UpstreamProxyRefused or UpstreamUnreachable, which name it.
    """
    host, port = egress.address(origin)
    proxy = egress.proxy_for(origin.scheme, host, port)
    server_hostname = origin.host if tls is not None else None
    try:
        async with asyncio.timeout(within_seconds):
            if proxy is None:
                await asyncio.get_running_loop().create_connection(
                    lambda: protocol, host, port, ssl=tls, server_hostname=server_hostname
                )
            else:
                assert tls is not None
                await _through(proxy, host, port, protocol, tls=tls, server_hostname=origin.host)
    except TimeoutError as error:
        raise ConnectTimeout(detail="connect" if proxy is None else f"connect, through {proxy}") from error


@dataclass(frozen=True, slots=True)
class Dialler:
    """Connects to notebooks by one egress; implements `proxy.dataplane.sessions.Dial`."""

    egress: Egress = DIRECT

    async def __call__(
        self,
        origin: Origin,
        protocol: asyncio.Protocol,
        *,
        tls: ssl.SSLContext | None,
        within_seconds: float,
    ) -> None:
        try:
            await dial(origin, protocol, tls=tls, egress=self.egress, within_seconds=within_seconds)
        except ssl.SSLCertVerificationError as error:
            raise UpstreamUntrusted(detail=f"tls: {error.reason}: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise UpstreamUnreachable(detail=f"tls: {error.reason}") from error
        except OSError as error:
            reason = error.strerror or error or type(error).__name__
            raise no_connection(error)(detail=f"connect: {reason}") from error


async def _through(
    proxy: EgressProxy,
    host: str,
    port: int,
    protocol: asyncio.Protocol,
    *,
    tls: ssl.SSLContext,
    server_hostname: str,
) -> None:
    loop = asyncio.get_running_loop()
    tunnel = _Tunnel()
    try:
        await loop.create_connection(
            lambda: tunnel,
            proxy.host,
            proxy.port,
            # The same authorities: a proxy of one's own has a certificate of one's own.
            ssl=tls if proxy.is_tls else None,
            server_hostname=proxy.host if proxy.is_tls else None,
        )
    except ssl.SSLCertVerificationError as error:
        raise UpstreamUnreachable(
            detail=f"the certificate of the proxy {proxy} is not trusted: {error.verify_message}"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UpstreamUnreachable(detail=f"connect to the proxy {proxy}: {reason}") from error
    transport = tunnel.transport
    try:
        transport.write(connect_request(host, port, proxy))
        _judge(await tunnel.answer, proxy, authority(host, port))
        secured = await loop.start_tls(transport, protocol, tls, server_hostname=server_hostname)
        if secured is None:
            raise UpstreamUnreachable(detail=f"the proxy {proxy} ended the connection")
    except BaseException:
        transport.abort()
        raise
    protocol.connection_made(secured)


def _judge(answer: bytes, proxy: EgressProxy, target: str) -> None:
    """Raises where the proxy opened no connection; what it says beyond the status may be anything."""
    end = answer.find(_HEAD_END)
    status = connect_status(answer) if end >= 0 else 0
    if 200 <= status < 300 and end + len(_HEAD_END) == len(answer):
        return
    if status >= 500:
        raise UpstreamUnreachable(detail=f"the proxy {proxy} answered {_phrase(status)} to CONNECT {target}")
    if 200 <= status < 300:
        said = "sent more than its answer"
    elif status:
        said = f"answered {_phrase(status)}"
    else:
        said = "ended the connection" if not answer else "did not answer HTTP"
    raise UpstreamProxyRefused(detail=f"the proxy {proxy} {said} to CONNECT {target}")


def _phrase(status: int) -> str:
    known = {one.value: one.phrase for one in HTTPStatus}
    return f"{status} {known[status]}" if status in known else str(status)


class _Tunnel(asyncio.Protocol):
    """Collects a proxy's answer up to its blank line, its end, or as much as is taken."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        searched = len(self._received)
        self._received += data
        if self._received.find(_HEAD_END, max(0, searched - 3)) >= 0 or len(self._received) > _HEAD_BYTES:
            self._answered()

    def eof_received(self) -> None:
        self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        self._answered()

    def _answered(self) -> None:
        if not self.answer.done():
            # What comes behind it is for TLS to read.
            if not self.transport.is_closing():
                self.transport.pause_reading()
            self.answer.set_result(bytes(self._received))
