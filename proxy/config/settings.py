"""What the configuration means: one frozen snapshot, which everything else is built from.

Its rule: plain values in base units (seconds, bytes), compiled once (networks, mounts, policies), valid as a
whole, and never changed: a reload builds another snapshot. The secrets that it holds do not show in its repr,
which may be logged.
It must not know the file: spelling, defaults and line numbers end in `proxy.config.schema` and `.load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from proxy.client_address.networks import NetworkSet
from proxy.client_address.resolve import Strategy
from proxy.errors import Problem
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm
from proxy.policy.statements import Policy, Statement
from proxy.routing.mounts import Mount, MountKind

Scheme = Literal["http", "https"]
TrustUnix = Literal["header", "proxy_protocol"]
Access = Literal["open", "presigned"]
CrossSiteRequests = Literal["refuse", "allow"]
Signed = Literal["required", "optional"]
StrategyName = Literal["peer", "trusted_proxies", "hop_count", "single_header"]

DEFAULT_PORTS: Mapping[Scheme, int] = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where to listen: an IP address without brackets, and a port (0: the kernel picks one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """Where to listen: a socket in the file system, and the permission bits of its file."""

    path: Path
    mode: int = 0o660

    def __str__(self) -> str:
        return f"unix:{self.path}"


Bind = SocketAddress | UnixSocket


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; a relative path in the file counts from the file's own directory."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Listener:
    """One socket that callers reach, directly or through something that terminates TLS for it.

    `scheme` and `public_port` are what stands in a caller's address bar; they decide what counts as the
    gateway's own origin. `public_port` is 0 only where `bind.port` is: then the bound port counts. Where the scheme was
    written (`is_scheme_written`), no proxy's header says otherwise.

    With `proxy_protocol`, each connection must begin with a PROXY protocol prelude, and come from one of these
    networks; on a Unix socket, which knows no addresses, from whoever may open it. With `trust_unix`, whoever
    may open the Unix socket is a trusted proxy.
    """

    bind: Bind
    scheme: Scheme = "http"
    public_port: int = 0
    tls: Tls | None = None
    proxy_protocol: NetworkSet | None = None
    trust_unix: bool = False
    is_scheme_written: bool = False

    def origin(self, hostname: str) -> str:
        """`https://notebooks.internal`, with the port where it is not the scheme's own."""
        if self.public_port == DEFAULT_PORTS[self.scheme]:
            return f"{self.scheme}://{hostname}"
        return f"{self.scheme}://{hostname}:{self.public_port}"


