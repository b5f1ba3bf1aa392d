"""One caller's bytes taken apart: heads, bodies, and what is none of them.

The rule: what has come and is not taken yet waits here, and nowhere else. A head is read once it is whole; fields
that this connection sent before to the letter, with another target, are not read again. A body is followed to its end
and never held. Pure: no socket, no clock, no policy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from multidict import MultiMapping

from proxy.memory import Memo, Recurrence
from proxy.wire.body import ChunkedBody, Data, LengthBody
from proxy.wire.heads import RequestFields
from proxy.wire.request_heads import (
    FaultKind,
    FieldTexts,
    HeadBounds,
    HeadFault,
    ReceivedHead,
    RequestField,
    RequestLine,
    own_lines,
    read_numbers,
    read_request,
    too_large,
    without_numbers,
)

if TYPE_CHECKING:
    from proxy.admission.verdict import Admission
    from proxy.dataplane.notebook.translation import ToNotebook

ASKED_BYTES: Final = 8192
"""Of a head that is too large, so much is looked at for what it asks for."""
HEAD_END: Final = b"\r\n\r\n"
REPEATED_HEADS: Final = 4
REPEATED_HEADS_OF_PROXY: Final = 64
REPEATED_HEAD_BYTES: Final = 4096
"""Of one connection, at most so many heads are remembered, of at most so many bytes. A proxy's has many callers."""
REPEATED_LINES: Final = 8
REPEATED_LINE_BYTES: Final = 512
"""Of request lines, so many and so long ones."""
REPEATED_FIELDS_IN_ALL: Final = 2**17
"""Of all connections together, at most so many fields: each takes some 350 bytes, read and translated, and each head of
a proxy's some 2,000 more for its caller."""

_PLAIN_REQUEST_LINE: Final = re.compile(rb"(GET|HEAD|OPTIONS|DELETE) (/[\x21\x22\x24-\x7e]*) HTTP/1\.1")
"""None of these says anything of a body; and a target that begins with its path names no other host."""
_Asked = tuple[str, str, RequestLine]
"""The method and the target of a plain request line as text, and the line as it is read."""
_NO_NUMBERS: Final[tuple[RequestField, ...]] = ()
_TLS_HANDSHAKE: Final = 0x16
_NO_HTTP: Final = ("not HTTP", "a TLS handshake, on a port that speaks plain HTTP")


class ReadingLimits:
    """What all connections of a process read within; `bounds` may be exchanged."""

    __slots__ = ("bounds", "fields")

    def __init__(self, bounds: HeadBounds, *, fields: int = REPEATED_FIELDS_IN_ALL) -> None:
        self.bounds = bounds
        self.fields = fields
        """How many more may be remembered."""


class HeadFields:
    """A request's fields, and what was found out by them, which requests that repeat them share.

    What was admitted knows the fields (`sent`) alone: a circle would wait for the collector, one for each request.
    """

    __slots__ = ("host", "known", "sent", "to_notebook")

    def __init__(self, host: str, sent: RequestFields) -> None:
        self.host = host
        self.sent = sent
        self.known: Admission | None = None
        """That of the last request with these fields."""
        self.to_notebook: ToNotebook | None = None
        """How they reach a notebook."""


class RequestHead:
    """A request, as far as its head says.

    What few heads say has its first value in the class: an instance is then made for little.
    """

    has_body = False
    framing = b""
    """The lines that say anew how the body ends."""
    is_http_10 = False
    is_kept = True
    is_websocket = False
    expects_continue = False
    says_more = False
    """Than what is asked for: about the body, the connection, or who fetches."""
    is_repeated = False
    """An earlier request of the connection had the same fields to the letter, but for the `numbers`."""
    numbers: tuple[RequestField, ...] = ()
    """More fields, by which proxies tell this request from all others."""

    def __init__(self, method: str, target: str, fields: HeadFields) -> None:
        self.method = method
        self.target = target
        self.fields = fields

    @property
    def headers(self) -> MultiMapping[str]:
        """All fields, as text for those who decide by them."""
        if not self.numbers:
            return self.fields.sent
        return FieldTexts((*self.fields.sent.received, *self.numbers))


