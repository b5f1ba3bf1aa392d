"""The pool of connections to notebooks: which one is taken, how many there may be, and for how long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.aws.dial import Dialler
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.notebook.exchange import BodyTaker
from proxy.dataplane.notebook.pool import PoolLimits, UpstreamPool
from proxy.dataplane.transports import reset
from proxy.errors import (
    NoDescriptor,
    TooManyUpstreams,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUntrusted,
)
from proxy.upstream import Origin
from proxy.wire.body import Body, Data
from proxy.wire.heads import ResponseFacts
from tests.harness.certificates import self_signed, serving, trusting
from tests.harness.clocks import FakeClock
from tests.harness.faulty import collecting
from tests.harness.keeper import session_at
from tests.harness.notebook import Notebook, ok
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, get, open_stage
from tests.harness.waiting import eventually

NO_FAULTS = collecting([])


class Asked:
    """The least of an exchange: it wants to know when its response is over."""

    method = "GET"

    def __init__(self) -> None:
        self.taker: BodyTaker = self
        self.ended = asyncio.Event()
        self.failures: list[UpstreamError] = []

    def on_interim(self, facts: ResponseFacts) -> None: ...

    def on_head(self, facts: ResponseFacts, body: Body | None) -> Body | None:
        return body

    def on_switched(self, facts: ResponseFacts, tail: bytes) -> None: ...

    def on_body(self, data: Data) -> None: ...

    def flush(self) -> None:
        """There is nobody to send to."""

    def on_end(self) -> None:
        self.ended.set()

    def on_failure(self, error: UpstreamError) -> None:
        self.failures.append(error)

    def on_upstream_full(self) -> None: ...

    def on_upstream_drained(self) -> None: ...


@pytest.fixture
async def upstream() -> AsyncIterator[Notebook]:
    async with Notebook() as listening:
        yield listening


def origin_of(upstream: Notebook, *, tls: bool = False) -> Origin:
    return session_at(upstream.port, tls=tls).origin


async def used(pool: UpstreamPool, upstream: Notebook) -> tuple[UpstreamConnection, Peer]:
    """A new connection that has carried one exchange."""
    connection = await pool.connect(origin_of(upstream))
    notebook = await upstream.accept()
    await exchange(connection, notebook)
    return connection, notebook


async def exchange(connection: UpstreamConnection, notebook: Peer, answer: bytes = ok(b"x")) -> None:
    asked = Asked()
    connection.begin(asked)
    connection.transport.write(b"GET / HTTP/1.1\r\n\r\n")
    await notebook.head()
    notebook.send(answer)
    await asked.ended.wait()


async def test_the_connection_used_last_is_taken_first(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    first, _ = await used(pool, upstream)
    second, _ = await used(pool, upstream)
    pool.give_back(first)
    pool.give_back(second)
    assert pool.take(pool.idle(first.origin)) is second
    assert pool.take(pool.idle(first.origin)) is first
    assert pool.take(pool.idle(first.origin)) is None
    pool.give_back(second)
    pool.give_back(first)
    assert pool.take(pool.idle(first.origin)) is first
    for connection in (first, second):
        connection.abort()


async def test_origins_do_not_share_connections(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    connection, _ = await used(pool, upstream)
    pool.give_back(connection)
    assert pool.take(pool.idle(Origin("http", "127.0.0.1", upstream.port + 1))) is None
    assert pool.take(pool.idle(Origin("https", "127.0.0.1", upstream.port))) is None
    assert len(pool.idle(connection.origin)) == 1
    pool.close()


async def test_idle_connections_end_by_the_clock(upstream: Notebook) -> None:
    clock = FakeClock()
    pool = UpstreamPool(PoolLimits(idle_seconds=50.0), clock=clock, dial=Dialler())
    old, old_notebook = await used(pool, upstream)
    pool.give_back(old)
    await clock.advance(30.0)
    young, young_notebook = await used(pool, upstream)
    pool.give_back(young)
    await clock.advance(19.0)
    pool.sweep(NO_FAULTS)
    assert len(pool.idle(old.origin)) == 2
    await clock.advance(1.0)
    pool.sweep(NO_FAULTS)
    assert await old_notebook.gone()
    assert young_notebook.is_silent
    assert pool.take(pool.idle(old.origin)) is young
    pool.give_back(young)
    await clock.advance(50.0)
    pool.sweep(NO_FAULTS)
    assert await young_notebook.gone()
    await eventually(lambda: pool.open_connections(old.origin) == 0)


async def test_use_begins_the_idle_time_anew(upstream: Notebook) -> None:
    clock = FakeClock()
    pool = UpstreamPool(PoolLimits(idle_seconds=50.0), clock=clock, dial=Dialler())
    connection, notebook = await used(pool, upstream)
    for _ in range(3):
        pool.give_back(connection)
        await clock.advance(49.0)
        pool.sweep(NO_FAULTS)
        assert pool.take(pool.idle(connection.origin)) is connection
        await exchange(connection, notebook)
    connection.abort()


async def test_more_than_so_many_idle_connections_are_not_kept(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(idle_connections=1), clock=FakeClock(), dial=Dialler())
    first, _ = await used(pool, upstream)
    second, notebook = await used(pool, upstream)
    pool.give_back(first)
    pool.give_back(second)
    assert await notebook.gone()
    assert len(pool.idle(first.origin)) == 1
    pool.close()


async def test_more_than_so_many_connections_are_not_opened(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(connections=1), clock=FakeClock(), dial=Dialler())
    connection, _ = await used(pool, upstream)
    with pytest.raises(TooManyUpstreams, match="too many"):
        await pool.connect(connection.origin)
    connection.abort()
    await eventually(lambda: pool.open_connections(connection.origin) == 0)
    (await pool.connect(connection.origin)).abort()


async def test_what_has_been_idle_longest_makes_room_for_another(upstream: Notebook) -> None:
    """Of all hosts together there are no more than descriptors for them."""
    clock = FakeClock()
    async with Notebook() as other:
        pool = UpstreamPool(PoolLimits(), clock=clock, dial=Dialler(), most=3)
        held = []
        for one in (other, upstream, upstream):
            held.append(await used(pool, one))
            await clock.advance(1)
        for connection, _ in reversed(held):
            pool.give_back(connection)
            await clock.advance(1)
        (oldest, notebook), in_use = held[2], await pool.connect(origin_of(other))
        assert await notebook.gone()
        assert not oldest.is_open
        assert len(pool) == 3
        assert [len(pool.idle(origin_of(one))) for one in (other, upstream)] == [1, 1]
        more = [await pool.connect(origin_of(upstream)) for _ in range(2)]
        with pytest.raises(NoDescriptor, match="no room"):
            await pool.connect(origin_of(upstream))
        for connection in (in_use, *more):
            connection.abort()
        pool.close()


async def test_a_connection_that_did_not_come_about_is_not_counted(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(connections=1), clock=FakeClock(), dial=Dialler())
    origin = origin_of(upstream)
    upstream.refuse()
    for _ in range(3):
        with pytest.raises(UpstreamUnreachable) as caught:
            await pool.connect(origin)
        assert "refused" in caught.value.detail
    assert pool.open_connections(origin) == 0


async def test_a_connection_that_is_lost_before_anybody_takes_it_is_unreachable(
    upstream: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request sent on it would never hear that it is gone."""
    loop = asyncio.get_running_loop()

    async def connect_and_lose(factory: Any, *address: Any, **options: Any) -> None:
        transport, _ = await loop.create_connection(factory, *address, **options)
        transport.abort()
        await eventually(lambda: not pool.open_connections(origin))

    losing = SimpleNamespace(
        timeout=asyncio.timeout, get_running_loop=lambda: SimpleNamespace(create_connection=connect_and_lose)
    )
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    origin = origin_of(upstream)
    monkeypatch.setattr("proxy.aws.dial.asyncio", losing)
    with pytest.raises(UpstreamUnreachable):
        await pool.connect(origin)


