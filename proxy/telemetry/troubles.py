"""Faults that are to be expected of others: one line when one begins, few while it lasts, one when it is over.

The rule: a fault that is met a hundred times a second is told at once, and then with how often it came: after a minute,
after two more, after four, at most an hour apart. Each line says what a fault is (`NbgateError.log_fields`) and never
where in the program it was met. It must not know what the faults are.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

from proxy.clock import Clock
from proxy.errors import NbgateError
from proxy.telemetry.events import Warn

FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
REMEMBERED: Final = 1024
"""Beyond so many, none is told apart by whom it is of."""


@dataclass(slots=True)
class _Trouble:
    told_at: float
    pause_seconds: float = FIRST_PAUSE_SECONDS
    untold: int = 0


class Troubles:
    """Of one process. `of` says whose a fault is, and never comes from a caller."""

    def __init__(self, clock: Clock, warn: Warn) -> None:
        self._clock = clock
        self._warn = warn
        self._met: dict[tuple[str, Hashable], dict[str, _Trouble]] = {}

    def met(self, event: str, error: NbgateError, *, of: Hashable, **fields: Any) -> None:
        """`error` was met. `fields` stand in the event between whose it is and what it is."""
        now = self._clock.monotonic()
        if (event, of) not in self._met and len(self._met) >= REMEMBERED:
            of = None
        kinds = self._met.setdefault((event, of), {})
        met = kinds.get(error.code)
        untold = 0
        if met is None:
            kinds[error.code] = _Trouble(now)
        elif now - met.told_at < met.pause_seconds:
            met.untold += 1
            return
        else:
            untold, met.untold = met.untold, 0
            met.told_at = now
            met.pause_seconds = min(2 * met.pause_seconds, LONGEST_PAUSE_SECONDS)
        more = {"times_since": untold} if untold else {}
        self._warn(event, **fields, **error.log_fields(), **more)

    def over(self, event: str, *, of: Hashable) -> bool:
        """It works again. True: there was something, so that this is news."""
        return self._met.pop((event, of), None) is not None
