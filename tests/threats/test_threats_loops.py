"""N14: one exception ended the sweep, the flush, the dates or idleness for the life of the process, with health at 200.

Faults are planted in one item of everything that runs for ever: the others get their turn, the next round comes, the
fault is told and counted. A loop that cannot go on fails `/healthz` by its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from proxy.dataplane.answer.absence import WaitingRequest
from proxy.dataplane.answer.forward import Forward
from proxy.dataplane.answer.outages import Outages
from proxy.dataplane.caller.connection import CallerConnection
from proxy.dataplane.caller.prelude import NewConnection
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.plane import Current
from proxy.dataplane.websocket.relay import Relay
from proxy.errors import UpstreamUnreachable
from proxy.identity.tokens import TokenSigner
from proxy.lifecycle.idle_stopper import IdleStopper
from proxy.rounds import Round
from proxy.server import compose, watch
from proxy.server.listening import OpenListener
from proxy.server.operations.fleet import Fleet
from proxy.server.pages.streams import Streams
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, open_plane
from tests.harness.waiting import settle

LOOPS = {"sweep", "flush", "dates", "idleness", "configuration"}
"""Those that a gateway has from its first moment on; a new one belongs here."""
ON_DEMAND = {"states of instances", "status streams"}
"""Those that begin with the first page that listens."""


class Planted(Exception):
    """A fault of our own, by the test's hand."""


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path) as opened:
        yield opened


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a method of one object fail from now on, or of all objects of a class if none is given."""

    def planting(where: Any, name: str, item: Any = None) -> None:
        good = getattr(where, name)

        def broken(self: Any, *arguments: Any, **options: Any) -> Any:
            if item is None or self is item:
                raise Planted
            return good(self, *arguments, **options)

        monkeypatch.setattr(where, name, broken)

    return planting


def port_of(peer: Peer) -> int:
    """By which the gateway knows a caller's connection."""
    return int(peer.writer.get_extra_info("sockname")[1])


def planted_alone(opened: OpenPlane) -> bool:
    """Nothing but planted faults was met; they are forgotten."""
    kinds = {type(error) for error in opened.faults}
    opened.faults.clear()
    return kinds == {Planted}


# -- one item among many ------------------------------------------------------------------------------


async def test_a_connection_that_cannot_be_swept_is_cut_and_the_others_have_their_deadline(
    opened: OpenPlane, plant: Callable[..., None]
) -> None:
    peers = []
    for number in range(3):
        peers.append(await opened.call())
        peers[-1].send("GET / HTTP/1.1\r\n")
        await opened.settled(lambda number=number: len(opened.connections) == number + 1)
    [broken] = [
        one for one in opened.connections if one.transport.get_extra_info("peername")[1] == port_of(peers[1])
    ]
    plant(CallerConnection, "sweep", broken)
    patience = opened.plane.current.timeouts.request_head_seconds
    await opened.pass_time(1)
    assert await peers[1].rest() == b""
    later = await opened.call()
    later.send("GET / HTTP/1.1\r\n")
    await opened.settled(lambda: len(opened.connections) == 3)
    await opened.pass_time(patience)
    for peer in (peers[0], peers[2], later):
        assert (await peer.response()).status == 408
    assert planted_alone(opened)
    assert opened.plane.faults.counts["sweep"] == 1


async def test_a_websocket_that_cannot_be_swept_is_cut_and_the_others_are_asked_for_a_sign_of_life(
    opened: OpenPlane, plant: Callable[..., None]
) -> None:
    peers = []
    for _ in range(3):
        peers.append(await opened.call())
        peers[-1].send(opened.upgrade())
        assert (await peers[-1].response()).status == 101
    plant(Relay, "sweep", list(opened.plane.open.relays)[1])
    await opened.pass_time(1)
    assert await peers[1].rest() == b""
    await opened.pass_time(opened.plane.current.timeouts.websocket_ping_seconds)
    for peer in (peers[0], peers[2]):
        assert await peer.exactly(8) == b"\x89\x06nbgate"
    assert planted_alone(opened)


