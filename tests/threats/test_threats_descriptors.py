"""Threats, N2: file descriptors. A limit is met first, and says so; where they run out all the same, nothing ends."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from proxy.dataplane import descriptors
from proxy.dataplane.descriptors import connections_for
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from tests.harness.gateway import open_rig, status_of
from tests.harness.serving import Served, serving

pytestmark = pytest.mark.slow

EXAMPLE_LIMITS = {"connections": 10_000, "connections_per_address": 10_000}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox((InstanceSpec(name="research-gpu-1"),)) as opened:
        yield opened


async def idle(served: Served, count: int) -> list[asyncio.StreamWriter]:
    """So many connections of somebody who may come in and asks nothing."""
    opened = [await asyncio.open_connection("127.0.0.1", served.ports[0]) for _ in range(count)]
    return [writer for _, writer in opened]


async def get(served: Served) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.ports[0])
    try:
        writer.write(
            f"GET /status/204 HTTP/1.1\r\nHost: 127.0.0.1:{served.ports[0]}\r\nConnection: close\r\n\r\n".encode()
        )
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


async def test_the_soft_limit_is_raised_and_what_cannot_be_held_is_said(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    """0.1 stayed at systemd's soft limit of 1024 and promised 10,000 connections."""
    async with serving(tmp_path, sandbox, files=(256, 900), limits=EXAMPLE_LIMITS) as served:
        assert resource.prlimit(served.pid, resource.RLIMIT_NOFILE) == (900, 900)
        line = await served.logged(event="fewer connections can be held than limits.connections")
        assert (line["configured"], line["held"], line["needed"]) == (10_000, connections_for(900), 20_256)
        assert "LimitNOFILE=20256" in line["hint"]
        assert await served.metric("nbgate_connections_most") == connections_for(900)


async def test_a_reload_that_asks_for_more_than_can_be_held_is_told_as_a_start_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "allowed", lambda: 1024)
    async with open_rig(tmp_path, limits={"connections": 384}) as rig:
        file = tmp_path / "nbgate.yaml"
        file.write_text(file.read_text().replace("384", "385"))
        assert await rig.gateway.reloader.reload_now()
        assert rig.gateway.plane.budgets.most == 384
        told = [line for line in rig.log_lines() if line["event"].startswith("fewer connections")]
        assert [(line["configured"], line["held"], line["needed"]) for line in told] == [(385, 384, 1026)]


async def test_a_reload_that_changes_nothing_of_it_says_it_no_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "allowed", lambda: 1024)
    async with open_rig(tmp_path, limits={"connections": 385}) as rig:
        file = tmp_path / "nbgate.yaml"
        for idle in ("58s", "59s"):
            written = yaml.safe_load(file.read_text())
            file.write_text(yaml.safe_dump({**written, "timeouts": {"idle": idle}}))
            assert await rig.gateway.reloader.reload_now()
        assert rig.gateway.reloader.status.applied == 2
        told = [line for line in rig.log_lines() if line["event"].startswith("fewer connections")]
        assert [line["configured"] for line in told] == [385]


async def test_more_idle_connections_than_descriptors_leave_everything_else_working(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    """With 0.1, EOF on all listeners, 502 without a reason, and a dead /readyz."""
    async with serving(
        tmp_path, sandbox, files=(300, 300), limits=EXAMPLE_LIMITS, timeouts={"request_head": "60s"}
    ) as served:
        most = connections_for(300)
        # One that is in, and stays in.
        reader, writer = await asyncio.open_connection("127.0.0.1", served.ports[0])
        waiting = await idle(served, 600)
        await served.logged(event="limit met", code="TOO_MANY_CONNECTIONS")
        assert served.open_files < 300
        for path in ("/healthz", "/readyz", "/metrics"):
            assert status_of(await served.ask_admin(path)) == 200
        assert await served.metric("nbgate_connections_most") == most
        # It reaches its notebook, which takes a descriptor more.
        writer.write(f"GET /status/204 HTTP/1.1\r\nHost: 127.0.0.1:{served.ports[0]}\r\n\r\n".encode())
        assert status_of(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)) == 204
        assert await served.metric("nbgate_descriptors_exhausted_total") == 0
        for one in (*waiting, writer):
            one.close()


async def test_running_out_all_the_same_is_an_event_and_no_end(tmp_path: Path, sandbox: Sandbox) -> None:
    """uvloop's own server closes what it has no descriptor for, or stops listening for good, without a word."""
    async with serving(tmp_path, sandbox, files=(1024, 1024)) as served:
        assert status_of(await get(served)) == 204
        first = await idle(served, 1)
        served.leave_no_descriptor()
        waiting = asyncio.create_task(get(served))
        line = await served.logged(event="limit met", code="NO_DESCRIPTORS")
        assert line["limit"] == "RLIMIT_NOFILE"
        before = served.cpu_seconds
        await asyncio.sleep(2)  # another process, which might spin
        assert served.cpu_seconds - before < 0.5
        assert sum(line.get("event") == "limit met" for line in served.lines()) == 1
        served.give_descriptors_back()
        assert status_of(await waiting) == 204
        assert await served.metric("nbgate_descriptors_exhausted_total") > 1
        for one in first:
            one.close()


async def test_a_notebook_that_no_descriptor_is_left_for_is_told_from_one_that_is_down(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with serving(tmp_path, sandbox, files=(1024, 1024)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.ports[0])
        request = f"GET /status/204 HTTP/1.1\r\nHost: 127.0.0.1:{served.ports[0]}\r\n\r\n".encode()
        writer.write(request)
        assert status_of(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)) == 204
        with_notebook = served.open_files
        sandbox.faults.drop_connections()
        async with asyncio.timeout(30):
            while served.open_files == with_notebook:
                await asyncio.sleep(0.05)  # another process
        served.leave_no_descriptor()
        writer.write(request)
        assert status_of(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)) == 503
        await served.logged(event="limit met", code="NO_DESCRIPTORS")
        writer.close()
