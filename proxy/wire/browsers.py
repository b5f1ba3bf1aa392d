"""Who sends a request, as far as its fields tell: a browser's window, a page's own script, its WebSocket, or a program.

The rule: Fetch Metadata (W3C) decides where it is sent, which browsers do to https and to loopback addresses.
Elsewhere, and of older browsers, `Accept` tells a window, and a `Referer` below the same mount tells its script. What
takes a request for a person's, and what a page may send, differs from purpose to purpose, and stands here as rules: one
of `NavigationRule` or `SendingRule` for each. No permission may rest on a navigation: nothing of it proves anything.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Final

from multidict import MultiMapping

from proxy.routing.authority import Authority
from proxy.routing.jupyters import is_jupyters_own, may_lead_on
from proxy.wire.provenance import Provenance, provenance


class Asker(Enum):
    """Who sends a request."""

    WINDOW = "window"
    """A browser's window or frame that goes there: people read the answer."""
    SCRIPT = "script"
    """What a page fetches by itself; people see the answer only if the page shows it."""
    HANDSHAKE = "handshake"
    """A page's WebSocket. Scripts are told nothing of an answer but 101."""
    PROGRAM = "program"
    """Anything else: no browser, or a part of a page, such as an image."""


_AHEAD: Final = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
"""What says why a browser asks: the first by W3C's Resource Hints and Fetch, the others before there was that one."""
_AHEAD_WORDS: Final = ("prefetch", "prerender", "preview")
_PREVIEWERS: Final = (
    # What such programs call themselves, and the address of who runs one, as the well-behaved say it. No browser does.
    "+http", "bot/", "preview", "crawler", "spider", "unfurl", "fetcher", "urllookup",
    # Chats and networks, which show what a link leads to.
    "slackbot", "slack-imgproxy", "discordbot", "telegrambot", "whatsapp", "teams/", "mattermost-bot", "rocket.chat",
    "synapse", "beeperbot", "viber", "line-poker", "kakaotalk-scrap", "peekbot", "nextcloud", "friendica", "mastodon",
    "facebookexternalhit", "facebookcatalog", "facebot", "meta-external", "twitterbot", "linkedinbot", "redditbot",
    "pinterestbot", "bluesky", "vkshare", "tumblr/", "xing bot", "quora", "flipboard", "hatena",
    # What they and others ask to look.
    "iframely", "embedly", "opengraph.io", "summalybot", "github-camo", "twilioproxy",
    "atlassian", "notion/", "asana/", "trello", "discourse forum onebox",
    # Mail and office programs, and what scans their links.
    "microsoft office", "ms-office", "msoffice", "googleimageproxy", "yahoomailproxy", "fastmailua",
    "barracuda", "proofpoint", "mimecast", "messagelabs", "virustotal",
    # Search engines.
    "googlebot", "googleother", "google-", "-google", "bingbot", "applebot", "duckduckbot", "yandex", "amazonbot",
)  # fmt: skip
"""Parts of the `User-Agent`, in small letters, of programs that look at a link that somebody posted: those of that kind
in github.com/monperrus/crawler-user-agents (2026-11), and in the issues of software that sends links by mail. A person
who is taken for one presses a button more."""
_FETCHES: Final = frozenset({"cors", "same-origin"})
_NAVIGATE: Final = "navigate"
_WINDOWS: Final = frozenset({"", "document"})
"""Destinations that are no frame; some browsers name none."""
_FORM: Final = "application/x-www-form-urlencoded"


# -- what a person does in a browser's window


class Unsaid(Enum):
    """What is made of a request that does not say how it is fetched: an older browser's, a program's, or plain http."""

    COUNTS = "as a navigation"
    COUNTS_FOR_HTML = "as a navigation where HTML is accepted by name"
    COUNTS_NOT = "as none"


