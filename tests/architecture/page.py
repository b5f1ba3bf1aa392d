"""`proxy/README.md` is true: what it names exists, each name stands where it says, and no part of the house is missing.

A link's text in backticks is a name that is defined in the file that the link leads to: a class, a function, a method
(`Gateway.admit`), or a constant. What else stands in backticks and looks like a file is one.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.architecture.floors import floor_of

_LINK = re.compile(r"\[([^]\[]+)\]\(([^)\s]+)\)")
_NAME = re.compile(r"`((?!\w+\.py`)[\w.]+)`")
_MODULE = re.compile(r"`(proxy(?:\.\w+)+)`")
_FILE = re.compile(r"`([\w./-]+(?:\.(?:py|md|yaml|toml)|/))`")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
GLOSSARY = "Glossary"


def untrue(text: str, house: Path) -> Iterator[str]:
    """What the page says of the files below `house` that is not so."""
    for label, target in _LINK.findall(text):
        place = house / target.partition("#")[0]
        if "://" in target:
            continue
        if not place.exists():
            yield f"{target} does not exist"
            continue
        name = _NAME.fullmatch(label)
        if name and place.suffix == ".py" and name[1] not in defined(place.read_text("utf-8")):
            yield f"{target} defines no {name[1]}"
    for named in _FILE.findall(_LINK.sub("", text)):
        if not (house / named).exists() and not (house.parent / named).exists():
            yield f"{named} does not exist"


def stale(sources: Mapping[str, str]) -> Iterator[str]:
    """What prose in modules says of another module (`proxy.wire.body`, `proxy.gateway.Gateway`) that is not there."""
    names: dict[str, set[str]] = {}
    for module, source in sources.items():
        for number, line in enumerate(source.splitlines(), 1):
            for named in _MODULE.findall(line):
                home = max((one for one in sources if f"{named}.".startswith(f"{one}.")), key=len)
                names.setdefault(home, defined(sources[home]))
                if named != home and named.removeprefix(f"{home}.") not in names[home]:
                    yield f"{module}:{number}: {named} does not exist"


def missing(text: str, house: Path) -> Iterator[str]:
    """Packages, and modules that stand in none, to which no link leads."""
    led_to = {(house / target).resolve() for _, target in _LINK.findall(text) if "://" not in target}
    for place in sorted(house.iterdir()):
        is_part = (place.suffix == ".py" and place.stem != "__init__") or (place / "__init__.py").exists()
        if is_part and place.resolve() not in led_to:
            yield f"{place.name} is not on the map"


def upwards(text: str) -> Iterator[str]:
    """Rows of the map that stand below one that they stand above in the house."""
    lowest = math.inf
    for row in re.findall(r"^\| (\[.*?) \|", text, re.MULTILINE):
        parts = [target.removesuffix(".py") for _, target in _LINK.findall(row) if "/" not in target]
        floors = [floor.height for floor in map(floor_of, parts) if floor is not None]
        if max(floors, default=0) > lowest:
            yield f"{', '.join(parts)} stands too low on the map"
        lowest = min(floors, default=lowest)


def said_twice(text: str) -> Iterator[str]:
    """Words of the glossary that have two meanings there."""
    rows = re.findall(r"^\| ([^|]+) \|", section(text, GLOSSARY), re.MULTILINE)
    words = [word.strip(" *`").lower() for row in rows[1:] for word in re.split(r"[,/]", row)]
    yield from (f"{word} is explained twice" for word, times in Counter(words).items() if times > 1)


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level; "" where there is none."""
    parts = _HEADING.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(heading, "")


def defined(source: str) -> set[str]:
    """The names that a module defines, and with a dot those of its classes' members."""
    found = set()
    for node in ast.parse(source).body:
        found |= _names_of(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for member in node.body for name in _names_of(member)}
            found |= {
                f"{node.name}.{inner.attr}"
                for inner in ast.walk(node)
                if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
            }
    return found


def _names_of(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.AnnAssign):
        return {node.target.id} if isinstance(node.target, ast.Name) else set()
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()
