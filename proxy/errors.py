"""Every error that nbgate answers with, in one tree.

    NbgateError
    ├── InternalError          500  a fault of our own, which the log tells with its traceback
    ├── ConfigError                the configuration cannot be used (all problems at once, with lines)
    ├── ClientError                the caller is at fault
    │   ├── BadRequest             400  malformed or ambiguous
    │   ├── ValidationFailed       400  well-formed, but not what is asked for there
    │   ├── SignInRequired         401  only with a session, and there is none
    │   ├── TokenRefused           401  a link, session or token that is not good, or not any more
    │   ├── AccessDenied           403  the policy says no, or nothing is mounted there
    │   │   └── AddressUnknown     403  nobody knows who calls, so that no rule lets them in
    │   │       └── ForwardedUnquoted  403  because a proxy wrote it without the quotes that it needs
    │   ├── OriginRefused          403  a cross-site WebSocket, or a form that no page of ours sent
    │   ├── CrossSiteRefused       403  what another site's page would change at a notebook
    │   ├── WorkerRefused          403  a service worker that would cover more than its mount
    │   ├── OutsideMount           404  what a page under a mount asks for outside of it, and is not led on to
    │   ├── RouteNotFound          404  no such page of the gateway's own, or no such instance for this caller there
    │   ├── MethodNotAllowed       405  a page of the gateway's own, asked in another way than it answers
    │   ├── RequestTimeout         408  the head did not come in time
    │   │   └── BodyTimeout        408  the body did not
    │   ├── WrongState             409  an instance is not in a state in which that can be done
    │   ├── NotTheStopper          409  another gateway decides when instances are stopped
    │   ├── BodyTooLarge           413  more than a page of the gateway's own reads
    │   ├── MediaTypeRefused       415  a body of another kind than the page reads
    │   ├── Misdirected            421  not a host name of this gateway
    │   ├── UpgradeRequired        426  a WebSocket version that is not 13
    │   └── HeadTooLarge           431
    │       └── TooManyRequestFields   431  more fields than are taken
    ├── UpstreamError              the notebook's side is at fault
    │   ├── UpstreamUnreachable    503  no connection, or it broke before an answer
    │   │   ├── UpstreamRefused    503  its host refuses connections
    │   │   └── UpstreamUnknown    503  its host's name does not resolve
    │   ├── UpstreamTimeout        503  not in time
    │   │   ├── ConnectTimeout     503  no connection
    │   │   ├── UploadStalled      503  the notebook takes nothing of the request's body
    │   │   └── ResponseTimeout    503  no answer
    │   ├── SigningIn              503  the gateway is signing in: come again in a moment
    │   │   └── SignInTimeout      503  that takes longer than anybody waits
    │   ├── JupyterStarting        503  the instance runs, and its Jupyter does not answer yet, or not again yet
    │   ├── SessionRejected        503  signed out, and signing in again did not help (yet)
    │   │   └── BodyNotKept        503  a body that was too large to be kept for repeating the request
    │   ├── OutcomeUnknown         504  an unsafe request that may have arrived, and no answer to it
    │   ├── UpstreamUntrusted      502  its certificate is not trusted
    │   ├── UpstreamProxyRefused   502  the proxy on the way to it opens no connection
    │   └── UpstreamInvalid        502  an answer that is not HTTP, or not from the notebook
    │       └── ResponseHeadTooLarge   502  more of a head than is taken
    │           ├── TooManyFields      502  more fields than are taken
    │           └── TooManyInterims    502  more interim responses (1xx) than are taken
    ├── ControlPlaneError          SageMaker's API is at fault, or our right to use it
    │   ├── PermissionMissing      502  the gateway's role lacks a permission
    │   ├── ControlPlaneProxyRefused   502  the proxy on the way to it opens no connection
    │   ├── PlatformRetired        502  SageMaker starts nothing on the instance's platform any more
    │   ├── CredentialsMissing     503  the gateway has no AWS credentials (yet)
    │   │   └── CredentialsRefused  503  AWS does not accept those that it has
    │   ├── ControlPlaneFailed     503  anything else that AWS answered
    │   ├── InstanceNotFound       404
    │   ├── InstanceNotInService   503  stopped, starting, failed …
    │   ├── LimitReached           503  the account may not run more instances of this type
    │   ├── Throttled              503
    │   └── ControlPlaneTimeout    503
    │       └── ControlPlaneUnreachable   503  no connection to it
    ├── LimitMet                   503  a limit of this gateway's own
    │   ├── TooManyConnections     503  more connections than are kept open in all
    │   ├── TooManyFromAddress     503  more connections of one address than are kept open
    │   ├── TooManyStreams         503  more status streams from one address than are kept open
    │   ├── TooManyUpstreams       503  more connections to one notebook than are kept open
    │   └── NoDescriptor           503  the process has no file descriptor for a connection to the notebook
    └── Draining                   503  this gateway is shutting down

What passes by itself is 503, with `Retry-After`: JupyterLab and Notebook 7 ask again after a 503 (or a 424) and give a
kernel up for ever after a 401, 403, 429, 502 or 504. 502 is what somebody has to mend; 504 says that repeating may do
something twice. Who is let in no more (401, 403) is answered in the same spirit by `proxy.server.pages.error_pages`.

`status` is the HTTP status, `code` a stable word for logs, metrics and JSON, `title` the heading of the page
and `str(error)` the public message: it may be shown to the caller, so it holds no credential, no rule
of the policy and none of the request's bytes. Details for the operator go into `detail`, which is logged
and never sent. Foreign exceptions are translated where they enter, with `raise … from`.

Outside the tree stands what a part tells whoever calls it. It reaches nobody else: whoever catches it makes an error of
the tree of it, a problem of the configuration, or the last line of a command. By package:

    client_address  AddressError, AddressRangeError, PreludeError
    policy          PolicyError, StatementError, DocumentError
    wire            HeadFault, FramingError, CodingError, FrameError, NotJson, KeyTwice, NestedTooDeep; CloseBegins,
                    which is no fault; AwsFault, which is answered in AWS's words
    shared_fetch    StillUnderWay
    config          ValueProblem
    identity        SignatureRefused, an AwsFault
    lifecycle       AwakeRefused, UnreadableState
    commands        UsageProblem
    server          UnusableCertificateError
    sandbox         ApiError, DemoFailed, JupyterFailed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Final

SUCCESSOR_PLATFORM: Final = "notebook-al2023-v1"
"""What instances on retired platforms are moved to: SageMaker's default since 15 May 2026."""


