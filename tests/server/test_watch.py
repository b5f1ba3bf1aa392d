"""Files that change in the ways in which configuration files do, on the machine's own clock and file system."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from proxy.clock import Clock, SystemClock
from proxy.server.watch import LOOK_SECONDS, STEADY_LOOKS, STEADY_SECONDS, Watcher, look
from tests.harness.clocks import FakeClock
from tests.harness.waiting import settle


async def changed(watcher: Watcher, clock: Clock = SystemClock()) -> None:
    """Look as often as the server does, until there is a change."""
    while not await watcher.has_changed():
        await clock.sleep(LOOK_SECONDS)


async def seen(watcher: Watcher) -> None:
    """Return when the watcher tells of a change; a test that waits for long has failed."""
    await asyncio.wait_for(changed(watcher), 30)


def write_in_place(file: Path) -> None:
    with file.open("r+") as stream:
        stream.write("bbb")


def rename_over(file: Path) -> None:
    """As most editors save."""
    other = file.with_suffix(".swp")
    other.write_text("aaa")
    other.replace(file)


def remove(file: Path) -> None:
    file.unlink()


def restore_older(file: Path) -> None:
    """As `cp -p` of a backup does: the same size, and a time of change that lies in the past."""
    os.utime(file, (1, 1))


@pytest.mark.parametrize("change", [write_in_place, rename_over, remove, restore_older])
async def test_a_change_is_seen(tmp_path: Path, change) -> None:
    file = tmp_path / "nbgate.yaml"
    file.write_text("aaa")
    watcher = Watcher(lambda: [file], clock=SystemClock())
    await seen(watcher)
    change(file)
    await seen(watcher)


async def test_the_exchange_of_a_link_above_the_file_is_seen(tmp_path: Path) -> None:
    """A Kubernetes ConfigMap: nbgate.yaml -> ..data/nbgate.yaml, ..data -> ..2026_01_01, exchanged by a rename."""
    for name in ("..2026_01_01", "..2026_01_02"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nbgate.yaml").write_text(name)
    (tmp_path / "..data").symlink_to("..2026_01_01")
    file = tmp_path / "nbgate.yaml"
    file.symlink_to("..data/nbgate.yaml")
    watcher = Watcher(lambda: [file], clock=SystemClock())
    await seen(watcher)
    (tmp_path / "..data_tmp").symlink_to("..2026_01_02")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    await seen(watcher)
    assert file.read_text() == "..2026_01_02"


async def test_a_file_that_appears_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "office.txt"
    watcher = Watcher(lambda: [file], clock=SystemClock())
    await seen(watcher)
    file.write_text("203.0.113.0/24\n")
    await seen(watcher)


class Stills(Watcher):
    """A watcher that is shown one picture after the other, by a clock that the test moves."""

    def __init__(self, pictures: list[int], clock: FakeClock) -> None:
        super().__init__(list, clock=clock)
        self.left = pictures

    async def _look(self):
        return {Path("nbgate.yaml"): (0, 0, self.left.pop(0), 0, 0)}


async def told_after(pictures: list[int]) -> float:
    """Seconds until a change was told, to the tenth."""
    clock = FakeClock()
    telling = asyncio.ensure_future(changed(Stills(pictures, clock), clock))
    await settle()
    seconds = 0.0
    while not telling.done():
        await clock.advance(0.1)
        seconds += 0.1
    return round(seconds, 1)


async def test_a_file_that_is_being_written_is_not_told_of_before_it_stands_still() -> None:
    assert await told_after([1, 1]) == STEADY_SECONDS
    assert await told_after([1, 2, 2]) == 2 * STEADY_SECONDS


async def test_a_file_that_never_stands_still_is_told_of_all_the_same() -> None:
    assert await told_after(list(range(1, 50))) == round(STEADY_LOOKS * STEADY_SECONDS, 1)


def test_a_change_is_told_within_a_second_whatever_happens() -> None:
    assert LOOK_SECONDS + STEADY_LOOKS * STEADY_SECONDS < 0.7


def test_what_cannot_be_looked_at_is_none(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    unspeakable = Path("a\0b")
    assert look([missing, unspeakable]) == {missing: None, unspeakable: None}
