"""Statements and policies: IAM's words, as frozen data.

The rule: a statement applies when its action, its resource and all of its conditions do; the effect is for
the evaluator to weigh. It must not know who wrote a statement, the short form or a policy document.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from enum import Enum

from proxy.policy.conditions import Condition, Values
from proxy.policy.context import Context
from proxy.policy.errors import PolicyError
from proxy.policy.wildcards import ANYTHING


class Effect(Enum):
    """What a statement that applies says."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class AllBut:
    """NotAction and NotResource: everything that is not in `excepted`."""

    excepted: Values

    def __contains__(self, value: str) -> bool:
        return value not in self.excepted


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `sid` is unique within its policy; `note` says for the log why it applied, if not "".

    `origin` is where it was written, `nbgate.yaml:12`; it makes no difference to what a statement says.
    """

    sid: str
    effect: Effect
    _: KW_ONLY
    actions: Values = ANYTHING
    resources: Values = ANYTHING
    conditions: tuple[Condition, ...] = ()
    note: str = ""
    origin: str = field(default="", compare=False)

    def is_about(self, context: Context) -> bool:
        """Action and resource, whatever the conditions."""
        # Most statements are about anything.
        if self.actions is not ANYTHING and context.action not in self.actions:
            return False
        return self.resources is ANYTHING or context.resource in self.resources

    def applies(self, context: Context) -> bool:
        """Action, resource and every condition, AND-ed. Never raises."""
        if not self.is_about(context):
            return False
        for condition in self.conditions:  # noqa: SIM110 - a generator costs more than all the rest
            if not condition.holds(context):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Policy:
    """All statements that bear on one instance. Raises `PolicyError` when two share a sid.

    `changes_at` are the instants, ascending and in UTC, at which the same caller may get another answer: from
    one up to the next, time alone changes nothing.
    """

    statements: tuple[Statement, ...] = ()
    changes_at: tuple[datetime, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        counts = Counter(statement.sid for statement in self.statements)
        repeated = [sid for sid, count in counts.items() if count > 1]
        if repeated:
            raise PolicyError(
                f"statement ids occur more than once: {', '.join(repeated)}", "rename all but one"
            )
        instants = {
            instant
            for statement in self.statements
            for condition in statement.conditions
            for instant in condition.changes_at
        }
        object.__setattr__(self, "changes_at", tuple(sorted(instants)))
