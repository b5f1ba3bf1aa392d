"""Every setting below `limits` and `timeouts`: meeting it leaves a record with a code of its own, an event that names
the address and the setting, and a count; or stands here with the reason why not.

The table is held against the settings that there are: a new one fails here until it has its row.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.config.sections import Limits, Timeouts
from proxy.dataplane.notebook.connection import INTERIM_RESPONSES
from proxy.dataplane.plane import REQUEST_FIELDS
from proxy.dataplane.websocket.relay import LINGER_SECONDS
from proxy.errors import SignInTimeout
from proxy.upstream import Honoured, Origin
from proxy.wire.heads import RESPONSE_FIELDS
from tests.harness.gateway import open_rig, status_of
from tests.harness.notebook import switching
from tests.harness.peer import Peer, Response
from tests.harness.plane import OpenPlane, open_plane
from tests.harness.waiting import settle

SETTINGS = {f"limits.{one.name.removesuffix('_bytes')}" for one in fields(Limits)} | {
    f"timeouts.{one.name.removesuffix('_seconds')}" for one in fields(Timeouts)
}
NO_LIMITS = {
    "timeouts.websocket_ping": "nothing ends: the gateway pings",
    "timeouts.outage": "a wait, at whose end the error stands in the record that caused it",
    "timeouts.drain_delay": "nothing ends: callers are still taken",
}
COUNTED_ONLY = {"timeouts.idle", "timeouts.upstream_idle", "limits.upstream_idle_connections"}
"""What rests ends like this, all of it and as it is meant to: lines would say nothing. It is counted."""

Provoke = Callable[[OpenPlane], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """`code` is the record's, "" where there is none; `status` None: whatever it is."""

    provoke: Provoke
    code: str
    status: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    by_hand: bool = False


CASES: dict[str, Case] = {}


def case(setting: str, code: str, **more: Any) -> Callable[[Provoke], Provoke]:
    def add(provoke: Provoke) -> Provoke:
        CASES[f"{setting} {provoke.__name__}"] = Case(provoke, code, **more)
        return provoke

    return add


def setting_of(name: str) -> str:
    return name.partition(" ")[0]


@case("limits.request_head", "HEAD_TOO_LARGE", status=431, changes={"limits": {"request_head": "4KiB"}})
async def long_cookie(opened: OpenPlane) -> None:
    assert (await opened.get(extra=f"Cookie: {'c' * 5000}\r\n")).status == 431


@case("limits.request_head", "TOO_MANY_FIELDS", status=431)
async def many_fields(opened: OpenPlane) -> None:
    assert (await opened.get(extra="X: y\r\n" * REQUEST_FIELDS)).status == 431


@case(
    "limits.response_head",
    "RESPONSE_HEAD_TOO_LARGE",
    status=502,
    changes={"limits": {"response_head": "4KiB"}},
)
async def long_answer(opened: OpenPlane) -> None:
    opened.upstream.answer = lambda _head, _body: b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000 + b"\r\n\r\n"
    assert (await opened.get()).status == 502


@case("limits.response_head", "RESPONSE_TOO_MANY_FIELDS", status=502)
async def answer_of_many_fields(opened: OpenPlane) -> None:
    many = b"X: y\r\n" * (RESPONSE_FIELDS + 1)
    opened.upstream.answer = lambda _head, _body: b"HTTP/1.1 200 OK\r\n%b\r\n" % many
    assert (await opened.get()).status == 502


@case("limits.response_head", "TOO_MANY_INTERIM_RESPONSES", status=502)
async def hints_without_end(opened: OpenPlane) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n" * (INTERIM_RESPONSES + 1)
    opened.upstream.answer = lambda _head, _body: hints
    assert (await opened.raw(opened.head(extra="Connection: close\r\n"))).count(b" 103 ") == INTERIM_RESPONSES


