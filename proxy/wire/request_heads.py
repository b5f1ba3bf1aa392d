"""A request's head as it comes in, read strictly once: RFC 9112 sections 2 to 6, and nothing of what they tolerate.

`GET /lab HTTP/1.1`, field lines, an empty line, each ended by CRLF. The rule: what two readers could take in two ways
is a HeadFault, because a notebook's server, or a proxy in front of us, may be the second one. So there is no bare CR or
LF, no folded line, no space before a colon, no second `Host` and no length beside a transfer coding. A line that was
read before is looked up, whatever stands around it. Knows no sockets, no mounts and no policy.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, Sequence, ValuesView
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from multidict import CIMultiDict, MultiMapping, istr

from proxy.memory import Memo, RecurringMemo
from proxy.wire.fields import REQUEST_RULES, Rule, may_be_secret

METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY "
    b"OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK "
    b"UNLOCK UNSUBSCRIBE".split()
)
"""IANA's "HTTP Method Registry" in the main, as llhttp knows it. Which of them are forwarded is decided elsewhere."""

SINGLETONS: Final = frozenset(
    b"content-length content-location content-range content-type etag expect host max-forwards server "
    b"transfer-encoding user-agent".split()
)
"""Fields that are one value, no list (RFC 9110 section 5.3), and that readers of messages decide by. Who decides by
others (`Origin`, `Authorization`, `Sec-WebSocket-Version`) looks at each of their lines, and refuses in its own words.
`Cookie` is not among them: proxies that speak HTTP/2 split it (RFC 9113 section 8.2.3)."""

MAX_LENGTH_DIGITS: Final = 18
"""Of a Content-Length. More may overflow another reader: some take 2^64-1 for "no body"."""

_LINES_REMEMBERED: Final = 4096
_LINE_BYTES_REMEMBERED: Final = 256
_NAMES_REMEMBERED: Final = 1024
_NAME_BYTES_REMEMBERED: Final = 64

# RFC 9112 section 3, and printable characters that browsers leave alone in targets (`|`, `"`, `^` …). No `#`, which
# belongs to the browser, and no byte above 0x7E, which readers decode in different ways.
_REQUEST_LINE: Final = re.compile(
    rb"([A-Z-]{3,16}) (\*|(?:/|[Hh][Tt][Tt][Pp][Ss]?://)[\x21\x22\x24-\x7e]*) HTTP/1\.([01])"
)
# Of a head that is not read: as much of it as a log tells.
_ASKED: Final = re.compile(rb"([A-Z-]{3,16}) (\*|(?:/|[Hh][Tt][Tt][Pp][Ss]?://)[\x21\x22\x24-\x7e]{0,4096})")
# RFC 9110 sections 5.1 and 5.5.
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_DIGITS: Final = re.compile(rb"[0-9]{1,%d}" % MAX_LENGTH_DIGITS)

NUMBERS: Final = frozenset(
    b"cf-ray traceparent tracestate x-amzn-trace-id x-b3-parentspanid x-b3-spanid x-b3-traceid x-cloud-trace-context "
    b"x-correlation-id x-request-id".split()
)
"""What proxies number requests with. Nothing but a log's line is decided by them."""
# Between two line ends, so that what is left is well-formed exactly where the whole was.
_NUMBER_LINE: Final = re.compile(rb"\n((?i:%b):[^\r\n]*)\r(?=\n)" % b"|".join(sorted(NUMBERS)))

# Of lines that may hold a credential: they are never remembered beyond their own connection.
_OWN_LINES: Final = 8
_OWN_LINE_BYTES: Final = 2048

# What a line means for the reading of its head, a bit each. 0 is the common case.
_CONNECTION: Final = 1 << 0
_UPGRADE: Final = 1 << 1
_HOST: Final = 1 << 2
_LENGTH: Final = 1 << 3
_CODING: Final = 1 << 4
_EXPECT: Final = 1 << 5
_MEANINGS: Final = {
    b"connection": _CONNECTION,
    b"upgrade": _UPGRADE,
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"expect": _EXPECT,
}
_BITS: Final = _MEANINGS | {
    name: 1 << place for place, name in enumerate(sorted(SINGLETONS - _MEANINGS.keys()), start=len(_MEANINGS))
}
_WORKER: Final = 1 << len(_BITS)
_BITS[b"service-worker"] = _WORKER
_MAY_REPEAT: Final = _CONNECTION | _UPGRADE | _WORKER
_SAYS_MORE: Final = _CONNECTION | _UPGRADE | _LENGTH | _CODING | _EXPECT | _WORKER

