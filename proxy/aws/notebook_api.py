"""Questions of the gateway's own to Jupyter's API, asked with an upstream session.

The rule: asking is not using. Every question says `no_track_activity`, so that Jupyter does not count it, and none
holds a connection. A session that turns out to be over is renewed once, as for a caller's request; whether it is, the
first question of all tells, `honours`. Answers are
bounded in size and in time, and are bytes: what they mean is for whoever asked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp
from yarl import URL

from proxy.aws.client import cookie_field, fetch, open_client, peek
from proxy.aws.cookies import Cookies
from proxy.aws.dial import DIRECT, Egress
from proxy.aws.hosts import SIGN_IN_HOSTS
from proxy.aws.sessions import StatusMeaning, UpstreamSession
from proxy.aws.signed_out import Shape, shape_of
from proxy.aws.status_answer import BODY_BYTES, STATUS_TARGET, Asked, meaning_of, wants_body
from proxy.errors import JupyterStarting, SessionRejected, UpstreamError, UpstreamInvalid, UpstreamTimeout
from proxy.upstream import Honoured, Origin

_QUERY: Final = "?no_track_activity=1"
HONOURS_SECONDS: Final = 8.0
"""A caller waits for that answer."""


class SessionSource(Protocol):
    """What of a keeper (`proxy.aws.keeper.SessionKeeper`) is used."""

    async def acquire(self) -> UpstreamSession: ...
    async def honoured(self, session: UpstreamSession) -> Honoured: ...
    def reject(self, session: UpstreamSession) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLimits:
    """Seconds for all questions of one `ask` together and for connecting, bytes for each answer. `ssl_context`
    replaces the system's trust for test hosts; `sign_in_hosts` is `NotebookHosts.sign_in_hosts`."""

    total_seconds: float = 20.0
    connect_seconds: float = 5.0
    answer_bytes: int = 1024 * 1024
    ssl_context: ssl.SSLContext | None = None
    sign_in_hosts: frozenset[str] = SIGN_IN_HOSTS
    egress: Egress = DIRECT


@dataclass(frozen=True, slots=True)
class JupyterAnswer:
    """An answer of Jupyter's. `date` is the `Date` field, "" where there is none."""

    status: int
    body: bytes
    date: str


async def ask_jupyter(
    keeper: SessionSource, paths: Sequence[str], limits: QuestionLimits
) -> tuple[JupyterAnswer, ...]:
    """GET these paths of Jupyter's, such as `/api/kernels`, one after the other; answers with status 200 or 404.

    Raises what signing in raises; SessionRejected where that did not help; JupyterStarting where a page stands in
    Jupyter's place; UpstreamInvalid for any other status and for answers that are too large; UpstreamUnreachable or
    UpstreamTimeout.
    """
    try:
        async with asyncio.timeout(limits.total_seconds):
            session = await keeper.acquire()
            try:
                return await _ask(session, paths, limits)
            except SessionRejected as error:
                honoured = await keeper.honoured(session)
                if honoured is Honoured.STARTING:
                    raise JupyterStarting(detail=error.detail) from None
                if honoured is not Honoured.NO or not keeper.reject(session):
                    raise
            return await _ask(await keeper.acquire(), paths, limits)
    except TimeoutError as error:
        raise UpstreamTimeout(detail="the gateway's own question") from error


async def honours(session: UpstreamSession, limits: QuestionLimits) -> StatusMeaning:
    """Ask the notebook's front end whether a session still holds, and whether Jupyter is up: `GET /api/status`, which
    only Jupyter answers. A page in its place is asked for once more without the session: whoever is shown another one
    then, is not signed in, so that who sees this one is.
    """
    try:
        async with (
            asyncio.timeout(min(limits.total_seconds, HONOURS_SECONDS)),
            open_client(limits) as client,
        ):
            said = await _status_meaning(client, session.origin, session.cookies, limits)
            if said is StatusMeaning.PAGE:
                anybody = await _status_meaning(client, session.origin, Cookies(), limits)
                return StatusMeaning.STARTING if anybody is StatusMeaning.NO else StatusMeaning.PAGE
            return said
    except (UpstreamError, TimeoutError):
        return StatusMeaning.NOTHING


async def _status_meaning(
    client: aiohttp.ClientSession, origin: Origin, cookies: Cookies, limits: QuestionLimits
) -> StatusMeaning:
    target = URL(f"{origin}{STATUS_TARGET}{_QUERY}", encoded=True)
    answer, body = await peek(
        client, target, headers=cookie_field(cookies), max_bytes=BODY_BYTES, wants=wants_body
    )
    return meaning_of(Asked(answer, body, origin, limits.sign_in_hosts))


async def _ask(
    session: UpstreamSession, paths: Sequence[str], limits: QuestionLimits
) -> tuple[JupyterAnswer, ...]:
    async with open_client(limits) as client:
        return tuple([await _one(client, session, path, limits) for path in paths])


async def _one(
    client: aiohttp.ClientSession, session: UpstreamSession, path: str, limits: QuestionLimits
) -> JupyterAnswer:
    target = URL(f"{session.origin}{path}{_QUERY}", encoded=True)
    answer, body = await fetch(
        client, target, headers=cookie_field(session.cookies), max_bytes=limits.answer_bytes
    )
    shape = shape_of(
        answer, target=path, origin=session.origin, is_up=True, sign_in_hosts=limits.sign_in_hosts
    )
    if shape in {Shape.SIGN_IN, Shape.ELSEWHERE, Shape.REFUSED}:
        raise SessionRejected(detail=f"{path} answered as if signed out")
    if shape is Shape.PAGE:
        raise JupyterStarting(detail=f"{path} answered with a page")
    if answer.status not in (200, 404):
        raise UpstreamInvalid(detail=f"{path} answered {answer.status}")
    return JupyterAnswer(answer.status, body, answer.date.decode("latin-1"))
