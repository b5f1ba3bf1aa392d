"""The gateway as a process of its own: it ends in time whatever hangs, and a signal while it starts is no accident.

Nothing here waits for a time that passes: each test waits until the process hangs where it is to hang, and then for its
end, for which it has much longer than it needs and far less than what hangs would take.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.server.operations.ending import CLOSE_SECONDS, LOG_SECONDS
from tests.harness.fast_notebook import FastNotebook

pytestmark = pytest.mark.slow

PATIENCE = 60.0
"""Until a process on a busy machine has done what it does at once."""
DRAIN_SECONDS = 1
END_SECONDS = DRAIN_SECONDS + CLOSE_SECONDS + LOG_SECONDS + 12.0
"""Beyond which the process counts as one that hangs: 0.1 took a minute and more, or never ended."""

HANGING_LOOKUP = """
import os, socket, threading
def hang(*arguments, **options):
    open(os.environ["NBGATE_TEST_MARK"], "w").close()
    threading.Event().wait()
socket.getaddrinfo = hang
"""


class Silent:
    """A server that accepts and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self.called = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._accepted.append(self._socket.accept()[0])
                self.called.set()

    def close(self) -> None:
        self._socket.close()
        for accepted in self._accepted:
            accepted.close()


@dataclass
class Started:
    """`nbgate serve`, and what it said so far."""

    process: subprocess.Popen[bytes]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def event(self, phrase: str) -> dict[str, Any]:
        """Read on until it says so."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            self.lines.append(json.loads(line))
            if self.lines[-1].get("event") == phrase:
                return self.lines[-1]
        raise AssertionError(self.lines)

    def call(self, request: str = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") -> socket.socket:
        port = int(self.event("serving")["listeners"][0].rpartition(":")[2])
        caller = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        caller.sendall(request.encode())
        return caller

    def ends(self, seconds: float = END_SECONDS) -> int:
        return self.process.wait(seconds)


Start = Callable[..., Started]


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Started] = []

    def starting(
        *,
        environ: dict[str, str] | None = None,
        config: Path | None = None,
        command: tuple[str, ...] = ("-m", "proxy"),
        **changes: Any,
    ) -> Started:
        file = config or tmp_path / "nbgate.yaml"
        if config is None:
            file.write_text(configuration(**changes))
        keys = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
        process = subprocess.Popen(
            [sys.executable, *command, "serve", "--config", str(file)],
            stdout=subprocess.PIPE,
            env={**os.environ, **keys, **(environ or {})},
        )
        started.append(Started(process))
        return started[-1]

    yield starting
    for one in started:
        one.process.kill()
        one.process.communicate()


def configuration(**changes: Any) -> str:
    return yaml.safe_dump(
        {
            "hostname": "127.0.0.1",
            "listeners": [{"bind": "127.0.0.1:0"}],
            "admin": None,
            "aws": {"region": "eu-west-1"},
            "allowlists": {"here": ["127.0.0.0/8"]},
            "policy": {"allow": ["here"]},
            "instances": {"research": {"notebook": "research-gpu-1", "mount": "root"}},
            "log": {"format": "json"},
            "timeouts": {"drain": f"{DRAIN_SECONDS}s", "drain_delay": 0},
            **changes,
        }
    )


def until(holds: Callable[[], object]) -> None:
    """For what another process does in its own time."""
    for _ in range(int(PATIENCE * 100)):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never did")


def reading(fifo: Path) -> int:
    """A descriptor to write to a FIFO with, as soon as somebody reads it."""
    found: list[int] = []

    def opened() -> bool:
        # Refused (ENXIO) for as long as nobody reads.
        with suppress(OSError):
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(found)

    until(opened)
    os.set_blocking(found[0], True)
    return found[0]


# -- whatever hangs -----------------------------------------------------------------------------------


def test_a_call_to_aws_that_hangs_keeps_nobody(start: Start, silent: Silent) -> None:
    """0.1 ended when boto3 gave up, after a minute."""
    started = start(aws={"region": "eu-west-1", "endpoint_url": silent.url})
    with started.call():
        assert silent.called.wait(PATIENCE)
        started.process.send_signal(signal.SIGTERM)
        started.event("stopped")
        assert started.ends() == 0


def test_a_name_server_that_does_not_answer_keeps_nobody(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HANGING_LOOKUP)
    mark = tmp_path / "looks-up"
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    started = start(
        environ={"PYTHONPATH": path, "NBGATE_TEST_MARK": str(mark)},
        aws={"region": "eu-west-1", "endpoint_url": "https://sagemaker.test:1"},
    )
    with started.call():
        until(mark.exists)
        started.process.send_signal(signal.SIGTERM)
        started.event("stopped")
        assert started.ends() == 0


def test_a_file_that_cannot_be_read_to_its_end_keeps_nobody(start: Start, tmp_path: Path) -> None:
    """A network file system that hangs, seen by the thread that reads a changed configuration."""
    started = start()
    started.event("serving")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fifo.replace(tmp_path / "nbgate.yaml")
    writer = reading(tmp_path / "nbgate.yaml")
    started.process.send_signal(signal.SIGTERM)
    started.event("stopped")
    assert started.ends() == 0
    os.close(writer)


def test_a_log_that_nobody_reads_keeps_nobody(start: Start, tmp_path: Path) -> None:
    started = start()
    with started.call() as caller:
        answered = caller.recv(1 << 16)
        # As much as a pipe holds, and more: lines of denials by the hundred.
        for _ in range(2000):
            caller.sendall(b"GET /%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (b"x" * 200))
            answered += caller.recv(1 << 16)
        assert answered.count(b"HTTP/1.1 ") >= 1000
        started.process.send_signal(signal.SIGTERM)
        assert started.ends() == 0


def test_a_caller_that_takes_nothing_keeps_nobody(start: Start) -> None:
    with FastNotebook() as notebook:
        aws = {
            "region": "eu-west-1",
            "endpoint_url": notebook.origin,
            "notebook_origins": [notebook.origin],
        }
        started = start(aws=aws)
        with started.call("GET /bytes/1000000000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"):
            until(lambda: notebook.sent)
            started.process.send_signal(signal.SIGTERM)
            started.event("stopped")
            assert started.ends() == 0


@pytest.mark.parametrize("command", [("-m", "proxy"), ("-c", "from proxy.cli import main; main()")])
def test_a_head_that_is_half_sent_keeps_nobody(start: Start, command: tuple[str, ...]) -> None:
    """Whichever way the command was begun."""
    started = start(command=command)
    with started.call("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: half a head"):
        started.process.send_signal(signal.SIGTERM)
        started.event("stopped")
        assert started.ends() == 0


def test_a_second_signal_ends_the_waiting(start: Start, silent: Silent) -> None:
    started = start(
        aws={"region": "eu-west-1", "endpoint_url": silent.url},
        timeouts={"drain": "10m", "drain_delay": "10m"},
    )
    with started.call():
        assert silent.called.wait(PATIENCE)
        started.process.send_signal(signal.SIGTERM)
        started.event("draining")
        started.process.send_signal(signal.SIGTERM)
        started.event("stopped")
        assert started.ends() == 0


@pytest.mark.parametrize(("within", "signals"), [(0.1, 1), (600, 2)])
def test_a_process_whose_event_loop_hangs_leaves_in_time_or_when_it_is_told_again(
    within: float, signals: int
) -> None:
    """Nobody else would end it."""
    code = f"""
