"""Strict YAML: what is written is what is read, and every line is known."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.yaml_lines import (
    MAX_DEPTH,
    dotted,
    line_of,
    node_at,
    parse,
    resolve_plain,
    to_data,
)
from proxy.errors import ConfigError


def read(text: str) -> object:
    root, problems = parse(text, "f.yaml")
    assert problems == []
    return to_data(root)


def complaints(text: str) -> list[str]:
    """Problems with and without a tree, as printed."""
    try:
        return [str(problem) for problem in parse(text, "f.yaml")[1]]
    except ConfigError as error:
        return [str(problem) for problem in error.problems]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("8443", 8443),
        # YAML 1.1 reads these as booleans, octal, hexadecimal, sexagesimal, grouped, floats and dates.
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("010", "010"),
        ("0o10", "0o10"),
        ("0x10", "0x10"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("1.10", "1.10"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("2027-01-31", "2027-01-31"),
        # As long as an integer is never converted in unbounded time.
        ("9" * 19, "9" * 19),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says_and_nothing_more(written: str, meant: object) -> None:
    assert resolve_plain(written) == meant
    assert type(resolve_plain(written)) is type(meant)


@pytest.mark.parametrize("written", ["'true'", '"8443"', "'~'", '""', "'null'"])
def test_quoted_scalars_are_text(written: str) -> None:
    assert read(f"a: {written}") == {"a": written[1:-1]}


def test_block_scalars_are_text() -> None:
    assert read("a: |\n  8443\nb: >-\n  8443\n") == {"a": "8443\n", "b": "8443"}


def test_keys_are_text_as_they_were_written() -> None:
    assert read("8444: 1\nyes: 2\nnull: 3\n") == {"8444": 1, "yes": 2, "null": 3}


def test_aliases_stand_for_their_anchors_value() -> None:
    assert read("a: &x [1, {b: 2}]\nc: *x\n") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ["f.yaml:3: a: the key is here twice, first on line 1 (keep one of them)"]),
        ("a:\n  b: 1\n  b: 2\n", ["f.yaml:3: a.b: the key is here twice, first on line 2 (keep one of them)"]),
        (
            "a: &x {b: 1}\nc:\n  <<: *x\n",
            [
                "f.yaml:3: c: merge keys ('<<') are not read here "
                "(write the keys out, or use an alias as the whole value)"
            ],
        ),
        ("a: 1\n---\nb: 2\n", ["f.yaml:2: a second YAML document starts here (keep one document in the file)"]),
        ("a: !!python/object:os.system x\n", ["f.yaml:1: a: tags such as !!python/object:os.system are not read here"
                                            " (remove it; quote what is text)"]),
        ("a: !secret x\n", ["f.yaml:1: a: tags such as !secret are not read here (remove it; quote what is text)"]),
        ("a: !x [1]\nb: !y {c: 1}\n!z k: 1\n", [
            "f.yaml:1: a: tags such as !x are not read here (remove it; quote what is text)",
            "f.yaml:2: b: tags such as !y are not read here (remove it; quote what is text)",
            "f.yaml:3: tags such as !z are not read here (remove it; quote what is text)",
        ]),
        ("? [a, b]\n: 1\n", ["f.yaml:1: a key must be plain text (quote it if it begins with [, {, & or *)"]),
        ("x: &k a\n*k : 1\n", ["f.yaml:2: a key must be plain text (quote it if it begins with [, {, & or *)"]),
        ('"": 1\n', ["f.yaml:1: a key is empty (write a name before the colon)"]),
        (
            "a: *nowhere\n",
            [
                "f.yaml:1: a: there is no anchor called 'nowhere' above this line "
                "(write &nowhere at the value that is meant, above this line; or quote the text)"
            ],
        ),
        # An alias inside of its own anchor would be a circle.
        (
            "a: &x [*x]\n",
            [
                "f.yaml:1: a[0]: there is no anchor called 'x' above this line "
                "(write &x at the value that is meant, above this line; or quote the text)"
            ],
        ),
        ("", ["f.yaml: the file is empty (nbgate init writes a first one, to a new file)"]),
        ("# nothing\n", ["f.yaml: the file is empty (nbgate init writes a first one, to a new file)"]),
    ],
)  # fmt: skip
def test_what_other_readers_would_guess_at_is_refused(text: str, expected: list[str]) -> None:
    assert complaints(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a:\n\tb: 1\n", 2, "indent with spaces, not with tabs"),
        ("a: [::1]\n", 1, "quote IPv6 addresses: '::1'"),
        ("a:\n  - bind: [::]:8443\n", 2, "quote IPv6 addresses: '::1', and binds: '[::]:8443'"),
        ("a: [10.0.0.1, ::ffff:10.0.0.1]\n", 1, "quote IPv6 addresses"),
        ("a: {cidr: ::1, until: x}\n", 1, "quote IPv6 addresses"),
        ("a: ['::1', *]\n", 1, "quote text that begins with one of"),
        ("a: 1\nb: %x\n", 2, "quote text that begins with one of % @ ` * & !"),
        ("a: [1, 2\nb: 3\n", 2, "look for a missing quote, colon or bracket, or for uneven indentation"),
        ("a: 1\nb: {c: ${D}}\n", 2, "between brackets or braces, ${…} needs quotes"),
        ("a: 'x\n", 2, "look for a missing quote"),
        ("a: 1\n b: 2\n", 2, "look for a missing quote"),
        ("a: 1\nb: \x07\n", 2, "remove it, or escape it in double quotes"),
    ],
)
def test_broken_yaml_is_told_with_its_line(text: str, line: int, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yaml")
    (problem,) = caught.value.problems
    assert problem.line == line
    assert problem.message.startswith("not valid YAML: ")
    assert problem.hint.startswith(hint)


def test_problems_before_broken_yaml_are_told_too() -> None:
    told = complaints("a: 1\na: 2\nb: [\n")
    assert len(told) == 2
    assert told[0].startswith("f.yaml:2: a: the key is here twice")


def test_alias_bombs_end_early() -> None:
    levels = [f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 20)]
    (told,) = complaints("\n".join(["a0: &a0 [1,2,3,4,5,6,7,8,9,0]", *levels]))
    assert "more than 200000 values, aliases included" in told
    assert "{file: vpn-ranges.txt}" in told
    assert told.startswith("f.yaml:6:")


def test_deep_nesting_ends_early() -> None:
    assert complaints("a: " + "[" * 50_000) == [
        f"f.yaml:1: a[0][0][0]: nested more than {MAX_DEPTH} levels deep"
    ]


DOCUMENT = """\
# comment
a:
  b: 1

  c:
    - x
    -
      y
  d: [p,
      q]
