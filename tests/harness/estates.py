"""A real Jupyter behind a gateway that ends and comes back at the same address; both run as processes of their own.

What a test does to it is what happens to gateways: a restart, a notebook that is away, a session that ends, a list that
is edited. Its mounts need a session: one under a path on plain http, of which browsers send no Fetch Metadata
(`notebooks.test`, which only they resolve, by `BROWSER_FLAGS`), one on a host of its own which browsers trust.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from proxy.chance import nonce
from proxy.clock import SystemClock
from proxy.config.load import load
from proxy.identity.tokens import TokenKind, Tokens, authorized_url
from tests.harness.ports import held_ports

BROWSER_FLAGS = ("--host-resolver-rules=MAP notebooks.test 127.0.0.1",)
NOTEBOOK = "research-gpu-1"
HERE, ELSEWHERE = "127.0.0.0/8\n", "203.0.113.0/24\n"
_KEY = "0123456789abcdef-of-the-estate-0123456789"
_START_SECONDS = 90.0
_END_SECONDS = 60.0


class Estate:
    """`urls` by kind of mount: `path`, `host`; each ends in a slash."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        port, self._admin_port = stack.enter_context(held_ports(2))
        self.urls = {
            "path": f"http://notebooks.test:{port}/research/",
            "host": f"http://research.localhost:{port}/",
        }
        self._runs = 0
        self._sandbox = self._start(
            "sandbox", "proxy.sandbox", "--jupyter", "--instance", NOTEBOOK, reads=True
        )
        assert self._sandbox.stdout is not None
        line = self._sandbox.stdout.readline()
        assert line, (directory / "sandbox.log").read_text()
        self._state = json.loads(line)
        self._list = directory / "here.txt"
        self._list.write_text(HERE)
        self.config = directory / "nbgate.yaml"
        self.config.write_text(yaml.safe_dump(self._configuration(port)))
        self._serve()

    # -- what happens to it -----------------------------------------------------------------------------

    def restart(self) -> None:
        """SIGTERM, as any supervisor ends it; another gateway at the same address as soon as it has ended."""
        self._gateway.send_signal(signal.SIGTERM)
        assert self._gateway.wait(_END_SECONDS) == 0, self.log
        self._serve()

    def lose_notebook(self) -> None:
        """Nobody listens at the notebook host, and what was open breaks."""
        self._fault("refuse")

    def find_notebook(self) -> None:
        """It listens again."""
        self._fault("accept")

    def drop_websockets(self) -> None:
        """Those that are open break, and can be opened again at once."""
        self._fault("drop_websockets")

    def close_websockets(self, *, code: int) -> None:
        """The notebook host closes those that are open, with a code of its own."""
        self._fault("close_websockets", code=code)

    def withdraw_access(self) -> None:
        """The list does not have this machine any more; returns once that counts."""
        self._edit_list(ELSEWHERE)

    def give_access_back(self) -> None:
        """It has it again."""
        self._edit_list(HERE)

    def link(self, kind: str, page: str = "", *, session_seconds: int = 43_200) -> str:
        """An address that buys a session, as CreatePresignedNotebookInstanceUrl would answer it."""
        tokens = Tokens([_KEY], own_key=_KEY, clock=SystemClock(), nonce=nonce)
        token = tokens.issue(
            TokenKind.URL,
            instance=kind,
            leads_to=load(self.config, environ={}).leads_to(kind),
            principal="zoe",
            address=None,
            seconds=300,
            session_seconds=session_seconds,
        )
        return authorized_url(self.urls[kind] + page, token)

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What all gateways so far have logged of a kind (`http`, `websocket`, `audit`, `event`)."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [line for line in lines if line["kind"] == kind]

    @property
    def log(self) -> str:
        """All gateways' output so far."""
        files = sorted(self._directory.glob("gateway-*.log"))
        return "".join(file.read_text() for file in files)

    # -- inside -----------------------------------------------------------------------------------------

    def _configuration(self, port: int) -> dict[str, Any]:
        notebook = {"notebook": NOTEBOOK, "access": "presigned"}
        return {
            "hostname": ["notebooks.test"],
            "listeners": [{"bind": f"127.0.0.1:{port}"}],
            "admin": {"bind": f"127.0.0.1:{self._admin_port}"},
            "aws": {
                "region": self._state["region"],
                "endpoint_url": self._state["endpoint_url"],
                "notebook_origins": [one["origin"] for one in self._state["instances"].values()],
            },
            "allowlists": {"here": {"file": self._list.name}},
            "policy": {"allow": ["here"]},
            "instances": {
                "path": notebook | {"mount": {"path": "/research/"}},
                "host": notebook | {"mount": {"host": "research.localhost"}},
            },
            "tokens": {"key": _KEY},
            "log": {"format": "json"},
        }

    def _serve(self) -> None:
        self._runs += 1
        name = f"gateway-{self._runs:02}"
        self._gateway = self._start(name, "proxy", "serve", "--config", str(self.config))
        self._until(lambda: self._details() is not None, "ready")

    def _edit_list(self, text: str) -> None:
        before = self._details()
        assert before is not None
        self._list.write_text(text)
        self._gateway.send_signal(signal.SIGHUP)
        self._until(lambda: self._details() != before, "reloaded")

    def _details(self) -> object:
        """How many configurations took effect; None while it is not ready."""
        try:
            url = f"http://127.0.0.1:{self._admin_port}/readyz"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["details"]["reloads_applied"]
        except OSError:
            return None

    def _fault(self, name: str, **how: object) -> None:
        request = urllib.request.Request(
            f"{self._state['endpoint_url']}/_sandbox/faults",
            data=json.dumps({"fault": name, **how}).encode(),
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            assert self._gateway.poll() is None, self.log
            assert time.monotonic() < deadline, f"not {what}: {self.log}"
            time.sleep(0.05)  # another process: there is no event to wait for

    def _start(self, name: str, *arguments: str, reads: bool = False) -> subprocess.Popen[str]:
        log: IO[str] = self._stack.enter_context((self._directory / f"{name}.log").open("w"))
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=subprocess.PIPE if reads else log,
            stderr=log,
            text=True,
            env=os.environ | {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"},
        )
        self._stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def open_estate(directory: Path) -> Iterator[Estate]:
    """Start all of it, and stop it."""
    with ExitStack() as stack:
        yield Estate(directory, stack)
