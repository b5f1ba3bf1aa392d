"""From the file's sections to `Settings`: defaults that depend on other keys, and everything compiled once.

Its rule: it takes sections that were found valid and consistent, and complains about nothing. What a default
works out to is decided here and nowhere else, so that the checks see the same.
It must not know lines or spellings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path as FilePath
from types import MappingProxyType

from proxy.client_address.networks import NetworkSet
from proxy.client_address.resolve import ForwardingHeader, HopCount, SingleHeader, Strategy, TrustedProxies
from proxy.config.binds import UnixSocket
from proxy.config.includes import Included
from proxy.config.schema import (
    EntrySection,
    File,
    InstanceSection,
    ListenerSection,
    PolicySection,
)
from proxy.config.sections import AwsSection, Lifecycle, Tls, file_key
from proxy.config.settings import (
    DEFAULT_PORTS,
    Api,
    ApiKey,
    Aws,
    Instance,
    Listener,
    Scheme,
    Settings,
    StrategyName,
)
from proxy.config.statements import default_sid
from proxy.config.yaml_lines import KeyPath
from proxy.policy.elements import read_statement
from proxy.policy.lists import NamedList, Remark
from proxy.policy.resources import notebook_arn
from proxy.policy.short_form import ShortForm, gateway_policy, instance_policy
from proxy.policy.statements import Policy, Statement
from proxy.routing.mounts import Mount

WrittenAt = Callable[[KeyPath], str]
"""`nbgate.yaml:12`: where the file has what stands at a path."""

REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")


def region(aws: AwsSection, environ: Mapping[str, str]) -> str:
    """The Region, from the file or else from the environment as for AWS's tools; "" where neither says."""
    return aws.region or next((environ[name] for name in REGION_VARIABLES if environ.get(name)), "")


def variable(environ: Mapping[str, str], name: str) -> str:
    """A variable such as https_proxy, as urllib and botocore read it: the name in small letters counts before that in
    capitals, also where it is empty."""
    return environ.get(name.lower(), environ.get(name.upper(), ""))


def https_proxy(aws: AwsSection, environ: Mapping[str, str]) -> str:
    """The proxy for AWS, from the file or else from the environment; "" for none."""
    return variable(environ, "https_proxy") if aws.https_proxy is None else aws.https_proxy


def default_mount(name: str) -> Mount:
    """Where an instance appears that does not say. Raises ValueError where that is the gateway's own path."""
    return Mount.at_path(f"/{name}/")


def listener(section: ListenerSection, *, directory: FilePath) -> Listener:
    """A listener with what stands in the address bar worked out."""
    scheme: Scheme = section.scheme or ("https" if section.tls else "http")
    in_front = scheme == "https" and section.tls is None
    bind = section.bind
    if isinstance(bind, UnixSocket):
        port = DEFAULT_PORTS[scheme]
        if section.mode is not None:
            bind = replace(bind, mode=section.mode)
    else:
        port = DEFAULT_PORTS["https"] if in_front else bind.port
    tls = None
    if section.tls:
        tls = Tls(directory / section.tls.certificate, directory / section.tls.key)
    return Listener(
        bind,
        scheme=scheme,
        public_port=section.public_port or port,
        tls=tls,
        proxy_protocol=(
            NetworkSet(section.proxy_protocol)
            if section.proxy_protocol or section.trust_unix == "proxy_protocol"
            else None
        ),
        trust_unix=section.trust_unix == "header",
        is_scheme_written=section.scheme is not None,
    )


def strategy_name(file: File) -> StrategyName:
    """The strategy that finds client addresses, where the file does not name it: by what it lists."""
    client = file.client_address
    if client.strategy is not None:
        return client.strategy
    return "trusted_proxies" if client.trusted_proxies or trusts_unix(file) else "peer"


def trusts_unix(file: File) -> bool:
    """Whether headers count of those who connect to some Unix socket."""
    return any(section.trust_unix == "header" for section in file.listeners)


def _strategy(file: File) -> Strategy:
    client = file.client_address
    name = strategy_name(file)
    networks = NetworkSet(client.trusted_proxies)
    if name == "peer":
        return TrustedProxies()
    if name == "single_header":
        assert client.header is not None
        return SingleHeader(networks, client.header)
    header = ForwardingHeader(client.header or ForwardingHeader.X_FORWARDED_FOR)
    if name == "hop_count":
        assert client.hops is not None
        return HopCount(networks, client.hops, header)
    return TrustedProxies(networks, header)


def instance_arn(section: InstanceSection, aws: AwsSection, *, region: str) -> str:
    """The notebook instance's ARN. A role's account is that of all it does."""
    role = section.assume_role or aws.assume_role
    account = role.split(":")[4] if role else aws.account or ""
    return notebook_arn(section.notebook, region=region, account=account)


def lifecycle(section: InstanceSection, file: File) -> Lifecycle:
    """What counts for an instance: what it says itself, or else what the file says for all."""

    own = {one.name: getattr(section, file_key(one.name)) for one in fields(Lifecycle)}
    meant = {name: getattr(file.lifecycle, name) if value is None else value for name, value in own.items()}
    if own["stop_after_idle_seconds"] == math.inf:
        # It says so itself: never.
        meant["stop_after_idle_seconds"] = None
    return Lifecycle(**meant)


