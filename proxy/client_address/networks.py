"""IP addresses and networks in their one canonical form, and sets of networks that answer fast.

The rule: an address is canonical once, at the edge. An IPv4-mapped IPv6 address *is* the IPv4 address
(otherwise a dual-stack listener walks past every IPv4 rule); 6to4 and NAT64 addresses are left as they are,
for they name other hosts. What different readers read differently (leading zeros, zones, masks, host bits)
is refused with what to write instead. It must not know where the text came from.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
    summarize_address_range,
)
from itertools import islice
from socket import AF_INET, AF_INET6, inet_ntoa, inet_pton
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED_PREFIX = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2
_MAPPED_BITS = 96
_INTERFACE_BITS = 64  # RFC 4291 section 2.5.1
_SHOWN_IN_REPR = 4
_SHOWN_IN_HINT = 64  # any range of IPv4 addresses is at most 62 networks
_RANGE = re.compile(r"\s*([0-9A-Fa-f.:]+)\s*[-\u2010-\u2015]\s*([0-9A-Fa-f.:]+)\s*")
_WILDCARDS = re.compile(r"\s*((?:[0-9]{1,3}\.){1,3})\*((?:\.\*)*)\s*")


class AddressError(ValueError):
    """A text that is no address or network; the message says what is wrong, `hint` what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class AddressRangeError(AddressError):
    """A text that stands for several addresses elsewhere; `hint` has the networks that it means."""


def read_address(text: str) -> Address | None:
    """The address that `text` spells, or None. As strict as `parse_address`, for hot paths."""
    try:
        if ":" not in text:
            packed = inet_pton(AF_INET, text)
            # An IPv4 address has one spelling; leading zeros, which some C libraries let pass, are not in it.
            return IPv4Address(packed) if inet_ntoa(packed) == text else None
        packed = inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return None
    if "." in text and read_address(text.rpartition(":")[2]) is None:
        return None
    if packed.startswith(_MAPPED_PREFIX):
        return IPv4Address(packed[12:])
    return IPv6Address(packed)


def peer_address(text: str) -> Address | None:
    """The address of a socket's other end, as `getpeername` spells it; None if there is none.

    The zone of a link-local address is dropped: it names an interface of this machine, not the peer. Text
    that others wrote belongs to `parse_address`, which refuses zones.
    """
    # Less strict than `read_address` and half as dear: the kernel has one spelling for an address.
    try:
        if ":" not in text:
            return IPv4Address(inet_pton(AF_INET, text))
        packed = inet_pton(AF_INET6, text.partition("%")[0] if "%" in text else text)
    except (OSError, ValueError):
        return None
    if packed.startswith(_MAPPED_PREFIX):
        return IPv4Address(packed[12:])
    return IPv6Address(packed)


def subscriber(address: Address) -> Address | IPv6Network:
    """What one subscriber has at least, and is counted by: an IPv4 address; of an IPv6 address its /64.

    Every site gets a /64 or more (RFC 6177), and chooses among its addresses as it likes (RFC 8981).
    """
    if isinstance(address, IPv4Address):
        return address
    return IPv6Network((int(address) >> _INTERFACE_BITS << _INTERFACE_BITS, 128 - _INTERFACE_BITS))


def parse_address(text: str) -> Address:
    """The address that `text` spells; an IPv4-mapped one comes back as IPv4.

    Raises `AddressError` for everything else: zones (RFC 4007), leading zeros (CVE-2021-29921), ports,
    brackets, spaces, non-ASCII digits.
    """
    address = read_address(text)
    if address is None:
        raise _address_error(text)
    return address


def parse_network(text: object) -> Network:
    """The network of a configuration entry: CIDR notation, or one address (`/32`, `/128`).

    Raises `AddressError` for what `ipaddress.ip_network` would guess at: numbers and booleans, host bits,
    netmasks and hostmasks, `/08`, zones, and IPv4-mapped networks wider than `/96` (which it turns into
    `::/8` and its like). Mapped networks from `/96` on come back as IPv4.
    """
    if not isinstance(text, str):
        raise AddressError(
            f"{text!r} is a {type(text).__name__}, not text", 'put the network in quotes: "203.0.113.0/24"'
        )
    host, slash, length = text.partition("/")
    address = read_address(host)
    if address is None:
        raise _several_addresses_error(text) or _address_error(host)
    bits = 128 if ":" in host else 32
    prefix = _prefix_length(text, length, bits=bits) if slash else bits
    if bits == 128 and isinstance(address, IPv4Address):
        prefix, bits = _unmapped_prefix_length(text, prefix, address=address), 32
    kind = IPv4Network if bits == 32 else IPv6Network
    number = int(address)
    if number & ((1 << bits - prefix) - 1):
        raise AddressError(
            f"{text!r} has host bits set",
            f"write {kind((number, prefix), strict=False)} for the network, or {address} for the one address",
        )
    return kind((number, prefix))


