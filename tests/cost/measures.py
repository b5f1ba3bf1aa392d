"""What a call costs, counted in two ways that do not depend on what else the machine does.

- `steps`: the bytecodes that Python runs, by `sys.settrace` with `f_trace_opcodes`. Exact and the same each time, so a
  loop that is quadratic in Python shows at any size. Blind for what happens within one of them: a search by `re` or
  `bytes.find`, a join, a slice, `del text[:n]`.
- `seconds`: CPU time of this thread alone, which nobody else's work adds to. It sees what happens in C. Caches that are
  shared and clocks that change speed make it vary by a third or so; therefore it is the least of several runs, and the
  sizes that are compared lie a factor of eight apart: linear work grows by 8 there, quadratic work by 64, and the line
  between them, three doublings of 2.5 each, is 15.6, about a factor of two from the one and of four from the other.

valgrind's callgrind would count instructions, at 50 times the time; CPU counters (`perf`) are missing in containers.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

DOUBLING = 2.5
"""What twice the input may cost."""
DOUBLINGS = 3
ALLOWANCE_STEPS = 400
"""What does not depend on the input: an exception that is made, a first call."""
_LEAST_SECONDS = 0.0003
_RUNS = 2
_TRIES = 4
_TRACED = 32
"""Steps are counted for so small a part of the size: they are exact."""

Read = Callable[[Any], object]
"""A reader. What it raises for a hostile input is its answer."""
Make = Callable[[int], Any]
"""An input of about so many bytes."""


def steps(read: Read, given: Any) -> int:
    """The bytecodes that `read(given)` runs."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        elif event == "line":
            # Not at the call: Python 3.13 does not know then that the frame is traced.
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        return trace

    before = sys.gettrace()
    # What is called back when garbage is collected would be counted, too.
    was_enabled = gc.isenabled()
    gc.disable()
    # From Python 3.12 on, `settrace` looks whether some frame has asked for opcodes by then.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        _call(read, given)
    finally:
        sys.settrace(before)
        if was_enabled:
            gc.enable()
    return count


def seconds(read: Read, make: Make, size: int, *, runs: int = _RUNS) -> float:
    """The least CPU time of `read` for an input of `size`, of so many runs, each with an input of its own."""
    times = 1
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        while (least := _timed(read, make, size, times)) < _LEAST_SECONDS and times < 1024:
            times *= 4
        return min([least, *(_timed(read, make, size, times) for _ in range(runs - 1))]) / times
    finally:
        if was_enabled:
            gc.enable()


def _timed(read: Read, make: Make, size: int, times: int) -> float:
    inputs = [make(size) for _ in range(times)]
    began = time.thread_time()
    for given in inputs:
        _call(read, given)
    return time.thread_time() - began


def _call(read: Read, given: Any) -> None:
    try:
        read(given)
    except (AssertionError, AttributeError, KeyError, NameError, RuntimeError, TypeError):
        raise  # a row of the table that asks for something that is not there
    except Exception:
        return  # to refuse is to read


def faults(read: Read, make: Make, *, size: int) -> list[str]:
    """What speaks against `read` being linear in inputs of up to `size` bytes; nothing, if it is."""
    found = []
    few, twice = (steps(read, make(max(1, size * factor // _TRACED))) for factor in (1, 2))
    if twice > DOUBLING * few + ALLOWANCE_STEPS:
        found.append(f"{few} steps become {twice} for twice the input")
    if complaint := _growth(read, make, size):
        found.append(complaint)
    return found


def _growth(read: Read, make: Make, size: int) -> str:
    growth = long = 0.0
    for more in range(_TRIES):
        short = seconds(read, make, max(1, size >> DOUBLINGS))
        # Whatever disturbs a run makes it longer. A first one that is short enough says all.
        long = seconds(read, make, size, runs=1 + more)
        growth = long / short
        if growth <= DOUBLING**DOUBLINGS:
            return ""
    return f"{1 << DOUBLINGS} times the input takes {growth:.1f} times as long: {long * 1000:.2f} ms"
