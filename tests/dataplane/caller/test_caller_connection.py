"""One caller's connection, over real sockets: what `proxy.dataplane.caller` promises, one promise a test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.admission import caller as caller_module
from proxy.dataplane.caller.closing import DROPPED_BYTES, LINGER_SECONDS
from proxy.dataplane.caller.intake import HELD_BYTES
from tests.harness.notebook import OK
from tests.harness.peer import Peer, Response
from tests.harness.plane import OpenPlane, open_plane


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path) as opened:
        yield opened


def numbered(head: bytes, _body: bytes) -> bytes:
    """Answers a request with its own target."""
    target = head.split(b" ")[1]
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target)


# -- HEAD ---------------------------------------------------------------------------------------------


async def test_a_head_may_be_cut_anywhere(opened: OpenPlane) -> None:
    """HEAD: whatever the reads bring, the request is the same."""
    peer = await opened.call()
    head = opened.head("/x?y=1", extra="X-A: 1\r\nCookie: a=b\r\n").encode()
    for at in range(1, len(head)):
        peer.send(head[:at])
        await opened.settled(lambda: bool(opened.connection.reader.held_bytes))
        peer.send(head[at:])
        assert (await peer.response()).status == 200
    assert len(set(opened.upstream.heads)) == 1
    assert len(opened.upstream.heads) == len(head) - 1


async def test_a_head_may_come_byte_by_byte(opened: OpenPlane) -> None:
    peer = await opened.call()
    for byte in opened.head("/slowly"):
        peer.send(byte)
        await asyncio.sleep(0)
    assert (await peer.response()).status == 200
    assert opened.upstream.heads[0].startswith(b"GET /slowly ")


async def test_empty_lines_before_a_request_are_ignored(opened: OpenPlane) -> None:
    """RFC 9112 section 2.2."""
    peer = await opened.call()
    for _ in range(2):
        peer.send("\r\n\n\r\n" + opened.head())
        assert (await peer.response()).status == 200


async def test_pipelined_requests_are_answered_in_their_order(opened: OpenPlane) -> None:
    opened.upstream.answer = numbered
    peer = await opened.call()
    peer.send("".join(opened.head(f"/{number}") for number in range(50)))
    for number in range(50):
        assert (await peer.response()).body == b"/%d" % number
    assert opened.upstream.accepted == 1


async def test_requests_pipelined_behind_bodies_are_found(opened: OpenPlane) -> None:
    """A fresh parser takes over where the tracker says that the body ends, wherever that lies in a read."""
    opened.upstream.answer = numbered
    transcript = (
        opened.head("/a", method="POST", extra="Content-Length: 5\r\n")
        + "12345"
        + opened.head("/b", method="POST", extra="Transfer-Encoding: chunked\r\n")
        + "3\r\nabc\r\n0\r\n\r\n"
        + opened.head("/c")
    ).encode()
    for size in (1, 7, 64, len(transcript)):
        peer = await opened.call()
        for at in range(0, len(transcript), size):
            peer.send(transcript[at : at + size])
            await asyncio.sleep(0)
        assert [(await peer.response()).body for _ in range(3)] == [b"/a", b"/b", b"/c"]
    assert opened.upstream.bodies == [b"12345", b"3\r\nabc\r\n0\r\n\r\n", b""] * 4


async def test_a_head_that_is_too_large_is_refused_before_it_ends(tmp_path: Path) -> None:
    async with open_plane(tmp_path, limits={"request_head": "4KiB"}) as opened:
        peer = await opened.call()
        peer.send(opened.head()[:-2] + "X: " + "a" * 8000)
        answer = await peer.response()
        assert answer.status == 431
        assert answer.value("connection") == "close"


async def test_what_cannot_be_http_is_not_waited_for(opened: OpenPlane) -> None:
    """A TLS handshake on a plain listener, for one."""
    answer = Response((await opened.raw(b"\x16\x03\x01\x02\x00\x01")).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    assert answer.status == 400


async def test_a_refused_head_has_a_record_of_its_own(tmp_path: Path) -> None:
    """Id, start and page belong to it, and nothing of the request before it on the connection."""
    async with open_plane(tmp_path, limits={"request_head": "4KiB"}) as opened:
        head_seconds = opened.plane.current.timeouts.request_head_seconds

        async def refused(bad: bytes, *, after_seconds: float = 0.0) -> Response:
            peer = await opened.call()
            peer.send(opened.head("/first"))
            await peer.response()
            await opened.clock.advance(10)
            peer.send(bad)
            if after_seconds:
                await opened.settled(lambda: any(one.reader.held_bytes for one in opened.connections))
                await opened.pass_time(after_seconds)
            return await peer.response()

        for bad, after_seconds, status, method, target in (
            (b"\x16\x03\x01", 0.0, 400, "-", "-"),
            (b"GET /" + b"x" * 8000, 0.0, 431, "GET", "/xxx"),
            (b"GET /half", head_seconds, 408, "-", "-"),
            (b"GET / HTTP/9.9\r\n\r\n", 0.0, 400, "-", "-"),
        ):
            answer = await refused(bad, after_seconds=after_seconds)
            record = opened.records[-1]
            assert answer.status == record.status == status
            assert answer.value("x-request-id") == record.request_id
            assert opened.clock.monotonic() - record.started_at == after_seconds
            assert (record.method, record.instance, record.allowed) == (method, "", None)
            assert record.target.startswith(target)
        assert len({record.request_id for record in opened.records}) == len(opened.records) == 8


async def test_empty_lines_alone_are_no_request_and_win_no_time(opened: OpenPlane) -> None:
    """RFC 9112 section 2.2; nor do they put off the deadline of the request's head."""
    peer = await opened.call()
    peer.send("\r\n\r\n")
    await opened.settled(lambda: len(opened.connections) == 1)
    peer.send(opened.head())
    assert (await peer.response()).status == 200
    peer = await opened.call()
    peer.send("\r\n\r\n")
    await opened.settled(lambda: len(opened.connections) == 2)
    await opened.pass_time(opened.plane.current.timeouts.request_head_seconds)
    assert await peer.rest() == b""


