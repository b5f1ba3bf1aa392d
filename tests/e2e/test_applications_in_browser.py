"""What else runs on notebooks, in Chromium through a gateway whose only mount is a path: it boots, runs, asks, streams.

Nothing that a page asks for lies outside of the mount, but where it says so.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import pytest
from applications import Applications, open_applications
from browsing import PATIENCE_MS, is_outside
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applications]:
    with open_applications(tmp_path_factory.mktemp("applications")) as opened:
        for name in ("ask-classic.ipynb", "ask-lab.ipynb", "ask-7.ipynb"):
            opened.put_notebook(name, "name = input('who? ')\nprint('hello ' + name)")
        opened.put_notebook("shown.ipynb", "print(6*7)", "print('second')")
        yield opened


@pytest.fixture
def asked_outside(running: Applications, page: Page) -> list[str]:
    """Addresses outside of the mount, on its origin, that the page asked for. Some pages ask other sites, too."""
    origin = running.url.removesuffix("research/")
    outside: list[str] = []

    def note(url: str) -> None:
        if not is_outside(url, origin) and is_outside(url, running.url):
            outside.append(url)

    page.on("request", lambda request: note(request.url))
    page.on("websocket", lambda socket: note(socket.url))
    return outside


def answer_input(page: Page, output: str) -> None:
    box = page.locator(".jp-Stdin-input, .output_stdin_input, input.raw_input").first
    box.fill("zoe")
    box.press("Enter")
    expect(page.locator(output).last).to_contain_text("hello zoe", timeout=PATIENCE_MS)


def test_nbclassic_boots_runs_and_asks(running: Applications, page: Page, asked_outside: list[str]) -> None:
    page.goto(f"{running.url}nbclassic/notebooks/ask-classic.ipynb")
    page.locator(".kernel_idle_icon").wait_for()
    page.locator("#run_int button").first.click()
    answer_input(page, ".output_stdout")
    assert asked_outside == []


@pytest.mark.parametrize("address", ["nbclassic/tree", "nbclassic/edit/ask-7.ipynb"])
def test_nbclassics_other_pages_boot(
    running: Applications, page: Page, asked_outside: list[str], address: str
) -> None:
    page.goto(f"{running.url}{address}")
    page.locator("#notebook_list .list_item, .CodeMirror").first.wait_for()
    assert asked_outside == []


@pytest.mark.parametrize("address", ["lab/tree/ask-lab.ipynb?reset", "notebooks/ask-7.ipynb"])
def test_cells_that_the_server_runs_ask(
    running: Applications, page: Page, asked_outside: list[str], address: str
) -> None:
    """jupyter-server-nbmodel, in JupyterLab and Notebook 7: it is told by `Location` where to ask on."""
    page.goto(f"{running.url}{address}")
    page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
    executed: list[str] = []
    page.on("request", lambda request: executed.append(request.url) if "/execute?" in request.url else None)
    for _ in range(4):
        # The page shows an idle kernel a moment before it would run a cell; people press again, too.
        page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        try:
            page.locator(".jp-Stdin-input").wait_for(timeout=10_000)
            break
        except PlaywrightTimeout:
            pass
    assert executed != []
    answer_input(page, ".jp-OutputArea-output")
    assert asked_outside == []


def test_voila_shows_what_it_ran(running: Applications, page: Page, asked_outside: list[str]) -> None:
    page.goto(f"{running.url}voila/render/shown.ipynb")
    expect(page.locator("#rendered_cells")).to_contain_text("42", timeout=PATIENCE_MS)
    expect(page.locator("#rendered_cells")).to_contain_text("second")
    assert asked_outside == []


def test_dash_that_is_told_its_whole_prefix(
    running: Applications, page: Page, asked_outside: list[str]
) -> None:
    page.goto(running.proxied("dash"))
    expect(page.locator("#greeting")).to_have_text("hello nobody", timeout=PATIENCE_MS)
    page.locator("#who").fill("zoe")
    expect(page.locator("#greeting")).to_have_text("hello zoe")
    assert asked_outside == []


def test_dash_that_is_not_is_led_back_as_far_as_may_be(running: Applications, page: Page) -> None:
    """It shows its layout; its callbacks are POSTs, whose answer says what to set."""
    with page.expect_response(re.compile(r"_dash-update-component\b")) as refused:
        page.goto(running.proxied("dash_unaware"))
    page.locator("#who").wait_for()
    assert refused.value.status == 404
    assert "/research/proxy/PORT/" in refused.value.json()["message"]


def test_event_streams_are_heard_as_they_come(
    running: Applications, page: Page, asked_outside: list[str]
) -> None:
    base = running.proxied("streams")
    page.goto(base)
    expect(page.locator("#said")).to_have_text("one ")
    urllib.request.urlopen(f"{base}go?/events", timeout=30).close()
    expect(page.locator("#said")).to_contain_text("two")
    assert asked_outside == []


def test_a_page_that_streams_is_seen_as_it_comes(running: Applications) -> None:
    """jupyter-server-proxy holds pages back itself, but where an event stream is asked for."""
    base = running.proxied("streams")
    asked = urllib.request.Request(f"{base}page", headers={"Accept": "text/event-stream"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.read(6) == b"<p>one"
        urllib.request.urlopen(f"{base}go?/page", timeout=30).close()
        assert answer.read() == b"<p>two"