def _prefix_length(text: str, length: str, *, bits: int) -> int:
    if not (length.isascii() and length.isdigit()):
        try:
            hint = f"write {ip_network(text, strict=False)}" if "." in length else ""
        except ValueError:
            hint = ""
        raise AddressError(
            f"{text!r} does not end in a prefix length",
            hint or f"write a number from 0 to {bits} after the slash",
        )
    if len(length) > 1 and length.startswith("0"):
        raise AddressError(
            f"{text!r} has a leading zero in its prefix length", f"write /{length.lstrip('0') or '0'}"
        )
    # Three digits decide it; int() of a text of any length would not be bounded work.
    if len(length) > 3 or int(length) > bits:
        raise AddressError(
            f"{text!r} has a prefix longer than {bits} bits", f"write a number from 0 to {bits}"
        )
    return int(length)


def _unmapped_prefix_length(text: str, prefix: int, *, address: IPv4Address) -> int:
    if prefix < _MAPPED_BITS:
        guess = f", such as {address}/{prefix}" if prefix <= 32 else ""
        raise AddressError(
            f"{text!r} reaches outside of the IPv4-mapped addresses", f"write the IPv4 network{guess}"
        )
    return prefix - _MAPPED_BITS


def _several_addresses_error(text: str) -> AddressRangeError | None:
    """For what other programs take for several addresses, the networks that it means; None for everything else."""
    ends = _range_ends(text)
    if ends is None:
        return None
    networks = [str(network) for network in summarize_address_range(*ends)]
    more = len(networks) - _SHOWN_IN_HINT
    rest = f", and {more} more" if more > 0 else ""
    shown = ", ".join(networks[:_SHOWN_IN_HINT])
    return AddressRangeError(f"{text!a} is a range of addresses", f"write networks: {shown}{rest}")


def _range_ends(text: str) -> tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address] | None:
    """`10.0.0.1-10.0.0.9`, `10.0.0.1-9`, `2001:db8::1-2001:db8::9` and `10.0.*`, the lower end first."""
    if (pattern := _WILDCARDS.fullmatch(text)) is not None:
        given = pattern[1]
        missing = 4 - given.count(".")
        if pattern[2].count("*") not in (0, missing - 1):
            return None
        low, high = (read_address(given + ".".join([end] * missing)) for end in ("0", "255"))
    elif (pattern := _RANGE.fullmatch(text)) is not None:
        low, last = read_address(pattern[1]), pattern[2]
        is_short = last.isdigit() and "." in pattern[1]
        high = read_address(f"{pattern[1].rpartition('.')[0]}.{last}" if is_short else last)
    else:
        return None
    if isinstance(low, IPv4Address) and isinstance(high, IPv4Address):
        return (low, high) if low <= high else (high, low)
    if isinstance(low, IPv6Address) and isinstance(high, IPv6Address):
        return (low, high) if low <= high else (high, low)
    return None


def _address_error(text: str) -> AddressError:
    """Why `read_address` refused `text`; the hint offers a spelling only where just one can be meant."""
    if not text.isascii():
        return AddressError(f"{text!a} is not an IP address", "write it in plain ASCII digits")
    if text != text.strip():
        return AddressError(f"{text!r} has spaces around it", f"write {text.strip()}")
    if "%" in text:
        return AddressError(
            f"{text!r} has a zone", f"write {text.partition('%')[0]}: zones mean nothing to other machines"
        )
    plain = ".".join(octet.lstrip("0") or "0" for octet in text.split("."))
    if plain != text and read_address(plain) is not None:
        return AddressError(
            f"{text!r} has leading zeros, which some programs read as octal",
            f"write {plain} if that is meant",
        )
    return AddressError(
        f"{text!r} is not an IP address", "write an address such as 203.0.113.7 or 2001:db8::7"
    )


_STRETCH: Final = 64
"""Edges between two of the selection that a search begins in."""


