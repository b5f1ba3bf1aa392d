"""Instants: read one way or refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.dates import format_instant, parse_instant
from proxy.policy.errors import PolicyError


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2027-01", datetime(2027, 1, 1)),
        ("2027-01-31", datetime(2027, 1, 31)),
        ("2027-01-31T17:30Z", datetime(2027, 1, 31, 17, 30)),
        ("2027-01-31T17:30:05Z", datetime(2027, 1, 31, 17, 30, 5)),
        ("2027-01-31T17:30:05.25Z", datetime(2027, 1, 31, 17, 30, 5, 250_000)),
        ("2027-01-31T17:30:05+01:30", datetime(2027, 1, 31, 16, 0, 5)),
        ("2027-01-31T23:30:00-01:00", datetime(2027, 2, 1, 0, 30)),
        ("1801440000", datetime(2027, 2, 1)),
        (1801440000, datetime(2027, 2, 1)),
    ],
)
def test_the_w3cs_dates_and_unix_time_are_read(written: object, instant: datetime) -> None:
    assert parse_instant(written) == instant.replace(tzinfo=UTC)
    assert parse_instant(written).tzinfo is UTC


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ("2027", "not a date", "a year and UNIX time look alike: write 2027-01-01"),
        (2027, "not a date", "write 2027-01-01"),
        ("1801440000000", "not a date", "write UNIX time in seconds: 1801440000"),
        ("2027-01-31T17:30:00", "not a date", "write its time zone: 2027-01-31T17:30:00Z"),
        ("2027-01-31 17:30", "not a date", "write its time zone: 2027-01-31T17:30Z"),
        ("31.01.2027", "not a date", "such as 2027-01-31"),
        ("2027-1-31", "not a date", "such as 2027-01-31"),
        ("20270131", "not a date", "such as 2027-01-31"),
        ("2027-01-31T17:30:00.1234567Z", "not a date", "such as"),
        ("٢٠٢٧-٠١-٣١", "not a date", "such as"),
        ("2027-02-29", "does not exist", "such as"),
        ("2027-01-31T24:00Z", "does not exist", "such as"),
        ("2027-01-31T10:00+99:00", "does not exist", "such as"),
        ("0001-01-01T00:00+01:00", "does not exist", "such as"),
        ("9999-12-31", "too far away", "from 1970 to 9998"),
        ("1969-12-31", "too far away", "from 1970"),
        ("", "not a date", "such as"),
        (None, "not a date", "such as"),
        (True, "not a date", "such as"),
    ],
)
def test_everything_else_is_refused_with_what_to_write(written: object, message: str, hint: str) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        parse_instant(written)
    assert hint in caught.value.hint


@given(st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)))
def test_what_is_written_is_read_back(instant: datetime) -> None:
    assert parse_instant(format_instant(instant)) == instant


def test_instants_are_written_in_utc() -> None:
    local = datetime(2027, 1, 31, 1, tzinfo=timezone(timedelta(hours=2)))
    assert format_instant(local) == "2027-01-30T23:00:00Z"
