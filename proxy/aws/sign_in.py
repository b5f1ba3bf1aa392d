"""What an exchange brings, and the port through which a keeper asks for one.

A `SignIn` is the notebook's origin and the front end's cookies for it, without any notion of how long they
last. How an exchange is done is `proxy.aws.exchange`'s matter; when, and what its result is worth later,
`proxy.aws.sessions`'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from yarl import URL

from proxy.aws.cookies import Cookies
from proxy.aws.presigned import PresignedUrl
from proxy.errors import UpstreamUnreachable

_DEFAULT_PORTS = {"https": 443, "http": 80}


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
    """The notebook's origin, and the cookies that its front end set for it."""

    origin: Origin
    cookies: Cookies


class Exchange(Protocol):
    """Turns a presigned URL into a sign-in, once."""

    async def __call__(self, url: PresignedUrl) -> SignIn:
        """Raises NotConnected (the URL is unspent), SessionRejected (refused: another URL may do better),
        UpstreamUnreachable, UpstreamTimeout or UpstreamInvalid."""


class NotConnected(UpstreamUnreachable):
    """No connection came about, so nothing of the presigned URL was sent and it may still be used."""
