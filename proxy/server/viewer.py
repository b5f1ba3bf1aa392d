"""Who looks at instances, and what the policy lets them see and do: the words that pages and the API share.

The rule: it asks the gateway's rules, and knows neither pages nor what is known of instances.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.admission.caller import Caller
from proxy.admission.rules import Rules
from proxy.policy.context import CONNECT, Principal


@dataclass(frozen=True, slots=True)
class Viewer:
    """A caller, by the rules of now, at a listener's `port`."""

    rules: Rules
    caller: Caller
    port: int

    def may(self, instance: str, action: str = CONNECT, principal: Principal | None = None) -> bool:
        """What the policy says, for what is only shown or not: nothing is written down."""
        return self.rules.judge.decide(self.caller.question(instance, action, principal)).allowed

    @property
    def tenant(self) -> str:
        """The instance that has the browser origin that this caller called for itself; "" for none."""
        return self.rules.router.tenant(host=self.caller.authority.host, listener_port=self.port)

    @property
    def home(self) -> str:
        """The path of the gateway's first page, where this caller finds it."""
        return self.rules.router.home(host=self.caller.authority.host, listener_port=self.port)
