"""What `nbgate probe` asks a live instance, asked of the sandbox: what it tells of each, and what it never tells."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web

from proxy.aws import probe
from proxy.aws.hosts import NotebookHosts
from proxy.aws.probe_questions import EVENTS_TARGET, LineKind
from proxy.aws.sagemaker import AwsOptions
from proxy.chance import new_id
from proxy.sandbox.instance import InstanceSpec, Loading, SignedOutShape
from proxy.sandbox.sandbox import Sandbox
from tests.aws.fakes import NOTEBOOK, SECRET, FakeControlPlane
from tests.aws.servers import JUPYTER, Answer, Build, NotebookHost, redirect, reply, session_cookie
from tests.aws.test_aws_probe import ControlPlaneOf, Output, upgrade
from tests.harness.clocks import FakeClock


class Hurrying:
    """Implements `proxy.clock.Clock`: whoever sleeps moves the time that others see."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.advance(seconds)


Asking = Callable[..., Awaitable[Output]]


@pytest.fixture
def asking(build: Build) -> Asking:
    """Probe a sandbox of its own; `before` is called with it."""

    async def ask(
        *,
        before: Callable[[Sandbox, FakeClock], None] = lambda _box, _clock: None,
        start: bool = False,
        deep: bool = False,
        **spec: Any,
    ) -> Output:
        clock, output = FakeClock(), Output()
        async with Sandbox([InstanceSpec(name=NOTEBOOK, **spec)], clock=clock) as sandbox:
            before(sandbox, clock)
            sagemaker = build(AwsOptions(region=sandbox.region, endpoint_url=sandbox.endpoint_url))
            await probe.run(
                NOTEBOOK,
                control_plane=sagemaker.control_plane(),
                hosts=NotebookHosts(sandbox.region, test_origins=frozenset(sandbox.origins.values())),
                clock=Hurrying(clock),
                new_id=new_id,
                say=output.say,
                start=start,
                deep=deep,
            )
        return output

    return ask


def after(output: Output, step: str) -> list[str]:
    """What was told below a step's line."""
    told: list[str] = []
    is_below = False
    for kind, text in output.lines:
        if kind is LineKind.STEP:
            is_below = text.startswith(step)
        elif is_below:
            told.append(text)
    assert told, f"nothing below {step!r}: {output.text}"
    return told


@pytest.mark.parametrize(
    ("single_use", "verdict"), [(False, "it signs in again"), (True, "it sets none of the session's cookies")]
)
async def test_whether_a_url_is_good_twice(asking: Asking, single_use: bool, verdict: str) -> None:
    told = after(await asking(single_use_urls=single_use), "The same URL a second time")
    assert told[0].startswith("GET -> 302; ")
    assert ("sets nb-auth, nb-session" in told[0]) is not single_use
    assert told[1].startswith(verdict)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (SignedOutShape.REDIRECT, "302; to signin.aws.amazon.com, query redirect_uri; Server: "),
        (SignedOutShape.UNAUTHORIZED, "401; Server: "),
        (SignedOutShape.FORBIDDEN, "403; Server: "),
        (SignedOutShape.PAGE, "200; Server: "),
    ],
)
async def test_how_signed_out_looks_on_each_path_and_on_a_handshake(
    asking: Asking, shape: SignedOutShape, expected: str
) -> None:
    told = after(await asking(signed_out=shape), "Without a cookie")
    assert len(told) == 5
    for path, line in zip(("/", "/lab", "/api/status", "/proxy/8888/"), told, strict=False):
        assert line.startswith(f"GET {path} -> {expected}")
    assert told[-1].startswith(f"upgrade of {EVENTS_TARGET} -> {expected}")


