"""WebSockets through the data plane, byte by byte: what passes verbatim, and where the gateway puts in its own."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from proxy.dataplane.websocket.end import PING_PAYLOAD
from proxy.dataplane.websocket.relay import LINGER_SECONDS, Relay
from proxy.wire.frames import (
    MESSAGE_TOO_BIG,
    POLICY_VIOLATION,
    PROTOCOL_ERROR,
    SERVICE_RESTART,
    close_frame,
    ping_frame,
)
from tests.harness.gateway import Rig
from tests.harness.plane import OpenPlane, get, open_stage
from tests.harness.waiting import eventually, settle
from tests.harness.websocket_peers import (
    MASK,
    SWITCHED,
    UPGRADE,
    client_frame,
    close_of,
    server_frame,
    websocket,
)


def relay_of(stage: OpenPlane) -> Relay:
    [relay] = stage.plane.open.relays
    return relay


def close(stage: OpenPlane, code: int, reason: str = "") -> None:
    relay_of(stage).close(code, reason, now=stage.clock.monotonic())


# -- the handshake ---------------------------------------------------------------------------------------------


async def test_the_handshake_is_the_callers_own(stage: OpenPlane) -> None:
    """Subprotocols and extensions are the ends' affair: offers and answer pass as they are."""
    offers = (
        b"Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    )
    caller = await stage.call(get(b"/api/kernels/1/channels?session_id=a%2Fb", fields=UPGRADE + offers))
    notebook = await stage.notebook()
    head = await notebook.head()
    assert head.startswith(b"GET /api/kernels/1/channels?session_id=a%2Fb HTTP/1.1\r\n")
    for line in (offers, b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n", b"Sec-WebSocket-Key: dGhl"):
        assert line in head
    chosen = (
        b"Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    )
    notebook.send(SWITCHED % chosen)
    head = await caller.head()
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    for line in (
        chosen,
        b"Connection: Upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"Sec-WebSocket-Accept: s3pP",
    ):
        assert line in head
    assert head.count(b"Upgrade: websocket") == 1


async def test_bytes_glued_to_the_101_are_the_first_frames(stage: OpenPlane) -> None:
    caller = await stage.call(get(fields=UPGRADE))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(SWITCHED % b"" + server_frame(b"first") + server_frame(b"second")[:3])
    await caller.head()
    await caller.expect(server_frame(b"first") + server_frame(b"second")[:3])
    notebook.send(server_frame(b"second")[3:])
    await caller.expect(server_frame(b"second")[3:])


async def test_bytes_glued_to_the_upgrade_are_the_first_frames_too(stage: OpenPlane) -> None:
    caller = await stage.call(get(fields=UPGRADE) + client_frame(b"glued"))
    notebook = await stage.notebook()
    await notebook.head()
    caller.send(client_frame(b"before the 101"))
    await caller.drain()
    await settle()
    assert notebook.is_silent
    notebook.send(SWITCHED % b"" + server_frame(b"hello"))
    await caller.head()
    await caller.expect(server_frame(b"hello"))
    await notebook.expect(client_frame(b"glued") + client_frame(b"before the 101"))


async def test_much_that_came_before_the_101_is_not_lost(stage: OpenPlane) -> None:
    """More than the gateway holds: reading paused, and goes on behind the 101."""
    frames = client_frame(bytes(50_000)) * 20
    caller = await stage.call(get(fields=UPGRADE) + frames)
    notebook = await stage.notebook()
    await notebook.head()
    [downstream] = stage.connections
    await eventually(lambda: bool(downstream.intake.reasons))
    notebook.send(SWITCHED % b"")
    await caller.head()
    assert await notebook.exactly(len(frames)) == frames
    caller.send(client_frame(b"more"))
    await notebook.expect(client_frame(b"more"))


@pytest.mark.parametrize("status", [b"200 OK", b"403 Forbidden", b"404 Not Found", b"500 Oops"])
async def test_an_upgrade_that_is_not_answered_101_stays_http(stage: OpenPlane, status: bytes) -> None:
    caller = await stage.call(get(fields=UPGRADE))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 %b\r\nServer: TornadoServer/6\r\nContent-Length: 2\r\n\r\nno" % status)
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 " + status)
    assert body == b"no"
    assert not stage.plane.open.relays


@pytest.mark.parametrize("upgrade", [b"", b"Upgrade: h2c\r\n"])
async def test_a_101_to_something_else_opens_nothing(stage: OpenPlane, upgrade: bytes) -> None:
    caller = await stage.call(get(fields=UPGRADE))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 101 Go on\r\nConnection: Upgrade\r\n" + upgrade + b"\r\nsecret")
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"secret" not in body
    assert await notebook.gone()


async def test_a_caller_that_goes_before_the_101_ends_the_attempt(stage: OpenPlane) -> None:
    caller = await stage.call(get(fields=UPGRADE))
    notebook = await stage.notebook()
    await notebook.head()
    caller.close()
    assert await notebook.gone()
    assert stage.open == 0


# -- frames ----------------------------------------------------------------------------------------------------


async def test_frames_pass_verbatim_both_ways(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    for size in (0, 1, 125, 126, 65535, 65536, 300_000):
        up, down = client_frame(bytes(size)), server_frame(bytes(size), opcode=1)
        caller.send(up)
        assert await notebook.exactly(len(up)) == up
        notebook.send(down)
        assert await caller.exactly(len(down)) == down


async def test_fragments_and_control_frames_between_them_pass(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    frames = (
        client_frame(b"a", fin=False)
        + client_frame(b"ping", opcode=9)
        + client_frame(b"b", opcode=0, fin=False)
        + client_frame(b"", opcode=10)
        + client_frame(b"c", opcode=0)
    )
    caller.send(frames)
    await notebook.expect(frames)


async def test_a_frame_passes_while_it_arrives(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    frame = server_frame(bytes(1000))
    notebook.send(frame[:500])
    await caller.expect(frame[:500])
    notebook.send(frame[500:])
    await caller.expect(frame[500:])


async def test_a_close_handshake_passes_with_code_and_reason(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    close_of_caller = close_frame(4001, "kernel died", mask=MASK)
    caller.send(close_of_caller)
    await notebook.expect(close_of_caller)
    notebook.send(close_frame(4001, "kernel died", mask=None)).close()
    await caller.expect(close_frame(4001, "kernel died", mask=None))
    assert await caller.gone()
    assert stage.records[-1].close_code == 4001
    assert stage.open == 0


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_notebook_that_dies_takes_the_caller_with_it(stage: OpenPlane, way: str) -> None:
    caller, notebook = await websocket(stage)
    notebook.send(server_frame(b"last words"))
    await caller.expect(server_frame(b"last words"))
    getattr(notebook, way)()
    assert await caller.gone()
    await eventually(lambda: stage.records)
    assert stage.records[-1].close_code == 1006
    assert not stage.plane.open.relays


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_caller_that_dies_takes_the_notebooks_connection_with_it(stage: OpenPlane, way: str) -> None:
    """It counts as an open connection for Jupyter's culling of idle kernels."""
    caller, notebook = await websocket(stage)
    getattr(caller, way)()
    assert await notebook.gone()
    await eventually(lambda: not stage.plane.open.relays and stage.open == 0)
    assert not stage.connections
    assert stage.records[-1].bytes_in == 0


async def test_what_was_under_way_when_one_side_ended_still_arrives(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage, receive_bytes=65536)
    frames = server_frame(bytes(60_000)) * 100 + close_frame(4000, mask=None)
    notebook.send(frames).close()
    assert await caller.rest() == frames


async def test_the_record_counts_both_ways(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    caller.send(client_frame(b"four"))
    await notebook.expect(client_frame(b"four"))
    notebook.send(server_frame(b"seven!!"))
    await caller.expect(server_frame(b"seven!!"))
    caller.close()
    await eventually(lambda: stage.records)
    record = stage.records[-1]
    assert (record.status, record.bytes_in, record.bytes_out) == (101, 10, 9)


# -- backpressure ----------------------------------------------------------------------------------------------


async def test_a_caller_that_does_not_read_stops_the_notebook_and_loses_nothing(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage, receive_bytes=65536)
    frames = server_frame(bytes(range(256)) * 400) * 240
    notebook.send(frames)
    relay = relay_of(stage)
    await eventually(lambda: relay.notebook.read_paused)
    assert relay.caller.transport.get_write_buffer_size() < 1_000_000
    assert notebook.unsent_bytes > 0
    caller.send(client_frame(b"still heard"))
    await notebook.expect(client_frame(b"still heard"))
    assert await caller.exactly(len(frames)) == frames
    assert not relay.notebook.read_paused


async def test_a_notebook_that_does_not_read_stops_the_caller_and_loses_nothing(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    frames = client_frame(bytes(100_000)) * 240
    caller.send(frames)
    relay = relay_of(stage)
    await eventually(lambda: relay.caller.read_paused)
    assert relay.notebook.transport.get_write_buffer_size() < 1_000_000
    assert caller.unsent_bytes > 0
    notebook.send(server_frame(b"still heard"))
    await caller.expect(server_frame(b"still heard"))
    assert await notebook.exactly(len(frames)) == frames


async def test_much_that_comes_with_the_101_waits_for_a_caller_that_does_not_read(stage: OpenPlane) -> None:
    caller = await stage.call(get(fields=UPGRADE), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    frames = server_frame(bytes(100_000)) * 200
    notebook.send(SWITCHED % b"" + frames)
    await eventually(lambda: stage.plane.open.relays and relay_of(stage).notebook.read_paused)
    assert relay_of(stage).caller.transport.get_write_buffer_size() < 1_000_000
    await caller.head()
    assert await caller.exactly(len(frames)) == frames


# -- closes of the gateway's own -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [POLICY_VIOLATION, SERVICE_RESTART])
async def test_the_gateway_closes_both_sides_at_once_between_frames(stage: OpenPlane, code: int) -> None:
    caller, notebook = await websocket(stage)
    caller.send(client_frame(b"a"))
    await notebook.expect(client_frame(b"a"))
    close(stage, code, "why")
    await caller.expect(close_frame(code, "why", mask=None))
    assert await close_of(notebook, masked=True) == code
    caller.send(close_frame(code, mask=MASK))
    notebook.send(close_frame(code, mask=None))
    assert await caller.gone()
    assert await notebook.gone()
    assert stage.records[-1].close_code == code
    assert stage.open == 0


FRAME = server_frame(b"x" * 300)


@pytest.mark.parametrize("cut", range(len(FRAME) + 1))
async def test_a_close_waits_for_the_end_of_the_frame_under_way_to_the_caller(
    stage: OpenPlane, cut: int
) -> None:
    caller, notebook = await websocket(stage)
    notebook.send(FRAME[:cut])
    await caller.expect(FRAME[:cut])
    close(stage, POLICY_VIOLATION)
    assert await close_of(notebook, masked=True) == POLICY_VIOLATION
    if 0 < cut < len(FRAME):
        await settle()
        assert caller.is_silent
    notebook.send(FRAME[cut:] + server_frame(b"never passed on"))
    if 0 < cut < len(FRAME):
        await caller.expect(FRAME[cut:])
    assert await close_of(caller, masked=False) == POLICY_VIOLATION
    notebook.send(close_frame(POLICY_VIOLATION, mask=None))
    caller.send(close_frame(POLICY_VIOLATION, mask=MASK))
    assert await notebook.gone()
    assert await caller.gone()


CLIENT_FRAME = client_frame(b"y" * 130)


@pytest.mark.parametrize("cut", range(1, len(CLIENT_FRAME)))
async def test_a_close_waits_for_the_end_of_the_frame_under_way_to_the_notebook(
    stage: OpenPlane, cut: int
) -> None:
    caller, notebook = await websocket(stage)
    caller.send(CLIENT_FRAME[:cut])
    await notebook.expect(CLIENT_FRAME[:cut])
    close(stage, SERVICE_RESTART)
    assert await close_of(caller, masked=False) == SERVICE_RESTART
    for byte in CLIENT_FRAME[cut:] + client_frame(b"never passed on"):
        caller.send(bytes([byte]))
    await notebook.expect(CLIENT_FRAME[cut:])
    assert await close_of(notebook, masked=True) == SERVICE_RESTART


async def test_no_frame_passes_after_the_gateways_close(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    close(stage, POLICY_VIOLATION)
    caller.send(client_frame(b"no more"))
    notebook.send(server_frame(b"no more"))
    caller.send(close_frame(1000, mask=MASK))
    notebook.send(close_frame(1000, mask=None))
    assert await close_of(caller, masked=False) == POLICY_VIOLATION
    assert await close_of(notebook, masked=True) == POLICY_VIOLATION
    assert await caller.gone()
    assert await notebook.gone()


async def test_a_second_close_changes_nothing(stage: OpenPlane) -> None:
    caller, _ = await websocket(stage)
    close(stage, POLICY_VIOLATION)
    close(stage, SERVICE_RESTART)
    assert await close_of(caller, masked=False) == POLICY_VIOLATION
    await settle()
    assert caller.is_silent


async def test_a_side_that_had_closed_already_is_not_told_again(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    caller.send(close_frame(1000, mask=MASK))
    await notebook.expect(close_frame(1000, mask=MASK))
    close(stage, SERVICE_RESTART)
    assert await close_of(caller, masked=False) == SERVICE_RESTART
    assert await caller.gone()
    assert await notebook.gone()


@pytest.mark.parametrize("side", ["caller", "notebook"])
async def test_a_side_that_answers_a_close_with_nonsense_is_cut(stage: OpenPlane, side: str) -> None:
    caller, notebook = await websocket(stage)
    close(stage, SERVICE_RESTART)
    assert await close_of(caller, masked=False) == SERVICE_RESTART
    assert await close_of(notebook, masked=True) == SERVICE_RESTART
    peer = caller if side == "caller" else notebook
    peer.send(b"\xff" * 20)
    assert await peer.gone()
    await eventually(lambda: not stage.plane.open.relays)


async def test_a_side_that_does_not_answer_a_close_is_cut(stage: OpenPlane) -> None:
    caller, _ = await websocket(stage)
    close(stage, SERVICE_RESTART)
    await stage.sweep(LINGER_SECONDS - 0.1)
    assert stage.plane.open.relays
    await stage.sweep(0.1)
    assert await close_of(caller, masked=False) == SERVICE_RESTART
    assert await caller.gone()
    assert not stage.plane.open.relays


async def test_a_caller_may_answer_a_close_after_the_notebook_has_gone(stage: OpenPlane) -> None:
    """Its answer would meet a reset otherwise, and might take the close from it before it was read."""
    caller, notebook = await websocket(stage)
    close(stage, SERVICE_RESTART)
    assert await close_of(notebook, masked=True) == SERVICE_RESTART
    notebook.send(close_frame(SERVICE_RESTART, mask=None)).close()
    relay = relay_of(stage)
    await eventually(lambda: relay.notebook.is_lost)
    caller.send(client_frame(b"on its way") + close_frame(SERVICE_RESTART, mask=MASK))
    assert await close_of(caller, masked=False) == SERVICE_RESTART
    assert await caller.rest() == b""
    await eventually(lambda: not stage.plane.open.relays)


async def test_a_caller_that_never_answers_is_cut_all_the_same(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    close(stage, SERVICE_RESTART)
    notebook.send(close_frame(SERVICE_RESTART, mask=None)).close()
    assert await close_of(caller, masked=False) == SERVICE_RESTART
    await stage.sweep(LINGER_SECONDS)
    assert await caller.gone()
    assert not stage.plane.open.relays


async def test_a_close_does_not_make_the_gateway_hold_what_a_full_side_does_not_take(
    stage: OpenPlane,
) -> None:
    """A large frame is under way to a caller that does not read: it is cut, not collected."""
    caller, notebook = await websocket(stage, receive_bytes=65536)
    notebook.send(server_frame(bytes(32_000_000)))
    relay = relay_of(stage)
    await eventually(lambda: relay.notebook.read_paused)
    held = relay.caller.transport.get_write_buffer_size()
    close(stage, SERVICE_RESTART)
    for _ in range(100):
        await asyncio.sleep(0.001)
    assert relay.caller.transport.get_write_buffer_size() <= held
    await stage.sweep(LINGER_SECONDS)
    assert await caller.rest() != b""
    assert not stage.plane.open.relays


async def test_a_paused_side_is_read_until_its_close(stage: OpenPlane) -> None:
    """The caller takes nothing, but stands at a boundary: nothing more is owed to it but the close."""
    caller, notebook = await websocket(stage)
    relay = relay_of(stage)
    relay.notebook.pause_reading()
    close(stage, SERVICE_RESTART)
    assert await close_of(notebook, masked=True) == SERVICE_RESTART
    notebook.send(close_frame(SERVICE_RESTART, mask=None))
    assert await notebook.gone()
    assert await close_of(caller, masked=False) == SERVICE_RESTART


# -- frames that may not pass ----------------------------------------------------------------------------------

BROKEN = {
    "not masked": server_frame(b"x"),
    "a reserved opcode": client_frame(b"x", opcode=3),
    "a reserved bit": b"\xc2" + client_frame(b"x")[1:],
    "a long ping": client_frame(bytes(126), opcode=9),
    "a continuation of nothing": client_frame(b"x", opcode=0),
    "a reserved close code": client_frame((1006).to_bytes(2, "big"), opcode=8),
    "a close of one byte": client_frame(b"x", opcode=8),
    "HTTP": get(b"/smuggled"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_frame_fails_the_connection_with_1002(stage: OpenPlane, broken: bytes) -> None:
    caller, notebook = await websocket(stage)
    caller.send(client_frame(b"good") + broken)
    await notebook.expect(client_frame(b"good"))
    assert await close_of(notebook, masked=True) == PROTOCOL_ERROR
    assert await close_of(caller, masked=False) == PROTOCOL_ERROR
    assert await caller.gone()
    notebook.send(close_frame(PROTOCOL_ERROR, mask=None))
    assert await notebook.gone()
    caller.close()
    await eventually(lambda: stage.records)
    assert stage.records[-1].close_code == PROTOCOL_ERROR


async def test_a_broken_frame_of_the_notebooks_fails_the_connection_too(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    notebook.send(server_frame(b"good") + client_frame(b"masked"))
    await caller.expect(server_frame(b"good"))
    assert await close_of(caller, masked=False) == PROTOCOL_ERROR
    assert await close_of(notebook, masked=True) == PROTOCOL_ERROR


async def test_a_frame_over_the_limit_is_1009_and_the_caller_learns_why(tmp_path) -> None:
    """It is read, to the deadline, while it sends on: closing with unread bytes would drop our close."""
    async with open_stage(tmp_path, limits={"websocket_frame": "1MiB"}) as stage:
        caller, notebook = await websocket(stage)
        fits = client_frame(bytes(1024 * 1024))
        caller.send(fits)
        assert await notebook.exactly(len(fits)) == fits
        caller.send(client_frame(bytes(20_000_000)))
        await caller.drain()
        assert await close_of(caller, masked=False) == MESSAGE_TOO_BIG
        assert await close_of(notebook, masked=True) == MESSAGE_TOO_BIG
        assert notebook.is_silent
        caller.close()
        notebook.send(close_frame(MESSAGE_TOO_BIG, mask=None))
        assert await notebook.gone()
        await eventually(lambda: not stage.plane.open.relays)


async def test_a_caller_that_never_ends_after_its_broken_frame_is_cut(stage: OpenPlane) -> None:
    caller, _ = await websocket(stage)
    caller.send(BROKEN["a reserved opcode"])
    assert await close_of(caller, masked=False) == PROTOCOL_ERROR
    await stage.sweep(LINGER_SECONDS)
    await stage.sweep(LINGER_SECONDS)
    assert not stage.plane.open.relays


async def test_a_header_of_which_half_has_passed_leaves_no_boundary_to_close_at(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    frame = client_frame(b"x", opcode=9)
    caller.send(frame[:1])
    await notebook.expect(frame[:1])
    caller.send(b"\xfe")
    assert await close_of(caller, masked=False) == PROTOCOL_ERROR
    assert await notebook.gone()


async def test_with_an_extension_its_bits_pass(stage: OpenPlane) -> None:
    caller, notebook = await websocket(
        stage,
        fields=b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
        answer=b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
    )
    frame = b"\xc2" + client_frame(b"deflated")[1:]
    caller.send(frame)
    await notebook.expect(frame)


# -- silence ---------------------------------------------------------------------------------------------------


async def test_a_silent_websocket_is_pinged_on_both_sides(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    await stage.sweep(24.0)
    assert caller.is_silent
    await stage.sweep(1.0)
    await caller.expect(ping_frame(PING_PAYLOAD, mask=None))
    ping = await notebook.exactly(6 + len(PING_PAYLOAD))
    assert ping[:2] == bytes((0x89, 0x80 | len(PING_PAYLOAD)))
    await stage.sweep(30.0)
    assert caller.is_silent


async def test_pongs_keep_a_websocket_open(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    for _ in range(5):
        await stage.sweep(25.0)
        await caller.expect(ping_frame(PING_PAYLOAD, mask=None))
        await notebook.exactly(6 + len(PING_PAYLOAD))
        caller.send(client_frame(PING_PAYLOAD, opcode=10))
        notebook.send(server_frame(PING_PAYLOAD, opcode=10))
        await notebook.expect(client_frame(PING_PAYLOAD, opcode=10))
        await caller.expect(server_frame(PING_PAYLOAD, opcode=10))
    assert stage.plane.open.relays


async def test_silence_that_goes_on_after_a_ping_ends_the_websocket(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    await stage.sweep(25.0)
    await caller.expect(ping_frame(PING_PAYLOAD, mask=None))
    await notebook.exactly(6 + len(PING_PAYLOAD))
    notebook.send(server_frame(b"I live"))
    await caller.expect(server_frame(b"I live"))
    await stage.sweep(64.0)
    assert stage.plane.open.relays
    await stage.sweep(1.0)
    await stage.sweep(LINGER_SECONDS)
    assert not stage.plane.open.relays


async def test_no_ping_falls_into_a_frame(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    notebook.send(FRAME[:100])
    await caller.expect(FRAME[:100])
    await stage.sweep(1.0)
    await stage.sweep(60.0)
    assert caller.is_silent
    notebook.send(FRAME[100:])
    await caller.expect(FRAME[100:])
    await stage.sweep(1.0)
    await caller.expect(ping_frame(PING_PAYLOAD, mask=None))


async def test_a_caller_that_takes_a_long_frame_for_minutes_is_not_silent(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    frame = server_frame(bytes(10_000))
    for start in range(0, 10_000, 1000):
        notebook.send(frame[start : start + 1000])
        await caller.exactly(1000)
        await stage.sweep(30.0)
    assert stage.plane.open.relays


# -- code that nobody here wrote -------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [0, 15])
async def test_another_client_talks_through_it(rig: Rig, compress: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{rig.origin}/echo",
            protocols=["v1.kernel.websocket.jupyter.org"],
            compress=compress,
            max_msg_size=0,
        ) as socket,
    ):
        assert socket.protocol == "v1.kernel.websocket.jupyter.org"
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        for size in (0, 125, 126, 65535, 65536, 3_000_000):
            await socket.send_bytes(bytes(size))
            assert await socket.receive_bytes() == bytes(size)
        await socket.send_str("close 4000")
        message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert (message.data, message.extra) == (4000, "as asked")
