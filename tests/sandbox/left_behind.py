"""Which processes are still there of those that a test started, found by a mark in their environment."""

from __future__ import annotations

from pathlib import Path

import pytest

MARK = "SANDBOX_TEST_RUN"


def mark(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Everything that is started from now on carries `value`."""
    monkeypatch.setenv(MARK, value)


def marked(value: str) -> list[str]:
    """Command lines of the marked processes that still run, this one excepted (its environment is older)."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            environment = (directory / "environ").read_bytes().split(b"\0")
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{MARK}={value}".encode() in environment and command:
            found.append(command)
    return found
