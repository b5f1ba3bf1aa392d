"""Cookies cross or stay as the tables say; everything else passes byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.cookies import (
    is_our_cookie,
    parse_cookie_pairs,
    sanitize_set_cookie,
    set_cookie_name,
    set_cookie_value,
    strip_and_overlay,
)

DROP = frozenset({b"authToken", b"nbgate"})


def test_names_within_names_are_all_dropped_and_nothing_else_is() -> None:
    names = frozenset({b"session", b"__Host-session", b"__Host-session-8444", b"other", b"another"})
    field = b"a=1; __Host-session=2; __Host-session-8444=3; session-x=4; session=5; xother=6"
    assert strip_and_overlay([field], drop=names) == b"a=1; session-x=4; xother=6"
    assert strip_and_overlay([b"a=1; another=2"], drop=names) == b"a=1"
    assert strip_and_overlay([b"a=1"], drop=frozenset()) == b"a=1"


@pytest.mark.parametrize(
    ("fields", "pairs"),
    [
        ([], []),
        ([b""], []),
        ([b"a=1; b=2"], [(b"a", b"1"), (b"b", b"2")]),
        ([b"_xsrf=1; _xsrf=2", b"_xsrf=3"], [(b"_xsrf", b"1"), (b"_xsrf", b"2"), (b"_xsrf", b"3")]),
        ([b' a = "x y" ;;bare'], [(b"a", b'"x y"'), (b"", b"bare")]),
        ([b"a=b=c"], [(b"a", b"b=c")]),
    ],
)
def test_pairs_come_in_order_with_duplicates(fields: list[bytes], pairs: list[tuple[bytes, bytes]]) -> None:
    assert parse_cookie_pairs(fields) == pairs


def test_a_field_with_nothing_to_do_comes_back_as_the_same_object() -> None:
    field = b"_xsrf=2|a|b; username-nb=2|1:0|;; odd ; x=authTok"
    assert strip_and_overlay([field], drop=DROP) is field


@pytest.mark.parametrize(
    ("fields", "overlay", "sent"),
    [
        ([], b"", b""),
        ([], b"authToken=ours", b"authToken=ours"),
        ([b"a=1"], b"authToken=ours", b"a=1; authToken=ours"),
        ([b"a=1", b"b=2"], b"", b"a=1; b=2"),
        # Tossing: the caller's own copies go, duplicates of others stay in order.
        ([b"_xsrf=1; authToken=evil; _xsrf=2"], b"authToken=ours", b"_xsrf=1; _xsrf=2; authToken=ours"),
        ([b"nbgate=x"], b"", b""),
        ([b"nbgate=x", b"a=1; authToken=y;"], b"", b"a=1"),
        # As other readers would take it.
        ([b"authToken"], b"", b""),
        ([b"=authToken=evil; a=1"], b"", b"a=1"),
        ([b"a=1,authToken=evil; b=2"], b"", b"b=2"),
        ([b'a="x authToken=evil"; b=2'], b"", b"b=2"),
        ([b"authToken =evil; b=2"], b"", b"b=2"),
        ([b'a="; authToken=evil"'], b"", b'a="'),
        # Only whole names count; malformed pairs of others are none of our business.
        (
            [b"xauthToken=1; authToken2=2; a=authToken; ; b; authToken=3"],
            b"",
            b"xauthToken=1; authToken2=2; a=authToken; b",
        ),
        ([b"AUTHTOKEN=1; authToken=2"], b"", b"AUTHTOKEN=1"),
    ],
)
def test_named_cookies_are_dropped_and_the_overlay_follows(
    fields: list[bytes], overlay: bytes, sent: bytes
) -> None:
    assert strip_and_overlay(fields, drop=DROP, overlay=overlay) == sent


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_no_pair_of_a_dropped_name_survives(fields: list[bytes]) -> None:
    fields = [*fields, b"x; authToken=1", b";".join([*fields, b"nbgate", *fields])]
    sent = strip_and_overlay(fields, drop=DROP)
    assert not {name for name, _ in parse_cookie_pairs([sent])} & DROP


_TOKEN = st.text(alphabet="abcdefXYZ_-", min_size=1, max_size=8).map(str.encode)


@given(st.lists(st.tuples(_TOKEN, _TOKEN), max_size=8))
def test_other_pairs_survive_in_order(pairs: list[tuple[bytes, bytes]]) -> None:
    field = b"; ".join(name + b"=" + value for name, value in [*pairs, (b"nbgate", b"1")])
    assert parse_cookie_pairs([strip_and_overlay([field], drop=DROP)]) == pairs


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"_xsrf=2|a; Path=/", b"_xsrf"),
        (b" a = b", b"a"),
        (b"a", b"a"),
        (b"a; Path=/", b"a"),
        (b"=a=b", b"a"),
        (b"= =a", b"a"),
        (b"", b""),
        (b"; Path=/", b""),
        (b"username-nb-example=1=2", b"username-nb-example"),
    ],
)
def test_a_set_cookie_is_known_by_the_name_it_may_come_back_under(value: bytes, name: bytes) -> None:
    assert set_cookie_name(value) == name


@pytest.mark.parametrize(
    ("value", "prefix", "sent"),
    [
        (b"a=1; Domain=.evil.test; Path=/; HttpOnly", "", b"a=1; Path=/; HttpOnly"),
        (b"a=1;DOMAIN = x ;domain;Secure", "", b"a=1;Secure"),
        (b"a=1; Path=/; Secure", "/research", b"a=1; Path=/research/; Secure"),
        (b"a=1;path=/lab;SameSite=Lax", "/research", b"a=1; Path=/research/lab;SameSite=Lax"),
        (b"a=1; Path=/research/lab", "/research", b"a=1; Path=/research/lab"),
        (b"a=1; Path=/research", "/research", b"a=1; Path=/research"),
        (b"a=1; Path=/researcher", "/research", b"a=1; Path=/research/researcher"),
        (b"a=1; Path=/x; Path=/", "/research", b"a=1; Path=/research/x; Path=/research/"),
        (b'a=1; Path="/"; Max-Age=5', "/research", b"a=1; Max-Age=5"),
        (b"a=1; Path; Max-Age=5", "/research", b"a=1; Max-Age=5"),
        (b"a=domain; path=/; X", "", b"a=domain; path=/; X"),
        (b"a=domain; X", "/research", b"a=domain; X"),
    ],
)
def test_a_set_cookie_stays_with_this_host_and_mount(value: bytes, prefix: str, sent: bytes) -> None:
    assert sanitize_set_cookie(value, prefix=prefix) == sent


@pytest.mark.parametrize("prefix", ["", "/research"])
def test_a_set_cookie_with_nothing_to_do_comes_back_as_the_same_object(prefix: str) -> None:
    value = b"username-nb=2|1:0|10:1; expires=Thu, 01 Jan 2026 00:00:00 GMT; HttpOnly"
    assert sanitize_set_cookie(value, prefix=prefix) is value


@given(st.binary(max_size=80))
def test_scoping_is_idempotent_and_never_renames(value: bytes) -> None:
    value = b"n=v;" + value + b"; path=/a; domain=b"
    once = sanitize_set_cookie(value, prefix="/p")
    assert sanitize_set_cookie(once, prefix="/p") == once
    assert once.startswith(b"n=v")


GATEWAYS = [
    b"nbgate-session",
    b"nbgate-session-8444",
    b"__Host-nbgate-session",
    b"__Secure-nbgate-session",
    b"__Host-nbgate-session-8444",
    b"__HOST-NBGATE-SESSION",
    b"__host-nbgate-Session-9999",
    b"__Http-nbgate-session",
    b"__Host-Http-nbgate-session",
    b"__Host-nbgate-login-0123abcd",
    b"NbGate-anything",
]
OTHERS = [b"nbgate", b"xnbgate-session", b"nbgate_session", b"my-nbgate-session", b"__Host-", b"_xsrf", b""]


@pytest.mark.parametrize("name", GATEWAYS)
def test_the_gateways_own_cookies_never_go_upstream(name: bytes) -> None:
    """Those of other mounts, former ones, and of a second gateway on the host: known by their names alone."""
    assert is_our_cookie(name)
    for field in (
        b"%b=secret",
        b"a=1; %b=secret; b=2",
        b"a=1;%b = secret",
        b"=%b=secret",
        b"%b",
        b"a=1, %b=secret",
        b'a="x; %b=secret"',
        b"a=1; %b=secret; %b=secret2".replace(b"%b=secret2", b"x=1"),
    ):
        sent = strip_and_overlay([field % name], drop=frozenset(), overlay=b"s=ours")
        assert b"secret" not in sent
        assert name not in sent
        assert sent.endswith(b"s=ours")
    assert strip_and_overlay([b"a=1; %b=x" % name, b"b=2"], drop=DROP) == b"a=1; b=2"


@pytest.mark.parametrize("name", OTHERS)
def test_names_that_only_resemble_them_are_other_peoples(name: bytes) -> None:
    assert not is_our_cookie(name)
    field = b"a=nbgate-session; %b=1" % name
    assert strip_and_overlay([field], drop=frozenset()) == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"a=1; Path=/", b"1"),
        (b" a = 1 ; HttpOnly", b"1"),
        (b'a="x=y"', b'"x=y"'),
        (b"=a=1", b"1"),
        (b"a=", b""),
        (b"a", b""),
        (b"", b""),
        (b"a; b=1", b""),
    ],
)
def test_what_a_cookie_is_set_to(field: bytes, value: bytes) -> None:
    assert set_cookie_value(field) == value
