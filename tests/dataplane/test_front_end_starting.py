"""What people and programs meet while the notebook's front end answers in Jupyter's place: the whole gateway in front
of the sandbox, for each of its switches. And what it costs: no URL, and no session.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from proxy.sandbox.instance import InstanceSpec, Loading, SignedOutShape
from proxy.sandbox.plain_upstream import SERVER
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.peer import dial
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

NAME = "research-gpu-1"
MINT = "CreatePresignedNotebookInstanceUrl"
DESCRIBE = "DescribeNotebookInstance"
POLICY = {"Content-Security-Policy": "frame-ancestors 'self'; report-uri /api/security/csp-report"}

PERSON = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
SCRIPT = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n"
HANDSHAKE = (
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

Fault = Callable[[Rig], None]


def _loading(shape: Loading, *, status: int = 200) -> Fault:
    return lambda rig: rig.sandbox.faults.load(shape=shape, status=status)


def _answering(status: int) -> Fault:
    return lambda rig: rig.sandbox.faults.answer(status=status)


FAULTS: dict[str, Fault] = {
    "loading page": _loading(Loading.SIGNED_IN),
    "loading page for everybody": _loading(Loading.EVERYBODY),
    "loading page, 202": _loading(Loading.SIGNED_IN, status=202),
    **{str(status): _answering(status) for status in (400, 404, 500, 502, 503, 504)},
}
PASSED_ON = {"500", "502", "504"}
"""Of which nobody knows whether Jupyter was asked."""


@pytest.fixture
async def clock() -> FakeClock:
    # boto3 signs with the machine's clock; only the gateway's and the sandbox's own time is moved.
    return FakeClock(datetime.now(UTC))


@pytest.fixture(params=["Server shows", "Server is hidden", "nothing shows"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, clock=clock) as opened:
        hidden = {
            "Server shows": [],
            "Server is hidden": ["Server"],
            "nothing shows": ["Server", *POLICY],
        }[request.param]
        opened.sandbox.faults.hide(fields=hidden)
        opened.upstream.handler = jupyter
        yield opened


async def jupyter(request: web.BaseRequest) -> web.StreamResponse:
    """A Jupyter with its marks, and an application behind it that has none."""
    path = request.raw_path.partition("?")[0]
    if path.startswith("/proxy/"):
        return web.Response(text="<p>mine</p>", content_type="text/html")
    if request.headers.get("Upgrade"):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket
    headers = SERVER | POLICY
    if path.startswith("/api/"):
        return web.json_response({"started": "x"}, headers=headers)
    return web.Response(text="<p>Jupyter</p>", content_type="text/html", headers=headers)


def urls(rig: Rig) -> int:
    return rig.sandbox.calls[MINT]


async def upgrade(rig: Rig, target: str = "/api/kernels/1/channels", *, extra: str = "") -> bytes:
    head = f"GET {target} HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: Upgrade\r\n{HANDSHAKE}{extra}\r\n"
    return await rig.raw(head.encode(), until_eof=False)


def is_starting_page(answer: bytes) -> bool:
    body = body_of(answer)
    return (
        status_of(answer) == 503
        and b"\r\nRetry-After: 2\r\n" in answer
        and b"\r\nContent-Type: text/html" in answer
        and b"<title>Jupyter is starting" in body
        and (b'http-equiv="refresh"' in body or b"data-refresh" in body)
    )


def is_starting_json(answer: bytes) -> bool:
    return (
        status_of(answer) == 503
        and b"\r\nRetry-After: 2\r\n" in answer
        and json.loads(body_of(answer))["error"]["code"] == "JUPYTER_STARTING"
    )


async def all_works(rig: Rig) -> bool:
    """For people, programs and pages, at Jupyter and behind it."""
    answers = [
        await rig.get("/lab", extra=PERSON),
        await rig.get("/api/kernels"),
        await rig.get("/api/kernels", extra=SCRIPT),
        await rig.get("/proxy/8501/", extra=PERSON),
        await rig.get("/api/sessions", method="POST", extra="Content-Length: 0\r\n"),
    ]
    assert b"mine" in answers[3] or status_of(answers[3]) != 200
    return [status_of(answer) for answer in answers] == [200] * 5 and status_of(await upgrade(rig)) == 101


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_jupyter_starts_again_under_a_live_session(rig: Rig, clock: FakeClock, fault: str) -> None:
    """By a lifecycle script, or by hand: two minutes in which people and programs look again all the time."""
    assert await all_works(rig)
    FAULTS[fault](rig)
    await clock.advance(31)  # an application's page is looked at again by now
    for _ in range(20):
        assert is_starting_page(await rig.get("/lab", extra=PERSON))
        assert is_starting_page(await rig.get("/nbclassic/tree", extra=PERSON))
        assert is_starting_json(await rig.get("/api/kernels"))
        assert is_starting_json(await rig.get("/api/contents/a", extra=SCRIPT))
        assert status_of(await upgrade(rig)) == 503
        if fault not in {"404", "500"}:
            # Of those two, an application's own are too many.
            assert is_starting_page(await rig.get("/proxy/8501/", extra=PERSON))
        answer = await rig.get("/api/sessions", method="POST", extra="Content-Length: 0\r\n")
        assert status_of(answer) == (504 if fault in PASSED_ON else 503)
        await clock.advance(6)
    assert urls(rig) == 1
    asked = rig.sandbox.calls[DESCRIBE]
    # One is the error page's, which says what it knows of the instance.
    assert asked <= (1 if "page" in fault else 24)
    await rig.sandbox.faults.clear()
    await clock.advance(2)
    assert await all_works(rig)
    assert urls(rig) == 1
    assert rig.sandbox.instances[NAME].counts.sign_ins == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_jupyter_is_not_up_yet_when_the_first_one_comes(rig: Rig, clock: FakeClock, fault: str) -> None:
    """After InService. The one URL that is made is used as soon as it is taken."""
    FAULTS[fault](rig)
    for _ in range(20):
        assert is_starting_page(await rig.get("/lab", extra=PERSON))
        assert is_starting_json(await rig.get("/api/kernels"))
        assert is_starting_json(await rig.get("/api/contents/a", extra=SCRIPT))
        assert status_of(await upgrade(rig)) == 503
        await clock.advance(6)
    assert urls(rig) == 1
    await rig.sandbox.faults.clear()
    await clock.advance(2)
    assert await all_works(rig)
    assert urls(rig) == 1
    assert rig.sandbox.instances[NAME].counts.sign_in_failures == 0


@pytest.mark.parametrize("fault", ["loading page", "loading page for everybody", "502"])
@pytest.mark.parametrize("was_up", [True, False])
async def test_a_page_that_had_rather_wait_has_its_websocket_within_two_seconds(
    tmp_path: Path, clock: FakeClock, fault: str, was_up: bool
) -> None:
    async with open_rig(tmp_path, clock=clock) as rig:
        rig.upstream.handler = jupyter
        if was_up:
            assert await all_works(rig)
        FAULTS[fault](rig)
        page = await dial(rig.port)
        page.send(
            f"GET /terminals/websocket/1 HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: Upgrade\r\n{HANDSHAKE}"
            f"Origin: {rig.origin}\r\n\r\n".encode()
        )
        await eventually(lambda: len(rig.gateway.plane.outages) == 1)
        for _ in range(5):
            await clock.advance(1)
        # The last try has ended, and nothing more is under way.
        await eventually(lambda: len(rig.gateway.plane.outages) == 1)
        assert page.is_silent
        await rig.sandbox.faults.clear()
        await clock.advance(1)
        assert (await page.head()).startswith(b"HTTP/1.1 101 ")
        assert urls(rig) == 1
        page.close()


@pytest.mark.parametrize("single_use", [False, True])
async def test_a_url_that_is_good_once_is_enough(tmp_path: Path, clock: FakeClock, single_use: bool) -> None:
    async with open_rig(tmp_path, clock=clock) as rig:
        rig.sandbox.faults.single_use_urls(on=single_use)
        for shape in (Loading.EVERYBODY, Loading.SIGNED_IN, Loading.OFF):
            rig.sandbox.faults.load(shape=shape)
            status = status_of(await rig.get("/api/status"))
            assert status == (200 if shape is Loading.OFF else 503)
            await clock.advance(2)
        assert (urls(rig), rig.sandbox.instances[NAME].counts.sign_in_failures) == (1, 0)


async def test_a_url_that_grew_old_while_jupyter_was_starting_is_replaced_once(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with open_rig(tmp_path, clock=clock) as rig:
        rig.sandbox.faults.load(shape=Loading.EVERYBODY)
        for _ in range(27):
            assert is_starting_json(await rig.get("/api/status"))
            await clock.advance(9.9)
        assert urls(rig) == 1
        await clock.advance(5)
        assert is_starting_json(await rig.get("/api/status"))
        assert urls(rig) == 2


@pytest.mark.parametrize("status", [400, 404, 502, 503])
async def test_an_instance_that_was_stopped_elsewhere_is_told_as_that(
    tmp_path: Path, clock: FakeClock, status: int
) -> None:
    """The front end's own error is all that says so; SageMaker is asked before anything is said."""
    async with open_rig(tmp_path, clock=clock) as rig:
        assert status_of(await rig.get("/api/status")) == 200
        rig.sandbox.faults.set_status(status="Stopped")
        rig.sandbox.faults.answer(status=status)
        answers = await asyncio.gather(*(rig.get("/api/kernels") for _ in range(20)))
        for answer in answers:
            assert status_of(answer) == 503
            assert json.loads(body_of(answer))["error"]["instance_status"] == "Stopped"
        assert b"The notebook instance is stopped" in await rig.get("/lab", extra=PERSON)
        assert urls(rig) == 1
        assert rig.sandbox.calls[DESCRIBE] == 1


