"""A real Jupyter behind the sandbox: it says what it computes, an idle one is stopped, and a visit brings it back."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from proxy.lifecycle.judge import IdleFinding
from proxy.sandbox.instance import InstanceSpec
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.idleness import keep_jupyters_clock, pass_minutes
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "research-gpu-1"
NAVIGATION = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def rig(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Rig]:
    lifecycle = {"start_on_open": True, "stop_after_idle": "60m"}
    instances = (InstanceSpec(name=NAME, jupyter=True),)
    async with open_rig(tmp_path, instances=instances, clock=clock, lifecycle=lifecycle) as opened:
        keep_jupyters_clock(opened, clock)
        yield opened


def execute(code: str) -> str:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "",
        "session": "s",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
    return json.dumps(
        {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    )


async def test_a_long_cell_without_a_browser_keeps_it_and_idleness_stops_it_until_somebody_comes(
    rig: Rig, clock: FakeClock
) -> None:
    stops = rig.sandbox.calls
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(f"{rig.origin}/tree") as page:
            assert page.status == 200
        xsrf = next(cookie.value for cookie in browser.cookie_jar if cookie.key == "_xsrf")
        browser.headers["X-XSRFToken"] = xsrf
        async with browser.post(f"{rig.origin}/api/kernels", json={"name": "python3"}) as response:
            kernel = (await response.json())["id"]
        async with browser.ws_connect(
            f"{rig.origin}/api/kernels/{kernel}/channels", origin=rig.origin
        ) as socket:
            await socket.send_str(execute("import time; print('busy'); time.sleep(600)"))
            async for message in socket:
                if "busy\\n" in str(message.data):
                    break
        # The browser is gone, and the cell goes on.
        await pass_minutes(rig, clock, 150)
        assert rig.gateway.serving.idleness.lifecycle.state("research").why == "a kernel is busy"
        assert stops["StopNotebookInstance"] == 0

        async with browser.post(f"{rig.origin}/api/kernels/{kernel}/interrupt") as response:
            assert response.status == 204
        url = f"{rig.origin}/api/kernels/{kernel}?no_track_activity=1"
        async with asyncio.timeout(30):
            while True:
                async with browser.get(url) as response:
                    if (await response.json())["execution_state"] == "idle":
                        break
                await asyncio.sleep(0.05)
        await pass_minutes(rig, clock, 10)
        assert rig.gateway.serving.idleness.lifecycle.state("research").finding is IdleFinding.IDLE
        # A tab that stays open: it polls, and holds its kernel's WebSocket.
        async with browser.ws_connect(
            f"{rig.origin}/api/kernels/{kernel}/channels", origin=rig.origin
        ) as socket:

            async def stay_open() -> None:
                async for _ in socket:
                    pass

            tab = asyncio.ensure_future(stay_open())
            for _ in range(56):
                await pass_minutes(rig, clock, 1)
                async with browser.get(f"{rig.origin}/api/kernels") as response:
                    await response.read()
            tab.cancel()
    assert stops["StopNotebookInstance"] == 1

    async def reaches(status: str) -> None:
        async with asyncio.timeout(60):
            while rig.sandbox.instances[NAME].status != status:
                await clock.jump(5)
                await asyncio.sleep(0.05)

    await reaches("Stopped")
    await clock.jump(10)
    assert b"is starting" in await rig.get("/lab", extra=NAVIGATION)
    await eventually(lambda: stops["StartNotebookInstance"] == 1)
    await reaches("InService")
    await clock.jump(10)
    answer = await rig.get("/lab", extra=NAVIGATION)
    assert status_of(answer) == 200
    assert b"jupyter-config-data" in body_of(answer)