def settings(
    file: File,
    *,
    environ: Mapping[str, str],
    source: FilePath,
    included: Mapping[str, Included],
    origin: WrittenAt,
) -> Settings:
    """The snapshot that a valid file means. Relative paths in it count from the file's directory."""
    assert file.hostname is not None
    assert file.policy is not None
    assert file.instances is not None
    allowlists = {
        **{name: _list(name, entries, origin) for name, entries in file.allowlists.items()},
        **{
            name: NamedList(name, NetworkSet(one.networks), origin=str(one.file))
            for name, one in included.items()
        },
    }
    restriction = _short_form(("policy",), file.policy, allowlists, origin)
    statements = _statements(("policy",), file.policy, origin)
    policy = gateway_policy(restriction, statements)
    aws = _aws(file.aws, environ, directory=source.parent)
    return Settings(
        hostnames=tuple(file.hostname),
        listeners=tuple(listener(section, directory=source.parent) for section in file.listeners),
        admin=file.admin,
        address_strategy=_strategy(file),
        aws=aws,
        allowlists=MappingProxyType(allowlists),
        restriction=restriction,
        policy=policy,
        statements=statements,
        instances=MappingProxyType(
            {
                name: _instance(
                    name,
                    section,
                    gateway=policy,
                    allowlists=allowlists,
                    file=file,
                    region=aws.region,
                    origin=origin,
                )
                for name, section in file.instances.items()
            }
        ),
        stopper=file.lifecycle.stopper,
        api=_api(file),
        tokens=file.tokens,
        limits=file.limits,
        timeouts=file.timeouts,
        log=file.log,
        source=source,
        files=(source, *dict.fromkeys(one.file for one in included.values())),
    )


def _instance(
    name: str,
    section: InstanceSection,
    *,
    gateway: Policy,
    allowlists: Mapping[str, NamedList],
    file: File,
    region: str,
    origin: WrittenAt,
) -> Instance:
    aws = file.aws
    place = ("instances", name)
    restriction = None
    if section.allow or section.deny:
        restriction = _short_form(place, section, allowlists, origin)
    statements = _statements(place, section, origin)
    return Instance(
        name=name,
        notebook=section.notebook,
        mount=section.mount or default_mount(name),
        policy=instance_policy(gateway, name=name, form=restriction, statements=statements),
        restriction=restriction,
        assume_role=section.assume_role or aws.assume_role,
        statements=statements,
        arn=instance_arn(section, aws, region=region),
        lifecycle=lifecycle(section, file),
        access=section.access or file.access,
        cross_site_requests=section.cross_site_requests or file.cross_site_requests,
        aliases=tuple(section.aliases),
    )


def _api(file: File) -> Api:
    keys = {
        key_id: ApiKey(key_id, section.secret, section.user or key_id, tuple(section.instances) or None)
        for key_id, section in file.api_keys.items()
    }
    return Api(MappingProxyType(keys), is_signed=is_signed(file))


def is_signed(file: File) -> bool:
    """Whether SageMaker's API at the gateway is for who signs alone."""
    return (file.api.signed or ("required" if file.api_keys else "optional")) == "required"


def _list(name: str, entries: list[EntrySection], origin: WrittenAt) -> NamedList:
    ended = {entry.cidr for entry in entries if entry.until is not None}
    remarks = tuple(
        Remark(entry.cidr, entry.note or "", entry.until)
        for entry in entries
        # A network that is listed with an end and without has none.
        if entry.note is not None or entry.until is not None or entry.cidr in ended
    )
    return NamedList(name, NetworkSet(entry.cidr for entry in entries), remarks, origin(("allowlists", name)))


def _short_form(
    place: KeyPath,
    section: PolicySection | InstanceSection,
    allowlists: Mapping[str, NamedList],
    origin: WrittenAt,
) -> ShortForm:
    # The schema refuses an empty list, so no names means that the key is absent.
    return ShortForm(
        allow=_named(section.allow, allowlists) if section.allow else None,
        deny=_named(section.deny, allowlists),
        allow_origin=origin((*place, "allow")),
        deny_origin=origin((*place, "deny")),
    )


def _statements(
    place: KeyPath, section: PolicySection | InstanceSection, origin: WrittenAt
) -> tuple[Statement, ...]:
    return tuple(
        read_statement(element, sid=default_sid(place, index), origin=origin((*place, "statements", index)))
        for index, element in enumerate(section.statements)
    )


def _named(names: list[str], allowlists: Mapping[str, NamedList]) -> tuple[NamedList, ...]:
    return tuple(allowlists[name] for name in dict.fromkeys(names))


def _aws(section: AwsSection, environ: Mapping[str, str], *, directory: FilePath) -> Aws:
    # The environment's counts from where the process runs, as it does for AWS's tools.
    said = environ.get("AWS_CA_BUNDLE")
    ca_bundle = directory / section.ca_bundle if section.ca_bundle else FilePath(said) if said else None
    return Aws(
        **{one.name: getattr(section, one.name) for one in fields(section)}
        | {
            "region": region(section, environ),
            "ca_bundle": ca_bundle,
            "https_proxy": https_proxy(section, environ),
            "no_proxy": variable(environ, "no_proxy") if section.no_proxy is None else section.no_proxy,
        }
    )
