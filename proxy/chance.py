"""Chance, as the only way to it: request identifiers and jitter."""

from __future__ import annotations

import random  # noqa: TID251 - this is the place; nothing here is a secret
import secrets
from collections.abc import Callable

NewId = Callable[[], str]
Jitter = Callable[[float], float]


def new_id() -> str:
    """A request id: 16 hexadecimal digits, unguessable, unique for all practical purposes."""
    return secrets.token_hex(8)


def jitter(seconds: float) -> float:
    """A duration drawn evenly from the upper half of `seconds`, so that many waiters don't wake at once."""
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing


def mask_key() -> bytes:
    """A WebSocket masking key (RFC 6455 section 5.3): four bytes that nobody can foresee."""
    return secrets.token_bytes(4)
