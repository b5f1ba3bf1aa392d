"""A test that hangs fails in time, whatever it hangs in, and the next one runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFTEST = """
import uvloop
from tests.harness import timeouts
timeouts.AGAIN_SECONDS = 0.2
pytest_plugins = ["tests.harness.timeouts"]

def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}
"""
MODULE = """
import asyncio, pytest

def test_in_a_loop():
    while True: ...

async def test_in_waiting():
    await asyncio.Event().wait()

async def test_in_polling():
    while True:
        await asyncio.sleep(0.001)

async def test_in_a_coroutines_loop():
    while True: ...

@pytest.fixture
async def endless():
    yield
    await asyncio.Event().wait()

async def test_in_a_fixture(endless): ...

async def test_not_at_all(): ...
"""


def test_what_hangs_fails_in_time(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\ntimeout = 0.5\n"
    )
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        for outcome in case:
            outcomes[case.get("name", "")] = str(outcome.get("message"))
    assert "internal" not in outcomes, done.stdout + done.stderr
    assert set(outcomes) == {
        "test_in_a_loop",
        "test_in_waiting",
        "test_in_polling",
        "test_in_a_coroutines_loop",
        "test_in_a_fixture",
    }
    for name, message in outcomes.items():
        assert "Timeout (>0.5s)" in message, name
