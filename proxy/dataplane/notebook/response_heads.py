"""Heads of responses as the notebook's side sent them: read strictly, and what body they declare.

The rule: what violates HTTP, or contradicts itself, is an error and never guessed at. Knows no sockets, and nothing of
what a response means.
"""

from __future__ import annotations

from proxy.errors import TooManyFields, UpstreamInvalid
from proxy.wire.body import MAX_LENGTH_DIGITS, Body, FramingError, LengthBody, response_body
from proxy.wire.heads import ResponseFacts, has_too_many_fields, read_response


def parse_response_head(head: bytes) -> ResponseFacts:
    """Read one whole response head, its blank line included. Raises UpstreamInvalid."""
    facts = read_response(head)
    if facts is None:
        raise (
            TooManyFields()
            if has_too_many_fields(head)
            else UpstreamInvalid(detail="response head: malformed")
        )
    return facts


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
