"""Upstream sessions as values: the cookies that a presigned URL bought, where they count, and until when.

Everything is immutable, and cookie values never print. The `Exchange` port is how a keeper turns a URL into
a `SignIn`, which says nothing about time; how that is done is `proxy.aws.exchange`'s matter, when it is done
and how long the result is trusted, `proxy.aws.keeper`'s.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Final, Protocol

from yarl import URL

from proxy.aws.cookies import Cookies, Unkept, parse_set_cookies
from proxy.aws.presigned import PresignedUrl
from proxy.errors import (
    JupyterStarting,
    UpstreamProxyRefused,
    UpstreamRefused,
    UpstreamUnknown,
    UpstreamUnreachable,
    UpstreamUntrusted,
)

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a notebook (RFC 6454). `authority` is the `Host` field: no default port."""

    scheme: str
    host: str
    port: int
    authority: bytes = field(init=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == _DEFAULT_PORTS.get(self.scheme)
        text = host if default else f"{host}:{self.port}"
        object.__setattr__(self, "authority", text.encode("ascii"))

    @classmethod
    def of(cls, url: URL) -> Origin:
        """The origin of an absolute http or https URL; ValueError for any other."""
        if url.scheme not in _DEFAULT_PORTS or not url.raw_host or url.port is None:
            raise ValueError("not an absolute http or https URL")
        return cls(url.scheme, url.raw_host.lower(), url.port)

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode('ascii')}"


@dataclass(frozen=True, slots=True)
class SignIn:
    """The notebook's origin, and the cookies that its front end set for it.

    `jupyter_shows`: marks of Jupyter's (`proxy.aws.whose`) came through the front end, so that their absence means
    something.
    """

    origin: Origin
    cookies: Cookies
    jupyter_shows: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamSession:
    """A signed-in session with one notebook. A changed one is a new object of the same generation.

    Instants are monotonic seconds: `obtained_at` (when the exchange succeeded), `renew_at` (from when on a
    successor is sought while this one serves) and `expires_at` (its end). `generation` counts a keeper's
    exchanges from 1. `from_rejection`: it replaces one that the notebook's front end turned down.
    `jupyter_shows` is the sign-in's.

    `cookie_header` (`b"a=b; c=d"`) is sent upstream; the names in `cookie_names` are the gateway's, and
    cookies so named pass neither way between browser and notebook.
    """

    origin: Origin
    cookies: Cookies
    obtained_at: float
    renew_at: float
    expires_at: float
    generation: int = 1
    from_rejection: bool = False
    jupyter_shows: bool = False
    cookie_header: bytes = field(init=False, repr=False)
    cookie_names: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cookie_header", self.cookies.header)
        object.__setattr__(self, "cookie_names", self.cookies.names)

    def absorb(self, set_cookie_fields: Sequence[bytes], *, now: datetime) -> UpstreamSession:
        """The session after a response set some of its cookies again; the same object if none of them.

        Names that the exchange did not bring are the browser's business and are not taken in.
        """
        ours = (cookie for cookie in parse_set_cookies(set_cookie_fields) if cookie.name in self.cookie_names)
        cookies = self.cookies.apply(ours, host=self.origin.host, now=now)
        return self if cookies is self.cookies else replace(self, cookies=cookies)


OnUnkept = Callable[[Origin, Sequence[Unkept]], None]
"""Told of cookies that a notebook's front end set and no jar takes: without them a session may be none."""


def keep_quiet(_origin: Origin, _unkept: Sequence[Unkept]) -> None:
    """Nobody is told."""


class Honoured(Enum):
    """What the notebook's front end makes of a session now."""

    YES = "honoured"
    """And Jupyter is up, for it has answered."""
    NO = "not honoured"
    STARTING = "starting"
    """The instance is in service, and something else stands in Jupyter's place. Nothing is wrong with the session."""
    OUT = "out of service"
    """SageMaker says that the instance is not in service: its sessions are over."""
    UNTOLD = "untold"
    """It could not be asked, or gave an answer that says none of that."""


class Said(Enum):
    """What the answer to a question about a session says by itself."""

    YES = "Jupyter answered"
    NO = "not signed in"
    STARTING = "a page for who is signed in"
    """A page in Jupyter's place, and others are told to sign in."""
    PAGE = "a page for everybody"
    """A page in Jupyter's place, which is shown without a session, too."""
    FAULT = "an error of the front end's own"
    """SageMaker may know more of the instance."""
    NOTHING = "nothing of that, or no answer"


class Exchange(Protocol):
    """Turns a presigned URL into a sign-in, once."""

    async def __call__(self, url: PresignedUrl) -> SignIn:
        """Raises NotConnected, NotTrusted, NotLetThrough or NotReady (the URL is unspent), SessionRejected (refused:
        another URL may do better), UpstreamUnreachable, UpstreamUntrusted, UpstreamProxyRefused, UpstreamTimeout or
        UpstreamInvalid.
        """


class NotConnected(UpstreamUnreachable):
    """No connection came about, so nothing of the presigned URL was sent and it may still be used."""


class NotConnectedRefused(NotConnected, UpstreamRefused):
    """The same, where its host refuses connections."""


class NotConnectedUnknown(NotConnected, UpstreamUnknown):
    """The same, where its host's name does not resolve."""


class NotTrusted(UpstreamUntrusted):
    """The same, for the host's certificate."""


class NotLetThrough(UpstreamProxyRefused):
    """The same, for a proxy on the way."""


def no_connection(error: OSError, *, first: bool = False) -> type[UpstreamUnreachable]:
    """What to raise where no connection was made. `first`: NotConnected's branch, for nothing was sent yet."""
    if isinstance(error, socket.gaierror):
        return NotConnectedUnknown if first else UpstreamUnknown
    # Where a name has several addresses, an event loop tells of all of them in one error without a number.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return NotConnectedRefused if first else UpstreamRefused
    return NotConnected if first else UpstreamUnreachable


class NotReady(JupyterStarting):
    """The front end answered in Jupyter's place and set no cookie, so that the URL may still be used.

    `is_page`: with a page and a good status; else with an error, of which SageMaker may know more.
    """

    def __init__(self, message: str | None = None, *, is_page: bool = True, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.is_page = is_page
