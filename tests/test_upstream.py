"""Origins, as both sides of a notebook's session spell them."""

from __future__ import annotations

import pytest
from yarl import URL

from proxy.upstream import Origin


@pytest.mark.parametrize(
    ("url", "authority", "text"),
    [
        ("https://NB.example/x", b"nb.example", "https://nb.example"),
        ("https://nb.example:443", b"nb.example", "https://nb.example"),
        ("https://nb.example:444", b"nb.example:444", "https://nb.example:444"),
        ("http://127.0.0.1:8080/", b"127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:80", b"[::1]", "http://[::1]"),
    ],
)
def test_the_authority_is_what_a_browser_sends_as_host(url: str, authority: bytes, text: str) -> None:
    origin = Origin.of(URL(url, encoded=True))
    assert origin.authority == authority
    assert str(origin) == text
    assert origin.tls is url.startswith("https")


@pytest.mark.parametrize("url", ["/path", "ftp://nb.example/", "mailto:a@b", "ws://nb.example"])
def test_no_origin_without_http(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Origin.of(URL(url))
