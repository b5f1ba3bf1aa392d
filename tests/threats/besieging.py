"""Strangers who besiege a gateway, as a process of their own: `python besieging.py '{"seconds": 10, …}'`.

Three addresses at once: 200 connections a second that begin TLS and say nothing, 50 of the dearest requests a second,
half heads at the admin listener, and connections that are kept and idle. In the first half each address does one kind,
so that all kinds get in; in the second each does everything. What it did is printed as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

SILENT_A_SECOND = 200
REQUESTS_A_SECOND = 50
HALF_HEADS_A_SECOND = 50
IDLE_A_SECOND = 50

HOSTILE: tuple[Callable[[], str], ...] = (
    lambda: f"/oken{'a.' * 1020}",
    lambda: f"/{'nbgate1_' * 250}",
    lambda: f"/{'%25' * 600}{'authToken=' * 20}",
    lambda: f"/?{'token=&' * 280}",
    lambda: f"/{'a' * 2000}{random.random()}",
)
"""Paths that cost whoever reads or logs them most."""
FIELDS = (
    f"Cookie: {'; '.join(f'nbgate-session-{number}=x' for number in range(600))}\r\n",
    f"X-Forwarded-For: {', '.join(['203.0.113.7'] * 900)}\r\n",
    f"Forwarded: {'for=' * 4000}\r\n",
    f"Authorization: AWS4-HMAC-SHA256 {'Credential=/' * 1000}\r\nX-Amz-Target: SageMaker.ListNotebookInstances\r\n",
    "".join(f"X-{number}: {'y' * 100}\r\n" for number in range(100)),
)
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE


@dataclass
class Siege:
    tls_port: int
    plain_port: int
    admin_port: int
    sources: list[str]
    seconds: float
    done: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        kinds = (
            (self.silent, SILENT_A_SECOND),
            (self.request, REQUESTS_A_SECOND),
            (self.half_head, HALF_HEADS_A_SECOND),
            (self.idle, IDLE_A_SECOND),
        )
        assigned = {self.silent: 0, self.request: 1, self.half_head: 2, self.idle: 2}
        half = self.seconds / 2
        await asyncio.gather(
            *(self.keep(kind, rate, half, [self.sources[assigned[kind]]]) for kind, rate in kinds)
        )
        await asyncio.gather(*(self.keep(kind, rate, half, self.sources) for kind, rate in kinds))

    async def keep(
        self, kind: Callable[[str], Awaitable[None]], rate: int, seconds: float, sources: list[str]
    ) -> None:
        """Begin `rate` of a kind each second, whatever becomes of them."""
        loop = asyncio.get_running_loop()
        began_at, running = loop.time(), set()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began_at + number / rate - loop.time()))
            task = loop.create_task(self.one(kind, sources[number % len(sources)]))
            running.add(task)
            task.add_done_callback(running.discard)
        for task in running:
            task.cancel()

    async def one(self, kind: Callable[[str], Awaitable[None]], source: str) -> None:
        name = kind.__name__
        self.done[name] += 1
        try:
            await kind(source)
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            self.done[f"{name} cut"] += 1

    async def silent(self, source: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.tls_port, local_addr=(source, 0))
        try:
            await reader.read()
        finally:
            writer.close()

    async def request(self, source: str) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.tls_port, local_addr=(source, 0), ssl=TRUSTING
        )
        try:
            target, more = random.choice(HOSTILE)(), random.choice(FIELDS)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode())
            status = (await reader.readuntil(b"\r\n")).split(b" ")[1].decode()
            self.done[f"status {status}"] += 1
            await reader.read()
        finally:
            writer.close()

    async def half_head(self, source: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port, local_addr=(source, 0))
        try:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: ")
            await reader.read()
        finally:
            writer.close()

    async def idle(self, source: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.plain_port, local_addr=(source, 0))
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" if random.random() < 0.5 else b"GET /")
            await reader.read()
        finally:
            writer.close()


if __name__ == "__main__":
    import uvloop

    siege = Siege(**json.loads(sys.argv[1]))
    uvloop.run(siege.run())
    print(json.dumps(siege.done))
