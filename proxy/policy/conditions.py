"""IAM's condition operators and condition keys, compiled into conditions that hold or don't.

The rule: an operator is three facts as data (how its values compile, whether it negates, what an absent key
means), and every condition is decided by the same lines in `Condition.holds`. An operator or key that is not
listed here is refused, never ignored. Source: IAM User Guide, "IAM JSON policy elements: Condition operators"
and "Conditions with multiple context keys or values". It must not know of effects or statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Protocol

from proxy.client_address.networks import Address, NetworkSet, parse_network

CONNECT = "sagemaker:CreatePresignedNotebookInstanceUrl"
"""The action that covers connecting as well: SageMaker has no other for the requests that follow."""


class PolicyError(ValueError):
    """A policy that cannot be honoured; the message says what is wrong, `hint` what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of one request. None is an absent key; `resource` is the notebook instance's ARN."""

    source_ip: Address | None
    action: str = CONNECT
    resource: str = "*"


class Values(Protocol):
    """A condition's values, compiled: is one of them what the context holds?"""

    def __contains__(self, value: Any, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class ConditionKey:
    """`read` takes the key's value out of a context (None: absent)."""

    name: str
    read: Callable[[Context], object] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Operator:
    """How a condition operator compiles its values, and what it makes of a match and of an absent key."""

    name: str
    compile: Callable[[Iterable[object]], Values] = field(compare=False)
    negated: bool = False
    when_absent: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator, one key and its values. Made by `compile_condition`, which sees to it that they fit."""

    operator: Operator
    key: ConditionKey
    values: Values

    def holds(self, context: Context) -> bool:
        """Values are OR-ed; under a negated operator none may match. Never raises."""
        value = self.key.read(context)
        if value is None:
            return self.operator.when_absent
        return (value in self.values) is not self.operator.negated


def compile_condition(operator: str, key: str, values: NetworkSet | Iterable[object]) -> Condition:
    """The condition that a policy document spells: `NotIpAddress`, `aws:SourceIp`, `["203.0.113.0/24"]`.

    Values that are compiled already are taken as they are, and only then may they be empty. Raises
    `PolicyError` for an operator or key that is not supported and for no values, `AddressError` for a value
    that is no network.
    """
    known_operator = OPERATORS.get(operator)
    if known_operator is None:
        raise PolicyError(
            f"the condition operator {operator!r} is not supported", f"use {_one_of(OPERATORS)}"
        )
    # IAM's keys are not case-sensitive, its operators are.
    known_key = _KEYS_BY_LOWER_NAME.get(key.lower())
    if known_key is None:
        raise PolicyError(f"the condition key {key!r} is not supported", f"use {_one_of(KEYS)}")
    if isinstance(values, NetworkSet):
        return Condition(known_operator, known_key, values)
    listed = tuple(values)
    if not listed:
        raise PolicyError(f"{operator} on {known_key.name} has no values", "list at least one")
    return Condition(known_operator, known_key, known_operator.compile(listed))


def _one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(names)


def _networks(values: Iterable[object]) -> NetworkSet:
    return NetworkSet(parse_network(value) for value in values)


def _with_if_exists(*operators: Operator) -> dict[str, Operator]:
    """The operators by name, and each again with `IfExists`: an absent key satisfies it."""
    table = {}
    for operator in operators:
        table[operator.name] = operator
        name = f"{operator.name}IfExists"
        table[name] = replace(operator, name=name, when_absent=True)
    return table


OPERATORS = _with_if_exists(
    Operator("IpAddress", _networks),
    Operator("NotIpAddress", _networks, negated=True, when_absent=True),
)

# At AWS the two exclude each other (public callers, callers through a VPC endpoint). Here the client address
# is one thing, wherever it comes from.
KEYS = {
    "aws:SourceIp": ConditionKey("aws:SourceIp", attrgetter("source_ip")),
    "aws:VpcSourceIp": ConditionKey("aws:VpcSourceIp", attrgetter("source_ip")),
}
_KEYS_BY_LOWER_NAME = {name.lower(): key for name, key in KEYS.items()}
