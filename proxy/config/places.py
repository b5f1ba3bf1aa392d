"""The spellings of places: addresses to listen on, host names, networks, URLs, mounts.

Its rule: that of `proxy.config.values`, and a place comes out in one canonical form (lowercase, addresses as
`ipaddress` prints them), so that what clashes is equal. It must not look a name up or open anything.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from proxy.client_address.networks import Network, parse_network
from proxy.config.binds import Bind, SocketAddress, UnixSocket
from proxy.config.values import ValueProblem, as_yaml, parse_instance_name, shown, text
from proxy.routing.mounts import Mount, MountKind
from proxy.wire.egress import parse_egress_proxy

BIND_PATTERN = r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"
LISTENER_BIND_PATTERN = rf"{BIND_PATTERN}|^unix:/"
MODE_PATTERN = r"^0?[0-7]{3}$"
HEADER_PATTERN = r"^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$"

# sockaddr_un.sun_path holds 108 bytes, the last of which is zero (unix(7)).
_SOCKET_PATH_BYTES = 107

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def parse_bind(value: object) -> SocketAddress:
    """`127.0.0.1:8080` or `[::1]:8080`."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueProblem(
            f"{value} is not an address", f"write 127.0.0.1:{value}, or 0.0.0.0:{value} for all"
        )
    written = text(value, example="127.0.0.1:8080")
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[^\[\]]*)):(?P<port>[0-9]*)", written)
    if match is None:
        hint = f"write {written}:8080" if _is_address(written, 4) else "write 127.0.0.1:8080 or '[::1]:8080'"
        raise ValueProblem(f"{shown(value)} is not an address and a port", hint)
    host, version = (match["v6"], 6) if match["v6"] is not None else (match["v4"], 4)
    port = match["port"]
    if not _is_address(host, version):
        _refuse_bind_host(written, host, port)
    if not re.fullmatch(r"0|[1-9][0-9]{0,4}", port) or int(port) > 65535:
        raise ValueProblem(f"{shown(port)} is not a port", "ports go from 1 to 65535")
    return SocketAddress(str(ipaddress.ip_address(host)), int(port))


def parse_listener_bind(value: object) -> Bind:
    """What `parse_bind` takes, or `unix:/run/nbgate/nbgate.sock`."""
    if not isinstance(value, str) or not value.startswith("unix:"):
        return parse_bind(value)
    path = value.removeprefix("unix:")
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        hint = "write the whole path of the socket: unix:/run/nbgate/nbgate.sock"
        raise ValueProblem(f"{shown(value)} is not the absolute path of a file", hint)
    if len(path.encode()) > _SOCKET_PATH_BYTES:
        raise ValueProblem(
            f"{shown(value)} is too long for a Unix socket", f"at most {_SOCKET_PATH_BYTES} bytes"
        )
    return UnixSocket(Path(path))


def parse_mode(value: object) -> int:
    """Permission bits of a Unix socket's file, in octal digits."""
    if isinstance(value, str) and re.fullmatch(MODE_PATTERN, value):
        return int(value, 8)
    raise ValueProblem(f"{shown(value)} is not a file's mode", 'three octal digits, in quotes: "0660"')


