"""A whole gateway over real sockets in front of a sandbox, as tests want it: `async with open_rig(...) as rig`."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.clock import Clock
from proxy.config.load import load
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from proxy.server.run import RunningGateway, start
from tests.harness.waiting import PATIENCE_SECONDS

DEFAULT_INSTANCES: dict[str, Any] = {"research": {"notebook": "research-gpu-1", "mount": "root"}}


@dataclass
class Rig:
    """`host` and `port` lead to the first listener; `origin` is how a browser would call it."""

    sandbox: Sandbox
    gateway: RunningGateway
    log_file: Path

    @property
    def port(self) -> int:
        return self.gateway.addresses[0].port

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.authority}"

    @property
    def upstream(self):
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
