"""The sandbox as a whole: what it tells, what it leaves behind, and how it is run and steered from outside."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from tests.harness.clocks import FakeClock
from tests.sandbox.sandbox_calls import NAME, Call, sagemaker_client


async def test_instances_are_apart(clock: FakeClock) -> None:
    async with Sandbox([InstanceSpec(name="a"), InstanceSpec(name="b")], clock=clock) as sandbox:
        assert len({sandbox.endpoint_url, *sandbox.origins.values()}) == 3
        sandbox.faults.set_status(status="Failed", instance="b")
        assert [sandbox.instances[name].status for name in ("a", "b")] == ["InService", "Failed"]


async def test_an_instance_without_cookies_makes_no_sense(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="at least one cookie"):
        Sandbox([InstanceSpec(name=NAME, cookie_names=())], clock=clock)


async def test_one_cookie_is_enough(clock: FakeClock, browser: aiohttp.ClientSession) -> None:
    spec = InstanceSpec(name=NAME, cookie_names=["authToken"], token_bytes=9000, reissue_cookies=True)
    async with Sandbox([spec], clock=clock) as sandbox:
        client = sagemaker_client(sandbox.endpoint_url)
        answer = await asyncio.to_thread(
            client.create_presigned_notebook_instance_url, NotebookInstanceName=NAME
        )
        assert len(answer["AuthorizedUrl"]) > 12000
        async with browser.get(answer["AuthorizedUrl"], allow_redirects=False) as response:
            assert response.headers["Location"] == "/"
        for _ in range(3):
            async with browser.get(sandbox.origins[NAME]) as response:
                assert response.status == 200


async def test_what_cannot_start_leaves_nothing_behind(clock: FakeClock) -> None:
    async with Sandbox([InstanceSpec(name=NAME)], clock=clock) as sandbox:
        taken = int(sandbox.endpoint_url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            async with Sandbox([InstanceSpec(name=NAME)], clock=clock, port=taken):
                pass


async def test_the_state_is_told_over_http(
    sandbox: Sandbox, call: Call, signed_in: aiohttp.ClientSession
) -> None:
    async with signed_in.get(f"{sandbox.endpoint_url}/_sandbox") as response:
        state = await response.json()
    assert state == json.loads(json.dumps(sandbox.state()))
    assert state["calls"] == {"CreatePresignedNotebookInstanceUrl": 1}
    assert state["instances"][NAME] == {
        "origin": sandbox.origins[NAME],
        "status": "InService",
        "open_websockets": 0,
        "requests": 2,
        "sign_ins": 1,
        "sign_in_failures": 0,
        "signed_out": 0,
        "proxied": 1,
        "denied": 0,
    }


async def switch(sandbox: Sandbox, browser: aiohttp.ClientSession, command: object) -> tuple[int, str]:
    async with browser.post(f"{sandbox.endpoint_url}/_sandbox/faults", json=command) as response:
        answer = await response.json()
        return response.status, answer.get("error", "")


async def test_faults_are_switched_over_http(
    sandbox: Sandbox, call: Call, signed_in: aiohttp.ClientSession
) -> None:
    for command in (
        {"fault": "expire_sessions", "instance": NAME},
        {"fault": "signed_out_as", "shape": "401"},
        {"fault": "sign_in_as", "shape": "chain", "instance": NAME},
        {"fault": "throttle", "times": 1, "operation": "DescribeNotebookInstance"},
        {"fault": "refuse"},
        {"fault": "accept"},
        {"fault": "drop_connections"},
        {"fault": "drop", "at": "body", "after_bytes": 10},
        {"fault": "clear"},
        {"fault": "set_status", "status": "Updating"},
    ):
        assert await switch(sandbox, signed_in, command) == (200, "")
    answer = await call("describe_notebook_instance", NotebookInstanceName=NAME)
    assert answer["NotebookInstanceStatus"] == "Updating"
    sandbox.faults.set_status(status="InService")
    async with signed_in.get(f"{sandbox.origins[NAME]}/x") as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ([], "the command is a JSON object"),
        ({}, "unknown fault None"),
        ({"fault": "apply"}, "unknown fault 'apply'"),
        ({"fault": "slow", "seconds": 1, "instance": "nobody"}, "unknown instance 'nobody'"),
        ({"fault": "slow"}, "missing 1 required keyword-only argument: 'seconds'"),
        ({"fault": "drop", "at": "tail"}, "'tail' is not a valid DropAt"),
    ],
)
async def test_a_wrong_command_is_explained(
    sandbox: Sandbox, browser: aiohttp.ClientSession, command: object, complaint: str
) -> None:
    status, error = await switch(sandbox, browser, command)
    assert status == 400
    assert complaint in error


async def test_it_runs_on_its_own_and_ends_on_sigterm(tmp_path: Path, browser: aiohttp.ClientSession) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *["-m", "proxy.sandbox", "--instance", "a", "--instance", "b", "--signed-out", "403"],
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        state = json.loads(await process.stdout.readline())
        assert list(state["instances"]) == ["a", "b"]
        async with browser.get(state["instances"]["b"]["origin"]) as response:
            assert response.status == 403
        client = sagemaker_client(state["endpoint_url"])
        answer = await asyncio.to_thread(
            client.create_presigned_notebook_instance_url, NotebookInstanceName="b"
        )
        async with browser.get(answer["AuthorizedUrl"]) as response:
            assert response.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