_NOTHING: Final = object()

RequestField = tuple[int, Rule, bytes, bytes, bytes, tuple[str, str]]
"""A field of a request: what it means for the reading of its head; what becomes of it towards the notebook; its name
and value as they came; the line that it travels on where it passes as it is; and name and value as text, in which bytes
that are no UTF-8 are surrogates.
"""


def request_field(name: bytes, value: bytes) -> RequestField:
    """A field as it came."""
    return _field(_name(name), value)


_Name = tuple[int, Rule, bytes, istr, bool]
"""What a field's name says of it: what the field means for the reading of its head, what becomes of it towards the
notebook, the name as it is spelled, the same as text, and whether the field may hold a secret."""


def _field(name: _Name, value: bytes) -> RequestField:
    bit, rule, spelled, text, _ = name
    sent = b"" if rule else b"%b: %b\r\n" % (spelled, value)
    return bit, rule, spelled, value, sent, (text, value.decode("utf-8", "surrogateescape"))


class FieldTexts(MultiMapping[str]):
    """A request's fields as text, for those who decide by them.

    Most requests are decided about by none of their fields, so the text is put in order when somebody asks.
    """

    __slots__ = ("_texts", "received")

    def __init__(self, received: Sequence[RequestField]) -> None:
        self.received = received
        self._texts: CIMultiDict[str] | None = None

    @property
    def texts(self) -> CIMultiDict[str]:
        """All of them, in the order in which they came."""
        if self._texts is None:
            self._texts = CIMultiDict([field[5] for field in self.received])
        return self._texts

    def __getitem__(self, name: str) -> str:
        return self.texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def items(self) -> ItemsView[str, str]:
        return self.texts.items()

    def values(self) -> ValuesView[str]:
        return self.texts.values()

    def getone(self, key: str, default: Any = _NOTHING) -> Any:
        return self.texts.getone(key) if default is _NOTHING else self.texts.getone(key, default)

    def getall(self, key: str, default: Any = _NOTHING) -> Any:
        return self.texts.getall(key) if default is _NOTHING else self.texts.getall(key, default)


class FaultKind(Enum):
    """What kind of fault a head has."""

    MALFORMED = "malformed"
    TOO_LARGE = "too large"
    """It may be well formed, as may the next: the bound that is met is ours."""
    TOO_MANY_FIELDS = "too many fields"
    NO_HTTP = "no HTTP"
    """Its first byte says so."""


class HeadFault(Exception):
    """A head that is not read. The message says why, and holds none of its bytes."""

    def __init__(self, reason: str, fault: FaultKind = FaultKind.MALFORMED) -> None:
        super().__init__(reason)
        self.fault = fault
        self.request: tuple[bytes, bytes] | None = None
        """The method and the target (the beginning of a long one), where the request line could be read."""


@dataclass(frozen=True, slots=True)
class HeadBounds:
    """How much of a head is read. One line may be all of it: browsers send all cookies in one."""

    head_bytes: int
    fields: int


