"""How requests and WebSockets ended that no limit and no error of a response's own ended: the codes in their records.

The rule: each has one code, written here. Limits have theirs in `proxy.dataplane.bounds`, errors in `proxy.errors`.
"""

from __future__ import annotations

from typing import Final

from proxy.dataplane.bounds import RESPONSE_LATE, SEND_LATE
from proxy.errors import BodyTimeout

CALLER_GONE: Final = "CALLER_GONE"
"""The caller left before its answer was complete, or never closed its WebSocket."""
RESPONSE_CUT: Final = "RESPONSE_CUT"
"""A response began and was not finished: the notebook's fault, or its caller may have it no longer."""
CUT: Final = frozenset({RESPONSE_CUT, SEND_LATE.code, RESPONSE_LATE.code, BodyTimeout.code})
"""It, and those of responses that a timeout cut."""

FRAME_MALFORMED: Final = "FRAME_MALFORMED"
UPSTREAM_FRAME_MALFORMED: Final = "UPSTREAM_FRAME_MALFORMED"
"""A frame of the caller's, or of the notebook's, ended the WebSocket."""
UPSTREAM_GONE: Final = "UPSTREAM_GONE"
"""The notebook's connection ended, and nobody had closed the WebSocket (RFC 6455's 1006)."""
LEADS_ELSEWHERE: Final = "LEADS_ELSEWHERE"
"""The WebSocket's address leads to another notebook, or elsewhere, now."""
