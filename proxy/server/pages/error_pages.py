"""What a caller sees of an error: a page for people, the JSON envelope for programs.

A page says what happened, what to do, and the request id under which the operator finds the reason. It
holds nothing of the request (no path, no header, no host), nothing of the policy's rules, and loads
nothing. The texts of an error are the error's own (`proxy.errors`); here is only what a person needs beyond
them.

`status_for` is the one exception to an error's own status: who was let in before, and is no more, is told so in the way
that heals the page that asks.
"""

from __future__ import annotations

import json
import re
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Final

from proxy.aws.control_plane import InstanceDescription, not_in_service
from proxy.errors import (
    AccessDenied,
    BadRequest,
    BodyNotKept,
    BodyTimeout,
    ClientError,
    ConfigError,
    ConnectTimeout,
    ControlPlaneFailed,
    ControlPlaneTimeout,
    ControlPlaneUnreachable,
    CredentialsMissing,
    CrossSiteRefused,
    Draining,
    HeadTooLarge,
    InstanceNotInService,
    InternalError,
    JupyterStarting,
    MediaTypeRefused,
    MethodNotAllowed,
    Misdirected,
    NbgateError,
    OriginRefused,
    OutcomeUnknown,
    OutsideMount,
    RequestTimeout,
    ResponseTimeout,
    RouteNotFound,
    SessionRejected,
    SigningIn,
    SignInRequired,
    SignInTimeout,
    Throttled,
    TokenRefused,
    UpgradeRequired,
    UploadStalled,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
    WorkerRefused,
    WrongState,
)
from proxy.instance_status import STARTABLE, TEXTS, InstanceStatus
from proxy.server.instance_starts import Progress
from proxy.server.pages import templates as pages
from proxy.server.pages.answer_body import AnswerBody, Headers
from proxy.server.pages.buttons import Button
from proxy.wire.browsers import Asker, mount_of_api


@dataclass(frozen=True, slots=True)
class InstanceNotice:
    """What a page about an instance's state can say beyond the error: what this caller may see and do, and no more.

    `start` is offered where the caller may start it; `reason` is SageMaker's for a failure, fit for callers
    (`public_reason`); `home` is the path of the gateway's first page.
    """

    instance: str
    start: Button | None = None
    _: KW_ONLY
    progress: Progress | None = None
    reason: str = ""
    home: str = ""


@dataclass(frozen=True, slots=True)
class _Text:
    """What a page says. `mood` colours its mark; `refresh_seconds` reloads it by itself, 0 never."""

    title: str
    message: str
    _: KW_ONLY
    advice: str
    mood: str = "fault"
    retry: str = ""
    refresh_seconds: int = 0


REASON_CHARACTERS: Final = 300

_INSIDES: Final = re.compile(
    r"arn:[^\s,;'\"]+|\b\d{12}\b|\b(?:vpc|subnet|sg|eni|vol|snap|ami|i|eipalloc|igw|nat|rtb)-[0-9a-f]{8,17}\b"
    r"|\b(?:\d{1,3}\.){3}\d{1,3}\b|https?://\S+"
)

_TRY_AGAIN: Final = "Try again"
_STARTING: Final = "SageMaker is starting it."
_START_HERE: Final = (
    "You can start it here. That usually takes a few minutes; the notebook then opens by itself."
)
_TELL: Final = "If it keeps happening, send the request id below to whoever runs this gateway."
_RELOADS_OR_RESTART: Final = (
    "This page reloads by itself. If it stays like this, restart the notebook instance."
)
_RELOADS_OR_TELL: Final = f"This page reloads by itself. {_TELL}"

_ADVICE: Final[dict[type[NbgateError], str]] = {
    NbgateError: f"Try again in a moment. {_TELL}",
    ClientError: "If you followed a link, check that it is complete.",
    BadRequest: f"Reload the page, or clear this site's cookies and try again. {_TELL}",
    OriginRefused: "Open the notebook at this gateway's own address, not from another site's page.",
    CrossSiteRefused: "Do it on a page at this gateway's own address, not from another site's page.",
    RouteNotFound: "Check the address for a typing error, or use the one that your team bookmarked.",
    MethodNotAllowed: "Go back to the page that you came from, reload it, and try again.",
    MediaTypeRefused: "Update the program that you use.",
    **dict.fromkeys((RequestTimeout, BodyTimeout), "Check your connection, then try again."),
    **dict.fromkeys(
        (UpstreamUnreachable, UpstreamTimeout, ConnectTimeout, UploadStalled, ResponseTimeout),
        _RELOADS_OR_RESTART,
    ),
    ControlPlaneFailed: _RELOADS_OR_TELL,
    ControlPlaneTimeout: _RELOADS_OR_TELL,
    ControlPlaneUnreachable: _RELOADS_OR_TELL,
    CredentialsMissing: _RELOADS_OR_TELL,
    WrongState: "Go back to the page that you came from, and reload it.",
    UpgradeRequired: "Update the browser or the program that you use.",
    HeadTooLarge: "Clear this site's cookies, then try again.",
    **dict.fromkeys(
        (SessionRejected, BodyNotKept),
        "The gateway is signing in again. This page reloads by itself; then repeat what you did.",
    ),
    JupyterStarting: (
        "This page reloads by itself, and shows the notebook as soon as Jupyter is there. If it stays like this for "
        "minutes, restart the notebook instance."
    ),
    **dict.fromkeys(
        (SigningIn, SignInTimeout),
        "This page reloads by itself, and shows the notebook as soon as that is done.",
    ),
    Draining: "Another one takes over, or this one comes back. This page reloads by itself.",
}
"""For errors whose own `advice` is empty, or says less to a person at a page."""

