"""The portal and the gateway's pages as a person meets them in Chromium; what is rendered is judged by axe-core."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from proxy.errors import NbgateError
from proxy.sandbox.instance import InstanceSpec
from tests.harness.browsing import PATIENCE_MS
from tests.harness.gateway import Background, in_background

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]

SPECS = (
    InstanceSpec(name="research-gpu-1", instance_type="ml.g5.xlarge"),
    # Nobody signs in there before the test does: nothing is to be stopped for want of use.
    InstanceSpec(name="quiet-1"),
    InstanceSpec(name="nlp-team", status="Stopped", jupyter=True, transition_seconds=1.0),
    InstanceSpec(
        name="vision-slow", status="Stopped", transition_seconds=600.0, instance_type="ml.p3.2xlarge"
    ),
    InstanceSpec(
        name="forecasts-2",
        status="Failed",
        failure_reason="Insufficient capacity in subnet-0123456789abcdef0. Try again later, or another type.",
    ),
)
RESEARCH = {"notebook": "research-gpu-1", "stop_after_idle": "60m"}
MOUNTED: dict[str, Any] = {
    "research": RESEARCH | {"mount": {"path": "/research/"}},
    "nlp": {"notebook": "nlp-team", "mount": {"path": "/nlp/"}},
    "solo": {"notebook": "nlp-team", "mount": {"host": "solo.localhost"}},
    "vision": {"notebook": "vision-slow", "mount": {"path": "/vision/"}},
    "forecasts": {"notebook": "forecasts-2", "mount": {"path": "/forecasts/"}},
    "quiet": {"notebook": "quiet-1", "mount": {"path": "/quiet/"}},
    "gone": {"notebook": "no-such-notebook", "mount": {"path": "/gone/"}},
    "secret": RESEARCH | {"mount": {"path": "/secret/"}, "allow": ["elsewhere"]},
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "has_touch": True},
}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Background]:
    with in_background(tmp_path, instances=SPECS, mounted=MOUNTED) as background:
        yield background


@contextmanager
def looking(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page whose every violation of its own Content-Security-Policy, and every error, is a failure."""
    complaints: list[str] = []
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    yield page
    context.close()
    assert complaints == []


