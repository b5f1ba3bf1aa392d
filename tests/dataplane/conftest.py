"""The stage on which the tests of the data plane play both the caller and the notebook."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.plane import OpenPlane, open_stage


@pytest.fixture
async def stage(tmp_path) -> AsyncIterator[OpenPlane]:
    """The data plane alone, an instance mounted at the root."""
    async with open_stage(tmp_path) as opened:
        yield opened
