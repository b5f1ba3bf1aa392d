"""A6: what one caller who is let in can make the gateway hold, and how long one turn of the loop it can take.

Each row is a way to take much, over real sockets. Memory is what Python holds for it (tracemalloc), for a connection or
in all. A turn is counted in lines of the gateway's code (`tests/harness/turns.py`). That a bound which is met leaves a
trace, `test_limits_leave_a_trace.py` says for every setting.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.harness.notebook import switching
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, open_plane
from tests.harness.turns import counted

pytestmark = pytest.mark.slow

KIB = 1024
LINES_A_TURN = 60_000
"""Some ten milliseconds: 2,048 frames or chunks each way, and what reads them."""

Attack = Callable[[OpenPlane], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """`each_bytes`: what one connection may hold, of `count`."""

    attack: Callable[[OpenPlane, int], Awaitable[None]]
    each_bytes: int
    count: int = 20
    by_hand: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


# -- memory -------------------------------------------------------------------------------------------


async def settled(opened: OpenPlane) -> None:
    """Until the gateway has read and written what it will, for now."""
    before = None
    while before != (
        before := [
            *(one.held_bytes for one in opened.connections),
            *(one.held_bytes for one in opened.plane.open.relays),
        ]
    ):
        for _ in range(20):
            await asyncio.sleep(0.001)


async def silent(opened: OpenPlane, count: int) -> None:
    for _ in range(count):
        await opened.call()
    await opened.settled(lambda: len(opened.connections) >= count)


async def half_heads(opened: OpenPlane, count: int) -> None:
    for _ in range(count):
        (await opened.call()).send("GET / HTTP/1.1\r\nX: " + "x" * 60 * KIB)
    await opened.settled(lambda: sum(one.reader.held_bytes for one in opened.connections) >= count * 60 * KIB)


async def kept_alive(opened: OpenPlane, count: int) -> None:
    """After requests whose fields are worth remembering, as many as there may be."""
    for number in range(count):
        peer = await opened.call()
        for head in range(4):
            fields = "".join(f"X{head}-{each:03}: {number:012}\r\n" for each in range(110))
            for _ in range(2):  # what comes once is not remembered
                peer.send(opened.head(extra=fields))
                assert (await peer.response()).status == 200


async def pipelined(opened: OpenPlane, count: int) -> None:
    """10^4 requests, and no answer read."""
    opened.upstream.answer = lambda _head, _body: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + bytes(10_000)
    )
    for _ in range(count):
        peer = await opened.call()
        peer.stop_reading()
        peer.send(opened.head() * 10_000)
    await settled(opened)


async def unread_answers(opened: OpenPlane, count: int) -> None:
    for _ in range(count):
        peer = await opened.call()
        peer.stop_reading()
        peer.send(opened.head())
        notebook = await opened.upstream.accept()
        await notebook.head()
        notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        pump(notebook)
    await settled(opened)


async def uploads_to_nobody(opened: OpenPlane, count: int) -> None:
    """While the sign-in takes its time."""
    opened.keeper.cold()
    for _ in range(count):
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Content-Length: 1000000000\r\n"))
        pump(peer)
    await settled(opened)


async def uploads_that_stop_half_way(opened: OpenPlane, count: int) -> None:
    """What was sent is kept, for a second time."""
    for _ in range(count):
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Content-Length: 1000000\r\n") + "x" * 64 * KIB)
        notebook = await opened.upstream.accept()
        await notebook.head()
        await notebook.exactly(64 * KIB)


async def uploads_that_are_being_answered(opened: OpenPlane, count: int) -> None:
    """An answer has begun, so that there is no second time."""
    await asked(opened, count, extra=f"Content-Length: {64 * KIB}\r\n", body="x" * 64 * KIB)


async def asked(opened: OpenPlane, count: int, *, extra: str = "", body: str = "") -> None:
    for _ in range(count):
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra=extra) + body)
        notebook = await opened.upstream.accept()
        await notebook.head()
        await notebook.exactly(len(body))
        notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        await peer.head()


async def uploads_that_a_notebook_does_not_take(opened: OpenPlane, count: int) -> None:
    for _ in range(count):
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Content-Length: 1000000000\r\n"))
        notebook = await opened.upstream.accept()
        await notebook.head()
        notebook.stop_reading()
        pump(peer)
    await settled(opened)


async def waiting_sign_ins(opened: OpenPlane, count: int) -> None:
    opened.keeper.cold()
    for _ in range(count):
        (await opened.call()).send(opened.head())
    await opened.settled(lambda: sum(one.under_way is not None for one in opened.connections) >= count)


async def websockets(opened: OpenPlane, count: int) -> None:
    for _ in range(count):
        await upgraded(opened)


async def half_sent_frames(opened: OpenPlane, count: int) -> None:
    """A message of 60 MiB is announced, and comes in part."""
    for _ in range(count):
        peer = await upgraded(opened)
        peer.send(b"\x82\xff" + (60 * KIB * KIB).to_bytes(8, "big") + bytes(4) + bytes(64 * KIB))
    # Until the notebook has read all of it: what waits for a reader in the test's own end is not the gateway's.
    await opened.settled(lambda: all(len(one) == 14 + 64 * KIB for one in opened.upstream.tunnelled))


async def websockets_of_which_nobody_reads(opened: OpenPlane, count: int) -> None:
    for _ in range(count):
        peer = await opened.call()
        peer.send(opened.upgrade())
        notebook = await opened.upstream.accept()
        notebook.send(switching(await notebook.head()))
        await peer.head()
        for end, frame in ((peer, CLIENT_FRAME), (notebook, SERVER_FRAME)):
            end.stop_reading()
            pump(end, frame)
    await settled(opened)


async def bodies_of_own_pages(opened: OpenPlane, count: int) -> None:
    for _ in range(count):
        peer = await opened.call()
        peer.send(opened.head("/.nbgate/x", method="POST", extra="Content-Length: 1000000000\r\n"))
        pump(peer)
    await settled(opened)


CLIENT_FRAME = b"\x82\xff" + (1 << 20).to_bytes(8, "big") + bytes(4) + bytes(1 << 20)
SERVER_FRAME = b"\x82\x7f" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20)


def pump(peer: Peer, block: bytes = bytes(1 << 20)) -> None:
    """Send for as long as it is taken: more than any kernel holds for one connection."""
    for _ in range(16):
        peer.writer.write(block)


async def upgraded(opened: OpenPlane) -> Peer:
    peer = await opened.call()
    peer.send(opened.upgrade())
    assert (await peer.response()).status == 101
    return peer


async def never_reading(_request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


MEMORY = {
    "connections that say nothing": Row(silent, 16 * KIB),
    "half a head": Row(half_heads, 128 * KIB),
    "kept connections": Row(kept_alive, 256 * KIB),
    "pipelined requests whose answers nobody reads": Row(pipelined, 768 * KIB, count=4),
    "answers that nobody reads": Row(unread_answers, 1024 * KIB, by_hand=True),
    "uploads while nobody is signed in": Row(uploads_to_nobody, 384 * KIB),
    "uploads that stop half way": Row(uploads_that_stop_half_way, 160 * KIB, by_hand=True),
    "uploads whose answer has begun": Row(uploads_that_are_being_answered, 32 * KIB, by_hand=True),
    "uploads that a notebook does not take": Row(
        uploads_that_a_notebook_does_not_take, 1024 * KIB, by_hand=True
    ),
    "requests that wait for a sign-in": Row(waiting_sign_ins, 24 * KIB),
    "websockets": Row(websockets, 32 * KIB),
    "half-sent frames": Row(half_sent_frames, 32 * KIB),
    "websockets of which nobody reads": Row(websockets_of_which_nobody_reads, 1536 * KIB, by_hand=True),
    "bodies of pages of the gateway's own": Row(bodies_of_own_pages, 768 * KIB),
}


@pytest.mark.parametrize("name", MEMORY)
async def test_what_one_connection_holds_is_bounded(tmp_path: Path, name: str) -> None:
    row = MEMORY[name]
    async with open_plane(tmp_path, by_hand=row.by_hand, own_pages=never_reading, **row.changes) as opened:
        # What is made once, and what large reads land in.
        await row.attack(opened, 2)
        gc.collect()
        ours = tracemalloc.Filter(inclusive=False, filename_pattern="*/tests/*")
        tracemalloc.start()
        try:
            await row.attack(opened, row.count)
            gc.collect()
            held = sum(
                trace.size
                for trace in tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
            )
        finally:
            tracemalloc.stop()
        assert held < row.count * row.each_bytes, f"{held / row.count / KIB:.0f} KiB each"


async def test_what_one_address_holds_is_bounded(tmp_path: Path) -> None:
    """However many its connections are: the rest is cut within a second, and leaves a trace each."""
    most = 4 * KIB * KIB
    async with open_plane(tmp_path, by_hand=True, limits={"held_per_address": most}) as opened:
        await unread_answers(opened, 40)
        plane = opened.plane
        assert sum(one.held_bytes for one in opened.connections) > most
        plane.sweep()
        left = [one for one in opened.connections if not one.transport.is_closing()]
        held = sum(one.held_bytes for one in left)
        assert most // 2 < held <= most
        await opened.settled(lambda: len(plane.open.connections) < 40)
        ended = [record for record in opened.records if record.error == "HELD_TOO_MUCH"]
        assert len(ended) == 40 - len(plane.open.connections)
        assert {(one["limit"], one["most"]) for one in opened.events} == {("limits.held_per_address", most)}


# -- turns --------------------------------------------------------------------------------------------


def masked(first: int, payload: bytes = b"") -> bytes:
    return bytes((first, 0x80 | len(payload))) + bytes(4) + payload


async def tiny_frames(opened: OpenPlane, frames: bytes, count: int) -> None:
    """From the caller; all of them arrive."""
    peer = await upgraded(opened)
    data = frames * count
    peer.send(data)
    await opened.settled(lambda: len(opened.upstream.tunnelled[-1]) == len(data))
    assert opened.upstream.tunnelled[-1] == data


async def tiny_frames_of_the_notebook(opened: OpenPlane, frames: bytes, count: int) -> None:
    peer = await opened.call()
    peer.send(opened.upgrade())
    notebook = await opened.upstream.accept()
    notebook.send(switching(await notebook.head()))
    await peer.head()
    data = frames * count
    notebook.send(data)
    assert await peer.exactly(len(data)) == data


async def tiny_chunks(opened: OpenPlane, count: int, target: str) -> None:
    peer = await opened.call()
    peer.send(opened.head(target, method="POST", extra="Transfer-Encoding: chunked\r\n"))
    peer.send(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
    assert (await peer.response()).status == 200


async def tiny_chunks_of_the_notebook(opened: OpenPlane, count: int) -> None:
    body = b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    opened.upstream.answer = lambda _head, _body: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    )
    peer = await opened.call()
    peer.send(opened.head())
    await peer.head()
    assert await peer.exactly(len(body)) == body


async def many_requests(opened: OpenPlane, count: int, target: str) -> None:
    peer = await opened.call()
    peer.send(opened.head(target) * count)
    for _ in range(count):
        assert (await peer.response()).status == 200


async def byte_by_byte(opened: OpenPlane) -> None:
    """Each byte of requests and frames for itself."""
    peer = await opened.call()
    for byte in (opened.head() * 3).encode():
        peer.send(bytes((byte,)))
        await asyncio.sleep(0)
    for _ in range(3):
        assert (await peer.response()).status == 200


async def answering(request: web.BaseRequest) -> web.StreamResponse:
    size = 0
    while part := await request.content.readany():
        size += len(part)
    return web.Response(text=str(size))


TURNS: dict[str, tuple[bool, Attack]] = {
    "empty frames": (False, lambda one: tiny_frames(one, masked(0x82), 1_000_000)),
    "empty frames of two kinds": (False, lambda one: tiny_frames(one, masked(0x81) + masked(0x82), 250_000)),
    "frames of two lengths": (
        False,
        lambda one: tiny_frames(one, masked(0x82) + masked(0x82, b"x"), 250_000),
    ),
    "messages of empty fragments": (
        False,
        lambda one: tiny_frames(one, masked(0x02) + masked(0x80), 250_000),
    ),
    "pings": (False, lambda one: tiny_frames(one, masked(0x89) + masked(0x89, b"x"), 250_000)),
    "pings within a message": (
        False,
        lambda one: tiny_frames(one, masked(0x02) + masked(0x89) + masked(0x80) + masked(0x8A), 100_000),
    ),
    "empty frames of a notebook": (
        True,
        lambda one: tiny_frames_of_the_notebook(one, b"\x82\x00\x81\x01x", 250_000),
    ),
    "chunks of a byte": (False, lambda one: tiny_chunks(one, 100_000, "/up")),
    "chunks of a byte to a page of our own": (False, lambda one: tiny_chunks(one, 100_000, "/.nbgate/x")),
    "chunks of a byte of a notebook": (False, lambda one: tiny_chunks_of_the_notebook(one, 100_000)),
    "requests in one write": (False, lambda one: many_requests(one, 3000, "/")),
    "requests for pages of our own in one write": (False, lambda one: many_requests(one, 1000, "/.nbgate/x")),
    "bytes": (False, byte_by_byte),
}


@pytest.mark.parametrize("name", TURNS)
async def test_what_one_turn_of_the_loop_does_for_a_caller_is_bounded(tmp_path: Path, name: str) -> None:
    by_hand, attack = TURNS[name]
    async with open_plane(tmp_path, by_hand=by_hand, own_pages=answering) as opened:
        opened.upstream.answer = None
        with counted() as turns:
            await attack(opened)
        assert 0 < turns.longest < LINES_A_TURN
