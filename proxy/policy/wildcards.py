"""Texts as IAM compares them: exactly, without regard to case, or as patterns with `*` and `?`.

The rule: a set of texts or patterns is compiled once and then answers `text in patterns`, in time that grows
with the text and not with its powers, whatever a caller's text is made of. Source: IAM User Guide, "String
condition operators" and "Using wildcards in resource ARNs". It must not know which element it serves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def fold(text: str) -> str:
    """`text` without its case. Nothing outside of ASCII turns into ASCII: the Kelvin sign is no k."""
    if text.isascii():
        return text.lower()
    return "".join(
        letter if letter.lower().isascii() and not letter.isascii() else letter.lower() for letter in text
    )


class Texts:
    """An immutable set of texts that are compared without regard to case."""

    __slots__ = ("_folded", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(texts)
        self._folded = frozenset(fold(text) for text in self.texts)

    def __contains__(self, text: str) -> bool:
        return fold(text) in self._folded

    def __eq__(self, other: object) -> bool:
        return self._folded == other._folded if isinstance(other, Texts) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._folded)

    def __repr__(self) -> str:
        return f"Texts({', '.join(self.texts)})"


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
    first, *rest = (_literal(part) for part in re.split(r"\*+", pattern))
    if not rest:
        return f"(?:{first})"
    *middle, last = rest
    # A part between two stars may as well match where it first can, and never elsewhere: atomic groups spare
    # the search through all other places, which is exponential for a*a*a*a*b.
    return "(?:" + first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last})"


def _literal(part: str) -> str:
    return re.escape(part).replace(r"\?", ".")


ANYTHING = Wildcards(("*",))
