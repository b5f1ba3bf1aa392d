"""What is counted at accept: how many connections may be open, in all and of whom.

The rule: a connection has its place from the moment it is accepted, before TLS and before a byte of it is read, and
keeps it until it ends, as a WebSocket too. Addresses that some rule could let in draw on a large budget, others on a
small one, and all of those together get a part of what there is, so that strangers never use up the places of people
who may come in. Who is which is asked of the gateway of now, once for each connection. It must not know sockets.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from ipaddress import IPv6Network
from typing import Final

from proxy.client_address.networks import Address, subscriber
from proxy.config.sections import Limits
from proxy.dataplane.bounds import HELD_TOO_MUCH, IN_ALL, OF_ADDRESS, OF_STRANGER, OF_STRANGERS
from proxy.errors import LimitMet, TooManyConnections, TooManyFromAddress
from proxy.telemetry.limits_met import Bound

STRANGERS_PART: Final = 4
"""All strangers together get one in so many of all places."""
ANSWERED: Final = 64
ANSWERED_OF_ADDRESS: Final = 8
"""So many connections above a limit are kept until they were told so, in all and of one address."""


class Claim(Enum):
    """What a connection may draw on."""

    TRUSTED = (
        "a proxy of ours, or whoever may open the Unix socket: many callers, so no budget for one address"
    )
    WELCOME = "an address that some rule could let in"
    STRANGER = "any other address"


_Key = tuple[Claim, Address | IPv6Network | None]


class Place:
    """One connection's place among those that are open. `peer` is where it comes from, as far as that is known."""

    __slots__ = ("_budgets", "_key", "claim", "is_held", "is_surplus", "met", "peer")

    def __init__(self, budgets: Budgets, key: _Key, peer: Address | None, met: Bound | None) -> None:
        self._budgets: Budgets | None = budgets
        self._key = key
        self.claim = key[0]
        self.peer = peer
        self.met = met
        """The limit that the connection met; it is then there for nothing but to be told so."""
        self.is_held = False
        """A protocol has the connection, and leaves the place when it is lost."""

    @property
    def fault(self) -> LimitMet:
        """What to tell the caller of the limit that was met."""
        return TooManyFromAddress() if self.met is OF_ADDRESS else TooManyConnections()

    def leave(self) -> None:
        """The connection has ended. Harmless when done already."""
        budgets, self._budgets = self._budgets, None
        if budgets is not None:
            budgets.left(self._key, is_surplus=self.met is not None)


class Budgets:
    """The places of one process. `limits` may be exchanged; what is open keeps its place."""

    def __init__(self, limits: Limits, *, most: int | None = None) -> None:
        """`most`: no more connections than that, whatever the configuration says."""
        self.limits = limits
        self._most = most
        self._open: Counter[_Key] = Counter()
        self._surplus: Counter[_Key] = Counter()
        self.in_all = 0
        self._strangers = 0

    @property
    def most(self) -> int:
        """How many connections there may be at once."""
        return self.limits.connections if self._most is None else min(self.limits.connections, self._most)

    @property
    def most_strangers(self) -> int:
        """How many of them may be strangers'."""
        return max(1, self.most // STRANGERS_PART)

    def take(self, peer: Address | None, claim: Claim) -> Place | Bound:
        """A place for a connection; the limit that it meets if there is none, and no room to tell the caller."""
        key = (claim, None if peer is None or claim is Claim.TRUSTED else subscriber(peer))
        met = self._met(key)
        if met is None:
            self._open[key] += 1
            self._strangers += claim is Claim.STRANGER
        elif (
            claim is Claim.STRANGER
            or self._surplus.total() >= ANSWERED
            or self._surplus[key] >= ANSWERED_OF_ADDRESS
        ):
            return met
        else:
            self._surplus[key] += 1
        self.in_all += 1
        return Place(self, key, peer, met)

    def value(self, bound: Bound) -> int | None:
        """How much a limit lets there be; None for a limit of another kind."""
        return {
            IN_ALL: self.most,
            OF_ADDRESS: self.limits.connections_per_address,
            OF_STRANGER: self.limits.connections_per_stranger,
            OF_STRANGERS: self.most_strangers,
            HELD_TOO_MUCH: self.limits.held_per_address_bytes,
        }.get(bound)

    def left(self, key: _Key, *, is_surplus: bool) -> None:
        """A place is free again."""
        counted = self._surplus if is_surplus else self._open
        counted[key] -= 1
        if not counted[key]:
            del counted[key]
        self.in_all -= 1
        self._strangers -= key[0] is Claim.STRANGER

    def _met(self, key: _Key) -> Bound | None:
        claim, count = key[0], self._open[key]
        if claim is Claim.STRANGER:
            if count >= self.limits.connections_per_stranger:
                return OF_STRANGER
            if self._strangers >= self.most_strangers:
                return OF_STRANGERS
        elif claim is Claim.WELCOME and count >= self.limits.connections_per_address:
            return OF_ADDRESS
        return IN_ALL if self.in_all - self._surplus.total() >= self.most else None
