"""One connection of the admin listener: its request, read as strictly as the public listener reads, and answered.

The rule: aiohttp's parser, which quotes what it cannot read and logs a traceback for it, gets a head that is made anew:
the method, the path if there is a page at it, and the fields that pages go by. What is no request is refused here, in
words that are always the same. A connection is for one request. It must not know how many connections there are, nor
what pages say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv6Network
from typing import Final, cast

from proxy.client_address.networks import Address
from proxy.dataplane.caller.reader import Reader, ReadingLimits, RequestHead
from proxy.server.operations.admin import MALFORMED, PATHS
from proxy.wire.body import FramingError
from proxy.wire.request_heads import HeadBounds, HeadFault

HEAD_BYTES: Final = 64 * 1024
"""Of one head. Cookies know no ports: browsers bring those of the public listener."""
HEAD_FIELDS: Final = 256

CountedBy = Address | IPv6Network | None
"""What connections are counted by: of IPv6 the /64; None: it is not known."""

# Whoever asks here asks once: nothing is remembered of it.
_LIMITS: Final = ReadingLimits(HeadBounds(HEAD_BYTES, HEAD_FIELDS), fields=0)
_PASSED_ON: Final = ("Host", "Accept")
_NOWHERE: Final = "/"


class AdminConnection(asyncio.Protocol):
    """`make` makes the protocol that answers a request; `on_lost` is told when the connection is over."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        peer: Address | None,
        key: CountedBy,
        *,
        on_lost: Callable[[AdminConnection], None],
    ) -> None:
        self.peer = peer
        self.key = key
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self._make = make
        self._on_lost = on_lost
        self._reader = Reader(_LIMITS)
        self._answering: asyncio.Protocol | None = None
        self._takes_no_more = False

    def abort(self) -> None:
        """Cut it off."""
        if self.task is not None:
            self.task.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None:
            self._answering.connection_lost(exc)
        self._on_lost(self)
        self.abort()

    def data_received(self, data: bytes) -> None:
        # What comes after the request is read and let go: left unread it would cut the answer off.
        if self._takes_no_more:
            return
        try:
            if self._answering is not None:
                self._take_body(self._answering, data)
                return
            self._reader.hold(data)
            head = self._reader.next_head()
            if head is not None:
                self._answer(self._reader.read(head))
        except (HeadFault, FramingError):
            self._takes_no_more = True
            if self._answering is None:
                self._refuse()

    def eof_received(self) -> bool | None:
        return None if self._answering is None else self._answering.eof_received()

    def pause_writing(self) -> None:
        if self._answering is not None:
            self._answering.pause_writing()

    def resume_writing(self) -> None:
        if self._answering is not None:
            self._answering.resume_writing()

    def _answer(self, head: RequestHead) -> None:
        assert self.transport is not None
        self._answering = answering = self._make()
        answering.connection_made(self.transport)
        answering.data_received(_made_anew(head))
        if head.has_body:
            self._take_body(answering, self._reader.take())
        else:
            self._takes_no_more = True

    def _take_body(self, answering: asyncio.Protocol, data: bytes) -> None:
        """No page reads one; but it is answered once its body has come."""
        if part := self._reader.part_of_body(data):
            answering.data_received(bytes(part))
        self._takes_no_more = not self._reader.has_body

    def _refuse(self) -> None:
        assert self.transport is not None
        self.transport.write(MALFORMED)
        self.transport.write_eof()


def _made_anew(head: RequestHead) -> bytes:
    path = _path(head.target)
    lines = [f"{head.method} {path if path in PATHS else _NOWHERE} HTTP/1.{0 if head.is_http_10 else 1}"]
    for name in _PASSED_ON:
        lines += (f"{name}: {value}" for value in head.fields.sent.getall(name, []))
    text = "\r\n".join(lines) + "\r\n"
    return text.encode("utf-8", "surrogateescape") + head.framing + b"\r\n"


def _path(target: str) -> str:
    """Of a target in origin form or absolute form (RFC 9112 section 3.2), without its query."""
    if not target.startswith("/"):
        target = f"/{target.partition('://')[2].partition('/')[2]}"
    return target.partition("?")[0]
