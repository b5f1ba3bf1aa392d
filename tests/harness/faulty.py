"""Faults that a test plants, and what was met of them."""

from __future__ import annotations

from collections.abc import Callable

from proxy.faults import Faults


def collecting(met: list[BaseException], *, monotonic: Callable[[], float] = lambda: 0.0) -> Faults:
    """`Faults` that put each that is told on a list."""
    return Faults(lambda _where, _what, error, _untold: met.append(error), monotonic=monotonic)
