"""The instances' states on a clock that stands still: asked about once for many, and watched only while it matters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.aws.control_plane import InstanceDescription
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.errors import (
    ControlPlaneTimeout,
    Draining,
    InstanceNotFound,
    InstanceNotInService,
    PermissionMissing,
    Throttled,
)
from proxy.faults import Faults
from proxy.policy.export import WORTH_LISTING
from proxy.rounds import Rounds
from proxy.server.operations.fleet import PATIENCE_SECONDS, SETTLED_AT_A_LOOK, UNKNOWN, Fleet
from proxy.server.operations.role_listing import (
    LIST_FAILED_SECONDS,
    LIST_FROM,
    LISTED_AT_MOST,
    NOT_LISTED_SECONDS,
)
from proxy.server.operations.watched_instance import LOOK_SECONDS
from proxy.tasks import Tasks
from proxy.telemetry.access_log import LogStyle
from proxy.telemetry.events import Threshold, open_events
from proxy.telemetry.sink import LineSink
from tests.aws.fakes import FakeControlPlane
from tests.harness.clocks import FakeClock
from tests.harness.faulty import collecting
from tests.harness.waiting import settle


class Lines(LineSink):
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def put(self, line: str) -> None:
        self.lines.append(json.loads(line))


@dataclass
class Sessions:
    """A keeper, as far as the fleet knows one."""

    calls: list[str] = field(default_factory=list)

    def retry(self) -> None:
        self.calls.append("retry")

    def drop(self) -> None:
        self.calls.append("drop")


def settings_of(directory: Path, instances: dict[str, Any]) -> Settings:
    file = directory / "nbgate.yaml"
    content = {
        "hostname": "notebooks.test",
        "aws": {"region": "eu-west-1"},
        "allowlists": {"all": ["127.0.0.0/8"]},
        "policy": {"allow": ["all"]},
        "instances": instances,
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return load(file, environ={})


@dataclass
class Watching:
    fleet: Fleet
    aws: FakeControlPlane
    clock: FakeClock
    sessions: dict[str, Sessions]
    log: Lines
    roles: list[str]
    directory: Path
    faults: Faults
    failed: list[BaseException]
    told: list[tuple[str, str]] = field(default_factory=list)

    def listen(self, name: str, description: InstanceDescription) -> None:
        self.told.append((name, description.status))

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log.lines if line["event"] == event]

    async def look(self) -> None:
        await settle()
        await self.clock.advance(LOOK_SECONDS)

    def adopt(self, instances: dict[str, Any]) -> None:
        for name in instances:
            self.sessions.setdefault(name, Sessions())
        self.fleet.adopt(settings_of(self.directory, instances), self.sessions)


@pytest.fixture
async def watching(tmp_path: Path) -> AsyncIterator[Watching]:
    clock, log, failed = FakeClock(), Lines(), list[BaseException]()
    aws = FakeControlPlane(clock)
    roles: list[str] = []

    def control_plane(role: str) -> FakeControlPlane:
        roles.append(role)
        return aws

    aws.put("one")
    aws.put("two", "Stopped")
    tasks = Tasks(lambda _name, error: failed.append(error))
    met: list[BaseException] = []
    faults = collecting(met)
    sessions = {"a": Sessions(), "b": Sessions()}
    fleet = Fleet(
        settings_of(tmp_path, {"a": {"notebook": "one"}, "b": {"notebook": "two"}}),
        sessions=sessions,
        control_plane=control_plane,
        clock=clock,
        tasks=tasks,
        rounds=Rounds(clock=clock, tasks=tasks, faults=faults),
        faults=faults,
        events=open_events(log, clock, style=LogStyle.JSON, threshold=Threshold("info")),
    )
    yield Watching(fleet, aws, clock, sessions, log, roles, tmp_path, faults, failed)
    await tasks.close()
    assert failed == []


# -- asking -----------------------------------------------------------------------------------------------


async def test_names_are_the_configurations_in_its_order(watching: Watching) -> None:
    assert watching.fleet.names == ("a", "b")
    for ask in (watching.fleet.describe, watching.fleet.start, watching.fleet.stop):
        with pytest.raises(InstanceNotFound):
            await ask("nobody")
    assert watching.fleet.known("nobody") is None
    assert watching.fleet.started_in("nobody") is None


async def test_many_who_ask_at_once_cause_one_call(watching: Watching) -> None:
    watching.aws.gate.clear()
    asking = [asyncio.ensure_future(watching.fleet.describe("a")) for _ in range(50)]
    await settle()
    asking[0].cancel()
    await settle()
    watching.aws.gate.set()
    answers = await asyncio.gather(*asking[1:])
    assert {answer.status for answer in answers} == {"InService"}
    assert watching.aws.asked["one"] == 1
    assert asking[0].cancelled()


async def test_a_description_is_remembered_for_as_long_as_the_caller_likes(watching: Watching) -> None:
    describe = watching.fleet.describe
    await describe("a")
    await watching.clock.advance(4.9)
    await describe("a")
    assert watching.aws.asked["one"] == 1
    await describe("a", max_age_seconds=0)
    assert watching.aws.asked["one"] == 2
    await watching.clock.advance(5)
    await describe("a", max_age_seconds=60)
    assert watching.aws.asked["one"] == 2
    await describe("a")
    assert watching.aws.asked["one"] == 3


async def test_a_failure_is_remembered_for_a_moment_and_said_once(watching: Watching) -> None:
    watching.aws.failures.extend(
        [PermissionMissing(detail="not authorized"), PermissionMissing(), Throttled()]
    )
    for _ in range(3):
        with pytest.raises(PermissionMissing):
            await watching.fleet.describe("a")
    assert watching.aws.asked["one"] == 1
    await watching.clock.advance(5)
    with pytest.raises(PermissionMissing):
        await watching.fleet.describe("a")
    assert [line["detail"] for line in watching.events("state of instance unknown")] == ["not authorized"]
    with pytest.raises(Throttled):
        await watching.fleet.describe("a", max_age_seconds=0)
    assert len(watching.events("state of instance unknown")) == 2
    await watching.clock.advance(5)
    assert (await watching.fleet.describe("a")).in_service


async def test_a_failure_that_lasts_is_said_again_and_no_flood_of_it(watching: Watching) -> None:
    """As deploy/log.md has it of all faults: after a minute, two, four …"""
    del watching.aws.instances["one"]
    watching.fleet.subscribe(watching.listen)
    for _ in range(int(600 / LOOK_SECONDS)):
        await watching.look()
    lines = watching.events(UNKNOWN)
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in lines]
    assert [later - sooner for sooner, later in pairwise(times)] == [60, 120, 240]
    assert lines[-1]["times_since"] == 240 / LOOK_SECONDS - 1
    watching.aws.put("one")
    await watching.look()
    del watching.aws.instances["one"]
    await watching.look()
    await watching.look()
    assert len(watching.events(UNKNOWN)) == len(lines) + 1


async def test_what_is_known_is_told_without_asking(watching: Watching) -> None:
    assert watching.fleet.known("a") is None
    await watching.fleet.describe("a")
    first = watching.fleet.known("a")
    assert first is not None
    await watching.clock.advance(100)
    assert watching.fleet.known("a") is first
    await watching.fleet.describe("a")
    again = watching.fleet.known("a")
    assert again is not None
    assert (again.seen_at, again.since) == (first.seen_at + 100, first.since)
    assert watching.aws.asked["one"] == 2


async def test_instances_of_one_notebook_share_what_is_known_and_roles_do_not(watching: Watching) -> None:
    role = "arn:aws:iam::123456789012:role/other"
    watching.adopt(
        {"a": {"notebook": "one"}, "c": {"notebook": "one"}, "d": {"notebook": "one", "assume_role": role}}
    )
    watching.fleet.subscribe(watching.listen)
    await settle()
    assert watching.aws.asked["one"] == 2
    assert sorted(watching.roles) == ["", role]
    assert sorted(watching.told) == [("a", "InService"), ("c", "InService"), ("d", "InService")]


async def test_a_missing_instance_is_an_error_of_its_own(watching: Watching) -> None:
    del watching.aws.instances["one"]
    with pytest.raises(InstanceNotFound):
        await watching.fleet.describe("a")


async def test_who_waits_while_the_gateway_ends_is_told_so(watching: Watching) -> None:
    watching.aws.gate.clear()
    asking = asyncio.ensure_future(watching.fleet.describe("a"))
    await settle()
    for task in asyncio.all_tasks():
        if task.get_name().startswith("describe"):
            task.cancel()
    with pytest.raises(Draining):
        await asking


# -- starting and stopping --------------------------------------------------------------------------------


async def test_a_start_forgets_what_was_known_and_is_watched_to_its_end(watching: Watching) -> None:
    assert (await watching.fleet.describe("b")).status == "Stopped"
    await watching.fleet.start("b")
    assert (await watching.fleet.describe("b")).status == "Pending"
    assert watching.sessions["b"].calls == ["retry"]
    for _ in range(6):
        await watching.look()
    watching.aws.put("two", "InService")
    await watching.look()
    known = watching.fleet.known("b")
    assert known is not None
    assert known.description.in_service
    assert watching.sessions["b"].calls == ["retry", "retry"]
    asked = watching.aws.asked["two"]
    for _ in range(5):
        await watching.look()
    assert watching.aws.asked["two"] == asked
    assert watching.aws.asked["one"] == 0
    assert watching.clock.sleeping == 0


async def test_a_stop_takes_the_session_along(watching: Watching) -> None:
    await watching.fleet.stop("a")
    assert watching.sessions["a"].calls == ["drop"]
    assert (await watching.fleet.describe("a")).status == "Stopping"
    watching.aws.put("one", "Stopped")
    await watching.look()
    known = watching.fleet.known("a")
    assert known is not None
    assert known.description.status == "Stopped"


@pytest.mark.parametrize(("operation", "name"), [("start", "a"), ("stop", "b")])
async def test_a_start_or_stop_from_the_wrong_state_changes_nothing(
    watching: Watching, operation: str, name: str
) -> None:
    with pytest.raises(InstanceNotInService):
        await getattr(watching.fleet, operation)(name)
    assert watching.sessions[name].calls == []
    assert watching.clock.sleeping == 0


async def test_an_answer_from_before_the_start_is_not_taken_for_one_from_after(watching: Watching) -> None:
    watching.aws.gate.clear()
    early = asyncio.ensure_future(watching.fleet.describe("b"))
    await settle()
    await watching.fleet.start("b")
    late = asyncio.ensure_future(watching.fleet.describe("b"))
    await settle()
    watching.aws.gate.set()
    assert (await early).status == "Stopped"
    assert (await late).status == "Pending"
    known = watching.fleet.known("b")
    assert known is not None
    assert known.description.status == "Pending"


async def test_a_failure_from_before_the_start_is_forgotten(watching: Watching) -> None:
    watching.aws.failures.append(Throttled())
    with pytest.raises(Throttled):
        await watching.fleet.describe("b")
    await watching.fleet.start("b")
    assert (await watching.fleet.describe("b")).status == "Pending"


async def test_an_instance_whose_status_lags_behind_the_start_is_watched_all_the_same(
    watching: Watching,
) -> None:
    await watching.fleet.start("b")
    watching.aws.put("two", "Stopped")
    await settle()
    await watching.look()
    watching.aws.put("two", "Pending")
    await watching.look()
    watching.aws.put("two", "InService")
    await watching.look()
    assert watching.fleet.started_in("b") == 15
    assert watching.clock.sleeping == 1
    await watching.look()
    assert watching.clock.sleeping == 0


# -- watching ---------------------------------------------------------------------------------------------


async def test_nobody_is_asked_about_unless_somebody_listens(watching: Watching) -> None:
    await watching.clock.advance(600)
    assert not watching.aws.asked
    unsubscribe = watching.fleet.subscribe(watching.listen)
    await settle()
    assert sorted(watching.told) == [("a", "InService"), ("b", "Stopped")]
    await watching.look()
    assert watching.aws.asked == {"one": 2, "two": 2}
    unsubscribe()
    unsubscribe()
    await watching.clock.advance(600)
    assert watching.aws.asked == {"one": 2, "two": 2}


async def test_listeners_hear_of_changes_only(watching: Watching) -> None:
    watching.fleet.subscribe(watching.listen)
    await settle()
    await watching.look()
    watching.told.clear()
    watching.aws.put("one", "Stopping")
    await watching.look()
    assert watching.told == [("a", "Stopping")]
    assert watching.sessions["a"].calls == ["retry", "drop"]
    assert [(line["before"], line["status"]) for line in watching.events("instance changed")] == [
        ("InService", "Stopping")
    ]


async def test_a_listeners_fault_ends_nothing(watching: Watching) -> None:
    def broken(_name: str, _description: InstanceDescription) -> None:
        raise RuntimeError("broken")

    watching.fleet.subscribe(broken)
    watching.fleet.subscribe(watching.listen)
    await settle()
    assert sorted(watching.told) == [("a", "InService"), ("b", "Stopped")]
    assert watching.faults.counts["telling of an instance's change"] == 2


async def test_an_instance_that_cannot_be_described_does_not_keep_others_waiting(watching: Watching) -> None:
    del watching.aws.instances["one"]
    watching.fleet.subscribe(watching.listen)
    await settle()
    for _ in range(3):
        await watching.look()
    assert watching.told == [("b", "Stopped")]
    assert watching.aws.asked == {"one": 4, "two": 4}
    assert len(watching.events("state of instance unknown")) == 1


async def test_a_large_fleet_is_asked_about_in_turn_and_who_starts_is_always(watching: Watching) -> None:
    instances = {f"n{i}": {"notebook": f"nb{i}"} for i in range(25)}
    for section in instances.values():
        watching.aws.put(section["notebook"])
    watching.aws.put("nb24", "Stopped")
    watching.adopt(instances)
    await watching.fleet.start("n24")
    await settle()
    watching.aws.asked.clear()
    watching.fleet.subscribe(watching.listen)
    for _ in range(4):
        before = watching.aws.asked.total()
        await watching.look()
        assert watching.aws.asked.total() - before <= SETTLED_AT_A_LOOK + 1
    assert watching.aws.asked["nb24"] == 4
    assert all(watching.aws.asked[f"nb{i}"] >= 1 for i in range(24))


async def test_at_most_three_are_asked_about_at_the_same_time(watching: Watching) -> None:
    instances = {f"n{i}": {"notebook": f"nb{i}"} for i in range(8)}
    for section in instances.values():
        watching.aws.put(section["notebook"])
    watching.adopt(instances)
    watching.aws.gate.clear()
    watching.fleet.subscribe(watching.listen)
    await settle()
    assert watching.aws.asked.total() == 3
    watching.aws.gate.set()
    await settle()
    assert watching.aws.asked.total() == 8


async def test_a_start_that_others_made_is_found_and_measured_when_its_begin_was_seen(
    watching: Watching,
) -> None:
    watching.fleet.subscribe(watching.listen)
    await settle()
    assert watching.fleet.started_in("b") is None
    for seconds in (40, 60, 200):
        watching.aws.put("two", "Pending")
        await watching.look()
        await watching.clock.advance(seconds - LOOK_SECONDS)
        watching.aws.put("two", "InService")
        await watching.look()
        watching.aws.put("two", "Stopped")
        await watching.look()
    assert watching.fleet.started_in("b") == 60


async def test_a_start_whose_begin_was_not_seen_or_that_failed_counts_for_nothing(watching: Watching) -> None:
    watching.aws.put("two", "Pending")
    await watching.fleet.describe("b")
    watching.aws.put("two", "InService")
    await watching.look()
    assert watching.fleet.started_in("b") is None
    watching.aws.put("two", "Stopped")
    await watching.clock.advance(100)
    await watching.fleet.describe("b")
    await watching.fleet.start("b")
    await settle()
    watching.aws.put("two", "Failed")
    await watching.look()
    watching.aws.put("two", "InService")
    await watching.fleet.describe("b", max_age_seconds=0)
    assert watching.fleet.started_in("b") is None


# -- reloading --------------------------------------------------------------------------------------------


async def test_a_reload_keeps_what_is_known_of_those_that_stay(watching: Watching) -> None:
    await watching.fleet.describe("a")
    watching.adopt({"renamed": {"notebook": "one"}, "new": {"notebook": "three"}})
    assert watching.fleet.names == ("renamed", "new")
    assert watching.fleet.known("renamed") is not None
    assert watching.fleet.known("new") is None
    assert watching.fleet.known("b") is None
    await watching.fleet.stop("renamed")
    assert watching.sessions["renamed"].calls == ["drop"]
    assert watching.sessions["a"].calls == ["retry"]


async def test_a_fault_in_asking_about_one_instance_costs_the_others_nothing(watching: Watching) -> None:
    ask = watching.aws.describe

    async def broken(notebook: str) -> InstanceDescription:
        if notebook == "one":
            raise ZeroDivisionError
        return await ask(notebook)

    watching.aws.describe = broken  # type: ignore[method-assign]
    watching.fleet.subscribe(watching.listen)
    await settle()
    assert watching.told == [("b", "Stopped")]
    watching.aws.put("two", "InService")
    await watching.look()
    await watching.look()
    assert watching.told[1:] == [("b", "InService")]
    assert {type(error) for error in watching.failed} == {ZeroDivisionError}
    watching.failed.clear()
    watching.aws.describe = ask  # type: ignore[method-assign]
    await watching.look()
    assert watching.told[2:] == [("a", "InService")]


async def test_an_instance_that_sagemaker_does_not_answer_about_keeps_no_other_waiting(
    watching: Watching,
) -> None:
    """A call that hangs for minutes: the next look does not wait for it, and does not ask about the same again."""
    ask, hanging = watching.aws.describe, asyncio.Event()

    async def slow(notebook: str) -> InstanceDescription:
        if notebook == "one":
            await hanging.wait()
        return await ask(notebook)

    watching.aws.describe = slow  # type: ignore[method-assign]
    watching.fleet.subscribe(watching.listen)
    await settle()
    watching.aws.put("two", "InService")
    await watching.look()
    assert watching.told == [("b", "Stopped"), ("b", "InService")]
    hanging.set()
    await settle()
    assert watching.aws.asked["one"] == 1
    assert watching.told[2:] == [("a", "InService")]


async def test_who_asks_waits_for_so_long_whoever_is_asked_about_first(watching: Watching) -> None:
    """A few calls are made at a time. Where each takes long, the last in the row would be waited for without end."""
    names = [f"i{number}" for number in range(20)]
    for name in names:
        watching.aws.put(name)
    watching.adopt({name: {"notebook": name} for name in names})
    watching.aws.gate.clear()
    asked = [asyncio.ensure_future(watching.fleet.describe(name)) for name in names]
    await settle()
    await watching.clock.advance(PATIENCE_SECONDS - 0.1)
    assert not any(one.done() for one in asked)
    await watching.clock.advance(0.2)
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, ControlPlaneTimeout) for outcome in outcomes)
    watching.aws.gate.set()
    await settle()
    known = watching.fleet.known("i0")
    assert known is not None, "what was asked goes on, and is known then"


# -- listing ----------------------------------------------------------------------------------------------


def adopt_many(watching: Watching, count: int, *, may_list: bool = True) -> list[str]:
    """So many instances, of as many notebooks, which the role may list or not."""
    names = [f"n{number}" for number in range(count)]
    for name in names:
        watching.aws.put(name)
    watching.aws.may_list = may_list
    watching.adopt({name: {"notebook": name} for name in names})
    return names


async def known_all(watching: Watching, names: list[str]) -> None:
    """Watch until each is known, and count from then on."""
    watching.fleet.subscribe(watching.listen)
    await settle()
    while not all(watching.fleet.known(name) for name in names):
        await watching.look()
    watching.aws.asked.clear()
    watching.aws.listed = 0


def test_the_gateways_role_gets_the_right_to_list_where_it_is_of_use() -> None:
    assert WORTH_LISTING == LIST_FROM


async def test_one_listing_a_look_tells_of_eighty_instances(watching: Watching) -> None:
    """Each was described in turn: 110 calls and more a minute, and 40 s until the next look at one."""
    names = adopt_many(watching, 80)
    await known_all(watching, names)
    for _ in range(12):
        await watching.look()
    assert watching.aws.listed == 12
    assert watching.aws.asked.total() == 0
    now = watching.clock.monotonic()
    seen = [known.seen_at for name in names if (known := watching.fleet.known(name)) is not None]
    assert len(seen) == 80
    assert now - min(seen) <= LOOK_SECONDS


async def test_what_a_listing_has_news_of_is_described_and_nothing_else(watching: Watching) -> None:
    names = adopt_many(watching, 80)
    await known_all(watching, names)
    watching.told.clear()
    watching.aws.put("n7", "Failed", failure_reason="no capacity")
    await watching.look()
    assert watching.told == [("n7", "Failed")]
    assert watching.aws.asked == {"n7": 1}
    known = watching.fleet.known("n7")
    assert known is not None
    assert known.description.failure_reason == "no capacity"


async def test_news_of_many_are_described_a_few_at_a_look(watching: Watching) -> None:
    names = adopt_many(watching, 40)
    await known_all(watching, names)
    await watching.clock.advance(1.0)
    for name in names:
        watching.aws.put(name, "Stopped")
    for _ in range(4):
        before = watching.aws.asked.total()
        await watching.look()
        assert watching.aws.asked.total() - before <= SETTLED_AT_A_LOOK
    await watching.look()
    assert {known.description.status for name in names if (known := watching.fleet.known(name))} == {
        "Stopped"
    }


async def test_who_asks_about_many_one_after_the_other_is_answered_by_one_listing(watching: Watching) -> None:
    """As idleness is looked at: nobody watches, and each is asked about once a minute."""
    names = adopt_many(watching, 80)
    for name in names:
        await watching.fleet.describe(name, max_age_seconds=30)
    watching.aws.asked.clear()
    watching.aws.listed = 0
    for _ in range(10):
        await watching.clock.advance(60)
        for name in names:
            assert (await watching.fleet.describe(name, max_age_seconds=30)).volume_size_gb == 5
    assert watching.aws.listed == 10
    assert watching.aws.asked.total() == 0


async def test_before_a_stop_a_listing_is_not_enough(watching: Watching) -> None:
    adopt_many(watching, 80)
    await watching.fleet.describe("n1")
    watching.aws.listed = 0
    await watching.fleet.describe("n1", max_age_seconds=0)
    await watching.fleet.stop("n1")
    await settle()
    assert watching.aws.asked["n1"] == 3
    assert watching.aws.listed == 0


async def test_a_listing_from_before_a_start_tells_nothing_of_what_came_then(watching: Watching) -> None:
    names = adopt_many(watching, 5)
    watching.aws.put("n1", "Stopped")
    await known_all(watching, names)
    take, gate = watching.aws.list_all, asyncio.Event()

    async def slow(*, at_most: int) -> tuple[InstanceDescription, ...]:
        taken = await take(at_most=at_most)
        await gate.wait()
        return taken

    watching.aws.list_all = slow  # type: ignore[method-assign]
    await watching.look()
    await watching.fleet.start("n1")
    await settle()
    gate.set()
    await settle()
    known = watching.fleet.known("n1")
    assert known is not None
    assert known.description.status == "Pending"


@pytest.mark.parametrize("count", [1, LIST_FROM - 1])
async def test_few_instances_are_described(watching: Watching, count: int) -> None:
    names = adopt_many(watching, count)
    await known_all(watching, names)
    await watching.look()
    assert watching.aws.listed == 0
    assert watching.aws.asked.total() == count


async def test_the_few_that_are_on_their_way_are_described_where_nobody_watches(watching: Watching) -> None:
    adopt_many(watching, 80)
    watching.aws.put("n1", "Stopped")
    await watching.fleet.start("n1")
    await settle()
    for _ in range(5):
        await watching.look()
    assert watching.aws.listed == 0
    assert watching.aws.asked.keys() == {"n1"}


async def test_of_a_large_account_so_much_is_listed_as_is_worth_it(watching: Watching) -> None:
    for number in range(300):
        watching.aws.put(f"other-{number}")
    names = adopt_many(watching, 5)
    await known_all(watching, names)
    await watching.look()
    assert watching.aws.listed == 0, "four calls for what five tell, and more of it"
    for number in range(LISTED_AT_MOST):
        watching.aws.put(f"another-{number}")
    names = adopt_many(watching, 80)
    await known_all(watching, names)
    await watching.look()
    assert watching.aws.listed == 0
    [event] = watching.events("instances cannot be listed, so each is described")
    assert "more than 1000" in event["detail"]


async def test_that_a_role_may_not_list_is_remembered_and_said_once(watching: Watching) -> None:
    names = adopt_many(watching, 20, may_list=False)
    watching.fleet.subscribe(watching.listen)
    await settle()
    assert watching.aws.listed == 1
    assert watching.aws.asked.total() == SETTLED_AT_A_LOOK, "the look is not lost"
    for _ in range(int(NOT_LISTED_SECONDS / LOOK_SECONDS) - 1):
        await watching.look()
    assert watching.aws.listed == 1
    assert all(watching.aws.asked[name] > 10 for name in names)
    await watching.look()
    assert watching.aws.listed == 2
    [event] = watching.events("instances cannot be listed, so each is described")
    assert (event["code"], event["detail"]) == ("PERMISSION_MISSING", "sagemaker:ListNotebookInstances")
    watching.aws.may_list = True
    await watching.clock.advance(NOT_LISTED_SECONDS)
    watching.aws.asked.clear()
    await watching.look()
    assert watching.aws.listed > 2
    assert watching.aws.asked.total() == 0


async def test_throttling_is_not_answered_by_describing_all(watching: Watching) -> None:
    names = adopt_many(watching, 20)
    await known_all(watching, names)
    watching.aws.list_failures.append(Throttled())
    await watching.look()
    assert watching.aws.listed == 1
    watching.aws.put("n3", "Stopped")
    for _ in range(int(LIST_FAILED_SECONDS / 2 / LOOK_SECONDS) - 1):
        await watching.look()
    assert watching.aws.listed == 1
    assert watching.aws.asked.total() == 0
    # Who wants to know is told all the same.
    assert (await watching.fleet.describe("n3")).status == "Stopped"
    await watching.look()
    await watching.look()
    assert watching.aws.listed >= 2


async def test_a_listing_that_fails_otherwise_is_tried_again_after_a_minute(watching: Watching) -> None:
    names = adopt_many(watching, 20)
    await known_all(watching, names)
    watching.aws.list_failures.append(ControlPlaneTimeout())
    await watching.look()
    await watching.look()
    assert watching.aws.listed == 1
    assert watching.aws.asked.total() >= SETTLED_AT_A_LOOK
    await watching.clock.advance(LIST_FAILED_SECONDS)
    await watching.look()
    assert watching.aws.listed >= 2


async def test_an_instance_that_is_in_no_listing_is_described_in_turn(watching: Watching) -> None:
    names = adopt_many(watching, 20)
    del watching.aws.instances["n4"]
    watching.fleet.subscribe(watching.listen)
    await settle()
    for _ in range(6):
        await watching.look()
    watching.aws.asked.clear()
    for _ in range(5):
        await watching.look()
    assert watching.aws.asked.keys() == {"n4"}
    with pytest.raises(InstanceNotFound):
        await watching.fleet.describe("n4")
    watching.aws.put("n4")
    await watching.look()
    await watching.look()
    assert ("n4", "InService") in watching.told
    assert len(names) == 20


async def test_each_role_has_a_listing_of_its_own(watching: Watching) -> None:
    role = "arn:aws:iam::123456789012:role/other"
    names = [f"n{number}" for number in range(12)]
    for name in names:
        watching.aws.put(name)
    watching.aws.may_list = True
    watching.adopt(
        {
            name: {"notebook": name, **({"assume_role": role} if number % 2 else {})}
            for number, name in enumerate(names)
        }
    )
    await known_all(watching, names)
    watching.roles.clear()
    await watching.look()
    assert watching.aws.listed == 2
    assert sorted(watching.roles) == ["", role]


async def test_a_listing_that_hangs_is_not_begun_twice(watching: Watching) -> None:
    names = adopt_many(watching, 20)
    await known_all(watching, names)
    watching.aws.gate.clear()
    for _ in range(3):
        await watching.look()
    asking = asyncio.ensure_future(watching.fleet.describe("n1"))
    await settle()
    assert watching.aws.listed == 1
    asking.cancel()
    await settle()
    watching.aws.gate.set()
    await settle()
    known = watching.fleet.known("n1")
    assert known is not None
    assert known.seen_at == watching.clock.monotonic()
