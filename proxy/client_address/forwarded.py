"""The hops that proxies noted in `X-Forwarded-For` and in `Forwarded` (RFC 7239), nearest proxy first.

The rule: read from the right, because the right end is what the nearest proxy wrote; nothing that stands to
the left of a hop, unbalanced quotes included, changes how that hop is read. Hops come one by one and cost
what their own text costs, so whoever stops early pays for no more. It must not know which proxies are
trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import ascii_letters, digits

from proxy.client_address.networks import Address, read_address

_WHITESPACE = " \t"  # RFC 9110 section 5.6.3; str.strip() alone would take Unicode's spaces too

# RFC 7239 section 6, less "unknown" and obfuscated node names, which name no address.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?")

# RFC 7239 section 4: [ token "=" ( token / quoted-string ) ], here with its separator. Quantifiers are
# possessive so that a long run of spaces is not tried in every division; of single characters only, since
# Python before 3.11.5 reads possessive groups wrongly (python/cpython#106052).
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_TEXT = r"[\t !#-\[\]-~]*+"
_PAIR = re.compile(rf'[ \t]*+(?:({_WORD})=(?:({_WORD})|"({_TEXT}(?:\\[\t !-~]{_TEXT})*)"))?[ \t]*+(;|\Z)')
_NEEDS_QUOTES = frozenset(":[]")
"""What addresses with ports, and IPv6 addresses, hold beyond a token."""
_OF_AUTHORITIES = _NEEDS_QUOTES | frozenset(ascii_letters + digits + "._-")
_ESCAPED = re.compile(r"\\(.)")


def x_forwarded_for_hops(lines: Sequence[str]) -> Iterator[str]:
    """The comma-separated hops of all field lines as one list (RFC 9110 section 5.3), from the right."""
    for line in reversed(lines):
        end = len(line)
        while end >= 0:
            comma = line.rfind(",", 0, end)
            yield line[comma + 1 : end]
            end = comma


def x_forwarded_for_address(hop: str) -> Address | None:
    """The address of one hop, less its port (`192.0.2.1:80`, `[2001:db8::1]:80`); None if it is not one."""
    node = hop.strip(_WHITESPACE)
    return read_address(node) or _node_address(node)


def forwarded_hops(lines: Sequence[str]) -> Iterator[str]:
    """The forwarded-elements of all field lines as one list, from the right.

    A comma inside of a quoted string separates nothing. A quote that was never opened makes one element of
    all that is left of it in its line, which `forwarded_pairs` then refuses.
    """
    for line in reversed(lines):
        yield from _elements(line)


def _elements(line: str) -> Iterator[str]:
    end = len(line)
    while end >= 0:
        at = end
        comma = line.rfind(",", 0, at)
        while (closing := line.rfind('"', comma + 1, at)) >= 0:
            at = _opening_quote(line, closing)
            if at < 0:
                comma = -1
                break
            if comma > at:
                comma = line.rfind(",", 0, at)
        yield line[comma + 1 : end]
        end = comma


def _opening_quote(line: str, closing: int) -> int:
    """Where the quoted string that ends at `closing` begins; -1 if nowhere."""
    at = closing
    while (at := line.rfind('"', 0, at)) >= 0:
        run = at
        while run and line[run - 1] == "\\":
            run -= 1
        # After an odd number of backslashes the quote is part of the string (quoted-pair).
        if (at - run) % 2 == 0:
            break
    return at


def forwarded_pairs(element: str) -> dict[str, str] | None:
    """The parameters of one forwarded-element, names in lower case, values unquoted; None if it is malformed.

    A repeated parameter is malformed (RFC 7239 section 4). Spaces around the semicolons are let pass.
    """
    pairs: dict[str, str] = {}
    at = 0
    while match := _PAIR.match(element, at):
        name, token, quoted, separator = match.groups()
        if name is not None:
            name = name.lower()
            if name in pairs:
                return None
            pairs[name] = token if token is not None else _ESCAPED.sub(r"\1", quoted)
        if not separator:
            return pairs
        at = match.end()
    return None


def forwarded_address(hop: str) -> Address | None:
    """The address in `for=`; None if there is none, or if it is `unknown`, obfuscated or malformed."""
    pairs = forwarded_pairs(hop)
    return None if pairs is None else _node_address(pairs.get("for", ""))


def as_quoted(element: str) -> str:
    """How the first parameter of a forwarded-element would have to be written that lacks its quotes, or its brackets:
    `for=2001:db8::1` is `for="[2001:db8::1]"`. "" where none does.

    Some proxies write an IPv6 address or a port as it is, which no token can hold (RFC 7239 section 4). It is not read
    all the same: where such a text ends is anybody's guess.
    """
    for pair in element.split(";"):
        name, _, value = pair.strip(_WHITESPACE).partition("=")
        bare = value.strip('"')
        if not _NEEDS_QUOTES.intersection(bare) or not _OF_AUTHORITIES.issuperset(bare):
            continue
        meant = f"[{bare}]" if ":" in bare and read_address(bare) else bare
        if value != f'"{meant}"':
            return f'{name}="{meant}"'
    return ""


def _node_address(node: str) -> Address | None:
    match = _NODE.fullmatch(node)
    if match is None:
        return None
    bracketed, plain, port = match.groups()
    if port is not None and int(port) > 65535:
        return None
    if bracketed is None:
        return read_address(plain)
    return read_address(bracketed) if ":" in bracketed else None