class Reader:
    """What one connection sends. Belongs to one connection; `limits` to all."""

    __slots__ = (
        "_asked",
        "_heads",
        "_is_proxys",
        "_limits",
        "_lines",
        "_most_repeated",
        "_repeated",
        "_scanned",
        "_taken",
        "body",
        "inbox",
    )

    def __init__(self, limits: ReadingLimits, *, is_proxys: bool = False) -> None:
        """`is_proxys`: a trusted proxy's, so of many callers, whose requests it may number."""
        self._is_proxys = is_proxys
        self.inbox = bytearray()
        """What has come and was not taken."""
        self._scanned = 0
        self.body: LengthBody | ChunkedBody | None = None
        """What of it is still to come, of the request whose head was read last."""
        self._most_repeated = REPEATED_HEADS_OF_PROXY if is_proxys else REPEATED_HEADS
        self._repeated: dict[bytes, HeadFields] = {}
        self._limits = limits
        self._lines = own_lines()
        self._asked = Memo[bytes, _Asked](REPEATED_LINES)
        self._taken = 0
        self._heads = Recurrence(REPEATED_HEADS)

    # -- what waits -------------------------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """What has come and was not taken."""
        return len(self.inbox)

    def hold(self, data: Data) -> None:
        """Keep what has come behind what waits."""
        self.inbox += data

    def take(self) -> bytes:
        """All that waits."""
        data = bytes(self.inbox)
        self.inbox.clear()
        self._scanned = 0
        return data

    # -- bodies -----------------------------------------------------------------------------------------

    @property
    def has_body(self) -> bool:
        """Something of the body is still to come, of the request whose head was read last."""
        return self.body is not None

    def part_of_body(self, data: Data) -> Data:
        """What of `data` is the body's and may pass on.

        What is left of `data` waits: the next request if the body has ended, else more than a bound of work. Raises
        FramingError; nothing more can be read then.
        """
        body = self.body
        assert body is not None
        part, rest = body.feed(data)
        if body.done:
            self.body = None
        if rest:
            self.inbox[:0] = rest
        return part

    def stop(self) -> None:
        """Forget what waits, and where a body would end."""
        self.body = None
        self.inbox.clear()

    # -- heads ------------------------------------------------------------------------------------------

    def whole_head(self, data: bytes) -> bool:
        """Whether `data`, which comes while nothing waits, is one head and nothing else."""
        return (
            not self.inbox
            and data.endswith(HEAD_END)
            and data.find(HEAD_END) == len(data) - 4
            and data[0] not in b"\r\n"
        )

    def next_head(self) -> bytes | None:
        """The next head, whole, out of what waits; None where it is not there yet.

        Raises HeadFault as soon as what has come can be none, or is too large for one.
        """
        inbox = self.inbox
        if not self._scanned:
            if inbox and inbox[0] in b"\r\n":
                # RFC 9112 section 2.2: empty lines before a request are ignored.
                del inbox[: len(inbox) - len(inbox.lstrip(b"\r\n"))]
            if not inbox:
                return None
            if not (0x41 <= inbox[0] <= 0x5A):
                # No method begins like this: a TLS handshake, mostly. Waiting for more would help nobody.
                raise HeadFault(_NO_HTTP[inbox[0] == _TLS_HANDSHAKE], FaultKind.NO_HTTP)
        end = inbox.find(HEAD_END, max(0, self._scanned - 3)) + 4
        if end == 3:
            self._scanned = len(inbox)
            if self._scanned > self._limits.bounds.head_bytes:
                raise too_large(bytes(inbox[:ASKED_BYTES]))
            return None
        head = bytes(inbox[:end])
        del inbox[:end]
        self._scanned = 0
        return head

    @property
    def has_begun(self) -> bool:
        """Part of a head has been looked at."""
        return self._scanned > 0

    def read(self, head: bytes) -> RequestHead:
        """Read a whole head. Raises HeadFault."""
        line, _, lines = head.partition(b"\r\n")
        known, numbers = self._repeated.get(lines), _NO_NUMBERS
        if known is None and self._is_proxys:
            # Proxies number requests.
            lines, known, numbers = self._numbered(lines)
        asked = self._asked.get(line) or self._read_line(line)
        if known is not None and asked is not None and len(head) <= self._limits.bounds.head_bytes:
            repeated = RequestHead(asked[0], asked[1], known)
            repeated.is_repeated = True
            if numbers:
                repeated.numbers = numbers
            return repeated
        read = read_request(head, self._limits.bounds, self._lines, asked=None if asked is None else asked[2])
        is_plain = not read.says_more and len(lines) <= REPEATED_HEAD_BYTES
        if is_plain and self._is_proxys:
            read.set_numbers_apart()
        fields = HeadFields(read.host, RequestFields(read.received))
        if asked is None:
            told = RequestHead(read.method.decode("ascii"), read.target.decode("ascii"), fields)
        else:
            told = RequestHead(asked[0], asked[1], fields)
        if read.says_more:
            told.says_more = True
            self.body = _body(read)
            told.has_body = self.body is not None
            told.framing = _framing(read)
            told.is_http_10 = read.is_http_10
            told.is_kept = read.is_kept
            told.is_websocket = read.is_websocket
            told.expects_continue = read.expects_continue
        elif is_plain and known is None:
            self._remember(lines, fields)
        if read.numbers:
            told.numbers = read.numbers
        return told

    def _read_line(self, line: bytes) -> _Asked | None:
        """What a plain request line asks for."""
        plain = _PLAIN_REQUEST_LINE.fullmatch(line)
        if plain is None:
            return None
        method, target = plain.groups()
        asked = method.decode("ascii"), target.decode("ascii"), (method, target, False)
        return self._asked.keep(line, asked) if len(line) <= REPEATED_LINE_BYTES else asked

    def _numbered(self, lines: bytes) -> tuple[bytes, HeadFields | None, tuple[RequestField, ...]]:
        """Lines that did not come before: perhaps the others did, but for those that number the request."""
        others, written = without_numbers(lines)
        known = self._repeated.get(others) if written else None
        if known is None or len(written) + len(known.sent.received) > self._limits.bounds.fields:
            return others, None, _NO_NUMBERS
        numbers = read_numbers(written)
        # What is malformed is refused where the whole head is read.
        return (others, None, _NO_NUMBERS) if numbers is None else (others, known, numbers)

    def _remember(self, lines: bytes, fields: HeadFields) -> None:
        if not self._is_proxys and not self._heads.comes_again(lines):
            return
        repeated = self._repeated
        more = len(fields.sent.received)
        if len(repeated) >= self._most_repeated:
            more -= len(repeated.pop(next(iter(repeated))).sent.received)
        if more <= self._limits.fields:
            repeated[lines] = fields
        else:
            more -= len(fields.sent.received)
        self._limits.fields -= more
        self._taken += more

    def forget(self) -> None:
        """Make room for others; for a connection that has ended, too."""
        self._repeated.clear()
        self._lines.clear()
        self._asked.clear()
        self._limits.fields += self._taken
        self._taken = 0


def _body(read: ReceivedHead) -> LengthBody | ChunkedBody | None:
    if read.is_chunked:
        return ChunkedBody()
    return LengthBody(read.content_length) if read.content_length else None


def _framing(read: ReceivedHead) -> bytes:
    if read.is_chunked:
        return b"Transfer-Encoding: chunked\r\n"
    # Said again even where it is 0: some servers insist on it for POST.
    return b"" if read.content_length is None else b"Content-Length: %d\r\n" % read.content_length