@dataclass(frozen=True, slots=True)
class Admin:
    """The listener for health checks and metrics; it serves no caller and has no policy.

    `hosts` are names that it may be called by, besides localhost and addresses.
    """

    bind: SocketAddress
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Aws:
    """How to reach SageMaker, and as whom.

    `profile`, `endpoint_url` and `assume_role` are None where boto3's own defaults count.
    `presigned_url_margin_seconds` is kept from the 300 s that a presigned URL lives, `session_margin_seconds`
    from the `session_seconds` that an upstream session lives.
    `notebook_origins` are origins (`http://127.0.0.1:9001`) that are accepted as notebook hosts besides
    SageMaker's own; empty except against a test endpoint on this machine.
    """

    region: str
    profile: str | None = None
    endpoint_url: str | None = None
    assume_role: str | None = None
    session_seconds: int = 43200
    presigned_url_margin_seconds: float = 30.0
    session_margin_seconds: float = 300.0
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 20.0
    notebook_origins: tuple[str, ...] = ()
    notebook_suffixes: tuple[str, ...] = ()
    """What names of notebook hosts end with, besides what is known of SageMaker's."""
    notebook_endpoint: SocketAddress | None = None
    """Where to connect for all notebooks, by name or address, instead of to the host that SageMaker names."""
    ca_bundle: Path | None = None
    """Certificate authorities that are trusted, for notebooks and API, instead of the system's and botocore's."""
    https_proxy: str = field(default="", repr=False)
    """What https to notebooks and API goes through: `http://proxy.internal:3128`, also with credentials; "": none."""
    no_proxy: str = ""
    """Hosts that are connected to without it, as urllib and botocore read NO_PROXY."""
    forward_client_address: bool = False
    """Whether SageMaker's notebook hosts are told callers' addresses (X-Forwarded-For)."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """When an instance is started and stopped by itself. Durations in seconds; `stop_after_idle_seconds` None: never.

    With `stop_dry_run` a stop is only written into the log. With `stop_ignore_unknown_terminals` terminals of old
    Jupyter servers, which do not say when they were last used, do not keep an instance running.
    """

    start_on_open: bool = False
    stop_after_idle_seconds: float | None = None
    stop_warning_seconds: float = 600.0
    stop_dry_run: bool = False
    stop_ignore_unknown_terminals: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """One notebook instance: `name` is the gateway's word for it, `notebook` SageMaker's.

    `assume_role` is already the gateway-wide one where the instance has none of its own. `restriction` is
    the instance's own short form (None: the gateway's counts alone); `policy` is both, compiled.
    """

    name: str
    notebook: str
    mount: Mount
    policy: Policy
    restriction: ShortForm | None = None
    assume_role: str | None = None
    statements: tuple[Statement, ...] = ()
    """The instance's own long form."""
    arn: str = ""
    """The notebook instance's ARN, which policies name it by; its account is empty where it is not known."""
    lifecycle: Lifecycle = Lifecycle()
    """What counts for it: its own settings, or else the gateway's."""
    access: Access = "open"
    """`open`: whom the policy lets in comes in. `presigned`: only with a session or a token besides."""
    cross_site_requests: CrossSiteRequests = "refuse"
    """What becomes of requests that change something and come from other sites' pages."""
    aliases: tuple[Mount, ...] = ()
    """Paths and hosts where it was before, and from where callers are led to its mount."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """How links, sessions and programs' tokens are signed.

    Of the secret `keys` the first signs and all verify; none: one that is drawn at the start. `bind_address`: a
    token is good for the client address alone that it is issued to.
    """

    keys: tuple[str, ...] = field(default=(), repr=False)
    bind_address: bool = False


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An access key for SageMaker's API at the gateway. `user` is its holder, aws:username in policies; `instances`
    are the only ones that it is for, None: all."""

    id: str
    secret: str = field(repr=False)
    user: str
    instances: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """SageMaker's API at the gateway. `keys` by id; `is_signed`: only who signs with one of them may call."""

    keys: Mapping[str, ApiKey] = field(default_factory=lambda: MappingProxyType({}))
    is_signed: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one caller, or one notebook, can make the gateway hold. Bytes, or counts."""

    request_head_bytes: int = 64 * 1024
    response_head_bytes: int = 64 * 1024
    replay_body_bytes: int = 64 * 1024
    """Request bodies up to this size are kept until answered, so that a renewed session can repeat them."""
    websocket_frame_bytes: int | None = None
    """None: any, for nothing of a frame is kept."""
    connections: int = 10_000
    """Downstream connections of the whole process."""
    connections_per_address: int = 4096
    """Downstream connections of one address (IPv6: one /64) that some rule could let in; trusted proxies are exempt."""
    connections_per_stranger: int = 16
    """The same for every other address."""
    held_per_address_bytes: int = 256 * 1024 * 1024
    """What one address may have waiting in the gateway's memory; above it, its connections that hold most are cut."""
    event_streams_per_address: int = 512
    """Open pages per client address (IPv6: one /64) that follow the instances' states."""
    upstream_connections: int = 1024
    """Connections to one instance, WebSockets included."""
    upstream_idle_connections: int = 32
    """Connections to one instance that are kept for the next request."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Patience, in seconds."""

    request_head_seconds: float = 15.0
    """From accepting a connection, or from a later request's first byte, to the end of the request's head: a prelude
    and the TLS handshake included."""
    request_body_seconds: float = 60.0
    """Silence of the caller in the middle of a request body."""
    idle_seconds: float = 75.0
    """A downstream connection between two requests."""
    send_seconds: float = 120.0
    """A caller that takes no byte of what is being sent to it."""
    sign_in_seconds: float = 20.0
    """Signing in to the notebook, all steps and repetitions together, before callers are told to come again."""
    connect_seconds: float = 5.0
    """Name lookup, TCP and TLS to the notebook."""
    outage_seconds: float = 30.0
    """From a notebook's going away, what its open pages ask by themselves waits instead of being told."""
    response_head_seconds: float = 300.0
    """From the end of the request to the notebook's response head."""
    response_body_seconds: float = 900.0
    """Silence of the notebook in the middle of a response body."""
    upstream_idle_seconds: float = 50.0
    """A pooled connection to the notebook between two requests."""
    websocket_ping_seconds: float = 25.0
    """Silence on a WebSocket, in either direction, before the gateway pings that side."""
    websocket_silence_seconds: float = 90.0
    """Silence on a WebSocket, pings unanswered, before the gateway takes that side for gone."""
    drain_delay_seconds: float = 5.0
    """From SIGTERM on: everything is served as before, while whoever sends callers here learns that it should not."""
    drain_seconds: float = 30.0
    """From then on: what is under way ends by itself, and what is left is cut off."""


