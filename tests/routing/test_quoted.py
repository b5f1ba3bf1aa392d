"""Scripts and style sheets under a path mount: addresses that only Jupyter writes there get the prefix."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.links import STEPS_A_FEED
from proxy.routing.quoted import CONFIGURED, THEMED, QuotedAddresses
from tests.routing.streaming import cut, rewritten

P = "/research"


def whole(roots: re.Pattern[bytes], text: bytes) -> bytes:
    """Rewritten at once, and the same in every other way to cut it."""
    at_once = rewritten(QuotedAddresses(P, roots), [text])
    for size in (1, 2, 3, 7, 20):
        assert rewritten(QuotedAddresses(P, roots), cut(text, size)) == at_once
    return at_once


@pytest.mark.parametrize(
    ("roots", "text"),
    [
        (CONFIGURED, b"baseUrl: '@/static/nbclassic/',"),
        (CONFIGURED, b"custom : '@/custom', 'custom-preload' : '@/custom-preload',"),
        (CONFIGURED, b"nbextensions : '@/nbextensions', kernelspecs : '@/kernelspecs'"),
        (CONFIGURED, b'window.mathjax_url = "@/static/nbclassic/components/MathJax/MathJax.js";'),
        (CONFIGURED, b"'@/custom/custom.css' + \"@/nbextensions?v=1\""),
        (THEMED, b"a { background: url('@/lab/api/themes/x/a.png') } b { src: url(@/voila/api/themes/y) }"),
        (THEMED, b'@import url("@/lab/api/themes/x.css");'.replace(b"@i", b"\0i")),
        # At the very end.
        (CONFIGURED, b"'@/static/"),
        (CONFIGURED, b"'@/custom'"),
        (THEMED, b"url(@/lab/api/themes/"),
    ],
)
def test_addresses_of_known_roots_get_the_prefix(roots: re.Pattern[bytes], text: bytes) -> None:
    """`@` stands where it is put."""
    once = whole(roots, text.replace(b"@", b""))
    assert once == text.replace(b"@", P.encode())
    assert whole(roots, once) == once


@pytest.mark.parametrize(
    ("roots", "text"),
    [
        (CONFIGURED, b""),
        (CONFIGURED, b"/static/x"),
        (
            CONFIGURED,
            b"'//static/x' '/\\static/' \"/customs\" '/custom' ".replace(b"'/custom' ", b"'/static'"),
        ),
        (CONFIGURED, b"'/nbclassic' + '/lab' + '/api/kernels' + '/' + '"),
        (CONFIGURED, b"document.nbclassicPath = '/nbclassic';"),
        (CONFIGURED, b"'"),
        (CONFIGURED, b"'/"),
        (CONFIGURED, b"'/custom"),
        (THEMED, b".a::before { content: \"/\"; content: '/lab/' } b { src: url(/static/x.png) }"),
        (THEMED, b"url(data:,x) url(a/lab/api/themes/) url(https://x/lab/api/themes/)"),
    ],
)
def test_all_else_stays(roots: re.Pattern[bytes], text: bytes) -> None:
    assert whole(roots, text) == text


def test_work_is_cut_into_feeds() -> None:
    text = b"'/x" * (STEPS_A_FEED + 10)
    rewriter = QuotedAddresses(P, CONFIGURED)
    first, rest = rewriter.feed(text)
    assert rewriter.steps == STEPS_A_FEED
    assert rest
    assert first + rest == text
    second, rest = rewriter.feed(rest)
    assert not rest
    assert first + second + rewriter.finish() == text


@given(st.text(alphabet="'\"(/custom-preload?static", max_size=60), st.integers(1, 9))
def test_nothing_is_added_but_the_prefix_however_it_is_cut(text: str, size: int) -> None:
    body = text.encode()
    once = whole(CONFIGURED, body)
    assert rewritten(QuotedAddresses(P, CONFIGURED), cut(body, size)) == once
    assert once.replace(P.encode(), b"") == body
