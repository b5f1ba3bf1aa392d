"""An outage of some seconds is not told to pages that only ask by themselves: what they ask waits, within bounds."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proxy.dataplane.answer.forward import Forward
from proxy.dataplane.answer.outages import FORGOTTEN_SECONDS, Outages
from proxy.errors import UpstreamTimeout, UpstreamUnreachable
from tests.harness.faulty import collecting
from tests.harness.keeper import session_at
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import HOST, OpenPlane, get, open_stage, post
from tests.harness.waiting import eventually, settle

SCRIPT = b"Sec-Fetch-Mode: cors\r\nAccept: */*\r\n"
ON_PLAIN_HTTP = b"Accept: */*\r\nReferer: http://" + HOST.encode() + b"/lab/tree/a.ipynb\r\n"
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
OF_A_PAGE = HANDSHAKE + b"Origin: http://" + HOST.encode() + b"\r\n"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
SESSIONS, TERMINALS, KERNEL = b"/api/sessions?1", b"/api/terminals", b"/api/kernels/1"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_stage(tmp_path) as stage:
        yield stage


def go_away(stage: OpenPlane) -> None:
    """Nobody can sign in, since nobody is there."""
    stage.keeper.session = None
    stage.keeper.failure = UpstreamUnreachable()


def come_back(stage: OpenPlane) -> None:
    stage.keeper.failure = None
    stage.keeper.session = session_at(stage.upstream.port)


async def waits(stage: OpenPlane, data: bytes) -> Peer:
    """A caller that is not answered although the notebook is away."""
    before = len(stage.plane.outages)
    caller = await stage.call(data)
    await eventually(lambda: len(stage.plane.outages) == before + 1)
    assert caller.is_silent
    return caller


async def test_a_request_that_waited_and_was_answered_waits_for_no_collector(stage: OpenPlane) -> None:
    gc.collect()
    gc.disable()
    try:
        go_away(stage)
        caller = await waits(stage, get(SESSIONS, fields=SCRIPT))
        [waiting] = [one for one in gc.get_objects() if isinstance(one, Forward) and not one.has_ended]
        forward = weakref.ref(waiting)
        del waiting
        come_back(stage)
        await stage.sweep(1.0)
        notebook = await stage.notebook()
        await notebook.head()
        notebook.send(ok(b"[]"))
        await caller.response()
        await eventually(lambda: forward() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("fields", [SCRIPT, ON_PLAIN_HTTP], ids=["Fetch Metadata", "Referer"])
@pytest.mark.parametrize("target", [SESSIONS, TERMINALS])
async def test_the_lists_that_jupyterlab_makes_a_dialog_of_come_when_the_notebook_is_back(
    stage: OpenPlane, target: bytes, fields: bytes
) -> None:
    go_away(stage)
    caller = await waits(stage, get(target, fields=fields))
    await stage.sweep(20.0)
    assert caller.is_silent
    come_back(stage)
    await stage.sweep(1.0)
    notebook = await stage.notebook()
    assert (await notebook.head()).startswith(b"GET %b " % target)
    notebook.send(ok(b"[]"))
    assert (await caller.response())[1] == b"[]"
    assert len(stage.plane.outages) == 0


async def test_a_pages_handshake_is_answered_when_the_notebook_is_back(stage: OpenPlane) -> None:
    go_away(stage)
    caller = await waits(stage, get(b"/terminals/websocket/1", fields=OF_A_PAGE))
    come_back(stage)
    await stage.sweep(1.0)
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(SWITCHING)
    assert (await caller.head()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "data",
    [
        get(SESSIONS),
        get(b"/lab", fields=b"Sec-Fetch-Mode: navigate\r\n"),
        get(b"/files/a.png", fields=SCRIPT),
        get(b"/proxy/8000/api/sessions", fields=SCRIPT),
        # Its page asks again by itself after a 503.
        get(KERNEL, fields=SCRIPT),
        get(b"/api/contents", fields=SCRIPT),
        get(b"/api/kernels/1/channels", fields=HANDSHAKE),
        post(b"{}", b"/lab/api/workspaces/default", fields=SCRIPT, method=b"PUT"),
        post(b"{}", b"/api/contents/a.ipynb", method=b"PUT"),
    ],
    ids=lambda data: data.partition(b" HTTP")[0].decode(),
)
async def test_everybody_else_is_told_at_once(stage: OpenPlane, data: bytes) -> None:
    go_away(stage)
    head, _ = await (await stage.call(data)).response()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5\r\n" in head


async def test_what_is_saved_meanwhile_is_saved_once(stage: OpenPlane) -> None:
    """Nothing of it was sent: it is no repetition."""
    go_away(stage)
    caller = await waits(stage, post(b"{unsaved}", b"/api/contents/a.ipynb", fields=SCRIPT, method=b"PUT"))
    come_back(stage)
    await stage.sweep(1.0)
    notebook = await stage.notebook()
    assert (await notebook.head()).startswith(b"PUT /api/contents/a.ipynb ")
    await notebook.expect(b"{unsaved}")
    notebook.send(ok(b"saved"))
    assert (await caller.response())[1] == b"saved"
    assert stage.upstream.accepted == 1


async def test_what_is_sent_and_not_answered_is_not_sent_again(stage: OpenPlane) -> None:
    caller = await stage.call(post(b"{}", b"/api/contents/a.ipynb", fields=SCRIPT, method=b"PUT"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.close()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 2", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad"],
    ids=["nothing", "half a head", "the front end's own 502"],
)
async def test_a_connection_that_breaks_and_a_front_end_that_says_so_are_outages_too(
    stage: OpenPlane, answer: bytes
) -> None:
    caller, notebook = await stage.forwarded(SESSIONS, fields=SCRIPT)
    notebook.send(answer)
    notebook.close()
    await eventually(lambda: len(stage.plane.outages) == 1)
    assert caller.is_silent
    await stage.sweep(1.0)
    again = await stage.notebook()
    await again.head()
    again.send(ok(b"[]"))
    assert (await caller.response())[1] == b"[]"


async def test_a_notebook_that_never_answers_is_no_outage_of_some_seconds(stage: OpenPlane) -> None:
    caller, _ = await stage.forwarded(SESSIONS, fields=SCRIPT)
    await stage.sweep(300.0)
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")


async def test_a_connection_that_takes_too_long_is_one(stage: OpenPlane) -> None:
    go_away(stage)
    stage.keeper.failure = UpstreamTimeout()
    await waits(stage, get(SESSIONS, fields=SCRIPT))


async def test_a_longer_outage_is_told_and_from_then_on_at_once(stage: OpenPlane) -> None:
    go_away(stage)
    caller = await waits(stage, get(SESSIONS, fields=SCRIPT))
    await stage.sweep(29.0)
    later = await waits(stage, get(TERMINALS, fields=SCRIPT))
    await stage.sweep(1.0)
    for one in (caller, later):
        head, _ = await one.response()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 5\r\n" in head
    await stage.sweep(10.0)
    caller.send(get(SESSIONS, fields=SCRIPT))
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")
    # Once it was there, going away is a new outage.
    come_back(stage)
    caller.send(get(SESSIONS, fields=SCRIPT))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(ok(b"[]"))
    await caller.response()
    notebook.close()
    await eventually(lambda: stage.idle == 0)
    go_away(stage)
    await waits(stage, get(SESSIONS, fields=SCRIPT))


async def test_a_list_that_never_comes_is_told_although_the_notebook_answers_others(stage: OpenPlane) -> None:
    caller = await stage.call(get(SESSIONS, fields=SCRIPT))
    for _ in range(30):
        notebook = await stage.notebook()
        assert (await notebook.head()).startswith(b"GET /api/sessions")
        notebook.close()
        await eventually(lambda: len(stage.plane.outages) == 1)
        other = await stage.call(get(KERNEL, fields=SCRIPT))
        answering = await stage.notebook()
        assert (await answering.head()).startswith(b"GET /api/kernels/1")
        await stage.clock.advance(1.0)
        answering.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await other.response()
    notebook = await stage.notebook()
    notebook.close()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")


async def test_one_that_waits_is_tried_each_second_and_all_when_it_is_answered(stage: OpenPlane) -> None:
    callers = []
    for _ in range(3):
        caller, notebook = await stage.forwarded(SESSIONS, fields=SCRIPT)
        notebook.close()
        callers.append(caller)
        await eventually(lambda: len(stage.plane.outages) == len(callers))
    for tries in range(1, 4):
        stage.plane.sweep()
        trial = await stage.notebook()
        await trial.head()
        await settle()
        assert stage.upstream.accepted == 3 + tries
        trial.close()
        await eventually(lambda: len(stage.plane.outages) == 3)
    assert all(caller.is_silent for caller in callers)
    stage.plane.sweep()
    trial = await stage.notebook()
    await trial.head()
    trial.send(ok(b"[]"))
    for _ in range(2):
        another = await stage.notebook()
        await another.head()
        another.send(ok(b"[]"))
    for caller in callers:
        assert (await caller.response())[1] == b"[]"


async def test_a_caller_that_leaves_is_not_tried(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded(SESSIONS, fields=SCRIPT)
    notebook.close()
    await eventually(lambda: len(stage.plane.outages) == 1)
    caller.close()
    await eventually(lambda: len(stage.plane.outages) == 0)
    await stage.sweep(1.0)
    assert stage.upstream.accepted == 1
    assert [(record.status, record.error) for record in stage.records] == [(0, "CALLER_GONE")]


async def test_a_gateway_that_ends_tells_them(stage: OpenPlane) -> None:
    go_away(stage)
    caller = await waits(stage, get(SESSIONS, fields=SCRIPT))
    stage.plane.outages.close()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")
    another = await stage.call(get(SESSIONS, fields=SCRIPT))
    assert (await another.response())[0].startswith(b"HTTP/1.1 503 ")


async def test_waiting_can_be_switched_off(tmp_path: Path) -> None:
    async with open_stage(tmp_path, timeouts={"outage": "0s"}) as stage:
        go_away(stage)
        caller = await stage.call(get(SESSIONS, fields=SCRIPT))
        assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")


# -- the register -------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Request:
    said: list[str] = field(default_factory=list)

    def try_again(self) -> None:
        self.said.append("try")

    def give_up(self) -> None:
        self.said.append("tell")

    def drop(self) -> None:
        self.said.append("drop")


def waiting(outages: Outages, *, now: float = 0.0, notebook: Any = "a") -> Request:
    request = Request()
    assert outages.may_wait(notebook, request, since=now, now=now)
    return request


def test_each_second_the_one_that_waits_longest_is_tried() -> None:
    outages = Outages(30.0, faults=collecting([]))
    first, second = waiting(outages), waiting(outages)
    outages.sweep(1.0)
    assert (first.said, second.said) == (["try"], [])
    assert outages.may_wait("a", first, since=0.0, now=1.1)
    outages.sweep(2.0)
    assert (first.said, second.said) == (["try"], ["try"])
    outages.sweep(3.0)
    assert (first.said, second.said) == (["try", "try"], ["try"])


def test_an_answer_ends_an_outage_and_no_other_notebooks() -> None:
    outages = Outages(30.0, faults=collecting([]))
    here, there = waiting(outages), waiting(outages, notebook="b")
    outages.answered("a")
    outages.answered("c")
    assert (here.said, there.said) == (["try"], [])
    assert len(outages) == 1
    # The next one is an outage of its own.
    waiting(outages, now=29.0)
    waiting(outages, now=58.0)


def test_whoever_has_waited_long_enough_is_told_whenever_it_came() -> None:
    outages = Outages(30.0, faults=collecting([]))
    early, late = waiting(outages), waiting(outages, now=29.9)
    outages.sweep(30.0)
    assert (early.said, late.said) == (["tell"], ["tell"])
    assert not outages.may_wait("a", Request(), since=30.0, now=30.0)
    assert not outages.may_wait("a", Request(), since=FORGOTTEN_SECONDS, now=FORGOTTEN_SECONDS)
    outages.sweep(FORGOTTEN_SECONDS + 1.0)
    assert not outages.may_wait("a", Request(), since=FORGOTTEN_SECONDS, now=FORGOTTEN_SECONDS + 2.0)
    outages.sweep(2 * FORGOTTEN_SECONDS + 2.0)
    waiting(outages, now=2 * FORGOTTEN_SECONDS + 3.0)


def test_nobody_waits_for_ever_at_a_notebook_that_answers_others() -> None:
    outages = Outages(30.0, faults=collecting([]))
    request = waiting(outages)
    for second in range(1, 30):
        outages.answered("a")
        assert request.said == ["try"] * second
        assert outages.may_wait("a", request, since=0.0, now=float(second))
    other = waiting(outages, now=29.5)
    outages.sweep(30.0)
    assert request.said[-1] == "tell"
    assert other.said == ["try"]
    assert not outages.may_wait("a", request, since=0.0, now=30.0)


def test_who_is_gone_is_neither_tried_nor_told() -> None:
    outages = Outages(30.0, faults=collecting([]))
    gone = waiting(outages)
    outages.forget("a", gone)
    outages.forget("b", gone)
    outages.sweep(1.0)
    outages.close()
    assert gone.said == []


def test_at_the_end_all_are_told_and_nobody_waits() -> None:
    outages = Outages(30.0, faults=collecting([]))
    request = waiting(outages)
    outages.close()
    assert request.said == ["tell"]
    assert not outages.may_wait("a", Request(), since=1.0, now=1.0)


async def test_who_is_cut_in_the_turn_in_which_it_is_told_is_no_fault(stage: OpenPlane) -> None:
    """The end of a connection is known to it one turn after it was cut, as at the end of the process."""
    go_away(stage)
    caller = await waits(stage, get(SESSIONS, fields=SCRIPT))
    [connection] = stage.connections
    connection.abort()
    stage.plane.outages.close()
    assert await caller.gone()
    await eventually(lambda: not stage.connections)
    assert len(stage.records) == 1
    assert stage.faults == []
