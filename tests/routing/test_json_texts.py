"""JSON under a path mount, as it streams by: addresses at known places change, and nothing else does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.json_texts import LONGEST_KEY
from proxy.routing.links import STEPS_A_FEED
from proxy.routing.pages import rewriter
from tests.routing.streaming import cut, rewritten

P = "/research"


def whole(body: bytes) -> bytes:
    """Rewritten at once, and the same in every other way to cut it."""
    at_once = rewritten(rewriter("kernelspecs", P), [body])
    if len(body) < 5000:
        for size in (1, 2, 3, 7):
            assert rewritten(rewriter("kernelspecs", P), cut(body, size)) == at_once
    return at_once


def test_kernel_logos_get_the_prefix_in_lists_and_alone() -> None:
    spec = {
        "name": "python3",
        "spec": {"argv": ["/usr/bin/python"], "resources": {"a": "/x"}},
        "resources": {"logo-svg": "/kernelspecs/a.svg"},
    }
    listed = {
        "default": "python3",
        "kernelspecs": {"python3": spec, "odd": None, "odder": {"resources": [{"a": "/x"}, "/y"]}},
    }
    answer = json.loads(whole(json.dumps(listed).encode()))
    assert answer["kernelspecs"].pop("python3")["resources"] == {"logo-svg": "/research/kernelspecs/a.svg"}
    del listed["kernelspecs"]["python3"]  # type: ignore[attr-defined]
    assert answer == listed
    alone = whole(json.dumps(spec, indent=2).encode())
    assert json.loads(alone) == spec | {"resources": {"logo-svg": "/research/kernelspecs/a.svg"}}
    assert whole(alone) == alone


@pytest.mark.parametrize(
    "body",
    [
        b'{"resources":{"a":"@/x","b":"/research","c":"/research/x"}}',
        b'{"resources":{"a":"@/"},"resources":{"a":"@/"}}',
        b'{"\\"":{"a":"/x"},"resources":{"\\"":"@/x"}}',
        b'{"x":"a\\\\","resources":{"a":"@/x"}}',
        b'{"x":[{"]":"}"}],"resources":{"a":"@/x"}}',
        # What not everybody can read passes in whatever way: nothing but the prefix is ever added.
        b'{"resources":{"a":"@/x"',
        b'{"resources":{"a":"@/x"}}{"resources":{"a":"/x"}}',
    ],
)
def test_addresses_of_resources_change(body: bytes) -> None:
    """`@` stands where the prefix is put."""
    assert whole(body.replace(b"@", b"")) == body.replace(b"@", P.encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"/x"',
        b"\xff",
        b"[" * 200_000,
        b"]",
        b"}{",
        b',{"resources":{"a":"/x"}}',
        b'[{"resources":{"a":"/x"}}]',
        b'{"resources":{"a":"//x","b":"/\\\\x","c":"\\/x","d":"x","e":"","f":5,"g":["/x"],"h":{"i":"/x"}}}',
        b'{"resources":"/x","a":"/y","resources/":{"a":"/x"}}',
        b'{"resources":["/x"]}',
        b'{"kernelspecs":[{"resources":{"a":"/x"}}],"a":{"resources":{"a":"/x"}}}',
        b'{"' + b"a" * (LONGEST_KEY + 10) + b'":"/x"}',
        b'{"resources":{"' + b"a" * (LONGEST_KEY + 10) + b'":"/x"}}',
        b'{"resources":{"a":"/',
        b'{"resources',
    ],
)
def test_everything_else_passes_as_it_came(body: bytes) -> None:
    assert whole(body) == body


def test_a_feed_does_a_bounded_amount_of_work() -> None:
    body = b'{"resources":{' + b'"a":"/",' * STEPS_A_FEED + b'"b":"/"}}'
    text, rest = rewriter("kernelspecs", P).feed(body)
    assert rest
    assert text.replace(P.encode(), b"") == body[: -len(rest)]
    assert whole(body).count(b'"/research/"') == STEPS_A_FEED + 1


_PARTS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"/", b"/x", b'"a"', b'"resources":{', b'"kernelspecs":{',
          b'"a":{', b'"/x"', b" ", b"5", b"/research", b"\xc3"]  # fmt: skip


@given(st.lists(st.sampled_from(_PARTS), max_size=30).map(b"".join), st.lists(st.integers(1, 9), min_size=1))
def test_no_text_makes_it_raise_and_where_it_is_cut_changes_nothing(body: bytes, sizes: list[int]) -> None:
    once = whole(body)
    assert rewritten(rewriter("kernelspecs", P), cut(body, *sizes)) == once
    assert whole(once) == once
    assert once.replace(P.encode(), b"") == body.replace(P.encode(), b"")


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["/x", "//x", "x", "/research/x", "/\\x", '"', "\\"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["resources", "kernelspecs", "a", "b"]), inner, max_size=3)
    ),
)


@given(_VALUES)
def test_whatever_stands_elsewhere_keeps_its_meaning(value: object) -> None:
    """An independent reading: the same, by way of the values that it means."""
    assert json.loads(whole(json.dumps(value).encode())) == expected(value)


def expected(answer: object) -> object:
    if not isinstance(answer, dict):
        return answer
    answer = dict(answer)
    if isinstance(listed := answer.get("kernelspecs"), dict):
        answer["kernelspecs"] = {name: spec_of(spec) for name, spec in listed.items()}
    return spec_of(answer)


def spec_of(spec: object) -> object:
    if not isinstance(spec, dict) or not isinstance(resources := spec.get("resources"), dict):
        return spec
    changed = {
        name: P + value if isinstance(value, str) and value in ("/x", "/") else value
        for name, value in resources.items()
    }
    return spec | {"resources": changed}