async def test_a_cancelled_connect_is_not_counted(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    origin = origin_of(upstream, tls=True)
    connecting = asyncio.ensure_future(pool.connect(origin))
    notebook = await upstream.accept()
    assert pool.open_connections(origin) == 1
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert pool.open_connections(origin) == 0
    await notebook.rest()


async def test_a_host_that_does_not_exist_is_unreachable() -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    with pytest.raises(UpstreamUnreachable):
        await pool.connect(Origin("http", "notebook.invalid", 80))


async def test_bytes_on_an_idle_connection_end_it(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    connection, notebook = await used(pool, upstream)
    pool.give_back(connection)
    notebook.send(ok(b"evil"))
    assert await notebook.gone()
    assert pool.take(pool.idle(connection.origin)) is None
    assert len(pool.idle(connection.origin)) == 0


@pytest.mark.parametrize("way", ["close", "end", "reset"])
async def test_an_idle_connection_that_ends_is_forgotten(upstream: Notebook, way: str) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    connection, notebook = await used(pool, upstream)
    pool.give_back(connection)
    getattr(notebook, way)()
    await eventually(lambda: pool.open_connections(connection.origin) == 0)
    assert pool.take(pool.idle(connection.origin)) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, Close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore",
    ],
)
async def test_a_connection_that_is_not_persistent_is_not_kept(upstream: Notebook, answer: bytes) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    connection = await pool.connect(origin_of(upstream))
    notebook = await upstream.accept()
    await exchange(connection, notebook, answer)
    pool.give_back(connection)
    assert await notebook.gone()
    assert pool.take(pool.idle(connection.origin)) is None


