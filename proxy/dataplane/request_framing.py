"""What a request's head says of its body and of its connection (RFC 9112 sections 6 and 9).

The rule: one strict reading, on top of what aiohttp's parser let pass; what could be read in two ways is a
FramingError. Knows no connection.
"""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import HttpVersion10, HttpVersion11, hdrs
from aiohttp.http_parser import RawRequestMessage

from proxy.wire.body import ChunkedBody, FramingError, LengthBody, request_body


class RequestFraming(NamedTuple):
    """`body` is None where none follows; `is_kept`: another request may follow on the connection."""

    body: LengthBody | ChunkedBody | None
    is_http_10: bool
    is_upgrade: bool
    is_kept: bool


def request_framing(message: RawRequestMessage) -> RequestFraming:
    """Read it off a parsed head. Raises FramingError."""
    headers = message.headers
    is_http_10 = is_upgrade = False
    is_kept = not message.should_close
    if message.version is not HttpVersion11:
        if message.version != HttpVersion10:
            raise FramingError("not HTTP/1")
        is_http_10 = True
        is_kept = False
    coding = headers.get(hdrs.TRANSFER_ENCODING)
    if coding is not None and (is_http_10 or not message.chunked or coding.lower() != "chunked"):
        raise FramingError("a transfer coding that is not chunked, or in HTTP/1.0")
    length = headers.get(hdrs.CONTENT_LENGTH)
    body = None
    if length is not None or message.chunked:
        body = request_body(content_length=length, chunked=message.chunked)
    if (upgrade := headers.get(hdrs.UPGRADE)) is not None:
        is_upgrade = message.upgrade and upgrade.lower() == "websocket" and not is_http_10
        if is_upgrade:
            # What is pipelined behind an upgrade that is refused may be anything but a request.
            is_kept = False
            if body is not None:
                raise FramingError("a WebSocket handshake with a body")
    return RequestFraming(body, is_http_10, is_upgrade, is_kept)


def framing_lines(message: RawRequestMessage) -> bytes:
    """How the body ends, said anew towards the notebook: whole field lines, or nothing."""
    if message.chunked:
        return b"Transfer-Encoding: chunked\r\n"
    if (length := message.headers.get(hdrs.CONTENT_LENGTH)) is not None:
        # Said again even where it is 0: some servers insist on it for POST.
        return b"Content-Length: %d\r\n" % int(length)
    return b""
