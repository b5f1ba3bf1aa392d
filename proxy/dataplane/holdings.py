"""What callers have waiting in the gateway's memory, and which of it is to end when it is too much.

The rule: a connection holds little, but a caller may have thousands: uploads that a notebook does not take, answers and
frames that the caller does not take. So what each address holds is added up now and then, and above
`limits.held_per_address` its connections that hold most are cut, until it holds no more than that. Knows no sockets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

HELD_EACH_BYTES: Final = 2 * 1024 * 1024
"""What one connection holds at most, about: one large read each way, and what the marks of flow control let wait."""


class Holding(NamedTuple):
    """`who` holds so many bytes."""

    who: Hashable
    size: int


def surplus(holdings: Iterable[tuple[T, Holding]], *, most: int) -> list[T]:
    """Whose end brings everybody down to `most` bytes: of those above it, what holds most, and no more than needed.

    What is held for nobody in particular (None) is bounded elsewhere.
    """
    held: defaultdict[Hashable, list[tuple[int, T]]] = defaultdict(list)
    for one, (who, size) in holdings:
        if who is not None and size:
            held[who].append((size, one))
    ended: list[T] = []
    for each in held.values():
        total = sum(size for size, _ in each)
        if total <= most:
            continue
        each.sort(key=lambda held: held[0], reverse=True)
        for size, one in each:
            if total <= most:
                break
            total -= size
            ended.append(one)
    return ended
