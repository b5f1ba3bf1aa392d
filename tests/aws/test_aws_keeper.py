"""What `SessionKeeper` promises: one sign-in whoever asks, renewal that nobody notices, failures without storms."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable

import pytest

from proxy.aws.cookies import MAX_COOKIE_BYTES, Unkept
from proxy.aws.keeper import KeeperOptions, SessionKeeper
from proxy.aws.presigned import PresignedUrl, PresignedUrlCache, SessionKey
from proxy.aws.session_news import Loss, Lost, News, NotObtained, Obtained
from proxy.aws.session_states import SessionEvent, SessionState
from proxy.aws.sessions import (
    NotConnected,
    NotLetThrough,
    NotReady,
    NotTrusted,
    StatusMeaning,
    UpstreamSession,
)
from proxy.chance import jitter
from proxy.errors import (
    ControlPlaneFailed,
    CredentialsMissing,
    Draining,
    InstanceNotFound,
    InstanceNotInService,
    InternalError,
    JupyterStarting,
    NbgateError,
    PermissionMissing,
    SessionRejected,
    SigningIn,
    SignInTimeout,
    Throttled,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.tasks import Tasks
from proxy.upstream import Honoured
from tests.aws.fakes import COOKIE_SECRET, NOTEBOOK, SECRET, FakeControlPlane, FakeExchange, JitterFn, whole
from tests.harness.clocks import FakeClock
from tests.harness.waiting import settle

HOURS_12 = 43200


class World:
    """A keeper with all that it talks to."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.control_plane = FakeControlPlane(self.clock)
        self.control_plane.put(NOTEBOOK)
        self.exchange = FakeExchange()
        self.urls = PresignedUrlCache(self.clock)
        self.task_errors: list[BaseException] = []
        self.tasks = Tasks(lambda _name, error: self.task_errors.append(error))
        self.events: list[tuple[SessionEvent, SessionState]] = []
        self.unkept: list[Unkept] = []
        self.news: list[News] = []
        self.honoured_as = StatusMeaning.YES
        self.front_end_fault: Exception | None = None
        self.asked: list[int] = []
        self.asking = asyncio.Event()
        self.asking.set()
        self.keeper = self.build()

    def build(
        self, options: KeeperOptions = KeeperOptions(), *, notebook: str = NOTEBOOK, jitter: JitterFn = whole
    ) -> SessionKeeper:
        return SessionKeeper(
            SessionKey(notebook),
            control_plane=self.control_plane,
            urls=self.urls,
            exchange=self.exchange,
            honours=self.front_end,
            clock=self.clock,
            jitter=jitter,
            tasks=self.tasks,
            options=options,
            on_event=lambda _key, event, state: self.events.append((event, state)),
            on_unkept=lambda _origin, unkept: self.unkept.extend(unkept),
            on_news=lambda _key, news: self.news.append(news),
        )

    async def front_end(self, session: UpstreamSession) -> StatusMeaning:
        self.asked.append(session.generation)
        await self.asking.wait()
        if self.front_end_fault is not None:
            raise self.front_end_fault
        return self.honoured_as

    @property
    def calls(self) -> tuple[int, int]:
        """How many URLs were minted, how many exchanged."""
        return self.control_plane.minted, self.exchange.count


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.tasks.close()


async def failure_of(awaitable: Awaitable[object]) -> NbgateError:
    with pytest.raises(NbgateError) as caught:
        await awaitable
    return caught.value


# -- one bound for all of it


async def minting_hangs(world: World) -> None:
    """SageMaker takes the call and says nothing."""
    world.control_plane.gate.clear()


async def exchange_hangs(world: World) -> None:
    world.exchange.gate.clear()


async def second_exchange_hangs(world: World) -> None:
    """The first URL was refused in the end, and so another one is tried."""
    first = asyncio.Event()
    world.exchange.gates.append(first)
    world.exchange.failures.append(SessionRejected())
    world.exchange.gate.clear()

    async def refuse_late() -> None:
        await world.clock.sleep(12.0)
        first.set()

    world.tasks.start(refuse_late(), name="front end")


HANGS = [minting_hangs, exchange_hangs, second_exchange_hangs]


@pytest.mark.parametrize("hang", HANGS, ids=lambda hang: hang.__name__)
async def test_all_who_wait_are_told_together_however_many_steps_are_still_to_come(
    world: World, hang
) -> None:
    """Below a load balancer's 60 s, whose own 504 would end notebooks for good."""
    await hang(world)
    early = [asyncio.ensure_future(world.keeper.acquire(within_seconds=20.0)) for _ in range(50)]
    await settle()
    await world.clock.advance(15.0)
    late = [asyncio.ensure_future(world.keeper.acquire(within_seconds=20.0)) for _ in range(50)]
    await settle()
    await world.clock.advance(4.9)
    assert not any(caller.done() for caller in (*early, *late))
    await world.clock.advance(0.2)
    for caller in (*early, *late):
        told = await failure_of(caller)
        assert isinstance(told, SignInTimeout)
        assert (told.status, told.wait_seconds) == (503, 5)
    # Who comes now need not wait for what is late already.
    assert isinstance(await failure_of(world.keeper.acquire(within_seconds=20.0)), SignInTimeout)
    assert [event for event, _ in world.events].count(SessionEvent.LATE) == 1, "told once"
    minted = world.control_plane.minted
    world.control_plane.gate.set()
    world.exchange.gate.set()
    await world.clock.advance(30.0)
    session = world.keeper.live()
    assert session is not None, "it went on, and what it brought is used"
    assert await world.keeper.acquire() is session
    assert world.control_plane.minted <= minted + 1


