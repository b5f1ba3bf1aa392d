"""The spellings of single values: text from the file in, a checked value out.

Its rule: one spelling for one meaning, and whoever writes another is told the right one. Every function takes
what the YAML held, whatever its type, and raises `ValueProblem` with a hint.
It must not know where a value stands in the file, nor any other value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from proxy.client_address.networks import Network, parse_network
from proxy.client_address.resolve import ForwardingHeader
from proxy.config.settings import SocketAddress
from proxy.routing.mounts import Mount

DURATION_PATTERN = r"^(0|[1-9][0-9]{0,8})(ms|s|m|h|d)$"
SIZE_PATTERN = r"^(0|[1-9][0-9]{0,11})(B|KiB|MiB|GiB)$"
INSTANCE_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
LIST_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
# docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreatePresignedNotebookInstanceUrl.html
NOTEBOOK_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
REGION_PATTERN = r"^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$"
ROLE_PATTERN = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,576}$"
BIND_PATTERN = r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NO = ("no", "n", "off", "false", "0")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ValueProblem(ValueError):
    """What is wrong with a value; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def shown(value: object) -> str:
    """A value as the file has it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"'{text}'" if isinstance(value, str) else text


def text(value: object, *, example: str) -> str:
    """Text that says something; `example` is quoted in the hint."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        hint = f'such as {example}; text that looks like a number needs quotes: "{value}"'
        raise ValueProblem(f"must be text, not the number {value}", hint)
    raise ValueProblem(f"must be text, not {shown(value)}", f"such as {example}")


def parse_flag(value: object) -> bool:
    """true or false; YAML 1.1's other words for them are named in the hint."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    fixed = "true" if word in ("yes", "y", "on", "true", "1") else "false" if word in _NO else "true or false"
    raise ValueProblem(f"must be true or false, not {shown(value)}", f"write {fixed}, without quotes")


def parse_choice(value: object, words: Sequence[str]) -> str:
    """One of `words`, exactly."""
    if isinstance(value, str) and value in words:
        return value
    raise ValueProblem(f"{shown(value)} is not possible here", f"write {' or '.join(words)}")


def parse_count(value: object, *, at_most: int) -> int:
    """A whole number from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueProblem(
            f"must be a whole number, not {shown(value)}", "without quotes, dots or leading zeros"
        )
    if not 1 <= value <= at_most:
        raise ValueProblem(f"{value} is too {'small' if value < 1 else 'large'}", f"from 1 to {at_most}")
    return value


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


def parse_forwarding_header(value: object) -> ForwardingHeader:
    """The name of a header, in any case."""
    names = [header.value for header in ForwardingHeader]
    if isinstance(value, str) and value.lower() in names:
        return ForwardingHeader(value.lower())
    raise ValueProblem(f"{shown(value)} is not a header that is read", f"write {' or '.join(names)}")


def parse_duration(value: object, *, at_least: float, at_most: float) -> float:
    """`90s`, `5m`, `12h`, or a whole number of seconds; in seconds, both bounds included."""
    seconds = _seconds(value)
    if not at_least <= seconds <= at_most:
        allowed = f"from {format_duration(at_least)} to {format_duration(at_most)}"
        raise ValueProblem(f"{shown(value)} is too {'short' if seconds < at_least else 'long'}", allowed)
    return seconds


def parse_session_duration(value: object) -> int:
    """SessionExpirationDurationInSeconds, which SageMaker takes from 1800 to 43200."""
    seconds = parse_duration(value, at_least=1800, at_most=43200)
    if seconds != int(seconds):
        raise ValueProblem(f"{shown(value)} is not a whole number of seconds", "from 30m to 12h")
    return int(seconds)


def format_duration(seconds: float) -> str:
    """The shortest spelling that `parse_duration` reads back."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0s"


def format_size(size: int) -> str:
    """The shortest spelling that `parse_size` reads back."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def _seconds(value: object) -> float:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str) and (match := re.fullmatch(DURATION_PATTERN, value)):
        # Rounded, so that 30ms is 0.03 and not 0.03 plus a binary fraction.
        return round(int(match[1]) * _SECONDS[match[2]], 3)
    hint = "write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"
    if isinstance(value, str) and (clock := re.fullmatch(r"(\d+):([0-5]\d)(?::([0-5]\d))?", value)):
        parts = [int(part) for part in clock.groups() if part is not None]
        total = sum(part * 60**power for power, part in enumerate(reversed(parts)))
        hint = f"write {total}s if those are {'hours, ' if len(parts) == 3 else ''}minutes and seconds"
    elif isinstance(value, str) and (compound := re.fullmatch(r"(\d+)h(\d+)m?", value)):
        hint = f"write {int(compound[1]) * 60 + int(compound[2])}m"
    raise ValueProblem(f"{shown(value)} is not a duration", hint)


def parse_size(value: object, *, at_least: int, at_most: int) -> int:
    """`64KiB`, `8MiB`, or a whole number of bytes; in bytes, both bounds included."""
    size = _bytes(value)
    if not at_least <= size <= at_most:
        allowed = f"from {format_size(at_least)} to {format_size(at_most)}"
        raise ValueProblem(f"{shown(value)} is too {'small' if size < at_least else 'large'}", allowed)
    return size


def _bytes(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := re.fullmatch(SIZE_PATTERN, value)):
        return int(match[1]) * _BYTES[match[2]]
    hint = "write a whole number and a unit: 512B, 64KiB, 8MiB, 1GiB"
    if isinstance(value, str) and (other := re.fullmatch(r"(\d+) ?([kKmMgG])i?[bB]?", value)):
        hint = f"write {int(other[1])}{other[2].upper()}iB"
    raise ValueProblem(f"{shown(value)} is not a size", hint)


