"""What was worked out before, kept within a bound.

The rule: a memo holds answers that can be worked out again, under keys that others choose. So it is bounded, and when
it is full it starts again from nothing: an order of use would cost each hit. A hit is a dict's own `get` or `[]`.
Whoever keeps something decides whether it may be kept: nothing long, and no credential. What must not be forgotten (a
used link, a signature) belongs elsewhere. It must not know what is remembered.
"""

from __future__ import annotations

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
