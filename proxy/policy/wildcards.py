"""IAM's patterns with `*` and `?`, as they stand in Action, Resource and StringLike.

The rule: a set of patterns is compiled once and then answers `text in patterns`. Source: IAM User Guide,
"IAM JSON policy elements: Resource", using wildcards. It must not know which element it serves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class Wildcards:
    """An immutable set of patterns: `*` stands for any characters, none included, `?` for exactly one."""

    __slots__ = ("_matches", "ignore_case", "patterns")

    def __init__(self, patterns: Iterable[str], *, ignore_case: bool = False) -> None:
        self.patterns = tuple(patterns)
        self.ignore_case = ignore_case
        self._matches = re.compile(
            # A set without patterns must match nothing, not the empty text.
            "|".join(_expression(pattern) for pattern in self.patterns) or r"(?!)",
            re.DOTALL | (re.IGNORECASE | re.ASCII if ignore_case else 0),
        ).fullmatch

    def __contains__(self, text: str) -> bool:
        return self._matches(text) is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Wildcards):
            return NotImplemented
        return self.patterns == other.patterns and self.ignore_case == other.ignore_case

    def __hash__(self) -> int:
        return hash((self.patterns, self.ignore_case))

    def __repr__(self) -> str:
        return f"Wildcards({', '.join(self.patterns)})"


def _expression(pattern: str) -> str:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return f"(?:{expression})"


ANYTHING = Wildcards(("*",))
