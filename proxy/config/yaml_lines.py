"""Strict YAML that remembers its lines: text in, a tree of nodes out, nothing guessed.

Its rule: what is written is what is read. Plain scalars follow YAML 1.2's core schema without floats, so
that `no`, `on`, `010`, `12:30:00` and `2027-01-31` are text; the schema then says what it wanted instead.
Duplicate keys, tags, merge keys, a second document and runaway aliases are refused. It builds from the
parser's events and not with PyYAML's loaders, which resolve YAML 1.1, keep the last of two equal keys and
recurse without bound.
It must not know the configuration: no key has a meaning here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from proxy.errors import ConfigError, Problem

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the root: `("instances", "research", "allow", 0)`."""

Plain: TypeAlias = "str | int | bool | None"

MAX_DEPTH = 32
MAX_NODES = 200_000
"""Nodes of the tree with every alias expanded; ten aliases of ten aliases of … end here."""

LIST_FILES = (
    "long lists belong in files of their own, one network a line: allowlists: {vpn: {file: vpn-ranges.txt}}"
)
"""The hint for a file that is too large: what grows in it are lists."""

NAME_CHARACTERS = 28
"""A longer name of an anchor or a tag is not shown: it is a secret that should have been quoted, most likely."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_QUOTED = re.compile(r"'([^']*)'")
_WORDS: Mapping[str, Plain] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """`quoted` scalars are text whatever they look like."""

    line: int
    value: Plain
    quoted: bool = False
    size: int = 1


@dataclass(frozen=True, slots=True)
class SequenceNode:
    line: int
    items: tuple[Node, ...]
    size: int


@dataclass(frozen=True, slots=True)
class KeyedNode:
    """A key's own line, and its value."""

    line: int
    value: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping; its keys are text, as they were written."""

    line: int
    entries: Mapping[str, KeyedNode]
    size: int


Node: TypeAlias = "ScalarNode | SequenceNode | MappingNode"


def resolve_plain(text: str) -> Plain:
    """What an unquoted scalar means: null, true, false, a decimal integer, or text."""
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def to_data(node: Node) -> object:
    """The tree as dicts, lists and scalars."""
    if isinstance(node, MappingNode):
        return {key: to_data(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [to_data(item) for item in node.items]
    return node.value


def node_at(root: Node, path: KeyPath) -> Node | None:
    """The node at a path; None where the path leads nowhere."""
    node: Node | None = root
    for step in path:
        if isinstance(node, MappingNode) and isinstance(step, str) and step in node.entries:
            node = node.entries[step].value
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


def line_of(root: Node, path: KeyPath) -> int:
    """Where to look for `path`: its key's line, a list item's, or that of the nearest parent that exists."""
    node, line = root, root.line
    for step in path:
        if isinstance(node, MappingNode) and isinstance(step, str) and step in node.entries:
            line, node = node.entries[step].line, node.entries[step].value
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            line = node.line
        else:
            break
    return line


def dotted(path: KeyPath) -> str:
    """`instances.research.allow[0]`"""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def parse(text: str, file: str) -> tuple[Node, list[Problem]]:
    """Read one document. Returns the tree and what can be complained about without giving up.

    Raises ConfigError where no tree can be made: not YAML, an empty file, too deep or too large.
    """
    reader = _TreeReader(text, file)
    try:
        return reader.document(), reader.problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        message = "not valid YAML: " + _QUOTED.sub(_shown, error.problem or error.context or "unreadable")
        raise ConfigError(
            [*reader.problems, Problem(file, line, where="", message=message, hint=_syntax_hint(text, line))]
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not valid YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        raise ConfigError(
            [Problem(file, line, where="", message=message, hint="remove it, or escape it in double quotes")]
        ) from error
    except _GivenUp as error:
        raise ConfigError([*reader.problems, error.problem]) from None


class _GivenUp(Exception):
    """No tree can be made; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _TreeReader:
    """One pass over the parser's events. `_event` is the one under consideration."""

    def __init__(self, text: str, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._anchors: dict[str, Node] = {}
        self._nodes = 0
        # The pure-Python parser: libyaml's messages, and the characters it accepts, differ from one build to
        # the next, and a configuration must not be valid on one machine only.
        self._events: Iterator[yaml.Event] = (
            event
            for event in yaml.parse(text, Loader=yaml.SafeLoader)
            if not isinstance(event, yaml.StreamStartEvent)
        )

    def document(self) -> Node:
        if isinstance(next(self._events), yaml.StreamEndEvent):
            hint = "nbgate init writes a first one, to a new file"
            raise _GivenUp(Problem(self._file, 0, where="", message="the file is empty", hint=hint))
        root = self._node(next(self._events), ())
        next(self._events)
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            self._complain(
                following, (), "a second YAML document starts here", "keep one document in the file"
            )
        return root

    def _node(self, event: yaml.Event, path: KeyPath) -> Node:
        if len(path) > MAX_DEPTH:
            raise _GivenUp(self._problem(event, path[:4], f"nested more than {MAX_DEPTH} levels deep"))
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event, path)
        assert isinstance(event, yaml.NodeEvent)
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_tag(event, event.tag, path)
            quoted = event.style is not None
            value = event.value if quoted else resolve_plain(event.value)
            node: Node = ScalarNode(_line(event), value, quoted=quoted)
            self._count(event, path, 1)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._refuse_tag(event, event.tag, path)
            node = self._sequence(event, path)
        else:
            assert isinstance(event, yaml.MappingStartEvent)
            self._refuse_tag(event, event.tag, path)
            node = self._mapping(event, path)
        if event.anchor is not None:
            # Known only from here on, so that an alias inside its own anchor cannot close a circle.
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, start: yaml.SequenceStartEvent, path: KeyPath) -> SequenceNode:
        self._count(start, path, 1)
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return SequenceNode(_line(start), tuple(items), 1 + sum(item.size for item in items))

    def _mapping(self, start: yaml.MappingStartEvent, path: KeyPath) -> MappingNode:
        self._count(start, path, 1)
        entries: dict[str, KeyedNode] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            value = self._node(next(self._events), (*path, key if key is not None else "?"))
            if key is None:
                continue
            if key in entries:
                message = f"the key is here twice, first on line {entries[key].line}"
                self._complain(event, (*path, key), message, "keep one of them")
                continue
            entries[key] = KeyedNode(_line(event), value)
        return MappingNode(_line(start), entries, 1 + sum(entry.value.size for entry in entries.values()))

    def _key(self, event: yaml.Event, path: KeyPath) -> str | None:
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_tag(event, event.tag, path)
            if event.value == "<<" and event.style is None:
                hint = "write the keys out, or use an alias as the whole value"
                self._complain(event, path, "merge keys ('<<') are not read here", hint)
                return None
            if event.value == "":
                self._complain(event, path, "a key is empty", "write a name before the colon")
                return None
            return event.value
        if not isinstance(event, yaml.AliasEvent):
            self._node(event, path)
        self._complain(event, path, "a key must be plain text", "quote it if it begins with [, {, & or *")
        return None

    def _aliased(self, event: yaml.AliasEvent, path: KeyPath) -> Node:
        assert event.anchor is not None
        node = self._anchors.get(event.anchor)
        if node is None:
            name = _name(event.anchor)
            hint = f"write &{name} at the value that is meant, above this line; or quote the text"
            self._complain(event, path, f"there is no anchor called '{name}' above this line", hint)
            return ScalarNode(_line(event), None)
        self._count(event, path, node.size)
        return node

    def _count(self, event: yaml.Event, path: KeyPath, size: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            message = f"more than {MAX_NODES} values, aliases included"
            raise _GivenUp(self._problem(event, path, message, LIST_FILES))

    def _refuse_tag(self, event: yaml.Event, tag: str | None, path: KeyPath) -> None:
        if tag is not None:
            shown = _name(tag.replace("tag:yaml.org,2002:", "!!"))
            self._complain(
                event, path, f"tags such as {shown} are not read here", "remove it; quote what is text"
            )

    def _complain(self, event: yaml.Event, path: KeyPath, message: str, hint: str) -> None:
        self.problems.append(self._problem(event, path, message, hint))

    def _problem(self, event: yaml.Event, path: KeyPath, message: str, hint: str = "") -> Problem:
        return Problem(self._file, _line(event), where=dotted(path), message=message, hint=hint)


def _name(text: str) -> str:
    return text if len(text) <= NAME_CHARACTERS else "…"


def _shown(quoted: re.Match[str]) -> str:
    return f"'{_name(quoted[1])}'"


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def _syntax_hint(text: str, line: int) -> str:
    lines = text.split("\n")
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    if re.match(r" *\t", shown):
        return "indent with spaces, not with tabs"
    if re.search(r"(?<![\w:'\"])::", shown):
        return "quote IPv6 addresses: '::1', and binds: '[::]:8443'"
    if "${" in shown:
        return "between brackets or braces, ${…} needs quotes"
    if re.search(r"[:\-,\[]\s*[%@`*&!]", shown):
        return "quote text that begins with one of % @ ` * & !"
    return "look for a missing quote, colon or bracket, or for uneven indentation, here or just above"
