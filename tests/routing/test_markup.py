"""HTML under a path mount, as it streams by: exactly the listed things change, wherever the stream is cut."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.links import STEPS_A_FEED
from proxy.routing.markup import LONGEST_NAME
from proxy.routing.pages import rewriter
from tests.routing.streaming import cut, rewritten

P = "/research"


def whole(page: bytes) -> bytes:
    """Rewritten at once, and the same in every other way to cut it."""
    at_once = rewritten(rewriter("html", P), [page])
    if len(page) < 5000:
        for size in (1, 2, 3, 7):
            assert rewritten(rewriter("html", P), cut(page, size)) == at_once
    return at_once


LAB = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>JupyterLab</title>
<script id="jupyter-config-data" type="application/json">{"appUrl": "/lab", "baseUrl": "/", \
"fullAppUrl": "/lab", "fullLabextensionsUrl": "/lab/extensions", "fullMathjaxUrl": \
"https://cdnjs.cloudflare.com/MathJax.js", "fullStaticUrl": "/static/lab", "licensesUrl": "/lab/api/licenses", \
"preferredPath": "/", "rootUri": "file:///home/\\u003c/script\\u003e&x", "store_id": 0, "treeUrl": "/lab/tree", \
"federated_extensions": [{"name": "a", "baseUrl": "/", "nested": {"fullAppUrl": "/"}}], \
"frontendUrl": "/", "wsUrl": ""}</script>
<link rel="icon" href="/static/favicons/favicon.ico" class="idle favicon">
<script defer="defer" src="/static/lab/main.f1.js?v=f1"></script></head><body></body></html>"""


def config_of(page: bytes) -> dict[str, object]:
    return json.loads(page.split(b'"application/json">')[1].split(b"</script>")[0])


def test_a_lab_page_gets_its_links_and_configuration_below_the_prefix() -> None:
    page = whole(LAB)
    assert b'href="/research/static/favicons/favicon.ico"' in page
    assert b'src="/research/static/lab/main.f1.js?v=f1"' in page
    before, after = config_of(LAB), config_of(page)
    changed = {name: value for name, value in after.items() if value != before[name]}
    assert changed == {
        "baseUrl": "/research/",
        "frontendUrl": "/research/",
        "fullAppUrl": "/research/lab",
        "fullLabextensionsUrl": "/research/lab/extensions",
        "fullStaticUrl": "/research/static/lab",
    }
    assert page.replace(P.encode(), b"") == LAB


def test_rewriting_twice_is_rewriting_once() -> None:
    page = whole(LAB)
    assert whole(page) == page