class NbgateError(Exception):
    """Base of the tree, which nobody raises. `detail` is for the operator's log only."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str] = "Something went wrong"
    default_message: ClassVar[str]
    advice: ClassVar[str] = ""
    """What the caller can do about it, shown below the message; "" where there is nothing."""
    setting: ClassVar[str] = ""
    """The limit or timeout of the configuration that was met, if one was: `timeouts.connect`."""
    passes_in_seconds: ClassVar[int] = 0
    """When to try again what passes by itself, if nothing better is known; 0 for what does not."""
    remedy: ClassVar[str] = ""
    """What the operator can mend, for the log alone; "" where there is nothing, or `detail` says it."""

    def __init__(
        self, message: str | None = None, *, detail: str = "", retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message or self.default_message)
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds

    @property
    def message(self) -> str:
        """The public message."""
        return str(self)

    @property
    def log_detail(self) -> str:
        """What the log says beside the code: `detail`, or the limit that was met."""
        return self.detail or self.setting

    def log_fields(self) -> dict[str, str]:
        """What an event of the log says of it: `code`, `detail` and `remedy`, as far as there are."""
        told = {"code": self.code, "detail": self.log_detail, "remedy": self.remedy}
        return {name: value for name, value in told.items() if value}

    @property
    def wait_seconds(self) -> int:
        """What `Retry-After` says; 0: nothing."""
        return self.retry_after_seconds or self.passes_in_seconds


class InternalError(NbgateError):
    """A fault of our own. What it was, the log alone is told."""

    status = 500
    code = "INTERNAL_ERROR"
    default_message = "The gateway met an error of its own."


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a configuration file.

    `line` counts from 1 (0: the file as a whole); `where` is the dotted path of the key, such as
    `instances.research.mount`; `hint` says what to write instead.
    """

    file: str
    line: int
    _: KW_ONLY
    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = f" {self.where}:" if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}:{where} {self.message}{hint}"


