"""The exchange over real sockets: every shape of chain, redirect, cookie and refusal that AWS might use."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from proxy.aws.cookies import MAX_COOKIES, Unkept
from proxy.aws.exchange import ExchangeOptions, Hop, NotebookExchange
from proxy.aws.hosts import NotebookHosts
from proxy.aws.presigned import PresignedUrl
from proxy.aws.sessions import NotConnected, NotReady, NotTrusted, SignIn
from proxy.errors import (
    NbgateError,
    SessionRejected,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.upstream import Origin
from tests.aws.fakes import COOKIE_SECRET, SECRET
from tests.aws.servers import (
    JUPYTER,
    Answer,
    NotebookHost,
    by_token,
    hang_up,
    redirect,
    reply,
    session_cookie,
)
from tests.harness.clocks import FakeClock

LOADING = reply(200, '<!doctype html><meta http-equiv="refresh" content="5">', "text/html")
HTML_SIGN_IN = reply(200, "<html>Sign in to the console</html>", "text/html")


@pytest.fixture
async def host() -> AsyncIterator[NotebookHost]:
    host = NotebookHost()
    await host.start()
    host.signs_in()
    yield host
    await host.close()


@pytest.fixture
async def other() -> AsyncIterator[NotebookHost]:
    other = NotebookHost()
    await other.start()
    yield other
    await other.close()


@pytest.fixture(autouse=True)
def log_is_clean(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No log line of any library, at any level, holds the token or a cookie's value."""
    caplog.set_level(logging.DEBUG)
    yield
    assert SECRET not in caplog.text
    assert COOKIE_SECRET not in caplog.text


class Trial:
    """An exchange that accepts the hosts given, with its hops noted."""

    def __init__(self, *hosts: NotebookHost, options: ExchangeOptions = ExchangeOptions()) -> None:
        self.clock = FakeClock()
        self.hops: list[Hop] = []
        self.unkept: list[tuple[Origin, Unkept]] = []
        allowed = NotebookHosts("eu-west-1", test_origins=frozenset(host.origin for host in hosts))
        self.exchange = NotebookExchange(
            allowed,
            clock=self.clock,
            options=options,
            on_hop=self.hops.append,
            on_unkept=lambda origin, unkept: self.unkept.extend((origin, one) for one in unkept),
        )

    async def run(self, url: str) -> SignIn:
        try:
            return await self.exchange(PresignedUrl(url, requested_at=self.clock.monotonic()))
        finally:
            assert SECRET not in repr(self.hops)
            assert COOKIE_SECRET not in repr(self.hops)

    async def failure(self, url: str) -> NbgateError:
        with pytest.raises(NbgateError) as caught:
            await self.run(url)
        error = caught.value
        told = "".join(traceback.format_exception(error)) + error.detail + error.message + repr(error)
        assert SECRET not in told
        assert error.__cause__ is None
        assert error.__context__ is None
        return error


# -- success


async def test_the_plainest_chain(host: NotebookHost) -> None:
    trial = Trial(host)
    sign_in = await trial.run(host.url)
    assert str(sign_in.origin) == host.origin
    assert sign_in.cookies.header == f"FrontEnd={COOKIE_SECRET}".encode()
    assert host.targets == [f"/?authToken={SECRET}", "/lab", "/api/status"]
    assert [seen.cookie for seen in host.seen] == [None] + [f"FrontEnd={COOKIE_SECRET}"] * 2
    assert {seen.host for seen in host.seen} == {host.origin.removeprefix("http://")}


@pytest.mark.parametrize("shows", [True, False])
async def test_whether_jupyters_name_comes_through_is_learnt(host: NotebookHost, shows: bool) -> None:
    headers = JUPYTER if shows else {"Server": "front-end"}
    host.answers["/api/status"] = reply(200, "{}", "application/json", headers=headers)
    assert (await Trial(host).run(host.url)).jupyter_shows is shows


