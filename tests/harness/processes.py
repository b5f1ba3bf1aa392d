"""Parts of nbgate, and what stands beside it, as processes of their own, which end with a stack.

What they write stands in a file; what one says of itself in its first line is read. There is no event for what
another process does: `until` looks again and again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

START_SECONDS = 90.0
"""Only a failing run waits that long until something has started."""
END_SECONDS = 60.0


def started(stack: ExitStack, log: Path, *arguments: str, speaks: bool = False) -> subprocess.Popen[str]:
    """Run Python with these arguments. Its output goes to the log, but for that of one who `speaks`."""
    stream = stack.enter_context(log.open("w"))
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE if speaks else None,
        stdout=subprocess.PIPE if speaks else stream,
        stderr=stream,
        text=True,
        env=os.environ | {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"},
    )
    stack.callback(end, process)
    return process


def told(stack: ExitStack, log: Path, *arguments: str) -> dict[str, Any]:
    """The same, and what it says in its first line, as JSON."""
    process = started(stack, log, *arguments, speaks=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, log.read_text()
    said: dict[str, Any] = json.loads(line)
    return said


def end(process: subprocess.Popen[str]) -> None:
    """As any supervisor does: SIGTERM, and SIGKILL where that does not help."""
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def until(
    holds: Callable[[], bool], *, process: subprocess.Popen[str], log: Callable[[], str], what: str
) -> None:
    """Return once it holds; fails where the process ends before, or it takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        assert process.poll() is None, log()
        assert time.monotonic() < deadline, f"not {what}: {log()}"
        time.sleep(0.05)
