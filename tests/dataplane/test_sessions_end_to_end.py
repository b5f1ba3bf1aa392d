"""Upstream sessions as callers live them: the whole gateway in front of the sandbox, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.dataplane.caller.connection import CallerConnection
from proxy.sandbox.instance import InstanceSpec, SignedOutShape, SignInShape
from proxy.sandbox.notebook_host import NotebookHost
from proxy.sandbox.plain_upstream import SERVER
from tests.harness.certificates import self_signed, serving, trusting
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.peer import dial
from tests.harness.waiting import eventually

MINT = "CreatePresignedNotebookInstanceUrl"
NAME = "research-gpu-1"
SESSION_SECONDS = 43_200
SIGNED_OUT = [shape for shape in SignedOutShape if shape is not SignedOutShape.PAGE]
"""What says so: a page may mean that Jupyter is starting (`test_front_end_starting`)."""


@pytest.fixture
async def clock() -> FakeClock:
    # boto3 signs with the machine's clock; only the gateway's and the sandbox's own time is moved.
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def timed(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Rig]:
    """A rig whose time the test moves."""
    async with open_rig(tmp_path, clock=clock) as opened:
        yield opened


def mints(rig: Rig) -> int:
    return rig.sandbox.calls[MINT]


def sign_ins(rig: Rig) -> int:
    return rig.sandbox.instances[NAME].counts.sign_ins


async def all_get(rig: Rig, count: int) -> list[int]:
    return [status_of(answer) for answer in await asyncio.gather(*(rig.get(f"/{n}") for n in range(count)))]


class Gate:
    """A notebook that answers `/NUMBER` only when it is let; `waiting` counts the requests that it has."""

    def __init__(self, rig: Rig) -> None:
        self.waiting = 0
        self.open = asyncio.Event()
        rig.upstream.handler = self.answer

    async def answer(self, request: web.BaseRequest) -> web.Response:
        if request.raw_path[1:].isdigit():
            self.waiting += 1
            await self.open.wait()
        return web.Response(text="answered", headers=SERVER)


# -- one sign-in ----------------------------------------------------------------------------------------------


async def test_200_first_requests_of_a_cold_instance_cost_one_url_and_one_exchange(rig: Rig) -> None:
    assert await all_get(rig, 200) == [200] * 200
    assert mints(rig) == 1
    assert sign_ins(rig) == 1


async def test_nothing_is_asked_of_sagemaker_before_somebody_comes(rig: Rig) -> None:
    assert mints(rig) == 0
    assert rig.sandbox.instances[NAME].counts.requests == 0


@pytest.mark.parametrize("shape", SignInShape)
async def test_every_shape_of_signing_in_is_understood(tmp_path: Path, shape: SignInShape) -> None:
    async with open_rig(tmp_path, instances=[InstanceSpec(name=NAME, sign_in=shape)]) as rig:
        assert await all_get(rig, 10) == [200] * 10
        assert (mints(rig), sign_ins(rig)) == (1, 1)


async def test_a_caller_that_goes_while_others_wait_does_not_take_their_session_along(tmp_path: Path) -> None:
    of_sagemaker = FakeClock(datetime.now(UTC))
    async with open_rig(tmp_path, sandbox_clock=of_sagemaker) as rig:
        rig.sandbox.faults.slow_api(seconds=5)
        leaving = await dial(rig.port)
        leaving.send(f"GET / HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n".encode())
        staying = asyncio.ensure_future(rig.get("/stays"))
        await eventually(lambda: len(forwarding(rig)) == 2)
        leaving.close()
        await eventually(lambda: len(rig.gateway.plane.open.connections) == 1)
        await eventually(lambda: of_sagemaker.sleeping == 1)
        await of_sagemaker.advance(5)
        assert status_of(await staying) == 200
        assert mints(rig) == 1


# -- renewal --------------------------------------------------------------------------------------------------


async def test_a_session_is_renewed_ahead_of_its_end_and_nobody_waits(timed: Rig, clock: FakeClock) -> None:
    assert status_of(await timed.get()) == 200
    await clock.jump(SESSION_SECONDS - 301)
    assert status_of(await timed.get()) == 200
    assert mints(timed) == 1
    await clock.jump(299)
    before = timed.sandbox.instances[NAME].counts.signed_out
    assert await all_get(timed, 20) == [200] * 20
    await eventually(lambda: sign_ins(timed) == 2)
    assert mints(timed) == 2
    await clock.advance(10)
    assert await all_get(timed, 20) == [200] * 20
    assert timed.sandbox.instances[NAME].counts.signed_out == before == 0


async def test_past_its_end_a_session_is_replaced_without_a_failed_request(
    timed: Rig, clock: FakeClock
) -> None:
    assert status_of(await timed.get()) == 200
    await clock.jump(SESSION_SECONDS + 1)
    assert await all_get(timed, 50) == [200] * 50
    assert mints(timed) == 2
    assert timed.sandbox.instances[NAME].counts.signed_out == 0


@pytest.mark.parametrize("code", [1000, 1001])
@pytest.mark.parametrize(
    ("path", "early"),
    [("/api/kernels/1/channels", 1012), ("/proxy/8501/stream", None)],
    ids=["kernel", "app"],
)
async def test_a_page_whose_websocket_awss_side_ended_comes_again(
    timed: Rig, clock: FakeClock, code: int, path: str, early: int | None
) -> None:
    """After 1000 and 1001 JupyterLab never would. An application's code is its own until the session has ended."""
    async with aiohttp.ClientSession() as page:
        for wait_seconds, expected in ((0, early or code), (SESSION_SECONDS, 1012)):
            async with page.ws_connect(f"{timed.origin}{path}", autoclose=False) as websocket:
                await websocket.send_str("there?")
                assert await websocket.receive_str() == "there?"
                await clock.jump(wait_seconds)
                timed.sandbox.faults.close_websockets(code=code)
                message = await websocket.receive()
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, expected)


