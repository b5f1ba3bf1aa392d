"""`nbgate probe` tells each step of a sign-in, and nothing that could not be posted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.aws import probe
from proxy.aws.control_plane import InstanceDescription
from proxy.aws.exchange import ExchangeOptions
from proxy.aws.hosts import NotebookHosts
from proxy.aws.presigned import PresignedUrl
from proxy.aws.probe_questions import EVENTS_TARGET, LineKind
from proxy.chance import new_id
from proxy.errors import InstanceNotFound, PermissionMissing
from tests.aws.fakes import COOKIE_SECRET, NOTEBOOK, SECRET, FakeControlPlane
from tests.aws.servers import Answer, NotebookHost, redirect, reply, session_cookie
from tests.harness.clocks import FakeClock


class ControlPlaneOf(FakeControlPlane):
    """Gives URLs of a host of the test; describing may fail without signing in failing."""

    def __init__(self, url: str) -> None:
        super().__init__(FakeClock())
        self.put(NOTEBOOK)
        self.url = url

    async def create_presigned_url(self, notebook: str, *, session_seconds: int) -> PresignedUrl:
        minted = await super().create_presigned_url(notebook, session_seconds=session_seconds)
        return PresignedUrl(self.url, requested_at=minted.requested_at)


class Output:
    def __init__(self) -> None:
        self.lines: list[tuple[LineKind, str]] = []

    def say(self, kind: LineKind, text: str) -> None:
        assert SECRET not in text
        assert COOKIE_SECRET not in text
        self.lines.append((kind, text))

    @property
    def text(self) -> str:
        return "\n".join(text for _, text in self.lines)

    def of(self, kind: LineKind) -> list[str]:
        return [text for said, text in self.lines if said is kind]


async def upgrade(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket


@pytest.fixture
async def host() -> AsyncIterator[NotebookHost]:
    host = NotebookHost()
    await host.start()
    host.signs_in()
    host.answers[EVENTS_TARGET] = upgrade
    yield host
    await host.close()


async def run(
    host: NotebookHost, control_plane: FakeControlPlane, output: Output, *, total_seconds: float = 20.0
) -> int:
    return await probe.run(
        NOTEBOOK,
        control_plane=control_plane,
        hosts=NotebookHosts("eu-west-1", test_origins=frozenset({host.origin})),
        clock=FakeClock(),
        new_id=new_id,
        say=output.say,
        options=ExchangeOptions(total_seconds=total_seconds),
    )


async def test_a_whole_sign_in(host: NotebookHost) -> None:
    output = Output()
    control_plane = ControlPlaneOf(host.url)
    assert await run(host, control_plane, output) == 0
    assert output.of(LineKind.STEP) == [
        "DescribeNotebookInstance",
        "CreatePresignedNotebookInstanceUrl for a session of 1800 s",
        "Exchange of the URL, and a first request to the API",
        "WebSocket to /api/events/subscribe",
        "The same URL a second time",
        "Without a cookie",
        "With the session",
    ]
    assert output.of(LineKind.BAD) == []
    assert f"{NOTEBOOK}: InService, ml.t3.medium" in output.text
    assert "query authToken" in output.text
    assert f"GET {host.origin}/ -> 302" in output.text
    assert f"Location: {host.origin}/lab" in output.text
    size = len(COOKIE_SECRET)
    assert f"FrontEnd ({size} characters; path=/; secure; httponly; samesite=None; kept)" in output.text
    assert "_xsrf (6 characters; Jupyter's)" in output.text
    assert f"GET {host.origin}/api/status -> 200" in output.text
    assert "101, the connection was upgraded" in output.text
    handshakes = [seen.cookie for seen in host.seen if seen.target == EVENTS_TARGET]
    # With the session, without it, and with it once more.
    assert handshakes == [f"FrontEnd={COOKIE_SECRET}", None, f"FrontEnd={COOKIE_SECRET}"]
    assert control_plane.session_seconds == [1800]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (reply(403), "403 instead of 101"),
        (redirect(f"https://signin.aws.amazon.com/x?{SECRET}"), "redirected to signin.aws.amazon.com"),
        (redirect(f"/login?next={SECRET}"), "redirected to its own host"),
        (reply(404, headers={"Server": "TornadoServer/6"}), "404 instead of 101 (TornadoServer/6)."),
    ],
)
async def test_a_websocket_that_is_refused(host: NotebookHost, answer: Answer, line: str) -> None:
    host.answers[EVENTS_TARGET] = answer
    output = Output()
    assert await run(host, ControlPlaneOf(host.url), output) == 1
    assert line in output.text


async def test_a_websocket_that_is_not_answered(host: NotebookHost) -> None:
    async def silence(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    host.answers[EVENTS_TARGET] = silence
    output = Output()
    assert await run(host, ControlPlaneOf(host.url), output, total_seconds=0.3) == 1
    assert "UPSTREAM_TIMEOUT" in output.text


async def test_the_hop_that_fails_is_told_too(host: NotebookHost) -> None:
    host.answers["/"] = redirect(f"https://signin.aws.amazon.com/oauth?token={SECRET}")
    output = Output()
    assert await run(host, ControlPlaneOf(host.url), output) == 1
    assert "-> 302" in output.text
    assert "Location: https://signin.aws.amazon.com/oauth" in output.text
    assert "SESSION_REJECTED" in output.text


async def test_unknown_attributes_are_told_by_name_only(host: NotebookHost) -> None:
    host.answers["/"] = redirect("/lab", cookies=[session_cookie(), f"b=1; Path=/; X-Token={SECRET};"])
    output = Output()
    assert await run(host, ControlPlaneOf(host.url), output) == 0
    assert "b (1 characters; path=/; x-token; kept)" in output.text


@pytest.mark.parametrize("query", ["?{}", "?authToken={}&{}=1"])
async def test_a_token_in_place_of_a_name_is_not_told(host: NotebookHost, query: str) -> None:
    output = Output()
    await run(host, ControlPlaneOf(host.origin + query.format(SECRET, SECRET)), output)
    assert "***" in output.text


async def test_a_url_that_is_none(host: NotebookHost) -> None:
    output = Output()
    assert await run(host, ControlPlaneOf(f"https://[{SECRET}"), output) == 1
    assert "something that is no URL" in output.text
    assert "UPSTREAM_INVALID" in output.text


async def test_a_role_that_may_not_describe_still_signs_in(host: NotebookHost) -> None:
    class MayNotDescribe(ControlPlaneOf):
        described = 0

        async def describe(self, notebook: str) -> InstanceDescription:
            self.described += 1
            if self.described == 1:
                raise PermissionMissing(detail="DescribeNotebookInstance: AccessDeniedException")
            return await super().describe(notebook)

    output = Output()
    assert await run(host, MayNotDescribe(host.url), output) == 0
    assert "trying to sign in all the same" in output.text


async def test_the_number_of_the_account_is_not_told(host: NotebookHost) -> None:
    control_plane = ControlPlaneOf(host.url)
    denial = "User: arn:aws:sts::123456789012:assumed-role/nbgate/nbgate is not authorized"
    control_plane.failures += [PermissionMissing(detail=denial), PermissionMissing(detail=denial)]
    output = Output()
    assert await run(host, control_plane, output) == 1
    assert "arn:aws:sts::ACCOUNT:assumed-role/nbgate/nbgate" in output.text
    assert "123456789012" not in output.text


async def test_a_missing_instance_ends_it(host: NotebookHost) -> None:
    control_plane = ControlPlaneOf(host.url)
    control_plane.failures.append(InstanceNotFound())
    output = Output()
    assert await run(host, control_plane, output) == 1
    assert output.of(LineKind.BAD) == [f"INSTANCE_NOT_FOUND: {InstanceNotFound.default_message}"]
    assert host.seen == []