def parse_port(value: object) -> int:
    """1 to 65535."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536:
        return value
    raise ValueProblem(f"{shown(value)} is not a port", "write a number from 1 to 65535, without quotes")


def parse_hostname(value: object) -> str:
    """A DNS name or an IP address, without scheme and port; lowercase, a trailing dot dropped."""
    written = text(value, example="notebooks.internal")
    name = written.lower().removesuffix(".")
    if name.startswith("[") and name.endswith("]") and _is_address(name[1:-1], 6):
        return f"[{ipaddress.ip_address(name[1:-1])}]"
    if _is_address(name, 6):
        raise ValueProblem(f"{shown(written)} is not a host name", f"write IPv6 in brackets: '[{name}]'")
    if "://" in name or "/" in name:
        try:
            host = urlsplit(name if "://" in name else f"//{name}").hostname or "notebooks.internal"
        except ValueError:
            host = "notebooks.internal"
        raise ValueProblem(f"{shown(written)} is not a host name", f"leave scheme and path out: {host}")
    if match := re.fullmatch(r"([^:]+):([0-9]+)", name):
        hint = f"write {match[1]}; the port belongs to a listener (bind, public_port)"
        raise ValueProblem(f"{shown(written)} is not a host name", hint)
    if name.startswith("*."):
        hint = "list the names; instances on host mounts add their own"
        raise ValueProblem(f"{shown(written)}: wildcards are not read here", hint)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        hint = "letters, digits and hyphens, in parts joined by dots; other scripts as xn--…"
        raise ValueProblem(f"{shown(written)} is not a host name", hint)
    if re.fullmatch(r"[0-9.]+", name) and not _is_address(name, 4):
        raise ValueProblem(
            f"{shown(written)} is neither a host name nor an IPv4 address", "such as 127.0.0.1"
        )
    return name


def parse_cidr(value: object) -> Network:
    """A network of an allowlist."""
    if not isinstance(value, str):
        raise ValueProblem(f"must be a network, not {shown(value)}", 'write it as text: "203.0.113.0/24"')
    return parse_network(value)


def parse_proxy_cidr(value: object) -> Network:
    """A network of trusted proxies: not the whole Internet, whose callers would name their own address."""
    network = parse_cidr(value)
    if network.prefixlen == 0:
        hint = "list the networks that the load balancers or proxies connect from"
        raise ValueProblem(f"{network} would let every caller choose its own address", hint)
    return network


def parse_header(value: object) -> str:
    """The name of a header, in any case; lowercase."""
    name = text(value, example="x-forwarded-for").lower()
    if not re.fullmatch(HEADER_PATTERN, name):
        raise ValueProblem(
            f"{shown(value)} is not the name of a header", "such as x-forwarded-for or cf-connecting-ip"
        )
    if name == "cloudfront-viewer-address":
        # An IPv6 address stands there without brackets.
        hint = "let CloudFront's X-Forwarded-For count: strategy: hop_count, or trusted_proxies"
        raise ValueProblem(f"{name} has a port behind the address, where it may be part of it", hint)
    return name


def parse_endpoint(value: object) -> str:
    """A URL of SageMaker's API: https, or http on this machine (a test endpoint); no path, no credentials."""
    return _origin(value, example="https://vpce-0a1b.api.sagemaker.eu-west-1.vpce.amazonaws.com")


def parse_notebook_origin(value: object) -> str:
    """The origin of a test endpoint's notebook host: on this machine, nowhere else."""
    origin = _origin(value, example="http://127.0.0.1:9001")
    if not is_loopback(origin):
        hint = "SageMaker's own notebook hosts are known and need no entry"
        raise ValueProblem(f"{shown(value)} is not on this machine", hint)
    return origin


def parse_notebook_suffix(value: object) -> str:
    """What the names of notebook hosts end with; at least three parts, for whatever stands in front is let in."""
    written = text(value, example="notebook.eusc-de-east-1.sagemaker.eu")
    name = parse_hostname(written.removeprefix("*").removeprefix("."))
    if name.count(".") < 2 or re.fullmatch(r"[0-9.]+", name):
        hint = (
            "write all that stands behind the instance's name, such as notebook.eusc-de-east-1.sagemaker.eu"
        )
        raise ValueProblem(f"{shown(written)} would let too many hosts in", hint)
    return name


def parse_notebook_endpoint(value: object) -> SocketAddress:
    """Where to connect: a name or an address, and a port, 443 where there is none."""
    written = text(value, example="vpce-0a1b.notebook.eu-west-1.vpce.amazonaws.com")
    host, port = written, 443
    if match := re.fullmatch(r"(\[[^]]*\]|[^:/]+):([0-9]{1,5})", written):
        host, port = match[1], parse_port(int(match[2]))
    return SocketAddress(parse_hostname(host).strip("[]"), port)


def parse_https_proxy(value: object) -> str:
    """The URL of an egress proxy. It is never shown: it may carry a password."""
    example = "such as http://proxy.internal:3128"
    if not isinstance(value, str) or not value:
        raise ValueProblem("must be text", example)
    try:
        parse_egress_proxy(value)
    except ValueError as error:
        raise ValueProblem(str(error), example) from None
    return value


def parse_no_proxy(value: object) -> str:
    """A host that is connected to without the proxy: a name with all below it, or an address; a port may follow."""
    written = text(value, example=".internal")
    if "/" in written:
        raise ValueProblem(
            f"{shown(written)}: networks are not read here, nor by botocore", "list addresses and names"
        )
    if "," in written or " " in written or not written.isascii():
        raise ValueProblem(f"{shown(written)} is not one name or address", "write a list")
    if "*" in written and written != "*":
        raise ValueProblem(
            f"{shown(written)}: no wildcards, a name counts for all below it", f"write {written.lstrip('*')}"
        )
    return written


