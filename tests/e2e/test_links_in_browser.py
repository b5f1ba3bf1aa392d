"""A person with a link: Chromium on mounts that let nobody in without one."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from proxy.chance import nonce
from proxy.clock import SystemClock
from proxy.config.load import load
from proxy.identity.tokens import TokenKind, TokenSigner, authorized_url
from tests.harness.browsing import open_notebook, open_page, run_cell
from tests.harness.jupyter import GUARDED_MOUNTS, TOKEN_KEY, House

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]


def link(
    house: House, name: str, *, page: str = "", kind: TokenKind = TokenKind.URL, seconds: int = 300
) -> str:
    """A gateway's address as CreatePresignedNotebookInstanceUrl would answer it."""
    tokens = TokenSigner([TOKEN_KEY], own_key=TOKEN_KEY, clock=SystemClock(), nonce=nonce)
    token = tokens.issue(
        kind,
        instance=name,
        leads_to=load(house.config, environ={}).leads_to(name),
        principal="zoe",
        address=None,
        seconds=seconds,
        session_seconds=1800,
    )
    url = house.urls[name] + page
    if kind is TokenKind.API:
        return f"{url}?token={token}"
    return authorized_url(url, token)


def signed_in(page: Page) -> None:
    page.wait_for_selector(".jp-Launcher, .jp-NotebookPanel", state="visible")
    assert "oken" not in page.url


@pytest.mark.parametrize("name", GUARDED_MOUNTS)
def test_a_link_opens_jupyterlab_and_its_kernels_and_only_once(
    house: House, browser: Browser, page: Page, name: str
) -> None:
    address = link(house, name, page="lab?reset")
    page.goto(address)
    signed_in(page)
    open_notebook(page)
    run_cell(page)
    [cookie] = [one for one in page.context.cookies() if "nbgate" in one["name"]]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert cookie["path"] == ("/" if name == "guarded-host" else "/guarded/")
    assert page.evaluate("document.cookie").count("nbgate") == 0
    # Whoever finds the link later, in a chat or a history, does not get in.
    with open_page(browser) as stranger:
        stranger.goto(address)
        expect(stranger).to_have_url(re.compile(r"/\.nbgate/sign-in$"))
        expect(stranger.get_by_role("heading", level=1)).to_have_text("A link is needed")
        assert [one for one in stranger.context.cookies() if "nbgate" in one["name"]] == []
        stranger.goto(house.urls[name] + "lab")
        expect(stranger).to_have_url(re.compile(r"/\.nbgate/sign-in$"))
    # The browser that it let in may follow it again.
    page.goto(address)
    signed_in(page)


@pytest.mark.parametrize(("view", "path"), [("lab", "/guarded/lab"), ("classic", "/guarded/tree")])
def test_a_link_may_say_which_view_it_opens(house: House, page: Page, view: str, path: str) -> None:
    page.goto(link(house, "guarded-path") + f"&view={view}")
    page.wait_for_url(re.compile(re.escape(path)))
    assert "authToken" not in page.url


def test_a_link_that_has_ended_leads_to_the_sign_in_page(house: House, page: Page) -> None:
    address = link(house, "guarded-path", seconds=1)
    page.wait_for_timeout(1100)  # a real clock, in another process
    page.goto(address)
    expect(page).to_have_url(re.compile(r"/\.nbgate/sign-in$"))
    expect(page.get_by_text("ask for another")).to_be_visible()


def test_a_programs_address_works_in_a_browser_too(house: House, page: Page) -> None:
    page.goto(link(house, "guarded-path", page="lab", kind=TokenKind.API))
    signed_in(page)
    assert page.url.startswith(house.urls["guarded-path"])


def test_a_link_that_was_only_looked_at_is_opened_by_its_button(house: House, browser: Browser) -> None:
    """Without script, in an app's own browser that carries the name of the app's preview."""
    address = link(house, "guarded-path", page="lab")
    app = browser.new_context(user_agent="Mozilla/5.0 (Linux) WhatsApp/2.23", java_script_enabled=False)
    with app:
        page = app.new_page()
        for _ in range(2):
            page.goto(address)
            expect(page.get_by_role("heading", level=1)).to_have_text("A link to a notebook")
            assert app.cookies() == []
        page.get_by_role("button", name="Open the notebook").click()
        page.wait_for_url(re.compile(r"/guarded/lab$"))
        assert [one["path"] for one in app.cookies() if "nbgate" in one["name"]] == ["/guarded/"]
        page.goto(house.urls["guarded-path"] + "api/status")
        assert "last_activity" in page.content()
