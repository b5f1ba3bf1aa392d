"""The gateway as a process of its own: its memory stays flat whatever the sizes, and whoever stands still."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.harness.fast_notebook import BLOCK, CLIENT_FRAME, SERVER_FRAME, FastNotebook, wait_until_still

pytestmark = [pytest.mark.slow, pytest.mark.serial]

MIB = 1024 * 1024
SIZE = 2048 * MIB
GROWTH = 32 * MIB
STALLED = 20
GROWTH_OF_ONE_STALLED = 1.5 * MIB
"""A read (256 KiB), and what asyncio's and the gateway's own marks let wait, both ways."""


@dataclass
class Process:
    """The gateway. `peak_growth` is what its resident memory grew at most since `settle`."""

    pid: int
    port: int
    _baseline: int = 0

    def settle(self) -> None:
        """Take what is resident now as the measure."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self._baseline = self._resident("VmRSS")

    @property
    def peak_growth(self) -> int:
        return self._resident("VmHWM") - self._baseline

    def _resident(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    def connect(self, request: str) -> socket.socket:
        """A connection on which a request was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(request.replace("\n", "\r\n").encode())
        return connection


@pytest.fixture
def notebook() -> Iterator[FastNotebook]:
    with FastNotebook() as started:
        yield started


@pytest.fixture
def gateway(notebook: FastNotebook, tmp_path: Path) -> Iterator[Process]:
    """`nbgate serve` in front of the notebook, signed in already."""
    file = tmp_path / "nbgate.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "hostname": ["notebooks.test"],
                "listeners": [{"bind": "127.0.0.1:0"}],
                "admin": None,
                "aws": {
                    "region": "us-east-1",
                    "endpoint_url": notebook.origin,
                    "notebook_origins": [notebook.origin],
                },
                "allowlists": {"here": ["127.0.0.0/8"]},
                "policy": {"allow": ["here"]},
                "instances": {"research": {"notebook": "research-gpu-1", "mount": "root"}},
                "log": {"format": "json"},
            }
        )
    )
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
    command = [sys.executable, "-m", "proxy", "serve", "--config", str(file)]
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=errors)
        try:
            assert process.stdout is not None
            serving = next(line for line in process.stdout if b'"serving"' in line)
            port = int(json.loads(serving)["listeners"][0].rpartition(":")[2])
            running = Process(process.pid, port)
            with running.connect(
                "GET /bytes/1048576 HTTP/1.1\nHost: notebooks.test\nConnection: close\n\n"
            ) as warm:
                while warm.recv(65536):
                    pass
            notebook.sent = 0
            yield running
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def read(connection: socket.socket, count: int) -> int:
    """Read so many bytes, or to the end."""
    buffer = memoryview(bytearray(MIB))
    left = count
    while left and (size := connection.recv_into(buffer[: min(left, MIB)])):
        left -= size
    return count - left


def head_of(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, head
        head += byte
    return head


def send(connection: socket.socket, block: bytes, times: int) -> threading.Thread:
    """Send in the background, until the other side is gone or all is sent."""

    def run() -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(None)
            for _ in range(times):
                connection.sendall(block)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_2_gb_download_to_a_slow_reader(gateway: Process, notebook: FastNotebook) -> None:
    gateway.settle()
    with gateway.connect(f"GET /bytes/{SIZE} HTTP/1.1\nHost: notebooks.test\n\n") as caller:
        assert head_of(caller).startswith(b"HTTP/1.1 200 OK\r\n")
        for part in range(8):
            wait_until_still(lambda: notebook.sent)
            # Ahead by what the kernel holds at four ends, not by what is asked for.
            assert notebook.sent < part * SIZE // 8 + SIZE // 16
            assert read(caller, SIZE // 8) == SIZE // 8
    assert notebook.sent == SIZE
    assert gateway.peak_growth < GROWTH


def test_a_2_gb_upload_to_a_slow_notebook(gateway: Process, notebook: FastNotebook) -> None:
    gateway.settle()
    notebook.may_read.clear()
    request = f"PUT /upload HTTP/1.1\nHost: notebooks.test\nContent-Length: {SIZE}\n\n"
    with gateway.connect(request) as caller:
        sending = send(caller, BLOCK, SIZE // MIB)
        for _ in range(4):
            notebook.may_read.clear()
            wait_until_still(lambda: notebook.received)
            assert sending.is_alive()
            before = notebook.received
            notebook.may_read.set()
            while notebook.received < before + SIZE // 8:
                sending.join(0.01)
        sending.join()
        caller.settimeout(30)
        assert head_of(caller).startswith(b"HTTP/1.1 200 OK\r\n")
    assert notebook.received == SIZE
    assert gateway.peak_growth < GROWTH


def test_downloads_whose_readers_stand_still(gateway: Process, notebook: FastNotebook) -> None:
    gateway.settle()
    with contextlib.ExitStack() as stack:
        for _ in range(STALLED):
            stack.enter_context(gateway.connect(f"GET /bytes/{SIZE} HTTP/1.1\nHost: notebooks.test\n\n"))
        wait_until_still(lambda: notebook.sent)
        assert notebook.sent > 0
        assert gateway.peak_growth < STALLED * GROWTH_OF_ONE_STALLED


def test_uploads_whose_notebook_stands_still(gateway: Process, notebook: FastNotebook) -> None:
    gateway.settle()
    notebook.may_read.clear()
    request = "PUT /upload HTTP/1.1\nHost: notebooks.test\nContent-Length: 1000000000\n\n"
    sent = [0]
    with contextlib.ExitStack() as stack:
        for _ in range(STALLED):
            caller = stack.enter_context(gateway.connect(request))
            push(caller, BLOCK, sent)
        wait_until_still(lambda: sent[0])
        assert sent[0] > 0
        assert gateway.peak_growth < STALLED * GROWTH_OF_ONE_STALLED


def push(connection: socket.socket, block: bytes, sent: list[int]) -> None:
    """Send the block again and again in the background, counting what the kernel takes."""

    def run() -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(None)
            while True:
                view = memoryview(block)
                while view:
                    count = connection.send(view)
                    sent[0] += count
                    view = view[count:]

    threading.Thread(target=run, daemon=True).start()


UPGRADE = (
    "GET /ws HTTP/1.1\nHost: notebooks.test\nConnection: Upgrade\nUpgrade: websocket\n"
    "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n"
)


def test_websockets_where_both_sides_send_and_neither_reads(gateway: Process, notebook: FastNotebook) -> None:
    gateway.settle()
    notebook.may_read.clear()
    sent = [0]
    with contextlib.ExitStack() as stack:
        for _ in range(STALLED):
            caller = stack.enter_context(gateway.connect(UPGRADE))
            assert head_of(caller).startswith(b"HTTP/1.1 101 ")
            push(caller, CLIENT_FRAME, sent)
        wait_until_still(lambda: sent[0] + notebook.sent)
        assert sent[0] > 0
        assert notebook.sent > 0
        assert gateway.peak_growth < STALLED * 2 * GROWTH_OF_ONE_STALLED


def test_a_websocket_that_is_slow_at_both_ends_loses_nothing(
    gateway: Process, notebook: FastNotebook
) -> None:
    gateway.settle()
    notebook.may_read.clear()
    sent = [0]
    with gateway.connect(UPGRADE) as caller:
        assert head_of(caller).startswith(b"HTTP/1.1 101 ")
        push(caller, CLIENT_FRAME, sent)
        wait_until_still(lambda: sent[0] + notebook.sent)
        notebook.may_read.set()
        for _ in range(200):
            frame = bytearray()
            while len(frame) < len(SERVER_FRAME):
                frame += caller.recv(len(SERVER_FRAME) - len(frame))
            assert frame == SERVER_FRAME
        assert gateway.peak_growth < GROWTH