@pytest.mark.parametrize("shape", SIGNED_OUT)
async def test_requests_in_flight_when_the_session_is_rejected_all_succeed_with_one_more_call(
    tmp_path: Path, shape: SignedOutShape
) -> None:
    async with open_rig(tmp_path, instances=[InstanceSpec(name=NAME, signed_out=shape)]) as rig:
        assert status_of(await rig.get()) == 200
        instance = rig.sandbox.instances[NAME]
        instance.expire_sessions()
        answers = await asyncio.gather(*(rig.get(f"/api/contents/{n}") for n in range(30)))
        assert [status_of(answer) for answer in answers] == [200] * 30
        targets = {json.loads(body_of(answer))["target"] for answer in answers}
        assert targets == {f"/api/contents/{n}" for n in range(30)}
        assert mints(rig) == sign_ins(rig) == 2
        # One of them is the question whether the session holds.
        assert 2 <= instance.counts.signed_out <= 31


async def test_requests_whose_answers_are_under_way_end_with_the_session_they_began_with(rig: Rig) -> None:
    await rig.get()
    gate = Gate(rig)
    first = [asyncio.ensure_future(rig.get(f"/{n}")) for n in range(10)]
    await eventually(lambda: gate.waiting == 10)
    rig.sandbox.faults.expire_sessions()
    second = [asyncio.ensure_future(rig.get(f"/{n}")) for n in range(10)]
    await eventually(lambda: gate.waiting == 20)
    gate.open.set()
    assert [status_of(answer) for answer in await asyncio.gather(*first, *second)] == [200] * 20
    assert mints(rig) == 2


