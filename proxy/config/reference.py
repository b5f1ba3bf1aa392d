"""`config/nbgate.yaml`: every setting with its meaning and its default, beside an example of what most people write.

    python -m proxy.config.reference > config/nbgate.yaml

Its rule: meanings and defaults are the JSON Schema's, which are the docstrings and values of the code; what is written
by hand, in `example.yaml`, is the example and why it is one. Each setting is explained where it is met first; those
that the example leaves out follow, commented out. It must not know any setting by name.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from proxy.config.json_schema import json_schema
from proxy.config.yaml_lines import MappingNode, Node, SequenceNode, parse

WIDTH = 118
_COMMENTED = "#~ commented out"
"""In the example: the section below is shown commented out."""

Schema = Mapping[str, Any]


@dataclass(slots=True)
class _ShownSection:
    """Where a kind of section stands in the example for the last time, and what of it was shown."""

    shape: Schema
    indent: int = 0
    ends_at: int = 0
    shown: set[str] = field(default_factory=set)


def reference() -> str:
    """The whole text."""
    schema = json_schema()
    text = (resources.files("proxy.config") / "example.yaml").read_text("utf-8")
    return _Reference(schema, text).text()


class _Reference:
    def __init__(self, schema: Schema, text: str) -> None:
        self._schema = schema
        self._lines = text.splitlines()
        self._root = parse(text, "example.yaml")[0]
        self._sections: dict[int, _ShownSection] = {}
        self._before: dict[int, list[str]] = {}
        self._after: dict[int, list[_ShownSection]] = {}

    def text(self) -> str:
        self._walk(self._root, self._schema)
        for section in self._sections.values():
            if section.shape is not self._schema:
                self._after.setdefault(section.ends_at, []).append(section)
        return "\n".join(self._assembled()) + "\n"

    def _assembled(self) -> Iterator[str]:
        """The example's sections, with the others between them, in the schema's order."""
        assert isinstance(self._root, MappingNode)
        begins = {key: self._with_comments(entry.line - 1) for key, entry in self._root.entries.items()}
        ends = [*sorted(begins.values())[1:], len(self._lines)]
        chunks = dict(zip(sorted(begins, key=lambda key: begins[key]), ends, strict=True))
        yield from _stripped(self._lines[: min(begins.values())])
        for key, shape in self._schema["properties"].items():
            yield ""
            if key in chunks:
                yield from self._chunk(begins[key], chunks[key])
            else:
                yield from (f"# {line}".rstrip() for line in self._spelled_out(key, shape))

    def _chunk(self, begin: int, end: int) -> Iterator[str]:
        is_commented = _COMMENTED in self._lines[begin:end]
        lines: list[str] = []
        for at in range(begin, end):
            lines += self._before.get(at, ())
            lines.append(self._lines[at])
            for section in self._after.get(at, ()):
                lines += _left_out(section, is_commented=is_commented)
        for line in _stripped(lines):
            if line != _COMMENTED:
                yield f"# {line}" if is_commented and not line.startswith("#") else line

    def _spelled_out(self, key: str, shape: Schema) -> Iterator[str]:
        """A section, or a setting, that the example leaves out."""
        yield from _wrapped(_meaning(self._schema, shape), 0, mark="")
        section = self._section_of(shape)
        if section is None:
            yield f"{key}: {_yaml(shape.get('default'))}".rstrip()
            return
        yield f"{key}:"
        for name, one in section["properties"].items():
            yield from _wrapped(_meaning(self._schema, one), 2)
            yield f"  {name}: {_yaml(one.get('default'))}".rstrip()

    def _with_comments(self, at: int) -> int:
        while self._lines[at - 1].startswith("#"):
            at -= 1
        return at

    def _walk(self, node: Node, shape: Schema) -> None:
        if isinstance(node, SequenceNode):
            for item in node.items:
                self._walk(item, shape)
        elif isinstance(node, MappingNode):
            section = self._section_of(shape)
            for key, entry in node.entries.items():
                inner = self._values_of(shape) if section is None else section["properties"].get(key, {})
                if section is not None:
                    self._show(section, key, entry.line - 1, last=_last_line(entry.value))
                self._walk(entry.value, inner)

    def _show(self, shape: Schema, key: str, at: int, *, last: int) -> None:
        line = self._lines[at]
        written = line.lstrip(" -")
        if not written.startswith(f"{key}:"):
            return  # within braces: there is no room to explain it
        section = self._sections.setdefault(id(shape), _ShownSection(shape))
        section.indent = len(line) - len(written)
        section.ends_at = max(section.ends_at, last - 1, at)
        if key not in section.shown:
            section.shown.add(key)
            one = shape["properties"][key]
            meaning = _meaning(self._schema, one)
            if one.get("default") is not None and "efault" not in meaning:
                meaning += f" Default: {'none' if one['default'] in ([], {}) else _yaml(one['default'])}."
            begins = " " * (len(line) - len(line.lstrip(" ")))
            # What stands above an item of a list is about the item, which begins with this setting.
            while not line.lstrip().startswith("-") and self._lines[at - 1].startswith(f"{begins}#"):
                at -= 1
            self._before[at] = _wrapped(meaning, len(begins))

    def _section_of(self, shape: Schema) -> Schema | None:
        """The kind of section that a setting is, or a list or a mapping is of."""
        return next((one for one in _alternatives(self._schema, shape) if "properties" in one), None)

    def _values_of(self, shape: Schema) -> Schema:
        """What stands under names of the operator's choice."""
        for one in _alternatives(self._schema, shape):
            for values in one.get("patternProperties", {}).values():
                return dict(values)
        return {}


