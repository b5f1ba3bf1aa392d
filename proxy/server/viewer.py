"""Who looks at instances, and what the policy lets them see and do: the words that pages and the API share.

The rule: it asks the gateway, and knows neither pages nor what is known of instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.gateway import Caller, Gateway
from proxy.policy.context import CONNECT

DESCRIBE: Final = "sagemaker:DescribeNotebookInstance"
START: Final = "sagemaker:StartNotebookInstance"
STOP: Final = "sagemaker:StopNotebookInstance"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A caller, by the gateway of now, at a listener's `port`."""

    gateway: Gateway
    caller: Caller
    port: int

    def may(self, instance: str, action: str = CONNECT, *, username: str | None = None) -> bool:
        """What the policy says, for what is only shown or not: nothing is written down."""
        caller = self.caller
        return self.gateway.decide(
            caller.client.address,
            instance,
            secure_transport=caller.scheme == "https",
            action=action,
            username=username,
        ).allowed

    @property
    def home(self) -> str:
        """The path of the gateway's first page, where this caller finds it."""
        return self.gateway.home(self.caller, self.port)
