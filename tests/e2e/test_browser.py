"""A person with a browser: real Chromium, real JupyterLab, the gateway between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from houses import House
from playwright.sync_api import Browser, Page, WebSocket, expect, sync_playwright

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(180)]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


def open_lab(page: Page, url: str) -> None:
    """Open JupyterLab with a clean workspace, as a new user would see it."""
    page.goto(f"{url}lab?reset")
    page.wait_for_selector(".jp-Launcher", state="visible")


def run_cell(page: Page) -> None:
    """Type `print(6*7)` into the first cell, run it, and see the result in the page."""
    cell = page.locator(".jp-Notebook .jp-Cell .cm-content").first
    cell.click()
    page.keyboard.type("print(6*7)")
    expect(cell).to_have_text("print(6*7)")
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output pre").first
    expect(output).to_have_text(re.compile(r"^42\s*$"), timeout=PATIENCE_MS)


@pytest.mark.parametrize("kind", ["root", "host", "port", "path"])
def test_a_cell_runs_and_shows_its_result(house: House, page: Page, kind: str) -> None:
    """`print(6*7)` in a notebook of JupyterLab, through the gateway: 42 stands in the page."""
    outside: list[str] = []
    base = house.urls[kind]
    page.on("request", lambda request: outside.append(request.url) if is_outside(request.url, base) else None)
    open_lab(page, base)
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    run_cell(page)
    assert outside == []


def is_outside(url: str, base: str) -> bool:
    """Whether a page below `base` asked for something that is not below it (data: and blob: are the page's own)."""
    return url.startswith(("http:", "https:", "ws:", "wss:")) and not url.startswith(
        (base, base.replace("http", "ws", 1))
    )


@pytest.mark.parametrize("kind", ["root", "path"])
def test_a_terminal_echoes_a_command(house: House, page: Page, kind: str) -> None:
    # xterm draws on a canvas: what it was told to draw is what came over its WebSocket.
    received: list[str] = []

    def follow(socket: WebSocket) -> None:
        if "/terminals/websocket/" in socket.url:
            assert not is_outside(socket.url, house.urls[kind])
            socket.on("framereceived", lambda payload: received.append(str(payload)))

    page.on("websocket", follow)
    open_lab(page, house.urls[kind])
    page.locator(".jp-LauncherCard[title='Start a new terminal session']").click()
    page.locator(".jp-Terminal-body .xterm-screen").click()
    page.keyboard.type("echo out-$((6*7))")
    page.keyboard.press("Enter")
    for _ in range(PATIENCE_MS // 100):
        if "out-42" in "".join(received):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"no echo in {received}")


@pytest.mark.parametrize("kind", ["root", "path"])
def test_notebook_7_opens_and_runs(house: House, page: Page, kind: str) -> None:
    page.goto(f"{house.urls[kind]}tree")
    page.wait_for_selector(".jp-DirListing", state="visible")
    with page.expect_popup() as popup:
        page.get_by_text("New", exact=True).first.click()
        page.locator(".lm-Menu-itemLabel", has_text="Python 3 (ipykernel)").click()
    notebook = popup.value
    notebook.set_default_timeout(PATIENCE_MS)
    notebook.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
    run_cell(notebook)


def test_a_denied_person_sees_a_page_with_the_address_and_a_request_id(house: House, page: Page) -> None:
    response = page.goto(f"{house.urls['denied']}lab")
    assert response is not None
    assert response.status == 403
    text = page.inner_text("body")
    assert "127.0.0.1" in text
    assert re.search(r"[0-9a-f]{16}", text)
    assert "203.0.113" not in text


def test_a_visit_to_the_mount_without_its_slash_leads_to_it(house: House, page: Page) -> None:
    page.goto(house.urls["path"].removesuffix("/"))
    page.wait_for_url(re.compile(re.escape(house.urls["path"]) + ".*"))
