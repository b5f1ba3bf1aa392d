"""The fuzz target holds on its corpus and on the first mutations of it, and would notice what it is there to notice."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proxy.client_address.networks import parse_address
from proxy.client_address.resolve import ClientAddress
from tests.fuzz import fuzz_client_address
from tests.fuzz.fuzz_client_address import EVIL, SEEDS, check, mutated


@pytest.mark.parametrize("seed", SEEDS, ids=ascii)
def test_the_corpus_passes(seed: bytes) -> None:
    check(seed)


def test_mutations_of_it_pass() -> None:
    chance = random.Random(20270131)
    for _ in range(3000):
        check(mutated(chance))


@pytest.mark.parametrize(
    "wrong",
    [
        # Believes the leftmost word of whoever asks; falls back to the proxy; gives a caller no address.
        ClientAddress(parse_address("203.0.113.5"), EVIL, source="x-forwarded-for"),
        ClientAddress(EVIL, EVIL, source="x-forwarded-for"),
        ClientAddress(None, EVIL, problem="no"),
    ],
)
def test_a_wrong_answer_is_noticed(monkeypatch: pytest.MonkeyPatch, wrong: ClientAddress) -> None:
    def answer(*_: Any, **__: Any) -> ClientAddress:
        return wrong

    monkeypatch.setattr(fuzz_client_address, "resolve", answer)
    with pytest.raises(AssertionError):
        check(b"203.0.113.5, 192.0.2.66")


def test_a_prelude_that_is_read_otherwise_in_parts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_step(data: bytes, *, step: int) -> tuple[None, int]:
        return None, step

    monkeypatch.setattr(fuzz_client_address, "prelude", by_step)
    with pytest.raises(AssertionError):
        check(b"PROXY UNKNOWN\r\n")
