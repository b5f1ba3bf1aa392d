"""WebSockets on the stage, frame by frame: what both ends send, and an open one between them."""

from __future__ import annotations

from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, get

MASK = b"\x01\x02\x03\x04"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n%b\r\n"
)


def server_frame(payload: bytes, *, opcode: int = 2, fin: bool = True) -> bytes:
    """A frame as a notebook sends it."""
    return _head(opcode, len(payload), fin=fin, masked=False) + payload


def client_frame(payload: bytes, *, opcode: int = 2, fin: bool = True) -> bytes:
    """A frame as a caller sends it."""
    masked = bytes(byte ^ MASK[index & 3] for index, byte in enumerate(payload))
    return _head(opcode, len(payload), fin=fin, masked=True) + MASK + masked


def _head(opcode: int, length: int, *, fin: bool, masked: bool) -> bytes:
    first, mask = opcode | (0x80 if fin else 0), 0x80 if masked else 0
    if length < 126:
        return bytes((first, mask | length))
    if length < 0x10000:
        return bytes((first, mask | 126)) + length.to_bytes(2, "big")
    return bytes((first, mask | 127)) + length.to_bytes(8, "big")


async def websocket(
    stage: OpenPlane,
    *,
    target: bytes = b"/api/kernels/1/channels",
    fields: bytes = b"",
    answer: bytes = b"",
    receive_bytes: int = 0,
) -> tuple[Peer, Peer]:
    """A WebSocket that is open from end to end."""
    caller = await stage.call(get(target, fields=UPGRADE + fields), receive_bytes=receive_bytes)
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(SWITCHED % answer)
    await caller.head()
    return caller, notebook


async def close_of(peer: Peer, *, masked: bool) -> int:
    """The code of the close frame that is next."""
    head = await peer.exactly(2)
    assert head[0] == 0x88
    assert bool(head[1] & 0x80) is masked
    mask = await peer.exactly(4) if masked else bytes(4)
    payload = await peer.exactly(head[1] & 0x7F)
    return int.from_bytes(bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))[:2], "big")
