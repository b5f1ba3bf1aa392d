"""How tests wait: until something holds that they name, or until nothing that is under way can go on by itself.

The rule: what comes over a socket, from a thread, a process or a file takes as long as the machine likes, so it is
awaited with `eventually`. `settle` is for code that waits on futures of its own loop alone, such as what a fake clock
woke; it does not count turns of the loop, because nobody knows how many a chain of callbacks takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_SECONDS = 30.0
"""Of the machine's own clock, after which a test has failed. Only a failing one waits that long."""
TURNS = 20


async def eventually(holds: Callable[..., object]) -> None:
    """Return as soon as `holds()`. Raises TimeoutError if it does not come to that."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.001)


async def settle(turns: int = TURNS) -> None:
    """Return when every other task waits for something, so many turns of the loop after the beginning or, if one still
    ran then, after that. In them callbacks reach those whom they are for. More turns are for showing that nothing more
    comes over sockets of this process.
    """
    me = asyncio.current_task()
    async with asyncio.timeout(PATIENCE_SECONDS):
        running = True
        while running:
            for _ in range(turns):
                await asyncio.sleep(0)
            running = not all(task is me or _waits(task) for task in asyncio.all_tasks())


def _waits(task: asyncio.Task[object]) -> bool:
    awaited: asyncio.Future[object] | None = task._fut_waiter  # type: ignore[attr-defined]
    return awaited is not None and not awaited.done()
