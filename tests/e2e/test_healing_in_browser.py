"""Open tabs of JupyterLab and Notebook 7 heal by themselves: nobody clicks anything, nothing that was typed is lost.

Each event befalls all tabs at once: a notebook and a terminal of each, JupyterLab under a path on plain http, Notebook
7 on a host of its own. `NBGATE_REPEAT=5` has each event five times. What JupyterLab tells of a server that it could not
reach lies over the page until a key closes it; it does not come up where the gateway can prevent that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Response, WebSocket, expect

from tests.harness.browsing import PATIENCE_MS, open_browser
from tests.harness.jupyter import BROWSER_FLAGS, Estate, open_estate

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

ROUNDS = range(int(os.environ.get("NBGATE_REPEAT", "1")))
HEALED_SECONDS = 45.0
AWAY_SECONDS = 20.0
TRY_MS = 1500
"""Between two tries to run a cell, or to type into a terminal."""

PRINTS = "print('{}', 6*7)"
UNSAVED = "unsaved = '{}'"
PUT_A_COPY = """async () => {
    const [, prefix] = location.pathname.match(/^(.*?)\\/lab/);
    const xsrf = document.cookie.match(/\\b_xsrf=([^;]*)/)[1];
    const url = `${prefix}/api/contents/`;
    const model = await (await fetch(`${url}welcome.ipynb`)).json();
    const body = JSON.stringify({type: "notebook", content: model.content});
    const answer = await fetch(`${url}second.ipynb`, {method: "PUT", body, headers: {"X-XSRFToken": xsrf}});
    return answer.status;
}"""


@dataclass
class Tab:
    """`seen` are the answers of 400 and more since the last event, `frames` what came over a terminal's WebSocket,
    `sockets` those of its kernel, or its terminal, that are open.
    """

    name: str
    page: Page
    seen: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    sockets: set[WebSocket] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("response", self._answered)
        self.page.on("websocket", self._opened)

    @property
    def is_notebook(self) -> bool:
        return "terminal" not in self.name

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(number)

    def dialogs(self) -> list[str]:
        return self.page.locator(".jp-Dialog").all_inner_texts()

    def write(self, number: int, text: str) -> None:
        """Into a cell, without running it."""
        self.cell(number).focus()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)
        expect(self.cell(number)).to_have_text(text)

    def close_dialogs(self) -> None:
        """With the keyboard, which they have."""
        for text in self.dialogs():
            assert text.startswith("Server Connection Error"), text
            self.page.keyboard.press("Escape")
        expect(self.page.locator(".jp-Dialog")).to_have_count(0)

    def works(self, mark: str, *, until: float) -> None:
        """Run the first cell, or a command in the terminal, until what it prints has come."""
        while not (self._runs(mark) if self.is_notebook else self._echoes(mark)):
            assert time.monotonic() < until, f"{self.name}: {self.dialogs()}, {self.seen}"

    def is_shut_out(self) -> bool:
        """Its WebSocket is closed, and it was told why."""
        return not self.sockets and any(line.startswith("424 ") for line in self.seen)

    def _runs(self, mark: str) -> bool:
        self.cell(0).focus()
        self.page.keyboard.press("Control+Enter")
        output = self.page.locator(".jp-Notebook .jp-Cell").first.locator(".jp-OutputArea-output")
        try:
            expect(output).to_have_text(f"{mark} 42", timeout=TRY_MS)
        except AssertionError:
            return False
        return True

    def _echoes(self, mark: str) -> bool:
        self.page.locator(".jp-Terminal-body .xterm-helper-textarea").focus()
        self.page.keyboard.type(f"echo {mark}-$((6*7))")
        self.page.keyboard.press("Enter")
        for _ in range(TRY_MS // 100):
            if f"{mark}-42" in "".join(self.frames):
                return True
            self.page.wait_for_timeout(100)
        return False

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.seen.append(f"{response.status} {response.request.method} {response.url}")

    def _opened(self, socket: WebSocket) -> None:
        if "/terminals/websocket/" in socket.url:
            socket.on("framereceived", lambda payload: self.frames.append(str(payload)))
        if "/terminals/websocket/" in socket.url or "/channels" in socket.url:
            self.sockets.add(socket)
            socket.on("close", lambda closed: self.sockets.discard(closed))


@dataclass
class Desk:
    """All that is open, of one person in one browser."""

    estate: Estate
    context: BrowserContext
    tabs: list[Tab]

    def pass_by(self, seconds: float) -> None:
        """Let the tabs meet what there is: real time, of a real browser."""
        self.tabs[0].page.wait_for_timeout(seconds * 1000)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, what
            self.pass_by(0.1)

    def follow(self, kind: str, *, session_seconds: int = 43_200) -> None:
        """Open a new link in another tab, and close that."""
        page = self.context.new_page()
        page.goto(self.estate.link(kind, "api/status", session_seconds=session_seconds))
        page.close()


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with open_estate(tmp_path_factory.mktemp("estate")) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    with open_browser(chromium_path, *BROWSER_FLAGS) as opened:
        yield opened


@pytest.fixture(scope="module")
def desk(estate: Estate, browser: Browser) -> Iterator[Desk]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    names = ("lab", "lab terminal", "notebook 7", "notebook 7 terminal")
    lab, lab_terminal, notebook, notebook_terminal = tabs = [Tab(name, context.new_page()) for name in names]

    lab.page.goto(estate.link("path", "lab/tree/welcome.ipynb?reset"))
    lab.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    assert lab.page.evaluate(PUT_A_COPY) == 201
    lab_terminal.page.goto(f"{estate.urls['path']}lab/workspaces/terminal?reset")
    lab_terminal.page.locator(".jp-LauncherCard[title='Start a new terminal session']").click()
    notebook.page.goto(estate.link("host", "notebooks/second.ipynb"))
    notebook.page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
    notebook_terminal.page.goto(f"{estate.urls['host']}terminals/1")
    for tab in tabs:
        if tab.is_notebook:
            # Another cell below the first.
            tab.cell(0).focus()
            tab.page.keyboard.press("Shift+Enter")
            tab.cell(1).wait_for()
            tab.write(0, PRINTS.format("ready"))
        else:
            tab.page.locator(".jp-Terminal-body .xterm-helper-textarea").wait_for(state="attached")
        tab.works("ready", until=time.monotonic() + HEALED_SECONDS)
    yield Desk(estate, context, tabs)
    context.close()


# -- what happens -------------------------------------------------------------------------------------------


def a_gateway_ends_and_another_comes(desk: Desk) -> None:
    desk.estate.restart()


def the_notebook_is_away_for_20_seconds(desk: Desk) -> None:
    desk.estate.lose_notebook()
    desk.pass_by(AWAY_SECONDS)
    desk.estate.find_notebook()


def a_session_ends_and_a_new_link_is_opened_in_another_tab(desk: Desk) -> None:
    for kind in desk.estate.urls:
        desk.follow(kind, session_seconds=5)
    # They connect again, with the short session.
    desk.estate.drop_websockets()
    desk.until(lambda: all(tab.is_shut_out() for tab in desk.tabs), "the session did not end")
    for kind in desk.estate.urls:
        desk.follow(kind)


def access_is_withdrawn_and_given_back(desk: Desk) -> None:
    desk.estate.withdraw_access()
    desk.until(lambda: all(tab.is_shut_out() for tab in desk.tabs), "access was not withdrawn")
    desk.estate.give_access_back()


def awss_front_end_closes_what_is_open(desk: Desk) -> None:
    """In a way after which these pages would never come again, were they told."""
    desk.estate.close_websockets(code=1001)
    desk.pass_by(1.0)
    desk.estate.close_websockets(code=1000)


EVENTS = (
    a_gateway_ends_and_another_comes,
    awss_front_end_closes_what_is_open,
    the_notebook_is_away_for_20_seconds,
    a_session_ends_and_a_new_link_is_opened_in_another_tab,
    access_is_withdrawn_and_given_back,
)


def _is_of_a_file(response: Response) -> bool:
    """Not of the workspace, which JupyterLab saves by itself."""
    return response.request.method == "PUT" and "/api/contents/" in response.url


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("number", ROUNDS)
def test_open_tabs_go_on_by_themselves(desk: Desk, event: Callable[[Desk], None], number: int) -> None:
    """Within 45 seconds after things are well again a cell runs and a terminal answers; unsaved text is there, and can
    be saved.
    """
    mark = f"m{EVENTS.index(event)}x{number}"
    for tab in desk.tabs:
        if tab.is_notebook:
            tab.write(0, PRINTS.format(mark))
            tab.write(1, UNSAVED.format(mark))
        tab.seen.clear()
        tab.frames.clear()
    event(desk)
    well_at = time.monotonic()
    for tab in desk.tabs:
        if event is the_notebook_is_away_for_20_seconds:
            assert tab.dialogs() == []
        tab.close_dialogs()
        tab.works(mark, until=well_at + HEALED_SECONDS)
        print(f"{event.__name__}: {tab.name} after {time.monotonic() - well_at:.1f} s")
    for tab in desk.tabs:
        if tab.is_notebook:
            assert tab.cell(1).inner_text() == UNSAVED.format(mark)
            with tab.page.expect_response(_is_of_a_file) as saved:
                tab.page.keyboard.press("Control+s")
            assert saved.value.status == 200
        assert tab.dialogs() == []
