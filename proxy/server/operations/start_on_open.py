"""Instances that are started because a visitor opens them: `proxy.lifecycle.opening`, wired to the policy.

The rule: an adapter only. What counts as a visitor is judged in `proxy.lifecycle.opening`; here stands whom the policy
forbids to start something. `start_on_open` is the operator's permission to start, so a visitor needs no other; an
explicit Deny of sagemaker:StartNotebookInstance counts all the same.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission
from proxy.errors import InstanceNotInService, NbgateError, UpstreamError
from proxy.gateway import Gateway
from proxy.lifecycle.opening import Opening, PageVisit, is_opened
from proxy.lifecycle.order import OrderedBy
from proxy.policy.context import START


class StartOnOpen:
    """One per process. `gateway` is the one of now."""

    def __init__(self, opening: Opening, *, gateway: Callable[[], Gateway]) -> None:
        self._opening = opening
        self._gateway = gateway

    def answer(self, error: NbgateError, admission: Admission, inbound: Inbound) -> NbgateError:
        """What to answer a permitted visitor in the place of `error`, or `error` itself."""
        name = admission.instance
        if not isinstance(error, InstanceNotInService | UpstreamError) or not self._opening.serves(name):
            return error
        visit = _visit(inbound, admission)
        if (
            isinstance(error, InstanceNotInService)
            and is_opened(visit)
            and not self._may_start(admission, inbound)
        ):
            return error
        return self._opening.answer_for(name, error, visit)

    def _may_start(self, admission: Admission, inbound: Inbound) -> bool:
        """False where a statement denies it; that none allows it is no objection here."""
        gateway, question = self._gateway(), admission.caller.question(admission.instance, START)
        decision = gateway.rules.judge.decide(question)
        if decision.allowed or not decision.sids:
            return True
        gateway.permit(inbound, admission.caller, question, user=admission.user)
        return False


def _visit(inbound: Inbound, admission: Admission) -> PageVisit:
    by = OrderedBy("opening", admission.caller.address, admission.user, inbound.request_id)
    return PageVisit(inbound.method, inbound.headers, by)
