"""What was worked out before is found again, and there is never more of it than was allowed."""

from __future__ import annotations

import ast
from pathlib import Path

import proxy
from proxy.memory import Memo, RecurringMemo


class _Lengths(Memo[str, int]):
    def __init__(self) -> None:
        super().__init__(2)
        self.asked: list[str] = []

    def __missing__(self, key: str) -> int:
        self.asked.append(key)
        return self.keep(key, len(key))


def test_what_is_kept_is_found() -> None:
    memo: Memo[str, int] = Memo(2)
    assert memo.get("a") is None
    assert memo.keep("a", 1) == 1
    assert memo.get("a") == 1


def test_a_full_memo_starts_again_from_nothing() -> None:
    memo: Memo[int, int] = Memo(3)
    for number in range(10):
        memo.keep(number, -number)
        assert 1 <= len(memo) <= 3
        assert memo[number] == -number
    assert memo == {9: -9}


def test_what_is_missing_is_worked_out_once() -> None:
    lengths = _Lengths()
    assert [lengths["abc"], lengths["abc"], lengths["de"]] == [3, 3, 2]
    assert lengths.asked == ["abc", "de"]


def test_a_hit_is_a_dicts_own() -> None:
    assert Memo.get is dict.get
    assert Memo.__getitem__ is dict.__getitem__


def test_what_comes_once_is_not_kept_and_what_comes_again_is() -> None:
    memo: RecurringMemo[int, str] = RecurringMemo(4)
    assert [memo.keep(number, "x") for number in range(100)] == ["x"] * 100
    assert memo == {}
    memo.keep(7, "a")
    assert memo.keep(7, "b") == "b"
    assert memo == {7: "b"}


def test_what_comes_again_is_bounded_too() -> None:
    memo: RecurringMemo[int, int] = RecurringMemo(4)
    for number in range(100):
        memo.keep(number, number)
        memo.keep(number, number)
        assert 1 <= len(memo) <= 4


def test_nobody_has_a_bounded_memo_of_its_own() -> None:
    """`if len(seen) >= …: seen.clear()` stands in one place."""
    package = Path(proxy.__file__).parent
    found = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.If)
        and ast.unparse(node.test).startswith("len(")
        and any(ast.unparse(each).endswith(".clear()") for each in node.body)
    ]
    assert len(found) == 1, found
    assert found[0].startswith("memory.py:")
