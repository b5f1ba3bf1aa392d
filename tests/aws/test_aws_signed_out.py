"""Which response heads look like the notebook's front end's own, and which are Jupyter's or an application's."""

from __future__ import annotations

import pytest

from proxy.aws.signed_out import Shape, shape_of
from proxy.wire.heads import ResponseFacts
from tests.aws.fakes import NOTEBOOK_HOST, ORIGIN
from tests.aws.heads import JUPYTERS, UNMARKED, head

SIGN_IN = "https://us-west-2.signin.aws.amazon.com/oauth?redirect_uri=x"
CONSOLE = (
    "https://us-west-2.console.aws.amazon.com/sagemaker/home?region=us-west-2&notebookState=L3Byb3h5LzkyNTAv"
    "#/notebook-instances/openNotebook/research"
)
OAUTH = "https://login.microsoftonline.com/common/oauth2"
HTML = "text/html; charset=utf-8"
APP = "/proxy/8050/x"
CLASSIC = (
    "/nbclassic/tree",
    "/nbextensions/x/main.js",
    "/custom/custom.css",
    "/kernelspecs/python3/logo.svg",
)


def verdict(facts: ResponseFacts, target: str, *, is_up: bool = False) -> Shape | None:
    return shape_of(facts, target=target, origin=ORIGIN, is_up=is_up)


LOOK = [
    # why, status, target, location, type, what it looks like without a mark
    ("redirect of a page to a sign-in host", 302, "/lab", SIGN_IN, "", Shape.SIGN_IN),
    ("... of a WebSocket", 307, "/api/kernels/1/channels", SIGN_IN, "", Shape.SIGN_IN),
    ("redirect to the console", 303, "/", CONSOLE, "", Shape.SIGN_IN),
    (
        "... of what runs behind Jupyter",
        302,
        "/proxy/9250/explorer/manifest.json",
        CONSOLE,
        "",
        Shape.SIGN_IN,
    ),
    ("redirect to an identity center portal", 302, "/", "https://d-1.awsapps.com/start", "", Shape.SIGN_IN),
    ("the API redirected away, to anywhere", 302, "/api/contents", OAUTH, "", Shape.ELSEWHERE),
    ("401", 401, "/lab", "", "", Shape.REFUSED),
    ("401 of JSON", 401, "/api/status", "", "application/json", Shape.REFUSED),
    ("403 to the API", 403, "/api/contents", "", "application/json", Shape.REFUSED),
    ("403 to an application", 403, APP, "", HTML, Shape.REFUSED),
    ("HTML in place of the API", 200, "/api/contents?x=1", "", HTML, Shape.PAGE),
    ("... however it is spelt", 200, "/api/status", "", "Text/HTML;charset=x", Shape.PAGE),
    ("... as XHTML", 200, "/api/status", "", "application/xhtml+xml", Shape.PAGE),
    ("HTML in place of Jupyter's page", 200, "/lab/tree/a.ipynb?b", "", HTML, Shape.PAGE),
    ("... of the first", 200, "/?x", "", HTML, Shape.PAGE),
    ("... of Notebook 7", 200, "/tree", "", HTML, Shape.PAGE),
    ("... of the classic notebook", 200, "/nbclassic/tree", "", HTML, Shape.PAGE),
    ("... of a script", 200, "/static/lab/main.js", "", HTML, Shape.PAGE),
    ("... of a file", 200, "/files/data.csv", "", HTML, Shape.PAGE),
    ("... of an application", 200, APP, "", HTML, Shape.PAGE),
    ("... with another good status", 202, "/lab", "", HTML, Shape.PAGE),
    ("... in place of the API", 203, "/api/kernels", "", HTML, Shape.PAGE),
    ("400 for an instance that is not routed", 400, "/lab", "", HTML, Shape.FAULT),
    ("... also to an application", 400, APP, "", HTML, Shape.FAULT),
    ("404", 404, "/api/kernels/1", "", HTML, Shape.FAULT),
    ("... of the classic notebook", 404, "/nbclassic/tree", "", HTML, Shape.FAULT),
    ("500 in place of its script", 500, "/custom/custom.js", "", HTML, Shape.FAULT),
    ("500", 500, "/lab", "", "", Shape.FAULT),
    ("502", 502, "/api/kernels", "", HTML, Shape.FAULT),
    ("503 to an application", 503, APP, "", "", Shape.FAULT),
    ("504", 504, "/terminals/websocket/1", "", "", Shape.FAULT),
]