_FINAL: Final = (
    AccessDenied,
    CrossSiteRefused,
    MediaTypeRefused,
    MethodNotAllowed,
    Misdirected,
    OriginRefused,
    OutcomeUnknown,
    OutsideMount,
    RouteNotFound,
    SignInRequired,
    TokenRefused,
    UpgradeRequired,
    WorkerRefused,
)
"""Errors that the same request meets again, or that it must not be repeated after: their pages do not offer that."""

_RELOADING: Final = (
    ControlPlaneFailed,
    ControlPlaneTimeout,
    CredentialsMissing,
    Draining,
    JupyterStarting,
    SessionRejected,
    SigningIn,
    Throttled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
"""Conditions that pass by themselves, and before long, so that their page reloads by itself."""

ENDED: Final = 424
"""Failed Dependency (RFC 4918 section 11.4): what JupyterHub answers, and JupyterLab and Notebook 7 ask again after."""
_NOT_LET_IN: Final = (AccessDenied, SignInRequired, TokenRefused)

HEADERS: Final[Headers] = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
"""On every answer of the gateway's own."""


def status_for(error: NbgateError, asker: Asker, *, method: str, target: str) -> int:
    """The status to answer `error` with; mostly its own.

    A page whose caller may come in no more (its session or its access has ended) asks for its kernels by itself, and
    gives them up for ever after a 401 or 403. Its WebSocket is told 403 in any case: scripts do not see the status.
    """
    if isinstance(error, _NOT_LET_IN):
        if asker is Asker.SCRIPT and method == "GET" and mount_of_api(target) is not None:
            return ENDED
        if asker is Asker.HANDSHAKE:
            return AccessDenied.status
    return error.status


def render(
    error: NbgateError,
    *,
    wants_html: bool,
    request_id: str,
    client_address: str | None,
    notice: InstanceNotice | None = None,
    status: int = 0,
) -> AnswerBody:
    """The body for `error`. `client_address` (None: it could not be determined) is told to a denied caller
    only; `notice` is what is known of the instance that the request was for; `status` is what is answered, 0 the
    error's own.
    """
    text = _text(error)
    status = status or error.status
    headers = HEADERS
    retry_after_seconds = error.wait_seconds or text.refresh_seconds
    if retry_after_seconds:
        headers += (("Retry-After", str(retry_after_seconds)),)
    if isinstance(error, UpgradeRequired):
        # RFC 9110 section 15.5.22 and RFC 6455 section 4.4
        headers += (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    if status == SignInRequired.status:
        # RFC 9110 section 11.6.1 and RFC 6750 section 3
        challenge = 'Bearer error="invalid_token"' if isinstance(error, TokenRefused) else "Bearer"
        headers += (("WWW-Authenticate", challenge),)
    if isinstance(error, MethodNotAllowed):
        # RFC 9110 section 10.2.1
        headers += (("Allow", ", ".join(error.allow)),)
    if not wants_html:
        reason, message = _ended(error) if status == ENDED else ("", text.message)
        body = _envelope(
            error, message=message, reason=reason, request_id=request_id, client_address=client_address
        )
        return AnswerBody("application/json", body, headers)
    return _page(error, text, headers, request_id=request_id, client_address=client_address, notice=notice)


def _page(
    error: NbgateError,
    text: _Text,
    headers: Headers,
    *,
    request_id: str,
    client_address: str | None,
    notice: InstanceNotice | None,
) -> AnswerBody:
    refresh_seconds = (error.wait_seconds or text.refresh_seconds) if text.refresh_seconds else 0
    status = error.instance_status if isinstance(error, InstanceNotInService) else ""
    # It need not be offered where it was done already.
    can_start = status in STARTABLE and not error.retry_after_seconds
    start = notice.start if notice is not None and can_start else None
    progress = notice.progress if notice is not None and status == InstanceStatus.PENDING else None
    instance = notice.instance if notice is not None else ""
    watch = instance if status else ""
    live = bool(refresh_seconds or watch)
    values: dict[str, Any] = {
        "kicker": _kicker(error),
        "title": text.title,
        # With its progress below, this need not be said twice.
        "message": _STARTING if progress is not None else text.message,
        "advice": _START_HERE if start is not None else text.advice,
        "mood": text.mood,
        "retry": "" if start is not None or progress is not None else text.retry,
        "refresh_seconds": refresh_seconds,
        "status": error.status,
        "watch": watch,
        "instance_status": status,
        "start": start,
        "progress": progress,
        "reason": notice.reason if notice is not None and status == InstanceStatus.FAILED else "",
        "home": notice.home if notice is not None else "",
        "facts": _facts(error, request_id=request_id, client_address=client_address, instance=instance),
    }
    page = pages.ERROR.page(live=live, forms=start is not None, **values)
    return replace(page, headers=tuple((dict(headers) | dict(page.headers)).items()))


def _ended(error: NbgateError) -> tuple[str, str]:
    """The reason and the message for a page whose caller was let in before."""
    if isinstance(error, AccessDenied):
        return "ACCESS_WITHDRAWN", f"{error.message} This page goes on by itself when it is."
    return (
        "SESSION_ENDED",
        "Your session has ended. Open a new link to this notebook in another tab. This page goes on by itself then.",
    )


def failure_reason(description: InstanceDescription) -> str:
    """SageMaker's reason why an instance failed, fit for callers; "" where it did not fail."""
    return public_reason(description.failure_reason) if description.status == InstanceStatus.FAILED else ""


def public_reason(text: str) -> str:
    """SageMaker's reason for a failure without what names the account's insides (ARNs, accounts, networks)."""
    text = _INSIDES.sub("…", " ".join(text.split()))
    return text if len(text) <= REASON_CHARACTERS else f"{text[:REASON_CHARACTERS]}…"


def _text(error: NbgateError) -> _Text:
    retry = "" if isinstance(error, _FINAL) else _TRY_AGAIN
    if isinstance(error, InstanceNotInService) and (said := TEXTS.get(error.instance_status)):
        # The control plane's own sentence for a state says less than the page has to say of it.
        usual = (error.default_message, not_in_service(error.instance_status).message)
        own_words = error.message not in usual
        advice, refresh_seconds = said.advice, said.refresh_seconds
        if error.retry_after_seconds and not refresh_seconds:
            # It is on its way somewhere after all.
            advice, refresh_seconds = TEXTS[InstanceStatus.PENDING].advice, error.retry_after_seconds
        return _Text(
            said.title,
            error.message if own_words else said.message,
            advice=advice,
            # Nobody need wait at a page that does not reload.
            mood="wait" if refresh_seconds else "idle" if said.mood == "wait" else said.mood,
            retry=retry,
            refresh_seconds=refresh_seconds,
        )
    kind = type(error)
    refresh_seconds = error.wait_seconds if isinstance(error, _RELOADING) else 0
    return _Text(
        title=error.title,
        # Problems of a configuration name files and lines: never for a caller.
        message=InternalError.default_message if isinstance(error, ConfigError) else error.message,
        advice=_ADVICE.get(kind) or error.advice or _ADVICE[NbgateError],
        mood=_mood(error, waits=bool(refresh_seconds)),
        retry=retry,
        refresh_seconds=refresh_seconds,
    )


def _mood(error: NbgateError, *, waits: bool) -> str:
    if isinstance(error, SignInRequired):
        return "idle"
    return "wait" if waits else "fault" if _is_ours(error) else "stop"


def _is_ours(error: NbgateError) -> bool:
    return not isinstance(error, ClientError | UpstreamError)


def _kicker(error: NbgateError) -> str:
    if isinstance(error, InstanceNotInService) and error.instance_status:
        return f"Notebook instance: {error.instance_status}"
    if isinstance(error, SignInRequired):
        # Nothing went wrong: this is how one gets in here.
        return "Opens with a link"
    return f"Error {error.status}"


def _facts(
    error: NbgateError, *, request_id: str, client_address: str | None, instance: str
) -> list[tuple[str, str]]:
    facts = [("Request id", request_id)]
    if instance:
        facts.insert(0, ("Notebook", instance))
    if isinstance(error, AccessDenied):
        facts.insert(0, ("Your address, as seen here", client_address or "could not be determined"))
    return facts


def _envelope(
    error: NbgateError, *, message: str, reason: str, request_id: str, client_address: str | None
) -> bytes:
    told: dict[str, str] = {"code": error.code, "message": message, "request_id": request_id}
    if isinstance(error, InstanceNotInService) and error.instance_status:
        told["instance_status"] = error.instance_status
    if isinstance(error, AccessDenied) and client_address is not None:
        told["client_address"] = client_address
    # The message stands a second time where JupyterLab's own dialogs look for it (@jupyterlab/services,
    # ServerConnection.ResponseError).
    said = {"success": False, "message": message} | ({"reason": reason} if reason else {})
    return json.dumps(said | {"error": told}).encode()
