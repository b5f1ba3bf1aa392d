"""Instances are looked at by the clock, warned about, and stopped; and people can keep them awake."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from proxy.errors import InstanceNotFound, NbgateError, PermissionMissing, UpstreamTimeout
from proxy.lifecycle.awake import AwakeRefused
from proxy.lifecycle.evidence import Bodies
from proxy.lifecycle.idle_stopper import FAILED_STOP_SECONDS, LOOK_SECONDS, TICK_SECONDS, IdleStopper
from proxy.lifecycle.judge import IdleFinding, IdleRules
from proxy.rounds import Rounds
from proxy.tasks import Tasks
from tests.harness.clocks import FakeClock
from tests.harness.faulty import collecting
from tests.harness.waiting import settle

RULES = IdleRules(after_seconds=3600.0, warning_seconds=600.0)


@dataclass
class World:
    """An instance, its Jupyter, and what passed the gateway; everything as the test wants it."""

    clock: FakeClock
    status: str = "InService"
    kernels: list[dict[str, Any]] = field(default_factory=list)
    terminals: list[dict[str, Any]] | None = field(default_factory=list)
    polled_at: datetime | None = None
    described_error: NbgateError | None = None
    read_error: NbgateError | None = None
    stop_error: NbgateError | None = None
    body: bytes | None = None
    used_at: dict[str, float] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    describes: list[float] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    logged: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    looks: int = 0
    on_read: Any = None
    on_look: Any = None

    def __post_init__(self) -> None:
        self.started = self.clock.now()

    async def describe(self, name: str, *, max_age_seconds: float) -> World:
        self.describes.append(max_age_seconds)
        if self.described_error is not None:
            raise self.described_error
        return self

    async def stop(self, name: str) -> None:
        if self.stop_error is not None:
            raise self.stop_error
        self.stopped.append(name)
        self.status = "Stopping"

    async def read(self, name: str) -> Bodies:
        self.reads.append(name)
        if self.on_read is not None:
            self.on_read()
        if self.read_error is not None:
            raise self.read_error
        now = self.clock.now()
        status = {"started": self.started.isoformat(), "last_activity": (self.polled_at or now).isoformat()}
        return Bodies(
            json.dumps(status).encode() if self.body is None else self.body,
            json.dumps(self.kernels).encode(),
            None if self.terminals is None else json.dumps(self.terminals).encode(),
            now.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        )

    def look(self) -> None:
        self.looks += 1
        if self.on_look is not None:
            self.on_look()

    def last_use(self, name: str) -> float | None:
        return self.used_at.get(name)

    def info(self, event: str, **fields: Any) -> None:
        self.logged.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.logged.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.logged.append(("error", event, fields))

    def said(self, phrase: str) -> list[dict[str, Any]]:
        return [fields for _, event, fields in self.logged if phrase in event]

    def kernel(self, state: str = "idle", *, id: str = "k1") -> None:
        """A kernel that was active a moment ago."""
        at = self.clock.now().isoformat()
        self.kernels = [{"id": id, "execution_state": state, "last_activity": at, "connections": 1}]


@dataclass
class Stage:
    world: World
    clock: FakeClock
    lifecycle: IdleStopper
    failed: list[BaseException]

    def state(self) -> Any:
        return self.lifecycle.state("research")

    @property
    def is_warned(self) -> bool:
        return self.state().finding in (IdleFinding.WARN, IdleFinding.STOP)

    async def pass_minutes(self, minutes: float) -> None:
        await self.clock.advance(minutes * 60)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """An instance that began just now and has been looked at once."""
    clock = FakeClock()
    world = World(clock)
    failed: list[BaseException] = []
    tasks = Tasks(lambda _name, error: failed.append(error))
    faults = collecting(failed)
    lifecycle = IdleStopper(
        clock=clock, tasks=tasks, faults=faults, instances=world, notebooks=world, traffic=world, events=world
    )
    lifecycle.adopt({"research": RULES}, {"research": "n1"})
    rounds = Rounds(clock=clock, tasks=tasks, faults=faults)
    rounds.start("lifecycle", lifecycle.tick, every_seconds=TICK_SECONDS, at_once=True)
    await settle()
    yield Stage(world, clock, lifecycle, failed)
    await tasks.close()
    assert failed == []


async def test_an_instance_that_nobody_uses_is_announced_and_then_stopped(stage: Stage) -> None:
    await stage.pass_minutes(49)
    assert stage.state().finding is IdleFinding.IDLE
    assert not stage.is_warned
    assert stage.world.logged == []
    began = stage.world.started
    assert abs(stage.state().idle_since - began) < timedelta(seconds=2)
    assert abs(stage.state().stops_at - began - timedelta(hours=1)) < timedelta(seconds=2)
    await stage.pass_minutes(2.5)
    assert stage.is_warned
    assert stage.world.stopped == []
    [told] = stage.world.said("will be stopped")
    assert told["instance"] == "research"
    assert told["idle_since"] == "2026-01-01T00:00:00Z"
    await stage.pass_minutes(12)
    assert stage.world.stopped == ["research"]
    assert len(stage.world.said("will be stopped")) == 1
    assert len(stage.world.said("idle instance stopped")) == 1
    assert stage.lifecycle.stops == 1
    assert stage.state().finding is IdleFinding.NOT_RUNNING
    assert stage.state().stops_at is None


async def test_everything_is_asked_once_more_right_before_the_stop(stage: Stage) -> None:
    await stage.pass_minutes(59)

    def somebody_computes() -> None:
        # The first of the two readings still finds nothing.
        if stage.world.describes[-1] == 0.0:
            stage.world.kernel("busy")

    stage.world.on_read = somebody_computes
    await stage.pass_minutes(5)
    assert 0.0 in stage.world.describes
    assert stage.world.stopped == []
    assert stage.state().finding is IdleFinding.IN_USE
    assert len(stage.world.said("will not be stopped")) == 1


async def test_traffic_right_before_the_stop_is_seen(stage: Stage) -> None:
    await stage.pass_minutes(59)

    def somebody_types() -> None:
        if stage.world.describes[-1] == 0.0:
            stage.world.used_at["research"] = stage.clock.monotonic()

    stage.world.on_read = somebody_types
    await stage.pass_minutes(5)
    assert stage.world.stopped == []


async def test_traffic_that_only_a_look_finds_is_looked_for_after_jupyter_was_read(stage: Stage) -> None:
    await stage.pass_minutes(59)

    def finds() -> None:
        if stage.world.describes[-1] == 0.0:
            stage.world.used_at["research"] = stage.clock.monotonic()

    stage.world.on_look = finds
    await stage.pass_minutes(5)
    assert stage.world.stopped == []


async def test_a_busy_kernel_without_a_browser_keeps_it_running_for_as_long_as_it_takes(stage: Stage) -> None:
    stage.world.kernel("busy")
    await stage.pass_minutes(24 * 60)
    assert stage.world.stopped == []
    assert stage.state().why == "a kernel is busy"
    stage.world.kernel("idle")
    await stage.pass_minutes(58)
    assert stage.world.stopped == []
    await stage.pass_minutes(14)
    assert stage.world.stopped == ["research"]


async def test_an_open_tab_does_not_keep_it_running(stage: Stage) -> None:
    stage.world.kernel("idle")
    stage.world.polled_at = None  # a poll at each look
    await stage.pass_minutes(72)
    assert stage.world.stopped == ["research"]


async def test_a_terminal_that_moves_keeps_it_running(stage: Stage) -> None:
    for _ in range(6):
        stage.world.terminals = [{"name": "1", "last_activity": stage.clock.now().isoformat()}]
        await stage.pass_minutes(30)
    assert stage.world.stopped == []
    await stage.pass_minutes(45)
    assert stage.world.stopped == ["research"]


async def test_a_jupyter_without_terminals_is_read_all_the_same(stage: Stage) -> None:
    stage.world.terminals = None
    await stage.pass_minutes(75)
    assert stage.world.stopped == ["research"]


@pytest.mark.parametrize("error", [UpstreamTimeout(detail="head"), None], ids=["no answer", "nonsense"])
async def test_an_instance_that_cannot_be_read_is_not_stopped_and_that_is_said_once(
    stage: Stage, error: NbgateError | None
) -> None:
    stage.world.read_error = error
    stage.world.body = b"<html>"
    await stage.pass_minutes(240)
    assert stage.world.stopped == []
    assert stage.state().finding is IdleFinding.UNREADABLE
    assert len(stage.world.said("unreadable")) == 1
    # Readable again: long idle by its own clock, but it is announced like any other.
    stage.world.read_error = stage.world.body = None
    stage.world.polled_at = stage.world.started
    await stage.pass_minutes(9)
    assert stage.world.stopped == []
    await stage.pass_minutes(3)
    assert stage.world.stopped == ["research"]


async def test_an_instance_whose_status_is_not_told_is_not_stopped(stage: Stage) -> None:
    await stage.pass_minutes(40)
    stage.world.described_error = InstanceNotFound()
    await stage.pass_minutes(240)
    assert stage.world.stopped == []
    assert stage.state().finding is IdleFinding.UNREADABLE


async def test_a_stopped_instance_is_not_asked_anything(stage: Stage) -> None:
    stage.world.status = "Stopped"
    await stage.pass_minutes(2)
    reads = len(stage.world.reads)
    await stage.pass_minutes(60)
    assert len(stage.world.reads) == reads


async def test_use_after_the_warning_takes_it_back_at_once(stage: Stage) -> None:
    await stage.pass_minutes(52)
    assert stage.is_warned
    stage.world.used_at["research"] = stage.clock.monotonic()
    await stage.clock.advance(TICK_SECONDS)
    assert not stage.is_warned
    assert len(stage.world.said("will not be stopped")) == 1
    await stage.pass_minutes(49)
    assert not stage.is_warned
    await stage.pass_minutes(13)
    assert stage.world.stopped == ["research"]
    assert len(stage.world.said("is idle and will be stopped")) == 2


async def test_a_dry_run_only_says_what_it_would_do_once(stage: Stage) -> None:
    stage.lifecycle.adopt({"research": replace(RULES, dry_run=True)}, {"research": "n1"})
    await stage.pass_minutes(180)
    assert stage.world.stopped == []
    assert len(stage.world.said("dry run")) == 1
    assert stage.world.said("is idle and will be stopped")[0]["dry_run"] is True
    assert stage.state().dry_run
    assert stage.lifecycle.stops == 0
    assert stage.lifecycle.saved_hours == 0


async def test_keeping_awake_puts_it_off_and_is_announced_again_afterwards(stage: Stage) -> None:
    await stage.pass_minutes(52)
    assert stage.lifecycle.keep_awake("research", 3).finding is IdleFinding.KEPT_AWAKE
    assert stage.state().stops_at is None
    await stage.clock.advance(TICK_SECONDS)
    assert len(stage.world.said("will not be stopped")) == 1
    await stage.pass_minutes(179)
    assert stage.world.stopped == []
    assert stage.state().finding is IdleFinding.KEPT_AWAKE
    await stage.pass_minutes(5)
    assert stage.is_warned
    assert stage.state().kept_awake_until is None
    await stage.pass_minutes(12)
    assert stage.world.stopped == ["research"]


async def test_keeping_awake_says_until_when_and_ends_by_itself(stage: Stage) -> None:
    until = stage.clock.now() + timedelta(hours=2)
    assert stage.lifecycle.keep_awake("research", 2).kept_awake_until == until
    assert stage.state().kept_awake_until == until
    await stage.pass_minutes(121)
    assert stage.state().kept_awake_until is None


async def test_keeping_awake_can_be_taken_back(stage: Stage) -> None:
    stage.lifecycle.keep_awake("research", 2)
    assert stage.lifecycle.keep_awake("research", 0).kept_awake_until is None


@pytest.mark.parametrize("hours", [-1, 72.1, math.inf, -math.inf, math.nan])
async def test_no_instance_is_kept_awake_for_ever(stage: Stage, hours: float) -> None:
    with pytest.raises(AwakeRefused):
        stage.lifecycle.keep_awake("research", hours)
    assert stage.state().kept_awake_until is None


async def test_only_configured_instances_have_a_state(stage: Stage) -> None:
    with pytest.raises(KeyError):
        stage.lifecycle.state("vision")
    with pytest.raises(KeyError):
        stage.lifecycle.keep_awake("vision", 1)


async def test_an_instance_just_started_has_its_hour(stage: Stage) -> None:
    stage.world.status = "Stopped"
    await stage.pass_minutes(300)
    stage.world.status = "InService"
    await stage.pass_minutes(48)
    assert stage.state().finding is IdleFinding.IDLE
    assert stage.world.stopped == []
    await stage.pass_minutes(15)
    assert stage.world.stopped == ["research"]


async def test_a_machine_that_slept_announces_before_it_stops(stage: Stage) -> None:
    stage.world.polled_at = stage.world.started
    await stage.pass_minutes(30)
    await stage.clock.jump(8 * 3600)
    await stage.pass_minutes(9)
    assert stage.is_warned
    assert stage.world.stopped == []
    await stage.pass_minutes(3)
    assert stage.world.stopped == ["research"]


async def test_a_stop_that_sagemaker_refuses_is_told_and_tried_again_later(stage: Stage) -> None:
    stage.world.stop_error = PermissionMissing(
        detail="not authorized to perform: sagemaker:StopNotebookInstance"
    )
    await stage.pass_minutes(65)
    [told] = stage.world.said("could not be stopped")
    assert told["code"] == "PERMISSION_MISSING"
    assert stage.lifecycle.stops == 0
    stage.world.stop_error = None
    await stage.clock.advance(2 * FAILED_STOP_SECONDS + 3 * LOOK_SECONDS)
    assert stage.world.stopped == ["research"]


async def test_hours_saved_are_those_until_somebody_starts_it_again(stage: Stage) -> None:
    await stage.pass_minutes(75)
    assert stage.world.stopped == ["research"]
    stage.world.status = "Stopped"
    saved = stage.lifecycle.saved_hours
    await stage.pass_minutes(600)
    assert stage.lifecycle.saved_hours == pytest.approx(saved + 10)
    stage.world.status = "Pending"
    await stage.pass_minutes(2)
    saved = stage.lifecycle.saved_hours
    await stage.pass_minutes(20)
    assert stage.lifecycle.saved_hours == saved
    stage.lifecycle.adopt({}, {})
    assert stage.lifecycle.saved_hours == saved


async def test_two_names_of_one_notebook_are_one(stage: Stage) -> None:
    stage.lifecycle.adopt({"research": RULES, "alias": RULES}, {"research": "n1", "alias": "n1"})
    await stage.pass_minutes(30)
    stage.world.used_at["alias"] = stage.clock.monotonic()
    await stage.pass_minutes(45)
    assert stage.world.stopped == []
    assert stage.lifecycle.state("alias") == stage.state()
    await stage.pass_minutes(25)
    assert len(stage.world.stopped) == 1
    assert len(stage.world.said("is idle and will be stopped")) == 1


async def test_a_reload_takes_new_rules_and_forgets_nothing_of_what_stays(stage: Stage) -> None:
    stage.lifecycle.keep_awake("research", 1)
    await stage.pass_minutes(20)
    stage.lifecycle.adopt({"research": replace(RULES, after_seconds=1200.0)}, {"research": "n1"})
    assert stage.state().after_seconds == 1200.0
    assert stage.state().kept_awake_until is not None
    await stage.pass_minutes(55)
    assert stage.world.stopped == ["research"]


async def test_a_name_that_leads_to_another_notebook_begins_anew(stage: Stage) -> None:
    stage.lifecycle.keep_awake("research", 1)
    stage.lifecycle.adopt({"research": RULES}, {"research": "n2"})
    assert stage.state().kept_awake_until is None


async def test_two_names_that_change_places_leave_each_notebook_its_own(stage: Stage) -> None:
    stage.lifecycle.adopt({"research": RULES, "other": RULES}, {"research": "n1", "other": "n2"})
    stage.lifecycle.keep_awake("research", 1)
    stage.lifecycle.adopt({"research": RULES, "other": RULES}, {"research": "n2", "other": "n1"})
    assert stage.state().kept_awake_until is None
    assert stage.lifecycle.state("other").kept_awake_until is not None


@pytest.mark.parametrize("rules", [{"research": RULES}, {}], ids=["another notebook", "nothing"])
async def test_a_name_that_is_exchanged_in_the_middle_of_the_last_look_stops_nothing(
    stage: Stage, rules: dict[str, IdleRules]
) -> None:
    await stage.pass_minutes(59)

    def reload() -> None:
        if stage.world.describes[-1] == 0.0:
            stage.lifecycle.adopt(rules, {"research": "n2"})

    stage.world.on_read = reload
    await stage.pass_minutes(5)
    assert 0.0 in stage.world.describes
    assert stage.world.stopped == []


async def test_a_rule_that_is_withdrawn_in_the_middle_of_the_last_look_counts(stage: Stage) -> None:
    await stage.pass_minutes(59)
    stage.world.on_read = lambda: stage.lifecycle.adopt({"research": IdleRules()}, {"research": "n1"})
    await stage.pass_minutes(20)
    assert stage.world.stopped == []


async def test_who_leaves_stops_nothing(stage: Stage) -> None:
    """Its successor has the callers by then, and what they do is not seen here."""
    await stage.pass_minutes(59)
    stage.lifecycle.leave()
    reads = len(stage.world.reads)
    await stage.pass_minutes(600)
    assert stage.world.stopped == []
    assert len(stage.world.reads) == reads


async def test_who_leaves_in_the_middle_of_the_last_look_stops_nothing(stage: Stage) -> None:
    await stage.pass_minutes(59)
    stage.world.on_read = lambda: stage.lifecycle.leave()
    await stage.pass_minutes(5)
    assert stage.world.stopped == []


async def test_without_rules_nothing_is_asked_of_anybody(stage: Stage) -> None:
    stage.lifecycle.adopt({"research": IdleRules()}, {"research": "n1"})
    asked, looks = len(stage.world.describes), stage.world.looks
    await stage.pass_minutes(300)
    assert len(stage.world.describes) == asked
    assert stage.world.looks == looks
    assert stage.state().finding is IdleFinding.OFF
    assert stage.state().after_seconds is None


@pytest.mark.parametrize(("count", "at_once"), [(40, 10), (3000, 200)])
async def test_many_instances_are_looked_at_in_turn_and_none_is_forgotten(
    stage: Stage, count: int, at_once: int
) -> None:
    names = [f"n{number}" for number in range(count)]
    stage.lifecycle.adopt(dict.fromkeys(names, RULES), {name: f"notebook of {name}" for name in names})
    before = 0
    stage.world.reads.clear()
    for _ in range(count // at_once):
        await stage.clock.jump(TICK_SECONDS)
        assert 0 < len(stage.world.reads) - before <= at_once
        before = len(stage.world.reads)
    assert set(stage.world.reads) == set(names)


async def test_a_look_that_takes_long_is_not_doubled(stage: Stage) -> None:
    gate = asyncio.Event()
    reading = stage.world.read

    async def slowly(name: str) -> Bodies:
        bodies = await reading(name)
        await gate.wait()
        return bodies

    stage.world.read = slowly  # type: ignore[method-assign]
    asked = len(stage.world.reads)
    await stage.pass_minutes(10)
    assert len(stage.world.reads) == asked + 1
    gate.set()
    await stage.pass_minutes(2)
    assert len(stage.world.reads) > asked + 1


async def test_an_instance_that_cannot_be_looked_at_keeps_no_other_running(stage: Stage) -> None:
    """Nor one whose look fails in the background: its turn comes again."""
    stage.lifecycle.adopt({"research": RULES, "broken": RULES}, {"research": "n1", "broken": "n2"})

    def last_use(name: str) -> float | None:
        if name == "broken":
            raise ZeroDivisionError
        return None

    stage.world.last_use = last_use  # type: ignore[method-assign]
    await stage.pass_minutes(61)
    assert stage.world.stopped == ["research"]
    assert {type(error) for error in stage.failed} == {ZeroDivisionError}
    assert len(stage.failed) > 50
    stage.failed.clear()


async def test_where_the_traffic_cannot_be_looked_at_nothing_is_stopped(stage: Stage) -> None:
    def look() -> None:
        raise ZeroDivisionError

    good, stage.world.look = stage.world.look, look  # type: ignore[method-assign]
    await stage.pass_minutes(120)
    assert stage.world.stopped == []
    stage.failed.clear()
    stage.world.look = good  # type: ignore[method-assign]
    await stage.pass_minutes(2)
    assert stage.state().finding is not None
