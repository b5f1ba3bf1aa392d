"""IAM's patterns: `*`, `?` and nothing else."""

from __future__ import annotations

import re
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.wildcards import ANYTHING, Texts, Wildcards, fold


@pytest.mark.parametrize(
    ("patterns", "text", "matches"),
    [
        (["*"], "", True),
        (["*"], "a\nb", True),
        (["sagemaker:*"], "sagemaker:StartNotebookInstance", True),
        (["sagemaker:*"], "s3:GetObject", False),
        (["sagemaker:Describe*", "sagemaker:Start*"], "sagemaker:StartNotebookInstance", True),
        (
            ["arn:aws:sagemaker:*:*:notebook-instance/gpu-?"],
            "arn:aws:sagemaker:x:1:notebook-instance/gpu-1",
            True,
        ),
        (
            ["arn:aws:sagemaker:*:*:notebook-instance/gpu-?"],
            "arn:aws:sagemaker:x:1:notebook-instance/gpu-12",
            False,
        ),
        (["a"], "A", False),
        (["a.c"], "abc", False),
        (["[ab]"], "a", False),
        (["a|b"], "a", False),
        (["\\*"], "\\x", True),
        (["a"], "a\n", False),
        ([""], "", True),
        ([], "", False),
    ],
)
def test_match_the_whole_text(patterns: list[str], text: str, matches: bool) -> None:
    assert (text in Wildcards(patterns)) is matches


def test_case_is_ignored_where_iam_ignores_it() -> None:
    assert "SageMaker:createpresignednotebookinstanceurl" in Wildcards(
        ["sagemaker:Create*"], ignore_case=True
    )
    # Only in ASCII: the Kelvin sign is no k.
    assert "sagema\u212aer:x" not in Wildcards(["sagemaker:x"], ignore_case=True)


@given(st.text(alphabet="ab*?", max_size=12), st.text(alphabet="ab", max_size=12))
def test_agree_with_shell_patterns_on_the_two_wildcards(pattern: str, text: str) -> None:
    assert (text in Wildcards([pattern])) == bool(re.match(translate(pattern), text))


def test_are_compared_by_what_they_say() -> None:
    assert Wildcards(["a", "b"]) == Wildcards(("a", "b"))
    assert hash(Wildcards(["a"])) == hash(Wildcards(["a"]))
    assert Wildcards(["a"]) != Wildcards(["a"], ignore_case=True)
    assert Wildcards(["a"]) != "a"
    assert Wildcards(["*"]) == ANYTHING
    assert repr(Wildcards(["a", "b*"])) == "Wildcards(a, b*)"


def test_no_text_makes_a_pattern_slow() -> None:
    """With plain `.*` for a star this would take longer than the universe will."""
    assert "a" * 5_000 not in Wildcards(["*a*a*a*a*a*a*a*a*a*a*b"])


@pytest.mark.parametrize(
    ("text", "folded"),
    [("Alice", "alice"), ("ÉCOLE", "école"), ("\u212aate", "\u212aate"), ("ÉK\u212a", "ék\u212a"), ("", "")],
)
def test_case_is_dropped_without_turning_anything_into_ascii(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_texts_know_no_case() -> None:
    texts = Texts(["Alice", "b*b"])
    assert "ALICE" in texts
    assert "B*B" in texts
    assert "bob" not in texts
    assert texts == Texts(["alice", "B*b"])
    assert hash(texts) == hash(Texts(["alice", "B*b"]))
    assert texts != Texts(["alice"])
    assert texts != "alice"
    assert repr(texts) == "Texts(Alice, b*b)"