@case("limits.replay_body", "BODY_NOT_KEPT", status=503, changes={"limits": {"replay_body": "1KiB"}})
async def signed_out_behind_a_large_body(opened: OpenPlane) -> None:
    opened.keeper.honoured_as = Honoured.NO
    opened.keeper.successors.append(opened.keeper.known)
    opened.upstream.answer = lambda _head, _body: (
        b"HTTP/1.1 302 Found\r\nLocation: https://eu-west-1.console.aws.amazon.com/sagemaker/home\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    peer = await opened.call()
    peer.send(opened.head("/up", method="POST", extra="Content-Length: 2000\r\n") + "x" * 2000)
    assert (await peer.response()).status == 503


@case(
    "limits.websocket_frame", "FRAME_TOO_LARGE", status=101, changes={"limits": {"websocket_frame": "1KiB"}}
)
async def large_frame(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.upgrade())
    assert b" 101 " in await peer.head()
    peer.send(b"\x82\xfe\x08\x00" + bytes(4 + 2048))
    assert (await peer.exactly(4))[2:] == (1009).to_bytes(2, "big")
    peer.close()


@case("limits.connections", "TOO_MANY_CONNECTIONS", status=503, changes={"limits": {"connections": 1}})
async def one_connection_too_many(opened: OpenPlane) -> None:
    await opened.call()
    assert (await opened.get()).status == 503


@case(
    "limits.connections_per_address",
    "TOO_MANY_FROM_ADDRESS",
    status=503,
    changes={"limits": {"connections_per_address": 1}},
)
async def one_connection_too_many_of_an_address(opened: OpenPlane) -> None:
    await opened.call()
    assert (await opened.get()).status == 503


@case(
    "limits.connections_per_stranger",
    "TOO_MANY_FROM_STRANGER",
    status=0,
    changes={"limits": {"connections_per_stranger": 1}, "policy": {"allow": ["elsewhere"]}},
)
async def one_connection_too_many_of_a_stranger(opened: OpenPlane) -> None:
    await opened.call()
    assert await opened.raw("") == b""


@case(
    "limits.upstream_connections",
    "TOO_MANY_UPSTREAM_CONNECTIONS",
    status=503,
    changes={"limits": {"upstream_connections": 1}},
)
async def one_connection_too_many_to_the_notebook(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.upgrade())
    assert b" 101 " in await peer.head()
    assert (await opened.get()).status == 503


@case(
    "limits.upstream_idle_connections", "", changes={"limits": {"upstream_idle_connections": 1}}, by_hand=True
)
async def two_connections_that_rest(opened: OpenPlane) -> None:
    peers = [await opened.call() for _ in range(2)]
    for peer in peers:
        peer.send(opened.head())
    notebooks = [await opened.upstream.accept() for _ in range(2)]
    for notebook in notebooks:
        await notebook.head()
        notebook.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    for peer in peers:
        assert (await peer.response()).status == 204


@case("timeouts.request_head", "REQUEST_TIMEOUT", status=408)
async def half_a_head(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send("GET / HTTP/1.1\r\n")
    await opened.settled(lambda: any(one.reader.held_bytes for one in opened.connections))
    await opened.pass_time(opened.plane.current.timeouts.request_head_seconds)
    assert (await peer.response()).status == 408


@case("timeouts.request_head", "REQUEST_TIMEOUT", status=0)
async def no_head(opened: OpenPlane) -> None:
    peer = await opened.call()
    await opened.settled(lambda: bool(opened.connections))
    await opened.pass_time(opened.plane.current.timeouts.request_head_seconds)
    assert await peer.rest() == b""


@case("timeouts.request_body", "BODY_TIMEOUT", status=408)
async def half_a_body(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.head("/up", method="PUT", extra="Content-Length: 10\r\n") + "x")
    await opened.settled(
        lambda: (
            bool(opened.connections)
            and opened.connection.under_way is not None
            and opened.connection.under_way[3] == 1
        )
    )
    opened.plane.sweep()
    await opened.pass_time(opened.plane.current.timeouts.request_body_seconds)
    await peer.head()


@case("timeouts.request_body", "BODY_TIMEOUT", status=200, by_hand=True)
async def half_a_body_behind_half_an_answer(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.head("/up", method="PUT", extra="Content-Length: 10\r\n") + "x")
    notebook = await opened.upstream.accept()
    await notebook.exactly(len(await notebook.head()) and 1)
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 19999)
    await peer.head()
    opened.plane.sweep()
    await opened.pass_time(opened.plane.current.timeouts.request_body_seconds)


@case("timeouts.idle", "")
async def connection_that_rests(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.head())
    assert (await peer.response()).status == 200
    await opened.pass_time(opened.plane.current.timeouts.idle_seconds)
    assert await peer.rest() == b""


async def deaf(opened: OpenPlane, request: str, *, all_is_written: bool = False) -> socket.socket:
    """A caller that asks and takes nothing of the answer, of which all is written, or as much as may wait."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", opened.port))
    if all_is_written:
        await opened.settled(lambda: bool(opened.connections))
        transport = opened.connection.transport
        transport.set_write_buffer_limits(high=1 << 30)
        # By itself the system may take some megabytes.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    await loop.sock_sendall(sock, request.encode())
    if not all_is_written:
        await opened.settled(lambda: bool(opened.connections) and opened.connection.writer.is_full)
    return sock


@case("timeouts.send", "SEND_TIMEOUT", status=200, by_hand=True)
async def answer_that_is_not_taken(opened: OpenPlane) -> None:
    loop = asyncio.get_running_loop()
    calling = loop.create_task(deaf(opened, opened.head()))
    notebook = await opened.upstream.accept()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 10_000_000)
    with await calling:
        for _ in range(3):
            await opened.pass_time(opened.plane.current.timeouts.send_seconds)
        await opened.settled(lambda: not opened.connections)


HELD = {"limits": {"held_per_address": "1MiB"}}


def held(opened: OpenPlane) -> int:
    """What callers have waiting in the gateway."""
    return sum(one.held_bytes for one in opened.connections) + sum(
        one.held_bytes for one in opened.plane.open.relays
    )


async def connect_deaf(opened: OpenPlane, request: str | bytes) -> Peer:
    """A caller whose kernel takes next to nothing, and who reads nothing of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", opened.port))
    peer = Peer(*await asyncio.open_connection(sock=sock, limit=1))
    opened.callers.append(peer)
    peer.send(request)
    return peer


@case("limits.held_per_address", "HELD_TOO_MUCH", status=200, by_hand=True, changes=HELD)
async def answers_that_nobody_takes(opened: OpenPlane) -> None:
    while held(opened) <= 2**20:
        before = held(opened)
        await connect_deaf(opened, opened.head())
        notebook = await opened.upstream.accept()
        await notebook.head()
        notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 10_000_000)
        await opened.settled(lambda before=before: held(opened) > before)
        await opened.settled(lambda: all(one.writer.is_full for one in opened.connections))
    count = len(opened.connections)
    opened.plane.sweep()
    await opened.settled(lambda: len(opened.connections) == count - 1)
    assert held(opened) <= 2**20


