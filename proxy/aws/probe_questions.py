"""What only a live notebook instance can answer, asked for `nbgate probe` and told as statuses and names.

    the same URL a second time       is it good once?
    without a cookie, with one       how "signed out" looks, whose `Server` it is, what is set where, also on 101
    from Start to Jupyter            what answers in between, second by second (`--start`)
    the end of a session             what a request, a handshake and an open WebSocket meet then (`--deep`)

The rule: each question is asked although another one failed, and nothing is told that could not be posted: of addresses
hosts and names of parameters, of cookies names. Knows no configuration file and no terminal.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Final

import aiohttp
from yarl import URL

from proxy.aws.client import NotebookAnswer, ask, cookie_field, open_client
from proxy.aws.control_plane import ControlPlane
from proxy.aws.cookies import Cookies, SetCookie
from proxy.aws.exchange import ExchangeOptions
from proxy.aws.hosts import NotebookHosts, foreign_host
from proxy.aws.presigned import PresignedUrl
from proxy.aws.sessions import SignIn
from proxy.aws.status_answer import STATUS_TARGET
from proxy.chance import NewId
from proxy.clock import Clock
from proxy.errors import NbgateError, UpstreamTimeout
from proxy.instance_status import PASSING, STARTABLE, InstanceStatus
from proxy.tasks import Tasks
from proxy.upstream import Origin

EVENTS_TARGET: Final = "/api/events/subscribe"
PATHS: Final = ("/", "/lab", STATUS_TARGET, "/proxy/8888/")
START_SECONDS: Final = 900.0
URL_SECONDS: Final = 240.0
"""A presigned URL is good for 300 s; after so many another one is made."""
MINUTE_SECONDS: Final = 60.0
CLOSE_LOOK_SECONDS: Final = 5.0
BEFORE_SECONDS: Final = 30.0
AFTER_SECONDS: Final = 180.0

# A token could stand in the query without a name.
_NAME: Final = re.compile(r"[A-Za-z_-]{1,24}")


class LineKind(Enum):
    """What a line of output is, for whoever gives it colour."""

    STEP = "step"
    FACT = "fact"
    GOOD = "good"
    BAD = "bad"


Say = Callable[[LineKind, str], None]


@dataclass(frozen=True, slots=True)
class ProbeTools:
    """What questions are asked with."""

    hosts: NotebookHosts
    clock: Clock
    _: KW_ONLY
    new_id: NewId
    say: Say
    options: ExchangeOptions = field(default_factory=ExchangeOptions)


async def ask_once(target: URL, fields: Mapping[str, str], options: ExchangeOptions) -> NotebookAnswer:
    """The answer to a GET by a client that asks nothing else. Raises as `proxy.aws.client.ask`, and UpstreamTimeout."""
    try:
        async with asyncio.timeout(options.total_seconds), open_client(options) as client:
            return await ask(client, target, headers=fields)
    except TimeoutError:
        raise UpstreamTimeout(detail=f"GET {target.path} was not answered") from None


def query_names(url: URL) -> str:
    """The names of a query's parameters, as far as they are names."""
    return ", ".join(name if _NAME.fullmatch(name) else "***" for name in url.query) or "none"


def described(answer: NotebookAnswer, origin: Origin) -> str:
    """An answer in statuses and names."""
    parts = [str(answer.status)]
    if answer.location:
        parts.append(_leads(answer.location, origin))
    parts.append(f"Server: {answer.server.decode('latin-1') or 'none'}")
    if answer.content_type:
        parts.append(answer.content_type.decode("latin-1"))
    if answer.cookies:
        parts.append(f"sets {names(answer.cookies)}")
    return "; ".join(parts)


def names(cookies: Iterable[SetCookie]) -> str:
    """Of cookies, in the order in which they are set."""
    return ", ".join(dict.fromkeys(cookie.name.decode("latin-1") for cookie in cookies))


def handshake_fields(origin: Origin, cookies: Cookies, new_id: NewId) -> dict[str, str]:
    """The fields of an opening handshake (RFC 6455 section 4.1)."""
    return {
        "Origin": str(origin),
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        # 16 bytes in base64: new_id is 16 characters.
        "Sec-WebSocket-Key": base64.b64encode(new_id().encode("ascii")[:16].ljust(16, b"0")).decode("ascii"),
        **cookie_field(cookies),
    }


