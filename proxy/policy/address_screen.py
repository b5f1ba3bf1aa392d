"""Whether a policy could ever allow a client address: asked before anything but the address is known.

The rule: three-valued. What a connection shows before its first byte is the address; the Region and the time belong to
the snapshot; all else (TLS or not, who signs, tags) may turn out as it likes. An Allow counts if it may apply, a Deny
only if it must, so the answer is no only where `evaluate` would deny whatever else a request brings. It must not know
what the answer is good for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from proxy.client_address.networks import Address, Memberships, NetworkSet
from proxy.policy.conditions import Condition
from proxy.policy.context import REGION, SOURCE_IP, TIME, VPC_SOURCE_IP, Context
from proxy.policy.statements import Effect, Policy, Statement

_ADDRESS = frozenset({SOURCE_IP, VPC_SOURCE_IP})

_Conditions = tuple[Condition, ...]
"""Of one statement: those that the address decides. Empty: it applies to every address."""


class AddressScreen:
    """Of several policies, each asked about a resource of its own: could one of them allow an address?"""

    __slots__ = ("_cases", "_context", "networks")

    def __init__(self, asked: Iterable[tuple[Policy, str]], context: Context) -> None:
        """`asked` are policies and resources; of `context` count the action, the Region and the time.

        A time that is None is not known, and may be any.
        """
        self._context = context
        cases: dict[frozenset[tuple[int, ...]], _Case] = {}
        for policy, resource in asked:
            case = _Case(policy, context._replace(resource=resource))
            known = cases.setdefault(frozenset(case.denies), case)
            known.allows.update(case.allows)
        kept: list[_Case] = []
        # Instances narrow what counts for all: mostly the widest case is the only one that is left.
        for case in sorted(cases.values(), key=lambda case: len(case.denies)):
            if case.allows and not any(other.covers(case) for other in kept):
                kept.append(case)
        self._cases = tuple((tuple(case.denies.values()), tuple(case.allows.values())) for case in kept)
        sets = {id(one): one for case in kept for one in case.networks()}
        self.networks = Memberships(sets.values())
        """Addresses that are in the same of these have the same answer."""

    def could_allow(self, address: Address) -> bool:
        """Whether there is a request from `address` that is allowed. Never raises."""
        context = self._context._replace(source_ip=address)
        return any(
            not any(_hold(conditions, context) for conditions in denies)
            and any(_hold(conditions, context) for conditions in allows)
            for denies, allows in self._cases
        )


class _Case:
    """What is left of a policy for one resource: the Denies that must apply and the Allows that may, by the address.

    Statements are told apart by their conditions' identity: those of the gateway are shared by all instances, and to
    compare large lists is dear.
    """

    __slots__ = ("allows", "denies")

    def __init__(self, policy: Policy, context: Context) -> None:
        self.denies: dict[tuple[int, ...], _Conditions] = {}
        self.allows: dict[tuple[int, ...], _Conditions] = {}
        for statement in policy.statements:
            conditions = _by_address(statement, context)
            if conditions is not None:
                found = self.denies if statement.effect is Effect.DENY else self.allows
                found[tuple(map(id, conditions))] = conditions

    def networks(self) -> Iterator[NetworkSet]:
        """The sets that its conditions look into."""
        for conditions in chain(self.denies.values(), self.allows.values()):
            yield from (one.values for one in conditions if isinstance(one.values, NetworkSet))

    def covers(self, other: _Case) -> bool:
        """Whether every address that `other` could allow could be allowed here."""
        return self.denies.keys() <= other.denies.keys() and other.allows.keys() <= self.allows.keys()


def _by_address(statement: Statement, context: Context) -> _Conditions | None:
    """The conditions that the address decides; None for an Allow that cannot apply, or a Deny that need not."""
    if not statement.is_about(context):
        return None
    conditions = []
    for condition in statement.conditions:
        name = condition.key.name
        if name in _ADDRESS:
            conditions.append(condition)
        elif name == REGION or (name == TIME and context.now is not None):
            if not condition.holds(context):
                return None
        elif statement.effect is Effect.DENY:
            return None
    return tuple(conditions)


def _hold(conditions: _Conditions, context: Context) -> bool:
    return all(condition.holds(context) for condition in conditions)
