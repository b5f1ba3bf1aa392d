"""The floors of the house: imports run downwards only, and each outside system has one door.

The rules are data; `violations` holds the imports of one module against them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.architecture.tree import Import, imports


@dataclass(frozen=True)
class Floor:
    """Units (top-level modules and packages of `proxy`) of one height. `siblings`: may they import each
    other?
    """

    height: float
    units: frozenset[str]
    siblings: frozenset[tuple[str, str]] | bool
    sees: frozenset[str] | None = None
    """The units below that it may import; None: all of them."""
    why: str = ""


F0 = frozenset(
    {"errors", "instance_status", "memory", "policy", "client_address", "routing", "wire", "upstream"}
)
GIVEN = frozenset({"clock", "chance", "tasks", "faults", "signals", "threads"})

FLOORS = (
    Floor(0, F0, siblings=True),
    Floor(
        0.5, GIVEN, siblings=False, sees=frozenset(), why="time, chance and tasks build on nothing of ours"
    ),
    Floor(
        0.6,
        frozenset({"rounds", "shared_fetch", "websocket_messages"}),
        siblings=False,
        sees=GIVEN | {"errors"},
        why="loops, what many wait for, and messages that are carried are made of time, tasks and faults",
    ),
    Floor(
        1,
        frozenset({"config", "aws", "identity", "telemetry"}),
        siblings=False,
        why="one outside system per package, each understandable without the others",
    ),
    Floor(
        1.9,
        frozenset({"admission"}),
        siblings=False,
        sees=F0,
        why="what the gateway's page is made of is pure, and the page alone puts it in order",
    ),
    Floor(
        2,
        frozenset({"gateway"}),
        siblings=False,
        sees=F0 | GIVEN | {"admission"},
        why="the gateway decides without I/O and sees the systems of F1 through Protocols of its own",
    ),
    Floor(
        2,
        frozenset({"lifecycle"}),
        siblings=False,
        sees=F0 | GIVEN,
        why="whether an instance is used is judged without I/O, and asked through Protocols of its own",
    ),
    Floor(
        3,
        frozenset({"dataplane"}),
        siblings=False,
        sees=F0 | GIVEN | frozenset({"config", "telemetry", "admission", "gateway", "lifecycle"}),
        why="the server is composed of the data plane, never the other way round, and sessions reach it through a port "
        "of its own (proxy.dataplane.sessions), whoever obtains them",
    ),
    Floor(3, frozenset({"server"}), siblings=False),
    Floor(
        4,
        frozenset({"sandbox"}),
        siblings=False,
        sees=GIVEN | {"websocket_messages"},
        why="the sandbox is a test double: it speaks to nbgate over sockets alone",
    ),
    Floor(
        3.5,
        frozenset({"commands"}),
        siblings=False,
        why="what a command prints is found by the parts that serve; these never ask a command",
    ),
    Floor(5, frozenset({"cli"}), siblings=False),
    Floor(6, frozenset({"__main__"}), siblings=False, sees=frozenset({"cli", "signals"})),
)

# fmt: off
PURE_STDLIB = frozenset({
    "__future__", "abc", "array", "base64", "binascii", "bisect", "codecs", "collections", "contextlib",
    "copy", "dataclasses", "datetime", "enum", "functools", "hashlib", "heapq", "hmac", "html",
    "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct", "textwrap",
    "types", "typing", "unicodedata", "urllib", "zlib",
})
# fmt: on
PURE_SOCKET_NAMES = frozenset({"AF_INET", "AF_INET6", "inet_aton", "inet_ntoa", "inet_ntop", "inet_pton"})
PURE_THIRD_PARTY = frozenset({"multidict", "yarl"})


@dataclass(frozen=True)
class Door:
    """Who may import a foreign package, and why nobody else."""

    prefixes: tuple[str, ...]
    why: str


DOORS: Mapping[str, Door] = {
    "pydantic": Door(
        ("proxy.config.scalars", "proxy.config.sections", "proxy.config.schema"),
        "what a file says is checked as it is read; settings are plain data beyond the schema",
    ),
    "pydantic_core": Door(
        ("proxy.config.scalars", "proxy.config.sections", "proxy.config.schema"),
        "what a file says is checked as it is read; settings are plain data beyond the schema",
    ),
    "yaml": Door(("proxy.config", "proxy.sandbox"), "one strict reader, with line numbers"),
    "boto3": Door(("proxy.aws",), "the control plane is a port; its clients never meet botocore"),
    "botocore": Door(
        ("proxy.aws", "proxy.identity.sigv4"),
        "the control plane is a port; its errors are translated at the border. Signatures are made canonical by the "
        "code that made them",
    ),
    "cachetools": Door(("proxy.aws",), "what is remembered of AWS is remembered there"),
    "structlog": Door(("proxy.telemetry",), "events pass one chain that takes credentials out"),
    "logging": Door(
        ("proxy.telemetry", "proxy.sandbox", "proxy.aws.sagemaker"),
        "events pass one chain that takes credentials out",
    ),
    "jinja2": Door(("proxy.server", "proxy.sandbox"), "pages are the server's"),
    "prometheus_client": Door(
        ("proxy.server.operations.metrics",),
        "who never asks for metrics pays neither its start-up time nor its memory",
    ),
    "httptools": Door(
        (), "heads of responses are read strictly by proxy.wire.heads; llhttp is what tests compare it with"
    ),
    "click": Door(("proxy.cli", "proxy.sandbox.__main__"), "the command line is the outermost layer"),
    "aiohttp.web": Door(
        ("proxy.dataplane", "proxy.server", "proxy.sandbox"),
        "F3 alone serves HTTP; below it nobody knows who asks",
    ),
    "aiohttp": Door(
        (
            *(
                "proxy.dataplane",
                "proxy.server",
                "proxy.commands",
                "proxy.sandbox",
                "proxy.aws",
                "proxy.identity",
            ),
            "proxy.websocket_messages",
        ),
        "deciding, configuring and logging know no HTTP library",
    ),
}


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def doors(used: Import) -> Iterator[tuple[str, Door]]:
    """The doors that an import goes through; aiohttp spreads `aiohttp.web` over `aiohttp.web_…` modules."""
    if used.module.startswith("aiohttp.web") or (used.module == "aiohttp" and "web" in used.names):
        yield "aiohttp.web", DOORS["aiohttp.web"]
    top = used.module.split(".")[0]
    if top in DOORS:
        yield used.module, DOORS[top]


def floor_of(unit: str) -> Floor | None:
    return next((floor for floor in FLOORS if unit in floor.units), None)


def unit_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def ours(module: str, used: Import) -> str | None:
    """What is wrong with importing another module of `proxy`, if anything."""
    here, there = unit_of(module), unit_of(used.module)
    if here == there or not there:
        return None
    floor, target = floor_of(here), floor_of(there)
    if target is None:
        return f"proxy.{there} stands on no floor: add it to FLOORS"
    if floor is None:
        return f"proxy.{here} stands on no floor: add it to FLOORS"
    if target.height > floor.height:
        return (
            f"imports {used.module}, which runs upwards (F{target.height:g} from F{floor.height:g}): "
            "imports run downwards only"
        )
    if target is floor:
        allowed = floor.siblings is True or (floor.siblings and (here, there) in floor.siblings)
        return (
            None if allowed else f"imports {used.module}, which runs sideways within its floor: {floor.why}"
        )
    if floor.sees is not None and there not in floor.sees:
        return f"imports {used.module}: {floor.why}"
    return None


def foreign(module: str, used: Import) -> str | None:
    """What is wrong with importing something that is not ours, if anything."""
    top = used.module.split(".")[0]
    unit = unit_of(module)
    if used.module == "<computed>":
        return "imports a module by a computed name, which this test cannot see"
    if unit in F0:
        if top == "socket":
            if used.names and set(used.names) <= PURE_SOCKET_NAMES:
                return None
            return "imports socket: F0 does no I/O (the conversions of addresses are fine, by name)"
        if top in sys.stdlib_module_names and top not in PURE_STDLIB:
            return f"imports {used.module}: F0 is pure, with no I/O, event loop, clock, chance or logging"
        if top not in sys.stdlib_module_names and top not in PURE_THIRD_PARTY:
            return f"imports {used.module}: F0 may import the standard library, multidict and yarl only"
    if unit in GIVEN and top not in sys.stdlib_module_names:
        return f"imports {used.module}: time, chance and tasks need the standard library only"
    for through, door in doors(used):
        if not any(within(module, prefix) for prefix in door.prefixes):
            return f"imports {through}, which only {', '.join(door.prefixes)} may: {door.why}"
    return None


def violations(module: str, source: str, known: frozenset[str]) -> list[str]:
    """Every import of `module` that breaks a rule, with the line and the reason."""
    found = []
    for used in imports(source, known):
        if used.module.startswith("."):
            problem: str | None = "imports relatively: write where it stands, so that moving a file shows"
        elif used.module == "proxy" or used.module.startswith("proxy."):
            problem = ours(module, used)
        else:
            problem = foreign(module, used)
        if problem:
            found.append(f"{module}:{used.line}: {problem}")
    return found
