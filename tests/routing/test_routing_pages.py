"""Under a path mount exactly the listed things change; hostile pages neither raise nor take long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.pages import (
    is_of_interest,
    needs_rewrite,
    rewrite_csp,
    rewrite_location,
    rewriter,
    rewritten_etag,
)
from tests.routing.streaming import rewritten

P = "/research"

# --- which answers ---


@pytest.mark.parametrize(
    ("target", "content_type", "status", "rewriting"),
    [
        ("/lab", "text/html; charset=UTF-8", 200, "jupyters html"),
        ("/tree?x=/files/", "Text/HTML", 200, "jupyters html"),
        ("/nbclassic/notebooks/a.ipynb", "text/html", 200, "jupyters html"),
        ("/nbclassics/", "text/html", 200, "html"),
        ("/proxy/8050/", "text/html", 200, "html"),
        ("/voila/render/a.ipynb", "text/html", 200, "html"),
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
        ("/api/me", "application/json", 200, "person"),
        ("/api/me?permissions=%7B%7D", "application/json", 200, "person"),
        ("/api/me", "application/json", 401, None),
        ("/api/mean", "application/json", 200, None),
        ("/server-proxy/servers-info", "application/json; charset=UTF-8", 200, "applications"),
        ("/proxy/8050/server-proxy/servers-info", "application/json", 200, None),
        ("/lab/api/themes/@scope/theme/index.css", "text/css", 200, "theme"),
        ("/voila/api/themes/x.css", "text/css; charset=utf-8", 200, "theme"),
        ("/lab/api/themes/x.css", "text/css", 404, None),
        ("/lab/api/themes/x.png", "image/png", 200, None),
        ("/static/style.css", "text/css", 200, None),
        ("/static/lab/main.js", "text/javascript", 200, None),
        ("/x", "", 200, None),
    ],
)
def test_only_jupyters_own_pages_are_rewritten(
    target: str, content_type: str, status: int, rewriting: str | None
) -> None:
    found = needs_rewrite(target=target, content_type=content_type, status=status)
    assert found == rewriting
    # What is asked for plainly, though nobody says that a page is wanted.
    if found is not None and "html" not in found:
        assert is_of_interest(target)


@pytest.mark.parametrize("target", ["/", "/lab", "/api/contents", "/proxy/1/api/me", "/static/style.css"])
def test_nothing_else_is_of_interest(target: str) -> None:
    assert not is_of_interest(target)


# --- how ---


def test_a_page_and_kernels_are_rewritten_each_in_its_way() -> None:
    page, _ = rewriter("html", P).feed(b'<a href="/x">{"resources": {"logo": "/x"}}')
    assert page == b'<a href="/research/x">{"resources": {"logo": "/x"}}'
    specs, _ = rewriter("kernelspecs", P).feed(b'{"resources": {"logo": "/x"}} <a href="/x">')
    assert specs == b'{"resources": {"logo": "/research/x"}} <a href="/x">'


CLASSIC = b"""<script src="/static/nbclassic/require.js"></script><script>
document.nbclassicPath = '/nbclassic'; require.config({baseUrl: '/static/nbclassic/', paths: {custom : '/custom',
'custom-preload' : '/custom-preload', nbextensions : '/nbextensions', kernelspecs : '/kernelspecs'}});
</script><p>'/custom'</p><body data-base-url="/">"""


def test_the_classic_notebook_is_told_where_its_scripts_are() -> None:
    """nbclassic 1.3, and the Notebook 6 of older instances, at `/tree`."""
    page, _ = rewriter("jupyters html", P).feed(CLASSIC)
    assert page.count(b"/research") == 7
    for address in (b"'/research/custom'", b"'/research/static/nbclassic/'", b"'/research/kernelspecs'"):
        assert address in page
    assert b"'/nbclassic'" in page
    assert page.endswith(b"""<p>'/custom'</p><body data-base-url="/research/">""")
    assert page.replace(P.encode(), b"") == CLASSIC


def test_scripts_of_other_pages_are_left_alone() -> None:
    page, _ = rewriter("html", P).feed(b"<script>x = '/static/y'</script>")
    assert page == b"<script>x = '/static/y'</script>"


def test_icons_a_picture_and_themes_get_the_prefix() -> None:
    icons = (
        b'{"server_processes": [{"name": "a", "icon_url": "/x", "launcher_entry": {"path_info": "a/", "icon_url": '
        b'"@/server-proxy/icon/a"}}, 5, ["/x", {"launcher_entry": {"icon_url": "/x"}}], '
        b'{"launcher_entry": {"icon_url": "@/server-proxy/icon/b"}}], "launcher_entry": {"icon_url": "/x"}}'
    )
    text, rest = rewriter("applications", P).feed(icons.replace(b"@", b""))
    assert (text, rest) == (icons.replace(b"@", P.encode()), b"")
    person = (
        b'{"identity": {"name": "/x", "avatar_url": "@/files/me.png"}, "permissions": {"avatar_url": "/x"}}'
    )
    text, _ = rewriter("person", P).feed(person.replace(b"@", b""))
    assert text == person.replace(b"@", P.encode())
    theme = [b"a { src: url('/lab/api/themes/t/a.png') } b::after { content: '/' }"]
    assert (
        rewritten(rewriter("theme", P), theme)
        == b"a { src: url('/research/lab/api/themes/t/a.png') } b::after { content: '/' }"
    )


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


@pytest.mark.parametrize(
    ("value", "at_path", "elsewhere"),
    [
        ("/api/kernels/1/input", f"{OWN}/research/api/kernels/1/input", "/api/kernels/1/input"),
        (f"{UPSTREAM}/x", f"{OWN}/research/x", f"{OWN}/x"),
        ("/research/x", "/research/x", "/research/x"),
        ("x", "x", "x"),
        ("//evil/x", "//evil/x", "//evil/x"),
        ("", "", ""),
    ],
)
def test_one_that_a_script_reads_is_absolute(value: str, at_path: str, elsewhere: str) -> None:
    """jupyter-server-nbmodel joins what does not begin with the page's base URL to that."""
    for prefix, expected in ((P, at_path), ("", elsewhere)):
        assert expected == rewrite_location(
            value, prefix=prefix, upstream_origin=UPSTREAM, own_origin=OWN, is_followed=False
        )


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
