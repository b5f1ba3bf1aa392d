"""Message heads as they leave the gateway: a request's towards the notebook, a response's towards the caller.

Bytes in, bytes out. What is the same for all requests of a caller to an instance is prepared once, in
`Translation`; what is left per message is one pass over its fields. Client fields are removed first and
ours are added last, so nothing that a caller sends, and nothing that `Connection` names, can remove or double
one of ours. Raw targets and values pass byte for byte. This module knows no sockets and no policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.wire.cookies import sanitize_set_cookie, set_cookie_name, strip_and_overlay
from proxy.wire.fields import REQUEST_RULES, RESPONSE_RULES, Rule, has_token, nominated

Fields = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
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
    """Names that belong to the upstream session or to the gateway: dropped from callers and from answers."""
    forwarding: bytes
    """Our own forwarding fields, whole lines."""
    after_target: bytes = field(init=False)
    """What every request line ends in, and `Host`."""
    own_cookies: bytes = field(init=False, repr=False)
    """The `Cookie` line of a caller that sends none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "after_target", b" HTTP/1.1\r\nHost: %b\r\n" % self.upstream_authority)
        own_cookies = b"Cookie: %b\r\n" % self.cookies if self.cookies else b""
        object.__setattr__(self, "own_cookies", own_cookies)


@dataclass(slots=True)
class RequestHead:
    """What `request_head` needs of a request beyond its translation."""

    method: str
    target: bytes
    fields: Sequence[tuple[bytes, bytes]]
    framing: bytes = b""
    """`Content-Length: 5\\r\\n`, `Transfer-Encoding: chunked\\r\\n`, or nothing where there is no body."""
    is_upgrade: bool = False
    plain_encoding: bool = False
    """Ask for an unencoded answer, because its text is going to be rewritten."""


_DROP: Final = Rule.DROP
_HOST: Final = Rule.HOST
_COOKIE: Final = Rule.COOKIE


def request_head(head: RequestHead, translation: Translation) -> bytes:
    """The request's head towards the notebook."""
    lines = [b"%b %b%b" % (head.method.encode("ascii"), head.target, translation.after_target)]
    append = lines.append
    rules = REQUEST_RULES
    cookies: list[bytes] | None = None
    connection: list[bytes] | None = None
    for entry in head.fields:
        rule = rules[entry[0]]
        if not rule:
            append(b"%b: %b\r\n" % entry)
            continue
        if rule is _DROP or rule is _HOST:
            continue
        name, value = entry
        if rule is _COOKIE:
            cookies = [*(cookies or ()), value]
        elif rule is Rule.CONNECTION:
            lower = value.lower()
            if lower not in {b"keep-alive", b"close", b"upgrade"}:
                connection = [*(connection or ()), value]
        elif rule is Rule.ORIGIN:
            if value.lower() == translation.own_origin:
                value = translation.upstream_origin
            append(b"%b: %b\r\n" % (name, value))
        elif rule is Rule.REFERER:
            append(b"%b: %b\r\n" % (name, upstream_referer(value, translation)))
        elif rule is Rule.ACCEPT_ENCODING and not head.plain_encoding:
            append(b"%b: %b\r\n" % (name, value))
    if connection is not None and (hop_by_hop := nominated(connection)):
        # Rare enough to pay for a second pass. `cookies` is the caller's too, so naming it removes it.
        kept = [(name, value) for name, value in head.fields if name.lower() not in hop_by_hop]
        fields = [(name, value) for name, value in kept if REQUEST_RULES[name] is not Rule.CONNECTION]
        return request_head(
            RequestHead(head.method, head.target, fields, head.framing, head.is_upgrade, head.plain_encoding),
            translation,
        )
    if cookies is None:
        append(translation.own_cookies)
    elif cookie := strip_and_overlay(cookies, drop=translation.withheld_cookies, overlay=translation.cookies):
        append(b"Cookie: %b\r\n" % cookie)
    if head.plain_encoding:
        append(b"Accept-Encoding: identity\r\n")
    if head.is_upgrade:
        append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    append(head.framing)
    append(translation.forwarding)
    append(b"\r\n")
    return b"".join(lines)


def upstream_referer(value: bytes, translation: Translation) -> bytes:
    """`Referer` as the notebook's own page would send it; a foreign one stays, for Jupyter to judge.

    Jupyter serves `/files/` to cookie-authenticated reads only if the referer's host is its own.
    """
    own = translation.own_origin + translation.prefix
    if value.startswith(own):
        rest = value[len(own) :]
        if not rest or rest[:1] in b"/?#":
            return translation.upstream_origin + (rest or b"/")
    if translation.prefix and value.startswith(translation.own_origin + b"/"):
        # Another page of this gateway, such as its portal.
        return translation.upstream_origin + b"/"
    return value