async def test_the_first_heads_time_counts_from_the_connection(opened: OpenPlane) -> None:
    """A byte at the last moment buys no more; between requests the time counts from the first byte."""
    patience = opened.plane.current.timeouts.request_head_seconds
    peer = await opened.call()
    await opened.settled(lambda: bool(opened.connections))
    await opened.pass_time(patience - 1)
    peer.send("GET / HTTP/1.1\r\n")
    await opened.settled(lambda: bool(opened.connection.reader.held_bytes))
    await opened.pass_time(1)
    assert (await peer.response()).status == 408


async def test_a_large_head_may_be_pipelined(tmp_path: Path) -> None:
    """Reading was paused for the queue of what waits; a head that is only half there needs it again."""
    async with open_plane(tmp_path, limits={"request_head": "512KiB"}) as opened:
        opened.keeper.cold()
        peer = await opened.call()
        large = "".join(f"X-{number}: {'a' * 8000}\r\n" for number in range(40))
        peer.send(opened.head("/1") + opened.head("/2", extra=large))
        await opened.settled(lambda: bool(opened.connection.intake.reasons))
        opened.keeper.warm()
        for _ in range(2):
            assert (await peer.response()).status == 200


async def test_only_the_chunked_coding_is_understood(opened: OpenPlane) -> None:
    """RFC 9112 section 6.1: another coding below it would be lost on its way to the notebook."""
    for coding in (
        "gzip, chunked",
        "identity, chunked",
        "chunked, chunked",
        "gzip",
        "chunked\r\nTransfer-Encoding: x",
    ):
        answer = await opened.get("/", method="POST", extra=f"Transfer-Encoding: {coding}\r\n")
        assert answer.status == 400, coding
    assert opened.upstream.accepted == 0


# -- keep-alive ---------------------------------------------------------------------------------------


