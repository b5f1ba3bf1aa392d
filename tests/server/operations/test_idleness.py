"""The whole gateway in front of a sandbox: an idle instance is stopped, and a visit starts it again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from proxy.lifecycle.judge import IdleFinding
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.plain_upstream import SERVER
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, config_for, open_rig, status_of
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

NAME = "research-gpu-1"
START, STOP = "StartNotebookInstance", "StopNotebookInstance"
NAVIGATION = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
POLL = "Accept: */*\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"


@dataclass
class Jupyter:
    """Jupyter's API behind the notebook host, on the test's clock."""

    clock: FakeClock
    kernels: list[dict[str, Any]] = field(default_factory=list)
    started: str = ""
    targets: list[str] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        self.started = self.clock.now().isoformat()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.targets.append(request.raw_path)
        path = request.raw_path.partition("?")[0]
        headers = SERVER | {"Date": self.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT")}
        if self.broken and path.startswith("/api/"):
            return web.Response(status=500, headers=headers)
        answers: dict[str, Any] = {
            "/api/status": {"started": self.started, "last_activity": self.clock.now().isoformat()},
            "/api/kernels": self.kernels,
            "/api/terminals": [],
        }
        if path in answers:
            return web.json_response(answers[path], headers=headers)
        return web.Response(text="<h1>JupyterLab</h1>", content_type="text/html", headers=headers)


@dataclass
class House:
    rig: Rig
    clock: FakeClock
    jupyter: Jupyter

    @property
    def status(self) -> str:
        return self.rig.sandbox.instances[NAME].status

    def calls(self, operation: str) -> int:
        return self.rig.sandbox.calls[operation]

    def events(self, phrase: str) -> list[dict[str, Any]]:
        return [line for line in self.rig.log_lines() if phrase in line.get("event", "")]

    @property
    def finding(self) -> IdleFinding:
        return self.rig.gateway.serving.idleness.lifecycle.state("research").finding

    async def pass_minutes(self, minutes: float) -> None:
        """Move time, in steps so that not every sweep of every second need be lived through; every look ends."""
        watches = self.rig.gateway.serving.idleness.lifecycle._watches
        for _ in range(int(minutes * 6)):
            await self.clock.jump(10)
            await eventually(lambda: not any(watch.is_looking for watch in watches.values()))

    async def reaches(self, status: str) -> None:
        async with asyncio.timeout(30):
            while self.status != status:
                await self.clock.advance(1)
                await asyncio.sleep(0.005)


@pytest.fixture
async def clock() -> FakeClock:
    # boto3 signs with the machine's clock.
    return FakeClock(datetime.now(UTC))


LIFECYCLE = {"start_on_open": True, "stop_after_idle": "60m"}


@asynccontextmanager
async def open_house(directory: Path, clock: FakeClock, **changes: Any) -> AsyncIterator[House]:
    async with open_rig(directory, clock=clock, **{"lifecycle": LIFECYCLE, **changes}) as rig:
        jupyter = Jupyter(clock)
        for upstream in rig.sandbox.plain.values():
            upstream.handler = jupyter.answer
        yield House(rig, clock, jupyter)


@pytest.fixture
async def house(tmp_path: Path, clock: FakeClock) -> AsyncIterator[House]:
    async with open_house(tmp_path, clock) as opened:
        yield opened


async def test_an_idle_instance_is_stopped_and_a_visit_starts_it_and_reaches_jupyter(house: House) -> None:
    assert status_of(await house.rig.get("/lab", extra=NAVIGATION)) == 200
    await house.pass_minutes(52)
    assert house.finding is IdleFinding.WARN
    assert house.calls(STOP) == 0
    await house.pass_minutes(12)
    assert house.calls(STOP) == 1
    await house.reaches("Stopped")

    # The tab from before goes on polling: it starts nothing.
    for _ in range(3):
        assert status_of(await house.rig.get("/api/kernels", extra=POLL)) == 503
        await house.clock.advance(5)
    assert house.calls(START) == 0

    answers = await asyncio.gather(*(house.rig.get("/lab", extra=NAVIGATION) for _ in range(30)))
    assert {status_of(answer) for answer in answers} == {503}
    assert b"is starting" in body_of(answers[0])
    assert b'http-equiv="refresh"' in body_of(answers[0])
    await eventually(lambda: house.calls(START) == 1)
    await house.reaches("InService")
    await house.clock.advance(5)
    answer = await house.rig.get("/lab", extra=NAVIGATION)
    assert status_of(answer) == 200
    assert b"JupyterLab" in body_of(answer)
    assert house.calls(START) == 1

    await house.pass_minutes(40)
    assert house.calls(STOP) == 1
    assert house.rig.gateway.serving.idleness.lifecycle.saved_hours > 0
    assert [line["instance"] for line in house.events("idle instance stopped")] == ["research"]
    [stop] = house.events("instance told to stop")
    assert (stop["by"], stop.get("client")) == ("idleness", None)
    [start] = house.events("instance told to start")
    assert (start["by"], start["client"]) == ("opening", "127.0.0.1")
    requests = {line["request_id"] for line in house.rig.log_lines() if line["kind"] == "http"}
    assert start["request_id"] in requests


async def test_asking_is_no_activity_for_jupyter_and_signs_in_by_itself(house: House) -> None:
    await house.pass_minutes(2)
    assert house.rig.sandbox.instances[NAME].counts.sign_ins == 1
    asked = [target for target in house.jupyter.targets if target.startswith("/api/")]
    assert "/api/kernels?no_track_activity=1" in asked
    assert "/api/terminals?no_track_activity=1" in asked
    # The sign-in itself asks for the status, which never counts.
    assert all("no_track_activity" in target for target in asked if not target.startswith("/api/status"))


async def test_a_session_that_ended_meanwhile_is_renewed_for_the_question(house: House) -> None:
    await house.pass_minutes(2)
    house.rig.sandbox.instances[NAME].expire_sessions()
    await house.pass_minutes(2)
    assert house.finding is IdleFinding.IDLE
    assert house.rig.sandbox.instances[NAME].counts.sign_ins == 2


async def test_a_busy_kernel_keeps_it_running_although_nobody_is_there(house: House) -> None:
    at = house.clock.now().isoformat()
    house.jupyter.kernels = [{"id": "k", "execution_state": "busy", "last_activity": at, "connections": 0}]
    await house.pass_minutes(75)
    assert house.calls(STOP) == 0
    assert house.finding is IdleFinding.IN_USE


async def test_an_open_tab_with_its_websocket_and_its_polls_does_not(house: House) -> None:
    at = house.clock.now().isoformat()
    house.jupyter.kernels = [{"id": "k", "execution_state": "idle", "last_activity": at, "connections": 1}]
    async with aiohttp.ClientSession() as tab:
        for upstream in house.rig.sandbox.plain.values():
            upstream.handler = echoing(house.jupyter)
        async with tab.ws_connect(
            f"{house.rig.origin}/api/kernels/k/channels", origin=house.rig.origin
        ) as socket:
            await socket.send_str("kernel_info_request")
            assert (await socket.receive()).data == "kernel_info_request"
            listening = asyncio.ensure_future(until_closed(socket))
            for _ in range(66):
                await house.pass_minutes(1)
                async with tab.get(f"{house.rig.origin}/api/kernels") as response:
                    await response.read()
            assert house.calls(STOP) == 1
            listening.cancel()


async def test_typing_on_a_websocket_does(house: House) -> None:
    async with aiohttp.ClientSession() as tab:
        for upstream in house.rig.sandbox.plain.values():
            upstream.handler = echoing(house.jupyter)
        async with tab.ws_connect(
            f"{house.rig.origin}/terminals/websocket/1", origin=house.rig.origin
        ) as socket:
            listening = asyncio.ensure_future(until_closed(socket))
            for _ in range(9):
                await house.pass_minutes(10)
                await socket.send_str('["stdin","a"]')
            assert house.calls(STOP) == 0
            listening.cancel()


async def until_closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Read what comes, and answer pings, as a browser does."""
    async for _ in socket:
        pass


