"""Under a path mount exactly the listed things change; hostile pages neither raise nor take long."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.pages import (
    needs_rewrite,
    rewrite_csp,
    rewrite_html,
    rewrite_kernelspecs,
    rewrite_location,
    rewritten_etag,
)

P = "/research"

# --- which answers ---


@pytest.mark.parametrize(
    ("target", "content_type", "status", "rewriting"),
    [
        ("/lab", "text/html; charset=UTF-8", 200, "html"),
        ("/tree?x=/files/", "Text/HTML", 200, "html"),
        ("/nope", "text/html", 404, "html"),
        ("/x", "application/xhtml+xml", 200, "html"),
        # What users made is theirs, Jupyter's error pages there are not.
        ("/files/report.html?download=1", "text/html", 200, None),
        ("/nbconvert/html/a.ipynb", "text/html", 200, None),
        ("/files/nope", "text/html", 404, "html"),
        ("/files", "text/html", 200, "html"),
        # No body, or a part of one.
        ("/lab", "text/html", 304, None),
        ("/lab", "text/html", 204, None),
        ("/lab", "text/html", 206, None),
        ("/lab", "text/html", 101, None),
        ("/lab", "text/html; charset=utf-16", 200, None),
        ("/lab", "text/html; charset='UTF32'", 200, None),
        ("/api/kernelspecs", "application/json", 200, "kernelspecs"),
        ("/api/kernelspecs?1699", "application/json; charset=UTF-8", 200, "kernelspecs"),
        ("/api/kernelspecs/python3", "application/json", 200, "kernelspecs"),
        ("/api/kernelspecs", "application/json", 404, None),
        ("/api/kernelspecs/a/b", "application/json", 200, None),
        ("/api/contents/x", "application/json", 200, None),
        ("/static/lab/main.js", "text/javascript", 200, None),
        ("/x", "", 200, None),
    ],
)
def test_only_jupyters_own_pages_are_rewritten(
    target: str, content_type: str, status: int, rewriting: str | None
) -> None:
    assert needs_rewrite(target=target, content_type=content_type, status=status) == rewriting


# --- HTML ---

LAB = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>JupyterLab</title>
<script id="jupyter-config-data" type="application/json">{"appUrl": "/lab", "baseUrl": "/", \
"fullAppUrl": "/lab", "fullLabextensionsUrl": "/lab/extensions", "fullMathjaxUrl": \
"https://cdnjs.cloudflare.com/MathJax.js", "fullStaticUrl": "/static/lab", "licensesUrl": "/lab/api/licenses", \
"preferredPath": "/", "rootUri": "file:///home/\\u003c/script\\u003e&x", "store_id": 0, "treeUrl": "/lab/tree", \
"frontendUrl": "/", "wsUrl": ""}</script>
<link rel="icon" href="/static/favicons/favicon.ico" class="idle favicon">
<script defer="defer" src="/static/lab/main.f1.js?v=f1"></script></head><body></body></html>"""


def config_of(page: bytes) -> dict[str, object]:
    return json.loads(page.split(b'"application/json">')[1].split(b"</script>")[0])  # type: ignore[no-any-return]


def test_a_lab_page_gets_its_links_and_configuration_below_the_prefix() -> None:
    page = rewrite_html(LAB, P)
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
    assert list(after) == list(before)


def test_rewriting_twice_is_rewriting_once() -> None:
    page = rewrite_html(LAB, P)
    assert rewrite_html(page, P) is page


def test_nothing_in_the_configuration_can_end_its_element() -> None:
    page = rewrite_html(LAB, P)
    config = page.split(b'"application/json">')[1].split(b"</script>")[0]
    assert not set(b"<>&'") & set(config)
    assert config_of(page)["rootUri"] == "file:///home/</script>&x"


