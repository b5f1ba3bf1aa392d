"""Refusals, made: by the policy, and of what could not be read.

The rule: as of all verdicts (`proxy.admission.verdict`). Writes nothing down.
"""

from __future__ import annotations

from typing import Final

from proxy.admission.caller import Caller, Inbound, client_of, is_proxys
from proxy.admission.verdict import Refusal
from proxy.client_address.resolve import ClientAddress, Strategy
from proxy.errors import AccessDenied, AddressUnknown, ForwardedUnquoted, NbgateError
from proxy.policy.context import CONNECT
from proxy.policy.evaluate import Decision
from proxy.policy.explain import decisive
from proxy.policy.judge import Judge, Question

NOT_PERMITTED: Final = "Your address is not allowed to do this."
"""To whom may reach an instance and not do to it what was asked for."""
NOBODY_REACHES: Final = Decision(False, (), "denied: nothing is mounted there")
"""Of a path under no mount. To tell it apart from an instance that a caller may not reach would tell of that one."""


def denied(
    caller: Caller, question: Question, decision: Decision, judge: Judge, *, user: str = ""
) -> Refusal:
    """By the policy. Where nothing is mounted no statement decided; they are asked all the same, so that it takes as
    long.
    """
    client, verdicts = caller.client, decisive(judge.explain(question))
    kind, detail = AccessDenied, ""
    if client.address is None:
        kind, detail = ForwardedUnquoted if client.is_unquoted else AddressUnknown, client.problem
    username = None if question.principal is None else question.principal.username
    return Refusal(
        kind(NOT_PERMITTED if question.action != CONNECT else None, detail=detail),
        client,
        question.instance,
        decision,
        verdicts if decision is not NOBODY_REACHES else (),
        question.action,
        user=username or user,
        is_behind_proxy=caller.is_behind_proxy,
    )


def unread(inbound: Inbound, error: NbgateError, trusted: Strategy, *, has_fields: bool) -> Refusal:
    """Nothing was decided, since the request (perhaps its fields) could not be read."""
    is_behind_proxy = is_proxys(inbound, trusted)
    client = ClientAddress(inbound.peer, inbound.peer)
    if has_fields:
        client = client_of(inbound, trusted)
    elif is_behind_proxy:
        client = ClientAddress(None, inbound.peer, problem="the fields that would say could not be read")
    reason = f"before any decision: {error.log_detail or error.message}"
    return Refusal(error, client, reason=reason, is_behind_proxy=is_behind_proxy)
