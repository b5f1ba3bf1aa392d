"""How far an instance's start has come, as pages say it.

The rule: counted from when SageMaker says that it began, where that is known; what it usually takes is what the fleet
has seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from proxy.clock import Clock
from proxy.instance_status import InstanceStatus
from proxy.server.operations.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a start has come: both in seconds, None where not known."""

    name: str
    waited_seconds: int
    usual_seconds: int | None = None

    @property
    def waited(self) -> str:
        return duration(self.waited_seconds)

    @property
    def usual(self) -> str:
        return "" if self.usual_seconds is None else duration(self.usual_seconds)


def progress_of(name: str, *, fleet: Fleet, clock: Clock) -> Progress | None:
    """None if it is not starting, as far as is known."""
    known = fleet.known(name)
    if known is None or known.description.status != InstanceStatus.PENDING:
        return None
    waited = clock.monotonic() - known.since
    if known.description.modified_at is not None:
        # It may have been starting before it was first looked at.
        waited = max(waited, (clock.now() - known.description.modified_at).total_seconds())
    usual = fleet.started_in(name)
    return Progress(name, int(waited), None if usual is None else max(1, math.ceil(usual)))


def duration(seconds: float) -> str:
    """A duration as a page says it; the script counts on in the same words."""
    minutes, rest = divmod(max(int(seconds), 0), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
