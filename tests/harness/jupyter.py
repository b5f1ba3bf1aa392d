"""A real Jupyter behind a gateway, both processes of their own: for tests that only look, and for those that interfere.

A `House` has all four kinds of mount, and two that need a session or a token; many tests share one. An `Estate` is
one test's: its gateway ends and comes back at the same address, its notebook is away, sessions end, its list is
edited. Its mounts need a session: one under a path on plain http, of which browsers send no Fetch Metadata
(`notebooks.test`, which only they resolve, by `BROWSER_FLAGS`), one on a host of its own which browsers trust.
"""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.chance import nonce
from proxy.clock import SystemClock
from proxy.config.load import load
from proxy.identity.tokens import TokenKind, TokenSigner, authorized_url
from tests.harness import processes
from tests.harness.ports import held_ports

MOUNTS = ("root", "host", "port", "path")
GUARDED_MOUNTS = ("guarded-host", "guarded-path")
BROWSER_FLAGS = ("--host-resolver-rules=MAP notebooks.test 127.0.0.1",)
TOKEN_KEY = "0123456789abcdef-of-the-house-0123456789"
HERE, ELSEWHERE = "127.0.0.0/8\n", "203.0.113.0/24\n"
_NOTEBOOK = "research-gpu-1"


def _sandbox(stack: ExitStack, directory: Path) -> dict[str, Any]:
    """A sandbox with a real Jupyter, and what it says of itself."""
    words = ("-m", "proxy.sandbox", "--jupyter", "--instance", _NOTEBOOK)
    return processes.told(stack, directory / "sandbox.log", *words)


def _in_front_of(
    sandbox: Mapping[str, Any], *, admin_port: int, instances: dict[str, dict[str, Any]], **changes: Any
) -> str:
    """A gateway's configuration; each instance is the sandbox's notebook."""
    config = {
        "admin": {"bind": f"127.0.0.1:{admin_port}"},
        "aws": {
            "region": sandbox["region"],
            "endpoint_url": sandbox["endpoint_url"],
            "notebook_origins": [one["origin"] for one in sandbox["instances"].values()],
        },
        "policy": {"allow": ["here"]},
        "instances": {name: {"notebook": _NOTEBOOK, **instance} for name, instance in instances.items()},
        "tokens": {"key": TOKEN_KEY},
        "log": {"format": "json"},
        **changes,
    }
    return yaml.safe_dump(config)


def _readiness(admin_port: int) -> dict[str, Any] | None:
    """What a gateway says of itself; None while it is not ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/readyz", timeout=5) as answer:
            said: dict[str, Any] = json.load(answer)
            return said
    except OSError:
        return None


@dataclass(frozen=True)
class House:
    """`urls` by kind of mount, with a slash at the end; and `denied`, an instance that this machine may not reach."""

    urls: dict[str, str]
    config: Path
    log_file: Path
    sandbox_url: str


@contextmanager
def open_house(directory: Path) -> Iterator[House]:
    """Start both, yield their addresses, stop both."""
    with ExitStack() as stack:
        main, own, admin = stack.enter_context(held_ports(3))
        sandbox = _sandbox(stack, directory)
        config, log_file = directory / "nbgate.yaml", directory / "gateway.log"
        guarded = {"access": "presigned"}
        config.write_text(
            _in_front_of(
                sandbox,
                admin_port=admin,
                hostname=["127.0.0.1", "localhost"],
                listeners=[{"bind": f"127.0.0.1:{main}"}, {"bind": f"127.0.0.1:{own}"}],
                allowlists={"here": ["127.0.0.0/8"], "elsewhere": ["203.0.113.0/24"]},
                instances={
                    "root": {"mount": "root"},
                    "host": {"mount": {"host": "research.localhost"}},
                    "port": {"mount": {"port": own}},
                    "path": {"mount": {"path": "/research/"}},
                    "guarded-host": {"mount": {"host": "guarded.localhost"}, **guarded},
                    "guarded-path": {"mount": {"path": "/guarded/"}, **guarded},
                    "denied": {"mount": {"path": "/denied/"}, "allow": ["elsewhere"]},
                },
                timeouts={"drain_delay": "0s"},
            )
        )
        gateway = processes.started(stack, log_file, "-m", "proxy", "serve", "--config", str(config))
        processes.until(
            lambda: _readiness(admin) is not None, process=gateway, log=log_file.read_text, what="ready"
        )
        yield House(
            urls={
                "root": f"http://127.0.0.1:{main}/",
                "host": f"http://research.localhost:{main}/",
                "port": f"http://127.0.0.1:{own}/",
                "path": f"http://127.0.0.1:{main}/research/",
                "guarded-host": f"http://guarded.localhost:{main}/",
                "guarded-path": f"http://127.0.0.1:{main}/guarded/",
                "denied": f"http://127.0.0.1:{main}/denied/",
            },
            config=config,
            log_file=log_file,
            sandbox_url=sandbox["endpoint_url"],
        )


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
        self._sandbox = _sandbox(stack, directory)
        self._list = directory / "here.txt"
        self._list.write_text(HERE)
        self.config = directory / "nbgate.yaml"
        self.config.write_text(
            _in_front_of(
                self._sandbox,
                admin_port=self._admin_port,
                hostname=["notebooks.test"],
                listeners=[{"bind": f"127.0.0.1:{port}"}],
                allowlists={"here": {"file": self._list.name}},
                instances={
                    "path": {"mount": {"path": "/research/"}, "access": "presigned"},
                    "host": {"mount": {"host": "research.localhost"}, "access": "presigned"},
                },
            )
        )
        self._serve()

    # -- what happens to it -----------------------------------------------------------------------------

    def restart(self) -> None:
        """SIGTERM, as any supervisor ends it; another gateway at the same address as soon as it has ended."""
        self._gateway.send_signal(signal.SIGTERM)
        assert self._gateway.wait(processes.END_SECONDS) == 0, self.log
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
        tokens = TokenSigner([TOKEN_KEY], own_key=TOKEN_KEY, clock=SystemClock(), nonce=nonce)
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

    def _serve(self) -> None:
        self._runs += 1
        log = self._directory / f"gateway-{self._runs:02}.log"
        words = ("-m", "proxy", "serve", "--config", str(self.config))
        self._gateway = processes.started(self._stack, log, *words)
        self._until(lambda: self._reloads() is not None, "ready")

    def _edit_list(self, text: str) -> None:
        before = self._reloads()
        assert before is not None
        self._list.write_text(text)
        self._gateway.send_signal(signal.SIGHUP)
        self._until(lambda: self._reloads() != before, "reloaded")

    def _reloads(self) -> object:
        """How many configurations took effect; None while it is not ready."""
        said = _readiness(self._admin_port)
        return None if said is None else said["details"]["reloads_applied"]

    def _fault(self, name: str, **how: object) -> None:
        request = urllib.request.Request(
            f"{self._sandbox['endpoint_url']}/_sandbox/faults",
            data=json.dumps({"fault": name, **how}).encode(),
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        processes.until(holds, process=self._gateway, log=lambda: self.log, what=what)


@contextmanager
def open_estate(directory: Path) -> Iterator[Estate]:
    """Start all of it, and stop it."""
    with ExitStack() as stack:
        yield Estate(directory, stack)
