"""A stopped instance is started by a person who opens it: once, and by nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.errors import (
    AccessDenied,
    InstanceNotFound,
    InstanceNotInService,
    NbgateError,
    PermissionMissing,
    PlatformRetired,
    Throttled,
    UpstreamUnreachable,
)
from proxy.lifecycle.opening import (
    COOL_DOWN_SECONDS,
    FAILED_SECONDS,
    STARTED_SECONDS,
    Opening,
    PageVisit,
    is_opened,
)
from proxy.lifecycle.order import OrderedBy
from proxy.tasks import Tasks
from tests.harness.clocks import FakeClock
from tests.harness.waiting import settle


def visited(method: str, accept: str = "", mode: str = "", dest: str = "", ahead: bool = False) -> PageVisit:
    fields = {"Accept": accept, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    given = CIMultiDict({name: value for name, value in fields.items() if value})
    if ahead:
        given["Sec-Purpose"] = "prefetch"
    return PageVisit(method, given)


PERSON = visited("GET", "text/html,*/*;q=0.8", "navigate", "document")
TAB = visited("GET", "*/*", "cors", "empty")
CURL = visited("GET", "*/*")
OLD_BROWSER = visited("GET", "text/html,application/xhtml+xml,*/*;q=0.8")
STOPPED = InstanceNotInService(instance_status="Stopped")

OPENED = [
    ("a browser's navigation", PERSON, True),
    ("… whatever its case", visited("GET", "", " Navigate ", "DOCUMENT"), True),
    ("… of one that does not say where to", visited("GET", "text/html", "navigate"), True),
    ("a browser without Fetch Metadata", OLD_BROWSER, True),
    ("the poll of an old tab", TAB, False),
    ("… that accepts HTML", visited("GET", "text/html", "cors", "empty"), False),
    ("an image on another site's page", visited("GET", "image/*", "no-cors", "image"), False),
    ("a frame on another site's page", visited("GET", "text/html", "navigate", "iframe"), False),
    ("a WebSocket", visited("GET", "", "websocket", "websocket"), False),
    ("a prefetch, or a preview", visited("GET", "text/html", "navigate", "document", True), False),
    ("a program", CURL, False),
    ("a program that says nothing", visited("GET"), False),
    ("a form", visited("POST", "text/html", "navigate", "document"), False),
    ("a HEAD", visited("HEAD", "text/html", "navigate", "document"), False),
]


@pytest.mark.parametrize(("name", "visit", "opened"), OPENED, ids=[name for name, *_ in OPENED])
def test_who_opens_a_page(name: str, visit: PageVisit, opened: bool) -> None:
    assert is_opened(visit) is opened


def test_where_it_has_to_be_certain_only_a_browsers_word_counts() -> None:
    assert is_opened(PERSON, by_browser=True)
    assert not is_opened(OLD_BROWSER, by_browser=True)


@dataclass
class Fleet:
    started: list[str] = field(default_factory=list)
    described: list[str] = field(default_factory=list)
    error: NbgateError | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, name: str, *, by: OrderedBy) -> None:
        self.started.append(name)
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    async def describe(self, name: str, *, max_age_seconds: float) -> object:
        self.described.append(name)
        raise InstanceNotFound


@dataclass
class Events:
    logged: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def info(self, event: str, **fields: Any) -> None:
        self.logged.append((event, fields))

    warning = error = info


@dataclass
class Stage:
    fleet: Fleet
    clock: FakeClock
    events: Events
    opening: Opening

    def visit(self, visit: PageVisit = PERSON, *, status: str = "Stopped", name: str = "research") -> str:
        """Visit an instance; the status that the answer tells, or the error's code."""
        answer = self.opening.answer_for(name, InstanceNotInService(instance_status=status), visit)
        return answer.instance_status if isinstance(answer, InstanceNotInService) else answer.code


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    fleet, clock, events = Fleet(), FakeClock(), Events()
    failed: list[BaseException] = []
    tasks = Tasks(lambda _name, error: failed.append(error))
    opening = Opening(clock=clock, tasks=tasks, starter=fleet, events=events)
    opening.adopt({"research": "n1", "alias": "n1"})
    fleet.gate.set()
    yield Stage(fleet, clock, events, opening)
    await tasks.close()
    assert failed == []


async def test_however_many_come_it_is_started_once(stage: Stage) -> None:
    stage.fleet.gate.clear()
    assert {stage.visit(name=name) for name in ("research", "alias") * 50} == {"Pending"}
    await settle()
    assert stage.fleet.started == ["research"]
    stage.fleet.gate.set()
    await settle()
    # SageMaker may say Stopped for a while yet.
    assert {stage.visit() for _ in range(50)} == {"Pending"}
    await stage.clock.advance(STARTED_SECONDS - 1)
    assert stage.visit() == "Pending"
    assert stage.fleet.started == ["research"]
    assert stage.opening.starts == 1
    assert [event for event, _ in stage.events.logged] == ["instance started for a visitor"]


async def test_a_tab_from_yesterday_starts_nothing_and_is_told_that_it_is_stopped(stage: Stage) -> None:
    for visit in (TAB, CURL):
        assert stage.visit(visit) == "Stopped"
    await settle()
    assert stage.fleet.started == []


async def test_once_it_starts_everybody_is_told(stage: Stage) -> None:
    stage.visit()
    assert stage.visit(TAB) == "Pending"


@pytest.mark.parametrize("status", ["Failed", "Deleting", "Updating", "Pending", "InMaintenance", ""])
async def test_only_a_stopped_instance_is_started(stage: Stage, status: str) -> None:
    assert stage.visit(status=status) == status
    await settle()
    assert stage.fleet.started == []


