"""Better addresses lead nowhere but to the authority that was asked, and cookies stay with their mount."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from multidict import CIMultiDict

from proxy.routing.authority import parse_authority
from proxy.routing.entry import (
    EntryRedirect,
    Presented,
    cookie_name,
    entry_address,
    login_address,
    set_cookie,
)
from proxy.routing.mounts import Mount
from proxy.routing.router import Redirect, Route

PATH, ROOT, PORT = Mount.at_path("/research/"), Mount.root(), Mount.on_port(8444)
HOST = Mount.on_host("nlp.notebooks.internal")


def presented(
    mount: Mount,
    target: str = "/",
    *,
    method: str = "GET",
    scheme: str = "https",
    host: str = "notebooks.internal:8443",
) -> Presented:
    route = Route("research", mount, target, mount.prefix)
    return Presented(route, "nowhere", method, CIMultiDict(), None, scheme, parse_authority(host), "1")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//evil.example/",
        "///evil.example",
        "/\\evil.example",
        "/\\/evil.example",
        "/%5Cevil.example",
        "/%2F%2Fevil.example",
        "/@evil.example/",
        "/.evil.example",
        "/:80@evil.example",
        "/%0d%0aSet-Cookie:%20a=b",
        "/?next=//evil.example",
        "/;//evil.example",
    ],
)
@pytest.mark.parametrize("mount", [ROOT, PATH, HOST, PORT], ids=str)
def test_no_path_leads_to_another_host(mount: Mount, target: str) -> None:
    address = entry_address(presented(mount), target)
    # As a browser reads it (WHATWG URL: a backslash is a slash).
    parts = urlsplit(address.replace("\\", "/"))
    assert (parts.scheme, parts.netloc) == ("https", "notebooks.internal:8443")
    assert address == f"https://notebooks.internal:8443{mount.prefix}{target}"


@pytest.mark.parametrize(
    ("mount", "scheme", "name", "cookie"),
    [
        (ROOT, "https", "__Host-nbgate-session", "Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"),
        (HOST, "https", "__Host-nbgate-session", "Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"),
        (PORT, "https", "__Host-nbgate-session-8444", "Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"),
        (
            PATH,
            "https",
            "__Secure-nbgate-session",
            "Path=/research/; Max-Age=60; HttpOnly; SameSite=Lax; Secure",
        ),
        (ROOT, "http", "nbgate-session", "Path=/; Max-Age=60; HttpOnly; SameSite=Lax"),
        (PATH, "http", "nbgate-session", "Path=/research/; Max-Age=60; HttpOnly; SameSite=Lax"),
        (PORT, "http", "nbgate-session-8444", "Path=/; Max-Age=60; HttpOnly; SameSite=Lax"),
    ],
)
def test_a_session_cookie_stays_with_its_mount(mount: Mount, scheme: str, name: str, cookie: str) -> None:
    assert cookie_name(mount, scheme=scheme) == name
    assert set_cookie(mount, "T", scheme=scheme, seconds=60) == f"{name}=T; {cookie}"
    assert "Domain" not in cookie


@pytest.mark.parametrize("mount", [ROOT, PATH, HOST, PORT], ids=str)
@pytest.mark.parametrize(
    ("target", "following"),
    [
        ("/lab", "%2Flab"),
        ("/lab/tree/a%20b.ipynb?x=1", "%2Flab%2Ftree%2Fa%2520b.ipynb"),
        ("/lab/workspaces/auto-R?token=of-jupyter", "%2Flab%2Fworkspaces%2Fauto-R"),
        ("/notebooks/\udcff.ipynb", "%2Fnotebooks%2F%FF.ipynb"),
        ("/tree//evil.example", "%2Ftree%2F%2Fevil.example"),
    ],
)
def test_jupyters_pages_have_a_login_address_at_their_own_server(
    mount: Mount, target: str, following: str
) -> None:
    server = f"https://notebooks.internal:8443{mount.prefix}/"
    prefix = mount.prefix.replace("/", "%2F")
    assert login_address(presented(mount, target)) == f"{server}login?next={prefix}{following}"


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/api/kernels",
        "/lab/api/settings",
        "/proxy/8050/lab",
        "/files/lab",
        "/login?next=%2Flab",
        "/labs",
    ],
)
def test_what_is_no_page_has_none(target: str) -> None:
    assert login_address(presented(PATH, target)) == ""
    assert login_address(presented(PATH, "/lab", method="POST")) == ""


def test_an_entry_is_answered_with_302_and_stored_nowhere() -> None:
    entry = EntryRedirect("https://nb/", "s=1")
    assert entry.status == 302
    assert entry.fields == (
        ("Location", "https://nb/"),
        ("Set-Cookie", "s=1"),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
    )
    assert "Set-Cookie" not in dict(EntryRedirect("https://nb/").fields)


def test_a_mount_without_its_slash_is_answered_with_308() -> None:
    redirect = Redirect("/research/")
    assert redirect.status == 308
    assert redirect.fields == (("Location", "/research/"), ("Cache-Control", "no-store"))
