"""`nbgate serve` as a process of its own, with the descriptors that the test lets it have, on ports that it picks.

`async with serving(tmp_path, sandbox, …) as served:` returns once it serves; what it listens on stands in its log.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.sandbox.sandbox import Sandbox
from tests.harness.gateway import config_for

PATIENCE = 30.0
_LIMITED = (
    "import resource, runpy, sys\n"
    "soft, hard = map(int, sys.argv[1:3])\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
    "sys.argv = ['nbgate', 'serve', '--config', sys.argv[3]]\n"
    "runpy.run_module('proxy', run_name='__main__')\n"
)


@dataclass
class Served:
    """`ports` are the listeners', in the order of the configuration."""

    process: asyncio.subprocess.Process
    log_file: Path
    ports: list[int]
    admin_port: int

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def leave_no_descriptor(self) -> None:
        """From now on every attempt to have one more fails; what is open stays."""
        taken = {int(name) for name in os.listdir(f"/proc/{self.pid}/fd")}
        lowest = next(number for number in itertools.count() if number not in taken)
        self._descriptors = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (lowest, self._descriptors[1]))

    def give_descriptors_back(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self._descriptors)

    @property
    def cpu_seconds(self) -> float:
        """What the process has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def lines(self) -> list[dict[str, Any]]:
        """All lines of its log that are complete."""
        text = self.log_file.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    async def logged(self, **fields: Any) -> dict[str, Any]:
        """The first line with these fields, once it is there."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for line in self.lines():
                    if all(line.get(name) == value for name, value in fields.items()):
                        return line
                assert self.process.returncode is None, self.log_file.read_text()
                await asyncio.sleep(0.05)  # another process: there is no event to wait for

    async def ask_admin(self, path: str, *, source: str = "127.0.0.1") -> bytes:
        """All that the admin listener answers to a GET."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port, local_addr=(source, 0))
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()

    async def refused(self) -> set[str]:
        """The codes of limits at which connections were refused so far."""
        text = (await self.ask_admin("/metrics")).decode()
        counted = re.findall(r'(?m)^nbgate_connections_refused_total\{reason="(\w+)"\} (\S+)$', text)
        return {reason.upper() for reason, count in counted if float(count)}

    async def metric(self, name: str) -> float:
        """The value of a sample, named as it stands in the text format, labels included."""
        text = (await self.ask_admin("/metrics")).decode()
        [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.rpartition(" ")[2])


@asynccontextmanager
async def serving(
    directory: Path, sandbox: Sandbox, *, files: tuple[int, int] = (1024, 1024), **changes: Any
) -> AsyncIterator[Served]:
    """`files` are the soft and the hard limit of descriptors; `changes` replace sections of the configuration."""
    config, log_file = directory / "nbgate.yaml", directory / "nbgate.log"
    config.write_text(yaml.safe_dump(config_for(sandbox, **changes)))
    environ = os.environ | {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _LIMITED, *map(str, files), str(config)),
            stdout=log,
            stderr=log,
            env=environ,
        )
    served = Served(process, log_file, [], 0)
    try:
        line = await served.logged(event="serving")
        served.ports = [int(address.rpartition(":")[2]) for address in line["listeners"]]
        served.admin_port = int(line["admin"].rpartition(":")[2])
        yield served
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