async def same_url_again(url: PresignedUrl, sign_in: SignIn, tools: ProbeTools) -> None:
    """Whether a URL that has signed in does so once more, for a browser without cookies."""
    tools.say(LineKind.STEP, "The same URL a second time")
    answer = await _answer(tools, sign_in.origin, url.reveal(), {})
    if isinstance(answer, str):
        tools.say(LineKind.FACT, f"GET -> {answer}")
        return
    tools.say(LineKind.FACT, f"GET -> {described(answer, sign_in.origin)}")
    again = {cookie.name for cookie in answer.cookies} & sign_in.cookies.names
    tools.say(
        LineKind.FACT,
        "it signs in again: a URL is good more than once"
        if again
        else "it sets none of the session's cookies: a URL is good once, as far as this shows",
    )


async def by_path(sign_in: SignIn, tools: ProbeTools) -> None:
    """What answers to whoever is signed out, and to whoever is signed in; and what each sets."""
    for about, cookies in (("Without a cookie", Cookies()), ("With the session", sign_in.cookies)):
        tools.say(LineKind.STEP, about)
        for path in PATHS:
            answer = await _answer(tools, sign_in.origin, f"{sign_in.origin}{path}", cookie_field(cookies))
            tools.say(LineKind.FACT, f"GET {path} -> {_words(answer, sign_in.origin)}")
        await _handshake(sign_in.origin, cookies, tools)


async def from_start_to_jupyter(notebook: str, control_plane: ControlPlane, tools: ProbeTools) -> None:
    """Start a stopped instance, and tell each change of what answers until Jupyter does. Raises ControlPlaneError."""
    say, clock = tools.say, tools.clock
    say(LineKind.STEP, "From StartNotebookInstance to Jupyter")
    status = (await control_plane.describe(notebook)).status
    if status not in STARTABLE:
        say(LineKind.BAD, f"not started: it is {status}, and has to be Stopped before")
        return
    await control_plane.start(notebook)
    line = _TimeLine(clock, say)
    line.tell("Describe", InstanceStatus.PENDING)
    while line.seconds <= START_SECONDS:
        await clock.sleep(1.0)
        described = await control_plane.describe(notebook)
        line.tell("Describe", described.status)
        if described.in_service:
            break
        if described.status not in PASSING:
            say(LineKind.BAD, f"it will not be InService: {described.status}")
            return
    await _until_jupyter(notebook, control_plane, tools, line)


async def _until_jupyter(
    notebook: str, control_plane: ControlPlane, tools: ProbeTools, line: _TimeLine
) -> None:
    clock = tools.clock
    url: PresignedUrl | None = None
    jar = Cookies()
    urls = 0
    while line.seconds <= START_SECONDS:
        if url is None or clock.monotonic() - url.requested_at >= URL_SECONDS:
            url = await control_plane.create_presigned_url(notebook, session_seconds=1800)
            jar, urls = Cookies(), urls + 1
        target = URL(url.reveal(), encoded=True)
        if not tools.hosts.allows(target):
            tools.say(LineKind.BAD, "the presigned URL leads to no notebook host")
            return
        origin = Origin.of(target)
        # Once there is a session the URL is left alone: it may be good once.
        where = f"{origin}{STATUS_TARGET}" if jar.pairs else url.reveal()
        answer = await _answer(tools, origin, where, cookie_field(jar))
        line.tell(f"GET {STATUS_TARGET}" if jar.pairs else "GET of the URL", _words(answer, origin))
        if isinstance(answer, NotebookAnswer):
            if jar.pairs and answer.status == 200 and answer.content_type.startswith(b"application/json"):
                tools.say(
                    LineKind.GOOD, f"Jupyter answers {line.seconds:.0f} s after the start; URLs made: {urls}"
                )
                return
            jar = jar.apply(answer.cookies, host=origin.host, now=clock.now())
        await clock.sleep(1.0)
    tools.say(LineKind.BAD, f"Jupyter did not answer within {START_SECONDS:.0f} s; URLs made: {urls}")


