"""What one side says reaches the other as it is, and whoever breaks off breaks both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMessage, WSMsgType

from proxy.tasks import Tasks
from proxy.websocket_messages import carry_messages

TEXT = WSMessage(WSMsgType.TEXT, "é", None)
BYTES = WSMessage(WSMsgType.BINARY, b"\x00", None)
PING = WSMessage(WSMsgType.PING, b"p", None)
PONG = WSMessage(WSMsgType.PONG, b"q", None)
CLOSED = WSMessage(WSMsgType.CLOSED, None, None)


def close(code: int, reason: str) -> WSMessage:
    return WSMessage(WSMsgType.CLOSE, code, reason)


class Side:
    """Says what it was told to, then nothing. Keeps what is said to it."""

    def __init__(self, *says: WSMessage) -> None:
        self.says: asyncio.Queue[WSMessage] = asyncio.Queue()
        for message in says:
            self.says.put_nowait(message)
        self.heard: list[object] = []
        self.is_gone = False

    async def receive(self) -> WSMessage:
        return await self.says.get()

    def _hear(self, what: object) -> None:
        if self.is_gone:
            raise ConnectionResetError
        self.heard.append(what)

    async def send_str(self, data: str) -> None:
        self._hear(data)

    async def send_bytes(self, data: bytes) -> None:
        self._hear(data)

    async def ping(self, message: bytes) -> None:
        self._hear(("ping", message))

    async def pong(self, message: bytes) -> None:
        self._hear(("pong", message))

    async def send_frame(self, message: bytes, opcode: WSMsgType) -> None:
        self._hear((opcode, message))


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    failed: list[BaseException] = []
    owner = Tasks(lambda _name, error: failed.append(error))
    yield owner
    assert (len(owner), failed) == (0, [])


async def carried(tasks: Tasks, near: Side, far: Side) -> int:
    """How often the near side was hung up on."""
    ended: list[None] = []
    await carry_messages(near, far, tasks=tasks, name="test", hang_up=lambda: ended.append(None))
    return len(ended)


async def test_messages_pass_both_ways_as_they_are_until_both_have_closed(tasks: Tasks) -> None:
    near = Side(TEXT, BYTES, close(1000, ""))
    far = Side(PING, PONG, close(4001, "grund"))
    assert await carried(tasks, near, far) == 1
    assert far.heard == ["é", b"\x00", (WSMsgType.CLOSE, b"\x03\xe8")]
    assert near.heard == [("ping", b"p"), ("pong", b"q"), (WSMsgType.CLOSE, b"\x0f\xa1grund")]


async def test_a_close_without_a_code_stays_one(tasks: Tasks) -> None:
    near, far = Side(close(0, "")), Side(close(0, ""))
    assert await carried(tasks, near, far) == 1
    assert far.heard == near.heard == [(WSMsgType.CLOSE, b"")]


@pytest.mark.parametrize("breaks", ["near", "far", "sending"])
async def test_whoever_breaks_off_breaks_both(tasks: Tasks, breaks: str) -> None:
    near, far = Side(), Side()
    if breaks == "sending":
        near.says.put_nowait(TEXT)
        far.is_gone = True
    else:
        {"near": near, "far": far}[breaks].says.put_nowait(CLOSED)
    assert await carried(tasks, near, far) == 1
