"""`nbgate probe`: one sign-in to a real notebook instance, told step by step, so that an operator can report
it.

What AWS's side does in an exchange is not documented; this prints what it did: statuses, redirect hosts,
names and attributes of cookies, and how the API and a WebSocket answered afterwards. It goes through the
same control plane and the same exchange as the gateway. No token, no query and no cookie value is ever
printed: the output may be posted. Knows no configuration file and no terminal.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from yarl import URL

from proxy.aws.client import ask, cookie_field, open_client
from proxy.aws.control_plane import SESSION_SECONDS_MIN, ControlPlane
from proxy.aws.cookies import SetCookie, Unkept
from proxy.aws.exchange import ExchangeOptions, Hop, NotebookExchange, belongs_to_jupyter
from proxy.aws.hosts import NotebookHosts, foreign_host
from proxy.aws.presigned import PresignedUrl
from proxy.aws.sessions import SignIn
from proxy.chance import NewId
from proxy.clock import Clock
from proxy.errors import ControlPlaneError, InstanceNotFound, NbgateError, UpstreamTimeout

EVENTS_TARGET: Final = "/api/events/subscribe"

# RFC 6265 section 4.1 and its successors; of an attribute that is none of these only the name is told.
_TOLD_ATTRIBUTES: Final = frozenset(
    {"domain", "path", "expires", "max-age", "secure", "httponly", "samesite", "partitioned", "priority"}
)

# A token could stand in the query without a name.
_NAME: Final = re.compile(r"[A-Za-z_-]{1,24}")


class Kind(Enum):
    """What a line of output is, for whoever gives it colour."""

    STEP = "step"
    FACT = "fact"
    GOOD = "good"
    BAD = "bad"


Say = Callable[[Kind, str], None]


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
) -> int:
    """Sign in to `notebook` (SageMaker's name) and tell each step to `say`. Returns the exit status.

    0: signed in, and API and WebSocket answered; 1: not. The session it leaves behind lasts
    `session_seconds`, by default the shortest that SageMaker grants.
    """
    try:
        await _describe(notebook, control_plane, say)
        url = await _mint(notebook, control_plane, clock, say, session_seconds)
        say(Kind.STEP, "Exchange of the URL, and a first request to the API")
        exchange = NotebookExchange(
            hosts,
            clock=clock,
            options=options,
            on_hop=lambda hop: _tell_hop(hop, say),
            on_unkept=lambda _origin, unkept: _tell_unkept(unkept, say),
        )
        sign_in = await exchange(url)
        say(Kind.GOOD, f"Signed in to {sign_in.origin} with {_names(sign_in.cookies.names)}.")
        return await _open_websocket(sign_in, options, new_id, say)
    except NbgateError as error:
        say(Kind.BAD, f"{error.code}: {error.message}")
        if error.detail:
            say(Kind.FACT, error.detail)
        return 1


async def _describe(notebook: str, control_plane: ControlPlane, say: Say) -> None:
    """For information only: a role that may not describe may still sign in."""
    say(Kind.STEP, "DescribeNotebookInstance")
    try:
        described = await control_plane.describe(notebook)
    except InstanceNotFound:
        raise
    except ControlPlaneError as error:
        say(Kind.BAD, f"{error.code}: {error.message}")
        say(Kind.FACT, f"{error.detail or 'no detail'}; trying to sign in all the same")
        return
    say(Kind.FACT, f"{described.name}: {described.status}, {described.instance_type or 'no type'}")
    say(Kind.FACT, f"host {described.url or 'not given'}, platform {described.platform or 'not given'}")


async def _mint(
    notebook: str, control_plane: ControlPlane, clock: Clock, say: Say, session_seconds: int
) -> PresignedUrl:
    say(Kind.STEP, f"CreatePresignedNotebookInstanceUrl for a session of {session_seconds} s")
    asked_at = clock.monotonic()
    url = await control_plane.create_presigned_url(notebook, session_seconds=session_seconds)
    took_seconds = clock.monotonic() - asked_at
    text = url.reveal()
    try:
        parsed = URL(text)
        query = ", ".join(name if _NAME.fullmatch(name) else "***" for name in parsed.query)
        told = f"{parsed.scheme}://{parsed.host}, query {query or 'none'}"
    except ValueError:
        told = "something that is no URL"
    say(Kind.FACT, f"answered in {took_seconds:.2f} s: {told}, {len(text)} characters")
    return url


async def _open_websocket(sign_in: SignIn, options: ExchangeOptions, new_id: NewId, say: Say) -> int:
    """An opening handshake (RFC 6455 section 4.1), broken off once it is answered."""
    say(Kind.STEP, f"WebSocket to {EVENTS_TARGET}")
    headers = {
        "Origin": str(sign_in.origin),
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        # 16 bytes in base64: new_id is 16 characters.
        "Sec-WebSocket-Key": base64.b64encode(new_id().encode("ascii")[:16].ljust(16, b"0")).decode("ascii"),
        **cookie_field(sign_in.cookies),
    }
    target = URL(f"{sign_in.origin}{EVENTS_TARGET}")
    try:
        async with (
            asyncio.timeout(options.total_seconds),
            open_client(
                connect_seconds=options.connect_seconds,
                ssl_context=options.ssl_context,
                egress=options.egress,
            ) as client,
        ):
            answer = await ask(client, target, headers=headers)
    except TimeoutError:
        raise UpstreamTimeout(detail=f"{EVENTS_TARGET} did not answer the upgrade") from None
    server = answer.server.decode("latin-1") or "no Server field"
    if answer.status == 101:
        say(Kind.GOOD, f"101, the connection was upgraded ({server}).")
        return 0
    say(Kind.BAD, f"{answer.status} instead of 101 ({server}).")
    if answer.location:
        elsewhere = foreign_host(answer.location, sign_in.origin)
        say(Kind.FACT, f"redirected to {elsewhere[0] if elsewhere else 'its own host'}")
    return 1


def _tell_hop(hop: Hop, say: Say) -> None:
    say(Kind.FACT, f"GET {hop.origin}{hop.path} -> {hop.status}")
    say(Kind.FACT, f"  Server: {hop.server or 'none'}; Content-Type: {hop.content_type or 'none'}")
    if hop.leads_to:
        token = ", with the token" if hop.with_token else ""
        say(Kind.FACT, f"  Location: {hop.leads_to}{token}")
    for cookie in hop.cookies:
        say(Kind.FACT, f"  Set-Cookie: {_told(cookie)}")


def _tell_unkept(unkept: Sequence[Unkept], say: Say) -> None:
    for one in unkept:
        say(Kind.BAD, f"  Set-Cookie: {one.name or '***'} ({one.size_bytes} bytes; not kept: {one.why})")


def _told(cookie: SetCookie) -> str:
    attributes = [
        (f"{name}={value}" if value and name in _TOLD_ATTRIBUTES else name)
        for name, value in cookie.attributes
        if name
    ]
    whose = "Jupyter's" if belongs_to_jupyter(cookie.name) else "kept"
    parts = [f"{len(cookie.value)} characters", *attributes, whose]
    return f"{cookie.name.decode('latin-1')} ({'; '.join(parts)})"


def _names(names: frozenset[bytes]) -> str:
    return ", ".join(sorted(name.decode("latin-1") for name in names))
