"""A person with a browser: real Chromium, real JupyterLab, the gateway between them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page

from tests.harness.browsing import (
    PATIENCE_MS,
    is_outside,
    kernel_introduced,
    open_lab,
    open_notebook,
    run_cell,
    run_in_terminal,
)
from tests.harness.jupyter import House

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.mark.parametrize("kind", ["root", "host", "port", "path"])
def test_a_cell_runs_and_shows_its_result(house: House, page: Page, kind: str) -> None:
    """`print(6*7)` in a notebook of JupyterLab, through the gateway: 42 stands in the page."""
    outside: list[str] = []
    base = house.urls[kind]
    page.on("request", lambda request: outside.append(request.url) if is_outside(request.url, base) else None)
    open_lab(page, base)
    open_notebook(page)
    run_cell(page)
    assert outside == []


@pytest.mark.parametrize("kind", ["root", "path"])
def test_a_terminal_echoes_a_command(house: House, page: Page, kind: str) -> None:
    open_lab(page, house.urls[kind])
    run_in_terminal(page, house.urls[kind])


@pytest.mark.parametrize("kind", ["root", "path"])
def test_notebook_7_opens_and_runs(house: House, page: Page, kind: str) -> None:
    page.goto(f"{house.urls[kind]}tree")
    page.wait_for_selector(".jp-DirListing", state="visible")
    with page.expect_popup() as popup:
        page.get_by_text("New", exact=True).first.click()
        page.locator(".lm-Menu-itemLabel", has_text="Python 3 (ipykernel)").click()
    notebook = popup.value
    notebook.set_default_timeout(PATIENCE_MS)
    with kernel_introduced(notebook):
        notebook.locator(".jp-Notebook").wait_for()
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
