"""What a caller is answered when something fails: by what failed, by what was asked, and by who asks.

JupyterLab and Notebook 7 ask again after a 503 or a 424, and give a kernel up for ever after a 401, 403, 429, 502 or
504 to `GET api/kernels/ID`. So what passes by itself is 503 with `Retry-After` for everybody; 504 is for a request that
may have been acted on, 502 for what somebody has to mend.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.errors import ClientError, InstanceNotInService, NbgateError
from proxy.upstream import Honoured, Origin
from tests.harness.keeper import session_at
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import HOST, OpenPlane, get, open_stage, post
from tests.harness.waiting import eventually
from tests.test_errors import LEAVES

TARGET = b"/api/kernels/1"
CHROME = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ASKERS = {
    "window": b"Sec-Fetch-Mode: navigate\r\nAccept: " + CHROME + b"\r\n",
    "window on plain http": b"Accept: " + CHROME + b"\r\n",
    "script": b"Sec-Fetch-Mode: cors\r\nAccept: */*\r\n",
    "script on plain http": b"Accept: */*\r\nReferer: http://" + HOST.encode() + b"/lab\r\n",
    "program": b"Accept: */*\r\n",
    "aws": b"X-Amz-Target: SageMaker.DescribeNotebookInstance\r\n",
}
FAILURES = [kind for kind in LEAVES if not issubclass(kind, ClientError)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    """Nothing waits for a notebook that is away: that comes before what is answered (`test_outages.py`)."""
    async with open_stage(tmp_path, timeouts={"outage": "0s"}) as stage:
        yield stage


def status_of(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


def value(head: bytes, name: bytes) -> bytes | None:
    lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    return next((value for field, _, value in lines if field.lower() == name), None)


def request(method: bytes, fields: bytes) -> bytes:
    return (
        get(TARGET, fields=fields) if method == b"GET" else post(b"{}", TARGET, fields=fields, method=method)
    )


@pytest.mark.parametrize("asker", ASKERS.values(), ids=ASKERS.keys())
@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT"])
@pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: kind.__name__)
async def test_a_failure_before_anything_was_sent_is_its_own_status_for_everybody(
    stage: OpenPlane, kind: type[NbgateError], method: bytes, asker: bytes
) -> None:
    stage.keeper.session = None
    stage.keeper.failure = kind()
    caller = await stage.call(request(method, asker))
    head, body = await caller.response()
    wait = value(head, b"retry-after")
    if asker == ASKERS["aws"]:
        # In words of SageMaker's; what clients may repeat by themselves is all that is promised here.
        assert json.loads(body)["__type"]
        assert (status_of(head) == 503) is (json.loads(body)["__type"] == "ServiceUnavailable")
        return
    assert status_of(head) == kind.status
    assert status_of(head) not in (401, 403, 429)
    assert wait == (b"%d" % kind.passes_in_seconds if kind.passes_in_seconds else None)
    is_page = value(head, b"content-type") == b"text/html; charset=utf-8"
    assert is_page is (asker in (ASKERS["window"], ASKERS["window on plain http"]))
    if not is_page:
        assert json.loads(body)["error"]["code"] == kind.code


# -- on the way ---------------------------------------------------------------------------------------------


async def _breaks(stage: OpenPlane, notebook: Peer) -> None:
    notebook.close()


async def _resets(stage: OpenPlane, notebook: Peer) -> None:
    notebook.reset()


async def _breaks_in_the_head(stage: OpenPlane, notebook: Peer) -> None:
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-")
    await notebook.drain()
    notebook.close()


async def _breaks_after_continue(stage: OpenPlane, notebook: Peer) -> None:
    notebook.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    await notebook.drain()
    notebook.close()


async def _is_silent(stage: OpenPlane, notebook: Peer) -> None:
    await stage.sweep(300.0)


async def _talks_nonsense(stage: OpenPlane, notebook: Peer) -> None:
    notebook.send(b"nonsense\r\n\r\n")


WAYS: dict[str, tuple[Callable[[OpenPlane, Peer], Awaitable[None]], int, int]] = {
    "the connection breaks": (_breaks, 503, 504),
    "the connection is reset": (_resets, 503, 504),
    "the connection breaks within the answer's head": (_breaks_in_the_head, 503, 504),
    "the connection breaks after an interim answer": (_breaks_after_continue, 503, 504),
    "no answer in time": (_is_silent, 503, 504),
    "an answer that is not HTTP": (_talks_nonsense, 502, 502),
}
"""What happens once the request is out; the status for a safe one, and for another."""
SAFE = (b"GET", b"HEAD", b"OPTIONS", b"PROPFIND")
UNSAFE = (b"POST", b"PUT", b"PATCH", b"DELETE", b"MKCOL")


@pytest.mark.parametrize("method", [*SAFE, *UNSAFE])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_a_failure_once_it_was_sent_invites_to_repeat_only_what_is_safe(
    stage: OpenPlane,
    way: tuple[Callable[[OpenPlane, Peer], Awaitable[None]], int, int],
    method: bytes,
) -> None:
    fail, safe_status, unsafe_status = way
    caller = await stage.call(get(TARGET, method=method))
    notebook = await stage.notebook()
    await notebook.head()
    await fail(stage, notebook)
    head = await caller.head()
    if head.startswith(b"HTTP/1.1 102 "):
        head = await caller.head()
    expected = safe_status if method in SAFE else unsafe_status
    assert status_of(head) == expected
    assert (value(head, b"retry-after") is not None) is (expected == 503)
    codes = {502: "UPSTREAM_INVALID", 504: "OUTCOME_UNKNOWN"}
    expected_code = codes.get(expected) or (
        "UPSTREAM_TIMEOUT" if fail is _is_silent else "UPSTREAM_UNREACHABLE"
    )
    await eventually(lambda: stage.records)
    assert (stage.records[0].status, stage.records[0].error) == (expected, expected_code)


async def test_an_upload_that_the_notebook_does_not_take_may_have_been_acted_on(stage: OpenPlane) -> None:
    caller = await stage.call(get(method=b"PUT", fields=b"Content-Length: 10\r\n") + b"hello")
    notebook = await stage.notebook()
    await notebook.head()
    notebook.close()
    assert status_of((await caller.response())[0]) == 504


async def test_a_repeated_request_that_finds_no_notebook_may_have_arrived_at_first(stage: OpenPlane) -> None:
    """DELETE is repeated when its connection had gone stale; what the first one did is not known."""
    caller, stale = await stage.forwarded(b"/first")
    stale.send(ok())
    await caller.response()
    await eventually(lambda: stage.idle == 1)
    caller.send(get(b"/again", method=b"DELETE"))
    await stale.head()
    stage.upstream.refuse()
    stale.close()
    assert status_of((await caller.response())[0]) == 504


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_notebook_that_is_not_there_was_not_asked(stage: OpenPlane, method: bytes) -> None:
    stage.upstream.refuse()
    caller = await stage.call(request(method, b""))
    head, _ = await caller.response()
    assert status_of(head) == 503
    assert value(head, b"retry-after") == b"5"


async def test_a_name_that_is_not_found_passes(stage: OpenPlane) -> None:
    stage.keeper.session = replace(
        session_at(stage.upstream.port), origin=Origin("http", "nowhere.invalid", 80)
    )
    head, _ = await (await stage.call(get())).response()
    assert status_of(head) == 503


# -- the front end's own ------------------------------------------------------------------------------------

BY_JUPYTER = b"Server: TornadoServer/6.5\r\n"
FRONT_END = b"Server: Server\r\nContent-Type: text/html\r\n"


def front_end_says(status: bytes, fields: bytes = FRONT_END) -> bytes:
    return b"HTTP/1.1 %b Bad\r\n%bContent-Length: 3\r\n\r\nbad" % (status, fields)


@pytest.mark.parametrize("status", [b"502", b"504", b"429"])
@pytest.mark.parametrize("target", [b"/api/kernels/1", b"/lab/api/settings", b"/api/contents/proxy/x"])
@pytest.mark.parametrize("honoured", [Honoured.YES, Honoured.UNTOLD])
async def test_what_the_front_end_says_of_a_passing_fault_heals_a_page(
    stage: OpenPlane, target: bytes, status: bytes, honoured: Honoured
) -> None:
    stage.keeper.honoured_as = honoured
    caller, notebook = await stage.forwarded(target)
    notebook.send(front_end_says(status))
    head, body = await caller.response()
    assert status_of(head) == 503
    assert value(head, b"retry-after") == b"5"
    assert json.loads(body)["error"]["code"] == "UPSTREAM_UNREACHABLE"
    # The caller's connection goes on.
    caller.send(get(b"/next"))
    another = await stage.notebook()
    await another.head()
    another.send(ok(b"here"))
    assert (await caller.response())[1] == b"here"


@pytest.mark.parametrize("status", [b"502", b"504"])
@pytest.mark.parametrize("honoured", [Honoured.YES, Honoured.STARTING, Honoured.UNTOLD])
async def test_what_the_front_end_says_of_an_unsafe_request_stays_in_doubt(
    stage: OpenPlane, status: bytes, honoured: Honoured
) -> None:
    stage.keeper.honoured_as = honoured
    caller = await stage.call(post(b"{}", b"/api/kernels"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(front_end_says(status))
    head, body = await caller.response()
    assert status_of(head) == 504
    assert value(head, b"retry-after") is None
    assert json.loads(body)["error"]["code"] == "OUTCOME_UNKNOWN"


@pytest.mark.parametrize(
    ("target", "status", "fields"),
    [
        # An application's own.
        (b"/proxy/8000/api/items", b"502", FRONT_END),
        (b"/proxy/8000/api/items", b"504", FRONT_END),
        # Jupyter's own, as of a kernel gateway behind it.
        (b"/api/kernels/1", b"502", BY_JUPYTER),
        (b"/api/kernels/1", b"504", BY_JUPYTER),
        # Nothing that Jupyter's page asks by itself.
        (b"/lab", b"502", FRONT_END),
        (b"/files/a.txt", b"504", FRONT_END),
        # They have it already, or it does not pass.
        (b"/api/kernels/1", b"503", FRONT_END),
        (b"/api/kernels/1", b"500", FRONT_END),
        (b"/api/kernels/1", b"404", FRONT_END),
    ],
)
async def test_any_other_answer_passes_as_it_is(
    stage: OpenPlane, target: bytes, status: bytes, fields: bytes
) -> None:
    """While Jupyter is up."""
    stage.keeper.honoured_as = Honoured.YES
    caller, notebook = await stage.forwarded(target)
    notebook.send(front_end_says(status, fields))
    head, body = await caller.response()
    assert head.split(b" ", 2)[1] == status
    assert body == b"bad"


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\nbad"


@pytest.mark.parametrize(
    "answer", [PAGE, *(front_end_says(status) for status in (b"400", b"404", b"503"))], ids=range(4)
)
async def test_what_stood_in_jupyters_place_has_done_nothing(stage: OpenPlane, answer: bytes) -> None:
    """So that whoever asked for it may repeat it."""
    stage.keeper.honoured_as = Honoured.STARTING
    caller = await stage.call(post(b"{}", b"/api/kernels"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(answer)
    head, body = await caller.response()
    assert status_of(head) == 503
    assert value(head, b"retry-after") == b"2"
    assert json.loads(body)["error"]["code"] == "JUPYTER_STARTING"
    assert [(record.status, record.error) for record in stage.records] == [(503, "JUPYTER_STARTING")]
    assert (stage.keeper.rejected, stage.open) == (0, 0)


async def test_connections_that_rest_are_not_used_after_jupyter_started_again(stage: OpenPlane) -> None:
    """Whoever comes then connects anew, so that those who wait are told at once that it is back."""
    stage.keeper.honoured_as = Honoured.STARTING
    callers = [await stage.forwarded(b"/api/x") for _ in range(3)]
    for caller, notebook in callers[:2]:
        notebook.send(ok(b"here"))
        await caller.response()
    assert stage.idle == 2
    caller, notebook = callers[2]
    notebook.send(PAGE)
    assert status_of((await caller.response())[0]) == 503
    await eventually(lambda: stage.open == 0)


@pytest.mark.parametrize(
    ("honoured", "expected"),
    [(Honoured.YES, b"200"), (Honoured.STARTING, b"503"), (Honoured.UNTOLD, b"200")],
)
async def test_a_page_of_an_application_passes_unless_jupyter_is_starting(
    stage: OpenPlane, honoured: Honoured, expected: bytes
) -> None:
    stage.keeper.is_up = False
    stage.keeper.honoured_as = honoured
    caller, notebook = await stage.forwarded(b"/proxy/8501/")
    notebook.send(PAGE)
    head, _ = await caller.response()
    assert head.split(b" ", 2)[1] == expected
    assert stage.keeper.asked == 1


async def test_an_instance_that_is_not_in_service_any_more_is_told_as_that(stage: OpenPlane) -> None:
    stage.keeper.honoured_as = Honoured.OUT
    caller, notebook = await stage.forwarded(b"/api/kernels/1")
    stage.keeper.failure = InstanceNotInService(instance_status="Stopped")
    notebook.send(front_end_says(b"400"))
    head, body = await caller.response()
    assert status_of(head) == 503
    assert json.loads(body)["error"]["instance_status"] == "Stopped"


async def test_an_instance_that_is_back_in_service_when_its_state_is_asked_for_is_starting(
    stage: OpenPlane,
) -> None:
    stage.keeper.honoured_as = Honoured.OUT
    caller, notebook = await stage.forwarded(b"/api/kernels/1")
    notebook.send(front_end_says(b"400"))
    _, body = await caller.response()
    assert json.loads(body)["error"]["code"] == "JUPYTER_STARTING"


def test_every_class_is_in_the_table_once() -> None:
    assert {kind.status for kind in FAILURES} == {404, 500, 502, 503, 504}
    assert all((kind.status == 503) or not kind.passes_in_seconds for kind in FAILURES)
    # A stopped instance does not start by itself, so that its state says when to ask again.
    assert [kind for kind in FAILURES if kind.status == 503 and not kind.passes_in_seconds] == [
        InstanceNotInService
    ]
