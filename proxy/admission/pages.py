"""What pages of others, and pages under mounts, may ask for: the rules beside the policy.

    another site's page    may read what an instance shows to all, and change nothing
    a page under a mount   asks for addresses outside of it, and is led back there if that can do no harm
    a service worker       covers nothing but its own mount

The rule: pure, on what browsers say themselves. Decides nothing about addresses and people.
"""

from __future__ import annotations

from typing import Final

from proxy.admission.caller import Caller, Inbound
from proxy.errors import OutsideMount
from proxy.routing.mounts import Mount
from proxy.routing.referrers import referring_path
from proxy.routing.router import OwnPage, Redirect, Route, Router
from proxy.routing.workers import may_be_worker
from proxy.wire.browsers import CHANGES_SOMETHING

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110 section 9.2.1, of those that are forwarded. Others that are safe (PROPFIND …) no page sends unasked."""
FOREIGN_PAGE: Final = "a page of another site"
"""Why a request was refused, for the audit log."""
OUTSIDE_MOUNT: Final = "an address that lies under no mount, of a page that does"
WIDE_WORKER: Final = "a service worker that would cover more than its mount"
"""The same."""
_SET_PREFIX: Final = (
    "This address is outside of the notebook's, which begins with {0}/. The application has to be told that its own "
    "begins with {0}/proxy/PORT/."
)


def is_foreign(inbound: Inbound, caller: Caller) -> bool:
    """Whether another site's page caused a request."""
    return not CHANGES_SOMETHING.lets(inbound.headers, scheme=caller.scheme, authority=caller.authority)


def asking_mount(inbound: Inbound, caller: Caller, router: Router) -> tuple[str, Mount] | None:
    """The instance and the path mount that the page lies under which asks; None where it lies under none."""
    referers = inbound.headers.getall("Referer")
    path = referring_path(referers, scheme=caller.scheme, authority=caller.authority)
    return router.under(path)


def may_be_led_back(inbound: Inbound) -> bool:
    """Whether a request of such a page may be repeated elsewhere, since it changes nothing."""
    return inbound.method in ("GET", "HEAD") and "Upgrade" not in inbound.headers


def outside(mount: Mount) -> OutsideMount:
    """For what is not."""
    return OutsideMount(_SET_PREFIX.format(mount.prefix))


def is_confined_worker(route: Route | OwnPage | Redirect, router: Router) -> bool:
    """Whether the script of a service worker covers nothing but its mount. The gateway's own pages have no workers."""
    if not isinstance(route, Route):
        return False
    path = (route.prefix + route.upstream_target).partition("?")[0]
    return may_be_worker(path, mount=route.mount.path or "/", others=router.others_at(route.mount))
