"""When an instance was last used, seen from the gateway: uploads, downloads and typing count, an open tab does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from proxy.dataplane.traffic import Traffic
from proxy.wire.frames import ping_frame
from tests.harness.held import most_held_by, texts_held_by
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, open_plane
from tests.harness.turns import counted

MASK = b"\x01\x02\x03\x04"
PONG = b"\x8a\x86" + MASK + bytes(6)
KEYSTROKE = b"\x81\x8d" + MASK + bytes(13)
CHUNK = b"5\r\nhello\r\n"


@pytest.fixture
async def opened(tmp_path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path) as plane:
        yield plane


def watch(opened: OpenPlane, prefixes: dict[str, str] | None = None) -> Traffic:
    traffic = Traffic(opened.plane, clock=opened.clock, write=opened.records.append)
    prefixes = {"research": ""} if prefixes is None else prefixes
    opened.plane.log = traffic.watch(prefixes, dict.fromkeys(prefixes, "research-gpu-1"))
    return traffic


async def used(opened: OpenPlane, traffic: Traffic, do: Callable[[], Any]) -> bool:
    """Whether `do` counts as use, now."""
    await opened.clock.advance(1)
    await do()
    return traffic.last_use("research") == opened.clock.monotonic()


async def test_requests_count_by_what_they_do(opened: OpenPlane) -> None:
    traffic = watch(opened)
    assert not await used(opened, traffic, lambda: opened.get("/api/kernels"))
    assert not await used(opened, traffic, lambda: opened.get("/api/contents?content=1"))
    assert await used(opened, traffic, lambda: opened.get("/files/a.csv"))
    assert await used(
        opened, traffic, lambda: opened.get("/api/sessions", method="POST", extra="Content-Length: 0\r\n")
    )
    assert not await used(opened, traffic, lambda: opened.get("/api/sessions"))
    assert not await used(opened, traffic, lambda: opened.get("/lab/api/workspaces/default?1", method="PUT"))
    assert not await used(opened, traffic, lambda: opened.get("/git/team/status?1", method="POST"))
    assert await used(opened, traffic, lambda: opened.get("/api/contents/a.py?type=file&content=1&1"))
    assert len(opened.records) == 8


async def test_what_is_refused_is_no_use(opened: OpenPlane) -> None:
    traffic = watch(opened)
    opened.upstream.answer = lambda _head, _body: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    assert not await used(opened, traffic, lambda: opened.get("/files/a.csv"))
    assert traffic.last_use("research") is None


async def test_a_path_mounts_prefix_is_not_the_notebooks_path(tmp_path) -> None:
    instances = {"research": {"notebook": "r", "mount": {"path": "/files/"}}}
    async with open_plane(tmp_path, instances=instances) as opened:
        traffic = watch(opened, {"research": "/files"})
        assert not await used(opened, traffic, lambda: opened.get("/files/api/kernels"))
        assert await used(opened, traffic, lambda: opened.get("/files/lab"))


async def test_where_nobody_is_watched_the_log_is_the_log_itself(opened: OpenPlane) -> None:
    traffic = watch(opened, {})
    assert opened.plane.log == opened.records.append
    await opened.get("/files/a.csv")
    traffic.look()
    assert traffic.last_use("research") is None


async def websocket(opened: OpenPlane, target: str = "/api/kernels/k1/channels") -> Peer:
    peer = await opened.call()
    peer.send(opened.upgrade(target))
    await peer.head()
    return peer


async def arrived(opened: OpenPlane, peer: Peer, data: bytes) -> None:
    """Send, and wait until the notebook has it."""
    so_far = len(opened.upstream.tunnelled[-1])
    peer.send(data)
    await opened.settled(lambda: len(opened.upstream.tunnelled[-1]) == so_far + len(data))


async def test_a_websocket_that_is_held_open_is_no_use_but_typing_on_it_is(opened: OpenPlane) -> None:
    traffic = watch(opened)
    peer = await websocket(opened)

    async def pass_time(data: bytes = b"") -> None:
        if data:
            await arrived(opened, peer, data)
        traffic.look()

    # What a page says by itself when it connects.
    assert not await used(opened, traffic, lambda: pass_time(KEYSTROKE * 3))
    assert not await used(opened, traffic, lambda: pass_time(KEYSTROKE))
    assert not await used(opened, traffic, lambda: pass_time())
    assert not await used(opened, traffic, lambda: pass_time(PONG))
    assert not await used(opened, traffic, lambda: pass_time(PONG + ping_frame(b"", mask=MASK)))
    assert await used(opened, traffic, lambda: pass_time(KEYSTROKE))
    assert not await used(opened, traffic, lambda: pass_time())
    assert await used(opened, traffic, lambda: pass_time(PONG + KEYSTROKE))
    assert await used(opened, traffic, lambda: pass_time(KEYSTROKE[:9]))
    # The rest of that message, which began before the last look.
    assert await used(opened, traffic, lambda: pass_time(KEYSTROKE[9:]))
    assert not await used(opened, traffic, lambda: pass_time(PONG))
    # A payload that looks like a pong.
    assert await used(opened, traffic, lambda: pass_time(b"\x82\x92" + MASK + bytes(6)))
    assert await used(opened, traffic, lambda: pass_time(PONG))


async def talking(opened: OpenPlane, target: str) -> Callable[..., Any]:
    """A WebSocket that was looked at twice: whether what is sent on it from now on, in parts, is use."""
    traffic = watch(opened)
    peer = await websocket(opened, target)
    traffic.look()
    traffic.look()

    async def is_used(*parts: bytes) -> bool:
        async def say() -> None:
            for part in parts:
                await arrived(opened, peer, part)
            traffic.look()

        return await used(opened, traffic, say)

    return is_used


def said(payload: bytes, first: int = 0x82) -> bytes:
    """A frame of a caller's; `payload` as it is before masking."""
    masked = bytes(byte ^ MASK[index & 3] for index, byte in enumerate(payload))
    head = (
        bytes((first, 0x80 | len(payload)))
        if len(payload) < 126
        else bytes((first, 0xFE)) + len(payload).to_bytes(2, "big")
    )
    return head + MASK + masked


