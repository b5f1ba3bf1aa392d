"""A request as it stands at the door, and who sends it.

The rule: whose word counts for an address and for a scheme is the configuration's to say (`trusted_proxies`), and what
the caller calls us is read strictly. Callers are plain values: two are equal where nothing that travels on tells them
apart, so that what was prepared for one is good for the other. Knows no policy.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from multidict import MultiMapping

from proxy.client_address.networks import Address
from proxy.client_address.resolve import ClientAddress, Strategy, forwarded_scheme, resolve
from proxy.policy.context import CONNECT, Principal
from proxy.policy.judge import Question
from proxy.routing.authority import Authority, parse_authority


@dataclass(slots=True)
class Inbound:
    """A request as it stands at the door. `scheme` and `port` are the listener's, as callers see them."""

    peer: Address | None
    headers: MultiMapping[str] = field(repr=False)
    host: str
    """The `Host` field, as it came."""
    target: str = field(repr=False)
    """The request target, as it came (not decoded; bytes that are not ASCII as surrogates)."""
    method: str
    port: int
    scheme: str
    request_id: str
    vouched: bool = False
    """The peer has no address (a Unix socket), but is known to be a trusted proxy."""
    is_scheme_certain: bool = False
    """The operator said what `scheme` is: no header says otherwise, for a proxy may pass on a caller's own."""
    is_audited: bool = False
    """Something about it was refused, and that was written down."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and by which of our names.

    It is the same for all requests of a connection, as long as they name the same host, and the peer speaks for itself
    (or all their fields are the same); so it is worked out once for them.
    """

    address: str | None
    """The client's; None where it could not be determined."""
    peer: str | None
    _: KW_ONLY
    host: str
    """The `Host` field, as it came."""
    scheme: str
    """What the caller speaks, to us or to the proxy in front of us: "http" or "https"."""
    is_behind_proxy: bool
    client: ClientAddress = field(compare=False)
    """`address` and `peer` as addresses, and how they were found."""
    authority: Authority = field(compare=False)
    """What the caller calls this gateway: `host`, read."""

    def question(self, instance: str, action: str = CONNECT, principal: Principal | None = None) -> Question:
        """May this caller do that? `principal` is who signed the request; None for nobody."""
        return Question(self.client.address, instance, action, self.scheme == "https", principal)


def identify(inbound: Inbound, trusted: Strategy) -> Caller:
    """Who sends a request. Raises BadRequest where it names no valid host."""
    client = client_of(inbound, trusted)
    authority = parse_authority(inbound.host)
    scheme = None
    if not inbound.is_scheme_certain:
        scheme = forwarded_scheme(inbound.peer, inbound.headers, trusted, vouched=inbound.vouched)
    return Caller(
        None if client.address is None else str(client.address),
        None if client.peer is None else str(client.peer),
        host=inbound.host,
        scheme=scheme or inbound.scheme,
        is_behind_proxy=is_proxys(inbound, trusted),
        client=client,
        authority=authority,
    )


def client_of(inbound: Inbound, trusted: Strategy) -> ClientAddress:
    """Whom a request is attributed to. Never raises."""
    return resolve(inbound.peer, inbound.headers, trusted, vouched=inbound.vouched)


def is_proxys(inbound: Inbound, trusted: Strategy) -> bool:
    """Whether a trusted proxy sent a request."""
    return inbound.vouched if inbound.peer is None else inbound.peer in trusted.networks
