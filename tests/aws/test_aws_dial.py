"""Connections to notebooks: through a proxy, or to an endpoint of one's own, and always with the notebook's own TLS."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
import uvloop
from yarl import URL

from proxy.aws.client import ask, open_client
from proxy.aws.dial import DIRECT, Egress, dial
from proxy.aws.exchange import ExchangeOptions
from proxy.aws.sessions import NotConnected, NotLetThrough, NotTrusted
from proxy.errors import (
    ConnectTimeout,
    UpstreamError,
    UpstreamProxyRefused,
    UpstreamUnreachable,
)
from proxy.upstream import Origin
from proxy.wire.egress import parse_egress_proxy
from tests.harness.certificates import self_signed, serving, trusting
from tests.harness.egress_proxies import ESTABLISHED, open_egress_proxy
from tests.harness.ports import held_port

HOST = "research.notebook.eu-west-1.sagemaker.aws"
ORIGIN = Origin("https", HOST, 443)
TARGET = f"{HOST}:443"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("notebook"), name=f"DNS:{HOST}")


@dataclass
class Notebook:
    """A TLS server that calls itself `HOST`."""

    port: int = 0
    named: list[str | None] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def open_notebook(certificate: Path) -> AsyncIterator[Notebook]:
    notebook = Notebook()
    context = serving(certificate)
    context.sni_callback = lambda _socket, name, _context: notebook.named.append(name)
    server = await asyncio.start_server(notebook.serve, "127.0.0.1", 0, ssl=context)
    notebook.port = server.sockets[0].getsockname()[1]
    try:
        yield notebook
    finally:
        server.close()
        await asyncio.sleep(0.01)


class Caller(asyncio.Protocol):
    """What connections are opened for: sends one request, and has its answer."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.answered = asyncio.Event()
        self.made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made += 1
        # uvloop's are none by inheritance.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % ORIGIN.authority)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.answered.set()


async def call(egress: Egress, tls: ssl.SSLContext, *, seconds: float = 30.0) -> bytes:
    caller = Caller()
    await dial(ORIGIN, caller, tls=tls, egress=egress, within_seconds=seconds)
    await asyncio.wait_for(caller.answered.wait(), 30)
    caller.transport.abort()
    assert caller.made == 1
    return bytes(caller.received)


def through(port: int, *, credentials: str = "", scheme: str = "http", no_proxy: str = "") -> Egress:
    return Egress(parse_egress_proxy(f"{scheme}://{credentials}127.0.0.1:{port}"), no_proxy)


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_connection_through_a_proxy_is_the_notebooks_own(
    runner: asyncio.Runner, certificate: Path, tmp_path: Path, over_tls: bool
) -> None:
    """The name is looked up by the proxy alone; no name server knows it here."""

    async def run() -> None:
        trust = trusting(certificate)
        proxys = self_signed(tmp_path, name="IP:127.0.0.1")
        trust.load_verify_locations(tmp_path / "certificate.pem")
        async with (
            open_notebook(certificate) as notebook,
            open_egress_proxy(
                leads={TARGET: notebook.port}, tls=serving(proxys) if over_tls else None
            ) as proxy,
        ):
            egress = through(proxy.port, credentials="gate:s3cr%3At@", scheme="https" if over_tls else "http")
            assert await call(egress, trust) == OK
            assert proxy.targets == [TARGET]
            expected = base64.b64encode(b"gate:s3cr:t")
            assert b"\r\nProxy-Authorization: Basic %b\r\n" % expected in proxy.heads[0]
            assert notebook.named == [HOST]
            assert b"Proxy-" not in notebook.heads[0]
            assert b"\r\nHost: %b\r\n" % HOST.encode() in notebook.heads[0]

    runner.run(run())


