"""Threats, "Smuggling / aiohttp": framing that two readers read in two ways, and floods that cost one of them."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from tests.harness.notebook import OK
from tests.harness.peer import Response
from tests.harness.plane import OpenPlane, open_plane

MB = 1024 * 1024
GROWTH_BYTES = 32 * MB
LAG_SECONDS = 0.25
"""What a turn of the loop may take in these floods, on a busy machine; they take a few milliseconds."""


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path) as opened:
        yield opened


SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"

AMBIGUOUS = {
    "CL and TE (CVE-2023-47641)": "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "TE and CL": "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "two lengths": "Content-Length: 5\r\nContent-Length: 6",
    "two equal lengths": "Content-Length: 5\r\nContent-Length: 5",
    "a list of lengths": "Content-Length: 5, 5",
    "a sign": "Content-Length: +5",
    "a minus": "Content-Length: -5",
    "an underscore": "Content-Length: 1_0",
    "hexadecimal": "Content-Length: 0x1",
    "a fraction": "Content-Length: 5.0",
    "other digits": "Content-Length: ٥",
    "no length": "Content-Length: ",
    "2^64-1, no body to aiohttp": "Content-Length: 18446744073709551615",
    "more than 64 bits": "Content-Length: 99999999999999999999",
    "19 digits": "Content-Length: 1000000000000000000",
    "TE twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "TE twice, different": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "chunked twice": "Transfer-Encoding: chunked, chunked",
    "chunked not last": "Transfer-Encoding: chunked, gzip",
    "another coding first": "Transfer-Encoding: gzip, chunked",
    "another coding": "Transfer-Encoding: xchunked",
    "identity": "Transfer-Encoding: identity",
    "a quoted coding": 'Transfer-Encoding: "chunked"',
    "a control byte in the coding": "Transfer-Encoding: \x0bchunked",
    "a space before the colon": "Content-Length : 5",
    "a space before TE's colon": "Transfer-Encoding : chunked",
    "a folded line": "X: a\r\n Content-Length: 5",
    "a folded coding": "Transfer-Encoding:\r\n chunked",
    "a bare line feed": "X: a\nContent-Length: 5",
    "a bare carriage return": "X: a\rContent-Length: 5",
    "NUL": "X: a\x00b",
    "a field without a colon": "Content-Length",
    "a field without a name": ": 5",
    "a space in a name": "Content Length: 5",
}


@pytest.mark.parametrize("framing", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_ambiguous_framing_is_refused_and_ends_the_connection(opened: OpenPlane, framing: str) -> None:
    """CVE-2023-47641, CVE-2025-53643 and the other vectors: 400, nothing behind it is served, nothing is dialled."""
    head = f"POST / HTTP/1.1\r\nHost: {opened.authority}\r\n{framing}\r\n\r\n"
    answered = await opened.raw((head + "0\r\n\r\n" + SMUGGLED.format(host=opened.authority)).encode())
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert answered.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answered
    assert opened.upstream.accepted == 0
    assert [record.status for record in opened.records] == [400]


async def test_a_transfer_coding_on_http_1_0_is_refused(opened: OpenPlane) -> None:
    """Accepted by aiohttp: TE on HTTP/1.0 -> 400."""
    for framing in (
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
    ):
        head = f"POST / HTTP/1.0\r\nHost: {opened.authority}\r\n{framing}\r\n"
        answered = await opened.raw(head + "0\r\n\r\n" + SMUGGLED.format(host=opened.authority))
        assert answered.startswith(b"HTTP/1.1 400 ")
        assert answered.count(b"HTTP/1.1 ") == 1
    assert opened.upstream.accepted == 0


@pytest.mark.parametrize(
    "version", ["HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/3", "http/1.1", "HTTP/1.1 ", "HTTP/11"]
)
async def test_other_versions_are_refused(opened: OpenPlane, version: str) -> None:
    answered = await opened.raw(f"GET / {version}\r\nHost: {opened.authority}\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert opened.upstream.accepted == 0


BROKEN_CHUNKS = {
    "no size": "\r\n",
    "a sign": "+1\r\nx\r\n0\r\n\r\n",
    "a prefix": "0x1\r\nx\r\n0\r\n\r\n",
    "an underscore": "1_0\r\n",
    "a size with a space before it": " 1\r\nx\r\n0\r\n\r\n",
    "too many digits": "00000000000000001\r\nx\r\n0\r\n\r\n",
    "2^64": "10000000000000000\r\n",
    "a bare line feed behind the size": "1\nx\r\n0\r\n\r\n",
    "a bare line feed behind the data": "1\r\nx\n0\r\n\r\n",
    "a bare line feed in an extension": "1;a\nb\r\nx\r\n0\r\n\r\n",
    "a control byte in an extension": "1;a\x00\r\nx\r\n0\r\n\r\n",
    "more data than its size": "1\r\nxy\r\n0\r\n\r\n",
    "a bare line feed at the end": "0\r\n\n",
    "a trailer without a name": "0\r\n: x\r\n\r\n",
    "a folded trailer": "0\r\nA: b\r\n c\r\n\r\n",
    "an extension without end": "1;" + "a" * 5000,
    "a trailer section without end": "0\r\n" + "A: b\r\n" * 5000,
}


@pytest.mark.parametrize("body", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
async def test_broken_chunks_are_refused_and_abort_the_notebooks_side(tmp_path: Path, body: str) -> None:
    """A bad chunk in mid-upload is never told to the payload by aiohttp: answer 400, abort upstream."""
    async with open_plane(tmp_path, by_hand=True) as opened:
        peer = await opened.call()
        peer.send(opened.head("/up", method="POST", extra="Transfer-Encoding: chunked\r\n"))
        notebook = await opened.upstream.accept()
        await notebook.head()
        peer.send(body + SMUGGLED.format(host=opened.authority))
        answered = await peer.rest()
        assert answered.startswith(b"HTTP/1.1 400 ")
        assert answered.count(b"HTTP/1.1 ") == 1
        reached = await notebook.rest()
        assert b"smuggled" not in reached
        assert not reached.endswith(b"0\r\n\r\n")
        assert opened.upstream.accepted == 1


async def test_trailers_and_extensions_are_never_forwarded(opened: OpenPlane) -> None:
    """CVE-2025-53643; accepted by aiohttp: a trailer `Host:`. They are dropped, and the coding stays valid."""
    peer = await opened.call()
    peer.send(
        opened.head("/up", method="POST", extra="Transfer-Encoding: chunked\r\nTrailer: Host\r\n")
        + '3;ext=1;b="c"\r\nabc\r\n0;last\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 9\r\n\r\n'
    )
    assert (await peer.response()).status == 200
    assert opened.upstream.bodies == [b"3\r\nabc\r\n0\r\n\r\n"]
    assert b"evil" not in opened.upstream.heads[0]


async def test_an_unfinished_upload_is_never_anybody_elses_head(tmp_path: Path) -> None:
    """Hazard: a connection pooled when the response ended while the request's body was unfinished let another
    caller's head land inside that body (cross-caller smuggling)."""
    async with open_plane(tmp_path, by_hand=True) as opened:
        victim, attacker = await opened.call(), await opened.call()
        attacker.send(opened.head("/up", method="POST", extra="Content-Length: 1000\r\n") + "half")
        first = await opened.upstream.accept()
        await first.until(b"half")
        first.send(OK)
        assert (await attacker.response()).status == 200
        victim.send(opened.head("/victim", extra="Cookie: secret=1\r\n"))
        second = await opened.upstream.accept()
        assert (await second.head()).startswith(b"GET /victim ")
        assert await first.rest() == b""
        second.send(OK)
        assert (await victim.response()).status == 200


