"""How a gateway goes away: when, and in which order, open WebSockets are told, so that their pages do not all come
back at once, and find another gateway before they give up.

The rule: pure arithmetic. Who tells them, and what else ends, is `proxy.dataplane.register`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from proxy.chance import Jitter
from proxy.dataplane.websocket.relay import LINGER_SECONDS

T = TypeVar("T")
_TERMINALS: Final = "/terminals/websocket/"


def in_turn(open_ones: Iterable[tuple[T, str]]) -> list[T]:
    """Of each WebSocket and its request target: the order to tell them in.

    Terminals come last. A kernel's page asks again for as long as it takes; a terminal's gives up after seven tries,
    of which most are made within the first seconds, and those who are told early may find nobody for all of the time
    that this gateway still takes.
    """
    ordered = sorted(open_ones, key=lambda one: _TERMINALS in one[1])
    return [each for each, _ in ordered]


def farewells(count: int, seconds: float, jitter: Jitter) -> list[float]:
    """When to close each of so many WebSockets, in seconds from now and in order: evenly over the grace period of
    `seconds`, each somewhere in its own share of it. The last ones have time left to answer.
    """
    share = max(seconds - LINGER_SECONDS, seconds / 2) / max(count, 1)
    return [(number + jitter(1.0)) * share for number in range(count)]
