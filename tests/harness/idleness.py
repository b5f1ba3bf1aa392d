"""A gateway that stops idle instances, in front of a real Jupyter: hours of a fake clock pass in seconds."""

from __future__ import annotations

from dataclasses import replace

from proxy.lifecycle.evidence import Bodies
from proxy.lifecycle.idle_stopper import TICK_SECONDS
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig
from tests.harness.waiting import eventually


def keep_jupyters_clock(rig: Rig, clock: FakeClock) -> None:
    """Jupyter's stamps are of the few real seconds; its clock is moved along with the test's."""
    lifecycle = rig.gateway.serving.idleness.lifecycle
    read = lifecycle._notebooks.read

    async def at_the_tests_time(name: str) -> Bodies:
        there = clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
        return replace(await read(name), date=there)

    lifecycle._notebooks.read = at_the_tests_time  # type: ignore[method-assign]


async def tick(rig: Rig, clock: FakeClock) -> None:
    """Let the gateway look once at what passed, and at the instances whose turn it is."""
    await clock.jump(TICK_SECONDS)
    watches = rig.gateway.serving.idleness.lifecycle._watches
    await eventually(lambda: not any(watch.is_looking for watch in watches.values()))


async def pass_minutes(rig: Rig, clock: FakeClock, minutes: float) -> None:
    for _ in range(int(minutes * 60 / TICK_SECONDS)):
        await tick(rig, clock)