async def test_what_a_notebook_sends_unasked_is_nobodys_answer(tmp_path: Path) -> None:
    """Response splitting: bytes behind a response end the connection instead of answering the next caller."""
    async with open_plane(tmp_path, by_hand=True) as opened:
        for extra in (OK, b"x"):
            peer = await opened.call()
            peer.send(opened.head("/1"))
            notebook = await opened.upstream.accept()
            await notebook.head()
            notebook.send(OK + extra)
            assert (await peer.response()).body == b"ok"
            peer.send(opened.head("/2"))
            another = await opened.upstream.accept()
            await another.head()
            another.send(OK.replace(b"ok", b"me"))
            assert (await peer.response()).body == b"me"
            another.abort()


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Content-Length: 1000000000000000000",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"X: a\r\n folded: 1\r\nContent-Length: 5",
        b"X : a\r\nContent-Length: 5",
    ],
)
async def test_a_response_with_ambiguous_framing_is_a_502(opened: OpenPlane, framing: bytes) -> None:
    """The same vectors from the other side."""
    opened.upstream.answer = lambda _head, _body: b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\nhello"
    answer = await opened.get()
    assert answer.status == 502
    assert b"hello" not in answer.body


async def test_a_body_cut_short_is_seen_as_an_error(opened: OpenPlane) -> None:
    """A truncated body never looks complete, in any framing."""
    for framing, begun in (
        (b"Content-Length: 100", b"half"),
        (b"Transfer-Encoding: chunked", b"64\r\nhalf"),
        (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n"),
    ):
        opened.upstream.answer = lambda _head, _body, framing=framing, begun=begun: (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + framing + b"\r\n\r\n" + begun
        )
        peer = await opened.call()
        peer.send(opened.head())
        assert Response(await peer.head()).status == 200
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await peer.exactly(100)
    assert {record.error for record in opened.records} == {"RESPONSE_CUT"}


async def test_other_upgrades_than_websockets_are_not_passed_on(opened: OpenPlane) -> None:
    """`Upgrade: h2c` + `HTTP2-Settings` stripped: an ordinary request; `Upgrade: notupgrade` (fixed 3.14.0) too."""
    for protocol in ("h2c", "h2c, websocket", "websocket, h2c", "TLS/1.0", "notwebsocket", "websocket\x80"):
        extra = (
            f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
        )
        peer = await opened.call()
        peer.send(opened.head("/x", extra=extra))
        assert (await peer.response()).status == 200, protocol
        seen = opened.upstream.fields()
        assert seen.values("upgrade") == seen.values("http2-settings") == seen.values("connection") == []
        peer.send(opened.head("/next"))
        assert (await peer.response()).status == 200
        peer.abort()


# -- floods -------------------------------------------------------------------------------------------


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


async def bounded(work: Awaitable[None]) -> None:
    """Run `work`; fail if the process grew, or a turn of the loop took longer than others should have to wait: by the
    processor's clock, since on a busy machine all turns take longer.
    """
    longest = 0.0
    before = largest = resident_bytes()

    async def watch() -> None:
        nonlocal longest, largest
        while True:
            at = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - at)
            largest = max(largest, resident_bytes())

    # What other tests of this process have left is not looked through in one of these turns.
    gc.collect()
    gc.freeze()
    watching = asyncio.ensure_future(watch())
    try:
        await work
    finally:
        watching.cancel()
        gc.unfreeze()
    assert largest - before < GROWTH_BYTES
    assert longest < LAG_SECONDS


