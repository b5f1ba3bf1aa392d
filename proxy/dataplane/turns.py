"""Work that others decide the size of, done a little in each turn of the event loop.

The rule: whoever has such work cuts it into pieces of a millisecond or two and brings one at a time. A few are done at
once, so that ordinary work does not wait; above that, they take turns in the order in which they came, however many
connections they belong to. Knows nothing of what is done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

A_TURN: Final = 4
"""Pieces that a turn does at once, and again as many of those that had to wait."""

Piece = Callable[[], None]


class Turns:
    """The pieces of one event loop."""

    __slots__ = ("_is_counting", "_left", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Piece] = deque()
        self._left = A_TURN
        self._is_counting = False

    def now_or_later(self, piece: Piece) -> None:
        """Do it, unless this turn has done enough."""
        if self._left and not self._waiting:
            self._left -= 1
            self._count()
            piece()
        else:
            self.later(piece)

    def later(self, piece: Piece) -> None:
        """Do it in another turn."""
        self._waiting.append(piece)
        self._count()

    def _count(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_counting = False
        self._left = A_TURN
        try:
            for _ in range(min(A_TURN, len(self._waiting))):
                # One that brings another brings it for a later turn.
                self._waiting.popleft()()
        finally:
            # One that fails leaves the others their turn.
            if self._waiting:
                self._count()
