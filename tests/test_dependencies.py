"""What is imported is declared, each with a lower bound that `.ci/lowest` reads and `.ci/run` tests with.

A package that comes only with another one is gone the day that one drops it. `faults` also reads sources that break
the rule, to show that it could fail.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.architecture.tree import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
TESTS = ROOT / "tests"
DISTRIBUTIONS = {"websocket": "websocket-client", "yaml": "pyyaml"}
"""By the name that is imported, where it is another one. It must not depend on what is installed here."""
BY_HAND = {"atheris", "jupyter_server"}
"""Imported by a test that is not run where it is not installed."""


def canonical(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return canonical(found[0])


def declared(*extras: str) -> set[str]:
    """The distributions that an installation with these extras asks for by name."""
    names = set(map(name_of, PROJECT["dependencies"]))
    for extra in extras:
        for requirement in EXTRAS[extra]:
            if inner := re.fullmatch(r"nbgate\[([\w,]+)\]", requirement):
                names |= declared(*inner[1].split(","))
            else:
                names.add(name_of(requirement))
    return names


OURS = {"proxy", "tests", *(path.stem for path in TESTS.rglob("*"))}
PARTS = {
    "proxy": (ROOT / "proxy", "sandbox", declared()),
    "sandbox": (ROOT / "proxy" / "sandbox", "", declared("demo")),
    "quick tests": (TESTS, "e2e benchmarks browsing.py", declared("unit")),
    "end-to-end tests": (TESTS / "e2e", "", declared("test")),
    "benchmarks": (TESTS / "benchmarks", "", declared("test", "bench")),
}
"""Where, but for which directories, and what may be imported there."""


def imported(node: ast.AST) -> Iterator[str]:
    """Top-level names, those within functions included; but not what only a type checker reads."""
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield (node.module or "").partition(".")[0]
    elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from imported(child)


def faults(source: str, allowed: set[str]) -> list[str]:
    """What a source imports and nobody declares."""
    names = set(imported(ast.parse(source))) - sys.stdlib_module_names - OURS - BY_HAND
    return sorted(name for name in names if canonical(DISTRIBUTIONS.get(name, name)) not in allowed)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_imported_is_declared(part: str) -> None:
    directory, left_out, allowed = PARTS[part]
    found = {
        str(path.relative_to(ROOT)): names
        for path in directory.rglob("*.py")
        if not {*path.relative_to(directory).parts} & {*left_out.split()}
        and (names := faults(path.read_text("utf-8"), allowed))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import botocore.loaders", ["botocore"]),
        ("def late():\n    from markupsafe import Markup", ["markupsafe"]),
        ("import boto3, json, proxy.cli", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mypy_boto3_sagemaker", []),
        ("import yaml", []),
    ],
)
def test_what_is_not_declared_is_found(source: str, found: list[str]) -> None:
    assert faults(source, {"boto3", "pyyaml"}) == found


def lowest(*extras: str) -> dict[str, str]:
    """What `.ci/lowest` prints, by name."""
    command = [sys.executable, str(ROOT / ".ci" / "lowest"), *extras]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {canonical(name): number for name, _, number in (line.partition("==") for line in said.split())}


def test_the_lowest_versions_of_all_that_is_declared_are_tested() -> None:
    assert set(lowest("unit")) == declared("unit")
    assert set(lowest()) == declared()