async def flood(opened: OpenPlane, block: bytes, times: int) -> None:
    peer = await opened.call()
    peer.send(opened.head("/.nbgate/x", method="POST", extra="Transfer-Encoding: chunked\r\n"))
    await peer.response()
    try:
        for _ in range(times):
            peer.send(block)
            await peer.writer.drain()
        peer.send(b"0\r\n\r\n" + opened.head("/after").encode())
        await peer.response()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    peer.abort()


@pytest.mark.slow
async def test_a_million_tiny_chunks_cost_bounded_memory_and_time(opened: OpenPlane) -> None:
    """CVE-2025-69229: 10^6 1-byte chunks, dropped behind an early answer."""
    await bounded(flood(opened, b"1\r\nx\r\n" * 10_000, 100))
    assert opened.upstream.heads[-1].startswith(b"GET /after ")


@pytest.mark.slow
async def test_tiny_chunks_that_are_carried_cost_bounded_memory_and_time(tmp_path: Path) -> None:
    """CVE-2025-69229, on their way to a notebook."""
    async with open_plane(tmp_path, by_hand=True) as opened:

        async def upload() -> None:
            peer = await opened.call()
            peer.send(opened.head("/up", method="POST", extra="Transfer-Encoding: chunked\r\n"))
            notebook = await opened.upstream.accept()
            await notebook.head()
            block, times = b"1\r\nx\r\n" * 10_000, 50

            async def read() -> None:
                for _ in range(times):
                    assert await notebook.exactly(len(block)) == block
                await notebook.until(b"0\r\n\r\n")
                notebook.send(OK)

            reading = asyncio.get_running_loop().create_task(read())
            for _ in range(times):
                peer.send(block)
                await peer.writer.drain()
            peer.send(b"0\r\n\r\n")
            await reading
            assert (await peer.response()).status == 200

        await bounded(upload())


@pytest.mark.slow
async def test_a_hundred_thousand_trailers_are_refused(opened: OpenPlane) -> None:
    """CVE-2026-22815: 10^5 trailers."""
    await bounded(flood(opened, b"0\r\n" + b"A: b\r\n" * 100_000, 1))
    assert [record.target for record in opened.records] == ["/.nbgate/x"]


@pytest.mark.slow
async def test_ten_thousand_pipelined_requests_wait_their_turn(opened: OpenPlane) -> None:
    """CVE-2026-54273: 10^4 pipelined GETs: each answered, in order, with the loop free between them."""

    async def pipeline() -> None:
        peer = await opened.call()
        count = 10_000
        peer.send(opened.head("/x") * count)
        for _ in range(count):
            assert (await peer.response()).body == b"ok"

    await bounded(pipeline())
    assert len(opened.upstream.heads) == 10_000
    assert opened.upstream.accepted == 1
