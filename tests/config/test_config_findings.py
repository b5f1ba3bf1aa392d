"""What pydantic found, in the words of whoever wrote the file."""

from __future__ import annotations

import pytest

from proxy.config.findings import Finding, did_you_mean, finding


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("alow", ["allow", "deny"], "did you mean 'allow'?"),
        ("listner", ["listeners", "limits"], "did you mean 'listeners'?"),
        ("xyz", ["b", "a"], "known are: a, b"),
        ("xyz", [], ""),
    ],
)
def test_a_hint_names_what_was_meant_or_all_there_is(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint


def test_a_kind_of_error_that_has_no_words_of_ours_keeps_its_own() -> None:
    error = {
        "type": "new_in_pydantic_3",
        "loc": ("instances", "a", "[key]"),
        "input": 1,
        "msg": "Input is odd",
    }
    assert finding(error, lambda path: []) == Finding(("instances", "a"), "Input is odd")