async def test_a_sign_in_that_fails_late_is_followed_by_another(world: World) -> None:
    world.exchange.gate.clear()
    caller = asyncio.ensure_future(world.keeper.acquire(within_seconds=20.0))
    await settle()
    await world.clock.advance(20.0)
    assert isinstance(await failure_of(caller), SignInTimeout)
    world.exchange.failures.append(UpstreamTimeout())
    world.exchange.gate.set()
    await settle()
    assert isinstance(await failure_of(world.keeper.acquire()), UpstreamTimeout)
    await world.clock.advance(1.0)
    assert (await world.keeper.acquire()).generation == 1


async def test_who_has_less_patience_is_told_sooner_and_nobody_else(world: World) -> None:
    world.exchange.gate.clear()
    window = asyncio.ensure_future(world.keeper.acquire(patience_seconds=3.0))
    program = asyncio.ensure_future(world.keeper.acquire())
    await settle()
    await world.clock.advance(3.0)
    told = await failure_of(window)
    assert type(told) is SigningIn
    assert told.wait_seconds == 2
    assert not program.done()
    world.exchange.gate.set()
    assert (await program).generation == 1
    assert SessionEvent.LATE not in [event for event, _ in world.events]


# -- one sign-in for all


async def test_200_first_callers_cause_one_mint_and_one_exchange(world: World) -> None:
    world.control_plane.gate.clear()
    world.exchange.gate.clear()
    callers = [asyncio.ensure_future(world.keeper.acquire()) for _ in range(200)]
    await settle()
    world.control_plane.gate.set()
    await settle()
    world.exchange.gate.set()
    sessions = await asyncio.gather(*callers)
    assert world.calls == (1, 1)
    assert all(session is sessions[0] for session in sessions)
    assert world.keeper.live() is sessions[0]


async def test_a_closed_keeper_ends_its_sign_in_and_forgets_what_it_kept(world: World) -> None:
    """What an instance leaves behind when it is no longer served. Who still waits is told to come back."""
    url = await world.keeper.acquire()
    assert world.keeper.live() is url
    world.keeper.close()
    assert world.keeper.live() is None
    assert world.keeper.state is SessionState.COLD
    world.exchange.gate.clear()
    caller = asyncio.ensure_future(world.keeper.acquire())
    await settle()
    world.keeper.close()
    assert isinstance(await failure_of(caller), Draining)
    assert world.keeper.state is SessionState.COLD
    assert len(world.urls) == 0


async def test_a_session_is_over_when_its_time_is_up_or_it_was_turned_down_but_not_when_it_was_renewed(
    world: World,
) -> None:
    renewed = await world.keeper.acquire()
    await world.clock.advance(HOURS_12 - 200.0)
    assert world.keeper.live() is renewed  # and its successor is on the way
    await settle()
    rejected = world.keeper.live()
    assert rejected is not None
    assert rejected is not renewed
    assert not world.keeper.is_over(renewed)
    await world.clock.advance(200.0)
    assert world.keeper.is_over(renewed)
    assert not world.keeper.is_over(rejected)
    assert world.keeper.reject(rejected)
    assert world.keeper.is_over(rejected)
    dropped = await world.keeper.acquire()
    assert not world.keeper.is_over(dropped)
    world.keeper.drop()
    assert world.keeper.is_over(dropped)


async def test_a_failure_is_forgotten_when_the_instances_state_has_changed(world: World) -> None:
    world.control_plane.put(NOTEBOOK, "Stopped")
    assert isinstance(await failure_of(world.keeper.acquire()), InstanceNotInService)
    world.control_plane.put(NOTEBOOK)
    assert isinstance(await failure_of(world.keeper.acquire()), InstanceNotInService)
    world.keeper.retry()
    await world.keeper.acquire()
    assert world.calls == (2, 1)


async def test_a_dropped_session_serves_nobody_and_a_sign_in_goes_on(world: World) -> None:
    first = await world.keeper.acquire()
    world.keeper.drop()
    assert world.keeper.live() is None
    world.exchange.gate.clear()
    caller = asyncio.ensure_future(world.keeper.acquire())
    await settle()
    world.keeper.drop()
    world.exchange.gate.set()
    assert (await caller).generation == first.generation + 1


async def test_a_live_session_costs_no_call(world: World) -> None:
    first = await world.keeper.acquire()
    assert await world.keeper.acquire() is first
    assert world.calls == (1, 1)


