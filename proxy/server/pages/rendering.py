"""Errors as the caller wants to see them: a page for people, JSON for programs, a fault for AWS's clients, or a way in.

The rule: the request says who asks, and nothing else decides. What an error says is `error_pages`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission
from proxy.dataplane.answer.fixed import FixedAnswer, Render
from proxy.errors import NbgateError
from proxy.server.pages import error_pages, sign_in
from proxy.server.pages.error_pages import InstanceNotice
from proxy.server.sagemaker.aws_faults import fault_page
from proxy.wire.browsers import Asker, who_asks


def renderer(notice: Callable[[Admission, int], InstanceNotice] | None = None) -> Render:
    """Shows errors as the caller wants to see them. `notice` says what it may know of the instance it came for."""

    def render(
        error: NbgateError,
        inbound: Inbound | None,
        *,
        request_id: str,
        client: str | None,
        admission: Admission | None,
        port: int,
        json_only: bool = False,
    ) -> FixedAnswer:
        status, asker = error.status, Asker.PROGRAM
        if inbound is not None:
            if "X-Amz-Target" in inbound.headers:
                return fault_page(error, request_id=request_id, client_address=client)
            asker = who_asks(inbound.headers, host=inbound.host, target=inbound.target)
            # A relative address: the one that the caller asked has this page, too.
            leads_to = sign_in.PATH if sign_in.is_for(error, inbound) else ""
            if leads_to := leads_to or sign_in.for_program(error, asker, inbound):
                redirect = (("Location", leads_to), *error_pages.HEADERS, ("X-Request-Id", request_id))
                return FixedAnswer(redirect, b"", status=302)
            status = error_pages.status_for(error, asker, method=inbound.method, target=inbound.target)
        wants_html = asker is Asker.WINDOW and not json_only
        known = None
        if notice is not None and wants_html and admission is not None and admission.instance:
            known = notice(admission, port)
        rendered = error_pages.render(
            error,
            wants_html=wants_html,
            request_id=request_id,
            client_address=client,
            notice=known,
            status=status,
        )
        headers = (("Content-Type", rendered.content_type), ("X-Request-Id", request_id), *rendered.headers)
        return FixedAnswer(headers, rendered.body, status)

    return render
