"""What the data plane asks of the server around it: how errors look to a caller."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission
from proxy.errors import NbgateError

REASONS: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


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


def message_of(status: int, page: Page, *, keep_alive: bool, without_body: bool) -> bytes:
    """An answer as it is sent; `without_body` to a HEAD request (RFC 9110 section 9.3.2)."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, REASONS[status])]
    lines += [f"{name}: {value}\r\n".encode("latin-1") for name, value in page.headers]
    lines.append(b"Content-Length: %d\r\n" % len(page.body))
    lines.append(b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")
    if not without_body:
        lines.append(page.body)
    return b"".join(lines)