async def test_a_cold_keeper_has_nothing_and_starts_nothing_on_live(world: World) -> None:
    assert world.keeper.live() is None
    await settle()
    assert world.calls == (0, 0)
    assert world.keeper.state is SessionState.COLD


async def test_a_cancelled_caller_cancels_nobody_else_not_even_the_one_who_started_it(world: World) -> None:
    world.exchange.gate.clear()
    first = asyncio.ensure_future(world.keeper.acquire())
    await settle()
    others = [asyncio.ensure_future(world.keeper.acquire()) for _ in range(3)]
    await settle()
    first.cancel()
    others[0].cancel()
    await settle()
    assert first.cancelled()
    assert others[0].cancelled()
    world.exchange.gate.set()
    assert (await others[1]) is (await others[2])
    assert world.calls == (1, 1)


async def test_a_sign_in_that_everybody_left_still_counts(world: World) -> None:
    world.exchange.gate.clear()
    caller = asyncio.ensure_future(world.keeper.acquire())
    await settle()
    caller.cancel()
    world.exchange.gate.set()
    await settle()
    assert world.keeper.live() is not None


async def test_shutdown_during_a_sign_in_is_told_to_the_waiters_as_draining(world: World) -> None:
    world.exchange.gate.clear()
    caller = asyncio.ensure_future(world.keeper.acquire())
    await settle()
    await world.tasks.close()
    assert isinstance(await failure_of(caller), Draining)
    assert world.keeper.state is SessionState.COLD


async def test_a_failing_mint_is_shared_by_all_waiters(world: World) -> None:
    world.control_plane.failures.append(PermissionMissing(detail="no"))
    world.control_plane.gate.clear()
    callers = [asyncio.ensure_future(world.keeper.acquire()) for _ in range(50)]
    await settle()
    world.control_plane.gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(result) for result in results} == {PermissionMissing}
    assert world.calls == (1, 0)


async def test_states_of_a_first_sign_in(world: World) -> None:
    await world.keeper.acquire()
    assert [state for _, state in world.events] == [
        SessionState.MINTING,
        SessionState.EXCHANGING,
        SessionState.LIVE,
    ]


# -- renewal


async def test_renewal_ahead_of_expiry_happens_beside_the_live_session(world: World) -> None:
    old = await world.keeper.acquire()
    await world.clock.advance(HOURS_12 - 300)
    world.exchange.gate.clear()
    assert world.keeper.live() is old
    assert await world.keeper.acquire() is old
    await settle()
    assert world.keeper.state is SessionState.REPLACING
    assert world.keeper.live() is old
    world.exchange.gate.set()
    await settle()
    new = world.keeper.live()
    assert new is not None
    assert new.generation == 2
    assert not new.from_rejection
    assert world.calls == (2, 2)


async def test_before_its_time_nothing_is_renewed(world: World) -> None:
    old = await world.keeper.acquire()
    await world.clock.advance(HOURS_12 - 301)
    assert world.keeper.live() is old
    await settle()
    assert world.calls == (1, 1)


async def test_past_expiry_the_next_caller_signs_in_again_without_an_error(world: World) -> None:
    await world.keeper.acquire()
    await world.clock.advance(HOURS_12)
    assert world.keeper.live() is None
    assert world.keeper.state is SessionState.COLD
    assert (await world.keeper.acquire()).generation == 2
    assert world.calls == (2, 2)


async def test_a_notebook_that_nobody_uses_is_not_renewed(world: World) -> None:
    await world.keeper.acquire()
    await world.clock.advance(10 * HOURS_12)
    assert world.calls == (1, 1)


async def test_a_failed_renewal_leaves_the_old_session_and_is_tried_again_after_a_pause(world: World) -> None:
    old = await world.keeper.acquire()
    await world.clock.advance(HOURS_12 - 300)
    world.exchange.failures.append(UpstreamUnreachable())
    assert world.keeper.live() is old
    await settle()
    assert world.keeper.state is SessionState.LIVE
    assert world.keeper.live() is old
    assert await world.keeper.acquire() is old
    assert world.calls == (2, 2)
    await world.clock.advance(1.0)
    assert world.keeper.live() is old
    await settle()
    assert world.keeper.live() is not old
    assert world.calls == (3, 3)


async def test_a_session_that_expires_during_its_renewal_is_not_used_and_the_sign_in_goes_on(
    world: World,
) -> None:
    await world.keeper.acquire()
    await world.clock.advance(HOURS_12 - 1)
    world.control_plane.gate.clear()
    world.keeper.live()
    await settle()
    assert world.keeper.state is SessionState.REFRESHING
    await world.clock.advance(1)
    waiting = asyncio.ensure_future(world.keeper.acquire())
    await settle()
    assert world.keeper.state is SessionState.MINTING
    world.control_plane.gate.set()
    assert (await waiting).generation == 2
    assert world.calls == (2, 2)


async def test_the_margin_is_jittered_and_at_most_a_tenth_of_the_session(world: World) -> None:
    keeper = world.build(KeeperOptions(session_seconds=1800), jitter=jitter)
    session = await keeper.acquire()
    assert session.expires_at == 1000 + 1800
    assert session.expires_at - 180 <= session.renew_at <= session.expires_at - 90


