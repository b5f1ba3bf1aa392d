"""What else runs on notebooks, in Chromium through a gateway whose only mount is a path: it boots, runs, asks, streams.

Nothing that a page asks for lies outside of the mount, but where it says so.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.harness.applications import HEAD_SECONDS, PATIENCE_SECONDS, Applications, open_applications
from tests.harness.browsing import PATIENCE_MS, is_outside, kernel_introduced

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]

ASKING: Final = """
import time
import zmq

get_ipython().kernel.stdin_socket.router_mandatory = 1
while True:
    try:
        name = input('who? ')
        break
    except zmq.ZMQError:
        time.sleep(0.01)
print('hello ' + name)
"""
"""A cell that asks until somebody hears it.

jupyter_client opens the channel on which a kernel asks (stdin) in the moment in which it sends the first cell to run
(`KernelClient.execute_interactive`), and waits for the others alone (`wait_for_ready`). A kernel that asks before that
channel is connected asks nobody: a ZeroMQ socket of type ROUTER drops what it cannot deliver. The cell runs for ever,
and those after it wait. Without a gateway, over Jupyter's own socket, that came to 7 of 60 first cells beside three
busy loops, and to none of 45 with this cell: by the option the socket says that there is nobody.
"""

SLOW: Final = """
import os
import time

while not os.path.exists('go.txt'):
    time.sleep(0.1)
print('second')
"""
"""A cell that goes on when it is told to."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applications]:
    with open_applications(tmp_path_factory.mktemp("applications")) as opened:
        for name in ("ask-classic.ipynb", "ask-lab.ipynb", "ask-7.ipynb"):
            opened.put_notebook(name, ASKING)
        opened.put_notebook("shown.ipynb", "print(6*7)", "print('second')")
        opened.put_notebook("slow.ipynb", "print(6*7)", SLOW)
        yield opened


@pytest.fixture
def asked_outside(running: Applications, page: Page) -> list[str]:
    """Addresses outside of the mount, on its origin, that the page asked for. Some pages ask other sites, too."""
    mounts = (running.url, running.hasty_url)
    outside: list[str] = []

    def note(url: str) -> None:
        outside.extend(
            url
            for mount in mounts
            if not is_outside(url, mount.removesuffix("research/")) and is_outside(url, mount)
        )

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
    executed: list[str] = []
    page.on("request", lambda request: executed.append(request.url) if "/execute?" in request.url else None)
    with kernel_introduced(page):
        page.goto(f"{running.url}{address}")
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    answer_input(page, ".jp-OutputArea-output")
    assert len(executed) == 1
    assert asked_outside == []


def test_voila_lists_and_shows_what_it_ran(
    running: Applications, page: Page, asked_outside: list[str]
) -> None:
    """And connects the page's widgets with the kernel."""
    page.goto(f"{running.url}voila")
    page.get_by_text("shown.ipynb").wait_for()
    with kernel_introduced(page):
        page.goto(f"{running.url}voila/render/shown.ipynb")
    expect(page.locator("#rendered_cells")).to_contain_text("42", timeout=PATIENCE_MS)
    expect(page.locator("#rendered_cells")).to_contain_text("second")
    assert asked_outside == []


def test_voila_shows_what_it_has_while_a_cell_takes_long(
    running: Applications, page: Page, asked_outside: list[str]
) -> None:
    """Longer than `timeouts.response_head`: Voilà keeps the connection busy every 10 s, and the page is seen as it
    comes."""
    page.goto(f"{running.hasty_url}voila/render/slow.ipynb", wait_until="commit")
    cells = page.locator("#rendered_cells")
    expect(cells).to_contain_text("42", timeout=PATIENCE_MS)
    beats = "[...document.scripts].filter(one => one.textContent === 'window.voila_heartbeat()').length"
    page.wait_for_function(f"{beats} > {HEAD_SECONDS / 10}", timeout=PATIENCE_MS + 1000 * HEAD_SECONDS)
    expect(cells).not_to_contain_text("second")
    running.put_text("go.txt", "")
    expect(cells).to_contain_text("second", timeout=PATIENCE_MS)
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


def go_on(base: str, path: str) -> None:
    urllib.request.urlopen(f"{base}go?{path}", timeout=PATIENCE_SECONDS).close()


def test_event_streams_are_heard_as_they_come(
    running: Applications, page: Page, asked_outside: list[str]
) -> None:
    base = running.proxied("streams")
    page.goto(base)
    expect(page.locator("#said")).to_have_text("one ")
    go_on(base, "/events")
    expect(page.locator("#said")).to_contain_text("two")
    assert asked_outside == []


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/page", [b"<p>one<a ", b"href='/research/x'>", b"<p>two"]),
        ("/stream", [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]),
    ],
)
def test_a_page_that_streams_is_seen_as_it_comes(
    running: Applications, path: str, parts: list[bytes]
) -> None:
    """A page of progress, and the events of jupyter-server-proxy's own test, which call themselves HTML. It holds
    pages back itself, but where an event stream is asked for."""
    base = running.proxied("streams")
    asked = urllib.request.Request(f"{base}{path[1:]}", headers={"Accept": "text/event-stream"})
    with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:
        for number, part in enumerate(parts):
            if number:
                go_on(base, path)
            assert answer.read(len(part)) == part
        assert answer.read() == b""
