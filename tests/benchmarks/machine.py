"""What the kernel says of processes and cores: CPU time, memory, and how busy a core was with others.

The rule: CPU time is the scheduler's own, in nanoseconds, of a process with all of its threads, those that have
ended included (clock_getcpuclockid(3)); the ticks of /proc/PID/stat are too coarse for a second's run. Knows no
benchmark.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROXY_CORE, LOAD_CORE = sorted(os.sched_getaffinity(0))[:2] if len(os.sched_getaffinity(0)) > 1 else (0, 0)
"""The proxy has a core of its own; load, origin and this process share the other."""


def process_tree(pid: int) -> tuple[int, ...]:
    """A process and all that descend from it and live."""
    try:
        children = [
            int(child)
            for task in (PROC / str(pid) / "task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return ()
    return (pid, *(descendant for child in children for descendant in process_tree(child)))


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time, user's and system's, of processes since their start; nothing of those that are gone."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += time.clock_gettime_ns(~pid << 3 | 2)
    return total / 1e9


def rss_mb(pids: Iterable[int]) -> float:
    """Resident memory now, in MB (10^6 bytes)."""
    return sum(_status_kib(pid, "VmRSS") for pid in pids) * 1024 / 1e6


def peak_rss_mb(pids: Iterable[int]) -> float:
    """The most resident memory since `reset_peak`, in MB."""
    return sum(_status_kib(pid, "VmHWM") for pid in pids) * 1024 / 1e6


def reset_peak(pids: Iterable[int]) -> None:
    """Begin to watch for a new peak (proc(5), clear_refs)."""
    for pid in pids:
        (PROC / str(pid) / "clear_refs").write_text("5")


def _status_kib(pid: int, name: str) -> int:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _busy_seconds(core: int) -> float:
    """All but idling of a core since boot, with what the hypervisor gave to others."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND
    return 0.0


def _own_seconds() -> float:
    """CPU time of this process, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass(frozen=True, slots=True)
class CoreUse:
    """A look at both cores, to be compared with a later one."""

    at: float
    busy: tuple[float, float]
    ours: tuple[float, float]

    @classmethod
    def now(cls, *, proxies: Iterable[int], helpers: Iterable[int]) -> CoreUse:
        """`proxies` run on the proxy's core; `helpers` and this process with its children on the other."""
        return cls(
            time.monotonic(),
            (_busy_seconds(PROXY_CORE), _busy_seconds(LOAD_CORE)),
            (cpu_seconds(proxies), cpu_seconds(helpers) + _own_seconds()),
        )

    def foreign_since(self, earlier: CoreUse) -> float:
        """How much of a core, 0 to 1, others had since then: the larger figure of the two cores."""
        elapsed = max(self.at - earlier.at, 1e-3)
        shares = [
            (self.busy[core] - earlier.busy[core] - (self.ours[core] - earlier.ours[core])) / elapsed
            for core in (0, 1)
        ]
        return min(max(0.0, *shares), 1.0)


def cpu_model() -> str:
    """What the processor calls itself."""
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
