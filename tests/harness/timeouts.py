"""A test that hangs fails when its time is over, on uvloop, too.

A pytest plugin, loaded by conftest.py. pytest-timeout raises an exception in a signal handler; uvloop gives that to the
loop's exception handler and goes on, so that a coroutine would hang for ever. Here what hangs is cancelled instead,
and its traceback shows where it stood.
"""

from __future__ import annotations

import asyncio
import signal
from types import FrameType
from typing import Any

import pytest

AGAIN_SECONDS = 5.0


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: Any, settings: Any) -> bool | None:
    """As pytest-timeout does it, but for what happens when the time is over."""
    if settings.method != "signal":
        return None
    said = f"Timeout (>{settings.timeout}s)"
    cancelled = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal cancelled
        loop = asyncio._get_running_loop()
        if loop is not None and not cancelled:
            cancelled = True
            for task in asyncio.all_tasks(loop):
                task.cancel(said)
        # A coroutine that goes on does not wait, but computes, and there the exception is heard. Where no loop runs any
        # more, the test is over, and pytest at work.
        elif loop is not None or not cancelled:
            cancel()
            pytest.fail(said)

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_SECONDS)
    return True
