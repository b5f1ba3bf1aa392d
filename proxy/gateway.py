"""The one door: every HTTP request and every WebSocket passes `Gateway.admit`, and nothing else decides.

    resolve client address -> identify caller -> match route -> evaluate policy -> audit -> Admission | Refusal

A `Gateway` is built from one frozen snapshot of the configuration and never changes: a reload builds another
and swaps one reference. It knows no sockets, no aiohttp and no AWS; deciding takes no I/O, so the answer is
there before the next byte is read. (Callers are identified by their address alone so far: "identify" is the
client address.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from multidict import MultiMapping

from proxy.client_address.networks import Address
from proxy.client_address.resolve import ClientAddress, TrustedProxies, forwarded_scheme, resolve
from proxy.errors import AccessDenied, ClientError, NbgateError
from proxy.policy.conditions import Context
from proxy.policy.evaluate import Decision, evaluate
from proxy.policy.statements import Policy
from proxy.routing.authority import Authority, origin_form, parse_authority
from proxy.routing.mounts import Mount
from proxy.routing.router import OwnPage, Redirect, Route, Router

DECISIONS_REMEMBERED = 65_536
"""Decisions by (client address, instance); dropped all at once when there are more."""


@dataclass(slots=True)
class Inbound:
    """A request as it stands at the door. `scheme` and `port` are the listener's, as callers see them."""

    peer: Address | None
    headers: MultiMapping[str]
    host: str
    """The `Host` field, as it came."""
    target: str
    """The request target, as it came (not decoded; bytes that are not ASCII as surrogates)."""
    method: str
    port: int
    scheme: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Come in: to an instance's notebook (`Route`), a page of the gateway's own, or a better address."""

    client: ClientAddress
    route: Route | OwnPage | Redirect
    authority: Authority
    """What the caller calls this gateway."""
    scheme: str
    """What the caller speaks, to us or to the proxy in front of us: "http" or "https"."""
    decision: Decision


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stay out, and why; `decision` is None where the request was refused before the policy was asked."""

    error: NbgateError
    client: ClientAddress
    instance: str = ""
    decision: Decision | None = None


Audit = Callable[[Inbound, Refusal], None]
"""Where denials are written down."""


class Gateway:
    """Decides for one snapshot of the configuration."""

    def __init__(
        self,
        *,
        hostnames: Sequence[str],
        mounts: Mapping[str, Mount],
        policies: Mapping[str, Policy],
        own_policy: Policy,
        trusted_proxies: TrustedProxies,
        audit: Audit,
    ) -> None:
        self._router = Router(hostnames, mounts)
        self._policies = dict(policies)
        self._own_policy = own_policy
        self._trusted_proxies = trusted_proxies
        self._audit = audit
        self._decisions: dict[tuple[Address | None, str], Decision] = {}

    def admit(self, inbound: Inbound) -> Admission | Refusal:
        """Decide about one request. Never raises for anything that a caller sends."""
        client = resolve(inbound.peer, inbound.headers, self._trusted_proxies)
        try:
            authority = parse_authority(inbound.host)
            target = origin_form(inbound.target, inbound.host)
            route = self._router.match(host=authority.host, listener_port=inbound.port, target=target)
        except ClientError as error:
            return Refusal(error, client)
        instance = route.instance if isinstance(route, Route) else ""
        decision = self.decide(client.address, instance)
        if not decision.allowed:
            refusal = Refusal(AccessDenied(), client, instance, decision)
            self._audit(inbound, refusal)
            return refusal
        scheme = forwarded_scheme(inbound.peer, inbound.headers, self._trusted_proxies) or inbound.scheme
        return Admission(client, route, authority, scheme, decision)

    def decide(self, address: Address | None, instance: str) -> Decision:
        """What the policy says of a client address and an instance ("" for the gateway's own pages)."""
        key = (address, instance)
        decision = self._decisions.get(key)
        if decision is None:
            policy = self._policies[instance] if instance else self._own_policy
            decision = evaluate(policy, Context(source_ip=address))
            if len(self._decisions) >= DECISIONS_REMEMBERED:
                self._decisions.clear()
            self._decisions[key] = decision
        return decision

    def trusts(self, peer: Address | None) -> bool:
        """Whether `peer` is a proxy of ours, whose connections belong to many callers."""
        return peer is not None and peer in self._trusted_proxies.networks