@pytest.mark.parametrize("at", range(len(LAB)))
def test_a_page_may_be_cut_anywhere(at: int) -> None:
    pieces = [LAB[:at], LAB[at:]]
    assert rewritten(rewriter("html", P), pieces) == rewritten(rewriter("html", P), [LAB])


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b'<a href="/x">', b'<a href="/research/x">'),
        (b"<A HREF='/x'>", b"<A HREF='/research/x'>"),
        (b"<a href=/x>", b"<a href=/research/x>"),
        (b"<a class=b\n href\t=\n'/x' id=c>", b"<a class=b\n href\t=\n'/research/x' id=c>"),
        (b'<form action="/login?next=%2Flab">', b'<form action="/research/login?next=%2Flab">'),
        (b'<img alt="a>b" src="/x"/>', b'<img alt="a>b" src="/research/x"/>'),
        (b'<a href="/x"href="/y">', b'<a href="/research/x"href="/research/y">'),
        (b'<base href="/">', b'<base href="/research/">'),
        (b'<a href="/researcher">', b'<a href="/research/researcher">'),
        (
            b'<body data-base-url="/" data-ws-url="" data-notebook-path="a">',
            b'<body data-base-url="/research/" data-ws-url="" data-notebook-path="a">',
        ),
        (b'1 < 2 <a href="/x">', b'1 < 2 <a href="/research/x">'),
        (b'</p><a href="/x">', b'</p><a href="/research/x">'),
        (b'<!-- <a href="/y"> --><a href="/x">', b'<!-- <a href="/y"> --><a href="/research/x">'),
        (b'<!--><a href="/x">', b'<!--><a href="/research/x">'),
        (
            b'<script>\'<a href="/y">\'</script ><a href="/x">',
            b'<script>\'<a href="/y">\'</script ><a href="/research/x">',
        ),
        (b"<script src='/s'></script>", b"<script src='/research/s'></script>"),
        (b"<a href = /x>", b"<a href = /research/x>"),
        (b"<a ==/x href=/y>", b"<a ==/x href=/research/y>"),
        (b"<a href==/x>", None),
        (b"<a" + b"a" * LONGEST_NAME + b" href=/x>", b"<a" + b"a" * LONGEST_NAME + b" href=/research/x>"),
        (b"<a href" + b"f" * LONGEST_NAME + b"href=/x>", None),
        (
            b"<a " + b"f" * LONGEST_NAME + b"=/ href=/x>",
            b"<a " + b"f" * LONGEST_NAME + b"=/ href=/research/x>",
        ),
        (b"<a id=jupyter-config-data href=/x>", b"<a id=jupyter-config-data href=/research/x>"),
        (b"<!-- -- - --!> <a href=/y> --><a href=/x>", b"<!-- -- - --!> <a href=/y> --><a href=/research/x>"),
        (b"<!-<a href=/y>", None),
        (b"<<a href=/x>", b"<<a href=/research/x>"),
        (b"<3 <a href=/x>", b"<3 <a href=/research/x>"),
        (b"<script></scrip></SCRIPT\n><a href=/x>", b"<script></scrip></SCRIPT\n><a href=/research/x>"),
        (b"<script><</</s</script/><a href=/x>", b"<script><</</s</script/><a href=/research/x>"),
        # Entities and odd spellings of a slash are not what Jupyter writes.
        (b'<a href="&#47;x">', None),
        (b'<a href="//cdn.example/x">', None),
        (b'<a href="/\\cdn.example/x">', None),
        (b'<a href="https://example.org/">', None),
        (b'<a href="x/y">', None),
        (b'<a href="#/x">', None),
        (b'<a href="">', None),
        (b"<a href=>", None),
        (b"<a href>", None),
        (b"<a hrefx='/x' data-href='/x' data-base-url='/'>", None),
        (b'<a href="/research/x">', None),
        (b'<a href="/research">', None),
        (b'<a href="/research?x">', None),
        (b'<textarea><a href="/x"></textarea>', None),
        (b'<title><a href="/x"></title>', None),
        (b'<style><a href="/x"></styles><a href="/y">', None),
        (b'<plaintext><a href="/x"></plaintext><a href="/y">', None),
        (b'<!doctype html "<a href=/x">', None),
        (b'<?xml href="/x"?>', None),
        (b'</a href="/x">', None),
        (b'text href="/x"', None),
    ],
)
def test_links_in_tags_change_and_nothing_else(page: bytes, expected: bytes | None) -> None:
    assert whole(page) == (page if expected is None else expected)


