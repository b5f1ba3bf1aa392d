"""More tiny frames in one read than one turn of the loop is for: nothing of them is lost, reordered or let through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.dataplane.websocket.relay import Relay
from proxy.wire.frames import FRAMES_A_FEED, POLICY_VIOLATION, SERVICE_RESTART
from tests.harness.plane import OpenPlane, open_stage
from tests.harness.waiting import eventually, settle
from tests.harness.websocket_peers import client_frame, close_of, server_frame, websocket

COUNT = 20 * FRAMES_A_FEED


def flood(frame, count: int = COUNT) -> bytes:
    """Frames that can be told apart, and of which no two that follow each other are alike."""
    return b"".join(frame(b"%05d" % number if number % 2 else b"%06d" % number) for number in range(count))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_stage(tmp_path) as stage:
        yield stage


def relay_of(stage: OpenPlane) -> Relay:
    [relay] = stage.plane.open.relays
    return relay


async def test_both_ways_at_once_all_arrive_in_their_order(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    to_notebook, to_caller = flood(client_frame), flood(server_frame)
    caller.send(to_notebook)
    notebook.send(to_caller)
    heard = await asyncio.gather(notebook.exactly(len(to_notebook)), caller.exactly(len(to_caller)))
    assert heard == [to_notebook, to_caller]
    assert relay_of(stage).caller.bytes_received == len(to_notebook)
    assert relay_of(stage).notebook.bytes_received == len(to_caller)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_what_came_before_the_end_of_a_side_is_passed_on_before_it(stage: OpenPlane, how: str) -> None:
    """As under TLS, where the end may be told although reading is paused."""
    caller, notebook = await websocket(stage)
    data = flood(server_frame)
    end = relay_of(stage).notebook
    end.data_received(data)
    assert end.is_held
    getattr(notebook, how)()
    assert await caller.exactly(len(data)) == data
    assert await caller.gone()
    await eventually(lambda: stage.records)
    assert stage.records[-1].bytes_out == len(data)


async def test_a_close_behind_them_comes_behind_them(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    data = flood(client_frame)
    caller.send(data + client_frame((1000).to_bytes(2, "big"), opcode=8))
    assert await notebook.exactly(len(data)) == data
    assert await close_of(notebook, masked=True) == 1000


async def test_what_waits_does_not_pass_once_access_was_withdrawn(stage: OpenPlane) -> None:
    """No frame that begins after the withdrawal, although it came before it."""
    caller, notebook = await websocket(stage)
    data = flood(client_frame)
    end = relay_of(stage).caller
    end.data_received(data)
    relay_of(stage).close(POLICY_VIOLATION, "access was withdrawn", now=stage.clock.monotonic())
    await settle()
    assert await close_of(caller, masked=False) == POLICY_VIOLATION
    heard = await notebook.exactly(len(flood(client_frame, FRAMES_A_FEED - 1)))
    assert data.startswith(heard)
    left = notebook.unread
    close_at = left.find(b"\x88")
    assert 0 <= close_at <= 3 * len(client_frame(b"000000"))
    assert data.startswith(heard + left[:close_at])


async def test_a_flood_behind_our_close_is_read_in_turns_to_its_end(stage: OpenPlane) -> None:
    """The caller's own close is what is waited for."""
    caller, notebook = await websocket(stage)
    relay_of(stage).close(SERVICE_RESTART, "restarting", now=stage.clock.monotonic())
    assert await close_of(caller, masked=False) == SERVICE_RESTART
    caller.send(flood(client_frame) + client_frame((1012).to_bytes(2, "big"), opcode=8))
    assert await caller.gone()
    assert await close_of(notebook, masked=True) == SERVICE_RESTART


async def test_the_other_sides_pause_outlasts_what_waits(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    relay = relay_of(stage)
    data = flood(client_frame)
    relay.caller.data_received(data)
    relay.notebook.pause_writing()
    await eventually(lambda: relay.caller._rest is None)
    assert relay.caller.is_held
    relay.notebook.resume_writing()
    assert not relay.caller.is_held
    assert await notebook.exactly(len(data)) == data
    caller.send(client_frame(b"more"))
    await notebook.expect(client_frame(b"more"))
