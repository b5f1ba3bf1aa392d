"""The file's shape: which keys there are, what each holds, what it means when absent.

Its rule: the only module that knows pydantic; strict throughout, unknown keys refused, every scalar read by a
function of `proxy.config.values`. The docstrings of fields are what editors show (`proxy.config.json_schema`). It must
not know lines, the environment, or what two keys say about each other (`proxy.config.load` does).
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic import ValidationError as PydanticError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from proxy.client_address.networks import AddressError, Network
from proxy.config import places, values
from proxy.config.findings import Finding, did_you_mean, finding
from proxy.config.settings import (
    Access,
    Aws,
    Bind,
    CrossSiteRequests,
    Lifecycle,
    Limits,
    Log,
    LogDenials,
    LogFormat,
    LogLevel,
    Scheme,
    Signed,
    SocketAddress,
    StrategyName,
    Timeouts,
    Tokens,
    TrustUnix,
)
from proxy.config.values import ValueProblem
from proxy.config.yaml_lines import KeyPath
from proxy.policy.conditions import OPERATORS
from proxy.policy.statements import Effect
from proxy.routing.mounts import Mount

_AWS = Aws(region="")
_TOKENS = Tokens()
_LIMITS = Limits()
_TIMEOUTS = Timeouts()
_LOG = Log()
_LIFECYCLE = Lifecycle()

# A reference may stand wherever text, a number, true or false does, so the schema for editors admits it.
_REFERENCE: Mapping[str, Any] = {"type": "string", "pattern": r"\$\{.*\}"}


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """The annotation of a scalar that `parse` reads; `json` describes its spelling to editors."""

    parse: Callable[[object], object]
    json: Mapping[str, Any]
    is_key: bool = False
    """Keys are read like values, but no reference is replaced in them."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self.json) if self.is_key else {"anyOf": [dict(self.json), dict(_REFERENCE)]}

    def _validate(self, value: object) -> object:
        try:
            return self.parse(value)
        except (ValueProblem, AddressError) as problem:
            raise _problem(str(problem), problem.hint) from problem