@pytest.mark.parametrize("row", LOOK, ids=lambda row: row[0])
@pytest.mark.parametrize("lines", UNMARKED.values(), ids=UNMARKED)
def test_what_looks_like_the_front_ends_own(
    row: tuple[str, int, str, str, str, Shape], lines: tuple[str, ...]
) -> None:
    _, status, target, location, content_type, looks = row
    facts = head(status, *lines, location=location, content_type=content_type)
    assert verdict(facts, target) is looks


@pytest.mark.parametrize("row", LOOK, ids=lambda row: row[0])
@pytest.mark.parametrize("lines", JUPYTERS.values(), ids=JUPYTERS)
def test_a_mark_of_jupyters_clears_all_but_a_redirect_to_sign_in(
    row: tuple[str, int, str, str, str, Shape], lines: tuple[str, ...]
) -> None:
    """Its password (401, 403), XSRF check (403), hidden file (404), limit (400) and faults are its own."""
    _, status, target, location, content_type, looks = row
    facts = head(status, *lines, location=location, content_type=content_type)
    assert verdict(facts, target) is (looks if looks is Shape.SIGN_IN else None)


@pytest.mark.parametrize(
    ("why", "status", "target", "location", "content_type"),
    [
        ("an answer", 200, "/api/contents", "", "application/json"),
        ("an answer without a type", 200, "/api/x", "", ""),
        ("a script", 200, "/static/x.js", "", "text/javascript"),
        ("created", 201, "/api/contents", "", "application/json"),
        ("nothing", 204, "/api/contents/a", "", ""),
        ("switching protocols", 101, "/api/kernels/1/channels", "", ""),
        ("not modified", 304, "/static/x.js", "", ""),
        ("Jupyter's redirect", 302, "/", "/lab?", ""),
        ("Jupyter's login page", 302, "/lab", "/login?next=%2Flab", ""),
        ("a redirect to its own host in full", 302, "/", f"https://{NOTEBOOK_HOST}/lab", ""),
        ("an application's OAuth", 302, "/proxy/8050/login", OAUTH, ""),
        ("a broken Location", 302, "/lab", "https://[bad", ""),
        ("a conflict", 409, "/api/contents/a", "", HTML),
        ("too large", 413, "/api/contents/a", "", HTML),
        ("an application's 404", 404, APP, "", HTML),
        ("an application's own fault", 500, APP, "", HTML),
        ("an extension's 404", 404, "/rstudio/x", "", ""),
    ],
)
def test_what_does_not(why: str, status: int, target: str, location: str, content_type: str) -> None:
    assert verdict(head(status, location=location, content_type=content_type), target) is None, why


@pytest.mark.parametrize("target", [APP, "/rstudio/", "/labels"])
def test_a_page_of_an_application_is_not_looked_at_again_while_jupyter_is_up(target: str) -> None:
    assert verdict(head(200, content_type=HTML), target, is_up=True) is None
    assert verdict(head(200, content_type=HTML), target, is_up=False) is Shape.PAGE


@pytest.mark.parametrize(
    "target", ["/", "/lab", "/api/status", "/files/a.html", "/nbconvert/html/a.ipynb", *CLASSIC]
)
def test_a_page_in_jupyters_place_always_is(target: str) -> None:
    assert verdict(head(200, content_type=HTML), target, is_up=True) is Shape.PAGE


def test_a_test_endpoints_own_sign_in_host() -> None:
    facts = head(302, location="http://127.0.0.1:9000/signin")
    hosts = frozenset({"127.0.0.1:9000"})
    assert shape_of(facts, target="/lab", origin=ORIGIN, sign_in_hosts=hosts) is Shape.SIGN_IN
    assert shape_of(facts, target="/lab", origin=ORIGIN) is None
