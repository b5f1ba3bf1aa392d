"""Sections of the file that are settings as they stand: written once, with their meaning, bounds and default.

Its rule: a section is a frozen value in base units (seconds, bytes), which the gateway uses as it was read. The file
writes the unit with the value, so `idle_seconds` is `idle: 75s` there. The docstrings of fields are what editors and
`config/nbgate.yaml` show. What depends on other keys, or on the environment, stands in `proxy.config.schema`.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import ConfigDict

from proxy.config import values
from proxy.config.binds import SocketAddress
from proxy.config.scalars import (
    Account,
    AdminBind,
    Endpoint,
    Filled,
    Flag,
    Hostname,
    HttpsProxy,
    NoProxy,
    NotebookEndpoint,
    NotebookOrigin,
    NotebookSuffix,
    PemFile,
    Profile,
    Region,
    Role,
    TokenKey,
    count,
    duration,
    idle_duration_or_none,
    one_of,
    session_duration,
    size,
    size_or_none,
)

_KEY_HINT = f'write "${{NBGATE_TOKEN_KEY}}", or remove the key; {values.TOKEN_KEY_HINT}'


_CALLED_OTHERWISE = {"keys": "key", "session_seconds": "session_duration"}


def file_key(name: str) -> str:
    """What the file calls a setting."""
    return _CALLED_OTHERWISE.get(name) or name.removesuffix("_seconds").removesuffix("_bytes")


def fields_of(section: type) -> dict[str, Any]:
    """The annotations of a section, by the file's keys; its own before those that it shares."""
    hints = get_type_hints(section, include_extras=True)
    own = inspect.get_annotations(section)
    fields = sorted(dataclasses.fields(section), key=lambda one: one.name not in own)
    return {file_key(one.name): hints[one.name] for one in fields}


_ADMIN_BIND = SocketAddress("127.0.0.1", 9901)
_SECTION = ConfigDict(extra="forbid", alias_generator=file_key)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for a listener that terminates TLS itself."""

    __pydantic_config__ = _SECTION

    certificate: PemFile
    """The certificate and its chain. A relative path counts from this file's directory."""
    key: PemFile
    """The private key, unencrypted."""


