"""What SageMaker knows of one notebook instance: its status, the URLs it gave out and who is signed in.

The rule of this module is that it decides and counts, and never speaks: the API and the notebook host ask it.
It opens no socket. All time is the clock's: a URL lives five minutes and a session as long as was asked for.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from proxy.clock import Clock

URL_SECONDS = 300
"""CreatePresignedNotebookInstanceUrl: "can be used only for 5 minutes" (SageMaker API reference)."""

IN_SERVICE = "InService"


class SignInShape(Enum):
    """How the notebook host takes the token. Which one AWS uses is not documented."""

    REDIRECT = "redirect"
    """One 302 to the same URL without the token; it sets all cookies."""
    CHAIN = "chain"
    """Two 302s; each sets some of the cookies, and only all of them together are a session."""
    DIRECT = "direct"
    """The page itself with 200; it sets all cookies."""


class SignedOutShape(Enum):
    """How the notebook host says "not signed in". Which one AWS uses is not documented."""

    REDIRECT = "redirect"
    """302 to the console's sign-in host."""
    CONSOLE = "console"
    """302 to the console itself, which is told the instance and the path; as users report it (graph-explorer #580)."""
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    PAGE = "page"
    """A page in HTML with status 200, whatever was asked for. It does not say what it means: nobody is signed in, or
    Jupyter is starting."""