class ConfigError(NbgateError):
    """The configuration cannot be used; `problems` holds all of them, in the order of the file."""

    status = 500
    code = "CONFIG_ERROR"
    default_message = "The configuration cannot be used."

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ClientError(NbgateError):
    """The caller is at fault."""

    status = 400
    code = "BAD_REQUEST"
    title = "Bad request"
    default_message = "The request is malformed."


class BadRequest(ClientError):
    """RFC 9112 section 3 and 5: malformed or ambiguous. The connection is closed after the answer."""


class ValidationFailed(ClientError):
    """A parameter or body that is well-formed and wrong; the message says which, in words of our own."""

    code = "VALIDATION_ERROR"
    title = "Not understood"
    default_message = "The request's parameters are not valid."


class SignInRequired(ClientError):
    """The instance is for sessions only (`access: presigned`), and the request brought nothing of the kind.

    `login` is where Jupyter would have sent a program that asks for one of its pages; "" for what is none of those.
    """

    status = 401
    code = "SIGN_IN_REQUIRED"
    title = "A link is needed"
    default_message = "This notebook opens with a link that is made for you, or a token."
    reason = "no session and no token"
    user = ""
    advice = (
        "Ask whoever runs this gateway, or gave you this address, for a link, and open it within five minutes. "
        "If one let you in before, its time is over: ask for another."
    )

    def __init__(
        self,
        message: str | None = None,
        *,
        login: str = "",
        detail: str = "",
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message, detail=detail, retry_after_seconds=retry_after_seconds)
        self.login = login


class TokenRefused(ClientError):
    """RFC 6750 section 3.1: a link, session or token that is not good. `reason`, and the `user` that a genuine one was
    made for, are for the log alone.

    The caller is told that it is not good and nothing more: a forger must not learn how far it came.
    """

    status = 401
    code = "TOKEN_REFUSED"
    title = "This link is not valid"
    default_message = "The link, session or token is not valid, or not any more."
    advice = "Ask for a new link where you got the last one, and open it within five minutes."

    def __init__(
        self,
        message: str | None = None,
        *,
        reason: str = "",
        user: str = "",
        detail: str = "",
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message, detail=detail, retry_after_seconds=retry_after_seconds)
        self.reason = reason
        self.user = user


class AccessDenied(ClientError):
    """The policy says no, or nothing is mounted there: in the same words, for who may not reach an instance is not told
    that there is one. The caller is told its address and a request id, and nothing of the rules.
    """

    status = 403
    code = "ACCESS_DENIED"
    title = "Access denied"
    default_message = "No notebook is mounted here, or your address is not allowed to reach it."
    advice = (
        "Check the link for a typing error; what runs on a notebook is at /NOTEBOOK/proxy/PORT/. If you should be let "
        "in, send the address and the request id below to whoever runs this gateway."
    )


class AddressUnknown(AccessDenied):
    """The client address cannot be determined, so that no list holds it. It mostly is a proxy's fault, or that of
    `client_address`, and then meets everybody behind it.
    """

    code = "CLIENT_ADDRESS_UNKNOWN"
    remedy = "look at what the proxy in front writes, and at client_address (config/client-address.md)"


