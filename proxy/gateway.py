"""The one door: every HTTP request and every WebSocket passes `Gateway.admit`, and nothing else decides.

    resolve client address -> identify caller -> match route -> evaluate policy -> judge what it brings
    -> audit -> Admission | Refusal

A `Gateway` is built from one frozen snapshot of the configuration and never changes: a reload builds another
and swaps one reference. It knows no sockets, no aiohttp and no AWS; deciding takes no I/O, so the answer is
there before the next byte is read. The address is judged first: whoever it keeps out learns nothing of links,
sessions and tokens, which `access` judges; nor which instances there are, for a path where nothing is mounted is
refused in the same words. What the page is made of stands in `proxy.admission`.
"""

from __future__ import annotations

from proxy.admission import pages
from proxy.admission.access import AccessCheck, NoCredentials, presented
from proxy.admission.caller import Caller, Inbound, identify
from proxy.admission.pages import SAFE_METHODS
from proxy.admission.refusal import NOBODY_REACHES, denied, unread
from proxy.admission.rules import Rules
from proxy.admission.verdict import Admission, Audit, Objection, Refusal
from proxy.errors import (
    ClientError,
    CrossSiteRefused,
    NbgateError,
    SignInRequired,
    TokenRefused,
    WorkerRefused,
)
from proxy.policy.context import CONNECT
from proxy.policy.evaluate import Decision
from proxy.policy.judge import Question
from proxy.routing.authority import origin_form
from proxy.routing.entry import EntryRedirect, Permit, Recognised
from proxy.routing.router import Detour, OwnPage, Route


