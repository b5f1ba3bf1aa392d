"""The access record of a request, from what its connection knows of it when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission, Refusal
from proxy.client_address.networks import Address
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.incoming_ids import IncomingIds, incoming_ids

if TYPE_CHECKING:
    from proxy.dataplane.answer import Answerer
    from proxy.dataplane.caller.channel import Channel


class RecordedRequest(Protocol):
    """What a record is made of (`proxy.dataplane.caller.request`)."""

    id: str
    started_at: float
    inbound: Inbound | None
    admission: Admission | None
    refusal: Refusal | None
    connection: Channel | None
    answerer: Answerer | None
    page_user: str


def record_of(
    request: RecordedRequest, status: int, *, size: int = 0, code: str = "", detail: str = ""
) -> RequestRecord:
    """What is written down of a request; `size` are the bytes of the answer's body."""
    admission, inbound, answerer = request.admission, request.inbound, request.answerer
    if admission is not None and inbound is not None and answerer is not None:
        caller = admission.caller
        return RequestRecord(
            request.id,
            caller.address,
            caller.peer,
            admission.instance,
            inbound.method,
            inbound.target,
            inbound.host,
            status,
            answerer.bytes_in,
            size,
            request.started_at,
            True,
            code,
            0,
            False,
            detail,
            request.page_user or admission.user,
            inbound.is_audited,
            incoming_ids(inbound.headers) if caller.is_behind_proxy else (),
        )
    assert request.connection is not None
    return request_record(
        request.id,
        request.inbound,
        request.admission or request.refusal,
        peer=request.connection.peer,
        status=status,
        bytes_in=0 if request.answerer is None else request.answerer.bytes_in,
        bytes_out=size,
        started_at=request.started_at,
        code=code,
        detail=detail,
        user=request.page_user,
    )


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
