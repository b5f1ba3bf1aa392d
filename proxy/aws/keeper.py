"""The keeper of upstream sessions: one signed-in session for each notebook and role, whoever asks.

`SessionKeeper.live()` is what every request reads, and is one compare; `acquire()` waits for a session that
is not there yet. Any number of callers share one flight (a mint and an exchange), and none of them can
cancel it. A session is replaced ahead of its end by the first use in its last stretch, so that nobody waits,
and a notebook that nobody uses costs no calls. The keeper knows no HTTP: URLs come from the `ControlPlane`
port, sign-ins from the `Exchange` port. Every failure is remembered for a moment, so that a crowd cannot
become a storm.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from proxy.aws.control_plane import IN_SERVICE, SESSION_SECONDS_MAX, ControlPlane, not_in_service
from proxy.aws.cookies import unkept
from proxy.aws.presigned import PresignedUrl, PresignedUrlCache, SessionKey
from proxy.aws.session_news import Loss, Lost, News, NotObtained, Obtained, OnNews, ignore
from proxy.aws.session_states import Event, State, after
from proxy.aws.sessions import (
    Exchange,
    NotConnected,
    NotLetThrough,
    NotReady,
    NotTrusted,
    OnUnkept,
    Said,
    SignIn,
    UpstreamSession,
    keep_quiet,
)
from proxy.chance import Jitter
from proxy.clock import Clock
from proxy.errors import (
    ControlPlaneError,
    CredentialsMissing,
    Draining,
    InstanceNotFound,
    InstanceNotInService,
    JupyterStarting,
    NbgateError,
    PermissionMissing,
    SessionRejected,
    SigningIn,
    SignInTimeout,
    Throttled,
)
from proxy.flights import has_landed
from proxy.tasks import Tasks
from proxy.upstream import Honoured, NotebookSession

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """Durations in seconds.

    `renew_margin_seconds` is how long before its end a session is due for renewal, at most a tenth of its
    life; jitter takes up to half of it away. `patience_seconds` up to `max_patience_seconds`: see
    `SessionKeeper.reject`.
    """

    session_seconds: int = SESSION_SECONDS_MAX
    renew_margin_seconds: float = 300.0
    patience_seconds: float = 10.0
    max_patience_seconds: float = 60.0


SIGN_IN_SECONDS: Final = 20.0
"""How long after a flight began somebody waits for it, unless said otherwise."""
TOLD_SECONDS: Final = 2.0
"""How long it counts that the notebook's front end said, or did not say, whether it honours a session."""
STARTING_TOLD_SECONDS: Final = 1.0
"""How long it counts that Jupyter is starting: it may be up in the next moment."""
UP_SECONDS: Final = 30.0
"""How long after Jupyter answered a question it is up, as far as a page of what runs behind it is concerned."""
DESCRIBED_SECONDS: Final = 30.0
"""How long it counts what SageMaker said of the instance's state, or that it could not be asked: a start takes minutes,
and all instances of a team may be asked about at once."""
DESCRIBE_SECONDS: Final = 5.0
"""How long somebody who waits for an answer waits for that."""
LONGEST_START_SECONDS: Final = 600.0
"""A page that stands in Jupyter's place for so long, for whoever asks, may be one that says "not signed in"."""
SAME_PAGE_SECONDS: Final = 60.0
"""Between two questions: after that it may be another start."""

Honours = Callable[[UpstreamSession], Awaitable[Said]]
"""Asks the notebook's front end whether it honours a session. Never raises NbgateError."""


@dataclass(frozen=True, slots=True)
class _Hold:
    """How long a failure stands before the next try; it doubles while failures follow one another."""

    first_seconds: float
    most_seconds: float

    def seconds(self, failures: int) -> float:
        return float(min(self.first_seconds * 2 ** min(failures - 1, 16), self.most_seconds))


