"""Words that both sides of a notebook's session use: who obtains it from AWS, and who carries requests with it.

The rule: plain data, and what a session shows of itself; neither side need know the other. How a session comes about
is `proxy.aws`' business, what is sent with it the data plane's, and this module knows neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from yarl import URL

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


class NotebookSession(Protocol):
    """A signed-in session with one notebook, as far as requests need it; it never changes."""

    @property
    def origin(self) -> Origin: ...

    @property
    def generation(self) -> int:
        """Counts the sessions of one keeper, from 1: which of them it is."""

    @property
    def expires_at(self) -> float:
        """Monotonic seconds."""

    @property
    def jupyter_shows(self) -> bool:
        """Jupyter's own marks come through the notebook's front end, so that their absence means something."""

    @property
    def cookie_header(self) -> bytes:
        """The cookies to send (`b"a=b; c=d"`): credentials."""

    @property
    def cookie_names(self) -> frozenset[bytes]:
        """The gateway's own: cookies so named pass neither way between browser and notebook."""

    @property
    def steering_cookies(self) -> Mapping[bytes, re.Pattern[bytes]]:
        """By these the front end steers pages to AWS's console; with each name stands the form of its value."""


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


class Outcome(Enum):
    """What becomes of a response that looked like the front end's own, and of its request."""

    PASS = "it passes"  # noqa: S105 - a word, no password
    RENEW = "sign in, and repeat"
    STARTING = "Jupyter is starting"
    OUT = "the instance is not in service"
    AWAY = "the notebook does not answer"
    REFUSE = "we are not let in"
