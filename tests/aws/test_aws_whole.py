"""The keeper on top of real boto3 and the real exchange: counts, and a search of all that was said for secrets."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import pytest

from proxy.aws.exchange import NotebookExchange
from proxy.aws.hosts import NotebookHosts
from proxy.aws.keeper import SessionKeeper
from proxy.aws.notebook_api import QuestionLimits, honours
from proxy.aws.presigned import PresignedUrlCache, SessionKey
from proxy.aws.sagemaker import AwsOptions
from proxy.chance import jitter
from proxy.errors import NbgateError, SessionRejected
from proxy.tasks import Tasks
from tests.aws.fakes import COOKIE_SECRET, SECRET
from tests.aws.servers import Build, NotebookHost, SageMakerApi, redirect
from tests.harness.clocks import FakeClock


@dataclass
class Whole:
    keeper: SessionKeeper
    api: SageMakerApi
    host: NotebookHost
    clock: FakeClock
    background: list[str]

    @property
    def exchanges(self) -> int:
        return sum("authToken" in target for target in self.host.targets)


@pytest.fixture
async def whole(
    api: SageMakerApi,
    build: Build,
    options: AwsOptions,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[Whole]:
    caplog.set_level(logging.DEBUG)
    host = NotebookHost()
    await host.start()
    host.signs_in()
    api.put("nb")
    api.url = host.url
    background: list[str] = []
    tasks = Tasks(lambda name, error: background.append(name + "".join(traceback.format_exception(error))))
    keeper = SessionKeeper(
        SessionKey("nb"),
        control_plane=build(options).control_plane(),
        urls=PresignedUrlCache(clock),
        exchange=NotebookExchange(
            NotebookHosts("eu-west-1", test_origins=frozenset({host.origin})), clock=clock
        ),
        honours=partial(honours, limits=QuestionLimits()),
        clock=clock,
        jitter=jitter,
        tasks=tasks,
    )
    yield Whole(keeper, api, host, clock, background)
    await tasks.close()
    await host.close()
    said = caplog.text + repr(background)
    assert SECRET not in said
    assert COOKIE_SECRET not in said


async def test_200_first_callers_cause_one_call_and_one_exchange(whole: Whole) -> None:
    sessions = await asyncio.gather(*(whole.keeper.acquire() for _ in range(200)))
    assert len({id(session) for session in sessions}) == 1
    assert [operation for operation, _ in whole.api.calls] == ["CreatePresignedNotebookInstanceUrl"]
    assert whole.exchanges == 1
    assert SECRET not in repr(sessions[0])
    assert COOKIE_SECRET not in repr(sessions[0])


async def test_past_expiry_each_caller_gets_a_new_session(whole: Whole) -> None:
    await whole.keeper.acquire()
    await whole.clock.advance(43200)
    sessions = await asyncio.gather(*(whole.keeper.acquire() for _ in range(50)))
    assert {session.generation for session in sessions} == {2}
    assert (len(whole.api.calls), whole.exchanges) == (2, 2)


async def test_50_callers_that_were_signed_out_cause_one_renewal(whole: Whole) -> None:
    session = await whole.keeper.acquire()

    async def meet_sign_out() -> int:
        assert whole.keeper.reject(session)
        return (await whole.keeper.acquire()).generation

    assert await asyncio.gather(*(meet_sign_out() for _ in range(50))) == [2] * 50
    assert (len(whole.api.calls), whole.exchanges) == (2, 2)


async def test_a_sign_in_that_is_always_refused_is_one_error_for_all(whole: Whole) -> None:
    whole.host.answers["/"] = redirect("https://signin.aws.amazon.com/oauth")
    failures = await asyncio.gather(*(whole.keeper.acquire() for _ in range(50)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {SessionRejected}
    assert (len(whole.api.calls), whole.exchanges) == (2, 2)
    for failure in failures:
        assert isinstance(failure, NbgateError)
        assert SECRET not in "".join(traceback.format_exception(failure)) + failure.detail
    # The keeper's news tells of it, and nobody else.
    assert not whole.background