# A stopped or missing instance is asked about at a steady pace, so that a page reloaded after the start
# finds it.
_HOLDS: Final[tuple[tuple[type[NbgateError], _Hold], ...]] = (
    (InstanceNotFound, _Hold(5.0, 5.0)),
    (InstanceNotInService, _Hold(4.0, 4.0)),
    (Throttled, _Hold(4.0, 60.0)),
    (PermissionMissing, _Hold(5.0, 30.0)),
    (CredentialsMissing, _Hold(5.0, 30.0)),
    (SessionRejected, _Hold(5.0, 60.0)),
    # It may be up in the next moment, and a try costs one request, and no URL.
    (JupyterStarting, _Hold(1.0, 1.0)),
    (NbgateError, _Hold(1.0, 15.0)),
)

_MADE_OF: Final = {
    Said.YES: Honoured.YES,
    Said.NO: Honoured.NO,
    Said.STARTING: Honoured.STARTING,
    Said.NOTHING: Honoured.UNTOLD,
}

OnEvent = Callable[[SessionKey, Event, State], None]
"""Called with what happened and the state that follows, for logs and metrics."""


def _ignore(_key: SessionKey, _event: Event, _state: State) -> None:
    pass


class SessionKeeper:
    """Keeps the upstream session of one `SessionKey`."""

    def __init__(
        self,
        key: SessionKey,
        *,
        control_plane: ControlPlane,
        urls: PresignedUrlCache,
        exchange: Exchange,
        honours: Honours,
        clock: Clock,
        jitter: Jitter,
        tasks: Tasks,
        options: KeeperOptions = KeeperOptions(),
        on_event: OnEvent = _ignore,
        on_unkept: OnUnkept = keep_quiet,
        on_news: OnNews = ignore,
    ) -> None:
        self.key = key
        self._on_unkept = on_unkept
        self._told_unkept = 0
        """The generation of which that was told last."""
        self._control_plane = control_plane
        self._urls = urls
        self._exchange = exchange
        self._honours = honours
        self._clock = clock
        self._jitter = jitter
        self._tasks = tasks
        self._options = options
        self._on_event = on_event
        self._on_news = on_news
        self._asked_by = ""
        self._state = State.COLD
        self._session: UpstreamSession | None = None
        self._flight: asyncio.Task[UpstreamSession] | None = None
        self._flight_began_at = -math.inf
        self._late_flight: asyncio.Task[UpstreamSession] | None = None
        self._questions: dict[int, asyncio.Task[Honoured]] = {}
        """Those under way, by the generation that they are about."""
        self._told = (0, Honoured.UNTOLD, -math.inf)
        """Of which generation the front end spoke last, what it said, and when."""
        self._up_at = -math.inf
        """When Jupyter answered a question last, and nothing stood in its place since."""
        self._page_since = self._page_at = -math.inf
        """Since when, and until when, all questions were answered with a page, whoever asked."""
        self._status: tuple[str, float] = ("", -math.inf)
        """What SageMaker said of the instance, "" where it could not be asked, and when."""
        self._describing: asyncio.Task[str] | None = None
        self._generation = 0
        self._lost_generation = 0
        self._failure: NbgateError | None = None
        self._failures = 0
        self._held_until = -math.inf
        self._replaces_rejected = False
        self._patience = options.patience_seconds

    @property
    def state(self) -> State:
        return self._state

    def live(self) -> UpstreamSession | None:
        """The session if there is one, at once; past its `renew_at` this starts a renewal beside it."""
        session = self._session
        if session is None or self._clock.monotonic() < session.renew_at:
            return session
        return self._aging(session)

    async def acquire(
        self,
        *,
        within_seconds: float = SIGN_IN_SECONDS,
        patience_seconds: float = math.inf,
        asked_by: str = "",
    ) -> UpstreamSession:
        """The session, after signing in if need be; `asked_by` is the id of the request that it is for.

        Raises what the flight raised, also for a moment after it failed: ControlPlaneError's branch,
        UpstreamError's branch, or Draining when the gateway shuts down meanwhile. Raises SignInTimeout
        `within_seconds` of the flight's beginning, however many of its steps are still to come, or SigningIn after
        `patience_seconds` of this caller's own: the flight goes on, and what it brings is there for who comes then.
        """
        session = self.live()
        if session is not None:
            return session
        flight = self._flight
        if flight is None:
            if (failure := self._standing_failure()) is not None:
                raise failure
            flight = self._start(asked_by)
        left_seconds = self._flight_began_at + within_seconds - self._clock.monotonic()
        within = min(left_seconds, patience_seconds)
        if not await has_landed(flight, within_seconds=within, clock=self._clock, tasks=self._tasks):
            if patience_seconds < left_seconds:
                raise SigningIn
            self._note_late(flight)
            raise SignInTimeout
        return await _outcome(flight)

    @property
    def is_up(self) -> bool:
        """Whether Jupyter itself is known to have answered of late."""
        return self._clock.monotonic() - self._up_at < UP_SECONDS

    async def honoured(self, session: NotebookSession, *, again: bool = False) -> Honoured:
        """A response to a request with `session` looked like "not signed in": whether that is so.

        All who ask at once share a question, and what was told counts for `TOLD_SECONDS`: an application that answers
        401 to everything costs one question in that time. One that was renewed since that response's request went out
        may be as good as ever, and is asked about, too. YES, NO, STARTING, OUT (the session is dropped, and `acquire`
        says what state the instance is in) or UNTOLD. `again`: that it was up a moment ago does not count, for the
        response says otherwise. Raises Draining when the gateway shuts down meanwhile.
        """
        number = session.generation
        if number <= self._lost_generation:
            return Honoured.NO
        generation, honoured, told_at = self._told
        counts_for = STARTING_TOLD_SECONDS if honoured is Honoured.STARTING else TOLD_SECONDS
        is_known = generation == number and self._clock.monotonic() - told_at < counts_for
        if is_known and not (again and honoured is Honoured.YES):
            return honoured
        question = self._questions.get(number)
        if question is None:
            current = self._session
            # Its cookies may have been exchanged since.
            if current is None or current.generation != number:
                # Nobody else's sessions are given to a keeper.
                assert isinstance(session, UpstreamSession)
                current = session
            question = self._tasks.start(self._ask(current), name=f"session of {self.key}")
            self._questions[number] = question
            question.add_done_callback(lambda _question: self._questions.pop(number, None))
        return await _outcome(question)

    def reject(self, session: NotebookSession) -> bool:
        """The notebook's front end does not honour `session` any more (`honoured`). True: worth repeating with
        `acquire()`.

        Only the current session can be rejected, so that many requests that were turned down together cause
        one renewal. False: the answer is the application's own, or signing in does not help, and it stands.
        That is so for a session that replaced a rejected one and is younger than the keeper's patience,
        because the same verdict right after signing in was not about the session. Patience starts at
        `patience_seconds` and doubles up to `max_patience_seconds` with each renewal that is rejected again
        soon: an application that answers 403 to everything costs one renewal a minute at worst, and a real
        sign-out beside it is repaired within that minute.
        """
        current = self._session
        if current is None or current.generation != session.generation:
            return True
        options = self._options
        age = self._clock.monotonic() - current.obtained_at
        if current.from_rejection and age < self._patience:
            return False
        if current.from_rejection and age < 2 * options.max_patience_seconds:
            self._patience = min(2 * self._patience, options.max_patience_seconds)
        else:
            self._patience = options.patience_seconds
        self._replaces_rejected = True
        self._lose(Loss.REJECTED)
        if self._flight is None and self._standing_failure() is None:
            self._start()
        return True

    def is_over(self, session: NotebookSession) -> bool:
        """Whether a session has ended, as far as is known: its time is up, or it was rejected or dropped.

        One that was only replaced ahead of its end is not over.
        """
        return session.generation <= self._lost_generation or self._clock.monotonic() >= session.expires_at

    def absorb(self, session: NotebookSession, set_cookie_fields: Sequence[bytes]) -> None:
        """A response to a request with `session` carried these Set-Cookie fields; later requests use them."""
        current = self._session
        if current is None or current.generation != session.generation:
            return
        self._session = current.absorb(set_cookie_fields, now=self._clock.now())
        if self._told_unkept < current.generation:
            lost = unkept(set_cookie_fields, host=current.origin.host)
            lost = tuple(one for one in lost if one.name.encode("latin-1") in current.cookie_names)
            if lost:
                self._told_unkept = current.generation
                self._on_unkept(current.origin, lost)

    def retry(self) -> None:
        """The instance's state has changed: what failed before is worth trying at once."""
        self._status = ("", -math.inf)
        self._failure = None
        self._failures = 0
        self._held_until = -math.inf

    def drop(self) -> None:
        """The instance left service, and what was bought of it is worth nothing. A flight goes on: it will tell."""
        self._urls.take(self.key)
        if self._session is not None:
            self._lose(Loss.OUT_OF_SERVICE)

    def close(self) -> None:
        """The instance is served no more: end the flight and forget what was kept.

        Whoever still waits is told Draining; a later `acquire` would sign in again.
        """
        if self._flight is not None:
            self._flight.cancel()
        self.drop()

    async def _ask(self, session: UpstreamSession) -> Honoured:
        honoured = Honoured.UNTOLD
        try:
            honoured = await self._made_of(await self._honours(session))
        finally:
            now = self._clock.monotonic()
            self._told = (session.generation, honoured, now)
            self._up_at = now if honoured is Honoured.YES else -math.inf
        return honoured

    async def _made_of(self, said: Said) -> Honoured:
        """What the front end's word comes to, with what else can be known."""
        if said is Said.PAGE:
            return self._made_of_page()
        self._page_at = -math.inf
        if said is Said.FAULT:
            return await self._made_of_fault()
        return _MADE_OF[said]

    async def _made_of_fault(self) -> Honoured:
        status = await self._described()
        if status == IN_SERVICE:
            return Honoured.STARTING
        if not status:
            return Honoured.UNTOLD
        self._hold(not_in_service(status, detail="the notebook's front end does not reach it"))
        self.drop()
        return Honoured.OUT

    def _made_of_page(self) -> Honoured:
        """Jupyter is starting, or nobody is signed in: the page does not say. Signing in costs a URL, so that it is
        tried once in a long while."""
        now = self._clock.monotonic()
        if now - self._page_at > SAME_PAGE_SECONDS:
            self._page_since = now
        self._page_at = now
        if now - self._page_since < LONGEST_START_SECONDS:
            return Honoured.STARTING
        self._page_at = -math.inf
        return Honoured.NO

    async def _described(self) -> str:
        """SageMaker's word for the instance's state, "" where it does not say in time."""
        status, at = self._status
        if self._clock.monotonic() - at < DESCRIBED_SECONDS:
            return status
        if self._describing is None:
            self._describing = self._tasks.start(self._describe(), name=f"describe {self.key}")
            self._describing.add_done_callback(self._was_described)
        flight = self._describing
        if not await has_landed(
            flight, within_seconds=DESCRIBE_SECONDS, clock=self._clock, tasks=self._tasks
        ):
            return ""
        return await _outcome(flight)

    async def _describe(self) -> str:
        status = ""
        try:
            status = (await self._control_plane.describe(self.key.notebook)).status
        except ControlPlaneError:
            pass  # whoever asked has an answer without it
        finally:
            self._status = (status, self._clock.monotonic())
        return status

    def _was_described(self, _flight: asyncio.Task[str]) -> None:
        self._describing = None

    def _aging(self, session: UpstreamSession) -> UpstreamSession | None:
        if self._clock.monotonic() >= session.expires_at:
            self._lose(Loss.EXPIRED)
            return None
        if self._flight is None and self._standing_failure() is None:
            self._start()
        return session

    def _note_late(self, flight: asyncio.Task[UpstreamSession]) -> None:
        """Once for each flight that somebody gave up waiting for."""
        if flight is self._flight and flight is not self._late_flight:
            self._late_flight = flight
            self._step(Event.LATE)

    def _lose(self, why: Loss) -> None:
        self._lost_generation = self._generation
        self._session = None
        self._step(Event.LOST)
        self._tell(Lost(why))

    def _start(self, asked_by: str = "") -> asyncio.Task[UpstreamSession]:
        self._step(Event.WANTED)
        self._flight_began_at = self._clock.monotonic()
        self._asked_by = asked_by
        name = f"sign-in to {self.key}"
        self._flight = flight = self._tasks.start(self._fly(), name=name, expected=(NbgateError,))
        # Not at the end of what it runs: one that is ended in the turn in which it began runs nothing.
        flight.add_done_callback(self._never_began)
        return flight

    def _never_began(self, flight: asyncio.Task[UpstreamSession]) -> None:
        if flight is self._flight:
            self._flight = self._late_flight = None
            self._step(Event.FAILED)

    async def _fly(self) -> UpstreamSession:
        session = None
        try:
            session = self._landed(*await self._sign_in())
        except NbgateError as error:
            self._hold(error)
            raise
        except Exception:
            # A fault of our own, which the task's owner tells: a crowd must not repeat it without end either.
            self._hold(NbgateError())
            raise
        finally:
            self._flight = self._late_flight = None
            if session is None:
                self._step(Event.FAILED)
        return session

    async def _sign_in(self) -> tuple[PresignedUrl, SignIn]:
        """Two URLs at most: one that was refused may have been used up, or grown old, on its way."""
        try:
            return await self._try_one_url()
        except SessionRejected:
            self._step(Event.URL_SPENT)
        return await self._try_one_url()

    async def _try_one_url(self) -> tuple[PresignedUrl, SignIn]:
        url = self._urls.take(self.key) or await self._control_plane.create_presigned_url(
            self.key.notebook, session_seconds=self._options.session_seconds
        )
        self._step(Event.URL_READY)
        try:
            return url, await self._exchange(url)
        except (NotConnected, NotTrusted, NotLetThrough):
            self._urls.put(self.key, url)
            raise
        except NotReady as error:
            self._urls.put(self.key, url)
            not_ready = error
        raise await self._why(not_ready)

    async def _why(self, error: NotReady) -> NbgateError:
        """What to say of a front end that took no token: SageMaker may know that the instance is away."""
        status = IN_SERVICE if error.is_page else await self._described()
        if status in {IN_SERVICE, ""}:
            return JupyterStarting(detail=error.detail)
        self._urls.take(self.key)
        return not_in_service(status, detail=error.detail)

    def _landed(self, url: PresignedUrl, sign_in: SignIn) -> UpstreamSession:
        """The session's life is counted from the request for its URL: it cannot have begun earlier."""
        options = self._options
        margin = min(options.renew_margin_seconds, options.session_seconds / 10)
        expires_at = url.requested_at + options.session_seconds
        self._generation += 1
        self._session = session = UpstreamSession(
            origin=sign_in.origin,
            cookies=sign_in.cookies,
            obtained_at=self._clock.monotonic(),
            renew_at=expires_at - self._jitter(margin),
            expires_at=expires_at,
            generation=self._generation,
            from_rejection=self._replaces_rejected,
            jupyter_shows=sign_in.jupyter_shows,
        )
        self._replaces_rejected = False
        self._failure = None
        self._failures = 0
        self._step(Event.SIGNED_IN)
        self._tell(Obtained(expires_at - session.obtained_at))
        return session

    def _hold(self, error: NbgateError) -> None:
        self._failures += 1
        hold = next(hold for kind, hold in _HOLDS if isinstance(error, kind))
        seconds = self._jitter(hold.seconds(self._failures))
        self._held_until = self._clock.monotonic() + seconds
        if isinstance(error, Throttled | SessionRejected) and error.retry_after_seconds is None:
            error.retry_after_seconds = math.ceil(seconds)
        # A copy: raising one exception many times would grow its traceback without end.
        self._failure = copy.copy(error)
        self._tell(NotObtained(error, self._failures, seconds, self._asked_by))

    def _standing_failure(self) -> NbgateError | None:
        if self._failure is None or self._clock.monotonic() >= self._held_until:
            return None
        return copy.copy(self._failure)

    def _step(self, event: Event) -> None:
        self._state = after(self._state, event)
        self._guarded(partial(self._on_event, self.key, event, self._state))

    def _tell(self, news: News) -> None:
        self._guarded(partial(self._on_news, self.key, news))

    def _guarded(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:
            # Whoever is told has no say in what happens to sessions.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "telling of a session failed", "exception": error}
            )


async def _outcome(flight: asyncio.Task[T]) -> T:
    """Wait for what many wait for: one who is cancelled cancels nobody else. Raises Draining where it was ended."""
    try:
        return await asyncio.shield(flight)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if flight.cancelled() and task is not None and not task.cancelling():
            raise Draining() from None
        raise
