"""The short form, `allow:` and `deny:` with names of lists, compiled to statements.

The rule: an allow list is a Deny for everybody outside of it, so lists that meet can only narrow each other;
the one Allow belongs to the gateway, and an instance adds nothing but Denies. An allow list that is missing
or empty at the gateway lets nobody in (Traefik took that for "no rule", #11605). An entry that ends becomes a
Deny from then on. It must not know the configuration's file format, nor evaluate anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from proxy.client_address.networks import Network, NetworkSet
from proxy.policy.conditions import Condition, compile_condition
from proxy.policy.dates import format_instant
from proxy.policy.errors import PolicyError
from proxy.policy.lists import NamedList, Remark, by_end, lasting, union, without
from proxy.policy.statements import Effect, Policy, Statement


@dataclass(frozen=True, slots=True)
class ShortForm:
    """The `allow` and `deny` of one place. `allow` None is an absent one, () an empty one.

    The origins are where the two were written.
    """

    allow: tuple[NamedList, ...] | None = None
    deny: tuple[NamedList, ...] = ()
    allow_origin: str = field(default="", compare=False)
    deny_origin: str = field(default="", compare=False)


def gateway_policy(form: ShortForm, statements: tuple[Statement, ...] = ()) -> Policy:
    """What holds for every instance: statements `gateway-allow`, `gateway-allow-listed` and `gateway-deny`.

    `gateway-allow` denies whoever is not on an allow list, everybody if there is none; `gateway-allow-listed`
    is the Allow for the rest; `gateway-deny`, where there are deny lists, beats both. The long form's
    `statements` join them, and where they stand without an `allow` they alone say who is let in.
    """
    if form.allow is None and statements:
        return Policy((*_narrowing("gateway", form), *statements))
    if not form.allow:
        nobody = ShortForm((), form.deny, form.allow_origin, form.deny_origin)
        return Policy((*_narrowing("gateway", nobody), *statements))
    # It needs no condition: whoever is not on the list meets the Deny, and so does an unknown address.
    listed = Statement(
        "gateway-allow-listed",
        Effect.ALLOW,
        note=f"on gateway-allow ({_names(form.allow)})",
        origin=form.allow_origin,
    )
    return Policy((*_narrowing("gateway", form), listed, *statements))


def instance_policy(
    gateway: Policy, *, name: str, form: ShortForm | None, statements: tuple[Statement, ...] = ()
) -> Policy:
    """The gateway's policy, narrowed by what the instance `name` says: `instance-<name>-allow` and `-deny`.

    An absent `allow` narrows nothing; an empty one lets nobody in. Raises `PolicyError` where one of its
    `statements` allows.
    """
    for statement in statements:
        if statement.effect is Effect.ALLOW:
            raise PolicyError(
                "an instance narrows the gateway-wide policy, so its statements deny",
                "write it under policy.statements, with the instance's ARN as its Resource",
            )
    if form is None and not statements:
        return gateway
    narrowing = _narrowing(f"instance-{name}", form) if form is not None else ()
    return Policy((*gateway.statements, *narrowing, *statements))


def _narrowing(scope: str, form: ShortForm) -> tuple[Statement, ...]:
    """Denies only, whatever the form says: this is why an instance cannot widen."""
    statements: list[Statement] = []
    if form.allow is not None:
        outside = _source_ip("NotIpAddress", union(form.allow), form.allow)
        note = f"not on {scope}-allow ({_names(form.allow) or 'nobody is'})"
        statements.append(
            Statement(
                f"{scope}-allow", Effect.DENY, conditions=(outside,), note=note, origin=form.allow_origin
            )
        )
        statements += _ended(scope, form.allow, form.allow_origin)
    if form.deny:
        statements += _denied(scope, form.deny, form.deny_origin)
    return tuple(statements)


def _ended(scope: str, lists: Sequence[NamedList], origin: str) -> Iterator[Statement]:
    """From each end on, a Deny for whoever was on an allow list by entries that have ended, and by no other."""
    groups = by_end(lists)
    if not groups:
        return
    always = lasting(lists)
    later: list[Network] = []
    # From the last to end to the first, so that what lasts longer is known.
    statements = []
    for until, remarks in reversed(groups.items()):
        ending = [remark.network for remark in remarks]
        only = without(without(ending, NetworkSet(later)), always)
        later += ending
        if len(only):
            note = f"no longer on {scope}-allow ({_noted(remarks)}, until {format_instant(until)})"
            statements.append(
                Statement(
                    f"{scope}-allow-until-{format_instant(until)}",
                    Effect.DENY,
                    # An unknown time ends it: a clock that fails must not let anybody in.
                    conditions=(
                        _time("DateGreaterThanEqualsIfExists", until),
                        _source_ip("IpAddress", only, lists),
                    ),
                    note=note,
                    origin=origin,
                )
            )
    yield from reversed(statements)


def _denied(scope: str, lists: Sequence[NamedList], origin: str) -> Iterator[Statement]:
    """A Deny for whoever is on a deny list, and one for each end, until then."""
    groups = by_end(lists)
    always = lasting(lists)
    if len(always) or not groups:
        yield Statement(
            f"{scope}-deny",
            Effect.DENY,
            conditions=(_source_ip("IpAddress", always, lists),),
            note=f"on {scope}-deny ({_names(lists)})",
            origin=origin,
        )
    for until, remarks in groups.items():
        networks = NetworkSet(remark.network for remark in remarks)
        yield Statement(
            f"{scope}-deny-until-{format_instant(until)}",
            Effect.DENY,
            conditions=(_time("DateLessThanIfExists", until), _source_ip("IpAddress", networks, lists)),
            note=f"on {scope}-deny ({_noted(remarks)}, until {format_instant(until)})",
            origin=origin,
        )


def _source_ip(operator: str, networks: NetworkSet, lists: Sequence[NamedList]) -> Condition:
    return compile_condition(operator, "aws:SourceIp", networks, label=_names(lists))


def _time(operator: str, until: datetime) -> Condition:
    return compile_condition(operator, "aws:CurrentTime", [format_instant(until)])


def _names(lists: Sequence[NamedList]) -> str:
    return " or ".join(named.name for named in lists)


def _noted(remarks: Iterable[Remark]) -> str:
    return ", ".join(
        f"{remark.network}: {remark.note}" if remark.note else str(remark.network) for remark in remarks
    )
