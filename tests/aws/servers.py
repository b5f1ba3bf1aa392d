"""Two tiny servers on 127.0.0.1: a notebook host whose every answer the test decides, and a SageMaker API."""

from __future__ import annotations

import json
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.aws.sagemaker import AwsOptions, SageMaker
from proxy.instance_status import InstanceStatus
from tests.aws.fakes import COOKIE_SECRET, SECRET

Build = Callable[[AwsOptions], SageMaker]
"""The `build` fixture: a `SageMaker` that the fixture closes."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

JUPYTER = {"Server": "TornadoServer/6.5.2"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as a notebook host received it."""

    target: str
    cookie: str | None
    host: str


class NotebookHost:
    """Answers by path from `answers`, 404 elsewhere, and notes all that it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[Seen] = []
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", self._answer)
        self._server = TestServer(application)
        self._scheme = "http"

    async def start(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if ssl_context is not None else "http"
        await self._server.start_server(
            access_log=None, ssl=ssl_context, max_line_size=65536, max_field_size=65536
        )

    async def close(self) -> None:
        await self._server.close()

    @property
    def origin(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.port}"

    @property
    def url(self) -> str:
        """A presigned URL in the form that SageMaker gives: no slash before the question mark."""
        return f"{self.origin}?authToken={SECRET}"

    @property
    def targets(self) -> list[str]:
        return [seen.target for seen in self.seen]

    def signs_in(self) -> None:
        """The plainest chain: a cookie and a redirect, Jupyter's redirect, Jupyter's page."""
        self.answers["/"] = by_token(
            redirect("/lab?", cookies=[session_cookie()]),
            signed_out=redirect("https://signin.aws.amazon.com/"),
        )
        self.answers["/lab"] = reply(200, "<html>", "text/html", headers=JUPYTER, cookies=["_xsrf=theirs"])
        self.answers["/api/status"] = reply(200, "{}", "application/json", headers=JUPYTER)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Seen(request.raw_path, request.headers.get("Cookie"), request.headers["Host"]))
        return await self.answers.get(request.path, reply(404))(request)


def session_cookie(name: str = "FrontEnd", value: str = COOKIE_SECRET) -> str:
    return f"{name}={value}; Path=/; Secure; HttpOnly; SameSite=None"


def reply(
    status: int,
    text: str = "",
    content_type: str = "text/plain",
    *,
    headers: dict[str, str] | None = None,
    cookies: Iterable[str] = (),
) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        response = web.Response(status=status, text=text, content_type=content_type, headers=headers)
        for cookie in cookies:
            response.headers.add("Set-Cookie", cookie)
        return response

    return answer


def redirect(location: str, *, status: int = 302, cookies: Iterable[str] = ()) -> Answer:
    return reply(status, headers={"Location": location}, cookies=cookies)


def by_token(with_token: Answer, *, signed_out: Answer) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await (with_token if "authToken" in request.query else signed_out)(request)

    return answer


def hang_up() -> Answer:
    """Close the connection without an answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return answer


MOVES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "StartNotebookInstance": (("Stopped", "Failed"), "Pending"),
    "StopNotebookInstance": (("InService",), "Stopping"),
}


@dataclass
class Fault:
    """An error answer of AWS: JSON 1.1 for SageMaker."""

    code: str
    message: str = ""
    status: int = 400