@case("limits.held_per_address", "HELD_TOO_MUCH", by_hand=True, changes=HELD)
async def uploads_that_wait_for_a_notebook(opened: OpenPlane) -> None:
    opened.keeper.cold()
    while held(opened) <= 2**20:
        before = held(opened)
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Content-Length: 100000000\r\n") + "x" * 1_000_000)
        await opened.settled(lambda before=before: held(opened) > before)
        await opened.settled(lambda: all(one.intake.reasons for one in opened.connections))
    opened.plane.sweep()
    await opened.settled(lambda: held(opened) <= 2**20)


@case("limits.held_per_address", "HELD_TOO_MUCH", status=101, by_hand=True, changes=HELD)
async def frames_that_nobody_takes(opened: OpenPlane) -> None:
    while held(opened) <= 2**20:
        before = held(opened)
        await connect_deaf(opened, opened.upgrade())
        notebook = await opened.upstream.accept()
        notebook.send(switching(await notebook.head()))
        notebook.send((b"\x82\x7f" + (10**7).to_bytes(8, "big") + bytes(10**7)) * 2)
        await opened.settled(lambda before=before: held(opened) > before)
        await opened.settled(lambda: all(relay.notebook.read_paused for relay in opened.plane.open.relays))
    count = len(opened.plane.open.relays)
    opened.plane.sweep()
    await opened.settled(lambda: len(opened.plane.open.relays) == count - 1)
    assert held(opened) <= 2**20


@case("timeouts.send", "SEND_TIMEOUT", status=0)
async def end_of_an_answer_that_is_not_taken(opened: OpenPlane) -> None:
    opened.upstream.answer = lambda _head, _body: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\nConnection: close\r\n\r\n" + b"x" * 3_000_000
    )
    with await deaf(opened, opened.head(extra="Connection: close\r\n"), all_is_written=True):
        await opened.settled(lambda: bool(opened.records))
        for _ in range(3):
            await opened.pass_time(opened.plane.current.timeouts.send_seconds)
        await opened.settled(lambda: not opened.connections)


@case("timeouts.send", "OUTCOME_UNKNOWN", status=504, by_hand=True)
async def body_that_the_notebook_does_not_take(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.head("/up", method="PUT", extra="Content-Length: 100000000\r\n"))
    notebook = await opened.upstream.accept()
    await notebook.head()
    notebook.stop_reading()
    peer.send(b"x" * 50_000_000)
    await opened.settled(lambda: bool(opened.connection.intake.reasons))
    for _ in range(3):
        await opened.pass_time(opened.plane.current.timeouts.send_seconds)
    await peer.head()


@case(
    "timeouts.connect",
    "CONNECT_TIMEOUT",
    status=503,
    by_hand=True,
    changes={"timeouts": {"connect": "100ms"}},
)
async def notebook_that_does_not_shake_hands(opened: OpenPlane) -> None:
    origin = opened.keeper.known.origin
    opened.keeper.session = replace(opened.keeper.known, origin=Origin("https", origin.host, origin.port))
    assert (await opened.get()).status == 503


@case("timeouts.response_head", "UPSTREAM_TIMEOUT", status=503, by_hand=True)
async def notebook_that_does_not_answer(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.head())
    await (await opened.upstream.accept()).head()
    await opened.pass_time(opened.plane.current.timeouts.response_head_seconds)
    assert (await peer.response()).status == 503


