"""Message heads as they leave the gateway: a request's towards the notebook, a response's towards the caller.

Bytes in, bytes out. What is the same for all requests of a caller to an instance is prepared once, in
`Translation`; what is left per message is one pass over its fields. Client fields are removed first and
ours are added last, so nothing that a caller sends, and nothing that `Connection` names, can remove or double
one of ours. Raw targets and values pass byte for byte. This module knows no sockets and no policy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from proxy.memory import Memo
from proxy.wire.cookies import (
    is_our_cookie,
    sanitize_set_cookie,
    set_cookie_name,
    set_cookie_value,
    strip_and_overlay,
)
from proxy.wire.credentials import without_credentials
from proxy.wire.fields import FIRST_OF_MOUNTS, RESPONSE_RULES, Rule, has_token, may_be_secret, nominated
from proxy.wire.reach import FAR_REACHING_VALUES, clear_of_own_origin
from proxy.wire.request_heads import FieldTexts, RequestField

_VALUES_REMEMBERED: Final = 4
_VALUE_BYTES_REMEMBERED: Final = 2048
"""Of one caller's cookies, and of its addresses, so many and so large ones: they hold credentials, and take memory for
as long as the caller stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """How heads change between one caller's mount and one upstream session. Origins have no trailing slash."""

    upstream_authority: bytes
    """The notebook host's `Host`, such as `research-x1y2.notebook.eu-west-1.sagemaker.aws`."""
    upstream_origin: bytes
    own_origin: bytes
    """Where the caller's browser thinks it is: `https://notebooks.internal:8443`."""
    prefix: bytes
    """The mount's path without its last slash (`/research`), or empty."""
    cookies: bytes = field(repr=False)
    """The upstream session's own, `a=1; b=2`, laid over the caller's."""
    withheld_cookies: frozenset[bytes]
    """Names that belong to the upstream session: dropped from callers and from answers, as the gateway's own are."""
    forwarding: bytes
    """Our own forwarding fields, whole lines."""
    owns_origin: bool = False
    """Whether the mount has its browser origin to itself, so that its answers may speak for all of that."""
    steering_cookies: Mapping[bytes, re.Pattern[bytes]] = field(default_factory=dict)
    """Names by which the notebook's front end steers its own page in a browser, where that page is not to be steered,
    with the forms of its values: dropped from answers, but for an application's with a value of another form."""
    after_target: bytes = field(init=False)
    """What every request line ends in, and `Host`."""
    own_cookies: bytes = field(init=False, repr=False)
    """The `Cookie` line of a caller that sends none."""
    ending: bytes = field(init=False)
    """What every request's head ends in."""
    _cookie_lines: Memo[bytes, bytes] = field(
        init=False, repr=False, compare=False, default_factory=partial(Memo, _VALUES_REMEMBERED)
    )
    _referer_lines: Memo[bytes, bytes] = field(
        init=False, repr=False, compare=False, default_factory=partial(Memo, _VALUES_REMEMBERED)
    )
    """The lines that became of the last callers' `Cookie` and `Referer`, by value: a browser repeats both."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "after_target", b" HTTP/1.1\r\nHost: %b\r\n" % self.upstream_authority)
        own_cookies = b"Cookie: %b\r\n" % self.cookies if self.cookies else b""
        object.__setattr__(self, "own_cookies", own_cookies)
        object.__setattr__(self, "ending", self.forwarding + b"\r\n")

    def cookie_line(self, received: list[bytes]) -> bytes:
        """The `Cookie` line towards the notebook, its end included; empty where there is none to send."""
        if not received:
            return self.own_cookies
        known = self._cookie_lines.get(received[0]) if len(received) == 1 else None
        if known is None:
            cookie = strip_and_overlay(received, drop=self.withheld_cookies, overlay=self.cookies)
            known = b"Cookie: %b\r\n" % cookie if cookie else b""
            if len(received) == 1:
                _remember(self._cookie_lines, received[0], known)
        return known

    def referer_line(self, name: bytes, value: bytes) -> bytes:
        """The `Referer` line towards the notebook, its end included."""
        known = self._referer_lines.get(value)
        if known is None:
            known = b"%b: %b\r\n" % (name, upstream_referer(value, self))
            _remember(self._referer_lines, value, known)
        return known


def _remember(lines: Memo[bytes, bytes], value: bytes, line: bytes) -> None:
    if len(value) <= _VALUE_BYTES_REMEMBERED:
        lines.keep(value, line)


class RequestFields(FieldTexts):
    """A request's fields as they were received, and what became of them on the way that they took last.

    Requests of one connection mostly repeat each other's fields to the letter: whoever keeps this between them has
    them translated once.
    """

    __slots__ = ("_is_upgrade", "_lines", "_plain_encoding", "_translation")

    def __init__(self, received: Sequence[RequestField]) -> None:
        self.received = received
        self._texts = None
        self._translation: Translation | None = None
        self._is_upgrade = False
        self._plain_encoding = False
        self._lines = b""

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they came."""
        return [field[2:4] for field in self.received]

    def towards(self, translation: Translation, *, is_upgrade: bool, plain_encoding: bool) -> bytes:
        """The fields' lines on that way; `Host`, framing and forwarding fields stand elsewhere."""
        if (
            self._translation is not translation
            or self._plain_encoding is not plain_encoding
            or self._is_upgrade is not is_upgrade
        ):
            self._translation = translation
            self._is_upgrade = is_upgrade
            self._plain_encoding = plain_encoding
            self._lines = _translated(
                self.received, translation, is_upgrade=is_upgrade, plain_encoding=plain_encoding
            )
        return self._lines