class Loading(Enum):
    """For whom a page that loads itself again stands in Jupyter's place, as after a start (lifecycle-config-samples
    #65)."""

    OFF = "off"
    SIGNED_IN = "signed in"
    """Tokens are taken, and who is not signed in is told so."""
    EVERYBODY = "everybody"
    """No token is taken, and nobody is told anything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """A notebook instance as the sandbox starts it.

    `jupyter` puts a real Jupyter server behind it, with `extensions`, otherwise a `PlainUpstream`. `networks` is the IP
    condition that SageMaker would enforce on the URL and on all that follows (None: no condition).
    `transition_seconds` is how long starting and stopping take, by the sandbox's clock. `steering_cookies`: the front
    end sets the four cookies by which it steers its page, with each answer, and others for each path. `jupyter_host` is
    the `Host` that Jupyter is handed instead of the caller's; it then allows the notebook host's origin by a pattern.
    """

    name: str
    jupyter: bool = False
    extensions: Sequence[str] = ()
    status: str = IN_SERVICE
    failure_reason: str = ""
    instance_type: str = "ml.t3.medium"
    platform: str = "notebook-al2023-v1"
    networks: Sequence[str] | None = None
    sign_in: SignInShape = SignInShape.REDIRECT
    signed_out: SignedOutShape = SignedOutShape.REDIRECT
    cookie_names: Sequence[str] = ("nb-auth", "nb-session")
    single_use_urls: bool = False
    reissue_cookies: bool = False
    steering_cookies: bool = False
    jupyter_host: str = ""
    token_bytes: int = 700
    transition_seconds: float = 5.0


@dataclass(slots=True)
class Session:
    """Somebody who is signed in: the values that each cookie may have, and until when (clock, seconds)."""

    expires_at: float
    cookies: dict[str, set[str]]
    complete: bool = True


@dataclass(slots=True)
class _Url:
    expires_at: float
    session_seconds: int


@dataclass(slots=True, kw_only=True)
class HostCounts:
    """What happened at the notebook host so far. A WebSocket upgrade counts as one request."""

    requests: int = 0
    sign_ins: int = 0
    sign_in_failures: int = 0
    signed_out: int = 0
    proxied: int = 0
    denied: int = 0


class NotebookInstance:
    """State of one instance. The attributes named in `InstanceSpec` may be changed at any time."""

    def __init__(self, spec: InstanceSpec, *, clock: Clock) -> None:
        if not spec.cookie_names:
            raise ValueError("a session needs at least one cookie")
        self.name = spec.name
        self.instance_type = spec.instance_type
        self.platform = spec.platform
        self.transition_seconds = spec.transition_seconds
        self.status = spec.status
        self.failure_reason = spec.failure_reason
        self.networks = spec.networks
        self.sign_in = spec.sign_in
        self.signed_out = spec.signed_out
        self.single_use_urls = spec.single_use_urls
        self.reissue_cookies = spec.reissue_cookies
        self.steering_cookies = spec.steering_cookies
        self.jupyter_host = spec.jupyter_host
        self.loading = Loading.OFF
        self.loading_status = 200
        """Of the loading page; nobody has told which one AWS's has."""
        self.front_end_status = 0
        """What the front end answers to everything, though the instance is in service; 0: nothing of its own."""
        self.hidden_fields: frozenset[str] = frozenset()
        """Fields of Jupyter's answers that the front end does not pass on, in small letters."""
        self.html_coding = ""
        """How the front end compresses HTML, whatever was asked for: gzip or deflate; "" for not at all."""
        self.token_bytes = spec.token_bytes
        self.cookie_names = tuple(spec.cookie_names)
        self.counts = HostCounts()
        self.created_at = self.modified_at = clock.now()
        self._clock = clock
        self._urls: dict[str, _Url] = {}
        self._sessions: list[Session] = []

    def admits(self, address: str) -> bool:
        """Whether the IP condition, if there is one, holds for the peer's address."""
        if self.networks is None:
            return True
        peer = ipaddress.ip_address(address)
        return any(peer in ipaddress.ip_network(network) for network in self.networks)

    def set_status(self, status: str) -> None:
        """Put the instance into one of SageMaker's states. Leaving InService signs everybody out."""
        self.status = status
        self.modified_at = self._clock.now()
        if status != IN_SERVICE:
            self.expire_sessions()
            self.expire_urls()

    def mint(self, *, session_seconds: int) -> str:
        """A token that signs in for five minutes from now; the session then lasts `session_seconds`."""
        token = _token(self.token_bytes)
        self._urls[token] = _Url(self._clock.monotonic() + URL_SECONDS, session_seconds)
        return token

    def redeem(self, token: str) -> Session | None:
        """The new session that the token buys, or None if it is unknown, too old or used up."""
        url = self._urls.get(token)
        if url is None or self._clock.monotonic() >= url.expires_at:
            self.counts.sign_in_failures += 1
            return None
        if self.single_use_urls:
            del self._urls[token]
        session = Session(
            self._clock.monotonic() + url.session_seconds,
            {name: {secrets.token_urlsafe(48)} for name in self.cookie_names},
        )
        self._sessions.append(session)
        self.counts.sign_ins += 1
        return session

    def session_of(self, cookies: Mapping[str, str]) -> Session | None:
        """The session whose cookies these are: every one of them, and not older than was asked for."""
        now = self._clock.monotonic()
        self._sessions = [session for session in self._sessions if now < session.expires_at]
        for session in self._sessions:
            if session.complete and all(
                cookies.get(name) in values for name, values in session.cookies.items()
            ):
                return session
        return None

    def reissue(self, session: Session) -> str:
        """A further value for the session's last cookie; the earlier ones stay good."""
        value = secrets.token_urlsafe(48)
        session.cookies[self.cookie_names[-1]].add(value)
        return value

    def expire_sessions(self) -> None:
        """Sign everybody out, now."""
        self._sessions.clear()

    def expire_urls(self) -> None:
        """Make all URLs given out so far worthless, now."""
        self._urls.clear()


def _token(size: int) -> str:
    """Looks like the one published example: a JWT with `fasCredentials`. Means nothing but itself."""

    def part(value: object) -> str:
        return (
            base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()
        )

    credentials = base64.b64encode(secrets.token_bytes(size)).decode()
    signature = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return f"{part({'alg': 'HS256'})}.{part({'fasCredentials': credentials})}.{signature}"
