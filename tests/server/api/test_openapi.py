"""The JSON API against its own description, by a stranger: schemathesis finds no 500 and no undocumented answer."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from proxy.sandbox.instance import InstanceSpec
from proxy.server.api.openapi import BASE, document
from proxy.server.page_request import PageRequest
from tests.harness.gateway import Rig, body_of, open_rig

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SPECS = (
    InstanceSpec(name="research-gpu-1", transition_seconds=0.05),
    InstanceSpec(name="sleeper", status="Stopped", transition_seconds=0.05),
)
MOUNTED: dict[str, Any] = {
    "research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}},
    "sleeper": {"notebook": "sleeper", "mount": {"path": "/sleeper/"}},
    "gone": {"notebook": "no-such-notebook", "mount": {"path": "/gone/"}},
    "secret": {"notebook": "research-gpu-1", "mount": {"path": "/secret/"}, "allow": ["elsewhere"]},
}


async def run_schemathesis(rig: Rig, directory: Path, *arguments: str) -> tuple[int, str]:
    """Its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        "run",
        f"{rig.origin}{BASE}/openapi.json",
        *arguments,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.slow
async def test_a_stranger_finds_no_500_and_no_undocumented_answer(tmp_path: Path) -> None:
    async with open_rig(tmp_path, instances=SPECS, mounted=MOUNTED) as rig:
        status, said = await run_schemathesis(
            rig, tmp_path, "--checks=all", "--max-examples=40", "--seed=1", "--no-color"
        )
        assert status == 0, said
        assert not [line for line in rig.log_lines() if line.get("event") == "a fault of the gateway's own"]


def test_the_description_is_valid_where_it_describes_data() -> None:
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_what_is_described_is_answered_and_what_is_answered_is_described(rig: Rig) -> None:
    described = {
        (method.upper(), BASE + path) for path, item in document()["paths"].items() for method in item
    }
    answered = {
        (method, "/".join("{name}" if one is None else one for one in page.segments))
        for page in rig.gateway.serving.pages._pages.values()
        for method in page.handlers
        if page.segments[1] == "api" and method != "HEAD"
    }
    assert described == answered
    served = json.loads(body_of(await rig.get(f"{BASE}/openapi.json")))
    assert served == document()


@pytest.mark.slow
async def test_the_stranger_would_notice(tmp_path: Path) -> None:
    """Shown to fail: an answer that is not described."""

    async def other(visit: PageRequest) -> web.StreamResponse:
        return web.json_response({"success": True, "data": {"instances": [{"name": "research"}]}})

    async with open_rig(tmp_path, instances=SPECS, mounted=MOUNTED) as rig:
        page = next(
            page for page in rig.gateway.serving.pages._pages.values() if page.segments[-1] == "instances"
        )
        page.handlers["GET"] = other
        status, said = await run_schemathesis(
            rig, tmp_path, "--include-operation-id=listInstances", "--max-examples=5", "--no-color"
        )
        assert status == 1, said
