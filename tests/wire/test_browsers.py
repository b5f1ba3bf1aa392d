"""Who sends a request is read from its fields in one way, whatever the answer depends on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.wire.browsers import Asker, is_ahead_of_time, mount_of_api, prefers_html, who_asks

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
HOST = "notebooks.test:8080"
API = "/research/api/kernels/1"


def asker(target: str = API, host: str = HOST, **fields: str) -> Asker:
    return who_asks(
        CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()}),
        host=host,
        target=target,
    )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("navigate", Asker.WINDOW),
        (" Navigate ", Asker.WINDOW),
        ("cors", Asker.SCRIPT),
        ("same-origin", Asker.SCRIPT),
        ("no-cors", Asker.PROGRAM),
        ("websocket", Asker.PROGRAM),
        ("nested-navigate", Asker.PROGRAM),
    ],
)
@pytest.mark.parametrize("accept", ["", "*/*", CHROME, "application/json"])
def test_fetch_metadata_decides_where_it_is_sent(mode: str, accept: str, expected: Asker) -> None:
    assert asker(Sec_Fetch_Mode=mode, Accept=accept) is expected
    assert asker(Sec_Fetch_Mode=mode, Accept=accept, Referer="https://elsewhere.test/") is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Accept": CHROME}, Asker.WINDOW),
        # A link that is followed has a referrer, too.
        ({"Accept": CHROME, "Referer": f"http://{HOST}/research/lab"}, Asker.WINDOW),
        ({"Accept": "*/*", "Referer": f"http://{HOST}/research/lab"}, Asker.SCRIPT),
        ({"Referer": f"http://{HOST}/research/"}, Asker.SCRIPT),
        ({"Accept": "*/*"}, Asker.PROGRAM),
        ({}, Asker.PROGRAM),
        ({"Referer": f"http://{HOST}/research"}, Asker.PROGRAM),
        ({"Referer": f"http://{HOST}/other/lab"}, Asker.PROGRAM),
        ({"Referer": f"http://{HOST}/"}, Asker.PROGRAM),
        ({"Referer": f"http://{HOST}0/research/lab"}, Asker.PROGRAM),
        ({"Referer": "http://evil.test/research/lab"}, Asker.PROGRAM),
        # A browser sends Fetch Metadata to https.
        ({"Referer": f"https://{HOST}/research/lab"}, Asker.PROGRAM),
    ],
    ids=str,
)
def test_on_plain_http_accept_and_the_referrer_decide(fields: dict[str, str], expected: Asker) -> None:
    assert asker(**fields) is expected


def test_a_referrer_tells_a_script_only_where_the_api_is_asked() -> None:
    referrer = f"http://{HOST}/research/lab"
    assert asker("/research/files/plot.png", Referer=referrer) is Asker.PROGRAM
    assert asker("/research/lab/api/settings", Referer=referrer) is Asker.SCRIPT


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Origin": "http://x"}, Asker.HANDSHAKE),
        ({"Sec_Fetch_Mode": "websocket"}, Asker.HANDSHAKE),
        ({"Sec_Fetch_Mode": "navigate"}, Asker.HANDSHAKE),
        ({}, Asker.PROGRAM),
        ({"Accept": CHROME}, Asker.PROGRAM),
    ],
    ids=str,
)
def test_a_handshake_is_a_pages_if_a_browser_sends_it(fields: dict[str, str], expected: Asker) -> None:
    assert asker(Upgrade="websocket", **fields) is expected


@pytest.mark.parametrize(
    ("target", "prefix"),
    [
        ("/api/kernels", ""),
        ("/api/", ""),
        ("/lab/api/settings?x=/proxy/", ""),
        ("/research/api/kernels/1?a=1", "/research"),
        ("/research/lab/api/workspaces", "/research"),
        ("/team/research/api/status", "/team/research"),
        ("/api/kernels/api/x", ""),
        ("/api", None),
        ("/lab", None),
        ("/apis/kernels", None),
        ("/files/api", None),
        ("/lab?x=/api/", None),
        ("/proxy/8000/api/items", None),
        ("/research/proxy/8000/api/items", None),
        ("/research/proxy/api/items", None),
        ("/api/gateway/v1/instances", None),
        ("", None),
    ],
)
def test_jupyters_api_is_found_in_a_target_without_knowing_the_mounts(
    target: str, prefix: str | None
) -> None:
    assert mount_of_api(target) == prefix


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"Sec-Purpose": "prefetch"}, True),
        ({"Sec-Purpose": "prefetch;prerender"}, True),
        ({"Purpose": "Prefetch"}, True),
        ({"X-moz": "prefetch"}, True),
        ({"Purpose": "something"}, False),
        ({"Sec-Purpose": "", "Purpose": "prefetch"}, True),
    ],
    ids=str,
)
def test_what_is_only_fetched_ahead_says_so(fields: dict[str, str], expected: bool) -> None:
    assert is_ahead_of_time(CIMultiDict(fields)) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CHROME, True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("application/json;q=0.5, text/html", True),
        ("text/html;q=0", False),
        ("text/html;q=0.000", False),
        ("text/html;q=zero", False),
        ("text/html;q=nan", False),
        ("text/html;q=2", False),
        ("TEXT/HTML; charset=utf-8", True),
        ("application/xhtml+xml", True),
        ("text/html;level=1;q=0.3,application/json;q=0.2", True),
        ("text/htmlx", False),
    ],
)
def test_who_names_html_prefers_it(accept: str, expected: bool) -> None:
    assert prefers_html(accept) is expected


@given(st.text(), st.text(), st.text(), st.text())
def test_any_fields_are_an_answer(accept: str, mode: str, referrer: str, target: str) -> None:
    assert asker(target, Accept=accept, Sec_Fetch_Mode=mode, Referer=referrer) in Asker
