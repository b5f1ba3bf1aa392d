"""What pages may ask for: of other sites, under mounts, and as service workers."""

from __future__ import annotations

import pytest

from proxy.admission.caller import identify
from proxy.admission.pages import asking_mount, is_confined_worker, is_foreign, may_be_led_back, outside
from proxy.routing.mounts import Mount
from proxy.routing.router import OwnPage, Redirect, Route, Router
from tests.admission.test_admission_caller import TRUSTED, inbound

RESEARCH = Mount.at_path("/research/")
ROUTER = Router(["notebooks.internal"], {"research": RESEARCH, "root": Mount.root()})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"Origin": "http://notebooks.internal"}, False),
        ({"Origin": "http://elsewhere.test"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
    ],
)
def test_another_sites_page(fields: dict[str, str], expected: bool) -> None:
    asked = inbound(fields)
    assert is_foreign(asked, identify(asked, TRUSTED)) is expected


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        ("http://notebooks.internal/research/lab", ("research", RESEARCH)),
        ("http://notebooks.internal/lab", None),
        ("http://elsewhere.test/research/lab", None),
    ],
)
def test_the_mount_of_the_page_that_asks(referer: str, expected: object) -> None:
    asked = inbound({"Referer": referer})
    assert asking_mount(asked, identify(asked, TRUSTED), ROUTER) == expected


@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [("GET", {}, True), ("HEAD", {}, True), ("POST", {}, False), ("GET", {"Upgrade": "websocket"}, False)],
)
def test_what_changes_nothing_may_be_led_back(method: str, fields: dict[str, str], expected: bool) -> None:
    assert may_be_led_back(inbound(fields, method=method)) is expected
    assert "/research/proxy/PORT/" in str(outside(RESEARCH).message)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route("research", RESEARCH, "/lab/sw.js?v=1", "/research"), True),
        (Route("root", Mount.root(), "/sw.js", ""), False),
        (Route("root", Mount.root(), "/lab/sw.js", ""), True),
        (OwnPage("/.nbgate/sw.js"), False),
        (Redirect("/research/sw.js"), False),
    ],
)
def test_a_worker_covers_nothing_but_its_mount(route: Route | OwnPage | Redirect, expected: bool) -> None:
    assert is_confined_worker(route, ROUTER) is expected