import sys
from proxy.server.operations.ending import Ending
from proxy.signals import PROCESS
PROCESS.take()
def write_log(seconds):
    print("log written", flush=True)
ending = Ending(within_seconds=lambda: {within}, write_log=write_log)
def asked(times):
    print("asked", flush=True)
    ending.begin() if times == 1 else ending.at_once()
PROCESS.on_stop(asked)
print("turning", flush=True)
while True:
    pass
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"turning\n"
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == b"asked\n"
        assert process.stdout.readline() == b"log written\n"
        assert process.wait(PATIENCE) == 0


# -- while it starts ----------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A configuration that is being read for as long as the test likes."""
    fifo = tmp_path / "nbgate.yaml"
    os.mkfifo(fifo)
    return fifo


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_asked_to_end_while_it_starts_does_so_at_once(
    start: Start, held: Path, number: signal.Signals
) -> None:
    started = start(config=held)
    writer = reading(held)
    started.process.send_signal(number)
    assert started.ends() == 0
    os.close(writer)
    assert started.process.stdout is not None
    assert started.process.stdout.read() == b""


def test_a_reload_that_is_asked_for_while_it_starts_is_done_once_it_serves(
    start: Start, held: Path, tmp_path: Path
) -> None:
    """0.1 was killed by it."""
    started = start(config=held)
    writer = reading(held)
    started.process.send_signal(signal.SIGHUP)
    # What is read at the start comes through the FIFO; later on there is an ordinary file.
    ordinary = tmp_path / "ordinary.yaml"
    ordinary.write_text(configuration())
    ordinary.replace(held)
    os.write(writer, configuration().encode())
    os.close(writer)
    started.event("serving")
    assert started.event("configuration is in effect")["file"] == str(held)
    started.process.send_signal(signal.SIGTERM)
    assert started.ends() == 0
