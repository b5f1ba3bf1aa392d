"""The file's shape: which keys there are, what each holds, what it means when absent.

Its rule: strict throughout, unknown keys refused, every value read by one of `proxy.config.scalars`. Sections that are
settings as they stand are those of `proxy.config.sections`; here are the others, which something else works out. The
docstrings of fields are what editors show (`proxy.config.json_schema`). It must not know lines, the environment, or
what two keys say about each other (`proxy.config.load` does).
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic import ValidationError as PydanticError
from pydantic_core import CoreSchema, core_schema

from proxy.config.findings import Finding, did_you_mean, finding
from proxy.config.scalars import (
    CIDR,
    TEXT,
    AccessKeyId,
    Alias,
    Cidr,
    Filled,
    Flag,
    Header,
    Hostname,
    InstanceName,
    ListenerBind,
    ListName,
    Mode,
    MountAt,
    Note,
    Notebook,
    Port,
    ProxyCidr,
    Reference,
    Role,
    Scalar,
    TokenKey,
    Until,
    User,
    count,
    duration,
    idle_duration,
    one_of,
    spelled,
)
from proxy.config.sections import (
    Admin,
    AwsSection,
    GatewayLifecycle,
    Limits,
    Log,
    Timeouts,
    Tls,
    Tokens,
    fields_of,
)
from proxy.config.settings import Access, CrossSiteRequests, Scheme, Signed, StrategyName, TrustUnix
from proxy.config.yaml_lines import KeyPath
from proxy.policy.conditions import OPERATORS
from proxy.policy.statements import Effect

_ALLOW_HINT = "it would let nobody in; name at least one of the allowlists: allow: [office]"
_NARROW_HINT = (
    "it would let nobody in; name allowlists, or remove the key to let the gateway-wide policy decide"
)
_PRELUDE_HINT = "list the networks that the load balancers connect from, or remove the key"
_KEY_INSTANCES_HINT = "it would be for nothing; name instances, or remove the key to leave it to the policy"
_LIST_HINT = "it would let nobody in; write networks such as 203.0.113.0/24, or remove the list"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


class ListenerSection(_Section):
    """One address to listen on."""

    bind: ListenerBind
    """IP address and port: 0.0.0.0:8443, 127.0.0.1:8080, [::1]:8080. Or a Unix socket: unix:/run/nbgate.sock."""
    tls: Tls | None = None
    """Terminate TLS here. Leave out for plain HTTP, or where something in front terminates TLS."""
    scheme: Annotated[Scheme, one_of(Scheme)] | None = None
    """What stands in the address bar. Default: https with `tls`, else http; write https where TLS is
    terminated in front of this listener. Where it is written it counts, whatever X-Forwarded-Proto says, which a proxy
    may pass on from the caller; leave it out where a trusted proxy serves both and sets that header."""
    public_port: Port | None = None
    """The port in the address bar. Default: the one of `bind`; 443 where TLS is terminated in front; the
    scheme's own for a Unix socket."""
    proxy_protocol: Annotated[list[ProxyCidr], Filled("proxy_protocol", _PRELUDE_HINT)] = Field(
        default_factory=list, validate_default=False
    )
    """Networks of load balancers that begin each connection with a PROXY protocol header, version 1 or 2. It
    is then needed on this listener, before TLS, and nobody else can connect to it."""
    trust_unix: Annotated[TrustUnix, one_of(TrustUnix)] | None = None
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
        return {"anyOf": [dict(CIDR), dict(handler(schema))]}

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
            "properties": {"file": {**TEXT, "description": described}},
            "required": ["file"],
            "additionalProperties": False,
        }
        return {"anyOf": [dict(handler(schema)), file]}


class ClientAddressSection(_Section):
    """Where a caller's address comes from. Without trusted proxies: from the connection."""

    strategy: Annotated[StrategyName, one_of(StrategyName)] | None = None
    """peer: the connection's other end. trusted_proxies: the rightmost address in the header that is not
    itself a trusted proxy. hop_count: the one at a fixed distance from the right. single_header: the only one in
    the header. Default: trusted_proxies where some are listed (or a Unix socket's are trusted), else peer."""
    trusted_proxies: list[ProxyCidr] = []
    """Networks of the load balancers and proxies in front. Headers count only in what they send."""
    header: Header | None = None
    """The header that those proxies write. Default: x-forwarded-for, or else forwarded (RFC 7239); for
    single_header any, such as cf-connecting-ip."""
    hops: Annotated[int, count(16)] | None = None
    """With hop_count: how many proxies stand in front of the gateway, each of which adds to the header."""


_ONE_OR_MORE = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}
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
    list[Annotated[object, Scalar(lambda value: value, _STATEMENT)]],
    Filled("statements", "remove the key, or write a statement"),
]


class PolicySection(_Section):
    """Who is let in, for all instances. Whoever is on no list of `allow` is denied."""

    allow: Annotated[list[Reference], Filled("allow", _ALLOW_HINT)] = Field(
        default_factory=list, validate_default=False
    )
    """Names of allowlists. Without it, `statements` alone say who is let in."""
    deny: list[Reference] = []
    """Names of lists whose addresses are denied even where another list allows them."""
    statements: Statements = Field(default_factory=list, validate_default=False)
    """IAM statements, as in a policy document: Effect, Action, Resource, Condition."""


# Null is no value of it, and so is never taken for "as under `lifecycle`" where "never" was meant.
OwnStopAfterIdle = Annotated[float | None, idle_duration(300, 30 * 86400)]


