"""From a peer and its headers to the client address, given which proxies are trusted.

The rule: the peer first. An untrusted peer *is* the client and its headers are not looked at. Behind
trusted proxies the client is the rightmost hop that is not trusted itself; if all are, the leftmost. A hop
that cannot be read ends the walk without an address, which every policy denies: there is no falling back to a
more trusting answer. It must not know of policies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from multidict import MultiMapping

from proxy.client_address.forwarded import (
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
    """Networks whose forwarding header counts. None are, unless configured."""

    networks: NetworkSet = field(default_factory=NetworkSet)
    header: ForwardingHeader = ForwardingHeader.X_FORWARDED_FOR


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """Whom a request is attributed to, and why.

    `address` is None when it cannot be determined; `problem` then says why, for the operator's log (what it
    quotes of the request is escaped and cut short). `source` is "peer" or the name of the header field.
    """

    address: Address | None
    peer: Address | None
    source: str = "peer"
    problem: str = ""


def resolve(peer: Address | None, headers: MultiMapping[str], trusted: TrustedProxies) -> ClientAddress:
    """The client address of a request that came from `peer`. Never raises.

    `headers` looks names up without regard to case, as `CIMultiDict` does. A peer without an address (a
    Unix socket, or a connection that is gone already) has no client address, whatever its headers say.
    """
    if peer is None:
        return ClientAddress(None, None, problem="the peer has no IP address")
    if peer not in trusted.networks:
        return ClientAddress(peer, peer)
    source = trusted.header.value
    lines = headers.getall(source, [])
    if not lines:
        return ClientAddress(peer, peer)
    if trusted.header is ForwardingHeader.FORWARDED:
        hops, address_of = forwarded_hops(lines), forwarded_address
    else:
        hops, address_of = x_forwarded_for_hops(lines), x_forwarded_for_address
    client: Address = peer
    for walked, hop in enumerate(hops):
        if walked == MAX_HOPS:
            return ClientAddress(None, peer, source, f"more than {MAX_HOPS} trusted hops in {source}")
        address = address_of(hop)
        if address is None:
            shown = ascii(hop[:_SHOWN_OF_A_HOP])
            return ClientAddress(
                None,
                peer,
                source,
                f"hop {walked + 1} from the right of {source} is not an IP address: {shown}",
            )
        client = address
        if client not in trusted.networks:
            break
    return ClientAddress(client, peer, source)


def forwarded_scheme(
    peer: Address | None, headers: MultiMapping[str], trusted: TrustedProxies
) -> Literal["http", "https"] | None:
    """The scheme that the nearest proxy was called with, if `peer` is trusted and says so; else None.

    It comes from the same family as the address: `proto=` where `Forwarded` is trusted, `X-Forwarded-Proto`
    otherwise. Of several values the rightmost counts, which the nearest proxy wrote.
    """
    if peer is None or peer not in trusted.networks:
        return None
    if trusted.header is ForwardingHeader.FORWARDED:
        nearest = next(forwarded_hops(headers.getall("forwarded", [])), "")
        value = (forwarded_pairs(nearest) or {}).get("proto", "")
    else:
        value = next(x_forwarded_for_hops(headers.getall("x-forwarded-proto", [])), "").strip(" \t")
    return _SCHEMES.get(value.lower())
