"""Who wants to be alone waits for those who share, and keeps them out from then on."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

from tests.harness.alone import Lock

PATIENCE_SECONDS = 10.0


def is_free(file: Path, *, shared: bool) -> bool:
    """Whether somebody could have the lock of this file at once."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


class Other:
    """Another process, played by a thread: `entered`, and it leaves when told."""

    def __init__(self, path: Path, *, alone: bool) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self._lock = Lock(path)

        def hold() -> None:
            with self._lock.held(alone=alone):
                self.entered.set()
                self.leave.wait(PATIENCE_SECONDS)

        self.thread = threading.Thread(target=hold, daemon=True)
        self.thread.start()


def until(holds: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.001)):
        if holds():
            return
        waiting.wait(0.001)
    raise AssertionError("it never holds")


def test_those_who_share_do_so_and_who_wants_to_be_alone_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    door, room = path.with_suffix(".door"), path.with_suffix(".room")
    first, second = Other(path, alone=False), Other(path, alone=False)
    assert first.entered.wait(PATIENCE_SECONDS)
    assert second.entered.wait(PATIENCE_SECONDS)

    alone = Other(path, alone=True)
    until(lambda: not is_free(door, shared=True))
    late = Other(path, alone=False)
    first.leave.set()
    first.thread.join(PATIENCE_SECONDS)
    assert not is_free(room, shared=False), "the second has not left"
    assert not alone.entered.is_set()
    assert not late.entered.is_set()

    second.leave.set()
    assert alone.entered.wait(PATIENCE_SECONDS)
    assert not is_free(room, shared=True)
    assert not late.entered.is_set()

    alone.leave.set()
    assert late.entered.wait(PATIENCE_SECONDS)
    late.leave.set()
    for other in (second, alone, late):
        other.thread.join(PATIENCE_SECONDS)
    Lock(path).remove()
    assert list(tmp_path.iterdir()) == []
