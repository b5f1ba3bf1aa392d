"""The proxy that connections go out through: how it is written, asked, and told of."""

from __future__ import annotations

import base64
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.egress import (
    EgressProxy,
    connect_request,
    connect_status,
    goes_without,
    parse_egress_proxy,
)


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.internal:3128", EgressProxy("proxy.internal", 3128)),
        ("http://proxy.internal:3128/", EgressProxy("proxy.internal", 3128)),
        ("HTTP://Proxy.Internal", EgressProxy("proxy.internal", 80)),
        ("https://proxy.internal", EgressProxy("proxy.internal", 443, is_tls=True)),
        ("proxy.internal:3128", EgressProxy("proxy.internal", 3128)),
        ("//proxy.internal:3128", EgressProxy("proxy.internal", 3128)),
        ("http://[2001:db8::1]:3128", EgressProxy("2001:db8::1", 3128)),
        ("10.0.0.7:8080", EgressProxy("10.0.0.7", 8080)),
        ("http://alice:s3cr%3At@p:1", EgressProxy("p", 1, authorization=b"Basic YWxpY2U6czNjcjp0")),
        ("http://alice@p:1", EgressProxy("p", 1, authorization=b"Basic YWxpY2U6")),
        ("http://:pw@p:1", EgressProxy("p", 1, authorization=b"Basic OnB3")),
    ],
)
def test_a_proxy_is_read_as_botocore_reads_it(text: str, proxy: EgressProxy) -> None:
    assert parse_egress_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "http://:3128",
        "http://user:hunter22@",
        "socks5://user:hunter22@proxy:1080",
        "http://user:hunter22@proxy:port",
        "http://user:hunter22@proxy:0",
        "http://user:hunter22@proxy:99999",
        "http://user:hunter22@pro xy:1",
        "http://user:hunter22@proxy:1/path",
        "http://user:hunter22@proxy:1?query",
        "http://user:hunter22@proxy:1#fragment",
        "http://user:hunter22%0d%0aX: y@proxy:1",
        "http://user:hunter22%ff@proxy:1",
        "http://user:hunter22\r\nX: y@proxy:1",
        "http://user:hunter22é@proxy:1",
        "http://[hunter22:1",
        "http://p/" + "hunter22" * 1000,
    ],
)
def test_what_is_no_proxy_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) ") as caught:
        parse_egress_proxy(text)
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=4))
def test_credentials_go_to_the_proxy_and_show_nowhere(password: str) -> None:
    quoted = "".join(f"%{ord(character):02x}" for character in password)
    proxy = parse_egress_proxy(f"http://u:{quoted}@proxy.internal:3128")
    request = connect_request("nb.example", 443, proxy)
    assert base64.b64encode(f"u:{password}".encode()) in request
    assert request.count(b"\r\n") == 4
    assert str(proxy) == "http://proxy.internal:3128"
    assert "authorization" not in repr(proxy)


HOSTS = [
    "nb.notebook.eu-west-1.sagemaker.aws",
    "api.internal",
    "internal",
    "10.0.0.7",
    "2001:db8::1",
    "NB.Internal",
]
NAMES = [
    "",
    "*",
    "internal",
    ".internal",
    "..Internal ",
    "api.internal:443",
    ".sagemaker.aws",
    "aws",
    "agemaker.aws",
    "10.0.0.7",
    "10.0.0.0/8",
    "[2001:db8::1]",
    "[2001:db8::1]:8443",
    "*.internal",
    "0.0.7",
]


@given(
    st.sampled_from(HOSTS),
    st.sampled_from([443, 8443]),
    st.lists(st.sampled_from(NAMES), max_size=4).map(",".join),
)
def test_no_proxy_is_read_as_urllib_and_with_it_botocore_read_it(host: str, port: int, no_proxy: str) -> None:
    """They know nothing of a scheme's own port, which stands in no URL of theirs: a name may have it here."""
    bare = f"[{host}]" if ":" in host else host
    expected = any(
        urllib.request.proxy_bypass_environment(spelt, {"no": no_proxy})  # type: ignore[attr-defined]
        for spelt in (bare, f"{bare}:{port}")
    )
    assert goes_without(host, port, no_proxy=no_proxy) is expected


@pytest.mark.parametrize(
    ("host", "no_proxy", "expected"),
    [
        ("api.internal", "", False),
        ("api.internal", " * ", True),
        ("api.internal", "other, .internal", True),
        ("api.internal", "api.internal:443", True),
        ("2001:db8::1", "[2001:db8::1]", True),
        ("10.0.0.7", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_names_hosts(host: str, no_proxy: str, expected: bool) -> None:
    assert goes_without(host, 443, no_proxy=no_proxy) is expected


def test_who_has_credentials_for_a_proxy_shows_them_to_it_alone() -> None:
    asked = connect_request("nb.example", 443, EgressProxy("p", 1, authorization=b"Basic YTpi"))
    assert asked.endswith(b"Host: nb.example:443\r\nProxy-Authorization: Basic YTpi\r\n\r\n")


@pytest.mark.parametrize(
    ("host", "port", "target"),
    [("nb.example", 443, b"nb.example:443"), ("2001:db8::1", 8443, b"[2001:db8::1]:8443")],
)
def test_the_request_names_whom_to_connect_to(host: str, port: int, target: bytes) -> None:
    asked = connect_request(host, port, EgressProxy("p", 1))
    assert asked == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target)


def test_a_proxy_over_tls_says_so() -> None:
    assert str(EgressProxy("2001:db8::1", 443, is_tls=True)) == "https://[2001:db8::1]:443"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", 200),
        (b"HTTP/1.0 200\r\n\r\n", 200),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nX: y\r\n\r\n", 407),
        (b"HTTP/2 200 OK\r\n\r\n", 0),
        (b"HTTP/1.1 2000 OK\r\n\r\n", 0),
        (b"HTTP/1.1 999 OK\r\n\r\n", 0),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 0),
        (b"\x16\x03\x01\r\n\r\n", 0),
        (b"", 0),
    ],
)
def test_the_status_of_the_answer(head: bytes, status: int) -> None:
    assert connect_status(head) == status