async def test_a_connection_whose_send_queue_is_full_is_not_kept(upstream: Notebook) -> None:
    """The notebook answered without reading the upload; the next one would queue up without a bound."""
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    connection = await pool.connect(origin_of(upstream))
    notebook = await upstream.accept()
    asked = Asked()
    connection.begin(asked)
    connection.transport.write(b"PUT / HTTP/1.1\r\nContent-Length: 16000000\r\n\r\n")
    connection.transport.write(bytes(16_000_000))
    notebook.send(ok())
    await asked.ended.wait()
    assert not connection.is_reusable
    pool.give_back(connection)
    assert len(pool.idle(connection.origin)) == 0


async def test_closing_the_pool_ends_what_is_idle_and_leaves_what_is_used(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    idle, idle_notebook = await used(pool, upstream)
    busy, busy_notebook = await used(pool, upstream)
    pool.give_back(idle)
    pool.close()
    assert await idle_notebook.gone()
    await exchange(busy, busy_notebook)
    busy.abort()


async def test_connections_notice_a_notebook_that_vanished(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    connection, _ = await used(pool, upstream)
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    connection.abort()


async def test_a_connection_that_is_reset_looks_broken_to_its_peer(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    connection, notebook = await used(pool, upstream)
    reset(connection.transport)
    with pytest.raises(ConnectionResetError):
        await notebook.rest()
    reset(connection.transport)  # harmless for one that is closed already


# -- TLS ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"), name="DNS:localhost")


@pytest.fixture
async def tls_upstream(certificate: Path) -> AsyncIterator[Notebook]:
    upstream = Notebook()
    upstream.tls = serving(certificate)
    async with upstream:
        yield upstream


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    origin = origin_of(tls_upstream, tls=True)
    with pytest.raises(UpstreamUntrusted, match="certificate could not be verified") as caught:
        await pool.connect(origin)
    assert caught.value.detail.startswith("tls: CERTIFICATE_VERIFY_FAILED")
    assert pool.open_connections(origin) == 0


async def test_a_certificate_for_another_name_is_refused(tls_upstream: Notebook, certificate: Path) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler(), tls=trusting(certificate))
    with pytest.raises(UpstreamUntrusted, match="certificate could not be verified"):
        await pool.connect(Origin("https", "127.0.0.1", tls_upstream.port))


async def test_something_that_is_not_tls_is_refused(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    connecting = asyncio.ensure_future(pool.connect(origin_of(upstream, tls=True)))
    notebook = await upstream.accept()
    notebook.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(UpstreamUnreachable):
        await connecting


async def test_a_notebook_that_takes_too_long_to_be_connected_is_a_timeout(upstream: Notebook) -> None:
    pool = UpstreamPool(PoolLimits(connect_seconds=0.05), clock=FakeClock(), dial=Dialler())
    origin = origin_of(upstream, tls=True)
    with pytest.raises(UpstreamTimeout):
        await pool.connect(origin)
    assert pool.open_connections(origin) == 0


async def test_a_verified_notebook_is_spoken_to(tls_upstream: Notebook, certificate: Path) -> None:
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler(), tls=trusting(certificate))
    connection = await pool.connect(origin_of(tls_upstream, tls=True))
    notebook = await tls_upstream.accept()
    await exchange(connection, notebook)
    assert connection.is_reusable
    connection.abort()


async def test_no_tls_means_a_502_for_the_caller(tls_upstream: Notebook, tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        stage.keeper.session = session_at(tls_upstream.port, tls=True)
        caller = await stage.call(get())
        head, body = await caller.response()
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"certificate could not be verified" in body


@pytest.fixture
async def tls_stage(tls_upstream: Notebook, certificate: Path, tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_stage(tmp_path, tls=trusting(certificate)) as stage:
        stage.keeper.session = session_at(tls_upstream.port, tls=True)
        stage.upstream = tls_upstream
        yield stage


async def test_a_close_delimited_body_under_tls_ends_with_close_notify(tls_stage: OpenPlane) -> None:
    caller, notebook = await tls_stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\n\r\nhello").close()
    await caller.head()
    await caller.expect(b"5\r\nhello\r\n0\r\n\r\n")


async def test_a_close_delimited_body_under_tls_does_not_end_with_the_connection_alone(
    tls_stage: OpenPlane,
) -> None:
    """Anybody on the way can end a connection; only the notebook can say close_notify (RFC 9112 section 9.8)."""
    caller, notebook = await tls_stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    await caller.head()
    await caller.expect(b"5\r\nhello\r\n")
    notebook.writer.transport.abort()
    with pytest.raises(ConnectionResetError):
        await caller.rest()


async def test_many_tiny_chunks_under_tls_are_whole_although_the_end_is_told_at_once(
    tls_stage: OpenPlane,
) -> None:
    chunks = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    caller, notebook = await tls_stage.forwarded()
    notebook.send(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    ).close()
    await caller.head()
    assert await caller.exactly(len(chunks)) == chunks