def parse_bind(value: object) -> SocketAddress:
    """`127.0.0.1:8080` or `[::1]:8080`."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueProblem(
            f"{value} is not an address", f"write 127.0.0.1:{value}, or 0.0.0.0:{value} for all"
        )
    written = text(value, example="127.0.0.1:8080")
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[^\[\]]*)):(?P<port>[0-9]*)", written)
    if match is None:
        hint = f"write {written}:8080" if _is_address(written, 4) else "write 127.0.0.1:8080 or [::1]:8080"
        raise ValueProblem(f"{shown(value)} is not an address and a port", hint)
    host, version = (match["v6"], 6) if match["v6"] is not None else (match["v4"], 4)
    port = match["port"]
    if not _is_address(host, version):
        _refuse_bind_host(written, host, port)
    if not re.fullmatch(r"0|[1-9][0-9]{0,4}", port) or int(port) > 65535:
        raise ValueProblem(f"{shown(port)} is not a port", "ports go from 1 to 65535")
    return SocketAddress(str(ipaddress.ip_address(host)), int(port))


def _refuse_bind_host(written: str, host: str, port: str) -> NoReturn:
    if host in ("", "*"):
        hint = f"write 0.0.0.0:{port} for every IPv4 address, [::]:{port} for every IPv6 address"
    elif host == "localhost":
        hint = f"write 127.0.0.1:{port}"
    elif _is_address(host, 6):
        hint = f"write [{host}]:{port}"
    else:
        hint = "write an IP address of this machine, such as 127.0.0.1 or 0.0.0.0"
    raise ValueProblem(f"{shown(written)} does not begin with an IP address", hint)


def _is_address(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version and "%" not in host
    except ValueError:
        return False


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
        host = urlsplit(name if "://" in name else f"//{name}").hostname or "notebooks.internal"
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


def parse_instance_name(value: object) -> str:
    """The gateway's own name for an instance: a lowercase DNS label, since it appears in URLs."""
    if isinstance(value, str) and re.fullmatch(INSTANCE_NAME_PATTERN, value):
        return value
    hint = "at most 63 lowercase letters, digits and hyphens, neither first nor last a hyphen"
    if isinstance(value, str) and re.fullmatch(
        INSTANCE_NAME_PATTERN, fixed := re.sub(r"[ _.]", "-", value.lower())
    ):
        hint = f"write {fixed}"
    raise ValueProblem(f"{shown(value)} cannot be an instance's name here", hint)


def parse_list_name(value: object) -> str:
    """The name of an allowlist."""
    if isinstance(value, str) and re.fullmatch(LIST_NAME_PATTERN, value):
        return value
    raise ValueProblem(
        f"{shown(value)} cannot be a list's name", "letters, digits, '.', '_' and '-', at most 63"
    )


def parse_reference(value: object) -> str:
    """What is meant as the name of a list; whether there is one is for others to see."""
    if isinstance(value, str) and value:
        return value
    raise ValueProblem(f"must be the name of a list, not {shown(value)}", "such as office")


def parse_notebook(value: object) -> str:
    """NotebookInstanceName, as SageMaker spells it."""
    written = text(value, example="research-gpu-1")
    if written.startswith("arn:"):
        name = written.rpartition("/")[2]
        raise ValueProblem("must be the notebook instance's name, not its ARN", f"write {name}")
    if len(written) > 63 or not re.fullmatch(NOTEBOOK_PATTERN, written):
        hint = "at most 63 letters, digits and hyphens, as the SageMaker console shows it"
        raise ValueProblem(f"{shown(written)} cannot be a notebook instance's name", hint)
    return written


def parse_region(value: object) -> str:
    """A Region's code, such as eu-west-1."""
    written = text(value, example="eu-west-1")
    if re.fullmatch(REGION_PATTERN, written):
        return written
    # An availability zone, or capitals.
    guesses = (guess for guess in (written[:-1], written.lower()) if re.fullmatch(REGION_PATTERN, guess))
    guess = next(guesses, None)
    hint = f"write {guess}" if guess else "such as eu-west-1"
    raise ValueProblem(f"{shown(written)} is not the code of an AWS Region", hint)


def parse_role(value: object) -> str:
    """The ARN of an IAM role."""
    written = text(value, example="arn:aws:iam::123456789012:role/nbgate")
    if re.fullmatch(ROLE_PATTERN, written):
        return written
    raise ValueProblem(
        f"{shown(written)} is not the ARN of a role", "such as arn:aws:iam::123456789012:role/nbgate"
    )


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


def is_loopback(origin: str) -> bool:
    """Whether a URL names this machine by a loopback address or as localhost."""
    host = urlsplit(origin).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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


def parse_mount(value: object) -> Mount:
    """`root`, or a mapping with exactly one of `host`, `port` and `path`."""
    hint = "write root, or one of {host: research.notebooks.internal}, {port: 8444}, {path: /research/}"
    if value == "root":
        return Mount.root()
    if not isinstance(value, dict):
        if isinstance(value, str) and value.startswith("/"):
            hint = f"write {{path: {value}}}"
        elif isinstance(value, int) and not isinstance(value, bool):
            hint = f"write {{port: {value}}}"
        elif isinstance(value, str) and "." in value:
            hint = f"write {{host: {value}}}"
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


def _path_mount(path: str) -> Mount:
    if not path.startswith("/"):
        raise ValueProblem(f"{shown(path)} does not begin with a slash", f"write /{path.strip('/')}/")
    if path.strip("/") == "":
        raise ValueProblem("the path of a mount is more than a slash", "write mount: root for the whole host")
    try:
        return Mount.at_path(path)
    except ValueError as error:
        raise ValueProblem(str(error), "choose another path, such as /research/") from error