class ForwardedUnquoted(AddressUnknown):
    """RFC 7239 section 4 wants quotes around an IPv6 address and around a port."""

    code = "FORWARDED_UNQUOTED"
    remedy = "have the proxy quote it, or have it write X-Forwarded-For and set client_address.header to that"


class OriginRefused(ClientError):
    """A WebSocket opened by another site's page (cross-site hijacking, RFC 6455 section 10.2)."""

    status = 403
    code = "ORIGIN_REFUSED"
    title = "Origin refused"
    default_message = "WebSockets are only accepted from pages of this gateway."


class CrossSiteRefused(ClientError):
    """A request that is not safe (RFC 9110 section 9.2.1), or that bears a token, of a page of another origin."""

    status = 403
    code = "CROSS_SITE_REFUSED"
    title = "Sent from another site"
    default_message = (
        "Requests that change something are only accepted from pages of this gateway, and from programs."
    )


class WorkerRefused(ClientError):
    """A service worker's script whose scope would hold pages that are not its mount's (`proxy.routing.workers`)."""

    status = 403
    code = "WORKER_REFUSED"
    title = "Service worker refused"
    default_message = "A service worker in this place would cover more than its notebook."


class OutsideMount(ClientError):
    """An address under no mount, asked for by a page under one in a way that cannot be redirected there. Told only to
    who may reach that notebook; the message names its mount.
    """

    status = 404
    code = "OUTSIDE_MOUNT"
    title = "Outside of the notebook's address"
    default_message = "This address is outside of the notebook's."
    advice = "The gateway's README says for well-known applications which setting that is."


class RouteNotFound(ClientError):
    """The gateway has no such page, or none about an instance that this caller may reach."""

    status = 404
    code = "NOT_FOUND"
    title = "Nothing here"
    default_message = "There is no such page, or no such notebook for you."


class MethodNotAllowed(ClientError):
    """RFC 9110 section 15.5.6; `allow` are the methods that the page answers."""

    status = 405
    code = "METHOD_NOT_ALLOWED"
    title = "Not in this way"
    default_message = "This page is not answered for that method."

    def __init__(
        self, message: str | None = None, *, allow: Sequence[str] = ("GET", "HEAD"), detail: str = ""
    ) -> None:
        super().__init__(message, detail=detail)
        self.allow = tuple(allow)


class RequestTimeout(ClientError):
    """RFC 9110 section 15.5.9."""

    status = 408
    code = "REQUEST_TIMEOUT"
    title = "Request timed out"
    default_message = "The request did not arrive in time."
    setting = "timeouts.request_head"


class BodyTimeout(RequestTimeout):
    """The caller was silent in the middle of the request's body."""

    code = "BODY_TIMEOUT"
    default_message = "The rest of the request did not arrive in time."
    setting = "timeouts.request_body"


class WrongState(ClientError):
    """RFC 9110 section 15.5.10: the instance's state does not allow what was asked for."""

    status = 409
    code = "WRONG_STATE"
    title = "Not in this state"
    default_message = "The notebook instance is not in a state in which that can be done."


class NotTheStopper(ClientError):
    """`lifecycle.stopper: false`: what is said here does not keep the other gateway from stopping an instance."""

    status = 409
    code = "NOT_THE_STOPPER"
    title = "Not decided here"
    default_message = (
        "This gateway stops no instances, so it cannot keep one awake: another gateway decides that."
    )
    advice = "Keep the notebook awake at the gateway that stops the instances."


class BodyTooLarge(ClientError):
    """RFC 9110 section 15.5.14."""

    status = 413
    code = "BODY_TOO_LARGE"
    title = "Request too large"
    default_message = "The request's body is too large."


class MediaTypeRefused(ClientError):
    """RFC 9110 section 15.5.16."""

    status = 415
    code = "MEDIA_TYPE_REFUSED"
    title = "Wrong kind of request"
    default_message = "The request's body is of a kind that is not read here."


