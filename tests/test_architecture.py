"""The floors of the house hold: imports run downwards only, and each outside system has one door.

The rules are data below; `violations` reads a module's imports with `ast`, those inside functions and
behind `TYPE_CHECKING` included, since a name that is needed to understand a module is a dependency of it.
The second half feeds it modules that break each rule, to show that the first half could fail.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "proxy"


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


F0 = frozenset({"errors", "memory", "policy", "client_address", "routing", "wire"})
GIVEN = frozenset({"clock", "chance", "tasks", "faults", "signals", "threads"})

FLOORS = (
    Floor(0, F0, siblings=True),
    Floor(
        0.5, GIVEN, siblings=False, sees=frozenset(), why="time, chance and tasks build on nothing of ours"
    ),
    Floor(
        0.6,
        frozenset({"rounds", "flights"}),
        siblings=False,
        sees=GIVEN,
        why="loops, and what many wait for, are made of time, tasks and faults",
    ),
    Floor(
        1,
        frozenset({"config", "aws", "identity", "telemetry"}),
        siblings=False,
        why="one outside system per package, each understandable without the others",
    ),
    Floor(
        2,
        frozenset({"gateway"}),
        siblings=False,
        sees=F0 | GIVEN,
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
        frozenset({"dataplane", "server"}),
        siblings=frozenset({("server", "dataplane")}),
        why="the server is composed of the data plane, never the other way round",
    ),
    Floor(
        4,
        frozenset({"sandbox"}),
        siblings=False,
        sees=GIVEN,
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
        ("proxy.config.schema", "proxy.config.load"), "settings are plain data beyond the schema"
    ),
    "pydantic_core": Door(
        ("proxy.config.schema", "proxy.config.load"), "settings are plain data beyond the schema"
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
        ("proxy.dataplane", "proxy.server", "proxy.commands", "proxy.sandbox", "proxy.aws", "proxy.identity"),
        "deciding, configuring and logging know no HTTP library",
    ),
}


@dataclass(frozen=True)
class Import:
    """One imported module, and the names taken from it."""

    line: int
    module: str
    names: tuple[str, ...] = ()


def imports(source: str, known: frozenset[str]) -> Iterator[Import]:
    """Every import of a module, wherever it stands. `from proxy import clock` counts as `proxy.clock`."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = tuple(alias.name for alias in node.names)
            submodules = [name for name in names if f"{module}.{name}" in known]
            yield from (Import(node.lineno, f"{module}.{name}") for name in submodules)
            if rest := tuple(name for name in names if name not in submodules):
                yield Import(node.lineno, module, rest)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            # `import aiohttp` and then `aiohttp.web.…`
            if f"{node.value.id}.{node.attr}" == "aiohttp.web":
                yield Import(node.lineno, "aiohttp.web")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("__import__", "importlib.import_module", "import_module"):
                yield Import(node.lineno, "<computed>")


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


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
KNOWN = frozenset(SOURCES)


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_downwards_and_through_the_right_doors(module: str) -> None:
    assert violations(module, SOURCES[module].read_text("utf-8"), KNOWN) == []


def test_every_module_stands_on_a_floor() -> None:
    units = {unit_of(module) for module in SOURCES} - {""}
    assert {unit for unit in units if floor_of(unit) is None} == set()


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_opens_with_what_it_is_for(module: str) -> None:
    tree = ast.parse(SOURCES[module].read_text("utf-8"))
    assert not tree.body or ast.get_docstring(tree)


def test_the_package_itself_imports_nothing_so_that_everybody_may_import_it() -> None:
    assert list(imports(SOURCES["proxy"].read_text("utf-8"), KNOWN)) == []


# Shown to fail: each rule, broken on purpose.

