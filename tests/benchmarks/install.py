"""What the benchmarks need that the project does not: peers from apt and npm, and two small C programs.

The rule: nothing is installed that is there; nothing is put outside of build/ but Debian's packages, and those only
by root. Whatever is still missing is named with the command that installs it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench"
PYTHON = BUILD / "python/bin/python"
"""What the systems that are written in Python run on."""
BASELINE_SOURCES = BUILD / "baseline-sources"
"""An earlier commit, to be measured beside this one."""
DISTRIBUTION_PYTHON = Path("/usr/bin/python3")
OLDEST_PYTHON = (3, 11)

APT_PACKAGES = {
    "nginx": ["nginx-light"],
    "haproxy": ["haproxy"],
    "caddy": ["caddy"],
    "node": ["nodejs"],
    "npm": ["npm"],
    "wrk": ["wrk"],
    "cc": ["gcc", "libc6-dev"],
}
"""Debian's packages by the command that each is needed for."""

NEEDED_BY = {
    "nginx": ["nginx"],
    "nginx-64k": ["nginx"],
    "haproxy": ["haproxy"],
    "caddy": ["caddy"],
    "chp": ["node", "npm"],
}


class MissingError(Exception):
    """Something is not installed, and could not be."""


def install(systems: Collection[str], *, plot: bool, wrk: bool = True) -> None:
    """Everything that these systems need. Quick where all of it is there."""
    commands = [
        "cc",
        *(["wrk"] if wrk else []),
        *(command for system in systems for command in NEEDED_BY.get(system, ())),
    ]
    _install_commands([command for command in commands if _which(command) is None])
    if "chp" in systems:
        _install_chp()
    if not {"nbgate", "baseline", "aiohttp-plain"}.isdisjoint(systems):
        _install_python()
    for program in ("origin", "load"):
        _compile(program)
    if plot and importlib.util.find_spec("matplotlib") is None:
        _run([sys.executable, "-m", "pip", "install", "--quiet", "matplotlib>=3.9"])


def check_out(revision: str) -> None:
    """The package as it was at a commit, below build/; nothing of the work tree is touched."""
    shutil.rmtree(BASELINE_SOURCES, ignore_errors=True)
    BASELINE_SOURCES.mkdir(parents=True)
    archive = BUILD / "baseline.tar"
    _run(["git", "-C", str(ROOT), "archive", "--output", str(archive), revision, "proxy"])
    _run(["tar", "-x", "-f", str(archive), "-C", str(BASELINE_SOURCES)])
    archive.unlink()


def program(name: str) -> Path:
    """A compiled program of this directory."""
    return BUILD / name


def _which(command: str) -> str | None:
    # Debian's daemons are in sbin, which is not on everybody's path.
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _install_commands(missing: Collection[str]) -> None:
    if not missing:
        return
    packages = sorted({package for command in missing for package in APT_PACKAGES[command]})
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingError(
            f"Missing: {', '.join(missing)}. Install them: apt-get install {' '.join(packages)}"
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-qq"], env=env)
    # Debian starts daemons when they are installed; a policy that forbids it is the documented way out.
    policy = Path("/usr/sbin/policy-rc.d")
    forbids = not policy.exists()
    if forbids:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=env)
    finally:
        if forbids:
            policy.unlink()


def _install_chp() -> None:
    directory = BUILD / "chp"
    if (directory / "node_modules/configurable-http-proxy").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    # Version 5 wants Node 20; Debian 12 has 18.
    package = f"configurable-http-proxy@{5 if int(node.lstrip('v').partition('.')[0]) >= 20 else 4}"
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), package])


def _install_python() -> None:
    """An environment as an installation has it: nbgate's dependencies, as they are installed here, and no more.

    An environment for development starts every process 40 ms later: it has a finder for the sources, hooks of
    test tools, and the metadata of 200 packages, which pydantic goes through.
    """
    names = [
        re.split(r"[^\w.-]", requirement)[0]
        for requirement in metadata.requires("nbgate") or ()
        if "extra ==" not in requirement
    ]
    wanted = [f"{name}=={metadata.version(name)}" for name in names]
    interpreter = python_to_measure()
    home = PYTHON.parents[1]
    installed = home / "installed.txt"
    if installed.exists() and installed.read_text().split() == [str(interpreter), *wanted]:
        return
    _run([str(interpreter), "-m", "venv", "--clear", "--without-pip", str(home)])
    _run([sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--quiet", *wanted])
    installed.write_text("\n".join([str(interpreter), *wanted]))


def python_to_measure() -> Path:
    """The distribution's own interpreter where it is new enough, else the one that runs this.

    People deploy a distribution's or an image's optimised build; one compiled on a developer's machine without
    profile-guided optimisation, against a shared library, takes a fifth longer for the same work. `BENCH_PYTHON` in
    the environment names another.
    """
    if chosen := os.environ.get("BENCH_PYTHON"):
        return Path(chosen)
    if DISTRIBUTION_PYTHON.exists():
        ask = "import sys; print(*sys.version_info[:2])"
        asked = subprocess.run([DISTRIBUTION_PYTHON, "-c", ask], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and tuple(map(int, asked.stdout.split())) >= OLDEST_PYTHON:
            return DISTRIBUTION_PYTHON
    return Path(sys.executable)


def _compile(name: str) -> None:
    sources = [HERE / f"{name}.c", HERE / "wire.c"]
    target = program(name)
    newest = max(source.stat().st_mtime for source in (*sources, HERE / "wire.h"))
    if target.exists() and target.stat().st_mtime >= newest:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _run(["cc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target), *map(str, sources)])


def _run(argv: list[str], *, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise MissingError(f"{' '.join(argv)} failed:\n{done.stdout}")