def _problem(message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("value_problem", "{message}", {"message": message, "hint": hint})


def _duration(at_least: float, at_most: float) -> _Read:
    """Seconds, both bounds included."""
    json = {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": values.DURATION_PATTERN}]
    }
    return _Read(lambda value: values.parse_duration(value, at_least=at_least, at_most=at_most), json)


def _idle_duration(at_least: float, at_most: float) -> _Read:
    """Seconds, or infinity for never."""
    json = {"anyOf": [{"const": "never"}, *_duration(at_least, at_most).json["anyOf"]]}
    return _Read(lambda value: values.parse_idle_duration(value, at_least=at_least, at_most=at_most), json)


def _size(at_least: int, at_most: int) -> _Read:
    """Bytes, both bounds included."""
    json = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": values.SIZE_PATTERN}]}
    return _Read(lambda value: values.parse_size(value, at_least=at_least, at_most=at_most), json)


def _size_or_none(at_least: int, at_most: int) -> _Read:
    """Bytes, or None for any number of them."""
    json = {"anyOf": [{"const": values.UNLIMITED}, *_size(at_least, at_most).json["anyOf"]]}
    return _Read(lambda value: values.parse_size_or_none(value, at_least=at_least, at_most=at_most), json)


def _count(at_most: int) -> _Read:
    json = {"type": "integer", "minimum": 1, "maximum": at_most}
    return _Read(lambda value: values.parse_count(value, at_most=at_most), json)


def _one_of(choices: object) -> _Read:
    words = typing.get_args(choices)
    return _Read(lambda value: values.parse_choice(value, words), {"enum": list(words)})


def _spelled(default: object) -> Any:
    """A default as the file would have it, and as editors show it; the model holds what it means."""
    return Field(default=default, validate_default=True)


def _seconds(default: float) -> Any:
    return _spelled(values.format_duration(default))


def _bytes(default: int) -> Any:
    return _spelled(values.format_size(default))


@dataclass(frozen=True, slots=True, eq=False)
class _Filled:
    """The annotation of a list that must not be null or empty; `alone` lets one text stand for a list of one."""

    what: str
    hint: str
    alone: bool = False

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        listed = {**handler(schema), "minItems": 1}
        return {"anyOf": [listed["items"], listed]} if self.alone else listed

    def _check(self, value: object) -> object:
        if value is None or value == []:
            raise _problem(f"{self.what} is empty", self.hint)
        return [value] if self.alone and not isinstance(value, list) else value


_TEXT = {"type": "string", "minLength": 1}
_CIDR = {"type": "string", "examples": ["203.0.113.0/24", "2001:db8:10::/48", "198.51.100.7"]}

Text = Annotated[str, _Read(lambda value: values.text(value, example="/etc/nbgate/tls.crt"), _TEXT)]
Profile = Annotated[str, _Read(lambda value: values.text(value, example="default"), _TEXT)]
Flag = Annotated[bool, _Read(values.parse_flag, {"type": "boolean"})]
AdminBind = Annotated[
    SocketAddress, _Read(places.parse_bind, {"type": "string", "pattern": places.BIND_PATTERN})
]
ListenerBind = Annotated[
    Bind, _Read(places.parse_listener_bind, {"type": "string", "pattern": places.LISTENER_BIND_PATTERN})
]
Mode = Annotated[int, _Read(places.parse_mode, {"type": "string", "pattern": places.MODE_PATTERN})]
Port = Annotated[int, _Read(places.parse_port, {"type": "integer", "minimum": 1, "maximum": 65535})]
Hostname = Annotated[str, _Read(places.parse_hostname, _TEXT)]
Cidr = Annotated[Network, _Read(places.parse_cidr, _CIDR)]
Note = Annotated[str, _Read(values.parse_note, {"type": "string", "minLength": 1, "maxLength": 200})]
Until = Annotated[
    datetime,
    _Read(values.parse_until, {"type": "string", "examples": ["2027-01-31", "2027-01-31T17:00:00Z"]}),
]
Account = Annotated[
    str,
    _Read(
        values.parse_account,
        {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": values.ACCOUNT_PATTERN}]},
    ),
]
ProxyCidr = Annotated[Network, _Read(places.parse_proxy_cidr, _CIDR)]
Header = Annotated[
    str,
    _Read(
        places.parse_header,
        {
            "type": "string",
            "pattern": places.HEADER_PATTERN,
            "examples": ["x-forwarded-for", "forwarded", "cf-connecting-ip", "true-client-ip"],
        },
    ),
]
ListName = Annotated[
    str, _Read(values.parse_list_name, {"type": "string", "pattern": values.LIST_NAME_PATTERN}, is_key=True)
]
Reference = Annotated[str, _Read(values.parse_reference, _TEXT)]
InstanceName = Annotated[
    str,
    _Read(
        values.parse_instance_name, {"type": "string", "pattern": values.INSTANCE_NAME_PATTERN}, is_key=True
    ),
]
Notebook = Annotated[
    str, _Read(values.parse_notebook, {"type": "string", "pattern": values.NOTEBOOK_PATTERN})
]
Region = Annotated[str, _Read(values.parse_region, {"type": "string", "pattern": values.REGION_PATTERN})]
Role = Annotated[str, _Read(values.parse_role, {"type": "string", "pattern": values.ROLE_PATTERN})]
Endpoint = Annotated[str, _Read(places.parse_endpoint, {"type": "string", "pattern": "^https?://"})]
NotebookOrigin = Annotated[
    str, _Read(places.parse_notebook_origin, {"type": "string", "pattern": "^https?://"})
]
NotebookSuffix = Annotated[str, _Read(places.parse_notebook_suffix, _TEXT)]
NotebookEndpoint = Annotated[SocketAddress, _Read(places.parse_notebook_endpoint, _TEXT)]
HttpsProxy = Annotated[
    str, _Read(places.parse_https_proxy, {"type": "string", "examples": ["http://proxy.internal:3128"]})
]
NoProxy = Annotated[str, _Read(places.parse_no_proxy, {"type": "string", "examples": [".internal", "*"]})]
TokenKey = Annotated[
    str, _Read(values.parse_token_key, {"type": "string", "minLength": values.TOKEN_KEY_CHARACTERS})
]
AccessKeyId = Annotated[
    str,
    _Read(
        values.parse_access_key_id, {"type": "string", "pattern": values.ACCESS_KEY_ID_PATTERN}, is_key=True
    ),
]
User = Annotated[str, _Read(values.parse_user, {"type": "string", "pattern": values.USER_PATTERN})]
MountAt = Annotated[
    Mount,
    _Read(
        places.parse_mount,
        {
            "oneOf": [
                {"const": "root", "description": "The whole listener is this instance."},
                *(
                    {
                        "type": "object",
                        "properties": {key: {"anyOf": [shape, dict(_REFERENCE)], "description": description}},
                        "required": [key],
                        "additionalProperties": False,
                    }
                    for key, shape, description in (
                        ("host", _TEXT, "A host name of its own: research.notebooks.internal"),
                        ("port", {"type": "integer"}, "A port of its own; needs a listener with that port."),
                        (
                            "path",
                            {"type": "string", "pattern": "^/"},
                            "A path under the hostname: /research/",
                        ),
                    )
                ),
            ]
        },
    ),
]

Alias = Annotated[
    Mount,
    _Read(
        places.parse_alias,
        {
            "oneOf": [
                {"type": "string", "pattern": values.INSTANCE_NAME_PATTERN, "description": "A former name."},
                *(
                    {
                        "type": "object",
                        "properties": {key: shape},
                        "required": [key],
                        "additionalProperties": False,
                    }
                    for key, shape in (("host", _TEXT), ("path", {"type": "string", "pattern": "^/"}))
                ),
            ]
        },
    ),
]

_ALLOW_HINT = "it would let nobody in; name at least one of the allowlists: allow: [office]"
_NARROW_HINT = (
    "it would let nobody in; name allowlists, or remove the key to let the gateway-wide policy decide"
)
_KEY_HINT = f'write "${{NBGATE_TOKEN_KEY}}", or remove the key; {values.TOKEN_KEY_HINT}'
_PRELUDE_HINT = "list the networks that the load balancers connect from, or remove the key"
_KEY_INSTANCES_HINT = "it would be for nothing; name instances, or remove the key to leave it to the policy"
_LIST_HINT = "it would let nobody in; write networks such as 203.0.113.0/24, or remove the list"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


class TlsSection(_Section):
    """PEM files for a listener that terminates TLS itself."""

    certificate: Text
    """The certificate and its chain. A relative path counts from this file's directory."""
    key: Text
    """The private key, unencrypted."""


class ListenerSection(_Section):
    """One address to listen on."""

    bind: ListenerBind
    """IP address and port: 0.0.0.0:8443, 127.0.0.1:8080, [::1]:8080. Or a Unix socket: unix:/run/nbgate.sock."""
    tls: TlsSection | None = None
    """Terminate TLS here. Leave out for plain HTTP, or where something in front terminates TLS."""
    scheme: Annotated[Scheme, _one_of(Scheme)] | None = None
    """What stands in the address bar. Default: https with `tls`, else http; write https where TLS is
    terminated in front of this listener. Where it is written it counts, whatever X-Forwarded-Proto says, which a proxy
    may pass on from the caller; leave it out where a trusted proxy serves both and sets that header."""
    public_port: Port | None = None
    """The port in the address bar. Default: the one of `bind`; 443 where TLS is terminated in front; the
    scheme's own for a Unix socket."""
    proxy_protocol: Annotated[list[ProxyCidr], _Filled("proxy_protocol", _PRELUDE_HINT)] = Field(
        default_factory=list, validate_default=False
    )
    """Networks of load balancers that begin each connection with a PROXY protocol header, version 1 or 2. It
    is then needed on this listener, before TLS, and nobody else can connect to it."""
    trust_unix: Annotated[TrustUnix, _one_of(TrustUnix)] | None = None
    """Who the client is on a Unix socket, where the peer has no address: `header`, what the header of
    `client_address` says; or `proxy_protocol`, what the connection begins with. Whoever may open the socket
    is trusted to say so."""
    mode: Mode | None = None
    """The permissions of a Unix socket's file, in quotes: "0660", the default."""


class EntrySection(_Section):
    """An entry of an allowlist that has more to it than its network."""

    cidr: Cidr
    """A network in CIDR notation, or one address."""
    note: Note | None = None
    """What it is; shown by `nbgate explain` and in the reason of a denial."""
    until: Until | None = None
    """When it ends: a date (its first moment, 00:00 UTC) or an instant such as 2027-01-31T17:00:00Z."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """The annotation of an entry that may be the network alone."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._spelled_out, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [dict(_CIDR), dict(handler(schema))]}

    def _spelled_out(self, value: object) -> object:
        return value if isinstance(value, dict) else {"cidr": value}


@dataclass(frozen=True, slots=True, eq=False)
class _OrFile:
    """The annotation of a list that may stand in a file; `proxy.config.includes` has read that by now."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(source)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = (
            "A file with one network a line, # for comments. Relative paths count from this file's directory."
        )
        file = {
            "type": "object",
            "properties": {"file": {**_TEXT, "description": described}},
            "required": ["file"],
            "additionalProperties": False,
        }
        return {"anyOf": [dict(handler(schema)), file]}


class AdminSection(_Section):
    """Health checks (/healthz, /readyz) and /metrics, apart from what callers reach."""

    bind: AdminBind = _spelled("127.0.0.1:9901")
    """IP address and port."""
    hosts: list[Hostname] = []
    """Names that it may be called by. Addresses and localhost always are; others get 421 (DNS rebinding)."""


class ClientAddressSection(_Section):
    """Where a caller's address comes from. Without trusted proxies: from the connection."""

    strategy: Annotated[StrategyName, _one_of(StrategyName)] | None = None
    """peer: the connection's other end. trusted_proxies: the rightmost address in the header that is not
    itself a trusted proxy. hop_count: the one at a fixed distance from the right. single_header: the only one in
    the header. Default: trusted_proxies where some are listed (or a Unix socket's are trusted), else peer."""
    trusted_proxies: list[ProxyCidr] = []
    """Networks of the load balancers and proxies in front. Headers count only in what they send."""
    header: Header | None = None
    """The header that those proxies write. Default: x-forwarded-for, or else forwarded (RFC 7239); for
    single_header any, such as cf-connecting-ip."""
    hops: Annotated[int, _count(16)] | None = None
    """With hop_count: how many proxies stand in front of the gateway, each of which adds to the header."""


class AwsSection(_Section):
    """How to reach SageMaker, and as whom."""

    region: Region | None = None
    """The Region of the notebook instances. Default: AWS_REGION or AWS_DEFAULT_REGION of the environment."""
    account: Account | None = None
    """The account of the notebook instances, for statements whose Resource names it. Default: that of the role
    which is assumed."""
    profile: Profile | None = _AWS.profile
    """A profile of the AWS configuration files. Default: boto3's own search for credentials."""
    assume_role: Role | None = _AWS.assume_role
    """A role to assume for every call, unless an instance names its own."""
    endpoint_url: Endpoint | None = _AWS.endpoint_url
    """SageMaker's API at another place: an interface VPC endpoint, or a test endpoint on this machine."""
    notebook_origins: list[NotebookOrigin] = list(_AWS.notebook_origins)
    """Origins of a test endpoint's notebooks, such as http://127.0.0.1:9001. Only with an `endpoint_url` on
    this machine: SageMaker's own notebook hosts are known."""
    notebook_suffixes: list[NotebookSuffix] = list(_AWS.notebook_suffixes)
    """What the names of notebook hosts end with behind the instance's own, where AWS has a partition that is not
    known here: notebook.eusc-de-east-1.sagemaker.eu. The known ones count besides."""
    notebook_endpoint: NotebookEndpoint | None = _AWS.notebook_endpoint
    """Where to connect for all notebooks, with a port or without (443): an interface VPC endpoint without private
    DNS, such as vpce-0a1b.notebook.eu-west-1.vpce.amazonaws.com. `Host` and TLS name the notebook all the same."""
    ca_bundle: Text | None = None
    """A PEM file with the certificate authorities to trust, for notebooks and API, in the place of all others: those
    of a proxy that opens TLS. A relative path counts from this file's directory. Default: AWS_CA_BUNDLE of the
    environment."""
    https_proxy: HttpsProxy | None = None
    """An HTTP proxy that https connections to notebooks and API go through (CONNECT): http://proxy.internal:3128,
    with user:password@ where it wants them. Default: HTTPS_PROXY of the environment."""
    no_proxy: list[NoProxy] | None = None
    """Hosts that are connected to without it: names, each with all below it, and addresses; a port may follow. "*":
    all. No networks. Default: NO_PROXY of the environment."""
    forward_client_address: Flag = _AWS.forward_client_address
    """Whether callers' addresses go to SageMaker's notebook hosts, in X-Forwarded-For."""
    session_duration: Annotated[int, _Read(values.parse_session_duration, _duration(0, 0).json)] = _seconds(
        _AWS.session_seconds
    )
    """How long a sign-in to a notebook lasts, 30m to 12h; the gateway renews it by itself."""
    session_margin: Annotated[float, _duration(10, 3600)] = _seconds(_AWS.session_margin_seconds)
    """How long before its end a sign-in is renewed."""
    presigned_url_margin: Annotated[float, _duration(5, 240)] = _seconds(_AWS.presigned_url_margin_seconds)
    """A presigned URL lives 5 minutes; in this last part of them it is not used any more."""
    connect_timeout: Annotated[float, _duration(0.1, 300)] = _seconds(_AWS.connect_timeout_seconds)
    """Connecting to the API, per attempt."""
    read_timeout: Annotated[float, _duration(0.1, 300)] = _seconds(_AWS.read_timeout_seconds)
    """The API's answer, per attempt."""


_ONE_OR_MORE = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}
_STATEMENT = {
    "type": "object",
    "description": "A statement as it stands in an IAM policy document.",
    "properties": {
        "Sid": {"type": "string", "pattern": "^[A-Za-z0-9]+$"},
        "Effect": {"enum": [effect.value for effect in Effect]},
        "Action": _ONE_OR_MORE,
        "NotAction": _ONE_OR_MORE,
        "Resource": _ONE_OR_MORE,
        "NotResource": _ONE_OR_MORE,
        "Condition": {
            "type": "object",
            "propertyNames": {"enum": list(OPERATORS)},
            "additionalProperties": {"type": "object", "minProperties": 1},
        },
    },
    "required": ["Effect"],
    "additionalProperties": False,
}
# What is in them is for `proxy.config.statements` to say.
Statements = Annotated[
    list[Annotated[object, _Read(lambda value: value, _STATEMENT)]],
    _Filled("statements", "remove the key, or write a statement"),
]


class PolicySection(_Section):
    """Who is let in, for all instances. Whoever is on no list of `allow` is denied."""

    allow: Annotated[list[Reference], _Filled("allow", _ALLOW_HINT)] = Field(
        default_factory=list, validate_default=False
    )
    """Names of allowlists. Without it, `statements` alone say who is let in."""
    deny: list[Reference] = []
    """Names of lists whose addresses are denied even where another list allows them."""
    statements: Statements = Field(default_factory=list, validate_default=False)
    """IAM statements, as in a policy document: Effect, Action, Resource, Condition."""


StopAfterIdle = Annotated[float, _idle_duration(300, 30 * 86400)]
# Null is no value of it, and so is never taken for "as under `lifecycle`" where "never" was meant.
OwnStopAfterIdle = Annotated[float | None, _idle_duration(300, 30 * 86400)]
StopWarning = Annotated[float, _duration(0, 86400)]


class LifecycleSection(_Section):
    """Starting and stopping by itself, for all instances that do not say otherwise under the same keys."""

    stopper: Flag = True
    """Whether this gateway stops instances at all. false: another gateway of the same instances does, by what Jupyter
    and its own traffic tell it; nothing can be kept awake here. For all instances."""
    start_on_open: Flag = _LIFECYCLE.start_on_open
    """Whether a stopped instance is started by a permitted visitor who opens its address in a browser."""
    stop_after_idle: StopAfterIdle = _spelled("never")
    """How long nobody and nothing uses an instance before it is stopped, 5m to 30d; or never. A busy kernel is use,
    with or without a browser; an open tab is not. An instance whose Jupyter cannot be asked is not stopped."""
    stop_warning: StopWarning = _seconds(_LIFECYCLE.stop_warning_seconds)
    """How long before the stop it is announced, in the log and on the portal; less than stop_after_idle."""
    stop_dry_run: Flag = _LIFECYCLE.stop_dry_run
    """Only write into the log what would be stopped."""
    stop_ignore_unknown_terminals: Flag = _LIFECYCLE.stop_ignore_unknown_terminals
    """An open terminal keeps an instance running if its Jupyter is too old to say when it was last used; true:
    it does not."""


class InstanceSection(_Section):
    """One notebook instance behind the gateway."""

    notebook: Notebook
    """The notebook instance's name in SageMaker."""
    mount: MountAt | None = None
    """Where it appears: root, {host: …}, {port: …} or {path: …}. Default: the path /NAME/."""
    aliases: list[Alias] = []
    """Where it was before: names (the path /NAME/), {path: …} or {host: …}. Who asks there is led to its mount."""
    allow: Annotated[list[Reference], _Filled("allow", _NARROW_HINT)] = Field(
        default_factory=list, validate_default=False
    )
    """Names of allowlists. Narrows the gateway-wide policy, never widens it."""
    deny: list[Reference] = []
    """Names of lists whose addresses are denied here, besides those that the gateway-wide policy denies."""
    statements: Statements = Field(default_factory=list, validate_default=False)
    """IAM statements with Effect: Deny, which count here besides the gateway-wide ones."""
    assume_role: Role | None = None
    """A role to assume for this instance. Default: the one under `aws`."""
    start_on_open: Flag | None = None
    """Whether it is started, when stopped, by a permitted visitor. Default: the one under `lifecycle`."""
    stop_after_idle: OwnStopAfterIdle = Field(default=None, validate_default=False)
    """How long nobody uses it before it is stopped; or never. Default: the one under `lifecycle`."""
    stop_warning: StopWarning | None = None
    """How long before the stop it is announced. Default: the one under `lifecycle`."""
    stop_dry_run: Flag | None = None
    """Only write into the log that it would be stopped. Default: the one under `lifecycle`."""
    stop_ignore_unknown_terminals: Flag | None = None
    """Whether terminals of an old Jupyter do not keep it running. Default: the one under `lifecycle`."""
    access: Annotated[Access, _one_of(Access)] | None = None
    """open or presigned. Default: the gateway-wide one."""
    cross_site_requests: Annotated[CrossSiteRequests, _one_of(CrossSiteRequests)] | None = None
    """refuse or allow. Default: the gateway-wide one."""


class TokensSection(_Section):
    """Links, sessions and programs' tokens."""

    key: Annotated[list[TokenKey], _Filled("key", _KEY_HINT, alone=True)] = Field(
        default_factory=list, validate_default=False
    )
    """The secret that they are signed with, best as ${NBGATE_TOKEN_KEY}; or a list, to exchange it: the first signs,
    all are accepted. Default: one that is drawn at each start, which no other process knows."""
    bind_address: Flag = _TOKENS.bind_address
    """Whether they are good only from the client address that they were made for. Links for more than five minutes need
    it."""


class ApiKeySection(_Section):
    """An access key for SageMaker's API at the gateway."""

    secret: TokenKey
    """Its secret, best as ${NAME}. It is needed itself: signatures are made with it, so that a hash could verify
    none."""
    user: User | None = None
    """Who holds it: aws:username in policies and the audit log. Default: the key's id."""
    instances: Annotated[list[Reference], _Filled("instances", _KEY_INSTANCES_HINT)] = Field(
        default_factory=list, validate_default=False
    )
    """The only instances that it is for. Default: all that the policy allows."""


class ApiSection(_Section):
    """SageMaker's API at the gateway."""

    signed: Annotated[Signed, _one_of(Signed)] | None = None
    """required: only who signs with one of `api_keys`. optional: signatures with other keys are not looked at.
    Default: required where there are api_keys, else optional."""


class LimitsSection(_Section):
    """Bounds on what one caller, or one notebook, can make the gateway hold."""

    request_head: Annotated[int, _size(4096, 1024**2)] = _bytes(_LIMITS.request_head_bytes)
    """A request's line and header fields, however made up; above it, or with over 128 fields, the answer is 431."""
    response_head: Annotated[int, _size(4096, 1024**2)] = _bytes(_LIMITS.response_head_bytes)
    """A notebook's status line and header fields; above it the answer is 502."""
    replay_body: Annotated[int, _size(0, 64 * 1024**2)] = _bytes(_LIMITS.replay_body_bytes)
    """Request bodies up to this size are kept until answered, so that a renewed sign-in can repeat them."""
    websocket_frame: Annotated[int | None, _size_or_none(1024, 16 * 1024**3)] = _spelled(values.UNLIMITED)
    """The largest WebSocket frame, either way; above it the WebSocket is closed with 1009. Nothing of a frame is kept,
    so unlimited costs no memory."""
    connections: Annotated[int, _count(1_000_000)] = _LIMITS.connections
    """Callers' connections, all together, WebSockets included."""
    connections_per_address: Annotated[int, _count(1_000_000)] = _LIMITS.connections_per_address
    """Callers' connections from one address (of IPv6, from one /64) that some rule could let in. Trusted proxies are
    exempt."""
    connections_per_stranger: Annotated[int, _count(1_000_000)] = _LIMITS.connections_per_stranger
    """Connections from one address that no rule could let in. All such addresses together get a quarter of
    `connections`."""
    held_per_address: Annotated[int, _size(1024**2, 1024**4)] = _bytes(_LIMITS.held_per_address_bytes)
    """What callers at one address may have waiting in memory: uploads that a notebook does not take, and answers that
    they do not take. Above it, those of their connections that hold most are cut."""
    event_streams_per_address: Annotated[int, _count(1_000_000)] = _LIMITS.event_streams_per_address
    """Open pages per client address that follow the instances' states."""
    upstream_connections: Annotated[int, _count(1_000_000)] = _LIMITS.upstream_connections
    """Connections to one instance, WebSockets included."""
    upstream_idle_connections: Annotated[int, _count(10_000)] = _LIMITS.upstream_idle_connections
    """Connections to one instance that are kept for the next request."""


class TimeoutsSection(_Section):
    """How long the gateway waits, and for what."""

    request_head: Annotated[float, _duration(0.1, 600)] = _seconds(_TIMEOUTS.request_head_seconds)
    """A request's head, TLS handshake included."""
    request_body: Annotated[float, _duration(0.1, 86400)] = _seconds(_TIMEOUTS.request_body_seconds)
    """Silence of the caller in the middle of a request's body."""
    idle: Annotated[float, _duration(0.1, 86400)] = _seconds(_TIMEOUTS.idle_seconds)
    """A caller's connection between two requests. Keep it above the idle timeout of a load balancer in
    front."""
    send: Annotated[float, _duration(0.1, 86400)] = _seconds(_TIMEOUTS.send_seconds)
    """A caller that takes no byte of what is being sent to it."""
    sign_in: Annotated[float, _duration(0.1, 600)] = _seconds(_TIMEOUTS.sign_in_seconds)
    """How long callers wait while the gateway signs in to a notebook, all its steps and repetitions together. It goes
    on meanwhile. Keep it below the timeout of a load balancer in front."""
    connect: Annotated[float, _duration(0.1, 600)] = _seconds(_TIMEOUTS.connect_seconds)
    """Name lookup, TCP and TLS to the notebook."""
    outage: Annotated[float, _duration(0, 50)] = _seconds(_TIMEOUTS.outage_seconds)
    """From a notebook's going away: how long what its open pages ask by themselves waits for it. Keep it below the
    idle timeout of a load balancer in front."""
    response_head: Annotated[float, _duration(0.1, 86400)] = _seconds(_TIMEOUTS.response_head_seconds)
    """From the end of a request to the beginning of the notebook's answer. Jupyter may work for minutes."""
    response_body: Annotated[float, _duration(0.1, 86400)] = _seconds(_TIMEOUTS.response_body_seconds)
    """Silence of the notebook in the middle of an answer's body."""
    upstream_idle: Annotated[float, _duration(0.1, 3600)] = _seconds(_TIMEOUTS.upstream_idle_seconds)
    """A kept connection to the notebook between two requests. AWS's load balancers end theirs after 60s."""
    websocket_ping: Annotated[float, _duration(0.1, 3600)] = _seconds(_TIMEOUTS.websocket_ping_seconds)
    """Silence on a WebSocket before the gateway pings, which keeps load balancers from ending it."""
    websocket_silence: Annotated[float, _duration(0.1, 86400)] = _seconds(_TIMEOUTS.websocket_silence_seconds)
    """Silence on a WebSocket in spite of pings before its other end is taken for gone."""
    drain_delay: Annotated[float, _duration(0, 600)] = _seconds(_TIMEOUTS.drain_delay_seconds)
    """On SIGTERM: how long callers are still taken, after /readyz has said that none should be sent any more."""
    drain: Annotated[float, _duration(0, 3600)] = _seconds(_TIMEOUTS.drain_seconds)
    """After that: how long requests may take to finish; WebSockets are closed (1012) one by one meanwhile."""


class LogSection(_Section):
    """Lines on standard output. Credentials never appear in them."""

    format: Annotated[LogFormat, _one_of(LogFormat)] = _LOG.format
    """auto is console on a terminal, and json elsewhere."""
    level: Annotated[LogLevel, _one_of(LogLevel)] = _LOG.level
    """The least important lines to write."""
    access: Flag = _LOG.access
    """One line per request, and per WebSocket's end."""
    denials: Annotated[LogDenials, _one_of(LogDenials)] = _LOG.denials
    """What is written of a refused request: both its line and an audit record, or the audit record alone."""


REQUIRED: Mapping[str, str] = {
    "hostname": "write the name that people type, such as hostname: notebooks.internal",
    "policy": "without it nobody is let in; name allowlists: policy: {allow: [office]}",
    "instances": "name at least one: instances: {research: {notebook: research-gpu-1}}",
}
"""The keys that every file has, each with what to write. Null in a `File` where absent or unusable."""


class File(_Section):
    """The configuration of nbgate."""

    model_config = ConfigDict(title="nbgate configuration", json_schema_extra={"required": list(REQUIRED)})

    hostname: (
        Annotated[list[Hostname], _Filled("hostname", "write the name that people type", alone=True)] | None
    ) = None
    """The name that people type, or a list of them, the preferred one first. Requests for other names are
    refused."""
    listeners: Annotated[
        list[ListenerSection], _Filled("listeners", "remove the key to listen on 127.0.0.1:8080")
    ] = _spelled([{"bind": "127.0.0.1:8080"}])
    """Where to listen for callers."""
    admin: AdminSection | None = Field(default_factory=AdminSection)
    """Health checks, on a listener of their own; null for none."""
    client_address: ClientAddressSection = Field(default_factory=ClientAddressSection)
    aws: AwsSection = Field(default_factory=AwsSection)
    allowlists: dict[
        ListName,
        Annotated[list[Annotated[EntrySection, _Entry()]], _Filled("the list", _LIST_HINT), _OrFile()],
    ] = {}
    """Named lists of networks, for `policy` and `instances` to refer to; or {file: …} for each."""
    policy: PolicySection | None = None
    lifecycle: LifecycleSection = Field(default_factory=LifecycleSection)
    instances: dict[InstanceName, InstanceSection] | None = None
    """The notebook instances, each under the name that it has in this gateway's addresses and logs."""
    access: Annotated[Access, _one_of(Access)] = "open"
    """open: whom the policy lets in comes in. presigned: only with a link or a token besides, as at AWS.
    Without api_keys, whoever the policy lets in may make a link."""
    cross_site_requests: Annotated[CrossSiteRequests, _one_of(CrossSiteRequests)] = "refuse"
    """Whether pages of other sites may send what changes something (POST, PUT …) to the notebooks: refuse or allow."""
    tokens: TokensSection = Field(default_factory=TokensSection)
    api: ApiSection = Field(default_factory=ApiSection)
    """SageMaker's API at the gateway."""
    api_keys: dict[AccessKeyId, ApiKeySection] = {}
    """Access keys for SageMaker's API at the gateway, each under its id."""
    limits: LimitsSection = Field(default_factory=LimitsSection)
    timeouts: TimeoutsSection = Field(default_factory=TimeoutsSection)
    log: LogSection = Field(default_factory=LogSection)


def validate(data: object) -> tuple[File, list[Finding]]:
    """The file as far as it could be read, and everything wrong with it.

    What a finding is about is left out of the file, so that a second look (across keys) can go on.
    """
    findings: list[Finding] = []
    if not isinstance(data, dict):
        findings.append(Finding((), "the file must be a mapping", "begin with hostname: notebooks.internal"))
        data = {}
    # A misspelled key is one mistake: whoever is asked "did you mean 'policy'?" need not hear that it is
    # missing.
    meant = {did_you_mean(str(key), File.model_fields) for key in data if key not in File.model_fields}
    findings += [
        Finding((key,), "is missing", hint)
        for key, hint in REQUIRED.items()
        if data.get(key) is None and did_you_mean(key, [key]) not in meant
    ]
    remaining = {key: value for key, value in data.items() if key not in REQUIRED or value is not None}
    first = True
    while True:
        try:
            return File.model_validate(remaining), findings
        except PydanticError as error:
            errors = error.errors(include_url=False)
        if first:
            findings += [finding(one, keys_at) for one in errors]
            first = False
        fewer = _without(remaining, {_culprit(one["type"], one["loc"]) for one in errors})
        assert fewer != remaining, errors
        remaining = fewer


def keys_at(path: KeyPath) -> list[str]:
    """The keys that the mapping at `path` may have; none where it has keys of the operator's choice."""
    annotation: object = File
    for step in path:
        annotation = _inside(annotation, step)
    model = _model(annotation)
    return list(model.model_fields) if model else []


def _culprit(kind: str, location: KeyPath) -> KeyPath:
    """What must go so that an error goes. Without a key that it needs, a mapping is of no use."""
    path = tuple(step for step in location if step != "[key]")
    return path[:-1] if kind == "missing" else path


def _without(data: Any, paths: set[KeyPath]) -> Any:
    """A copy of `data` without the values at `paths`. A path that ends inside what has no such part takes it."""
    if () in paths or (paths and not isinstance(data, dict | list)):
        return _GONE
    wrong = str if isinstance(data, list) else int
    if any(isinstance(path[0], wrong) for path in paths):
        return _GONE
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    kept = [(key, _without(value, {path[1:] for path in paths if path[0] == key})) for key, value in items]
    if isinstance(data, dict):
        return {key: value for key, value in kept if value is not _GONE}
    if isinstance(data, list):
        return [value for _, value in kept if value is not _GONE]
    return data


_GONE = object()


def _inside(annotation: object, step: str | int) -> object:
    model = _model(annotation)
    if model is not None:
        field = model.model_fields.get(str(step))
        return field.annotation if field else None
    for part in _parts(annotation):
        if typing.get_origin(part) in (list, dict):
            return typing.get_args(part)[-1]
    return None


def _model(annotation: object) -> type[BaseModel] | None:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _parts(annotation: object) -> list[object]:
    """An annotation without `Annotated`, taken apart at `|`."""
    if typing.get_origin(annotation) is Annotated:
        return _parts(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for one in typing.get_args(annotation) for part in _parts(one)]
    return [annotation]
