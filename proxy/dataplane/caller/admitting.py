"""Who answers a request whose head was read: a notebook, a page of the gateway's own, or the gateway in a few words.

The rule: every request passes `Gateway.admit`, and what it refuses is answered here and goes no further. What else
speaks against a request, because of its method or its handshake, is looked at after that, so that nobody learns of it
who may not come in. Decides about nothing by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.admission.caller import Inbound
from proxy.admission.pages import FOREIGN_PAGE
from proxy.admission.verdict import Admission, Refusal
from proxy.dataplane.answer.forward import Forward
from proxy.dataplane.answer.page import PageAnswer
from proxy.dataplane.answer.rewriting import wants_plain
from proxy.dataplane.budgets import Claim
from proxy.dataplane.websocket.handshake import handshake_fault
from proxy.errors import (
    AccessDenied,
    BadRequest,
    HeadTooLarge,
    NbgateError,
    OriginRefused,
    TooManyRequestFields,
)
from proxy.routing.router import OwnPage, Redirect, Route
from proxy.wire.credentials import token_request_fields
from proxy.wire.heads import OutgoingRequest, RequestFields
from proxy.wire.request_heads import FaultKind, request_field

if TYPE_CHECKING:
    from proxy.dataplane.answer import Answerer
    from proxy.dataplane.caller import reader
    from proxy.dataplane.caller.channel import Channel
    from proxy.dataplane.caller.request import Request
    from proxy.dataplane.notebook.translation import ToNotebook
    from proxy.wire.request_heads import HeadFault

_NO_FIELDS: Final = CIMultiDictProxy[str](CIMultiDict())
_WORKER: Final = "Service-Worker"
_ERRORS: Final[dict[FaultKind, type[NbgateError]]] = {
    FaultKind.MALFORMED: BadRequest,
    FaultKind.TOO_LARGE: HeadTooLarge,
    FaultKind.TOO_MANY_FIELDS: TooManyRequestFields,
}
_NOT_FORWARDED: Final = frozenset({"CONNECT", "TRACE"})
"""CONNECT would make a tunnel of the gateway, TRACE would show the caller the session's cookies."""


def who_answers(connection: Channel, request: Request, head: reader.RequestHead) -> Answerer | None:
    """Ask the gateway. None: the request is answered already."""
    fields, listener = head.fields, connection.listener
    request.inbound = inbound = Inbound(
        connection.place.peer,
        head.headers if head.numbers else fields.sent,
        fields.host,
        head.target,
        head.method,
        listener.public_port,
        listener.scheme,
        request.id,
        listener.trust_unix,
        listener.is_scheme_written,
    )
    gateway = connection.plane.current.gateway
    if head.is_repeated:
        verdict = gateway.admit(inbound, fields.known, is_repeated=True)
    else:
        verdict = gateway.admit(inbound, connection.known)
    if head.says_more and _WORKER in fields.sent and isinstance(verdict, Admission):
        # A browser fetches the script of a service worker.
        verdict = gateway.check_worker(inbound, verdict) or verdict
    if isinstance(verdict, Refusal):
        _refuse(connection, request, verdict)
        return None
    if head.says_more and verdict.inbound is not inbound:
        # It may last: what it is judged by again is its own.
        verdict = verdict._replace(inbound=inbound)
    request.admission = verdict
    request.to_notebook = _to_notebook(connection, fields, verdict)
    place, route = connection.place, verdict.route
    if place.met is not None:
        connection.keeps = False
        request.answer(place.fault)
    elif inbound.method in _NOT_FORWARDED and not (
        inbound.method == "TRACE" and isinstance(route, OwnPage)  # there it is a 405, as any other
    ):
        request.stop(BadRequest("This method is not supported."))
    elif isinstance(route, Redirect):
        request.redirect(route)
    elif isinstance(route, OwnPage):
        return _page(connection, request, head)
    elif head.is_websocket and (
        error := handshake_fault(inbound, verdict.caller, draining=connection.plane.draining)
    ):
        if isinstance(error, OriginRefused):
            gateway.refuse(
                inbound,
                verdict.caller,
                error,
                reason=FOREIGN_PAGE,
                instance=verdict.instance,
                user=verdict.user,
            )
        request.refuse(error)
    else:
        return _forward(connection, request, head, route)
    return None