BREAKS = [
    ("proxy.policy.evaluate", "import asyncio", "F0 is pure"),
    ("proxy.policy.evaluate", "import logging", "F0 is pure"),
    ("proxy.policy.evaluate", "from time import monotonic", "F0 is pure"),
    ("proxy.errors", "import random", "F0 is pure"),
    ("proxy.routing.router", "import os.path", "F0 is pure"),
    ("proxy.wire.body", "import socketserver", "F0 is pure"),
    ("proxy.wire.body", "import http.server", "F0 is pure"),
    ("proxy.client_address.networks", "import socket", "F0 does no I/O"),
    ("proxy.client_address.networks", "from socket import create_connection", "F0 does no I/O"),
    ("proxy.wire.frames", "import aiohttp", "multidict and yarl only"),
    ("proxy.wire.frames", "import structlog", "multidict and yarl only"),
    ("proxy.policy.evaluate", "from proxy.clock import Clock", "runs upwards (F0.5 from F0)"),
    ("proxy.policy.evaluate", "def f():\n    from proxy.clock import Clock", "runs upwards"),
    (
        "proxy.policy.evaluate",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from proxy import clock",
        "runs upwards",
    ),
    ("proxy.clock", "from proxy.errors import NbgateError", "build on nothing of ours"),
    ("proxy.tasks", "from proxy import clock", "sideways"),
    ("proxy.tasks", "import uvloop", "the standard library only"),
    ("proxy.aws.keeper", "from proxy.config.settings import Aws", "sideways within its floor"),
    ("proxy.aws.keeper", "import proxy.telemetry.events", "sideways within its floor"),
    ("proxy.config.load", "from proxy import telemetry", "sideways within its floor"),
    ("proxy.telemetry.audit", "from proxy.gateway import Inbound", "runs upwards (F2 from F1)"),
    ("proxy.gateway", "from proxy.aws.keeper import SessionKeeper", "through Protocols"),
    ("proxy.gateway", "from proxy.dataplane.websocket.relay import Relay", "runs upwards"),
    ("proxy.lifecycle.judge", "from proxy.config.settings import Instance", "asked through Protocols"),
    ("proxy.lifecycle.judge", "from proxy.gateway import Gateway", "asked through Protocols"),
    ("proxy.lifecycle.lifecycle", "from proxy.server.operations.fleet import Fleet", "runs upwards"),
    ("proxy.dataplane.websocket.relay", "from proxy.server.run import serve", "never the other way round"),
    ("proxy.server.run", "from proxy.sandbox.sandbox import Sandbox", "runs upwards (F4 from F3)"),
    ("proxy.sandbox.demo", "from proxy.server.run import serve", "over sockets alone"),
    ("proxy.sandbox.demo", "from proxy.cli import main", "runs upwards"),
    ("proxy.__main__", "from proxy.server.run import serve", "imports proxy.server.run"),
    ("proxy.novelty", "from proxy.errors import NbgateError", "stands on no floor"),
    ("proxy.server.run", "from proxy.novelty import thing", "stands on no floor"),
    ("proxy.server.run", "from .compose import compose", "imports relatively"),
    ("proxy.server.run", "from . import compose", "imports relatively"),
    ("proxy.config.settings", "from pydantic import BaseModel", "beyond the schema"),
    ("proxy.config.settings", "import pydantic_core.core_schema", "beyond the schema"),
    ("proxy.server.run", "def f():\n    import pydantic", "beyond the schema"),
    ("proxy.server.run", "import botocore.exceptions", "only proxy.aws, proxy.identity.sigv4 may"),
    ("proxy.identity.tokens", "import botocore.auth", "only proxy.aws, proxy.identity.sigv4 may"),
    ("proxy.server.run", "import structlog", "only proxy.telemetry may"),
    ("proxy.dataplane.notebook.pool", "import logging", "takes credentials out"),
    ("proxy.server.run", "from prometheus_client import Counter", "only proxy.server.operations.metrics may"),
    ("proxy.aws.exchange", "from aiohttp import web", "F3 alone serves HTTP"),
    ("proxy.aws.exchange", "import aiohttp.web", "F3 alone serves HTTP"),
    ("proxy.aws.exchange", "from aiohttp.web import Request", "F3 alone serves HTTP"),
    ("proxy.aws.exchange", "from aiohttp.web_request import Request", "F3 alone serves HTTP"),
    ("proxy.aws.exchange", "import aiohttp\nx = aiohttp.web.Request", "F3 alone serves HTTP"),
    ("proxy.gateway", "import aiohttp", "know no HTTP library"),
    ("proxy.telemetry.events", "from aiohttp.abc import AbstractAccessLogger", "know no HTTP library"),
    ("proxy.aws.keeper", "import importlib\nimportlib.import_module('proxy.config')", "computed name"),
    ("proxy.aws.keeper", "__import__('proxy.config')", "computed name"),
]

ALLOWED = [
    ("proxy.policy.evaluate", "from proxy.client_address.networks import NetworkSet\nimport re"),
    ("proxy.client_address.networks", "from socket import AF_INET, inet_pton"),
    ("proxy.wire.fields", "from multidict import CIMultiDict\nfrom yarl import URL"),
    ("proxy.config.load", "from proxy.routing.mounts import Mount\nfrom proxy.config import schema"),
    ("proxy.config.schema", "from pydantic import BaseModel"),
    ("proxy.aws.keeper", "from proxy.clock import Clock\nfrom proxy.errors import Throttled"),
    ("proxy.aws.exchange", "import aiohttp\nfrom aiohttp import ClientSession"),
    ("proxy.gateway", "from proxy.policy.evaluate import evaluate"),
    (
        "proxy.dataplane.websocket.relay",
        "from proxy.gateway import Gateway\nfrom aiohttp import web\nimport asyncio",
    ),
    ("proxy.server.run", "from proxy.dataplane.websocket.relay import Relay\nfrom proxy import __version__"),
    ("proxy.sandbox.demo", "from proxy.clock import SystemClock\nfrom aiohttp import web"),
    ("proxy.cli", "import click\ndef f():\n    from proxy.sandbox.demo import run"),
    ("proxy.__main__", "from proxy.cli import main"),
]


@pytest.mark.parametrize(("module", "source", "reason"), BREAKS)
def test_a_broken_rule_is_found_and_its_reason_named(module: str, source: str, reason: str) -> None:
    found = violations(module, source, KNOWN)
    assert len(found) >= 1, "nothing was found"
    assert any(reason in problem for problem in found), found
    assert found[0].startswith(f"{module}:")


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_the_rules_allow_is_not_found(module: str, source: str) -> None:
    assert violations(module, source, KNOWN) == []