def _alternatives(schema: Schema, shape: Schema) -> Iterator[Schema]:
    name = shape.get("$ref", "").rpartition("/")[2]
    if name:
        shape = schema["$defs"][name]
    yield shape
    for one in (*shape.get("anyOf", ()), *([shape["items"]] if "items" in shape else ())):
        yield from _alternatives(schema, one)


def _meaning(schema: Schema, shape: Schema) -> str:
    """A setting's own description, or that of the section that it is."""
    own = shape.get("description") or next(
        (one["description"] for one in _alternatives(schema, shape) if "description" in one), ""
    )
    return " ".join(own.split())


def _left_out(section: _ShownSection, *, is_commented: bool) -> list[str]:
    """`is_commented`: all of it is, so that these need not be."""
    lines: list[str] = []
    blank = " " * section.indent
    for key, one in section.shape["properties"].items():
        # What has no meaning here has one elsewhere: a policy's statements are IAM's.
        if key not in section.shown and (words := " ".join(one.get("description", "").split())):
            setting = f"{key}: {_yaml(one.get('default'))}".rstrip()
            lines += [] if is_commented else [""]
            lines += _wrapped(words, section.indent)
            lines.append(f"{blank}{setting}" if is_commented else f"{blank}# {setting}")
    return lines


def _wrapped(text: str, indent: int, *, mark: str = "# ") -> list[str]:
    begin = " " * indent + mark
    return textwrap.wrap(
        text,
        WIDTH - (0 if mark else 2),
        initial_indent=begin,
        subsequent_indent=begin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _yaml(value: object) -> str:
    """A default as the file would have it; "" for none."""
    if value is None:
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, width=WIDTH, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _last_line(node: Node) -> int:
    """Lines count from 1."""
    if isinstance(node, MappingNode):
        return max((_last_line(entry.value) for entry in node.entries.values()), default=node.line)
    if isinstance(node, SequenceNode):
        return max((_last_line(item) for item in node.items), default=node.line)
    return node.line


def _stripped(lines: Sequence[str]) -> list[str]:
    """Without blank lines at both ends."""
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    while kept and not kept[0].strip():
        kept.pop(0)
    return kept


if __name__ == "__main__":
    sys.stdout.write(reference())
