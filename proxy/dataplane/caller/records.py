"""The access record of a request, from what its connection knows of it when it is over."""

from __future__ import annotations

from typing import Final

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission, Refusal
from proxy.client_address.networks import Address
from proxy.dataplane.bounds import RESPONSE_LATE, SEND_LATE
from proxy.errors import BodyTimeout
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.incoming_ids import IncomingIds, incoming_ids

CALLER_GONE: Final = "CALLER_GONE"
"""The code of a request whose caller left before its answer was complete, and of a WebSocket whose caller never closed
it."""
RESPONSE_CUT: Final = "RESPONSE_CUT"
"""The code of a response that began and was not finished: the notebook's fault, or its caller may have it no longer."""
CUT: Final = frozenset({RESPONSE_CUT, SEND_LATE.code, RESPONSE_LATE.code, BodyTimeout.code})
"""It, and those of responses that a timeout cut."""


def request_record(
    request_id: str,
    inbound: Inbound | None,
    verdict: Admission | Refusal | None,
    *,
    peer: Address | None,
    status: int,
    bytes_in: int,
    bytes_out: int,
    started_at: float,
    code: str,
    detail: str = "",
    user: str = "",
) -> RequestRecord:
    """`inbound` is None for a request that could not be read, `verdict` for one that nobody was asked about; `user` is
    who a page of the gateway's own knows the caller to be.
    """
    ids: IncomingIds = ()
    if isinstance(verdict, Admission):
        caller = verdict.caller
        client_text, peer_text, instance, allowed = caller.address, caller.peer, verdict.instance, True
        user = user or verdict.user
        is_behind_proxy = caller.is_behind_proxy
    else:
        client_text = peer_text = text_of(peer)
        instance, allowed, is_behind_proxy = "", None, False
        if verdict is not None:
            client_text, instance = text_of(verdict.client.address), verdict.instance
            user = user or verdict.user
            is_behind_proxy = verdict.is_behind_proxy
            if verdict.decision is not None:
                allowed = verdict.decision.allowed
    if inbound is None:
        method, target, host = "-", "-", ""
    else:
        method, target, host = inbound.method, inbound.target, inbound.host
        if is_behind_proxy:
            ids = incoming_ids(inbound.headers)
    return RequestRecord(
        request_id,
        client_text,
        peer_text,
        instance,
        method,
        target,
        host,
        status,
        bytes_in,
        bytes_out,
        started_at,
        allowed,
        code,
        0,
        False,
        detail,
        user,
        inbound is None or inbound.is_audited,
        ids,
    )


def text_of(address: Address | None) -> str | None:
    """An address as it stands in logs and on pages; None for one that could not be determined."""
    return None if address is None else str(address)