async def test_a_connection_serves_until_somebody_says_close(opened: OpenPlane) -> None:
    peer = await opened.call()
    for _ in range(3):
        peer.send(opened.head())
        answer = await peer.response()
        assert answer.value("connection") == ""
    peer.send(opened.head(extra="Connection: close\r\n"))
    assert (await peer.response()).value("connection") == "close"
    assert await peer.rest() == b""


async def test_http_1_0_gets_one_answer_and_the_end(opened: OpenPlane) -> None:
    for extra in ("", "Connection: keep-alive\r\n"):
        answer = await opened.raw(f"GET / HTTP/1.0\r\nHost: {opened.authority}\r\n{extra}\r\n")
        assert answer.endswith(b"Connection: close\r\n\r\nok")


async def test_a_silent_connection_is_closed(opened: OpenPlane) -> None:
    timeouts = opened.plane.current.timeouts
    peer = await opened.call()
    peer.send(opened.head())
    await peer.response()
    await opened.settled(lambda: opened.connection.is_idle)
    await opened.pass_time(timeouts.idle_seconds - 1)
    assert opened.connections
    await opened.pass_time(1)
    assert await peer.rest() == b""


# -- HELD ---------------------------------------------------------------------------------------------


async def test_what_is_pipelined_behind_a_waiting_request_waits_too(opened: OpenPlane) -> None:
    opened.keeper.cold()
    peer = await opened.call()
    peer.send(opened.head("/1") + opened.head("/2"))
    await opened.settled(lambda: bool(opened.connection.reader.held_bytes))
    assert opened.upstream.heads == []
    opened.keeper.warm()
    for _ in range(2):
        assert (await peer.response()).status == 200
    assert [head.split(b" ")[1] for head in opened.upstream.heads] == [b"/1", b"/2"]


async def test_what_waits_for_a_session_is_bounded(opened: OpenPlane) -> None:
    """HELD: reading pauses at 64 KiB; what the kernel and one read hold may come on top."""
    opened.keeper.cold()
    peer = await opened.call()
    size = 8 * 1024 * 1024
    peer.send(opened.head("/up", method="POST", extra=f"Content-Length: {size}\r\n"))
    peer.send(b"x" * size)
    await opened.settled(lambda: bool(opened.connection.intake.reasons))
    # Turns of the loop, in which a reader that was not paused would read on.
    for _ in range(100):
        await asyncio.sleep(0)
    assert HELD_BYTES <= opened.connection.reader.held_bytes <= HELD_BYTES + 256 * 1024
    opened.keeper.warm()
    assert (await peer.response()).status == 200
    assert len(opened.upstream.bodies[0]) == size


async def test_a_body_that_waits_for_its_notebook_is_not_overdue(opened: OpenPlane) -> None:
    """HELD: it is the gateway that does not take it."""
    opened.keeper.cold()
    peer = await opened.call()
    peer.send(opened.head("/up", method="PUT", extra="Content-Length: 4\r\n") + "ab")
    await opened.settled(lambda: bool(opened.connection.reader.held_bytes))
    await opened.pass_time(0)
    await opened.pass_time(opened.plane.current.timeouts.request_body_seconds + 1)
    opened.keeper.warm()
    await opened.settled(lambda: opened.connection.is_carrying)
    await opened.pass_time(0)
    peer.send("cd")
    assert (await peer.response()).status == 200


# -- RAW ----------------------------------------------------------------------------------------------


async def test_a_body_reaches_the_notebook_while_it_arrives(tmp_path: Path) -> None:
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Content-Length: 6\r\n"))
        notebook = await opened.upstream.accept()
        await notebook.head()
        for part in (b"ab", b"cd", b"ef"):
            peer.send(part)
            assert await notebook.exactly(2) == part
        notebook.send(OK)
        assert (await peer.response()).status == 200


async def test_expect_continue_goes_to_the_notebook_and_its_word_comes_back(tmp_path: Path) -> None:
    """RFC 9110 section 10.1.1: the body is only sent, and only waited for, once the notebook wants it."""
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Content-Length: 2\r\nExpect: 100-continue\r\n"))
        notebook = await opened.upstream.accept()
        assert b"\r\nexpect: 100-continue\r\n" in (await notebook.head()).lower()
        notebook.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(b"ok")
        assert await notebook.exactly(2) == b"ok"
        notebook.send(OK)
        assert (await peer.response()).status == 200