class OutgoingRequest:
    """What `request_head` needs of a request beyond its translation.

    What few requests have has its first value in the class: an instance is then made for little.
    """

    framing = b""
    """`Content-Length: 5\\r\\n`, `Transfer-Encoding: chunked\\r\\n`, or nothing where there is no body."""
    is_upgrade = False
    plain_encoding = False
    """Ask for an unencoded answer, because its text is going to be rewritten."""
    numbers: Sequence[RequestField] = ()
    """More fields: what proxies call this request."""

    def __init__(self, method: str, target: bytes, fields: RequestFields) -> None:
        self.method = method
        self.target = target
        self.fields = fields


_DROP: Final = Rule.DROP
_HOST: Final = Rule.HOST
_COOKIE: Final = Rule.COOKIE


def request_head(head: OutgoingRequest, translation: Translation) -> bytes:
    """The request's head towards the notebook."""
    return b"%b %b%b%b%b%b%b" % (
        head.method.encode("ascii"),
        head.target,
        translation.after_target,
        head.fields.towards(translation, is_upgrade=head.is_upgrade, plain_encoding=head.plain_encoding),
        _lines_of(head.numbers) if head.numbers else b"",
        head.framing,
        translation.ending,
    )


def _lines_of(numbers: Sequence[RequestField]) -> bytes:
    return b"".join([field[4] for field in numbers])


