"""How many calls AWS is asked to answer, counted where they arrive."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.sandbox.instance import InstanceSpec
from proxy.server.operations.fleet import SETTLED_AT_A_LOOK
from proxy.server.operations.watched_instance import LOOK_SECONDS
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.waiting import eventually

URL, DESCRIBE, LIST = (
    "CreatePresignedNotebookInstanceUrl",
    "DescribeNotebookInstance",
    "ListNotebookInstances",
)
MANY = 80


@pytest.fixture
def clock() -> FakeClock:
    # boto3 signs with the machine's clock.
    return FakeClock(datetime.now(UTC))


@pytest.mark.slow
async def test_a_throttled_sign_in_is_tried_three_times_and_not_nine(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with open_rig(tmp_path, clock=clock) as rig:
        rig.sandbox.faults.throttle(times=100)
        asking = [asyncio.ensure_future(rig.get("/lab")) for _ in range(5)]
        # Slowly: the calls take the machine's time, and callers wait 20 s by this clock.
        while not all(one.done() for one in asking):
            await asyncio.sleep(0.01)
            await clock.advance(0.02)
        assert {status_of(await one) for one in asking} == {503}
        assert rig.sandbox.calls[URL] == 3


async def watched_for_a_minute(rig: Rig, clock: FakeClock, *, seen_at_a_look: int) -> None:
    """Somebody has the portal open; what there is to learn was learnt before."""
    fleet = rig.gateway.serving.fleet

    def seen_since(instant: float) -> int:
        known = [one for name in fleet.names if (one := fleet.known(name)) is not None]
        return sum(one.seen_at > instant for one in known)

    async def look() -> None:
        before = clock.monotonic()
        await clock.advance(LOOK_SECONDS)
        await eventually(lambda: seen_since(before) >= seen_at_a_look)

    fleet.subscribe(lambda _name, _description: None)
    while not all(fleet.known(name) for name in fleet.names):
        await asyncio.sleep(0.001)
        await clock.advance(0.1)
    await look()
    rig.sandbox.calls.clear()
    for _ in range(int(60 / LOOK_SECONDS)):
        await look()


@pytest.mark.slow
@pytest.mark.parametrize("may_list", [True, False])
async def test_the_states_of_eighty_instances_are_a_dozen_listings_a_minute(
    tmp_path: Path, clock: FakeClock, may_list: bool
) -> None:
    names = [f"nb-{number}" for number in range(MANY)]
    async with open_rig(
        tmp_path,
        clock=clock,
        instances=[InstanceSpec(name=name) for name in names],
        mounted={name: {"notebook": name} for name in names},
    ) as rig:
        if not may_list:
            rig.sandbox.faults.deny(operation=LIST, times=1000)
        await watched_for_a_minute(rig, clock, seen_at_a_look=MANY if may_list else SETTLED_AT_A_LOOK)
        if may_list:
            assert rig.sandbox.calls[LIST] == 12
            assert rig.sandbox.calls[DESCRIBE] == 0
        else:
            assert rig.sandbox.calls[LIST] == 0
            assert rig.sandbox.calls[DESCRIBE] == 12 * SETTLED_AT_A_LOOK