REFUSED = [
    (
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        UpstreamProxyRefused,
        "answered 407 Proxy Authentication",
    ),
    (
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno no",
        UpstreamProxyRefused,
        "answered 403 Forbidden",
    ),
    (
        b"HTTP/1.1 302 Found\r\nLocation: https://login.corp/\r\n\r\n",
        UpstreamProxyRefused,
        "answered 302 Found",
    ),
    (b"HTTP/1.1 499 What \x1b[31m\r\n\r\n", UpstreamProxyRefused, "answered 499 to"),
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", UpstreamUnreachable, "answered 502 Bad Gateway"),
    (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", UpstreamUnreachable, "answered 504 Gateway Timeout"),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", UpstreamProxyRefused, "did not answer HTTP"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000, UpstreamProxyRefused, "did not answer HTTP"),
    (b"HTTP/1.1 200 OK\r\n", UpstreamProxyRefused, "did not answer HTTP"),
    (ESTABLISHED + b"HTTP/1.1 200 OK\r\n\r\nhello", UpstreamProxyRefused, "sent more than its answer"),
]


@pytest.mark.parametrize(("answer", "kind", "said"), REFUSED, ids=[said for *_, said in REFUSED])
def test_a_proxy_that_opens_no_connection_is_named_without_its_credentials(
    runner: asyncio.Runner, certificate: Path, answer: bytes, kind: type[UpstreamError], said: str
) -> None:
    async def run() -> None:
        async with open_egress_proxy(answer=answer) as proxy:
            with pytest.raises(kind) as caught:
                await call(through(proxy.port, credentials="gate:hunter22@"), trusting(certificate))
            error = caught.value
            assert type(error) is kind
            assert f"the proxy http://127.0.0.1:{proxy.port} {said}" in error.detail
            assert error.detail.endswith(f"to CONNECT {TARGET}")
            assert "hunter22" not in error.detail + str(error) + repr(error.__context__)
            assert error.detail.isprintable()

    runner.run(run())


def test_a_proxy_without_end_is_read_no_further_than_its_bound(certificate: Path) -> None:
    async def run() -> None:
        async with open_egress_proxy(
            answer=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 17_000, hangs_up=False
        ) as proxy:
            with pytest.raises(UpstreamProxyRefused, match="does not let"):
                await call(through(proxy.port), trusting(certificate))

    asyncio.run(run())


def test_a_proxy_that_hangs_up_on_us_says_nothing(certificate: Path) -> None:
    async def run() -> None:
        async with open_egress_proxy(answer=b"") as proxy:
            task = asyncio.create_task(call(through(proxy.port), trusting(certificate)))
            while not proxy.heads:
                await asyncio.sleep(0)
            proxy.close()
            with pytest.raises(UpstreamProxyRefused) as caught:
                await task
            assert "ended the connection" in caught.value.detail

    asyncio.run(run())


def test_a_proxy_that_keeps_silent_is_not_waited_for_beyond_the_connections_time(certificate: Path) -> None:
    async def run() -> None:
        async with open_egress_proxy(answer=b"") as proxy:
            with pytest.raises(ConnectTimeout) as caught:
                await call(
                    through(proxy.port, credentials="u:hunter22@"), trusting(certificate), seconds=0.05
                )
            assert caught.value.detail == f"connect, through http://127.0.0.1:{proxy.port}"

    asyncio.run(run())


def test_a_proxy_that_is_away_or_not_trusted_is_named(certificate: Path, tmp_path: Path) -> None:
    async def run() -> None:
        with held_port() as gone, pytest.raises(UpstreamUnreachable) as caught:
            await call(through(gone, credentials="u:hunter22@"), trusting(certificate))
        assert f"connect to the proxy http://127.0.0.1:{gone}: " in caught.value.detail
        async with open_egress_proxy(tls=serving(self_signed(tmp_path, name="IP:127.0.0.1"))) as other:
            with pytest.raises(UpstreamUnreachable) as caught:
                await call(through(other.port, scheme="https"), trusting(certificate))
            assert "the certificate of the proxy" in caught.value.detail
            assert other.heads == []

    asyncio.run(run())


