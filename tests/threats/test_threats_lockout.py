"""Threats, N1 to N3: a stranger must not be able to lock everybody out, on any kind of listener.

Callers come from addresses of their own on this machine: 127.0.0.1 is let in, the others of 127.0.0.0/8 are strangers.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.dataplane.budgets import ANSWERED_OF_ADDRESS
from tests.harness.certificates import self_signed, trusting
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.preludes import exchange, received, v1, v2

FRIEND, STRANGER, OTHER = "127.0.0.1", "127.0.0.66", "127.0.0.67"
ONLY_FRIENDS: dict[str, Any] = {
    "allowlists": {"here": ["127.0.0.1", "203.0.113.0/24", "2001:db8::/32"]},
    "policy": {"allow": ["here"]},
}
PER_STRANGER = 16
KINDS = ("plain", "tls", "prelude", "prelude and tls")


class Site:
    """A gateway whose one listener is of a kind, and callers that come from where the test says."""

    def __init__(self, rig: Rig, kind: str, certificate: Path) -> None:
        self.rig = rig
        self.tls = trusting(certificate) if "tls" in kind else None
        self.has_prelude = "prelude" in kind
        self._writers: list[asyncio.StreamWriter] = []

    async def silent(self, source: str) -> asyncio.StreamReader:
        """A connection that goes no further than it must to be its source's."""
        local = None if self.has_prelude else (source, 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.rig.port, local_addr=local)
        self._writers.append(writer)
        if self.has_prelude:
            writer.write(v1(source))
        return reader

    async def get(self, source: str, *, extra: str = "Connection: close\r\n") -> bytes:
        """A request; all that came back, b"" where the connection was cut without a byte."""
        try:
            return await asyncio.wait_for(self._get(source, extra), 30)
        except (ConnectionError, ssl.SSLError):
            return b""

    async def _get(self, source: str, extra: str) -> bytes:
        reader = await self.silent(source)
        writer = self._writers[-1]
        if self.tls is not None:
            await writer.start_tls(self.tls, server_hostname="127.0.0.1")
        writer.write(f"GET / HTTP/1.1\r\nHost: {self.rig.authority}\r\n{extra}\r\n".encode())
        return await received(reader)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.001)

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def codes(self) -> Counter[str]:
        """Of the access records so far."""
        return Counter(line["error"] for line in self.rig.log_lines() if line.get("kind") == "http")

    def told(self) -> set[tuple[str, str, str]]:
        """Limit, code and address of the events so far."""
        return {
            (line["limit"], line["code"], line["address"])
            for line in self.rig.log_lines()
            if line.get("event") == "limit met"
        }


