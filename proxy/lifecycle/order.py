"""Who has an instance started or stopped, for the log: AWS's own trail shows the gateway's role alone.

The rule: plain data. It must not know who may do what.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrderedBy:
    """`way` is where the order came from: "portal", "api", "AWS API", "opening", "idleness", or "gateway" for itself.

    `client` is a caller's address as text, `user` who it proved to be, `request_id` that of its request; "" or None
    where there is none.
    """

    way: str = "gateway"
    client: str | None = None
    user: str = ""
    request_id: str = ""

    def fields(self) -> dict[str, str]:
        """As an event has them."""
        told = {"by": self.way, "client": self.client, "user": self.user, "request_id": self.request_id}
        return {name: value for name, value in told.items() if value}


THE_GATEWAY = OrderedBy()
