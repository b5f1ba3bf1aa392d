"""What is known of one instance's state, and what follows from what is learnt next. Pure: nobody is asked here.

The rule: an instance that was told to start or stop is on its way, whatever its status still says; and a start counts
for how long starts take only if its begin was seen.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import KW_ONLY, dataclass, field
from statistics import median
from typing import Final, Protocol

from proxy.aws.control_plane import InstanceDescription
from proxy.aws.presigned import SessionKey
from proxy.errors import ControlPlaneError
from proxy.instance_status import PASSING, InstanceStatus
from proxy.shared_fetch import SharedFetch

LOOK_SECONDS: Final = 5.0
"""Between two looks at what is watched."""
MOVING_SECONDS: Final = 60.0
"""How long an instance is looked at after it was told to start or stop, even if its status does not show it yet."""
STARTS_REMEMBERED: Final = 15


@dataclass(frozen=True, slots=True)
class KnownState:
    """What SageMaker last said of an instance. Instants are monotonic seconds: when it said so, and from when on
    that status is known to hold."""

    description: InstanceDescription
    seen_at: float
    since: float


class SessionsOfInstance(Protocol):
    """What of a keeper (`proxy.aws.keeper.SessionKeeper`) depends on its instance's state."""

    def retry(self) -> None: ...
    def drop(self) -> None: ...


@dataclass(slots=True)
class WatchedInstance:
    """One notebook and role: instances of the gateway that share both share it. Instants are monotonic seconds."""

    key: SessionKey
    fetch: SharedFetch[InstanceDescription]
    _: KW_ONLY
    names: tuple[str, ...] = ()
    sessions: tuple[SessionsOfInstance, ...] = ()
    known: KnownState | None = None
    is_fresh: bool = False
    """Nothing was done since that would make `known` untrue."""
    failure: ControlPlaneError | None = None
    failed_at: float = -math.inf
    changes: int = 0
    """How often it was started or stopped: what was asked before tells nothing of what came then."""
    asked_at: float = -math.inf
    moving_until: float = -math.inf
    is_listed: bool = True
    """The last listing, if there was one, had it."""
    pending_since: float | None = None
    """When it began to start, if that was seen."""
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=STARTS_REMEMBERED))

    def is_passing(self, now: float) -> bool:
        """Whether it is on its way from one state to another."""
        return now < self.moving_until or (
            self.known is not None and self.known.description.status in PASSING
        )

    def usual_start_seconds(self) -> float | None:
        """The median of the starts that were seen, to within `LOOK_SECONDS`; None before the first."""
        return median(self.starts) if self.starts else None

    def moves(self, now: float, *, starts: bool) -> None:
        """It was told to start, or to stop: what was known and asked of it is of the past."""
        self.pending_since = now if starts else None
        self.changes += 1
        self.is_fresh = False
        self.failure = None
        self.fetch.forget()
        self.moving_until = now + MOVING_SECONDS

    def learn(self, description: InstanceDescription, now: float) -> bool:
        """This is what it is; whether that is another status than before, or the first that is known."""
        before, status = self.known, description.status
        has_changed = before is None or before.description.status != status
        self.known = KnownState(
            description, seen_at=now, since=now if before is None or has_changed else before.since
        )
        self.is_fresh = True
        self.failure = None
        if has_changed:
            self._time_start(before, status, now)
            if before is not None or status in PASSING:
                self.moving_until = -math.inf
        return has_changed

    def _time_start(self, before: KnownState | None, status: str, now: float) -> None:
        """How long starts take. One whose begin was not seen counts for nothing: it would look quicker."""
        if status == InstanceStatus.PENDING:
            is_ours = self.pending_since is not None and now - self.pending_since < MOVING_SECONDS
            if not is_ours:
                seen = before is not None and now - before.seen_at <= 2 * LOOK_SECONDS
                self.pending_since = now if seen else None
            return
        if status == InstanceStatus.IN_SERVICE and self.pending_since is not None:
            self.starts.append(now - self.pending_since)
        if status == InstanceStatus.IN_SERVICE or (
            before is not None and before.description.status == InstanceStatus.PENDING
        ):
            self.pending_since = None


def says_the_same(described: InstanceDescription, summary: InstanceDescription) -> bool:
    """Whether a listing has no news of an instance: `modified_at` moves with whatever it does not tell."""
    return (described.status, described.modified_at, described.url, described.instance_type) == (
        summary.status,
        summary.modified_at,
        summary.url,
        summary.instance_type,
    )
