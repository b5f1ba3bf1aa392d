"""What may be sent again, by its method, and what to say where nobody knows whether it was done.

The rule: nothing that a caller is told invites it to repeat what may have been done. Pure.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import NbgateError, OutcomeUnknown, UpstreamTimeout, UpstreamUnreachable

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND"})
"""RFC 9110 section 9.2.2: what may be sent again when the connection broke before an answer."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"})
"""RFC 9110 section 9.2.1, and WebDAV's: what changes nothing, whether it arrived or not."""


def outcome_unknown(error: NbgateError) -> NbgateError:
    """What to answer in the place of an error, if the request may have been done."""
    if not isinstance(error, UpstreamUnreachable | UpstreamTimeout):
        return error
    unknown = OutcomeUnknown(detail=f"{error.code}: {error.detail}")
    unknown.__cause__ = error
    return unknown