async def test_life_is_counted_from_the_request_for_the_url(world: World) -> None:
    world.control_plane.gate.clear()
    caller = asyncio.ensure_future(world.keeper.acquire())
    await settle()
    await world.clock.advance(7)
    world.control_plane.gate.set()
    session = await caller
    assert session.expires_at == 1000 + HOURS_12
    assert session.obtained_at == 1007


# -- rejection


async def test_50_rejections_of_one_session_cause_one_renewal(world: World) -> None:
    session = await world.keeper.acquire()
    assert all(world.keeper.reject(session) for _ in range(50))
    renewed = await asyncio.gather(*(world.keeper.acquire() for _ in range(50)))
    assert {one.generation for one in renewed} == {2}
    assert all(world.keeper.reject(session) for _ in range(50))
    await settle()
    assert world.calls == (2, 2)


async def test_a_rejected_session_is_gone_at_once_and_its_successor_under_way(world: World) -> None:
    session = await world.keeper.acquire()
    world.exchange.gate.clear()
    assert world.keeper.reject(session)
    assert world.keeper.live() is None
    await settle()
    assert world.keeper.state is SessionState.EXCHANGING
    world.exchange.gate.set()
    assert (await world.keeper.acquire()).from_rejection


async def test_a_fresh_successor_that_is_rejected_too_stands(world: World) -> None:
    """The same verdict right after signing in was not about the session: no loop."""
    assert world.keeper.reject(await world.keeper.acquire())
    second = await world.keeper.acquire()
    for _ in range(20):
        assert not world.keeper.reject(second)
    assert world.keeper.live() is second
    assert world.calls == (2, 2)


async def test_an_application_that_always_refuses_costs_fewer_and_fewer_renewals(world: World) -> None:
    accepted = []
    for second in range(600):
        if world.keeper.reject(await world.keeper.acquire()):
            accepted.append(second)
            await settle()
        await world.clock.advance(1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(accepted)]
    assert gaps[:4] == [10, 20, 40, 60]
    assert set(gaps[3:]) == {60}


async def test_patience_returns_to_normal_after_a_session_lived_long(world: World) -> None:
    for _ in range(5):
        world.keeper.reject(await world.keeper.acquire())
        await world.clock.advance(60)
    await world.clock.advance(3600)
    assert world.keeper.reject(await world.keeper.acquire())
    session = await world.keeper.acquire()
    await world.clock.advance(9)
    assert not world.keeper.reject(session)
    await world.clock.advance(1)
    assert world.keeper.reject(session)


async def test_rejection_during_a_renewal_joins_the_sign_in(world: World) -> None:
    session = await world.keeper.acquire()
    await world.clock.advance(HOURS_12 - 200)
    world.exchange.gate.clear()
    world.keeper.live()
    await settle()
    assert world.keeper.reject(session)
    assert world.keeper.state is SessionState.EXCHANGING
    world.exchange.gate.set()
    assert (await world.keeper.acquire()).generation == 2
    assert world.calls == (2, 2)


async def test_rejection_while_a_failure_stands_starts_nothing(world: World) -> None:
    session = await world.keeper.acquire()
    await world.clock.advance(HOURS_12 - 200)
    world.control_plane.failures.append(InstanceNotFound())
    world.keeper.live()
    await settle()
    assert world.keeper.reject(session)
    await settle()
    assert world.calls == (2, 1)
    assert isinstance(await failure_of(world.keeper.acquire()), InstanceNotFound)


# -- URLs


@pytest.mark.parametrize("error", [NotConnected(), NotTrusted(), NotLetThrough()])
async def test_a_url_that_met_no_connection_is_used_again_while_fresh(
    world: World, error: NbgateError
) -> None:
    world.exchange.failures.append(error)
    assert type(await failure_of(world.keeper.acquire())) is type(error)
    await world.clock.advance(1)
    await world.keeper.acquire()
    assert world.calls == (1, 2)
    assert world.exchange.urls[0] is world.exchange.urls[1]


async def test_a_url_is_not_used_in_its_last_30_seconds(world: World) -> None:
    world.exchange.failures.append(NotConnected())
    await failure_of(world.keeper.acquire())
    await world.clock.advance(270)
    await world.keeper.acquire()
    assert world.calls == (2, 2)


@pytest.mark.parametrize("error", [UpstreamTimeout(), UpstreamUnreachable(), UpstreamInvalid()])
async def test_a_url_whose_exchange_failed_after_something_was_sent_is_never_used_again(
    world: World, error: NbgateError
) -> None:
    world.exchange.failures.append(error)
    assert type(await failure_of(world.keeper.acquire())) is type(error)
    await world.clock.advance(2)
    await world.keeper.acquire()
    assert world.calls == (2, 2)
    assert world.exchange.urls[0] is not world.exchange.urls[1]


async def test_a_refused_url_is_replaced_by_one_other_in_the_same_sign_in(world: World) -> None:
    world.exchange.failures.append(SessionRejected())
    await world.keeper.acquire()
    assert world.calls == (2, 2)
    assert (SessionEvent.URL_SPENT, SessionState.MINTING) in world.events