async def test_whose_server_it_is_and_what_is_set_where() -> None:
    """The values are the secret that `Output` looks for."""
    host, output = NotebookHost(), Output()
    await host.start()
    host.signs_in()

    def setting(answer: Answer) -> Answer:
        async def also(request: web.Request) -> web.StreamResponse:
            response = await answer(request)
            response.headers["Set-Cookie"] = f"of{request.path.replace('/', '-')}={SECRET}"
            return response

        return also

    async def upgraded(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        socket.headers.update(JUPYTER | {"Set-Cookie": f"of-events={SECRET}"})
        await socket.prepare(request)
        return socket

    host.answers["/api/status"] = setting(reply(200, "{}", "application/json", headers=JUPYTER))
    host.answers["/proxy/8888/"] = setting(reply(404))
    host.answers[EVENTS_TARGET] = upgraded
    try:
        await probe.run(
            NOTEBOOK,
            control_plane=ControlPlaneOf(host.url),
            hosts=NotebookHosts("eu-west-1", test_origins=frozenset({host.origin})),
            clock=FakeClock(),
            new_id=new_id,
            say=output.say,
        )
    finally:
        await host.close()
    told = after(output, "With the session")
    assert told[2].startswith("GET /api/status -> 200; Server: TornadoServer/6.5.2; application/json; ")
    assert told[2].endswith("; sets of-api-status")
    assert told[3].startswith("GET /proxy/8888/ -> 404; Server: Python")
    assert told[3].endswith("sets of-proxy-8888-")
    assert told[4] == f"upgrade of {EVENTS_TARGET} -> 101; Server: TornadoServer/6.5.2; sets of-events"
    assert "sets of-events" in after(output, "WebSocket to ")


async def test_a_start_is_timed_until_jupyter_answers(asking: Asking) -> None:
    output = await asking(start=True, status="Stopped", transition_seconds=6.5)
    told = after(output, "From StartNotebookInstance to Jupyter")
    assert told[0] == "+0 s: Describe -> Pending"
    assert told[1] == "+7 s: Describe -> InService"
    assert told[2].startswith("+7 s: GET of the URL -> 302; to its own host")
    assert told[3].startswith("+8 s: GET /api/status -> 200; Server: TornadoServer")
    assert told[4] == "Jupyter answers 8 s after the start; URLs made: 1"
    # And then it signs in as ever.
    assert "With the session" in output.of(LineKind.STEP)


@pytest.mark.parametrize(
    ("loading", "seen"),
    [
        (Loading.SIGNED_IN, "GET /api/status -> 200; Server: "),
        (Loading.EVERYBODY, "GET of the URL -> 200; Server: "),
    ],
)
async def test_the_loading_page_is_told_with_its_seconds_and_costs_one_url(
    asking: Asking, loading: Loading, seen: str
) -> None:
    ending: list[asyncio.Task[None]] = []

    def plant(sandbox: Sandbox, clock: FakeClock) -> None:
        instance = sandbox.instances[NOTEBOOK]
        instance.loading = loading

        async def later() -> None:
            await clock.sleep(60)
            instance.loading = Loading.OFF

        ending.append(asyncio.create_task(later()))

    output = await asking(start=True, status="Stopped", transition_seconds=6.5, before=plant)
    await ending[0]
    told = after(output, "From StartNotebookInstance to Jupyter")
    [page] = [line for line in told if seen in line and "text/html" in line]
    assert "TornadoServer" not in page
    assert re.fullmatch(r"Jupyter answers 6[0-2] s after the start; URLs made: 1", told[-1])


async def test_what_answers_before_jupyter_is_told_once_and_costs_no_url_each() -> None:
    """A loading page, and the front end's own errors."""
    host, output, clock = NotebookHost(), Output(), FakeClock()
    await host.start()
    loading = reply(200, "<meta http-equiv=refresh content=5>", "text/html", headers={"Server": "fe"})
    stages = iter([reply(502)] * 3 + [loading] * 20)

    async def first(request: web.Request) -> web.StreamResponse:
        return await next(stages, redirect("/lab?", cookies=[session_cookie()]))(request)

    host.answers["/"] = first
    host.answers["/api/status"] = reply(200, "{}", "application/json", headers=JUPYTER)
    host.answers[EVENTS_TARGET] = upgrade
    control_plane = ControlPlaneOf(host.url)
    control_plane.put(NOTEBOOK, status="Stopped")

    async def start(notebook: str) -> None:
        control_plane.put(notebook)

    control_plane.start = start  # type: ignore[method-assign]
    try:
        await probe.run(
            NOTEBOOK,
            control_plane=control_plane,
            hosts=NotebookHosts("eu-west-1", test_origins=frozenset({host.origin})),
            clock=Hurrying(clock),
            new_id=new_id,
            say=output.say,
            start=True,
        )
    finally:
        await host.close()
    told = after(output, "From StartNotebookInstance to Jupyter")
    assert [line.partition(";")[0] for line in told[2:5]] == [
        "+1 s: GET of the URL -> 502",
        "+4 s: GET of the URL -> 200",
        "+24 s: GET of the URL -> 302",
    ]
    assert told[-1] == "Jupyter answers 25 s after the start; URLs made: 1"


@pytest.mark.parametrize("status", ["InService", "Pending", "Deleting"])
async def test_what_is_not_stopped_is_not_started(asking: Asking, status: str) -> None:
    output = await asking(start=True, status=status)
    told = after(output, "From StartNotebookInstance to Jupyter")
    assert told[0] == f"not started: it is {status}, and has to be Stopped before"


async def test_an_instance_that_fails_to_start_is_not_waited_for() -> None:
    output, control_plane = Output(), FakeControlPlane(FakeClock())
    control_plane.put(NOTEBOOK, status="Stopped")

    async def start(notebook: str) -> None:
        control_plane.put(notebook, status="Failed")

    control_plane.start = start  # type: ignore[method-assign]
    await probe.run(
        NOTEBOOK,
        control_plane=control_plane,
        hosts=NotebookHosts("eu-west-1"),
        clock=Hurrying(FakeClock()),
        new_id=new_id,
        say=output.say,
        start=True,
    )
    assert "it will not be InService: Failed" in output.text


@pytest.mark.slow
async def test_a_session_is_watched_to_its_end(asking: Asking) -> None:
    told = after(await asking(deep=True), "The end of a session of 1800 s (this takes 33 minutes)")
    assert told[0] == "+0 s: WebSocket -> open"
    assert told[1].startswith("+0 s: GET /api/status -> 200; ")
    ends = [line for line in told if "-> 302; to signin.aws.amazon.com" in line and line.startswith("+")]
    assert [line.partition(" s:")[0] for line in ends] == ["+1800"]
    assert told[-2].startswith(f"upgrade of {EVENTS_TARGET} -> 302; to signin.aws.amazon.com")
    assert told[-1] == "the WebSocket is still open after 1980 s"


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "words"), [("close", "closed with 4001"), ("drop", "closed with 1006")])
async def test_how_a_websocket_ends_is_told_with_its_second(asking: Asking, fault: str, words: str) -> None:
    closing: list[asyncio.Task[None]] = []

    def plant(sandbox: Sandbox, clock: FakeClock) -> None:
        async def later() -> None:
            await clock.sleep(1802)
            if fault == "close":
                sandbox.faults.close_websockets(code=4001)
            else:
                sandbox.faults.drop_websockets()

        closing.append(asyncio.create_task(later()))

    told = after(await asking(deep=True, before=plant), "The end of a session")
    await closing[0]
    [line] = [line for line in told if "WebSocket -> closed" in line]
    seconds, _, rest = line.partition(" s: ")
    assert rest == f"WebSocket -> {words}"
    assert 1800 <= int(seconds[1:]) <= 1980
