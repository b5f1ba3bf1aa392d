"""SageMaker's API as far as nbgate uses it: five operations over AWS JSON 1.1, and STS AssumeRole.

The rule: errors carry the codes and, where known, the very texts of the real service, because the
client's error handling depends on them. Signatures must be present and are not verified. It speaks
for instances and never to Jupyter; starting and stopping one is asked of whoever made this API.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from proxy.chance import new_id
from proxy.clock import Clock
from proxy.sandbox import sts
from proxy.sandbox.instance import IN_SERVICE, NotebookInstance
from proxy.sandbox.notebook_host import TOKEN_PARAMETER, NotebookHost

ACCOUNT = "123456789012"
CREATE_URL = "CreatePresignedNotebookInstanceUrl"
DESCRIBE = "DescribeNotebookInstance"
LIST = "ListNotebookInstances"
START = "StartNotebookInstance"
STOP = "StopNotebookInstance"
ASSUME_ROLE = "AssumeRole"
GET_IDENTITY = "GetCallerIdentity"

RETIRED_PLATFORMS = frozenset({"notebook-al1-v1", "notebook-al2-v1", "notebook-al2-v2", "notebook-al2-v3"})
"""What no instance can be started on any more, since 1 July 2026 (SageMaker Developer Guide)."""

_TARGET = "SageMaker."
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_ACCESS_KEY = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/[^,]*, ?SignedHeaders=[^,]+, ?Signature=\S+"
)
_SESSION_SECONDS = range(1800, 43200 + 1)
_PAGE_SIZE = 10

Json = dict[str, Any]


class ApiError(Exception):
    """An AWS error: `code` is the `__type`, the text is the message."""

    def __init__(self, code: str, message: str, *, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class _Fault:
    operation: str | None
    error: ApiError


class ControlApi:
    """The API of one account and Region. `calls` counts by operation, `calls_by` by operation and caller.

    A caller is the access key id, or the ARN of the role that AssumeRole gave it for. Calls count even
    when they fail.
    """

    def __init__(
        self,
        hosts: Mapping[str, NotebookHost],
        *,
        clock: Clock,
        region: str,
        start: Callable[[str], Awaitable[None]],
        stop: Callable[[str], Awaitable[None]],
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.calls_by: Counter[tuple[str, str]] = Counter()
        self.delay_seconds = 0.0
        self._hosts = hosts
        self._clock = clock
        self._region = region
        self._start = start
        self._stop = stop
        self._faults: list[_Fault] = []
        self._roles: dict[str, str] = {}
        self._operations: dict[str, Callable[[Json], Awaitable[Json | None]]] = {
            CREATE_URL: self._create_url,
            DESCRIBE: self._describe,
            LIST: self._list,
            START: self._start_instance,
            STOP: self._stop_instance,
        }

    def fail(self, error: ApiError, *, times: int = 1, operation: str | None = None) -> None:
        """Fault: answer the next `times` calls (of `operation`, or of any) with this error."""
        self._faults += [_Fault(operation, error)] * times

    def throttle(self, *, times: int = 1, operation: str | None = None) -> None:
        """Fault: answer the next `times` calls with ThrottlingException, in AWS's words."""
        self.fail(ApiError("ThrottlingException", "Rate exceeded"), times=times, operation=operation)

    def stop_failing(self) -> None:
        """Forget the failures that were asked for and did not happen yet."""
        self._faults.clear()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """`POST /`: a SageMaker operation (X-Amz-Target), or one of STS (a form)."""
        request_id = str(uuid.UUID(hex=new_id() + new_id()))
        target = request.headers.get("X-Amz-Target", "")
        body = await request.read()
        if self.delay_seconds:
            await self._clock.sleep(self.delay_seconds)
        try:
            caller = self._caller(request)
            if target:
                answer = await self._sagemaker(target, body, caller)
                # Operations without a result answer an empty body, not "null".
                text = "" if answer is None else json.dumps(answer)
                response = web.Response(text=text, content_type="application/x-amz-json-1.1")
            else:
                response = self._sts(body, caller, request_id)
        except ApiError as error:
            response = _error(error, request_id, xml=not target)
        response.headers["x-amzn-RequestId"] = request_id
        return response

    def _caller(self, request: web.Request) -> str:
        signature = _ACCESS_KEY.match(request.headers.get(hdrs.AUTHORIZATION, ""))
        if signature is None:
            raise ApiError(
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
                status=HTTPStatus.FORBIDDEN,
            )
        return self._roles.get(signature[1], signature[1])

    async def _sagemaker(self, target: str, body: bytes, caller: str) -> Json | None:
        name = target.removeprefix(_TARGET)
        operation = self._operations.get(name)
        if operation is None or not target.startswith(_TARGET):
            raise ApiError("UnknownOperationException", "")
        self._count(name, caller)
        try:
            parameters = json.loads(body or b"{}")
        except ValueError:
            raise ApiError("SerializationException", "") from None
        if not isinstance(parameters, dict):
            raise ApiError("SerializationException", "Start of structure or map found where not expected.")
        return await operation(parameters)

    def _count(self, operation: str, caller: str) -> None:
        self.calls[operation] += 1
        self.calls_by[operation, caller] += 1
        for index, fault in enumerate(self._faults):
            if fault.operation in (None, operation):
                raise self._faults.pop(index).error

    def _host(self, parameters: Json) -> NotebookHost:
        name = parameters.get("NotebookInstanceName")
        if not isinstance(name, str):
            raise _invalid("null", "notebookInstanceName", "Member must not be null")
        if not _NAME.fullmatch(name):
            raise _invalid(
                name,
                "notebookInstanceName",
                "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*",
            )
        if name not in self._hosts:
            raise ApiError("ValidationException", "RecordNotFound")
        return self._hosts[name]

    def _arn(self, instance: NotebookInstance) -> str:
        return f"arn:aws:sagemaker:{self._region}:{ACCOUNT}:notebook-instance/{instance.name.lower()}"

    async def _create_url(self, parameters: Json) -> Json:
        host = self._host(parameters)
        seconds = parameters.get("SessionExpirationDurationInSeconds", _SESSION_SECONDS[-1])
        if type(seconds) is not int or seconds not in _SESSION_SECONDS:
            bound = "greater than or equal to 1800"
            if type(seconds) is int and seconds > _SESSION_SECONDS[-1]:
                bound = "less than or equal to 43200"
            raise _invalid(
                str(seconds), "sessionExpirationDurationInSeconds", f"Member must have value {bound}"
            )
        # The real text is not known; this follows the service's other state errors.
        self._require_status(host.instance, (IN_SERVICE,), "Unable to create a presigned URL")
        token = host.instance.mint(session_seconds=seconds)
        return {"AuthorizedUrl": f"{host.origin}?{TOKEN_PARAMETER}={token}"}

    async def _describe(self, parameters: Json) -> Json:
        host = self._host(parameters)
        instance = host.instance
        description = self._summary(host) | {
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/service-role/AmazonSageMaker-ExecutionRole",
            "DirectInternetAccess": "Enabled",
            "RootAccess": "Enabled",
            "VolumeSizeInGB": 5,
            "PlatformIdentifier": instance.platform,
        }
        if instance.failure_reason:
            description["FailureReason"] = instance.failure_reason
        return description

    async def _list(self, parameters: Json) -> Json:
        wanted = str(parameters.get("NameContains", "")).lower()
        status = parameters.get("StatusEquals")
        keys: dict[str, Callable[[NotebookHost], Any]] = {
            "Name": lambda host: host.instance.name,
            "CreationTime": lambda host: host.instance.created_at,
            "Status": lambda host: (host.instance.status, host.instance.name),
        }
        sort_by = parameters.get("SortBy", "Name")
        if sort_by not in keys:
            raise _invalid(str(sort_by), "sortBy", f"Member must satisfy enum value set: [{', '.join(keys)}]")
        found = sorted(
            (
                host
                for host in self._hosts.values()
                if wanted in host.instance.name.lower() and status in (None, host.instance.status)
            ),
            key=keys[sort_by],
            reverse=parameters.get("SortOrder") == "Descending",
        )
        size = parameters.get("MaxResults", _PAGE_SIZE)
        if type(size) is not int or not 1 <= size <= 100:
            raise _invalid(str(size), "maxResults", "Member must have value between 1 and 100")
        token = str(parameters.get("NextToken", "0"))
        if not token.isdecimal():
            raise ApiError("ValidationException", "Invalid pagination token")
        first = int(token)
        answer: Json = {"NotebookInstances": [self._summary(host) for host in found[first : first + size]]}
        if first + size < len(found):
            answer["NextToken"] = str(first + size)
        return answer

    async def _start_instance(self, parameters: Json) -> None:
        instance = self._host(parameters).instance
        self._require_status(instance, ("Stopped", "Failed"), "Unable to transition to (Pending)")
        if instance.platform in RETIRED_PLATFORMS:
            # Create's text (AIGoat #10); Start's own is not known.
            raise ApiError(
                "ValidationException",
                f"Platform identifier ({instance.platform}) is not supported for this service.",
            )
        await self._start(instance.name)

    async def _stop_instance(self, parameters: Json) -> None:
        instance = self._host(parameters).instance
        self._require_status(instance, (IN_SERVICE,), "Unable to transition to (Stopping)")
        await self._stop(instance.name)

    def _require_status(self, instance: NotebookInstance, allowed: tuple[str, ...], unable: str) -> None:
        """The texts are the real ones (aws/amazon-sagemaker-examples #1798 and #1094)."""
        if instance.status not in allowed:
            raise ApiError(
                "ValidationException",
                f"Status ({instance.status}) not in ([{', '.join(allowed)}]). "
                f"{unable} for Notebook Instance ({self._arn(instance)}).",
            )

    def _summary(self, host: NotebookHost) -> Json:
        instance = host.instance
        return {
            "NotebookInstanceName": instance.name,
            "NotebookInstanceArn": self._arn(instance),
            "NotebookInstanceStatus": instance.status,
            # A bare host without a scheme, as the real service answers.
            "Url": host.authority,
            "InstanceType": instance.instance_type,
            "CreationTime": instance.created_at.timestamp(),
            "LastModifiedTime": instance.modified_at.timestamp(),
        }

    def _sts(self, body: bytes, caller: str, request_id: str) -> web.Response:
        form = sts.read_form(body)
        if form.get("Action") == GET_IDENTITY:
            self._count(GET_IDENTITY, caller)
            text = sts.identity(caller, account=ACCOUNT, request_id=request_id)
            return web.Response(content_type="text/xml", text=text)
        if form.get("Action") != ASSUME_ROLE:
            raise ApiError("InvalidAction", "Could not find the operation in this request.")
        self._count(ASSUME_ROLE, caller)
        role, name = form.get("RoleArn", ""), form.get("RoleSessionName", "")
        if not role.startswith("arn:") or not name:
            raise ApiError("ValidationError", "RoleArn and RoleSessionName are required.")
        credentials = sts.credentials(role, name, seconds=int(form.get("DurationSeconds", "3600")))
        self._roles[credentials.access_key] = role
        text = sts.assumed(credentials, account=ACCOUNT, request_id=request_id)
        return web.Response(content_type="text/xml", text=text)


def _invalid(value: str, member: str, constraint: str) -> ApiError:
    """The text of every constraint that the API's model states."""
    return ApiError(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{member}' "
        f"failed to satisfy constraint: {constraint}",
    )


def _error(error: ApiError, request_id: str, *, xml: bool) -> web.Response:
    if xml:
        text = sts.error(error.code, str(error), request_id=request_id)
        return web.Response(status=error.status, content_type="text/xml", text=text)
    return web.json_response(
        {"__type": error.code, "message": str(error)},
        status=error.status,
        content_type="application/x-amz-json-1.1",
    )
