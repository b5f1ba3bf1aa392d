"""Whether a WebSocket handshake may be passed on (RFC 6455 section 4.2.1).

Jupyter's own check of `Origin` is answered by the gateway, which rewrites it: so it is made here.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import BadRequest, NbgateError, OriginRefused, UpgradeRequired
from proxy.gateway import Caller, Inbound
from proxy.routing.authority import same_origin

_SENT_BY_BROWSERS: Final = ("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
"""Fetch Metadata (W3C), of which no value makes up for a missing `Origin`."""


def handshake_fault(inbound: Inbound, caller: Caller) -> NbgateError | None:
    """What is wrong with a handshake, if anything is."""
    headers = inbound.headers
    if inbound.method != "GET" or not headers.get("Sec-WebSocket-Key"):
        return BadRequest("The WebSocket handshake is malformed.")
    if headers.get("Sec-WebSocket-Version") != "13":
        return UpgradeRequired()
    origins = headers.getall("Origin", [])
    if not origins:
        # Browsers always send it; a request that says that it comes from one, and does not, is none of ours.
        return OriginRefused() if any(name in headers for name in _SENT_BY_BROWSERS) else None
    if len(origins) > 1 or not same_origin(origins[0], scheme=caller.scheme, authority=caller.authority):
        return OriginRefused()
    return None