@dataclass(frozen=True, slots=True)
class NavigationRule:
    """Which requests are taken for a person's, who goes there in a browser's window. A handshake never is.

    `methods` None: any. `destinations` count where they are said; None: any. `is_attended`: somebody opened it, no
    browser that fetches ahead, and no program that looks at a link which was posted. `content` is that of the body.
    """

    methods: frozenset[str] | None
    unsaid: Unsaid
    _: KW_ONLY
    destinations: frozenset[str] | None = None
    is_attended: bool = False
    content: str | None = None

    def fits(self, method: str, headers: MultiMapping[str]) -> bool:
        """Never raises."""
        if (self.methods is not None and method not in self.methods) or "Upgrade" in headers:
            return False
        if mode := fetch_mode(headers):
            destination = headers.get("Sec-Fetch-Dest", "").strip().lower()
            if mode != _NAVIGATE or (self.destinations is not None and destination not in self.destinations):
                return False
        elif self.unsaid is Unsaid.COUNTS_NOT or (
            self.unsaid is Unsaid.COUNTS_FOR_HTML and not prefers_html(headers.get("Accept", ""))
        ):
            return False
        if self.content is not None:
            kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind != self.content:
                return False
        return not (self.is_attended and is_unattended(headers))


_GET: Final = frozenset({"GET"})
SEES_THE_ANSWER: Final = NavigationRule(None, Unsaid.COUNTS_FOR_HTML)
"""A person reads the answer: it is a page."""
IS_LED_TO_SIGN_IN: Final = NavigationRule(_GET, Unsaid.COUNTS_FOR_HTML, is_attended=True)
"""A person can be sent to another address in the answer's place."""
STARTS_AN_INSTANCE: Final = NavigationRule(
    _GET, Unsaid.COUNTS_FOR_HTML, destinations=_WINDOWS, is_attended=True
)
"""A stopped instance is started, which costs money: no page of another site does that with a frame."""
SURELY_STARTS_ONE: Final = NavigationRule(_GET, Unsaid.COUNTS_NOT, destinations=_WINDOWS, is_attended=True)
"""The same, shortly after it was stopped for want of use."""
OPENS_A_LINK: Final = NavigationRule(_GET, Unsaid.COUNTS, is_attended=True)
"""A link is spent. Programs follow links, too."""
PASTES_AN_ADDRESS: Final = NavigationRule(_GET, Unsaid.COUNTS_NOT, is_attended=True)
"""A program's address, with its token, stands in a browser's address bar."""
PRESSES_A_BUTTON: Final = NavigationRule(frozenset({"POST"}), Unsaid.COUNTS, content=_FORM)
"""A form is sent by a page without script. Whose it is does not matter: what looks at links presses no buttons, and an
app's own browser may carry the name of what does."""


def only_looks(method: str, headers: MultiMapping[str]) -> bool:
    """Whether nobody opened it: HEAD is for who only looks (RFC 9110 section 9.3.2), and some say that they do."""
    if "Upgrade" in headers:
        return False
    return method == "HEAD" or (method == "GET" and is_unattended(headers))


# -- what a page may send


@dataclass(frozen=True, slots=True)
class SendingRule:
    """Whose requests pass, by the page that caused them. `no_cors`: also what a page can send without asking (Fetch,
    "no-cors"), whatever else it says of itself.
    """

    passes: frozenset[Provenance]
    no_cors: bool = True

    def lets(self, headers: MultiMapping[str], *, scheme: str, authority: Authority) -> bool:
        """Whether a request to `scheme` and `authority`, in the browser's words, passes. Never raises."""
        if not self.no_cors and fetch_mode(headers) == "no-cors":
            return False
        return provenance(headers, scheme=scheme, authority=authority) in self.passes


CHANGES_SOMETHING: Final = SendingRule(frozenset(Provenance) - {Provenance.FOREIGN})
"""At a notebook, whose own check of origins comes after this one."""
OPENS_A_WEBSOCKET: Final = SendingRule(frozenset({Provenance.OWN, Provenance.PROGRAM}))
"""Browsers name the page's origin in every handshake."""
SENDS_A_FORM: Final = SendingRule(frozenset({Provenance.OWN, Provenance.UNNAMED}), no_cors=False)
"""To one of the gateway's own pages."""
CALLS_THE_API: Final = SendingRule(SENDS_A_FORM.passes | {Provenance.PROGRAM}, no_cors=False)
"""The gateway's own: its pages do, and programs."""

