"""What a person does in JupyterLab, done by Chromium: open it, run a cell, type into a terminal."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from playwright import async_api
from playwright.sync_api import Browser, Page, WebSocket, expect, sync_playwright

PATIENCE_MS = 60_000
# Playwright's own five seconds are too few on a busy machine.
expect.set_options(timeout=PATIENCE_MS)
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@contextmanager
def open_browser(path: str, *flags: str) -> Iterator[Browser]:
    """Chromium without a window. Playwright keeps an event loop in this thread until it is closed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_FLAGS, *flags])
        yield browser
        browser.close()


@asynccontextmanager
async def open_browser_in_loop(path: str) -> AsyncIterator[async_api.Browser]:
    """The same for coroutines."""
    async with async_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        await browser.close()


@contextmanager
def open_page(browser: Browser) -> Iterator[Page]:
    """A page of a person that was never here."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


def open_lab(page: Page, url: str) -> None:
    """Open JupyterLab with a clean workspace, as a new user would see it."""
    page.goto(f"{url}lab?reset")
    page.wait_for_selector(".jp-Launcher", state="visible")


@contextmanager
def kernel_introduced(page: Page) -> Iterator[None]:
    """Wait, after what opens a notebook, until its kernel has told the page what it is.

    The indicator in a notebook's toolbar shows an idle kernel, and its name, while the page has none yet. A cell that
    is run then is not: its number is cleared, and nobody is asked (`runCell` of JupyterLab, jupyter-server-nbmodel).
    """
    heard: list[str] = []

    def follow(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: note(socket.url, frame))

    def note(url: str, frame: str | bytes) -> None:
        if b"kernel_info_reply" in (frame.encode() if isinstance(frame, str) else frame):
            heard.append(url)

    page.on("websocket", follow)
    yield
    for _ in range(PATIENCE_MS // 100):
        if heard:
            return
        page.wait_for_timeout(100)
    pytest.fail("no kernel said what it is")


def open_notebook(page: Page) -> None:
    """From the launcher, and wait for its kernel."""
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()


def run_cell(page: Page) -> None:
    """Type `print(6*7)` into the first cell, run it, and see the result in the page."""
    cell = page.locator(".jp-Notebook .jp-Cell .cm-content").first
    cell.click()
    page.keyboard.type("print(6*7)")
    expect(cell).to_have_text("print(6*7)")
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output pre").first
    expect(output).to_have_text(re.compile(r"^42\s*$"), timeout=PATIENCE_MS)


def run_in_terminal(page: Page, base: str) -> None:
    """Open a terminal from the launcher, type a command and see it echo, over a WebSocket below `base`."""
    # xterm draws on a canvas: what it was told to draw is what came over its WebSocket.
    received: list[str] = []

    def follow(socket: WebSocket) -> None:
        if "/terminals/websocket/" in socket.url:
            assert not is_outside(socket.url, base)
            socket.on("framereceived", lambda payload: received.append(str(payload)))

    page.on("websocket", follow)
    page.locator(".jp-LauncherCard[title='Start a new terminal session']").click()
    page.locator(".jp-Terminal-body .xterm-screen").click()

    def comes(what: str) -> None:
        for _ in range(PATIENCE_MS // 100):
            if what in "".join(received):
                return
            page.wait_for_timeout(100)
        pytest.fail(f"no {what} in {received}")

    # What is typed before the shell shows its prompt is lost where the WebSocket is not open yet.
    comes('"stdout"')
    page.keyboard.type("echo out-$((6*7))")
    page.keyboard.press("Enter")
    comes("out-42")


def is_outside(url: str, base: str) -> bool:
    """Whether a page below `base` asked for something that is not below it (data: and blob: are the page's own)."""
    return url.startswith(("http:", "https:", "ws:", "wss:")) and not url.startswith(
        (base, base.replace("http", "ws", 1))
    )