async def test_signed_out_where_jupyter_is_up_is_signed_in_again(rig: Rig, clock: FakeClock) -> None:
    """The console's redirect, with the path in it, also of what runs behind Jupyter."""
    rig.sandbox.faults.signed_out_as(shape=SignedOutShape.CONSOLE)
    assert await all_works(rig)
    for number, target in enumerate(["/lab", "/api/kernels", "/proxy/9250/explorer/manifest.json"], start=2):
        rig.sandbox.faults.expire_sessions()
        await clock.advance(200)
        assert status_of(await rig.get(target)) == 200
        assert urls(rig) == number
    rig.sandbox.faults.expire_sessions()
    await clock.advance(200)
    assert status_of(await upgrade(rig)) == 101
    assert urls(rig) == 5


async def test_signed_out_while_jupyter_is_starting_is_signed_in_again_once(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with open_rig(tmp_path, clock=clock) as rig:
        assert status_of(await rig.get("/api/status")) == 200
        rig.sandbox.faults.load()
        rig.sandbox.faults.expire_sessions()
        for _ in range(10):
            assert is_starting_json(await rig.get("/api/kernels"))
            await clock.advance(5)
        assert urls(rig) == 2
        await rig.sandbox.faults.clear()
        await clock.advance(2)
        assert status_of(await rig.get("/api/kernels")) == 200
        assert urls(rig) == 2


async def test_a_page_is_no_proof_and_is_doubted_in_the_end(tmp_path: Path, clock: FakeClock) -> None:
    """A front end that says "signed out" with a page costs ten minutes, and one URL; not twelve hours."""
    async with open_rig(tmp_path, clock=clock) as rig:
        rig.sandbox.faults.signed_out_as(shape=SignedOutShape.PAGE)
        assert status_of(await rig.get("/api/status")) == 200
        rig.sandbox.faults.expire_sessions()
        for _ in range(20):
            assert is_starting_json(await rig.get("/api/status"))
            await clock.advance(30)
        assert urls(rig) == 1
        assert status_of(await rig.get("/api/status")) == 200
        assert urls(rig) == 2


# -- Jupyter's own refusals


REFUSALS = {
    "a password of Jupyter's own": (403, {"message": "Forbidden", "reason": None}),
    "XSRF": (403, {"message": "'_xsrf' argument missing from POST", "reason": None}),
    "a hidden file": (404, {"message": "file not found", "reason": None}),
    "a fault of Jupyter's own": (500, {"message": "Unhandled error", "reason": None, "traceback": ""}),
    "an argument": (400, {"message": "no", "reason": None}),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_jupyter_refuses_costs_nothing(rig: Rig, clock: FakeClock, refusal: str) -> None:
    """A minute of it, whether the front end hides `Server` or all marks."""
    status, body = REFUSALS[refusal]

    async def refuses(request: web.BaseRequest) -> web.StreamResponse:
        is_open = request.raw_path.startswith("/api/status") and "password" not in refusal
        if is_open:
            return web.json_response({"started": "x"}, headers=SERVER | POLICY)
        if request.raw_path == "/":
            return await jupyter(request)
        if request.raw_path == "/lab" and "password" in refusal:
            return web.Response(status=302, headers=SERVER | POLICY | {"Location": "/login?next=%2Flab"})
        return web.json_response(body, status=status, headers=SERVER | POLICY)

    rig.upstream.handler = refuses
    for _ in range(20):
        for method in ("GET", "POST", "DELETE"):
            answer = await rig.get("/api/contents/.a", method=method, extra="Content-Length: 0\r\n")
            assert (status_of(answer), json.loads(body_of(answer))) == (status, body)
        answer = await rig.get("/lab", extra=PERSON)
        assert status_of(answer) == (302 if "password" in refusal else status)
        await clock.advance(3)
    assert urls(rig) == 1
    assert rig.sandbox.calls[DESCRIBE] == 0


# -- cookies by which the front end steers its page


async def test_steering_cookies_reach_no_browser_and_no_session(tmp_path: Path, clock: FakeClock) -> None:
    instances = [InstanceSpec(name=NAME, steering_cookies=True, reissue_cookies=True)]
    async with open_rig(tmp_path, instances=instances, clock=clock) as rig:
        rig.upstream.handler = jupyter
        names = (b"expiryTime", b"redirectURL", b"authMode", b"ssoExpiryTimestamp")
        for target in ("/lab", "/api/status", "/files/a", "/proxy/8501/", "/proxy/8501/deep?x=1"):
            answer = await rig.get(target)
            assert status_of(answer) == 200
            assert not any(name in answer for name in names)
        for target in ("/api/kernels/1/channels", "/terminals/websocket/1"):
            answer = await upgrade(rig, target)
            assert status_of(answer) == 101
            assert not any(name in answer for name in names)
        sent = " ".join(value for seen in rig.upstream.seen for value in seen.values("Cookie"))
        assert not any(name.decode() in sent for name in names)
        session = await rig.gateway.plane.keeper("research").acquire()
        assert session.cookie_names == {b"nb-auth", b"nb-session"}


async def test_an_applications_own_cookie_of_such_a_name_passes(tmp_path: Path) -> None:
    async def application(_request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text="mine")
        response.headers.add("Set-Cookie", "authMode=dark; Path=/")
        response.headers.add("Set-Cookie", "expiryTime=tomorrow")
        return response

    async with open_rig(tmp_path, instances=[InstanceSpec(name=NAME, steering_cookies=True)]) as rig:
        rig.upstream.handler = application
        answer = await rig.get("/proxy/8501/")
        assert answer.lower().count(b"\r\nset-cookie:") == 2
        assert b"authMode=dark; Path=/" in answer
        assert b"expiryTime=tomorrow" in answer
