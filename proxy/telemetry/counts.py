"""What is counted as it happens, for whoever asks later: requests, denials, sign-ins.

The rule: counting is one increment where a record is made anyway, and names come from the configuration, never from
a caller, so that there are few of them. It must not know who asks, nor how an answer looks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from proxy.telemetry.access_log import RequestRecord


@dataclass(frozen=True, slots=True)
class GatewayCounts:
    """Since the start of the process. Event loop's thread only."""

    finished: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    """Requests and WebSockets (status 101) that have ended, by instance and status."""
    denied: Counter[str] = field(default_factory=Counter)
    """Denials, by instance."""
    sessions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What happened to sessions with SageMaker, by notebook and kind of event."""

    def count(self, record: RequestRecord) -> None:
        """As the access log does beside its line."""
        self.finished[record.instance, record.status] += 1
