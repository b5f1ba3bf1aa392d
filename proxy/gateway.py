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
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from multidict import MultiMapping

from proxy.client_address.networks import Address
from proxy.client_address.resolve import ClientAddress, Strategy, forwarded_scheme, resolve
from proxy.errors import AccessDenied, ClientError, NbgateError
from proxy.policy.by_address import ByAddress
from proxy.policy.context import CONNECT, Context
from proxy.policy.evaluate import Decision
from proxy.policy.explain import Verdict, decisive, explain
from proxy.policy.statements import Policy
from proxy.routing.authority import Authority, origin_form, parse_authority
from proxy.routing.mounts import Mount
from proxy.routing.router import OwnPage, Redirect, Route, Router

QUESTIONS_REMEMBERED = 4096
"""Of all but the address: instance, TLS or not, action. Dropped all at once when there are more."""

NO_RESOURCES: Mapping[str, str] = MappingProxyType({})


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
    known: Caller | None = None
    """Who an earlier request on the same connection turned out to come from."""
    vouched: bool = False
    """The peer has no address (a Unix socket), but is known to be a trusted proxy."""


class Caller:
    """Who calls, and by which of our names.

    It is the same for all requests of a connection, as long as they name the same host, the peer speaks for
    itself, and the same `Gateway` judges; so it is worked out, and decided about, once.
    """

    __slots__ = (
        "address",
        "authority",
        "client",
        "decisions",
        "door",
        "host",
        "is_lasting",
        "peer",
        "scheme",
    )

    def __init__(
        self, *, door: Gateway, inbound: Inbound, client: ClientAddress, authority: Authority, scheme: str
    ) -> None:
        self.door = door
        self.host = inbound.host
        self.client = client
        self.is_lasting = client.source == "peer" and not inbound.vouched and not door.trusts(client.peer)
        self.authority = authority
        """What the caller calls this gateway."""
        self.scheme = scheme
        """What the caller speaks, to us or to the proxy in front of us: "http" or "https"."""
        self.address = None if client.address is None else str(client.address)
        self.peer = None if client.peer is None else str(client.peer)
        self.decisions: dict[str, Decision] = {}
        """By instance; "" for the gateway's own pages."""


class Admission(NamedTuple):
    """Come in: to an instance's notebook (`Route`), a page of the gateway's own, or a better address."""

    caller: Caller
    route: Route | OwnPage | Redirect
    instance: str
    """"" for a page of the gateway's own."""
    decision: Decision


class Refusal(NamedTuple):
    """Stay out, and why; `decision` is None where the request was refused before the policy was asked.

    `verdicts` are those of the statements that made the decision.
    """

    error: NbgateError
    client: ClientAddress
    instance: str = ""
    decision: Decision | None = None
    verdicts: tuple[Verdict, ...] = ()


Audit = Callable[[Inbound, Refusal], None]
"""Where denials are written down."""