@case("timeouts.response_body", "RESPONSE_TIMEOUT", status=200, by_hand=True)
async def notebook_that_stops_in_the_middle(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.head())
    notebook = await opened.upstream.accept()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
    assert Response(await peer.head()).status == 200
    opened.plane.sweep()
    await opened.pass_time(opened.plane.current.timeouts.response_body_seconds)
    with pytest.raises(ConnectionResetError):
        await peer.rest()


@case("timeouts.sign_in", "SIGN_IN_TIMEOUT", status=503)
async def sign_in_that_outlasts_all_patience(opened: OpenPlane) -> None:
    """The keeper's own tests say when that is; here it has been so."""
    opened.keeper.fails(SignInTimeout())
    assert (await opened.get()).status == 503


@case("timeouts.upstream_idle", "")
async def connection_to_the_notebook_that_rests(opened: OpenPlane) -> None:
    assert (await opened.get()).status == 200
    await opened.settled(lambda: len(opened.plane.pool.idle(opened.keeper.known.origin)) == 1)
    await opened.pass_time(opened.plane.current.timeouts.upstream_idle_seconds)


@case("timeouts.websocket_silence", "WEBSOCKET_SILENT", status=101)
async def silent_websocket(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.upgrade())
    assert b" 101 " in await peer.head()
    opened.plane.sweep()
    await opened.pass_time(opened.plane.current.timeouts.websocket_ping_seconds)
    assert await peer.until(b"nbgate") == b"\x89\x06nbgate"
    await opened.pass_time(opened.plane.current.timeouts.websocket_silence_seconds)
    # It is told so, and given a moment to answer.
    await opened.pass_time(LINGER_SECONDS)


@case("timeouts.drain", "DRAIN_TIMEOUT", by_hand=True)
async def request_that_outlasts_the_drain(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.head())
    await (await opened.upstream.accept()).head()
    await opened.plane.close()


@case("timeouts.drain", "DRAIN_TIMEOUT", status=101)
async def websocket_that_outlasts_the_drain(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.upgrade())
    assert b" 101 " in await peer.head()
    await opened.plane.close()


def test_every_setting_has_its_row() -> None:
    streams = {"limits.event_streams_per_address"}
    assert {setting_of(name) for name in CASES} | streams == SETTINGS - set(NO_LIMITS)
    assert SETTINGS >= COUNTED_ONLY


@pytest.mark.parametrize("name", CASES)
async def test_meeting_a_limit_leaves_a_trace(tmp_path: Path, name: str) -> None:
    row, setting = CASES[name], setting_of(name)
    async with open_plane(tmp_path, by_hand=row.by_hand, **row.changes) as opened:
        await row.provoke(opened)
        plane = opened.plane

        def counted() -> int:
            met = plane.limits_met.counts + plane.pool.ended
            return sum(count for bound, count in met.items() if bound.setting == setting)

        await opened.settled(lambda: counted() > 0)
        if setting in COUNTED_ONLY:
            assert not opened.events
            return
        await opened.settled(lambda: row.code in {record.error for record in opened.records})
        await settle()
        [record] = [record for record in opened.records if record.error == row.code]
        assert record.client == "127.0.0.1"
        assert row.status is None or record.status == row.status
        assert {(one["event"], one["limit"], one["address"], one["times"]) for one in opened.events} == {
            ("limit met", setting, "127.0.0.1", 1)
        }
        assert counted() == 1


@pytest.mark.parametrize("provoke", [many_fields, answer_of_many_fields])
async def test_who_sends_too_many_fields_is_not_sent_to_a_setting_that_does_not_help(
    tmp_path: Path, provoke: Provoke
) -> None:
    async with open_plane(tmp_path) as opened:
        await provoke(opened)
        [event] = opened.events
        assert "not raised by it" in event["remedy"]


async def test_so_does_one_stream_of_events_too_many(tmp_path: Path) -> None:
    """A page of the gateway's own, whose errors have their code in the record, too."""
    async with open_rig(tmp_path, limits={"event_streams_per_address": 1}) as rig:
        request = f"GET /.nbgate/events HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(request)
        assert status_of(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)) == 200
        assert status_of(await rig.raw(request, until_eof=False)) == 503
        writer.close()
        lines = rig.log_lines()
        [record] = [line for line in lines if line.get("status") == 503]
        assert record["error"] == "TOO_MANY_STREAMS"
        [told] = [line for line in lines if line.get("event") == "limit met"]
        assert (told["limit"], told["address"]) == ("limits.event_streams_per_address", "127.0.0.1")


def test_codes_of_their_own_are_those_of_no_other_setting() -> None:
    by_code: dict[str, set[str]] = {}
    for name, row in CASES.items():
        if row.code not in ("", "OUTCOME_UNKNOWN"):
            by_code.setdefault(row.code, set()).add(setting_of(name))
    assert {code: settings for code, settings in by_code.items() if len(settings) > 1} == {}
