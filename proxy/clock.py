"""Time, as the only way to it: everything that reads or waits for time takes a `Clock`.

Tests pass a clock that they move by hand (`tests/harness/clocks.py`), so that none of them sleeps.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return once `monotonic()` has advanced by `seconds`."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the place

    # The function itself: the hot path asks several times a request, and a frame of ours costs more than the answer.
    monotonic = staticmethod(time.monotonic)  # noqa: TID251 - this is the place

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the place