e: {f: 1,
    g: 2}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("a",), 2),
        (("a", "b"), 3),
        (("a", "c"), 5),
        (("a", "c", 0), 6),
        (("a", "c", 1), 8),
        (("a", "d", 1), 10),
        (("e", "g"), 12),
        # What is not there is looked for in its parent.
        (("a", "missing"), 2),
        (("a", "c", 7), 5),
        (("a", "b", "deeper"), 3),
        (("nothing", "at", "all"), 2),
    ],
)
def test_every_value_knows_its_line(path: tuple[str | int, ...], line: int) -> None:
    root, _ = parse(DOCUMENT, "f.yaml")
    assert line_of(root, path) == line


def test_nodes_are_found_by_path() -> None:
    root, _ = parse(DOCUMENT, "f.yaml")
    found = node_at(root, ("a", "c", 1))
    assert found is not None
    assert to_data(found) == "y"
    assert node_at(root, ("a", "c", 2)) is None
    assert node_at(root, ("a", "b", "x")) is None


def test_paths_are_written_with_dots_and_brackets() -> None:
    assert dotted(("instances", "research", "allow", 0)) == "instances.research.allow[0]"
    assert dotted(()) == ""


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_fail_in_any_other_way(text: str) -> None:
    with suppress(ConfigError):
        parse(text, "f.yaml")
