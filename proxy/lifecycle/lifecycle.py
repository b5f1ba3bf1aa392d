"""Looks at instances that are to be stopped when nobody uses them, and stops them.

The rule: it knows who is asked (`Instances`, `Notebooks`, `Traffic`) but not how, and decides nothing: that is
`proxy.lifecycle.judge`'s. Everything that it remembers is lost with the process, which errs to the side of running.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from proxy.clock import Clock
from proxy.lifecycle.awake import AwakeState, checked_hours
from proxy.lifecycle.judge import IdleRules, Verdict


@dataclass(slots=True)
class _Watch:
    """What is remembered of one instance. Instants are monotonic seconds."""

    rules: IdleRules
    verdict: Verdict | None = None
    awake_until: float | None = None


@dataclass(slots=True)
class Lifecycle:
    """One per process; survives reloads. `rules` are by the gateway's instance names."""

    clock: Clock
    rules: Mapping[str, IdleRules]
    _watches: dict[str, _Watch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.adopt(self.rules)

    def adopt(self, rules: Mapping[str, IdleRules]) -> None:
        """Go by these rules from now on; what is remembered of instances that are still there stays."""
        self.rules = rules
        known = self._watches
        self._watches = {}
        for name, one in rules.items():
            watch = self._watches[name] = known.get(name) or _Watch(one)
            watch.rules = one

    def keep_awake(self, name: str, hours: float) -> AwakeState:
        """Do not stop an instance for so long, 0 to take that back; the last word counts.

        Raises KeyError for an instance that is not configured, AwakeRefused for hours out of bounds.
        """
        watch = self._watches[name]
        seconds = checked_hours(hours) * 3600
        watch.awake_until = self.clock.monotonic() + seconds if seconds else None
        return self.state(name)

    def state(self, name: str) -> AwakeState:
        """What is known of an instance's idleness, without asking anybody. Raises KeyError as `keep_awake`."""
        watch = self._watches[name]
        rules, verdict = watch.rules, watch.verdict
        now = self.clock.monotonic()
        awake_until = watch.awake_until
        if awake_until is not None and awake_until <= now:
            awake_until = None
        if rules.after_seconds is None or verdict is None:
            return AwakeState(
                after_seconds=rules.after_seconds,
                kept_awake_until=self._instant(awake_until),
                dry_run=rules.dry_run,
            )
        return AwakeState(
            finding=verdict.finding,
            why=verdict.why,
            after_seconds=rules.after_seconds,
            idle_since=self._instant(verdict.idle_since),
            stops_at=None if awake_until is not None else self._instant(verdict.stops_at),
            kept_awake_until=self._instant(awake_until),
            dry_run=rules.dry_run,
        )

    def _instant(self, monotonic: float | None) -> datetime | None:
        """The wall clock's name for an instant."""
        if monotonic is None:
            return None
        return self.clock.now() + timedelta(seconds=monotonic - self.clock.monotonic())
