"""One policy, asked about many addresses that come with the same action, resource, time and all else.

The rule: addresses that are in the same of the policy's networks get the same decision, so the evaluator is asked once
for each such group, and every later address of it costs one search in each set of networks. It decides nothing by
itself, and must not know how many callers there are.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.client_address.networks import Address, Memberships, NetworkSet
from proxy.memory import Memo
from proxy.policy.conditions import Kind
from proxy.policy.context import Context
from proxy.policy.evaluate import Decision, evaluate
from proxy.policy.statements import Policy

GROUPS_REMEMBERED = 4096
"""There are few, unless lists overlap in as many ways."""

_UNKNOWN = -1


class ByAddress:
    """`decide(address)` is `evaluate` of the policy with that address in the context, whose own does not matter."""

    __slots__ = ("_context", "_decisions", "_memberships", "_policy")

    def __init__(self, policy: Policy, context: Context) -> None:
        self._policy = policy
        self._context = context
        # By identity: places that name the same list share its set, and comparing large ones is dear.
        self._memberships = Memberships({id(one): one for one in _networks(policy, context)}.values())
        self._decisions: Memo[int, Decision] = Memo(GROUPS_REMEMBERED)

    def decide(self, address: Address | None) -> Decision:
        """The decision for a client address; None: it could not be determined. Never raises."""
        group = _UNKNOWN if address is None else self._memberships.of(address)
        decision = self._decisions.get(group)
        if decision is None:
            decision = evaluate(self._policy, self._context._replace(source_ip=address))
            self._decisions.keep(group, decision)
        return decision


def _networks(policy: Policy, context: Context) -> Iterator[NetworkSet]:
    """All that a decision can hang on in an address, besides whether there is one."""
    for statement in policy.statements:
        if context.action in statement.actions and context.resource in statement.resources:
            for condition in statement.conditions:
                if condition.operator.kind is Kind.ADDRESS:
                    assert isinstance(condition.values, NetworkSet)
                    yield condition.values
