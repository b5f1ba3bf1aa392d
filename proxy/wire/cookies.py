"""Cookies on their way through, as bytes: Cookie towards the notebook, Set-Cookie towards the browser.

The rule: the gateway's and the upstream session's cookies never cross, Jupyter's own pass untouched. So
names are matched the way the most lenient reader at either end might read them, while everything else stays
byte for byte: nothing is renamed, decoded or reordered, and duplicates stay (of two `_xsrf`, JupyterLab and
Tornado take the last). The gateway's own are known by how their names begin, whichever mount, or gateway on the same
host, they are of, now or formerly. The session's names this module is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

# One pass in C, since a notebook may send thousands of attributes. They follow the pair, so each has a semicolon first.
_SCOPE: Final = re.compile(rb";\s*+(domain|path)\s*+(?:=([^;]*+)|(?=;|\Z))", re.IGNORECASE)

# Case counts in cookies' names; a reader that does not know that must not be told either. Prefixes: RFC 6265bis.
_GATEWAYS: Final = rb"(?i:(?:__(?:[a-z]{1,16}-){1,2})?nbgate-[^=;,\s\"]*)"
_GATEWAYS_MARK: Final = b"nbgate-"
_IS_GATEWAYS: Final = re.compile(_GATEWAYS)


def is_our_cookie(name: bytes) -> bool:
    """Whether a cookie of this name is a gateway's own: `__Host-nbgate-session-8444`."""
    return _IS_GATEWAYS.match(name) is not None


def parse_cookie_pairs(cookie_fields: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the (name, value) pairs of all Cookie fields in order (RFC 6265 section 4.2.1).

    A pair without "=" is a value without a name (RFC 6265bis section 5.7.3); quotes are part of a value.
    """
    pairs = []
    for field in cookie_fields:
        for pair in field.split(b";"):
            name, equals, value = pair.partition(b"=")
            if equals:
                pairs.append((name.strip(), value.strip()))
            elif name := name.strip():
                pairs.append((b"", name))
    return pairs


def strip_and_overlay(
    cookie_fields: Sequence[bytes], *, drop: frozenset[bytes], overlay: bytes = b""
) -> bytes:
    """Return the one Cookie field to send upstream: the caller's pairs less `drop` and the gateway's, then `overlay`.

    b"" means that no field is to be sent. With nothing to do, a single field comes back as it is. A pair is
    dropped too where a reader of another school (RFC 2109's commas, a bare name) would find such a name.
    """
    fields = cookie_fields
    if any(_GATEWAYS_MARK in field.lower() for field in fields) or any(
        part in field for part in _parts(drop) for field in fields
    ):
        fields = [_strip(field, drop) for field in fields]
    if len(fields) == 1 and not overlay:
        return fields[0]
    return b"; ".join(field for field in (*fields, overlay) if field)


def _strip(field: bytes, drop: frozenset[bytes]) -> bytes:
    holds_dropped = _names_pattern(drop).search
    pairs = (pair.strip() for pair in field.split(b";"))
    return b"; ".join(pair for pair in pairs if pair and not holds_dropped(pair))


@lru_cache(maxsize=256)
def _parts(names: frozenset[bytes]) -> tuple[bytes, ...]:
    """The fewest texts of which one is in each of `names`, so that a field that holds none is quickly known."""
    return tuple(name for name in names if not any(other in name for other in names if other != name))


@lru_cache(maxsize=256)
def _names_pattern(names: frozenset[bytes]) -> re.Pattern[bytes]:
    name = b"(?:" + b"|".join([*(re.escape(name) for name in sorted(names)), _GATEWAYS]) + b")"
    return re.compile(rb"\A=?\s*" + name + rb"\s*(?:=|\Z)|[\s,\"]" + name + rb"\s*=")


def set_cookie_name(value: bytes) -> bytes:
    """Return the name under which the cookie of a Set-Cookie field may come back.

    That of `=a=b` is `a`, for browsers send a nameless cookie back as its bare value; that of `a` is `a`.
    """
    pair = value.partition(b";")[0].strip(b"= \t\r\n\v\f")
    return pair.partition(b"=")[0].rstrip()


def set_cookie_value(value: bytes) -> bytes:
    """Return what the cookie of a Set-Cookie field is set to, quotes included; b"" for one without "="."""
    return value.partition(b";")[0].strip(b"= \t\r\n\v\f").partition(b"=")[2].strip()


def sanitize_set_cookie(value: bytes, *, prefix: str) -> bytes:
    """Return a Set-Cookie field that stays with this host and, under a path mount, below `prefix`.

    `prefix` is "" or "/research". Every Domain goes, so that the cookie is host-only; a Path is put under the
    prefix once. Without a Path the browser's default is the request's directory, and that is under the
    prefix already (RFC 6265 section 5.1.4); a Path that is not absolute means the same and is removed, lest
    a browser unquote it. All other attributes stay byte for byte.
    """
    lower = value.lower()
    if b"domain" not in lower and not (prefix and b"path" in lower):
        return value
    under = prefix.encode("ascii")

    def attribute(found: re.Match[bytes]) -> bytes:
        name, path = found[1].lower(), (found[2] or b"").strip()
        if name == b"path" and not prefix:
            return found[0]
        return b"; Path=" + _under(path, under) if name == b"path" and path.startswith(b"/") else b""

    return _SCOPE.sub(attribute, value)


def _under(path: bytes, prefix: bytes) -> bytes:
    if path == prefix or path.startswith(prefix + b"/"):
        return path
    return prefix + path
