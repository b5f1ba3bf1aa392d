"""`nbgate probe`: one sign-in to a real notebook instance, told step by step, so that an operator can report
it.

What AWS's side does in an exchange is not documented; this prints what it did: statuses, redirect hosts,
names and attributes of cookies, and how the API and a WebSocket answered afterwards. It goes through the
same control plane and the same exchange as the gateway. No token, no query and no cookie value is ever
printed: the output may be posted. What else only a live instance can answer is asked in `probe_questions`. Knows no
configuration file and no terminal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from yarl import URL

from proxy.aws.control_plane import SESSION_SECONDS_MIN, ControlPlane
from proxy.aws.cookies import SetCookie, Unkept
from proxy.aws.exchange import ExchangeOptions, Hop, NotebookExchange
from proxy.aws.hosts import NotebookHosts, foreign_host
from proxy.aws.jupyter_marks import is_jupyter_cookie
from proxy.aws.presigned import PresignedUrl
from proxy.aws.probe_questions import (
    EVENTS_TARGET,
    LineKind,
    ProbeTools,
    Say,
    ask_once,
    by_path,
    end_of_session,
    from_start_to_jupyter,
    handshake_fields,
    names,
    query_names,
    same_url_again,
)
from proxy.aws.sessions import SignIn
from proxy.chance import NewId
from proxy.clock import Clock
from proxy.errors import ControlPlaneError, InstanceNotFound, NbgateError

_ACCOUNT: Final = re.compile(r"(?<![0-9])[0-9]{12}(?![0-9])")

# RFC 6265 section 4.1 and its successors; of an attribute that is none of these only the name is told.
_TOLD_ATTRIBUTES: Final = frozenset(
    {"domain", "path", "expires", "max-age", "secure", "httponly", "samesite", "partitioned", "priority"}
)


async def run(
    notebook: str,
    *,
    control_plane: ControlPlane,
    hosts: NotebookHosts,
    clock: Clock,
    new_id: NewId,
    say: Say,
    options: ExchangeOptions = ExchangeOptions(),
    session_seconds: int = SESSION_SECONDS_MIN,
    start: bool = False,
    deep: bool = False,
) -> int:
    """Sign in to `notebook` (SageMaker's name) and tell each step to `say`. Returns the exit status.

    0: signed in, and API and WebSocket answered; 1: not. The session it leaves behind lasts
    `session_seconds`, by default the shortest that SageMaker grants. `start`: start it first, if it is stopped; `deep`:
    watch the session to its end.
    """
    say = _without_accounts(say)
    means = ProbeTools(hosts, clock, new_id=new_id, say=say, options=options)
    try:
        await _describe(notebook, control_plane, say)
        if start:
            await from_start_to_jupyter(notebook, control_plane, means)
        began_at = clock.monotonic()
        url = await _mint(notebook, control_plane, clock, say, session_seconds)
        say(LineKind.STEP, "Exchange of the URL, and a first request to the API")
        exchange = NotebookExchange(
            hosts,
            clock=clock,
            options=options,
            on_hop=lambda hop: _tell_hop(hop, say),
            on_unkept=lambda _origin, unkept: _tell_unkept(unkept, say),
        )
        sign_in = await exchange(url)
        say(LineKind.GOOD, f"Signed in to {sign_in.origin} with {_names(sign_in.cookies.names)}.")
        status = await _open_websocket(sign_in, options, new_id, say)
        await same_url_again(url, sign_in, means)
        await by_path(sign_in, means)
        if deep:
            await end_of_session(sign_in, means, session_seconds=session_seconds, began_at=began_at)
        return status
    except NbgateError as error:
        say(LineKind.BAD, f"{error.code}: {error.message}")
        if error.detail:
            say(LineKind.FACT, error.detail)
        return 1


def _without_accounts(say: Say) -> Say:
    """What AWS says of a refusal names the account, which is nobody's business where the output is posted."""
    return lambda kind, text: say(kind, _ACCOUNT.sub("ACCOUNT", text))


async def _describe(notebook: str, control_plane: ControlPlane, say: Say) -> None:
    """For information only: a role that may not describe may still sign in."""
    say(LineKind.STEP, "DescribeNotebookInstance")
    try:
        described = await control_plane.describe(notebook)
    except InstanceNotFound:
        raise
    except ControlPlaneError as error:
        say(LineKind.BAD, f"{error.code}: {error.message}")
        say(LineKind.FACT, f"{error.detail or 'no detail'}; trying to sign in all the same")
        return
    say(LineKind.FACT, f"{described.name}: {described.status}, {described.instance_type or 'no type'}")
    say(LineKind.FACT, f"host {described.url or 'not given'}, platform {described.platform or 'not given'}")


async def _mint(
    notebook: str, control_plane: ControlPlane, clock: Clock, say: Say, session_seconds: int
) -> PresignedUrl:
    say(LineKind.STEP, f"CreatePresignedNotebookInstanceUrl for a session of {session_seconds} s")
    asked_at = clock.monotonic()
    url = await control_plane.create_presigned_url(notebook, session_seconds=session_seconds)
    took_seconds = clock.monotonic() - asked_at
    text = url.reveal()
    try:
        parsed = URL(text)
        told = f"{parsed.scheme}://{parsed.host}, query {query_names(parsed)}"
    except ValueError:
        told = "something that is no URL"
    say(LineKind.FACT, f"answered in {took_seconds:.2f} s: {told}, {len(text)} characters")
    return url


async def _open_websocket(sign_in: SignIn, options: ExchangeOptions, new_id: NewId, say: Say) -> int:
    """An opening handshake (RFC 6455 section 4.1), broken off once it is answered."""
    say(LineKind.STEP, f"WebSocket to {EVENTS_TARGET}")
    headers = handshake_fields(sign_in.origin, sign_in.cookies, new_id)
    target = URL(f"{sign_in.origin}{EVENTS_TARGET}")
    answer = await ask_once(target, headers, options)
    server = answer.server.decode("latin-1") or "no Server field"
    if answer.cookies:
        say(LineKind.FACT, f"sets {names(answer.cookies)}")
    if answer.status == 101:
        say(LineKind.GOOD, f"101, the connection was upgraded ({server}).")
        return 0
    say(LineKind.BAD, f"{answer.status} instead of 101 ({server}).")
    if answer.location:
        elsewhere = foreign_host(answer.location, sign_in.origin)
        say(LineKind.FACT, f"redirected to {elsewhere[0] if elsewhere else 'its own host'}")
    return 1


def _tell_hop(hop: Hop, say: Say) -> None:
    say(LineKind.FACT, f"GET {hop.origin}{hop.path} -> {hop.status}")
    say(LineKind.FACT, f"  Server: {hop.server or 'none'}; Content-Type: {hop.content_type or 'none'}")
    if hop.leads_to:
        token = ", with the token" if hop.with_token else ""
        say(LineKind.FACT, f"  Location: {hop.leads_to}{token}")
    for cookie in hop.cookies:
        say(LineKind.FACT, f"  Set-Cookie: {_described_cookie(cookie)}")


def _tell_unkept(unkept: Sequence[Unkept], say: Say) -> None:
    for one in unkept:
        say(LineKind.BAD, f"  Set-Cookie: {one.name or '***'} ({one.size_bytes} bytes; not kept: {one.why})")


def _described_cookie(cookie: SetCookie) -> str:
    attributes = [
        (f"{name}={value}" if value and name in _TOLD_ATTRIBUTES else name)
        for name, value in cookie.attributes
        if name
    ]
    whose = "Jupyter's" if is_jupyter_cookie(cookie.name) else "kept"
    parts = [f"{len(cookie.value)} characters", *attributes, whose]
    return f"{cookie.name.decode('latin-1')} ({'; '.join(parts)})"


def _names(names: frozenset[bytes]) -> str:
    return ", ".join(sorted(name.decode("latin-1") for name in names))
