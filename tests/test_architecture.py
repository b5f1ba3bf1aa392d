"""The house stands as it is drawn: floors, doors, sizes, circles, names, and tests beside what they test.

The rules stand in `tests/architecture/`, as data and plain functions. Here they are applied to the house, and then
to what breaks each of them, to show that they can fail.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Mapping

import pytest

from tests.architecture import house
from tests.architecture.floors import floor_of, unit_of, violations
from tests.architecture.tree import KNOWN, PACKAGE, ROOT, SOURCES, imports

TEXTS = {module: path.read_text("utf-8") for module, path in SOURCES.items()}


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_downwards_and_through_the_right_doors(module: str) -> None:
    assert violations(module, TEXTS[module], KNOWN) == []


def test_every_module_stands_on_a_floor() -> None:
    units = {unit_of(module) for module in SOURCES} - {""}
    assert {unit for unit in units if floor_of(unit) is None} == set()


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_opens_with_what_it_is_for(module: str) -> None:
    tree = ast.parse(TEXTS[module])
    assert not tree.body or ast.get_docstring(tree)


def test_the_package_itself_imports_nothing_so_that_everybody_may_import_it() -> None:
    assert list(imports(TEXTS["proxy"], KNOWN)) == []


def test_no_module_is_longer_than_one_idea_needs() -> None:
    assert list(house.sizes(TEXTS)) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert list(house.circles(TEXTS)) == []


def test_one_name_is_one_thing() -> None:
    assert list(house.doubles(TEXTS)) == []


def test_constructors_of_many_arguments_say_what_each_is() -> None:
    assert list(house.nameless_arguments(TEXTS)) == []


def test_names_say_what_they_mean_to_somebody_who_is_new() -> None:
    assert list(house.obscure(TEXTS)) == []


def test_nothing_leans_on_the_insides_of_aiohttp() -> None:
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8", "replace")
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert list(house.foreign_insides(texts)) == []


def test_nothing_asks_for_what_is_private_to_another_module() -> None:
    assert list(house.private_names(TEXTS)) == []


def test_tests_go_by_what_can_be_seen_from_outside() -> None:
    tests = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")
    }
    assert list(house.private_names_in_tests(tests)) == []


def test_no_version_of_aiohttp_is_too_new() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert list(house.aiohttp_bounds(project["dependencies"])) == []


def test_tests_mirror_the_house() -> None:
    tests = ROOT / "tests"
    modules = [path.relative_to(tests).as_posix() for path in tests.rglob("*.py")]
    packages = [path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("*/**/__init__.py")]
    assert list(house.mirror(modules, packages)) == []


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
    ("proxy.lifecycle.idle_stopper", "from proxy.server.operations.fleet import Fleet", "runs upwards"),
    ("proxy.dataplane.websocket.relay", "from proxy.server.run import serve", "never the other way round"),
    ("proxy.dataplane.plane", "from proxy.aws.keeper import SessionKeeper", "through a port of its own"),
    (
        "proxy.dataplane.answer.forward",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from proxy.aws.sessions import UpstreamSession",
        "through a port of its own",
    ),
    ("proxy.dataplane.notebook.pool", "def f():\n    import proxy.aws.dial", "through a port of its own"),
    ("proxy.upstream", "from proxy.aws.sessions import UpstreamSession", "runs upwards"),
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


LINES = {count: "x = 1\n" * count for count in (220, 221, 400, 401, 500, 501)}


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ({"proxy.aws.keeper": LINES[500]}, None),
        ({"proxy.aws.keeper": LINES[501]}, "proxy.aws.keeper has 501 lines, and 500 is the most"),
        ({"proxy.dataplane.plane": LINES[400]}, None),
        ({"proxy.dataplane.plane": LINES[401]}, "proxy.dataplane.plane has 401 lines, and 400 is the most"),
        ({"proxy.gateway": LINES[220]}, None),
        ({"proxy.gateway": LINES[221]}, "proxy.gateway has 221 lines, and 220 is the most"),
        ({"proxy.errors": LINES[501]}, None),
        ({"proxy.errors": LINES[500]}, "proxy.errors is no longer long"),
        ({"proxy.dataplane.caller.reader": LINES[501]}, "400 is the most"),
    ],
)
def test_a_module_that_grew_is_found(sources: Mapping[str, str], problem: str | None) -> None:
    long = {
        module: "a reason"
        for module in sources
        if module in ("proxy.errors", "proxy.dataplane.caller.reader")
    }
    only(house.sizes(sources, long), problem)


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ({"proxy.a": "import proxy.b", "proxy.b": "import proxy.c", "proxy.c": ""}, None),
        (
            {"proxy.a": "import proxy.b", "proxy.b": "from proxy.a import X"},
            "proxy.a -> proxy.b, proxy.b -> proxy.a",
        ),
        ({"proxy.a": "from proxy import b", "proxy.b": "def f():\n    import proxy.a"}, "proxy.b -> proxy.a"),
        (
            {
                "proxy.p.a": "from proxy.p.b import B",
                "proxy.p.b": "from proxy.p.c import C",
                "proxy.p.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from proxy.p.a import A",
                "proxy.p.d": "import proxy.p.a",
            },
            "proxy.p.a -> proxy.p.b, proxy.p.b -> proxy.p.c, proxy.p.c -> proxy.p.a",
        ),
    ],
)
def test_a_circle_is_found(sources: Mapping[str, str], problem: str | None) -> None:
    only(house.circles(sources), problem)


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ({"proxy.a": "class Visit: ...", "proxy.b": "class Visitor: ..."}, None),
        (
            {"proxy.a": "class Visit: ...", "proxy.b": "class Visit: ..."},
            "Visit is defined in proxy.a and in proxy.b",
        ),
        ({"proxy.a": "class _Met: ...", "proxy.b": "def f():\n    class _Met: ..."}, "_Met is defined in"),
        ({"proxy.a": "class Path: ...", "proxy.b": "Path = tuple[str, ...]"}, "Path is defined in"),
        ({"proxy.a": "Tell = int", "proxy.b": "Tell: TypeAlias = str"}, "Tell is defined in"),
        ({"proxy.a": "LIMIT = 1\n_Key = int", "proxy.b": "LIMIT = 2\n_Key = str"}, None),
        ({"proxy.a": "class Twice: ...", "proxy.b": "class Twice: ..."}, None),
        ({"proxy.a": "class Twice: ..."}, "Twice is one thing"),
    ],
)
def test_a_name_that_means_two_things_is_found(sources: Mapping[str, str], problem: str | None) -> None:
    reasons = {"Twice": "a reason"} if "Twice" in sources["proxy.a"] else {}
    only(house.doubles(sources, reasons), problem)


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ({"proxy.a": "class SharedTask:\n    told_at: float\ndef f(x):\n    told = 1"}, None),
        ({"proxy.flights": ""}, "proxy.flights:1: flights: who is new here does not know 'flight'"),
        ({"proxy.a": "class Outbox: ..."}, "proxy.a:1: Outbox:"),
        ({"proxy.a": "\ndef in_doubt(): ..."}, "proxy.a:2: in_doubt:"),
        ({"proxy.a": "def f(sight): ..."}, "proxy.a:1: sight:"),
        ({"proxy.a": "def f(x):\n    x.halted = 1"}, "proxy.a:2: halted:"),
        ({"proxy.a": "class C:\n    shelf: int"}, "proxy.a:2: shelf:"),
        ({"proxy.a": "def told(): ..."}, "proxy.a:1: told:"),
        ({"proxy.a": "def told_by(): ..."}, "proxy.a:1: told_by:"),
        ({"proxy.a": "class C:\n    told: bool"}, None),
        ({"proxy.a": "def f():\n    doubts = 1"}, "proxy.a:2: doubts:"),
    ],
)
def test_a_name_that_must_be_explained_is_found(sources: Mapping[str, str], problem: str | None) -> None:
    only(house.obscure(sources), problem)


DATACLASS = "@dataclass(frozen=True)\nclass Thing:\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("class Thing:\n def __init__(self, a, b, c, d): ...", None),
        ("class Thing:\n def __init__(self, a, b, *, c, d, e): ...", None),
        (
            "class Thing:\n def __init__(self, a, b, c, *, d, e): ...",
            "proxy.a:1: Thing takes 5 arguments, 3 of them",
        ),
        ("class Thing:\n def __init__(self, a, b, c, d, e): ...", "proxy.a:1: Thing takes 5"),
        (f"{DATACLASS} a: int\n b: int\n c: int\n d: int", None),
        (f"{DATACLASS} a: int\n b: int\n c: int\n d: int\n e: int", "proxy.a:2: Thing takes 5"),
        (f"{DATACLASS} a: int\n b: int\n _: KW_ONLY\n c: int\n d: int\n e: int", None),
        (f"{DATACLASS} a: int\n b: int\n c: int\n d: int\n e: int = field(init=False)", None),
        (
            f"{DATACLASS.replace('True', 'True, kw_only=True')} a: int\n b: int\n c: int\n d: int\n e: int",
            None,
        ),
        ("class Thing: ...", None),
    ],
)
def test_a_constructor_whose_arguments_have_no_names_is_found(text: str, problem: str | None) -> None:
    only(house.nameless_arguments({"proxy.a": text}, {}), problem)


def test_an_excuse_for_them_that_nothing_needs_is_found() -> None:
    many = "class Thing:\n def __init__(self, a, b, c, d, e): ..."
    only(house.nameless_arguments({"proxy.a": many}, {"Thing": "a reason"}), None)
    only(house.nameless_arguments({"proxy.a": ""}, {"Thing": "a reason"}), "Thing needs no excuse")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("from aiohttp import web\nclass RequestHead: ...", None),
        (
            "from aiohttp import web\nfrom aiohttp.web_protocol import RequestHandler",
            "proxy/x.py:2: RequestHandler",
        ),
        ("import aiohttp.http_parser", "proxy/x.py:1: http_parser"),
    ],
)
def test_leaning_on_the_insides_of_aiohttp_is_found(text: str, problem: str | None) -> None:
    only(house.foreign_insides({"proxy/x.py": text}), problem)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("class C:\n    def __init__(self, other):\n        self._x = other._x\n        self.__dict__", None),
        ("def _f(): ...\nx = module._f(record._replace(a=1))", None),
        ("from aiohttp.web import _helper", "proxy.a:1: _helper is private"),
        ("def f(request):\n    request._payload.feed_eof()", "proxy.a:2: _payload is private"),
        (
            "class C(BaseConnector):\n    def f(self):\n        return self._factory()",
            "proxy.a:3: _factory is private",
        ),
    ],
)
def test_a_private_name_of_others_is_found(source: str, problem: str | None) -> None:
    only(house.private_names({"proxy.a": source}, needed={}), problem)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("relay._judge()", "_judge is private"),
        ("plane._own_pages = pages", "_own_pages is private"),
        ("class A:\n    def __init__(self): self._kept = 1\n    def kept(self): return A()._kept", None),
        ("from proxy.wire.heads import _LINES", "_LINES is private"),
        ("monkeypatch.setattr(sink, '_lost', 3)", "_lost is private"),
        ("monkeypatch.setattr('proxy.aws.client._make', fail)", "_make is private"),
        ("getattr(sink, 'lost')", None),
        ("record._replace(status=1)", None),
        ("answer.__dict__", None),
    ],
)
def test_a_private_name_in_a_test_is_found(source: str, problem: str | None) -> None:
    only(house.private_names_in_tests({"tests/test_a.py": source}, needed={}), problem)


def test_a_test_that_needs_a_private_name_no_more_is_found() -> None:
    only(house.private_names_in_tests({"a": "pass"}, needed={"a": "once"}), "uses no private names any more")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("aiohttp>=3.14.4", False),
        ("aiohttp", True),
        ("aiohttp>=3.14", True),
        ("aiohttp>=3.14.4,<3.15", True),
        ("aiohttp~=3.14.4", True),
        ("aiohttp-something>=1", True),
    ],
)
def test_a_bound_on_aiohttp_is_found(wanted: str, found: bool) -> None:
    assert bool(list(house.aiohttp_bounds(["boto3>=1.35", wanted]))) is found


PACKAGES = ("aws", "server", "server/pages")
TESTS = ("aws/test_a.py", "server/test_s.py", "server/pages/test_p.py", "test_errors.py", "threats/test_t.py")


@pytest.mark.parametrize(
    ("tests", "packages", "problem"),
    [
        (TESTS, PACKAGES, None),
        ((*TESTS, "servers/test_x.py"), PACKAGES, "tests/servers/test_x.py stands beside no package"),
        ((*TESTS, "server/page/fakes.py"), PACKAGES, "tests/server/page/fakes.py stands beside no package"),
        (TESTS, (*PACKAGES, "server/api"), "proxy/server/api has no tests of its own"),
        ((*TESTS, "server/api/fakes.py"), (*PACKAGES, "server/api"), "tests/server/api has no test_….py"),
        ((*TESTS, "aws/test_x.py", "wire/test_x.py"), (*PACKAGES, "wire"), "wire/test_x.py has the name of"),
    ],
)
def test_tests_that_stand_elsewhere_are_found(
    tests: tuple[str, ...], packages: tuple[str, ...], problem: str | None
) -> None:
    only(house.mirror(tests, packages, untested={}), problem)


def test_an_excuse_that_nothing_needs_is_found() -> None:
    only(house.mirror(TESTS, PACKAGES, untested={"aws": "a reason"}), "proxy/aws needs no excuse")


def only(found: Iterable[str], problem: str | None) -> None:
    """One problem was found, which names this; or none."""
    problems = list(found)
    assert len(problems) == (problem is not None), problems
    assert problem is None or problem in problems[0]
