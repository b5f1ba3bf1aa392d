"""Upstream sessions as values: the cookies that a presigned URL bought, where they count, and until when.

Everything is immutable, and cookie values never print. The `UrlExchange` port is how a keeper turns a URL into
a `SignIn`, which says nothing about time; how that is done is `proxy.aws.exchange`'s matter, when it is done
and how long the result is trusted, `proxy.aws.keeper`'s.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import ClassVar, Protocol

from proxy.aws.cookies import STEERING, Cookies, Unkept, parse_set_cookies
from proxy.aws.presigned import PresignedUrl
from proxy.errors import (
    JupyterStarting,
    UpstreamProxyRefused,
    UpstreamRefused,
    UpstreamUnknown,
    UpstreamUnreachable,
    UpstreamUntrusted,
)
from proxy.upstream import Origin


@dataclass(frozen=True, slots=True)
class SignIn:
    """The notebook's origin, and the cookies that its front end set for it.

    `jupyter_shows`: marks of Jupyter's (`proxy.aws.jupyter_marks`) came through the front end, so that their absence
    means something.
    """

    origin: Origin
    cookies: Cookies
    jupyter_shows: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamSession:
    """A signed-in session with one notebook (`proxy.upstream.NotebookSession`). A changed one is a new object of the
    same generation.

    Instants are monotonic seconds: `obtained_at` (when the exchange succeeded), `renew_at` (from when on a
    successor is sought while this one serves) and `expires_at` (its end). `generation` counts a keeper's
    exchanges from 1. `from_rejection`: it replaces one that the notebook's front end turned down.
    `jupyter_shows` is the sign-in's.

    `cookie_header` (`b"a=b; c=d"`) is sent upstream; the names in `cookie_names` are the gateway's, and
    cookies so named pass neither way between browser and notebook.
    """

    origin: Origin
    cookies: Cookies
    _: KW_ONLY
    obtained_at: float
    renew_at: float
    expires_at: float
    generation: int = 1
    from_rejection: bool = False
    jupyter_shows: bool = False
    cookie_header: bytes = field(init=False, repr=False)
    cookie_names: frozenset[bytes] = field(init=False)
    steering_cookies: ClassVar[Mapping[bytes, re.Pattern[bytes]]] = STEERING

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


class StatusMeaning(Enum):
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


class UrlExchange(Protocol):
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
