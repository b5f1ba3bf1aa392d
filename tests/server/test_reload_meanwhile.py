"""A reload takes an instance away while SageMaker is asked to do something to it: whoever asked is told that it is
gone, or that it was done, and never of a fault of ours.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml

from proxy.policy.context import START, STOP
from proxy.sandbox.instance import InstanceSpec
from proxy.server.api.openapi import BASE
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, config_for, open_rig, status_of

pytestmark = pytest.mark.slow

SPECS = (
    InstanceSpec(name="left"),
    InstanceSpec(name="running"),
    InstanceSpec(name="stopped", status="Stopped"),
    InstanceSpec(name="failed", status="Failed"),
)
MOUNTED = {spec.name: {"notebook": spec.name, "mount": {"path": f"/{spec.name}/"}} for spec in SPECS}


def posted(rig: Rig, target: str, body: str, kind: str, extra: str = "") -> bytes:
    return (
        f"POST {target} HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        f"{extra}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def pressed(rig: Rig, name: str, action: str, **fields: str) -> bytes:
    """A button of the portal's."""
    token = rig.gateway.serving.forms.issue(
        address="127.0.0.1",
        instance=name,
        leads_to=rig.gateway.reloader.settings.leads_to(name),
        action=action,
    )
    body = urlencode({"token": token, **fields})
    target = f"/.nbgate/{'start' if action == START else 'stop'}/{name}"
    return posted(rig, target, body, "application/x-www-form-urlencoded", f"Origin: {rig.origin}\r\n")


def start_button(rig: Rig, name: str) -> bytes:
    return pressed(rig, name, START)


def open_button(rig: Rig, name: str) -> bytes:
    return pressed(rig, name, START, then="open")


def stop_button(rig: Rig, name: str) -> bytes:
    return pressed(rig, name, STOP)


def json_start(rig: Rig, name: str) -> bytes:
    return posted(rig, f"{BASE}/instances/{name}/start", "{}", "application/json")


def json_stop(rig: Rig, name: str) -> bytes:
    return posted(rig, f"{BASE}/instances/{name}/stop", "{}", "application/json")


def json_look(rig: Rig, name: str) -> bytes:
    return (
        f"GET {BASE}/instances/{name} HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\n\r\n".encode()
    )


def _call(rig: Rig, operation: str, **parameters: str) -> bytes:
    target = f"X-Amz-Target: SageMaker.{operation}\r\n"
    return posted(rig, "/", json.dumps(parameters), "application/x-amz-json-1.1", target)


def aws_start(rig: Rig, name: str) -> bytes:
    return _call(rig, "StartNotebookInstance", NotebookInstanceName=name)


def aws_stop(rig: Rig, name: str) -> bytes:
    return _call(rig, "StopNotebookInstance", NotebookInstanceName=name)


def aws_describe(rig: Rig, name: str) -> bytes:
    return _call(rig, "DescribeNotebookInstance", NotebookInstanceName=name)


def aws_url(rig: Rig, name: str) -> bytes:
    return _call(rig, "CreatePresignedNotebookInstanceUrl", NotebookInstanceName=name)


def aws_list(rig: Rig, _name: str) -> bytes:
    return _call(rig, "ListNotebookInstances")


def opened(rig: Rig, name: str) -> bytes:
    """Its address, which starts it if it is stopped."""
    accept = "Accept: text/html\r\nConnection: close\r\n"
    return f"GET /{name}/ HTTP/1.1\r\nHost: {rig.authority}\r\n{accept}\r\n".encode()


ASKED = (
    *(start_button, open_button, stop_button, json_start, json_stop, json_look, opened),
    *(aws_start, aws_stop, aws_describe, aws_url, aws_list),
)


@pytest.mark.parametrize("name", ["running", "stopped", "failed"])
@pytest.mark.parametrize("asked", ASKED)
async def test_nobody_is_told_of_a_fault(tmp_path: Path, asked, name: str) -> None:
    clock, slow = FakeClock(), FakeClock()
    async with open_rig(
        tmp_path,
        instances=SPECS,
        mounted=MOUNTED,
        clock=clock,
        sandbox_clock=slow,
        lifecycle={"start_on_open": True},
    ) as rig:
        rig.sandbox.faults.slow_api(seconds=2)
        answering = asyncio.ensure_future(rig.raw(asked(rig, name)))
        async with asyncio.timeout(30):
            while slow.sleeping < 1:
                await asyncio.sleep(0.001)
        left = {"left": MOUNTED["left"]}
        changed = config_for(rig.sandbox, instances=left, lifecycle={"start_on_open": True})
        (tmp_path / "nbgate.yaml").write_text(yaml.safe_dump(changed))
        assert await rig.gateway.reloader.reload_now()
        async with asyncio.timeout(30):
            while not answering.done():
                await slow.advance(2)
                await asyncio.sleep(0.001)
        answer = answering.result()
        assert status_of(answer) != 500, answer
        assert [line for line in rig.log_lines() if line.get("level") in ("error", "critical")] == []