@pytest.mark.parametrize(
    ("page", "rewritten"),
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
def test_links_in_tags_change_and_nothing_else(page: bytes, rewritten: bytes | None) -> None:
    if rewritten is None:
        assert rewrite_html(page, P) is page
    else:
        assert rewrite_html(page, P) == rewritten


@pytest.mark.parametrize(
    "page",
    [b"<", b"<a", b"<a ", b"<a href", b"<a href=", b'<a href="', b'<a href="/x', b"<a href='/x>", b"<!--", b"<!", b"</",
     b"<script", b"<script>", b'<script id="jupyter-config-data"', b'<script id="jupyter-config-data">',
     b'<script id="jupyter-config-data">{"baseUrl": "/"</script>',
     b'<script id="jupyter-config-data">["/"]</script>',
     b'<script id="jupyter-config-data">{"baseUrl": 5, "fullUrl": "/", "appUrl": "/", "xbaseUrl": "/"}</script>',
     b'<script id="jupyter-config-data">{"baseUrl": "/", "n": 1e999}</script>',
     b'<script id="jupyter-config-data">{"baseUrl": "/", "n": \xff}</script>',
     b'<script id="jupyter-config-data">' + b"[" * 200_000 + b"</script>",
     b'<script id="other">{"baseUrl": "/"}</script>', b'<div id="jupyter-config-data">{"baseUrl": "/"}</div>'],
)  # fmt: skip
def test_a_malformed_page_passes_as_it_came(page: bytes) -> None:
    assert rewrite_html(page, P) is page


def test_a_configuration_that_nothing_closes_is_still_a_configuration() -> None:
    page = b'<script id=jupyter-config-data>{"baseUrl": "/"}'
    assert rewrite_html(page, P) == b'<script id=jupyter-config-data>{"baseUrl": "/research/"}'


@pytest.mark.parametrize(
    "hostile",
    [b"<", b"<a ", b'<a x="', b"<a x='", b"<!--", b"<script>", b"</script", b"<a / / /", b"<a =", b"<a x = ", b"< a\t",
     b"<!-", b'<a href="/', b"\t", b"<a \t\t"],
)  # fmt: skip
def test_the_work_is_linear(hostile: bytes) -> None:
    """A quadratic scan of these would take minutes, and the test's time limit."""
    rewrite_html(b"<a " + hostile * (1_000_000 // len(hostile)), P)


_FRAGMENTS = [
    b"<", b">", b"/", b"=", b'"', b"'", b" ", b"<a ", b"href=", b'"/x"', b"</script>", b"<script>", b"<!--", b"-->",
    b"/y", b'<script id="jupyter-config-data">', b'{"baseUrl": "/"}', b"\xff\x00",
]  # fmt: skip


@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(_FRAGMENTS), max_size=20).map(b"".join)))
def test_no_page_makes_it_raise_and_the_prefix_is_all_that_is_added(page: bytes) -> None:
    once = rewrite_html(page, P)
    assert rewrite_html(once, P) == once
    assert once.replace(P.encode(), b"") == page.replace(P.encode(), b"")


# --- kernelspecs ---


def test_kernel_logos_get_the_prefix_in_lists_and_alone() -> None:
    spec = {
        "name": "python3",
        "spec": {"argv": ["/usr/bin/python"]},
        "resources": {"logo-svg": "/kernelspecs/a.svg"},
    }
    listed = {"default": "python3", "kernelspecs": {"python3": spec, "odd": None, "odder": {"resources": []}}}
    answer = json.loads(rewrite_kernelspecs(json.dumps(listed).encode(), P))
    assert answer["kernelspecs"]["python3"]["resources"] == {"logo-svg": "/research/kernelspecs/a.svg"}
    assert answer["kernelspecs"]["python3"]["spec"] == spec["spec"]
    alone = rewrite_kernelspecs(json.dumps(spec).encode(), P)
    assert json.loads(alone)["resources"] == {"logo-svg": "/research/kernelspecs/a.svg"}
    assert rewrite_kernelspecs(alone, P) == alone


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"resources": {"x": 1e999}}', b"[" * 200_000, b"1" * 5000]
)
def test_kernelspecs_that_cannot_be_read_pass_as_they_came(body: bytes) -> None:
    assert rewrite_kernelspecs(body, P) == body


def test_odd_kernelspecs_keep_their_meaning() -> None:
    body = rb'{"kernelspecs": [], "resources": {"a": null, "b": "https://x/", "c": "\ud800", "d": "//x"}}'
    assert json.loads(rewrite_kernelspecs(body, P)) == json.loads(body)


