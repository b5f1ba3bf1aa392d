"""What the gateway says of a request: come in, stay out, or what there is against one that came in before.

The rule: plain data. What a denied caller is answered tells nothing of the rules; the rest is for the audit log alone,
and holds no secret.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proxy.admission.caller import Caller, Inbound
from proxy.admission.rules import Rules
from proxy.client_address.resolve import ClientAddress
from proxy.errors import NbgateError
from proxy.policy.context import CONNECT
from proxy.policy.evaluate import Decision
from proxy.policy.explain import StatementVerdict
from proxy.routing.entry import Permit
from proxy.routing.router import OwnPage, Redirect, Route


class Admission(NamedTuple):
    """Come in: to an instance's notebook (`Route`), a page of the gateway's own, or a better address."""

    caller: Caller
    route: Route | OwnPage | Redirect
    instance: str
    """"" for a page of the gateway's own."""
    decision: Decision
    inbound: Inbound
    """What was admitted; what asks for the same again may share the admission."""
    rules: Rules
    """What it was admitted by."""
    permit: Permit | None = None
    """What was brought besides the address, where something had to be."""
    user: str = ""
    """Who the caller proved to be, by what was brought; "" for nobody."""

    def is_asked_again(self, inbound: Inbound) -> bool:
        """Whether a request of the same caller asks an instance for the same thing, so that it leads there again."""
        asked = self.inbound
        return (
            asked.target == inbound.target
            and asked.method == inbound.method == "GET"
            and type(self.route) is Route
        )


class Refusal(NamedTuple):
    """Stay out, and why; `decision` is None where the request was refused for another reason than the policy.

    `verdicts` are those of the statements that made the decision; `reason`, for the audit log alone, is why there
    was none, and `user` who the caller proved to be, "" for nobody.
    """

    error: NbgateError
    client: ClientAddress
    instance: str = ""
    decision: Decision | None = None
    verdicts: tuple[StatementVerdict, ...] = ()
    action: str = CONNECT
    reason: str = ""
    user: str = ""
    is_behind_proxy: bool = False
    """A trusted proxy sent the request, so that what it calls it is worth a place in the log."""


class Objection(NamedTuple):
    """What there is against a request that was admitted once. `refusal` is None where it would be admitted again, but
    leads elsewhere.
    """

    reason: str
    refusal: Refusal | None = None


Audit = Callable[[Inbound, Refusal], None]
"""Where denials are written down."""
