"""The gateway's own questions to Jupyter: no activity, bounded, and with a session that is renewed if need be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiohttp import web
from yarl import URL

from proxy.aws.notebook_api import JupyterAnswer, QuestionLimits, ask_jupyter, honours
from proxy.aws.sessions import StatusMeaning, UpstreamSession
from proxy.errors import (
    InstanceNotInService,
    JupyterStarting,
    NbgateError,
    SessionRejected,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.upstream import Honoured, Origin
from tests.aws.fakes import COOKIE_SECRET, jar
from tests.aws.servers import JUPYTER, Answer, NotebookHost, hang_up, redirect, reply

PATHS = ("/api/status", "/api/kernels")
LIMITS = QuestionLimits(answer_bytes=1000)
SIGN_IN = "https://eu-west-1.signin.aws.amazon.com/"


@dataclass
class Keeper:
    """A session that is there, or `failure`; a rejected one has a successor while `renewals` last."""

    origin: str
    renewals: int = 1
    failure: NbgateError | None = None
    acquired: int = 0
    rejected: list[UpstreamSession] = field(default_factory=list)

    async def acquire(self) -> UpstreamSession:
        self.acquired += 1
        if self.failure is not None:
            raise self.failure
        origin = Origin.of(URL(self.origin))
        number = len(self.rejected) + 1
        cookies = jar(
            f"FrontEnd={COOKIE_SECRET}-{number}".encode(),
            host=origin.host,
            now=datetime(2026, 1, 1, tzinfo=UTC),
        )
        return UpstreamSession(
            origin,
            cookies,
            obtained_at=0.0,
            renew_at=1e9,
            expires_at=2e9,
            generation=number,
            jupyter_shows=True,
        )

    async def honoured(self, session: UpstreamSession) -> Honoured:
        said = await honours(session, LIMITS)
        return {StatusMeaning.YES: Honoured.YES, StatusMeaning.NO: Honoured.NO}.get(said, Honoured.UNTOLD)

    def reject(self, session: UpstreamSession) -> bool:
        self.rejected.append(session)
        return len(self.rejected) <= self.renewals


@pytest.fixture
async def host() -> AsyncIterator[NotebookHost]:
    host = NotebookHost()
    host.answers["/api/status"] = reply(200, "{}", "application/json", headers=JUPYTER)
    host.answers["/api/kernels"] = reply(200, "[]", "application/json", headers=JUPYTER)
    await host.start()
    yield host
    await host.close()


async def test_questions_are_asked_in_order_and_are_no_activity(host: NotebookHost) -> None:
    status, kernels = await ask_jupyter(Keeper(host.origin), PATHS, LIMITS)
    assert (status.status, status.body) == (200, b"{}")
    assert kernels.body == b"[]"
    assert kernels.date.endswith("GMT")
    assert host.targets == ["/api/status?no_track_activity=1", "/api/kernels?no_track_activity=1"]
    assert [seen.cookie for seen in host.seen] == [f"FrontEnd={COOKIE_SECRET}-1"] * 2


async def test_what_is_not_there_is_told_as_such(host: NotebookHost) -> None:
    host.answers["/api/kernels"] = reply(404, "no", headers=JUPYTER | {"Date": "today"})
    told = await ask_jupyter(Keeper(host.origin), PATHS, LIMITS)
    assert told[1] == JupyterAnswer(404, b"no", "today")


SIGNED_OUT = {
    "sign-in host": redirect(SIGN_IN),
    "401": reply(401),
    "403": reply(403),
}
PAGE = reply(200, '<meta http-equiv="refresh" content="5">', "text/html")
"""In Jupyter's place, while that is starting."""


def signed_out_at_first(good: Answer, answer: Answer) -> Answer:
    async def answering(request: web.Request) -> web.StreamResponse:
        return await (answer if request.headers["Cookie"].endswith("-1") else good)(request)

    return answering


