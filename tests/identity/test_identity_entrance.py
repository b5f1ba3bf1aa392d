"""What a request's credentials let it do, decided without a socket."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.errors import SignInRequired, TokenRefused
from proxy.identity import entrance as module
from proxy.identity.entrance import Entrance
from proxy.identity.tokens import TokenKind, TokenSigner
from proxy.routing.authority import parse_authority
from proxy.routing.entry import EntryRedirect, Permit, Presented
from proxy.routing.mounts import Mount
from proxy.routing.router import OwnPage, Route
from tests.harness.clocks import FakeClock

HERE = ip_address("203.0.113.7")
NOTEBOOK = "eu-west-1 123456789012  research-gpu-1"
PATH = Mount.at_path("/research/")
FORM = "application/x-www-form-urlencoded"
COOKIE = "__Secure-nbgate-session"


class Desk:
    """An entrance, and what is brought to it."""

    def __init__(self) -> None:
        numbers = iter(range(1, 1_000_000))
        self.clock = FakeClock()
        self.tokens = TokenSigner(
            [],
            own_key="k" * 8 + "0123456789abcdef01234567",
            clock=self.clock,
            nonce=lambda: f"{next(numbers):x}",
        )
        self.entrance = Entrance(self.tokens, clock=self.clock)
        self._requests = iter(range(1, 1_000_000))

    def token(self, kind: TokenKind, **changes: Any) -> str:
        said = {
            "instance": "research",
            "leads_to": NOTEBOOK,
            "principal": "zoe",
            "address": HERE,
            "seconds": 300,
            **changes,
        }
        if kind is TokenKind.URL:
            said.setdefault("session_seconds", 1800)
        return self.tokens.issue(kind, **said)

    def ask(
        self,
        target: str = "/",
        *,
        method: str = "GET",
        guarded: bool = True,
        address: Any = HERE,
        leads_to: str = NOTEBOOK,
        mount: Mount = PATH,
        scheme: str = "https",
        request_id: str = "",
        **headers: str,
    ) -> Any:
        presented = Presented(
            Route("research", mount, target, mount.prefix),
            leads_to,
            method,
            CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}),
            address,
            scheme,
            parse_authority("nb.internal"),
            request_id or f"request-{next(self._requests)}",
        )
        return self.entrance.judge(presented, guarded=guarded)

    def refused(self, *arguments: Any, **options: Any) -> str:
        with pytest.raises(TokenRefused) as caught:
            self.ask(*arguments, **options)
        return caught.value.reason

    def session(self, entry: Permit | EntryRedirect | None) -> str:
        """The value of the `Cookie` field that a browser would send after `entry`."""
        assert isinstance(entry, EntryRedirect)
        return entry.set_cookie.partition(";")[0]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_nothing_is_watched_until_there_is_a_token_or_a_need_for_one(desk: Desk) -> None:
    assert not desk.entrance.is_watching
    desk.token(TokenKind.API)
    assert desk.entrance.is_watching
    other = Desk()
    other.entrance.watch()
    assert other.entrance.is_watching


def test_without_anything_an_open_instance_is_open_and_a_guarded_one_is_not(desk: Desk) -> None:
    assert desk.ask(guarded=False) is None
    assert desk.ask("/api?token=jupyters-own", guarded=False, Authorization="token jupyters-own") is None
    with pytest.raises(SignInRequired):
        desk.ask()
    with pytest.raises(SignInRequired):
        desk.ask("/api?token=jupyters-own", Authorization="token jupyters-own")


# -- links --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False])
def test_a_link_buys_a_session_of_the_length_it_says(desk: Desk, guarded: bool) -> None:
    entry = desk.ask(f"/lab?a=1&authToken={desk.token(TokenKind.URL)}&b=2", guarded=guarded)
    assert isinstance(entry, EntryRedirect)
    assert entry.location == "https://nb.internal/research/lab?a=1&b=2"
    name, _, rest = entry.set_cookie.partition("=")
    assert name == COOKIE
    assert rest.endswith("; Path=/research/; Max-Age=1800; HttpOnly; SameSite=Lax; Secure")
    permit = desk.ask("/lab?a=1", Cookie=desk.session(entry))
    assert isinstance(permit, Permit)
    assert (permit.principal, permit.upstream_target, permit.xsrf) == ("zoe", "/lab?a=1", "")
    assert permit.ends_at == int(desk.clock.now().timestamp()) + 1800
    desk.clock.set(1800.0)
    assert desk.refused(Cookie=desk.session(entry)) == "expired"


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("authToken={}&view=lab", "/lab"),
        ("view=classic&authToken={}", "/tree"),
        ("authToken={}&view=lab&a=1", "/lab?a=1"),
        ("authToken={}&view=lab&view=classic", "/lab?view=classic"),
        ("authToken={}&view=other", "/?view=other"),
        ("authToken={}&view=//evil.example", "/?view=//evil.example"),
        ("authToken={}", "/"),
    ],
)
def test_the_view_that_a_link_asks_for_is_opened(desk: Desk, query: str, target: str) -> None:
    entry = desk.ask("/?" + query.format(desk.token(TokenKind.URL)))
    assert isinstance(entry, EntryRedirect)
    assert entry.location == f"https://nb.internal/research{target}"


def test_a_view_of_another_page_than_the_first_is_that_pages_own(desk: Desk) -> None:
    entry = desk.ask(f"/tree?view=lab&authToken={desk.token(TokenKind.URL)}")
    assert isinstance(entry, EntryRedirect)
    assert entry.location == "https://nb.internal/research/tree?view=lab"


def test_a_link_is_good_once(desk: Desk) -> None:
    link = f"/?authToken={desk.token(TokenKind.URL)}"
    first = desk.ask(link)
    assert desk.refused(link) == "a link that was used before"
    assert desk.refused(link, Cookie=f"{COOKIE}=nbgate2_s.x") == "a link that was used before"
    # The browser that it let in opens it again: it has a session by now, and gets no other.
    again = desk.ask(link, Cookie=desk.session(first))
    assert again == EntryRedirect("https://nb.internal/research/", principal="zoe")


def test_a_request_that_is_judged_again_is_the_same_use(desk: Desk) -> None:
    link = f"/?authToken={desk.token(TokenKind.URL)}"
    desk.ask(link, request_id="one")
    assert isinstance(desk.ask(link, request_id="one"), EntryRedirect)
    assert desk.refused(link, request_id="two")


@pytest.mark.parametrize(
    "options",
    [
        {"method": "POST"},
        {"method": "POST", "Content_Type": "application/json"},
        {"method": "POST", "Content_Type": FORM, "Sec_Fetch_Mode": "cors"},
        {"method": "PUT", "Content_Type": FORM},
        {"Upgrade": "websocket"},
        {"Upgrade": "websocket", "User_Agent": "Slackbot 1.0"},
        {"method": "HEAD", "Upgrade": "websocket"},
        {"method": "POST", "Content_Type": FORM, "Upgrade": "websocket"},
        {"Sec_Fetch_Mode": "cors"},
        {"Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Mode": "websocket"},
    ],
    ids=str,
)
def test_a_link_is_for_a_browsers_window_and_is_not_used_up_elsewhere(desk: Desk, options: Any) -> None:
    link = f"/?authToken={desk.token(TokenKind.URL)}"
    assert desk.refused(link, **options) == "a link that was not opened in a browser's window"
    assert isinstance(desk.ask(link, Sec_Fetch_Mode="navigate"), EntryRedirect)


LOOKS = [
    {"method": "HEAD"},
    {"Sec_Purpose": "prefetch"},
    {"Sec_Purpose": "prefetch;prerender", "Sec_Fetch_Mode": "navigate"},
    {"Sec_Purpose": "prefetch", "Sec_Fetch_Mode": "no-cors"},
    {"Purpose": "prefetch"},
    {"X_Moz": "prefetch"},
    {"X_Purpose": "preview"},
    {"User_Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
    {"User_Agent": "WhatsApp/2.23.20.0", "method": "HEAD"},
]
"""Of nobody who opens anything."""


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("options", LOOKS, ids=str)
def test_who_only_looks_at_a_link_gets_a_page_and_spends_nothing(
    desk: Desk, options: Any, guarded: bool
) -> None:
    link = f"/lab?authToken={desk.token(TokenKind.URL)}"
    for _ in range(3):
        assert desk.ask(link, guarded=guarded, **options) == OwnPage("/.nbgate/link")
    assert isinstance(desk.ask(link, guarded=guarded, Sec_Fetch_Mode="navigate"), EntryRedirect)
    # Also when it was opened, by whomever: the page tells nothing of that.
    assert desk.ask(link, guarded=guarded, **options) == OwnPage("/.nbgate/link")


@pytest.mark.parametrize("options", LOOKS, ids=str)
def test_a_link_that_is_not_good_is_refused_whoever_looks(desk: Desk, options: Any) -> None:
    link = desk.token(TokenKind.URL)
    assert desk.refused(f"/?authToken={link[:-1]}", **options) == "malformed"
    desk.clock.set(301.0)
    assert desk.refused(f"/?authToken={link}", **options) == "expired"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"Sec_Fetch_Mode": "navigate"},
        # An app's own browser, that was taken for the app's preview.
        {"User_Agent": "Mozilla/5.0 (Linux; Android 16) WhatsApp/2.23.20.0 Chrome/142.0.0.0"},
        {"Content_Type": "Application/X-WWW-Form-Urlencoded; charset=utf-8"},
    ],
    ids=str,
)
def test_the_button_of_that_page_spends_it(desk: Desk, options: Any) -> None:
    link = f"/lab?a=1&authToken={desk.token(TokenKind.URL)}"
    options = {"Content_Type": FORM, **options}
    entry = desk.ask(link, method="POST", **options)
    assert isinstance(entry, EntryRedirect)
    assert entry.location == "https://nb.internal/research/lab?a=1"
    assert isinstance(desk.ask("/lab?a=1", Cookie=desk.session(entry)), Permit)
    assert desk.refused(link, method="POST", **options) == "a link that was used before"
    assert desk.refused(link) == "a link that was used before"


@pytest.mark.parametrize("guarded", [True, False])
def test_a_link_that_has_ended_is_refused_everywhere(desk: Desk, guarded: bool) -> None:
    link = f"/?authToken={desk.token(TokenKind.URL)}"
    desk.clock.set(301.0)
    assert desk.refused(link, guarded=guarded) == "expired"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "malformed"),
        ("eyJhbGciOiJub25lIn0.e30.", "malformed"),
        ("nbgate7_u.x", "a token of another version"),
    ],
)
def test_what_is_no_link_of_ours_is_refused(desk: Desk, value: str, reason: str) -> None:
    assert desk.refused(f"/?authToken={value}", guarded=False) == reason


@pytest.mark.parametrize("kind", [TokenKind.SESSION, TokenKind.API])
def test_no_other_token_is_a_link(desk: Desk, kind: TokenKind) -> None:
    assert desk.refused(f"/?authToken={desk.token(kind)}") == "a token of another kind"


def test_a_session_is_bound_to_the_address_that_opened_the_link(desk: Desk) -> None:
    desk.tokens.adopt([], bind_address=True)
    link = f"/?authToken={desk.token(TokenKind.URL, address=None)}"
    cookie = desk.session(desk.ask(link))
    assert isinstance(desk.ask(Cookie=cookie), Permit)
    elsewhere = ip_address("203.0.113.8")
    assert desk.refused(Cookie=cookie, address=elsewhere) == "from another address than it was issued to"


def test_links_that_were_used_are_remembered_within_bounds(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINKS_REMEMBERED", 2)
    first = f"/?authToken={desk.token(TokenKind.URL)}"
    desk.ask(first)
    desk.clock.set(200.0)
    desk.ask(f"/?authToken={desk.token(TokenKind.URL)}")
    # When in doubt, nobody: forgetting one that is still good would make it good twice.
    waiting = f"/?authToken={desk.token(TokenKind.URL)}"
    assert desk.refused(waiting) == "more links in use than can be remembered"
    assert desk.refused(first) == "a link that was used before"
    desk.clock.set(300.0)
    assert isinstance(desk.ask(waiting), EntryRedirect)


# -- programs' tokens ---------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_programs_token_lets_each_request_in_and_is_taken_out(
    desk: Desk, guarded: bool, method: str
) -> None:
    token = desk.token(TokenKind.API, seconds=3600)
    cases: list[tuple[str, dict[str, Any]]] = [
        (f"/api/kernels?token={token}&x=1", {}),
        ("/api/kernels?x=1", {"Authorization": f"token {token}"}),
        ("/api/kernels?x=1", {"Authorization": f"Bearer {token}"}),
        (f"/api/kernels?token={token}&x=1", {"Authorization": f"token {token}"}),
    ]
    for target, headers in cases:
        permit = desk.ask(target, method=method, guarded=guarded, **headers)
        assert isinstance(permit, Permit)
        assert permit.upstream_target == "/api/kernels?x=1"
        assert permit.xsrf
        assert permit.ends_at == int(desk.clock.now().timestamp()) + 3600


def test_a_programs_token_opens_websockets(desk: Desk) -> None:
    token = desk.token(TokenKind.API)
    assert isinstance(desk.ask(f"/ws?token={token}", Upgrade="websocket"), Permit)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_programs_token_that_is_not_good_is_refused_also_where_none_is_needed(
    desk: Desk, guarded: bool
) -> None:
    token = desk.token(TokenKind.API, instance="nlp")
    assert desk.refused(f"/api?token={token}", guarded=guarded) == "for another instance"
    assert desk.refused(guarded=guarded, Authorization=f"token {token}") == "for another instance"
    link = desk.token(TokenKind.URL)
    assert desk.refused(guarded=guarded, Authorization=f"token {link}") == "a token of another kind"


def test_two_tokens_are_one_too_many(desk: Desk) -> None:
    one, other = desk.token(TokenKind.API), desk.token(TokenKind.API)
    link = desk.token(TokenKind.URL)
    for target, headers in [
        (f"/?token={one}&token={other}", {}),
        (f"/?token={one}", {"Authorization": f"token {other}"}),
        (f"/?authToken={link}&token={one}", {}),
        (f"/?authToken={link}", {"Authorization": f"token {one}"}),
        (f"/?authToken={link}&authToken={link}", {}),
    ]:
        assert desk.refused(target, **headers) == "more than one credential"


def test_a_programs_address_in_a_browsers_window_becomes_a_session(desk: Desk) -> None:
    token = desk.token(TokenKind.API, seconds=3600)
    entry = desk.ask(f"/lab?token={token}", Sec_Fetch_Mode="navigate")
    assert isinstance(entry, EntryRedirect)
    assert entry.location == "https://nb.internal/research/lab"
    assert "Max-Age=3600;" in entry.set_cookie
    permit = desk.ask(Cookie=desk.session(entry))
    assert isinstance(permit, Permit)
    lasting = desk.token(TokenKind.API, seconds=30 * 86400)
    entry = desk.ask(f"/lab?token={lasting}", Sec_Fetch_Mode="navigate")
    assert isinstance(entry, EntryRedirect)
    assert "Max-Age=43200;" in entry.set_cookie


# -- sessions -----------------------------------------------------------------------------------------


def test_of_several_cookies_one_has_to_be_good(desk: Desk) -> None:
    """A root mount's cookie comes along to a path mount, and an old one may be left over."""
    good = desk.token(TokenKind.SESSION)
    other = desk.token(TokenKind.SESSION, instance="nlp")
    assert isinstance(desk.ask(Cookie=f"{COOKIE}={other}; {COOKIE}=; {COOKIE}={good}"), Permit)
    assert desk.refused(Cookie=f"{COOKIE}={other}") == "for another instance"


def test_a_cookie_counts_under_its_mounts_and_schemes_own_name_only(desk: Desk) -> None:
    good = desk.token(TokenKind.SESSION)
    for name in ("nbgate-session", "__Host-nbgate-session", "__Secure-nbgate-session-8444"):
        with pytest.raises(SignInRequired):
            desk.ask(Cookie=f"{name}={good}")
    assert isinstance(desk.ask(scheme="http", Cookie=f"nbgate-session={good}"), Permit)
    assert isinstance(desk.ask(mount=Mount.root(), Cookie=f"__Host-nbgate-session={good}"), Permit)


@pytest.mark.parametrize("kind", [TokenKind.URL, TokenKind.API])
def test_no_other_token_is_a_session(desk: Desk, kind: TokenKind) -> None:
    assert desk.refused(Cookie=f"{COOKIE}={desk.token(kind)}") == "a token of another kind"


def test_an_open_instance_does_not_ask_for_the_session(desk: Desk) -> None:
    assert desk.ask(guarded=False, Cookie=f"{COOKIE}=nbgate2_s.broken") is None
