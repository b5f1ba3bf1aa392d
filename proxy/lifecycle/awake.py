"""What people are told of an instance's idleness, and what they may say to it: "keep it awake for so long".

Values alone; instants here are the wall clock's, in UTC, since they are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from proxy.lifecycle.judge import IdleFinding

MOST_AWAKE_HOURS: Final = 72.0


class AwakeRefused(ValueError):
    """What was asked for is not possible; the message may be shown to whoever asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwakeState:
    """An instance's idleness, as a page shows it.

    `after_seconds` is its `stop_after_idle`, None where it is never stopped: then everything else says nothing.
    `idle_since` is None while it is used, or where that is not known. `stops_at` is when it will be stopped if nobody
    uses it before. With `dry_run` it is only written into the log. `why` says what the
    judgement rests on, in a few words that may be shown.
    """

    finding: IdleFinding = IdleFinding.OFF
    why: str = ""
    after_seconds: float | None = None
    idle_since: datetime | None = None
    stops_at: datetime | None = None
    kept_awake_until: datetime | None = None
    dry_run: bool = False


def checked_hours(hours: float) -> float:
    """Hours to keep an instance awake, 0 for no longer at all. Raises AwakeRefused."""
    if not 0.0 <= hours <= MOST_AWAKE_HOURS:  # NaN, too
        raise AwakeRefused(f"An instance is kept awake for at most {MOST_AWAKE_HOURS:.0f} hours.")
    return hours
