"""What messages about a file must not show: values from the environment, and what stands where secrets belong.

Its rule: a message is made as if nothing were secret, and goes through here last, wherever it comes from, so that none
can forget it. Below `tokens` and `api_keys` everything counts as a secret that no setting with another purpose accounts
for, whatever shape it has: a text in a mapping's place, or a key of that name, is what was meant for a secret. Long
values are found in parts, too, for messages shorten and mend what they quote. It must not know what a message is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from proxy.config.environment import Substituted
from proxy.config.findings import did_you_mean
from proxy.config.yaml_lines import KeyPath, MappingNode, Node, ScalarNode, SequenceNode, dotted, node_at
from proxy.errors import Problem

HIDDEN = "***"
SECRET_SECTIONS = ("tokens", "api_keys")
LONG = 16
"""From so many characters on a value is looked for in all messages, and in parts."""
_PART = 8
_LEAST = 3
"""What is shorter is no secret, and might be part of any word."""

_OTHER_PURPOSES = frozenset({"bind_address", "user", "instances"})
"""Settings of these sections that hold no secret: shown, unless it is as long as one."""
_KEY_ID = re.compile(r"[A-Z][A-Z0-9_]{7,31}")
"""An access key's id as AWS and people make them; a secret that stands in its place does not look like one."""
# The name of a variable, as such names are written, tells nothing; a default may be a secret.
_VARIABLE = re.compile(r"\$\{[A-Z_][A-Z0-9_]*(?::-)?|[{}$]")

KeysAt = Callable[[KeyPath], Iterable[str]]
"""The keys that the mapping at a path may have; none where they are of the operator's choice."""


@dataclass(frozen=True, slots=True)
class _Secret:
    """A value, what is shown in its place, and the only place that it is of concern at, "" for all."""

    value: str
    shown: str
    where: str = ""


class Concealment:
    """All that is to be hidden in messages about one file; `written` is its tree as it was written."""

    def __init__(self, written: Node, substituted: Substituted, *, keys_at: KeysAt) -> None:
        found = {
            *_from_environment(substituted),
            *_misplaced(written, keys_at),
            *_misplaced(substituted.root, keys_at),
        }
        # The longest first: a part of it may be another one.
        self._secrets = sorted(found, key=lambda one: (-len(one.value), one.shown))

    def problem(self, problem: Problem) -> Problem:
        """The same problem, with nothing in it that is to be hidden."""
        where, message, hint = problem.where, problem.message, problem.hint
        for secret in self._secrets:
            if secret.where in ("", problem.where):
                where, message = _hide(where, secret), _hide(message, secret)
                hint = _hint_without(hint, secret)
        return replace(problem, where=where, message=message, hint=hint)


def _hint_without(hint: str, secret: _Secret) -> str:
    if len(secret.value) < LONG:
        return _hide(hint, secret)
    hint = hint.replace(secret.value, secret.shown)
    # What is made of a part of a value helps nobody without that part.
    return hint if _hide(hint, secret) == hint else ""


def _hide(text: str, secret: _Secret) -> str:
    value = secret.value
    if len(value) < LONG:
        return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", lambda _: secret.shown, text)
    folded, sought = _folded(text), _folded(value)
    parts: list[str] = []
    at = 0
    while at < len(text):
        length = _common(folded, at, sought)
        parts.append(secret.shown if length else text[at])
        at += length or 1
    return "".join(parts)


def _folded(text: str) -> str:
    lower = text.lower()
    return lower if len(lower) == len(text) else text


def _common(text: str, at: int, value: str) -> int:
    """How many characters from `at` on are a part of `value`; 0 for too few."""
    if at + _PART > len(text) or text[at : at + _PART] not in value:
        return 0
    length = _PART
    while at + length < len(text) and text[at : at + length + 1] in value:
        length += 1
    return length


def _from_environment(substituted: Substituted) -> Iterator[_Secret]:
    for path, replaced in substituted.replacements.items():
        for value, reference in replaced:
            if len(value) >= _LEAST:
                yield _Secret(value, reference, "" if len(value) >= LONG else dotted(path))


def _misplaced(root: Node, keys_at: KeysAt) -> Iterator[_Secret]:
    """What stands below the sections of secrets: values, and keys that are none."""
    for section in SECRET_SECTIONS:
        node = node_at(root, (section,))
        if node is not None:
            for text, least in _texts(node, (section,), keys_at):
                yield from (_Secret(part, HIDDEN) for part in _VARIABLE.split(text) if len(part) >= least)


def _texts(node: Node, path: KeyPath, keys_at: KeysAt) -> Iterator[tuple[str, int]]:
    """Each text below `path`, and how long it has to be for a secret."""
    if isinstance(node, MappingNode):
        for key, entry in node.entries.items():
            if not _is_key(key, path, keys_at):
                yield key, _LEAST
            yield from _texts(entry.value, (*path, key), keys_at)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.items):
            yield from _texts(item, (*path, index), keys_at)
    else:
        yield _written(node), LONG if _OTHER_PURPOSES & {*map(str, path)} else _LEAST


def _is_key(key: str, path: KeyPath, keys_at: KeysAt) -> bool:
    if path == ("api_keys",):
        return _KEY_ID.fullmatch(key) is not None
    known = tuple(keys_at(path))
    return key in known or did_you_mean(key, known).startswith("did you mean")


def _written(scalar: ScalarNode) -> str:
    value = scalar.value
    # Whoever reads true, false or nothing knows nothing.
    return "" if value is None or isinstance(value, bool) else str(value)
