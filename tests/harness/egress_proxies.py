"""A real CONNECT proxy on 127.0.0.1: it opens tunnels, to where the test says, or answers whatever the test wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nProxy-Agent: tests\r\n\r\n"


@dataclass(eq=False)
class EgressProxy:
    """`answer` is sent in the place of a tunnel, None: tunnels are opened; b"": nothing is said. `leads` maps what is
    asked for to a port of this machine; what it does not name is dialled as it is. `behind` is sent after ESTABLISHED.
    """

    answer: bytes | None = None
    behind: bytes = b""
    hangs_up: bool = True
    leads: Mapping[str, int] = field(default_factory=dict)
    heads: list[bytes] = field(default_factory=list)
    port: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def targets(self) -> list[str]:
        """Where connections were asked to, in order."""
        return [head.split(b" ")[1].decode() for head in self.heads]

    @property
    def open(self) -> int:
        return sum(not writer.is_closing() for writer in self._writers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self.answer is None:
                await self._tunnel(head, reader, writer)
            elif self.answer:
                writer.write(self.answer)
                if not self.hangs_up:
                    await reader.read()
            else:
                await reader.read()
        writer.close()

    async def _tunnel(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = head.split(b" ")[1].decode()
        host, _, port = target.rpartition(":")
        if target in self.leads:
            host, port = "127.0.0.1", str(self.leads[target])
        beyond = await asyncio.open_connection(host, int(port))
        self._writers.append(beyond[1])
        writer.write(ESTABLISHED + self.behind)
        await asyncio.gather(_carry(reader, beyond[1]), _carry(beyond[0], writer))

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def open_egress_proxy(
    *, tls: ssl.SSLContext | None = None, **options: object
) -> AsyncIterator[EgressProxy]:
    proxy = EgressProxy(**options)  # type: ignore[arg-type]
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
        # The transports' own goodbyes.
        await asyncio.sleep(0.01)
