"""The cookies that an exchange bought: an immutable jar for one origin, with values that never print.

A jar of our own rather than aiohttp's: cookies of one notebook must not reach another, nor anybody's log, and
every bound is ours. The rules are RFC 6265 section 5.2 (parsing) and 5.3 (storing), narrowed to cookies of
exactly one host. Knows nothing of sessions or of HTTP clients.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final

_INSTANT: Final = re.compile(rb'"?(?:-1|[0-9]{1,20})"?')
_CONSOLE: Final = re.compile(
    rb"""(?xi) (?:"|%22)? https (?:://|%3a%2f%2f) (?:[a-z0-9-]{1,63}\.){0,4} console\. (?:aws|amazonaws)
    [a-z0-9.-]{0,64} (?:(?:[/?\#"]|%2f|%3f|%23|%22) .*)?"""
)
STEERING: Final = MappingProxyType(
    {
        b"authMode": re.compile(rb'(?i)"?(?:iam|sso)"?'),
        b"expiryTime": _INSTANT,
        b"redirectURL": _CONSOLE,
        b"ssoExpiryTimestamp": _INSTANT,
    }
)
"""By these the notebook's front end steers AWS's extension in the page: it sends people to the AWS console when the
session is about to end, which the gateway renews. They change with each path, and are part of no session. With each
name stands the form of its value (PyPI: sagemaker-jupyterlab-extension), for applications may use such names, too."""

MAX_COOKIES: Final = 64
MAX_COOKIE_BYTES: Final = 16 * 1024
"""Four times what browsers take: a front end's token in a cookie may be long."""
MAX_ATTRIBUTES: Final = 64
"""Of one cookie. There are a dozen that mean something."""
_LONGEST_DATE: Final = 64
_LONGEST_NAME: Final = 64
"""That is told in an event."""

_CONTROLS: Final = bytes(range(0x20)).replace(b"\t", b"") + b"\x7f"


@dataclass(frozen=True, slots=True)
class SetCookie:
    """One `Set-Cookie` field, parsed. `attributes` are in the order of the field, names in lower case."""

    name: bytes
    value: bytes = field(repr=False)
    attributes: tuple[tuple[str, str], ...] = ()

    def attribute(self, name: str) -> str | None:
        """The last value of an attribute (RFC 6265 section 5.3), None if it is absent."""
        return next((value for key, value in reversed(self.attributes) if key == name), None)

    def deletes(self, now: datetime) -> bool:
        """Whether the field removes the cookie; Max-Age beats Expires (RFC 6265 section 5.3 step 3)."""
        max_age = self.attribute("max-age")
        if max_age is not None and max_age.lstrip("-").isdecimal():
            return max_age.startswith("-") or int(max_age[:18]) == 0
        expires = self.attribute("expires")
        if expires is None or len(expires) > _LONGEST_DATE:
            return False
        try:
            at = parsedate_to_datetime(expires)
        except (ValueError, OverflowError):
            return False
        return (at if at.tzinfo else at.replace(tzinfo=UTC)) <= now


@dataclass(frozen=True, slots=True)
class Unkept:
    """A `Set-Cookie` field that no jar took: the cookie's name as far as it may be told, the field's size, and why."""

    name: str
    size_bytes: int
    why: str


def unkept(fields: Sequence[bytes], *, host: str) -> tuple[Unkept, ...]:
    """Those of a response of `host` that are not kept, whatever is in the jar already."""
    told = []
    for value in fields:
        why = _objection(value)
        if not why and (cookie := parse_set_cookie(value)) is not None and not _belongs_to(cookie, host):
            why = "it is for another domain"
        if why:
            told.append(Unkept(shown_name(value[:_LONGEST_NAME].partition(b"=")[0].strip()), len(value), why))
    return tuple(told)


def shown_name(name: bytes) -> str:
    """A cookie's name, fit for a log; "" for one that is not."""
    text = name[:_LONGEST_NAME].decode("latin-1")
    return text if text.isascii() and text.isprintable() else ""


def _objection(value: bytes) -> str:
    if len(value) > MAX_COOKIE_BYTES:
        return f"it is larger than {MAX_COOKIE_BYTES} bytes"
    if value.translate(None, _CONTROLS) != value:
        return "it holds control characters"
    if value.count(b";") > MAX_ATTRIBUTES:
        return f"it has more than {MAX_ATTRIBUTES} attributes"
    return ""


def parse_set_cookie(value: bytes) -> SetCookie | None:
    """RFC 6265 section 5.2; None for a field that sets nothing or that no jar should hold."""
    if _objection(value):
        return None
    pair, *rest = value.split(b";")
    name, equals, content = pair.partition(b"=")
    name = name.strip()
    if not equals or not name:
        return None
    attributes = []
    for part in rest:
        key, _, text = part.partition(b"=")
        attributes.append((key.strip().decode("latin-1").lower(), text.strip().decode("latin-1")))
    return SetCookie(name, content.strip(), tuple(attributes))


@dataclass(frozen=True, slots=True)
class Cookies:
    """What to send to one host. `header` is ready for a `Cookie` field: `b"a=b; c=d"`, b"" if empty."""

    pairs: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)

    @property
    def header(self) -> bytes:
        return b"; ".join(b"%b=%b" % pair for pair in self.pairs)

    @property
    def names(self) -> frozenset[bytes]:
        return frozenset(name for name, _ in self.pairs)

    def apply(self, cookies: Iterable[SetCookie], *, host: str, now: datetime) -> Cookies:
        """The jar after a response of `host` set `cookies`; the same object when nothing changes.

        A cookie for a wider domain than the host is not taken: every notebook suffix is a public suffix
        (Public Suffix List), so an honest front end never sets one.
        """
        jar = dict(self.pairs)
        for cookie in cookies:
            if not _belongs_to(cookie, host):
                continue
            if cookie.deletes(now):
                jar.pop(cookie.name, None)
            elif cookie.name in jar or len(jar) < MAX_COOKIES:
                jar[cookie.name] = cookie.value
        pairs = tuple(jar.items())
        return self if pairs == self.pairs else Cookies(pairs)

    def left_out(self, cookies: Iterable[SetCookie], *, host: str, now: datetime) -> tuple[Unkept, ...]:
        """Those that had no room when `apply` made this jar of them."""
        names = self.names
        return tuple(
            Unkept(shown_name(cookie.name), len(cookie.value), f"there are {MAX_COOKIES} already")
            for cookie in cookies
            if cookie.name not in names and _belongs_to(cookie, host) and not cookie.deletes(now)
        )


def parse_set_cookies(fields: Sequence[bytes]) -> tuple[SetCookie, ...]:
    """All fields of a response that set something, in order."""
    return tuple(cookie for value in fields if (cookie := parse_set_cookie(value)) is not None)


def _belongs_to(cookie: SetCookie, host: str) -> bool:
    domain = cookie.attribute("domain")
    return not domain or domain.removeprefix(".").lower() == host
