"""SageMaker's API at the gateway: five operations over the configured instances, for unmodified AWS clients.

    operation -> signature -> parameters -> which instance -> may this caller do this -> do it

The rule: nothing is done, and nothing told of an instance, before the policy allowed this caller this action on it,
and a URL that is handed out is the gateway's own. Instances go by SageMaker's name, or else by the gateway's. Answers
and errors are AWS's, request ids the gateway's, so that a client's error is found in the gateway's log. How things
are spelled on the wire is `proxy.wire.aws_json`'s matter, how signatures are verified, `proxy.identity.sigv4`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from aiohttp import hdrs, web

from proxy.aws.control_plane import InstanceDescription
from proxy.config.settings import Settings
from proxy.errors import AccessDenied, InstanceNotFound, InstanceNotInService, NbgateError
from proxy.identity.tokens import URL_SECONDS, TokenKind, TokenSigner, authorized_url
from proxy.instance_status import InstanceStatus
from proxy.lifecycle.order import OrderedBy
from proxy.server.addresses import mount_url
from proxy.server.operations.fleet import Fleet
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import PageRequest
from proxy.server.sagemaker.aws_faults import fault_of
from proxy.server.sagemaker.callers import Identify, Signer
from proxy.server.sagemaker.instance_list import needs_states, page, page_of_names, summary
from proxy.telemetry.events import EventLog
from proxy.wire import aws_json
from proxy.wire.aws_json import (
    CONTENT_TYPE,
    CREATE_URL,
    DESCRIBE,
    LIST,
    SESSION_SECONDS,
    START,
    STOP,
    AwsFault,
    Parameters,
    read_operation,
    read_parameters,
)

PATHS: Final = ("/", "/.nbgate/aws/", "/.nbgate/aws")
"""Where operations are posted: at the hostname's root unless an instance is mounted there, and beside it always.
botocore asks for an endpoint URL's path as it is written."""

BODY_BYTES: Final = 32 * 1024
"""The longest parameters there are, a NextToken of 8192 characters among them, with room to spare."""
LIST_AGE_SECONDS: Final = 15.0
"""How old a description may be in a list: whoever pages through one would ask for all again."""

Members = Mapping[str, Any] | None

