"""What the configuration means: one frozen snapshot, which everything else is built from.

Its rule: plain values in base units (seconds, bytes), compiled once (networks, mounts, policies), valid as a
whole, and never changed: a reload builds another snapshot. The secrets that it holds do not show in its repr,
which may be logged.
Sections that are settings as they stand come from `proxy.config.sections`. It must not know the file: spelling and line
numbers end in `proxy.config.schema` and `.load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from proxy.client_address.networks import NetworkSet
from proxy.client_address.resolve import Strategy
from proxy.config.binds import Bind
from proxy.config.sections import Admin, AwsSection, Lifecycle, Limits, Log, Timeouts, Tls, Tokens
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
    _: KW_ONLY
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Aws(AwsSection):
    """How to reach SageMaker, and as whom, with what the environment says. What is None is for boto3's own defaults."""

    region: str
    ca_bundle: Path | None = None
    """Certificate authorities that are trusted, for notebooks and API, instead of the system's and botocore's."""
    https_proxy: str = field(default="", repr=False)
    """What https to notebooks and API goes through: `http://proxy.internal:3128`, also with credentials; "": none."""
    no_proxy: str = ""
    """Hosts that are connected to without it, as urllib and botocore read NO_PROXY."""


@dataclass(frozen=True, slots=True, kw_only=True)
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
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    """What counts for it: its own settings, or else the gateway's."""
    access: Access = "open"
    """`open`: whom the policy lets in comes in. `presigned`: only with a session or a token besides."""
    cross_site_requests: CrossSiteRequests = "refuse"
    """What becomes of requests that change something and come from other sites' pages."""
    aliases: tuple[Mount, ...] = ()
    """Paths and hosts where it was before, and from where callers are led to its mount."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. `hostnames` are canonical (lowercase, no port), the first is the preferred."""

    hostnames: tuple[str, ...]
    listeners: tuple[Listener, ...]
    admin: Admin | None
    """None: no such listener."""
    address_strategy: Strategy
    """How client addresses are found: which proxies are trusted, and how what they say is read."""
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
    tokens: Tokens = field(default_factory=Tokens)
    api: Api = Api()
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    log: Log = field(default_factory=Log)
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
