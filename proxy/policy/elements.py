"""IAM's statement as it stands in a policy document, read into a `Statement`, or into all that is wrong with it.

The rule: an element that cannot be honoured is refused with its reason, never ignored, and every flaw is told
at once, each with its path inside the statement. Source: IAM User Guide, "IAM JSON policy element reference"
and "Grammar of the IAM JSON policy language". It must not know whether the document was YAML or JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.client_address.networks import AddressError
from proxy.policy.conditions import Condition, check_fit, compile_condition, find_key, find_operator
from proxy.policy.context import ACTIONS
from proxy.policy.errors import PolicyError
from proxy.policy.resources import ArnPatterns
from proxy.policy.statements import AllBut, Effect, Statement
from proxy.policy.wildcards import Wildcards

Path = tuple[str | int, ...]

ELEMENTS = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
_REFUSED = {
    "Principal": "says who is meant, which a policy for callers does not",
    "NotPrincipal": "says who is not meant, which a policy for callers does not",
}
_SHOWN_ACTIONS = ", ".join(ACTIONS)


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing wrong with a statement, at a path of keys and indexes inside of it."""

    path: Path
    message: str
    hint: str = ""


class StatementError(PolicyError):
    """A statement that cannot be honoured; `flaws` has every reason."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__(flaws[0].message, flaws[0].hint)
        self.flaws = tuple(flaws)


def read_statement(element: object, *, sid: str, origin: str = "") -> Statement:
    """The statement that `element` (mappings, lists and scalars) spells.

    `sid` is its id where it has none of its own; `origin` says where it stands. Raises `StatementError`.
    """
    reader = _Reader()
    statement = reader.statement(element, sid=sid, origin=origin)
    if statement is None or reader.flaws:
        raise StatementError(reader.flaws)
    return statement


def listed(value: object) -> list[object]:
    """IAM lets one value stand for a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def concerns_us(pattern: object) -> bool:
    """Whether an action pattern matches something that this gateway can be asked for."""
    return isinstance(pattern, str) and any(action in _actions((pattern,)) for action in ACTIONS)


class _Reader:
    """One pass over a statement. Every method returns what it could read, and keeps the flaws."""

    def __init__(self) -> None:
        self.flaws: list[Flaw] = []

    def statement(self, element: object, *, sid: str, origin: str) -> Statement | None:
        if not isinstance(element, Mapping):
            self._flaw(
                (), f"must be a statement, not {_shown(element)}", "begin with Effect: Deny or Effect: Allow"
            )
            return None
        for name in element:
            if name in _REFUSED:
                self._flaw((name,), _REFUSED[name], "leave it out, and write conditions")
            elif name not in ELEMENTS:
                self._flaw((name,), f"there is no element called {name!r}", _meant(str(name)))
        return Statement(
            sid=self._sid(element["Sid"]) if "Sid" in element else sid,
            effect=self._effect(element),
            actions=self._either(element, "Action", self._action, _actions),
            resources=self._either(element, "Resource", self._resource, ArnPatterns),
            conditions=tuple(self._conditions(element["Condition"])) if "Condition" in element else (),
            origin=origin,
        )

    def _flaw(self, path: Path, message: str, hint: str = "") -> None:
        self.flaws.append(Flaw(path, message, hint))

    def _sid(self, value: object) -> str:
        if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9]+", value):
            return value
        self._flaw(("Sid",), f"{_shown(value)} is no statement id", "write letters and digits: AllowOffice")
        return ""

    def _effect(self, element: Mapping[str, object]) -> Effect:
        if "Effect" not in element:
            self._flaw((), "Effect is missing", "write Effect: Deny or Effect: Allow")
            return Effect.DENY
        try:
            return Effect(element["Effect"])
        except ValueError:
            self._flaw(("Effect",), f"{_shown(element['Effect'])} is no effect", "write Allow or Deny")
            return Effect.DENY

    def _either(
        self,
        element: Mapping[str, object],
        name: str,
        check: Callable[[str], None],
        gather: Callable[[Sequence[str]], Wildcards | ArnPatterns],
    ) -> Wildcards | ArnPatterns | AllBut:
        """`Action` or `NotAction`, `Resource` or `NotResource`: exactly one of each pair."""
        names = [each for each in (name, f"Not{name}") if each in element]
        if len(names) != 1:
            both = "stand in one statement" if names else f"or Not{name} is missing"
            self._flaw(
                (names[1],) if names else (),
                f"{name} and Not{name} {both}" if names else f"{name} {both}",
                "keep one of them" if names else f"write {name}: '*' for all",
            )
            return gather(("*",))
        given = names[0]
        values = listed(element[given])
        if not values:
            self._flaw((given,), f"{given} is empty", "list at least one, or write '*' for all")
        sound: list[str] = []
        for index, value in enumerate(values):
            try:
                if not isinstance(value, str):
                    raise PolicyError(f"must be text, not {_shown(value)}", f"write {name}: '*' for all")
                if "${" in value:
                    raise PolicyError(
                        f"{value!r} holds a policy variable, which is not supported", "use * or ?"
                    )
                check(value)
                sound.append(value)
            except PolicyError as error:
                path = (given, index) if isinstance(element[given], list | tuple) else (given,)
                self._flaw(path, str(error), error.hint)
        gathered = gather(sound)
        return AllBut(gathered) if given != name else gathered

    def _action(self, pattern: str) -> None:
        if not concerns_us(pattern):
            raise PolicyError(
                f"{pattern!r} matches no action that is asked for here", f"those are {_SHOWN_ACTIONS}"
            )

    def _resource(self, pattern: str) -> None:
        ArnPatterns((pattern,))

    def _conditions(self, block: object) -> Iterator[Condition]:
        if not isinstance(block, Mapping):
            self._flaw(
                ("Condition",),
                f"must be a mapping, not {_shown(block)}",
                "such as {IpAddress: {aws:SourceIp: […]}}",
            )
            return
        for operator, keys in block.items():
            path: Path = ("Condition", operator)
            try:
                find_operator(str(operator))
            except PolicyError as error:
                self._flaw(path, str(error), error.hint)
                continue
            if not isinstance(keys, Mapping) or not keys:
                self._flaw(path, f"{operator} has no key", f"such as {operator}: {{aws:SourceIp: […]}}")
                continue
            seen: set[str] = set()
            for key, values in keys.items():
                if str(key).lower() in seen:
                    self._flaw((*path, key), f"{key} is here twice", "make one list of its values")
                    continue
                seen.add(str(key).lower())
                yield from self._condition(str(operator), str(key), values)

    def _condition(self, operator: str, key: str, values: object) -> Iterator[Condition]:
        path: Path = ("Condition", operator, key)
        try:
            known = find_operator(operator)
            check_fit(known, find_key(key))
        except PolicyError as error:
            self._flaw(path, str(error), error.hint)
            return
        before = len(self.flaws)
        for index, value in enumerate(listed(values)):
            try:
                known.parse(value)
            except (PolicyError, AddressError) as error:
                place = (*path, index) if isinstance(values, list | tuple) else path
                self._flaw(place, str(error), error.hint)
        if len(self.flaws) > before:
            return
        try:
            yield compile_condition(operator, key, listed(values))
        except PolicyError as error:
            self._flaw(path, str(error), error.hint)


def _actions(patterns: Sequence[str]) -> Wildcards:
    return Wildcards(patterns, ignore_case=True)


def _meant(name: str) -> str:
    same = next((element for element in ELEMENTS if element.lower() == name.lower()), None)
    return f"write {same}" if same else f"there are {', '.join(ELEMENTS)}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value) if isinstance(value, str) else str(value).lower()
