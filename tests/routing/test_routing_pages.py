"""Under a path mount exactly the listed things change; hostile pages neither raise nor take long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.pages import (
    needs_rewrite,
    rewrite_csp,
    rewrite_location,
    rewriter,
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


# --- how ---


def test_a_page_and_kernels_are_rewritten_each_in_its_way() -> None:
    page, _ = rewriter("html", P).feed(b'<a href="/x">{"resources": {"logo": "/x"}}')
    assert page == b'<a href="/research/x">{"resources": {"logo": "/x"}}'
    specs, _ = rewriter("kernelspecs", P).feed(b'{"resources": {"logo": "/x"}} <a href="/x">')
    assert specs == b'{"resources": {"logo": "/research/x"}} <a href="/x">'


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
