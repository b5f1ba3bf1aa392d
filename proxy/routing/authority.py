"""Who the request says it is for: `Host`, the request target's form, and `Origin`.

The rule: one strict reading, shared by everything that compares hosts; whatever two readers could take in two
ways is a BadRequest (RFC 9112 section 3.2). aiohttp serves an empty `Host`, `evil@a` and `a/b`, and takes an
absolute-form target's word over `Host`'s, so nothing may rely on its `request.host`. Targets stay the bytes
that came: nothing is decoded or normalised. Knows no mounts and no configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from proxy.errors import BadRequest

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# A registered name as the DNS has them, which includes IPv4; or a bracketed IPv6 address without a zone.
_AUTHORITY: Final = re.compile(
    rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)\.?|\[(?P<v6>[0-9a-f:.]{{2,45}})\])(?::(?P<port>[1-9][0-9]{{0,4}}))?"
)
_MAX_NAME: Final = 253
_MAX_AUTHORITY: Final = _MAX_NAME + len(".:65535")
_ABSOLUTE_FORM: Final = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_ORIGIN: Final = re.compile(r"(https?)://(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Authority:
    """A canonical host (lower case, no trailing dot, IPv6 in brackets) and the port, if one was named."""

    host: str
    port: int | None

    def port_for(self, scheme: str) -> int | None:
        """The port named, or the scheme's own."""
        return self.port or DEFAULT_PORTS.get(scheme)

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


@lru_cache(maxsize=256)
def parse_authority(text: str) -> Authority:
    """Read the value of `Host` (RFC 9110 section 7.2).

    Raises BadRequest for anything but a DNS name, an IPv4 or a bracketed IPv6 address with an optional port
    from 1 to 65535: so for an empty value, user information, paths, percent-encoding and non-ASCII.
    """
    match = _AUTHORITY.fullmatch(text.lower()) if len(text) <= _MAX_AUTHORITY and text.isascii() else None
    if match is None:
        raise BadRequest("The request names no valid host.")
    name, v6, digits = match.group("name", "v6", "port")
    port = int(digits) if digits else None
    if port is not None and port > 65535:
        raise BadRequest("The request names no valid host.")
    if v6 is not None:
        try:
            return Authority(f"[{IPv6Address(v6)}]", port)
        except AddressValueError:
            raise BadRequest("The request names no valid host.") from None
    if len(name) > _MAX_NAME:
        raise BadRequest("The request names no valid host.")
    return Authority(name, port)


def origin_form(target: str, host: str) -> str:
    """Return the request target in origin-form (RFC 9112 section 3.2), its bytes as they came.

    An absolute-form target must name the same authority as `host`, the value of `Host`. Raises BadRequest for
    a mismatch, for the asterisk and authority forms, a fragment, and bytes that no target may hold.
    """
    if not target.startswith("/"):
        absolute = _ABSOLUTE_FORM.fullmatch(target)
        if absolute is None:
            raise BadRequest("The request target is not a path.")
        scheme = absolute[1].lower()
        named, meant = parse_authority(absolute[2]), parse_authority(host)
        if named.host != meant.host or named.port_for(scheme) != meant.port_for(scheme):
            raise BadRequest("The request target and the Host field disagree.")
        target = absolute[3] if absolute[3].startswith("/") else f"/{absolute[3]}"
    # RFC 3986 section 3.3, with the printable characters that browsers leave alone (`\`, `|`, `"`, `^` …); a
    # fragment, white space, controls and non-ASCII bytes are what readers disagree on.
    if not (target.isascii() and target.isprintable()) or " " in target or "#" in target:
        raise BadRequest("The request target holds characters that no address may hold.")
    return target


def same_origin(origin: str, *, scheme: str, authority: Authority) -> bool:
    """Tell whether `Origin` is the origin that the request itself was sent to (RFC 6454 section 5).

    `scheme` is what the caller's browser used. Default ports are the same as none; `null`, a suffix, another
    port or scheme, a path or anything malformed is another origin.
    """
    match = _ORIGIN.fullmatch(origin)
    if match is None or match[1].lower() != scheme:
        return False
    try:
        theirs = parse_authority(match[2])
    except BadRequest:
        return False
    return theirs.host == authority.host and theirs.port_for(scheme) == authority.port_for(scheme)
