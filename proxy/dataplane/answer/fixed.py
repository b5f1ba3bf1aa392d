"""Answers in the gateway's own words: errors and redirects, whole from the beginning.

The rule: nothing of them waits, streams or can fail. How an error looks to a caller is asked of the server around the
data plane (`Render`).
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission
from proxy.errors import NbgateError

REASONS: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class FixedAnswer:
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
    ) -> FixedAnswer: ...


def message_of(status: int, answer: FixedAnswer, *, keep_alive: bool, without_body: bool) -> bytes:
    """An answer as it is sent; `without_body` to a HEAD request (RFC 9110 section 9.3.2)."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, REASONS[status])]
    lines += [f"{name}: {value}\r\n".encode("latin-1") for name, value in answer.headers]
    lines.append(b"Content-Length: %d\r\n" % len(answer.body))
    lines.append(b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")
    if not without_body:
        lines.append(answer.body)
    return b"".join(lines)