ROOM = "/api/collaboration/room/json:notebook:fd52cab9?sessionId=1"
AWARENESS = said(b"\x01\xd7\x01" + b"x" * 340)
UPDATE = said(b"\x00\x02\x52" + b"y" * 80)
SAVE = said(b"\x02\x04save\x01")


async def test_in_a_shared_document_writing_and_saving_is_use_and_awareness_is_not(opened: OpenPlane) -> None:
    is_used = await talking(opened, ROOM)
    for _ in range(3):
        assert not await is_used(AWARENESS)
    assert not await is_used(AWARENESS + PONG + AWARENESS)
    assert not await is_used(*(AWARENESS[at : at + 1] for at in range(20)), AWARENESS[20:])
    assert not await is_used(said(b"\x00\x00\x01\x00") + said(b"\x00\x01\x02\x00\x00"))
    assert await is_used(UPDATE)
    assert not await is_used(AWARENESS)
    assert await is_used(AWARENESS + UPDATE + AWARENESS)
    assert await is_used(*(UPDATE[at : at + 1] for at in range(len(UPDATE))))
    assert not await is_used()
    assert await is_used(SAVE)
    assert not await is_used(PONG)


async def test_a_message_that_is_cut_by_a_look_counts_as_what_it_is(opened: OpenPlane) -> None:
    is_used = await talking(opened, ROOM)
    assert not await is_used(AWARENESS)
    for cut in (1, 7, 8, 9, 10, 200):
        assert not await is_used(AWARENESS[:cut])
        assert not await is_used(AWARENESS[cut:])
    assert not await is_used(UPDATE[:7])
    assert await is_used(UPDATE[7:])
    # While nobody looked, after the use, half a message came: what it is cannot be known any more.
    assert await is_used(UPDATE + AWARENESS[:30])
    assert await is_used(AWARENESS[30:])
    assert not await is_used(AWARENESS)