# --- header fields ---

UPSTREAM = "https://nb-x1.notebook.eu-west-1.sagemaker.aws"
OWN = "https://notebooks.internal:8443"


@pytest.mark.parametrize(
    ("value", "at_path", "elsewhere"),
    [
        ("/lab?", "/research/lab?", "/lab?"),
        ("/login?next=%2Flab", "/research/login?next=%2Flab", "/login?next=%2Flab"),
        ("/research/lab", "/research/lab", "/research/lab"),
        ("lab", "lab", "lab"),
        ("?x", "?x", "?x"),
        ("", "", ""),
        (f"{UPSTREAM}/lab", f"{OWN}/research/lab", f"{OWN}/lab"),
        (f"{UPSTREAM}/research/x", f"{OWN}/research/x", f"{OWN}/research/x"),
        (f"{UPSTREAM}:443?x", f"{OWN}/research/?x", f"{OWN}/?x"),
        (f"{UPSTREAM}//evil", f"{OWN}/research//evil", f"{OWN}//evil"),
        (UPSTREAM.upper(), f"{OWN}/research/", f"{OWN}/"),
        (UPSTREAM.replace("https:", "http:") + "/x", f"{OWN}/research/x", f"{OWN}/x"),
        (UPSTREAM.removeprefix("https:") + "/x", f"{OWN}/research/x", f"{OWN}/x"),
        # Foreign hosts are nobody's business, and never become ours.
        *(
            (foreign, foreign, foreign)
            for foreign in [
                "https://eu-west-1.signin.aws.amazon.com/oauth?x=1",
                "//evil/x",
                "/\\evil/x",
                "https:evil",
                f"{UPSTREAM}.evil/x",
                f"{UPSTREAM}@evil/x",
                f"{UPSTREAM}:8443/x",
                "https://evil/" + UPSTREAM,
                "javascript:alert(1)",
            ]
        ),
        ("/\udce9\ud800", "/research/\udce9\ud800", "/\udce9\ud800"),
    ],
)
def test_a_location_stays_with_the_mount(value: str, at_path: str, elsewhere: str) -> None:
    assert rewrite_location(value, prefix=P, upstream_origin=UPSTREAM, own_origin=OWN) == at_path
    assert rewrite_location(value, prefix="", upstream_origin=UPSTREAM, own_origin=OWN) == elsewhere


@given(st.text(max_size=30))
def test_no_location_makes_it_raise(value: str) -> None:
    for location in (value, f"//{value}", f"{UPSTREAM}{value}", f"/{value}"):
        rewrite_location(location, prefix=P, upstream_origin=UPSTREAM, own_origin=OWN)


@pytest.mark.parametrize(
    ("value", "rewritten"),
    [
        (
            b"frame-ancestors 'self'; report-uri /api/security/csp-report",
            b"frame-ancestors 'self'; report-uri /research/api/security/csp-report",
        ),
        (
            b"Report-URI /a https://x/b //y/c /d; sandbox allow-scripts, report-uri /e",
            b"Report-URI /research/a https://x/b //y/c /research/d; sandbox allow-scripts, report-uri /research/e",
        ),
        (b"default-src 'self' /report-uri", b"default-src 'self' /report-uri"),
        (b"report-uri /research/a", b"report-uri /research/a"),
        (b"report-uri", b"report-uri"),
        (b"", b""),
    ],
)
def test_only_the_report_address_of_a_policy_changes(value: bytes, rewritten: bytes) -> None:
    assert rewrite_csp(value, P) == rewritten


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b'"a444"', b'W/"a444-nbgate"'),
        (b' W/"a444" ', b'W/"a444-nbgate"'),
        (b'""', b'W/"-nbgate"'),
        (b"a444", b""),
        (b'"a"b"', b""),
        (b"", b""),
    ],
)
def test_a_rewritten_page_has_a_tag_that_the_notebook_does_not_know(value: bytes, tag: bytes) -> None:
    assert rewritten_etag(value) == tag