def _translated(
    fields: Sequence[RequestField], translation: Translation, *, is_upgrade: bool, plain_encoding: bool
) -> bytes:
    lines: list[bytes] = []
    append = lines.append
    cookies: list[bytes] = []
    connection: list[bytes] = []
    for entry in fields:
        rule = entry[1]
        if not rule:
            append(entry[4])
            continue
        if rule is _DROP or rule is _HOST:
            continue
        name, value = entry[2:4]
        if rule is _COOKIE:
            cookies.append(value)
        elif rule is Rule.CONNECTION:
            lower = value.lower()
            if lower not in {b"keep-alive", b"close", b"upgrade"}:
                connection.append(value)
        elif rule is Rule.ORIGIN:
            if value.lower() == translation.own_origin:
                value = translation.upstream_origin
            append(b"%b: %b\r\n" % (name, value))
        elif rule is Rule.REFERER:
            append(translation.referer_line(name, value))
        elif rule is Rule.ADDRESS:
            append(b"%b: %b\r\n" % (name, without_credentials(value)))
        elif rule is Rule.ACCEPT_ENCODING and not plain_encoding:
            append(b"%b: %b\r\n" % (name, value))
    if connection and (hop_by_hop := nominated(connection)):
        # Rare enough to pay for a second pass. `cookies` is the caller's too, so naming it removes it.
        kept = [entry for entry in fields if entry[2].lower() not in hop_by_hop]
        others = [entry for entry in kept if entry[1] is not Rule.CONNECTION]
        return _translated(others, translation, is_upgrade=is_upgrade, plain_encoding=plain_encoding)
    append(translation.cookie_line(cookies))
    if plain_encoding:
        append(b"Accept-Encoding: identity\r\n")
    if is_upgrade:
        append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    return b"".join(lines)


def upstream_referer(value: bytes, translation: Translation) -> bytes:
    """`Referer` as the notebook's own page would send it; a foreign one stays, for Jupyter to judge.

    Jupyter serves `/files/` to cookie-authenticated reads only if the referer's host is its own. No credential of the
    gateway's stays in it, be it the address of another mount, or of another gateway.
    """
    own = translation.own_origin + translation.prefix
    if value.startswith(own):
        rest = value[len(own) :]
        if not rest or rest[:1] in b"/?#":
            return translation.upstream_origin + (without_credentials(rest) or b"/")
    if translation.prefix and value.startswith(translation.own_origin + b"/"):
        # Another page of this gateway, such as its portal.
        return translation.upstream_origin + b"/"
    return without_credentials(value)


class ResponseFacts:
    """A response head, read once: what the data plane decides by, and what passes as it came.

    What few responses say has its first value in the class: an instance is then made for little.
    """

    content_length: bytes | None = None
    repeats_length = False
    transfer_encoding: bytes | None = None
    is_chunked = False
    says_close = False
    content_type = b""
    content_encoding = b""
    location = b""
    server = b""
    upgrade = b""
    set_cookies: tuple[bytes, ...] = ()
    translated: tuple[tuple[int, Rule, bytes, bytes], ...] = ()
    """What depends on the mount: places in `lines`, rules, names as spelled, and values."""

    def __init__(self, status: int, status_line: bytes, *, is_http_11: bool, received: list[bytes]) -> None:
        self.status = status
        self.is_http_11 = is_http_11
        self.lines = [status_line]
        """What passes as it came: the status line and whole field lines, without their line ends."""
        self._received = received
        _read_fields(self, received)
        if self.transfer_encoding is not None:
            self.is_chunked = self.transfer_encoding.lower() == b"chunked"

    def with_fields(self, lines: list[bytes]) -> ResponseFacts:
        """The same status with other fields, each a line without its end."""
        return ResponseFacts(self.status, self.lines[0], is_http_11=self.is_http_11, received=lines)

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """All fields as they were received."""
        split = (line.partition(b":") for line in self._received)
        return [(name, value.strip(b" \t")) for name, _, value in split]


RESPONSE_FIELDS: Final = 256
"""In one head. Jupyter sends a dozen; each costs some microseconds, and the rest of the loop waits."""

_CONTENT_LENGTH: Final = Rule.CONTENT_LENGTH
_CONTENT_TYPE: Final = Rule.CONTENT_TYPE
_SET_COOKIE: Final = Rule.SET_COOKIE
_LOCATION: Final = Rule.LOCATION
_SERVER: Final = Rule.SERVER
_CONNECTION: Final = Rule.CONNECTION


