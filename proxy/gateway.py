"""The one door: every HTTP request and every WebSocket passes `Gateway.admit`, and nothing else decides.

    resolve client address -> identify caller -> match route -> evaluate policy -> judge what it brings
    -> audit -> Admission | Refusal

A `Gateway` is built from one frozen snapshot of the configuration and never changes: a reload builds another
and swaps one reference. It knows no sockets, no aiohttp and no AWS; deciding takes no I/O, so the answer is
there before the next byte is read. The address is judged first: whoever it keeps out learns nothing of links,
sessions and tokens, which `Entrance` judges; nor which instances there are, for a path where nothing is mounted is
refused in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol

from multidict import MultiMapping

from proxy.client_address.networks import Address
from proxy.client_address.resolve import ClientAddress, Strategy, forwarded_scheme, resolve
from proxy.errors import (
    AccessDenied,
    AddressUnknown,
    ClientError,
    CrossSiteRefused,
    ForwardedUnquoted,
    NbgateError,
    OutsideMount,
    SignInRequired,
    TokenRefused,
    WorkerRefused,
)
from proxy.memory import Memo
from proxy.policy.by_address import ByAddress
from proxy.policy.context import CONNECT, Context
from proxy.policy.evaluate import Decision
from proxy.policy.explain import Verdict, decisive, explain
from proxy.policy.prospects import Prospects
from proxy.policy.statements import Policy
from proxy.routing.authority import Authority, origin_form, parse_authority
from proxy.routing.entry import Entry, Permit, Presented, Recognised
from proxy.routing.mounts import Mount
from proxy.routing.referrers import referring_path
from proxy.routing.router import Detour, OwnPage, Redirect, Route, Router
from proxy.routing.workers import may_be_worker
from proxy.wire.provenance import Provenance, provenance

QUESTIONS_REMEMBERED = 4096
"""Of all but the address: instance, TLS or not, action. Dropped all at once when there are more."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110 section 9.2.1, of those that are forwarded. Others that are safe (PROPFIND …) no page sends unasked."""

FOREIGN_PAGE = "a page of another site"
"""Why a request was refused, for the audit log."""

OUTSIDE_MOUNT = "an address that lies under no mount, of a page that does"
"""The same."""

SET_PREFIX = (
    "This address is outside of the notebook's, which begins with {0}/. The application has to be told that its own "
    "begins with {0}/proxy/PORT/."
)
_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_ALIASES: Mapping[str, Sequence[Mount]] = MappingProxyType({})
NOT_PERMITTED = "Your address is not allowed to do this."
"""To whom may reach an instance and not do to it what was asked for."""
_NOBODY_REACHES = Decision(False, (), "denied: nothing is mounted there")
"""Of a path under no mount. To tell it apart from an instance that a caller may not reach would tell of that one."""


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
    vouched: bool = False
    """The peer has no address (a Unix socket), but is known to be a trusted proxy."""
    is_scheme_certain: bool = False
    """The operator said what `scheme` is: no header says otherwise, for a proxy may pass on a caller's own."""
    is_audited: bool = False
    """Something about it was refused, and that was written down."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and by which of our names. Two are equal where nothing that travels on tells them apart.

    It is the same for all requests of a connection, as long as they name the same host, and the peer speaks for itself
    (or all their fields are the same); so it is worked out once for them.
    """

    address: str | None
    """The client's; None where it could not be determined."""
    peer: str | None
    host: str
    """The `Host` field, as it came."""
    scheme: str
    """What the caller speaks, to us or to the proxy in front of us: "http" or "https"."""
    is_behind_proxy: bool
    client: ClientAddress = field(compare=False)
    """`address` and `peer` as addresses, and how they were found."""
    authority: Authority = field(compare=False)
    """What the caller calls this gateway: `host`, read."""


class Admission(NamedTuple):
    """Come in: to an instance's notebook (`Route`), a page of the gateway's own, or a better address."""

    caller: Caller
    route: Route | OwnPage | Redirect
    instance: str
    """"" for a page of the gateway's own."""
    decision: Decision
    inbound: Inbound
    """What was admitted."""
    gateway: Gateway
    """Who admitted it."""
    permit: Permit | None = None
    """What was brought besides the address, where something had to be."""
    user: str = ""
    """Who the caller proved to be, by what was brought; "" for nobody."""


