"""What the data plane asks of the server around it: how errors look to a caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.errors import NbgateError
from proxy.gateway import Admission, Inbound


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the gateway's own."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int = 0
    """0: that of the error."""


class Render(Protocol):
    """How errors look to a caller. `inbound` is None where the request could not be read, `admission` where it was
    not admitted; `port` is the listener's; `json_only` is for who never wants a page.
    """

    def __call__(
        self,
        error: NbgateError,
        inbound: Inbound | None,
        *,
        request_id: str,
        client: str | None,
        admission: Admission | None,
        port: int,
        json_only: bool = False,
    ) -> Page: ...
