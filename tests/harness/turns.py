"""How much of the gateway's own code one turn of the event loop runs: lines of Python, whatever else the machine does.

with counted() as turns:
    ...
assert turns.longest < MOST
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = f"{Path(__file__).parents[2] / 'proxy'}/"


class Turns:
    """`longest`: the lines of the turn that took most."""

    def __init__(self) -> None:
        self.longest = 0
        self._lines = 0
        self._is_over = False

    def _tick(self) -> None:
        self.longest = max(self.longest, self._lines)
        self._lines = 0
        if not self._is_over:
            asyncio.get_running_loop().call_soon(self._tick)

    def _called(self, frame: FrameType, _event: str, _argument: object) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, _frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            self._lines += 1
        return self._line


@contextmanager
def counted() -> Iterator[Turns]:
    """Count what is called meanwhile, on the running loop."""
    turns, before = Turns(), sys.gettrace()
    turns._tick()
    sys.settrace(turns._called)
    try:
        yield turns
    finally:
        sys.settrace(before)
        turns._is_over = True
        turns.longest = max(turns.longest, turns._lines)
