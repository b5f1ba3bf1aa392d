"""Who holds too much is brought down to the limit, by the end of what holds most; others are left alone."""

from __future__ import annotations

import pytest

from proxy.dataplane.holdings import Holding, surplus


def ended(most: int, **sizes: tuple[str | None, int]) -> list[str]:
    return surplus(((name, Holding(*of)) for name, of in sizes.items()), most=most)


def test_nobody_above_the_limit_loses_anything() -> None:
    assert ended(100, a=("x", 60), b=("x", 40), c=("y", 100)) == []


def test_what_holds_most_ends_first_and_no_more_than_needed() -> None:
    assert ended(100, a=("x", 10), b=("x", 70), c=("x", 50), d=("x", 20)) == ["b"]
    assert ended(60, a=("x", 10), b=("x", 70), c=("x", 50), d=("x", 20)) == ["b", "c"]
    assert ended(5, a=("x", 10)) == ["a"]


def test_one_addresss_holdings_are_no_others_affair() -> None:
    assert ended(100, a=("x", 99), b=("y", 60), c=("y", 60), d=(None, 1000)) == ["b"]


@pytest.mark.parametrize("most", [0, 1])
def test_what_holds_nothing_is_not_ended(most: int) -> None:
    assert ended(most, a=("x", 0), b=("x", 5)) == ["b"]