async def test_a_redirect_to_the_same_origin_that_carries_the_token_is_followed(host: NotebookHost) -> None:
    host.answers["/"] = redirect(f"{host.origin}/auth?authToken={SECRET}&view=lab", status=307)
    host.answers["/auth"] = by_token(
        redirect("../lab", status=303, cookies=[session_cookie()]), signed_out=reply(403)
    )
    sign_in = await Trial(host).run(host.url)
    assert sign_in.cookies.names == {b"FrontEnd"}
    assert host.targets[1] == f"/auth?authToken={SECRET}&view=lab"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_redirect_status(host: NotebookHost, status: int) -> None:
    host.answers["/"] = by_token(
        redirect("/lab", status=status, cookies=[session_cookie()]), signed_out=reply(403)
    )
    assert (await Trial(host).run(host.url)).cookies.names == {b"FrontEnd"}


async def test_cookies_set_at_once_with_the_page(host: NotebookHost) -> None:
    host.answers["/"] = reply(200, "<html>", "text/html", cookies=[session_cookie()])
    assert (await Trial(host).run(host.url)).cookies.names == {b"FrontEnd"}


async def test_several_cookies_over_several_hops_updated_and_deleted_on_the_way(host: NotebookHost) -> None:
    host.answers["/"] = redirect("/second", cookies=["a=1", "gone=1", "authToken=t", "a=2"])
    host.answers["/second"] = redirect("/lab", cookies=["b=1; Path=/", "gone=; Max-Age=0"])
    host.answers["/api/status"] = reply(200, "{}", "application/json", cookies=["b=2", "c=3"])
    sign_in = await Trial(host).run(host.url)
    assert sign_in.cookies.header == b"a=2; authToken=t; b=2; c=3"


async def test_jupyters_own_cookies_are_the_browsers_and_are_not_kept(host: NotebookHost) -> None:
    cookies = ["_xsrf=2|abc; Path=/", "username-127-0-0-1=anonymous; HttpOnly"]
    host.answers["/lab"] = reply(200, "<html>", "text/html", headers=JUPYTER, cookies=cookies)
    assert (await Trial(host).run(host.url)).cookies.names == {b"FrontEnd"}


async def test_the_front_ends_countdown_is_no_part_of_the_session(host: NotebookHost) -> None:
    """It changes with each path, and would have AWS's extension send people away while the gateway renews it."""
    countdown = [
        f"{name}=1; Path=/" for name in ("expiryTime", "redirectURL", "authMode", "ssoExpiryTimestamp")
    ]
    host.answers["/"] = redirect("/lab", cookies=[session_cookie(), *countdown])
    host.answers["/lab"] = reply(200, "<html>", "text/html", headers=JUPYTER, cookies=countdown)
    host.answers["/api/status"] = reply(200, "{}", "application/json", cookies=countdown)
    assert (await Trial(host).run(host.url)).cookies.names == {b"FrontEnd"}


async def test_cookies_for_wider_domains_are_not_kept(host: NotebookHost) -> None:
    cookies = [session_cookie(), "wide=1; Domain=eu-west-1.sagemaker.aws", "own=1; Domain=127.0.0.1"]
    host.answers["/"] = redirect("/lab", cookies=cookies)
    trial = Trial(host)
    assert (await trial.run(host.url)).cookies.names == {b"FrontEnd", b"own"}
    [(origin, told)] = trial.unkept
    assert str(origin) == host.origin
    assert (told.name, told.why) == ("wide", "it is for another domain")


async def test_cookies_that_are_too_large_or_too_many_are_told_and_not_passed_over(
    host: NotebookHost,
) -> None:
    large = f"Huge={'x' * 17_000}; Secure"
    many = [f"c{number}=1" for number in range(MAX_COOKIES)]
    theirs = [f"_xsrf={'x' * 17_000}", f"redirectURL={'x' * 17_000}"]
    host.answers["/"] = redirect("/lab", cookies=[session_cookie(), large, *theirs])
    host.answers["/lab"] = reply(200, "<html>", "text/html", headers=JUPYTER, cookies=many)
    trial = Trial(host)
    sign_in = await trial.run(host.url)
    assert b"FrontEnd" in sign_in.cookies.names
    assert len(sign_in.cookies.pairs) == MAX_COOKIES
    told = [one for _, one in trial.unkept]
    assert told == [
        Unkept("Huge", len(large), "it is larger than 16384 bytes"),
        Unkept(f"c{MAX_COOKIES - 1}", 1, "there are 64 already"),
    ]


