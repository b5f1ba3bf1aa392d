"""Which page of the very origin asked, as its browser says: anything that could be read in two ways says nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.authority import parse_authority
from proxy.routing.referrers import referring_path


def path_of(*referers: str, scheme: str = "https", host: str = "notebooks.internal") -> str:
    return referring_path(referers, scheme=scheme, authority=parse_authority(host))


@pytest.mark.parametrize(
    ("referer", "path"),
    [
        ("https://notebooks.internal/research/proxy/8050/", "/research/proxy/8050/"),
        ("https://notebooks.internal:443/research/", "/research/"),
        ("HTTPS://Notebooks.Internal/research/", "/research/"),
        ("https://notebooks.internal/research/lab?x=/a/#b", "/research/lab"),
        ("https://notebooks.internal/a%2Fb;c", "/a%2Fb;c"),
        ("https://notebooks.internal/", "/"),
        ("https://notebooks.internal", ""),
        ("https://notebooks.internal?/research/", ""),
        ("http://notebooks.internal/research/", ""),
        ("https://notebooks.internal:8443/research/", ""),
        ("https://user@notebooks.internal/research/", ""),
        ("https://evil.example/research/", ""),
        ("https://evil.example#https://notebooks.internal/research/", ""),
        ("https:/notebooks.internal/research/", ""),
        ("https:\\\\notebooks.internal/research/", ""),
        ("//notebooks.internal/research/", ""),
        ("/research/", ""),
        ("about:blank", ""),
        ("", ""),
        ("https://notebooks.internal/r\u00e9search/", ""),
        ("https://notebooks.internal/re search/", ""),
        ("https://notebooks.internal/re\tsearch/", ""),
        (" https://notebooks.internal/research/", ""),
    ],
)
def test_the_path_of_a_page_on_this_origin(referer: str, path: str) -> None:
    assert path_of(referer) == path


def test_what_is_said_twice_says_nothing() -> None:
    one = "https://notebooks.internal/research/"
    assert path_of(one, one) == path_of() == ""


def test_ports_are_compared() -> None:
    assert (
        path_of("http://notebooks.internal:8080/a/", scheme="http", host="notebooks.internal:8080") == "/a/"
    )
    assert path_of("http://notebooks.internal/a/", scheme="http", host="notebooks.internal:8080") == ""


@given(st.text(max_size=60))
def test_whatever_comes_it_is_a_path_or_nothing(referer: str) -> None:
    path = path_of(referer)
    assert path == "" or (path.startswith("/") and path.isascii())