def judged(page: Page, name: str) -> None:
    """No serious violation; `NBGATE_SHOTS` names a directory for screenshots to look at."""
    if directory := os.environ.get("NBGATE_SHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], one["help"], [node["target"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == [], name
    # Nothing is to be scrolled sideways (WCAG 2.2, 1.4.10).
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0, name


def card(page: Page, name: str) -> Any:
    return page.locator(f"#instances > [data-name={name}]")


@pytest.mark.parametrize("look", LOOKS)
def test_the_portal_shows_what_this_address_may_see(gate: Background, browser: Browser, look: str) -> None:
    with looking(browser, **LOOKS[look]) as page:
        page.goto(gate.origin)
        names = page.locator("#instances > li").evaluate_all("cards => cards.map(card => card.dataset.name)")
        assert sorted(names) == sorted(set(MOUNTED) - {"secret"})
        assert "secret" not in page.content()
        expect(card(page, "research")).to_contain_text("Running")
        judged(page, f"portal-{look}")
        card(page, "research").locator("summary").first.click()
        judged(page, f"portal-menu-{look}")
        card(page, "research").get_by_text("Keep awake …").click()
        judged(page, f"portal-awake-{look}")
        card(page, "research").get_by_role("button", name="8 hours").click()
        expect(card(page, "research")).to_contain_text("Kept awake until")
        card(page, "research").get_by_text("Stop …").click()
        expect(card(page, "research").get_by_role("button", name="Stop research")).to_be_visible()
        judged(page, f"portal-stop-{look}")


def test_open_on_a_stopped_instance_starts_it_shows_progress_and_lands_in_jupyterlab(
    gate: Background, browser: Browser
) -> None:
    gate.hold()
    with looking(browser) as page:
        page.goto(gate.origin)
        with page.expect_popup() as opened:
            card(page, "nlp").get_by_role("button", name="Open").click()
        tab = opened.value
        tab.set_default_timeout(PATIENCE_MS)
        expect(tab.get_by_role("heading")).to_have_text("The notebook instance is starting")
        expect(tab.get_by_text("nlp has been starting for")).to_be_visible()
        expect(tab.locator("progress")).to_be_visible()
        judged(tab, "starting-first")
        # The portal behind it follows, without being touched.
        expect(card(page, "nlp")).to_contain_text("Starting", timeout=PATIENCE_MS)
        gate.let_go()
        tab.wait_for_selector(".jp-Launcher", state="visible", timeout=PATIENCE_MS)
        assert tab.url.startswith(f"{gate.origin}/nlp/lab")
        expect(card(page, "nlp")).to_contain_text("Running", timeout=PATIENCE_MS)
        # The next start knows how long it takes.
        assert gate.rig.gateway.serving.fleet.started_in("nlp") is not None


def test_open_leads_to_an_instances_own_host_as_well(gate: Background, browser: Browser) -> None:
    """From the portal's origin to another one, which its policy lets no form do."""
    with looking(browser) as page:
        page.goto(gate.origin)
        with page.expect_popup() as opened:
            card(page, "solo").get_by_role("button", name="Open").click()
        opened.value.wait_for_selector(".jp-Launcher", state="visible", timeout=PATIENCE_MS)
        assert opened.value.url.startswith(f"http://solo.localhost:{gate.rig.port}/lab")
        expect(card(page, "solo")).to_contain_text("Running", timeout=PATIENCE_MS)
        # There it is at home: its portal knows nothing else.
        opened.value.goto(f"http://solo.localhost:{gate.rig.port}/.nbgate/")
        assert opened.value.locator("#instances > li").count() == 1


def test_a_page_deep_in_a_stopped_notebook_opens_there_after_the_start(
    gate: Background, browser: Browser
) -> None:
    with looking(browser) as page:
        page.goto(f"{gate.origin}/nlp/lab/tree/welcome.ipynb")
        page.get_by_role("button", name="Start nlp").click()
        page.wait_for_selector(".jp-Notebook", state="visible", timeout=PATIENCE_MS)
        assert page.url.startswith(f"{gate.origin}/nlp/lab/tree/welcome.ipynb")


@pytest.mark.parametrize(("view", "shows"), [("Notebook", ".jp-DirListing"), ("Terminal", ".jp-Terminal")])
def test_other_ways_to_open_lead_there(gate: Background, browser: Browser, view: str, shows: str) -> None:
    gate.run(gate.rig.gateway.serving.fleet.start("nlp"))
    with looking(browser) as page:
        page.goto(gate.origin)
        expect(card(page, "nlp")).to_contain_text("Running", timeout=PATIENCE_MS)
        card(page, "nlp").locator("summary").first.click()
        with page.expect_popup() as opened:
            card(page, "nlp").get_by_role("link", name=view).click()
        opened.value.wait_for_selector(shows, state="visible", timeout=PATIENCE_MS)


def test_the_keyboard_alone_stops_an_instance(gate: Background, browser: Browser) -> None:
    with looking(browser) as page:
        page.goto(gate.origin)
        stop = card(page, "research").locator("summary", has_text="Stop")
        stop.focus()
        page.keyboard.press("Enter")
        expect(card(page, "research").get_by_role("button", name="Stop research")).to_be_visible()
        page.keyboard.press("Escape")
        expect(card(page, "research").get_by_role("button", name="Stop research")).to_be_hidden()
        expect(stop).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(card(page, "research")).to_contain_text(re.compile("Stopping|Stopped"), timeout=PATIENCE_MS)


def test_a_change_is_shown_and_said_and_leaves_the_focus_where_it_was(
    gate: Background, browser: Browser
) -> None:
    with looking(browser) as page:
        page.goto(gate.origin)
        copy = card(page, "forecasts").get_by_role("button", name="Copy address")
        copy.focus()
        gate.call(gate.rig.sandbox.faults.set_status, status="Stopped", instance="forecasts-2")
        expect(card(page, "forecasts")).to_contain_text("Stopped", timeout=PATIENCE_MS)
        expect(page.get_by_role("status")).to_have_text("forecasts: Stopped")
        expect(card(page, "forecasts").get_by_role("button", name="Copy address")).to_be_focused()


def test_an_address_is_copied(gate: Background, browser: Browser) -> None:
    with looking(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(gate.origin)
        card(page, "research").get_by_role("button", name="Copy address").click()
        expect(page.get_by_role("status")).to_contain_text("Address copied")
        assert page.evaluate("navigator.clipboard.readText()") == f"{gate.origin}/research/"


def test_without_script_everything_but_the_live_refresh_works(gate: Background, browser: Browser) -> None:
    gate.hold()
    with looking(browser, java_script_enabled=False) as page:
        page.goto(gate.origin)
        card(page, "vision").get_by_role("button", name="Start vision").click()
        expect(card(page, "vision")).to_contain_text("Starting")
        card(page, "research").locator("summary", has_text="Stop").click()
        card(page, "research").get_by_role("button", name="Stop research").click()
        expect(card(page, "research")).to_contain_text("Stopping")
        page.goto(f"{gate.origin}/.nbgate/start/vision")
        assert "vision has been starting for" in page.inner_text("main")
        assert 'http-equiv="refresh"' in page.content()


PAGES = {
    "denied": ("/secret/lab", 403, "Access denied"),
    "nothing-here": ("/.nbgate/nothing", 404, "Nothing here"),
    "no-such-instance": ("/gone/lab", 404, "No such notebook instance"),
    "stopped": ("/nlp/lab", 503, "The notebook instance is stopped"),
    "starting": ("/vision/lab", 503, "The notebook instance is starting"),
    "failed": ("/forecasts/lab", 503, "The notebook instance failed to start"),
    "permission": ("/quiet/lab", 502, "SageMaker did not let the gateway in"),
    "throttled": ("/quiet/lab", 503, "SageMaker is busy"),
    "upstream-gone": ("/quiet/lab", 503, "The notebook did not answer"),
}


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_each_error_page_says_what_happened_and_is_accessible(
    gate: Background, browser: Browser, look: str
) -> None:
    faults = gate.rig.sandbox.faults
    gate.run(gate.rig.gateway.serving.fleet.start("vision"))
    before: dict[str, Any] = {
        "permission": lambda: gate.call(faults.deny, times=1),
        "throttled": lambda: gate.run(throttled(gate)),
        "upstream-gone": lambda: gate.run(gone(gate)),
    }
    with looking(browser, **LOOKS[look]) as page:
        # Being throttled takes its time: once is enough.
        pages = PAGES if look == "light" else {name: PAGES[name] for name in PAGES if name != "throttled"}
        for name, (target, status, title) in pages.items():
            before.get(name, lambda: None)()
            response = page.goto(f"{gate.origin}{target}")
            assert response is not None
            assert response.status == status, name
            assert page.inner_text("h1") == title
            assert response.headers["x-request-id"] in page.inner_text("dl")
            assert ("127.0.0.1" in page.inner_text("main")) == (name == "denied")
            judged(page, f"{name}-{look}")
            gate.call(keepers_forget, gate)


async def throttled(gate: Background) -> None:
    """So that a sign-in has failed: while one goes on, a browser is shown another page."""
    gate.rig.sandbox.faults.throttle(times=99, operation="CreatePresignedNotebookInstanceUrl")
    with suppress(NbgateError):
        await gate.rig.gateway.plane.keeper("quiet").acquire(within_seconds=60)


async def gone(gate: Background) -> None:
    await gate.rig.sandbox.faults.clear()
    await gate.rig.sandbox.faults.refuse()


def keepers_forget(gate: Background) -> None:
    """Failures are remembered for seconds; the next page is to meet its own."""
    for keeper in gate.rig.gateway.reloader.keepers.values():
        keeper.retry()
