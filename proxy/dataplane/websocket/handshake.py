"""Whether a WebSocket handshake may be passed on (RFC 6455 section 4.2.1).

Jupyter's own check of `Origin` is answered by the gateway, which rewrites it: so it is made here. A browser always
sends one, so a request without it is a program's, or none of ours. A gateway that drains takes on no WebSocket: it
could only close it again.
"""

from __future__ import annotations

from proxy.admission.caller import Caller, Inbound
from proxy.errors import BadRequest, Draining, NbgateError, OriginRefused, UpgradeRequired
from proxy.wire.browsers import OPENS_A_WEBSOCKET


def handshake_fault(inbound: Inbound, caller: Caller, *, draining: bool) -> NbgateError | None:
    """What is wrong with a handshake, if anything is."""
    headers = inbound.headers
    if inbound.method != "GET" or not headers.get("Sec-WebSocket-Key"):
        return BadRequest("The WebSocket handshake is malformed.")
    if headers.get("Sec-WebSocket-Version") != "13":
        return UpgradeRequired()
    if not OPENS_A_WEBSOCKET.lets(headers, scheme=caller.scheme, authority=caller.authority):
        return OriginRefused()
    return Draining() if draining else None
