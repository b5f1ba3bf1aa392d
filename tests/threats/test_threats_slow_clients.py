"""Threats, "Slow clients" (slowhttptest: half-sent headers stayed connected): deadlines, a cap per address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.upstream import Honoured
from tests.harness.clocks import FakeClock
from tests.harness.gateway import open_rig
from tests.harness.keeper import session_at
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, open_plane, open_stage, post
from tests.harness.waiting import eventually


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path) as opened:
        yield opened


async def ended(peer: Peer) -> bytes:
    """All that came until the connection was over, however it ended."""
    try:
        return await peer.rest()
    except ConnectionError:
        return b""


async def test_half_sent_heads_are_answered_408_at_their_deadline(opened: OpenPlane) -> None:
    """Slowloris: aiohttp has no deadline for request headers; here it counts from the connection."""
    peers = [await opened.call() for _ in range(50)]
    for peer in peers:
        peer.send(f"GET / HTTP/1.1\r\nHost: {opened.authority}\r\nX-a: ")
    await opened.settled(
        lambda: len(opened.connections) == 50 and all(one.reader.held_bytes for one in opened.connections)
    )
    patience = opened.plane.current.timeouts.request_head_seconds
    await opened.pass_time(patience - 1)
    assert len(opened.connections) == 50
    await opened.pass_time(1)
    for peer in peers:
        assert (await peer.response()).status == 408
        assert await ended(peer) == b""
    await opened.pass_time(10)
    await opened.settled(lambda: not opened.connections)
    assert [record.status for record in opened.records] == [408] * 50
    assert opened.upstream.accepted == 0


async def test_a_head_in_drops_has_the_same_deadline(opened: OpenPlane) -> None:
    """Slowloris: a byte now and then, or an empty line, puts nothing off."""
    patience = opened.plane.current.timeouts.request_head_seconds
    dripping, empty = await opened.call(), await opened.call()
    await opened.settled(lambda: len(opened.connections) == 2)
    for at in range(10):
        dripping.send("GET / HTT"[at % 9])
        empty.send("\r\n" * (1 + at % 2))
        await opened.settled(lambda at=at: any(one.reader.held_bytes == at + 1 for one in opened.connections))
        await opened.pass_time(patience / 10)
    answered = await ended(dripping)
    assert answered.startswith(b"HTTP/1.1 408 ")
    assert await ended(empty) == b""


async def test_a_connection_that_says_nothing_is_closed(opened: OpenPlane) -> None:
    peer = await opened.call()
    await opened.settled(lambda: bool(opened.connections))
    await opened.pass_time(opened.plane.current.timeouts.request_head_seconds)
    assert await ended(peer) == b""


async def test_later_heads_have_a_deadline_of_their_own(opened: OpenPlane) -> None:
    """Between requests a connection may rest; a head that began may not."""
    timeouts = opened.plane.current.timeouts
    peer = await opened.call()
    peer.send(opened.head())
    await peer.response()
    await opened.settled(lambda: opened.connection.state.doing.name == "READ")
    await opened.pass_time(timeouts.idle_seconds - 1)
    peer.send("GET /")
    await opened.settled(lambda: bool(opened.connection.reader.held_bytes))
    await opened.pass_time(timeouts.request_head_seconds - 1)
    assert opened.connections
    await opened.pass_time(1)
    assert (await peer.response()).status == 408


async def test_a_body_in_drops_has_a_deadline_for_each_silence(opened: OpenPlane) -> None:
    """R-U-Dead-Yet: an upload may be slow, but not silent; the notebook's side ends with it."""
    patience = opened.plane.current.timeouts.request_body_seconds
    peer = await opened.call()
    peer.send(opened.head("/up", method="POST", extra="Content-Length: 1000\r\n"))
    for number in range(3):
        peer.send("x")
        await opened.settled(
            lambda number=number: (
                opened.connection.is_carrying and opened.connection.request.answerer.bytes_in == number + 1
            )
        )
        await opened.pass_time(patience - 1)
    await opened.pass_time(patience)
    assert (await peer.response()).status == 408
    await opened.settled(lambda: opened.plane.pool.open_connections(opened.keeper.known.origin) == 0)


