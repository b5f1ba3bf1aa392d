"""Who calls an operation: nobody in particular, or whose access key signed the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from proxy.server.own_pages import OwnVisit


@dataclass(frozen=True, slots=True)
class Principal:
    """Who signed; `user` is the policy's aws:username, None where nobody did. `instances`: the only ones, if any."""

    user: str | None = None
    instances: frozenset[str] | None = None

    def reaches(self, instance: str) -> bool:
        return self.instances is None or instance in self.instances


ANYBODY: Final = Principal()

Identify = Callable[[OwnVisit, str, bytes], Awaitable[Principal]]
"""Who makes a call of an operation with that body. Raises AwsFault, after it was audited."""


async def unsigned(_visit: OwnVisit, _operation: str, _body: bytes) -> Principal:
    """Signatures are neither asked for nor looked at."""
    return ANYBODY
