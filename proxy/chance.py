"""Chance, as the only way to it: request identifiers and jitter."""

from __future__ import annotations

import itertools
import random  # noqa: TID251 - this is the place; nothing here is a secret
import secrets
from collections.abc import Callable

NewId = Callable[[], str]
Jitter = Callable[[float], float]


_ids_of_this_process = (f"{secrets.token_hex(4)}{number:08x}" for number in itertools.count(1))


def new_id() -> str:
    """A request id: 16 hexadecimal digits, of which the first half is drawn once for each process.

    It names a request in logs and on error pages and is no secret, so it need not cost a system call.
    """
    return next(_ids_of_this_process)


def jitter(seconds: float) -> float:
    """A duration drawn evenly from the upper half of `seconds`, so that many waiters don't wake at once."""
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing


def mask_key() -> bytes:
    """A WebSocket masking key (RFC 6455 section 5.3): four bytes that nobody can foresee."""
    return secrets.token_bytes(4)
