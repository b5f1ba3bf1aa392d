"""WebSocket messages carried between two of aiohttp's WebSockets, for those to whom a message's cost does not matter.

The rule: what one side says reaches the other as it is: text, bytes, pings, pongs, and a close with its code and
reason. Whoever breaks off breaks both. The data plane, where each frame counts, follows frames itself. It must not know
who the sides are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import aiohttp

from proxy.tasks import Tasks


class MessageSide(Protocol):
    """What aiohttp's WebSockets of clients and of servers have in common, both without `autoping` and `autoclose`."""

    async def receive(self) -> aiohttp.WSMessage: ...
    async def send_str(self, data: str) -> None: ...
    async def send_bytes(self, data: bytes) -> None: ...
    async def ping(self, message: bytes) -> None: ...
    async def pong(self, message: bytes) -> None: ...
    async def send_frame(self, message: bytes, opcode: aiohttp.WSMsgType) -> None: ...


async def carry_messages(
    near: MessageSide, far: MessageSide, *, tasks: Tasks, name: str, hang_up: Callable[[], None]
) -> None:
    """Both ways, until either side has closed it. `hang_up` ends the near side's connection."""
    ways = (
        tasks.start(_carry(far, near), name=f"{name}: from the far side"),
        tasks.start(_carry(near, far), name=f"{name}: to the far side"),
    )
    try:
        for way in asyncio.as_completed(ways):
            if not await way:
                break
    finally:
        # Also after both closes: aiohttp would add one of its own.
        hang_up()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(source: MessageSide, sink: MessageSide) -> bool:
    """Pass messages on until `source` has closed (True: its close was passed on, too) or breaks (False).

    A close without a code (RFC 6455 section 7.1.5) stays one. Its answer is the other direction's last message.
    """
    try:
        while True:
            message = await source.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    await sink.send_str(message.data)
                case aiohttp.WSMsgType.BINARY:
                    await sink.send_bytes(message.data)
                case aiohttp.WSMsgType.PING:
                    await sink.ping(message.data)
                case aiohttp.WSMsgType.PONG:
                    await sink.pong(message.data)
                case aiohttp.WSMsgType.CLOSE:
                    code = message.data.to_bytes(2, "big") if message.data else b""
                    await sink.send_frame(code + (message.extra or "").encode(), aiohttp.WSMsgType.CLOSE)
                    return True
                case _:
                    return False
    except ConnectionError:
        return False
