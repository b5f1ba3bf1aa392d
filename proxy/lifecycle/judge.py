"""Is this instance used, and if not, what follows: the one place that decides about stopping.

    not InService  -> NOT_RUNNING        nothing to do
    kept awake     -> KEPT_AWAKE
    unreadable     -> UNREADABLE         an instance whose state is not known is never stopped
    in use         -> IN_USE             a busy kernel, with or without a browser
    idle           -> IDLE -> WARN -> STOP

Pure and total: whatever the evidence, there is a verdict, and it is STOP only where everything is known and speaks
for it. Use is what a person or a computation does: a kernel that computes, a terminal that moved, what callers send.
That a tab is open, and its polls, are not.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Final

from proxy.instance_status import InstanceStatus
from proxy.lifecycle.evidence import Evidence, JupyterReading

BUSY: Final = "busy"

FRESH_SECONDS: Final = 150.0
"""A reading older than this says nothing of now."""
WATCHED_SECONDS: Final = 300.0
"""Whoever did not look for so long (a machine that slept) gives its warning once more."""


@dataclass(frozen=True, slots=True)
class IdleRules:
    """When to stop an instance. Seconds; `after_seconds` None: never.

    The warning is given `warning_seconds` before the stop, which is never sooner than that after the warning.
    `ignore_unknown_terminals`: a terminal of which Jupyter does not say when it was last used keeps nothing running.
    """

    after_seconds: float | None = None
    warning_seconds: float = 600.0
    dry_run: bool = False
    ignore_unknown_terminals: bool = False


class IdleFinding(Enum):
    """See the module's docstring. OFF: no rule says that the instance is ever stopped."""

    OFF = "off"
    NOT_RUNNING = "not running"
    KEPT_AWAKE = "kept awake"
    UNREADABLE = "unreadable"
    IN_USE = "in use"
    IDLE = "idle"
    WARN = "stops soon"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class IdleVerdict:
    """A finding, why, and the instants that belong to it, in monotonic seconds.

    `used_at` is the last use known, which the next judgement is told; `idle_since` is the same where nothing uses the
    instance now; `stops_at` where it is to be stopped, and `warned_at` since when that is announced.
    """

    finding: IdleFinding
    why: str = ""
    _: KW_ONLY
    used_at: float | None = None
    idle_since: float | None = None
    stops_at: float | None = None
    warned_at: float | None = None


def judge(evidence: Evidence, rules: IdleRules, now: float) -> IdleVerdict:
    """What to do about an instance. `now` is the monotonic clock's. Never raises."""
    used_at = _latest(now, evidence.used_at, evidence.traffic_at, evidence.in_service_since)
    if rules.after_seconds is None:
        return IdleVerdict(IdleFinding.OFF, "no stop_after_idle", used_at=used_at)
    if evidence.status and evidence.status != InstanceStatus.IN_SERVICE:
        return IdleVerdict(IdleFinding.NOT_RUNNING, evidence.status)
    reading = evidence.reading
    if not evidence.status:
        reading = None
    if reading is None or not 0 <= now - reading.read_at <= FRESH_SECONDS:
        if _is_kept_awake(evidence, now):
            return IdleVerdict(IdleFinding.KEPT_AWAKE, "somebody asked for it", used_at=used_at)
        return IdleVerdict(IdleFinding.UNREADABLE, "its state could not be read", used_at=used_at)
    used_at = _latest(now, used_at, _last_use(reading, evidence.previous))
    if why := _in_use(reading, rules):
        return IdleVerdict(IdleFinding.IN_USE, why, used_at=now)
    assert used_at is not None
    if _is_kept_awake(evidence, now):
        return IdleVerdict(
            IdleFinding.KEPT_AWAKE, "somebody asked for it", used_at=used_at, idle_since=used_at
        )
    return _idle(evidence, rules, now, used_at=used_at, after_seconds=rules.after_seconds)


def _idle(
    evidence: Evidence, rules: IdleRules, now: float, *, used_at: float, after_seconds: float
) -> IdleVerdict:
    due_at = used_at + after_seconds
    if evidence.awake_until is not None:
        due_at = max(due_at, evidence.awake_until)
    if now < due_at - rules.warning_seconds:
        return IdleVerdict(
            IdleFinding.IDLE, "nothing uses it", used_at=used_at, idle_since=used_at, stops_at=due_at
        )
    warned_at = evidence.warned_at
    watched = evidence.judged_at is not None and 0 <= now - evidence.judged_at <= WATCHED_SECONDS
    if warned_at is None or not watched or not used_at <= warned_at <= now:
        warned_at = now
    stops_at = max(due_at, warned_at + rules.warning_seconds)
    finding = IdleFinding.WARN if now < stops_at or warned_at == now else IdleFinding.STOP
    return IdleVerdict(
        finding,
        "nothing uses it",
        used_at=used_at,
        idle_since=used_at,
        stops_at=stops_at,
        warned_at=warned_at,
    )


def _is_kept_awake(evidence: Evidence, now: float) -> bool:
    return evidence.awake_until is not None and now < evidence.awake_until


def _in_use(reading: JupyterReading, rules: IdleRules) -> str:
    """What uses the instance at this moment; "" for nothing. What is not known counts as use."""
    for kernel in reading.kernels:
        if kernel.state == BUSY:
            return "a kernel is busy"
        if not kernel.state or kernel.last_activity is None:
            return "a kernel of which Jupyter does not say whether it is used"
    if not rules.ignore_unknown_terminals and any(one.last_activity is None for one in reading.terminals):
        return "a terminal of which Jupyter does not say when it was used"
    return ""


def _last_use(reading: JupyterReading, previous: JupyterReading | None) -> float:
    """The last use that a reading tells of, in monotonic seconds.

    By the instance's clock; and whatever that clock says, what changed since the previous reading happened since
    then. The first reading of all knows no changes: then the status's own `last_activity` counts, which is never too
    early, since polls move it, too.
    """
    moments = [reading.started]
    moments += [one.last_activity for one in reading.kernels if one.last_activity is not None]
    moments += [one.last_activity for one in reading.terminals if one.last_activity is not None]
    if previous is None:
        moments.append(reading.last_activity)
    # Ahead of its own clock, which was set back meanwhile, is cut to "just now" by whoever called: cautiously.
    told = reading.read_at - min((reading.clock - moment).total_seconds() for moment in moments)
    if previous is not None and _signs(reading) - _signs(previous):
        told = max(told, previous.read_at)
    return told


def _signs(reading: JupyterReading) -> frozenset[tuple[object, ...]]:
    """What changes when Jupyter is used. (That a kernel ends is no use: idle ones may be culled.)"""
    kernels = (("kernel", one.id, one.last_activity) for one in reading.kernels)
    terminals = (("terminal", one.name, one.last_activity) for one in reading.terminals)
    return frozenset((("started", reading.started), *kernels, *terminals))


def _latest(now: float, *instants: float | None) -> float | None:
    """The last of these; none of them is later than now."""
    return max((min(instant, now) for instant in instants if instant is not None), default=None)
