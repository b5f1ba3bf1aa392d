"""Hosts, targets and origins have one reading; whatever could have two is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.routing.authority import Authority, origin_form, parse_authority, same_origin

LONGEST = ".".join(["a" * 50] * 4 + ["a" * 49])


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("nb1", "nb1", None),
        ("Notebooks.Internal", "notebooks.internal", None),
        ("notebooks.internal.", "notebooks.internal", None),
        ("notebooks.internal.:8443", "notebooks.internal", 8443),
        ("my_host-1:1", "my_host-1", 1),
        ("127.0.0.1:65535", "127.0.0.1", 65535),
        ("[::1]", "[::1]", None),
        ("[2001:DB8:0:0::1]:443", "[2001:db8::1]", 443),
        ("a" * 63 + ".b", "a" * 63 + ".b", None),
        (LONGEST + ".:65535", LONGEST, 65535),
    ],
)
def test_a_host_is_canonical_once_read(text: str, host: str, port: int | None) -> None:
    authority = parse_authority(text)
    assert authority == Authority(host, port)
    assert parse_authority(str(authority)) == authority


@pytest.mark.parametrize(
    "text",
    [
        # aiohttp 3.14.5 serves the first four.
        "",
        "a b",
        "evil@a",
        "a/b",
        "a:99999",
        "a:0",
        "a:080",
        "a:",
        "a:+80",
        "a:8_0",
        "a:80:80",
        "a\\b",
        "a#b",
        "a?b",
        "a,b",
        "a%2eb",
        "a\tb",
        "a\n",
        "a\0",
        ".",
        "..",
        ".a",
        "a..b",
        "a..",
        "-a",
        "a-",
        "a" * 64,
        ".".join(["a" * 50] * 6),
        ".".join(["a" * 50] * 5),
        "ｎｂ1",
        "\u212a.internal",  # the Kelvin sign lowers to an ASCII k
        "\udcff",
        "::1",
        "[::1",
        "[::1]x",
        "[fe80::1%eth0]",
        "[1.2.3.4]",
        "[:::]",
        "user:password@host",
    ],
)
def test_anything_else_is_not_a_host(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_authority(text)
    assert len(text) < 3 or text not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/files/a%2Fb%20c;x=1?q=1&q=%2B",
        "/a/../b",
        "/%2e%2e/b",
        "/%252e",
        "/a%2fb",
        "/..;/x",
        "//x",
        "/\\x",
        "/%00",
        "/private%23/healthz",
        '/a|b^c`d"e{}<>',
        "/?",
    ],
)
def test_an_origin_form_target_stays_as_it_came(target: str) -> None:
    assert origin_form(target, "nb1") is target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "nb1:443",
        "nb1",
        "api/status",
        "\\x",
        "/private#/healthz",
        "/#",
        "/a b",
        "/a\tb",
        "/a\nb",
        "/a\x7f",
        "/a\0",
        "/é",
        "/\udcff",
        "ftp://nb1/",
        "http:/nb1/",
        "http:nb1",
        "http://",
        "http:///x",
        "http://nb1/#x",
        "http://nb1#x",
        "http://nb1\\@evil/",
        "http://u@nb1/",
        "http://nb1/a b",
        "http://nb1/\n",
    ],
)
def test_other_targets_are_refused(target: str) -> None:
    with pytest.raises(BadRequest):
        origin_form(target, "nb1")


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        ("http://nb1/api?x=1", "nb1", "/api?x=1"),
        ("HTTP://NB1./api", "nb1", "/api"),
        ("http://nb1", "nb1:80", "/"),
        ("http://nb1:80?x", "nb1", "/?x"),
        ("https://nb1:443/", "nb1", "/"),
        ("https://nb1:8443//x", "nb1:8443", "//x"),
    ],
)
def test_an_absolute_form_target_that_agrees_with_host_becomes_its_path(
    target: str, host: str, path: str
) -> None:
    assert origin_form(target, host) == path


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://evil/api", "nb1"),
        ("http://nb1.evil/api", "nb1"),
        ("http://nb1:81/", "nb1"),
        ("https://nb1/", "nb1:80"),
        ("http://nb1/", ""),
        ("http://nb1/", "nb1@evil"),
    ],
)
def test_an_absolute_form_target_that_disagrees_with_host_is_refused(target: str, host: str) -> None:
    with pytest.raises(BadRequest):
        origin_form(target, host)


OURS = parse_authority("notebooks.internal:8443")
PLAIN = parse_authority("notebooks.internal")


@pytest.mark.parametrize(
    ("origin", "scheme", "authority"),
    [
        ("https://notebooks.internal:8443", "https", OURS),
        ("https://NOTEBOOKS.internal:8443", "https", OURS),
        ("https://notebooks.internal", "https", PLAIN),
        ("https://notebooks.internal:443", "https", PLAIN),
        ("http://notebooks.internal", "http", parse_authority("notebooks.internal:80")),
        ("http://[::1]:8080", "http", parse_authority("[0::1]:8080")),
    ],
)
def test_a_page_of_this_very_origin_is_recognised(origin: str, scheme: str, authority: Authority) -> None:
    assert same_origin(origin, scheme=scheme, authority=authority)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "https://evil",
        "https://notebooks.internal.evil:8443",
        "https://evil.notebooks.internal:8443",
        "https://notebooks.internal:8444",
        "https://notebooks.internal",
        "http://notebooks.internal:8443",
        "https://notebooks.internal:8443/",
        "https://notebooks.internal:8443@evil",
        "https://evil@notebooks.internal:8443",
        "https://notebooks.internal:8443 https://evil",
        "https://notebooks.internal:8443\n",
        "notebooks.internal:8443",
        "wss://notebooks.internal:8443",
        "//notebooks.internal:8443",
        "https:notebooks.internal:8443",
    ],
)
def test_every_other_origin_is_another(origin: str) -> None:
    assert not same_origin(origin, scheme="https", authority=OURS)


@given(st.text(max_size=40), st.text(max_size=20))
def test_hostile_text_is_refused_or_read_and_nothing_else(text: str, host: str) -> None:
    same_origin(text, scheme="https", authority=OURS)
    try:
        authority = parse_authority(text)
    except BadRequest:
        pass
    else:
        assert parse_authority(str(authority)) == authority
    try:
        target = origin_form(text, host)
    except BadRequest:
        pass
    else:
        assert target.startswith("/")
        assert target.isascii()
        assert target.isprintable()
        assert not {" ", "#"} & set(target)