async def test_one_address_cannot_take_every_connection(tmp_path: Path) -> None:
    """Per-address cap: the one above it is told so; room comes back when one ends; WebSockets count."""
    async with open_plane(tmp_path, limits={"connections_per_address": 3}) as opened:
        first = await opened.call()
        first.send(opened.upgrade())
        assert (await first.response()).status == 101
        others = [await opened.call() for _ in range(2)]
        for other in others:
            other.send(opened.head())
            assert (await other.response()).status == 200
        for _ in range(3):
            refused = await opened.call()
            refused.send(opened.head())
            answer = await refused.response()
            assert (answer.status, answer.value("connection")) == (503, "close")
            assert answer.value("retry-after")
            assert await ended(refused) == b""
        first.abort()
        await opened.settled(lambda: not opened.plane.open.relays)
        again = await opened.call()
        again.send(opened.head())
        assert (await again.response()).status == 200


async def test_a_trusted_proxy_may_hold_more_connections(tmp_path: Path) -> None:
    """Its connections belong to many callers."""
    async with open_plane(
        tmp_path, limits={"connections_per_address": 2}, client_address={"trusted_proxies": ["127.0.0.1"]}
    ) as opened:
        for _ in range(5):
            peer = await opened.call()
            peer.send(opened.head())
            assert (await peer.response()).status == 200


async def test_the_whole_process_has_a_bound_too(tmp_path: Path) -> None:
    async with open_plane(tmp_path, limits={"connections": 2}) as opened:
        peers = [await opened.call() for _ in range(3)]
        for peer in peers[:2]:
            peer.send(opened.head())
            assert (await peer.response()).status == 200
        peers[2].send(opened.head())
        assert (await peers[2].response()).status == 503
        assert await ended(peers[2]) == b""


async def test_the_deadlines_are_swept_by_the_gateway_itself(tmp_path: Path) -> None:
    """Nobody has to call the sweep: a whole gateway closes half-sent heads by its own clock."""
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        async with asyncio.timeout(30):
            while not any(one.held_bytes for one in rig.gateway.plane.open.connections):
                await asyncio.sleep(0.001)
        await clock.advance(rig.gateway.plane.current.timeouts.request_head_seconds + 1)
        assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 408 ")
        writer.close()


@pytest.mark.parametrize("expects", [False, True])
async def test_who_was_held_by_the_gateway_itself_is_not_slow(tmp_path: Path, expects: bool) -> None:
    """Signed out in the middle of an upload, it signs in anew; that takes longer than a caller may be silent."""
    async with open_stage(tmp_path, timeouts={"request_body": "10s"}) as stage:
        stage.keeper.honoured_as = Honoured.NO
        stage.keeper.successors.append(session_at(stage.upstream.port, number=2))
        fields = b"Expect: 100-continue\r\n" if expects else b""
        whole = post(b"0123456789", fields=fields, method=b"PUT")
        caller = await stage.call(whole[:-5])
        notebook = await stage.notebook()
        await notebook.head()
        await notebook.expect(b"01234")
        await stage.sweep(9.0)
        stage.keeper.gate.clear()
        notebook.send(
            b"HTTP/1.1 302 Found\r\nLocation: https://signin.aws.amazon.com/signin\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        await eventually(lambda: bool(stage.keeper.waits))
        await stage.sweep(15.0)
        stage.keeper.gate.set()
        notebook = await stage.notebook()
        await notebook.head()
        await notebook.expect(b"01234")
        await stage.sweep(9.0)
        caller.send(whole[-5:])
        await notebook.expect(b"56789")
        notebook.send(ok(b"saved"))
        assert (await caller.response())[1] == b"saved"


async def test_who_is_slow_after_that_is(tmp_path: Path) -> None:
    async with open_stage(tmp_path, timeouts={"request_body": "10s"}) as stage:
        stage.keeper.session = None
        stage.keeper.successors.append(session_at(stage.upstream.port))
        stage.keeper.gate.clear()
        caller = await stage.call(post(bytes(500_000))[:-1])
        await eventually(lambda: bool(stage.keeper.waits))
        [connection] = stage.connections
        await eventually(lambda: bool(connection.intake.reasons))
        await stage.sweep(15.0)
        stage.keeper.gate.set()
        notebook = await stage.notebook()
        await notebook.head()
        await notebook.exactly(499_999)
        await stage.sweep(9.0)
        assert caller.is_silent
        await stage.sweep(10.0)
        assert b" 408 " in (await caller.response())[0]
