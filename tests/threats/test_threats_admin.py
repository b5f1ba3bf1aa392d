"""Threats, N5: the admin listener gets the same care as the public one, for health must be told whatever happens.

In 0.1 it had no deadline for heads and no bound on connections (1,100 half heads used up the descriptors of the public
listener, too), and answered any `Host`: a page whose name leads here (DNS rebinding) could read `/metrics`.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.server.operations.admin_listener import CONNECTIONS, CONNECTIONS_PER_ADDRESS
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.preludes import received

HALF = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: "


async def connect(rig: Rig, data: bytes, *, source: str = "127.0.0.1") -> asyncio.StreamReader:
    address = rig.gateway.admin_address
    assert address is not None
    reader, writer = await asyncio.open_connection(address.host, address.port, local_addr=(source, 0))
    writer.write(data)
    # Kept from being collected, and with it closed.
    vars(reader)["writer"] = writer
    return reader


def close(reader: asyncio.StreamReader) -> None:
    vars(reader)["writer"].transport.abort()


async def ask(rig: Rig, data: bytes, *, source: str = "127.0.0.1") -> bytes:
    reader = await connect(rig, data, source=source)
    answer = await received(reader)
    close(reader)
    return answer


def get(path: str = "/healthz", *, host: str | None = "127.0.0.1", version: str = "1.1") -> bytes:
    named = "" if host is None else f"Host: {host}\r\n"
    return f"GET {path} HTTP/{version}\r\n{named}\r\n".encode()


def told(rig: Rig) -> set[tuple[str, str]]:
    """Code and address of the events so far."""
    return {(line["code"], line["address"]) for line in rig.log_lines() if line.get("event") == "limit met"}


async def test_half_heads_of_one_address_make_room_for_whoever_asks(rig: Rig) -> None:
    halves = [await connect(rig, HALF, source="127.0.0.66") for _ in range(200)]
    async with asyncio.timeout(30):
        while sum(reader.at_eof() for reader in halves) < 200 - CONNECTIONS_PER_ADDRESS:
            await asyncio.sleep(0.001)
    for source in ("127.0.0.1", "127.0.0.66"):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert status_of(await ask(rig, get(path), source=source)) == 200
    assert ("ADMIN_TOO_MANY_FROM_ADDRESS", "127.0.0.66") in told(rig)
    for reader in halves:
        close(reader)


async def test_more_than_may_be_open_come_within_one_turn(rig: Rig) -> None:
    """Whoever makes room may not have begun yet: its task is ended before it runs."""
    address = rig.gateway.admin_address
    assert address is not None
    # The kernel lets them in while the loop stands still.
    callers = [socket.create_connection((address.host, address.port)) for _ in range(48)]
    for caller in callers:
        caller.setblocking(False)
    loop = asyncio.get_running_loop()
    for caller in callers[:-CONNECTIONS_PER_ADDRESS]:
        assert await asyncio.wait_for(loop.sock_recv(caller, 30), 30) == b""
    assert status_of(await ask(rig, get())) == 200
    for caller in callers:
        caller.close()


async def test_half_heads_of_many_addresses_do_not_either(rig: Rig) -> None:
    halves = [await connect(rig, HALF, source=f"127.0.1.{number}") for number in range(1, 201)]
    async with asyncio.timeout(30):
        while sum(reader.at_eof() for reader in halves) < 200 - CONNECTIONS:
            await asyncio.sleep(0.001)
    # The oldest went, the newest stay.
    assert not any(reader.at_eof() for reader in halves[-CONNECTIONS:])
    assert status_of(await ask(rig, get())) == 200
    assert "ADMIN_TOO_MANY_CONNECTIONS" in {code for code, _ in told(rig)}
    for reader in halves:
        close(reader)


@pytest.mark.parametrize("sent", [b"", HALF, get() + b"GET"], ids=["silent", "half", "answered"])
async def test_a_connection_is_over_when_its_time_is_up(tmp_path: Path, sent: bytes) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock) as rig:
        reader = await connect(rig, sent)
        if b"\r\n\r\n" in sent:
            await asyncio.wait_for(reader.readuntil(b"ok\n"), 30)
        async with asyncio.timeout(30):
            # What has been answered is closed at once.
            while clock.sleeping and not reader.at_eof():
                await clock.advance(1)
        assert b"408" not in await received(reader)
        if sent != get() + b"GET":
            assert clock.monotonic() - 1000 >= rig.gateway.plane.current.timeouts.request_head_seconds
            assert told(rig) == {("ADMIN_TIMEOUT", "127.0.0.1")}
        close(reader)


async def test_a_connection_is_for_one_request(rig: Rig) -> None:
    answer = await ask(rig, get() * 3)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9901", 200),
        ("10.2.3.4:9901", 200),
        ("[::1]:9901", 200),
        ("localhost", 200),
        ("LOCALHOST:9901", 200),
        ("localhost.:9901", 200),
        ("nbgate.monitoring", 200),
        ("Nbgate.Monitoring:9901", 200),
        ("evil.example", 421),
        ("evil.example:9901", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("0x7f000001", 421),
        ("127.1", 421),
        ("notebooks.internal", 421),
        ("a b", 421),
        ("evil.example@127.0.0.1", 421),
        ("127.0.0.1/evil.example", 421),
        ("", 421),
    ],
)
async def test_whoever_asks_has_to_call_it_by_an_address_or_a_name_of_its_own(
    tmp_path: Path, host: str, status: int
) -> None:
    async with open_rig(tmp_path, admin={"bind": "127.0.0.1:0", "hosts": ["nbgate.monitoring"]}) as rig:
        for path in ("/healthz", "/readyz", "/metrics", "/nothing"):
            answer = await ask(rig, get(path, host=host))
            assert status_of(answer) == (404 if status == 200 and path == "/nothing" else status)
            assert host == "" or status == 200 or host.encode() not in answer
        # A target's word does not count.
        assert status_of(await ask(rig, get("http://127.0.0.1/metrics", host="evil.example"))) == 421


async def test_a_check_without_a_host_is_answered_where_http_lets_it(rig: Rig) -> None:
    """HTTP/1.0, which load balancers' checks speak and no browser does."""
    assert status_of(await ask(rig, get(host=None, version="1.0"))) == 200
    assert status_of(await ask(rig, get(host=None))) == 400
    assert status_of(await ask(rig, get().replace(b"Host", b"Host: evil.example\r\nHost"))) == 400


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /<script> HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"<script>\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"<script>" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=lambda sent: ascii(sent[:16]),
)
async def test_what_is_not_http_is_not_echoed_and_fills_no_log(rig: Rig, sent: bytes) -> None:
    for _ in range(5):
        answer = await ask(rig, sent)
        assert status_of(answer) == 400
        assert b"script" not in answer
        assert b"aiohttp" not in answer
    assert not [line for line in rig.log_lines() if line.get("level") == "error"]


async def test_a_page_that_fails_is_logged_and_says_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.gateway.reloader, "status", None)
    answer = await ask(rig, get("/readyz"))
    assert status_of(answer) == 500
    assert b"NoneType" not in body_of(answer)
    assert [line for line in rig.log_lines() if line.get("level") == "error"]


async def test_cookies_of_other_pages_at_this_host_are_no_reason_to_refuse(rig: Rig) -> None:
    """Cookies know no ports: a browser brings those of the gateway and of all notebooks here, in one line."""
    cookies = b"Cookie: " + b"; ".join(b"c%d=%b" % (number, b"v" * 1000) for number in range(40))
    assert status_of(await ask(rig, get()[:-2] + cookies + b"\r\n\r\n")) == 200
