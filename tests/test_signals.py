"""Signals that come before anybody can act on them are not lost, and end nothing by accident."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from proxy.signals import Signals

NUMBERS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Taken, by somebody who serves; this process gets its own back."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    taken = Signals()
    taken.on_stop(lambda _times: None)
    taken.take()
    wakes = signal.set_wakeup_fd(-1)
    yield taken
    for number, handler in before.items():
        signal.signal(number, handler)
    assert wakes >= 0


def run(code: str) -> tuple[int, str]:
    """The status and the output of a process that takes its signals, and then does this."""
    begin = "import os, signal, sys; from proxy.signals import PROCESS; PROCESS.take();"
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "hanging",
    [
        "\nwhile True: pass",
        "reader, writer = os.pipe(); os.read(reader, 1)",
        "import threading; threading.Event().wait()",
    ],
    ids=["turning", "reading", "waiting"],
)
def test_who_is_asked_to_end_before_it_serves_ends_at_once_and_cleanly(number: str, hanging: str) -> None:
    sends = f"import threading; threading.Timer(0.05, os.kill, (os.getpid(), signal.{number})).start();"
    assert run(sends + hanging) == (0, "")


def test_a_reload_that_is_asked_for_too_early_kills_nobody() -> None:
    assert run("os.kill(os.getpid(), signal.SIGHUP); print('here')") == (0, "here\n")


def test_who_serves_is_told_how_often_it_was_asked(signals: Signals) -> None:
    told: list[int] = []
    signals.on_stop(told.append)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert told == [1, 2]


def test_an_end_that_was_asked_for_right_before_is_not_forgotten(signals: Signals) -> None:
    signals.on_stop(lambda _times: None)
    signal.raise_signal(signal.SIGTERM)
    told: list[int] = []
    signals.on_stop(told.append)
    assert told == [1]


def test_a_reload_that_is_asked_for_too_early_is_remembered_once(signals: Signals) -> None:
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    told: list[str] = []
    signals.on_reload(lambda: told.append("reload"))
    assert told == ["reload"]
    signal.raise_signal(signal.SIGHUP)
    assert told == ["reload"] * 2


def test_what_takes_them_loads_nothing_that_takes_time() -> None:
    """Until then a SIGHUP kills."""
    code = (
        "import sys, proxy.__main__;"
        "print(sorted(name for name in sys.modules if name.startswith('proxy') or name in ('click', 'asyncio')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "['proxy', 'proxy.__main__', 'proxy.signals']"