class Gateway:
    """Decides by `rules`. `access` judges what callers bring besides their address; without one nobody is let in by a
    session or a token. `audit` is told of all who are refused.
    """

    def __init__(self, rules: Rules, *, audit: Audit, access: AccessCheck | None = None) -> None:
        self.rules = rules
        self._audit = audit
        self._access = access or NoCredentials()
        if rules.guarded:
            self._access.watch()

    def admit(
        self, inbound: Inbound, known: Admission | None = None, *, is_repeated: bool = False
    ) -> Admission | Refusal:
        """Decide about one request. Never raises for anything that a caller sends.

        `known` is an earlier one of the same connection, and the answer where that is asked for again; `is_repeated`:
        it had the same fields, to the letter.
        """
        rules, caller, host = self.rules, None, inbound.host
        if known is not None and known.rules is rules:
            before = known.caller
            if before.host == host and (is_repeated or not before.is_behind_proxy):
                caller = before
                if not self._access.is_watching and known.is_asked_again(inbound):
                    return known
        try:
            if caller is None:
                caller, known = identify(inbound, rules.address_strategy), None
            authority, target = caller.authority, origin_form(inbound.target, host)
            route = rules.router.match(
                host=authority.host, listener_port=inbound.port, target=target, port=authority.port
            )
        except ClientError as error:
            return self.turn_away(inbound, error, has_fields=True)
        if route is None and "Referer" in inbound.headers:
            led_back = self._lead_back(inbound, caller, target)
            if led_back is not None:
                return led_back
        instance = "" if route is None else route.instance
        if known is not None and known.instance == instance:
            decision = known.decision
        else:
            decision = rules.judge.decide(caller.question(instance))
        if route is None or not decision.allowed:
            decision = NOBODY_REACHES if decision.allowed else decision
            return self._deny(inbound, caller, caller.question(instance), decision)
        if inbound.method not in SAFE_METHODS:
            foreign = self._check_foreign(inbound, caller, instance)
            if foreign is not None:
                return foreign
        if self._access.is_watching and isinstance(route, Route):
            return self._enter(inbound, caller, route, decision)
        return Admission(caller, route, instance, decision, inbound, rules)

    def still_admits(self, admission: Admission, *, has_ended: bool = False) -> Admission | Objection:
        """What this gateway says of a request that was admitted, perhaps by another one: as if it came now, so that
        whatever the verdict depended on counts as it is now, be it addresses, names, mounts or policy.

        `has_ended`: what let it in has ended since; perhaps it is admitted all the same.
        """
        if admission.rules is self.rules and not has_ended:
            return admission
        verdict = self.admit(admission.inbound)
        if isinstance(verdict, Refusal):
            return Objection("the session has ended" if has_ended else "access was withdrawn", verdict)
        return verdict if verdict.route == admission.route else Objection("this address leads elsewhere now")

    def permit(
        self, inbound: Inbound, caller: Caller, question: Question, *, user: str = ""
    ) -> Decision | Refusal:
        """Decide about one more action of a request that was admitted. `user` is who the caller is by other proof than
        the `principal` that the policy is asked about.
        """
        decision = self.rules.judge.decide(question)
        return decision if decision.allowed else self._deny(inbound, caller, question, decision, user=user)

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
        """Say no for another reason than the policy. `reason` holds no secret."""
        client, is_behind = caller.client, caller.is_behind_proxy
        refusal = Refusal(error, client, instance, None, (), action, reason, user, is_behind)
        return self._written(inbound, refusal)

    def check_worker(self, inbound: Inbound, admission: Admission) -> Refusal | None:
        """What there is against the script of a service worker (`Service-Worker: script`), admitted as any request."""
        if pages.is_confined_worker(admission.route, self.rules.router):
            return None
        caller, instance, user = admission.caller, admission.instance, admission.user
        error, reason = WorkerRefused(), pages.WIDE_WORKER
        return self.refuse(inbound, caller, error, reason=reason, instance=instance, user=user)

    def turn_away(self, inbound: Inbound, error: NbgateError, *, has_fields: bool) -> Refusal:
        """Say no to what could not be read (perhaps its fields), so that nothing was decided."""
        return self._written(
            inbound, unread(inbound, error, self.rules.address_strategy, has_fields=has_fields)
        )

    def _lead_back(self, inbound: Inbound, caller: Caller, target: str) -> Admission | Refusal | None:
        """What a page under a path mount asks for outside of it: there it is looked for if that can do no harm, and is
        judged there again. None: no page of an instance that this caller may reach asks.
        """
        found = pages.asking_mount(inbound, caller, self.rules.router)
        if found is None:
            return None
        instance, mount = found
        decision = self.rules.judge.decide(caller.question(instance))
        if not decision.allowed:
            return None
        if pages.may_be_led_back(inbound):
            detour = Detour(mount.prefix + target, instance=instance)
            return Admission(caller, detour, instance, decision, inbound, self.rules)
        error = pages.outside(mount)
        return self.refuse(inbound, caller, error, reason=pages.OUTSIDE_MOUNT, instance=instance)

    def _enter(
        self, inbound: Inbound, caller: Caller, route: Route, decision: Decision
    ) -> Admission | Refusal:
        """Judge what a caller brings whose address is let in."""
        instance, user, permit = route.instance, "", None
        brought = presented(inbound, caller, route, leads_to=self.rules.leads_to.get(instance, ""))
        try:
            found = self._access.judge(brought, guarded=instance in self.rules.guarded)
        except (SignInRequired, TokenRefused) as error:
            reason, user = error.reason, error.user
            return self.refuse(inbound, caller, error, reason=reason, instance=instance, user=user)
        if isinstance(found, Permit | Recognised | EntryRedirect):
            user = found.principal
        if isinstance(found, Permit):
            # Jupyter excuses a foreign `Origin` of who brings a token of its own. The token is the gateway's, and
            # Jupyter, which never sees it, would say that there is nothing.
            foreign = self._check_foreign(inbound, caller, instance, user=user) if found.xsrf else None
            if foreign is not None:
                return foreign
            permit, route = found, route._replace(upstream_target=found.upstream_target)
        leads = found if isinstance(found, EntryRedirect | OwnPage) else route
        return Admission(caller, leads, instance, decision, inbound, self.rules, permit, user)

    def _check_foreign(
        self, inbound: Inbound, caller: Caller, instance: str, *, user: str = ""
    ) -> Refusal | None:
        """What there is against another site's page that wants something of an instance which does not allow for it."""
        if not instance or instance in self.rules.cross_site or not pages.is_foreign(inbound, caller):
            return None
        error, reason = CrossSiteRefused(), pages.FOREIGN_PAGE
        return self.refuse(inbound, caller, error, reason=reason, instance=instance, user=user)

    def _deny(
        self, inbound: Inbound, caller: Caller, question: Question, decision: Decision, *, user: str = ""
    ) -> Refusal:
        return self._written(inbound, denied(caller, question, decision, self.rules.judge, user=user))

    def _written(self, inbound: Inbound, refusal: Refusal) -> Refusal:
        inbound.is_audited = True
        self._audit(inbound, refusal)
        return refusal
