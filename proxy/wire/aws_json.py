"""AWS JSON 1.1 as SageMaker speaks it: which operation, with which parameters, and how it is answered.

The rule: what a client may send is data below, as botocore's model of the service has it (a test compares them), and
is checked whole before anything is done. Errors carry the codes and, where known, the very texts of the service:
programs go by them. Members that the model does not know are ignored, as AWS ignores them.
Source: awslabs.github.io/smithy, "AWS JSON 1.1 protocol". It must not know instances, callers or signatures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from proxy.instance_status import InstanceStatus
from proxy.wire.strict_json import NotJson, read_json

CONTENT_TYPE: Final = "application/x-amz-json-1.1"

CREATE_URL: Final = "CreatePresignedNotebookInstanceUrl"
DESCRIBE: Final = "DescribeNotebookInstance"
LIST: Final = "ListNotebookInstances"
START: Final = "StartNotebookInstance"
STOP: Final = "StopNotebookInstance"

_TARGET: Final = "SageMaker."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_CHARACTERS: Final = 256
"""Of a value that is told back; AWS repeats it whole."""

Value = str | int | datetime


class AwsFault(Exception):
    """An error as AWS answers it: `code` is the `__type`, the text is the message, `status` is HTTP's.

    Statuses are those of AWS's list of errors that are common to all its services.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class TextRule:
    """A text; lengths in characters, `pattern` for all of it, "" for any. `words`: one of these, if there are any.

    `linear` matches the same as `pattern`, where that one tries every division of a text that it does not match.
    """

    most: int | None = None
    least: int = 0
    _: KW_ONLY
    pattern: str = ""
    linear: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NumberRule:
    """A whole number, both bounds included."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class InstantRule:
    """Seconds since 1970-01-01 UTC."""


Member = TextRule | NumberRule | InstantRule

NAME_PATTERN: Final = "[a-zA-Z0-9](-*[a-zA-Z0-9])*"
SESSION_SECONDS: Final = NumberRule(1800, 43_200)
_NAME: Final = TextRule(63, pattern=NAME_PATTERN)
_NAMED: Final[Mapping[str, Member]] = {"NotebookInstanceName": _NAME}
INPUTS: Final[Mapping[str, Mapping[str, Member]]] = {
    CREATE_URL: {**_NAMED, "SessionExpirationDurationInSeconds": SESSION_SECONDS},
    DESCRIBE: _NAMED,
    LIST: {
        "NextToken": TextRule(8192, pattern=".*"),
        "MaxResults": NumberRule(1, 100),
        "SortBy": TextRule(words=("Name", "CreationTime", "Status")),
        "SortOrder": TextRule(words=("Ascending", "Descending")),
        "NameContains": TextRule(63, pattern="[a-zA-Z0-9-]+"),
        "CreationTimeBefore": InstantRule(),
        "CreationTimeAfter": InstantRule(),
        "LastModifiedTimeBefore": InstantRule(),
        "LastModifiedTimeAfter": InstantRule(),
        "StatusEquals": TextRule(words=tuple(status.value for status in InstanceStatus)),
        "NotebookInstanceLifecycleConfigNameContains": _NAME,
        "DefaultCodeRepositoryContains": TextRule(1024, pattern="[a-zA-Z0-9-]+"),
        "AdditionalCodeRepositoryEquals": TextRule(
            1024,
            1,
            pattern=rf"https://([^/]+)/?(.*)$|^{NAME_PATTERN}",
            linear=rf"https://[^/]++/?+.*+|{NAME_PATTERN}",
        ),
    },
    START: _NAMED,
    STOP: _NAMED,
}
"""Each operation's parameters."""
REQUIRED: Final = frozenset({"NotebookInstanceName"})
"""Where an operation has it."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an operation was called with, checked."""

    values: Mapping[str, Value]

    def text(self, name: str) -> str:
        """ "" where it is absent."""
        value = self.values.get(name, "")
        assert isinstance(value, str)
        return value

    def number(self, name: str, default: int) -> int:
        value = self.values.get(name, default)
        assert isinstance(value, int)
        return value

    def instant(self, name: str) -> datetime | None:
        value = self.values.get(name)
        assert value is None or isinstance(value, datetime)
        return value