_MOVES: Final = {
    START: ((InstanceStatus.STOPPED, InstanceStatus.FAILED), "Unable to transition to (Pending)"),
    STOP: ((InstanceStatus.IN_SERVICE,), "Unable to transition to (Stopping)"),
    # What AWS says here is not known; this follows its other errors of state.
    CREATE_URL: ((InstanceStatus.IN_SERVICE,), "Unable to create a presigned URL"),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """An operation under way."""

    request: PageRequest
    operation: str
    parameters: Parameters
    signer: Signer


class Move(Protocol):
    """`Fleet.start` or `Fleet.stop`."""

    async def __call__(self, name: str, *, by: OrderedBy) -> None: ...


def action_of(operation: str) -> str:
    """The policy's name for an operation."""
    return f"sagemaker:{operation}"


class SageMakerApi:
    """Answers operations. `settings` gives those of now; `identify` tells who signed a request."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        tokens: TokenSigner,
        settings: Callable[[], Settings],
        identify: Identify,
        events: EventLog,
    ) -> None:
        self._fleet = fleet
        self._tokens = tokens
        self._settings = settings
        self._identify = identify
        self._events = events
        self._operations: dict[str, Callable[[_Call], Awaitable[Members]]] = {
            CREATE_URL: self._create_url,
            DESCRIBE: self._describe,
            LIST: self._list,
            START: self._start,
            STOP: self._stop,
        }

    def register(self, pages: OwnPages) -> None:
        """Answer at the paths that clients post to."""
        for path in PATHS:
            pages.add(hdrs.METH_POST, path, self.answer)

    async def answer(self, request: PageRequest) -> web.StreamResponse:
        """One call."""
        status = 200
        try:
            body = await self._answer(request)
        except (AwsFault, NbgateError) as error:
            fault = fault_of(error) if isinstance(error, NbgateError) else error
            body, status = aws_json.answer_fault(fault), fault.status
        return web.Response(
            status=status,
            body=body,
            headers={"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": request.request_id},
        )

    async def _answer(self, request: PageRequest) -> bytes:
        operation = read_operation(request.inbound.headers.get("X-Amz-Target"))
        content = await request.body(max_bytes=BODY_BYTES)
        signer = await self._identify(request, operation, content)
        request.named(signer.user or "")
        call = _Call(request, operation, read_parameters(operation, content), signer)
        return aws_json.answer(await self._operations[operation](call))

    # -- operations -----------------------------------------------------------------------------------------

    async def _create_url(self, call: _Call) -> Members:
        name = self._permitted(call)
        # As it is now: while SageMaker is asked, the name may come to lead elsewhere, for which nothing was permitted.
        url, leads_to = self._url(call, name), self._settings().leads_to(name)
        description = await self._fleet.describe(name)
        if not description.in_service:
            raise _wrong_state(call.operation, description.status, description.arn)
        caller = call.request.caller
        token = self._tokens.issue(
            TokenKind.URL,
            instance=name,
            leads_to=leads_to,
            principal=call.signer.user or caller.address or "",
            address=caller.client.address,
            seconds=URL_SECONDS,
            session_seconds=call.parameters.number(
                "SessionExpirationDurationInSeconds", SESSION_SECONDS.most
            ),
        )
        self._note(call, name)
        return {"AuthorizedUrl": authorized_url(url, token)}

    async def _describe(self, call: _Call) -> Members:
        name = self._permitted(call)
        url = self._bare_url(call, name)
        description = await self._fleet.describe(name)
        return {
            **summary(description),
            "Url": url,
            "FailureReason": description.failure_reason,
            "RoleArn": description.role_arn,
            "VolumeSizeInGB": description.volume_size_gb,
            "DirectInternetAccess": description.direct_internet_access,
            "RootAccess": description.root_access,
            "PlatformIdentifier": description.platform,
        }

    async def _list(self, call: _Call) -> Members:
        self._decide(call, "", "*")
        visible: dict[str, str] = {}
        for name, instance in self._settings().instances.items():
            if self._may(call, name):
                visible.setdefault(instance.notebook, name)
        urls = {notebook: self._bare_url(call, name) for notebook, name in visible.items()}
        if needs_states(call.parameters):
            shown, token = page(await self._all_described(visible), call.parameters)
        else:
            notebooks, token = page_of_names(visible, call.parameters)
            shown = await self._all_described({notebook: visible[notebook] for notebook in notebooks})
        return {
            "NotebookInstances": [{**summary(one), "Url": urls[one.name]} for one in shown],
            "NextToken": token,
        }

    async def _start(self, call: _Call) -> Members:
        return await self._move(call, self._fleet.start)

    async def _stop(self, call: _Call) -> Members:
        return await self._move(call, self._fleet.stop)

    async def _move(self, call: _Call, move: Move) -> Members:
        name = self._permitted(call)
        # As it is now: while SageMaker is asked, a reload may take the instance away, or lead its name elsewhere.
        known = self._fleet.known(name)
        arn = known.description.arn if known is not None else self._settings().instances[name].arn
        try:
            await move(name, by=call.request.ordered_by("AWS API"))
        except InstanceNotInService as error:
            raise _wrong_state(call.operation, error.instance_status, arn) from error
        self._note(call, name)
        return None

    def _note(self, call: _Call, name: str) -> None:
        """Who did what, of that which changes something: AWS's own trail shows the gateway's role alone."""
        self._events.info(
            "SageMaker API called",
            operation=call.operation,
            instance=name,
            user=call.signer.user,
            client=call.request.caller.address,
            request_id=call.request.request_id,
        )

    # -- instances ------------------------------------------------------------------------------------------

    def _permitted(self, call: _Call) -> str:
        """The gateway's name of the instance that is called for, which this caller may do this to.

        Raises AwsFault: AccessDeniedException, which is audited, also where there is no such instance: who may not do
        this to an instance is not told that there is one.
        """
        called = call.parameters.text("NotebookInstanceName")
        instances = self._settings().instances
        candidates = [name for name, instance in instances.items() if instance.notebook == called]
        if not candidates and called in instances:
            candidates = [called]
        # Two names for one notebook: by whichever the caller may.
        name = next(
            (name for name in candidates if self._may(call, name)), candidates[0] if candidates else None
        )
        self._decide(call, name, f"notebook-instance/{called}")
        assert name is not None
        return name

    def _decide(self, call: _Call, name: str | None, resource: str) -> None:
        """Raises AwsFault, after it was audited, where this caller may not do this to the instance ("": to any; None:
        there is no such instance).
        """
        request, user = call.request, call.signer.user
        try:
            request.decide(name or "", action_of(call.operation), call.signer.principal)
            if name is None or (name and not call.signer.reaches(name)):
                refusal = request.gateway.refuse(
                    request.inbound,
                    request.caller,
                    AccessDenied(),
                    reason="denied: there is no such instance"
                    if name is None
                    else "the access key is for other instances",
                    instance=name or "",
                    action=action_of(call.operation),
                    user=user or "",
                )
                raise refusal.error
        except AccessDenied as error:
            who = user or request.caller.address or "an unknown address"
            text = f"User: {who} is not authorized to perform: {action_of(call.operation)}"
            raise AwsFault("AccessDeniedException", f"{text} on resource: {resource}", status=403) from error

    def _may(self, call: _Call, name: str) -> bool:
        return call.signer.reaches(name) and call.request.may(
            name, action_of(call.operation), call.signer.principal
        )

    async def _all_described(self, names: Mapping[str, str]) -> list[InstanceDescription]:
        """Those that SageMaker knows, of the instances by SageMaker's name and ours. Raises what the first of the
        others failed for: a list with gaps that do not show would be taken for the whole."""
        outcomes = await asyncio.gather(
            *(self._fleet.describe(name, max_age_seconds=LIST_AGE_SECONDS) for name in names.values()),
            return_exceptions=True,
        )
        found = []
        for notebook, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, InstanceNotFound):
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            found.append(replace(outcome, name=notebook))
        return found

    def _url(self, call: _Call, name: str) -> str:
        return mount_url(self._settings(), name, caller=call.request.caller, port=call.request.inbound.port)

    def _bare_url(self, call: _Call, name: str) -> str:
        """As SageMaker gives it: without a scheme. Whoever puts one in front finds the gateway."""
        return self._url(call, name).partition("://")[2]


def _wrong_state(operation: str, status: str, arn: str) -> AwsFault:
    """The texts are the real ones (aws/amazon-sagemaker-examples #1798 and #1094)."""
    allowed, unable = _MOVES[operation]
    return AwsFault(
        "ValidationException",
        f"Status ({status}) not in ([{', '.join(allowed)}]). {unable} for Notebook Instance ({arn}).",
    )
