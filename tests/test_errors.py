"""The error tree: what each error answers with, and that its docstring's picture of it is the tree that there is."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import proxy
from proxy import errors
from proxy.errors import (
    BadRequest,
    ConfigError,
    ConnectTimeout,
    InstanceNotInService,
    NbgateError,
    PlatformRetired,
    Problem,
    Throttled,
)


def tree(kind: type[NbgateError], depth: int = 0) -> Iterator[tuple[int, type[NbgateError]]]:
    """A class and those below it, as this module defines them, with their depth."""
    yield depth, kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


KINDS = [kind for _, kind in tree(NbgateError) if kind is not NbgateError]
LEAVES = [kind for kind in KINDS if not kind.__subclasses__() and kind is not ConfigError]


def test_the_docstring_draws_the_tree_that_there_is() -> None:
    drawn = set()
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ├└─]*)([A-Z]\w+)(?:  |$)", line):
            depth = len(found[1]) // 4
            status = re.search(r" ([45]\d\d)( |$)", line)
            parents[depth:] = [found[2]]
            drawn.add((found[2], parents[depth - 1] if depth else "", int(status[1]) if status else None))
    assert {(name, parent) for name, parent, _ in drawn} == {("NbgateError", "")} | {
        (kind.__name__, kind.__mro__[1].__name__) for kind in KINDS
    }
    for name, _, number in drawn:
        if number is not None:
            assert getattr(errors, name).status == number


def exceptions(base: type[BaseException] = BaseException) -> Iterator[type[BaseException]]:
    for child in base.__subclasses__():
        yield child
        yield from exceptions(child)


def test_the_docstring_names_all_that_stand_outside_the_tree() -> None:
    for module in pkgutil.walk_packages(proxy.__path__, "proxy."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    outside = {
        (kind.__module__.split(".")[1], kind.__name__)
        for kind in exceptions()
        if kind.__module__.startswith("proxy.")
        and not issubclass(kind, NbgateError)
        and kind.__name__[0] != "_"
    }
    named = set()
    package = ""
    for line in (errors.__doc__ or "").partition("By package:")[2].splitlines():
        if found := re.match(r"    ([a-z_]*) +(.*)", line):
            package = found[1] or package
            named |= {
                (package, name)
                for name in re.findall(r"\b[A-Z][a-z]\w*[A-Z]\w*", found[2].partition(", an ")[0])
            }
    assert named == outside


def test_nobody_raises_the_base() -> None:
    for module in (path for path in Path(proxy.__file__).parent.rglob("*.py")):
        assert "NbgateError()" not in module.read_text("utf-8"), module


def test_every_error_that_is_answered_has_its_status_drawn() -> None:
    for kind in LEAVES:
        assert re.search(rf"{kind.__name__} +{kind.status}\b", errors.__doc__ or ""), kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_is_in_words_of_its_own(kind: type[NbgateError]) -> None:
    assert kind.__doc__
    assert 400 <= kind.status < 600
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", kind.code)
    assert kind.title
    assert kind.default_message.endswith(".")


def test_a_retired_platform_is_named_where_it_is_known() -> None:
    assert "notebook-al2-v1" in PlatformRetired(platform="notebook-al2-v1").message
    assert PlatformRetired("Other words.", platform="notebook-al2-v1").message == "Other words."


def test_codes_tell_errors_apart() -> None:
    codes = [kind.code for kind in LEAVES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not ConfigError])
def test_the_public_message_has_a_default_and_holds_no_detail(kind: type[NbgateError]) -> None:
    error = kind(detail="AKIAEXAMPLE may not")
    assert error.message == str(error) == kind.default_message
    assert error.detail == "AKIAEXAMPLE may not"
    assert error.retry_after_seconds is None
    assert kind("Other words.").message == "Other words."


@pytest.mark.parametrize("kind", [kind for kind in LEAVES if kind is not InstanceNotInService])
def test_what_passes_by_itself_is_503_and_says_when_to_ask_again(kind: type[NbgateError]) -> None:
    """An instance's state says when, or that only a person can help."""
    assert (kind.status == 503) is (kind.passes_in_seconds > 0)
    assert kind().wait_seconds == kind.passes_in_seconds


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_failure_has_a_status_after_which_a_notebook_is_given_up_though_it_passes(
    kind: type[NbgateError],
) -> None:
    """JupyterLab 4.6 and Notebook 7.6: 401, 403, 429, 502 and 504 for a kernel mean "died", for ever."""
    mended_by_somebody = {"UPSTREAM_ERROR", "CONTROL_PLANE_ERROR"} | {
        "UPSTREAM_UNTRUSTED",
        "UPSTREAM_INVALID",
        "RESPONSE_HEAD_TOO_LARGE",
        "RESPONSE_TOO_MANY_FIELDS",
        "TOO_MANY_INTERIM_RESPONSES",
        "PERMISSION_MISSING",
        "PLATFORM_RETIRED",
        "UPSTREAM_PROXY_REFUSED",
        "CONTROL_PLANE_PROXY_REFUSED",
    }
    assert (kind.status == 502) is (kind.code in mended_by_somebody)
    assert (kind.status == 504) is (kind.code == "OUTCOME_UNKNOWN")
    assert kind.status != 429


def test_how_long_to_wait_is_kept() -> None:
    assert Throttled(retry_after_seconds=3).wait_seconds == 3
    assert Throttled(retry_after_seconds=3).retry_after_seconds == 3
    stopped = InstanceNotInService(instance_status="Stopped", detail="d", retry_after_seconds=5)
    assert (stopped.instance_status, stopped.detail, stopped.retry_after_seconds) == ("Stopped", "d", 5)
    assert InstanceNotInService().instance_status == ""


def test_a_platform_that_is_known_is_named() -> None:
    assert "on the platform notebook-al2-v1 any more" in str(PlatformRetired(platform="notebook-al2-v1"))
    assert str(PlatformRetired()) == PlatformRetired.default_message


def test_the_log_is_told_the_code_why_and_what_to_mend() -> None:
    assert ConnectTimeout().log_fields() == {
        "code": "CONNECT_TIMEOUT",
        "detail": "timeouts.connect",
        "remedy": ConnectTimeout.remedy,
    }
    assert ConnectTimeout(detail="to nb.example").log_fields()["detail"] == "to nb.example"
    assert BadRequest().log_fields() == {"code": "BAD_REQUEST"}


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (
            Problem("a.yaml", 3, where="policy.allow", message="empty", hint="name a list"),
            "a.yaml:3: policy.allow: empty (name a list)",
        ),
        (Problem("a.yaml", 3, where="policy.allow", message="empty"), "a.yaml:3: policy.allow: empty"),
        (Problem("a.yaml", 3, where="", message="not YAML"), "a.yaml:3: not YAML"),
        (Problem("a.yaml", 0, where="", message="cannot be read"), "a.yaml: cannot be read"),
    ],
)
def test_a_problem_names_place_fault_and_remedy(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_all_problems_are_told_in_the_files_order() -> None:
    late, early = (
        Problem("a.yaml", 9, where="x", message="late"),
        Problem("a.yaml", 2, where="y", message="early"),
    )
    error = ConfigError([late, early])
    assert error.problems == (early, late)
    assert str(error) == "a.yaml:2: y: early\na.yaml:9: x: late"
