"""The metrics: what is done to a system, and the figures that come of it.

The rule: a metric drives one system once and returns figures named as in build/bench.json. CPU is the proxy's, in
seconds per request, frame or GB (10^9 bytes); direct has none. Knows no rounds and no other system.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.install import HERE, PYTHON, program
from tests.benchmarks.machine import cpu_seconds, peak_rss_mb, reset_peak, rss_mb
from tests.benchmarks.processes import LoadError, holding, run_load, run_tool

GB = 1e9
MB = 1e6
SMALL_PATH = "/api/contents/notebook.ipynb"
RATE_PER_SECOND = 300
RATE_CONNECTIONS = 16
OPENING_CONNECTIONS = 16
SETTLE_SECONDS = 1.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of everything: seconds and bytes of a run, WebSockets held idle, seconds of a stall."""

    seconds: float = 2.0
    transfer_bytes: int = 1_000_000_000
    idle_websockets: int = 2000
    stall_seconds: float = 60.0


QUICK = Effort(seconds=1.0, transfer_bytes=100_000_000, idle_websockets=200, stall_seconds=5.0)


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of a process to its first answer to anything, and to the origin's first through it.

    `cpu_seconds`: what the first answer took of them on the processor.
    """

    answered_seconds: float = 0.0
    cpu_seconds: float = 0.0
    proxied_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """A system that runs: its port and processes, none for the direct way; how it started."""

    port: int
    pids: tuple[int, ...]
    directory: Path
    start: Start


@dataclass(frozen=True, slots=True)
class Metric:
    """`fresh`: wants processes that have done nothing yet. `once`: one round says it, and lasts long.

    `of_direct`: means something of the way without a proxy. `only`: the one system that has it, if not "".
    """

    measure: Callable[[Target, Effort], Figures]
    fresh: bool = False
    once: bool = False
    of_direct: bool = True
    only: str = ""


def _load(target: Target, *words: object) -> tuple[dict[str, Any], float]:
    """A run of the load, and the CPU time that it cost the proxy."""
    before = cpu_seconds(target.pids)
    result = run_load(program("load"), target.port, *words)
    return result, cpu_seconds(target.pids) - before


def _with_cpu(target: Target, figures: Figures, name: str, cpu_per_unit: float) -> Figures:
    return {**figures, f"{name}_cpu": cpu_per_unit} if target.pids else figures


def small(target: Target, effort: Effort, *, connections: int, script: str = "", name: str = "") -> Figures:
    """Small GETs over kept connections, as fast as they are answered; `script` is wrk's, in this directory."""
    name = name or f"small_c{connections}"
    seconds = max(1, round(effort.seconds))
    before = cpu_seconds(target.pids)
    url = f"http://127.0.0.1:{target.port}{SMALL_PATH}"
    scripted = ["-s", str(HERE / script)] if script else []
    output = run_tool(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *scripted, url])
    cpu = cpu_seconds(target.pids) - before
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    if requests is None or rate is None or "Non-2xx" in output or "Socket errors" in output:
        raise LoadError(f"wrk: {output}")
    return _with_cpu(target, {f"{name}_rps": float(rate[1])}, name, cpu / max(1, int(requests[1])))


def rate(target: Target, effort: Effort) -> Figures:
    """Latency of small GETs at a rate that leaves everybody idle most of the time."""
    result, cpu = _load(target, "get", RATE_PER_SECOND, effort.seconds, RATE_CONNECTIONS)
    figures = {"rate_p50_us": result["p50_us"], "rate_p99_us": result["p99_us"]}
    return _with_cpu(target, figures, "rate", cpu / result["requests"])


def bulk(target: Target, effort: Effort, *, direction: str, framing: str) -> Figures:
    """One large body; its verified bytes, and the most memory that it took."""
    name = direction if framing == "length" else f"{direction}_{framing}"
    reset_peak(target.pids)
    result, cpu = _load(target, direction, effort.transfer_bytes, framing)
    figures = {f"{name}_mbps": result["bytes"] / MB / result["seconds"]}
    if target.pids:
        figures[f"{name}_peak_mb"] = peak_rss_mb(target.pids)
    return _with_cpu(target, figures, name, cpu / (result["bytes"] / GB))


def ws_echo(target: Target, effort: Effort, *, connections: int) -> Figures:
    """Messages of 64 bytes, each sent when the one before has come back. CPU is per frame: half a round trip."""
    name = f"ws_echo_c{connections}"
    result, cpu = _load(target, "echo", connections, effort.seconds, 0)
    figures = {f"{name}_rps": result["echoes"] / result["seconds"]}
    return _with_cpu(target, figures, name, cpu / max(1, 2 * result["echoes"]))


