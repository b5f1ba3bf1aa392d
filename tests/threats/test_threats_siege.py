"""Threats, N1 to N5 at once: three strangers besiege a gateway of 1,024 descriptors; who may come in notices nothing.

NBGATE_SIEGE_SECONDS=60 is the whole of it; a shorter one is enough to see what broke.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections import Counter
from pathlib import Path

import pytest

from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from tests.harness.certificates import self_signed, trusting
from tests.harness.gateway import status_of
from tests.harness.serving import Served, serving

SECONDS = float(os.environ.get("NBGATE_SIEGE_SECONDS", "10"))
STRANGERS = ["127.0.0.66", "127.0.0.67", "127.0.0.68"]
REQUESTS_A_SECOND = 10
LONGEST_TURN_SECONDS = 0.05
PATIENCE = 20.0
"""Of an allowed caller. The machine may be busy with other things than this test."""


class Friend:
    """Somebody who may come in: requests on connections of their own and on a kept one, with TLS; and a WebSocket."""

    def __init__(self, served: Served, context: ssl.SSLContext) -> None:
        self.served = served
        self.port = served.ports[0]
        self.context = context
        self.answers: Counter[str] = Counter()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)

    def head(self, target: str = "/status/204", extra: str = "") -> bytes:
        return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{extra}\r\n".encode()

    async def once(self) -> None:
        reader, writer = await self.connect()
        writer.write(self.head(extra="Connection: close\r\n"))
        self.answers[str(status_of(await reader.read()))] += 1
        writer.close()

    async def ask(self, do: asyncio.Future[None] | object) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await do  # type: ignore[misc]
        except (OSError, TimeoutError, asyncio.IncompleteReadError, IndexError) as error:
            self.answers[repr(error)] += 1

    async def live(self, seconds: float) -> None:
        """Ten requests a second; every other one on a connection that is kept, and a message on the WebSocket."""
        loop = asyncio.get_running_loop()
        kept = await self.connect()
        talking = await self.connect()
        talking[1].write(
            self.head(
                "/ws",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://127.0.0.1:{self.port}\r\n",
            )
        )
        assert status_of(await talking[0].readuntil(b"\r\n\r\n")) == 101

        async def keep_on() -> None:
            kept[1].write(self.head())
            self.answers[str(status_of(await kept[0].readuntil(b"\r\n\r\n")))] += 1
            talking[1].write(b"\x81\x82\0\0\0\0hi")
            assert await talking[0].readexactly(4) == b"\x81\x02hi"

        began_at, running = loop.time(), []
        keeping: asyncio.Task[None] | None = None
        for number in range(int(seconds * REQUESTS_A_SECOND)):
            await asyncio.sleep(max(0.0, began_at + number / REQUESTS_A_SECOND - loop.time()))
            if number % 2:
                if keeping is not None:
                    await keeping
                keeping = loop.create_task(self.ask(keep_on()))
                running.append(keeping)
            else:
                running.append(loop.create_task(self.ask(self.once())))
            if number % REQUESTS_A_SECOND == 0:
                assert status_of(await self.served.ask_admin("/healthz")) == 200
        await asyncio.gather(*running)
        for _, writer in (kept, talking):
            writer.close()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 6 + 180)
async def test_three_strangers_lock_nobody_out(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, name="IP:127.0.0.1")
    tls = {"certificate": str(certificate), "key": str(certificate)}
    async with (
        Sandbox((InstanceSpec(name="research-gpu-1"),)) as sandbox,
        serving(
            tmp_path,
            sandbox,
            files=(1024, 1024),
            listeners=[{"bind": "127.0.0.1:0", "tls": tls}, {"bind": "127.0.0.1:0"}],
            allowlists={"here": ["127.0.0.1"]},
            # Within half of the shortest siege a silent handshake is over.
            timeouts={"request_head": f"{min(15, int(SECONDS / 3))}s"},
        ) as served,
    ):
        friend = Friend(served, trusting(certificate))
        await friend.once()
        # What is loaded when it is first needed is no turn of the siege.
        await served.metric("nbgate_connections_most")
        order = {
            "tls_port": served.ports[0],
            "plain_port": served.ports[1],
            "admin_port": served.admin_port,
            "sources": STRANGERS,
            "seconds": SECONDS,
        }
        besiegers = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("besieging.py")),
            json.dumps(order),
            stdout=asyncio.subprocess.PIPE,
            # What uvloop says when its own end is cut.
            stderr=asyncio.subprocess.DEVNULL,
        )
        most_files = 0

        async def watch() -> None:
            nonlocal most_files
            while besiegers.returncode is None:
                most_files = max(most_files, served.open_files)
                await asyncio.sleep(0.2)

        watching = asyncio.create_task(watch())
        cpu = served.cpu_seconds
        try:
            await friend.live(SECONDS)
            done = json.loads((await besiegers.communicate())[0])
        finally:
            if besiegers.returncode is None:
                besiegers.kill()
                await besiegers.wait()
            await watching
        cpu = served.cpu_seconds - cpu
        metrics = {
            clock: await served.metric(f'nbgate_event_loop_longest_turn_seconds{{clock="{clock}"}}')
            for clock in ("cpu", "wall")
        }
        ran_out = await served.metric("nbgate_descriptors_exhausted_total")
        refused = await served.refused()
        lines = served.lines()
        said = f"{done} {dict(friend.answers)} {metrics} files {most_files} cpu {cpu:.1f} lines {len(lines)}"
        print(said)

        # It was a siege: all of it was begun, and of each kind something got in.
        assert done["silent"] >= 0.95 * 200 * SECONDS, said
        assert done["request"] >= 0.95 * 50 * SECONDS, said
        assert done["status 403"] > 10 * SECONDS, said

        # Nobody who may come in noticed.
        asked = int(SECONDS * REQUESTS_A_SECOND) + 1
        assert friend.answers == {"204": asked}, said
        assert metrics["cpu"] <= LONGEST_TURN_SECONDS, said
        assert ran_out == 0, said
        assert most_files < 1024, said

        # The log names each limit that was met, and by whom; and is no flood.
        told = {(line["code"], line["address"]) for line in lines if line.get("event") == "limit met"}
        assert refused <= {code for code, _ in told}, (refused, told)
        assert {"TOO_MANY_FROM_STRANGER", "TLS_TIMEOUT", "ADMIN_TOO_MANY_FROM_ADDRESS"} <= refused, told
        assert {source for _, source in told} == set(STRANGERS), told
        recorded = Counter(line["error"] for line in lines if line.get("kind") == "http")
        assert recorded["TOO_MANY_FROM_STRANGER"] <= 10 * len(STRANGERS) * (SECONDS // 60 + 2), recorded
        assert not [line for line in lines if line.get("level") == "error"]
