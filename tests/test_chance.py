"""Request ids, jitter, masking keys, nonces and keys."""

from __future__ import annotations

import re

from proxy.chance import jitter, mask_key, new_id, nonce, secret_key


def test_request_ids_are_sixteen_digits_and_never_the_same() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in ids)


def test_jitter_keeps_to_the_upper_half() -> None:
    drawn = [jitter(10.0) for _ in range(1000)]
    assert 5.0 <= min(drawn) < 6.0
    assert 9.0 < max(drawn) <= 10.0


def test_masking_keys_are_four_bytes_that_differ() -> None:
    assert {len(mask_key()) for _ in range(10)} == {4}
    assert len({mask_key() for _ in range(100)}) > 90


def test_nonces_and_keys_are_never_the_same() -> None:
    assert len({nonce() for _ in range(1000)}) == 1000
    assert all(re.fullmatch("[0-9a-f]{24}", nonce()) for _ in range(10))
    assert len({secret_key() for _ in range(100)}) == 100
    assert len(secret_key()) == 64
