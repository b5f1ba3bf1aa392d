"""The short form, `allow:` and `deny:` with names of lists, compiled to statements.

The rule: an allow list is a Deny for everybody outside of it, so lists that meet can only narrow each other;
the one Allow belongs to the gateway, and an instance adds nothing but Denies. An allow list that is missing
or empty at the gateway lets nobody in (Traefik took that for "no rule", #11605). It must not know the
configuration's file format, nor evaluate anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from proxy.client_address.networks import NetworkSet
from proxy.policy.conditions import Condition, compile_condition
from proxy.policy.statements import Effect, Policy, Statement


@dataclass(frozen=True, slots=True)
class NamedList:
    """A list of the configuration's `allowlists`."""

    name: str
    networks: NetworkSet


@dataclass(frozen=True, slots=True)
class ShortForm:
    """The `allow` and `deny` of one place. `allow` None is an absent one, () an empty one."""

    allow: tuple[NamedList, ...] | None = None
    deny: tuple[NamedList, ...] = ()


def gateway_policy(form: ShortForm) -> Policy:
    """What holds for every instance: statements `gateway-allow`, `gateway-allow-listed` and `gateway-deny`.

    `gateway-allow` denies whoever is not on an allow list, everybody if there is none; `gateway-allow-listed`
    is the Allow for the rest; `gateway-deny`, where there are deny lists, beats both.
    """
    if not form.allow:
        return Policy(_narrowing("gateway", ShortForm((), form.deny)))
    # It needs no condition: whoever is not on the list meets the Deny, and so does an unknown address.
    listed = Statement("gateway-allow-listed", Effect.ALLOW, note=f"on gateway-allow ({_names(form.allow)})")
    return Policy((*_narrowing("gateway", form), listed))


def instance_policy(gateway: Policy, *, name: str, form: ShortForm | None) -> Policy:
    """The gateway's policy, narrowed by what the instance `name` says: `instance-<name>-allow` and `-deny`.

    An absent `allow` narrows nothing; an empty one lets nobody in.
    """
    if form is None:
        return gateway
    return Policy(gateway.statements + _narrowing(f"instance-{name}", form))


def _narrowing(scope: str, form: ShortForm) -> tuple[Statement, ...]:
    """Denies only, whatever the form says: this is why an instance cannot widen."""
    statements = []
    if form.allow is not None:
        outside = _source_ip("NotIpAddress", _union(form.allow))
        note = f"not on {scope}-allow ({_names(form.allow) or 'nobody is'})"
        statements.append(Statement(f"{scope}-allow", Effect.DENY, conditions=(outside,), note=note))
    if form.deny:
        inside = _source_ip("IpAddress", _union(form.deny))
        note = f"on {scope}-deny ({_names(form.deny)})"
        statements.append(Statement(f"{scope}-deny", Effect.DENY, conditions=(inside,), note=note))
    return tuple(statements)


def _source_ip(operator: str, networks: NetworkSet) -> Condition:
    return compile_condition(operator, "aws:SourceIp", networks)


def _union(lists: Sequence[NamedList]) -> NetworkSet:
    if len(lists) == 1:
        return lists[0].networks
    return NetworkSet(chain.from_iterable(named.networks for named in lists))


def _names(lists: Sequence[NamedList]) -> str:
    return " or ".join(named.name for named in lists)