class ResponseFacts:
    """A response head, read once: what the data plane decides by, and what passes as it came.

    What few responses say has its first value in the class: an instance is then made for little.
    """

    content_length: bytes | None = None
    conflicting_lengths = False
    transfer_encoding: bytes | None = None
    is_chunked = False
    says_close = False
    hop_by_hop: frozenset[bytes] = frozenset()
    content_type = b""
    content_encoding = b""
    location = b""
    server = b""
    upgrade = b""
    set_cookies: tuple[bytes, ...] = ()
    translated: tuple[tuple[int, Rule, bytes, bytes], ...] = ()
    """`Set-Cookie` and `Location`: their places in `lines`, their names as spelled, and their values."""

    def __init__(self, status: int, reason: bytes, fields: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.lines: list[bytes] = []
        """The fields that pass as they came, as whole lines; an empty one where a translated field stands."""


_CONTENT_LENGTH: Final = Rule.CONTENT_LENGTH
_CONTENT_TYPE: Final = Rule.CONTENT_TYPE
_SERVER: Final = Rule.SERVER
_CONNECTION: Final = Rule.CONNECTION


def read_response(status: int, reason: bytes, fields: list[tuple[bytes, bytes]]) -> ResponseFacts:
    """Collect what the gateway must know of a response's fields, in one pass."""
    facts = ResponseFacts(status, reason, fields)
    keep = facts.lines.append
    connection: list[bytes] | None = None
    rules = RESPONSE_RULES
    for entry in fields:
        rule = rules[entry[0]]
        if not rule:
            keep(b"%b: %b\r\n" % entry)
        elif rule is _CONTENT_LENGTH:
            if facts.content_length is not None and facts.content_length != entry[1]:
                facts.conflicting_lengths = True
            facts.content_length = entry[1]
        elif rule is _CONTENT_TYPE:
            keep(b"%b: %b\r\n" % entry)
            facts.content_type = entry[1].lower()
        elif rule is _SERVER:
            keep(b"%b: %b\r\n" % entry)
            facts.server = entry[1]
        elif rule is _CONNECTION:
            if entry[1] != b"keep-alive":
                connection = [*(connection or ()), entry[1]]
        else:
            _read_rare_field(facts, rule, entry)
    if connection is not None:
        facts.says_close = any(has_token(value, b"close") for value in connection)
        facts.hop_by_hop = nominated(connection)
        if facts.hop_by_hop:
            # Rare enough to read what is left a second time. What frames the message cannot be named away.
            left = [
                (name, value)
                for name, value in fields
                if rules[name] is not _CONNECTION and (rules[name] or name.lower() not in facts.hop_by_hop)
            ]
            again = read_response(status, reason, left)
            facts.lines, facts.translated = again.lines, again.translated
    if facts.transfer_encoding is not None:
        facts.is_chunked = facts.transfer_encoding.strip().lower() == b"chunked"
    return facts


def _read_rare_field(facts: ResponseFacts, rule: Rule, entry: tuple[bytes, bytes]) -> None:
    value = entry[1]
    if rule is Rule.SET_COOKIE or rule is Rule.LOCATION:
        facts.translated = (*facts.translated, (len(facts.lines), rule, *entry))
        facts.lines.append(b"")
        if rule is Rule.LOCATION:
            facts.location = value
        else:
            facts.set_cookies = (*facts.set_cookies, value)
    elif rule is Rule.TRANSFER_ENCODING:
        previous = facts.transfer_encoding
        facts.transfer_encoding = value if previous is None else previous + b"," + value
    elif rule is Rule.CONTENT_ENCODING:
        facts.lines.append(b"%b: %b\r\n" % entry)
        facts.content_encoding = value.lower()
    elif rule is Rule.UPGRADE:
        facts.upgrade = value


_STATUS_LINES: Final[dict[tuple[int, bytes], bytes]] = {}


def status_line(status: int, reason: bytes) -> bytes:
    """`HTTP/1.1 200 OK` and its line end. The upstream's own words for a status are kept, and remembered."""
    line = _STATUS_LINES.get((status, reason))
    if line is None:
        line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
        if len(_STATUS_LINES) < 128:
            _STATUS_LINES[status, reason] = line
    return line


def response_head(
    facts: ResponseFacts, translation: Translation, *, framing: bytes, location: bytes
) -> bytes:
    """The response's head towards the caller.

    `framing` is whole lines that state how the body ends and whether the connection lives on; `location` is
    the new value of `Location`.
    """
    lines = [status_line(facts.status, facts.reason), *facts.lines, framing, b"\r\n"]
    for place, rule, name, value in facts.translated:
        if rule is Rule.LOCATION:
            lines[place + 1] = b"%b: %b\r\n" % (name, location)
        elif set_cookie_name(value) not in translation.withheld_cookies:
            cookie = sanitize_set_cookie(value, prefix=translation.prefix.decode("ascii"))
            lines[place + 1] = b"%b: %b\r\n" % (name, cookie)
    return b"".join(lines)
