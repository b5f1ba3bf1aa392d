"""How WebSockets end: at once where both ends have closed, with a word where the gateway ends them, and never for a
size that nobody set; and the record says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy.dataplane.websocket.end import PING_PAYLOAD
from proxy.dataplane.websocket.relay import LINGER_SECONDS
from proxy.wire.frames import (
    MESSAGE_TOO_BIG,
    PROTOCOL_ERROR,
    SERVICE_RESTART,
    TIMED_OUT,
    close_frame,
    ping_frame,
)
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, open_stage
from tests.harness.waiting import eventually, settle
from tests.harness.websocket_peers import MASK, client_frame, close_of, server_frame, websocket

CLOSES = {
    "a code": (close_frame(4001, "bye", mask=MASK), close_frame(4001, "bye", mask=None), 4001),
    "no code": (b"\x88\x80" + MASK, b"\x88\x00", 1005),
    "another code": (close_frame(4001, mask=MASK), close_frame(4002, mask=None), None),
    "a code that is told": (close_frame(1000, mask=MASK), close_frame(1000, mask=None), 1000),
}


@pytest.mark.parametrize("first", ["caller", "notebook"])
@pytest.mark.parametrize("cut", [0, 1, 3, 7])
@pytest.mark.parametrize("closes", CLOSES.values(), ids=CLOSES)
async def test_both_have_closed_and_neither_ends_its_connection(
    stage: OpenPlane, closes: tuple[bytes, bytes, int | None], first: str, cut: int
) -> None:
    """RFC 6455 section 7.1.1: nothing can come any more. The one waits for the other's end, for ever, mostly."""
    of_caller, of_notebook, code = closes
    caller, notebook = await websocket(stage, target=b"/proxy/8000/ws")
    sides = [(caller, of_caller, notebook), (notebook, of_notebook, caller)]
    for peer, frame, other in sides if first == "caller" else reversed(sides):
        peer.send(frame[:cut])
        await other.expect(frame[:cut])
        peer.send(frame[cut:])
        await other.expect(frame[cut:])
    assert await caller.rest() == await notebook.rest() == b""
    await eventually(lambda: bool(stage.records))
    assert not stage.plane.open.relays
    assert stage.open == 0
    record = stage.records[-1]
    assert record.error == ""
    assert record.close_code == code or (code is None and record.close_code in (4001, 4002))