async def test_a_change_of_host_within_the_allowlist_moves_the_origin_and_leaves_cookies_behind(
    host: NotebookHost, other: NotebookHost
) -> None:
    host.answers["/"] = redirect(f"{other.origin}/arrive", cookies=["first=1"])
    other.answers["/arrive"] = redirect("/lab", cookies=["second=2"])
    other.answers["/lab"] = reply(200, headers=JUPYTER)
    other.answers["/api/status"] = reply(200, "{}", "application/json")
    sign_in = await Trial(host, other).run(host.url)
    assert str(sign_in.origin) == other.origin
    assert sign_in.cookies.header == b"second=2"
    assert [seen.cookie for seen in other.seen] == [None, "second=2", "second=2"]


@pytest.mark.parametrize("status", [403, 404, 500, 503])
async def test_jupyters_own_errors_after_signing_in_do_not_undo_it(host: NotebookHost, status: int) -> None:
    host.answers["/lab"] = reply(status, "{}", "application/json", headers=JUPYTER)
    host.answers["/api/status"] = reply(status, "{}", "application/json", headers=JUPYTER)
    assert (await Trial(host).run(host.url)).cookies.names == {b"FrontEnd"}


async def test_a_token_that_is_reflected_in_long_fields_is_no_problem(host: NotebookHost) -> None:
    long_token = SECRET + "x" * 20_000
    host.answers["/"] = redirect(
        f"/auth?authToken={long_token}", cookies=[session_cookie(value="v" * 12_000)]
    )
    host.answers["/auth"] = redirect("/lab")
    sign_in = await Trial(host).run(host.url)
    assert len(sign_in.cookies.header) > 12_000


async def test_a_body_without_end_is_not_read(host: NotebookHost) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Set-Cookie": session_cookie()})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except (ConnectionError, asyncio.CancelledError):
            return response

    host.answers["/"] = endless
    assert (await Trial(host).run(host.url)).cookies.names == {b"FrontEnd"}


async def test_a_fragment_is_not_sent(host: NotebookHost) -> None:
    host.answers["/"] = redirect("/lab#top", cookies=[session_cookie()])
    await Trial(host).run(host.url)
    assert "/lab" in host.targets


# -- refusal: another URL may do better


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        ("redirect to sign-in", redirect("https://us-east-1.signin.aws.amazon.com/oauth?x=1")),
        ("redirect to the console", redirect("https://eu-west-1.console.aws.amazon.com/", status=307)),
        ("401", reply(401)),
        ("403", reply(403)),
        ("no page and no cookie", reply(200)),
        ("Jupyter's page, and no cookie", reply(200, "<html>", "text/html", headers=JUPYTER)),
        ("only Jupyter's cookies", reply(200, headers=JUPYTER, cookies=["_xsrf=1"])),
        ("only a foreign cookie", reply(200, cookies=["a=1; Domain=amazon.com"])),
        ("cookies with a 403", reply(403, cookies=["tracking=1"])),
    ],
)
async def test_a_refused_url(host: NotebookHost, shape: str, answer: Answer) -> None:
    host.answers["/"] = answer
    error = await Trial(host).failure(host.url)
    assert isinstance(error, SessionRejected), shape
    assert len(host.seen) == 1


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        ("redirect to sign-in", redirect("https://signin.aws.amazon.com/")),
        ("401", reply(401)),
        ("403", reply(403, "{}", "application/json")),
    ],
)
async def test_cookies_that_do_not_open_the_api_are_no_session(
    host: NotebookHost, shape: str, answer: Answer
) -> None:
    host.answers["/"] = reply(200, "<html>Sign in", "text/html", cookies=["tracking=1"])
    host.answers["/api/status"] = answer
    assert isinstance(await Trial(host).failure(host.url), SessionRejected), shape


