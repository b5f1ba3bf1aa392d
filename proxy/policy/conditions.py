"""IAM's condition operators and condition keys, compiled into conditions that hold or don't.

The rule: an operator is facts as data (which kind of key it fits, how its values are read and gathered,
whether it negates), and every condition is decided by the same lines in `Condition.holds`. An operator, key
or value that is not known here is refused, never ignored. Source: IAM User Guide, "IAM JSON policy elements:
Condition operators", "Conditions with multiple context keys or values" and "Single-valued vs. multivalued
context keys". It must not know of effects or statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from enum import Enum
from operator import attrgetter
from typing import Any, Protocol

from proxy.client_address.networks import NetworkSet, parse_network
from proxy.policy.context import REGION, SOURCE_IP, TIME, VPC_SOURCE_IP, Context
from proxy.policy.dates import TICK, Before, Since, parse_instant
from proxy.policy.errors import PolicyError
from proxy.policy.wildcards import Texts, Wildcards


class Kind(Enum):
    """What a key holds, and an operator compares. The values are how messages name it."""

    ADDRESS = "an IP address"
    TEXT = "text"
    INSTANT = "a date"
    FLAG = "true or false"


class Values(Protocol):
    """A condition's values, compiled: is one of them what the context holds?"""

    def __contains__(self, value: Any, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class ConditionKey:
    """`read` takes the key's value out of a context (None: absent)."""

    name: str
    kind: Kind
    read: Callable[[Context], object] = field(compare=False)


class Quantifier(Enum):
    """IAM's set operators. The keys here have one value at most, so only an absent key tells them apart."""

    ANY = "ForAnyValue:"
    ALL = "ForAllValues:"


@dataclass(frozen=True, slots=True)
class Operator:
    """How a condition operator reads its values, and what it makes of a match and of an absent key.

    `kind` None fits every key. `parse` reads one value (raises `PolicyError` or `AddressError`), `gather`
    makes of all of them what a context is compared with.
    """

    name: str
    kind: Kind | None
    _: KW_ONLY
    parse: Callable[[object], Any] = field(compare=False)
    gather: Callable[[Sequence[Any]], Values] = field(compare=False)
    negated: bool = False
    quantifier: Quantifier | None = None
    if_exists: bool = False

    @property
    def when_absent(self) -> bool:
        """What an absent key amounts to."""
        if self.if_exists:
            return True
        if self.quantifier is not None:
            # "Returns true if there are no keys in the request"; "for no matching key … returns false".
            return self.quantifier is Quantifier.ALL
        return self.negated


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator, one key and its values. Made by `compile_condition`, which sees to it that they fit.

    `written` has the values as the policy spells them, for those who explain and export; `label` names what
    is too long to be listed.
    """

    operator: Operator
    key: ConditionKey
    _: KW_ONLY
    values: Values
    when_absent: bool
    written: tuple[object, ...] = field(default=(), compare=False)
    label: str = field(default="", compare=False)

    def holds(self, context: Context) -> bool:
        """Values are OR-ed; under a negated operator none may match. Never raises."""
        value = self.key.read(context)
        if value is None:
            return self.when_absent
        return (value in self.values) is not self.operator.negated

    @property
    def changes_at(self) -> tuple[datetime, ...]:
        """The instants at which `holds` may answer anew though all but the time stays as it is."""
        if isinstance(self.values, Since):
            return (self.values.start,)
        if isinstance(self.values, Before):
            return (self.values.end,)
        if self.operator.kind is Kind.INSTANT and isinstance(self.values, frozenset):
            return tuple(moment for at in self.values for moment in (at, at + TICK))
        return ()


def find_operator(name: str) -> Operator:
    """The operator of that name. Raises `PolicyError` where there is none."""
    operator = OPERATORS.get(name)
    if operator is None:
        meant = _BY_LOWER_NAME.get(name.lower())
        hint = f"write {meant}" if meant else f"use one of {', '.join(_BASES)}; with IfExists at the end, too"
        raise PolicyError(f"the condition operator {name!r} is not supported", hint)
    return operator


def find_key(name: str) -> ConditionKey:
    """The key of that name, in any case, as in IAM. Raises `PolicyError` where there is none."""
    lower = name.lower()
    if lower.startswith(_TAG) and len(lower) > len(_TAG):
        tag = lower[len(_TAG) :]
        return ConditionKey(
            f"aws:PrincipalTag/{name[len(_TAG) :]}", Kind.TEXT, lambda context: context.tags.get(tag)
        )
    key = _KEYS_BY_LOWER_NAME.get(lower)
    if key is None:
        raise PolicyError(
            f"the condition key {name!r} is not supported",
            f"use one of {', '.join(KEYS)}, aws:PrincipalTag/…",
        )
    return key


def check_fit(operator: Operator, key: ConditionKey) -> None:
    """Raises `PolicyError` where the operator compares something else than what the key holds."""
    if operator.kind not in (None, key.kind):
        fitting = ", ".join(base.name for base in _BASES.values() if base.kind is key.kind)
        raise PolicyError(
            f"{operator.name} does not fit {key.name}, which is {key.kind.value}", f"use {fitting} or Null"
        )


def compile_condition(
    operator: str, key: str, values: NetworkSet | Iterable[object], *, label: str = ""
) -> Condition:
    """The condition that a policy document spells: `NotIpAddress`, `aws:SourceIp`, `["203.0.113.0/24"]`.

    Networks that are compiled already are taken as they are, and only then may they be none. Raises
    `PolicyError` for what is not supported, does not fit or is empty, `AddressError` for no network.
    """
    known_operator, known_key = find_operator(operator), find_key(key)
    check_fit(known_operator, known_key)
    if isinstance(values, NetworkSet):
        return Condition(
            known_operator, known_key, values=values, when_absent=known_operator.when_absent, label=label
        )
    written = tuple(values)
    if not written:
        raise PolicyError(f"{operator} on {known_key.name} has no values", "list at least one")
    parsed = [known_operator.parse(value) for value in written]
    if known_operator.kind is None:
        # Null asks only whether the key is there: "true" is said of an absent key, "false" of any other.
        present: Values = _EVERY if False in parsed else _NONE
        return Condition(
            known_operator, known_key, values=present, when_absent=True in parsed, written=written
        )
    return Condition(
        known_operator,
        known_key,
        values=known_operator.gather(parsed),
        when_absent=known_operator.when_absent,
        written=written,
    )


class _Every:
    """Holds everything there is."""

    def __contains__(self, value: object) -> bool:
        return True


_EVERY, _NONE = _Every(), frozenset[object]()


def _network(value: object) -> Any:
    _refuse_variables(value, "not even AWS has them in IP addresses")
    return parse_network(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise PolicyError(f"{value!r} is not text", f'put it in quotes: "{_plain(value)}"')
    _refuse_variables(value, "write the value itself")
    return value


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    if word not in ("true", "false"):
        raise PolicyError(f"{value!r} is neither true nor false", "write true or false")
    return word == "true"


def _instant(value: object) -> datetime:
    _refuse_variables(value, "not even AWS has them in dates")
    return parse_instant(value)


def _refuse_variables(value: object, hint: str) -> None:
    if isinstance(value, str) and "${" in value:
        raise PolicyError(f"{value!r} holds a policy variable, which is not supported", hint)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _operators() -> Iterable[Operator]:
    def texts(name: str, gather: Callable[[Sequence[str]], Values]) -> Iterable[Operator]:
        yield Operator(f"String{name}", Kind.TEXT, parse=_text, gather=gather)
        yield Operator(f"StringNot{name}", Kind.TEXT, parse=_text, gather=gather, negated=True)

    def dates(
        name: str, gather: Callable[[Sequence[datetime]], Values], *, negated: bool = False
    ) -> Operator:
        return Operator(f"Date{name}", Kind.INSTANT, parse=_instant, gather=gather, negated=negated)

    yield Operator("IpAddress", Kind.ADDRESS, parse=_network, gather=NetworkSet)
    yield Operator("NotIpAddress", Kind.ADDRESS, parse=_network, gather=NetworkSet, negated=True)
    yield from texts("Equals", frozenset)
    yield from texts("EqualsIgnoreCase", Texts)
    yield from texts("Like", Wildcards)
    yield dates("Equals", frozenset)
    yield dates("NotEquals", frozenset, negated=True)
    # Values are OR-ed: before one of them is before the last, after one of them after the first.
    yield dates("LessThan", lambda instants: Before(max(instants)))
    yield dates("LessThanEquals", lambda instants: Before(max(instants) + TICK))
    yield dates("GreaterThan", lambda instants: Since(min(instants) + TICK))
    yield dates("GreaterThanEquals", lambda instants: Since(min(instants)))
    yield Operator("Bool", Kind.FLAG, parse=_flag, gather=frozenset)


_NULL = Operator("Null", None, parse=_flag, gather=frozenset)
"""It has neither IfExists nor set operators: it asks what they would answer."""

_BASES = {operator.name: operator for operator in (*_operators(), _NULL)}


def _with_variants(bases: Iterable[Operator]) -> Iterable[Operator]:
    for base in bases:
        for quantifier in (None, *Quantifier):
            for if_exists in (False, True):
                prefix = quantifier.value if quantifier else ""
                yield Operator(
                    f"{prefix}{base.name}{'IfExists' if if_exists else ''}",
                    base.kind,
                    parse=base.parse,
                    gather=base.gather,
                    negated=base.negated,
                    quantifier=quantifier,
                    if_exists=if_exists,
                )


OPERATORS = {operator.name: operator for operator in (*_with_variants(_operators()), _NULL)}
_BY_LOWER_NAME = {name.lower(): name for name in OPERATORS}

# At AWS the first two exclude each other (public callers, callers through a VPC endpoint). Here the client
# address is one thing, wherever it comes from.
KEYS = {
    key.name: key
    for key in (
        ConditionKey(SOURCE_IP, Kind.ADDRESS, attrgetter("source_ip")),
        ConditionKey(VPC_SOURCE_IP, Kind.ADDRESS, attrgetter("source_ip")),
        ConditionKey(TIME, Kind.INSTANT, attrgetter("now")),
        ConditionKey("aws:SecureTransport", Kind.FLAG, attrgetter("secure_transport")),
        ConditionKey("aws:username", Kind.TEXT, attrgetter("username")),
        ConditionKey(REGION, Kind.TEXT, attrgetter("region")),
    )
}
_KEYS_BY_LOWER_NAME = {name.lower(): key for name, key in KEYS.items()}
_TAG = "aws:principaltag/"