def _to_notebook(connection: Channel, fields: reader.HeadFields, admission: Admission) -> ToNotebook:
    """How requests with these fields reach a notebook: one for each caller, of whom a proxy's connection has many."""
    known, before, caller = fields.known, connection.known, admission.caller
    if known is not None and known.caller is caller and fields.to_notebook is not None:
        to_notebook = fields.to_notebook
    else:
        to_notebook = (
            connection.to_notebook
            if before is not None and before.caller is caller
            else connection.to_notebooks.of(caller)
        )
        fields.to_notebook = to_notebook
    connection.known = fields.known = admission
    connection.to_notebook = to_notebook
    return to_notebook


def error_of(fault: HeadFault) -> NbgateError:
    """What a caller is told whose head could not be read."""
    if fault.fault is FaultKind.NO_HTTP:
        return BadRequest("This is not an HTTP request.", detail=str(fault))
    return _ERRORS[fault.fault](detail=f"head: {fault}")


def refuse_unread(connection: Channel, request: Request, error: NbgateError, fault: HeadFault) -> None:
    """Have it written down that a request could not be read, so that nobody was asked about it, and say so."""
    method, target = (b"-", b"-") if fault.request is None else fault.request
    listener = connection.listener
    unread = Inbound(
        connection.peer,
        _NO_FIELDS,
        "",
        target.decode("ascii"),
        method.decode("ascii"),
        listener.public_port,
        listener.scheme,
        request.id,
        listener.trust_unix,
        listener.is_scheme_written,
    )
    if fault.request is not None:
        request.inbound = unread
    connection.plane.current.gateway.turn_away(unread, error, has_fields=False)
    request.stop(error)


def _refuse(connection: Channel, request: Request, refusal: Refusal) -> None:
    request.refusal = refusal
    place = connection.place
    if (
        place.claim is Claim.STRANGER
        or place.met is not None
        or (place.claim is Claim.WELCOME and isinstance(refusal.error, AccessDenied))
    ):
        # It speaks for itself, so that nobody else is on this connection; or there is no place for it, and the next
        # one is to be told so. It need not be kept.
        connection.keeps = False
    request.refuse(refusal.error)


def _page(connection: Channel, request: Request, head: reader.RequestHead) -> PageAnswer:
    return PageAnswer(
        connection.plane,
        request,
        server=connection.pages,
        method=head.method,
        framing=head.framing if head.has_body else b"",
        is_http_10=head.is_http_10,
        keep_alive=connection.keeps,
        expects_continue=head.expects_continue,
    )


def _forward(connection: Channel, request: Request, head: reader.RequestHead, route: Route) -> Forward:
    admission = request.admission
    assert admission is not None
    fields = head.fields.sent
    if (permit := admission.permit) is not None and permit.xsrf:
        pairs = token_request_fields(fields.pairs, xsrf=permit.xsrf)
        fields = RequestFields([request_field(name, value) for name, value in pairs])
    outgoing = OutgoingRequest(head.method, route.upstream_target.encode("ascii"), fields)
    if head.says_more:
        outgoing.framing, outgoing.is_upgrade = head.framing, head.is_websocket
    if head.numbers:
        outgoing.numbers = head.numbers
    if route.prefix and wants_plain(head.method, route, head.fields.sent):
        outgoing.plain_encoding = True
    request.keeper = keeper = connection.plane.keeper(route.instance)
    return Forward(
        connection.plane,
        request,
        keeper=keeper,
        head=outgoing,
        route=route,
        has_body=head.has_body,
        is_http_10=head.is_http_10,
        keep_alive=connection.keeps,
    )
