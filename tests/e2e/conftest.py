"""One Jupyter server and one gateway serve the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.harness.browsing import open_browser, open_page
from tests.harness.installed import installed
from tests.harness.jupyter import MOUNTS, House, open_house


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as opened:
        yield opened


@pytest.fixture(params=MOUNTS)
def mount_url(request: pytest.FixtureRequest, house: House) -> str:
    """The address of the notebook on each kind of mount in turn."""
    return house.urls[request.param]


@pytest.fixture(scope="session")
def chromium_path() -> str:
    return installed("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """For modules without coroutines: an event loop stands in this thread until the last of their tests."""
    with open_browser(chromium_path) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with open_page(browser) as page:
        yield page
