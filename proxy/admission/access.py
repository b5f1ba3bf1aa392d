"""What a caller brings besides its address, where an instance needs it: a port, which `proxy.identity` implements.

The rule: it is looked at after the policy has let the address in, so that whoever the policy keeps out learns nothing
of links, sessions and tokens. Knows none of them.
"""

from __future__ import annotations

from typing import Protocol

from proxy.admission.caller import Caller, Inbound
from proxy.errors import SignInRequired
from proxy.routing.entry import EntryRedirect, Permit, Presented, Recognised
from proxy.routing.router import OwnPage, Route

Found = Permit | EntryRedirect | OwnPage | Recognised | None
"""What a request is let in with. None: nothing, and nothing is needed. Recognised: nothing is needed, and it is known
who asks. A page of our own is for a link that nobody has opened yet."""


class AccessCheck(Protocol):
    """Judges what callers bring besides their address."""

    is_watching: bool
    """Whether there is anything to judge. False: it is not asked."""

    def watch(self) -> None:
        """There is, from now on."""

    def judge(self, presented: Presented, *, guarded: bool) -> Found:
        """What a request is let in with; `guarded`: the instance is only for those who bring something.

        Raises SignInRequired and TokenRefused.
        """


class NoCredentials:
    """Knows no credential: who needs one stays out."""

    def __init__(self) -> None:
        self.is_watching = False

    def watch(self) -> None:
        self.is_watching = True

    def judge(self, presented: Presented, *, guarded: bool) -> Found:
        if guarded:
            raise SignInRequired
        return None


def presented(inbound: Inbound, caller: Caller, route: Route, *, leads_to: str) -> Presented:
    """A request for an instance, as far as credentials are concerned."""
    return Presented(
        route,
        leads_to,
        inbound.method,
        inbound.headers,
        caller.client.address,
        caller.scheme,
        caller.authority,
        inbound.request_id,
    )