def test_a_proxy_between_cannot_play_the_notebook(
    runner: asyncio.Runner, certificate: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        intercepting = self_signed(tmp_path, name=f"DNS:{HOST}")
        async with (
            open_notebook(intercepting) as other,
            open_egress_proxy(leads={TARGET: other.port}) as proxy,
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await call(through(proxy.port), trusting(certificate))
            assert other.heads == []
            # As `aws.ca_bundle` has it, which names those whom a company lets read along.
            assert await call(through(proxy.port), trusting(intercepting)) == OK

    runner.run(run())


@pytest.mark.parametrize("no_proxy", [".sagemaker.aws", HOST, "*", "x, sagemaker.aws:443"])
def test_what_no_proxy_names_is_connected_to_directly(certificate: Path, no_proxy: str) -> None:
    async def run() -> None:
        async with open_notebook(certificate) as notebook, open_egress_proxy() as proxy:
            egress = Egress(parse_egress_proxy(f"127.0.0.1:{proxy.port}"), no_proxy)
            assert egress.proxy_for("https", *egress.address(ORIGIN)) is None
            assert egress.proxy_for("http", "elsewhere.example", 80) is None
            assert (egress.proxy_for("https", "elsewhere.example", 443) is None) is (no_proxy == "*")
            there = Egress(egress.proxy, "127.0.0.1", ("127.0.0.1", notebook.port))
            assert await call(there, trusting(certificate)) == OK
            assert proxy.heads == []

    asyncio.run(run())


def test_an_endpoint_is_connected_to_by_the_notebooks_name(runner: asyncio.Runner, certificate: Path) -> None:
    """PrivateLink without private DNS."""

    async def run() -> None:
        async with open_notebook(certificate) as notebook:
            egress = Egress(endpoint=("127.0.0.1", notebook.port))
            assert await call(egress, trusting(certificate)) == OK
            assert notebook.named == [HOST]
            async with open_egress_proxy(leads={"vpce.example:443": notebook.port}) as proxy:
                both = Egress(parse_egress_proxy(f"127.0.0.1:{proxy.port}"), endpoint=("vpce.example", 443))
                assert await call(both, trusting(certificate)) == OK
                assert proxy.targets == ["vpce.example:443"]
            assert notebook.named == [HOST, HOST]

    runner.run(run())


async def test_what_the_gateway_asks_by_itself_goes_the_same_way(certificate: Path) -> None:
    async with (
        open_notebook(certificate) as notebook,
        open_egress_proxy(leads={TARGET: notebook.port}) as proxy,
    ):
        for egress in (through(proxy.port), Egress(endpoint=("127.0.0.1", notebook.port))):
            async with open_client(
                ExchangeOptions(connect_seconds=30, ssl_context=trusting(certificate), egress=egress)
            ) as client:
                answer = await ask(client, URL(f"https://{HOST}/api/status"), headers={})
            assert answer.status == 200
            assert f"\r\nHost: {HOST}\r\n".encode() in notebook.heads[-1]
        assert proxy.targets == [TARGET]
        assert notebook.named == [HOST, HOST]


@pytest.mark.parametrize("first", [True, False])
async def test_a_question_that_never_left_leaves_its_url_unspent(
    certificate: Path, tmp_path: Path, first: bool
) -> None:
    async def asked(egress: Egress, *, seconds: float = 30.0) -> UpstreamError:
        async with open_client(
            ExchangeOptions(connect_seconds=seconds, ssl_context=trusting(certificate), egress=egress)
        ) as client:
            with pytest.raises(UpstreamError) as caught:
                await ask(client, URL(f"https://{HOST}/?authToken=secret"), headers={}, first=first)
            assert "secret" not in caught.value.detail
            return caught.value

    async with open_egress_proxy(answer=b"HTTP/1.1 407 No\r\n\r\n") as proxy:
        refused = await asked(through(proxy.port))
        assert isinstance(refused, UpstreamProxyRefused)
        assert isinstance(refused, NotLetThrough) is first
    with held_port() as port:
        away = await asked(through(port))
        gone = await asked(Egress(endpoint=("127.0.0.1", port)))
    assert isinstance(gone, NotConnected) is first
    assert isinstance(away, UpstreamUnreachable)
    assert isinstance(away, NotConnected) is first
    async with open_egress_proxy(answer=b"") as proxy:
        silent = await asked(through(proxy.port), seconds=0.05)
        assert isinstance(silent, NotConnected) is first
    async with open_notebook(self_signed(tmp_path, name=f"DNS:{HOST}")) as other:
        assert isinstance(await asked(Egress(endpoint=("127.0.0.1", other.port))), NotTrusted) is first


def test_without_anything_between_nothing_is_different() -> None:
    assert DIRECT.is_direct
    assert DIRECT.address(ORIGIN) == (HOST, 443)
    assert DIRECT.proxy_for("https", HOST, 443) is None
