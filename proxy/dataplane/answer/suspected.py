"""An answer that looks like one of the notebook's front end's own: nothing of it passes before it is known whose it is.

The rule: the front end is asked separately, and what follows from what it says is decided by
`proxy.dataplane.sessions.Suspicion`; here it is done. Knows no bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from proxy.dataplane.answer.mount_heads import may_set_session
from proxy.errors import (
    InternalError,
    JupyterStarting,
    NbgateError,
    SessionRejected,
    UpstreamUnreachable,
)
from proxy.upstream import Outcome

if TYPE_CHECKING:
    from proxy.dataplane.notebook.connection import UpstreamConnection
    from proxy.dataplane.plane import DataPlane
    from proxy.dataplane.sessions import Keeper, Suspicion
    from proxy.routing.router import Route
    from proxy.upstream import NotebookSession
    from proxy.wire.heads import ResponseFacts

T = TypeVar("T")


class SuspectedExchange(Protocol):
    """The request whose answer waits, as far as it matters here."""

    connection: UpstreamConnection | None
    session: NotebookSession | None
    keeper: Keeper
    route: Route
    has_renewed: bool
    """It was repeated already, after signing in anew."""
    is_cleared: bool
    """The answer is Jupyter's, or an application's, and passes."""
    has_ended: bool

    @property
    def may_be_done(self) -> bool:
        """Whether the notebook may have acted on it, although nothing of an answer came."""

    def repeat(self, suspicion: Suspicion) -> None:
        """We were signed out: repeat it with another session, if it may be."""

    def drop_connection(self) -> None:
        """Nothing more is read of this answer."""

    def fail(self, error: NbgateError) -> None:
        """There is no answer."""


async def or_fail(awaited: Awaitable[T], fail: Callable[[NbgateError], None]) -> T | None:
    """What is awaited, or None where that failed, and so the request."""
    try:
        return await awaited
    except NbgateError as error:
        fail(error)
        return None
    except Exception:
        # A fault of our own; the task's owner logs it. The caller must not wait for ever.
        fail(InternalError())
        raise


def is_let_through(exchange: SuspectedExchange, plane: DataPlane, facts: ResponseFacts) -> bool:
    """Whether a head may pass now. If not, it is known later, or the request has failed."""
    front_end, target = plane.front_end, exchange.route.upstream_target
    connection, session, keeper = exchange.connection, exchange.session, exchange.keeper
    assert connection is not None
    assert session is not None
    suspicion = front_end.suspect(
        facts, target=target, session=session, is_up=facts.status < 300 and keeper.is_up
    )
    if suspicion is not None:
        connection.put_off(facts)
        plane.tasks.start(
            _find_out(
                exchange, plane, connection=connection, session=session, facts=facts, suspicion=suspicion
            ),
            name="whether signed in",
        )
        return False
    if front_end.has_answered(facts, target=target):
        exchange.fail(UpstreamUnreachable(detail=_answered(facts)))
        return False
    if facts.set_cookies and may_set_session(target):
        keeper.absorb(session, facts.set_cookies)
    return True


async def _find_out(
    exchange: SuspectedExchange,
    plane: DataPlane,
    *,
    connection: UpstreamConnection,
    session: NotebookSession,
    facts: ResponseFacts,
    suspicion: Suspicion,
) -> None:
    """Ask what the notebook's front end makes of the session, and do what follows."""
    keeper = exchange.keeper
    honoured = await or_fail(keeper.honoured(session, again=suspicion.contradicts), exchange.fail)
    if honoured is None or exchange.has_ended or exchange.connection is not connection:
        return  # the caller left, or the answer's time ran out
    becomes = suspicion.outcome(honoured)
    if becomes is Outcome.RENEW and (exchange.has_renewed or not keeper.reject(session)):
        becomes = suspicion.without_renewal()
    match becomes:
        case Outcome.PASS:
            exchange.is_cleared = True
            connection.proceed()
        case Outcome.RENEW:
            exchange.repeat(suspicion)
        case Outcome.REFUSE:
            exchange.fail(SessionRejected(retry_after_seconds=5))
        case Outcome.OUT:
            await _say_state(exchange, plane, facts=facts, suspicion=suspicion)
        case Outcome.STARTING:
            _say_absent(exchange, suspicion, JupyterStarting(detail=_answered(facts)))
            # Whoever comes next connects anew, and so tells when the outage is over.
            plane.pool.empty(connection.siblings)
        case Outcome.AWAY:
            _say_absent(exchange, suspicion, UpstreamUnreachable(detail=_answered(facts)))


async def _say_state(
    exchange: SuspectedExchange, plane: DataPlane, *, facts: ResponseFacts, suspicion: Suspicion
) -> None:
    """The instance is not in service: signing in says in which state it is."""
    error: NbgateError = JupyterStarting(detail=_answered(facts))
    try:
        await exchange.keeper.acquire(within_seconds=plane.current.timeouts.sign_in_seconds)
    except NbgateError as its_state:
        error = its_state
    except Exception:
        exchange.fail(InternalError())
        raise
    _say_absent(exchange, suspicion, error)


def _say_absent(exchange: SuspectedExchange, suspicion: Suspicion, error: NbgateError) -> None:
    """The front end answered in Jupyter's place: was the request passed on, it may be done, else it is not."""
    if exchange.may_be_done and suspicion.may_have_passed_on:
        error = UpstreamUnreachable(detail=error.detail)
    else:
        exchange.drop_connection()
    exchange.fail(error)


def _answered(facts: ResponseFacts) -> str:
    return f"the notebook's front end answered {facts.status}"