class InstanceSection(_Section):
    """One notebook instance behind the gateway."""

    notebook: Notebook
    """The notebook instance's name in SageMaker."""
    mount: MountAt | None = None
    """Where it appears: root, {host: …}, {port: …} or {path: …}. Default: the path /NAME/."""
    aliases: list[Alias] = []
    """Where it was before: names (the path /NAME/), {path: …} or {host: …}. Who asks there is led to its mount."""
    allow: Annotated[list[Reference], Filled("allow", _NARROW_HINT)] = Field(
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
    stop_warning: Annotated[float, duration(0, 86400)] | None = None
    """How long before the stop it is announced. Default: the one under `lifecycle`."""
    stop_dry_run: Flag | None = None
    """Only write into the log that it would be stopped. Default: the one under `lifecycle`."""
    stop_ignore_unknown_terminals: Flag | None = None
    """Whether terminals of an old Jupyter do not keep it running. Default: the one under `lifecycle`."""
    access: Annotated[Access, one_of(Access)] | None = None
    """open or presigned. Default: the gateway-wide one."""
    cross_site_requests: Annotated[CrossSiteRequests, one_of(CrossSiteRequests)] | None = None
    """refuse or allow. Default: the gateway-wide one."""


class ApiKeySection(_Section):
    """An access key for SageMaker's API at the gateway."""

    secret: TokenKey
    """Its secret, best as ${NAME}. It is needed itself: signatures are made with it, so that a hash could verify
    none."""
    user: User | None = None
    """Who holds it: aws:username in policies and the audit log. Default: the key's id."""
    instances: Annotated[list[Reference], Filled("instances", _KEY_INSTANCES_HINT)] = Field(
        default_factory=list, validate_default=False
    )
    """The only instances that it is for. Default: all that the policy allows."""


class ApiSection(_Section):
    """SageMaker's API at the gateway."""

    signed: Annotated[Signed, one_of(Signed)] | None = None
    """required: only who signs with one of `api_keys`. optional: signatures with other keys are not looked at.
    Default: required where there are api_keys, else optional."""


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
        Annotated[list[Hostname], Filled("hostname", "write the name that people type", alone=True)] | None
    ) = None
    """The name that people type, or a list of them, the preferred one first. Requests for other names are refused with
    421: no page elsewhere reaches the gateway under a name of its own (DNS rebinding)."""
    listeners: Annotated[
        list[ListenerSection], Filled("listeners", "remove the key to listen on 127.0.0.1:8080")
    ] = spelled([{"bind": "127.0.0.1:8080"}])
    """Where to listen for callers. Default: 127.0.0.1:8080, without TLS."""
    admin: Admin | None = Field(default_factory=Admin)
    """Health checks, on a listener of their own; null for none."""
    client_address: ClientAddressSection = Field(default_factory=ClientAddressSection)
    aws: AwsSection = Field(default_factory=AwsSection)
    allowlists: dict[
        ListName,
        Annotated[list[Annotated[EntrySection, _Entry()]], Filled("the list", _LIST_HINT), _OrFile()],
    ] = {}
    """Named lists of networks, for `policy` and `instances` to refer to; or {file: …} for each."""
    policy: PolicySection | None = None
    lifecycle: GatewayLifecycle = Field(default_factory=GatewayLifecycle)
    instances: dict[InstanceName, InstanceSection] | None = None
    """The notebook instances, each under the name that it has in this gateway's addresses and logs."""
    access: Annotated[Access, one_of(Access)] = "open"
    """What callers need besides an address that the policy allows. open: nothing. presigned: a session, which a link
    buys (as AWS's presigned URLs do), or a program's token. Links come from nbgate url,
    CreatePresignedNotebookInstanceUrl at this gateway, or its JSON API; they are good once, for 5 minutes. Without
    api_keys those two ask for no credentials: whoever the policy lets in may make a link. An instance's own access
    counts before this one."""
    cross_site_requests: Annotated[CrossSiteRequests, one_of(CrossSiteRequests)] = "refuse"
    """What becomes of requests that change something (POST, PUT …) and that a page of another site sent, as its Origin
    or Sec-Fetch-Site says: refuse (403, audited), or allow, for an instance whose applications other sites' pages use.
    WebSockets of other sites' pages are refused in any case. An instance's own setting counts before this one."""
    tokens: Tokens = Field(default_factory=Tokens)
    api: ApiSection = Field(default_factory=ApiSection)
    """SageMaker's API at the gateway."""
    api_keys: dict[AccessKeyId, ApiKeySection] = {}
    """Access keys for SageMaker's API at the gateway, each under its id."""
    limits: Limits = Field(default_factory=Limits)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    log: Log = Field(default_factory=Log)


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
    return list(_fields(annotation))


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
    if fields := _fields(annotation):
        return fields.get(str(step))
    for part in _parts(annotation):
        if typing.get_origin(part) in (list, dict, tuple):
            return next(one for one in reversed(typing.get_args(part)) if one is not Ellipsis)
    return None


def _fields(annotation: object) -> Mapping[str, object]:
    """A section's annotations by the file's keys; empty for what is none."""
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return {name: one.annotation for name, one in part.model_fields.items()}
        if isinstance(part, type) and hasattr(part, "__pydantic_config__"):
            return fields_of(part)
    return {}


def _parts(annotation: object) -> list[object]:
    """An annotation without `Annotated`, taken apart at `|`."""
    if typing.get_origin(annotation) is Annotated:
        return _parts(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for one in typing.get_args(annotation) for part in _parts(one)]
    return [annotation]