async def test_an_arrival_that_cannot_be_swept_is_cut_and_the_others_have_their_deadline(
    tmp_path: Path, plant: Callable[..., None]
) -> None:
    clock = FakeClock()
    listeners = [{"bind": "127.0.0.1:0", "proxy_protocol": ["127.0.0.0/8"]}]
    async with open_rig(tmp_path, clock=clock, listeners=listeners) as rig:
        new_connections = rig.gateway.plane.open.new_connections
        peers = []
        for number in range(3):
            peers.append(await asyncio.open_connection("127.0.0.1", rig.port))
            await until(partial(lambda count: len(new_connections) == count, number + 1))
            if number == 0:
                [broken] = new_connections
        plant(NewConnection, "sweep", broken)
        await clock.advance(1)
        assert await received(peers[0][0]) == b""
        assert len(new_connections) == 2
        await clock.advance(rig.gateway.plane.current.timeouts.request_head_seconds)
        for reader, _ in peers:
            assert await received(reader) == b""
        for _, writer in peers:
            writer.close()
        assert faults(rig) == [("sweep", "Planted")]


async def test_an_idle_upstream_connection_that_cannot_be_judged_is_closed_with_the_others(
    opened: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [await opened.call() for _ in range(3)]
    for peer in peers:
        peer.send(opened.head())
    for peer in peers:
        assert (await peer.response()).status == 200
    pool, origin = opened.plane.pool, opened.keeper.known.origin
    await opened.settled(lambda: len(pool.idle(origin)) == 3)
    victim = pool.idle(origin)[1]
    is_open = vars(UpstreamConnection)["is_open"].fget

    def broken(self: UpstreamConnection) -> bool:
        if self is victim:
            raise Planted
        return is_open(self)

    monkeypatch.setattr(UpstreamConnection, "is_open", property(broken))
    await opened.pass_time(1)
    await opened.settled(lambda: pool.open_connections(origin) == 2)
    await opened.pass_time(opened.plane.current.timeouts.upstream_idle_seconds)
    await opened.settled(lambda: pool.open_connections(origin) == 0)
    assert planted_alone(opened)


async def test_what_cannot_be_judged_again_is_cut_and_all_others_are_judged(
    opened: OpenPlane, plant: Callable[..., None], tmp_path: Path
) -> None:
    """A reload shuts everybody out: a fault in judging one must leave nobody in."""
    kept, sockets = [], []
    for _ in range(3):
        kept.append(await opened.call())
        kept[-1].send(opened.head())
        assert (await kept[-1].response()).status == 200
        sockets.append(await opened.call())
        sockets[-1].send(opened.upgrade())
        assert (await sockets[-1].response()).status == 101
    plane = opened.plane
    await opened.settled(lambda: all(one.is_idle for one in plane.open.connections))
    plant(CallerConnection, "judge", next(iter(plane.open.connections)))
    plant(Relay, "judge_now", list(plane.open.relays)[1])
    file = tmp_path / "nbgate.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "policy": {"allow": ["elsewhere"]}}))
    settings = compose_settings(file)
    await plane.adopt(
        Current(
            gateway=compose.gateway(settings, audit=lambda _inbound, _refusal: None),
            keepers={"research": opened.keeper},
            limits=settings.limits,
            timeouts=settings.timeouts,
        )
    )
    for peer in kept:
        assert await peer.rest() == b""
    assert await sockets[1].rest() == b""
    for peer in (sockets[0], sockets[2]):
        assert (await peer.exactly(4))[2:] == b"\x03\xf0"
    assert planted_alone(opened)


async def test_what_cannot_be_told_that_the_gateway_goes_away_is_cut_and_all_others_are_told(
    opened: OpenPlane, plant: Callable[..., None]
) -> None:
    kept, sockets = [], []
    for _ in range(3):
        kept.append(await opened.call())
        kept[-1].send(opened.head())
        assert (await kept[-1].response()).status == 200
        sockets.append(await opened.call())
        sockets[-1].send(opened.upgrade())
        assert (await sockets[-1].response()).status == 101
    plant(CallerConnection, "drain", next(iter(opened.connections)))
    plant(Relay, "close", list(opened.plane.open.relays)[1])
    await opened.plane.drain(0.0)
    for peer in kept:
        assert await peer.rest() == b""
    assert await sockets[1].rest() == b""
    for peer in (sockets[0], sockets[2]):
        assert (await peer.exactly(4))[2:] == (1012).to_bytes(2, "big")
    assert planted_alone(opened)


async def waits_for_the_notebook(opened: OpenPlane, count: int) -> list[Peer]:
    """Callers whose pages ask by themselves while nobody can be signed in."""
    opened.keeper.cold()
    opened.keeper.fails(UpstreamUnreachable())
    peers = []
    for number in range(count):
        peers.append(await opened.call())
        peers[-1].send(opened.head("/api/sessions", extra="Sec-Fetch-Mode: cors\r\n"))
        await opened.settled(lambda number=number: len(opened.plane.outages) == number + 1)
    return peers


async def test_what_waits_and_cannot_be_told_is_cut_and_all_others_are_told_that_the_gateway_goes_away(
    opened: OpenPlane, plant: Callable[..., None]
) -> None:
    page = await opened.call()
    page.send(opened.upgrade())
    assert (await page.response()).status == 101
    peers = await waits_for_the_notebook(opened, 3)
    plant(WaitingRequest, "give_up", part_of(opened, peers[0], WaitingRequest))
    await opened.plane.drain(0.0)
    with pytest.raises(ConnectionResetError):
        await peers[0].rest()
    for peer in peers[1:]:
        assert (await peer.response()).status == 503
    assert (await page.exactly(4))[2:] == (1012).to_bytes(2, "big")
    assert planted_alone(opened)


@pytest.mark.parametrize("broken", [(WaitingRequest, "give_up"), (Forward, "answer")])
async def test_what_waits_and_cannot_be_told_in_its_time_is_cut_and_all_others_are_told(
    opened: OpenPlane, plant: Callable[..., None], broken: tuple[type, str]
) -> None:
    peers = await waits_for_the_notebook(opened, 3)
    plant(*broken, part_of(opened, peers[0], broken[0]))
    await opened.pass_time(opened.plane.current.timeouts.outage_seconds)
    with pytest.raises(ConnectionResetError):
        await peers[0].rest()
    for peer in peers[1:]:
        assert (await peer.response()).status == 503
    assert planted_alone(opened)


@pytest.mark.parametrize("broken", [(WaitingRequest, "try_again"), (Forward, "again")])
async def test_what_waits_and_cannot_be_tried_is_cut_and_all_others_are_answered(
    opened: OpenPlane, plant: Callable[..., None], broken: tuple[type, str]
) -> None:
    peers = await waits_for_the_notebook(opened, 3)
    plant(*broken, part_of(opened, peers[1], broken[0]))
    opened.keeper.warm()
    await opened.pass_time(1)
    with pytest.raises(ConnectionResetError):
        await peers[1].rest()
    for peer in (peers[0], peers[2]):
        assert (await peer.response()).status == 200
    assert planted_alone(opened)


def part_of(opened: OpenPlane, peer: Peer, kind: type) -> Any:
    """What forwards the request of a caller, or what of it waits for the notebook."""
    [forward] = [
        one.request.answerer
        for one in opened.connections
        if one.transport.get_extra_info("peername")[1] == port_of(peer)
    ]
    assert isinstance(forward, Forward)
    return forward if kind is Forward else forward.waiting


async def test_no_byte_passes_on_a_websocket_that_could_not_be_judged(
    opened: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the next byte comes before the reload gets round to it: undecided is not allowed."""
    peer = await opened.call()
    peer.send(opened.upgrade())
    assert (await peer.response()).status == 101
    [relay] = opened.plane.open.relays

    def broken(_relay: Relay) -> None:
        raise Planted

    monkeypatch.setattr(relay, "_judge", broken)
    relay.suspend()
    peer.send(b"\x81\x82\0\0\0\0hi")
    assert await peer.rest() == b""
    await opened.settled(lambda: not opened.plane.open.relays)
    assert [bytes(one) for one in opened.upstream.tunnelled] == [b""]
    assert [type(one["exception"]) for one in opened.errors] == [Planted]
    opened.errors.clear()


# -- the gateway's loops ------------------------------------------------------------------------------


@pytest.fixture
async def clock() -> FakeClock:
    # boto3 signs with the machine's clock.
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def rig(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, clock=clock, lifecycle={"stop_after_idle": "60m"}) as opened:
        yield opened


async def listen(rig: Rig) -> asyncio.StreamWriter:
    """Open a page's status stream, and with it the loops on demand."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(f"GET /.nbgate/events HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n".encode())
    assert status_of(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)) == 200
    await until(lambda: {loop.name for loop in rig.gateway.process.rounds.running} == LOOPS | ON_DEMAND)
    await until(lambda: rig.gateway.serving.fleet.known("research") is not None)
    return writer


def loop_of(rig: Rig, name: str) -> Round:
    return next(loop for loop in rig.gateway.process.rounds.running if loop.name == name)


async def health(rig: Rig) -> tuple[int, str]:
    address = rig.gateway.admin_address
    assert address is not None
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
    answer = await received(reader)
    writer.close()
    return status_of(answer), answer.partition(b"\r\n\r\n")[2].decode()


def faults(rig: Rig) -> list[tuple[str, str]]:
    """What the log says of faults: where, and which."""
    lines = [line for line in rig.log_lines() if line.get("event") == "a fault of the gateway's own"]
    return [(line["where"], line["exception"].splitlines()[-1].rpartition(".")[2]) for line in lines]


async def received(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), 30)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.001)


