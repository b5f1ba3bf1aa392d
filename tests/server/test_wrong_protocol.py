"""Connections that speak something else than their port does, and health checks: what is answered and logged."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.harness.certificates import self_signed, trusting
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.preludes import SIGNATURE, exchange, local, v1, v2
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

FAR: list[dict[str, Any]] = [{"bind": "127.0.0.1:0", "proxy_protocol": ["10.0.0.0/8"]}]


def told(rig: Rig) -> list[dict[str, Any]]:
    return [
        line for line in rig.log_lines() if line["kind"] in ("http", "event") and line.get("code") != "IDLE"
    ]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path, name="IP:127.0.0.1")


@pytest.fixture
def tls(certificate: Path) -> list[dict[str, Any]]:
    return [{"bind": "127.0.0.1:0", "tls": {"certificate": str(certificate), "key": str(certificate)}}]


@pytest.mark.parametrize(
    "request_", [b"GET /lab HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"POST /" + b"a" * 300_000]
)
async def test_plain_http_on_a_tls_port_is_told_so_and_logged(
    tmp_path: Path, tls: list[dict[str, Any]], request_: bytes
) -> None:
    async with open_rig(tmp_path, listeners=tls) as rig:
        answer = await rig.raw(request_)
        assert status_of(answer) == 400
        assert b"Content-Type: text/plain" in answer
        assert body_of(answer).startswith(b"This port speaks TLS")
        await eventually(lambda: not rig.gateway.plane.open.new_connections)
        lines = [line for line in rig.log_lines() if line["kind"] == "http"]
        [line] = lines
        assert (line["error"], line["status"]) == ("PLAIN_HTTP_ON_TLS", 400)
        assert "TLS" in line["detail"]
        assert line["request_id"].encode() in answer


async def test_what_is_neither_is_closed_with_a_line(tmp_path: Path, tls: list[dict[str, Any]]) -> None:
    async with open_rig(tmp_path, listeners=tls) as rig:
        assert await exchange(rig.port, b"\x00\x01\x02") == b""
        await eventually(lambda: not rig.gateway.plane.open.new_connections)
        [line] = [line for line in rig.log_lines() if line["kind"] == "http"]
        assert (line["error"], line["status"]) == ("PLAIN_HTTP_ON_TLS", 0)


def shake_hands(port: int, context: ssl.SSLContext) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        context.wrap_socket(sock, server_hostname="127.0.0.1").close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_caller_that_does_not_trust_the_certificate_is_a_line(
    tmp_path: Path, tls: list[dict[str, Any]], version: ssl.TLSVersion
) -> None:
    """With TLS 1.3 the handshake is over for us before the caller has judged."""
    distrusting = ssl.create_default_context()
    distrusting.maximum_version = version
    async with open_rig(tmp_path, listeners=tls) as rig:
        with pytest.raises(ssl.SSLError):
            # An event loop's own client only breaks off; OpenSSL's says why.
            await asyncio.to_thread(shake_hands, rig.port, distrusting)
        plane = rig.gateway.plane
        await eventually(lambda: not plane.open.new_connections and not plane.open.connections)
        [line] = [line for line in rig.log_lines() if line["kind"] == "http"]
        assert line["error"] == "TLS_FAILED"
        assert "ALERT" in line["detail"].upper()


async def test_tls_is_served_as_ever_and_who_only_looks_leaves_no_line(
    tmp_path: Path, tls: list[dict[str, Any]], certificate: Path
) -> None:
    async with open_rig(tmp_path, listeners=tls) as rig:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=trusting(certificate))
        writer.write(b"GET /lab HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert status_of(await reader.read()) == 200
        writer.close()
        await eventually(lambda: not rig.gateway.plane.open.new_connections)
        assert [line["status"] for line in rig.log_lines() if line["kind"] == "http"] == [200]


async def check(rig: Rig, sent: bytes) -> None:
    """As HAProxy does: connect, send, and go."""
    _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(sent)
    writer.write_eof()
    await asyncio.sleep(0)
    writer.close()
    await eventually(
        lambda: not rig.gateway.plane.open.new_connections and not rig.gateway.plane.open.connections
    )


CHECKS = {
    # As HAProxy 2.6 sends them with `check` and `send-proxy`, `send-proxy-v2` or neither.
    "v1": v1("127.0.0.1", "127.0.0.1"),
    "v2": local(),
    "v2 with fields": SIGNATURE + struct.pack("!BBH", 0x20, 0, 3) + b"\x04\x00\x00",
    "unknown": b"PROXY UNKNOWN\r\n",
    "bare": b"",
}


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "this machine's"])
@pytest.mark.parametrize("sent", CHECKS.values(), ids=CHECKS)
async def test_a_health_check_leaves_no_trace(tmp_path: Path, sent: bytes, listed: bool) -> None:
    networks = ["127.0.0.0/8"] if listed else ["10.0.0.0/8"]
    listeners = [{"bind": "127.0.0.1:0", "proxy_protocol": networks}]
    async with open_rig(tmp_path, listeners=listeners) as rig:
        for _ in range(20):
            await check(rig, sent)
        assert [line for line in rig.log_lines() if line["kind"] == "http"] == []
        assert not [line for line in rig.log_lines() if line.get("event") == "limit met"]


@pytest.mark.parametrize(
    "sent",
    [
        v1("203.0.113.7"),
        v2("203.0.113.7"),
        local() + b"GET / HTTP/1.1\r\n",
        b"PROXY UNKNOWN\r\nG",
        v1("127.0.0.1", "127.0.0.1") + b"\x16",
        b"GET / HTTP/1.1\r\n",
        b"\x00",
    ],
)
async def test_who_is_not_listed_and_wants_more_is_no_health_check(tmp_path: Path, sent: bytes) -> None:
    async with open_rig(tmp_path, listeners=FAR) as rig:
        assert await exchange(rig.port, sent) == b""
        await eventually(lambda: not rig.gateway.plane.open.new_connections)
        codes = [line["error"] for line in rig.log_lines() if line["kind"] == "http"]
        assert codes == ["PROXY_NOT_LISTED"]
