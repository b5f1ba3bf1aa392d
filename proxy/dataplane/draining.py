"""How a gateway goes away: when each open WebSocket is told, so that their pages do not all come back at once.

The rule: pure arithmetic. Who tells them, and what else ends, is `proxy.dataplane.plane`'s.
"""

from __future__ import annotations

from proxy.chance import Jitter
from proxy.dataplane.relay import LINGER_SECONDS


def farewells(count: int, seconds: float, jitter: Jitter) -> list[float]:
    """When to close each of so many WebSockets, in seconds from now and in order: evenly over the grace period of
    `seconds`, each somewhere in its own share of it. The last ones have time left to answer.
    """
    share = max(seconds - LINGER_SECONDS, seconds / 2) / max(count, 1)
    return [(number + jitter(1.0)) * share for number in range(count)]
