"""How a gateway goes away: what is under way ends, pages are told one after the other, and nothing new is begun."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.binds import SocketAddress
from proxy.config.settings import Listener
from proxy.dataplane.caller.reception import Reception
from proxy.dataplane.draining import farewells, in_turn
from proxy.dataplane.websocket.relay import LINGER_SECONDS
from proxy.wire.frames import close_frame
from tests.harness.gateway import Rig
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, get
from tests.harness.waiting import eventually, settle
from tests.harness.websocket_peers import (
    MASK,
    SWITCHED,
    UPGRADE,
    client_frame,
    close_of,
    server_frame,
    websocket,
)

# -- when each is told -----------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.floats(0, 3600), st.lists(st.floats(0, 1), min_size=200, max_size=200))
def test_farewells_are_spread_evenly_whatever_chance_says(
    count: int, seconds: float, chance: list[float]
) -> None:
    draws = iter(chance)
    times = farewells(count, seconds, lambda whole: whole * next(draws))
    assert times == sorted(times)
    assert all(0 <= at <= seconds + 1e-9 for at in times)
    share = max(seconds - LINGER_SECONDS, seconds / 2) / count
    assert all(number * share <= at <= (number + 1) * share + 1e-9 for number, at in enumerate(times))


@pytest.mark.parametrize(
    ("count", "seconds", "times"),
    [
        (0, 30.0, []),
        (1, 30.0, [13.5]),
        (3, 30.0, [4.5, 13.5, 22.5]),
        (2, 4.0, [0.5, 1.5]),
        (2, 0.0, [0.0, 0.0]),
    ],
)
def test_the_last_have_time_to_answer(count: int, seconds: float, times: list[float]) -> None:
    assert farewells(count, seconds, lambda whole: whole / 2) == times


def test_terminals_are_told_last_whose_pages_give_up_first() -> None:
    """JupyterLab 4.6 and Notebook 7.6: a terminal is given up after seven tries, a kernel never."""
    targets = [
        "/research/terminals/websocket/1",
        "/research/api/kernels/2/channels?session_id=3",
        "/terminals/websocket/2?token=x",
        "/api/events/subscribe",
        "/proxy/8501/stream",
    ]
    assert in_turn((number, target) for number, target in enumerate(targets)) == [1, 3, 4, 0, 2]


async def goodbye(caller: Peer, notebook: Peer) -> None:
    """Both ends answer the gateway's close."""
    caller.send(close_frame(1012, mask=MASK))
    notebook.send(close_frame(1012, mask=None))
    assert await caller.gone()
    assert await notebook.gone()


async def test_websockets_are_closed_with_1012_one_after_the_other(stage: OpenPlane) -> None:
    """After 1001 JupyterLab 4.6 never connects again: open notebooks would stay dead. And all come back at once."""
    pairs = [await websocket(stage) for _ in range(9)]
    draining = asyncio.ensure_future(stage.plane.drain(30.0))
    await settle()
    for number in range(1, 10):
        await stage.clock.advance(3.0)
        await eventually(lambda n=number: sum(not caller.is_silent for caller, _ in pairs) == n)
    for caller, notebook in pairs:
        assert await close_of(caller, masked=False) == 1012
        assert await close_of(notebook, masked=True) == 1012
        await goodbye(caller, notebook)
    await eventually(lambda: not stage.plane.open.relays)
    await stage.clock.advance(0.1)
    await draining
    assert {record.close_code for record in stage.records} == {1012}


async def test_a_websocket_that_was_not_told_yet_goes_on(stage: OpenPlane) -> None:
    first, second = await websocket(stage), await websocket(stage)
    draining = asyncio.ensure_future(stage.plane.drain(30.0))
    await settle()
    await stage.clock.advance(10.0)
    assert await close_of(first[0], masked=False) == 1012
    caller, notebook = second
    caller.send(client_frame(b"run this"))
    await notebook.expect(client_frame(b"run this"))
    notebook.send(server_frame(b"done"))
    await caller.expect(server_frame(b"done"))
    await stage.clock.advance(12.0)
    assert await close_of(caller, masked=False) == 1012
    draining.cancel()


async def test_draining_is_over_as_soon_as_nothing_is_open(stage: OpenPlane) -> None:
    caller, _ = await websocket(stage)
    draining = asyncio.ensure_future(stage.plane.drain(600.0))
    await stage.clock.advance(1.0)
    caller.close()
    await eventually(lambda: not stage.plane.open.relays)
    await stage.clock.advance(0.1)
    await draining


async def test_what_is_left_at_the_end_is_not_waited_for(stage: OpenPlane) -> None:
    await stage.forwarded()
    draining = asyncio.ensure_future(stage.plane.drain(30.0))
    await settle()
    await stage.clock.advance(29.0)
    assert not draining.done()
    await stage.clock.advance(1.1)
    await draining


async def test_somebody_in_a_hurry_ends_the_waiting(stage: OpenPlane) -> None:
    await stage.forwarded()
    hurry = asyncio.Event()
    draining = asyncio.ensure_future(stage.plane.drain(3600.0, is_hurried=hurry.is_set))
    await stage.clock.advance(1.0)
    assert not draining.done()
    hurry.set()
    await stage.clock.advance(0.1)
    await draining


@pytest.mark.parametrize("hurry", [False, True], ids=["no time at all", "a hurry"])
async def test_all_are_told_before_the_rest_is_cut(stage: OpenPlane, hurry: bool) -> None:
    callers = [(await websocket(stage))[0] for _ in range(5)]
    await stage.plane.drain(3600.0 if hurry else 0.0, is_hurried=lambda: hurry)
    await stage.plane.close()
    for caller in callers:
        assert await close_of(caller, masked=False) == 1012
        assert await caller.gone()


