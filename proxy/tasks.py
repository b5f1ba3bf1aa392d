"""Background tasks with an owner: kept alive, named, logged when they fail, ended when the owner ends.

`asyncio.create_task` alone keeps only a weak reference and swallows the error of a task that nobody awaits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Tasks:
    """Owns background tasks. `on_error(name, error)` is called for each that fails."""

    def __init__(self, on_error: Callable[[str, BaseException], None]) -> None:
        self._on_error = on_error
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        name: str,
        expected: tuple[type[BaseException], ...] = (),
    ) -> asyncio.Task[T]:
        """Run `coroutine` in the background until it ends or `close()` cancels it. Whoever starts it tells of errors
        that are `expected`.
        """
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, expected))
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait for it to end."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, expected: tuple[type[BaseException], ...], task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if (
            not task.cancelled()
            and (error := task.exception()) is not None
            and not isinstance(error, expected)
        ):
            self._on_error(task.get_name(), error)
