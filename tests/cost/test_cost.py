"""Every reader of text from others takes linear time: twice the input costs at most 2.5 times as much.

How that is counted, and why so: `cost.measures`. The table: `cost.readers`, and what is none `cost.others`. The second
half reads the sources, so that a pattern or a module that comes later cannot be forgotten.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cost import others
from tests.cost.measures import faults
from tests.cost.readers import READERS, Reader

pytestmark = pytest.mark.slow

PACKAGE = Path(__file__).parents[2] / "proxy"

ROWS = [
    pytest.param(reader, family, id=f"{reader.name}: {family}")
    for reader in READERS
    for family in reader.families
]


@pytest.mark.parametrize(("reader", "family"), ROWS)
def test_a_reader_is_linear(reader: Reader, family: str) -> None:
    assert faults(reader.read, reader.families[family], size=reader.most) == []


def test_there_are_many_readers_and_each_is_there_once() -> None:
    names = [reader.name for reader in READERS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


# -- nothing is forgotten -------------------------------------------------------------------------------------


def patterns(source: str) -> Iterator[str]:
    """The names that patterns have in a module: the variable's, or the function's that uses one."""
    tree = ast.parse(source)
    for statement in _outermost(tree):
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and _is_of_re(node.func):
                yield _name(statement)


def _outermost(tree: ast.Module) -> Iterator[ast.stmt]:
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            yield from statement.body
        else:
            yield statement


def _is_of_re(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "re"
        and function.attr != "escape"
    )


def _name(statement: ast.stmt) -> str:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return f"line {statement.lineno}"


def modules() -> Iterator[tuple[str, str]]:
    """Each module of `proxy` and its source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path.read_text()


FOUND = {f"{module}:{name}" for module, source in modules() for name in patterns(source)}
COVERED = {name for reader in READERS for name in reader.patterns}


def test_each_pattern_stands_in_the_table_or_has_a_reason_not_to() -> None:
    excused = {name for name in FOUND if {name, name.partition(".")[0]} & others.PATTERNS.keys()}
    assert FOUND - COVERED - excused == set(), "add a reader with its worst inputs to tests/cost/readers.py"
    assert COVERED <= FOUND, "these patterns are gone"
    assert not COVERED & excused


def test_each_module_that_reads_stands_in_the_table_or_has_a_reason_not_to() -> None:
    known = {module for reader in READERS for module in reader.modules}
    reading = {
        module
        for module, _ in modules()
        if module.partition(".")[0] in others.READING and not module.endswith("__init__")
    }
    missing = reading - known - others.MODULES.keys()
    assert missing == set(), "add a reader with its worst inputs to tests/cost/readers.py"
    assert known | others.MODULES.keys() <= {module for module, _ in modules()}, "these modules are gone"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('_A = re.compile("a")', ["_A"]),
        ('_A: Final = {name: re.compile(name) for name in "a"}', ["_A"]),
        ('def f(text):\n    if re.search("a", text):\n        return re.sub("b", "", text)', ["f", "f"]),
        ('class C:\n    def f(self):\n        return [re.split("a", "b")]', ["f"]),
        ('class C:\n    A = re.compile("a")', ["A"]),
        ('if re.match("a", "b"):\n    pass', ["line 1"]),
        ('_A = re.escape("a")', []),
        ("_A = other.compile()", []),
    ],
)
def test_a_pattern_is_found_wherever_it_stands(source: str, names: list[str]) -> None:
    assert list(patterns(source)) == names


def test_re_is_only_used_under_its_name() -> None:
    """`from re import …` would hide patterns from the tests above."""
    for module, source in modules():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "re", module
            if isinstance(node, ast.Import):
                assert all(alias.name != "re" or alias.asname is None for alias in node.names), module
