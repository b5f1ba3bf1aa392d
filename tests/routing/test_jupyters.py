"""What Jupyter itself answers, and what may be an application's."""

from __future__ import annotations

import pytest

from proxy.routing.jupyters import differs_from_jupyters, is_jupyters_own, is_proxied, may_lead_on


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?reset",
        "/lab",
        "/lab?x=//proxy/",
        "/lab/tree/a%20b.ipynb",
        "/lab/api/settings",
        "/tree/work",
        "/notebooks/a.ipynb",
        "/edit/a.txt",
        "/consoles/1",
        "/api/status",
        "/api/contents/proxy/8080/a",
        "/api/kernels/1/channels",
        "/terminals/websocket/1",
        "/static/lab/main.js",
        "/nbclassic/notebooks/a.ipynb",
        "/login?next=%2Flab",
        "/logout",
    ],
)
def test_jupyters_own_paths_are_a_list(target: str) -> None:
    assert is_jupyters_own(target)


@pytest.mark.parametrize(
    "target",
    [
        "/proxy/8080/",
        "/proxy/absolute/8080/",
        "/proxy/localhost:8080/",
        "/proxy",
        "/Proxy/8080/",
        "/rstudio/",
        "/codeserver/login",
        "/vscode",
        "/files/evil.html",
        "/nbconvert/html/a.ipynb",
        "/laboratory/",
        "/LAB",
        # What somebody on the way may read as one of those.
        "//proxy/8080/",
        "///lab",
        "/lab//proxy/8080/",
        "/lab/../proxy/8080/",
        "/./proxy/8080/",
        "/x/../proxy/8080/",
        "/lab/%2e%2E/proxy/8080/",
        "/lab/.%2e/proxy/",
        "/lab%2f..%2fproxy/8080/",
        "/lab/..;/proxy/8080/",
        "/lab;x=1/../proxy/",
        "/lab\\..\\proxy/",
        "/lab/%5c..%5cproxy",
        "/lab/%252e%252e/proxy/8080",
        "/%70roxy/8080/",
        "/%6cab",
        "/lab/%00",
        "/lab/%3b",
    ],
)
def test_whatever_is_not_surely_jupyters_is_an_applications(target: str) -> None:
    assert not is_jupyters_own(target)


def test_where_the_mount_is_not_known_an_application_is_known_by_its_port() -> None:
    for path in ("/proxy/8080/", "/research/proxy/8080/x", "/team/gpu/proxy/absolute/1/"):
        assert may_lead_on(path)
    for path in ("/", "/research/lab/", "/proxy", "/proxies/1/"):
        assert not may_lead_on(path)


def test_a_mount_that_is_called_as_a_part_of_jupyter_is_not_told_from_it() -> None:
    for mount in ("/lab/", "/tree/", "/static/", "/files/", "/voila/", "/proxy/", "/notebooks/"):
        assert not differs_from_jupyters(mount)
    for mount in ("", "/research/", "/lab/research/", "/labs/", "/Lab/", "/gpu/lab/"):
        assert differs_from_jupyters(mount)


@pytest.mark.parametrize(
    ("target", "proxied"),
    [
        ("/proxy/8501/", True),
        ("/proxy/absolute/8501/x?y", True),
        ("/proxy", False),
        ("/lab/proxy/8501/", False),
        ("/rstudio/", False),
        ("/", False),
    ],
)
def test_an_application_by_its_port(target: str, proxied: bool) -> None:
    assert is_proxied(target) is proxied
