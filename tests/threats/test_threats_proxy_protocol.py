"""Threats, "PROXY" (spoofed header): only who is listed may say where a connection comes from, and has to.

"Closed" means: without a byte, nothing asked of any notebook, and one line in the access log that says why.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.harness.certificates import self_signed, trusting
from tests.harness.gateway import open_rig, status_of
from tests.harness.preludes import SIGNATURE, exchange, exchange_in_tls, local, received, v1, v2
from tests.threats.callers import untouched

FRIEND, STRANGER = "203.0.113.7", "192.0.2.66"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://localhost\r\n\r\n"
)


def listening(*networks: str) -> dict[str, Any]:
    """Behind load balancers of these networks; only 203.0.113.0/24 is let in."""
    return {
        "listeners": [{"bind": "127.0.0.1:0", "proxy_protocol": list(networks)}],
        "policy": {"allow": ["elsewhere"]},
    }


@pytest.mark.parametrize("prelude", [v1(FRIEND), v2(FRIEND), b"PROXY UNKNOWN\r\n", local(), b""])
async def test_who_is_not_listed_is_closed_whatever_it_sends(tmp_path: Path, prelude: bytes) -> None:
    """v1/v2 from an unlisted peer -> close."""
    async with open_rig(tmp_path, **listening("10.0.0.0/8")) as rig:
        for request in (REQUEST, UPGRADE):
            assert await exchange(rig.port, prelude + request) == b""
        assert untouched(rig)
        codes = [line["error"] for line in rig.log_lines() if line.get("kind") == "http"]
        assert codes == ["PROXY_NOT_LISTED"] * 2


@pytest.mark.parametrize("source", [FRIEND, "::ffff:203.0.113.7"])
async def test_who_is_listed_names_the_client_and_that_alone_is_decided_by(
    tmp_path: Path, source: str
) -> None:
    """A mapped source is the IPv4 address; the load balancer's own address lets nobody in."""
    async with open_rig(tmp_path, **listening("127.0.0.0/8")) as rig:
        for prelude, statuses in (
            (v2(source), [200, 101]),
            (v1(source), [200, 101]),
            (v2(STRANGER), [403, 403]),
            (v1(STRANGER), [403, 403]),
            (v2("2001:db8::7"), [403, 403]),
            (local(), [403, 403]),
            (b"PROXY UNKNOWN\r\n", [403, 403]),
            (b"PROXY UNKNOWN 203.0.113.7 10.0.0.1 1 2\r\n", [403, 403]),
        ):
            got = await exchange(rig.port, prelude + REQUEST)
            upgraded = await rig.raw(prelude + UPGRADE, until_eof=False)
            assert [status_of(got), status_of(upgraded)] == statuses, prelude


@pytest.mark.parametrize(
    "sent",
    [
        REQUEST,
        UPGRADE,
        b"PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n" + REQUEST,
        b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\n" + REQUEST,
        b"PROXY TCP4 203.0.113.007 10.0.0.1 1 2\r\n" + REQUEST,
        b"PROXY TCP4 203.0.113.7,192.0.2.66 10.0.0.1 1 2\r\n" + REQUEST,
        b"PROXY TCP6 203.0.113.7 10.0.0.1 1 2\r\n" + REQUEST,
        b"PROXY " + b"A" * 200 + REQUEST,
        b"proxy TCP4 203.0.113.7 10.0.0.1 1 2\r\n" + REQUEST,
        b"\r\n" + v1(FRIEND) + REQUEST,
        v2(FRIEND, tlvs=b"\x04\xff\xff") + REQUEST,
        v2(FRIEND, length=0xFFFF) + REQUEST,
        v2(FRIEND, length=11) + REQUEST,
        v2(FRIEND, command=0x22) + REQUEST,
        v2(FRIEND, command=0x11) + REQUEST,
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216) + REQUEST,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bytes(64),
    ],
    ids=lambda sent: ascii(sent[:24]),
)
async def test_a_bad_prelude_closes_the_socket_without_a_byte(tmp_path: Path, sent: bytes) -> None:
    """Missing, malformed, oversized: the same for HTTP that forgot it and for TLS."""
    async with open_rig(tmp_path, **listening("127.0.0.0/8")) as rig:
        assert await exchange(rig.port, sent) == b""
        for at in {1, 5, len(sent) // 2}:
            assert await exchange(rig.port, sent[:at], sent[at:]) == b""
        assert untouched(rig)
        codes = {line["error"] for line in rig.log_lines() if line.get("kind") == "http"}
        assert codes == {"PROXY_MALFORMED"}


@pytest.mark.slow
async def test_a_truncated_prelude_is_closed_in_time(tmp_path: Path) -> None:
    """Truncated or missing -> close within the timeout (`timeouts.request_head`), on the real clock."""
    async with open_rig(tmp_path, timeouts={"request_head": "500ms"}, **listening("127.0.0.0/8")) as rig:
        for sent in (b"", v1(FRIEND)[:-1], v2(FRIEND)[:-1], v2(FRIEND, length=4096)):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(sent)
            assert await received(reader) == b""
            writer.close()
        assert untouched(rig)
        assert not rig.gateway.plane.open.new_connections


async def test_a_second_prelude_is_no_prelude(tmp_path: Path) -> None:
    """What stands behind the load balancer's own header was written by the caller."""
    async with open_rig(tmp_path, **listening("127.0.0.0/8")) as rig:
        for first in (v1(STRANGER), v2(STRANGER), local()):
            for second in (v1(FRIEND), v2(FRIEND)):
                answer = await exchange(rig.port, first + second + REQUEST)
                assert status_of(answer) == 400
        assert untouched(rig)


async def test_headers_of_a_caller_behind_the_load_balancer_change_nothing(tmp_path: Path) -> None:
    """Being listed for preludes trusts no forwarding header, of the source or of the load balancer."""
    async with open_rig(tmp_path, **listening("127.0.0.0/8")) as rig:
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP"):
            value = f"for={FRIEND}" if name == "Forwarded" else FRIEND
            spoken = REQUEST.replace(b"Connection", f"{name}: {value}\r\nConnection".encode())
            for prelude in (v1(STRANGER), v2(STRANGER), local()):
                assert status_of(await exchange(rig.port, prelude + spoken)) == 403
        assert untouched(rig)


async def test_a_listener_without_the_setting_takes_no_prelude(tmp_path: Path) -> None:
    """Nor does one listener's setting reach another."""
    changes = listening("127.0.0.0/8")
    changes["listeners"].append({"bind": "127.0.0.1:0"})
    async with open_rig(tmp_path, **changes) as rig:
        plain = rig.gateway.addresses[1].port
        assert status_of(await exchange(plain, v1(FRIEND) + REQUEST)) == 400
        assert status_of(await exchange(plain, v2(FRIEND) + REQUEST)) == 400
        assert status_of(await exchange(plain, REQUEST)) == 403
        assert untouched(rig)


async def test_tls_is_not_answered_before_the_prelude(tmp_path: Path) -> None:
    """Not even with an alert: who is not listed cannot tell what listens there."""
    certificate = self_signed(tmp_path, name="IP:127.0.0.1")
    changes = listening("10.0.0.0/8")
    changes["listeners"][0]["tls"] = {"certificate": str(certificate), "key": str(certificate)}
    async with open_rig(tmp_path, **changes) as rig:
        for prelude in (b"", v1(FRIEND), v2(FRIEND)):
            assert await exchange_in_tls(rig.port, prelude, trusting(certificate), REQUEST) == b""
        assert untouched(rig)
