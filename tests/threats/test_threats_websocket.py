"""Threats, "WebSocket", and what its smuggling rows say of upgrades. (Denied addresses: test_threats_ip.py.)"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.wire.frames import close_frame
from tests.harness.notebook import switching
from tests.harness.plane import KEY, OpenPlane, open_plane


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path) as opened:
        yield opened


async def upgraded(opened: OpenPlane, *, origin: str | None, extra: str = "") -> int:
    peer = await opened.call()
    peer.send(opened.upgrade(origin=origin, extra=extra))
    status = (await peer.response()).status
    peer.abort()
    return status


async def test_an_upgrade_from_a_denied_address_is_never_dialled(tmp_path: Path) -> None:
    """CVE-2024-28179 (the WebSocket path skipped authentication): 403 before dialling upstream, one record."""
    async with open_plane(tmp_path, policy={"allow": ["elsewhere"]}) as opened:
        assert await upgraded(opened, origin="own") == 403
        assert opened.upstream.accepted == 0
        assert len(opened.refusals) == 1
        [record] = opened.records
        assert (record.status, record.allowed, record.instance) == (403, False, "research")


async def test_a_foreign_origin_is_refused(opened: OpenPlane) -> None:
    """CSWSH (jupyter/notebook#1311; the gateway rewrites `Origin`, so it must check it): 403, nothing dialled."""
    own, port = opened.authority, opened.port
    for origin in (
        "https://evil",
        "http://evil",
        "null",
        "",
        f"http://{own}.evil",
        f"http://evil.{own}",
        "http://127.0.0.1",
        f"http://127.0.0.1:{port + 1}",
        f"https://{own}",
        f"http://localhost:{port}",
        f"http://{own}/",
        f"http://{own}/path",
        f"http://user@{own}",
        f"http://{own}@evil",
        f"http://{own}#evil",
        f"http://evil#{own}",
        f"http://{own} http://evil",
        f"http://{own},http://evil",
        own,
        f"//{own}",
        f"ws://{own}",
        f"file://{own}",
        f"http://[::ffff:127.0.0.1]:{port}",
        "*",
    ):
        assert await upgraded(opened, origin=origin) == 403, origin
        assert await upgraded(opened, origin=origin, extra="Sec-Fetch-Site: same-origin\r\n") == 403, origin
    assert await upgraded(opened, origin="own", extra="Origin: http://evil\r\n") == 403
    assert await upgraded(opened, origin="http://evil", extra=f"Origin: {opened.origin}\r\n") == 403
    assert opened.upstream.accepted == 0
    assert {record.error for record in opened.records} == {"ORIGIN_REFUSED"}


async def test_the_own_origin_passes_and_is_translated(opened: OpenPlane) -> None:
    """CSWSH, the other way round; Jupyter's own check then sees its own origin."""
    for origin in (
        opened.origin,
        opened.origin.upper().replace("HTTP", "http"),
        f"HTTP://{opened.authority}",
    ):
        assert await upgraded(opened, origin=origin) == 101
        assert opened.upstream.fields().values("origin") == [str(opened.keeper.known.origin)]


async def test_a_missing_origin_is_for_programs_only(opened: OpenPlane) -> None:
    """CSWSH: missing -> allowed only for non-browser clients. CVE-2026-40864: `no-cors` is not same-origin."""
    assert await upgraded(opened, origin=None) == 101
    for fetch in (
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: ",
        "Sec-Fetch-Mode: no-cors",
        "Sec-Fetch-Mode: websocket\r\nSec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: websocket\r\nSec-Fetch-Site: cross-site",
        "Sec-Fetch-Dest: websocket",
    ):
        assert await upgraded(opened, origin=None, extra=f"{fetch}\r\n") == 403, fetch
    assert await upgraded(opened, origin="http://evil", extra="Sec-Fetch-Mode: no-cors\r\n") == 403
    assert await upgraded(opened, origin="http://evil", extra="Sec-Fetch-Mode: websocket\r\n") == 403
    assert opened.upstream.accepted == 1


async def test_nodes_own_websocket_is_a_programs(opened: OpenPlane) -> None:
    """Node (20, with a flag; 22) says the mode, as a browser does, and neither `Origin` nor from where."""
    assert await upgraded(opened, origin=None, extra="sec-fetch-mode: websocket\r\n") == 101


async def test_behind_a_proxy_that_speaks_tls_the_origin_is_https(tmp_path: Path) -> None:
    """CSWSH: the scheme is what the caller's browser used, from a trusted proxy only."""
    proto = "X-Forwarded-Proto: https\r\n"
    async with open_plane(tmp_path) as opened:
        assert await upgraded(opened, origin=f"https://{opened.authority}", extra=proto) == 403
        assert await upgraded(opened, origin="own", extra=proto) == 101
    trusting = tmp_path / "trusting"
    trusting.mkdir()
    async with open_plane(trusting, client_address={"trusted_proxies": ["127.0.0.0/8"]}) as opened:
        assert await upgraded(opened, origin=f"https://{opened.authority}", extra=proto) == 101
        assert await upgraded(opened, origin="own", extra=proto) == 403


@pytest.mark.parametrize("version", ["777", "12", "0", "", "13, 8", "013", "8\r\nSec-WebSocket-Version: 13"])
async def test_another_version_is_refused_and_told_which(opened: OpenPlane, version: str) -> None:
    """`Sec-WebSocket-Version: 777` -> 426, no tunnel (RFC 6455 section 4.4)."""
    peer = await opened.call()
    peer.send(
        opened.head(
            "/ws",
            extra=f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\n"
            f"Sec-WebSocket-Version: {version}\r\nOrigin: {opened.origin}\r\n",
        )
    )
    answer = await peer.response()
    assert answer.status == 426
    assert answer.values("sec-websocket-version") == ["13"]
    assert opened.upstream.accepted == 0


async def test_a_malformed_handshake_is_refused(opened: OpenPlane) -> None:
    """RFC 6455 section 4.2.1: a method, a key, and no body."""
    upgrade = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nOrigin: {opened.origin}\r\n"
    key = f"Sec-WebSocket-Key: {KEY}\r\n"
    for method, extra in (
        ("POST", upgrade + key),
        ("HEAD", upgrade + key),
        ("GET", upgrade),
        ("GET", upgrade + "Sec-WebSocket-Key: \r\n"),
        ("GET", upgrade + key + "Content-Length: 5\r\n"),
        ("GET", upgrade + key + "Transfer-Encoding: chunked\r\n"),
        ("GET", upgrade + key + "Sec-WebSocket-Key1: x\r\n"),
    ):
        peer = await opened.call()
        peer.send(opened.head("/ws", method=method, extra=extra))
        assert (await peer.head()).startswith(b"HTTP/1.1 400 "), extra
    assert opened.upstream.accepted == 0


async def test_http_1_0_has_no_upgrades(opened: OpenPlane) -> None:
    """RFC 9110 section 7.8: ignored in an HTTP/1.0 request."""
    answered = await opened.raw(opened.upgrade().replace("HTTP/1.1", "HTTP/1.0"))
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert opened.upstream.fields().values("upgrade") == []


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No Content", "401 Unauthorized", "403 Forbidden", "302 Found"]
)
async def test_only_a_101_opens_a_tunnel(opened: OpenPlane, status: str) -> None:
    """CVE-2024-23326 (200 taken as 101): passed on as HTTP, the tunnel never opened."""
    opened.upstream.answer = lambda _head, _body: (
        f"HTTP/1.1 {status}\r\nServer: TornadoServer/6.5\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()
    answered = await opened.raw(opened.upgrade() + "\x81\x80\0\0\0\0")
    assert answered.startswith(f"HTTP/1.1 {status.split()[0]} ".encode())
    assert b"pgrade: websocket" not in answered
    assert len(opened.upstream.heads) == 1


async def test_a_101_that_nobody_asked_for_opens_nothing(opened: OpenPlane) -> None:
    """CVE-2024-23326, the other way round."""
    for protocol in (b"websocket", b"h2c"):
        opened.upstream.answer = lambda _head, _body, protocol=protocol: (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
        )
        assert (await opened.get()).status == 502
    assert (await opened.raw(opened.upgrade())).startswith(b"HTTP/1.1 502 ")


async def test_what_is_pipelined_behind_a_refused_upgrade_is_never_served(opened: OpenPlane) -> None:
    """Commit 13468: bytes behind a refused upgrade must not be served as another request."""
    behind = opened.head("/behind")
    for refused, status in (
        (opened.upgrade(origin="http://evil"), b"403"),
        (opened.upgrade().replace("Version: 13", "Version: 7"), b"426"),
        (opened.upgrade().replace(f"Sec-WebSocket-Key: {KEY}\r\n", ""), b"400"),
        (opened.upgrade("/.nbgate/ws"), b"404"),
    ):
        answered = await opened.raw(refused + behind)
        assert answered.startswith(b"HTTP/1.1 " + status)
        assert answered.count(b"HTTP/1.1 ") == 1, status
    assert opened.upstream.accepted == 0


def masked(opcode: int, payload: bytes) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
async def test_a_close_code_that_no_peer_may_send_fails_both_sides(tmp_path: Path, code: int) -> None:
    """Close code 1006/1005/1015 from a peer -> fail 1002; never emitted. Both directions."""
    for from_caller in (True, False):
        directory = tmp_path / str(from_caller)
        directory.mkdir()
        async with open_plane(directory, by_hand=True) as opened:
            peer = await opened.call()
            peer.send(opened.upgrade())
            notebook = await opened.upstream.accept()
            notebook.send(switching(await notebook.head()))
            await peer.head()
            if from_caller:
                peer.send(masked(8, struct.pack("!H", code)))
            else:
                notebook.send(bytes((0x88, 2)) + struct.pack("!H", code))
            length = len(close_frame(1002, "a close frame's status code is not allowed", mask=None)) - 2
            to_caller = await peer.exactly(2 + length)
            assert to_caller[:4] == bytes((0x88, length)) + struct.pack("!H", 1002)
            to_notebook = await notebook.exactly(6 + length)
            assert to_notebook[:2] == bytes((0x88, 0x80 | length))
            key, payload = to_notebook[2:6], to_notebook[6:]
            assert bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))[:2] == struct.pack("!H", 1002)
            # Neither side's own close code was passed on, and both are told once.
            peer.abort()
            notebook.abort()
            await opened.settled(lambda: bool(opened.records))
            assert [record.close_code for record in opened.records] == [1002]


async def test_a_peer_that_goes_without_a_word_is_no_1006_on_the_wire(tmp_path: Path) -> None:
    """1006 is for the log only."""
    async with open_plane(tmp_path) as opened:
        peer = await opened.call()
        peer.send(opened.upgrade())
        await peer.head()
        peer.abort()
        await opened.settled(lambda: bool(opened.records))
        [record] = opened.records
        assert (record.status, record.close_code) == (101, 1006)
        assert b"\x03\xee" not in bytes(opened.upstream.tunnelled[0])