class ReceivedHead:
    """A request's head, read. Names and values are what came, without the blanks around a value.

    What few heads say has its first value in the class: an instance is then made for little.
    """

    received: list[RequestField]
    numbers: tuple[RequestField, ...] = ()
    """Those that `set_numbers_apart` took out of them."""
    host = ""
    content_length: int | None = None
    is_chunked = False
    is_websocket = False
    expects_continue = False

    def __init__(self, method: bytes, target: bytes, *, is_http_10: bool) -> None:
        self.method = method
        self.target = target
        self.is_http_10 = is_http_10
        self.is_kept = not is_http_10
        """Whether another request may follow on the connection, as far as this one says. Never in HTTP/1.0."""
        self.says_more = is_http_10
        """Whether something of it is about more than what is asked for: its body, the connection, or who fetches."""

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they came."""
        return [field[2:4] for field in self.received]

    @property
    def texts(self) -> list[tuple[str, str]]:
        """The fields again; bytes that are no UTF-8 are surrogates."""
        return [field[5] for field in self.received]

    @property
    def has_body(self) -> bool:
        """Whether any byte of a body follows."""
        return self.is_chunked or bool(self.content_length)

    def set_numbers_apart(self) -> None:
        """Keep the fields that number the request beside the others."""
        numbers = [field for field in self.received if field[2].lower() in NUMBERS]
        if numbers:
            self.numbers = tuple(numbers)
            self.received = [field for field in self.received if field[2].lower() not in NUMBERS]


_LINES: Final = RecurringMemo[bytes, RequestField](_LINES_REMEMBERED)
"""Field lines that were read, of all connections."""


def own_lines() -> Memo[bytes, RequestField]:
    """Field lines of one connection, which is all that may remember them."""
    return Memo(_OWN_LINES)


_NAMES: Final = Memo[bytes, _Name](_NAMES_REMEMBERED)
"""Names of fields, as they are spelled."""


def _name(spelled: bytes) -> _Name:
    """What the name of a field says. Raises HeadFault for one that is none, and for what nobody has a use for."""
    if _TOKEN.fullmatch(spelled) is None:
        raise HeadFault("a line is no field")
    lower = spelled.lower()
    if lower == b"sec-websocket-key1":
        # Of a handshake before RFC 6455, which eight bytes follow that nothing announces.
        raise HeadFault("an obsolete WebSocket handshake")
    text = istr(spelled.decode("ascii"))
    return (
        _BITS.get(lower, 0),
        REQUEST_RULES[spelled],
        spelled,
        text,
        may_be_secret(lower),
    )


def _read_line(line: bytes, own: Memo[bytes, RequestField]) -> RequestField:
    """Read a line that is not remembered for all connections; `own` are those of one."""
    known = own.get(line)
    if known is not None:
        return known
    spelled, colon, rest = line.partition(b":")
    name = _NAMES.get(spelled)
    if name is None:
        name = _name(spelled)
        if len(spelled) <= _NAME_BYTES_REMEMBERED:
            _NAMES.keep(spelled, name)
    if not colon or _VALUE.fullmatch(rest) is None:
        raise HeadFault("a line is no field")
    bit, value = name[0], rest.strip(b"\t ")
    if bit & (_LENGTH | _CODING) and b"\t" in rest:
        # Blanks by RFC 9112 section 5; of these two fields, many readers take spaces alone.
        raise HeadFault("a tab stands beside what frames the body")
    read = _field(name, value)
    if bit == _CONNECTION and value.lower() == b"keep-alive":
        read = (0, *read[1:])  # as it is said anyway
    if name[4]:
        if len(line) <= _OWN_LINE_BYTES:
            own.keep(line, read)
    elif len(line) <= _LINE_BYTES_REMEMBERED:
        _LINES.keep(line, read)
    return read


def read_request(
    head: bytes,
    bounds: HeadBounds,
    own: Memo[bytes, RequestField] | None = None,
    *,
    asked: RequestLine | None = None,
) -> ReceivedHead:
    """Read a whole head, its empty line included.

    `own` are the lines that are remembered for this connection alone, and `asked` is what its request line says where
    that is known. Raises HeadFault. The bounds come first, so that a head above them is too large whatever else it is.
    """
    lines = head[:-4].split(b"\r\n")
    first = lines.pop(0)
    if len(head) > bounds.head_bytes:
        raise too_large(first)
    if len(lines) > bounds.fields:
        raise _above("the head has too many fields", FaultKind.TOO_MANY_FIELDS, first)
    method, target, is_http_10 = asked or read_request_line(first)
    read = ReceivedHead(method, target, is_http_10=is_http_10)
    try:
        known = _LINES.get
        remembered = own_lines() if own is None else own
        read.received = found = [known(line) or _read_line(line, remembered) for line in lines]
        _read_meanings(read, [field for field in found if field[0]])
    except HeadFault as fault:
        fault.request = method, target
        raise
    return read


RequestLine = tuple[bytes, bytes, bool]
"""The method, the target, and whether it is HTTP/1.0's."""


