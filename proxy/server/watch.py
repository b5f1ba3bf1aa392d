"""Notices that files have changed, by looking at them a few times a second.

The rule: what counts is the file that a path leads to now, so that an editor's rename and the exchange of a
symbolic link (Kubernetes' `..data`) are changes like a write in place; and nobody is told before the files have
stood still for a moment, so that half a file is not read. Looking works where the kernel's notifications do
not (network file systems, bind mounts of single files, a directory that is exchanged above the file), and costs
a few calls a second, made off the event loop's thread. It must not know what is in the files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from proxy.clock import Clock

LOOK_SECONDS: Final = 0.3
STEADY_SECONDS: Final = 0.1
STEADY_LOOKS: Final = 3
"""After so many more looks a file that changes all the time counts as it is."""

Version = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of content and of anything, in nanoseconds."""


def look(paths: Iterable[Path]) -> dict[Path, Version | None]:
    """Each file's version; None for one that cannot be looked at."""
    return {path: _version(path) for path in paths}


def _version(path: Path) -> Version | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        # ValueError: no name that a file can have.
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Watcher:
    """Watches the files that `paths()` names, which may be others from look to look."""

    def __init__(self, paths: Callable[[], Iterable[Path]], *, clock: Clock) -> None:
        self._paths = paths
        self._clock = clock
        self._seen: dict[Path, Version | None] = {}

    async def has_changed(self) -> bool:
        """Look, and tell whether the files are not as they were the last time; the first time they never are.

        Whoever reads them now reads what was seen, or something later, of which the next look tells.
        """
        now = await self._look()
        if now == self._seen:
            return False
        for _ in range(STEADY_LOOKS):
            await self._clock.sleep(STEADY_SECONDS)
            before, now = now, await self._look()
            if now == before:
                break
        self._seen = now
        return True

    def forget(self) -> None:
        """What was seen last was not made use of: the next look tells of it again."""
        self._seen = {}

    async def _look(self) -> dict[Path, Version | None]:
        return await asyncio.to_thread(look, tuple(self._paths()))
