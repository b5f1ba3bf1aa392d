"""A tab of JupyterLab that is only visible keeps no instance running; whoever works in it, does.

Chromium shows the tab of a real Jupyter, with and without jupyter-collaboration, jupyter-lsp, jupyterlab-git and
jupyter-resource-usage. The clocks of the page and of the gateway are moved together, so that an hour of polling passes
in seconds: each step waits for what the page asked for, and none for how long that takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page, Request, WebSocket, expect

from proxy.lifecycle.idle_stopper import TICK_SECONDS
from proxy.sandbox.instance import InstanceSpec
from tests.harness.browsing import PATIENCE_MS, open_browser_in_loop
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig
from tests.harness.idleness import keep_jupyters_clock, tick
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

NAME = "research-gpu-1"
STOPS_AFTER = timedelta(minutes=7)
"""Longer than QUIET and the two minutes after which it is seen that somebody typed."""
QUIET = timedelta(minutes=3)
"""What somebody changed is saved by itself two minutes later, and the gateway looks once a minute."""

PLAIN = ("jupyter_server_proxy",)
EXTENDED = (
    *PLAIN,
    *("jupyter_server_ydoc", "jupyter_server_fileid"),
    *("@jupyter/collaboration-extension", "@jupyter/docprovider-extension"),
    *("jupyter_lsp", "@jupyter-lsp/jupyterlab-lsp"),
    *("jupyterlab_git", "@jupyterlab/git", "nbdime", "nbdime-jupyterlab"),
    *("jupyter_resource_usage", "@jupyter-server/resource-usage"),
)
LAYOUT = "PUT /lab/api/workspaces/"
AWARENESS = "awareness of a document"
SAID_BY_ALL = {"GET /api/kernels", "GET /api/sessions", "GET /api/terminals"}
SAID_IN_LAB = {*SAID_BY_ALL, "GET /api/contents", LAYOUT}
SAID_BY_EXTENSIONS = {AWARENESS, "who is there", "GET /api/metrics/v1"}
SAID_BY_GIT = {"POST /git/branch", "POST /git/status"}

CELL = ".jp-Notebook .jp-Cell .cm-content"
PUT_UNDER_GIT = """async () => {
    const headers = {"X-XSRFToken": document.cookie.match(/\\b_xsrf=([^;]*)/)[1]};
    const raw = JSON.stringify({refreshIfHidden: true, refreshInterval: 20000});
    const url = "/lab/api/settings/@jupyterlab/git:plugin";
    const answers = [
        await fetch("/git/init", {method: "POST", body: "{}", headers}),
        await fetch(url, {method: "PUT", body: JSON.stringify({raw}), headers}),
    ];
    return answers.map(answer => answer.status);
}"""
"""And have jupyterlab-git look at the repository all the time, as its earlier versions did."""
APPLICATION = """<!doctype html><title>application</title>
<button id=post onclick="fetch('count', {method: 'POST'})">post</button>
<button id=send onclick="socket.send('hello')">send</button>
<script>
    setInterval(() => fetch("health"), 10_000);
    const socket = new WebSocket(new URL("socket", location.href.replace("http", "ws")));