def ws_flood(target: Target, effort: Effort, *, frame_bytes: int, name: str, direction: str) -> Figures:
    """Frames one way, as fast as they go. MB/s of payload; CPU per frame."""
    result, cpu = _load(target, direction, frame_bytes, effort.seconds)
    figures = {f"{name}_mbps": result["bytes"] / MB / result["seconds"]}
    return _with_cpu(target, figures, name, cpu / result["frames"])


def ws_open(target: Target, effort: Effort) -> Figures:
    """WebSockets opened, used once and closed again."""
    result, cpu = _load(target, "echo", OPENING_CONNECTIONS, effort.seconds, 1)
    figures = {"ws_open_per_s": result["closed"] / result["seconds"]}
    return _with_cpu(target, figures, "ws_open", cpu / max(1, result["closed"]))


def ws_idle(target: Target, effort: Effort) -> Figures:
    """Memory of a WebSocket on which nothing happens any more, in KB (10^3 bytes)."""
    run_load(program("load"), target.port, "echo", 4, 0.2, 0)
    before = rss_mb(target.pids)
    with holding(
        program("load"), target.port, "idle", effort.idle_websockets, log=target.directory / "load.err"
    ):
        time.sleep(SETTLE_SECONDS)
        return {"ws_idle_kb": (rss_mb(target.pids) - before) * 1e3 / effort.idle_websockets}


def stall(target: Target, effort: Effort) -> Figures:
    """The most that memory grows by while a download, an upload and two floods are read by nobody."""
    run_load(program("load"), target.port, "echo", 4, 0.2, 0)
    run_load(program("load"), target.port, "get", RATE_PER_SECOND, 0.2, RATE_CONNECTIONS)
    before = rss_mb(target.pids)
    reset_peak(target.pids)
    with holding(program("load"), target.port, "stall", log=target.directory / "load.err") as load:
        time.sleep(effort.stall_seconds)
        if load.poll() is not None:
            raise LoadError((target.directory / "load.err").read_text().strip())
        return {"stall_growth_mb": max(0.0, peak_rss_mb(target.pids) - before)}


def startup(target: Target, effort: Effort) -> Figures:
    """How it started; memory when all of that is over, nbgate's signing in included."""
    time.sleep(SETTLE_SECONDS)
    start = target.start
    return {
        "startup_s": start.answered_seconds,
        "startup_cpu": start.cpu_seconds,
        "first_proxied_s": start.proxied_seconds,
        "idle_rss_mb": rss_mb(target.pids),
    }


def decide(target: Target, effort: Effort) -> Figures:
    """The cost of a decision, in a process of its own."""
    figures: Figures = json.loads(run_tool([str(PYTHON), "-m", "tests.benchmarks.decisions"]))
    return figures


METRICS: Mapping[str, Metric] = {
    "small_c1": Metric(partial(small, connections=1)),
    "small_c16": Metric(partial(small, connections=16)),
    "small_c64": Metric(partial(small, connections=64)),
    "small_differing": Metric(
        partial(small, connections=16, script="differing.lua", name="small_differing_c16")
    ),
    "rate": Metric(rate),
    "download": Metric(partial(bulk, direction="download", framing="length")),
    "download_chunked": Metric(partial(bulk, direction="download", framing="chunked")),
    "upload": Metric(partial(bulk, direction="upload", framing="length")),
    "upload_chunked": Metric(partial(bulk, direction="upload", framing="chunked")),
    "ws_echo_c1": Metric(partial(ws_echo, connections=1)),
    "ws_echo_c32": Metric(partial(ws_echo, connections=32)),
    "ws_flood64": Metric(partial(ws_flood, frame_bytes=64, name="ws_flood64", direction="source")),
    "ws_flood64_up": Metric(partial(ws_flood, frame_bytes=64, name="ws_flood64_up", direction="sink")),
    "ws_flood64k": Metric(partial(ws_flood, frame_bytes=65536, name="ws_flood64k", direction="source")),
    "ws_flood64k_up": Metric(partial(ws_flood, frame_bytes=65536, name="ws_flood64k_up", direction="sink")),
    "ws_open": Metric(ws_open),
    "ws_idle": Metric(ws_idle, fresh=True, of_direct=False),
    "stall": Metric(stall, fresh=True, once=True, of_direct=False),
    "startup": Metric(startup, fresh=True, of_direct=False),
    "decide": Metric(decide, only="nbgate"),
}
"""By the name that `--metrics` takes, which is what the figures' names begin with."""
