"""A test that is marked `serial` runs while no other does, also where several processes run tests (pytest-xdist).

A pytest plugin, loaded by conftest.py. Each test holds a lock that all but the serial ones share. It is for what
measures the machine itself, memory or time of the processor, and would measure its neighbours, too.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_LOCK = pytest.StashKey["Lock"]()


class Lock:
    """Between processes: shared, or alone. Who wants to be alone waits for a door through which nobody else comes
    then, so that those who share do not keep it out for ever.
    """

    def __init__(self, path: Path) -> None:
        self._files = [path.with_suffix(suffix) for suffix in (".door", ".room")]
        self._door, self._room = (os.open(file, os.O_CREAT | os.O_RDWR) for file in self._files)

    @contextmanager
    def held(self, *, alone: bool) -> Iterator[None]:
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        fcntl.flock(self._door, how)
        fcntl.flock(self._room, how)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def remove(self) -> None:
        """Remove the files. Who has them open goes on."""
        for file in self._files:
            file.unlink(missing_ok=True)


def pytest_configure(config: pytest.Config) -> None:
    if run := getattr(config, "workerinput", {}).get("testrunuid"):
        config.stash[_LOCK] = Lock(Path(tempfile.gettempdir()) / f"nbgate-tests-{run}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if lock := config.stash.get(_LOCK, None):
        lock.remove()


# Outside pytest-timeout: waiting for the others is nobody's fault.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    lock = item.config.stash.get(_LOCK, None)
    if lock is None:
        return (yield)
    with lock.held(alone=item.get_closest_marker("serial") is not None):
        return (yield)
