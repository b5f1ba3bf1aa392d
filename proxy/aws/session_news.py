"""What a keeper tells of its session besides its states: news that an operator would want to read.

The rule: plain data, without a credential. It must not know who reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from proxy.aws.presigned import SessionKey
from proxy.errors import NbgateError


class Loss(Enum):
    """Why a session is over; `value` is for the log."""

    EXPIRED = "its time was up"
    REJECTED = "the notebook's front end did not honour it"
    OUT_OF_SERVICE = "the instance left service, or is served no more"


@dataclass(frozen=True, slots=True)
class Obtained:
    """Signed in; `lasts_seconds` from now."""

    lasts_seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is over, and there is no other yet."""

    why: Loss


@dataclass(frozen=True, slots=True)
class NotObtained:
    """Signing in failed, the `attempt`th time in a row; nobody tries again within `next_try_seconds`. `asked_by` is
    the request that it was for, "" for a renewal ahead of the session's end.
    """

    error: NbgateError
    attempt: int
    next_try_seconds: float
    asked_by: str = ""


News = Obtained | Lost | NotObtained
OnNews = Callable[[SessionKey, News], None]


def ignore(_key: SessionKey, _news: News) -> None:
    """For whoever reads none."""
