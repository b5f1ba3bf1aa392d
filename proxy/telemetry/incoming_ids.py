"""What trusted proxies call a request, so that their log's line is found beside the gateway's.

    traceparent       W3C Trace Context       -> "traceparent"
    X-Amzn-Trace-Id   load balancers of AWS   -> "amzn_trace_id"
    X-Request-Id      most others             -> "proxy_request_id"

The rule: an id is logged as it came or not at all. Whoever asks has made sure that a trusted proxy sent the fields; it
may have passed on what its own caller wrote, so that length and characters are checked all the same, and what looks
like a credential is none.
"""

from __future__ import annotations

import re
from typing import Final

from multidict import MultiMapping

from proxy.telemetry.redact import may_hold_secrets, scrub

MAX_CHARACTERS: Final = 128

IncomingIds = tuple[tuple[str, str], ...]
"""Names as the log has them, and values."""

_FIELDS: Final = (
    ("traceparent", "traceparent"),
    ("X-Amzn-Trace-Id", "amzn_trace_id"),
    ("X-Request-Id", "proxy_request_id"),
)
_ID: Final = re.compile(rf"[A-Za-z0-9._:;=,/+@-]{{1,{MAX_CHARACTERS}}}")


def incoming_ids(headers: MultiMapping[str]) -> IncomingIds:
    """Those that a request bears, each once and well-formed. Never raises."""
    found = []
    for field, name in _FIELDS:
        if field in headers:
            values = headers.getall(field)
            if len(values) == 1 and _ID.fullmatch(values[0]) and not _is_secret(values[0]):
                found.append((name, values[0]))
    return tuple(found)


def _is_secret(text: str) -> bool:
    return may_hold_secrets(text) and scrub(text) != text
