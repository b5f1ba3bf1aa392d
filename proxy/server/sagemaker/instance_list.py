"""ListNotebookInstances as a function: which instances, in which order, on which page.

The rule: filters and orders are SageMaker's, over what the caller may see and nothing else. What the next page begins
with is the key of the last instance shown, so that instances which come and go meanwhile move nobody else; the token
says where to go on, and gives no right to anything.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, TypeVar

from proxy.aws.control_plane import InstanceDescription
from proxy.wire.aws_json import AwsFault, Parameters

T = TypeVar("T")

PAGE_SIZE: Final = 10
"""Without MaxResults."""

_OF_NAMES: Final = frozenset({"NameContains", "MaxResults", "NextToken", "SortBy", "SortOrder"})
_EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)
_FINGERPRINT_CHARACTERS: Final = 16

SortKey = tuple[str, str]
"""What orders instances: what is sorted by, and the name."""


def needs_states(wanted: Parameters) -> bool:
    """Whether names alone do not say which instances are wanted, and in which order."""
    return wanted.text("SortBy") not in ("", "Name") or not wanted.values.keys() <= _OF_NAMES


def page_of_names(names: Iterable[str], wanted: Parameters) -> tuple[list[str], str]:
    """Which of SageMaker's `names` are on the page, where `needs_states` says no, and the next page's token.

    Raises AwsFault for a token of another list.
    """
    return _page([(name, (name, name)) for name in names if _named(name, wanted)], wanted)


def page(found: Iterable[InstanceDescription], wanted: Parameters) -> tuple[list[InstanceDescription], str]:
    """What is on the page, out of what the caller may see, and the next page's token, "" where nothing follows.

    Raises AwsFault for a token of another list.
    """
    by = wanted.text("SortBy")
    return _page([(one, _key(one, by)) for one in found if _is_wanted(one, wanted)], wanted)


def _page(items: list[tuple[T, SortKey]], wanted: Parameters) -> tuple[list[T], str]:
    descending = wanted.text("SortOrder") == "Descending"
    if (after := _after(wanted)) is not None:
        items = [(one, key) for one, key in items if (key < after if descending else key > after)]
    items = sorted(items, key=lambda item: item[1], reverse=descending)
    size = wanted.number("MaxResults", PAGE_SIZE)
    token = _token(items[size - 1][1], wanted) if len(items) > size else ""
    return [one for one, _ in items[:size]], token


def _key(one: InstanceDescription, by: str) -> SortKey:
    if by == "Status":
        return one.status, one.name
    if by == "CreationTime":
        at = (one.created_at or _EARLIEST).astimezone(UTC)
        return at.isoformat(timespec="microseconds"), one.name
    return one.name, one.name


def _named(name: str, wanted: Parameters) -> bool:
    return wanted.text("NameContains").lower() in name.lower()


def _is_wanted(one: InstanceDescription, wanted: Parameters) -> bool:
    repositories = one.code_repositories
    equals = wanted.text("AdditionalCodeRepositoryEquals")
    return (
        _named(one.name, wanted)
        and wanted.text("StatusEquals") in ("", one.status)
        and wanted.text("NotebookInstanceLifecycleConfigNameContains") in one.lifecycle_config
        and wanted.text("DefaultCodeRepositoryContains") in one.default_code_repository
        and (not equals or equals in repositories)
        and _is_between(
            one.created_at, wanted.instant("CreationTimeAfter"), wanted.instant("CreationTimeBefore")
        )
        and _is_between(
            one.modified_at, wanted.instant("LastModifiedTimeAfter"), wanted.instant("LastModifiedTimeBefore")
        )
    )


def _is_between(at: datetime | None, after: datetime | None, before: datetime | None) -> bool:
    """What is not known is in no interval."""
    if at is None:
        return after is None and before is None
    return (after is None or at > after) and (before is None or at < before)


def _fingerprint(wanted: Parameters) -> str:
    """What the list is of and how it is ordered; the size of its pages may change."""
    asked = sorted(
        (name, str(value)) for name, value in wanted.values.items() if name not in ("NextToken", "MaxResults")
    )
    return sha256(json.dumps(asked).encode()).hexdigest()[:_FINGERPRINT_CHARACTERS]


def _token(key: SortKey, wanted: Parameters) -> str:
    return urlsafe_b64encode(json.dumps([_fingerprint(wanted), *key]).encode()).decode("ascii")


def _after(wanted: Parameters) -> SortKey | None:
    """Behind what the page begins; None for the first one."""
    token = wanted.text("NextToken")
    if not token:
        return None
    try:
        read: object = json.loads(urlsafe_b64decode(token.encode("ascii")))
    except (ValueError, RecursionError):
        read = None
    match read:
        case [str(fingerprint), str(first), str(name)] if fingerprint == _fingerprint(wanted):
            return first, name
    raise AwsFault("ValidationException", "Invalid pagination token.")


def summary(one: InstanceDescription) -> dict[str, object]:
    """NotebookInstanceSummary, which is part of what Describe says, too; without the address: that is the gateway's."""
    return {
        "NotebookInstanceName": one.name,
        "NotebookInstanceArn": one.arn,
        "NotebookInstanceStatus": one.status,
        "InstanceType": one.instance_type,
        "CreationTime": one.created_at,
        "LastModifiedTime": one.modified_at,
        "NotebookInstanceLifecycleConfigName": one.lifecycle_config,
        "DefaultCodeRepository": one.default_code_repository,
        "AdditionalCodeRepositories": one.code_repositories or None,
    }
