"""The keeper of upstream sessions: one signed-in session for each notebook and role, whoever asks.

`SessionKeeper.live()` is what every request reads, and is one compare; `acquire()` waits for a session that
is not there yet. Any number of callers share one sign-in (a mint and an exchange), and none of them can
cancel it. A session is replaced ahead of its end by the first use in its last stretch, so that nobody waits,
and a notebook that nobody uses costs no calls. The keeper knows no HTTP: URLs come from the `ControlPlane`
port, sign-ins from the `UrlExchange` port. Every failure is remembered for a moment, so that a crowd cannot
become a storm.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from proxy.aws.control_plane import SESSION_SECONDS_MAX, ControlPlane, not_in_service
from proxy.aws.cookies import unkept
from proxy.aws.failures import Failures
from proxy.aws.presigned import PresignedUrl, PresignedUrlCache, SessionKey
from proxy.aws.session_check import Honours, SessionCheck
from proxy.aws.session_news import Loss, Lost, News, NotObtained, Obtained, OnNews, ignore
from proxy.aws.session_states import SessionEvent, SessionState, state_after
from proxy.aws.sessions import (
    NotConnected,
    NotLetThrough,
    NotReady,
    NotTrusted,
    OnUnkept,
    SignIn,
    UpstreamSession,
    UrlExchange,
    keep_quiet,
)
from proxy.chance import Jitter
from proxy.clock import Clock
from proxy.errors import (
    InternalError,
    JupyterStarting,
    NbgateError,
    SessionRejected,
    SigningIn,
    SignInTimeout,
)
from proxy.instance_status import InstanceStatus
from proxy.shared_fetch import SharedFetch, StillUnderWay
from proxy.tasks import Tasks
from proxy.upstream import Honoured, NotebookSession


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
"""How long after a sign-in began somebody waits for it, unless said otherwise."""
OnEvent = Callable[[SessionKey, SessionEvent, SessionState], None]
"""Called with what happened and the state that follows, for logs and metrics."""


def _ignore(_key: SessionKey, _event: SessionEvent, _state: SessionState) -> None:
    pass


class SessionKeeper:
    """Keeps the upstream session of one `SessionKey`."""

    def __init__(
        self,
        key: SessionKey,
        *,
        control_plane: ControlPlane,
        urls: PresignedUrlCache,
        exchange: UrlExchange,
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
        self._clock = clock
        self._jitter = jitter
        self._options = options
        self._on_event = on_event
        self._on_news = on_news
        self._asked_by = ""
        self._state = SessionState.COLD
        self._session: UpstreamSession | None = None
        self._fetch: SharedFetch[UpstreamSession] = SharedFetch(clock=clock, tasks=tasks)
        self._signing_in: asyncio.Task[UpstreamSession] | None = None
        """The sign-in whose end is not noted yet."""
        self._is_late = False
        self._check = SessionCheck(
            key,
            control_plane=control_plane,
            honours=honours,
            out_of_service=self._out_of_service,
            clock=clock,
            tasks=tasks,
        )
        self._failures = Failures(clock=clock, jitter=jitter)
        self._generation = 0
        self._lost_generation = 0
        self._replaces_rejected = False
        self._patience = options.patience_seconds

    @property
    def state(self) -> SessionState:
        return self._state

    def live(self) -> UpstreamSession | None:
        """The session if there is one, at once; past its `renew_at` this starts a renewal beside it."""
        session = self._session
        if session is None or self._clock.monotonic() < session.renew_at:
            return session
        return self._renew_ahead(session)

    async def acquire(
        self,
        *,
        within_seconds: float = SIGN_IN_SECONDS,
        patience_seconds: float = math.inf,
        asked_by: str = "",
    ) -> UpstreamSession:
        """The session, after signing in if need be; `asked_by` is the id of the request that it is for.

        Raises what the sign-in raised, also for a moment after it failed: ControlPlaneError's branch,
        UpstreamError's branch, or Draining when the gateway shuts down meanwhile. Raises SignInTimeout
        `within_seconds` of the sign-in's beginning, however many of its steps are still to come, or SigningIn after
        `patience_seconds` of this caller's own: the sign-in goes on, and what it brings is there for who comes then.
        """
        session = self.live()
        if session is not None:
            return session
        if self._signing_in is None and (failure := self._failures.last()) is not None:
            raise failure
        sign_in = self._start(asked_by)
        left_seconds = self._fetch.began_at + within_seconds - self._clock.monotonic()
        try:
            return await self._fetch.outcome(sign_in, within_seconds=min(left_seconds, patience_seconds))
        except StillUnderWay:
            pass
        if patience_seconds < left_seconds:
            raise SigningIn
        if not self._is_late:
            self._is_late = True
            self._step(SessionEvent.LATE)
        raise SignInTimeout

    @property
    def is_up(self) -> bool:
        """Whether Jupyter itself is known to have answered of late."""
        return self._check.is_up

    async def honoured(self, session: NotebookSession, *, again: bool = False) -> Honoured:
        """A response to a request with `session` looked like "not signed in": whether that is so.

        All who ask at once share a question, and what was told counts for `TOLD_SECONDS`: an application that answers
        401 to everything costs one question in that time. One that was renewed since that response's request went out
        may be as good as ever, and is asked about, too. YES, NO, STARTING, OUT (the session is dropped, and `acquire`
        says what state the instance is in) or UNTOLD. `again`: that it was up a moment ago does not count, for the
        response says otherwise. Raises Draining when the gateway shuts down meanwhile.
        """
        if session.generation <= self._lost_generation:
            return Honoured.NO
        current = self._session
        # Its cookies may have been exchanged since.
        if current is None or current.generation != session.generation:
            # Nobody else's sessions are given to a keeper.
            assert isinstance(session, UpstreamSession)
            current = session
        return await self._check.honoured(current, again=again)

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
        self._start_unless_it_just_failed()
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
        self._check.forget_status()
        self._failures.forget()

    def drop(self) -> None:
        """The instance left service, and what was bought of it is worth nothing. A sign-in goes on: it will tell."""
        self._urls.take(self.key)
        if self._session is not None:
            self._lose(Loss.OUT_OF_SERVICE)

    def close(self) -> None:
        """The instance is served no more: end the sign-in and forget what was kept.

        Whoever still waits is told Draining; a later `acquire` would sign in again.
        """
        self._fetch.cancel()
        self.drop()

    def _renew_ahead(self, session: UpstreamSession) -> UpstreamSession | None:
        if self._clock.monotonic() >= session.expires_at:
            self._lose(Loss.EXPIRED)
            return None
        self._start_unless_it_just_failed()
        return session

    def _lose(self, why: Loss) -> None:
        self._lost_generation = self._generation
        self._session = None
        self._step(SessionEvent.LOST)
        self._tell(Lost(why))

    def _start(self, asked_by: str = "") -> asyncio.Task[UpstreamSession]:
        """The sign-in that is under way, or a new one."""
        if self._signing_in is not None:
            return self._signing_in
        self._step(SessionEvent.WANTED)
        self._is_late = False
        self._asked_by = asked_by
        sign_in = self._fetch.begin(self._obtain, name=f"sign-in to {self.key}", expected=(NbgateError,))
        # Not at the end of what it runs: one that is ended in the turn in which it began runs nothing.
        sign_in.add_done_callback(self._never_began)
        self._signing_in = sign_in
        return sign_in

    def _start_unless_it_just_failed(self) -> None:
        if self._failures.last() is None:
            self._start()

    def _never_began(self, sign_in: asyncio.Task[UpstreamSession]) -> None:
        if sign_in is self._signing_in:
            self._signing_in = None
            self._step(SessionEvent.FAILED)

    async def _obtain(self) -> UpstreamSession:
        session = None
        try:
            session = self._obtained(*await self._sign_in())
        except NbgateError as error:
            self._failed(error)
            raise
        except Exception:
            # A fault of our own, which the task's owner tells: a crowd must not repeat it without end either.
            self._failed(InternalError())
            raise
        finally:
            self._signing_in = None
            if session is None:
                self._step(SessionEvent.FAILED)
        return session

    async def _sign_in(self) -> tuple[PresignedUrl, SignIn]:
        """Two URLs at most: one that was refused may have been used up, or grown old, on its way."""
        try:
            return await self._try_one_url()
        except SessionRejected:
            self._step(SessionEvent.URL_SPENT)
        return await self._try_one_url()

    async def _try_one_url(self) -> tuple[PresignedUrl, SignIn]:
        url = self._urls.take(self.key) or await self._control_plane.create_presigned_url(
            self.key.notebook, session_seconds=self._options.session_seconds
        )
        self._step(SessionEvent.URL_READY)
        try:
            return url, await self._exchange(url)
        except (NotConnected, NotTrusted, NotLetThrough):
            self._urls.put(self.key, url)
            raise
        except NotReady as error:
            self._urls.put(self.key, url)
            not_ready = error
        raise await self._why_not_ready(not_ready)

    async def _why_not_ready(self, error: NotReady) -> NbgateError:
        """What to say of a front end that took no token: SageMaker may know that the instance is away."""
        status: str = InstanceStatus.IN_SERVICE if error.is_page else await self._check.status()
        if status in {InstanceStatus.IN_SERVICE, ""}:
            return JupyterStarting(detail=error.detail)
        self._urls.take(self.key)
        return not_in_service(status, detail=error.detail)

    def _obtained(self, url: PresignedUrl, sign_in: SignIn) -> UpstreamSession:
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
        self._failures.forget()
        self._step(SessionEvent.SIGNED_IN)
        self._tell(Obtained(expires_at - session.obtained_at))
        return session

    def _failed(self, error: NbgateError) -> None:
        seconds = self._failures.note(error)
        self._tell(NotObtained(error, self._failures.count, seconds, self._asked_by))

    def _out_of_service(self, error: NbgateError) -> None:
        self._failed(error)
        self.drop()

    def _step(self, event: SessionEvent) -> None:
        self._state = state_after(self._state, event)
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
