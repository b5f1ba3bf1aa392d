"""Heads of responses as the notebook's side sent them: read strictly, and what body they declare.

The rule: what violates HTTP, or contradicts itself, is an error and never guessed at. Knows no sockets, and nothing of
what a response means.
"""

from __future__ import annotations

from proxy.errors import TooManyFields, UpstreamInvalid
from proxy.wire.body import MAX_LENGTH_DIGITS, Body, FramingError, LengthBody, response_body
from proxy.wire.heads import ResponseFacts, has_too_many_fields


def fault_of(head: bytes) -> UpstreamInvalid:
    """Why `read_response` did not read a whole head."""
    if has_too_many_fields(head):
        return TooManyFields()
    return UpstreamInvalid(detail="response head: malformed")


def declared_body(facts: ResponseFacts, method: str) -> Body | None:
    """The body that a response's fields declare. Raises FramingError where they contradict each other."""
    if facts.repeats_length:
        raise FramingError("several content lengths")
    length = facts.content_length
    if (
        length is not None
        and facts.transfer_encoding is None
        and facts.status == 200
        and method != "HEAD"
        and length.isdigit()
        and len(length) <= MAX_LENGTH_DIGITS
    ):
        # As of most answers.
        return LengthBody(int(length)) if int(length) else None
    if facts.transfer_encoding is not None and not facts.is_chunked:
        raise FramingError("an unknown transfer coding")
    return response_body(
        method=method,
        status=facts.status,
        content_length=facts.content_length,
        chunked=facts.is_chunked,
    )