def read_request_line(line: bytes) -> RequestLine:
    """Read a request line, its end not included. Raises HeadFault."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise HeadFault("the request line is malformed")
    method, target, minor = match.groups()
    if method not in METHODS:
        raise HeadFault("the method is not known")
    return method, target, minor == b"0"


def without_numbers(lines: bytes) -> tuple[bytes, list[bytes]]:
    """A head's field lines but for those that number the request, which may come again to the letter; and those."""
    rest, *numbers = _NUMBER_LINE.split(b"\n" + lines)
    if not numbers:
        return lines, numbers
    return (rest + b"".join(numbers[1::2]))[1:], numbers[::2]


def read_numbers(lines: list[bytes]) -> tuple[RequestField, ...] | None:
    """Those lines, read as in a whole head; None where one is malformed."""
    try:
        return tuple([_LINES.get(line) or _read_line(line, own_lines()) for line in lines])
    except HeadFault:
        return None


def too_large(start: bytes) -> HeadFault:
    """What is raised for a head above the bound that begins like this."""
    return _above("the head is too large", FaultKind.TOO_LARGE, start)


def _above(reason: str, fault: FaultKind, start: bytes) -> HeadFault:
    above = HeadFault(reason, fault)
    match = _ASKED.match(start)
    if match is not None and match[1] in METHODS:
        above.request = match[1], match[2]
    return above


def _read_meanings(read: ReceivedHead, fields: list[RequestField]) -> None:
    """What the fields say of the head that mean something for its reading."""
    if len(fields) == 1 and fields[0][0] == _HOST:
        read.host = fields[0][5][1]
        return
    seen = 0
    connection: list[bytes] = []
    coding = upgrade = None
    for field in fields:
        bit, value = field[0], field[3]
        if bit & seen and not bit & _MAY_REPEAT:
            raise HeadFault("a field that is one value stands there twice")
        seen |= bit
        if bit == _HOST:
            read.host = field[5][1]
        elif bit == _CONNECTION:
            connection.append(value)
        elif bit == _UPGRADE:
            # Who offers two protocols asks for no WebSocket.
            upgrade = value if upgrade is None else b""
        elif bit == _LENGTH:
            if not _DIGITS.fullmatch(value):
                raise HeadFault("the content length is not a number")
            read.content_length = int(value)
        elif bit == _CODING:
            coding = value
        elif bit == _EXPECT:
            if value.lower() != b"100-continue":
                raise HeadFault("nothing else than 100-continue can be expected")
            # RFC 9110 section 10.1.1: from HTTP/1.0 it is ignored.
            read.expects_continue = not read.is_http_10
    if seen & _SAYS_MORE:
        read.says_more = True
    if not seen & _HOST and not read.is_http_10:
        raise HeadFault("Host is missing")
    if coding is not None:
        _read_coding(read, coding)
    if connection:
        _read_connection(read, connection, upgrade)


def _read_connection(read: ReceivedHead, connection: list[bytes], upgrade: bytes | None) -> None:
    """RFC 9110 section 7.6.1 and 7.8."""
    says = {option.strip(b"\t ") for option in b",".join(connection).lower().split(b",")}
    if b"close" in says:
        read.is_kept = False
    if upgrade is not None and b"upgrade" in says and upgrade.lower() == b"websocket" and not read.is_http_10:
        if read.has_body:
            raise HeadFault("a WebSocket handshake has no body")
        read.is_websocket = True
        # What is pipelined behind an upgrade that is refused may be anything but a request.
        read.is_kept = False


def _read_coding(read: ReceivedHead, coding: bytes) -> None:
    """RFC 9112 section 6.1, and its warnings taken for rules."""
    if read.is_http_10 or read.content_length is not None:
        raise HeadFault("a transfer coding stands beside a length, or in HTTP/1.0")
    if coding.lower() != b"chunked":
        raise HeadFault("the transfer coding is not chunked")
    read.is_chunked = True
