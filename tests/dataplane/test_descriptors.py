"""How many connections the descriptors suffice for, and errors that say that there are none."""

from __future__ import annotations

import errno
import itertools
import resource
import subprocess
import sys

import pytest

from proxy.dataplane import descriptors
from proxy.dataplane.descriptors import EACH, RESERVED, connections_for, needed_for, ran_out, upstreams_for
from proxy.errors import UpstreamUnreachable


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(1024, 384), (65536, 32640), (512, 128), (256, 64), (64, 16), (4, 1)]
)
def test_each_connection_can_have_one_to_a_notebook_and_a_part_is_kept(
    descriptors: int, connections: int
) -> None:
    assert connections_for(descriptors) == connections
    assert EACH * connections + min(RESERVED, descriptors // 2) <= max(descriptors, 4)
    assert upstreams_for(descriptors) >= connections


@pytest.mark.parametrize("connections", [1, 16, 127, 128, 129, 384, 10_000])
def test_what_is_said_to_be_needed_suffices_and_less_does_not(connections: int) -> None:
    needed = needed_for(connections)
    assert connections_for(needed) == connections
    assert connections == 1 or connections_for(needed - EACH) < connections


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    script = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))\n"
        "from proxy.dataplane import descriptors\n"
        "print(descriptors.allowed(), descriptors.take_all(), descriptors.allowed(), descriptors.take_all())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["100", "300", "300", "300"]


def test_a_hard_limit_that_the_kernel_lets_nobody_have_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_what: int, _limits: tuple[int, int]) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert descriptors.take_all() == 1024


def test_no_limit_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (resource.RLIM_INFINITY,) * 2)
    assert descriptors.allowed() is None


def chained(*errors: BaseException) -> BaseException:
    """The last error, each of which came from the one before."""
    for before, after in itertools.pairwise(errors):
        after.__cause__ = before
    return errors[-1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENFILE, "Too many open files in system"), True),
        (OSError(errno.ECONNREFUSED, "Connection refused"), False),
        (chained(OSError(errno.EMFILE, ""), UpstreamUnreachable()), True),
        (chained(OSError(errno.EMFILE, ""), ValueError(), UpstreamUnreachable()), True),
        (chained(ValueError(), UpstreamUnreachable()), False),
        (None, False),
    ],
)
def test_an_error_that_came_from_it_is_recognised(error: BaseException | None, expected: bool) -> None:
    assert ran_out(error) is expected


def test_errors_that_came_from_each_other_end_the_search() -> None:
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert not ran_out(one)
