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

from proxy.aws.client import Answer, ask, cookie_field, fetch, open_client
from proxy.aws.dial import DIRECT, Egress
from proxy.aws.hosts import SIGN_IN_HOSTS
from proxy.aws.sessions import Honoured, UpstreamSession
from proxy.aws.signed_out import Shape, is_jupyter, shape_of
from proxy.errors import SessionRejected, UpstreamError, UpstreamInvalid, UpstreamTimeout

_QUERY: Final = "?no_track_activity=1"
_STATUS: Final = "/api/status"
_OK: Final = 200
HONOURS_SECONDS: Final = 8.0
"""A caller waits for that answer."""


class Sessions(Protocol):
    """What of a keeper (`proxy.aws.keeper.SessionKeeper`) is used."""

    async def acquire(self) -> UpstreamSession: ...
    async def honoured(self, session: UpstreamSession) -> Honoured: ...
    def reject(self, session: UpstreamSession) -> bool: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for all questions of one `ask` together and for connecting, bytes for each answer. `ssl_context`
    replaces the system's trust for test hosts; `sign_in_hosts` is `NotebookHosts.sign_in_hosts`."""

    total_seconds: float = 20.0
    connect_seconds: float = 5.0
    answer_bytes: int = 1024 * 1024
    ssl_context: ssl.SSLContext | None = None
    sign_in_hosts: frozenset[str] = SIGN_IN_HOSTS
    egress: Egress = DIRECT


@dataclass(frozen=True, slots=True)
class Told:
    """An answer of Jupyter's. `date` is the `Date` field, "" where there is none."""

    status: int
    body: bytes
    date: str


async def ask_jupyter(keeper: Sessions, paths: Sequence[str], limits: Limits) -> tuple[Told, ...]:
    """GET these paths of Jupyter's, such as `/api/kernels`, one after the other; answers with status 200 or 404.

    Raises what signing in raises; SessionRejected where that did not help; UpstreamInvalid for any other status and
    for answers that are too large; UpstreamUnreachable or UpstreamTimeout.
    """
    try:
        async with asyncio.timeout(limits.total_seconds):
            session = await keeper.acquire()
            try:
                return await _ask(session, paths, limits)
            except SessionRejected:
                if await keeper.honoured(session) is not Honoured.NO or not keeper.reject(session):
                    raise
            return await _ask(await keeper.acquire(), paths, limits)
    except TimeoutError as error:
        raise UpstreamTimeout(detail="the gateway's own question") from error


async def honours(session: UpstreamSession, limits: Limits) -> Honoured:
    """Ask the notebook's front end whether a session still holds: `GET /api/status`, which only Jupyter answers."""
    try:
        async with (
            asyncio.timeout(min(limits.total_seconds, HONOURS_SECONDS)),
            _client(limits) as client,
        ):
            target = URL(f"{session.origin}{_STATUS}{_QUERY}", encoded=True)
            answer = await ask(client, target, headers=cookie_field(session.cookies))
    except (UpstreamError, TimeoutError):
        return Honoured.UNTOLD
    if _shape_of(answer, session, _STATUS, limits) is not None:
        return Honoured.NO
    return Honoured.YES if answer.status == _OK or is_jupyter(answer.server) else Honoured.UNTOLD


def _client(limits: Limits) -> aiohttp.ClientSession:
    return open_client(
        connect_seconds=limits.connect_seconds, ssl_context=limits.ssl_context, egress=limits.egress
    )


async def _ask(session: UpstreamSession, paths: Sequence[str], limits: Limits) -> tuple[Told, ...]:
    async with _client(limits) as client:
        return tuple([await _one(client, session, path, limits) for path in paths])


async def _one(client: aiohttp.ClientSession, session: UpstreamSession, path: str, limits: Limits) -> Told:
    target = URL(f"{session.origin}{path}{_QUERY}", encoded=True)
    answer, body = await fetch(
        client, target, headers=cookie_field(session.cookies), max_bytes=limits.answer_bytes
    )
    if _shape_of(answer, session, path, limits) is not None:
        raise SessionRejected(detail=f"{path} answered as if signed out")
    if answer.status not in (200, 404):
        raise UpstreamInvalid(detail=f"{path} answered {answer.status}")
    return Told(answer.status, body, answer.date.decode("latin-1"))


def _shape_of(answer: Answer, session: UpstreamSession, path: str, limits: Limits) -> Shape | None:
    return shape_of(
        status=answer.status,
        target=path,
        origin=session.origin,
        location=answer.location,
        content_type=answer.content_type,
        server=answer.server,
        jupyter_shows=session.jupyter_shows,
        sign_in_hosts=limits.sign_in_hosts,
    )