async def test_a_body_that_breaks_its_framing_is_answered_400(tmp_path: Path) -> None:
    """The upstream connection, whose request can never be completed, is gone."""
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n")
        notebook = await opened.upstream.accept()
        await notebook.until(b"3\r\nabc\r\n")
        peer.send("zz\r\n")
        answer = await peer.response()
        assert answer.status == 400
        assert answer.value("connection") == "close"
        assert await notebook.rest() == b""
        assert [record.status for record in opened.records] == [400]


async def test_a_body_that_falls_silent_is_answered_408(opened: OpenPlane) -> None:
    peer = await opened.call()
    peer.send(opened.head("/up", method="POST", extra="Content-Length: 10\r\n") + "12345")
    await opened.settled(lambda: opened.connection.is_carrying)
    await opened.pass_time(0)
    await opened.pass_time(opened.plane.current.timeouts.request_body_seconds)
    assert (await peer.response()).status == 408


async def test_silence_counts_from_the_request_it_belongs_to(tmp_path: Path) -> None:
    """An upload that got as far as the one before it on the connection is not overdue for that."""
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        notebook = None
        for _ in range(2):
            peer.send(opened.head("/up", method="PUT", extra="Content-Length: 4\r\n") + "ab")
            notebook = notebook or await opened.upstream.accept()
            await notebook.until(b"\r\n\r\nab")
            await opened.pass_time(opened.plane.current.timeouts.request_body_seconds - 1)
            peer.send("cd")
            assert await notebook.exactly(2) == b"cd"
            notebook.send(OK)
            assert (await peer.response()).status == 200
            await opened.settled(lambda: opened.connection.is_idle)
            await opened.clock.advance(50)


