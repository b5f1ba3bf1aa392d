"""How long a failed sign-in counts, so that a crowd cannot become a storm.

The rule: a failure is remembered for a moment, and for longer each time that another one follows; whoever asks
meanwhile is told the same. How long depends on what it is: what a person mends is tried at a steady pace. It must not
know how anybody signs in.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Final

from proxy.chance import Jitter
from proxy.clock import Clock
from proxy.errors import (
    CredentialsMissing,
    InstanceNotFound,
    InstanceNotInService,
    JupyterStarting,
    NbgateError,
    PermissionMissing,
    SessionRejected,
    Throttled,
)


@dataclass(frozen=True, slots=True)
class _Pause:
    """Before the next try; it doubles while failures follow one another."""

    first_seconds: float
    most_seconds: float

    def seconds(self, failures: int) -> float:
        return float(min(self.first_seconds * 2 ** min(failures - 1, 16), self.most_seconds))


# A stopped or missing instance is asked about at a steady pace, so that a page reloaded after the start
# finds it.
_PAUSES: Final[tuple[tuple[type[NbgateError], _Pause], ...]] = (
    (InstanceNotFound, _Pause(5.0, 5.0)),
    (InstanceNotInService, _Pause(4.0, 4.0)),
    (Throttled, _Pause(4.0, 60.0)),
    (PermissionMissing, _Pause(5.0, 30.0)),
    (CredentialsMissing, _Pause(5.0, 30.0)),
    (SessionRejected, _Pause(5.0, 60.0)),
    # It may be up in the next moment, and a try costs one request, and no URL.
    (JupyterStarting, _Pause(1.0, 1.0)),
    (NbgateError, _Pause(1.0, 15.0)),
)


class Failures:
    """Of one notebook's sign-ins. `count` is how many followed one another."""

    def __init__(self, *, clock: Clock, jitter: Jitter) -> None:
        self.count = 0
        self._clock = clock
        self._jitter = jitter
        self._last: NbgateError | None = None
        self._counts_until = -math.inf

    def note(self, error: NbgateError) -> float:
        """It happened. Returns for how many seconds it counts."""
        self.count += 1
        pause = next(pause for kind, pause in _PAUSES if isinstance(error, kind))
        seconds = self._jitter(pause.seconds(self.count))
        self._counts_until = self._clock.monotonic() + seconds
        if isinstance(error, Throttled | SessionRejected) and error.retry_after_seconds is None:
            error.retry_after_seconds = math.ceil(seconds)
        # A copy: raising one exception many times would grow its traceback without end.
        self._last = copy.copy(error)
        return seconds

    def last(self) -> NbgateError | None:
        """The last one, while it counts."""
        if self._last is None or self._clock.monotonic() >= self._counts_until:
            return None
        return copy.copy(self._last)

    def forget(self) -> None:
        """It works, or is worth trying at once."""
        self.count = 0
        self._last = None
