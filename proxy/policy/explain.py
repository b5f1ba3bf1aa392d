"""Why a policy decides as it does: each statement's verdict, and each condition's.

The rule: it asks the statements and conditions themselves, so that an explanation cannot differ from the
decision; it is computed when somebody asks, never on the way of a request that is let in. It must not print:
what it returns is data, and words for a line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from proxy.client_address.networks import NetworkSet
from proxy.policy.conditions import Condition
from proxy.policy.context import Context
from proxy.policy.dates import format_instant
from proxy.policy.statements import Effect, Policy, Statement

_VALUES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """Whether a condition holds, and what its key was (None: absent)."""

    condition: Condition
    value: object
    holds: bool

    def describe(self, *, values: bool = True) -> str:
        """`NotIpAddress aws:SourceIp=192.0.2.1 holds (office or vpn)`; without `values`, none of the policy's."""
        key = self.condition.key.name
        shown = f"{key}, which is absent," if self.value is None else f"{key}={_shown(self.value)}"
        said = f"{self.condition.operator.name} {shown} {'holds' if self.holds else 'does not hold'}"
        listed = self.condition.label or (_listed(self.condition) if values else "")
        return f"{said} ({listed})" if listed else said


@dataclass(frozen=True, slots=True)
class StatementVerdict:
    """Whether a statement applies to a request, and what that hung on."""

    statement: Statement
    action_fits: bool
    resource_fits: bool
    conditions: tuple[ConditionVerdict, ...]

    @property
    def applies(self) -> bool:
        """As `Statement.applies` says."""
        return self.action_fits and self.resource_fits and all(each.holds for each in self.conditions)

    def reasons(self, *, values: bool = True) -> tuple[str, ...]:
        """What made it apply, or everything that kept it from applying; () where it applies to anything."""
        if self.applies:
            return tuple(each.describe(values=values) for each in self.conditions)
        failed = [] if self.action_fits else ["the action is another one"]
        if not self.resource_fits:
            failed.append("the resource is another one")
        return (*failed, *(each.describe(values=values) for each in self.conditions if not each.holds))


def explain(policy: Policy, context: Context) -> tuple[StatementVerdict, ...]:
    """Every statement's verdict, in the policy's order. Never raises."""
    return tuple(
        StatementVerdict(
            statement,
            context.action in statement.actions,
            context.resource in statement.resources,
            tuple(
                ConditionVerdict(condition, condition.key.read(context), condition.holds(context))
                for condition in statement.conditions
            ),
        )
        for statement in policy.statements
    )


def decisive(verdicts: Iterable[StatementVerdict]) -> tuple[StatementVerdict, ...]:
    """Those that made the decision: the Denies that apply; else the Allows that do; else the Allows that don't."""
    given = tuple(verdicts)
    denies = tuple(each for each in given if each.statement.effect is Effect.DENY and each.applies)
    allows = tuple(each for each in given if each.statement.effect is Effect.ALLOW)
    return denies or tuple(each for each in allows if each.applies) or allows


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return format_instant(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(condition: Condition) -> str:
    values = condition.written
    if not values and isinstance(condition.values, NetworkSet):
        values = tuple(islice(condition.values, _VALUES_SHOWN + 1))
        count = len(condition.values)
    else:
        count = len(values)
    shown = ", ".join(_shown(value) for value in values[:_VALUES_SHOWN])
    return f"{shown} and {count - _VALUES_SHOWN} more" if count > _VALUES_SHOWN else shown or "no networks"
