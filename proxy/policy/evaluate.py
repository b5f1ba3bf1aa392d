"""The one evaluator: a policy and a context in, a decision out.

The rule: IAM's evaluation logic. Everything is denied by default, a statement that applies may allow, and an
explicit Deny beats any number of Allows. Total: it never raises, for all that could fail did so at load.
Source: IAM User Guide, "Policy evaluation logic". It must not know how the context came about.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from proxy.policy.context import Context
from proxy.policy.statements import Effect, Policy


@dataclass(frozen=True, slots=True)
class Decision:
    """Allow or deny, with the ids of the statements that decided (none: nothing allowed it).

    `reason` names the lists and is for the audit log; a denied caller is never told.
    """

    allowed: bool
    sids: tuple[str, ...]
    reason: str


_NOTHING_ALLOWS = Decision(False, (), "denied: no statement allows it")
_DENY = Effect.DENY


def evaluate(policy: Policy, context: Context) -> Decision:
    """Default deny; an explicit Deny that applies wins; otherwise any Allow that applies. Never raises."""
    allowed_by: tuple[str, ...] = ()
    denied_by: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    for statement in policy.statements:
        if not statement.applies(context):
            continue
        note = statement.note or statement.sid
        if statement.effect is _DENY:
            notes = (*notes, note) if denied_by else (note,)
            denied_by += (statement.sid,)
        elif not denied_by:
            notes += (note,)
            allowed_by += (statement.sid,)
    if denied_by:
        return _decision(False, denied_by, notes, context.source_ip is None)
    if allowed_by:
        return _decision(True, allowed_by, notes, False)
    return _NOTHING_ALLOWS


@lru_cache(maxsize=256)
def _decision(allowed: bool, sids: tuple[str, ...], notes: tuple[str, ...], unknown: bool) -> Decision:
    # The same few statements decide for everybody: the judge's memo has many answers, which share these records.
    reason = f"{'allowed' if allowed else 'denied'}: {'; '.join(notes)}"
    return Decision(allowed, sids, f"{reason}; the client address is unknown" if unknown else reason)
