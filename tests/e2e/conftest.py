"""One Jupyter server and one gateway serve the whole session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from houses import MOUNTS, House, open_house


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
    """Debian's Chromium. A person's machine may lack it; where tests are what counts, it must be there."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    return path