@dataclass
class SageMakerApi:
    """Five operations over AWS JSON 1.1, and STS's AssumeRole over the query protocol.

    `faults` answer the next calls of any operation of SageMaker; `stopped_fault` is what CreatePresigned says
    about an instance that is not in service, which AWS does not document.
    """

    instances: dict[str, dict[str, object]] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    sts_faults: deque[Fault] = field(default_factory=deque)
    stopped_fault: Callable[[str], Fault] = lambda status: Fault(
        "ValidationException", f"Status ({status}) not in ([InService]). Unable to transition to (InService)."
    )
    url: str = f"https://nb.notebook.eu-west-1.sagemaker.aws?authToken={SECRET}"
    calls: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    signed_by: list[str] = field(default_factory=list)
    assumed: list[dict[str, str]] = field(default_factory=list)
    role_expires: str = "2099-01-01T00:00:00Z"

    def __post_init__(self) -> None:
        application = web.Application()
        application.router.add_post("/", self._answer)
        self._server = TestServer(application)

    async def start(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if ssl_context is not None else "http"
        await self._server.start_server(access_log=None, ssl=ssl_context)

    async def close(self) -> None:
        await self._server.close()

    @property
    def endpoint_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.port}"

    def put(self, notebook: str, status: str = InstanceStatus.IN_SERVICE, failure_reason: str = "") -> None:
        self.instances[notebook] = {
            "NotebookInstanceName": notebook,
            "NotebookInstanceStatus": status,
            "NotebookInstanceArn": f"arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/{notebook}",
            "Url": f"{notebook}.notebook.eu-west-1.sagemaker.aws",
            "InstanceType": "ml.t3.medium",
            "CreationTime": 1767225600.25,
            "LastModifiedTime": 1767225600.5,
            "VolumeSizeInGB": 5,
            **({"FailureReason": failure_reason} if failure_reason else {}),
        }

    async def _answer(self, request: web.Request) -> web.Response:
        if "X-Amz-Target" not in request.headers:
            return self._assume_role({key: str(value) for key, value in (await request.post()).items()})
        operation = request.headers["X-Amz-Target"].removeprefix("SageMaker.")
        members = json.loads(await request.text())
        self.calls.append((operation, members))
        credential = request.headers["Authorization"].partition("Credential=")[2]
        self.signed_by.append(credential.partition("/")[0])
        if self.faults:
            return _refuse(self.faults.popleft())
        if operation == "ListNotebookInstances":
            first, size = int(str(members.get("NextToken", 0))), int(str(members["MaxResults"]))
            found = list(self.instances.values())
            more = {"NextToken": str(first + size)} if first + size < len(found) else {}
            return _accept({"NotebookInstances": found[first : first + size], **more})
        instance = self.instances.get(members["NotebookInstanceName"])
        if instance is None:
            return _refuse(Fault("ValidationException", "RecordNotFound"))
        if operation == "DescribeNotebookInstance":
            return _accept(instance)
        if move := MOVES.get(operation):
            if instance["NotebookInstanceStatus"] not in move[0]:
                text = f"Status ({instance['NotebookInstanceStatus']}) not in ([{', '.join(move[0])}])."
                return _refuse(Fault("ValidationException", f"{text} Unable to transition to ({move[1]})"))
            instance["NotebookInstanceStatus"] = move[1]
            return web.Response(content_type="application/x-amz-json-1.1")
        if (status := instance["NotebookInstanceStatus"]) != InstanceStatus.IN_SERVICE:
            return _refuse(self.stopped_fault(str(status)))
        return _accept({"AuthorizedUrl": self.url} if self.url else {})

    def _assume_role(self, form: dict[str, str]) -> web.Response:
        self.assumed.append(form)
        if self.sts_faults:
            fault = self.sts_faults.popleft()
            text = (
                '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
                f"<Code>{fault.code}</Code><Message>{fault.message}</Message></Error></ErrorResponse>"
            )
            return web.Response(status=fault.status, text=text, content_type="text/xml")
        key = f"ASIAROLE{len(self.assumed):08}"
        return web.Response(
            content_type="text/xml",
            text=f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
            <AssumedRoleUser><Arn>{form["RoleArn"]}/x</Arn><AssumedRoleId>A:x</AssumedRoleId></AssumedRoleUser>
            <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
            <SessionToken>t</SessionToken><Expiration>{self.role_expires}</Expiration></Credentials>
            </AssumeRoleResult></AssumeRoleResponse>""",
        )


def _accept(members: Mapping[str, object]) -> web.Response:
    return web.Response(text=json.dumps(members), content_type="application/x-amz-json-1.1")


def _refuse(fault: Fault) -> web.Response:
    text = json.dumps({"__type": fault.code, "message": fault.message})
    return web.Response(status=fault.status, text=text, content_type="application/x-amz-json-1.1")
