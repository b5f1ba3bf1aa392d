"""What two keys of the file say about each other: references, mounts, ports, margins.

Its rule: one function per kind of mistake; each looks at what could be read, and keeps silent where a value
that it needs has a problem of its own already, so that no mistake is reported twice.
It must not know lines: findings carry paths.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from proxy.client_address.networks import (
    AddressError,
    AddressRangeError,
    Network,
    NetworkSet,
    parse_network,
)
from proxy.client_address.resolve import ForwardingHeader
from proxy.config import build
from proxy.config.binds import Bind, UnixSocket
from proxy.config.findings import Finding, did_you_mean
from proxy.config.places import host_beside, is_loopback, parse_https_proxy, parse_mount
from proxy.config.schema import File, ListenerSection
from proxy.config.sections import Lifecycle
from proxy.config.settings import Listener
from proxy.config.statements import statement_findings
from proxy.config.values import ValueProblem, as_yaml, format_duration, parse_region
from proxy.config.warnings import everybody_in
from proxy.config.yaml_lines import KeyPath
from proxy.routing.mounts import Mount, MountKind, clashes, hides
from proxy.wire.request_heads import NUMBERS


def inconsistencies(
    file: File, data: Mapping[str, Any], known: list[Finding], *, environ: Mapping[str, str]
) -> list[Finding]:
    """Everything that does not fit together. `data` is the file as written, `known` what is wrong already."""
    sound = _Sound(tuple(one.path for one in known))
    return [
        *_references(data),
        *_hostnames(file, sound),
        *_listeners(file, sound),
        *_client_addresses(file, sound),
        *_everybody_trusted(file, sound),
        *_mounts(file, data, sound),
        *_aws(file, sound, environ),
        *_policy(file, sound),
        *statement_findings(data, _arns(file, sound, environ)),
        *_api_keys(file, data, sound),
        *_websockets(file, sound),
        *_lifecycles(file, sound),
    ]


class _Sound:
    """Which parts of the file have no problem."""

    def __init__(self, paths: tuple[KeyPath, ...]) -> None:
        self._paths = paths

    def __call__(self, *path: str | int) -> bool:
        return not any(path[: len(bad)] == bad or bad[: len(path)] == path for bad in self._paths)


def _references(data: Mapping[str, Any]) -> Iterator[Finding]:
    # From the data as written: a list with a bad network in it is there all the same, and indexes are the
    # file's.
    lists = data.get("allowlists")
    declared = list(lists) if isinstance(lists, dict) else []
    instances = data.get("instances")
    places: list[tuple[KeyPath, Any]] = [(("policy",), data.get("policy"))]
    if isinstance(instances, dict):
        places += [(("instances", name), section) for name, section in instances.items()]
    for place, section in places:
        for key in ("allow", "deny"):
            names = section.get(key) if isinstance(section, dict) else None
            for index, name in enumerate(names if isinstance(names, list) else ()):
                if isinstance(name, str) and name not in declared:
                    yield Finding(
                        (*place, key, index), f"there is no list called '{name}'", _list_hint(name, declared)
                    )


def _list_hint(name: str, declared: list[str]) -> str:
    try:
        parse_network(name)
    except AddressRangeError as error:
        return f"{error.hint}, in a list with a name: allowlists: {{office: […]}}, and write office here"
    except AddressError:
        pass
    try:
        ipaddress.ip_network(name, strict=False)
    except ValueError:
        return did_you_mean(name, declared) or f"define it: allowlists: {{{as_yaml(name)}: [203.0.113.0/24]}}"
    return f"give the network a name: allowlists: {{office: [{as_yaml(name)}]}}, and write office here"


def _hostnames(file: File, sound: _Sound) -> Iterator[Finding]:
    names = file.hostname or []
    for index, name in enumerate(names):
        if sound("hostname") and name in names[:index]:
            yield Finding(("hostname", index), f"'{name}' is listed twice", "keep one of them")


def _listeners(file: File, sound: _Sound) -> Iterator[Finding]:
    if not sound("listeners"):
        return
    binds: list[tuple[str, Bind]] = []
    for index, section in enumerate(file.listeners):
        path: KeyPath = ("listeners", index)
        if section.tls and section.scheme == "http":
            yield Finding((*path, "scheme"), "a listener with tls is https", "remove one of the two")
        if other := next((where for where, bind in binds if _same_socket(bind, section.bind)), None):
            yield Finding(
                (*path, "bind"), f"{section.bind} is in use by {other}", "choose another port or address"
            )
        binds.append((f"listeners[{index}]", section.bind))
        yield from _unix(section, path)
    if file.admin is None or not sound("admin"):
        return
    admin = file.admin.bind
    if other := next((where for where, bind in binds if _same_socket(bind, admin)), None):
        hint = "give it a port of its own: admin: {bind: 127.0.0.1:9901}"
        yield Finding(("admin", "bind"), f"{admin} is in use by {other}", hint)


def _unix(section: ListenerSection, path: KeyPath) -> Iterator[Finding]:
    if not isinstance(section.bind, UnixSocket):
        if section.trust_unix is not None:
            hint = "remove it; proxies that connect over TCP belong into client_address.trusted_proxies"
            if section.trust_unix == "proxy_protocol":
                hint = "list the load balancers: proxy_protocol: [10.0.0.0/24]"
            yield Finding((*path, "trust_unix"), "is for Unix sockets only", hint)
        if section.mode is not None:
            yield Finding((*path, "mode"), "is for Unix sockets only", "remove it")
        return
    if section.proxy_protocol:
        hint = "write trust_unix: proxy_protocol, and see to it who may open the socket"
        yield Finding((*path, "proxy_protocol"), "lists networks, and a Unix socket has no addresses", hint)
    elif section.trust_unix is None:
        hint = "say who the client is: trust_unix: header, or trust_unix: proxy_protocol"
        message = "nobody would be let in: who connects to a Unix socket has no address"
        yield Finding((*path, "bind"), message, hint)


def _client_addresses(file: File, sound: _Sound) -> Iterator[Finding]:
    if not sound("client_address") or not sound("listeners"):
        return
    client, path = file.client_address, "client_address"
    name = build.strategy_name(file)
    is_list = client.header in (None, *(header.value for header in ForwardingHeader))
    if name == "peer":
        hint = "choose a strategy that reads a header"
        if client.strategy is None:
            hint = "list the proxies that write it: trusted_proxies: [10.0.0.0/24]"
        for key in ("trusted_proxies", "header", "hops"):
            # That the default header is named for later, before there is a proxy, deceives nobody.
            if getattr(client, key) and not (key == "header" and is_list and client.strategy is None):
                yield Finding((path, key), "says nothing where no proxy is trusted", hint)
        if build.trusts_unix(file):
            hint = "remove it, or write trust_unix: proxy_protocol"
            yield Finding((path, "strategy"), "has no use for the header that trust_unix relies on", hint)
        return
    if not client.trusted_proxies and not build.trusts_unix(file):
        hint = "list the networks that they connect from: trusted_proxies: [10.0.0.0/24]"
        yield Finding((path, "strategy"), "needs proxies that are trusted", hint)
    if (client.hops is not None) != (name == "hop_count"):
        if client.hops is None:
            yield Finding((path, "strategy"), "needs a number of hops", "such as hops: 2")
        else:
            yield Finding((path, "hops"), f"says nothing with strategy {name}", "write strategy: hop_count")
    if name != "single_header" and not is_list:
        hint = "write x-forwarded-for or forwarded; strategy: single_header reads a header that holds one address"
        yield Finding((path, "header"), f"'{client.header}' is not a list of hops", hint)
    elif name == "single_header" and client.header is None:
        yield Finding((path, "strategy"), "needs a header", "such as header: cf-connecting-ip")
    elif name == "single_header" and client.header is not None and client.header.encode("ascii") in NUMBERS:
        # Requests that differ in these alone are one caller's, wherever they stand.
        hint = "write the header that holds the client's address, such as cf-connecting-ip"
        yield Finding((path, "header"), f"'{client.header}' numbers requests", hint)
    elif name == "single_header" and is_list:
        hint = "write strategy: trusted_proxies, or hop_count"
        yield Finding((path, "header"), f"'{client.header}' is a list of hops", hint)


def _everybody_trusted(file: File, sound: _Sound) -> Iterator[Finding]:
    """A single network of that size is refused by itself."""
    places: list[tuple[KeyPath, list[Network]]] = [
        (("client_address", "trusted_proxies"), file.client_address.trusted_proxies)
    ]
    places += [
        (("listeners", index, "proxy_protocol"), section.proxy_protocol)
        for index, section in enumerate(file.listeners)
    ]
    for path, networks in places:
        if sound(*path) and (everybody := everybody_in(NetworkSet(networks))):
            hint = "list the networks that the load balancers or proxies connect from"
            message = f"holds {everybody}, all networks together: every caller would choose its own address"
            yield Finding(path, message, hint)


def _same_socket(one: Bind, other: Bind) -> bool:
    if isinstance(one, UnixSocket) or isinstance(other, UnixSocket):
        return one == other
    if one.port != other.port or one.port == 0 or (":" in one.host) != (":" in other.host):
        return False
    return one.host == other.host or any(host in ("0.0.0.0", "::") for host in (one.host, other.host))  # noqa: S104


def _mounts(file: File, data: Mapping[str, Any], sound: _Sound) -> Iterator[Finding]:
    instances = data.get("instances")
    if not isinstance(instances, dict):
        return
    if not instances:
        hint = "name at least one: instances: {research: {notebook: research-gpu-1}}"
        yield Finding(("instances",), "there is no instance", hint)
    listeners = [build.listener(section, directory=FilePath()) for section in file.listeners]
    mounts: dict[str, Mount] = {}
    paths: dict[str, KeyPath] = {}
    # From the data as written: an instance with a mistake elsewhere is mounted all the same.
    for name, section in instances.items():
        written = section.get("mount") if isinstance(section, dict) else None
        path = paths[name] = ("instances", name, "mount") if written is not None else ("instances", name)
        if not sound("instances", name, "mount"):
            continue
        try:
            mount = mounts[name] = build.default_mount(name) if written is None else parse_mount(written)
        except ValueError as error:
            yield Finding(path, str(error), f"write a mount, such as {{path: /{name}-notebook/}}")
            continue
        if mount.kind is MountKind.HOST and mount.host in (file.hostname or ()):
            such = f", such as {host}" if (host := host_beside(file.hostname or (), name)) else ""
            hint = f"give it a name of its own{such}; or write root"
            yield Finding(path, f"{mount.host} is the gateway's own hostname", hint)
        if mount.kind is MountKind.PORT and sound("listeners") and not _leads_to(listeners, mount.port):
            hint = (
                f"add one to listeners: '- bind: 0.0.0.0:{mount.port}', or 'public_port: {mount.port}' to one"
            )
            yield Finding(path, f"no listener has port {mount.port}", hint)
    for one, other, reason in clashes(mounts):
        message = f"clashes with the mount of '{one}': {reason}"
        yield Finding(paths[other], message, _elsewhere(mounts[other], other, file))
    if sound("listeners"):
        yield from _unreachable(listeners, mounts)
    yield from _aliases(file, mounts, sound)


def _aliases(file: File, mounts: Mapping[str, Mount], sound: _Sound) -> Iterator[Finding]:
    taken = [(f"the mount of '{name}'", mount) for name, mount in mounts.items()]
    for name, section in (file.instances or {}).items():
        for index, alias in enumerate(section.aliases):
            path = ("instances", name, "aliases", index)
            if not sound(*path):
                continue
            if alias.kind is MountKind.HOST and alias.host in (file.hostname or ()):
                yield Finding(
                    path, f"{alias.host} is the gateway's own hostname", "name a former host, or a path"
                )
            elif other := next((what for what, mount in taken if hides(mount, alias)), None):
                yield Finding(path, f"{alias} never leads anywhere: {other} is there", "remove it")
            taken.append((f"an alias of '{name}'", alias))


def _unreachable(listeners: list[Listener], mounts: Mapping[str, Mount]) -> Iterator[Finding]:
    ports = {mount.port for mount in mounts.values() if mount.kind is MountKind.PORT}
    others = [name for name, mount in mounts.items() if mount.kind is not MountKind.PORT]
    if others and all(listener.public_port in ports for listener in listeners):
        message = "every listener's port belongs to an instance on a port mount, and none leads here"
        yield Finding(("instances", others[0]), message, "add a listener with another port")


def _leads_to(listeners: list[Listener], port: int) -> bool:
    return any(listener.public_port == port for listener in listeners)


def _elsewhere(mount: Mount, name: str, file: File) -> str:
    if mount.kind is MountKind.ROOT:
        host = host_beside(file.hostname or (), name)
        return f"write {{path: /{name}/}}{f', or {{host: {host}}}' if host else ''}"
    return f"choose another {mount.kind.value}"


def _aws(file: File, sound: _Sound, environ: Mapping[str, str]) -> Iterator[Finding]:
    aws = file.aws
    if sound("aws", "region"):
        if not (region := build.region(aws, environ)):
            hint = "write aws: {region: eu-west-1}, or set AWS_REGION"
            yield Finding(("aws", "region"), "no AWS Region is known", hint)
        elif aws.region is None:
            try:
                parse_region(region)
            except ValueProblem as problem:
                yield Finding(("aws", "region"), f"AWS_REGION of the environment: {problem}", problem.hint)
    if (
        aws.notebook_origins
        and sound("aws", "endpoint_url")
        and not (aws.endpoint_url and is_loopback(aws.endpoint_url))
    ):
        message = "is for a test endpoint only, and endpoint_url is not one on this machine"
        hint = "remove it: SageMaker's own notebook hosts are known"
        yield Finding(("aws", "notebook_origins"), message, hint)
    if sound("aws", "https_proxy") and aws.https_proxy is None:
        try:
            if found := build.https_proxy(aws, environ):
                parse_https_proxy(found)
        except ValueProblem as problem:
            yield Finding(("aws", "https_proxy"), f"HTTPS_PROXY of the environment {problem}", problem.hint)
    role = aws.assume_role
    if role and aws.account and role.split(":")[4] != aws.account and sound("aws"):
        hint = f"remove it, or write '{role.split(':')[4]}'"
        yield Finding(("aws", "account"), "is not the account of assume_role", hint)
    if sound("aws", "session_margin") and aws.session_margin_seconds > aws.session_seconds / 2:
        hint = f"at most {format_duration(aws.session_seconds // 2)}"
        yield Finding(("aws", "session_margin"), "is more than half of session_duration", hint)


def _policy(file: File, sound: _Sound) -> Iterator[Finding]:
    policy = file.policy
    if policy and not policy.allow and not policy.statements and sound("policy"):
        hint = "name allowlists: allow: [office]; or write IAM statements"
        yield Finding(("policy", "allow"), "is missing", hint)


def _arns(file: File, sound: _Sound, environ: Mapping[str, str]) -> Mapping[str, str] | None:
    """The instances' ARNs; None where something that they are made of has a problem."""
    region = build.region(file.aws, environ)
    if not region or not sound("aws") or not sound("instances"):
        return None
    return {
        name: build.instance_arn(section, file.aws, region=region)
        for name, section in (file.instances or {}).items()
    }