LogFormat = Literal["auto", "console", "json"]
LogDenials = Literal["both", "audit"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Log:
    """`auto` is `console` on a terminal and `json` elsewhere; `access` is the line per request."""

    format: LogFormat = "auto"
    level: LogLevel = "info"
    access: bool = True
    denials: LogDenials = "both"
    """What is written of a refused request: its line and an audit record, or the audit record alone."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration. `hostnames` are canonical (lowercase, no port), the first is the preferred."""

    hostnames: tuple[str, ...]
    listeners: tuple[Listener, ...]
    admin: Admin | None
    """None: no such listener."""
    trusted_proxies: Strategy
    """Which proxies are trusted, and how what they say is read."""
    aws: Aws
    allowlists: Mapping[str, NamedList]
    restriction: ShortForm
    """The gateway-wide short form, before it was compiled into each instance's policy."""
    policy: Policy
    """What counts where no instance is concerned."""
    instances: Mapping[str, Instance]
    statements: tuple[Statement, ...] = ()
    """The gateway-wide long form."""
    stopper: bool = True
    """False: instances are stopped by another gateway, if by any, whatever their `lifecycle` says."""
    tokens: Tokens = Tokens()
    api: Api = Api()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    log: Log = Log()
    source: Path = Path()
    """The file that this came from."""
    files: tuple[Path, ...] = ()
    """All files whose content this depends on, `source` first: a change of one of them is a change of this."""
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    """What it says that is hardly meant."""

    @property
    def mounts(self) -> Mapping[str, Mount]:
        """Each instance's mount, by instance name."""
        return {name: instance.mount for name, instance in self.instances.items()}

    @property
    def origins(self) -> tuple[str, ...]:
        """Where everything that explanations point at was written. Equal settings may differ in it."""
        policies = (self.policy, *(instance.policy for instance in self.instances.values()))
        statements = (statement.origin for policy in policies for statement in policy.statements)
        return (*statements, *(one.origin for one in self.allowlists.values()))

    def urls(self, instance_name: str) -> tuple[str, ...]:
        """Where people find an instance: an address for each listener that leads to it, in their order."""
        mount = self.instances[instance_name].mount
        if mount.kind is MountKind.PORT:
            leading = [listener for listener in self.listeners if listener.public_port == mount.port]
        else:
            taken = {other.port for other in self.mounts.values() if other.kind is MountKind.PORT}
            leading = [listener for listener in self.listeners if listener.public_port not in taken]
        host = mount.host if mount.kind is MountKind.HOST else self.hostnames[0]
        path = mount.path if mount.kind is MountKind.PATH else "/"
        return tuple(dict.fromkeys(listener.origin(host) + path for listener in leading))

    def leads_to(self, instance_name: str) -> str:
        """What tells the notebook that an instance is from every other: Region, account ("" where it is not known), the
        role by which it is reached, and its name. What is given out for one (sessions, links, tokens, forms) is not
        good for another that has the instance's name after it. KeyError for one that is not configured.
        """
        instance = self.instances[instance_name]
        # The Region is that which is served: ARNs may have the file's, which waits for a restart.
        account = instance.arn.split(":")[4] if instance.arn else ""
        return f"{self.aws.region} {account} {instance.assume_role or ''} {instance.notebook}"
