"""A sweep of very many connections takes several turns of the loop, each of bounded work, and nothing that ends
meanwhile is judged after its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission, Refusal
from proxy.dataplane import register as register_module
from proxy.dataplane.plane import Current
from proxy.gateway import Gateway
from proxy.routing.entry import Permit
from tests.harness.plane import OpenPlane, open_plane

AT_ONCE = 3
OPEN = 10


@pytest.fixture
async def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenPlane]:
    monkeypatch.setattr(register_module, "SWEPT_AT_ONCE", AT_ONCE)
    monkeypatch.setattr(register_module, "JUDGED_AT_ONCE", 1)
    async with open_plane(tmp_path) as opened:
        yield opened


def swept(opened: OpenPlane) -> int:
    """Connections that the sweep has closed."""
    return sum(one.transport is None or one.transport.is_closing() for one in opened.connections)


async def test_each_turn_judges_so_many_deadlines(opened: OpenPlane) -> None:
    for _ in range(OPEN):
        await opened.call()
    await opened.settled(lambda: len(opened.connections) == OPEN)
    await opened.clock.advance(opened.plane.current.timeouts.request_head_seconds)
    everybody = tuple(opened.connections)
    turns = []

    def turn() -> None:
        closed = sum(one.transport is None or one.transport.is_closing() for one in everybody)
        turns.append(closed)
        if closed < OPEN:
            asyncio.get_running_loop().call_soon(turn)

    opened.plane.sweep()
    turn()
    await opened.settled(lambda: turns[-1] == OPEN)
    assert turns[0] == AT_ONCE
    assert max(after - before for before, after in pairwise(turns)) <= AT_ONCE
    await opened.settled(lambda: not opened.connections)


async def test_a_sweep_that_is_under_way_is_not_begun_again(opened: OpenPlane) -> None:
    for _ in range(OPEN):
        await opened.call()
    await opened.settled(lambda: len(opened.connections) == OPEN)
    await opened.clock.advance(opened.plane.current.timeouts.request_head_seconds)
    for _ in range(5):
        opened.plane.sweep()
    assert swept(opened) == AT_ONCE
    await opened.settled(lambda: not opened.connections)
    assert len(opened.records) == OPEN
    opened.plane.sweep()


async def test_what_ends_between_two_pieces_is_not_judged(opened: OpenPlane) -> None:
    peers = [await opened.call() for _ in range(OPEN)]
    await opened.settled(lambda: len(opened.connections) == OPEN)
    await opened.clock.advance(opened.plane.current.timeouts.request_head_seconds)
    opened.plane.sweep()
    for one in tuple(opened.connections):
        if one.transport is not None and not one.transport.is_closing():
            # As if their callers had gone in the same turn.
            one.connection_lost(None)
    await asyncio.sleep(0)
    await opened.settled(lambda: not opened.connections)
    assert len(opened.records) == AT_ONCE
    assert all(peers)


async def test_draining_many_takes_turns_too(opened: OpenPlane) -> None:
    for _ in range(OPEN):
        peer = await opened.call()
        peer.send(opened.head())
        assert (await peer.response()).status == 200
    draining = asyncio.ensure_future(opened.plane.drain(30))
    await asyncio.sleep(0)
    assert swept(opened) == AT_ONCE
    await opened.settled(lambda: not opened.connections)
    await opened.clock.advance(1)
    await draining


# -- judged again, in batches, after a reload --------------------------------------------------------------------


async def test_a_websocket_that_ended_between_two_batches_is_not_kept(
    opened: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that a session or a token let in are looked at each second, for as long as they are open."""
    admit = Gateway.admit

    def permitting(self: Gateway, inbound: Inbound, *known: Any, **how: Any) -> Admission | Refusal:
        verdict = admit(self, inbound, *known, **how)
        if isinstance(verdict, Admission):
            return verdict._replace(permit=Permit("zoe", 10**12, "/ws"))
        return verdict

    monkeypatch.setattr(Gateway, "admit", permitting)
    peers = []
    for _ in range(3):
        peer = await opened.call()
        peer.send(opened.upgrade())
        assert b" 101 " in await peer.head()
        peers.append(peer)
    plane = opened.plane
    assert len(plane.open.ending) == 3
    judging = plane.adopt(
        Current(
            gateway=plane.current.gateway,
            keepers={"research": opened.keeper},
            limits=plane.current.limits,
            timeouts=plane.current.timeouts,
        )
    )
    # Exchanged, and the first of them judged.
    judging.send(None)
    for relay in tuple(plane.open.relays):
        relay.abort()
    await opened.settled(lambda: not plane.open.relays)
    await rest_of(judging)
    assert not plane.open.ending
    assert all(peers)


async def rest_of(judging: Any) -> None:
    """What is left of a judging that was begun by hand."""
    for turn in judging.__await__():
        assert turn is None
        await asyncio.sleep(0)
