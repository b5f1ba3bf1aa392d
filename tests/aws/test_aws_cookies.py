"""The exchange's jar: RFC 6265 parsing, one host, bounds, values that never print."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws.cookies import (
    MAX_ATTRIBUTES,
    MAX_COOKIE_BYTES,
    MAX_COOKIES,
    Cookies,
    Unkept,
    parse_set_cookie,
    parse_set_cookies,
    unkept,
)
from tests.aws.fakes import COOKIE_SECRET

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOST = "nb.notebook.eu-west-1.sagemaker.aws"


def after(*fields: bytes, jar: Cookies = Cookies(), host: str = HOST) -> Cookies:
    return jar.apply(parse_set_cookies(fields), host=host, now=NOW)


@pytest.mark.parametrize(
    ("field", "name", "value", "attributes"),
    [
        (b"a=b", b"a", b"b", ()),
        (b" a = b ; Path=/; HttpOnly", b"a", b"b", (("path", "/"), ("httponly", ""))),
        (b"a=", b"a", b"", ()),
        (b"a=b=c==", b"a", b"b=c==", ()),
        (b'a="quoted"', b"a", b'"quoted"', ()),
        (b"a=b;;Secure;", b"a", b"b", (("", ""), ("secure", ""), ("", ""))),
        (b"a=\xc3\xa9; SameSite = None", b"a", b"\xc3\xa9", (("samesite", "None"),)),
    ],
)
def test_parsing(field: bytes, name: bytes, value: bytes, attributes: tuple[tuple[str, str], ...]) -> None:
    cookie = parse_set_cookie(field)
    assert cookie is not None
    assert (cookie.name, cookie.value, cookie.attributes) == (name, value, attributes)


@pytest.mark.parametrize("field", [b"", b"novalue", b"=b", b" =b", b"a=b\r\nX: y", b"a=\x00", b"a\x7f=b"])
def test_what_sets_nothing_or_could_break_a_head_is_dropped(field: bytes) -> None:
    assert parse_set_cookie(field) is None


def test_an_oversized_cookie_is_dropped_and_a_long_one_kept() -> None:
    assert parse_set_cookie(b"a=" + b"x" * MAX_COOKIE_BYTES) is None
    assert parse_set_cookie(b"a=" + b"x" * 8192) is not None


@given(st.binary(max_size=200))
def test_parsing_is_total_and_what_it_keeps_is_safe_in_a_head(field: bytes) -> None:
    cookie = parse_set_cookie(field)
    if cookie is not None:
        assert cookie.name
        assert not set(cookie.name + cookie.value) & set(b"\r\n\0;")


def test_the_header_keeps_the_order_of_setting_and_later_values() -> None:
    jar = after(b"a=1", b"b=2", b"a=3")
    assert jar.header == b"a=3; b=2"
    assert jar.names == {b"a", b"b"}
    assert Cookies().header == b""


@pytest.mark.parametrize(
    ("domain", "kept"),
    [(b"", True), (HOST.encode(), True), (b"." + HOST.upper().encode(), True)]
    + [
        (domain, False)
        for domain in (b"notebook.eu-west-1.sagemaker.aws", b"sagemaker.aws", b"x" + HOST.encode())
    ],
)
def test_only_cookies_of_exactly_the_host_are_kept(domain: bytes, kept: bool) -> None:
    assert bool(after(b"a=1; Domain=" + domain).pairs) is kept


@pytest.mark.parametrize(
    ("attributes", "deleted"),
    [
        (b"Max-Age=0", True),
        (b"Max-Age=-1", True),
        (b"Max-Age=60", False),
        (b"Max-Age=99999999999999999999999", False),
        (b"Max-Age=soon", False),
        (b"Expires=Thu, 01 Jan 1970 00:00:00 GMT", True),
        (b"Expires=Thu, 01 Jan 1970 00:00:00 -0000", True),
        (b"Expires=Fri, 01 Jan 2027 00:00:00 GMT", False),
        (b"Expires=whenever", False),
        (b"Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", False),
        (b"Max-Age=0; Max-Age=60", False),
        (b"Path=/", False),
    ],
)
def test_deletion(attributes: bytes, deleted: bool) -> None:
    jar = after(b"a=1")
    assert after(b"a=2; " + attributes, jar=jar).header == (b"" if deleted else b"a=2")


def test_deleting_what_is_not_there_changes_nothing() -> None:
    jar = after(b"a=1")
    assert after(b"b=; Max-Age=0", jar=jar) is jar


def test_the_same_values_again_are_the_same_jar() -> None:
    jar = after(b"a=1")
    assert after(b"a=1; Path=/", jar=jar) is jar


def test_the_number_of_cookies_is_bounded_and_known_ones_still_change() -> None:
    jar = after(*(b"c%d=1" % number for number in range(2 * MAX_COOKIES)))
    assert len(jar.pairs) == MAX_COOKIES
    assert dict(after(b"c0=2", jar=jar).pairs)[b"c0"] == b"2"


def test_a_cookie_with_too_many_attributes_is_dropped() -> None:
    assert parse_set_cookie(b"a=b" + b";x" * MAX_ATTRIBUTES) is not None
    assert parse_set_cookie(b"a=b" + b";x" * (MAX_ATTRIBUTES + 1)) is None


@pytest.mark.parametrize(
    "expires",
    [
        b"Mon, 01 Jan " + b"9" * 20 + b" 00:00:00 GMT",
        b"Mon, 01 Jan 2020 " + b"9" * 20 + b":00:00 GMT",
        b"Mon, 01 Jan 2020 00:00:00 +" + b"9" * 20,
        b"Mon, 01 Jan 2020 00:00:00" + b" " * 10_000 + b"GMT",
    ],
)
def test_a_date_that_no_clock_has_ends_no_cookie(expires: bytes) -> None:
    """A notebook writes it, and what raises here would raise in the loop."""
    assert after(b"a=1; Expires=" + expires, jar=after(b"a=0")).header == b"a=1"


def test_values_do_not_print() -> None:
    field = b"s=" + COOKIE_SECRET.encode()
    assert COOKIE_SECRET not in repr(after(field)) + repr(parse_set_cookies([field]))


UNKEPT = [
    (b"FrontEnd=" + b"x" * MAX_COOKIE_BYTES, "FrontEnd", "it is larger than 16384 bytes"),
    (b"FrontEnd=a\x00b", "FrontEnd", "it holds control characters"),
    (b"FrontEnd=a" + b"; x" * (MAX_ATTRIBUTES + 1), "FrontEnd", "it has more than 64 attributes"),
    (b"FrontEnd=a; Domain=sagemaker.aws", "FrontEnd", "it is for another domain"),
    (b"x" * (MAX_COOKIE_BYTES + 1), "x" * 64, "it is larger than 16384 bytes"),
    (b"\xff\x1b[31m=" + b"x" * MAX_COOKIE_BYTES, "", "it is larger than 16384 bytes"),
]


@pytest.mark.parametrize(("field", "name", "why"), UNKEPT)
def test_what_no_jar_takes_is_told_with_its_name_its_size_and_why(field: bytes, name: str, why: str) -> None:
    [told] = unkept([b"good=1", field, b"gone="], host=HOST)
    assert told == Unkept(name, len(field), why)
    assert not after(b"good=1", field).names - {b"good"}


def test_what_has_no_room_in_a_jar_is_told() -> None:
    fields = parse_set_cookies(
        [b"c%d=1" % number for number in range(MAX_COOKIES + 2)] + [b"gone=; Max-Age=0"]
    )
    jar = Cookies().apply(fields, host=HOST, now=NOW)
    left_out = jar.left_out(fields, host=HOST, now=NOW)
    assert [one.name for one in left_out] == [f"c{MAX_COOKIES}", f"c{MAX_COOKIES + 1}"]
    assert {one.why for one in left_out} == {"there are 64 already"}
