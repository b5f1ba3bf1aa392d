"""Heads that a connection repeats: browsers and programs mostly send the same fields again, with another target.

The rule: what was read by aiohttp's parser once need not be read again if it comes again to the letter. Only fields are
remembered that announce neither a body nor an upgrade, and that keep the connection; and only request lines are taken
that leave nothing to a parser. Everything else goes to the parser. Decides about nothing: each request is admitted.
What the same fields told of the caller stands with them, for behind a proxy a connection has many callers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import hdrs

from proxy.wire.heads import RequestFields

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from proxy.dataplane.link import Way
    from proxy.gateway import Caller

_PLAIN_REQUEST_LINE: Final = re.compile(rb"(GET|HEAD|OPTIONS|DELETE) (/[\x21\x22\x24-\x7e]*) HTTP/1\.1")
"""None of these says anything of a body; and a target that begins with its path names no other host."""
HEADS: Final = 4
HEADS_OF_PROXY: Final = 64
HEAD_BYTES: Final = 4096
"""Of one connection, at most so many heads, of at most so many bytes. A proxy's has many callers."""
FIELDS_IN_ALL: Final = 2**17
"""Of all connections together, at most so many fields: each takes some 350 bytes, read and translated, and each head of
a proxy's some 2,000 more for its caller."""


class Room:
    """What all connections of a process may still remember together."""

    __slots__ = ("fields",)

    def __init__(self, fields: int = FIELDS_IN_ALL) -> None:
        self.fields = fields


class KnownFields(NamedTuple):
    """A request's fields, as the parser read them and as they travel on; whose they are, and by which way they went."""

    headers: CIMultiDictProxy[str]
    host: str
    fields: RequestFields
    caller: Caller
    way: Way


class KnownHeads:
    """What one connection sent before: `most` heads, of which the oldest makes room for a new one."""

    __slots__ = ("_by_lines", "_most", "_room", "_taken")

    def __init__(self, room: Room, *, most: int = HEADS) -> None:
        self._by_lines: dict[bytes, KnownFields] = {}
        self._room = room
        self._most = most
        self._taken = 0

    def __len__(self) -> int:
        return len(self._by_lines)

    def find(self, head: bytes) -> tuple[str, str, KnownFields] | None:
        """The method, the target and the fields of a whole head, if it needs no parser."""
        line, _, lines = head.partition(b"\r\n")
        known = self._by_lines.get(lines)
        if known is None:
            return None
        plain = _PLAIN_REQUEST_LINE.fullmatch(line)
        if plain is None:
            return None
        method, target = plain.groups()
        return method.decode("ascii"), target.decode("ascii"), known

    def remember(self, head: bytes, known: KnownFields) -> None:
        """Keep the fields of a head that was read, whose connection is kept and which has no body."""
        lines = head.partition(b"\r\n")[2]
        headers = known.headers
        if len(lines) > HEAD_BYTES or hdrs.CONTENT_LENGTH in headers or hdrs.UPGRADE in headers:
            return
        if len(self._by_lines) >= self._most:
            oldest = self._by_lines.pop(next(iter(self._by_lines)))
            self._give(len(oldest.headers))
        if len(headers) <= self._room.fields:
            self._give(-len(headers))
            self._by_lines[lines] = known

    def forget(self) -> None:
        """Make room for others; for a connection that has ended, too."""
        self._by_lines.clear()
        self._give(self._taken)

    def _give(self, fields: int) -> None:
        """Room for so many to the others, who take less than none."""
        self._room.fields += fields
        self._taken -= fields
