"""What was worked out before, kept within a bound.

The rule: a memo holds answers that can be worked out again, under keys that others choose. So it is bounded, and when
it is full it starts again from nothing: an order of use would cost each hit. A hit is a dict's own `get` or `[]`.
Whoever keeps something decides whether it may be kept: nothing long, and no credential. What must not be forgotten (a
used link, a signature) belongs elsewhere. It must not know what is remembered.
"""

from __future__ import annotations

from array import array
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


class RecurringMemo(Memo[K, V]):
    """A memo of what comes again: an answer is kept when its key comes for the second time.

    Of keys that mostly come once, a memo of all would hold nothing but those, and take cold memory for each. That a key
    came before is known by its hash alone, in one of `most` places: a false memory keeps one answer too early.
    """

    __slots__ = ("_came",)

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._came = array("q", bytes(8 * most))

    def keep(self, key: K, value: V) -> V:
        """Remember `value` if `key` came before, and return it."""
        came, place = hash(key), hash(key) % self._most
        if self._came[place] == came:
            return super().keep(key, value)
        self._came[place] = came
        return value
