"""An IAM simulator that others wrote, for the tests that want a second opinion.

It is installed into build/ from a committed lock file; it is another program, and nothing of it is part of nbgate.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from installed import installed, missing

HERE = Path(__file__).parent / "oracle"
BUILD = Path(__file__).parents[2] / "build" / "oracle"


def simulate(requests: Iterable[Mapping[str, Any]]) -> list[str]:
    """What it says of each `{policy, context, action, resource}`: Allowed, ExplicitlyDenied or ImplicitlyDenied.

    Skips the test where it cannot be installed, but in CI.
    """
    node, directory = installed("node"), _installation()
    script = str(HERE / "simulate.mjs")
    lines = "\n".join(map(json.dumps, requests))
    done = subprocess.run(
        [node, script], input=lines, cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def _installation() -> Path:
    npm = installed("npm")
    lock = (HERE / "package-lock.json").read_bytes()
    directory = BUILD / hashlib.sha256(lock).hexdigest()[:16]
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, directory)
        install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        done = subprocess.run(install, cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode:
            raise missing(f"npm cannot install the simulator: {done.stderr[-200:]}")
        (directory / "done").touch()
    return directory