async def test_one_that_has_closed_still_hears_what_the_other_says(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    caller.send(close_frame(4000, mask=MASK))
    assert await close_of(notebook, masked=True) == 4000
    for number in range(3):
        notebook.send(server_frame(b"output %d" % number))
        await caller.expect(server_frame(b"output %d" % number))
    caller.send(client_frame(b"pong", opcode=10))
    await notebook.expect(client_frame(b"pong", opcode=10))
    assert stage.plane.open.relays
    notebook.send(server_frame(b"last") + close_frame(4000, mask=None))
    assert await caller.rest() == server_frame(b"last") + close_frame(4000, mask=None)
    assert await notebook.rest() == b""


async def test_both_have_closed_and_one_takes_nothing(stage: OpenPlane) -> None:
    """What is owed to it is sent for as long as our own close would be waited for."""
    caller, notebook = await websocket(stage, receive_bytes=65536)
    notebook.send(server_frame(bytes(20_000_000)) + close_frame(4000, mask=None))
    caller.send(close_frame(4000, mask=MASK))
    [relay] = stage.plane.open.relays
    await eventually(lambda: relay.notebook.read_paused)
    notebook.close()
    frames = await caller.rest()
    assert frames == server_frame(bytes(20_000_000)) + close_frame(4000, mask=None)
    await eventually(lambda: not stage.plane.open.relays)


# -- silence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", ["caller", "notebook"])
async def test_who_is_silent_is_told_so_and_so_is_the_other(stage: OpenPlane, silent: str) -> None:
    caller, notebook = await websocket(stage)
    await stage.sweep(25.0)
    await caller.expect(ping_frame(PING_PAYLOAD, mask=None))
    await notebook.exactly(6 + len(PING_PAYLOAD))
    if silent == "caller":
        notebook.send(server_frame(b"I live"))
        await caller.expect(server_frame(b"I live"))
    else:
        caller.send(client_frame(b"I live"))
        await notebook.expect(client_frame(b"I live"))
    await stage.sweep(65.0)
    if silent == "notebook":
        await caller.expect(ping_frame(PING_PAYLOAD, mask=None))
    assert await close_of(caller, masked=False) == TIMED_OUT
    assert await close_of(notebook, masked=True) == TIMED_OUT
    await stage.sweep(LINGER_SECONDS)
    assert await caller.gone()
    assert await notebook.gone()
    assert not stage.plane.open.relays
    [record] = stage.records
    assert (record.close_code, record.error) == (TIMED_OUT, "WEBSOCKET_SILENT")


async def test_who_is_silent_in_the_middle_of_a_frame_leaves_no_place_to_say_so(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    notebook.send(server_frame(b"whole")[:3])
    await caller.expect(server_frame(b"whole")[:3])
    await stage.sweep(1.0)
    await stage.sweep(90.0)
    await stage.sweep(LINGER_SECONDS)
    assert await caller.gone()
    assert stage.records[-1].error == "WEBSOCKET_SILENT"


# -- sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("side", ["caller", "notebook"])
async def test_a_frame_of_any_size_passes(stage: OpenPlane, side: str) -> None:
    """Nothing of it is held. Outputs of 70 MB are ordinary, and work without a gateway."""
    size, piece = 70 * 2**20, bytes(2**20)
    caller, notebook = await websocket(stage)
    mask = b"\x00" * 4
    sender, receiver, head = (
        (caller, notebook, b"\x82\xff" + size.to_bytes(8, "big") + mask)
        if side == "caller"
        else (notebook, caller, b"\x82\x7f" + size.to_bytes(8, "big"))
    )
    sender.send(head)
    await receiver.expect(head)
    for _ in range(size // len(piece)):
        sender.send(piece)
        await receiver.expect(piece)
        assert sum(relay.held_bytes for relay in stage.plane.open.relays) < 2**22
    sender.send(client_frame(b"next") if side == "caller" else server_frame(b"next"))
    await receiver.expect(client_frame(b"next") if side == "caller" else server_frame(b"next"))


# -- why ---------------------------------------------------------------------------------------------------------

End = Callable[[OpenPlane, Peer, Peer], Awaitable[None]]


async def frame_of_the_callers_that_is_ill_formed(_stage: OpenPlane, caller: Peer, _notebook: Peer) -> None:
    caller.send(client_frame(b"x", opcode=3))


async def frame_of_the_notebooks_that_is_ill_formed(_stage: OpenPlane, _caller: Peer, notebook: Peer) -> None:
    notebook.send(server_frame(b"x", opcode=3))


async def frame_that_is_too_large(_stage: OpenPlane, caller: Peer, _notebook: Peer) -> None:
    caller.send(client_frame(bytes(2**20 + 1)))


async def drain(stage: OpenPlane, _caller: Peer, _notebook: Peer) -> None:
    stage.plane.tasks.start(stage.plane.drain(0), name="drain")


async def fault_of_our_own(stage: OpenPlane, _caller: Peer, _notebook: Peer) -> None:
    [relay] = stage.plane.open.relays
    relay.abort()


WHY: dict[str, tuple[End, str, int, str]] = {
    "caller's frame": (
        frame_of_the_callers_that_is_ill_formed,
        "FRAME_MALFORMED",
        PROTOCOL_ERROR,
        "a frame's opcode is reserved",
    ),
    "notebook's frame": (
        frame_of_the_notebooks_that_is_ill_formed,
        "UPSTREAM_FRAME_MALFORMED",
        PROTOCOL_ERROR,
        "a frame's opcode is reserved",
    ),
    "too large": (frame_that_is_too_large, "FRAME_TOO_LARGE", MESSAGE_TOO_BIG, "a frame is too big"),
    "drain": (drain, "DRAINING", SERVICE_RESTART, "the gateway is restarting"),
    "fault": (fault_of_our_own, "INTERNAL_ERROR", 1006, ""),
}


@pytest.mark.parametrize(("end", "code", "close_code", "detail"), WHY.values(), ids=WHY)
async def test_what_the_gateway_ends_is_recorded_with_the_reason(
    tmp_path: Path, end: End, code: str, close_code: int, detail: str
) -> None:
    async with open_stage(tmp_path, limits={"websocket_frame": "1MiB"}) as stage:
        caller, notebook = await websocket(stage)
        await end(stage, caller, notebook)
        await settle()
        await stage.sweep(LINGER_SECONDS)
        await stage.sweep(LINGER_SECONDS)
        await eventually(lambda: bool(stage.records))
        record = stage.records[-1]
        assert (record.error, record.close_code, record.detail) == (code, close_code, detail)


@pytest.mark.parametrize("how", [Peer.reset, Peer.close], ids=["reset", "ended"])
@pytest.mark.parametrize("whose", ["CALLER_GONE", "UPSTREAM_GONE"])
@pytest.mark.parametrize("within", [b"", client_frame(b"x")[:3]], ids=["between frames", "within one"])
async def test_a_connection_that_ends_without_a_close_is_recorded_with_whose_it_was(
    stage: OpenPlane, whose: str, how: Callable[[Peer], object], within: bytes
) -> None:
    """Both are 1006: a notebook that broke would look like a lid that was closed."""
    caller, notebook = await websocket(stage)
    caller.send(within)
    await notebook.expect(within)
    how(caller if whose == "CALLER_GONE" else notebook)
    await eventually(lambda: bool(stage.records))
    record = stage.records[-1]
    assert (record.error, record.close_code) == (whose, 1006)


@pytest.mark.parametrize("first", ["caller", "notebook"])
async def test_who_closes_and_does_not_wait_for_the_answer_is_not_gone(stage: OpenPlane, first: str) -> None:
    caller, notebook = await websocket(stage)
    if first == "caller":
        caller.send(close_frame(4001, mask=MASK)).close()
    else:
        notebook.send(close_frame(4001, mask=None)).close()
    await eventually(lambda: bool(stage.records))
    assert (stage.records[-1].error, stage.records[-1].close_code) == ("", 4001)
