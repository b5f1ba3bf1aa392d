"""What a gateway decides by: one snapshot of the configuration, at one instant.

The rule: it never changes. Another version of the configuration, or a date that has passed, makes another one, and
what was decided by this one is decided again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType

from proxy.client_address.networks import Address
from proxy.client_address.resolve import Strategy
from proxy.policy.judge import Judge
from proxy.routing.router import Router


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """See the module's docstring. Two are the same only if they are one."""

    router: Router
    judge: Judge
    """Whose instant is that of all decisions."""
    _: KW_ONLY
    address_strategy: Strategy
    guarded: frozenset[str] = frozenset()
    """The instances that need a session or a token; without one nobody comes in there."""
    leads_to: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The notebooks that instances are: what was given out for one is not good for the next of that name."""
    cross_site: frozenset[str] = frozenset()
    """The instances at which pages of other sites may change something."""

    def trusts(self, peer: Address | None) -> bool:
        """Whether `peer` is a proxy of ours, whose connections belong to many callers."""
        return peer is not None and peer in self.address_strategy.networks
