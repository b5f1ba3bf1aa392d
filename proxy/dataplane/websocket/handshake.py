"""Whether a WebSocket handshake may be passed on (RFC 6455 section 4.2.1).

Jupyter's own check of `Origin` is answered by the gateway, which rewrites it: so it is made here. A browser always
sends one, so a request without it is a program's, or none of ours. A gateway that drains takes on no WebSocket: it
could only close it again.
"""

from __future__ import annotations

from typing import Final

from proxy.admission.caller import Caller, Inbound
from proxy.errors import BadRequest, Draining, NbgateError, OriginRefused, UpgradeRequired
from proxy.wire.provenance import Provenance, provenance

_LET_IN: Final = (Provenance.OWN, Provenance.PROGRAM)


def handshake_fault(inbound: Inbound, caller: Caller, *, draining: bool) -> NbgateError | None:
    """What is wrong with a handshake, if anything is."""
    headers = inbound.headers
    if inbound.method != "GET" or not headers.get("Sec-WebSocket-Key"):
        return BadRequest("The WebSocket handshake is malformed.")
    if headers.get("Sec-WebSocket-Version") != "13":
        return UpgradeRequired()
    if provenance(headers, scheme=caller.scheme, authority=caller.authority) not in _LET_IN:
        return OriginRefused()
    return Draining() if draining else None