# RFC 9112 section 5 and RFC 9110 sections 5.1 and 5.5, and nothing of what they let a recipient tolerate: no bare CR or
# LF, no folded line, no control byte, no white space before the colon.
_FIELD_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)")
_LINES_REMEMBERED: Final = 2048
_LINE_BYTES_REMEMBERED: Final = 256

_ReadLine = tuple[Rule, bytes, bytes]


class _MalformedField(Exception):
    """A line of a head that is no field."""


class _ResponseLines(Memo[bytes, _ReadLine]):
    """Field lines of responses: each one's rule, name and value.

    A notebook's answers mostly repeat each other's lines to the letter; one not met before is checked, split, and
    remembered. Addresses are not kept, nor what may hold a credential, as cookies do.
    """

    def __init__(self) -> None:
        super().__init__(_LINES_REMEMBERED)

    def __missing__(self, line: bytes) -> _ReadLine:
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            raise _MalformedField
        name, value = match.groups()
        rule, value = RESPONSE_RULES[name], value.strip(b" \t")
        if rule is Rule.BY_VALUE:
            rule = Rule.DROP if FAR_REACHING_VALUES[name.lower()].pattern.search(value) else Rule.PASS
        read = (rule, name, value)
        is_kept = len(line) <= _LINE_BYTES_REMEMBERED and rule is not Rule.LOCATION
        if is_kept and not may_be_secret(name.lower()):
            self.keep(line, read)
        return read


_LINES: Final = _ResponseLines()


def read_response(head: bytes) -> ResponseFacts | None:
    """Collect what the gateway must know of a response's head; None if it is not one of HTTP/1's, strictly read, or
    has too many fields.

    `head` is whole, its blank line included.
    """
    received = head[:-4].split(b"\r\n")
    status_line = received.pop(0)
    status = _STATUS_LINES.get(status_line) or _read_status_line(status_line)
    if status is None or len(received) > RESPONSE_FIELDS:
        return None
    try:
        return ResponseFacts(status[0], status[1], is_http_11=status[2], received=received)
    except _MalformedField:
        return None


def has_too_many_fields(head: bytes) -> bool:
    """Whether that is why `read_response` did not read a response's head."""
    return head.count(b"\r\n") > RESPONSE_FIELDS + 2


def _read_fields(facts: ResponseFacts, received: list[bytes]) -> None:
    keep = facts.lines.append
    connection: list[bytes] | None = None
    translated: list[tuple[int, Rule, bytes, bytes]] | None = None
    book = _LINES
    for line in received:
        rule, name, value = book[line]
        if not rule:
            keep(line)
        elif rule is _CONTENT_LENGTH:
            # Said twice it is one too many, be it the same (RFC 9112 section 6.3 leaves that to the recipient).
            if facts.content_length is not None:
                facts.repeats_length = True
            facts.content_length = value
        elif rule is _CONTENT_TYPE:
            keep(line)
            facts.content_type = value.lower()
        elif rule is _SERVER:
            keep(line)
            facts.server = value
        elif rule is _CONNECTION:
            if value != b"keep-alive":
                if connection is None:
                    connection = []
                connection.append(value)
        elif rule >= FIRST_OF_MOUNTS:
            if translated is None:
                translated = []
            translated.append((len(facts.lines), rule, name, value))
            keep(line)
        else:
            _read_rare_field(facts, rule, line, value)
    if translated is not None:
        facts.translated = tuple(translated)
        facts.set_cookies = tuple(value for _, rule, _, value in translated if rule is _SET_COOKIE)
        facts.location = next((value for _, rule, _, value in reversed(translated) if rule is _LOCATION), b"")
    if connection is not None:
        facts.says_close = any(has_token(value, b"close") for value in connection)
        if hop_by_hop := nominated(connection):
            _drop_named(facts, hop_by_hop)


