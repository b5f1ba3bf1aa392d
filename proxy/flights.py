"""What many wait for at once: a task that none of them owns.

The rule: whoever waits, waits for so long at most, and ends nothing by giving up or by being cancelled. The flight goes
on, and what it brings is there for whoever comes then. It must not know what is fetched.
"""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.clock import Clock
from proxy.tasks import Tasks


async def has_landed(flight: asyncio.Task[Any], *, within_seconds: float, clock: Clock, tasks: Tasks) -> bool:
    """Wait for a flight, and tell whether it has ended by then. `tasks` owns the timer."""
    if not flight.done() and within_seconds > 0:
        patience = tasks.start(clock.sleep(within_seconds), name="patience")
        try:
            await asyncio.wait({flight, patience}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            patience.cancel()
    return flight.done()