async def test_two_refused_urls_end_the_sign_in(world: World) -> None:
    world.exchange.failures.extend([SessionRejected(), SessionRejected()])
    error = await failure_of(world.keeper.acquire())
    assert isinstance(error, SessionRejected)
    assert error.retry_after_seconds == 5
    assert world.calls == (2, 2)


async def test_no_two_exchanges_at_once(world: World) -> None:
    session = await world.keeper.acquire()
    for _ in range(30):
        world.keeper.reject(session)
        await asyncio.gather(*(world.keeper.acquire() for _ in range(5)))
        session = await world.keeper.acquire()
        await world.clock.advance(60)
    assert world.exchange.most_at_once == 1


async def test_the_configured_session_duration_is_asked_for(world: World) -> None:
    await world.build(KeeperOptions(session_seconds=3600)).acquire()
    assert world.control_plane.session_seconds == [3600]


# -- failures


async def test_lasting_throttling_fails_with_a_time_to_retry_and_pauses_longer_each_time(
    world: World,
) -> None:
    waits = []
    for _ in range(6):
        world.control_plane.failures.append(Throttled())
        error = await failure_of(world.keeper.acquire())
        assert isinstance(error, Throttled)
        assert error.retry_after_seconds is not None
        waits.append(error.retry_after_seconds)
        await world.clock.advance(error.retry_after_seconds)
    assert waits == [4, 8, 16, 32, 60, 60]


async def test_a_missing_instance_is_remembered_for_seconds_then_asked_about_again(world: World) -> None:
    keeper = world.build(notebook="nowhere")
    for _ in range(100):
        assert isinstance(await failure_of(keeper.acquire()), InstanceNotFound)
    assert world.calls == (1, 0)
    await world.clock.advance(5)
    assert isinstance(await failure_of(keeper.acquire()), InstanceNotFound)
    assert world.calls == (2, 0)


async def test_a_stopped_instance_is_remembered_with_its_status_and_found_after_its_start(
    world: World,
) -> None:
    world.control_plane.put(NOTEBOOK, "Pending")
    for _ in range(2):
        error = await failure_of(world.keeper.acquire())
        assert isinstance(error, InstanceNotInService)
        assert error.instance_status == "Pending"
        assert error.retry_after_seconds == 15
    world.control_plane.put(NOTEBOOK)
    await world.clock.advance(4)
    await world.keeper.acquire()
    assert world.calls == (2, 1)


@pytest.mark.parametrize("error", [CredentialsMissing(), PermissionMissing(), ControlPlaneFailed()])
async def test_other_failures_are_remembered_for_a_moment_and_success_forgets_them(
    world: World, error: NbgateError
) -> None:
    world.control_plane.failures.append(error)
    for _ in range(10):
        assert type(await failure_of(world.keeper.acquire())) is type(error)
    assert world.calls == (1, 0)
    await world.clock.advance(30)
    await world.keeper.acquire()
    world.keeper.reject(await world.keeper.acquire())
    await world.keeper.acquire()
    assert world.calls == (3, 2)


async def test_a_remembered_error_does_not_grow_with_each_telling(world: World) -> None:
    world.control_plane.failures.append(ControlPlaneFailed(detail="why"))
    errors = [await failure_of(world.keeper.acquire()) for _ in range(5)]
    assert len({id(error) for error in errors}) == 5
    assert {error.detail for error in errors} == {"why"}


async def test_an_unforeseen_error_is_held_like_any_failure_and_leaves_a_keeper_that_works(
    world: World,
) -> None:
    """A crowd must not repeat it without end, and the next one must not find the keeper dead."""
    world.exchange.failures.append(KeyError("bug"))
    with pytest.raises(KeyError):
        await world.keeper.acquire()
    assert world.keeper.state is SessionState.COLD
    for _ in range(100):
        assert type(await failure_of(world.keeper.acquire())) is InternalError
    assert world.calls == (1, 1)
    assert [type(error) for error in world.task_errors] == [KeyError]
    await world.clock.advance(1)
    await world.keeper.acquire()
    assert world.keeper.state is SessionState.LIVE


async def test_a_failed_sign_in_is_news_and_no_fault_of_a_task(world: World) -> None:
    """With what is needed to find it: for which request, how often by now, when the next try may come."""
    told = []
    for number in (1, 2):
        error = ControlPlaneFailed()
        world.control_plane.failures.append(error)
        await failure_of(world.keeper.acquire(asked_by=f"request-{number}"))
        told.append(NotObtained(error, number, float(number), f"request-{number}"))
        await world.clock.advance(float(number))
    await settle()
    assert world.news == told
    assert world.task_errors == []