async def test_a_response_that_is_cut_for_its_requests_body_is_logged(tmp_path: Path) -> None:
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n")
        notebook = await opened.upstream.accept()
        await notebook.until(b"abc\r\n")
        notebook.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        await peer.until(b"begun")
        peer.send("zz\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await peer.exactly(1)
        await opened.settled(lambda: bool(opened.records))
        [record] = opened.records
        assert (record.status, record.bytes_out) == (200, 5)
        assert record.error


# -- DROP ---------------------------------------------------------------------------------------------


def early(_head: bytes, _body: bytes) -> bytes:
    return b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"


async def test_behind_an_early_answer_the_body_is_dropped_and_the_connection_lives(tmp_path: Path) -> None:
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        peer.send(opened.head("/up", method="PUT", extra="Content-Length: 100000\r\n"))
        notebook = await opened.upstream.accept()
        await notebook.head()
        notebook.send(early(b"", b""))
        assert (await peer.response()).status == 413
        # A connection whose request was not finished is never used again (cross-caller smuggling).
        assert await notebook.rest() == b""
        peer.send(b"GET /not-a-request HTTP/1.1\r\n\r\n".ljust(100000))
        peer.send(opened.head("/next"))
        notebook = await opened.upstream.accept()
        assert (await notebook.head()).startswith(b"GET /next ")
        notebook.send(OK)
        assert (await peer.response()).status == 200
        assert opened.upstream.accepted == 2


async def test_a_caller_that_goes_on_sending_after_its_answer_is_cut(tmp_path: Path) -> None:
    """DROP: it is told to stop after so many bytes, and cut after so long."""
    async with open_plane(tmp_path, policy={"allow": ["elsewhere"]}) as opened:
        refused = opened.head("/up", method="PUT", extra="Content-Length: 100000000000\r\n")
        block = b"x" * 65536
        for blocks in (0, DROPPED_BYTES // len(block) + 1):
            peer = await opened.call()
            peer.send(refused)
            assert (await peer.response()).status == 403
            await send_all(peer, block, times=blocks)
            if blocks:
                # The end of what we send, while what the caller sends is still read: no reset loses the answer.
                assert await peer.rest() == b""
                await send_all(peer, block, times=100)
            await opened.pass_time(LINGER_SECONDS)
            await opened.settled(lambda: not opened.connections)
            with pytest.raises(ConnectionError):
                await send_all(peer, block, times=100)
        assert opened.upstream.accepted == 0


async def send_all(peer: Peer, data: bytes, *, times: int) -> None:
    for _ in range(times):
        peer.send(data)
        await peer.writer.drain()


@pytest.mark.parametrize("status", [b"200 OK", b"401 Unauthorized", b"403 Forbidden", b"404 Not Found"])
async def test_nothing_is_served_behind_a_refused_upgrade(opened: OpenPlane, status: bytes) -> None:
    """What was sent behind it was meant for a tunnel, and may look like anything."""
    opened.upstream.answer = lambda _head, _body: (
        b"HTTP/1.1 " + status + b"\r\nServer: TornadoServer/6.5\r\nContent-Length: 2\r\n\r\nno"
    )
    answered = await opened.raw(opened.upgrade() + opened.head("/behind"))
    assert answered.startswith(b"HTTP/1.1 " + status)
    assert answered.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in answered
    assert [head.split(b" ")[1] for head in opened.upstream.heads] == [b"/ws"]


async def test_an_upload_that_is_answered_early_is_read_on(tmp_path: Path) -> None:
    """Also where the notebook had stopped taking it: the caller may only read the answer when it has sent all."""
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        size = 12 * 1024 * 1024
        peer.send(opened.head("/up", method="PUT", extra=f"Content-Length: {size}\r\n"))
        peer.send(b"x" * size)
        notebook = await opened.upstream.accept()
        notebook.stop_reading()
        await opened.settled(lambda: bool(opened.connection.intake.reasons))
        notebook.send(early(b"", b""))
        assert (await peer.response()).status == 413
        await asyncio.wait_for(peer.writer.drain(), 30)
        peer.send(opened.head("/next"))
        assert (await (await opened.upstream.accept()).head()).startswith(b"GET /next ")


# -- NATIVE -------------------------------------------------------------------------------------------


async def read_body(request: web.BaseRequest) -> web.Response:
    transport = request.transport
    assert transport is not None
    target = transport.get_extra_info("request").asked.target
    return web.Response(text=f"{target} {len(await request.read())}")


async def test_a_page_of_the_gateways_own_gets_its_body(tmp_path: Path) -> None:
    """NATIVE: aiohttp serves it, in any framing, in order, between forwarded requests on one connection."""
    async with open_plane(tmp_path, own_pages=read_body) as opened:
        peer = await opened.call()
        size = 1_000_000
        peer.send(opened.head("/.nbgate/a", method="POST", extra=f"Content-Length: {size}\r\n"))
        peer.send(b"x" * size)
        peer.send(opened.head("/forwarded"))
        peer.send(opened.head("/.nbgate/b", method="POST", extra="Transfer-Encoding: chunked\r\n"))
        peer.send(b"5;ext=1\r\nabcde\r\n" * 3000 + b"0\r\nTrailer: x\r\n\r\n")
        peer.send(opened.head("/.nbgate/c") + opened.head("/forwarded-too"))
        bodies = [(await peer.response()).body for _ in range(5)]
        assert bodies == [b"/.nbgate/a 1000000", b"ok", b"/.nbgate/b 15000", b"/.nbgate/c 0", b"ok"]
        assert [record.status for record in opened.records] == [200] * 5


async def test_a_broken_body_ends_a_page_of_the_gateways_own(tmp_path: Path) -> None:
    """aiohttp would never tell its handler: it is cancelled, and the caller told."""
    ended = asyncio.Event()

    async def page(request: web.BaseRequest) -> web.Response:
        try:
            return await read_body(request)
        finally:
            ended.set()

    async with open_plane(tmp_path, own_pages=page) as opened:
        peer = await opened.call()
        peer.send(
            opened.head("/.nbgate/a", method="POST", extra="Transfer-Encoding: chunked\r\n") + "1\r\na\r\n"
        )
        await opened.settled(lambda: opened.connection.is_carrying)
        peer.send("zz\r\n" + opened.head("/smuggled"))
        assert (await peer.response()).status == 400
        assert await peer.rest() == b""
        assert [record.status for record in opened.records] == [400]
        await asyncio.wait_for(ended.wait(), 30)


async def test_a_page_that_ignores_its_body_does_not_turn_it_into_a_request(tmp_path: Path) -> None:
    """The page is answered at once; what comes of the body after that is dropped up to its end."""

    async def ignores(request: web.BaseRequest) -> web.Response:
        return web.Response(text="ignored")

    async with open_plane(tmp_path, own_pages=ignores) as opened:
        smuggled = opened.head("/smuggled").encode()
        for framing, body in (
            (f"Content-Length: {len(smuggled)}\r\n", smuggled),
            ("Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled)),
        ):
            for cut in (0, 5, len(body) - 1):
                peer = await opened.call()
                peer.send(opened.head("/.nbgate/x", method="POST", extra=framing).encode() + body[:cut])
                assert (await peer.response()).body == b"ignored"
                peer.send(body[cut:] + opened.head("/next").encode() + opened.head("/.nbgate/y").encode())
                assert (await peer.response()).body == b"ok"
                assert (await peer.response()).body == b"ignored"
        assert {head.split(b" ")[1] for head in opened.upstream.heads} == {b"/next"}


async def test_a_page_may_read_its_body_later(tmp_path: Path) -> None:
    """aiohttp's parser pauses when its buffer is full: what it keeps then is read on, also after the last byte."""

    async def slow(request: web.BaseRequest) -> web.Response:
        for _ in range(50):
            await asyncio.sleep(0)
        size = 0
        async for chunk in request.content.iter_chunked(1000):
            size += len(chunk)
            await asyncio.sleep(0)
        return web.Response(text=str(size))

    async with open_plane(tmp_path, own_pages=slow) as opened:
        for framing, body in (
            (f"Content-Length: {400_000}\r\n", b"x" * 400_000),
            ("Transfer-Encoding: chunked\r\n", b"61a80\r\n" + b"x" * 400_000 + b"\r\n0\r\n\r\n"),
        ):
            peer = await opened.call()
            peer.send(opened.head("/.nbgate/x", method="POST", extra=framing).encode() + body)
            assert (await peer.response()).body == b"400000"
            peer.send(opened.head("/next"))
            assert (await peer.response()).body == b"ok"


async def test_a_broken_body_on_a_used_connection_gets_no_second_answer(tmp_path: Path) -> None:
    """The page is queued, its task not yet awake: an answer of ours and the page's own would both go out."""
    async with open_plane(tmp_path, own_pages=read_body) as opened:
        peer = await opened.call()
        peer.send(opened.head("/.nbgate/1"))
        await peer.response()
        peer.send(opened.head("/.nbgate/2", method="POST", extra="Transfer-Encoding: chunked\r\n") + "zz\r\n")
        try:
            answered = await peer.rest()
        except ConnectionError:
            answered = b""
        assert answered.count(b"HTTP/1.1") <= 1
        assert b"/.nbgate/2" not in answered


async def test_a_page_whose_caller_is_gone_is_logged(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def page(request: web.BaseRequest) -> web.Response:
        started.set()
        await asyncio.Event().wait()
        return web.Response()

    async with open_plane(tmp_path, own_pages=page) as opened:
        peer = await opened.call()
        peer.send(opened.head("/.nbgate/x"))
        await started.wait()
        peer.abort()
        await opened.settled(lambda: bool(opened.records))
        [record] = opened.records
        assert (record.target, record.status, record.error) == ("/.nbgate/x", 0, "CALLER_GONE")


# -- answers ------------------------------------------------------------------------------------------


async def test_a_fault_is_answered_before_the_connection_is_closed(opened: OpenPlane) -> None:
    """RFC 9112 section 9.6: unread bytes must not reset the connection under the answer."""
    peer = await opened.call()
    peer.send(opened.head(extra="Bad Field: 1\r\n") + "x" * 300_000)
    answer = await peer.response()
    assert answer.status == 400
    assert await peer.rest() == b""
    assert opened.connection.state.doing.name == "IGNORE"
    await opened.pass_time(LINGER_SECONDS)
    await opened.settled(lambda: not opened.connections)


async def test_head_requests_get_no_body_from_us(tmp_path: Path) -> None:
    async with open_plane(tmp_path, policy={"allow": ["elsewhere"]}) as opened:
        answer = await opened.get("/x", method="HEAD")
        assert answer.status == 403
        assert int(answer.value("content-length")) > 0
        assert answer.body == b""


async def test_a_caller_that_is_gone_takes_its_request_along(tmp_path: Path) -> None:
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        peer.send(opened.head("/long"))
        notebook = await opened.upstream.accept()
        await notebook.head()
        peer.abort()
        assert await notebook.rest() == b""
        assert [record.error for record in opened.records] == ["CALLER_GONE"]


async def test_draining_ends_connections_behind_their_request(tmp_path: Path) -> None:
    async with open_plane(tmp_path, by_hand=True) as opened:
        idle = await opened.call()
        busy = await opened.call()
        busy.send(opened.head("/long"))
        notebook = await opened.upstream.accept()
        await notebook.head()
        draining = asyncio.get_running_loop().create_task(opened.plane.drain(30))
        assert await idle.rest() == b""
        notebook.send(OK)
        assert (await busy.response()).status == 200
        assert await busy.rest() == b""
        await opened.settled(lambda: not opened.connections)
        await opened.clock.advance(1)
        await draining


async def test_a_redirected_request_with_a_body_ends_its_connection(tmp_path: Path) -> None:
    """A caller that expects 100 Continue never sends the body: the next request would be taken for it."""
    async with open_plane(
        tmp_path, instances={"research": {"notebook": "research-gpu-1", "mount": {"path": "/research"}}}
    ) as opened:
        peer = await opened.call()
        peer.send(opened.head("/research?x=1"))
        answer = await peer.response()
        assert (answer.status, answer.value("location")) == (308, "/research/?x=1")
        assert answer.value("cache-control") == "no-store"
        assert answer.value("connection") == ""
        peer.send(
            opened.head("/research", method="POST", extra="Content-Length: 3\r\nExpect: 100-continue\r\n")
        )
        answer = await peer.response()
        assert (answer.status, answer.value("connection")) == (308, "close")


async def test_a_caller_that_reads_nothing_is_cut(tmp_path: Path) -> None:
    """Also when the answer is complete and only waits to be taken."""
    async with open_plane(tmp_path) as opened:
        size = 3_000_000
        opened.upstream.answer = lambda _head, _body: (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (size, b"x" * size)
        )
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        try:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", opened.port))
            await loop.sock_sendall(sock, opened.head(extra="Connection: close\r\n").encode())
            await opened.settled(
                lambda: bool(opened.records or (opened.connections and opened.connection.writer.is_full))
            )
            for _ in range(3):
                await opened.pass_time(opened.plane.current.timeouts.send_seconds)
            await opened.settled(lambda: not opened.connections)
        finally:
            sock.close()


# -- deciding -----------------------------------------------------------------------------------------


async def test_a_connection_is_decided_about_once(opened: OpenPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """What requests share is worked out with the first: the later ones cost no search, however long the lists are."""
    judge = opened.plane.current.gateway.rules.judge
    asked: list[str] = []

    def counted(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            asked.append(name)
            return do(*arguments, **named)

        return call

    monkeypatch.setattr(caller_module, "resolve", counted("resolve", vars(caller_module)["resolve"]))
    monkeypatch.setattr(judge, "decide", counted("decide", judge.decide))
    peer = await opened.call()
    for number in range(20):
        peer.send(opened.head(f"/{number}"))
        assert (await peer.response()).status == 200
    assert asked == ["resolve", "decide"]
    peer.send(opened.upgrade())
    assert b" 101 " in await peer.head()
    assert asked == ["resolve", "decide"]
    other = await opened.call()
    other.send(opened.head())
    assert (await other.response()).status == 200
    assert asked == ["resolve", "decide"] * 2
