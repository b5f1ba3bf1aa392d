"""Named lists of networks, whose entries may have a note and an end.

The rule: an entry counts until the instant of its end, and an address counts for as long as any entry that
covers it. It must not know whether a list lets in or keeps out, nor what time it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, summarize_address_range
from itertools import chain

from proxy.client_address.networks import Network, NetworkSet


@dataclass(frozen=True, slots=True)
class Remark:
    """What is said of one entry besides its network. `until` is in UTC; None: it has no end."""

    network: Network
    note: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class NamedList:
    """A list of the configuration's `allowlists`, ended entries included.

    `remarks` are of those entries that have a note or an end; `origin` is where the list was written.
    """

    name: str
    networks: NetworkSet
    remarks: tuple[Remark, ...] = ()
    origin: str = field(default="", compare=False)

    @property
    def ending(self) -> tuple[Remark, ...]:
        """The entries that have an end."""
        return tuple(remark for remark in self.remarks if remark.until is not None)


def union(lists: Sequence[NamedList]) -> NetworkSet:
    """Everything that is on some list. One list's own set is taken as it is, however large."""
    if len(lists) == 1:
        return lists[0].networks
    return NetworkSet(chain.from_iterable(each.networks for each in lists))


def lasting(lists: Sequence[NamedList]) -> NetworkSet:
    """What is on some list without an end."""
    if not any(each.ending for each in lists):
        return union(lists)
    networks: list[Network] = []
    for each in lists:
        ends = {remark.network for remark in each.ending}
        # The same network may be listed twice, with an end and without.
        spoken_of = [remark.network for remark in each.remarks if remark.until is None]
        networks += [network for network in each.networks if network not in ends]
        networks += [network for network in spoken_of if network in ends]
    return NetworkSet(networks)


def by_end(lists: Sequence[NamedList]) -> dict[datetime, list[Remark]]:
    """The entries that have an end, by it, the first to end first."""
    groups: dict[datetime, list[Remark]] = {}
    for remark in chain.from_iterable(each.ending for each in lists):
        assert remark.until is not None
        groups.setdefault(remark.until, []).append(remark)
    return dict(sorted(groups.items()))


def without(networks: Iterable[Network], others: NetworkSet) -> NetworkSet:
    """The addresses of `networks` that are not in `others`."""
    return NetworkSet(chain.from_iterable(_outside(network, others) for network in networks))


def _outside(network: Network, others: NetworkSet) -> Iterator[Network]:
    version = IPv4Address if isinstance(network, IPv4Network) else IPv6Address
    at, stop = int(network.network_address), int(network.broadcast_address) + 1
    for start, end in others.meeting(network):
        if start > at:
            yield from summarize_address_range(version(at), version(start - 1))
        at = end
    if at < stop:
        yield from summarize_address_range(version(at), version(stop - 1))