async def test_a_session_that_is_opened_lost_or_renewed_is_news(world: World) -> None:
    session = await world.keeper.acquire()
    [news] = world.news
    assert isinstance(news, Obtained)
    assert news == Obtained(session.expires_at - world.clock.monotonic())
    assert world.keeper.reject(session)
    session = await world.keeper.acquire()
    await world.clock.advance(session.expires_at)
    assert world.keeper.live() is None
    await world.keeper.acquire()
    world.keeper.drop()
    world.keeper.drop()
    losses = [news.why for news in world.news if isinstance(news, Lost)]
    assert losses == [Loss.REJECTED, Loss.EXPIRED, Loss.OUT_OF_SERVICE]
    assert sum(isinstance(news, Obtained) for news in world.news) == 3


# -- cookies set again


async def test_cookies_of_the_exchange_that_a_response_sets_again_are_used_from_then_on(world: World) -> None:
    session = await world.keeper.acquire()
    world.keeper.absorb(session, [b"FrontEnd=rolled; Path=/", b"theirs=1"])
    current = world.keeper.live()
    assert current is not None
    assert current.cookie_header == b"FrontEnd=rolled"
    assert current.generation == session.generation
    assert world.keeper.reject(current)


async def test_a_cookie_of_the_session_that_is_set_again_and_not_kept_is_told_once(world: World) -> None:
    session = await world.keeper.acquire()
    large = b"FrontEnd=" + b"x" * MAX_COOKIE_BYTES
    for _ in range(3):
        world.keeper.absorb(session, [large, b"theirs=" + large, b"FrontEnd=rolled"])
    assert world.unkept == [Unkept("FrontEnd", len(large), "it is larger than 16384 bytes")]
    current = world.keeper.live()
    assert current is not None
    assert current.cookie_header == b"FrontEnd=rolled"
    world.keeper.reject(current)
    world.keeper.absorb(await world.keeper.acquire(), [large])
    assert len(world.unkept) == 2


async def test_cookies_from_an_older_session_are_not_taken_into_a_newer_one(world: World) -> None:
    old = await world.keeper.acquire()
    world.keeper.reject(old)
    new = await world.keeper.acquire()
    world.keeper.absorb(old, [b"FrontEnd=stale"])
    assert world.keeper.live() is new


async def test_cookies_absorbed_by_a_cold_keeper_go_nowhere(world: World) -> None:
    session = await world.keeper.acquire()
    await world.clock.advance(HOURS_12)
    assert world.keeper.live() is None
    world.keeper.absorb(session, [b"FrontEnd=late"])
    assert world.keeper.live() is None


# -- secrecy


async def test_no_repr_of_a_keepers_parts_tells_a_secret(world: World) -> None:
    session: UpstreamSession = await world.keeper.acquire()
    told = " ".join(
        f"{thing!r} {thing}"
        for thing in (session, session.cookies, world.exchange.urls, world.keeper, world.urls, world.events)
    )
    assert "FrontEnd" in told
    assert COOKIE_SECRET not in told
    assert SECRET not in told


# -- faults of our own


async def test_whoever_is_told_of_sessions_cannot_break_them(world: World) -> None:
    def broken(*_told: object) -> None:
        raise ZeroDivisionError

    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: faults.append(context["exception"])
    )
    world.keeper._on_event = broken
    await world.keeper.acquire()
    world.keeper.drop()
    await world.keeper.acquire()
    assert world.keeper.state is SessionState.LIVE
    assert {type(fault) for fault in faults} == {ZeroDivisionError}


# -- whether the front end honours it


async def test_all_who_doubt_a_session_at_once_share_one_question(world: World) -> None:
    session = await world.keeper.acquire()
    world.asking.clear()
    asking = [asyncio.ensure_future(world.keeper.honoured(session)) for _ in range(50)]
    await settle()
    asking[0].cancel()
    await settle()
    world.asking.set()
    assert await asyncio.gather(*asking[1:]) == [Honoured.YES] * 49
    assert world.asked == [1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (StatusMeaning.YES, Honoured.YES),
        (StatusMeaning.NO, Honoured.NO),
        (StatusMeaning.NOTHING, Honoured.UNTOLD),
    ],
)
async def test_what_was_told_counts_for_two_seconds(
    world: World, said: StatusMeaning, told: Honoured
) -> None:
    """An application that answers 401 to everything costs a question in that time, and no renewal."""
    session = await world.keeper.acquire()
    world.honoured_as = said
    for _ in range(100):
        assert await world.keeper.honoured(session) is told
        await world.clock.advance(0.1)
    assert 5 <= len(world.asked) <= 6
    assert world.calls == (1, 1)
    assert world.keeper.live() is session


async def test_a_session_that_was_replaced_meanwhile_is_not_asked_about(world: World) -> None:
    first = await world.keeper.acquire()
    world.keeper.reject(first)
    assert await world.keeper.honoured(first) is Honoured.NO
    second = await world.keeper.acquire()
    assert await world.keeper.honoured(first) is Honoured.NO
    assert world.asked == []
    assert await world.keeper.honoured(second) is Honoured.YES
    assert world.asked == [2]


async def renewed(world: World) -> tuple[UpstreamSession, UpstreamSession]:
    """A session, and the one that replaced it ahead of its end."""
    first = await world.keeper.acquire()
    await world.clock.advance(first.renew_at - world.clock.monotonic())
    assert world.keeper.live() is first
    await settle()
    second = world.keeper.live()
    assert second is not None
    assert second is not first
    return first, second