@pytest.mark.parametrize("answer", SIGNED_OUT.values(), ids=SIGNED_OUT)
async def test_a_session_that_is_over_is_renewed_once(host: NotebookHost, answer) -> None:
    for path in PATHS:
        host.answers[path] = signed_out_at_first(host.answers[path], answer)
    keeper = Keeper(host.origin)
    assert len(await ask_jupyter(keeper, PATHS, LIMITS)) == 2
    assert keeper.acquired == 2
    assert len(keeper.rejected) == 1


@pytest.mark.parametrize("answer", SIGNED_OUT.values(), ids=SIGNED_OUT)
async def test_an_answer_that_only_looks_like_it_costs_nobody_the_session(host: NotebookHost, answer) -> None:
    """`GET /api/status` tells whether the session is over; one path of another opinion does not."""
    host.answers["/api/kernels"] = answer
    keeper = Keeper(host.origin)
    with pytest.raises(SessionRejected):
        await ask_jupyter(keeper, PATHS, LIMITS)
    assert keeper.rejected == []


@pytest.mark.parametrize("answer", SIGNED_OUT.values(), ids=SIGNED_OUT)
async def test_where_that_does_not_help_nothing_is_read(host: NotebookHost, answer) -> None:
    host.answers["/api/status"] = answer
    keeper = Keeper(host.origin)
    with pytest.raises(SessionRejected):
        await ask_jupyter(keeper, PATHS, LIMITS)
    assert keeper.acquired == 2
    unrenewed = Keeper(host.origin, renewals=0)
    with pytest.raises(SessionRejected):
        await ask_jupyter(unrenewed, PATHS, LIMITS)
    assert unrenewed.acquired == 1


@pytest.mark.parametrize(
    "answer",
    [
        reply(500, headers=JUPYTER),
        reply(403, headers=JUPYTER),
        reply(204),
        redirect("/login", status=302),
        reply(200, "x" * 1001, headers=JUPYTER),
    ],
    ids=["500", "Jupyter's own 403", "204", "login", "too large"],
)
async def test_any_other_answer_is_none(host: NotebookHost, answer) -> None:
    host.answers["/api/kernels"] = answer
    with pytest.raises(UpstreamInvalid):
        await ask_jupyter(Keeper(host.origin), PATHS, LIMITS)


async def test_an_answer_of_exactly_the_bound_passes(host: NotebookHost) -> None:
    host.answers["/api/kernels"] = reply(200, "x" * 1000, headers=JUPYTER)
    told = await ask_jupyter(Keeper(host.origin), PATHS, LIMITS)
    assert len(told[1].body) == 1000


async def test_a_broken_connection_is_unreachable(host: NotebookHost) -> None:
    host.answers["/api/kernels"] = hang_up()
    with pytest.raises(UpstreamUnreachable):
        await ask_jupyter(Keeper(host.origin), PATHS, LIMITS)


async def test_what_signing_in_raises_is_raised(host: NotebookHost) -> None:
    with pytest.raises(InstanceNotInService):
        await ask_jupyter(Keeper(host.origin, failure=InstanceNotInService()), PATHS, LIMITS)
    assert host.seen == []


async def test_an_answer_that_does_not_come_is_not_waited_for(host: NotebookHost) -> None:
    never = asyncio.Event()

    async def hangs(_request: web.Request) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    host.answers["/api/kernels"] = hangs
    with pytest.raises(UpstreamTimeout):
        await ask_jupyter(Keeper(host.origin), PATHS, QuestionLimits(total_seconds=0.2))
    never.set()