def read_operation(target: str | None) -> str:
    """The operation that `X-Amz-Target` names. Raises AwsFault for one that is not served here."""
    operation = (target or "").removeprefix(_TARGET)
    if operation not in INPUTS or target != _TARGET + operation:
        raise AwsFault("UnknownOperationException", "", status=404)
    return operation


def read_parameters(operation: str, body: bytes) -> Parameters:
    """The operation's parameters, all of them valid. Raises AwsFault, which tells everything wrong at once."""
    given = _read_structure(body)
    values: dict[str, Value] = {}
    violations: list[str] = []
    for name, member in INPUTS[operation].items():
        if given.get(name) is None:
            if name in REQUIRED:
                violations.append(_violation(None, name, "Member must not be null"))
            continue
        value = values[name] = _coerce(given[name], member)
        violations += [_violation(value, name, broken) for broken in _broken(value, member)]
    if violations:
        errors = "error" if len(violations) == 1 else "errors"
        raise AwsFault(
            "ValidationException", f"{len(violations)} validation {errors} detected: {'; '.join(violations)}"
        )
    return Parameters(values)


def answer(members: Mapping[str, Any] | None) -> bytes:
    """A result: None has no body at all. Members that are "" or None are left out, instants are seconds."""
    if members is None:
        return b""
    return json.dumps(_plain(members), separators=(",", ":")).encode("ascii")


def answer_fault(fault: AwsFault) -> bytes:
    """An error's body."""
    return json.dumps({"__type": fault.code, "message": str(fault)}, separators=(",", ":")).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - _EPOCH) / timedelta(seconds=1)
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items() if part not in (None, "")}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return value


def _read_structure(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        given = read_json(body)
    except NotJson:
        raise AwsFault("SerializationException", "The request's body is not the JSON it should be.") from None
    if not isinstance(given, dict):
        raise AwsFault("SerializationException", "Start of structure or map found where not expected.")
    return given


def _coerce(value: Any, member: Member) -> Value:
    if isinstance(member, TextRule) and isinstance(value, str):
        return value
    if isinstance(member, NumberRule) and type(value) is int:
        return value
    if isinstance(member, InstantRule) and type(value) in (int, float):
        try:
            return _EPOCH + timedelta(seconds=value)
        except OverflowError:
            raise AwsFault("SerializationException", "Timestamp is out of range.") from None
    wanted = {TextRule: "String", NumberRule: "Integer", InstantRule: "Timestamp"}[type(member)]
    if isinstance(value, dict | list):
        raise AwsFault("SerializationException", "Start of structure or map found where not expected.")
    kind = {str: "STRING_VALUE", bool: f"{value}_VALUE".upper()}.get(type(value), "NUMBER_VALUE")
    raise AwsFault("SerializationException", f"{kind} can not be converted to {wanted}")


def _broken(value: Value, member: Member) -> list[str]:
    """The constraints that a value fails, in AWS's words."""
    broken = []
    if isinstance(member, TextRule) and isinstance(value, str):
        if member.words and value not in member.words:
            broken.append(f"Member must satisfy enum value set: [{', '.join(member.words)}]")
        if member.most is not None and len(value) > member.most:
            broken.append(f"Member must have length less than or equal to {member.most}")
        if len(value) < member.least:
            broken.append(f"Member must have length greater than or equal to {member.least}")
        matching = member.linear or member.pattern
        if matching and not re.fullmatch(matching, value[: _limit(member)], re.ASCII):
            broken.append(f"Member must satisfy regular expression pattern: {member.pattern}")
    if isinstance(member, NumberRule) and isinstance(value, int):
        if value < member.least:
            broken.append(f"Member must have value greater than or equal to {member.least}")
        if value > member.most:
            broken.append(f"Member must have value less than or equal to {member.most}")
    return broken


def _limit(member: TextRule) -> int | None:
    """Characters that are worth matching: a text that is too long is refused for that."""
    return None if member.most is None else member.most + 1


def _violation(value: Value | None, name: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{str(value)[:_SHOWN_CHARACTERS]}'"
    return f"Value {shown} at '{name[0].lower()}{name[1:]}' failed to satisfy constraint: {constraint}"