async def test_a_session_that_was_renewed_meanwhile_is_good_for_what_went_out_with_it(world: World) -> None:
    """Else an application's own 401, of a wrong password, would be told as "try again"."""
    first, second = await renewed(world)
    assert await world.keeper.honoured(first) is Honoured.YES
    world.honoured_as = StatusMeaning.NO
    await world.clock.advance(2)
    assert await world.keeper.honoured(first) is Honoured.NO
    assert world.keeper.reject(first)
    assert world.keeper.live() is second


async def test_a_question_about_one_session_answers_nobody_who_asks_about_its_successor(world: World) -> None:
    session = await world.keeper.acquire()
    world.asking.clear()
    world.honoured_as = StatusMeaning.NO
    early = asyncio.ensure_future(world.keeper.honoured(session))
    await settle()
    first, second = await renewed(world)
    assert first is session
    late = asyncio.ensure_future(world.keeper.honoured(second))
    await settle()
    assert world.asked == [1, 2]
    world.asking.set()
    await asyncio.gather(early, late)


async def test_what_was_told_of_one_session_is_not_told_of_the_next(world: World) -> None:
    world.honoured_as = StatusMeaning.NO
    first = await world.keeper.acquire()
    assert await world.keeper.honoured(first) is Honoured.NO
    world.keeper.reject(first)
    world.honoured_as = StatusMeaning.YES
    assert await world.keeper.honoured(await world.keeper.acquire()) is Honoured.YES
    assert world.asked == [1, 2]


async def test_a_question_that_fails_is_asked_again_later(world: World) -> None:
    session = await world.keeper.acquire()
    world.front_end_fault = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await world.keeper.honoured(session)
    assert await world.keeper.honoured(session) is Honoured.UNTOLD
    world.front_end_fault = None
    await world.clock.advance(2)
    assert await world.keeper.honoured(session) is Honoured.YES


async def test_who_waits_for_the_front_ends_word_when_the_gateway_ends_is_told_so(world: World) -> None:
    session = await world.keeper.acquire()
    world.asking.clear()
    asking = asyncio.ensure_future(world.keeper.honoured(session))
    await settle()
    await world.tasks.close()
    with pytest.raises(Draining):
        await asking


async def test_a_sign_in_that_is_ended_before_it_began_does_not_stay(world: World) -> None:
    """A reload takes an instance away in the turn in which somebody asked for it, and another one brings it back."""
    caller = asyncio.ensure_future(world.keeper.acquire())
    await asyncio.sleep(0)
    world.keeper.close()
    assert isinstance(await failure_of(caller), Draining)
    assert world.keeper.state is SessionState.COLD
    assert await world.keeper.acquire() is world.keeper.live()
    assert world.keeper.state is SessionState.LIVE


# -- while Jupyter is starting


async def test_what_says_that_jupyter_is_not_up_is_asked_about_though_it_just_was(world: World) -> None:
    session = await world.keeper.acquire()
    assert await world.keeper.honoured(session) is Honoured.YES
    world.honoured_as = StatusMeaning.STARTING
    assert await world.keeper.honoured(session) is Honoured.YES
    assert await world.keeper.honoured(session, again=True) is Honoured.STARTING
    for _ in range(10):
        assert await world.keeper.honoured(session, again=True) is Honoured.STARTING
    assert world.asked == [1, 1]


@pytest.mark.parametrize("said", [StatusMeaning.STARTING, StatusMeaning.PAGE, StatusMeaning.FAULT])
async def test_a_starting_jupyter_costs_no_url_and_no_session(world: World, said: StatusMeaning) -> None:
    """Five minutes of it, asked about all the time; SageMaker is asked now and then, and only where it may know."""
    session = await world.keeper.acquire()
    world.honoured_as = said
    for _ in range(1200):
        assert await world.keeper.honoured(session) is Honoured.STARTING
        assert not world.keeper.is_up
        await world.clock.advance(0.25)
    assert world.calls == (1, 1)
    assert world.keeper.live() is session
    assert len(world.asked) == 300
    assert world.control_plane.asked[NOTEBOOK] == (10 if said is StatusMeaning.FAULT else 0)


async def test_that_it_is_up_is_known_within_a_second(world: World) -> None:
    session = await world.keeper.acquire()
    world.honoured_as = StatusMeaning.STARTING
    assert await world.keeper.honoured(session) is Honoured.STARTING
    world.honoured_as = StatusMeaning.YES
    await world.clock.advance(1)
    assert await world.keeper.honoured(session) is Honoured.YES
    assert world.keeper.is_up
    await world.clock.advance(29.5)
    assert world.keeper.is_up
    await world.clock.advance(1)
    assert not world.keeper.is_up