def compose_settings(file: Path) -> Any:
    from proxy.config.load import load

    return load(file, environ={})


@pytest.mark.parametrize("name", sorted(LOOPS | ON_DEMAND))
async def test_a_loop_that_has_ended_fails_health_by_its_name(rig: Rig, name: str) -> None:
    writer = await listen(rig)
    assert await health(rig) == (200, "ok\n")
    loop_of(rig, name).task.cancel()
    await settle()
    assert await health(rig) == (503, f"{name}: ended\n")
    writer.close()


async def test_the_thread_that_writes_the_log_fails_health_when_it_has_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = rig.gateway.logs.sink
    monkeypatch.setattr(type(sink), "is_dead", property(lambda _self: True))
    assert await health(rig) == (503, "log: ended\n")


async def test_the_next_round_of_every_loop_comes_after_one_that_failed(
    rig: Rig, clock: FakeClock, plant: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once: whatever a loop does fails, and each has met its fault more than once when time has passed."""
    writer = await listen(rig)
    gateway = rig.gateway

    def fail(*_arguments: Any, **_options: Any) -> Any:
        raise Planted

    with monkeypatch.context() as planting:
        planting.setattr(gateway.plane.pool, "sweep", fail)
        planting.setattr(gateway.logs.sink, "flush", fail)
        planting.setattr(gateway.reloader, "_date_in", fail)
        planting.setattr(IdleStopper, "_all", fail)
        planting.setattr(watch, "look", fail)
        planting.setattr(Fleet, "_due", fail)
        planting.setattr(gateway.serving.streams, "_faults", SimpleNamespace(each=fail))
        await settle()
        for _ in range(31):
            await clock.advance(1)
            # The watcher looks in a thread.
            await asyncio.sleep(0.01)
    counts = gateway.plane.faults.counts
    assert {name for name in LOOPS | ON_DEMAND if counts[name] >= 2} == LOOPS | ON_DEMAND, counts
    assert await health(rig) == (200, "ok\n")
    writer.close()
    # Told once each, however often they came.
    assert sorted(faults(rig)) == sorted((name, "Planted") for name in LOOPS | ON_DEMAND)


async def test_faults_are_counted_for_whoever_watches(rig: Rig, clock: FakeClock, monkeypatch: Any) -> None:
    monkeypatch.setattr(rig.gateway.plane.pool, "sweep", lambda _faults: 1 / 0)
    for _ in range(3):
        await clock.advance(1)
    address = rig.gateway.admin_address
    assert address is not None
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
    text = (await received(reader)).decode()
    writer.close()
    assert 'nbgate_faults_total{where="sweep"} 3.0' in text
    assert 'nbgate_faults_total{where="dates"} 0.0' in text


async def test_a_reload_counts_for_all_others_where_one_cannot_follow_it(
    rig: Rig, tmp_path: Path, plant: Callable[..., None]
) -> None:
    """Above all for the policy: who was shut out is out."""
    assert status_of(await rig.get()) == 200
    plant(TokenSigner, "adopt")
    plant(Fleet, "adopt")
    file = tmp_path / "nbgate.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "policy": {"allow": ["elsewhere"]}}))
    assert await rig.gateway.reloader.reload_now()
    assert status_of(await rig.get()) == 403
    assert rig.gateway.plane.faults.counts["reload"] == 2
    assert faults(rig) == [("reload", "Planted")]


@pytest.mark.parametrize(
    ("where", "name"),
    [(IdleStopper, "leave"), (OpenListener, "close"), (Streams, "close"), (Outages, "close")],
)
async def test_a_gateway_goes_away_in_good_order_where_a_part_of_it_cannot(
    rig: Rig, plant: Callable[..., None], where: Any, name: str
) -> None:
    """Else what is under way would be cut at once."""
    port = rig.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n".encode())
    assert status_of(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)) == 200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, broken_method)
        await rig.gateway.drain(0.0)
    assert rig.gateway.plane.draining
    assert rig.gateway.plane.faults.counts["drain"] == 1
    await received(reader)
    writer.close()


def broken_method(*_arguments: Any) -> None:
    raise Planted


async def test_a_fault_in_a_callback_is_met_like_any_other(rig: Rig) -> None:
    def broken() -> None:
        raise Planted

    for _ in range(5):
        asyncio.get_running_loop().call_soon(broken)
    await settle()
    assert rig.gateway.plane.faults.counts["callback"] == 5
    assert faults(rig) == [("callback", "Planted")]
