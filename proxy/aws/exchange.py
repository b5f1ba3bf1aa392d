"""The exchange: follow a presigned URL as a browser would, and keep the cookies that the front end sets.

How many redirects there are, and what the cookies are called, AWS does not document; so all of them are
followed by hand, within bounds, and every URL passes `NotebookHosts.allows` before anything is connected to.
The token goes to the host that it was made for and nowhere else. The result is checked by asking for
`/api/status`, which Jupyter does not count as activity, under the same rule that the data plane judges by; where
Jupyter is not up yet, the cookies are taken for what they were given for.
Knows no boto3, no keeper, no caller.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import aiohttp
from yarl import URL

from proxy.aws.client import NotebookAnswer, ask, cookie_field, open_client, peek, where
from proxy.aws.cookies import STEERING, Cookies, SetCookie
from proxy.aws.dial import DIRECT, Egress
from proxy.aws.hosts import NotebookHosts, is_sign_in
from proxy.aws.jupyter_marks import is_from_jupyter, is_html, is_jupyter_cookie
from proxy.aws.presigned import DEFAULT_MARGIN_SECONDS, PresignedUrl
from proxy.aws.sessions import NotReady, OnUnkept, SignIn, StatusMeaning, keep_quiet
from proxy.aws.status_answer import BODY_BYTES, STATUS_TARGET, Asked, meaning_of, wants_body
from proxy.clock import Clock
from proxy.errors import SessionRejected, UpstreamInvalid, UpstreamTimeout
from proxy.upstream import Origin

_SECRET_LENGTH: Final = 8
"""Query values of the presigned URL from this length on are treated as the token, whatever their name."""

_NOT_ACCEPTED: Final = "The notebook did not accept the gateway's sign-in."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOptions:
    """Limits of one exchange, in seconds. `ssl_context` replaces the system's trust for test hosts."""

    total_seconds: float = 20.0
    connect_seconds: float = 5.0
    max_hops: int = 8
    url_margin_seconds: float = DEFAULT_MARGIN_SECONDS
    ssl_context: ssl.SSLContext | None = None
    egress: Egress = DIRECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One request of an exchange, without anything secret: no query, no cookie values.

    `leads_to` is the `Location` without its query, "" if there was none; `with_token` says that it repeats
    the token. `cookies` are all that the response sets, Jupyter's own included.
    """

    origin: Origin
    path: str
    status: int
    server: str
    content_type: str
    leads_to: str
    with_token: bool
    cookies: tuple[SetCookie, ...]


OnHop = Callable[[Hop], None]


def _ignore(_hop: Hop) -> None:
    pass


class NotebookExchange:
    """Implements `proxy.aws.sessions.UrlExchange` over HTTPS. `on_hop` sees each response's head."""

    def __init__(
        self,
        hosts: NotebookHosts,
        *,
        clock: Clock,
        options: ExchangeOptions = ExchangeOptions(),
        on_hop: OnHop = _ignore,
        on_unkept: OnUnkept = keep_quiet,
    ) -> None:
        self._hosts = hosts
        self._clock = clock
        self._options = options
        self._on_hop = on_hop
        self._on_unkept = on_unkept

    async def __call__(self, url: PresignedUrl) -> SignIn:
        """Sign in. The URL is never sent in its last `url_margin_seconds`.

        Raises NotConnected, NotTrusted, NotLetThrough, NotReady (Jupyter is not up yet), SessionRejected (refused:
        redirect to a sign-in page, 401, 403, no cookie; or the URL is too old), UpstreamInvalid (leads to a host that
        is no notebook, or is not HTTP), UpstreamProxyRefused, UpstreamUnreachable, UpstreamUntrusted or
        UpstreamTimeout. None of them holds the URL.
        """
        options = self._options
        target = self._parse(url.reveal())
        remaining_seconds = url.use_until(options.url_margin_seconds) - self._clock.monotonic()
        if remaining_seconds <= 0:
            raise SessionRejected(_NOT_ACCEPTED, detail="the presigned URL grew old before it was used")
        try:
            async with (
                asyncio.timeout(min(options.total_seconds, remaining_seconds)),
                open_client(options) as client,
            ):
                return await self._walk(client, target)
        except TimeoutError:
            pass
        raise UpstreamTimeout(detail="the exchange of the presigned URL took too long")

    def _parse(self, text: str) -> URL:
        target = _parsed(text)
        if target is None or not self._hosts.allows(target):
            raise UpstreamInvalid(detail=f"the presigned URL leads to {where(target)}, no notebook host")
        return target

    async def _walk(self, client: aiohttp.ClientSession, target: URL) -> SignIn:
        secrets = _secrets(target)
        jars: dict[Origin, Cookies] = {}
        for number in range(self._options.max_hops):
            origin = Origin.of(target)
            jar = jars.get(origin, Cookies())
            answer = await ask(client, target, headers=cookie_field(jar), first=number == 0)
            jars[origin] = self._keep(answer, origin, jar)
            self._report(target, answer, secrets)
            following = self._following(target, answer, secrets)
            if following is None:
                break
            target = following
        else:
            raise UpstreamInvalid(detail=f"more than {self._options.max_hops} redirects in the exchange")
        _judge(answer, jars[origin])
        return await self._prove(client, SignIn(origin, jars[origin]), secrets)

    async def _prove(self, client: aiohttp.ClientSession, sign_in: SignIn, secrets: frozenset[str]) -> SignIn:
        origin = sign_in.origin
        target = URL(f"{origin}{STATUS_TARGET}")
        answer, body = await peek(
            client, target, headers=cookie_field(sign_in.cookies), max_bytes=BODY_BYTES, wants=wants_body
        )
        self._report(target, answer, secrets)
        # Whatever else stands in Jupyter's place while that is starting: the cookies are what the URL buys.
        if meaning_of(Asked(answer, body, origin, self._hosts.sign_in_hosts)) is StatusMeaning.NO:
            raise SessionRejected(
                _NOT_ACCEPTED, detail=f"cookies were set, but {STATUS_TARGET} answered as if signed out"
            )
        cookies = self._keep(answer, origin, sign_in.cookies)
        return SignIn(origin, cookies, jupyter_shows=is_from_jupyter(answer))

    def _keep(self, answer: NotebookAnswer, origin: Origin, jar: Cookies) -> Cookies:
        ours = tuple(cookie for cookie in answer.cookies if _is_kept(cookie.name))
        kept = jar.apply(ours, host=origin.host, now=self._clock.now())
        unkept = (one for one in answer.unkept if _is_kept(one.name.encode("latin-1")))
        lost = (*unkept, *kept.left_out(ours, host=origin.host, now=self._clock.now()))
        if lost:
            self._on_unkept(origin, lost)
        return kept

    def _following(self, target: URL, answer: NotebookAnswer, secrets: frozenset[str]) -> URL | None:
        """Where a redirect leads, if the gateway may go there; None for an answer that is none."""
        if answer.status not in {301, 302, 303, 307, 308}:
            return None
        following = _parsed(answer.location.decode("latin-1"), base=target)
        if following is None:
            raise UpstreamInvalid(detail=f"{answer.status} without a usable Location in the exchange")
        if is_sign_in(following.raw_host or "", following.port, self._hosts.sign_in_hosts):
            raise SessionRejected(_NOT_ACCEPTED, detail=f"redirected to sign in at {following.raw_host}")
        if not self._hosts.allows(following):
            raise UpstreamInvalid(detail=f"redirected to {where(following)}, which is no notebook host")
        if Origin.of(following) != Origin.of(target) and _holds(answer.location, secrets):
            raise UpstreamInvalid(detail=f"redirected to {where(following)} with another host's token")
        return following

    def _report(self, target: URL, answer: NotebookAnswer, secrets: frozenset[str]) -> None:
        following = _parsed(answer.location.decode("latin-1"), base=target) if answer.location else None
        self._on_hop(
            Hop(
                origin=Origin.of(target),
                path=_safe_path(target, secrets),
                status=answer.status,
                server=answer.server.decode("latin-1"),
                content_type=answer.content_type.decode("latin-1"),
                leads_to="" if following is None else f"{where(following)}{_safe_path(following, secrets)}",
                with_token=_holds(answer.location, secrets),
                cookies=answer.cookies,
            )
        )


