"""`${NAME}` and `${NAME:-default}` in the file's text, replaced from the environment.

Its rule: only after parsing, only inside values, so that no variable can add a key or a list item. An
unquoted scalar is then resolved again (`port: ${PORT}` is a number), a quoted one stays text; `$${` stands
for `${`. What was put in is remembered, so that messages name the variable (`proxy.config.concealment`).
It must not read the process's environment: that is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from proxy.config.yaml_lines import (
    KeyedNode,
    KeyPath,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    dotted,
    resolve_plain,
)
from proxy.errors import Problem

_REFERENCE = re.compile(r"\$(?P<escaped>\$\{)|\$\{(?P<inside>[^{}]*)\}|(?P<broken>\$\{)")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)

Replacements = Mapping[KeyPath, tuple[tuple[str, str], ...]]
"""For each value that held references: pairs of what was put in, and the `${NAME}` that it stands for."""


@dataclass(frozen=True, slots=True)
class Substituted:
    """The tree with every reference replaced."""

    root: Node
    replacements: Replacements
    problems: tuple[Problem, ...]
    failed: frozenset[KeyPath]
    """Where a reference could not be replaced: nothing more needs to be said about those values."""


def substitute(root: Node, *, environ: Mapping[str, str], file: str) -> Substituted:
    """Replace references in all values. One that cannot be is a problem, and its value becomes null."""
    walk = _Walk(environ=environ, file=file)
    return Substituted(walk.node(root, ()), walk.replacements, tuple(walk.problems), frozenset(walk.failed))


@dataclass(slots=True, kw_only=True)
class _Walk:
    environ: Mapping[str, str]
    file: str
    replacements: dict[KeyPath, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    failed: set[KeyPath] = field(default_factory=set)

    def node(self, node: Node, path: KeyPath) -> Node:
        if isinstance(node, MappingNode):
            entries = {
                key: KeyedNode(entry.line, self.node(entry.value, (*path, key)))
                for key, entry in node.entries.items()
            }
            return replace(node, entries=entries)
        if isinstance(node, SequenceNode):
            items = tuple(self.node(item, (*path, index)) for index, item in enumerate(node.items))
            return replace(node, items=items)
        return self._scalar(node, path)

    def _scalar(self, scalar: ScalarNode, path: KeyPath) -> ScalarNode:
        if not isinstance(scalar.value, str) or "${" not in scalar.value:
            return scalar
        replaced: list[tuple[str, str]] = []
        complaints: list[tuple[str, str]] = []

        def value_of(match: re.Match[str]) -> str:
            if match["escaped"]:
                return "${"
            parts = _INSIDE.fullmatch(match["inside"] or "")
            if parts is None:
                complaints.append(
                    (
                        "'${' does not begin a reference to the environment",
                        "write ${NAME} or ${NAME:-default}, and $${ for the two characters themselves",
                    )
                )
                return ""
            name, default = parts["name"], parts["default"]
            value = self.environ.get(name)
            # As in a shell, ':-' also replaces a variable that is set to nothing.
            if not value and default is not None:
                return default
            if value is None:
                complaints.append(
                    (
                        f"the environment variable {name} is not set",
                        f"set it, or give a default: ${{{name}:-default}}",
                    )
                )
                return ""
            replaced.append((value, f"${{{name}}}"))
            return value

        text = _REFERENCE.sub(value_of, scalar.value)
        for message, hint in complaints:
            self.problems.append(
                Problem(self.file, scalar.line, where=dotted(path), message=message, hint=hint)
            )
        if complaints:
            self.failed.add(path)
            return replace(scalar, value=None)
        if replaced:
            self.replacements[path] = tuple(replaced)
        return replace(scalar, value=text if scalar.quoted else resolve_plain(text))
