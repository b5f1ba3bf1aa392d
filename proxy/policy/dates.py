"""Instants as policies write them, and what a comparison with one means.

The rule: an instant is read one way or refused. IAM takes the W3C's profile of ISO 8601 and UNIX time; four
digits could be either, so they are neither. Comparisons are half-open intervals, exact to the microsecond
that a `datetime` resolves. It must not know what time it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from proxy.policy.errors import PolicyError

TICK = timedelta(microseconds=1)
"""The least that two instants can differ by."""

# https://www.w3.org/TR/NOTE-datetime: a time of day needs its zone.
_W3C = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,6}))?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2}))?)?"
)
_EPOCH = re.compile(r"[0-9]{10}")
_YEARS = range(1970, 9999)
_EXAMPLE = "write a date such as 2027-01-31, or an instant such as 2027-01-31T17:00:00Z"


def parse_instant(value: object) -> datetime:
    """The instant that `2027-01-31T17:00:00Z` or a ten-digit UNIX time in seconds names, in UTC.

    A date alone is its first moment, 00:00 UTC, as in IAM. Raises `PolicyError` for everything else: a year
    alone, a time of day without its zone, a day that does not exist, years outside of 1970 to 9998.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise PolicyError(f"{value!r} is not a date", _EXAMPLE)
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC)
    match = _W3C.fullmatch(text)
    if match is None:
        raise PolicyError(f"{text!r} is not a date", _hint(text))
    try:
        instant = datetime(
            int(match["year"]),
            int(match["month"]),
            int(match["day"] or 1),
            int(match["hour"] or 0),
            int(match["minute"] or 0),
            int(match["second"] or 0),
            int((match["fraction"] or "0").ljust(6, "0")),
            tzinfo=_zone(match["zone"] or "Z"),
        ).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PolicyError(f"{text!r} does not exist", _EXAMPLE) from error
    if instant.year not in _YEARS:
        raise PolicyError(f"{text!r} is too far away", f"from {_YEARS.start} to {_YEARS.stop - 1}")
    return instant


def format_instant(instant: datetime) -> str:
    """The shortest spelling with a time of day that `parse_instant` reads back."""
    spelled = instant.astimezone(UTC).isoformat(timespec="auto")
    return spelled.removesuffix("+00:00") + "Z"


def _hint(text: str) -> str:
    if re.fullmatch(r"[0-9]{4}", text):
        return f"a year and UNIX time look alike: write {text}-01-01"
    if re.fullmatch(r"[0-9]{13}", text):
        return f"write UNIX time in seconds: {text[:10]}"
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?", text):
        return f"write its time zone: {text.replace(' ', 'T')}Z"
    return _EXAMPLE


def _zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)


@dataclass(frozen=True, slots=True)
class Since:
    """All instants from `start` on."""

    start: datetime

    def __contains__(self, instant: datetime) -> bool:
        return instant >= self.start


@dataclass(frozen=True, slots=True)
class Before:
    """All instants before `end`."""

    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return instant < self.end
