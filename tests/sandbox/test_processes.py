"""What a process started is found, also where it leads a session of its own, and ended."""

from __future__ import annotations

import asyncio
import os
import sys

from proxy.sandbox.processes import Process, descendants, end

_TREE = """
import subprocess, sys
leaf = [sys.executable, "-c", "print('up', flush=True); import signal; signal.pause()"]
branch = [sys.executable, "-c", f"import subprocess; subprocess.run({leaf!r}, start_new_session=True)"]
subprocess.run(branch, start_new_session=True)
"""


async def test_the_whole_tree_is_found_and_ended() -> None:
    root = await asyncio.create_subprocess_exec(sys.executable, "-c", _TREE, stdout=asyncio.subprocess.PIPE)
    assert root.stdout is not None
    assert await root.stdout.readline() == b"up\n"
    found = descendants(root.pid)
    assert len(found) == 2
    assert set(found) < set(descendants(os.getpid()))
    await end(found)
    await root.communicate()
    assert descendants(root.pid) == []


async def test_a_number_that_is_used_again_is_another_process() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    (now,) = (process for process in descendants(os.getpid()) if process.pid == child.pid)
    await end([Process(now.pid, began=now.began - 1)])
    assert child.returncode is None
    await child.communicate(b"\n")
    assert child.returncode == 0
