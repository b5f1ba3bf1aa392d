"""The table of threats names tests that exist: a row without one is a promise that nothing holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
README = Path(__file__).with_name("README.md")
_REFERENCE = re.compile(r"`(test_\w+)::(test_\w+)`")


def _functions(module: Path) -> frozenset[str]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _rows(text: str) -> Iterator[str]:
    """The tables' rows, without their heads and the lines below those."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and lines[number + 1].startswith("|---")
        if line.startswith("|") and not line.startswith("|---") and not is_head:
            yield line


def faults(text: str, modules: Mapping[str, Path]) -> list[str]:
    """What is wrong with a table of threats."""
    found = []
    for row in _rows(text):
        name = row.split("|")[1].strip()
        references = _REFERENCE.findall(row)
        if not references:
            found.append(f"{name}: names no test")
        for module, function in references:
            if module not in modules:
                found.append(f"{name}: there is no {module}.py")
            elif function not in _functions(modules[module]):
                found.append(f"{name}: {module}.py has no {function}")
    return found


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in TESTS.rglob("test_*.py"):
        assert path.stem not in found, f"{path} and {found[path.stem]} have one name"
        found[path.stem] = path
    return found


def test_every_threat_is_held_by_tests_that_exist(modules: dict[str, Path]) -> None:
    assert faults(README.read_text(encoding="utf-8"), modules) == []


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ("", "x: names no test"),
        ("`test_nowhere::test_a`", "x: there is no test_nowhere.py"),
        ("`test_threats_readme::test_a`", "x: test_threats_readme.py has no test_a"),
    ],
)
def test_a_row_that_promises_nothing_is_found(modules: dict[str, Path], tests: str, expected: str) -> None:
    assert faults(f"| id | tests |\n|---|---|\n| x | {tests} |\n", modules) == [expected]