async def test_an_upload_that_can_be_repeated_survives_a_rejected_session(rig: Rig) -> None:
    await rig.get()
    rig.sandbox.faults.expire_sessions()
    body = bytes(range(256)) * 100
    answer = await rig.raw(
        f"PUT /api/contents/a HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    assert status_of(answer) == 200
    assert json.loads(body_of(answer))["body_bytes"] == len(body)
    assert [seen.method for seen in rig.upstream.seen if seen.method != "GET"] == ["PUT"]


async def test_an_upload_that_cannot_be_repeated_is_a_503_and_the_next_one_succeeds(
    timed: Rig, clock: FakeClock
) -> None:
    await timed.get()
    timed.sandbox.faults.expire_sessions()
    timed.sandbox.faults.slow(seconds=1)
    before = timed.sandbox.instances[NAME].counts.requests
    size = 1_000_000
    head = (
        f"PUT /api/contents/a HTTP/1.1\r\nHost: {timed.authority}\r\nContent-Length: {size}\r\n\r\n".encode()
    )
    caller = await dial(timed.port)
    caller.send(head + bytes(200_000))
    instance = timed.sandbox.instances[NAME]
    await eventually(lambda: instance.counts.requests == before + 1)
    await eventually(lambda: [caller.request.answerer.bytes_in for caller in forwarding(timed)] == [200_000])
    timed.sandbox.faults.slow(seconds=0)
    await clock.advance(1)
    answer = await caller.head()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in answer
    caller.close()
    again = await dial(timed.port)
    again.send(head + bytes(size))
    assert (await again.head()).startswith(b"HTTP/1.1 200 ")
    assert mints(timed) == 2
    assert [seen.method for seen in timed.upstream.seen if seen.method != "GET"] == ["PUT"]
    again.close()


def forwarding(rig: Rig) -> list[CallerConnection]:
    return [
        connection
        for connection in rig.gateway.plane.open.connections
        if isinstance(connection, CallerConnection) and connection.under_way is not None
    ]


async def test_jupyters_own_refusal_passes_and_costs_nothing(rig: Rig) -> None:
    assert status_of(await rig.get("/status/403")) == 403
    assert status_of(await rig.get("/status/401")) == 401
    assert mints(rig) == 1


async def test_an_application_that_refuses_everything_costs_few_renewals(
    timed: Rig, clock: FakeClock
) -> None:
    """What runs beside Jupyter has refusals that look like the front end's."""

    async def refuse(request: web.BaseRequest) -> web.Response:
        if request.raw_path.startswith("/proxy/"):
            return web.Response(status=403, text="mine")
        return web.json_response({}, headers=SERVER)

    timed.upstream.handler = refuse
    for _ in range(60):
        answer = await timed.get("/proxy/8000/")
        assert status_of(answer) == 403
        assert body_of(answer) == b"mine"
        await clock.advance(1)
    assert mints(timed) <= 5


async def test_a_session_that_the_notebook_never_honours_is_a_503(rig: Rig) -> None:
    await rig.get()
    rig.sandbox.instances[NAME].session_of = lambda _cookies: None  # type: ignore
    answer = await rig.get("/api/status")
    assert status_of(answer) == 503
    assert b"Retry-After: " in answer
    assert b"signin" not in answer


# -- presigned URLs -------------------------------------------------------------------------------------------


async def test_a_presigned_url_is_never_used_in_its_last_30_seconds(timed: Rig, clock: FakeClock) -> None:
    """The notebook is away while the URL ages: 269 s old it is still used, 270 s old it is not."""
    await timed.sandbox.faults.refuse()
    assert status_of(await timed.get()) == 503
    assert (mints(timed), sign_ins(timed)) == (1, 0)
    await clock.advance(269)
    await timed.sandbox.faults.accept()
    assert status_of(await timed.get()) == 200
    assert (mints(timed), sign_ins(timed)) == (1, 1)


async def test_a_presigned_url_of_270_seconds_is_replaced(timed: Rig, clock: FakeClock) -> None:
    await timed.sandbox.faults.refuse()
    assert status_of(await timed.get()) == 503
    await clock.advance(270)
    await timed.sandbox.faults.accept()
    assert status_of(await timed.get()) == 200
    assert (mints(timed), sign_ins(timed)) == (2, 1)
    assert timed.sandbox.instances[NAME].counts.sign_in_failures == 0


async def test_single_use_urls_are_used_once(tmp_path: Path, clock: FakeClock) -> None:
    instances = [InstanceSpec(name=NAME, single_use_urls=True)]
    async with open_rig(tmp_path, instances=instances, clock=clock) as rig:
        for _ in range(3):
            assert await all_get(rig, 20) == [200] * 20
            rig.sandbox.faults.expire_sessions()
            await clock.advance(60)
        assert rig.sandbox.instances[NAME].counts.sign_in_failures == 0


# -- cookies --------------------------------------------------------------------------------------------------


async def test_session_cookies_that_are_set_again_are_used_and_never_sent_on(tmp_path: Path) -> None:
    async with open_rig(tmp_path, instances=[InstanceSpec(name=NAME, reissue_cookies=True)]) as rig:
        instance = rig.sandbox.instances[NAME]
        await rig.get()
        answer = await rig.get("/repeated")
        assert answer.count(b"Set-Cookie: ") == 2
        assert b"nb-auth" not in answer
        assert b"nb-session" not in answer
        # A front end that rotates its cookies: all values but the last are worth nothing any more.
        [session] = instance._sessions
        session.cookies["nb-session"] = {instance.reissue(session)}
        assert status_of(await rig.get()) == 200
        assert mints(rig) == 2
        session = instance._sessions[-1]
        given = session.cookies["nb-session"]
        before = set(given)
        await rig.get()
        given -= before
        assert status_of(await rig.get()) == 200
        assert mints(rig) == 2


async def test_one_instances_session_is_never_sent_to_another(tmp_path: Path) -> None:
    async with open_rig(
        tmp_path,
        instances=[InstanceSpec(name="one"), InstanceSpec(name="two")],
        mounted={
            "one": {"notebook": "one", "mount": {"path": "/one/"}},
            "two": {"notebook": "two", "mount": {"path": "/two/"}},
        },
    ) as rig:
        heard: dict[str, list[str]] = {"one": [], "two": []}
        for name, host in rig.sandbox.hosts.items():
            listen(host, heard[name])
        for name in ("one", "two", "one"):
            assert status_of(await rig.get(f"/{name}/x")) == 200
        values = {
            name: {value for session in instance._sessions for of in session.cookies.values() for value in of}
            for name, instance in rig.sandbox.instances.items()
        }
        assert len(heard["one"]) == 2
        assert all(any(value in cookies for value in values["one"]) for cookies in heard["one"])
        assert not any(value in cookies for value in values["two"] for cookies in heard["one"])
        assert not any(value in cookies for value in values["one"] for cookies in heard["two"])


def listen(host: NotebookHost, cookies: list[str]) -> None:
    """Write down the cookies of what passes the front end."""
    pass_on = host._pass_on

    async def heard(request: web.BaseRequest, **options: Any) -> web.StreamResponse:
        if request.raw_path == "/x":
            cookies.append(request.headers["Cookie"])
        return await pass_on(request, **options)

    host._pass_on = heard  # type: ignore[method-assign]


# -- TLS ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_notebooks_certificate_is_verified_for_signing_in_and_for_traffic(
    tmp_path: Path, trusted: bool
) -> None:
    certificate = self_signed(tmp_path, name="IP:127.0.0.1")
    async with open_rig(
        tmp_path,
        notebook_tls=serving(certificate),
        upstream_tls=trusting(certificate) if trusted else None,
    ) as rig:
        assert await all_get(rig, 5) == [200 if trusted else 502] * 5
        assert bool(rig.upstream.seen) is trusted