class Refusal(NamedTuple):
    """Stay out, and why; `decision` is None where the request was refused for another reason than the policy.

    `verdicts` are those of the statements that made the decision; `reason`, for the audit log alone, is why there
    was none, and `user` who the caller proved to be, "" for nobody.
    """

    error: NbgateError
    client: ClientAddress
    instance: str = ""
    decision: Decision | None = None
    verdicts: tuple[Verdict, ...] = ()
    action: str = CONNECT
    reason: str = ""
    user: str = ""
    is_behind_proxy: bool = False
    """A trusted proxy sent the request, so that what it calls it is worth a place in the log."""


class Objection(NamedTuple):
    """What there is against a request that was admitted once. `refusal` is None where it would be admitted again, but
    leads elsewhere.
    """

    reason: str
    refusal: Refusal | None = None


Audit = Callable[[Inbound, Refusal], None]
"""Where denials are written down."""


class Entrance(Protocol):
    """Judges what callers bring besides their address; `proxy.identity.entrance` does."""

    is_watching: bool
    """Whether there is anything to judge. False: it is not asked."""

    def watch(self) -> None:
        """There is, from now on."""

    def judge(self, presented: Presented, *, guarded: bool) -> Permit | Entry | OwnPage | Recognised | None:
        """What a request is let in with; None: nothing, and nothing is needed, for the instance is not `guarded`;
        Recognised: nothing is needed, and it is known who asks. A page of our own is for a link that nobody has opened
        yet.

        Raises SignInRequired and TokenRefused.
        """


class _Shut:
    """An entrance that knows no credential."""

    def __init__(self) -> None:
        self.is_watching = False

    def watch(self) -> None:
        self.is_watching = True

    def judge(self, presented: Presented, *, guarded: bool) -> Permit | Entry | OwnPage | Recognised | None:
        if guarded:
            raise SignInRequired
        return None