def echoing(jupyter: Jupyter) -> Any:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return await jupyter.answer(request)
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    return answer


async def test_an_instance_that_cannot_be_read_is_never_stopped(house: House) -> None:
    house.jupyter.broken = True
    await house.pass_minutes(75)
    assert house.calls(STOP) == 0
    assert house.finding is IdleFinding.UNREADABLE
    assert len(house.events("unreadable")) == 1


async def test_a_dry_run_stops_nothing(tmp_path: Path, clock: FakeClock) -> None:
    async with open_house(tmp_path, clock, lifecycle={**LIFECYCLE, "stop_dry_run": True}) as house:
        await house.pass_minutes(75)
        assert house.calls(STOP) == 0
        assert len(house.events("dry run")) == 1


async def test_without_stop_after_idle_nobody_is_asked_anything(tmp_path: Path, clock: FakeClock) -> None:
    async with open_house(tmp_path, clock, lifecycle={}) as house:
        await house.pass_minutes(75)
        assert house.rig.sandbox.calls == {}
        assert house.jupyter.targets == []
        assert house.finding is IdleFinding.OFF


async def test_a_reload_takes_new_rules(house: House) -> None:
    await house.pass_minutes(30)
    file = house.rig.gateway.reloader.settings.source
    file.write_text(yaml.safe_dump(config_for(house.rig.sandbox, lifecycle={"stop_after_idle": "20m"})))
    assert await house.rig.gateway.reloader.reload_now()
    await house.pass_minutes(12)
    assert house.calls(STOP) == 1
    await house.reaches("Stopped")
    # It is not started on opening any more.
    await house.clock.advance(5)
    answer = await house.rig.get("/lab", extra=NAVIGATION)
    assert b"is stopped" in body_of(answer)
    await house.clock.advance(5)
    assert house.calls(START) == 0


