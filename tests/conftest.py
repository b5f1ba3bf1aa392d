"""What every test module may use. The event loop is uvloop, as in production."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping

import hypothesis
import pytest
import uvloop

from tests.harness.gateway import Rig, open_rig

pytest_plugins = [
    "tests.harness.alone",
    "tests.harness.leaks",
    "tests.harness.needs",
    "tests.harness.timeouts",
]

# How long a random case takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile(
    "nbgate", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("nbgate")
hypothesis.settings.register_profile(
    "long", hypothesis.settings.default, max_examples=1000, derandomize=False
)


# How this machine reaches AWS is not how a test's gateway does. A test that is about these says them itself.
for _name in ("AWS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
    os.environ.pop(_name, None)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable]:
    return {"uvloop": uvloop.new_event_loop}


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """What is long, or binary, is named after its argument and numbered: a compressed body holds the time, for one, and
    all processes have to know a test by the same name.
    """
    if isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable()):
        return argname
    return argname if isinstance(val, str | bytes) and len(val) > 100 else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several processes share the modules: the long ones come first, so that none is left alone with one of them."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture
async def rig(tmp_path) -> AsyncIterator[Rig]:
    """A gateway in front of a sandbox instance without Jupyter, mounted at the root, open to 127.0.0.1."""
    async with open_rig(tmp_path) as opened:
        yield opened
