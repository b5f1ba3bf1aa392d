"""Presigned notebook URLs: bearer credentials that live five minutes, and the place where unspent ones wait.

Whoever holds one is signed in to the notebook and can run code on it, so the type gives its text only to
`reveal()`: it prints as `***`, cannot be pickled or copied, and compares by identity. A URL may be good for
one use (AWS documents it neither way), so the cache hands it out by taking it away: two exchanges of one URL
at the same time cannot be written. This module knows nothing of how URLs are made or what they buy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn, SupportsIndex

from cachetools import TLRUCache

from proxy.clock import Clock

LIFETIME_SECONDS: Final = 300.0
"""How long SageMaker honours a URL: "the URL ... is valid only for 5 minutes"
(API reference, CreatePresignedNotebookInstanceUrl)."""

DEFAULT_MARGIN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Whose session: a notebook instance as SageMaker names it, and the role assumed for it ("": our own)."""

    notebook: str
    role_arn: str = ""

    def __str__(self) -> str:
        return f"{self.notebook} as {self.role_arn}" if self.role_arn else self.notebook


class PresignedUrl:
    """A URL that signs its bearer in. `requested_at` is in monotonic seconds, taken before the call was made.

    The five minutes start somewhere between our request and AWS's answer; counting from the request can only
    make a URL look older than it is.
    """

    __slots__ = ("_text", "requested_at")

    def __init__(self, text: str, *, requested_at: float) -> None:
        self._text = text
        self.requested_at = requested_at

    def reveal(self) -> str:
        """The URL itself. Only the exchange has a use for it."""
        return self._text

    def use_until(self, margin_seconds: float = DEFAULT_MARGIN_SECONDS) -> float:
        """The last moment, in monotonic seconds, at which it is sent anywhere."""
        return self.requested_at + LIFETIME_SECONDS - margin_seconds

    def __repr__(self) -> str:
        return "***"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a presigned URL is a credential: it is neither pickled nor copied")


class PresignedUrlCache:
    """Unspent URLs, one for each key, until `margin_seconds` before their end.

    `take` removes what it returns: the taker is the only one to use it, and gives it back with `put` only
    when nothing of it was sent.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        margin_seconds: float = DEFAULT_MARGIN_SECONDS,
        max_urls: int = 1024,
    ) -> None:
        self.margin_seconds = margin_seconds
        self._urls: TLRUCache[SessionKey, PresignedUrl] = TLRUCache(
            max_urls, ttu=self._use_until, timer=clock.monotonic
        )

    def __len__(self) -> int:
        self._urls.expire()
        return len(self._urls)

    def take(self, key: SessionKey) -> PresignedUrl | None:
        """The URL of `key` if a usable one waits here; it is the caller's alone from now on."""
        return self._urls.pop(key, None)

    def put(self, key: SessionKey, url: PresignedUrl) -> None:
        """Keep an unspent URL; one past its time is dropped."""
        # First: cachetools before version 8 keeps what was there when what comes is past its time.
        self._urls.pop(key, None)
        self._urls[key] = url

    def _use_until(self, _key: SessionKey, url: PresignedUrl, _now: float) -> float:
        return url.use_until(self.margin_seconds)