class Misdirected(ClientError):
    """RFC 9110 section 15.5.20: the host is not one of this gateway's."""

    status = 421
    code = "MISDIRECTED_REQUEST"
    title = "Wrong host name"
    default_message = "This gateway answers only for the host names in its configuration (hostname)."
    advice = (
        "Use the address that your team bookmarked. If you run this gateway, and DNS does not know its names yet: "
        "curl --resolve NAME:PORT:127.0.0.1 http://NAME:PORT/"
    )


class UpgradeRequired(ClientError):
    """RFC 6455 section 4.4: only version 13 of the WebSocket protocol is spoken."""

    status = 426
    code = "UPGRADE_REQUIRED"
    title = "Upgrade required"
    default_message = "Only version 13 of the WebSocket protocol is supported."


class HeadTooLarge(ClientError):
    """RFC 6585 section 5."""

    status = 431
    code = "HEAD_TOO_LARGE"
    title = "Request head too large"
    default_message = "The request's head is too large."
    setting = "limits.request_head"


class TooManyRequestFields(HeadTooLarge):
    """More fields than are read, however small they are."""

    code = "TOO_MANY_FIELDS"
    remedy = "the number of fields is not raised by it: look at what adds so many on the way"
    default_message = "The request has too many header fields."


class UpstreamError(NbgateError):
    """The notebook's side is at fault."""

    status = 502
    code = "UPSTREAM_ERROR"
    title = "The notebook did not answer"
    default_message = "The notebook could not be reached."
    advice = "Try again in a moment. If it stays like this, restart the notebook instance."


class UpstreamUnreachable(UpstreamError):
    """No connection, or it broke before a whole answer."""

    status = 503
    code = "UPSTREAM_UNREACHABLE"
    passes_in_seconds = 5
    remedy = "look at routes, security groups and firewalls between the gateway and the notebook"


class UpstreamRefused(UpstreamUnreachable):
    """ECONNREFUSED: somebody is there, and nobody listens; or a firewall answers in its place."""

    code = "UPSTREAM_REFUSED"
    remedy = "nothing listens there: look whether the instance is InService, and at firewalls that reject"


class UpstreamUnknown(UpstreamUnreachable):
    """getaddrinfo knows no address of the notebook's host."""

    code = "UPSTREAM_NAME_UNKNOWN"
    remedy = "mend the name lookup (resolv.conf, the VPC's DNS), or name the endpoint: aws.notebook_endpoint"


class UpstreamTimeout(UpstreamError):
    """No connection, or no response head, in time."""

    status = 503
    code = "UPSTREAM_TIMEOUT"
    default_message = "The notebook took too long to answer."
    passes_in_seconds = 5


class ConnectTimeout(UpstreamTimeout):
    """No connection to the notebook host: name lookup, TCP and TLS."""

    code = "CONNECT_TIMEOUT"
    default_message = "The notebook could not be reached in time."
    setting = "timeouts.connect"
    remedy = "look at routes, security groups and firewalls that drop packets to the notebook"


class UploadStalled(UpstreamTimeout):
    """The notebook takes nothing more of the request's body."""

    code = "UPLOAD_STALLED"
    default_message = "The notebook took nothing of the request for too long."
    setting = "timeouts.send"


class ResponseTimeout(UpstreamTimeout):
    """The request is with the notebook, and no response head came."""

    setting = "timeouts.response_head"
    remedy = "the notebook hangs: restart Jupyter or the instance, or raise timeouts.response_head"


class SigningIn(UpstreamError):
    """The gateway is signing in to the notebook, and goes on doing so; whoever waited for it is told to come again."""

    status = 503
    code = "SIGNING_IN"
    title = "Signing in to the notebook"
    default_message = "The gateway is signing in to the notebook, which takes longer than usual."
    advice = "Try again in a moment."
    passes_in_seconds = 2


