"""What a test needs from outside, and the mark that says so: no test can need it without its mark.

A pytest plugin, loaded by conftest.py. Marks come by themselves with the fixtures that are named here, and from the
directory `e2e`. The rule: whoever starts one of the programs below, itself or by a fixture, fails unless it is marked.
So `--quick`, which goes by marks, starts nothing from outside. It must not know what the programs are used for.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

NOT_QUICK = ("e2e", "browser", "program", "slow", "serial")
E2E = Path(__file__).parents[1] / "e2e"
"""These modules import what the quick tests need not have."""

MARK_OF_FIXTURE = {"house": "e2e", "jupyter": "e2e", "chromium_path": "browser"}
MARK_OF_PROGRAM = {
    **dict.fromkeys(("chromium", "chromium-browser", "google-chrome"), "browser"),
    **dict.fromkeys(("nginx", "haproxy", "node", "npm", "cc", "gcc", "aws"), "program"),
}
MARK_OF_WORD = {
    "playwright": "browser",
    "jupyter": "e2e",
    "sandbox.demo": "e2e",
    "/build/bench/": "program",
}
"""By what stands somewhere in a command: the words of `python -m`, or a path (build/bench/ has what was compiled)."""

_started: list[tuple[str, str]] = []
"""Marks, and the programs that ask for them, since the last test ended."""
_in_setup: list[pytest.FixtureDef[Any]] = []
_needs_of_fixture: dict[pytest.FixtureDef[Any], set[tuple[str, str]]] = defaultdict(set)


def mark_of(command: Sequence[str | bytes | os.PathLike[str]]) -> str | None:
    """The mark of a test that runs this command, if it needs one."""
    words = [os.fsdecode(word) for word in command]
    for part, mark in MARK_OF_WORD.items():
        if any(part in word for word in words):
            return mark
    return MARK_OF_PROGRAM.get(Path(words[0]).name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help=f"leave out what is marked {', '.join(NOT_QUICK)}")


def pytest_configure(config: pytest.Config) -> None:
    _follow_processes()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("quick") and collection_path == E2E else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(E2E):
            item.add_marker("e2e")
        for fixture in getattr(item, "fixturenames", ()):
            if mark := MARK_OF_FIXTURE.get(fixture):
                item.add_marker(mark)
    if config.getoption("quick"):
        left_out = [item for item in items if any(map(item.get_closest_marker, NOT_QUICK))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not any(map(item.get_closest_marker, NOT_QUICK))]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
    _in_setup.append(fixturedef)
    try:
        return (yield)
    finally:
        _in_setup.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    try:
        result = yield
    finally:
        started = set(_started)
        _started.clear()
    # What a fixture of a wider scope started counts for all who use it, not only for the first.
    for definitions in item._fixtureinfo.name2fixturedefs.values():  # type: ignore[attr-defined]
        started.update(*(_needs_of_fixture.get(one, ()) for one in definitions))
    for mark, program in sorted(started):
        if item.get_closest_marker(mark) is None:
            pytest.fail(f"{item.nodeid} starts {program}: mark it with `{mark}`", pytrace=False)
    return result


def _note(command: Sequence[Any]) -> None:
    if mark := mark_of(command):
        need = mark, os.fsdecode(command[0])
        _started.append(need)
        for fixture in _in_setup:
            _needs_of_fixture[fixture].add(need)


@functools.cache
def _follow_processes() -> None:
    """Note each process that is started from now on. Twice for asyncio's own loop, which harms nobody."""

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            command = arguments[1]
            _note([command] if isinstance(command, str | bytes | os.PathLike) else command)

    sys.addaudithook(hear)
    # uvloop starts processes without Python's knowledge.
    start = asyncio.create_subprocess_exec

    @functools.wraps(start)
    def start_noted(*command: Any, **options: Any) -> Any:
        _note(command)
        return start(*command, **options)

    asyncio.create_subprocess_exec = start_noted
