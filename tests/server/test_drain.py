"""The end of a gateway in its order: not ready, then deaf, then empty; and the same of a process that gets signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, config_for, open_rig, status_of
from tests.harness.peer import Peer, dial
from tests.harness.waiting import settle

pytestmark = pytest.mark.slow

Call = Callable[[int, str], Awaitable[Peer]]


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def timed(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Rig]:
    """A rig whose time the test moves."""
    async with open_rig(tmp_path, clock=clock) as opened:
        yield opened


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    """Makes connections to a port, on which a path was asked for already."""
    peers: list[Peer] = []

    async def made(port: int, path: str) -> Peer:
        peers.append(await dial(port))
        return peers[-1].send(request(port, path))

    yield made
    for peer in peers:
        peer.close()
    await asyncio.sleep(0)


async def is_ready(rig: Rig) -> bool:
    address = rig.gateway.admin_address
    async with aiohttp.ClientSession() as monitor, monitor.get(f"http://{address}/readyz") as response:
        answer = await response.json()
        assert answer["ready"] is (response.status == 200)
        assert answer["details"]["draining"] is not answer["ready"]
        return response.status == 200


def request(port: int, target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


async def test_first_not_ready_and_serving_then_deaf(timed: Rig, clock: FakeClock, call: Call) -> None:
    assert await is_ready(timed)
    kept = await call(timed.port, "/")
    assert b"Connection: close" not in (await kept.response())[0]
    draining = asyncio.ensure_future(timed.gateway.drain(30.0, delay_seconds=5.0))
    await settle()
    assert not await is_ready(timed)
    await clock.advance(4.9)
    # Whoever was sent here by somebody who has not noticed yet is served.
    assert status_of(await timed.get("/new")) == 200
    head, _ = await kept.send(request(timed.port, "/kept")).response()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in head
    assert await kept.gone()
    await clock.advance(0.2)
    with pytest.raises(ConnectionRefusedError):
        await timed.get()
    await clock.advance(0.1)
    await draining


PAGES = ["/.nbgate/", "/.nbgate/nothing", "/api/gateway/v1/instances"]


@pytest.mark.parametrize("path", PAGES)
async def test_the_gateways_own_pages_end_their_connections_too(rig: Rig, path: str, call: Call) -> None:
    kept = await call(rig.port, path)
    before, _ = await kept.response()
    assert b"connection: close" not in before.lower()
    rig.gateway.plane.leaving = True
    after, _ = await kept.send(request(rig.port, path)).response()
    assert b"connection: close\r\n" in after.lower()
    assert after.split()[1] == before.split()[1]
    assert await kept.gone()


async def test_status_streams_last_until_nobody_is_taken_any_more(
    timed: Rig, clock: FakeClock, call: Call
) -> None:
    stream = await call(timed.port, "/.nbgate/events")
    assert b"text/event-stream" in await stream.head()
    draining = asyncio.ensure_future(timed.gateway.drain(30.0, delay_seconds=5.0))
    await settle()
    await clock.advance(4.9)
    assert len(timed.gateway.serving.streams) == 1
    await clock.advance(0.2)
    assert (await stream.rest()).endswith(b"0\r\n\r\n")
    await clock.advance(0.1)
    await draining


async def test_somebody_in_a_hurry_ends_the_delay_too(timed: Rig, clock: FakeClock) -> None:
    hurry = asyncio.Event()
    draining = asyncio.ensure_future(
        timed.gateway.drain(3600.0, delay_seconds=3600.0, is_hurried=hurry.is_set)
    )
    await settle()
    await clock.advance(10.0)
    assert not draining.done()
    hurry.set()
    await clock.advance(0.1)
    await draining


# -- a process -------------------------------------------------------------------------------------------------


class Served:
    """A gateway in a process of its own, in front of a sandbox in this one."""

    def __init__(self, process: asyncio.subprocess.Process, ports: list[int]) -> None:
        self.process = process
        self.port, self.admin_port = ports
        self.events: list[dict[str, Any]] = []

    async def readiness(self) -> int:
        url = f"http://127.0.0.1:{self.admin_port}/readyz"
        async with aiohttp.ClientSession() as monitor, monitor.get(url) as response:
            return response.status

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()


async def event(process: asyncio.subprocess.Process, phrase: str) -> dict[str, Any]:
    """The next event of that phrase in the process's log."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while line := await process.stdout.readline():
            record: dict[str, Any] = json.loads(line)
            if record.get("event") == phrase:
                return record
    raise AssertionError(f"ended before it said {phrase!r}")


@asynccontextmanager
async def serving(directory: Path, **timeouts: str) -> AsyncIterator[Served]:
    environ = os.environ | {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
    async with Sandbox([InstanceSpec(name="research-gpu-1")]) as sandbox:
        file = directory / "nbgate.yaml"
        file.write_text(yaml.safe_dump(config_for(sandbox, timeouts=timeouts)))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "serve", "--config", str(file)),
            stdout=asyncio.subprocess.PIPE,
            env=environ,
        )
        try:
            told = await event(process, "serving")
            addresses = (*told["listeners"], told["admin"])
            yield Served(process, [int(address.rpartition(":")[2]) for address in addresses])
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_the_status_is_0(
    tmp_path: Path, number: signal.Signals, call: Call
) -> None:
    async with serving(tmp_path, drain_delay="1s", drain="2s") as served, aiohttp.ClientSession() as page:
        url = f"http://127.0.0.1:{served.port}/api/kernels/1/channels"
        async with page.ws_connect(url, autoclose=False) as websocket:
            await websocket.send_str("there?")
            assert await websocket.receive_str() == "there?"
            assert await served.readiness() == 200
            served.process.send_signal(number)
            await event(served.process, "draining")
            assert await served.readiness() == 503
            head, _ = await (await call(served.port, "/new")).response()
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"Connection: close\r\n" in head
            message = await websocket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
        await event(served.process, "stopped")
        assert await served.ended() == 0


async def test_a_second_signal_ends_the_waiting_in_good_order(tmp_path: Path) -> None:
    async with serving(tmp_path, drain_delay="10m", drain="1h") as served:
        served.process.send_signal(signal.SIGTERM)
        await event(served.process, "draining")
        served.process.send_signal(signal.SIGTERM)
        await event(served.process, "stopped")
        assert await served.ended() == 0


async def test_the_times_of_now_count(tmp_path: Path) -> None:
    """Those of the file as it was read last, not of the start."""
    async with serving(tmp_path, drain_delay="10m", drain="1h") as served:
        file = tmp_path / "nbgate.yaml"
        changed = yaml.safe_load(file.read_text()) | {"timeouts": {"drain_delay": "0s", "drain": "1s"}}
        file.write_text(yaml.safe_dump(changed))
        served.process.send_signal(signal.SIGHUP)
        await event(served.process, "configuration reloaded")
        served.process.send_signal(signal.SIGTERM)
        assert (await event(served.process, "draining"))["delay_seconds"] == 0.0
        assert await served.ended() == 0
