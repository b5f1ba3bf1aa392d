"""From a peer and its headers to the client address, given which proxies are trusted and how they are read.

The rule: the peer first. An untrusted peer *is* the client and its headers are not looked at. Behind trusted
proxies one strategy counts, the one that fits the deployment: the rightmost hop that is not trusted itself
(`TrustedProxies`), the hop at a fixed distance (`HopCount`), or a field that holds one address (`SingleHeader`).
What cannot be read leaves no address, which every policy denies: there is no falling back to a more trusting
answer. It must not know of policies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Literal

from multidict import MultiMapping

from proxy.client_address.forwarded import (
    as_quoted,
    forwarded_address,
    forwarded_hops,
    forwarded_pairs,
    x_forwarded_for_address,
    x_forwarded_for_hops,
)
from proxy.client_address.networks import Address, NetworkSet

MAX_HOPS = 64
"""How many hops are walked. No chain of one's own proxies is as long; beyond it there is no address."""

_SHOWN_OF_A_HOP = 64
_SCHEMES: dict[str, Literal["http", "https"]] = {
    "http": "http",
    "https": "https",
    # What Traefik writes for upgrade requests.
    "ws": "http",
    "wss": "https",
}


class ForwardingHeader(Enum):
    """The one field that the trusted proxies write; the other one would be the caller's own words."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Every proxy on the way is in `networks`: the client is the rightmost hop that is not, or else the leftmost.

    Without networks, as by default, every peer speaks for itself.
    """

    networks: NetworkSet = field(default_factory=NetworkSet)
    header: ForwardingHeader = ForwardingHeader.X_FORWARDED_FOR


@dataclass(frozen=True, slots=True)
class HopCount:
    """`hops` proxies of one's own stand in front, each of which adds a hop: the client is that far from the right.

    For proxies whose addresses change; the nearest must be in `networks` all the same.
    """

    networks: NetworkSet
    hops: int
    header: ForwardingHeader = ForwardingHeader.X_FORWARDED_FOR


@dataclass(frozen=True, slots=True)
class SingleHeader:
    """The proxies in `networks` write the client's address, and nothing else, into the field `name`.

    `name` is in lower case: `cf-connecting-ip`, `true-client-ip`.
    """

    networks: NetworkSet
    name: str


Strategy = TrustedProxies | HopCount | SingleHeader
"""How client addresses are found, one for each shape of deployment."""


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """Whom a request is attributed to, and why.

    `address` is None when it cannot be determined; `problem` then says why, for the operator's log (what it
    quotes of the request is escaped and cut short). `source` is "peer" or the name of the header field.
    """

    address: Address | None
    peer: Address | None
    _: KW_ONLY
    source: str = "peer"
    problem: str = ""
    is_unquoted: bool = field(default=False, compare=False)
    """The problem is an address or a port that stands in `Forwarded` without the quotes that it needs."""


def resolve(
    peer: Address | None, headers: MultiMapping[str], trusted: Strategy, *, vouched: bool = False
) -> ClientAddress:
    """The client address of a request that came from `peer`. Never raises.

    `headers` looks names up without regard to case, as `CIMultiDict` does. A peer without an address (a
    Unix socket, or a connection that is gone already) has no client address, whatever its headers say;
    except where it is `vouched` for: a Unix socket that only a trusted proxy can open.
    """
    if peer is None:
        if not vouched:
            return ClientAddress(None, None, problem="the peer has no IP address")
    elif peer not in trusted.networks:
        return ClientAddress(peer, peer)
    if isinstance(trusted, SingleHeader):
        return _named(peer, headers.getall(trusted.name, []), trusted.name)
    source = trusted.header.value
    lines = headers.getall(source, [])
    if isinstance(trusted, HopCount):
        return _counted(peer, lines, trusted)
    if not lines:
        return ClientAddress(peer, peer, problem="" if peer else f"the proxy sent no {source}")
    hops, address_of = _reading(lines, trusted.header)
    client = peer
    for walked, hop in enumerate(hops):
        if walked == MAX_HOPS:
            return ClientAddress(
                None, peer, source=source, problem=f"more than {MAX_HOPS} trusted hops in {source}"
            )
        client = address_of(hop)
        if client is None:
            return _unreadable(peer, source, walked, hop)
        if client not in trusted.networks:
            break
    return ClientAddress(client, peer, source=source)


def _counted(peer: Address | None, lines: list[str], trusted: HopCount) -> ClientAddress:
    source = trusted.header.value
    hops, address_of = _reading(lines, trusted.header)
    walked = 0
    for hop in hops:
        client = address_of(hop)
        # Hops on the way are the proxies' own: one that cannot be read means that something else wrote it.
        if client is None:
            return _unreadable(peer, source, walked, hop)
        walked += 1
        if walked == trusted.hops:
            return ClientAddress(client, peer, source=source)
    return ClientAddress(
        None, peer, source=source, problem=f"{walked} hops in {source}, where {trusted.hops} are expected"
    )


def _named(peer: Address | None, lines: list[str], name: str) -> ClientAddress:
    if len(lines) != 1:
        return ClientAddress(
            None, peer, source=name, problem=f"{len(lines)} lines of {name}, where one is expected"
        )
    client = x_forwarded_for_address(lines[0])
    problem = "" if client else f"{name} is not an IP address: {_shown(lines[0])}"
    return ClientAddress(client, peer, source=name, problem=problem)


def _reading(
    lines: list[str], header: ForwardingHeader
) -> tuple[Iterator[str], Callable[[str], Address | None]]:
    """The hops from the right, and how to find the address in one."""
    if header is ForwardingHeader.FORWARDED:
        return forwarded_hops(lines), forwarded_address
    return x_forwarded_for_hops(lines), x_forwarded_for_address


def _unreadable(peer: Address | None, source: str, walked: int, hop: str) -> ClientAddress:
    problem = f"hop {walked + 1} from the right of {source} is not an IP address: {_shown(hop)}"
    quoted = as_quoted(hop) if source == ForwardingHeader.FORWARDED.value else ""
    if quoted:
        problem += f", which RFC 7239 wants quoted: {_shown(quoted)}"
    return ClientAddress(None, peer, source=source, problem=problem, is_unquoted=bool(quoted))


def _shown(text: str) -> str:
    return ascii(text[:_SHOWN_OF_A_HOP])


def forwarded_scheme(
    peer: Address | None, headers: MultiMapping[str], trusted: Strategy, *, vouched: bool = False
) -> Literal["http", "https"] | None:
    """The scheme that the nearest proxy was called with, if `peer` is trusted (or `vouched` for) and says so.

    It comes from the same family as the address: `proto=` where `Forwarded` is trusted, `X-Forwarded-Proto`
    otherwise. Of several values the rightmost counts, which the nearest proxy wrote.
    """
    believed = vouched if peer is None else peer in trusted.networks
    if not believed:
        return None
    if not isinstance(trusted, SingleHeader) and trusted.header is ForwardingHeader.FORWARDED:
        nearest = next(forwarded_hops(headers.getall("forwarded", [])), "")
        value = (forwarded_pairs(nearest) or {}).get("proto", "")
    else:
        value = next(x_forwarded_for_hops(headers.getall("x-forwarded-proto", [])), "").strip(" \t")
    return _SCHEMES.get(value.lower())
