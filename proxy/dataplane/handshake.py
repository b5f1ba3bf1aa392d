"""Whether a WebSocket handshake may be passed on (RFC 6455 section 4.2.1).

Jupyter's own check of `Origin` is answered by the gateway, which rewrites it: so it is made here. A browser always
sends one, so a request without it is a program's, or none of ours; Node's own WebSocket says its mode besides, and
neither `Origin` nor from where. A gateway that drains takes on no WebSocket: it
could only close it again.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import BadRequest, Draining, NbgateError, OriginRefused, UpgradeRequired
from proxy.gateway import Caller, Inbound
from proxy.wire.browsers import fetch_mode
from proxy.wire.provenance import Provenance, provenance

_LET_IN: Final = (Provenance.OWN, Provenance.PROGRAM)


def handshake_fault(inbound: Inbound, caller: Caller, *, draining: bool) -> NbgateError | None:
    """What is wrong with a handshake, if anything is."""
    headers = inbound.headers
    if inbound.method != "GET" or not headers.get("Sec-WebSocket-Key"):
        return BadRequest("The WebSocket handshake is malformed.")
    if headers.get("Sec-WebSocket-Version") != "13":
        return UpgradeRequired()
    came = provenance(headers, scheme=caller.scheme, authority=caller.authority)
    is_nodes = came is Provenance.UNSAID and fetch_mode(headers) == "websocket"
    if came not in _LET_IN and not is_nodes:
        return OriginRefused()
    return Draining() if draining else None
