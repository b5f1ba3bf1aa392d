"""References to the environment are replaced in values, after parsing, and never shown."""

from __future__ import annotations

import pytest

from proxy.config.environment import Substituted, substitute
from proxy.config.yaml_lines import parse, to_data

ENVIRON = {"NAME": "value", "PORT": "8443", "FLAG": "true", "EMPTY": "", "TRICK": "x\nb: 2, c: [1] # ${NAME}"}


def substituted(text: str) -> Substituted:
    root, problems = parse(text, "f.yaml")
    assert problems == []
    return substitute(root, environ=ENVIRON, file="f.yaml")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${NAME}", "value"),
        ("a-${NAME}-b", "a-value-b"),
        ("${NAME}${NAME}", "valuevalue"),
        ("${MISSING:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${NAME:-fallback}", "value"),
        ("'${MISSING:-}'", ""),
        # An unquoted scalar is resolved again, a quoted one stays text.
        ("${PORT}", 8443),
        ("'${PORT}'", "8443"),
        ("127.0.0.1:${PORT}", "127.0.0.1:8443"),
        ("${FLAG}", True),
        ("${EMPTY}", None),
        ("${MISSING:-}", None),
        # Escaped, and not a reference at all.
        ("$${NAME}", "${NAME}"),
        ("$NAME and $(NAME) and 5$", "$NAME and $(NAME) and 5$"),
        # What comes from the environment is not looked at again, and is no YAML.
        ("${TRICK}", ENVIRON["TRICK"]),
    ],
)
def test_references_are_replaced(written: str, meant: object) -> None:
    result = substituted(f"a: {written}\n")
    assert result.problems == ()
    assert to_data(result.root) == {"a": meant}


def test_references_are_replaced_in_lists_and_mappings_but_not_in_keys() -> None:
    result = substituted('a: [1, "${NAME}", {b: "${NAME}"}]\n"${NAME}": 1\n')
    assert to_data(result.root) == {"a": [1, "value", {"b": "value"}], "${NAME}": 1}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "${MISSING}",
            "the environment variable MISSING is not set "
            "(set it, or give a default: ${MISSING:-default})",
        ),
        *(
            (
                broken,
                "'${' does not begin a reference to the environment "
                "(write ${NAME} or ${NAME:-default}, and $${ for the two characters themselves)",
            )
            for broken in ("'${'", "'${}'", "'${1A}'", "'${NAME-x}'", "'${NAME'", "'${A B}'")
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_replaced_is_a_problem_and_the_value_null(written: str, message: str) -> None:
    result = substituted(f"x: 1\na:\n  - {written}\n")
    assert [str(problem) for problem in result.problems] == [f"f.yaml:3: a[0]: {message}"]
    assert to_data(result.root) == {"x": 1, "a": [None]}
    assert result.failed == {("a", 0)}


def test_every_missing_variable_of_a_value_is_told() -> None:
    told = [problem.message for problem in substituted("a: ${B}${C}\n").problems]
    assert told == ["the environment variable B is not set", "the environment variable C is not set"]
