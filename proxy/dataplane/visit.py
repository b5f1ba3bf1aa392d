"""An admission that is relied on for longer than a moment, and all that it takes to judge it again.

A WebSocket, an upload or a download outlives the gateway that admitted it: a reload, or a date that passes, puts
another in its place. The rule: the request is admitted anew as if it came now, so that whatever the verdict depended
on counts as it is now: addresses, names, mounts and policy. A visit holds nothing of the connection that it came on.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.aws.keeper import SessionKeeper
from proxy.gateway import Admission, Gateway, Inbound, Refusal


class Visit:
    """One admitted request. `refusal` is set once it is no longer admitted."""

    __slots__ = ("admission", "has_ended", "inbound", "keeper", "refusal")

    def __init__(self, inbound: Inbound, admission: Admission, keeper: SessionKeeper | None) -> None:
        """`keeper` is that of the notebook's session; None for a page of the gateway's own."""
        self.inbound = inbound
        self.admission = admission
        self.keeper = keeper
        self.has_ended = False
        """What let it in has ended since; whether it is admitted all the same is to be asked."""
        self.refusal: Refusal | None = None

    def objection(self, gateway: Gateway, keeper_of: Callable[[str], SessionKeeper]) -> str:
        """What the gateway of now has against it; "" for nothing."""
        if self.admission.caller.door is gateway and not self.has_ended:
            return ""
        verdict = gateway.admit(self.inbound)
        if isinstance(verdict, Refusal):
            self.refusal = verdict
            return "the session has ended" if self.has_ended else "access was withdrawn"
        self.has_ended = False
        if verdict.route != self.admission.route:
            return "this address leads elsewhere now"
        if verdict.instance and keeper_of(verdict.instance) is not self.keeper:
            return "this address leads to another notebook now"
        self.admission = verdict
        return ""
