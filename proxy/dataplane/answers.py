"""What the data plane asks of the server around it: how errors look to a caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.errors import NbgateError
from proxy.gateway import Inbound


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the gateway's own."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


class Render(Protocol):
    """How errors look to a caller. `inbound` is None where the request could not be read."""

    def __call__(
        self,
        error: NbgateError,
        inbound: Inbound | None,
        *,
        request_id: str,
        client: str | None,
    ) -> Page: ...
