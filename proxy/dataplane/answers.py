"""What the data plane asks of the server around it: how errors look, and where finished requests are recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aiohttp.http_parser import RawRequestMessage

from proxy.client_address.networks import Address
from proxy.errors import NbgateError


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the gateway's own."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


class Render(Protocol):
    """How errors look to a caller. `message` is None where the request could not be read."""

    def __call__(
        self,
        error: NbgateError,
        message: RawRequestMessage | None,
        *,
        request_id: str,
        client: Address | None,
    ) -> Page: ...


@dataclass(slots=True)
class RequestRecord:
    """What is known of a request, or of a WebSocket, when it is over. See `proxy.telemetry.access_log`."""

    request_id: str
    client: Address | None
    peer: Address | None
    instance: str
    method: str
    target: str
    host: str
    status: int
    bytes_in: int
    bytes_out: int
    started_at: float
    allowed: bool | None
    error: str = ""
    close_code: int = 0