async def end_of_session(
    sign_in: SignIn, tools: ProbeTools, *, session_seconds: int, began_at: float
) -> None:
    """Watch a session to its end and beyond: a request now and then, and a WebSocket that is held open. `began_at` is
    when it began (`Clock.monotonic`).
    """
    say, clock, origin = tools.say, tools.clock, sign_in.origin
    minutes = (session_seconds + AFTER_SECONDS) / MINUTE_SECONDS
    say(LineKind.STEP, f"The end of a session of {session_seconds} s (this takes {minutes:.0f} minutes)")
    line = _TimeLine(clock, say, began_at=began_at)
    tasks = Tasks(lambda name, error: line.tell(name, type(error).__name__))
    async with open_client(tools.options) as client:
        begun = asyncio.Event()
        held = tasks.start(_hold(client, sign_in, line, begun), name="WebSocket")
        try:
            try:
                async with asyncio.timeout(tools.options.total_seconds):
                    await begun.wait()
            except TimeoutError:
                line.tell("WebSocket", "no answer to the handshake")
            while line.seconds < session_seconds + AFTER_SECONDS:
                answer = await _answer(
                    tools, origin, f"{origin}{STATUS_TARGET}", cookie_field(sign_in.cookies)
                )
                line.tell(f"GET {STATUS_TARGET}", _words(answer, origin))
                left = session_seconds - BEFORE_SECONDS - line.seconds
                await clock.sleep(min(MINUTE_SECONDS, left) if left > 0 else CLOSE_LOOK_SECONDS)
            await _handshake(origin, sign_in.cookies, tools)
            if not held.done():
                say(LineKind.FACT, f"the WebSocket is still open after {line.seconds:.0f} s")
        finally:
            await tasks.close()


class _TimeLine:
    """Tells what changes, and when; what stays the same it does not repeat."""

    def __init__(self, clock: Clock, say: Say, *, began_at: float | None = None) -> None:
        self._clock = clock
        self._say = say
        self._began_at = clock.monotonic() if began_at is None else began_at
        self._last: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        return self._clock.monotonic() - self._began_at

    def tell(self, about: str, words: str) -> None:
        if self._last.get(about) != words:
            self._last[about] = words
            self._say(LineKind.FACT, f"+{self.seconds:.0f} s: {about} -> {words}")


async def _hold(
    client: aiohttp.ClientSession, sign_in: SignIn, line: _TimeLine, begun: asyncio.Event
) -> None:
    """Hold a WebSocket open until the other side ends it, and tell how. `begun` is set when there is one, or none."""
    fields = {"Origin": str(sign_in.origin), **cookie_field(sign_in.cookies)}
    try:
        async with client.ws_connect(f"{sign_in.origin}{EVENTS_TARGET}", headers=fields) as socket:
            line.tell("WebSocket", "open")
            begun.set()
            async for _message in socket:
                pass
            line.tell("WebSocket", f"closed with {socket.close_code or 'no code'}")
    except aiohttp.WSServerHandshakeError as error:
        line.tell("WebSocket", f"{error.status} instead of 101")
    except (aiohttp.ClientError, OSError) as error:
        line.tell("WebSocket", type(error).__name__)
    finally:
        begun.set()


async def _handshake(origin: Origin, cookies: Cookies, tools: ProbeTools) -> None:
    fields = handshake_fields(origin, cookies, tools.new_id)
    answer = await _answer(tools, origin, f"{origin}{EVENTS_TARGET}", fields)
    tools.say(LineKind.FACT, f"upgrade of {EVENTS_TARGET} -> {_words(answer, origin)}")


async def _answer(
    tools: ProbeTools, origin: Origin, target: str, fields: dict[str, str]
) -> NotebookAnswer | str:
    """The answer to a GET, or what became of it in a word. The client's own text is not told: it may hold the URL."""
    try:
        return await ask_once(URL(target, encoded=True), fields, tools.options)
    except UpstreamTimeout:
        return f"no answer within {tools.options.total_seconds:.0f} s"
    except NbgateError as error:
        return error.code


def _words(answer: NotebookAnswer | str, origin: Origin) -> str:
    return answer if isinstance(answer, str) else described(answer, origin)


def _leads(location: bytes, origin: Origin) -> str:
    elsewhere = foreign_host(location, origin)
    where = f"to {elsewhere[0]}" if elsewhere else "to its own host"
    try:
        query = query_names(URL(location.decode("latin-1"), encoded=True))
    except ValueError:
        return where
    return where if query == "none" else f"{where}, query {query}"
