"""The house as the rules see it: its modules by name, with what each imports.

Imports are read with `ast`, those inside functions and behind `TYPE_CHECKING` included, since a name that is needed
to understand a module is a dependency of it. Nothing of `proxy` is imported to read it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "proxy"


@dataclass(frozen=True)
class Import:
    """One imported module, and the names taken from it."""

    line: int
    module: str
    names: tuple[str, ...] = ()


def imports(source: str, known: frozenset[str]) -> Iterator[Import]:
    """Every import of a module, wherever it stands. `from proxy import clock` counts as `proxy.clock`."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = tuple(alias.name for alias in node.names)
            submodules = [name for name in names if f"{module}.{name}" in known]
            yield from (Import(node.lineno, f"{module}.{name}") for name in submodules)
            if rest := tuple(name for name in names if name not in submodules):
                yield Import(node.lineno, module, rest)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            # `import aiohttp` and then `aiohttp.web.…`
            if f"{node.value.id}.{node.attr}" == "aiohttp.web":
                yield Import(node.lineno, "aiohttp.web")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("__import__", "importlib.import_module", "import_module"):
                yield Import(node.lineno, "<computed>")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
KNOWN = frozenset(SOURCES)