async def test_a_test_endpoints_own_sign_in_page(host: NotebookHost, other: NotebookHost) -> None:
    host.answers["/"] = redirect(f"{other.origin}/signin")
    hosts = NotebookHosts(
        "eu-west-1",
        test_origins=frozenset({host.origin}),
        test_sign_in_hosts=frozenset({other.origin.removeprefix("http://")}),
    )
    with pytest.raises(SessionRejected):
        await NotebookExchange(hosts, clock=FakeClock())(PresignedUrl(host.url, requested_at=1000.0))
    assert other.seen == []


async def test_a_url_in_its_last_30_seconds_is_not_sent(host: NotebookHost) -> None:
    trial = Trial(host)
    url = PresignedUrl(host.url, requested_at=1000.0)
    await trial.clock.advance(270)
    with pytest.raises(SessionRejected):
        await trial.exchange(url)
    assert host.seen == []


# -- hosts that are none of ours


@pytest.mark.parametrize(
    "url",
    [
        f"https://evil.example?authToken={SECRET}",
        f"https://nb.notebook.us-west-2.sagemaker.aws?authToken={SECRET}",
        f"http://nb.notebook.eu-west-1.sagemaker.aws?authToken={SECRET}",
        f"https://nb.notebook.eu-west-1.sagemaker.aws@evil.example?authToken={SECRET}",
        f"https://nb.notebook.eu-west-1.sagemaker.aws\\@evil.example?authToken={SECRET}",
        f"https://169.254.169.254/?authToken={SECRET}",
        f"file:///etc/passwd?authToken={SECRET}",
        f"?authToken={SECRET}",
        f"https://[?authToken={SECRET}",
        "",
    ],
)
async def test_a_forged_url_is_not_connected_to(
    host: NotebookHost, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dialled(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("aiohttp.TCPConnector.connect", dialled)
    assert isinstance(await Trial(host).failure(url), UpstreamInvalid)


async def test_a_redirect_to_a_host_that_is_none_is_not_followed(
    host: NotebookHost, other: NotebookHost
) -> None:
    for location in (f"{other.origin}/steal?authToken={SECRET}", f"{other.origin}/plain"):
        host.answers["/"] = redirect(location, cookies=[session_cookie()])
        error = await Trial(host).failure(host.url)
        assert isinstance(error, UpstreamInvalid)
        assert other.origin in error.detail
    assert other.seen == []


@pytest.mark.parametrize("spelling", [SECRET, SECRET.replace("e", "%65"), f"x{SECRET}x"])
@pytest.mark.parametrize("place", ["?authToken={}", "?other={}", "/{}"])
async def test_the_token_never_goes_to_another_host_not_even_an_allowed_one(
    host: NotebookHost, other: NotebookHost, place: str, spelling: str
) -> None:
    host.answers["/"] = redirect(f"{other.origin}{place.format(spelling)}", cookies=[session_cookie()])
    assert isinstance(await Trial(host, other).failure(host.url), UpstreamInvalid)
    assert other.seen == []


@pytest.mark.parametrize(
    "location", ["", "/back\\slash", "/with space", "https://[bad", "/\xfc", "javascript:x"]
)
async def test_a_location_that_is_no_url(host: NotebookHost, location: str) -> None:
    host.answers["/"] = redirect(location, cookies=[session_cookie()])
    assert isinstance(await Trial(host).failure(host.url), UpstreamInvalid)
    assert len(host.seen) == 1


async def test_a_redirect_without_location(host: NotebookHost) -> None:
    host.answers["/"] = reply(302, cookies=[session_cookie()])
    assert isinstance(await Trial(host).failure(host.url), UpstreamInvalid)


async def test_a_token_without_a_name_is_a_token_too(host: NotebookHost, other: NotebookHost) -> None:
    host.answers["/"] = redirect(f"{other.origin}/?{SECRET}", cookies=[session_cookie()])
    assert isinstance(await Trial(host, other).failure(f"{host.origin}?{SECRET}"), UpstreamInvalid)
    assert other.seen == []


async def test_a_token_in_a_path_is_not_told(host: NotebookHost) -> None:
    host.answers["/"] = redirect(f"/auth/{SECRET}", cookies=[session_cookie()])
    host.answers[f"/auth/{SECRET}"] = redirect("/lab")
    trial = Trial(host)
    await trial.run(host.url)
    assert [hop.path for hop in trial.hops] == ["/", "/***", "/lab", "/api/status"]
    assert trial.hops[0].leads_to == f"{host.origin}/***"


async def test_redirects_are_bounded(host: NotebookHost) -> None:
    host.answers["/"] = redirect(f"/?authToken={SECRET}", cookies=[session_cookie()])
    error = await Trial(host, options=ExchangeOptions(max_hops=4)).failure(host.url)
    assert isinstance(error, UpstreamInvalid)
    assert len(host.seen) == 4


# -- failures on the way


async def test_no_connection_leaves_the_url_unspent(host: NotebookHost) -> None:
    url = host.url
    trial = Trial(host)
    await host.close()
    error = await trial.failure(url)
    assert isinstance(error, NotConnected)
    assert "Connect call failed" in error.detail


async def test_a_host_that_lets_us_wait_to_connect_leaves_the_url_unspent(
    host: NotebookHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_long(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("aiohttp.TCPConnector.connect", too_long)
    error = await Trial(host).failure(host.url)
    assert isinstance(error, NotConnected)
    assert "too long" in error.detail


async def test_tls_is_verified() -> None:
    """A certificate that nobody vouches for is no connection, and nothing of the URL is sent."""
    pem = Path(__file__).with_name("self_signed.pem")
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(pem)
    host = NotebookHost()
    await host.start(serving)
    host.signs_in()
    try:
        error = await Trial(host).failure(host.url)
        assert isinstance(error, NotTrusted)
        assert "certificate" in error.detail
        assert host.seen == []
        trusting = ExchangeOptions(ssl_context=ssl.create_default_context(cafile=str(pem)))
        assert (await Trial(host, options=trusting).run(host.url)).origin.tls
    finally:
        await host.close()


async def test_a_server_that_does_not_speak_tls_is_no_connection(host: NotebookHost) -> None:
    origin = host.origin.replace("http:", "https:")
    hosts = NotebookHosts("eu-west-1", test_origins=frozenset({origin}))
    exchange = NotebookExchange(hosts, clock=FakeClock())
    with pytest.raises(NotConnected):
        await exchange(PresignedUrl(host.url.replace("http:", "https:"), requested_at=1000.0))
    assert host.seen == []


async def test_no_connection_on_a_later_hop_spends_the_url(host: NotebookHost, other: NotebookHost) -> None:
    host.answers["/"] = redirect(f"{other.origin}/x")
    trial = Trial(host, other)
    await other.close()
    error = await trial.failure(host.url)
    assert isinstance(error, UpstreamUnreachable)
    assert not isinstance(error, NotConnected)


async def test_a_connection_that_breaks_without_an_answer_spends_the_url(host: NotebookHost) -> None:
    host.answers["/"] = hang_up()
    error = await Trial(host).failure(host.url)
    assert isinstance(error, UpstreamUnreachable)
    assert not isinstance(error, NotConnected)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 502, 503, 504])
async def test_a_front_end_that_does_not_reach_the_instance_has_taken_no_token(
    host: NotebookHost, status: int
) -> None:
    host.answers["/"] = reply(status)
    error = await Trial(host).failure(host.url)
    assert isinstance(error, NotReady)
    assert not error.is_page
    assert str(status) in error.detail


@pytest.mark.parametrize(
    "page",
    [LOADING, HTML_SIGN_IN, reply(202, content_type="text/html")],
    ids=["loads itself again", "says sign in", "another good status"],
)
async def test_a_page_in_the_place_of_it_all_has_taken_no_token(host: NotebookHost, page: Answer) -> None:
    host.answers["/"] = page
    error = await Trial(host).failure(host.url)
    assert isinstance(error, NotReady)
    assert error.is_page
    assert SECRET not in error.detail


@pytest.mark.parametrize(
    "instead",
    [LOADING, HTML_SIGN_IN, reply(400), reply(404), reply(502), reply(503)],
    ids=["loads itself again", "another page", "400", "404", "502", "503"],
)
async def test_cookies_are_taken_for_what_they_were_given_for_while_jupyter_is_starting(
    host: NotebookHost, instead: Answer
) -> None:
    host.answers["/"] = redirect("/lab", cookies=[session_cookie()])
    host.answers["/lab"] = host.answers["/api/status"] = instead
    sign_in = await Trial(host).run(host.url)
    assert sign_in.cookies.names == {b"FrontEnd"}
    assert not sign_in.jupyter_shows


@pytest.mark.parametrize("marked", [True, False])
async def test_a_jupyter_with_a_password_of_its_own_is_signed_in_to(host: NotebookHost, marked: bool) -> None:
    """Its refusal is no sign that the front end knows nobody, whether `Server` shows or not."""
    headers = JUPYTER if marked else {"Server": "front-end"}
    host.answers["/"] = redirect("/lab", cookies=[session_cookie()])
    host.answers["/lab"] = redirect("/login?next=%2Flab")
    host.answers["/login"] = reply(200, "<html>Password", "text/html", headers=headers)
    host.answers["/api/status"] = reply(
        403, '{"message": "Forbidden", "reason": null}', "application/json", headers=headers
    )
    sign_in = await Trial(host).run(host.url)
    assert sign_in.cookies.names == {b"FrontEnd"}
    assert sign_in.jupyter_shows is marked


async def test_silence_ends_at_the_total_timeout(host: NotebookHost) -> None:
    async def silence(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    host.answers["/"] = silence
    trial = Trial(host, options=ExchangeOptions(total_seconds=0.05))
    assert isinstance(await trial.failure(host.url), UpstreamTimeout)


async def test_the_time_left_of_the_url_bounds_its_exchange(host: NotebookHost) -> None:
    async def silence(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    host.answers["/"] = silence
    trial = Trial(host)
    url = PresignedUrl(host.url, requested_at=1000.0)
    await trial.clock.advance(269.95)
    with pytest.raises(UpstreamTimeout):
        await trial.exchange(url)


@pytest.mark.parametrize(
    "answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: /" + b"x" * 70_000 + b"\r\n\r\n"]
)
async def test_what_is_not_http_is_invalid(answer: bytes) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        hosts = NotebookHosts("eu-west-1", test_origins=frozenset({origin}))
        exchange = NotebookExchange(hosts, clock=FakeClock())
        with pytest.raises(UpstreamInvalid) as caught:
            await exchange(PresignedUrl(f"{origin}?authToken={SECRET}", requested_at=1000.0))
    assert caught.value.__context__ is None
    assert SECRET not in caught.value.detail


# -- what a probe is told


async def test_hops_tell_all_but_secrets(host: NotebookHost) -> None:
    host.answers["/"] = redirect(f"/auth?authToken={SECRET}", cookies=[session_cookie()])
    host.answers["/auth"] = redirect("/lab")
    trial = Trial(host)
    await trial.run(host.url)
    assert [(hop.path, hop.status, hop.with_token) for hop in trial.hops] == [
        ("/", 302, True),
        ("/auth", 302, False),
        ("/lab", 200, False),
        ("/api/status", 200, False),
    ]
    assert trial.hops[0].leads_to == f"{host.origin}/auth"
    assert [cookie.name for cookie in trial.hops[0].cookies] == [b"FrontEnd"]
    assert trial.hops[0].cookies[0].attribute("samesite") == "None"