@pytest.mark.parametrize(
    "page",
    [b"<", b"<a", b"<a ", b"<a href", b"<a href=", b'<a href="', b'<a href="/x', b"<a href='/x>", b"<!--", b"<!", b"</",
     b"<script", b"<script>", b'<script id="jupyter-config-data"', b'<script id="jupyter-config-data">', b"<a href=/x",
     b'<script id="jupyter-config-data">{"baseUrl": "/', b'<script id="jupyter-config-data">{"baseUrl": "',
     b'<script id="jupyter-config-data">["/"]</script>', b"<script>a</scr", b"<!---", b"text",
     b'<script id="jupyter-config-data">{"baseUrl": 5, "fullUrl": "/", "appUrl": "/", "xbaseUrl": "/"}</script>',
     b'<script id="jupyter-config-data">' + b"[" * 200_000 + b"</script>",
     b'<script id="other">{"baseUrl": "/"}</script>', b'<div id="jupyter-config-data">{"baseUrl": "/"}</div>',
     b'<script id="jupyter-config-data" id>{"baseUrl": "/"}</script>',
     b'<script id="jupyter-config-data"></script><script>{"baseUrl": "/"}</script>',
     b'<script id="jupyter-config-data-too">{"baseUrl": "/"}</script>'],
)  # fmt: skip
def test_a_malformed_page_passes_as_it_came(page: bytes) -> None:
    assert whole(page) == page


def test_a_configuration_that_nothing_closes_is_still_a_configuration() -> None:
    page = b'<script id=jupyter-config-data>{"baseUrl": "/"}'
    assert whole(page) == b'<script id=jupyter-config-data>{"baseUrl": "/research/"}'


def test_a_configuration_may_be_followed_by_another_script() -> None:
    config = b'<script id=jupyter-config-data>{"baseUrl": "%b/"}</script>'
    assert whole(config % b"" + b"<a href=/x>" + config % b"") == (
        config % b"/research" + b"<a href=/research/x>" + config % b"/research"
    )


def test_a_feed_does_a_bounded_amount_of_work_and_the_rest_is_for_the_next() -> None:
    for page in (
        b"<a>" * STEPS_A_FEED,
        b"<script id=jupyter-config-data>{" + b'"baseUrl":"/",' * STEPS_A_FEED,
    ):
        text, rest = rewriter("html", P).feed(page)
        assert rest
        assert page.endswith(rest)
        assert text.replace(P.encode(), b"") == page[: -len(rest)]
    end = b"<script id=jupyter-config-data>{%b}</script><a href=/x>" % (b'"baseUrl":"/",' * STEPS_A_FEED)
    assert whole(end).endswith(b"</script><a href=/research/x>")
    assert whole(end).count(b'"/research/"') == STEPS_A_FEED


@pytest.mark.parametrize(
    "hostile", [b"<a x='", b"<!--", b"<", b"<script id=jupyter-config-data>{", b"<a ", b"a"]
)
@pytest.mark.parametrize("more", [b"-", b"a", b'"', b"=", b" ", b"<", b'"a'])
def test_nothing_makes_it_hold_more_than_a_few_bytes(hostile: bytes, more: bytes) -> None:
    page = rewriter("html", P)
    page.feed(hostile)
    tracemalloc.start()
    for _ in range(20):
        rest = more * 10_000
        while rest:
            rest = page.feed(rest)[1]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 5000
    assert len(page.finish()) < 300


_FRAGMENTS = [
    b"<", b">", b"/", b"=", b'"', b"'", b" ", b"<a ", b"href=", b'"/x"', b"</script>", b"<script>", b"<!--", b"-->",
    b"/y", b'<script id="jupyter-config-data">', b'{"baseUrl": "/"}', b"\xff\x00", b"</scri", b"pt", b"-", b"!",
    b"<body", b" id=jupyter-config-data", b"data-base-url='/'",
]  # fmt: skip


@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(_FRAGMENTS), max_size=20).map(b"".join)))
def test_no_page_makes_it_raise_and_the_prefix_is_all_that_is_added(page: bytes) -> None:
    once = whole(page)
    assert whole(once) == once
    assert once.replace(P.encode(), b"") == page.replace(P.encode(), b"")


@given(
    st.lists(st.sampled_from(_FRAGMENTS), max_size=30).map(b"".join), st.lists(st.integers(1, 20), min_size=1)
)
def test_where_a_page_is_cut_changes_nothing(page: bytes, sizes: list[int]) -> None:
    assert rewritten(rewriter("html", P), cut(page, *sizes)) == rewritten(rewriter("html", P), [page])