async def test_a_message_in_fragments_is_what_its_first_one_says(opened: OpenPlane) -> None:
    is_used = await talking(opened, ROOM)
    assert not await is_used(said(b"\x01\x02", 0x02), PONG, said(b"\x00\x02", 0x00), said(b"\x00\x02", 0x80))
    assert await is_used(said(b"\x00\x02", 0x02))
    assert not await is_used(said(b"\x01\x02", 0x80))


async def test_so_many_messages_at_once_that_they_are_not_looked_at_count(opened: OpenPlane) -> None:
    is_used = await talking(opened, ROOM)
    short = said(b"\x01")
    assert not await is_used(short * 200)
    assert await is_used(short * 5000)
    assert not await is_used(short)


async def test_what_is_no_message_of_a_shared_document_passes_there_as_anywhere(opened: OpenPlane) -> None:
    """The looking changes nothing of what passes, and nothing of what is refused."""
    traffic = watch(opened)
    peer = await websocket(opened, ROOM)
    traffic.look()
    traffic.look()
    sent = AWARENESS + b"".join(said(bytes((kind, 2, number))) for kind in range(4) for number in range(200))
    await arrived(opened, peer, sent)
    assert opened.upstream.tunnelled[-1].endswith(sent)
    peer.send(b"\x83\x80" + MASK)
    assert b"opcode is reserved" in await peer.rest()


@pytest.mark.parametrize(
    "target",
    [
        "/api/collaboration/room/JupyterLab:globalAwareness",
        "/lsp/ws/pylsp",
        "/api/events/subscribe",
    ],
)
async def test_what_pages_say_by_themselves_is_no_use_whatever_it_is(opened: OpenPlane, target: str) -> None:
    is_used = await talking(opened, target)
    assert not await is_used(UPDATE + KEYSTROKE + SAVE)
    assert not await is_used(KEYSTROKE)


async def test_a_path_mounts_prefix_is_not_the_rooms_path(tmp_path) -> None:
    instances = {"research": {"notebook": "r", "mount": {"path": "/lsp/"}}}
    async with open_plane(tmp_path, instances=instances) as opened:
        traffic = watch(opened, {"research": "/lsp"})
        room, kernel = [await websocket(opened, f"/lsp{target}") for target in (ROOM, "/ws/kernel")]
        traffic.look()
        traffic.look()

        async def say(peer: Peer, index: int, data: bytes) -> None:
            peer.send(data)
            await opened.settled(lambda: opened.upstream.tunnelled[index].endswith(data))
            traffic.look()

        assert not await used(opened, traffic, lambda: say(room, 0, AWARENESS))
        assert await used(opened, traffic, lambda: say(room, 0, UPDATE))
        assert await used(opened, traffic, lambda: say(kernel, 1, AWARENESS))


async def test_messages_that_are_not_to_be_looked_into_cost_what_they_cost_unwatched(
    opened: OpenPlane,
) -> None:
    """Counted in lines of Python: a kernel's WebSocket after its first message, and one on which nothing counts."""
    lines: dict[str, int] = {}
    for target in ("/api/kernels/k1/channels", "/lsp/ws/pylsp", ROOM):
        traffic = watch(opened)
        peer = await websocket(opened, target)
        for name in ("unwatched", "watched"):
            if name == "watched":
                traffic.look()
                traffic.look()
                await arrived(opened, peer, UPDATE)
            with counted() as turns:
                await arrived(opened, peer, UPDATE)
            lines[f"{name} {target}"] = turns.longest
        peer.close()
    assert len(set(lines.values())) == 1, lines