# -- starting -------------------------------------------------------------------------------------------------

STOPPED = (InstanceSpec(name=NAME, status="Stopped"),)


async def test_whoever_may_not_enter_starts_nothing(tmp_path: Path, clock: FakeClock) -> None:
    async with open_house(tmp_path, clock, instances=STOPPED, policy={"allow": ["elsewhere"]}) as house:
        assert status_of(await house.rig.get("/lab", extra=NAVIGATION)) == 403
        await house.pass_minutes(1)
        assert house.calls(START) == 0


async def test_a_visitor_needs_no_right_of_his_own_to_start_it(tmp_path: Path, clock: FakeClock) -> None:
    connect_only = {
        "Effect": "Allow",
        "Action": "sagemaker:CreatePresignedNotebookInstanceUrl",
        "Resource": "*",
        "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
    }
    async with open_house(tmp_path, clock, instances=STOPPED, policy={"statements": [connect_only]}) as house:
        assert b"is starting" in await house.rig.get("/lab", extra=NAVIGATION)
        await eventually(lambda: house.calls(START) == 1)


async def test_but_an_explicit_deny_of_starting_counts_and_is_audited(
    tmp_path: Path, clock: FakeClock
) -> None:
    deny = {"Sid": "NoStart", "Effect": "Deny", "Action": "sagemaker:StartNotebookInstance", "Resource": "*"}
    policy = {"allow": ["here"], "statements": [deny]}
    async with open_house(tmp_path, clock, instances=STOPPED, policy=policy) as house:
        assert b"is stopped" in await house.rig.get("/lab", extra=NAVIGATION)
        await house.pass_minutes(1)
        assert house.calls(START) == 0
        [record] = [line for line in house.rig.log_lines() if line["kind"] == "audit"]
        assert record["sids"] == ["NoStart"]
        assert record["action"] == "sagemaker:StartNotebookInstance"


async def test_an_instance_without_start_on_open_stays_stopped(tmp_path: Path, clock: FakeClock) -> None:
    async with open_house(tmp_path, clock, instances=STOPPED, lifecycle={}) as house:
        assert b"is stopped" in await house.rig.get("/lab", extra=NAVIGATION)
        await house.pass_minutes(1)
        assert house.calls(START) == 0