class NetworkSet:
    """An immutable set of networks; `address in networks` costs the same for ten and for 100,000 of them.

    Iteration gives the networks as they were listed, `len` their number. Two sets are equal when they hold
    the same addresses, however that was written.
    """

    __slots__ = ("_networks", "_v4", "_v6")

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)
        v4: list[tuple[int, int]] = []
        v6: list[tuple[int, int]] = []
        for network in self._networks:
            start = int(network.network_address)
            stop = start + (1 << (network.max_prefixlen - network.prefixlen))
            if isinstance(network, IPv4Network):
                v4.append((start, stop))
            elif start >> 32 == 0xFFFF and network.prefixlen >= _MAPPED_BITS:
                v4.append((start & 0xFFFFFFFF, (start & 0xFFFFFFFF) + stop - start))
            else:
                v6.append((start, stop))
        # Packed: a search among many reads fewer lines of memory than it would behind pointers. An IPv6 edge has
        # too many bits for it.
        self._v4 = _Edges(array("Q", _edges(v4)))
        self._v6 = _Edges(_edges(v6))

    def __contains__(self, address: Address) -> bool:
        value = int(address)
        if isinstance(address, IPv4Address):
            return self._v4.holds(value) == 1
        # Addresses are unwrapped at the edge; a deny list must hold even where somebody forgot it.
        if value >> 32 == 0xFFFF:
            return self._v4.holds(value & 0xFFFFFFFF) == 1
        return self._v6.holds(value) == 1

    def meeting(self, network: Network) -> Iterator[tuple[int, int]]:
        """The stretches of addresses that are in here and share one with `network`: first, and last plus one."""
        edges = (self._v4 if isinstance(network, IPv4Network) else self._v6).all
        first, last = int(network.network_address), int(network.broadcast_address)
        # An odd position lies inside of a stretch, which then begins one edge before.
        at = bisect_right(edges, first) & ~1
        while at < len(edges) and edges[at] <= last:
            yield edges[at], edges[at + 1]
            at += 2

    def covers(self, network: Network) -> bool:
        """Whether every address of `network` is in here, by however many networks."""
        first, last = int(network.network_address), int(network.broadcast_address)
        return any(start <= first and last < stop for start, stop in self.meeting(network))

    def __len__(self) -> int:
        return len(self._networks)

    def __iter__(self) -> Iterator[Network]:
        return iter(self._networks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NetworkSet):
            return NotImplemented
        return self._v4.all == other._v4.all and self._v6.all == other._v6.all

    def __hash__(self) -> int:
        return hash((tuple(self._v4.all), self._v6.all))

    def __repr__(self) -> str:
        shown = ", ".join(str(network) for network in islice(self._networks, _SHOWN_IN_REPR))
        more = len(self._networks) - _SHOWN_IN_REPR
        return f"NetworkSet({shown}{f', and {more} more' if more > 0 else ''})"


class Memberships:
    """Which of several sets an address is in, as one number: equal for addresses that no set tells apart."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, sets: Iterable[NetworkSet]) -> None:
        given = tuple(sets)
        self._v4 = tuple(one._v4 for one in given)
        self._v6 = tuple(one._v6 for one in given)

    def of(self, address: Address) -> int:
        """A bit for each set, that of the first one the highest."""
        # As `NetworkSet.__contains__` does it, for all sets at once.
        value = int(address)
        edges = self._v6
        if isinstance(address, IPv4Address):
            edges = self._v4
        elif value >> 32 == 0xFFFF:
            edges, value = self._v4, value & 0xFFFFFFFF
        found = 0
        for one in edges:
            found = found << 1 | one.holds(value)
        return found


class _Edges:
    """Where membership changes, ascending: in, out, in, out … the parity of a search is the answer.

    A search among many begins in a selection of them, which stays in the processor's cache, and ends in one short
    stretch of all.
    """

    __slots__ = ("_few", "all")

    def __init__(self, edges: Sequence[int]) -> None:
        self.all = edges
        self._few = tuple(edges[::_STRETCH]) if len(edges) > _STRETCH else ()

    def holds(self, value: int) -> int:
        """1 if `value` lies inside, else 0."""
        few = self._few
        if not few:
            return bisect_right(self.all, value) & 1
        end = bisect_right(few, value) * _STRETCH
        return bisect_right(self.all, value, max(0, end - _STRETCH), min(end, len(self.all))) & 1


def _edges(intervals: list[tuple[int, int]]) -> tuple[int, ...]:
    """The edges of what the intervals cover together."""
    edges: list[int] = []
    for start, stop in sorted(intervals):
        if edges and start <= edges[-1]:
            edges[-1] = max(edges[-1], stop)
        else:
            edges += (start, stop)
    # Adding makes new integers, side by side in memory: a search among many then misses the cache less often.
    return tuple([edge + 0 for edge in edges])