class SignInTimeout(SigningIn):
    """All its steps together take longer than callers wait."""

    code = "SIGN_IN_TIMEOUT"
    passes_in_seconds = 5
    setting = "timeouts.sign_in"


class JupyterStarting(UpstreamError):
    """The instance is in service, and its front end answers in Jupyter's place: with a page that loads itself again, or
    with an error of its own. That is so after a start, and whenever Jupyter is started again. The session is good.
    """

    status = 503
    code = "JUPYTER_STARTING"
    title = "Jupyter is starting"
    default_message = "The notebook instance is running, and Jupyter is starting on it."
    advice = "Try again in a moment. If it stays like this for minutes, restart the notebook instance."
    passes_in_seconds = 2


class SessionRejected(UpstreamError):
    """The notebook's front end signed us out, and signing in again did not help (yet)."""

    status = 503
    code = "SESSION_REJECTED"
    title = "Signing in to the notebook again"
    default_message = "The notebook ended the gateway's session, and the request could not be repeated."
    passes_in_seconds = 5


class OutcomeUnknown(UpstreamError):
    """RFC 9110 section 9.2.1: a request that is not safe went out, and no answer came.

    It may have been acted on, so that nobody is told to repeat it; `detail` has what happened.
    """

    status = 504
    code = "OUTCOME_UNKNOWN"
    default_message = "The notebook may have done what was asked, but its answer did not come."
    advice = "Look whether it was done before you repeat it."


class UpstreamUntrusted(UpstreamError):
    """The notebook host's certificate is not trusted, or is another host's."""

    code = "UPSTREAM_UNTRUSTED"
    title = "The notebook could not be verified"
    default_message = "The notebook's TLS certificate could not be verified."
    advice = "Send the request id below to whoever runs this gateway."
    remedy = "trust the authority that signed it (aws.ca_bundle), or take away what intercepts TLS on the way"


class UpstreamProxyRefused(UpstreamError):
    """The proxy that leads out (`aws.https_proxy`) does not connect to the notebook host: it wants other credentials,
    or does not allow that host."""

    code = "UPSTREAM_PROXY_REFUSED"
    title = "The way to the notebook is refused"
    default_message = "The proxy between the gateway and the notebook does not let the gateway through."
    advice = "Whoever runs this gateway finds the reason in its log, under the request id below."
    remedy = (
        "have the proxy allow CONNECT to the notebooks' hosts, or correct aws.https_proxy and aws.no_proxy"
    )


class BodyNotKept(SessionRejected):
    """The same, where signing in again could not help: the body was not kept for repeating the request."""

    code = "BODY_NOT_KEPT"
    setting = "limits.replay_body"


class UpstreamInvalid(UpstreamError):
    """An answer that is not valid HTTP, or that comes from somewhere else than a notebook."""

    code = "UPSTREAM_INVALID"
    title = "The notebook's answer was not understood"
    default_message = "The notebook's side sent an answer that the gateway cannot pass on."


class ResponseHeadTooLarge(UpstreamInvalid):
    """A status line and fields that together are more than is taken."""

    code = "RESPONSE_HEAD_TOO_LARGE"
    default_message = "The head of the notebook's answer is too large."
    setting = "limits.response_head"


class TooManyFields(ResponseHeadTooLarge):
    """More fields than a head may have, whatever their size."""

    code = "RESPONSE_TOO_MANY_FIELDS"
    remedy = "the number of fields is not raised by it: look at what adds so many at the notebook"


class TooManyInterims(ResponseHeadTooLarge):
    """More interim responses (RFC 9110 section 15.2) than an exchange may have, whatever their size."""

    code = "TOO_MANY_INTERIM_RESPONSES"
    default_message = "The notebook's side sent too many interim responses."


class ControlPlaneError(NbgateError):
    """SageMaker's API is at fault, or our right to use it."""

    status = 502
    code = "CONTROL_PLANE_ERROR"
    title = "SageMaker did not let the gateway in"
    default_message = "SageMaker's API answered with an error."
    advice = "Whoever runs this gateway finds the reason in its log, under the request id below."


