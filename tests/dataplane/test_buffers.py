"""Memory for large reads is used again, and never while anybody looks at it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.dataplane.buffers import (
    FEW_BYTES,
    FIRST_BYTES,
    KEPT,
    LARGE_BYTES,
    OTHER_BYTES,
    LargeReads,
    ReadMemory,
    begin_large_reads,
)
from tests.harness.held import most_held_by
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, get, open_stage
from tests.harness.waiting import eventually

BULK = 24 * 1024 * 1024


def test_memory_that_nobody_looks_at_is_used_again() -> None:
    read_memory = ReadMemory()
    assert read_memory.take() is read_memory.take()


def test_memory_is_not_used_again_while_a_part_of_it_is_looked_at() -> None:
    read_memory = ReadMemory()
    first = read_memory.take()
    view = memoryview(first)[10:20].toreadonly()
    part = view[3:]
    del view
    second = read_memory.take()
    assert second is not first
    assert (len(first), len(second)) == (FIRST_BYTES, OTHER_BYTES)
    del part
    assert read_memory.take() is first


def test_few_pieces_are_kept() -> None:
    read_memory = ReadMemory()
    views = [memoryview(read_memory.take()) for _ in range(3 * KEPT)]
    assert len({id(view.obj) for view in views}) == 3 * KEPT
    assert most_held_by(read_memory) == KEPT


class Transport(asyncio.Transport):
    def __init__(self, *, tls: bool = False) -> None:
        super().__init__({"sslcontext": object()} if tls else {})
        self.protocol: Any = None
        self.ended = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.ended


class Receiver(asyncio.Protocol):
    """Takes views until told otherwise."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.takes_views = True

    def data_received(self, data: bytes) -> None:
        self.told.append(("data", type(data), bytes(data)))

    def large_received(self, data: memoryview) -> bool:
        assert data.readonly
        self.told.append(("large", bytes(data)))
        return self.takes_views

    def eof_received(self) -> bool:
        self.told.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


def standing_in() -> tuple[LargeReads, Receiver, Transport]:
    receiver, transport = Receiver(), Transport()
    transport.set_protocol(receiver)
    begin_large_reads(receiver, transport, ReadMemory())
    assert isinstance(transport.protocol, LargeReads)
    return transport.protocol, receiver, transport


def read(reads: LargeReads, data: bytes) -> None:
    memory = reads.get_buffer(-1)
    memory[: len(data)] = data
    reads.buffer_updated(len(data))


def test_a_large_read_is_handed_over_as_a_view_and_a_small_one_ends_that() -> None:
    reads, receiver, transport = standing_in()
    much = b"x" * FEW_BYTES
    read(reads, much)
    assert receiver.told == [("large", much)]
    assert transport.protocol is reads
    read(reads, b"little")
    assert receiver.told[1:] == [("data", bytes, b"little")]
    assert transport.protocol is receiver


def test_a_receiver_may_end_it() -> None:
    reads, receiver, transport = standing_in()
    receiver.takes_views = False
    read(reads, b"x" * LARGE_BYTES)
    assert transport.protocol is receiver


def test_a_transport_that_others_took_over_stays_theirs() -> None:
    reads, _, transport = standing_in()
    other = Receiver()
    transport.set_protocol(other)
    read(reads, b"little")
    assert transport.protocol is other


@pytest.mark.parametrize("reason", ["tls", "closing", "taken over"])
def test_it_does_not_begin(reason: str) -> None:
    receiver, transport = Receiver(), Transport(tls=reason == "tls")
    before = Receiver() if reason == "taken over" else receiver
    transport.set_protocol(before)
    transport.ended = reason == "closing"
    begin_large_reads(receiver, transport, ReadMemory())
    assert transport.protocol is before


def test_everything_else_is_passed_on() -> None:
    reads, receiver, _ = standing_in()
    error = OSError()
    assert reads.eof_received() is True
    reads.pause_writing()
    reads.resume_writing()
    reads.connection_lost(error)
    assert receiver.told == ["eof", "pause", "resume", error]


# -- over sockets: what arrives is what was sent ------------------------------------------------------------


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_stage(tmp_path) as stage:
        yield stage


def chunked(body: bytes, rng: random.Random) -> bytes:
    parts, position = [], 0
    while position < len(body):
        size = rng.choice([1, 17, 1000, 65536, 300_000])
        part = body[position : position + size]
        parts.append(b"%x\r\n%b\r\n" % (len(part), part))
        position += size
    return b"".join(parts) + b"0\r\n\r\n"


async def digest(peer: Peer, size: int) -> str:
    seen = hashlib.sha256()
    while size:
        data = await peer.exactly(min(size, 1 << 20))
        seen.update(data)
        size -= len(data)
    return seen.hexdigest()


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_bulk_arrives_whole_whoever_shares_the_memory(stage: OpenPlane, framing: str) -> None:
    """An upload and two downloads, while a third download waits for a caller that does not read."""
    rng = random.Random(framing)
    body = rng.randbytes(BULK // 4) * 4
    sent = chunked(body, rng) if framing == "chunked" else body
    field = (
        b"Transfer-Encoding: chunked\r\n" if framing == "chunked" else b"Content-Length: %d\r\n" % len(sent)
    )
    response = b"HTTP/1.1 200 OK\r\n" + field + b"\r\n" + sent
    expected = hashlib.sha256(sent).hexdigest()

    stalled, notebook = await stage.forwarded(b"/stalled")
    notebook.send(response)
    await eventually(lambda: any(connection.writer.is_full for connection in stage.connections))

    caller = await stage.call(get(b"/up", fields=field, method=b"PUT"))
    caller.send(sent)
    notebook = await stage.notebook()
    await notebook.head()
    assert await digest(notebook, len(sent)) == expected
    notebook.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    await caller.head()
    # The same connections go the other way, and on in small pieces again.
    for target in (b"/one", b"/two"):
        caller.send(get(target))
        assert (await notebook.head()).startswith(b"GET " + target)
        notebook.send(response)
        await caller.head()
        assert await digest(caller, len(sent)) == expected
        caller.send(get(b"/small"))
        assert (await notebook.head()).startswith(b"GET /small ")
        notebook.send(ok(b"x"))
        await caller.response()

    await stalled.head()
    assert await digest(stalled, len(sent)) == expected
    assert most_held_by(stage.plane.read_memory), "nothing was read into shared memory"
