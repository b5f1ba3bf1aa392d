"""What callers see while the gateway signs in to a notebook, and that takes long: nobody hangs, and all get in."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.errors import SigningIn
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.plane import OpenPlane, get, open_stage, post
from tests.harness.waiting import eventually, settle

NAVIGATION = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
SCRIPT = "Accept: */*\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"

WINDOW_WAITS, OTHERS_WAIT = 3.0, math.inf
ASKERS = {
    "a browser's window": (get(fields=NAVIGATION.encode()), WINDOW_WAITS),
    "a window on plain http": (get(fields=b"Accept: text/html\r\n"), WINDOW_WAITS),
    "a form": (post(b"x=1", fields=NAVIGATION.encode()), OTHERS_WAIT),
    "a page's script": (get(b"/api/kernels/1", fields=SCRIPT.encode()), OTHERS_WAIT),
    "a program": (get(b"/api/kernels/1"), OTHERS_WAIT),
}


@pytest.mark.parametrize(("request_bytes", "patience"), ASKERS.values(), ids=ASKERS)
async def test_only_a_window_can_be_shown_something_meanwhile(
    stage: OpenPlane, request_bytes: bytes, patience: float
) -> None:
    stage.keeper.session = None
    stage.keeper.failure = SigningIn()
    await (await stage.call(request_bytes)).head()
    assert stage.keeper.waits == [{"within_seconds": 20.0, "patience_seconds": patience}]


async def test_the_time_is_the_configurations(tmp_path: Path) -> None:
    async with open_stage(tmp_path, timeouts={"sign_in": "45s"}) as stage:
        stage.keeper.session = None
        stage.keeper.failure = SigningIn()
        await (await stage.call(get())).head()
        assert stage.keeper.waits[0]["within_seconds"] == 45.0


@pytest.fixture
async def clock() -> FakeClock:
    # boto3 signs with the machine's clock.
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def timed(tmp_path: Path, clock: FakeClock) -> AsyncIterator[tuple[Rig, FakeClock]]:
    """A rig on the test's clock, and the clock of AWS's side, which stands still until it is moved."""
    of_aws = FakeClock(datetime.now(UTC))
    async with open_rig(tmp_path, clock=clock, sandbox_clock=of_aws) as opened:
        yield opened, of_aws


@pytest.mark.parametrize("hang", ["api", "front end"])
async def test_whoever_waits_is_told_below_a_load_balancers_patience(
    timed: tuple[Rig, FakeClock], clock: FakeClock, hang: str
) -> None:
    """All of it hangs: SageMaker's answer, or each of the notebook host's. Programs are told 503 and when to come
    again, and what hung is used as soon as it is there."""
    rig, of_aws = timed
    if hang == "api":
        rig.sandbox.faults.slow_api(seconds=60)
    else:
        rig.sandbox.faults.slow(seconds=60)
    programs = [asyncio.ensure_future(rig.get(f"/api/kernels/{number}")) for number in range(10)]
    await eventually(lambda: of_aws.sleeping == 1)
    await clock.advance(19.9)
    assert not any(program.done() for program in programs)
    await clock.advance(0.2)
    for answer in await asyncio.gather(*programs):
        assert status_of(answer) == 503
        assert b"\r\nRetry-After: 5\r\n" in answer
        assert b'"SIGN_IN_TIMEOUT"' in answer
    assert status_of(await rig.get("/at-once")) == 503
    rig.sandbox.faults.slow_api(seconds=0)
    rig.sandbox.faults.slow(seconds=0)
    await of_aws.advance(60)
    await eventually(lambda: rig.gateway.plane.keeper("research").live() is not None)
    assert status_of(await rig.get()) == 200
    assert rig.sandbox.calls["CreatePresignedNotebookInstanceUrl"] == 1
    assert [line["step"] for line in rig.log_lines() if "signing in takes long" in line.get("event", "")] == [
        "minting" if hang == "api" else "exchanging"
    ]


async def test_a_browser_is_shown_a_page_meanwhile_that_comes_to_the_notebook_by_itself(
    timed: tuple[Rig, FakeClock], clock: FakeClock
) -> None:
    rig, of_aws = timed
    rig.sandbox.faults.slow(seconds=10)
    window = asyncio.ensure_future(rig.get("/lab", extra=NAVIGATION))
    await eventually(lambda: of_aws.sleeping == 1)
    await clock.advance(3.0)
    page = await window
    assert status_of(page) == 503
    assert b"\r\nRetry-After: 2\r\n" in page
    text = body_of(page).decode()
    assert "Signing in to the notebook" in text
    [seconds] = re.findall(r'http-equiv="refresh" content="(\d+)', text)
    assert seconds == "2"
    again = asyncio.ensure_future(rig.get("/lab", extra=NAVIGATION))
    await settle()
    rig.sandbox.faults.slow(seconds=0)
    await of_aws.advance(10)
    assert status_of(await again) == 200
    assert rig.sandbox.calls["CreatePresignedNotebookInstanceUrl"] == 1
    assert rig.sandbox.instances["research-gpu-1"].counts.sign_ins == 1