# -- whether a session is honoured


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        *[(answer, StatusMeaning.NO) for answer in SIGNED_OUT.values()],
        (redirect("https://elsewhere.example/"), StatusMeaning.NO),
        (reply(200, "{}", "application/json", headers=JUPYTER), StatusMeaning.YES),
        (reply(200, "{}", "application/json"), StatusMeaning.YES),
        (reply(403, headers=JUPYTER), StatusMeaning.YES),
        (reply(500, headers=JUPYTER), StatusMeaning.YES),
        (reply(403, '{"message": "Forbidden", "reason": null}', "application/json"), StatusMeaning.YES),
        (redirect("/login?next=%2Fapi%2Fstatus"), StatusMeaning.YES),
        (reply(400), StatusMeaning.FAULT),
        (reply(404), StatusMeaning.FAULT),
        (reply(502), StatusMeaning.FAULT),
        (reply(204), StatusMeaning.NOTHING),
        (hang_up(), StatusMeaning.NOTHING),
    ],
)
async def test_the_front_end_says_whether_a_session_holds(
    host: NotebookHost, answer, told: StatusMeaning
) -> None:
    host.answers["/api/status"] = answer
    session = await Keeper(host.origin).acquire()
    assert await honours(session, LIMITS) is told
    assert set(host.targets) == {"/api/status?no_track_activity=1"}


@pytest.mark.parametrize(
    ("to_anybody", "told"),
    [
        (redirect(SIGN_IN), StatusMeaning.STARTING),
        (reply(401), StatusMeaning.STARTING),
        (PAGE, StatusMeaning.PAGE),
        (reply(502), StatusMeaning.PAGE),
    ],
    ids=["redirect", "401", "the same", "502"],
)
async def test_a_page_is_told_apart_by_what_those_see_who_are_not_signed_in(
    host: NotebookHost, to_anybody: Answer, told: StatusMeaning
) -> None:
    async def answering(request: web.Request) -> web.StreamResponse:
        return await (PAGE if "Cookie" in request.headers else to_anybody)(request)

    host.answers["/api/status"] = answering
    assert await honours(await Keeper(host.origin).acquire(), LIMITS) is told
    assert [seen.cookie is not None for seen in host.seen] == [True, False]


async def test_of_a_body_only_the_beginning_is_looked_at(host: NotebookHost) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=403, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with suppress(ConnectionError, asyncio.CancelledError):
            while True:
                await response.write(b" " * 65536)
        return response

    host.answers["/api/status"] = endless
    assert await honours(await Keeper(host.origin).acquire(), LIMITS) is StatusMeaning.NO


@pytest.mark.parametrize(
    ("status", "fields", "said"),
    [
        (200, {"Content-Type": "application/json"}, StatusMeaning.YES),
        (403, {"Content-Type": "application/json"} | JUPYTER, StatusMeaning.YES),
        (200, {"Content-Type": "text/html"}, StatusMeaning.PAGE),
        (502, {"Content-Type": "text/html"}, StatusMeaning.FAULT),
    ],
)
async def test_what_a_head_tells_waits_for_no_body(
    host: NotebookHost, status: int, fields: dict[str, str], said: StatusMeaning
) -> None:
    never = asyncio.Event()

    async def begins(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=fields)
        await response.prepare(request)
        await never.wait()
        return response

    host.answers["/api/status"] = begins
    assert await honours(await Keeper(host.origin).acquire(), LIMITS) is said
    never.set()


@pytest.mark.parametrize("path", PATHS)
async def test_while_jupyter_is_starting_nothing_is_read_and_nobody_signs_in(
    host: NotebookHost, path: str
) -> None:
    host.answers[path] = PAGE
    keeper = Keeper(host.origin)
    with pytest.raises(JupyterStarting):
        await ask_jupyter(keeper, PATHS, LIMITS)
    assert (keeper.acquired, keeper.rejected) == (1, [])


async def test_a_front_end_that_does_not_answer_says_nothing(host: NotebookHost) -> None:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    host.answers["/api/status"] = silent
    session = await Keeper(host.origin).acquire()
    assert await honours(session, QuestionLimits(total_seconds=0.05)) is StatusMeaning.NOTHING
    await host.close()
    assert await honours(session, LIMITS) is StatusMeaning.NOTHING
