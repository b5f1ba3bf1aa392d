"""Tests wait long enough on a busy machine: what they wait for, and for how long at most."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.clocks import FakeClock
from tests.harness.waiting import PATIENCE_SECONDS, eventually, settle

TESTS = Path(__file__).parents[1]
WAITS = ("asyncio.timeout", "asyncio.wait_for")


def short_waits(source: str) -> Iterator[int]:
    """Lines where a deadline of the machine's own clock is a number below PATIENCE_SECONDS."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WAITS:
            deadline = (node.args + [keyword.value for keyword in node.keywords])[-1]
            value = deadline.value if isinstance(deadline, ast.Constant) else PATIENCE_SECONDS
            if value is None or (isinstance(value, int | float) and value < PATIENCE_SECONDS):
                yield node.lineno


def test_no_deadline_is_one_that_a_busy_machine_misses() -> None:
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in TESTS.rglob("*.py")
        if "benchmarks" not in path.parts and path != Path(__file__)
        for line in short_waits(path.read_text("utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("async with asyncio.timeout(10): ...", [1]),
        ("await asyncio.wait_for(reader.read(), 5)", [1]),
        ("await asyncio.wait_for(reader.read(), timeout=5)", [1]),
        ("async with asyncio.timeout(PATIENCE_SECONDS): ...", []),
        ("async with asyncio.timeout(60): ...", []),
    ],
)
def test_such_a_deadline_is_found(source: str, lines: list[int]) -> None:
    assert list(short_waits(source)) == lines


async def test_what_is_named_is_awaited_across_threads() -> None:
    came: list[int] = []
    loop = asyncio.get_running_loop()
    thread = loop.run_in_executor(None, lambda: loop.call_soon_threadsafe(came.append, 1))
    await eventually(lambda: came)
    await thread


async def test_settling_waits_for_a_task_however_many_turns_it_takes() -> None:
    done: list[int] = []

    async def work() -> None:
        for _ in range(1000):
            await asyncio.sleep(0)
        done.append(1)

    task = asyncio.ensure_future(work())
    await settle()
    assert done
    await task


async def test_settling_leaves_alone_what_waits() -> None:
    clock = FakeClock()
    task = asyncio.ensure_future(clock.sleep(1))
    await settle()
    assert not task.done()
    await clock.advance(1)
    assert task.done()
