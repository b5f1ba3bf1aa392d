"""Processes that the benchmarks start, pin to a core, and end, whatever happens to this one.

The rule: each is ended by the context manager that started it; each gets SIGTERM from the kernel when this
process dies without a chance to do so; and a terminal's Ctrl-C reaches only this process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.benchmarks.machine import LOAD_CORE

Process = subprocess.Popen[bytes]

END_SECONDS = 3.0
LOAD_SECONDS = 180.0
"""What no run of the load lasts."""

# setpriv(1) of util-linux: SIGTERM when the parent dies. Safer than code between fork and exec.
_TIED_TO_US = ("setpriv", "--pdeathsig", "TERM")


class LoadError(Exception):
    """The load found a difference, or was not answered."""


@contextmanager
def running(
    argv: Sequence[str],
    *,
    core: int,
    log: Path,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
) -> Iterator[Process]:
    """A process on one core; standard error goes to `log`. Ended, with its children, on leaving."""
    with log.open("wb") as errors:
        ours = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            process = subprocess.Popen(
                [*_TIED_TO_US, *argv],
                stdin=stdin,
                stdout=stdout,
                stderr=errors,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, ours)
    try:
        yield process
    finally:
        _end(process)


def _end(process: Process) -> None:
    for sign, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, sign)
            process.wait(seconds)
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            continue
        break
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def run_load(program: Path, *words: object) -> dict[str, Any]:
    """A run of load.c: what it prints. Raises `LoadError` with what it says when it gives up."""
    output = run_tool([str(program), *map(str, words)])
    result: dict[str, Any] = json.loads(output)
    return result


def run_tool(argv: Sequence[str]) -> str:
    """What a program prints that runs beside the origin, and ends by itself."""
    try:
        done = subprocess.run(
            [*_TIED_TO_US, *argv], capture_output=True, text=True, timeout=LOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{' '.join(argv[-4:])}: took more than {LOAD_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise LoadError(f"{' '.join(argv[-4:])}: {done.stderr.strip() or done.returncode}")
    return done.stdout


@contextmanager
def holding(program: Path, *words: object, log: Path) -> Iterator[Process]:
    """A run of load.c that opens connections and holds them; entered when all are open."""
    argv = [str(program), *map(str, words)]
    with running(argv, core=LOAD_CORE, log=log, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            process.wait()
            raise LoadError(f"{' '.join(argv[-3:])}: {log.read_text().strip()}")
        yield process


def wait_until_answered(
    process: Process, port: int, *, path: str, seconds: float, host: str, status: str = ""
) -> float:
    """Ask every millisecond until a GET is answered, with `status` if there is one; when that was (monotonic)."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    deadline = time.monotonic() + seconds
    answer = b""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
                connection.sendall(request)
                answer = connection.recv(4096)
        except OSError:
            answer = b""
        if answer.startswith(f"HTTP/1.1 {status}".encode()):
            return time.monotonic()
        time.sleep(0.001)
    raise LoadError(f"port {port} did not answer: {answer[:120]!r}")
