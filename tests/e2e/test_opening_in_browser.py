"""`start_on_open` with what Chromium really sends: opening a bookmark starts an instance, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from proxy.sandbox.instance import InstanceSpec
from tests.harness.browsing import PATIENCE_MS, open_page
from tests.harness.gateway import Background, in_background

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]

SPECS = (InstanceSpec(name="nlp-team", status="Stopped", jupyter=True, transition_seconds=1.0),)
MOUNTED = {"nlp": {"notebook": "nlp-team", "mount": {"path": "/nlp/"}, "start_on_open": True}}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Background]:
    with in_background(tmp_path, instances=SPECS, mounted=MOUNTED) as background:
        yield background


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with open_page(browser) as page:
        page.set_default_timeout(PATIENCE_MS)
        yield page


def starts(gate: Background) -> int:
    return gate.rig.sandbox.calls["StartNotebookInstance"]


def test_scripts_and_images_start_nothing_and_a_bookmark_does(gate: Background, page: Page) -> None:
    page.route(
        "**/notes.html", lambda route: route.fulfill(content_type="text/html", body="<title>Notes</title>")
    )
    page.goto(f"{gate.origin}/notes.html")
    for script in (
        "address => fetch(address).then(answer => answer.text())",
        "address => fetch(address, {headers: {Accept: 'text/html'}}).then(answer => answer.text())",
        "address => fetch(address, {method: 'POST'}).then(answer => answer.text())",
        "a => new Promise(done => {const i = new Image(); i.onerror = () => done('INSTANCE_NOT'); i.src = a;})",
    ):
        # Whoever starts it is told at once that it is starting.
        told = page.evaluate(script, f"{gate.origin}/nlp/lab")
        assert "INSTANCE_NOT" in told
        assert "starting" not in told
    assert starts(gate) == 0

    gate.hold()
    page.goto(f"{gate.origin}/nlp/lab/tree/welcome.ipynb")
    expect(page.get_by_text("is starting").first).to_be_visible()
    gate.let_go()
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=90_000)
    assert "/nlp/lab" in page.url
    assert starts(gate) == 1


def test_a_frame_on_a_page_starts_nothing(gate: Background, page: Page) -> None:
    page.route(
        "**/frame.html", lambda route: route.fulfill(content_type="text/html", body=FRAME.format(gate.origin))
    )
    with page.expect_response("**/nlp/lab") as answer:
        page.goto(f"{gate.origin}/frame.html")
    assert "is stopped" in answer.value.text()
    assert starts(gate) == 0


FRAME = '<!doctype html><title>Elsewhere</title><iframe src="{}/nlp/lab"></iframe>'
