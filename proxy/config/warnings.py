"""What a valid file says that is hardly meant: `nbgate check`, the start and each reload say it, and go on.

Its rule: one function per kind; what is certainly wrong belongs to `proxy.config.consistency`. Networks are judged by
what they hold together, since 0.0.0.0/1 and 128.0.0.0/1 are everybody as 0.0.0.0/0 is. It must not know lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from proxy.client_address.networks import Network, NetworkSet
from proxy.config.findings import Finding
from proxy.config.places import host_beside
from proxy.config.schema import File
from proxy.config.settings import Settings
from proxy.config.yaml_lines import KeyPath
from proxy.policy.conditions import Kind
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm
from proxy.policy.statements import Statement
from proxy.routing.jupyters import differs_from_jupyters
from proxy.routing.mounts import MountKind

ANY_IPV4 = IPv4Network("0.0.0.0/0")
ANY_IPV6 = IPv6Network("2000::/3")
"""All that the Internet has (RFC 4291 section 2.4)."""

_OWN = "list the networks of those who are meant"

API_KEYS = 'add api_keys: {NBGATEALICE1: {secret: "${NBGATE_ALICE_SECRET}"}}'


def warnings(file: File, settings: Settings) -> Iterator[Finding]:
    """Everything of the kind. `settings` are what the file means."""
    yield from _lists(file, settings)
    yield from _restrictions(settings)
    yield from _statements(settings)
    yield from _preludes(file)
    yield from _root_beside_paths(settings)
    yield from _named_as_jupyters(settings)
    yield from _links_for_whoever_is_let_in(file, settings)


def everybody_in(networks: NetworkSet) -> str:
    """`every IPv4 address` and its like, where a set holds that; else ""."""
    v4, v6 = networks.covers(ANY_IPV4), networks.covers(ANY_IPV6)
    if v4 and v6:
        return "every address"
    return "every IPv4 address" if v4 else "every IPv6 address" if v6 else ""


def _lists(file: File, settings: Settings) -> Iterator[Finding]:
    for name, one in settings.allowlists.items():
        if everybody := everybody_in(one.networks):
            entries = [entry.cidr for entry in file.allowlists.get(name, ())]
            alone = [index for index, cidr in enumerate(entries) if everybody_in(NetworkSet([cidr]))]
            path: KeyPath = ("allowlists", name, alone[0]) if alone else ("allowlists", name)
            said = f"is {everybody}" if alone else f"holds {everybody}, all networks together"
            yield Finding(path, f"{said}: the list stands for everybody", _OWN)


def _restrictions(settings: Settings) -> Iterator[Finding]:
    places: list[tuple[KeyPath, ShortForm | None]] = [(("policy",), settings.restriction)]
    places += [(("instances", name), one.restriction) for name, one in settings.instances.items()]
    for place, form in places:
        if form is None:
            continue
        if form.allow is not None and (everybody := _together(form.allow)):
            yield Finding(
                (*place, "allow"), f"the lists together hold {everybody}: everybody is let in", _OWN
            )
        if denied := _everybody_in_any(form.deny):
            yield Finding((*place, "deny"), f"the lists hold {denied}: nobody who has one is let in", _OWN)


def _together(lists: Iterable[NamedList]) -> str:
    """What several lists hold that none of them holds alone, which is said of that one."""
    given = tuple(lists)
    return "" if any(everybody_in(one.networks) for one in given) else _everybody_in_any(given)


def _everybody_in_any(lists: Iterable[NamedList]) -> str:
    given = [one.networks for one in lists]
    if len(given) == 1:
        return everybody_in(given[0])
    # Lists may be long, and a set of all of them is dear to make: only where there are addresses enough.
    whole = (ANY_IPV4, ANY_IPV6)
    if all(sum(_count(one, network) for one in given) < network.num_addresses for network in whole):
        return ""
    return everybody_in(NetworkSet(network for one in given for network in one))


def _count(networks: NetworkSet, within: Network) -> int:
    return sum(stop - start for start, stop in networks.meeting(within))


def _statements(settings: Settings) -> Iterator[Finding]:
    places: list[tuple[KeyPath, tuple[Statement, ...]]] = [(("policy",), settings.statements)]
    places += [(("instances", name), one.statements) for name, one in settings.instances.items()]
    for place, statements in places:
        for index, statement in enumerate(statements):
            for condition in statement.conditions:
                networks = condition.values
                if condition.operator.kind is not Kind.ADDRESS or not isinstance(networks, NetworkSet):
                    continue
                if everybody := everybody_in(networks):
                    message = f"{condition.operator.name} on {condition.key.name} has {everybody}: that is everybody"
                    yield Finding((*place, "statements", index), message, _OWN)


def _preludes(file: File) -> Iterator[Finding]:
    trusted = NetworkSet(file.client_address.trusted_proxies)
    for index, listener in enumerate(file.listeners):
        for at, network in enumerate(listener.proxy_protocol):
            if any(trusted.meeting(network)):
                yield Finding(
                    ("listeners", index, "proxy_protocol", at),
                    f"{network} meets client_address.trusted_proxies: what connects from there without saying for "
                    "whom, as health checks do, may name any client in a header",
                    "leave it out of trusted_proxies, where proxies belong that write that header",
                )


def _root_beside_paths(settings: Settings) -> Iterator[Finding]:
    kinds = {name: mount.kind for name, mount in settings.mounts.items()}
    if MountKind.PATH not in kinds.values():
        return
    for name, kind in kinds.items():
        if kind is MountKind.ROOT:
            host = host_beside(settings.hostnames, name)
            yield Finding(
                ("instances", name, "mount"),
                "the root takes what applications under path mounts ask for outside of those, which would be led back "
                "to them otherwise",
                f"give it a place of its own: {f'{{host: {host}}}, or ' if host else ''}{{path: /{name}/}}",
            )


def _named_as_jupyters(settings: Settings) -> Iterator[Finding]:
    for name, mount in settings.mounts.items():
        if differs_from_jupyters(mount.path):
            continue
        yield Finding(
            ("instances", name, "mount"),
            f"Jupyter's own addresses begin with {mount.path}, too, and cannot be told from those below the mount: "
            "they are not rewritten, so that its pages do not work there",
            f"mount it elsewhere: {{path: {mount.prefix}-notebook/}}",
        )


def _links_for_whoever_is_let_in(file: File, settings: Settings) -> Iterator[Finding]:
    names = [name for name, one in settings.instances.items() if one.access == "presigned"]
    if not names or settings.api.is_signed:
        return
    own = [name for name in names if (file.instances or {})[name].access is not None]
    place: KeyPath = ("instances", own[0], "access") if own else ("access",)
    keys = "remove signed: optional" if settings.api.keys else API_KEYS
    yield Finding(
        place,
        "an address that the policy allows is enough all the same: whoever has one makes a link without credentials, "
        f"by the JSON API or SageMaker's API at this gateway ({', '.join(names)})",
        f"{keys}: links are then made for who signs, and by nbgate url",
    )
