"""Statements and policies: IAM's words, as frozen data.

The rule: a statement applies when its action, its resource and all of its conditions do; the effect is for
the evaluator to weigh. It must not know who wrote a statement, the short form or a policy document.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from proxy.policy.conditions import Condition, Context, PolicyError
from proxy.policy.wildcards import ANYTHING, Wildcards


class Effect(Enum):
    """What a statement that applies says."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `sid` is unique within its policy; `note` says for the log why it applied, if not ""."""

    sid: str
    effect: Effect
    actions: Wildcards = ANYTHING
    resources: Wildcards = ANYTHING
    conditions: tuple[Condition, ...] = ()
    note: str = ""

    def applies(self, context: Context) -> bool:
        """Action, resource and every condition, AND-ed. Never raises."""
        # Most statements are about anything, and most calls of this are on the path of a new connection.
        if self.actions is not ANYTHING and context.action not in self.actions:
            return False
        if self.resources is not ANYTHING and context.resource not in self.resources:
            return False
        for condition in self.conditions:  # noqa: SIM110 - a generator costs more than all the rest
            if not condition.holds(context):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Policy:
    """All statements that bear on one instance. Raises `PolicyError` when two share a sid."""

    statements: tuple[Statement, ...] = ()

    def __post_init__(self) -> None:
        counts = Counter(statement.sid for statement in self.statements)
        repeated = [sid for sid, count in counts.items() if count > 1]
        if repeated:
            raise PolicyError(
                f"statement ids occur more than once: {', '.join(repeated)}", "rename all but one"
            )