# -- what an application answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "GET"])
async def test_an_applications_refusal_is_heard_once_and_signs_nobody_out(
    timed: Rig, method: str, status: int
) -> None:
    """N10: a wrong password at an application counted double, and cost everybody the session."""
    asked: list[str] = []

    async def application(request: web.BaseRequest) -> web.Response:
        if request.raw_path.startswith("/proxy/"):
            asked.append(request.method)
            return web.Response(status=status, text="wrong password")
        return web.json_response({}, headers=SERVER)

    timed.upstream.handler = application
    assert status_of(await timed.get("/lab")) == 200
    for _ in range(3):
        answer = await timed.get("/proxy/8000/login", method=method, extra="Content-Length: 0\r\n")
        assert (status_of(answer), body_of(answer)) == (status, b"wrong password")
    assert asked == [method] * 3
    assert (mints(timed), sign_ins(timed)) == (1, 1)
    assert timed.sandbox.instances[NAME].counts.signed_out == 0


@pytest.mark.parametrize("shape", SIGNED_OUT)
async def test_an_unsafe_request_after_the_session_ended_is_heard_once_at_most(
    tmp_path: Path, shape: SignedOutShape
) -> None:
    """Repeated after a redirect to sign in, which passes nothing on; else 503, and the next one is heard."""
    heard: list[str] = []

    async def application(request: web.BaseRequest) -> web.Response:
        if request.method == "POST":
            heard.append(request.raw_path)
        return web.json_response({}, headers=SERVER)

    async with open_rig(tmp_path, instances=[InstanceSpec(name=NAME, signed_out=shape)]) as rig:
        rig.upstream.handler = application
        assert status_of(await rig.get()) == 200
        rig.sandbox.instances[NAME].expire_sessions()
        answer = await rig.get("/api/sessions", method="POST", extra="Content-Length: 0\r\n")
        if shape in {SignedOutShape.REDIRECT, SignedOutShape.CONSOLE}:
            assert (status_of(answer), heard) == (200, ["/api/sessions"])
        else:
            assert (status_of(answer), heard) == (503, [])
            assert b"Retry-After: 1\r\n" in answer
        again = await rig.get("/api/sessions", method="POST", extra="Content-Length: 0\r\n")
        assert status_of(again) == 200
        assert mints(rig) == 2
