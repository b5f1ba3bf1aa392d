"""A whole gateway over real sockets in front of a sandbox: `async with open_rig(...) as rig`.

`in_background` has both in a thread of their own, for tests that wait in the main one (Chromium, the AWS CLI).
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop
import yaml

from proxy.clock import Clock, SystemClock
from proxy.config.binds import SocketAddress
from proxy.config.load import load
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.plain_upstream import PlainUpstream
from proxy.sandbox.sandbox import Sandbox
from proxy.server.running import RunningGateway, start
from tests.harness.waiting import PATIENCE_SECONDS

T = TypeVar("T")
START_SECONDS = 90.0
"""Only a failing test waits that long for a gateway in the background."""
DEFAULT_INSTANCES: dict[str, Any] = {"research": {"notebook": "research-gpu-1", "mount": "root"}}


@dataclass
class Rig:
    """`host` and `port` lead to the first listener; `origin` is how a browser would call it."""

    sandbox: Sandbox
    gateway: RunningGateway
    log_file: Path

    @property
    def port(self) -> int:
        address = self.gateway.addresses[0]
        assert isinstance(address, SocketAddress)
        return address.port

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.authority}"

    @property
    def upstream(self) -> PlainUpstream:
        """What stands behind the first instance's notebook host."""
        return next(iter(self.sandbox.plain.values()))

    def log_lines(self) -> list[dict[str, Any]]:
        """All that was logged so far; access and audit lines are flushed first."""
        self.gateway.logs.close()
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    async def raw(self, data: bytes, *, until_eof: bool = True, timeout: float = PATIENCE_SECONDS) -> bytes:
        """Send bytes on a connection of their own; all that came back until the gateway closed it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            if until_eof:
                return await asyncio.wait_for(reader.read(), timeout)
            return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout)
        finally:
            writer.close()

    async def get(
        self, target: str = "/", *, extra: str = "", method: str = "GET", host: str | None = None
    ) -> bytes:
        """One request on a connection of its own; the whole answer as bytes."""
        head = f"{method} {target} HTTP/1.1\r\nHost: {host or self.authority}\r\n{extra}Connection: close\r\n\r\n"
        return await self.raw(head.encode("latin-1"))


def status_of(answer: bytes) -> int:
    """The status of a raw response."""
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    """The body of a raw response."""
    return answer.partition(b"\r\n\r\n")[2]


def config_for(sandbox: Sandbox, *, more_aws: Mapping[str, Any] = {}, **changes: Any) -> dict[str, Any]:
    """A configuration that works against a sandbox; `changes` replace top-level sections, `more_aws` stands in the
    section `aws` besides.
    """
    return {
        "hostname": ["127.0.0.1", "localhost"],
        "listeners": [{"bind": "127.0.0.1:0"}],
        "admin": {"bind": "127.0.0.1:0"},
        "aws": {
            "region": sandbox.region,
            "endpoint_url": sandbox.endpoint_url,
            "notebook_origins": list(sandbox.origins.values()),
            **more_aws,
        },
        "allowlists": {"here": ["127.0.0.0/8", "::1"], "elsewhere": ["203.0.113.0/24"]},
        "policy": {"allow": ["here"]},
        "instances": DEFAULT_INSTANCES,
        "log": {"format": "json"},
        **changes,
    }


@asynccontextmanager
async def open_rig(
    directory: Path,
    *,
    instances: Sequence[InstanceSpec] = (InstanceSpec(name="research-gpu-1"),),
    clock: Clock | None = None,
    sandbox_clock: Clock | None = None,
    mounted: dict[str, Any] = DEFAULT_INSTANCES,
    notebook_tls: ssl.SSLContext | None = None,
    upstream_tls: ssl.SSLContext | None = None,
    more_aws: Mapping[str, Any] = {},
    **changes: Any,
) -> AsyncIterator[Rig]:
    """Sandbox and gateway, both in this process. `instances` are the sandbox's, `mounted` is the configuration's
    section of that name; `notebook_tls` makes the notebook hosts https, `upstream_tls` is what the gateway trusts;
    `more_aws` stands in the section `aws` besides, and `changes` replace other sections.
    """
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    async with Sandbox(instances, clock=sandbox_clock or clock, tls=notebook_tls) as sandbox:
        file = directory / "nbgate.yaml"
        file.write_text(yaml.safe_dump(config_for(sandbox, instances=mounted, more_aws=more_aws, **changes)))
        settings = load(file, environ={})
        log_file = directory / "nbgate.log"
        fd = os.open(log_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            gateway = await start(settings, clock=clock, log_fd=fd, upstream_tls=upstream_tls)
            try:
                yield Rig(sandbox, gateway, log_file)
            finally:
                await gateway.close()
        finally:
            os.close(fd)


class Held(SystemClock):
    """The machine's clock. Who sleeps by it does not wake while it is held: a state that a test looks at stays."""

    def __init__(self) -> None:
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await self.going_on.wait()


class Background:
    """`rig` belongs to the other thread: use `call` and `run` to touch it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rig: Rig, held: Held) -> None:
        self._loop = loop
        self._held = held
        self.rig = rig

    @property
    def origin(self) -> str:
        return self.rig.origin

    def hold(self) -> None:
        """No instance goes on from Pending or Stopping until `let_go`."""
        self.call(self._held.going_on.clear)

    def let_go(self) -> None:
        self.call(self._held.going_on.set)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await something over there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_SECONDS)

    def call(self, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        """Call something over there."""

        async def calling() -> T:
            return function(*arguments, **keywords)

        return self.run(calling())


@contextmanager
def in_background(directory: Path, **options: Any) -> Iterator[Background]:
    """`options` are those of `open_rig`."""
    started = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        over, held = asyncio.Event(), Held()
        async with open_rig(directory, **{"sandbox_clock": held, **options}) as rig:
            found.update(background=Background(asyncio.get_running_loop(), rig, held), over=over)
            started.set()
            await over.wait()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:
            found["error"] = error
        finally:
            started.set()

    thread = threading.Thread(target=work, name="gateway")
    thread.start()
    assert started.wait(START_SECONDS)
    try:
        if "error" in found:
            raise found["error"]
        yield found["background"]
    finally:
        if "background" in found:
            found["background"].call(found["over"].set)
        thread.join(START_SECONDS)
    if "error" in found:
        raise found["error"]