def _api_keys(file: File, data: Mapping[str, Any], sound: _Sound) -> Iterator[Finding]:
    instances = data.get("instances")
    declared = list(instances) if isinstance(instances, dict) else []
    for key_id, section in file.api_keys.items():
        for index, name in enumerate(section.instances):
            if name not in declared:
                place = ("api_keys", key_id, "instances", index)
                yield Finding(place, f"there is no instance called '{name}'", did_you_mean(name, declared))
    if build.is_signed(file) and not file.api_keys and sound("api_keys") and sound("api", "signed"):
        hint = "add api_keys, or remove the key"
        yield Finding(("api", "signed"), "nobody could sign: there are no api_keys", hint)


def _websockets(file: File, sound: _Sound) -> Iterator[Finding]:
    ping, silence = file.timeouts.websocket_ping_seconds, file.timeouts.websocket_silence_seconds
    if silence <= ping and sound("timeouts", "websocket_ping") and sound("timeouts", "websocket_silence"):
        hint = f"leave time for three pings: {format_duration(3 * ping)}"
        yield Finding(("timeouts", "websocket_silence"), "must be longer than websocket_ping", hint)


def _lifecycles(file: File, sound: _Sound) -> Iterator[Finding]:
    if not sound("lifecycle"):
        return
    together = file.lifecycle
    after_seconds = together.stop_after_idle_seconds or math.inf
    yield from _warning(("lifecycle",), "stop_warning", after_seconds, together.stop_warning_seconds)
    first_named: dict[tuple[str, str | None], tuple[str, Lifecycle]] = {}
    for name, section in (file.instances or {}).items():
        if not sound("instances", name):
            continue
        meant = build.lifecycle(section, file)
        if section.stop_after_idle is not None or section.stop_warning is not None:
            key = "stop_after_idle" if section.stop_warning is None else "stop_warning"
            after_seconds = meant.stop_after_idle_seconds or math.inf
            yield from _warning(("instances", name), key, after_seconds, meant.stop_warning_seconds)
        notebook = (section.notebook, section.assume_role or file.aws.assume_role)
        if notebook not in first_named:
            first_named[notebook] = (name, meant)
        elif first_named[notebook][1] != meant:
            other = first_named[notebook][0]
            message = f"is started and stopped by other rules than '{other}', which is the same notebook"
            yield Finding(("instances", name), message, "give both the same start_on_open and stop_…")


def _warning(path: KeyPath, key: str, after_seconds: float, warning_seconds: float) -> Iterator[Finding]:
    if warning_seconds >= after_seconds:
        announced, idle = format_duration(warning_seconds), format_duration(after_seconds)
        message = f"a stop after {idle} of idleness would be announced {announced} ahead"
        yield Finding((*path, key), message, f"write a stop_warning of less than {idle}")