def _drop_named(facts: ResponseFacts, hop_by_hop: frozenset[bytes]) -> None:
    """Remove the fields that `Connection` named, but for those that are translated."""
    translated = {place for place, *_ in facts.translated}
    lines, places = facts.lines[:1], {}
    for place, line in enumerate(facts.lines[1:], start=1):
        if place in translated or line.partition(b":")[0].lower() not in hop_by_hop:
            places[place] = len(lines)
            lines.append(line)
    facts.lines = lines
    facts.translated = tuple(
        (places[place], rule, name, value) for place, rule, name, value in facts.translated
    )


def _read_rare_field(facts: ResponseFacts, rule: Rule, line: bytes, value: bytes) -> None:
    if rule is Rule.TRANSFER_ENCODING:
        # Several codings are none that is known here, however many: the first two say so.
        previous = facts.transfer_encoding
        if previous is None:
            facts.transfer_encoding = value
        elif b"," not in previous:
            facts.transfer_encoding = previous + b"," + value
    elif rule is Rule.CONTENT_ENCODING:
        facts.lines.append(line)
        # As above: several are none that is known.
        before = facts.content_encoding
        if not before:
            facts.content_encoding = value.lower()
        elif b"," not in before:
            facts.content_encoding = before + b"," + value.lower()
    elif rule is Rule.UPGRADE:
        facts.upgrade = value


_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_STATUS_LINES_REMEMBERED: Final = 128
_STATUS_LINES: Final[Memo[bytes, tuple[int, bytes, bool]]] = Memo(_STATUS_LINES_REMEMBERED)
"""Status lines met before: the status, the line as it passes, and whether it was HTTP/1.1's."""


def _read_status_line(line: bytes) -> tuple[int, bytes, bool] | None:
    """The upstream's own words for a status are kept; its version of HTTP is its own (RFC 9112 section 2.5)."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        return None
    status = (int(match[2]), b"HTTP/1.1 %b %b" % (match[2], match[3] or b""), match[1] == b"1")
    return _STATUS_LINES.keep(line, status) if len(line) <= _LINE_BYTES_REMEMBERED else status


def _no_worker(_allowed: bytes) -> bytes:
    return b""


def response_head(
    facts: ResponseFacts,
    translation: Translation,
    *,
    framing: bytes,
    location: bytes = b"",
    worker_scope: Callable[[bytes], bytes] = _no_worker,
    by_application: bool = False,
) -> bytes:
    """The response's head towards the caller.

    `framing` is whole lines that state how the body ends and whether the connection lives on; `location` is
    the new value of `Location`, `worker_scope` makes that of `Service-Worker-Allowed`, b"" for none, and
    `by_application` says that not Jupyter answers, but what somebody runs there.
    """
    lines = facts.lines
    if facts.translated:
        lines = lines.copy()
        for place, rule, name, value in facts.translated:
            match rule:
                case Rule.SET_COOKIE:
                    value = _set_cookie(value, translation, by_application=by_application)
                case Rule.LOCATION:
                    value = location
                case Rule.WORKER_SCOPE:
                    value = worker_scope(value)
                case Rule.CLEAR_SITE_DATA:
                    value = clear_of_own_origin(value) if translation.owns_origin else b""
                case _:  # OWN_ORIGIN
                    if translation.owns_origin:
                        continue
                    value = b""
            lines[place] = b"%b: %b" % (name, value) if value else b""
        lines = [line for line in lines if line]
    return b"%b\r\n%b\r\n" % (b"\r\n".join(lines), framing)


def _set_cookie(value: bytes, translation: Translation, *, by_application: bool) -> bytes:
    """The field's value for the browser; b"" for a cookie that is none of its business."""
    name = set_cookie_name(value)
    if name in translation.withheld_cookies or is_our_cookie(name):
        return b""
    form = translation.steering_cookies.get(name)
    if form is not None and not (by_application and form.fullmatch(set_cookie_value(value)) is None):
        return b""
    return sanitize_set_cookie(value, prefix=translation.prefix.decode("ascii"))