async def test_while_it_stops_the_page_waits_for_it(stage: Stage) -> None:
    stopping = InstanceNotInService(instance_status="Stopping")
    answer = stage.opening.answer_for("research", stopping, PERSON)
    assert answer.retry_after_seconds == 10
    assert "started again" in answer.message
    assert stage.opening.answer_for("research", stopping, TAB) is stopping
    assert stage.visit() == "Pending"
    await settle()
    assert stage.fleet.started == ["research"]


async def test_an_instance_without_start_on_open_is_left_alone(stage: Stage) -> None:
    stage.opening.adopt({"research": "n1"})
    assert stage.opening.answer_for("vision", STOPPED, PERSON) is STOPPED
    assert stage.opening.serves("research")
    assert not stage.opening.serves("vision")
    stage.opening.stopped_idle("vision")


async def test_why_it_could_not_be_started_is_shown_and_stands_for_a_moment(stage: Stage) -> None:
    stage.fleet.error = PermissionMissing(detail="sagemaker:StartNotebookInstance")
    assert stage.visit() == "Pending"
    await settle()
    assert {stage.visit() for _ in range(20)} == {"PERMISSION_MISSING"}
    assert stage.fleet.started == ["research"]
    assert stage.events.logged[0][1]["code"] == "PERMISSION_MISSING"
    await stage.clock.advance(FAILED_SECONDS)
    stage.fleet.error = None
    assert stage.visit() == "PERMISSION_MISSING"
    await settle()
    assert stage.visit() == "Pending"
    assert stage.opening.starts == 1


async def test_nobody_is_told_that_it_starts_before_sagemaker_took_the_order(stage: Stage) -> None:
    stage.fleet.gate.clear()
    for _ in range(2):
        answer = stage.opening.answer_for("research", STOPPED, PERSON)
        assert "is being asked" in answer.message
        assert answer.retry_after_seconds == 2
        await settle()
    stage.fleet.gate.set()
    await settle()
    assert "is starting" in stage.opening.answer_for("research", STOPPED, PERSON).message


async def test_what_did_not_pass_by_itself_is_told_while_it_is_tried_again(stage: Stage) -> None:
    stage.fleet.error = PlatformRetired(platform="notebook-al2-v1")
    stage.visit()
    await settle()
    for _ in range(3):
        await stage.clock.advance(FAILED_SECONDS)
        stage.fleet.gate.clear()
        assert stage.visit() == stage.visit() == "PLATFORM_RETIRED"
        stage.fleet.gate.set()
        await settle()
    assert len(stage.fleet.started) == 4
    stage.fleet.error = None
    await stage.clock.advance(FAILED_SECONDS)
    assert stage.visit() == "PLATFORM_RETIRED"
    await settle()
    assert stage.visit() == "Pending"
    await stage.clock.advance(STARTED_SECONDS)
    assert "is being asked" in stage.opening.answer_for("research", STOPPED, PERSON).message


async def test_what_passes_is_not_told_while_it_is_tried_again(stage: Stage) -> None:
    stage.fleet.error = Throttled()
    stage.visit()
    await settle()
    assert stage.visit() == "THROTTLED"
    await stage.clock.advance(FAILED_SECONDS)
    assert stage.visit() == "Pending"


async def test_who_comes_second_to_somebody_elsewhere_waits_with_him(stage: Stage) -> None:
    stage.fleet.error = InstanceNotInService(instance_status="Pending")
    stage.visit()
    await settle()
    assert stage.visit() == "Pending"
    assert stage.opening.starts == 0
    assert stage.fleet.started == ["research"]


async def test_after_a_stop_for_want_of_use_only_a_browsers_word_counts_for_a_while(stage: Stage) -> None:
    stage.opening.stopped_idle("alias")
    assert stage.visit(OLD_BROWSER) == "Stopped"
    assert stage.visit(OLD_BROWSER, status="Stopping") == "Stopping"
    await stage.clock.advance(COOL_DOWN_SECONDS)
    assert stage.visit(OLD_BROWSER) == "Pending"
    stage.opening.stopped_idle("research")


async def test_a_person_may_start_it_right_after_that(stage: Stage) -> None:
    stage.opening.stopped_idle("research")
    assert stage.visit(PERSON) == "Pending"


async def test_other_errors_pass_and_an_unreachable_notebook_is_asked_about(stage: Stage) -> None:
    denied = AccessDenied()
    assert stage.opening.answer_for("research", denied, PERSON) is denied
    gone = UpstreamUnreachable()
    assert stage.opening.answer_for("research", gone, TAB) is gone
    await settle()
    assert stage.fleet.described == []
    assert stage.opening.answer_for("research", gone, PERSON) is gone
    await settle()
    assert stage.fleet.described == ["research"]
    assert stage.fleet.started == []


async def test_a_reload_remembers_that_it_was_started(stage: Stage) -> None:
    stage.visit()
    await settle()
    stage.opening.adopt({"research": "n1"})
    assert stage.visit() == "Pending"
    await settle()
    assert stage.fleet.started == ["research"]


async def test_a_start_that_a_reload_outruns_starts_nothing_else(stage: Stage) -> None:
    """The visitor opened the one notebook; the name leads to another before the start has begun."""
    assert stage.visit() == "Pending"
    stage.opening.adopt({"research": "n2"})
    await settle()
    assert stage.fleet.started == []
    # Whoever comes now opens what is there now.
    assert stage.visit() == "Pending"
    await settle()
    assert stage.fleet.started == ["research"]
