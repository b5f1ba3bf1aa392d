"""Status streams: each page hears of what its caller may see, until it may no more, and nobody is listened for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from proxy.sandbox.instance import InstanceSpec
from proxy.server.pages.streams import HEARTBEAT_SECONDS, STUCK_SECONDS
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, config_for, open_rig, status_of
from tests.harness.waiting import eventually

SPECS = (InstanceSpec(name="research-gpu-1"), InstanceSpec(name="secret-gpu-1"))
MOUNTED: dict[str, Any] = {
    "research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}},
    "secret": {"notebook": "secret-gpu-1", "mount": {"path": "/secret/"}, "allow": ["elsewhere"]},
}


@dataclass
class Listening:
    """An open stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes
    received: bytes = b""

    async def hears(self, what: bytes) -> None:
        async with asyncio.timeout(30):
            while what not in self.received:
                part = await self.reader.read(4096)
                assert part, self.received
                self.received += part

    async def ends(self) -> bytes:
        async with asyncio.timeout(30):
            self.received += await self.reader.read()
        return self.received


class Listeners:
    """Opens streams, and closes what is left of them."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._open: list[Listening] = []

    async def __call__(self) -> Listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._rig.port)
        writer.write(f"GET /.nbgate/events HTTP/1.1\r\nHost: {self._rig.authority}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        self._open.append(Listening(reader, writer, head))
        return self._open[-1]

    async def close(self) -> None:
        for listening in self._open:
            listening.writer.transport.abort()
        await eventually(lambda: len(self._rig.gateway.serving.streams) == 0)


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def rig(tmp_path, clock: FakeClock) -> AsyncIterator[Rig]:
    async with open_rig(
        tmp_path,
        instances=SPECS,
        mounted=MOUNTED,
        clock=clock,
        sandbox_clock=FakeClock(),
        limits={"event_streams_per_address": 2},
    ) as opened:
        yield opened


@pytest.fixture
async def listen(rig: Rig) -> AsyncIterator[Listeners]:
    listeners = Listeners(rig)
    yield listeners
    await listeners.close()


def event(name: str, status: str) -> bytes:
    return f"event: status\ndata: {json.dumps({'name': name, 'status': status})}\n\n".encode()


async def look(rig: Rig, clock: FakeClock, *, calls: int) -> None:
    """Let the fleet look once more at everything, whenever the look that is under way has ended."""
    before = rig.sandbox.calls["DescribeNotebookInstance"]
    async with asyncio.timeout(30):
        while rig.sandbox.calls["DescribeNotebookInstance"] < before + calls:
            await clock.advance(5.0)
            await asyncio.sleep(0.001)


async def test_a_change_is_heard_by_who_may_see_it_and_by_nobody_else(
    rig: Rig, listen: Listeners, clock: FakeClock
) -> None:
    stream = await listen()
    assert status_of(stream.head) == 200
    assert b"text/event-stream" in stream.head
    assert b"Cache-Control: no-store" in stream.head
    await stream.hears(event("research", "InService"))
    rig.sandbox.faults.set_status(status="Stopping")
    await look(rig, clock, calls=2)
    await stream.hears(event("research", "Stopping"))
    assert b"secret" not in stream.received


async def test_nothing_is_asked_while_nobody_listens(rig: Rig, listen: Listeners, clock: FakeClock) -> None:
    for _ in range(5):
        await clock.advance(10.0)
    assert rig.sandbox.calls["DescribeNotebookInstance"] == 0
    stream = await listen()
    await stream.hears(event("research", "InService"))
    stream.writer.close()
    await eventually(lambda: len(rig.gateway.serving.streams) == 0)
    assert rig.gateway.serving.streams._heart is None
    await clock.advance(10.0)
    # What was under way when it left is over with this, which joins it.
    await rig.gateway.serving.fleet.describe("research")
    asked = rig.sandbox.calls["DescribeNotebookInstance"]
    for _ in range(5):
        await clock.advance(10.0)
    assert rig.sandbox.calls["DescribeNotebookInstance"] == asked


async def test_an_address_has_a_bounded_number_of_streams(rig: Rig, listen: Listeners) -> None:
    first, second = await listen(), await listen()
    third = await listen()
    assert status_of(third.head) == 503
    first.writer.close()
    await eventually(lambda: len(rig.gateway.serving.streams) == 1)
    again = await listen()
    assert status_of(again.head) == 200
    second.writer.close()
    again.writer.close()


async def test_a_quiet_stream_shows_signs_of_life(rig: Rig, listen: Listeners, clock: FakeClock) -> None:
    stream = await listen()
    await stream.hears(event("research", "InService"))
    await clock.advance(HEARTBEAT_SECONDS)
    await stream.hears(b":\n\n")


async def test_streams_end_when_the_gateway_goes_away_and_none_begins(rig: Rig, listen: Listeners) -> None:
    stream = await listen()
    rig.gateway.serving.streams.close()
    assert (await stream.ends()).endswith(b"0\r\n\r\n"), "it ends whole"
    assert status_of((await listen()).head) == 503


async def test_a_caller_who_loses_an_instance_hears_no_more_of_it(
    rig: Rig, listen: Listeners, clock: FakeClock, tmp_path
) -> None:
    stream = await listen()
    await stream.hears(event("research", "InService"))
    mounted = {
        "research": MOUNTED["research"] | {"allow": ["elsewhere"]},
        "secret": MOUNTED["secret"] | {"allow": ["here"]},
    }
    file = tmp_path / "nbgate.yaml"
    file.write_text(yaml.safe_dump(config_for(rig.sandbox, instances=mounted)))
    assert await rig.gateway.reloader.reload_now()
    rig.sandbox.faults.set_status(status="Stopping")
    await look(rig, clock, calls=2)
    await stream.hears(event("secret", "Stopping"))
    assert event("research", "Stopping") not in stream.received


async def test_a_caller_who_is_shut_out_is_cut_off(rig: Rig, listen: Listeners, tmp_path) -> None:
    stream = await listen()
    await stream.hears(event("research", "InService"))
    file = tmp_path / "nbgate.yaml"
    file.write_text(
        yaml.safe_dump(config_for(rig.sandbox, instances=MOUNTED, policy={"allow": ["elsewhere"]}))
    )
    assert await rig.gateway.reloader.reload_now()
    with pytest.raises((ConnectionError, AssertionError)):
        await stream.hears(b"never")
    await eventually(lambda: len(rig.gateway.serving.streams) == 0)


async def test_a_caller_who_takes_nothing_is_cut_off(rig: Rig, listen: Listeners, clock: FakeClock) -> None:
    stream = await listen()
    await stream.hears(event("research", "InService"))
    [held] = rig.gateway.serving.streams._open
    held.writing_since = clock.monotonic()
    await clock.advance(STUCK_SECONDS)
    assert len(rig.gateway.serving.streams) == 1
    held.writing_since = min(held.writing_since, clock.monotonic() - STUCK_SECONDS)
    await clock.advance(HEARTBEAT_SECONDS)
    await eventually(lambda: len(rig.gateway.serving.streams) == 0)


async def test_a_stream_that_cannot_be_told_is_ended_and_the_others_hear(
    rig: Rig, clock: FakeClock, listen: Listeners
) -> None:
    broken, other = await listen(), await listen()
    await broken.hears(b"InService")
    await other.hears(b"InService")

    class Broken(asyncio.Event):
        def set(self) -> None:
            raise ZeroDivisionError

    [stream] = [
        one
        for one in rig.gateway.serving.streams._open
        if f"X-Request-Id: {one.request.request_id}\r\n".encode() in broken.head
    ]
    stream.wakes = Broken()
    for _ in range(2):
        other.received = b""
        await clock.advance(HEARTBEAT_SECONDS)
        await other.hears(b":\n\n")
    assert stream.is_over
    assert rig.gateway.plane.faults.counts["status streams"] >= 4
