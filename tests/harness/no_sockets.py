"""A pytest plugin for what must do without: whoever makes a socket fails."""

from __future__ import annotations

import sys


def _refuse(event: str, _arguments: object) -> None:
    if event == "socket.__new__":
        raise AssertionError("a socket was made where there is to be none")


def pytest_configure() -> None:
    """From now on, in this process."""
    sys.addaudithook(_refuse)
