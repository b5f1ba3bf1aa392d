"""An IAM simulator that others wrote, for the tests that want a second opinion.

It is installed into build/ from a committed lock file; it is another program, and nothing of it is part of nbgate.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from installed import installed

HERE = Path(__file__).parent / "oracle"
BUILD = Path(__file__).parents[2] / "build" / "oracle"


@pytest.fixture(scope="session")
def simulate() -> Callable[[Iterable[Mapping[str, Any]]], list[str]]:
    """What it says of each `{policy, context, action, resource}`: Allowed, ExplicitlyDenied or ImplicitlyDenied."""
    node, npm = installed("node"), installed("npm")
    lock = (HERE / "package-lock.json").read_bytes()
    directory = BUILD / hashlib.sha256(lock).hexdigest()[:16]
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, directory)
        install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        done = subprocess.run(install, cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"npm cannot install the simulator: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
        (directory / "done").touch()

    def run(requests: Iterable[Mapping[str, Any]]) -> list[str]:
        script = str(HERE / "simulate.mjs")
        lines = "\n".join(map(json.dumps, requests))
        done = subprocess.run(
            [node, script], input=lines, cwd=directory, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return run