class ControlPlaneFailed(ControlPlaneError):
    """Any error of the API that has no class of its own."""

    status = 503
    code = "CONTROL_PLANE_FAILED"
    passes_in_seconds = 15


class PermissionMissing(ControlPlaneError):
    """The gateway's role lacks a permission (AccessDeniedException and its like)."""

    code = "PERMISSION_MISSING"
    default_message = "The gateway's AWS role lacks a permission that it needs."
    remedy = "allow the gateway's role the action that the detail names (deploy/ has the policy)"


class ControlPlaneProxyRefused(ControlPlaneError):
    """The proxy that leads out (`aws.https_proxy`) does not connect to AWS's API."""

    code = "CONTROL_PLANE_PROXY_REFUSED"
    title = "The way to SageMaker is refused"
    default_message = "The proxy between the gateway and SageMaker's API does not let the gateway through."
    remedy = "have the proxy allow CONNECT to AWS's API, or correct aws.https_proxy and aws.no_proxy"


class PlatformRetired(ControlPlaneError):
    """SageMaker starts no instance on `platform` any more; it says so in answer to StartNotebookInstance.

    The message names the way out, for it is all that programs are told.
    """

    code = "PLATFORM_RETIRED"
    title = "The notebook instance's platform is retired"
    default_message = "SageMaker does not start notebook instances on this instance's platform any more."
    advice = (
        "Whoever looks after the instance edits it in the SageMaker console, or runs: aws sagemaker "
        f"update-notebook-instance --notebook-instance-name NAME --platform-identifier {SUCCESSOR_PLATFORM}"
    )
    remedy = (
        f"while it is stopped, UpdateNotebookInstance to the platform {SUCCESSOR_PLATFORM}, then start it"
    )

    def __init__(
        self,
        message: str | None = None,
        *,
        platform: str = "",
        detail: str = "",
        retry_after_seconds: int | None = None,
    ) -> None:
        if message is None and platform:
            message = (
                f"SageMaker does not start notebook instances on the platform {platform} any more. The way out: while "
                f"the instance is stopped, UpdateNotebookInstance to the platform {SUCCESSOR_PLATFORM}, then start it."
            )
        super().__init__(message, detail=detail, retry_after_seconds=retry_after_seconds)
        self.platform = platform


class CredentialsMissing(ControlPlaneError):
    """The gateway has no usable AWS credentials.

    They mostly come from a neighbour (instance metadata, Pod Identity) that may be away for a moment; nothing tells
    that from credentials that somebody has to mend.
    """

    status = 503
    code = "CREDENTIALS_MISSING"
    default_message = "The gateway has no usable AWS credentials."
    passes_in_seconds = 30
    remedy = (
        "give the gateway a role (instance profile, task role, Pod Identity) or credentials; for those of a person, "
        "name the profile by AWS_PROFILE or aws.profile, and run aws sso login if it needs that"
    )


class CredentialsRefused(CredentialsMissing):
    """AWS does not accept the credentials that there are: expired, revoked, or signed by a clock that is wrong."""

    code = "CREDENTIALS_REFUSED"
    remedy = (
        "renew the credentials (a profile's: aws sso login), and look whether this machine's clock is right"
    )


class InstanceNotFound(ControlPlaneError):
    """SageMaker knows no notebook instance of the configured name."""

    status = 404
    code = "INSTANCE_NOT_FOUND"
    title = "No such notebook instance"
    default_message = "SageMaker knows no notebook instance of the name that the gateway is configured with."
    remedy = "correct notebook: of the instance, or aws.region, or the account that the role is of"