@pytest.fixture
async def open_site(tmp_path: Path) -> Any:
    """Opens a site of a kind; `changes` replace sections of the configuration."""
    entered = []

    async def opened(
        kind: str, *, listed: str = "127.0.0.0/8", clock: FakeClock | None = None, **changes: Any
    ) -> Site:
        certificate = self_signed(tmp_path, name="IP:127.0.0.1")
        listener: dict[str, Any] = {"bind": "127.0.0.1:0"}
        if "tls" in kind:
            listener["tls"] = {"certificate": str(certificate), "key": str(certificate)}
        if "prelude" in kind:
            listener["proxy_protocol"] = [listed]
        context = open_rig(tmp_path, clock=clock, listeners=[listener], **{**ONLY_FRIENDS, **changes})
        site = Site(await context.__aenter__(), kind, certificate)
        entered.append((site, context))
        return site

    yield opened
    for site, context in entered:
        site.close()
        await context.__aexit__(None, None, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_stranger_holds_is_little_before_it_has_said_a_word(open_site: Any, kind: str) -> None:
    """N1: 600 silent connections of one address stayed for 14 s on a TLS listener, where 16 were allowed."""
    site = await open_site(kind)
    plane = site.rig.gateway.plane
    readers = [await site.silent(STRANGER) for _ in range(200)]
    await site.until(lambda: sum(reader.at_eof() for reader in readers) >= 200 - PER_STRANGER)
    assert plane.budgets.in_all == PER_STRANGER
    # It has no more than that, and keeps nobody else from anything.
    assert status_of(await site.get(FRIEND)) == 200
    assert status_of(await site.get(OTHER)) == 403
    assert await site.get(STRANGER) == b""
    assert ("limits.connections_per_stranger", "TOO_MANY_FROM_STRANGER", STRANGER) in site.told()
    # Some records, not one for each: nobody fills the log so.
    assert 1 <= site.codes()["TOO_MANY_FROM_STRANGER"] <= 10


@pytest.mark.parametrize("kind", KINDS)
async def test_strangers_together_leave_room_for_those_who_may_come_in(open_site: Any, kind: str) -> None:
    site = await open_site(kind, limits={"connections": 80})
    readers = [await site.silent(f"127.0.1.{number // 10}") for number in range(100)]
    await site.until(lambda: sum(reader.at_eof() for reader in readers) >= 80)
    assert site.rig.gateway.plane.budgets.in_all == 20
    for _ in range(5):
        assert status_of(await site.get(FRIEND)) == 200
    assert "TOO_MANY_STRANGERS" in site.codes()


@pytest.mark.parametrize("kind", KINDS)
async def test_one_connection_too_many_of_somebody_who_may_come_in_is_told_so(
    open_site: Any, kind: str
) -> None:
    """N3: the 513th connection of an office's address was cut without an answer, a line or a counter."""
    site = await open_site(kind, limits={"connections_per_address": 3})
    await asyncio.gather(*[site.silent(FRIEND) for _ in range(3)])
    await site.until(lambda: site.rig.gateway.plane.budgets.in_all == 3)
    answer = await site.get(FRIEND, extra="")
    assert status_of(answer) == 503
    assert b"\r\nRetry-After: " in answer
    assert b"\r\nConnection: close\r\n" in answer
    assert ("limits.connections_per_address", "TOO_MANY_FROM_ADDRESS", FRIEND) in site.told()
    assert site.codes()["TOO_MANY_FROM_ADDRESS"] == 1


async def test_whoever_is_too_many_and_refused_makes_room_for_the_next_one_to_be_told(open_site: Any) -> None:
    """Few are kept above a limit until they were answered: those who would stay on keep nobody else from it."""
    site = await open_site(
        "plain",
        limits={"connections_per_address": 1},
        mounted={"research": {"notebook": "research-gpu-1", "mount": "root", "access": "presigned"}},
    )
    await site.silent(FRIEND)
    await site.until(lambda: site.rig.gateway.plane.budgets.in_all == 1)
    for _ in range(ANSWERED_OF_ADDRESS + 1):
        answer = await site.get(FRIEND, extra="")
        assert status_of(answer) == 401
        assert b"\r\nConnection: close\r\n" in answer


async def test_ipv6_addresses_count_by_their_64_bits(open_site: Any) -> None:
    site = await open_site("prelude", limits={"connections_per_address": 3})
    for number in range(3):
        await site.silent(f"2001:db8::{number + 1:x}")
    await site.until(lambda: site.rig.gateway.plane.budgets.in_all == 3)
    assert status_of(await site.get("2001:db8::ffff")) == 503
    assert status_of(await site.get("2001:db8:0:1::1")) == 200
    assert ("limits.connections_per_address", "TOO_MANY_FROM_ADDRESS", "2001:db8::/64") in site.told()


async def test_streams_of_events_count_by_the_same_64_bits(open_site: Any) -> None:
    site = await open_site("prelude", limits={"event_streams_per_address": 1})
    request = f"GET /.nbgate/events HTTP/1.1\r\nHost: {site.rig.authority}\r\n\r\n".encode()
    for source, status in (("2001:db8::1", 200), ("2001:db8::2", 503), ("2001:db8:0:1::1", 200)):
        reader = await site.silent(source)
        site._writers[-1].write(request)
        assert status_of(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)) == status


async def test_a_unix_sockets_callers_count_as_well(tmp_path: Path) -> None:
    """They have no address, so that the number of all alone bounds them."""
    path = tmp_path / "nb.sock"
    listeners = [{"bind": f"unix:{path}", "trust_unix": "header"}]
    async with open_rig(tmp_path, listeners=listeners, limits={"connections": 2}, **ONLY_FRIENDS) as rig:
        held = [await asyncio.open_unix_connection(path) for _ in range(2)]
        async with asyncio.timeout(30):
            while rig.gateway.plane.budgets.in_all < 2:
                await asyncio.sleep(0.001)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n")
        assert status_of(await received(reader)) == 503
        for _, one in (*held, (reader, writer)):
            one.close()


