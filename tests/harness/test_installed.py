"""What a test needs and lacks: skipped on a person's machine, a failure in CI, wherever it turns out."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT
from tests.harness import npm
from tests.harness.installed import installed
from tests.server import test_load_balancers as load_balancers

SKIPPING = {"skip", "skipif", "importorskip"}


def a_program(_: Path, __: pytest.MonkeyPatch) -> object:
    return installed("no-such-program")


def the_simulator(directory: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    program = directory / "npm"
    program.write_text("#!/bin/sh\necho no such registry >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    monkeypatch.setattr(npm, "BUILD", directory / "build")
    return npm.npm_packages(ROOT / "tests" / "policy" / "oracle", name="oracle")


def nginxs_module(directory: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(load_balancers, "STREAM_MODULES", [directory / "ngx_stream_module.so"])
    return load_balancers.stream_module()


@pytest.mark.parametrize(
    "need", [a_program, pytest.param(the_simulator, marks=pytest.mark.program), nginxs_module]
)
def test_what_is_missing_skips_a_test_but_fails_it_in_ci(
    need: Callable[[Path, pytest.MonkeyPatch], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        need(tmp_path, monkeypatch)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        need(tmp_path, monkeypatch)


def test_nothing_else_is_skipped() -> None:
    """Else it could be missing in CI, and nobody would notice."""
    found = {
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in (ROOT / "tests").rglob("*.py")
        if file.name not in ("installed.py", Path(__file__).name)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in SKIPPING
    }
    assert found == set()