class InstanceNotInService(ControlPlaneError):
    """The notebook instance is stopped, starting, failed …; `instance_status` is SageMaker's word for it."""

    status = 503
    code = "INSTANCE_NOT_IN_SERVICE"
    title = "The notebook instance is not running"
    default_message = "The notebook instance is not running."
    advice = "Start it, wait until SageMaker says InService, then reload this page."
    remedy = "start the instance, or let visitors do so with start_on_open"

    def __init__(
        self,
        message: str | None = None,
        *,
        instance_status: str = "",
        detail: str = "",
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message, detail=detail, retry_after_seconds=retry_after_seconds)
        self.instance_status = instance_status


class LimitReached(ControlPlaneError):
    """ResourceLimitExceeded: a service quota of the account and Region."""

    status = 503
    code = "LIMIT_REACHED"
    title = "No more instances of this type"
    default_message = "The AWS account's limit for instances of this type is reached."
    advice = "Stop another instance of this type, or have the quota raised."
    remedy = "have the service quota for this instance type raised"
    passes_in_seconds = 60


class Throttled(ControlPlaneError):
    """ThrottlingException: per account and Region."""

    status = 503
    code = "THROTTLED"
    title = "SageMaker is busy"
    default_message = "SageMaker's API is throttling the gateway."
    remedy = "find what else calls SageMaker in this account and Region; fewer gateways ask less"
    advice = "This passes by itself. Try again in a moment."
    passes_in_seconds = 15


class ControlPlaneTimeout(ControlPlaneError):
    """The API did not answer in time."""

    status = 503
    code = "CONTROL_PLANE_TIMEOUT"
    title = "SageMaker did not answer"
    default_message = "SageMaker's API did not answer in time."
    passes_in_seconds = 15
    remedy = "look at the way to SageMaker's API and to STS: aws.region, routes, egress proxy, VPC endpoints"


class ControlPlaneUnreachable(ControlPlaneTimeout):
    """No connection to the API, or none in time: no network, no name, no route, nothing listens."""

    code = "CONTROL_PLANE_UNREACHABLE"
    title = "SageMaker cannot be reached"
    default_message = "The gateway cannot connect to SageMaker's API."


class LimitMet(NbgateError):
    """As much of something is open or under way as this gateway is configured to hold."""

    status = 503
    code = "LIMIT_MET"
    title = "The gateway is busy"
    default_message = "A limit of this gateway is met."
    advice = "Try again in a moment."
    passes_in_seconds = 10


class TooManyStreams(LimitMet):
    """`limits.event_streams_per_address`."""

    code = "TOO_MANY_STREAMS"
    title = "Too many pages are open"
    default_message = "Too many pages from your address follow the notebooks' states."
    advice = "Close some of them."
    setting = "limits.event_streams_per_address"


class TooManyUpstreams(LimitMet):
    """`limits.upstream_connections`."""

    code = "TOO_MANY_UPSTREAM_CONNECTIONS"
    title = "The notebook is busy"
    default_message = "There are too many connections to this notebook."
    setting = "limits.upstream_connections"
    passes_in_seconds = 5


class TooManyConnections(LimitMet):
    """`limits.connections`."""

    code = "TOO_MANY_CONNECTIONS"
    default_message = "The gateway holds as many connections as it can."


class TooManyFromAddress(LimitMet):
    """`limits.connections_per_address`."""

    code = "TOO_MANY_FROM_ADDRESS"
    default_message = "Too many connections from your address are open."
    advice = "Close tabs that you do not need, and try again in a moment."


class NoDescriptor(LimitMet):
    """RLIMIT_NOFILE, as far as it is meant for connections to notebooks."""

    code = "NO_DESCRIPTORS"
    remedy = "raise LimitNOFILE (systemd) or ulimit -n"
    default_message = "The gateway has no room for one more connection to a notebook."
    setting = "RLIMIT_NOFILE"


class Draining(NbgateError):
    """This gateway is shutting down."""

    status = 503
    code = "DRAINING"
    title = "The gateway is restarting"
    default_message = "The gateway is shutting down."
    advice = "Try again in a moment."
    passes_in_seconds = 5