async def test_a_page_that_everybody_is_shown_for_ten_minutes_may_mean_that_nobody_is_signed_in(
    world: World,
) -> None:
    """It costs a URL in that time, and no more while it goes on; where others are told to sign in, none."""
    for said, expected in ((StatusMeaning.STARTING, Honoured.STARTING), (StatusMeaning.PAGE, Honoured.NO)):
        session = await world.keeper.acquire()
        world.honoured_as = said
        for _ in range(20):
            assert await world.keeper.honoured(session) is Honoured.STARTING
            await world.clock.advance(30)
        assert await world.keeper.honoured(session) is expected
        await world.clock.advance(1)
    assert world.keeper.reject(session)
    again = await world.keeper.acquire()
    assert world.calls == (2, 2)
    for _ in range(599):
        assert await world.keeper.honoured(again) is Honoured.STARTING
        await world.clock.advance(1)


async def test_two_starts_are_not_one_long_one(world: World) -> None:
    """Nobody asks while all is well."""
    session = await world.keeper.acquire()
    world.honoured_as = StatusMeaning.PAGE
    for _ in range(2):
        assert await world.keeper.honoured(session) is Honoured.STARTING
        await world.clock.advance(3600)
    assert world.calls == (1, 1)


@pytest.mark.parametrize("status", ["Stopped", "Stopping", "Pending", "Updating", "Failed", "NewWord"])
async def test_a_front_end_that_does_not_reach_an_instance_that_is_not_in_service(
    world: World, status: str
) -> None:
    session = await world.keeper.acquire()
    world.honoured_as = StatusMeaning.FAULT
    world.control_plane.put(NOTEBOOK, status)
    assert await world.keeper.honoured(session) is Honoured.OUT
    assert world.keeper.live() is None
    error = await failure_of(world.keeper.acquire())
    assert isinstance(error, InstanceNotInService)
    assert error.instance_status == status
    assert (world.calls, world.control_plane.asked[NOTEBOOK]) == ((1, 1), 1)
    # As soon as it is known to be back, so is everything else.
    world.control_plane.put(NOTEBOOK)
    world.honoured_as = StatusMeaning.YES
    world.keeper.retry()
    assert await world.keeper.honoured(await world.keeper.acquire()) is Honoured.YES


@pytest.mark.parametrize("failure", [PermissionMissing(), Throttled(), ControlPlaneFailed()])
async def test_where_sagemaker_does_not_say_either_nobody_knows(world: World, failure: NbgateError) -> None:
    session = await world.keeper.acquire()
    world.honoured_as = StatusMeaning.FAULT
    world.control_plane.failures.append(failure)
    for _ in range(8):
        assert await world.keeper.honoured(session) is Honoured.UNTOLD
        await world.clock.advance(0.5)
    assert world.control_plane.asked[NOTEBOOK] == 1
    assert world.keeper.live() is session


async def test_nobody_waits_long_for_sagemaker_and_many_share_one_call(world: World) -> None:
    session = await world.keeper.acquire()
    world.honoured_as = StatusMeaning.FAULT
    world.control_plane.gate.clear()
    asking = [asyncio.ensure_future(world.keeper.honoured(session)) for _ in range(50)]
    await settle()
    await world.clock.advance(5)
    assert await asyncio.gather(*asking) == [Honoured.UNTOLD] * 50
    await world.clock.advance(2)
    late = asyncio.ensure_future(world.keeper.honoured(session))
    await settle()
    world.control_plane.gate.set()
    assert await late is Honoured.STARTING
    assert world.control_plane.asked[NOTEBOOK] == 1


@pytest.mark.parametrize("is_page", [True, False])
async def test_a_url_that_was_not_taken_is_used_until_jupyter_is_up(world: World, is_page: bool) -> None:
    """Once a second, and by as many as want to come; the session is there within a second of its being up."""
    for _ in range(200):
        world.exchange.failures.append(NotReady(is_page=is_page, detail="x"))
        waiting = [asyncio.ensure_future(world.keeper.acquire()) for _ in range(5)]
        failures = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(failure) for failure in failures} == {JupyterStarting}
        assert {failure.wait_seconds for failure in failures if isinstance(failure, JupyterStarting)} == {2}
        assert isinstance(await failure_of(world.keeper.acquire()), JupyterStarting)
        await world.clock.advance(1)
    assert world.calls == (1, 200)
    assert world.control_plane.asked[NOTEBOOK] == (0 if is_page else 7)
    await world.keeper.acquire()
    assert world.calls == (1, 201)


async def test_a_url_that_was_not_taken_is_worth_nothing_where_the_instance_is_away(world: World) -> None:
    world.exchange.failures.append(NotReady(is_page=False, detail="400"))
    world.control_plane.put(NOTEBOOK)
    world.control_plane.gate.set()

    create = world.control_plane.create_presigned_url

    async def stopped_after(notebook: str, *, session_seconds: int) -> PresignedUrl:
        url = await create(notebook, session_seconds=session_seconds)
        world.control_plane.put(NOTEBOOK, "Stopping")
        return url

    world.control_plane.create_presigned_url = stopped_after  # type: ignore[method-assign]
    error = await failure_of(world.keeper.acquire())
    assert isinstance(error, InstanceNotInService)
    assert error.instance_status == "Stopping"
    assert len(world.urls) == 0
