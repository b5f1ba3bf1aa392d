"""No test starts a program from outside without the mark that keeps it out of `--quick`, whichever way it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.harness.needs import NOT_QUICK, mark_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "mark"),
    [
        (["/usr/bin/chromium", "--headless"], "browser"),
        ([Path("/venv/playwright/driver/node"), "cli.js"], "browser"),
        ([sys.executable, "-P", "-m", "proxy.sandbox.child", "jupyter_server"], "e2e"),
        ([sys.executable, "-m", "proxy.sandbox", "--jupyter", "--instance", "a"], "e2e"),
        ([sys.executable, "-c", "from proxy.sandbox.demo import run"], "e2e"),
        (["/usr/sbin/nginx", "-c", "file"], "program"),
        (["haproxy"], "program"),
        ([b"node"], "program"),
        (["/venv/bin/aws", "sagemaker"], "program"),
        (["/nbgate/build/bench/load"], "program"),
        ([sys.executable, "-m", "proxy", "serve"], None),
        (["openssl", "req"], None),
    ],
)
def test_a_command_says_which_mark_it_needs(
    command: list[str | bytes | os.PathLike[str]], mark: str | None
) -> None:
    assert mark_of(command) == mark


MODULE = """
import asyncio, subprocess
import pytest, uvloop

async def start():
    await (await asyncio.create_subprocess_exec("./nginx")).wait()

def test_by_subprocess():
    subprocess.run("./nginx")

def test_by_asyncio():
    asyncio.run(start())

def test_by_uvloop():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(start())

@pytest.fixture(scope="module")
def outer():
    subprocess.run("./nginx")

@pytest.fixture
def inner(outer): ...

def test_by_fixture(inner): ...

def test_by_the_same_fixture(inner): ...

@pytest.mark.program
def test_with_its_mark(inner): ...

@pytest.mark.browser
def test_with_another_mark(inner): ...

def test_with_a_fixture_that_is_always_so(house): ...

def test_with_nothing(): ...

@pytest.fixture
def house(): ...
"""


def run(directory: Path, *options: str) -> dict[str, bool]:
    """The tests that ran, with the plugin alone, and whether they were let pass."""
    markers = "\n  ".join(NOT_QUICK)
    (directory / "pytest.ini").write_text(f"[pytest]\nmarkers =\n  {markers}\n")
    (directory / "test_it.py").write_text(MODULE)
    program, report = directory / "nginx", directory / "report.xml"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.harness.needs",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            *options,
        ],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    outcomes: dict[str, bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "")
        outcomes[name] = outcomes.get(name, True) and not list(case)
    return outcomes


def test_who_starts_a_program_without_its_mark_fails(tmp_path: Path) -> None:
    assert run(tmp_path) == {
        "test_by_subprocess": False,
        "test_by_asyncio": False,
        "test_by_uvloop": False,
        "test_by_fixture": False,
        "test_by_the_same_fixture": False,
        "test_with_its_mark": True,
        "test_with_another_mark": False,
        "test_with_a_fixture_that_is_always_so": True,
        "test_with_nothing": True,
    }


def test_quick_leaves_out_what_is_marked_by_hand_or_by_a_fixture(tmp_path: Path) -> None:
    assert run(tmp_path, "--quick", "-k", "mark or always or nothing") == {"test_with_nothing": True}
