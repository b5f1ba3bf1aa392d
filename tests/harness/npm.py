"""Programs from npm that some tests play against: others wrote them, and nothing of them is part of nbgate.

They are installed into build/ from a committed lock file, once for each version of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.harness.installed import installed, missing

BUILD = Path(__file__).parents[2] / "build"


def npm_packages(source: Path, *, name: str) -> Path:
    """Where the packages of `source`'s lock file are installed. Skips the test if they cannot be, but in CI."""
    npm = installed("npm")
    lock = (source / "package-lock.json").read_bytes()
    directory = BUILD / name / hashlib.sha256(lock).hexdigest()[:16]
    if (directory / "done").exists():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(directory.with_suffix(".lock"), "w") as alone:
        # Several processes run tests at once. Closing lets the next one in.
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not (directory / "done").exists():
            install(npm, source, directory, name=name)
    return directory


def install(npm: str, source: Path, directory: Path, *, name: str) -> None:
    """Install into a directory that is new, or was left half filled."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for file in ("package.json", "package-lock.json"):
        shutil.copy(source / file, directory)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise missing(f"npm cannot install {name}: {done.stderr[-200:]}")
    (directory / "done").touch()
