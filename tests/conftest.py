"""What every test module may use. The event loop is uvloop, as in production."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from gateways import Rig, open_rig


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def rig(tmp_path) -> AsyncIterator[Rig]:
    """A gateway in front of a sandbox instance without Jupyter, mounted at the root, open to 127.0.0.1."""
    async with open_rig(tmp_path) as opened:
        yield opened