class Gateway:
    """Decides for one snapshot of the configuration, at one instant.

    `at` (UTC) is the aws:CurrentTime of all its decisions; None: the time is not known, so that conditions on
    it find no such key. At `changes_at` another gateway has to take over. `resources` are the instances'
    ARNs, `region` is aws:RequestedRegion. `guarded` instances need a session or a token, which `entrance` judges;
    without one nobody comes in there. `leads_to` tells the notebooks apart that instances are, for what was given out
    for one is not good for the next of that name. Pages of other sites may change something at `cross_site` instances
    alone. `aliases` are where instances were before.
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
        resources: Mapping[str, str] = _NOTHING,
        leads_to: Mapping[str, str] = _NOTHING,
        region: str | None = None,
        at: datetime | None = None,
        entrance: Entrance | None = None,
        guarded: frozenset[str] = frozenset(),
        cross_site: frozenset[str] = frozenset(),
        aliases: Mapping[str, Sequence[Mount]] = _NO_ALIASES,
    ) -> None:
        self._router = Router(hostnames, mounts, aliases)
        self._policies = dict(policies)
        self._own_policy = own_policy
        self._trusted_proxies = trusted_proxies
        self._audit = audit
        self._resources = dict(resources)
        self._leads_to = dict(leads_to)
        self._region = region
        self.at = at
        self._entrance = entrance or _Shut()
        self._guarded = guarded
        self._cross_site = cross_site
        if guarded:
            self._entrance.watch()
        self._by_address: Memo[tuple[str, bool | None, str, str | None], ByAddress] = Memo(
            QUESTIONS_REMEMBERED
        )
        self._prospects: Prospects | None = None

    def admit(
        self, inbound: Inbound, known: Admission | None = None, *, is_repeated: bool = False
    ) -> Admission | Refusal:
        """Decide about one request. Never raises for anything that a caller sends.

        `known` is an earlier one of the same connection; `is_repeated`: it had the same fields, to the letter.
        """
        if known is not None and known.gateway is not self:
            known = None
        if (
            known is None
            or known.caller.host != inbound.host
            or (known.caller.is_behind_proxy and not is_repeated)
        ):
            received = self._receive(inbound)
            if isinstance(received, Refusal):
                return received
            caller = received
            known = None
        else:
            caller = known.caller
        try:
            target = origin_form(inbound.target, inbound.host)
            authority = caller.authority
            route = self._router.match(
                host=authority.host, listener_port=inbound.port, target=target, port=authority.port
            )
        except ClientError as error:
            return self._turn_away(inbound, caller.client, error)
        if route is None and "Referer" in inbound.headers:
            verdict = self._of_page_under_mount(inbound, caller, target)
            if verdict is not None:
                return verdict
        instance = "" if route is None else route.instance
        if known is not None and known.instance == instance:
            decision = known.decision
        else:
            decision = self._decided(caller, instance)
        if decision.allowed:
            if route is not None:
                if inbound.method not in SAFE_METHODS and self._is_foreign(inbound, caller, instance):
                    return self._refuse_foreign(inbound, caller, instance)
                if self._entrance.is_watching and isinstance(route, Route):
                    return self._enter(inbound, caller, route, decision)
                return Admission(caller, route, instance, decision, inbound, self)
            decision = _NOBODY_REACHES
        return self._deny(inbound, caller, instance, decision, CONNECT)

    def _decided(self, caller: Caller, instance: str) -> Decision:
        return self.decide(caller.client.address, instance, secure_transport=caller.scheme == "https")

    def still_admits(self, admission: Admission, *, has_ended: bool = False) -> Admission | Objection:
        """What this gateway says of a request that was admitted, perhaps by another one: as if it came now, so that
        whatever the verdict depended on counts as it is now, be it addresses, names, mounts or policy.

        `has_ended`: what let it in has ended since; perhaps it is admitted all the same.
        """
        if admission.gateway is self and not has_ended:
            return admission
        verdict = self.admit(admission.inbound)
        if isinstance(verdict, Refusal):
            return Objection("the session has ended" if has_ended else "access was withdrawn", verdict)
        if verdict.route != admission.route:
            return Objection("this address leads elsewhere now")
        return verdict

    def _of_page_under_mount(
        self, inbound: Inbound, caller: Caller, target: str
    ) -> Admission | Refusal | None:
        """What a page under a path mount asks for outside of it: there it is looked for if that can do no harm, and is
        judged there again. None: no page of an instance that this caller may reach asks.
        """
        path = referring_path(
            inbound.headers.getall("Referer"), scheme=caller.scheme, authority=caller.authority
        )
        found = self._router.under(path)
        if found is None:
            return None
        instance, mount = found
        decision = self._decided(caller, instance)
        if not decision.allowed:
            return None
        if inbound.method in ("GET", "HEAD") and "Upgrade" not in inbound.headers:
            detour = Detour(mount.prefix + target, instance=instance)
            return Admission(caller, detour, instance, decision, inbound, self)
        return self.refuse(
            inbound,
            caller,
            OutsideMount(SET_PREFIX.format(mount.prefix)),
            reason=OUTSIDE_MOUNT,
            instance=instance,
        )

    def _enter(
        self, inbound: Inbound, caller: Caller, route: Route, decision: Decision
    ) -> Admission | Refusal:
        """Judge what a caller brings whose address is let in."""
        instance = route.instance
        presented = Presented(
            route,
            self._leads_to.get(instance, ""),
            inbound.method,
            inbound.headers,
            caller.client.address,
            caller.scheme,
            caller.authority,
            inbound.request_id,
        )
        try:
            found = self._entrance.judge(presented, guarded=instance in self._guarded)
        except SignInRequired as error:
            return self.refuse(inbound, caller, error, reason="no session and no token", instance=instance)
        except TokenRefused as error:
            return self.refuse(
                inbound, caller, error, reason=error.reason, instance=instance, user=error.user
            )
        if isinstance(found, Permit):
            if found.xsrf and self._is_foreign(inbound, caller, instance):
                # Jupyter excuses a foreign `Origin` of who brings a token of its own. The token is the gateway's, and
                # Jupyter, which never sees it, would say that there is nothing.
                return self._refuse_foreign(inbound, caller, instance, user=found.principal)
            route = route._replace(upstream_target=found.upstream_target)
            return Admission(caller, route, instance, decision, inbound, self, found, found.principal)
        if isinstance(found, Recognised):
            return Admission(caller, route, instance, decision, inbound, self, None, found.principal)
        user = found.principal if isinstance(found, Entry) else ""
        return Admission(caller, found or route, instance, decision, inbound, self, None, user)

    def _is_foreign(self, inbound: Inbound, caller: Caller, instance: str) -> bool:
        """Whether another site's page wants something of an instance that does not allow for it."""
        return (
            instance != ""
            and instance not in self._cross_site
            and provenance(inbound.headers, scheme=caller.scheme, authority=caller.authority)
            is Provenance.FOREIGN
        )

    def _refuse_foreign(self, inbound: Inbound, caller: Caller, instance: str, *, user: str = "") -> Refusal:
        return self.refuse(
            inbound, caller, CrossSiteRefused(), reason=FOREIGN_PAGE, instance=instance, user=user
        )

    def worker_objection(self, inbound: Inbound, admission: Admission) -> Refusal | None:
        """What there is against the script of a service worker (`Service-Worker: script`), admitted as any request.

        The gateway's own pages have no workers.
        """
        route = admission.route
        if isinstance(route, Route):
            path = (route.prefix + route.upstream_target).partition("?")[0]
            mount = route.mount
            if may_be_worker(path, mount=mount.path or "/", others=self.others_at(mount)):
                return None
        return self.refuse(
            inbound,
            admission.caller,
            WorkerRefused(),
            reason="a service worker that would cover more than its mount",
            instance=admission.instance,
            user=admission.user,
        )

    def others_at(self, mount: Mount) -> tuple[str, ...]:
        """The paths on a mount's origin that are not the mount's."""
        return self._router.others_at(mount)

    def permit(
        self,
        inbound: Inbound,
        caller: Caller,
        instance: str,
        action: str,
        *,
        username: str | None = None,
        user: str = "",
    ) -> Decision | Refusal:
        """Decide about one more action of a request that was admitted.

        `action` is SageMaker's name, such as `sagemaker:StartNotebookInstance`; `username` who signed the request, and
        `user` who the caller is by other proof, which the policy is not asked about.
        """
        decision = self.decide(
            caller.client.address,
            instance,
            secure_transport=caller.scheme == "https",
            action=action,
            username=username,
        )
        if decision.allowed:
            return decision
        return self._deny(inbound, caller, instance, decision, action, username=username, user=user)

    def refuse(
        self,
        inbound: Inbound,
        caller: Caller,
        error: NbgateError,
        *,
        reason: str,
        instance: str = "",
        action: str = CONNECT,
        user: str = "",
    ) -> Refusal:
        """Say no for another reason than the policy, and have it written down. `reason` holds no secret."""
        refusal = Refusal(
            error, caller.client, instance, None, (), action, reason, user, caller.is_behind_proxy
        )
        self._write_down(inbound, refusal)
        return refusal

    def turn_away(self, inbound: Inbound, error: NbgateError, *, has_fields: bool) -> Refusal:
        """Have it written down that a request could not be read (perhaps its fields), so that nothing was decided."""
        peer = inbound.peer
        client = ClientAddress(peer, peer)
        if has_fields:
            client = resolve(peer, inbound.headers, self._trusted_proxies, vouched=inbound.vouched)
        elif self.is_proxy(inbound):
            client = ClientAddress(None, peer, problem="the fields that would say could not be read")
        return self._turn_away(inbound, client, error)

    def _write_down(self, inbound: Inbound, refusal: Refusal) -> None:
        inbound.is_audited = True
        self._audit(inbound, refusal)

    def _turn_away(self, inbound: Inbound, client: ClientAddress, error: NbgateError) -> Refusal:
        reason = f"before any decision: {error.log_detail or error.message}"
        refusal = Refusal(error, client, reason=reason, is_behind_proxy=self.is_proxy(inbound))
        self._write_down(inbound, refusal)
        return refusal

    def _deny(
        self,
        inbound: Inbound,
        caller: Caller,
        instance: str,
        decision: Decision,
        action: str,
        *,
        username: str | None = None,
        user: str = "",
    ) -> Refusal:
        """Say no, and have it written down."""
        verdicts = self.explain(
            caller.client.address,
            instance,
            secure_transport=caller.scheme == "https",
            action=action,
            username=username,
        )
        client = caller.client
        kind, detail = AccessDenied, ""
        if client.address is None:
            kind, detail = ForwardedUnquoted if client.is_unquoted else AddressUnknown, client.problem
        refusal = Refusal(
            kind(NOT_PERMITTED if action != CONNECT else None, detail=detail),
            client,
            instance,
            decision,
            # Where nothing is mounted no statement decided; it was looked for all the same, so that it takes as long.
            decisive(verdicts) if decision is not _NOBODY_REACHES else (),
            action,
            user=username or user,
            is_behind_proxy=caller.is_behind_proxy,
        )
        self._write_down(inbound, refusal)
        return refusal

    def _receive(self, inbound: Inbound) -> Caller | Refusal:
        """Work out who calls."""
        client = resolve(inbound.peer, inbound.headers, self._trusted_proxies, vouched=inbound.vouched)
        try:
            authority = parse_authority(inbound.host)
        except ClientError as error:
            return self._turn_away(inbound, client, error)
        scheme = None
        if not inbound.is_scheme_certain:
            scheme = forwarded_scheme(
                inbound.peer, inbound.headers, self._trusted_proxies, vouched=inbound.vouched
            )
        return Caller(
            None if client.address is None else str(client.address),
            None if client.peer is None else str(client.peer),
            inbound.host,
            scheme or inbound.scheme,
            self.is_proxy(inbound),
            client,
            authority,
        )

    def decide(
        self,
        address: Address | None,
        instance: str,
        *,
        secure_transport: bool | None = None,
        action: str = CONNECT,
        username: str | None = None,
    ) -> Decision:
        """What the policy says of a client address and an instance ("" for the gateway's own pages).

        `username` is aws:username, None where nobody proved to be one.
        """
        key = (instance, secure_transport, action, username)
        by_address = self._by_address.get(key)
        if by_address is None:
            context = self.context(
                None, instance, secure_transport=secure_transport, action=action, username=username
            )
            by_address = self._by_address.keep(key, ByAddress(self.policy(instance), context))
        return by_address.decide(address)

    def context(
        self,
        address: Address | None,
        instance: str,
        *,
        secure_transport: bool | None = None,
        action: str = CONNECT,
        username: str | None = None,
    ) -> Context:
        """What the policy is asked about, for a decision and for its explanation."""
        return Context(
            address,
            action,
            self._resources.get(instance, "*"),
            self.at,
            secure_transport,
            self._region,
            username,
        )

    def explain(
        self,
        address: Address | None,
        instance: str,
        *,
        secure_transport: bool | None = None,
        action: str = CONNECT,
        username: str | None = None,
    ) -> tuple[Verdict, ...]:
        """Every statement's verdict in what `decide` says. Worked out anew each time: for denials and operators."""
        context = self.context(
            address, instance, secure_transport=secure_transport, action=action, username=username
        )
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

    def tenant(self, caller: Caller, port: int) -> str:
        """The instance that has the browser origin that `caller` called for itself; "" for none. `port` is the
        listener's."""
        return self._router.tenant(host=caller.authority.host, listener_port=port)

    def home(self, caller: Caller, port: int) -> str:
        """The path of the gateway's own first page, at the origin that `caller` called."""
        return self._router.home(host=caller.authority.host, listener_port=port)

    def could_let_in(self, address: Address) -> bool:
        """Whether any request from `address` could be admitted, as far as the policy says; else it is a stranger's."""
        if self._prospects is None:
            asked = [
                (self._own_policy, "*"),
                *((policy, self._resources.get(name, "*")) for name, policy in self._policies.items()),
            ]
            self._prospects = Prospects(asked, self.context(None, ""))
        return self._prospects.could_allow(address)

    def is_proxy(self, inbound: Inbound) -> bool:
        """Whether a proxy of ours sent a request."""
        return inbound.vouched if inbound.peer is None else self.trusts(inbound.peer)

    def trusts(self, peer: Address | None) -> bool:
        """Whether `peer` is a proxy of ours, whose connections belong to many callers."""
        return peer is not None and peer in self._trusted_proxies.networks
