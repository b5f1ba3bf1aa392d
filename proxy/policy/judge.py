"""The judge: what the policies of one snapshot say of a question, at one instant.

    Question(address, instance, action, secure, principal) -> Judge.decide -> Decision

The rule: two questions that no statement tells apart have one answer, so the evaluator is asked once for them.
Addresses in the same of a policy's networks are not told apart, and of the rest counts only what some condition reads.
So what is remembered is little, however many callers and people there are, and an address that was never seen costs
one search in each set of networks. There is one memo, here. It must not know how any of it was found out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from proxy.client_address.networks import Address, Memberships, NetworkSet
from proxy.memory import Memo
from proxy.policy.address_screen import AddressScreen
from proxy.policy.conditions import ConditionKey, Kind
from proxy.policy.context import CONNECT, NO_TAGS, REGION, TIME, Context, Principal
from proxy.policy.evaluate import Decision, evaluate
from proxy.policy.explain import StatementVerdict, explain
from proxy.policy.statements import Policy

ANSWERS_REMEMBERED: Final = 2**16
"""There are few, unless lists overlap in as many ways, or policies tell as many people apart."""

_NO_RESOURCES: Final[Mapping[str, str]] = MappingProxyType({})
_NO_ADDRESS: Final = -1
_OF_SNAPSHOT: Final = frozenset({REGION, TIME})
"""Keys that are the same in all questions."""
_COULD: Final = {
    True: Decision(True, (), "some request from there could be allowed"),
    False: Decision(False, (), "nothing could allow a request from there"),
}


class Question(NamedTuple):
    """May a request do this? None is what is not known, or nobody."""

    address: Address | None
    """The client's."""
    instance: str
    """"" for the gateway's own pages."""
    action: str = CONNECT
    secure: bool | None = None
    """Whether the caller speaks TLS."""
    principal: Principal | None = None
    """Who proved to ask."""


class Judge:
    """See the module's docstring. `at` (UTC) is aws:CurrentTime; None: the time is not known, so that conditions on it
    find no such key. `resources` are the instances' ARNs, `region` is aws:RequestedRegion.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy],
        own_policy: Policy,
        *,
        resources: Mapping[str, str] = _NO_RESOURCES,
        region: str | None = None,
        at: datetime | None = None,
    ) -> None:
        self._policies = dict(policies)
        self._own_policy = own_policy
        self._resources = dict(resources)
        self._region = region
        self.at = at
        self._differences: dict[tuple[str, str], _Differences] = {}
        """By instance and action, of which there are as many as the configuration says."""
        self._screen: AddressScreen | None = None
        self._answers: Memo[tuple[object, ...], Decision] = Memo(ANSWERS_REMEMBERED)

    def decide(self, question: Question) -> Decision:
        """What the policy says. Never raises, but KeyError for an instance that there is not."""
        address, instance, action, _, _ = question
        differences = self._differences.get((instance, action))
        if differences is None:
            context = self.context(Question(None, instance, action))
            differences = _Differences(self.policy(instance), context)
            self._differences[instance, action] = differences
        group = _NO_ADDRESS if address is None else differences.networks.of(address)
        key: tuple[object, ...] = (differences, group)
        if differences.keys:
            context = self.context(question)
            key += tuple([each.read(context) for each in differences.keys])
        decision = self._answers.get(key)
        if decision is None:
            decision = self._answers.keep(key, evaluate(self.policy(instance), self.context(question)))
        return decision

    def explain(self, question: Question) -> tuple[StatementVerdict, ...]:
        """Every statement's verdict in what `decide` says. Worked out anew each time: for denials and operators."""
        return explain(self.policy(question.instance), self.context(question))

    def could_allow(self, address: Address) -> bool:
        """Whether some question about `address` could be answered with yes; else it is a stranger's."""
        screen = self._screen
        if screen is None:
            asked = [
                (self._own_policy, "*"),
                *((policy, self._resources.get(name, "*")) for name, policy in self._policies.items()),
            ]
            screen = self._screen = AddressScreen(asked, self.context(Question(None, "")))
        key = (screen, screen.networks.of(address))
        decision = self._answers.get(key)
        if decision is None:
            decision = self._answers.keep(key, _COULD[screen.could_allow(address)])
        return decision.allowed

    @property
    def changes_at(self) -> datetime | None:
        """The next instant after `at` at which some decision may be another one, so that another judge has to take
        over; None if there is none. Without a time none of them depends on it.
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

    def policy(self, instance: str) -> Policy:
        """The policy that decides about an instance ("" for the gateway's own pages)."""
        return self._policies[instance] if instance else self._own_policy

    def context(self, question: Question) -> Context:
        """A question in IAM's words."""
        address, instance, action, secure, principal = question
        resource = self._resources.get(instance, "*")
        if principal is None:
            return Context(address, action, resource, self.at, secure, self._region)
        tags = dict(principal.tags) if principal.tags else NO_TAGS
        return Context(address, action, resource, self.at, secure, self._region, principal.username, tags)


class _Differences:
    """What tells questions about one instance and action apart: `networks` an address may be in, and the `keys` of
    conditions. The keys of a snapshot are the same for all.
    """

    __slots__ = ("keys", "networks")

    def __init__(self, policy: Policy, context: Context) -> None:
        # By identity: places that name the same list share its set, and comparing large ones is dear.
        self.networks = Memberships({id(one): one for one in _networks(policy, context)}.values())
        self.keys = tuple({each.name: each for each in _keys(policy, context)}.values())


def _networks(policy: Policy, context: Context) -> Iterator[NetworkSet]:
    """All that a decision can hang on in an address, besides whether there is one."""
    for statement in policy.statements:
        if statement.is_about(context):
            for condition in statement.conditions:
                if condition.operator.kind is Kind.ADDRESS:
                    assert isinstance(condition.values, NetworkSet)
                    yield condition.values


def _keys(policy: Policy, context: Context) -> Iterator[ConditionKey]:
    """All else that it can hang on."""
    for statement in policy.statements:
        if statement.is_about(context):
            for condition in statement.conditions:
                key = condition.key
                if key.kind is not Kind.ADDRESS and key.name not in _OF_SNAPSHOT:
                    yield key
