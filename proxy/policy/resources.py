"""The ARNs of notebook instances, and the patterns that policies name them with.

The rule: an ARN is six parts between colons; a pattern is compared part by part, so that no wildcard reaches
from one into the next. Source: IAM User Guide, "IAM JSON policy elements: Resource"; Service Authorization
Reference, "Actions, resources, and condition keys for Amazon SageMaker". It must not know which instances
there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.policy.errors import PolicyError
from proxy.policy.wildcards import Wildcards

_PARTS = 6
_PARTITIONS = {
    "cn": "aws-cn",
    "us-gov": "aws-us-gov",
    "us-iso": "aws-iso",
    "us-isob": "aws-iso-b",
    "eu-isoe": "aws-iso-e",
    "us-isof": "aws-iso-f",
    "eusc": "aws-eusc",
}
"""By the beginning of a Region's code, up to its second-last hyphen or the first; elsewhere it is `aws`."""

_SHAPE = "arn:aws:sagemaker:REGION:ACCOUNT:notebook-instance/NAME"


def partition_of(region: str) -> str:
    """The partition that a Region belongs to, as botocore's endpoint data have it."""
    for start, partition in _PARTITIONS.items():
        if region.startswith(f"{start}-"):
            return partition
    return "aws"


def notebook_arn(notebook: str, *, region: str, account: str) -> str:
    """The ARN of a notebook instance. `account` may be "" where it is not known; only a `*` matches it then."""
    return f"arn:{partition_of(region)}:sagemaker:{region}:{account}:notebook-instance/{notebook}"


class ArnPatterns:
    """An immutable set of resource patterns, each an ARN or `*`. Raises `PolicyError` where one is neither."""

    __slots__ = ("_anything", "_arns", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._anything = "*" in self.patterns
        # A set for each of the six parts would mix the patterns up: one after the other.
        self._arns = tuple(_compiled(pattern) for pattern in self.patterns if pattern != "*")

    def __contains__(self, arn: str) -> bool:
        if self._anything:
            return True
        parts = arn.split(":", _PARTS - 1)
        return len(parts) == _PARTS and any(
            all(part in pattern for part, pattern in zip(parts, patterns, strict=True))
            for patterns in self._arns
        )

    def __eq__(self, other: object) -> bool:
        return self.patterns == other.patterns if isinstance(other, ArnPatterns) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.patterns)

    def __repr__(self) -> str:
        return f"ArnPatterns({', '.join(self.patterns)})"

    @property
    def name_accounts(self) -> bool:
        """Whether some pattern asks for an account, so that it has to be known."""
        return any(patterns[4] != _ANY_PART for patterns in self._arns)

    @property
    def of_any_account(self) -> ArnPatterns:
        """The same patterns, whatever the account."""
        return ArnPatterns(_of_any_account(pattern) for pattern in self.patterns)


def _of_any_account(pattern: str) -> str:
    parts = pattern.split(":", _PARTS - 1)
    return ":".join([*parts[:4], "*", *parts[5:]]) if len(parts) == _PARTS else pattern


_ANY_PART = Wildcards(("*",))


def _compiled(pattern: str) -> tuple[Wildcards, ...]:
    parts = pattern.split(":", _PARTS - 1)
    if parts[0] != "arn" or len(parts) != _PARTS:
        raise PolicyError(f"{pattern!r} is not the ARN of a notebook instance", f"write {_SHAPE}, or '*'")
    if parts[2] != "sagemaker":
        hint = "write sagemaker as its service" if re.search(r"[*?]", parts[2]) else f"write {_SHAPE}, or '*'"
        raise PolicyError(f"{pattern!r} is not of the service sagemaker", hint)
    return tuple(Wildcards((part,)) for part in parts)
