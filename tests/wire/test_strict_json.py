"""What two readers of JSON could take for two things is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.strict_json import KeyTwice, NestedTooDeep, NotJson, read_json

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, "x\xc3\xa9", null, true]}', {"a": [1, 2.5, "xé", None, True]}),
        ('{"a": {"a": 1}, "b": {"a": 1}}', {"a": {"a": 1}, "b": {"a": 1}}),
        (b'"text"', "text"),
        (b"{}", {}),
    ],
)
def test_json_is_read(text: bytes | str, value: object) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 1} {}',
        b"NaN",
        b'{"a": -Infinity}',
        b'"\xff"',
        '"x"'.encode("utf-16"),
        "\ufeff{}".encode(),
        b"1" * 5000,
        '{"a": "\x01"}',
    ],
)
def test_what_is_no_json_is_refused(text: bytes | str) -> None:
    with pytest.raises(NotJson):
        read_json(text)


def test_where_it_is_no_json_is_told() -> None:
    with pytest.raises(NotJson, match="line 2") as caught:
        read_json(b'{"a":\n}')
    assert (caught.value.line, caught.value.reason) == (2, "Expecting value")
    with pytest.raises(NotJson) as caught:
        read_json(b"NaN")
    assert (caught.value.line, caught.value.reason) == (0, "NaN is no number of JSON's")


@pytest.mark.parametrize(
    "text", ['{"a": 1, "b": 2, "a": 1}', '[{"x": {"a": 1, "a": 2}}]', '{"a": 1, "\\u0061": 2}']
)
def test_a_key_that_is_there_twice_is_named(text: str) -> None:
    with pytest.raises(KeyTwice) as caught:
        read_json(text)
    assert caught.value.key == "a"


def test_what_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(NestedTooDeep):
        read_json(b"[" * 100_000)


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    assert read_json(json.dumps(value)) == value