_OF_PAGES: Final = ("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode")
_OF_BROWSERS: Final = ("Referer", "Cookie", "Sec-Fetch-Mode")


def is_of_page(headers: MultiMapping[str]) -> bool:
    """Whether a request says anything of the kind that browsers say of a page's; programs need not."""
    return any(name in headers for name in _OF_PAGES)


def is_of_browser(headers: MultiMapping[str]) -> bool:
    """Whether it may come from a browser that was somewhere before."""
    return any(name in headers for name in _OF_BROWSERS)


# -- who asks
_OWN_API: Final = "/api/gateway/"
_LISTS: Final = frozenset({"/api/sessions", "/api/terminals"})


def who_asks(headers: MultiMapping[str], *, host: str, target: str) -> Asker:
    """`host` is the field's value and `target` the request's, both as they came."""
    mode = fetch_mode(headers)
    if "Upgrade" in headers:
        return Asker.HANDSHAKE if mode or "Origin" in headers else Asker.PROGRAM
    if SEES_THE_ANSWER.fits("", headers):
        return Asker.WINDOW
    if mode:
        return Asker.SCRIPT if mode in _FETCHES else Asker.PROGRAM
    prefix = mount_of_api(target)
    if prefix is not None:
        page = f"://{host}{prefix}/"
        if headers.get("Referer", "").startswith((f"http{page}", f"https{page}")):
            return Asker.SCRIPT
    return Asker.PROGRAM


def fetch_mode(headers: MultiMapping[str]) -> str:
    """How a browser says that it fetches (Fetch Metadata, W3C); "" where it does not say."""
    return headers.get("Sec-Fetch-Mode", "").strip().lower()


def is_unattended(headers: MultiMapping[str]) -> bool:
    """Whether nobody has opened what is asked for, as far as the request says: a browser fetches it ahead, or a program
    looks at a link that somebody posted.
    """
    for name in _AHEAD:
        for value in headers.getall(name, ()):
            said = value.lower()
            if any(word in said for word in _AHEAD_WORDS):
                return True
    agent = headers.get("User-Agent", "").lower()
    return any(word in agent for word in _PREVIEWERS)


def mount_of_api(target: str) -> str | None:
    """What stands before Jupyter's API (`/api/`, `/lab/api/`) in a request target: the mount's prefix, without a slash
    at its end. None where it leads elsewhere: to what runs behind Jupyter (`/proxy/`), or to the gateway's own API.

    Told from the target alone, so that it tells nothing of which mounts there are.
    """
    path = target.partition("?")[0]
    end = path.find("/api/")
    if end < 0 or path.startswith(_OWN_API, end):
        return None
    prefix = path[:end].removesuffix("/lab")
    return None if may_lead_on(f"{prefix}/") else prefix


def is_patient(asker: Asker, *, method: str, target: str) -> bool:
    """Whether a page sends this that had rather wait for a moment than be told that its notebook is away.

    `target` is the notebook's, without the mount. JupyterLab shows a dialog where its lists of sessions and terminals
    cannot be had, and where a file cannot be saved; its terminals give up after seven handshakes.
    """
    if asker is Asker.HANDSHAKE:
        return True
    if asker is not Asker.SCRIPT or not is_jupyters_own(target):
        return False
    path = target.partition("?")[0]
    return path in _LISTS if method in ("GET", "HEAD") else path.startswith("/api/")


def prefers_html(accept: str) -> bool:
    """Whether `Accept` (RFC 9110 section 12.5.1) names HTML, and JSON no more than that. `*/*` alone, curl's and most
    programs' value, does not.
    """
    weights = {"text/html": 0.0, "application/xhtml+xml": 0.0, "application/json": 0.0}
    for media_range in accept.lower().split(",")[:64]:
        name, *parameters = (part.strip() for part in media_range.split(";"))
        if name in weights:
            weights[name] = max(weights[name], _weight(parameters))
    html = max(weights["text/html"], weights["application/xhtml+xml"])
    return html > 0 and html >= weights["application/json"]


def _weight(parameters: list[str]) -> float:
    """The `q` of a media range (RFC 9110 section 12.4.2); 0 where it is malformed."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0.0 <= weight <= 1.0 else 0.0
    return 1.0
