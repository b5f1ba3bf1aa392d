"""What may be used once: remembered until it ends by itself.

The rule: when in doubt, nobody. A full memory takes nothing new, for what it forgot could be used a second time. It
must not know what is used, nor read a clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", str, bytes)
V = TypeVar("V")


class UsedOnce(Generic[K, V]):
    """By a name of each, such as a nonce. Instants are of one clock, whichever it is."""

    def __init__(self) -> None:
        self._uses: dict[K, V] = {}
        self._ends: list[tuple[float, K]] = []
        """The soonest first."""

    def __len__(self) -> int:
        return len(self._uses)

    def earlier(self, name: K, *, now: float) -> V | None:
        """What was noted of its first use; None: this is the first."""
        while self._ends and self._ends[0][0] <= now:
            del self._uses[heappop(self._ends)[1]]
        return self._uses.get(name)

    def note(self, name: K, use: V, *, until: float, most: int) -> bool:
        """Its first use, after `earlier` said so; it ends at `until`. False: there is no room for it."""
        if len(self._uses) >= most:
            return False
        self._uses[name] = use
        heappush(self._ends, (until, name))
        return True
