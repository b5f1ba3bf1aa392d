"""How long the event loop was busy with one turn, at the longest: nobody else is served meanwhile.

The rule: a beat every 10 ms; where it comes late, the turn that made it late took no longer than the time between two
beats. That time is told by the thread's own processor time, which other processes on the machine do not add to, and by
the wall's, which also shows waiting for a disk or another thread. It measures the loop that there is, so it takes time
from there and not from `proxy.clock`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

BEAT_SECONDS: Final = 0.01
LATE_SECONDS: Final = 0.005
"""A beat that is later than this tells of a turn; others of nothing longer than a beat."""
WINDOW_SECONDS: Final = 60.0


class LongestTurn:
    """That of this minute and the one before."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, busy: Callable[[], float] = time.thread_time
    ) -> None:
        """`busy` is the processor time of the loop's thread, in seconds."""
        self._loop = loop
        self._busy = busy
        self._longest = self._longest_before = (0.0, 0.0)
        self._window_began_at = self._beat_at = loop.time()
        self._busy_at = busy()
        self._next = loop.call_later(BEAT_SECONDS, self._beat)

    def stop(self) -> None:
        """Beat no more."""
        self._next.cancel()

    @property
    def seconds(self) -> tuple[float, float]:
        """Of processor time, and of the wall's."""
        (cpu, wall), (cpu_before, wall_before) = self._longest, self._longest_before
        return max(cpu, cpu_before), max(wall, wall_before)

    def _beat(self) -> None:
        now, busy = self._loop.time(), self._busy()
        passed, worked = now - self._beat_at, busy - self._busy_at
        if passed > BEAT_SECONDS + LATE_SECONDS:
            cpu, wall = self._longest
            self._longest = max(cpu, min(worked, passed)), max(wall, passed)
        if now - self._window_began_at >= WINDOW_SECONDS:
            self._window_began_at = now
            self._longest_before, self._longest = self._longest, (0.0, 0.0)
        self._beat_at, self._busy_at = now, busy
        self._next = self._loop.call_later(BEAT_SECONDS, self._beat)
