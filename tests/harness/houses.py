"""A real JupyterLab behind a gateway on all four kinds of mount, and on two that need a session or a token; both run
as processes of their own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.harness.ports import held_ports

MOUNTS = ("root", "host", "port", "path")
GUARDED_MOUNTS = ("guarded-host", "guarded-path")
START_SECONDS = 90.0
"""Only a failing run waits that long for the gateway."""
TOKEN_KEY = "0123456789abcdef-of-the-house-0123456789"


@dataclass(frozen=True)
class House:
    """The gateway and what it stands in front of."""

    urls: dict[str, str]
    """By kind of mount, with a slash at the end; and `denied`, an instance that this machine may not reach."""
    config: Path
    log_file: Path
    sandbox_url: str


def _start(arguments: list[str], *, log: Path, first_line: bool) -> tuple[subprocess.Popen[str], str]:
    """Start a part of nbgate as its own process; returns it with its first line of output, if that is wanted."""
    environ = os.environ | {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=subprocess.PIPE if first_line else stream,
            stderr=stream,
            text=True,
            env=environ,
        )
    if not first_line:
        return process, ""
    assert process.stdout is not None
    return process, process.stdout.readline()


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def open_house(directory: Path) -> Iterator[House]:
    """Start both, yield their addresses, stop both."""
    with held_ports(3) as (main, own, admin):
        yield from _opened(directory, main_port=main, own_port=own, admin_port=admin)


def _opened(directory: Path, *, main_port: int, own_port: int, admin_port: int) -> Iterator[House]:
    sandbox, line = _start(
        ["proxy.sandbox", "--jupyter", "--instance", "research-gpu-1"],
        log=directory / "sandbox.log",
        first_line=True,
    )
    try:
        assert line, (directory / "sandbox.log").read_text()
        state = json.loads(line)
        notebook = {"notebook": "research-gpu-1"}
        config = directory / "nbgate.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "hostname": ["127.0.0.1", "localhost"],
                    "listeners": [{"bind": f"127.0.0.1:{main_port}"}, {"bind": f"127.0.0.1:{own_port}"}],
                    "admin": {"bind": f"127.0.0.1:{admin_port}"},
                    "aws": {
                        "region": state["region"],
                        "endpoint_url": state["endpoint_url"],
                        "notebook_origins": [one["origin"] for one in state["instances"].values()],
                    },
                    "allowlists": {"here": ["127.0.0.0/8"], "elsewhere": ["203.0.113.0/24"]},
                    "policy": {"allow": ["here"]},
                    "instances": {
                        "root": notebook | {"mount": "root"},
                        "host": notebook | {"mount": {"host": "research.localhost"}},
                        "port": notebook | {"mount": {"port": own_port}},
                        "path": notebook | {"mount": {"path": "/research/"}},
                        "guarded-host": notebook
                        | {"mount": {"host": "guarded.localhost"}, "access": "presigned"},
                        "guarded-path": notebook | {"mount": {"path": "/guarded/"}, "access": "presigned"},
                        "denied": notebook | {"mount": {"path": "/denied/"}, "allow": ["elsewhere"]},
                    },
                    "tokens": {"key": TOKEN_KEY},
                    "timeouts": {"drain_delay": "0s"},
                    "log": {"format": "json"},
                }
            )
        )
        log_file = directory / "gateway.log"
        gateway, _ = _start(["proxy", "serve", "--config", str(config)], log=log_file, first_line=False)
        try:
            _wait_until_ready(f"http://127.0.0.1:{admin_port}/readyz", gateway, log_file)
            yield House(
                urls={
                    "root": f"http://127.0.0.1:{main_port}/",
                    "host": f"http://research.localhost:{main_port}/",
                    "port": f"http://127.0.0.1:{own_port}/",
                    "path": f"http://127.0.0.1:{main_port}/research/",
                    "guarded-host": f"http://guarded.localhost:{main_port}/",
                    "guarded-path": f"http://127.0.0.1:{main_port}/guarded/",
                    "denied": f"http://127.0.0.1:{main_port}/denied/",
                },
                config=config,
                log_file=log_file,
                sandbox_url=state["endpoint_url"],
            )
        finally:
            _stop(gateway)
    finally:
        _stop(sandbox)


def _wait_until_ready(url: str, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)  # another process: there is no event to wait for
    raise AssertionError(f"the gateway did not become ready: {log.read_text()}")