@dataclass(frozen=True, slots=True)
class Admin:
    """Health checks (/healthz, /readyz) and /metrics, apart from what callers reach."""

    __pydantic_config__ = _SECTION

    bind: AdminBind = _ADMIN_BIND
    """IP address and port."""
    hosts: tuple[Hostname, ...] = ()
    """Names that it may be called by. Addresses and localhost always are; others get 421 (DNS rebinding)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSection:
    """How to reach SageMaker, and as whom."""

    __pydantic_config__ = _SECTION

    region: Region | None = None
    """The Region of the notebook instances. Default: AWS_REGION or AWS_DEFAULT_REGION of the environment."""
    account: Account | None = None
    """The account of the notebook instances, for statements whose Resource names it. Default: that of the role
    which is assumed."""
    profile: Profile | None = None
    """A profile of ~/.aws/config. Default: boto3's own search for credentials."""
    assume_role: Role | None = None
    """A role to assume for every call, unless an instance names its own."""
    endpoint_url: Endpoint | None = None
    """SageMaker's API at another place: an interface VPC endpoint, or a test endpoint on this machine."""
    notebook_origins: tuple[NotebookOrigin, ...] = ()
    """Origins of a test endpoint's notebooks, such as http://127.0.0.1:9001. Only with an `endpoint_url` on
    this machine: SageMaker's own notebook hosts are known."""
    notebook_suffixes: tuple[NotebookSuffix, ...] = ()
    """What the names of notebook hosts end with behind the instance's own, where AWS has a partition that is not
    known here: notebook.eusc-de-east-1.sagemaker.eu. The known ones count besides."""
    notebook_endpoint: NotebookEndpoint | None = None
    """Where to connect for all notebooks, with a port or without (443): an interface VPC endpoint without private
    DNS, such as vpce-0a1b.notebook.eu-west-1.vpce.amazonaws.com. `Host` and TLS name the notebook all the same."""
    ca_bundle: PemFile | None = None
    """A PEM file with the certificate authorities to trust, for notebooks and API, in the place of all others: those
    of a proxy that opens TLS. A relative path counts from this file's directory. Default: AWS_CA_BUNDLE of the
    environment."""
    https_proxy: HttpsProxy | None = field(default=None, repr=False)
    """An HTTP proxy that https connections to notebooks and API go through (CONNECT): http://proxy.internal:3128,
    with user:password@ where it wants them. Default: HTTPS_PROXY of the environment."""
    no_proxy: NoProxy | None = None
    """Hosts that are connected to without it: names, each with all below it, and addresses; a port may follow. "*":
    all. No networks. Default: NO_PROXY of the environment."""
    forward_client_address: Flag = False
    """Whether callers' addresses go to SageMaker's notebook hosts, in X-Forwarded-For."""
    session_seconds: Annotated[int, session_duration()] = 43_200
    """How long a sign-in to a notebook lasts, 30m to 12h; the gateway renews it by itself."""
    session_margin_seconds: Annotated[float, duration(10, 3600)] = 300.0
    """How long before its end a sign-in is renewed."""
    presigned_url_margin_seconds: Annotated[float, duration(5, 240)] = 30.0
    """A presigned URL lives 5 minutes; in this last part of them it is not used any more."""
    connect_timeout_seconds: Annotated[float, duration(0.1, 300)] = 5.0
    """Connecting to the API, per attempt."""
    read_timeout_seconds: Annotated[float, duration(0.1, 300)] = 20.0
    """The API's answer, per attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Starting and stopping by itself. With `stop_after_idle_seconds` None an instance is never stopped."""

    __pydantic_config__ = _SECTION

    start_on_open: Flag = False
    """Whether a stopped instance is started by a permitted visitor who opens its address in a browser."""
    stop_after_idle_seconds: Annotated[float | None, idle_duration_or_none(300, 30 * 86400)] = None
    """How long nobody and nothing uses an instance before it is stopped, 5m to 30d; or never. A busy kernel is use,
    with or without a browser; an open tab is not. An instance whose Jupyter cannot be asked is not stopped."""
    stop_warning_seconds: Annotated[float, duration(0, 86400)] = 600.0
    """How long before the stop it is announced, in the log and on the portal; less than stop_after_idle."""
    stop_dry_run: Flag = False
    """Only write into the log what would be stopped."""
    stop_ignore_unknown_terminals: Flag = False
    """An open terminal keeps an instance running if its Jupyter is too old to say when it was last used; true:
    it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLifecycle(Lifecycle):
    """Starting and stopping by itself, for all instances that do not say otherwise under the same keys."""

    stopper: Flag = True
    """Whether this gateway stops instances at all. false: another gateway of the same instances does, by what Jupyter
    and its own traffic tell it; nothing can be kept awake here, and use through here does not count there. For all
    instances."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Links, sessions and programs' tokens."""

    __pydantic_config__ = _SECTION

    keys: Annotated[tuple[TokenKey, ...], Filled("key", _KEY_HINT, alone=True)] = field(
        default=(), repr=False
    )
    """The secret that they are signed with, best as ${NBGATE_TOKEN_KEY}; or a list, to exchange it: the first signs,
    all are accepted. Default: one that is drawn at each start, which no other process knows."""
    bind_address: Flag = False
    """Whether they are good only from the client address that they were made for. Links for more than five minutes need
    it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one caller, or one notebook, can make the gateway hold."""

    __pydantic_config__ = _SECTION

    request_head_bytes: Annotated[int, size(4096, 1024**2)] = 64 * 1024
    """A request's line and header fields, however made up; above it, or with over 128 fields, the answer is 431."""
    response_head_bytes: Annotated[int, size(4096, 1024**2)] = 64 * 1024
    """A notebook's status line and header fields; above it the answer is 502."""
    replay_body_bytes: Annotated[int, size(0, 64 * 1024**2)] = 64 * 1024
    """Request bodies up to this size are kept until answered, so that a renewed sign-in can repeat them; 0 for none."""
    websocket_frame_bytes: Annotated[int | None, size_or_none(1024, 16 * 1024**3)] = None
    """The largest WebSocket frame, either way; above it the WebSocket is closed with 1009. Nothing of a frame is kept,
    so unlimited costs no memory."""
    connections: Annotated[int, count(1_000_000)] = 10_000
    """Callers' connections, all together, WebSockets included. Each may need two file descriptors: where the process
    has fewer, less 256, there are fewer connections."""
    connections_per_address: Annotated[int, count(1_000_000)] = 4096
    """Callers' connections from one address (of IPv6, from one /64) that some rule could let in. Trusted proxies are
    exempt."""
    connections_per_stranger: Annotated[int, count(1_000_000)] = 16
    """Connections from one address that no rule could let in. All such addresses together get a quarter of
    `connections`."""
    held_per_address_bytes: Annotated[int, size(1024**2, 1024**4)] = 256 * 1024 * 1024
    """What callers at one address may have waiting in memory: uploads that a notebook does not take, and answers that
    they do not take. Above it, those of their connections that hold most are cut."""
    event_streams_per_address: Annotated[int, count(1_000_000)] = 512
    """Open pages per client address (of IPv6, per /64) that follow the instances' states."""
    upstream_connections: Annotated[int, count(1_000_000)] = 1024
    """Connections to one instance, WebSockets included."""
    upstream_idle_connections: Annotated[int, count(10_000)] = 32
    """Connections to one instance that are kept for the next request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the gateway waits, and for what."""

    __pydantic_config__ = _SECTION

    request_head_seconds: Annotated[float, duration(0.1, 600)] = 15.0
    """A request's head, from its first byte; of a connection's first from accepting it, a PROXY protocol header and the
    TLS handshake included."""
    request_body_seconds: Annotated[float, duration(0.1, 86400)] = 60.0
    """Silence of the caller in the middle of a request's body."""
    idle_seconds: Annotated[float, duration(0.1, 86400)] = 75.0
    """A caller's connection between two requests. Keep it above the idle timeout of a load balancer in
    front."""
    send_seconds: Annotated[float, duration(0.1, 86400)] = 120.0
    """A caller that takes no byte of what is being sent to it."""
    sign_in_seconds: Annotated[float, duration(0.1, 600)] = 20.0
    """How long callers wait while the gateway signs in to a notebook, all its steps and repetitions together. It goes
    on meanwhile. Keep it below the timeout of a load balancer in front; browsers get a page after 3s."""
    connect_seconds: Annotated[float, duration(0.1, 600)] = 5.0
    """Name lookup, TCP and TLS to the notebook."""
    outage_seconds: Annotated[float, duration(0, 50)] = 30.0
    """From a notebook's going away: how long what its open pages ask by themselves waits for it. Keep it below the
    idle timeout of a load balancer in front."""
    response_head_seconds: Annotated[float, duration(0.1, 86400)] = 300.0
    """From the end of a request to the beginning of the notebook's answer. Jupyter may work for minutes."""
    response_body_seconds: Annotated[float, duration(0.1, 86400)] = 900.0
    """Silence of the notebook in the middle of an answer's body."""
    upstream_idle_seconds: Annotated[float, duration(0.1, 3600)] = 50.0
    """A kept connection to the notebook between two requests. AWS's load balancers end theirs after 60s."""
    websocket_ping_seconds: Annotated[float, duration(0.1, 3600)] = 25.0
    """Silence on a WebSocket before the gateway pings, which keeps load balancers from ending it."""
    websocket_silence_seconds: Annotated[float, duration(0.1, 86400)] = 90.0
    """Silence on a WebSocket in spite of pings before its other end is taken for gone."""
    drain_delay_seconds: Annotated[float, duration(0, 600)] = 5.0
    """On SIGTERM: how long callers are still taken, after /readyz has said that none should be sent any more. 0s where
    no load balancer is in front."""
    drain_seconds: Annotated[float, duration(0, 3600)] = 30.0
    """After that: how long requests may take to finish; WebSockets are closed (1012) one by one meanwhile. Shorter
    where no other gateway takes over while one restarts."""


LogFormat = Literal["auto", "console", "json"]
LogDenials = Literal["both", "audit"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Log:
    """Lines on standard output. Credentials never appear in them."""

    __pydantic_config__ = _SECTION

    format: Annotated[LogFormat, one_of(LogFormat)] = "auto"
    """console, json, or auto: console on a terminal, and json elsewhere."""
    level: Annotated[LogLevel, one_of(LogLevel)] = "info"
    """The least important lines to write: debug, info, warning or error."""
    access: Flag = True
    """One line per request, and per WebSocket's end."""
    denials: Annotated[LogDenials, one_of(LogDenials)] = "both"
    """What is written of a refused request: both its line and an audit record, or the audit record alone."""


SECTIONS: tuple[type, ...] = (Tls, Admin, AwsSection, GatewayLifecycle, Tokens, Limits, Timeouts, Log)
