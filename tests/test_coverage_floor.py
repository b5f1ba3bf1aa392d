"""The pure packages are covered to the last branch by their own test modules.

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


def covered(unit: str, directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a package's own tests; fails unless they reach all of it."""
    # A run that is itself measured would hand its settings on.
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))
    }
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(own_tests(unit)), "--quiet", "--no-header", "--noconftest"),
            *("-p", "no:cacheprovider", "-m", "not hypothesis and not slow"),
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


def test_a_branch_that_is_not_covered_is_noticed(tmp_path: Path) -> None:
    assert (PACKAGE / "errors.py").exists()
    done = covered("errors", tmp_path, "-k", "not problem")
    assert done.returncode != 0
    assert "Required test coverage of 100% not reached." in done.stdout