class Gateway:
    """Decides for one snapshot of the configuration, at one instant.

    `at` (UTC) is the aws:CurrentTime of all its decisions; None: the time is not known, so that conditions on
    it find no such key. At `changes_at` another gateway has to take over. `resources` are the instances'
    ARNs, `region` is aws:RequestedRegion.
    """

    def __init__(
        self,
        *,
        hostnames: Sequence[str],
        mounts: Mapping[str, Mount],
        policies: Mapping[str, Policy],
        own_policy: Policy,
        trusted_proxies: Strategy,
        audit: Audit,
        resources: Mapping[str, str] = NO_RESOURCES,
        region: str | None = None,
        at: datetime | None = None,
    ) -> None:
        self._router = Router(hostnames, mounts)
        self._policies = dict(policies)
        self._own_policy = own_policy
        self._trusted_proxies = trusted_proxies
        self._audit = audit
        self._resources = dict(resources)
        self._region = region
        self.at = at
        self._by_address: dict[tuple[str, bool | None, str], ByAddress] = {}

    def admit(self, inbound: Inbound) -> Admission | Refusal:
        """Decide about one request. Never raises for anything that a caller sends."""
        caller = inbound.known
        if caller is None or caller.door is not self or caller.host != inbound.host or not caller.is_lasting:
            received = self._receive(inbound)
            if isinstance(received, Refusal):
                return received
            caller = received
        try:
            target = origin_form(inbound.target, inbound.host)
            route = self._router.match(host=caller.authority.host, listener_port=inbound.port, target=target)
        except ClientError as error:
            return Refusal(error, caller.client)
        instance = route.instance if isinstance(route, Route) else ""
        decision = caller.decisions.get(instance)
        if decision is None:
            decision = caller.decisions[instance] = self.decide(
                caller.client.address, instance, secure_transport=caller.scheme == "https"
            )
        if decision.allowed:
            return Admission(caller, route, instance, decision)
        verdicts = self.explain(caller.client.address, instance, secure_transport=caller.scheme == "https")
        refusal = Refusal(AccessDenied(), caller.client, instance, decision, decisive(verdicts))
        self._audit(inbound, refusal)
        return refusal

    def _receive(self, inbound: Inbound) -> Caller | Refusal:
        """Work out who calls."""
        client = resolve(inbound.peer, inbound.headers, self._trusted_proxies, vouched=inbound.vouched)
        try:
            authority = parse_authority(inbound.host)
        except ClientError as error:
            return Refusal(error, client)
        scheme = forwarded_scheme(
            inbound.peer, inbound.headers, self._trusted_proxies, vouched=inbound.vouched
        )
        return Caller(
            door=self, inbound=inbound, client=client, authority=authority, scheme=scheme or inbound.scheme
        )

    def decide(
        self,
        address: Address | None,
        instance: str,
        *,
        secure_transport: bool | None = None,
        action: str = CONNECT,
    ) -> Decision:
        """What the policy says of a client address and an instance ("" for the gateway's own pages)."""
        key = (instance, secure_transport, action)
        by_address = self._by_address.get(key)
        if by_address is None:
            if len(self._by_address) >= QUESTIONS_REMEMBERED:
                self._by_address.clear()
            context = self.context(None, instance, secure_transport=secure_transport, action=action)
            by_address = self._by_address[key] = ByAddress(self.policy(instance), context)
        return by_address.decide(address)

    def context(
        self,
        address: Address | None,
        instance: str,
        *,
        secure_transport: bool | None = None,
        action: str = CONNECT,
    ) -> Context:
        """What the policy is asked about, for a decision and for its explanation."""
        return Context(
            address,
            action,
            self._resources.get(instance, "*"),
            self.at,
            secure_transport,
            self._region,
        )

    def explain(
        self,
        address: Address | None,
        instance: str,
        *,
        secure_transport: bool | None = None,
        action: str = CONNECT,
    ) -> tuple[Verdict, ...]:
        """Every statement's verdict in what `decide` says. Worked out anew each time: for denials and operators."""
        context = self.context(address, instance, secure_transport=secure_transport, action=action)
        return explain(self.policy(instance), context)

    def policy(self, instance: str) -> Policy:
        """The policy that decides about an instance ("" for the gateway's own pages)."""
        return self._policies[instance] if instance else self._own_policy

    @property
    def changes_at(self) -> datetime | None:
        """The next instant after `at` at which some decision may be another one; None if there is none.

        Without a time (`at` None) none of them depends on it.
        """
        if self.at is None:
            return None
        later = (
            instant
            for policy in (self._own_policy, *self._policies.values())
            for instant in policy.changes_at
            if instant > self.at
        )
        return min(later, default=None)

    def trusts(self, peer: Address | None) -> bool:
        """Whether `peer` is a proxy of ours, whose connections belong to many callers."""
        return peer is not None and peer in self._trusted_proxies.networks
