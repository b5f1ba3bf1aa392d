"""Bodies of requests to the gateway's own pages: one that breaks off, is malformed or waits to be asked for is answered
as such, and the answer is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from proxy.dataplane.caller.closing import LINGER_SECONDS
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import BODY_BYTES, PageRequest
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, open_plane

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = "Expect: 100-continue\r\n"


@dataclass
class Pages:
    """`/.nbgate/read` answers the size of the body, once it `may_read`; `/.nbgate/look` reads nothing."""

    opened: OpenPlane
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    seen: int = 0

    async def read(self, visit: PageRequest) -> web.Response:
        self.seen += 1
        await self.may_read.wait()
        return web.Response(text=str(len(await visit.body(max_bytes=64 * BODY_BYTES))))

    async def look(self, visit: PageRequest) -> web.Response:
        self.seen += 1
        return web.Response(text="looked")

    async def post(self, body: str, *, to: str = "read", extra: str = "", is_read: bool = True) -> Peer:
        """A caller whose request has reached its page, if it does."""
        peer = await self.opened.call()
        seen = self.seen
        peer.send(self.opened.head(f"/.nbgate/{to}", method="POST", extra=extra) + body)
        if is_read:
            await self.opened.settled(lambda: self.seen == seen + 1)
        return peer


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    table = OwnPages()
    instances = {"research": {"notebook": "research-gpu-1", "mount": {"path": "/research"}}}
    async with open_plane(tmp_path, own_pages=table, instances=instances) as opened:
        pages = Pages(opened)
        pages.may_read.set()
        table.add("POST", "/.nbgate/read", pages.read)
        table.add("POST", "/.nbgate/look", pages.look)
        yield pages


CHUNKED = "Transfer-Encoding: chunked\r\n"
BROKEN = {
    "no size": "5\r\nhello\r\nxx\r\n",
    "no line end": "5\r\nhelloxx",
    "a sign": "5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n",
    "at once": "xx\r\n",
}


@pytest.mark.parametrize("reads_late", [False, True])
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_a_malformed_body_is_400(pages: Pages, body: str, reads_late: bool) -> None:
    opened = pages.opened
    if reads_late:
        pages.may_read.clear()
    peer = await pages.post(body, extra=CHUNKED, is_read=False)
    pages.may_read.set()
    answer = await peer.response()
    assert (answer.status, answer.value("connection")) == (400, "close")
    assert b"BAD_REQUEST" in answer.body
    assert await peer.rest() == b""
    [record] = opened.records
    assert (record.status, record.error) == (400, "BAD_REQUEST")


async def test_the_answer_is_seen_by_who_goes_on_sending(pages: Pages) -> None:
    """Closing with unread bytes would reset the connection, and take the answer along (RFC 9112 section 9.6)."""
    peer = await pages.post("xx\r\n" + "x" * 5_000_000, extra=CHUNKED, is_read=False)
    assert (await peer.response()).status == 400
    assert await peer.rest() == b""
    peer.send("x" * 1_000_000)
    await pages.opened.pass_time(LINGER_SECONDS)
    await pages.opened.settled(lambda: not pages.opened.connections)


async def test_a_slow_body_is_408(pages: Pages) -> None:
    opened = pages.opened
    peer = await pages.post("hel", extra="Content-Length: 5\r\n")
    opened.plane.sweep()
    await opened.pass_time(opened.plane.current.timeouts.request_body_seconds)
    answer = await peer.response()
    assert (answer.status, answer.value("connection")) == (408, "close")
    assert await peer.rest() == b""
    [record] = opened.records
    assert (record.status, record.error) == (408, "BODY_TIMEOUT")
    assert [event["limit"] for event in opened.events] == ["timeouts.request_body"]


async def test_what_is_malformed_is_refused_whoever_would_have_read_it(pages: Pages) -> None:
    peer = await pages.post("xx\r\n", to="look", extra=CHUNKED, is_read=False)
    assert (await peer.response()).status == 400
    assert await peer.rest() == b""


async def test_one_whose_body_is_whole_is_kept(pages: Pages) -> None:
    peer = await pages.post("5\r\nhello\r\n0\r\n\r\n", extra=CHUNKED)
    assert (await peer.response()).body == b"5"
    peer.send(pages.opened.head("/research/"))
    assert (await peer.response()).status == 200


# -- Expect: 100-continue (RFC 9110 section 10.1.1) ----------------------------------------------------------------


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
@pytest.mark.parametrize(
    ("framing", "body"), [("Content-Length: 5\r\n", "hello"), (CHUNKED, "5\r\nhello\r\n0\r\n\r\n")]
)
async def test_who_waits_to_be_asked_for_the_body_is_asked(
    pages: Pages, framing: str, body: str, expectation: str
) -> None:
    peer = await pages.post("", extra=f"{framing}Expect: {expectation}\r\n")
    assert await peer.head() == CONTINUE
    peer.send(body)
    assert (await peer.response()).body == b"5"
    peer.send(pages.opened.head("/research/"))
    assert (await peer.response()).status == 200


async def test_who_did_not_wait_is_not_asked(pages: Pages) -> None:
    peer = await pages.post("hello", extra=f"{EXPECT}Content-Length: 5\r\n")
    assert (await peer.response()).status == 200


async def test_http_1_0_knows_no_such_thing(pages: Pages) -> None:
    peer = await pages.opened.call()
    head = pages.opened.head("/.nbgate/read", method="POST", extra=f"{EXPECT}Content-Length: 5\r\n")
    peer.send(head.replace("HTTP/1.1", "HTTP/1.0"))
    await pages.opened.settled(lambda: pages.seen == 1)
    peer.send("hello")
    assert (await peer.rest()).startswith(b"HTTP/1.1 200 ")


async def test_who_is_answered_without_being_asked_is_not_waited_for(pages: Pages) -> None:
    """The body may never come, and what comes would be taken for it."""
    for extra, to, status in (
        (f"{EXPECT}Content-Length: 5\r\n", "look", 200),
        (f"{EXPECT}Content-Length: {64 * BODY_BYTES + 1}\r\n", "read", 413),
    ):
        peer = await pages.post("", to=to, extra=extra)
        answer = await peer.response()
        assert (answer.status, answer.value("connection")) == (status, "close")
        assert await peer.rest() == b""


# -- held by the gateway -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", ["", EXPECT])
async def test_who_is_not_read_is_not_slow(pages: Pages, extra: str) -> None:
    opened, size = pages.opened, 40 * BODY_BYTES
    pages.may_read.clear()
    peer = await pages.post("" if extra else "x" * size, extra=f"{extra}Content-Length: {size + 1}\r\n")
    if not extra:
        await opened.settled(lambda: bool(opened.connection.intake.reasons))
    for _ in range(3):
        await opened.pass_time(opened.plane.current.timeouts.request_body_seconds)
    pages.may_read.set()
    if extra:
        assert await peer.head() == CONTINUE
        peer.send("x" * size)
    await opened.settled(lambda: not opened.connection.intake.reasons)
    opened.plane.sweep()
    await opened.pass_time(opened.plane.current.timeouts.request_body_seconds - 1)
    peer.send("x")
    answer = await peer.response()
    assert (answer.status, answer.body) == (200, str(size + 1).encode())