async def test_after_a_message_no_frame_is_looked_at_until_the_next_look(opened: OpenPlane) -> None:
    traffic = watch(opened)
    peer = await websocket(opened)
    traffic.look()
    traffic.look()
    [relay] = opened.plane.open.relays
    caller = relay.caller
    watching = caller._follow
    await arrived(opened, peer, PONG)
    assert caller._follow == watching
    await arrived(opened, peer, KEYSTROKE)
    assert caller._follow == caller.tracker.feed
    traffic.look()
    assert caller._follow == watching


async def test_an_ill_formed_frame_is_still_found(opened: OpenPlane) -> None:
    traffic = watch(opened)
    peer = await websocket(opened)
    traffic.look()
    traffic.look()
    peer.send(b"\x83\x80" + MASK)
    assert b"opcode is reserved" in await peer.rest()


async def test_an_upload_under_way_is_use_for_as_long_as_it_moves(tmp_path) -> None:
    async with open_plane(tmp_path, by_hand=True) as opened:
        traffic = watch(opened)
        peer = await opened.call()
        peer.send(opened.head("/api/contents/a", method="PUT", extra="Transfer-Encoding: chunked\r\n"))
        peer.send(CHUNK)
        notebook = await opened.upstream.accept()
        await notebook.until(CHUNK)

        async def look(data: bytes = b"") -> None:
            if data:
                peer.send(data)
                await notebook.until(data)
            traffic.look()

        assert await used(opened, traffic, look)
        assert not await used(opened, traffic, look)
        assert await used(opened, traffic, lambda: look(CHUNK))


async def test_a_download_under_way_is_use_and_a_poll_under_way_is_not(tmp_path) -> None:
    async with open_plane(tmp_path, by_hand=True) as opened:
        traffic = watch(opened)

        async def ask(target: str) -> Peer:
            peer = await opened.call()
            peer.send(opened.head(target))
            notebook = await opened.upstream.accept()
            await notebook.head()
            notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello")
            await peer.until(b"hello")
            return peer

        async def look() -> None:
            traffic.look()

        await ask("/api/events/long-poll")
        assert not await used(opened, traffic, look)
        await ask("/files/a.bin")
        assert await used(opened, traffic, look)
        assert not await used(opened, traffic, look)


async def test_many_targets_are_not_remembered_without_end(opened: OpenPlane) -> None:
    traffic = watch(opened)
    for number in range(3000):
        traffic._judge("research", "GET", f"/api/contents/{number}")
    assert most_held_by(traffic) <= 1024
    traffic._judge("research", "GET", "/lab?token=kept-out")
    assert not any("kept-out" in text for text in texts_held_by(traffic))


async def test_what_cannot_be_looked_at_counts_as_use_and_hides_no_other(
    opened: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance is stopped for want of use: who cannot see must not conclude that there was none."""
    traffic = watch(opened)
    for _ in range(2):
        await websocket(opened)
    first, second = opened.plane.open.relays
    looked: list[object] = []
    monkeypatch.setattr(type(first.caller), "watch", lambda end: looked.append(end))
    traffic.look()
    monkeypatch.setattr(first.caller, "tracker", None)
    monkeypatch.setattr(
        type(first.caller), "is_used", property(lambda end: 1 / 0 if end is first.caller else False)
    )
    await opened.clock.advance(1)
    traffic.look()
    assert traffic.last_use("research") == opened.clock.monotonic()
    assert looked == [second.caller]
    assert [type(error) for error in opened.faults] == [ZeroDivisionError]
    opened.faults.clear()
    monkeypatch.undo()


async def test_a_request_that_cannot_be_looked_at_counts_as_use_of_all(
    opened: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = watch(opened)
    peer = await opened.call()
    peer.send(opened.head())
    await peer.response()
    monkeypatch.setattr(type(opened.connection), "under_way", property(lambda _connection: 1 / 0))
    traffic.look()
    assert traffic.last_use("research") == opened.clock.monotonic()
    assert [type(error) for error in opened.faults] == [ZeroDivisionError]
    opened.faults.clear()
