"""Listeners behind load balancers (PROXY protocol, with and without TLS behind it) and on Unix sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy.config.binds import UnixSocket
from proxy.dataplane.caller.prelude import NewConnection
from proxy.server.listening import bind, remove
from tests.harness.certificates import self_signed, trusting
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.preludes import exchange, exchange_in_tls, local, received, v1, v2
from tests.harness.waiting import settle

FRIEND, STRANGER = "203.0.113.7", "192.0.2.66"
LISTED = [{"bind": "127.0.0.1:0", "proxy_protocol": ["127.0.0.0/8"]}]
FRIENDS_ONLY: dict[str, Any] = {"policy": {"allow": ["elsewhere"]}}


def get(rig: Rig, *, extra: str = "", host: str = "127.0.0.1") -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\n\r\n".encode()


async def until(holds: Callable[[], bool]) -> None:
    """Return when what happens at the other end of a socket has happened."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.001)


def preludes(rig: Rig) -> list[int | None]:
    """How many bytes of a prelude have come on each new connection; None where it was read."""
    found: list[int | None] = []
    for one in rig.gateway.plane.open.new_connections:
        assert isinstance(one, NewConnection)
        found.append(None if one._prelude is None else len(one._prelude._received))
    return found


def has_come(rig: Rig, size: int | None) -> bool:
    return preludes(rig) == [size]


def told(rig: Rig) -> list[str]:
    """Error codes in the access log."""
    return [line["error"] for line in rig.log_lines() if line.get("kind") == "http"]


class TestPreludes:
    @pytest.mark.parametrize("prelude", [v1, v2])
    async def test_the_source_is_the_peer_and_the_client(self, tmp_path: Path, prelude: Any) -> None:
        async with open_rig(tmp_path, listeners=LISTED, **FRIENDS_ONLY) as rig:
            assert status_of(await exchange(rig.port, prelude(FRIEND) + get(rig))) == 200
            assert status_of(await exchange(rig.port, prelude(STRANGER) + get(rig))) == 403
            assert [seen.values("x-forwarded-for") for seen in rig.upstream.seen][-1] == [FRIEND]
            lines = [line for line in rig.log_lines() if line.get("kind") == "http"]
            assert [(line["client"], line["peer"]) for line in lines] == [
                (FRIEND, FRIEND),
                (STRANGER, STRANGER),
            ]

    @pytest.mark.parametrize("prelude", [b"PROXY UNKNOWN\r\n", local()])
    async def test_without_a_source_it_is_the_load_balancer(self, tmp_path: Path, prelude: bytes) -> None:
        async with open_rig(tmp_path, listeners=LISTED) as rig:
            assert status_of(await exchange(rig.port, prelude + get(rig))) == 200
        (tmp_path / "b").mkdir()
        async with open_rig(tmp_path / "b", listeners=LISTED, **FRIENDS_ONLY) as rig:
            assert status_of(await exchange(rig.port, prelude + get(rig))) == 403

    @pytest.mark.parametrize("prelude", [v1(FRIEND), v2(FRIEND, tlvs=b"\x04\x00\x03abc")])
    async def test_a_prelude_may_come_in_two_parts_divided_anywhere(
        self, tmp_path: Path, prelude: bytes
    ) -> None:
        async with open_rig(tmp_path, listeners=LISTED, **FRIENDS_ONLY) as rig:
            for at in range(1, len(prelude)):
                reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
                writer.write(prelude[:at])
                await until(partial(has_come, rig, at))
                writer.write(prelude[at:] + get(rig))
                assert status_of(await received(reader)) == 200, at
                writer.close()
                await until(lambda: not rig.gateway.plane.open.new_connections)

    async def test_forwarding_headers_count_if_the_source_is_a_trusted_proxy(self, tmp_path: Path) -> None:
        """A network load balancer in front of a proxy: the proxy is the prelude's source, the header is its word."""
        proxies = {"trusted_proxies": ["198.51.100.0/24"]}
        async with open_rig(tmp_path, listeners=LISTED, client_address=proxies, **FRIENDS_ONLY) as rig:
            for source, header, status in (
                ("198.51.100.1", f"{STRANGER}, {FRIEND}", 200),
                ("198.51.100.1", f"{FRIEND}, {STRANGER}", 403),
                ("198.51.100.1", "garbage", 403),
                (STRANGER, FRIEND, 403),
                (FRIEND, STRANGER, 200),
            ):
                request = get(rig, extra=f"X-Forwarded-For: {header}\r\n")
                assert status_of(await exchange(rig.port, v2(source) + request)) == status, (source, header)
            # The load balancer itself is no such proxy: being listed for preludes trusts no header.
            request = get(rig, extra=f"X-Forwarded-For: {FRIEND}\r\n")
            assert status_of(await exchange(rig.port, local() + request)) == 403

    async def test_a_websocket_passes(self, tmp_path: Path) -> None:
        async with open_rig(tmp_path, listeners=LISTED, **FRIENDS_ONLY) as rig:
            head = (
                f"GET /ws HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Origin: {rig.origin}\r\n\r\n"
            )
            answer = await rig.raw(v1(FRIEND) + head.encode(), until_eof=False)
            assert status_of(answer) == 101

    async def test_each_source_has_its_own_number_of_connections(self, tmp_path: Path) -> None:
        limits = {"connections_per_address": 1}
        async with open_rig(tmp_path, listeners=LISTED, limits=limits, **FRIENDS_ONLY) as rig:
            open_ones = []
            for source in ("203.0.113.1", "203.0.113.2"):
                reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
                writer.write(v1(source) + get(rig).replace(b"Connection: close\r\n", b""))
                assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
                open_ones.append(writer)
            assert status_of(await exchange(rig.port, v1("203.0.113.2") + get(rig))) == 503
            for writer in open_ones:
                writer.close()

    async def test_waiting_for_a_prelude_counts_as_a_connection(self, tmp_path: Path) -> None:
        async with open_rig(tmp_path, listeners=LISTED, limits={"connections": 2}) as rig:
            waiting = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(2)]
            await until(lambda: len(rig.gateway.plane.open.new_connections) == 2)
            assert status_of(await exchange(rig.port, local() + get(rig))) == 503
            for _, writer in waiting:
                writer.close()

    async def test_draining_ends_the_wait(self, tmp_path: Path) -> None:
        async with open_rig(tmp_path, listeners=LISTED) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            await until(lambda: len(rig.gateway.plane.open.new_connections) == 1)
            await rig.gateway.drain(1)
            assert await received(reader) == b""
            writer.close()

    async def test_who_only_looks_whether_somebody_listens_is_not_recorded(self, tmp_path: Path) -> None:
        """As load balancers do every few seconds. Half a prelude is something else."""
        async with open_rig(tmp_path, listeners=LISTED) as rig:
            for data in (b"", b"PROXY TC"):
                _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
                await until(lambda: len(rig.gateway.plane.open.new_connections) == 1)
                writer.write(data)
                writer.close()
                await until(lambda: not rig.gateway.plane.open.new_connections)
            assert told(rig) == ["PROXY_MALFORMED"]


class TestPreludesBeforeTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        return self_signed(tmp_path, name="IP:127.0.0.1")

    @pytest.fixture
    def listeners(self, certificate: Path) -> list[dict[str, Any]]:
        tls = {"certificate": str(certificate), "key": str(certificate)}
        return [{**LISTED[0], "tls": tls}]

    @pytest.mark.parametrize("prelude", [v1, v2])
    async def test_the_handshake_begins_right_behind_the_prelude(
        self, tmp_path: Path, listeners: Any, certificate: Path, prelude: Any
    ) -> None:
        async with open_rig(tmp_path, listeners=listeners, **FRIENDS_ONLY) as rig:
            for source, status in ((FRIEND, 200), (STRANGER, 403)):
                answer = await exchange_in_tls(
                    rig.port, prelude(source), trusting(certificate), get(rig, host=rig.authority)
                )
                assert status_of(answer) == status
            assert rig.upstream.seen[-1].values("x-forwarded-for") == [FRIEND]
            assert rig.upstream.seen[-1].values("x-forwarded-proto") == ["https"]
            assert not rig.gateway.plane.open.new_connections

    async def test_tls_1_2_works_as_well(self, tmp_path: Path, listeners: Any, certificate: Path) -> None:
        context = trusting(certificate)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with open_rig(tmp_path, listeners=listeners, **FRIENDS_ONLY) as rig:
            answer = await exchange_in_tls(rig.port, v2(FRIEND), context, get(rig, host=rig.authority))
            assert status_of(answer) == 200

    async def test_tls_without_a_prelude_is_closed_without_a_byte(
        self, tmp_path: Path, listeners: Any, certificate: Path
    ) -> None:
        async with open_rig(tmp_path, listeners=listeners) as rig:
            assert await exchange_in_tls(rig.port, b"", trusting(certificate), get(rig)) == b""
            assert told(rig) == ["PROXY_MALFORMED"]

    async def test_what_is_not_tls_behind_the_prelude_reaches_nobody(
        self, tmp_path: Path, listeners: Any
    ) -> None:
        async with open_rig(tmp_path, listeners=listeners) as rig:
            answer = await exchange(rig.port, v1(FRIEND), get(rig))
            assert status_of(answer) == 400
            assert b"This port speaks TLS" in answer
            await until(lambda: not rig.gateway.plane.open.new_connections)
            assert not rig.upstream.seen

    async def test_a_handshake_that_is_broken_off_leaves_nothing_behind(
        self, tmp_path: Path, listeners: Any
    ) -> None:
        async with open_rig(tmp_path, listeners=listeners) as rig:
            for data in (v1(FRIEND), v1(FRIEND) + b"\x16\x03\x01\x02\x00"):
                _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
                writer.write(data)
                await until(lambda: len(rig.gateway.plane.open.new_connections) == 1)
                writer.close()
                await until(lambda: not rig.gateway.plane.open.new_connections)

    async def test_draining_ends_a_handshake(self, tmp_path: Path, listeners: Any) -> None:
        async with open_rig(tmp_path, listeners=listeners) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(v1(FRIEND))
            await until(partial(has_come, rig, None))
            await rig.gateway.drain(1)
            assert await received(reader) == b""
            await until(lambda: not rig.gateway.plane.open.new_connections)
            writer.close()


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_request_that_comes_together_with_the_end_of_the_handshake(tmp_path: Path, loop: Any) -> None:
    """asyncio's own loop delivers it before it says that the handshake has ended, uvloop after that."""

    async def main() -> bytes:
        certificate = self_signed(tmp_path, name="IP:127.0.0.1")
        tls = {"certificate": str(certificate), "key": str(certificate)}
        async with open_rig(tmp_path, listeners=[{**LISTED[0], "tls": tls}], **FRIENDS_ONLY) as rig:
            request = get(rig, host=rig.authority)
            answer = await exchange_in_tls(rig.port, v2(FRIEND), trusting(certificate), request)
            await until(
                lambda: not rig.gateway.plane.open.new_connections and not rig.gateway.plane.open.connections
            )
            return answer

    with asyncio.Runner(loop_factory=loop) as runner:
        answer = runner.run(main())
    assert status_of(answer) == 200


