"""Who sends a request is read from its fields in one way, whatever the answer depends on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.routing.authority import parse_authority
from proxy.wire import browsers
from proxy.wire.browsers import (
    Asker,
    is_of_browser,
    is_of_page,
    is_patient,
    is_unattended,
    mount_of_api,
    only_looks,
    prefers_html,
    who_asks,
)

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
HOST = "notebooks.test:8080"
API = "/research/api/kernels/1"


def asker(target: str = API, host: str = HOST, **fields: str) -> Asker:
    return who_asks(
        CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()}),
        host=host,
        target=target,
    )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("navigate", Asker.WINDOW),
        (" Navigate ", Asker.WINDOW),
        ("cors", Asker.SCRIPT),
        ("same-origin", Asker.SCRIPT),
        ("no-cors", Asker.PROGRAM),
        ("websocket", Asker.PROGRAM),
        ("nested-navigate", Asker.PROGRAM),
    ],
)
@pytest.mark.parametrize("accept", ["", "*/*", CHROME, "application/json"])
def test_fetch_metadata_decides_where_it_is_sent(mode: str, accept: str, expected: Asker) -> None:
    assert asker(Sec_Fetch_Mode=mode, Accept=accept) is expected
    assert asker(Sec_Fetch_Mode=mode, Accept=accept, Referer="https://elsewhere.test/") is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Accept": CHROME}, Asker.WINDOW),
        # A link that is followed has a referrer, too.
        ({"Accept": CHROME, "Referer": f"http://{HOST}/research/lab"}, Asker.WINDOW),
        ({"Accept": "*/*", "Referer": f"http://{HOST}/research/lab"}, Asker.SCRIPT),
        ({"Referer": f"http://{HOST}/research/"}, Asker.SCRIPT),
        ({"Accept": "*/*"}, Asker.PROGRAM),
        ({}, Asker.PROGRAM),
        ({"Referer": f"http://{HOST}/research"}, Asker.PROGRAM),
        ({"Referer": f"http://{HOST}/other/lab"}, Asker.PROGRAM),
        ({"Referer": f"http://{HOST}/"}, Asker.PROGRAM),
        ({"Referer": f"http://{HOST}0/research/lab"}, Asker.PROGRAM),
        ({"Referer": "http://evil.test/research/lab"}, Asker.PROGRAM),
        # Browsers of before Fetch Metadata.
        ({"Referer": f"https://{HOST}/research/lab"}, Asker.SCRIPT),
        ({"Referer": f"ftp://{HOST}/research/lab"}, Asker.PROGRAM),
    ],
    ids=str,
)
def test_on_plain_http_accept_and_the_referrer_decide(fields: dict[str, str], expected: Asker) -> None:
    assert asker(**fields) is expected


def test_a_referrer_tells_a_script_only_where_the_api_is_asked() -> None:
    referrer = f"http://{HOST}/research/lab"
    assert asker("/research/files/plot.png", Referer=referrer) is Asker.PROGRAM
    assert asker("/research/lab/api/settings", Referer=referrer) is Asker.SCRIPT


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Origin": "http://x"}, Asker.HANDSHAKE),
        ({"Sec_Fetch_Mode": "websocket"}, Asker.HANDSHAKE),
        ({"Sec_Fetch_Mode": "navigate"}, Asker.HANDSHAKE),
        ({}, Asker.PROGRAM),
        ({"Accept": CHROME}, Asker.PROGRAM),
    ],
    ids=str,
)
def test_a_handshake_is_a_pages_if_a_browser_sends_it(fields: dict[str, str], expected: Asker) -> None:
    assert asker(Upgrade="websocket", **fields) is expected


@pytest.mark.parametrize(
    ("target", "prefix"),
    [
        ("/api/kernels", ""),
        ("/api/", ""),
        ("/lab/api/settings?x=/proxy/", ""),
        ("/research/api/kernels/1?a=1", "/research"),
        ("/research/lab/api/workspaces", "/research"),
        ("/team/research/api/status", "/team/research"),
        ("/api/kernels/api/x", ""),
        ("/api", None),
        ("/lab", None),
        ("/apis/kernels", None),
        ("/files/api", None),
        ("/lab?x=/api/", None),
        ("/proxy/8000/api/items", None),
        ("/research/proxy/8000/api/items", None),
        ("/research/proxy/api/items", None),
        ("/api/gateway/v1/instances", None),
        ("", None),
    ],
)
def test_jupyters_api_is_found_in_a_target_without_knowing_the_mounts(
    target: str, prefix: str | None
) -> None:
    assert mount_of_api(target) == prefix


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/26.1 Safari/605.1.15"
)
BROWSERS = [
    FIREFOX,
    SAFARI,
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 "
    "Edg/142.0.0.0",
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 OPR/1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 12; CUBOT_X50) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36"
    " (KHTML, like Gecko) Code/1.106.0 Chrome/138.0 "
    "Electron/37.7.0 Safari/537.36",
    "curl/8.16.0",
    "python-requests/2.32.5",
    "",
]
PREVIEWERS = [
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Slackbot 1.0 (+https://api.slack.com/robots)",
    "Slack-ImgProxy (+https://api.slack.com/robots)",
    "Twitterbot/1.0",
    "TelegramBot (like TwitterBot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "facebookexternalhit/1.1;line-poker/1.0",
    "meta-externalfetcher/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4"
    " (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 "
    "facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "WhatsApp/2.23.20.0",
    "WhatsApp/2",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com",
    "MicrosoftPreview/2.0; +https://aka.ms/MicrosoftPreview",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Teams/1.5.00.8070 Chrome/85.0 "
    "Electron/10.4.7 Safari/537.36",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Jakarta Commons-HttpClient/3.1 +http://www.linkedin.com)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Googlebot-Image/1.0",
    "GoogleOther",
    "Google-Read-Aloud",
    "Mozilla/5.0 (X11; Linux x86_64; Storebot-Google/1.0) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/79.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "Mattermost-Bot/1.1",
    "Mozilla/5.0 (compatible; ZulipURLPreview/11.4; +https://zulip.example)",
    "Iframely/1.3.1 (+https://iframely.com/docs/about) Atlassian",
    "Mozilla/5.0 (compatible; Embedly/0.2; +http://support.embed.ly/)",
    "Synapse (bot; +https://github.com/matrix-org/synapse)",
    "Rocket.Chat",
    "http.rb/5.3.1 (Mastodon/4.5.0; +https://social.example/) Bot",
    "Valve/Steam HTTP Client 1.0 (SteamChatURLLookup)",
    "Microsoft Office Existence Discovery",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.1; Pro)",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b",
    "Mozilla/5.0 (compatible; Barracuda Sentinel (EE))",
    "redditbot/1.0",
    "Mozilla/5.0 (compatible; AcmeLinkUnfurler)",
]


@pytest.mark.parametrize("agent", PREVIEWERS)
def test_what_looks_at_links_that_people_post_is_known_by_its_name(agent: str) -> None:
    assert is_unattended(CIMultiDict({"User-Agent": agent}))
    assert is_unattended(CIMultiDict({"user-agent": agent.upper()}))


@pytest.mark.parametrize("agent", BROWSERS)
def test_browsers_and_programs_are_not_taken_for_it(agent: str) -> None:
    assert not is_unattended(CIMultiDict({"User-Agent": agent}))
    assert not is_unattended(CIMultiDict())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("Sec-Purpose", "prefetch")], True),
        ([("Sec-Purpose", "prefetch;prerender")], True),
        ([("Sec-Purpose", "prefetch;anonymous-client-ip")], True),
        ([("Purpose", "Prefetch")], True),
        ([("Purpose", "preview")], True),
        ([("X-moz", "prefetch")], True),
        ([("X-Purpose", "preview")], True),
        ([("X-Purpose", ": preview")], True),
        ([("Purpose", "something")], False),
        ([("Sec-Purpose", ""), ("Purpose", "prefetch")], True),
        ([("Sec-Purpose", ""), ("Sec-Purpose", "prefetch")], True),
    ],
    ids=str,
)
def test_what_is_only_fetched_ahead_says_so(fields: list[tuple[str, str]], expected: bool) -> None:
    assert is_unattended(CIMultiDict([*fields, ("User-Agent", FIREFOX)])) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CHROME, True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("application/json;q=0.5, text/html", True),
        ("text/html;q=0", False),
        ("text/html;q=0.000", False),
        ("text/html;q=zero", False),
        ("text/html;q=nan", False),
        ("text/html;q=2", False),
        ("TEXT/HTML; charset=utf-8", True),
        ("application/xhtml+xml", True),
        ("text/html;level=1;q=0.3,application/json;q=0.2", True),
        ("text/htmlx", False),
    ],
)
def test_who_names_html_prefers_it(accept: str, expected: bool) -> None:
    assert prefers_html(accept) is expected


@given(st.text(), st.text(), st.text(), st.text())
def test_any_fields_are_an_answer(accept: str, mode: str, referrer: str, target: str) -> None:
    assert asker(target, Accept=accept, Sec_Fetch_Mode=mode, Referer=referrer) in Asker


@pytest.mark.parametrize(
    ("asker", "method", "target", "expected"),
    [
        (Asker.HANDSHAKE, "GET", "/terminals/websocket/1", True),
        (Asker.HANDSHAKE, "GET", "/proxy/8501/stream", True),
        (Asker.SCRIPT, "GET", "/api/sessions?1795811811", True),
        (Asker.SCRIPT, "GET", "/api/terminals", True),
        (Asker.SCRIPT, "HEAD", "/api/terminals", True),
        (Asker.SCRIPT, "GET", "/api/kernels/1", False),
        (Asker.SCRIPT, "GET", "/api/sessions/1", False),
        (Asker.SCRIPT, "GET", "/lab/api/settings", False),
        (Asker.SCRIPT, "PUT", "/api/contents/a.ipynb", True),
        (Asker.SCRIPT, "POST", "/api/kernels/1/interrupt", True),
        (Asker.SCRIPT, "PUT", "/lab/api/workspaces/default", False),
        # An application's, whose page knows best.
        (Asker.SCRIPT, "POST", "/proxy/8501/api/sessions", False),
        (Asker.SCRIPT, "GET", "/rstudio/api/sessions", False),
        (Asker.SCRIPT, "POST", "/rstudio/api/contents", False),
        (Asker.SCRIPT, "POST", "/api/%2e%2e/proxy/8501/", False),
        (Asker.PROGRAM, "GET", "/api/sessions", False),
        (Asker.WINDOW, "GET", "/api/sessions", False),
    ],
)
def test_a_page_had_rather_wait_than_show_a_dialog_give_up_or_lose_work(
    asker: Asker, method: str, target: str, expected: bool
) -> None:
    assert is_patient(asker, method=method, target=target) is expected


# -- the rules, one for each purpose

GET_HTML = {"Accept": CHROME}
NAVIGATES = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
AHEAD = {"Sec-Purpose": "prefetch"}

NAVIGATION_RULES = {
    "sees": browsers.SEES_THE_ANSWER,
    "sign-in": browsers.IS_LED_TO_SIGN_IN,
    "starts": browsers.STARTS_AN_INSTANCE,
    "surely": browsers.SURELY_STARTS_ONE,
    "link": browsers.OPENS_A_LINK,
    "pasted": browsers.PASTES_AN_ADDRESS,
    "button": browsers.PRESSES_A_BUTTON,
}
EACH_OF_GET = "sees sign-in starts surely link pasted"

NAVIGATIONS = [
    ("a browser's navigation", "GET", NAVIGATES, EACH_OF_GET),
    (
        "… in other letters",
        "GET",
        {"Sec-Fetch-Mode": " Navigate ", "Sec-Fetch-Dest": "DOCUMENT"},
        EACH_OF_GET,
    ),
    ("… that does not say where to", "GET", {"Sec-Fetch-Mode": "navigate"}, EACH_OF_GET),
    ("… into a frame", "GET", NAVIGATES | {"Sec-Fetch-Dest": "iframe"}, "sees sign-in link pasted"),
    ("… ahead of its user", "GET", NAVIGATES | AHEAD, "sees"),
    ("… of a chat's preview", "GET", NAVIGATES | {"User-Agent": "Slackbot 1.0"}, "sees"),
    ("… for the head alone", "HEAD", NAVIGATES, "sees"),
    ("a form's", "POST", NAVIGATES | FORM, "sees button"),
    ("… of a browser that says nothing else", "POST", FORM, "button"),
    ("… whose body is another", "POST", NAVIGATES | {"Content-Type": "application/json"}, "sees"),
    ("an older browser's, or one on plain http", "GET", GET_HTML, "sees sign-in starts link"),
    ("… ahead of its user", "GET", GET_HTML | AHEAD, "sees"),
    ("a program's", "GET", {"Accept": "*/*"}, "link"),
    ("… that says nothing", "GET", {}, "link"),
    ("… that posts", "POST", {}, ""),
    ("a script's", "GET", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, ""),
    ("… that accepts HTML", "GET", {"Sec-Fetch-Mode": "cors"} | GET_HTML, ""),
    ("… that posts a form", "POST", {"Sec-Fetch-Mode": "same-origin"} | FORM, ""),
    ("an image's", "GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, ""),
    ("a WebSocket's", "GET", {"Sec-Fetch-Mode": "websocket", "Upgrade": "websocket"}, ""),
    ("… of an older browser's page", "GET", {"Upgrade": "websocket"} | GET_HTML, ""),
    ("a handshake that says it navigates", "GET", NAVIGATES | {"Upgrade": "websocket"}, ""),
]


@pytest.mark.parametrize(
    ("method", "fields", "fitting"),
    [row[1:] for row in NAVIGATIONS],
    ids=[f"{number} {row[0]}" for number, row in enumerate(NAVIGATIONS)],
)
def test_what_is_taken_for_a_persons_navigation(method: str, fields: dict[str, str], fitting: str) -> None:
    found = {name for name, rule in NAVIGATION_RULES.items() if rule.fits(method, CIMultiDict(fields))}
    assert found == set(fitting.split())


@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [
        ("HEAD", {}, True),
        ("HEAD", NAVIGATES, True),
        ("GET", NAVIGATES | AHEAD, True),
        ("GET", NAVIGATES, False),
        ("POST", AHEAD, False),
        ("GET", {"Upgrade": "websocket"} | AHEAD, False),
    ],
)
def test_who_only_looks_at_a_link(method: str, fields: dict[str, str], expected: bool) -> None:
    assert only_looks(method, CIMultiDict(fields)) is expected


OWN, EVIL = "https://notebooks.test", "https://evil.test"
SENDING_RULES = {
    "changes": browsers.CHANGES_SOMETHING,
    "websocket": browsers.OPENS_A_WEBSOCKET,
    "form": browsers.SENDS_A_FORM,
    "call": browsers.CALLS_THE_API,
}
SENDINGS = [
    ("a page's own", {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, "changes websocket form call"),
    ("… of an older browser", {"Origin": OWN}, "changes websocket form call"),
    ("… without asking", {"Origin": OWN, "Sec-Fetch-Mode": "no-cors"}, "changes websocket"),
    ("… that hides its address", {"Origin": "null", "Sec-Fetch-Site": "same-origin"}, "changes form call"),
    ("… that does not say it", {"Sec-Fetch-Site": "same-origin"}, "changes form call"),
    ("the user's, from the address bar", {"Sec-Fetch-Site": "none"}, "changes"),
    ("another site's page's", {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}, ""),
    ("… of an older browser", {"Origin": EVIL}, ""),
    ("… of one that hides it", {"Origin": "null"}, ""),
    ("… on a neighbour's host", {"Origin": OWN, "Sec-Fetch-Site": "same-site"}, ""),
    ("… on another port", {"Origin": f"{OWN}:8443"}, ""),
    ("a program's", {}, "changes websocket call"),
    ("… that fetches as Node does", {"Sec-Fetch-Mode": "cors"}, "changes websocket call"),
    ("neither a browser's nor a program's", {"Sec-Fetch-Mode": "no-cors"}, "changes"),
    ("… for an image", {"Sec-Fetch-Dest": "image"}, "changes"),
]


@pytest.mark.parametrize(
    ("fields", "passing"),
    [row[1:] for row in SENDINGS],
    ids=[f"{number} {row[0]}" for number, row in enumerate(SENDINGS)],
)
def test_what_a_page_may_send(fields: dict[str, str], passing: str) -> None:
    authority = parse_authority("notebooks.test")
    found = {
        name
        for name, rule in SENDING_RULES.items()
        if rule.lets(CIMultiDict(fields), scheme="https", authority=authority)
    }
    assert found == set(passing.split())


def test_every_rule_is_in_the_tables() -> None:
    rules = {
        id(rule)
        for rule in vars(browsers).values()
        if isinstance(rule, browsers.NavigationRule | browsers.SendingRule)
    }
    assert rules == {id(rule) for rule in (*NAVIGATION_RULES.values(), *SENDING_RULES.values())}


@pytest.mark.parametrize(
    ("name", "of_page", "of_browser"),
    [
        ("Origin", True, False),
        ("sec-fetch-site", True, False),
        ("Sec-Fetch-Mode", True, True),
        ("Referer", False, True),
        ("Cookie", False, True),
        ("Sec-Fetch-Dest", False, False),
    ],
)
def test_what_tells_a_pages_request_and_a_browsers_from_a_programs(
    name: str, of_page: bool, of_browser: bool
) -> None:
    fields = CIMultiDict([("Accept", "*/*"), (name, "")])
    assert (is_of_page(fields), is_of_browser(fields)) == (of_page, of_browser)