async def test_whoever_is_too_many_and_says_nothing_is_not_waited_for(open_site: Any) -> None:
    clock = FakeClock()
    site = await open_site("tls", clock=clock, limits={"connections_per_address": 1})
    first, second = await site.silent(FRIEND), await site.silent(FRIEND)
    await site.until(lambda: site.rig.gateway.plane.budgets.in_all == 2)
    await clock.advance(6)
    assert await received(second) == b""
    assert not first.at_eof()


@pytest.mark.parametrize(("kind", "code"), [("tls", "TLS_TIMEOUT"), ("prelude and tls", "TLS_TIMEOUT")])
async def test_a_handshake_has_until_the_first_heads_deadline(open_site: Any, kind: str, code: str) -> None:
    clock = FakeClock()
    site = await open_site(kind, clock=clock)
    plane = site.rig.gateway.plane
    readers = [await site.silent(source) for source in (FRIEND, STRANGER)]
    await site.until(
        lambda: (
            len(plane.open.new_connections) == 2
            and all(one._prelude is None for one in plane.open.new_connections)
        )
    )
    await clock.advance(plane.current.timeouts.request_head_seconds - 1)
    assert plane.budgets.in_all == 2
    await clock.advance(2)
    for reader in readers:
        assert await received(reader) == b""
    await site.until(lambda: not plane.open.new_connections)
    assert plane.budgets.in_all == 0
    assert site.codes() == {code: 2}
    assert {("timeouts.request_head", code, source) for source in (FRIEND, STRANGER)} <= site.told()


async def test_a_handshake_puts_the_first_heads_deadline_off_by_nothing(open_site: Any) -> None:
    clock = FakeClock()
    site = await open_site("tls", clock=clock)
    plane = site.rig.gateway.plane
    reader = await site.silent(FRIEND)
    await site.until(lambda: len(plane.open.new_connections) == 1)
    await clock.advance(plane.current.timeouts.request_head_seconds - 2)
    await site._writers[-1].start_tls(site.tls, server_hostname="127.0.0.1")
    await site.until(lambda: len(plane.open.connections) == 1)
    await clock.advance(3)
    assert await received(reader) == b""
    assert site.codes() == {"REQUEST_TIMEOUT": 1}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_says_nothing_leaves_a_trace(open_site: Any, kind: str) -> None:
    clock = FakeClock()
    site = await open_site(kind, clock=clock)
    plane = site.rig.gateway.plane
    reader = await site.silent(STRANGER)
    await site.until(lambda: plane.budgets.in_all == 1)
    await clock.advance(plane.current.timeouts.request_head_seconds + 1)
    assert await received(reader) == b""
    [code] = site.codes()
    assert ("timeouts.request_head", code, STRANGER) in site.told()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_denied_caller_who_speaks_for_itself_is_not_kept(open_site: Any, kind: str) -> None:
    """N3: after its 403, its connection stayed open for 75 s."""
    site = await open_site(kind)
    answer = await site.get(STRANGER, extra="")
    assert status_of(answer) == 403
    assert b"\r\nConnection: close\r\n" in answer
    await site.until(lambda: site.rig.gateway.plane.budgets.in_all == 0)


async def test_behind_a_trusted_proxy_a_denied_caller_closes_nobodys_connection(tmp_path: Path) -> None:
    proxies = {"trusted_proxies": ["127.0.0.1"]}
    async with open_rig(tmp_path, client_address=proxies, **ONLY_FRIENDS) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        for client, status in (("198.51.100.7", 403), ("203.0.113.7", 200), ("198.51.100.7", 403)):
            writer.write(
                f"GET / HTTP/1.1\r\nHost: {rig.authority}\r\nX-Forwarded-For: {client}\r\n\r\n".encode()
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            assert status_of(head) == status
            assert b"\r\nconnection: close\r\n" not in head.lower()
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]))
        writer.close()


async def test_load_balancers_that_are_not_listed_fill_no_log(open_site: Any) -> None:
    site = await open_site("prelude", listed="10.0.0.0/8")
    for _ in range(50):
        assert await exchange(site.rig.port, v2("203.0.113.7")) == b""
    assert 1 <= site.codes()["PROXY_NOT_LISTED"] <= 10
    assert ("listeners.proxy_protocol", "PROXY_NOT_LISTED", FRIEND) in site.told()