async def ask(path: Path, data: bytes) -> bytes:
    """Send bytes to a Unix socket; all that came back."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(data)
        return await received(reader)
    finally:
        writer.close()


class TestUnixSockets:
    def listening(self, path: Path, **keys: Any) -> dict[str, Any]:
        return {"listeners": [{"bind": f"unix:{path}", **keys}], **FRIENDS_ONLY}

    async def test_the_client_is_whom_the_header_names(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        async with open_rig(tmp_path, **self.listening(path, trust_unix="header", scheme="https")) as rig:
            for header, status in (
                (f"X-Forwarded-For: {STRANGER}, {FRIEND}\r\n", 200),
                (f"X-Forwarded-For: {FRIEND}, {STRANGER}\r\n", 403),
                ("X-Forwarded-For: garbage\r\n", 403),
                ("", 403),
            ):
                assert status_of(await ask(path, get(rig, extra=header))) == status, header
            assert rig.upstream.seen[-1].values("x-forwarded-for") == [FRIEND]
            assert rig.upstream.seen[-1].values("x-forwarded-proto") == ["https"]
            problems = [line["problem"] for line in rig.log_lines() if line.get("kind") == "audit"]
            assert problems[-1] == "the proxy sent no x-forwarded-for"

    async def test_each_request_of_a_connection_is_judged_by_its_own_header(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        async with open_rig(tmp_path, **self.listening(path, trust_unix="header")) as rig:
            reader, writer = await asyncio.open_unix_connection(path)
            for address, status in ((None, 403), (FRIEND, 200), (STRANGER, 403), (FRIEND, 200), (None, 403)):
                extra = f"X-Forwarded-For: {address}\r\n" if address else ""
                writer.write(get(rig, extra=extra).replace(b"Connection: close\r\n", b""))
                head = await reader.readuntil(b"\r\n\r\n")
                assert status_of(head) == status
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]))
            writer.close()

    async def test_the_client_is_whom_the_prelude_names(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        async with open_rig(tmp_path, **self.listening(path, trust_unix="proxy_protocol")) as rig:
            assert status_of(await ask(path, v1(FRIEND) + get(rig))) == 200
            assert status_of(await ask(path, v2(STRANGER) + get(rig))) == 403
            # A peer without an address is nobody.
            assert status_of(await ask(path, local() + get(rig))) == 403
            assert await ask(path, get(rig)) == b""
            # The header has no say: what a prelude names is an ordinary peer.
            spoken = get(rig, extra=f"X-Forwarded-For: {FRIEND}\r\n")
            assert status_of(await ask(path, v1(STRANGER) + spoken)) == 403
            assert status_of(await ask(path, local() + spoken)) == 403

    async def test_tls_works_there_as_well(self, tmp_path: Path) -> None:
        path, certificate = tmp_path / "nb.sock", self_signed(tmp_path, name="IP:127.0.0.1")
        tls = {"certificate": str(certificate), "key": str(certificate)}
        async with open_rig(tmp_path, **self.listening(path, trust_unix="header", tls=tls)) as rig:
            reader, writer = await asyncio.open_unix_connection(
                path, ssl=trusting(certificate), server_hostname="127.0.0.1"
            )
            writer.write(get(rig, extra=f"X-Forwarded-For: {FRIEND}\r\n"))
            assert status_of(await received(reader)) == 200
            writer.close()

    async def test_a_websocket_passes(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        async with open_rig(tmp_path, **self.listening(path, trust_unix="header")):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Origin: http://localhost\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n"
            )
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 101
            writer.close()

    @pytest.mark.parametrize(("written", "mode"), [(None, 0o660), ("0600", 0o600), ("666", 0o666)])
    async def test_the_file_has_its_mode_and_is_removed_at_the_end(
        self, tmp_path: Path, written: str | None, mode: int
    ) -> None:
        path = tmp_path / "nb.sock"
        keys = {} if written is None else {"mode": written}
        async with open_rig(tmp_path, **self.listening(path, trust_unix="header", **keys)) as rig:
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert str(rig.gateway.addresses[0]) == f"unix:{path}"
            await rig.gateway.drain(1)
            assert not path.exists()

    async def test_a_socket_left_behind_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        left = socket.socket(socket.AF_UNIX)
        left.bind(os.fspath(path))
        left.listen()
        left.close()
        async with open_rig(tmp_path, **self.listening(path, trust_unix="header")) as rig:
            assert status_of(await ask(path, get(rig, extra=f"X-Forwarded-For: {FRIEND}\r\n"))) == 200
        assert not path.exists()

    def test_a_socket_that_somebody_listens_on_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as caller:
            other.bind(os.fspath(path))
            other.listen(0)
            with pytest.raises(OSError, match=f"cannot listen on unix:{path}: another process is listening"):
                bind(UnixSocket(path))
            # That was one connection more than it waits for: its backlog is full now.
            caller.setblocking(False)
            with pytest.raises(BlockingIOError):
                caller.connect(os.fspath(path))
            with pytest.raises(OSError, match="another process is listening there"):
                bind(UnixSocket(path))
            assert path.exists()

    def test_a_file_that_is_no_socket_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        path.write_text("precious")
        with pytest.raises(OSError, match="there is a file of that name that is not a socket"):
            bind(UnixSocket(path))
        assert path.read_text() == "precious"

    def test_a_directory_that_is_missing_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "missing" / "nb.sock"
        with pytest.raises(OSError, match=f"cannot listen on unix:{path}: No such file or directory"):
            bind(UnixSocket(path))

    async def test_a_successors_socket_is_not_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        async with open_rig(tmp_path, **self.listening(path, trust_unix="header")) as rig:
            path.rename(tmp_path / "old.sock")
            with bind(UnixSocket(path)) as successor:
                await rig.gateway.drain(1)
                assert path.exists()
                assert successor.getsockname() == os.fspath(path)

    async def test_a_file_that_somebody_removed_is_not_missed(self, tmp_path: Path) -> None:
        path = tmp_path / "nb.sock"
        async with open_rig(tmp_path, **self.listening(path, trust_unix="header")):
            path.unlink()

    def test_a_file_that_cannot_be_removed_any_more_stops_nobody(self, tmp_path: Path) -> None:
        found = tmp_path.stat()
        remove(UnixSocket(tmp_path), (found.st_dev, found.st_ino))  # a directory cannot be unlinked
        assert tmp_path.exists()


async def test_a_prelude_has_as_long_as_a_requests_head(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(
        tmp_path, listeners=LISTED, clock=clock, sandbox_clock=clock, timeouts={"request_head": "10s"}
    ) as rig:
        plane = rig.gateway.plane
        for data in (b"", b"PROXY TCP4 203.0.113.7"):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(data)
            await until(partial(has_come, rig, len(data)))
            await clock.advance(9)
            plane.sweep()
            await settle()
            assert len(plane.open.new_connections) == 1
            await clock.advance(2)
            plane.sweep()
            assert await received(reader) == b""
            await until(lambda: not plane.open.new_connections)
            writer.close()
        assert told(rig) == ["PROXY_TIMEOUT", "PROXY_TIMEOUT"]