# -- what is under way, and what comes -------------------------------------------------------------------------


async def test_requests_under_way_end_and_idle_connections_are_closed(stage: OpenPlane) -> None:
    requester, answering = await stage.forwarded()
    idler, once = await stage.forwarded()
    once.send(ok(b"x"))
    await idler.response()
    draining = asyncio.ensure_future(stage.plane.drain(30.0))
    assert await idler.gone()
    await stage.clock.advance(20.0)
    assert not draining.done()
    answering.send(ok(b"last"))
    head, body = await requester.response()
    assert b"Connection: close\r\n" in head
    assert body == b"last"
    assert await requester.gone()
    await stage.clock.advance(0.1)
    await draining


async def test_a_response_under_way_when_draining_begins_ends_its_connection(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nla")
    await caller.head()
    draining = asyncio.ensure_future(stage.plane.drain(30.0))
    await settle()
    notebook.send(b"st")
    await caller.expect(b"last")
    assert await caller.gone()
    await stage.clock.advance(0.1)
    await draining


async def test_a_websocket_that_opens_while_draining_is_told_at_once(stage: OpenPlane) -> None:
    """Its handshake had reached the notebook before."""
    caller = await stage.call(get(fields=UPGRADE))
    notebook = await stage.notebook()
    await notebook.head()
    draining = asyncio.ensure_future(stage.plane.drain(30.0))
    await settle()
    notebook.send(SWITCHED % b"")
    assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
    assert await close_of(caller, masked=False) == 1012
    caller.close()
    notebook.close()
    await eventually(lambda: not stage.plane.open.relays)
    await stage.clock.advance(0.1)
    await draining


async def test_a_handshake_that_comes_while_draining_is_refused_for_a_moment(stage: OpenPlane) -> None:
    """503 and when to come again: pages do, after a 503."""
    handshake = get(b"/api/kernels/1/channels", fields=UPGRADE)
    caller = await stage.call(handshake[:40])
    await eventually(lambda: stage.connections)
    await settle()
    draining = asyncio.ensure_future(stage.plane.drain(30.0))
    await settle()
    caller.send(handshake[40:])
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: " in head
    assert b"Connection: close\r\n" in head
    assert await caller.gone()
    assert stage.records[-1].error == "DRAINING"
    await stage.clock.advance(0.1)
    await draining


# -- before that: leaving ----------------------------------------------------------------------------------


async def test_who_leaves_serves_on_and_ends_each_connection_behind_its_answer(stage: OpenPlane) -> None:
    known, once = await stage.forwarded()
    once.send(ok(b"x"))
    await known.response()
    stage.plane.leaving = True
    known.send(get(b"/again"))
    await once.head()
    new, notebook = await stage.forwarded()
    for caller, answering in ((new, notebook), (known, once)):
        answering.send(ok(b"served"))
        head, body = await caller.response()
        assert b"Connection: close\r\n" in head
        assert body == b"served"
        assert await caller.gone()


async def test_who_leaves_takes_on_websockets_and_closes_none(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    stage.plane.leaving = True
    later, later_notebook = await websocket(stage)
    for here, there in ((caller, notebook), (later, later_notebook)):
        here.send(client_frame(b"go on"))
        await there.expect(client_frame(b"go on"))
    assert caller.is_silent
    assert later.is_silent


async def test_a_gateway_that_drains_takes_no_new_connections(rig: Rig) -> None:
    await rig.gateway.drain(1.0)
    with pytest.raises(ConnectionRefusedError):
        await rig.get()


async def test_a_connection_that_comes_in_the_very_turn_is_cut_and_not_waited_for(stage: OpenPlane) -> None:
    """Its task is ended before it began, which runs nothing of it."""
    ours, callers = socket.socketpair()
    ours.setblocking(False)
    callers.setblocking(False)
    receive = Reception(stage.plane, Listener(bind=SocketAddress("127.0.0.1", 0))).receive
    draining = asyncio.ensure_future(stage.plane.drain(600.0))
    receive(ours, ip_address("127.0.0.1"))
    assert stage.plane.budgets.in_all == 1
    with callers:
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(callers, 30), 30) == b""
    assert stage.plane.budgets.in_all == 0
    assert not stage.plane.open.new_connections
    await stage.clock.advance(0.1)
    await draining


async def test_whoever_takes_its_last_answer_slowly_is_not_waited_for_once_it_has_it(
    stage: OpenPlane,
) -> None:
    async def asked() -> tuple[Peer, Peer]:
        caller = await stage.call(get(b"/large"), receive_bytes=65536)
        notebook = await stage.notebook()
        await notebook.head()
        return caller, notebook

    # How much it takes until a caller that reads nothing is full.
    caller, notebook = await asked()
    notebook.send(ok(b"x" * 16_000_000))
    [first] = stage.connections
    await eventually(lambda: first.writer.is_full)
    await settle()
    assert not first.is_idle
    assert first.under_way is not None
    body = b"x" * first.under_way[3]
    caller.close()
    await eventually(lambda: not stage.connections)

    caller, notebook = await asked()
    notebook.send(ok(body))
    [last] = stage.connections
    await eventually(lambda: last.is_idle)
    assert last.writer.is_full
    draining = asyncio.ensure_future(stage.plane.drain(600.0))
    await settle()
    assert (await caller.response())[1] == body
    assert await caller.gone()
    await stage.clock.advance(0.1)
    await draining
