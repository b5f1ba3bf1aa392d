"""Which response heads mean "not signed in", and which are Jupyter's or an application's own."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.aws.signed_out import Shape, shape_of
from tests.aws.fakes import NOTEBOOK_HOST, ORIGIN

TORNADO = b"TornadoServer/6.5.2"
SIGN_IN = b"https://us-west-2.signin.aws.amazon.com/oauth?redirect_uri=x"
OAUTH = b"https://login.microsoftonline.com/common/oauth2"


def verdict(status: int, target: str, **head: Any) -> Shape | None:
    return shape_of(status=status, target=target, origin=ORIGIN, **head)


@pytest.mark.parametrize(
    ("why", "status", "target", "head"),
    [
        ("redirect of a page to a sign-in host", 302, "/lab", {"location": SIGN_IN}),
        ("... even if it bears Jupyter's name", 302, "/lab", {"location": SIGN_IN, "server": TORNADO}),
        ("... of a WebSocket", 307, "/api/kernels/1/channels", {"location": SIGN_IN}),
        ("redirect to the console", 303, "/", {"location": b"https://console.aws.amazon.com/sagemaker/home"}),
        ("redirect to an identity center portal", 302, "/", {"location": b"https://d-1.awsapps.com/start"}),
        ("the API redirected away, to anywhere", 302, "/api/contents", {"location": OAUTH}),
        ("401 of the front end", 401, "/lab", {}),
        ("403 of the front end", 403, "/api/contents", {"content_type": b"application/json"}),
        ("403 of another server", 403, "/", {"server": b"awselb/2.0"}),
        ("HTML in place of the API", 200, "/api/contents?x=1", {"content_type": b"text/html; charset=utf-8"}),
        ("... however it is spelt", 200, "/api/status", {"content_type": b" Text/HTML;charset=x"}),
        ("... as XHTML", 200, "/api/status", {"content_type": b"application/xhtml+xml"}),
    ],
)
def test_signed_out(why: str, status: int, target: str, head: dict[str, bytes]) -> None:
    assert verdict(status, target, **head), why


@pytest.mark.parametrize(
    ("why", "status", "target", "head"),
    [
        ("an answer", 200, "/api/contents", {"content_type": b"application/json", "server": TORNADO}),
        ("a page", 200, "/lab", {"content_type": b"text/html"}),
        (
            "a page of an extension below the API",
            200,
            "/api/x",
            {"content_type": b"text/html", "server": TORNADO},
        ),
        ("an answer without a type", 200, "/api/x", {}),
        ("a download", 200, "/files/a.html", {"content_type": b"text/html"}),
        ("created", 201, "/api/contents", {"content_type": b"text/html"}),
        ("switching protocols", 101, "/api/kernels/1/channels", {}),
        ("not modified", 304, "/static/x.js", {}),
        ("Jupyter's XSRF check", 403, "/api/contents", {"server": TORNADO}),
        ("Jupyter's password", 401, "/api/contents", {"server": TORNADO}),
        ("Jupyter's redirect", 302, "/", {"location": b"/lab?"}),
        ("Jupyter's login page", 302, "/lab", {"location": b"/login?next=%2Flab", "server": TORNADO}),
        (
            "a redirect to its own host in full",
            302,
            "/",
            {"location": f"https://{NOTEBOOK_HOST}/lab".encode()},
        ),
        ("an application's OAuth", 302, "/proxy/8050/login", {"location": OAUTH, "server": b"gunicorn"}),
        ("Jupyter's redirect to documentation", 302, "/api/x", {"location": OAUTH, "server": TORNADO}),
        ("a broken Location", 302, "/lab", {"location": b"https://[bad"}),
        ("gone", 404, "/api/kernels/1", {"content_type": b"text/html"}),
        ("a broken instance", 502, "/api/kernels", {"content_type": b"text/html"}),
        ("the stopped instance's 400", 400, "/api/contents", {}),
    ],
)
def test_not_signed_out(why: str, status: int, target: str, head: dict[str, bytes]) -> None:
    assert not verdict(status, target, **head), why


def test_a_test_endpoints_own_sign_in_host() -> None:
    head = {"location": b"http://127.0.0.1:9000/signin"}
    assert verdict(302, "/lab", sign_in_hosts=frozenset({"127.0.0.1:9000"}), **head)
    assert not verdict(302, "/lab", **head)


@pytest.mark.parametrize("target", ["/", "/?x", "/lab", "/lab/tree/a.ipynb?b", "/tree", "/notebooks/a.ipynb"])
def test_a_page_of_jupyters_without_its_name_where_its_name_shows(target: str) -> None:
    html = b"text/html; charset=utf-8"
    assert verdict(200, target, content_type=html, jupyter_shows=True)
    assert not verdict(200, target, content_type=html, jupyter_shows=False)
    assert not verdict(200, target, content_type=html, jupyter_shows=True, server=TORNADO)
    assert not verdict(200, target, content_type=b"application/json", jupyter_shows=True)


@pytest.mark.parametrize(
    "target", ["/proxy/8050/", "/labels", "/rstudio/", "/files/a.html", "/static/x.html"]
)
def test_a_page_that_may_be_an_applications_is_not_judged_by_its_name(target: str) -> None:
    assert not verdict(200, target, content_type=b"text/html", jupyter_shows=True)