def _is_kept(name: bytes) -> bool:
    """Whether a cookie of this name is the session's."""
    return not is_jupyter_cookie(name) and name not in STEERING


def _judge(answer: NotebookAnswer, jar: Cookies) -> None:
    """The last answer of the chain: are we in? Jupyter itself may well answer 404 or 403.

    One without a cookie has not taken the token, unless it says so: a page stands there while Jupyter is starting, and
    an error where the front end does not reach it.
    """
    status = answer.status
    is_marked = is_from_jupyter(answer)
    if not jar.pairs and not is_marked and status not in {401, 403}:
        if 200 <= status < 300 and is_html(answer.content_type):
            raise NotReady(detail="the presigned URL was answered with a page, and without a cookie")
        if status >= 400:
            raise NotReady(
                is_page=False, detail=f"the notebook's front end answered {status} to the presigned URL"
            )
    if not jar.pairs:
        raise SessionRejected(_NOT_ACCEPTED, detail=f"the exchange ended with {status} and without a cookie")
    if status in {401, 403} and not is_marked:
        raise SessionRejected(_NOT_ACCEPTED, detail=f"the exchange ended with {status}")


def _parsed(text: str, *, base: URL | None = None) -> URL | None:
    """An absolute URL without its fragment, or None; bytes that URLs do not have are not repaired."""
    if not text or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        url = URL(text, encoded=True)
        url = base.join(url) if base is not None else url
        Origin.of(url)
    except ValueError:
        return None
    return url.with_fragment(None)


def _secrets(presigned: URL) -> frozenset[str]:
    """The query's values, as written and decoded: the token, under whatever name it comes, or none."""
    pairs = [pair.partition("=") for pair in presigned.raw_query_string.split("&")]
    written = [value if equals else name for name, equals, value in pairs]
    return frozenset(text for text in (*written, *map(unquote, written)) if len(text) >= _SECRET_LENGTH)


def _safe_path(url: URL, secrets: frozenset[str]) -> str:
    """A URL's path, unless a token is part of it."""
    return "/***" if _holds(url.raw_path.encode("ascii"), secrets) else url.raw_path


def _holds(location: bytes, secrets: frozenset[str]) -> bool:
    raw = location.decode("latin-1")
    decoded = unquote(raw)
    return any(secret in raw or secret in decoded for secret in secrets)
