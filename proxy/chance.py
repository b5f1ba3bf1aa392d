"""Chance, as the only way to it: request identifiers, jitter, and what nobody may foresee."""

from __future__ import annotations

import itertools
import random  # noqa: TID251 - this is the place; nothing here is a secret
import secrets
from collections.abc import Callable
from typing import Final

NewId = Callable[[], str]
Jitter = Callable[[float], float]
Nonce = Callable[[], str]


_THIS_PROCESS: Final = secrets.token_hex(4)
_numbers: Final = itertools.count(1)


def new_id() -> str:
    """A request id: 16 hexadecimal digits, of which the first half is drawn once for each process.

    It names a request in logs and on error pages and is no secret, so it need not cost a system call.
    """
    return f"{_THIS_PROCESS}{next(_numbers) & 0xFFFFFFFF:08x}"


def jitter(seconds: float) -> float:
    """A duration drawn evenly from the upper half of `seconds`, so that many waiters don't wake at once."""
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing


def mask_key() -> bytes:
    """A WebSocket masking key (RFC 6455 section 5.3): four bytes that nobody can foresee."""
    return secrets.token_bytes(4)


def nonce() -> str:
    """Twenty-four hexadecimal digits that are drawn once."""
    return secrets.token_hex(12)


def secret_key() -> str:
    """A key for this process alone: 256 bits as text."""
    return secrets.token_hex(32)
