"""Faults of our own where going on matters more than the one thing that failed: met, counted, told, outlived.

The rule: whoever does something for many goes through them with `each`, so that one that is broken costs the others
nothing. A fault is always counted; it is told with its traceback the first time that its kind (where, what, and on
which line) is met, and then once a minute at most, with how often it came meanwhile. It must not know logs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

REPEAT_SECONDS: Final = 60.0
"""Between two tracebacks of one kind."""
KINDS: Final = 256
"""Told apart at a time; what comes beyond them is told apart by `where` alone."""

TellFault = Callable[[str, str, BaseException, int], None]
"""Is given where, what (of several, "" where there is only one), the fault, and how often its kind came untold."""

OUTLIVED: Final = (Exception, asyncio.CancelledError)
"""What a function may raise without ending who called it for many. One that does not wait cannot be cancelled: it
was the outcome of something else that it looked at."""

_Kind = tuple[str, str, str]


@dataclass(slots=True)
class _Repeated:
    told_at: float
    untold: int = 0


class Faults:
    """What failed since the start of the process. `monotonic` tells the time in seconds."""

    def __init__(self, tell: TellFault, *, monotonic: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        """By `where`, which is a word of ours and never something that a caller chose."""
        self._tell = tell
        self._monotonic = monotonic
        self._met: dict[_Kind, _Repeated] = {}

    def met(self, where: str, error: BaseException, *, what: str = "") -> None:
        """Something failed, and what it belongs to goes on. Never raises."""
        self.counts[where] += 1
        kind = _kind(where, error)
        if kind not in self._met and len(self._met) >= KINDS:
            kind = (where, "", "")
        now = self._monotonic()
        met = self._met.get(kind)
        if met is None:
            self._met[kind] = _Repeated(now)
            untold = 0
        elif now - met.told_at < REPEAT_SECONDS:
            met.untold += 1
            return
        else:
            met.told_at, untold, met.untold = now, met.untold, 0
        try:
            self._tell(where, what, error, untold)
        except Exception:
            # Whoever should have written it down is broken, too: it is counted.
            self.counts["log"] += 1

    def each(
        self,
        where: str,
        items: Iterable[T],
        do: Callable[[T], object],
        *,
        broken: Callable[[T], object] | None = None,
    ) -> None:
        """`do` each of the items, whatever becomes of the others. `broken` is done to one that failed: what could not
        be judged is better ended than left as it is.
        """
        for item in items:
            try:
                do(item)
            except OUTLIVED as error:
                self.met(where, error)
                if broken is not None:
                    try:
                        broken(item)
                    except OUTLIVED as worse:
                        self.met(where, worse)


def _kind(where: str, error: BaseException) -> _Kind:
    trace = error.__traceback__
    line = ""
    while trace is not None:
        line = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where, type(error).__qualname__, line