</script>"""


@dataclass
class Tab:
    """`said` is what it sent by itself, or was made to, since the last `clear`."""

    page: Page
    said: Counter[str] = field(default_factory=Counter)
    under_way: set[Request] = field(default_factory=set)
    sockets: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", self._asks)
        self.page.on("requestfinished", self._has_asked)
        self.page.on("requestfailed", self._has_asked)
        self.page.on("websocket", self._opens)

    def _asks(self, request: Request) -> None:
        self.under_way.add(request)
        path = "/" + request.url.split("/", 3)[3].partition("?")[0]
        self.said[f"{request.method} {path}"] += 1
        self.said[f"{request.method} {path.rpartition('/')[0]}/"] += 1

    def _has_asked(self, request: Request) -> None:
        self.under_way.discard(request)

    def _opens(self, socket: WebSocket) -> None:
        path = "/" + socket.url.split("/", 3)[3].partition("?")[0]
        self.sockets.add(path)
        socket.on("framesent", lambda payload: self._sends(path, payload))
        socket.on("close", lambda _socket: self.sockets.discard(path))

    def _sends(self, path: str, payload: str | bytes) -> None:
        if "/collaboration/room/" in path:
            is_awareness = isinstance(payload, bytes) and payload[:1] == b"\1"
            what = (
                "who is there" if path.endswith("globalAwareness") else AWARENESS if is_awareness else "sync"
            )
            self.said[what] += 1
        else:
            self.said[f"message on {path}"] += 1


@dataclass
class Desk:
    """All that one person has open."""

    rig: Rig
    clock: FakeClock
    context: BrowserContext
    application: str
    """The path of an application under `/proxy/`."""
    tabs: list[Tab] = field(default_factory=list)

    async def open(self, path: str) -> Tab:
        tab = Tab(await self.context.new_page())
        self.tabs.append(tab)
        await tab.page.goto(f"{self.rig.origin}{path}")
        return tab

    async def pass_time(self, most: timedelta, *, until: Callable[[], bool]) -> None:
        """Until it holds, but no longer than that."""
        gives_up_at = self.clock.now() + most
        while not until() and self.clock.now() < gives_up_at:
            await self.context.clock.run_for(int(TICK_SECONDS * 1000))
            await eventually(lambda: not any(tab.under_way for tab in self.tabs))
            await tick(self.rig, self.clock)

    async def falls_idle(self) -> None:
        await self.pass_time(STOPS_AFTER + QUIET, until=lambda: self.clock.now() - self.used_at >= QUIET)
        assert self.clock.now() - self.used_at >= QUIET, self.tabs[0].said

    async def is_seen(self, act: Callable[[Desk], Awaitable[None]]) -> None:
        """Somebody does something, after a while in which nothing was done."""
        await self.falls_idle()
        began_at = self.clock.now()
        await act(self)
        await self.pass_time(QUIET, until=lambda: self.used_at >= began_at)
        assert self.used_at >= began_at, f"somebody {act.__name__}: {self.tabs[0].said}"
        assert self.stops == 0

    async def is_stopped(self) -> None:
        await self.pass_time(STOPS_AFTER + QUIET, until=lambda: self.stops > 0)
        assert self.stops == 1, self.tabs[0].said

    @property
    def stops(self) -> int:
        return self.rig.sandbox.calls["StopNotebookInstance"]

    @property
    def used_at(self) -> datetime:
        """The last use that the gateway knows of; now, while there is some."""
        return self.rig.gateway.serving.idleness.lifecycle.state("research").idle_since or self.clock.now()


@pytest.fixture
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    async with open_browser_in_loop(chromium_path) as opened:
        yield opened


async def notebook_is_ready(page: Page) -> None:
    await page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
    # A shared document comes over a WebSocket of its own.
    await expect(page.locator(CELL).first).to_have_text("print(6*7)")


@asynccontextmanager
async def serve_application() -> AsyncIterator[str]:
    """What people run on a notebook's machine: a page that polls, posts and holds a WebSocket."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=APPLICATION, content_type="text/html")

    async def nothing(_request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for _ in response:
            pass
        return response

    app = web.Application()
    app.add_routes(
        [
            web.get("/", page),
            web.get("/health", nothing),
            web.post("/count", nothing),
            web.get("/socket", socket),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"/proxy/{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def open_desk(directory: Path, browser: Browser, extensions: tuple[str, ...]) -> AsyncIterator[Desk]:
    clock = FakeClock(datetime.now(UTC))
    lifecycle = {"stop_after_idle": f"{STOPS_AFTER // timedelta(minutes=1)}m", "stop_warning": "1m"}
    instances = (InstanceSpec(name=NAME, jupyter=True, extensions=extensions),)
    # A minute of this clock is shorter than a busy machine may take for an answer.
    timeouts = dict.fromkeys(("websocket_silence", "response_head", "idle", "upstream_idle"), "1h")
    async with (
        serve_application() as application,
        open_rig(directory, instances=instances, clock=clock, lifecycle=lifecycle, timeouts=timeouts) as rig,
    ):
        keep_jupyters_clock(rig, clock)
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        await context.clock.install()
        try:
            yield Desk(rig, clock, context, application)
        finally:
            await context.close()


# -- what somebody does -------------------------------------------------------------------------------------


async def types(desk: Desk) -> None:
    """What is typed is saved by itself: at once where the document is shared, else after two minutes."""
    cell = desk.tabs[0].page.locator(CELL).first
    await cell.click()
    await desk.tabs[0].page.keyboard.type(" # more")


async def runs(desk: Desk) -> None:
    page = desk.tabs[0].page
    await page.locator(CELL).first.click()
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".jp-OutputArea-output pre").first).to_have_text("42\n")


async def saves(desk: Desk) -> None:
    page = desk.tabs[0].page
    await page.locator(CELL).first.click()
    await page.keyboard.press("Control+s")
    await page.wait_for_load_state("networkidle")


async def uploads(desk: Desk) -> None:
    page = desk.tabs[0].page
    async with page.expect_file_chooser() as chosen:
        await page.locator("[data-jp-item-name='uploader'] jp-button").first.click()
    files: list[Any] = [
        {"name": name, "mimeType": "text/csv", "buffer": b"1,2"} for name in ("a.csv", "b.csv")
    ]
    await (await chosen.value).set_files(files)
    for name in ("a.csv", "b.csv"):
        await page.locator(".jp-DirListing-item", has_text=name).wait_for()


async def opens_a_document(desk: Desk) -> None:
    page = desk.tabs[0].page
    await page.locator(".jp-DirListing-item", has_text="a.csv").dblclick()
    await page.locator(".jp-CSVViewer").wait_for()


async def clicks_in_an_application(desk: Desk) -> None:
    await desk.tabs[1].page.locator("#post").click()


async def speaks_to_an_application(desk: Desk) -> None:
    await desk.tabs[1].page.locator("#send").click()


IN_LAB = (types, saves, runs, uploads, opens_a_document)
IN_APPLICATION = (clicks_in_an_application, speaks_to_an_application)


@pytest.mark.parametrize("extensions", [PLAIN, EXTENDED], ids=["plain", "extended"])
async def test_work_in_a_tab_is_use_and_the_tab_alone_is_not(
    tmp_path: Path, browser: Browser, extensions: tuple[str, ...]
) -> None:
    is_extended = extensions is EXTENDED
    async with open_desk(tmp_path, browser, extensions) as desk:
        if is_extended:
            page = (await desk.open("/lab?reset")).page
            await page.locator(".jp-Launcher").wait_for()
            assert await page.evaluate(PUT_UNDER_GIT) == [200, 204]
            await page.close()
            desk.tabs.clear()
        lab = await desk.open("/lab/tree/welcome.ipynb?reset")
        await notebook_is_ready(lab.page)
        if not is_extended:
            application = await desk.open(desk.application)
            await application.page.locator("#post").wait_for()
            await lab.page.bring_to_front()
        for act in IN_LAB if is_extended else IN_APPLICATION + IN_LAB:
            await desk.is_seen(act)
        lab.said.clear()
        await desk.falls_idle()
        expected = SAID_IN_LAB | (SAID_BY_EXTENSIONS | SAID_BY_GIT if is_extended else set())
        assert expected - lab.said.keys() == set()
        assert any(path.startswith("/api/kernels/") for path in lab.sockets)
        assert is_extended is any(path.startswith("/lsp/ws/") for path in lab.sockets)
        await desk.is_stopped()


async def test_an_idle_tab_of_notebook_7_keeps_nothing_running(tmp_path: Path, browser: Browser) -> None:
    async with open_desk(tmp_path, browser, EXTENDED) as desk:
        tab = await desk.open("/notebooks/welcome.ipynb")
        await notebook_is_ready(tab.page)
        await desk.open("/tree")
        await desk.tabs[1].page.get_by_text("welcome.ipynb").first.wait_for()
        await desk.falls_idle()
        assert tab.said.keys() >= SAID_BY_ALL | SAID_BY_EXTENSIONS
        await desk.is_stopped()