def parse_mount(value: object) -> Mount:
    """`root`, or a mapping with exactly one of `host`, `port` and `path`."""
    hint = "write root, or one of {host: research.notebooks.internal}, {port: 8444}, {path: /research/}"
    if value == "root":
        return Mount.root()
    if not isinstance(value, dict):
        if isinstance(value, str) and value.startswith("/"):
            hint = f"write {{path: {as_yaml(value)}}}"
        elif isinstance(value, int) and not isinstance(value, bool):
            hint = f"write {{port: {value}}}"
        elif isinstance(value, str) and "." in value:
            hint = f"write {{host: {as_yaml(value)}}}"
        raise ValueProblem(f"{shown(value)} is not a mount", hint)
    if unknown := [key for key in value if key not in ("host", "port", "path")]:
        raise ValueProblem(f"{shown(unknown[0])} is not a kind of mount", hint)
    if len(value) != 1:
        said = "several kinds of mount" if value else "no kind of mount"
        raise ValueProblem(f"{said} for one instance", hint)
    if "host" in value:
        return Mount.on_host(parse_hostname(value["host"]))
    if "port" in value:
        return Mount.on_port(parse_port(value["port"]))
    return _path_mount(text(value["path"], example="/research/"))


def host_beside(hostnames: Iterable[str], name: str) -> str:
    """A host to propose for an instance, below one of the gateway's names; "" where those are addresses alone."""
    for host in hostnames:
        if not _is_address(host, 4) and not host.startswith("["):
            return f"{name}.{host}"
    return ""


def parse_alias(value: object) -> Mount:
    """An instance's former name, or where its mount was: a mapping with one of `host` and `path`."""
    hint = "write a former name, or one of {host: old.notebooks.internal}, {path: /old/}"
    if isinstance(value, dict):
        mount = parse_mount(value)
        if mount.kind is MountKind.PORT:
            raise ValueProblem("a port cannot be an alias", hint)
        return mount
    if not isinstance(value, str) or value == "root":
        raise ValueProblem(f"{shown(value)} is not an alias", hint)
    if "/" in value or "." in value:
        hint = f"write {{{'path' if '/' in value else 'host'}: {as_yaml(value)}}}"
        raise ValueProblem(f"{shown(value)} is not a name", hint)
    return _path_mount(f"/{parse_instance_name(value)}/")


def is_loopback(origin: str) -> bool:
    """Whether a URL names this machine by a loopback address or as localhost."""
    host = urlsplit(origin).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_bind_host(written: str, host: str, port: str) -> NoReturn:
    if host in ("", "*"):
        hint = f"write 0.0.0.0:{port} for every IPv4 address, '[::]:{port}' for every IPv6 address"
    elif host == "localhost":
        hint = f"write 127.0.0.1:{port}"
    elif _is_address(host, 6):
        hint = f"write '[{host}]:{port}'"
    else:
        hint = "write an IP address of this machine, such as 127.0.0.1 or 0.0.0.0"
    raise ValueProblem(f"{shown(written)} does not begin with an IP address", hint)


def _is_address(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version and "%" not in host
    except ValueError:
        return False


def _origin(value: object, *, example: str) -> str:
    written = text(value, example=example)
    try:
        url = urlsplit(written)
        port = url.port
    except ValueError:
        raise ValueProblem("is not a URL", f"such as {example}") from None
    # Not shown from here on: a URL may carry a password.
    if url.username is not None or url.password is not None:
        raise ValueProblem("a URL with credentials is refused", "leave out everything up to the '@'")
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise ValueProblem(f"{shown(written)} is not an http or https URL", f"such as {example}")
    if url.path not in ("", "/") or url.query or url.fragment:
        bare = f"{url.scheme}://{url.netloc}"
        raise ValueProblem(f"{shown(written)} has more than scheme, host and port", f"write {bare}")
    if not re.fullmatch(r"[a-z0-9.:-]+", url.hostname):
        raise ValueProblem(f"{shown(written)} has an unusable host", f"such as {example}")
    origin = f"{url.scheme}://{url.netloc.lower()}"
    if url.scheme == "http" and not is_loopback(origin):
        hint = f"write https://{url.netloc}; plain http is for a test endpoint on 127.0.0.1"
        raise ValueProblem("plain http is refused beyond this machine", hint)
    return origin


def _path_mount(path: str) -> Mount:
    if not path.startswith("/"):
        raise ValueProblem(f"{shown(path)} does not begin with a slash", f"write /{path.strip('/')}/")
    if path.strip("/") == "":
        raise ValueProblem("the path of a mount is more than a slash", "write mount: root for the whole host")
    try:
        return Mount.at_path(path)
    except ValueError as error:
        raise ValueProblem(str(error), "choose another path, such as /research/") from error
