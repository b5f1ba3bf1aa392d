"""The measures find what they are for: readers that are quadratic, each in a way of its own."""

from __future__ import annotations

import re

import pytest

from tests.cost.measures import Read, faults, steps

pytestmark = pytest.mark.slow

KIB = 1024


def _loop_in_a_loop(text: bytes) -> int:
    return sum(1 for first in text[:2000] for second in text[:2000] if first < second)


def _front_deleted(text: bytes) -> None:
    rest = list(text)
    while rest:
        del rest[:1]


def _cut_from_the_front(text: bytes) -> None:
    while text:
        text = text[1:]


def _added_one_by_one(text: bytes) -> bytes:
    read = b""
    for at in range(len(text)):
        read += text[at : at + 1]
    return read


def _searched_again_and_again(text: bytes) -> None:
    held = bytearray()
    for byte in text:
        held.append(byte)
        held.find(b"\r\n\r\n")


def _tuple_made_anew(text: bytes) -> tuple[int, ...]:
    read: tuple[int, ...] = ()
    for byte in text:
        read = (*read, byte)
    return read


def _backtracking(text: bytes) -> object:
    return re.search(rb"a*b", text)


def _begun_at_each_letter(text: bytes) -> object:
    return re.sub(rb"a[a-z]*://", b"", text)


QUADRATIC: list[tuple[Read, int]] = [
    (_loop_in_a_loop, 2 * KIB),
    (_front_deleted, 16 * KIB),
    (_cut_from_the_front, 64 * KIB),
    (_added_one_by_one, 64 * KIB),
    (_searched_again_and_again, 16 * KIB),
    (_tuple_made_anew, 4 * KIB),
    (_backtracking, 4 * KIB),
    (_begun_at_each_letter, 4 * KIB),
]
"""Each with a size at which it matters: copying is so fast that it takes tens of KiB to cost more than the loop."""
LINEAR: list[Read] = [
    lambda text: [byte for byte in text if byte > 64],
    lambda text: re.sub(rb"a", b"bb", text),
    lambda text: re.search(rb"a*+b", text[:1]),
    lambda text: b"".join(text[at : at + 1] for at in range(len(text))),
    lambda text: sorted(text.split(b"a")),
    lambda text: 1 / 0,
]


@pytest.mark.parametrize(("read", "size"), QUADRATIC, ids=[read.__name__.strip("_") for read, _ in QUADRATIC])
def test_a_quadratic_reader_is_found(read: Read, size: int) -> None:
    assert faults(read, lambda count: b"a" * count, size=size)


@pytest.mark.parametrize("read", LINEAR)
def test_a_linear_reader_is_none(read: Read) -> None:
    assert faults(read, lambda size: b"a" * size, size=64 * KIB) == []


def test_a_loop_in_python_shows_in_its_steps_alone() -> None:
    few, twice = (steps(_loop_in_a_loop, b"a" * size) for size in (100, 200))
    assert twice > 3.5 * few


def test_steps_are_the_same_each_time() -> None:
    assert len({steps(_added_one_by_one, b"a" * 100) for _ in range(3)}) == 1