async def test_a_visitor_while_it_stops_waits_and_then_starts_it(tmp_path: Path, clock: FakeClock) -> None:
    slow = (InstanceSpec(name=NAME, transition_seconds=300.0),)
    async with open_house(tmp_path, clock, instances=slow) as house:
        await house.pass_minutes(64)
        assert house.status == "Stopping"
        answer = await house.rig.get("/lab", extra=NAVIGATION)
        assert b"started again as soon as it has stopped" in body_of(answer)
        assert b'http-equiv="refresh" content="10"' in body_of(answer)
        await house.reaches("Stopped")
        await house.clock.advance(5)
        assert b"is starting" in await house.rig.get("/lab", extra=NAVIGATION)
        await eventually(lambda: house.calls(START) == 1)


async def test_of_a_retired_platform_visitors_are_told_the_way_out_and_never_a_few_minutes(
    tmp_path: Path, clock: FakeClock
) -> None:
    retired = (InstanceSpec(name=NAME, status="Stopped", platform="notebook-al2-v1"),)
    async with open_house(tmp_path, clock, instances=retired) as house:
        first = body_of(await house.rig.get("/lab", extra=NAVIGATION))
        assert b"is being asked to start" in first
        assert b'http-equiv="refresh" content="2"' in first
        await eventually(lambda: house.calls(START) == 1)
        answers = [first]

        async def told() -> bool:
            answers.append(await house.rig.get("/lab", extra=NAVIGATION))
            return b"notebook-al2-v1" in answers[-1]

        while not await told():
            pass
        assert status_of(answers[-1]) == 502
        assert b"--platform-identifier notebook-al2023-v1" in answers[-1]
        assert not any(b"few minutes" in answer for answer in answers)
        [line] = [
            line
            for line in house.rig.log_lines()
            if line.get("code") == "PLATFORM_RETIRED" and line["kind"] == "event"
        ]
        assert line["instance"] == "research"


async def test_programs_are_told_in_json_that_it_starts(tmp_path: Path, clock: FakeClock) -> None:
    async with open_house(tmp_path, clock, instances=STOPPED) as house:
        await house.rig.get("/lab", extra=NAVIGATION)
        await eventually(lambda: house.calls(START) == 1)
        answer = json.loads(body_of(await house.rig.get("/api/kernels", extra=POLL)))
        assert answer["error"]["code"] == "INSTANCE_NOT_IN_SERVICE"
        assert "start" in answer["message"]


async def test_readyz_counts(house: House) -> None:
    await house.pass_minutes(64)
    address = house.rig.gateway.admin_address
    async with aiohttp.ClientSession() as client, client.get(f"http://{address}/readyz") as response:
        details = (await response.json())["details"]
    assert details["idle_stops"] == 1
    assert details["starts_on_open"] == 0
    assert details["idle_hours_saved"] >= 0


async def test_metrics_count_too(house: House) -> None:
    await house.pass_minutes(64)
    await house.reaches("Stopped")
    await house.pass_minutes(60)
    address = house.rig.gateway.admin_address
    async with aiohttp.ClientSession() as client, client.get(f"http://{address}/metrics") as response:
        text = await response.text()
    assert "\nnbgate_idle_stops_total 1.0\n" in text
    assert "\nnbgate_starts_on_open_total 0.0\n" in text
    [saved] = [line for line in text.splitlines() if line.startswith("nbgate_idle_saved_seconds_total ")]
    assert 3600 <= float(saved.split()[1]) <= 3900


async def test_a_gateway_that_is_not_the_stopper_stops_nothing_and_a_reload_makes_it_one(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with open_house(tmp_path, clock, lifecycle=LIFECYCLE | {"stopper": False}) as house:
        await house.pass_minutes(180)
        assert house.status == "InService"
        assert house.calls(STOP) == 0
        assert house.jupyter.targets == [], "nor does it ask Jupyter"
        file = house.rig.log_file.with_name("nbgate.yaml")
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"lifecycle": LIFECYCLE}))
        assert await house.rig.gateway.reloader.reload_now()
        await house.pass_minutes(90)
        assert house.calls(STOP) == 1
