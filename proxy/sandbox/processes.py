"""Which processes a process has started, and ending them: a Jupyter server's kernels and terminals.

Each of those leads a session of its own, so that ending the server's process group does not reach them. The rule:
a process is its number *and* the moment it began, because numbers are used again. Read from Linux's /proc;
elsewhere nothing is found, and it is left to kernels and shells to notice that their server is gone.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.clock import SystemClock

_POLL_SECONDS = 0.01
_GONE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process that once ran: its number, and when it began (clock ticks after boot)."""

    pid: int
    began: int


def descendants(pid: int) -> list[Process]:
    """What the process started, and what those started, as of now."""
    children: defaultdict[int, list[Process]] = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*/stat"):
        if (read := _read(entry)) is not None:
            process, parent = read
            children[parent].append(process)
    found = list(children[pid])
    for process in found:
        # The list grows while it is walked: breadth first.
        found += children[process.pid]
    return found


async def end(processes: list[Process]) -> None:
    """Kill those that still run, and return when they are gone."""
    clock = SystemClock()
    give_up_at = clock.monotonic() + _GONE_SECONDS
    while running := [process for process in processes if _runs(process)]:
        for process in running:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        if clock.monotonic() > give_up_at:
            return
        await clock.sleep(_POLL_SECONDS)


def _runs(process: Process) -> bool:
    read = _read(Path(f"/proc/{process.pid}/stat"))
    return read is not None and read[0] == process


def _read(stat: Path) -> tuple[Process, int] | None:
    """A process and its parent's number, from proc_pid_stat(5); None if it is gone or only not yet reaped."""
    try:
        text = stat.read_text()
    except OSError:
        return None
    # The second field is the command in parentheses, which may itself hold anything; state is the third.
    state, parent, *others = text.rpartition(")")[2].split()
    if state in "ZX":
        return None
    return Process(int(stat.parent.name), began=int(others[17])), int(parent)
