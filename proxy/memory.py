"""What was worked out before, kept within a bound.

The rule: a memo holds answers that can be worked out again, under keys that others choose. So it is bounded, and when
it is full it starts again from nothing: an order of use would cost each hit. A hit is a dict's own `get` or `[]`.
Whoever keeps something decides whether it may be kept: nothing long, and no credential. What must not be forgotten (a
used link, a signature) belongs elsewhere. It must not know what is remembered.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """At most `most` answers. A subclass may work out what is missing in `__missing__`, as a dict's may."""

    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, key: K, value: V) -> V:
        """Remember `value`, and return it."""
        if len(self) >= self._most:
            self.clear()
        self[key] = value
        return value


class Recurrence:
    """Whether something came before, as far as is remembered: the hashes of the last in each of `most` places."""

    __slots__ = ("_came",)

    def __init__(self, most: int) -> None:
        # No hash is -1.
        self._came = array("q", [-1]) * most

    def comes_again(self, key: Hashable) -> bool:
        """Note that it came. True: it came before, or another of the same hash did."""
        came, places = hash(key), self._came
        place = came % len(places)
        if places[place] == came:
            return True
        places[place] = came
        return False


class RecurringMemo(Memo[K, V]):
    """A memo of what comes again: an answer is kept when its key comes for the second time.

    Of keys that mostly come once, a memo of all would hold nothing but those, and take cold memory for each.
    """

    __slots__ = ("_recurrence",)

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._recurrence = Recurrence(most)

    def keep(self, key: K, value: V) -> V:
        """Remember `value` if `key` came before, and return it."""
        return super().keep(key, value) if self._recurrence.comes_again(key) else value
