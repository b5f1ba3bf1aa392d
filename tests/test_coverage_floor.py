"""The pure packages, and what is pure in the data plane, are covered to the last branch by their own test modules.

Only tests with fixed examples count: a branch that is met only when hypothesis, or a comparison of random cases
(slow), happens to draw the right input is not tested. Each package is measured in a process of its own, without what
other packages' tests do to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.floors import F0
from tests.architecture.tree import PACKAGE, ROOT

pytestmark = pytest.mark.slow


def own_tests(unit: str) -> Path:
    directory = ROOT / "tests" / unit
    return directory if directory.is_dir() else ROOT / "tests" / f"test_{unit}.py"


PURE_MODULES = {
    "wire.request_heads": "wire/test_request_heads.py",
    "dataplane.caller.reader": "dataplane/caller/test_caller_reader.py",
    "dataplane.caller.states": "dataplane/caller/test_caller_states.py",
    "dataplane.notebook.response_heads": "dataplane/notebook/test_response_heads.py",
}
"""What is read of either side's bytes, and what follows what, by the tests that reach all of it without a socket."""


def covered(
    unit: str, directory: Path, *more: str, tests: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a unit's own tests; fails unless they reach all of it, and where they make a socket."""
    # A run that is itself measured would hand its settings on.
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))
    }
    return subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                str(tests or own_tests(unit)),
                "--quiet",
                "--no-header",
                "--noconftest",
            ),
            *(
                "-p",
                "no:cacheprovider",
                "-p",
                "tests.harness.no_sockets",
                "-m",
                "not hypothesis and not slow",
            ),
            *(f"--cov=proxy.{unit}", "--cov-branch", "--cov-report=term-missing", "--cov-fail-under=100"),
            *more,
        ],
        cwd=ROOT,
        env=environ | {"COVERAGE_FILE": str(directory / "coverage")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("unit", sorted(F0))
def test_a_pure_package_is_covered_by_its_own_tests(unit: str, tmp_path: Path) -> None:
    done = covered(unit, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Required test coverage of 100% reached." in done.stdout


@pytest.mark.parametrize("module", PURE_MODULES)
def test_a_pure_module_of_the_data_plane_is_covered_without_a_socket(module: str, tmp_path: Path) -> None:
    done = covered(module, tmp_path, tests=ROOT / "tests" / PURE_MODULES[module])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Required test coverage of 100% reached." in done.stdout


def test_a_socket_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import socket\ndef test_it(): socket.socket()\n")
    done = covered("errors", tmp_path, tests=tmp_path / "test_it.py")
    assert "a socket was made where there is to be none" in done.stdout


def test_a_branch_that_is_not_covered_is_noticed(tmp_path: Path) -> None:
    assert (PACKAGE / "errors.py").exists()
    done = covered("errors", tmp_path, "-k", "not problem")
    assert done.returncode != 0
    assert "Required test coverage of 100% not reached." in done.stdout
