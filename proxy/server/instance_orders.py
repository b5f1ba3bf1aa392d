"""What is done to an instance by a caller's order: decided by the policy, and done in the caller's name.

The rule: nothing is done that was not decided for this caller at this moment, and the log says by whose order it was,
and which way it came. It must not know forms, JSON or pages.
"""

from __future__ import annotations

from typing import Protocol

from proxy.lifecycle.awake import AwakeState
from proxy.lifecycle.order import OrderedBy
from proxy.policy.context import START, STOP
from proxy.server.operations.fleet import Fleet
from proxy.server.page_request import PageRequest


class KeepsAwake(Protocol):
    """`proxy.server.operations.idleness.Idleness`, as far as it is asked here."""

    def keep_awake(self, name: str, hours: float, by: OrderedBy) -> AwakeState:
        """Do not stop an instance for so many hours although nobody uses it; 0: for no longer."""


class InstanceOrders:
    """Each raises AccessDenied, after it was audited, where this caller may not; and what the fleet does."""

    def __init__(self, *, fleet: Fleet, idleness: KeepsAwake) -> None:
        self._fleet = fleet
        self._idleness = idleness

    async def start(self, request: PageRequest, name: str, *, way: str) -> None:
        request.decide(name, START)
        await self._fleet.start(name, by=request.ordered_by(way))

    async def stop(self, request: PageRequest, name: str, *, way: str) -> None:
        request.decide(name, STOP)
        await self._fleet.stop(name, by=request.ordered_by(way))

    def keep_awake(self, request: PageRequest, name: str, hours: float, *, way: str) -> AwakeState:
        """Who may start an instance may also say that it is not to be stopped."""
        request.decide(name, START)
        return self._idleness.keep_awake(name, hours, request.ordered_by(way))
