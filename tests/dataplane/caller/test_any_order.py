"""A caller's connection, whatever comes in whatever order: what the caller sends, what the notebook answers, who takes
nothing for a while, a reload, a drain, time that passes, and who is gone.

Always: one answer and one record for each request, in order; no byte of one request in another, in either direction;
reading goes on exactly while nobody has a reason against it; and when everybody has done his part, the connection is
at rest or has ended.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import uvloop
import yaml
from aiohttp import web
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from yarl import URL

from proxy.aws.cookies import Cookies
from proxy.aws.sessions import UpstreamSession
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.dataplane.answer.forward import Forward
from proxy.dataplane.bounds import HELD_TOO_MUCH
from proxy.dataplane.budgets import Place
from proxy.dataplane.caller.connection import CallerConnection
from proxy.dataplane.caller.intake import Intake
from proxy.dataplane.caller.reception import Reception
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.plane import Current
from proxy.server import compose
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import PageRequest
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.upstream import Honoured, Origin
from proxy.wire.body import Data, LengthBody
from tests.harness.clocks import FakeClock
from tests.harness.faulty import collecting
from tests.harness.keeper import Keeper
from tests.harness.notebook import switching
from tests.harness.plane import KEY
from tests.harness.wires import Wire

HOST = b"127.0.0.1"
HEAD_END = b"\r\n\r\n"
MOUNT = b"/research"
LARGE = 150_000
"""Bytes: above what waits anywhere, and what makes reads large."""


@functools.cache
def read_settings(policy: str, *, is_mounted: bool) -> Settings:
    config: dict[str, Any] = {
        "hostname": ["127.0.0.1"],
        "listeners": [{"bind": "127.0.0.1:0"}],
        "aws": {"region": "us-east-1"},
        "allowlists": {"here": ["127.0.0.0/8"], "elsewhere": ["203.0.113.0/24"]},
        "policy": {"allow": [policy]},
        "instances": {
            "research": {
                "notebook": "research-gpu-1",
                "mount": {"path": MOUNT.decode()} if is_mounted else "root",
            }
        },
    }
    with TemporaryDirectory() as directory:
        file = Path(directory) / "nbgate.yaml"
        file.write_text(yaml.safe_dump(config))
        return load(file, environ={})


def mark(number: int) -> bytes:
    """The byte that all of a request's body, and of its answer's, consists of."""
    return b"abcdefghijklmnopqrstuvwxyz"[number % 26 : number % 26 + 1]


@dataclass
class Asked:
    """What the caller sends for one request."""

    number: int
    method: bytes
    data: bytes

    @property
    def is_faulty(self) -> bool:
        """It is to be refused as no HTTP."""
        return any(fault in self.data for fault in (b"broken", b"No field", b"\x16\x03", b"TRACE"))


def chunked(body: bytes, *, piece: int) -> bytes:
    parts = (body[at : at + piece] for at in range(0, len(body), piece))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def asked(number: int, kind: int, *, mount: bytes) -> Asked:
    """A request of one of many kinds."""
    get, post, page = b"GET", b"POST", b"/.nbgate/"
    mine, one = mark(number), b"%d" % number
    length = lambda size: b"Content-Length: %d\r\n" % size  # noqa: E731
    coding = b"Transfer-Encoding: chunked\r\n"
    expect = b"Expect: 100-continue\r\n"
    method, target, fields, body = (
        (get, b"/n", b"", b""),
        (b"HEAD", b"/n", b"", b""),
        (post, b"/n", length(5), mine * 5),
        (b"PUT", b"/n", coding, chunked(mine * 30, piece=7)),
        (post, b"/n", length(LARGE), mine * LARGE),
        (b"PUT", b"/n", coding, chunked(mine * 4000, piece=1)),
        (post, b"/n", expect + length(9), mine * 9),
        (get, page + b"hello/", b"", b""),
        (b"HEAD", page + b"hello/", b"", b""),
        (post, page + b"read/", length(6), mine * 6),
        (post, page + b"read/", expect + coding, chunked(mine * 4000, piece=1)),
        (post, page + b"look/", length(LARGE), mine * LARGE),
        (get, page + b"stream/", b"", b""),
        (get, page + b"raise/", b"", b""),
        (get, page + b"large/", b"", b""),
        (get, page + b"wait/", b"", b""),
        (post, page + b"wait/", length(LARGE), mine * LARGE),
        (post, page + b"wait/", expect + length(8), mine * 8),
        (get, page + b"none/", b"", b""),
        (get, b"/n", b"Connection: close\r\n", b""),
        (post, b"/n", coding, b"1\r\n" + mine + b"\r\nbroken\r\n"),
        (post, page + b"read/", coding, b"1\r\n" + mine + b"\r\nbroken\r\n"),
        (get, b"/n", b"No field\r\n", b""),
        (b"TRACE", b"/n", b"", b""),
        (
            get,
            b"/n",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: %b\r\nOrigin: http://127.0.0.1\r\n" % KEY.encode(),
            b"",
        ),
        (b"HEAD", page + b"stream/", b"", b""),
        (b"PUT", b"/n", length(LARGE // 2), mine * (LARGE // 2)),
        (post, page + b"look/", coding, chunked(mine * 4000, piece=1)[:-5] + b"broken\r\n"),
        (b"PUT", page + b"look/", coding, chunked(mine * 9000, piece=1)),
        (get, b"/n", b"X: %b\r\n" % (b"x" * 70_000), b""),
        (b"\x16\x03\x01", b"/n", b"", b""),
        (get, page + b"stuck/", b"", b""),
        (post, page + b"wait/", coding, chunked(mine * LARGE, piece=LARGE // 3)),
        (get, b"/n", b"Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n", b""),
    )[kind % KINDS]
    if target == b"/n":
        target = mount + target
    version = b"1.0" if kind >= 2 * KINDS else b"1.1"
    if version == b"1.0" and (coding in fields or b"websocket" in fields):
        version = b"1.1"
    head = b"%b %b%b HTTP/%b\r\nHost: %b\r\n%b\r\n" % (method, target, one, version, HOST, fields)
    return Asked(number, method, head + body)


KINDS = 34


class Notebook:
    """One connection to the notebook: reads requests strictly, and answers when it is told to."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.seen = 0
        self.number: int | None = None
        """The request that is to be answered."""
        self.method = b""
        self.head = b""
        self.left = b""
        """What is still to be sent of its answer."""
        self.is_websocket = False
        self.says_close = False
        """It takes no other request."""
        self._body: Callable[[], bool] | None = None

    def look(self) -> None:
        """Read on."""
        sent = self.wire.sent
        while not self.is_websocket:
            if self._body is not None:
                if not self._body():
                    return
                self._body = None
            if self.number is not None or (end := sent.find(HEAD_END, self.seen)) < 0:
                if self.number is None and len(sent) > self.seen:
                    assert sent[self.seen : self.seen + 1].isupper(), bytes(sent[self.seen :][:80])
                return
            self.head = head = bytes(sent[self.seen : end + 4])
            match = re.match(rb"([A-Z]+) (?:/research)?/n(\d+) HTTP/1\.1\r\n", head)
            assert match, head
            assert not self.says_close, head
            self.method, self.number = match[1], int(match[2])
            self.seen = end + 4
            self._body = self._follow(head, mark(self.number))

    def _follow(self, head: bytes, mine: bytes) -> Callable[[], bool]:
        sent, lower = self.wire.sent, head.lower()
        if b"\r\ntransfer-encoding: chunked\r\n" in lower:
            # Said back by the gateway as it came: sizes, this request's bytes, line ends.
            def follow() -> bool:
                while True:
                    match = re.compile(rb"([0-9a-f]+)\r\n").match(sent, self.seen)
                    if match is None:
                        assert len(sent) - self.seen < 8, bytes(sent[self.seen :][:40])
                        return False
                    size = int(match[1], 16)
                    whole = match.end() + size + 2
                    if len(sent) < whole:
                        rest = bytes(sent[match.end() : match.end() + size])
                        assert not rest.strip(mine), rest
                        return False
                    assert bytes(sent[match.end() : whole]) == mine * size + b"\r\n"
                    self.seen = whole
                    if not size:
                        return True

            return follow
        match = re.search(rb"\r\ncontent-length: (\d+)\r\n", lower)
        size = int(match[1]) if match else 0

        def count() -> bool:
            nonlocal size
            part = bytes(sent[self.seen : self.seen + size])
            assert not part.strip(mine), (mine, part.strip(mine)[:80])
            self.seen += len(part)
            size -= len(part)
            return size == 0

        return count

    @property
    def has_nothing_left(self) -> bool:
        """All that came was requests', whole."""
        self.look()
        return self.is_websocket or self._body is not None or self.seen == len(self.wire.sent)

    @property
    def has_whole(self) -> bool:
        self.look()
        return self._body is None

    def say(self, how: int) -> None:
        """Answer, or a part of it."""
        self.look()
        wire = self.wire
        if self.left:
            left, self.left = self.left, b""
            if how % 3 == 0:
                left, self.left = left[:1], left[1:]
            self._send(left)
            return
        if self.number is None or wire.is_closing():
            return
        mine, fields = mark(self.number), b"X-N: %d\r\n" % self.number
        ok = b"HTTP/1.1 200 OK\r\n" + fields
        has_no_body = self.method == b"HEAD"
        if b"\r\nUpgrade: websocket\r\n" in self.head and how % 2:
            self.number, self.is_websocket = None, True
            wire.feed(switching(self.head))
            return
        how %= 15
        if how == 0 and not has_no_body:
            self.left = mine * 5
            wire.feed(ok + b"Content-Length: 8\r\n\r\n" + mine * 3)
        elif how == 1:
            wire.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif how == 2:
            wire.lose()
        elif how == 3 and not has_no_body:
            self._send(ok + b"\r\n" + mine * 4)
            wire.end()
        elif how == 4:
            self.says_close = True
            self._send(ok + b"Connection: close\r\nContent-Length: 2\r\n\r\n" + mine * 2 * (not has_no_body))
        elif how == 5 and not has_no_body:
            self._send(ok + b"Content-Length: %d\r\n\r\n" % (2 * LARGE) + mine * 2 * LARGE)
        elif how == 6 and not has_no_body:
            self._send(ok + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(mine * 3000, piece=1))
        elif how in (9, 10):
            # As the front end of the notebook answers who is not signed in.
            status = (b"403 Forbidden", b"302 Found\r\nLocation: https://eu-west-1.signin.aws.amazon.com/")[
                how % 2
            ]
            self._send(b"HTTP/1.1 %b\r\n%bContent-Length: 0\r\n\r\n" % (status, fields))
        elif how in (11, 12) and not has_no_body:
            # A page, whose links are rewritten below a mount.
            html = ok + b"Content-Type: text/html\r\n"
            size = (40, LARGE)[how % 2]
            self.left = mine * size
            wire.feed(html + b"Content-Length: %d\r\n\r\n" % (size + 3) + mine * 3)
        elif how == 13 and not has_no_body:
            self._send(ok + b"Content-Type: text/html\r\n\r\n" + mine * LARGE)
            wire.end()
        else:
            self._send(ok + b"Content-Length: 8\r\n\r\n" + mine * 8 * (not has_no_body))

    def _send(self, data: bytes) -> None:
        if not self.left:
            self.number = None
        self.wire.feed(data)
        self.look()


class Play:
    """One connection, and everybody around it."""

    def __init__(self, *, is_tls: bool, is_mounted: bool) -> None:
        self.mount = MOUNT if is_mounted else b""
        self._settings = functools.partial(read_settings, is_mounted=is_mounted)
        self.errors: list[BaseException] = []
        self.records: list[RequestRecord] = []
        self.ids: list[str] = []
        self.clock = FakeClock()
        self.notebooks: list[Notebook] = []
        self.notebook_stalls = False
        self.tasks = Tasks(lambda _name, error: self.errors.append(error))
        self.gate = asyncio.Event()
        self.all: list[Asked] = []
        self.to_send = bytearray()
        self.is_drained = self.is_cut = False
        self.judging: list[asyncio.Task[None]] = []
        given = self._settings("here")
        origin = Origin.of(URL("http://notebook.invalid"))
        cookies = Cookies()
        self.keeper = Keeper(UpstreamSession(origin, cookies, obtained_at=0.0, renew_at=1e9, expires_at=2e9))
        pages = OwnPages(on_fault=lambda _what, _error: None)
        for method, path, handler in (
            ("GET", "hello", self._hello),
            ("POST", "read", self._read),
            ("POST", "look", self._hello),
            ("GET", "stream", self._stream),
            ("GET", "raise", self._raise),
            ("GET", "large", self._large),
            ("GET", "wait", self._wait),
            ("POST", "wait", self._wait),
            ("GET", "none", self._none),
            ("GET", "stuck", self._stuck),
        ):
            pages.add(method, f"/.nbgate/{path}/{{n}}", handler)
        self.plane = compose.data_plane(
            given,
            door=compose.gateway(given, audit=lambda _inbound, _refusal: None),
            sessions=dict.fromkeys(given.instances, self.keeper),
            clock=self.clock,
            new_id=self._new_id,
            tasks=self.tasks,
            log=self.records.append,
            faults=collecting(self.errors),
            pages=pages,
        )
        self.plane.pool.dial = self.dial  # type: ignore[assignment]
        peer = ip_address("127.0.0.1")
        place = self.plane.budgets.take(peer, self.plane.claim(peer))
        assert isinstance(place, Place)
        self.connection = Reception(self.plane, given.listeners[0]).connection(
            place, self.clock.monotonic() + 30
        )
        self.wire = Wire(self.errors, is_tls=is_tls)
        self.wire.set_protocol(self.connection)
        self.connection.connection_made(self.wire)

    def _new_id(self) -> str:
        self.ids.append(f"{len(self.ids) + 1:016x}")
        return self.ids[-1]

    async def dial(self, _origin: Origin, connection: Any, **_how: Any) -> None:
        await asyncio.sleep(0)
        wire = Wire(self.errors)
        wire.set_protocol(connection)
        if self.notebook_stalls:
            wire.stall()
        connection.connection_made(wire)
        self.notebooks.append(Notebook(wire))

    # -- pages ------------------------------------------------------------------------------------------

    @staticmethod
    def _page(visit: PageRequest, size: int) -> web.Response:
        [number] = visit.names
        return web.Response(body=mark(int(number)) * size, headers={"X-N": number})

    async def _hello(self, visit: PageRequest) -> web.Response:
        return self._page(visit, 3)

    async def _read(self, visit: PageRequest) -> web.Response:
        body = await visit.body()
        if body.strip(mark(int(visit.names[0]))):
            self.errors.append(AssertionError("a page read what is none of its request's"))
        return self._page(visit, 4)

    async def _stream(self, visit: PageRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-N": visit.names[0]})
        await response.prepare(visit.web)
        await response.write(mark(int(visit.names[0])) * 5)
        await self.gate.wait()
        await response.write(mark(int(visit.names[0])) * LARGE)
        await response.write_eof()
        return response

    async def _raise(self, visit: PageRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-N": visit.names[0], "Content-Length": "200"})
        await response.prepare(visit.web)
        await response.write(mark(int(visit.names[0])) * 5)
        raise ValueError("a fault of the handler's own")

    async def _large(self, visit: PageRequest) -> web.Response:
        return self._page(visit, 3 * LARGE)

    async def _wait(self, visit: PageRequest) -> web.Response:
        await self.gate.wait()
        return self._page(visit, 7)

    async def _stuck(self, visit: PageRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-N": visit.names[0], "Content-Length": str(4 * LARGE)})
        await response.prepare(visit.web)
        for _ in range(4):
            await response.write(mark(int(visit.names[0])) * LARGE)
        return response

    async def _none(self, visit: PageRequest) -> web.Response:
        return web.Response(status=204, headers={"X-N": visit.names[0]})

    # -- what may happen --------------------------------------------------------------------------------

    async def ask(self, kind: int) -> None:
        """The caller has one more request to send."""
        request = asked(len(self.all) + 1, kind, mount=self.mount)
        self.all.append(request)
        self.to_send += request.data

    async def send(self, some: int) -> None:
        """The caller sends some of it."""
        all_but_few = max(1, len(self.to_send) - 20)
        size = (1, all_but_few, 70, 300, 5000, 40_000, 70_000, 10**7)[some % 8]
        self.wire.feed(bytes(self.to_send[:size]))
        del self.to_send[:size]

    async def answer(self, how: int) -> None:
        """The notebook says something, on one of its connections."""
        owed = [one for one in self.notebooks if one.left or (one.look() or one.number)]
        if owed:
            owed[how % len(owed)].say(how // len(owed))

    async def stall(self, who: int) -> None:
        """Somebody takes nothing for a while."""
        if who % 2:
            self.wire.stall()
        else:
            self.notebook_stalls = True
            for notebook in self.notebooks:
                notebook.wire.stall()

    async def take(self, who: int) -> None:
        """He does again."""
        if who % 2:
            self.wire.take()
        else:
            self.notebook_stalls = False
            for notebook in self.notebooks:
                notebook.wire.take()

    async def turn(self, turns: int) -> None:
        for _ in range(turns % 4 + 1):
            await asyncio.sleep(0)

    async def page(self, how: int) -> None:
        """Pages go on, or wait."""
        if how % 2:
            self.gate.set()
        else:
            self.gate.clear()

    async def cold(self, how: int) -> None:
        """There is no session for a while."""
        if how % 2:
            self.keeper.warm()
        else:
            self.keeper.cold()

    async def honoured(self, how: int) -> None:
        """Whether the notebook still honours our session, as it says to who asks."""
        self.keeper.honoured_as = tuple(Honoured)[how % len(Honoured)]

    async def sweep(self, how: int) -> None:
        await self.clock.advance((1.0, 4.0, 20.0, 70.0)[how % 4])
        self.plane.sweep()

    async def reload(self, how: int) -> None:
        """Another gateway decides."""
        given = self._settings("elsewhere" if how % 3 == 0 else "here")
        adopting = self.plane.adopt(
            Current(
                gateway=compose.gateway(given, audit=lambda _inbound, _refusal: None),
                keepers=dict.fromkeys(given.instances, self.keeper),
                limits=given.limits,
                timeouts=given.timeouts,
            )
        )
        self.judging.append(asyncio.get_running_loop().create_task(adopting))
        await asyncio.sleep(0)

    async def drain(self, how: int) -> None:
        if how % 4 == 0:
            self.is_drained = True
            self.judging.append(asyncio.get_running_loop().create_task(self.plane.drain(600.0)))
            await asyncio.sleep(0)

    async def end(self, how: int) -> None:
        """Somebody ends the connection; mostly nobody does, or little would follow."""
        how %= 32
        self.is_cut = self.is_cut or how < 4
        if how == 0:
            self.wire.lose()
        elif how == 1:
            for one in tuple(self.plane.open.connections):
                one.cut(HELD_TOO_MUCH)
        elif how == 3:
            self.wire.end()
        elif how == 2:
            for one in tuple(self.plane.open.connections):
                one.abort()

    # -- what holds -------------------------------------------------------------------------------------

    def look(self) -> None:
        """What holds at every moment."""
        assert not self.errors, self.errors
        for notebook in self.notebooks:
            notebook.look()
        connection = self.connection
        if connection in self.plane.open.connections and not self.wire.is_closing():
            assert self.wire.reads == (not connection.intake.reasons)
        ids = [record.request_id for record in self.records]
        assert len(ids) == len(set(ids)), ids

    async def finish(self) -> None:
        """Everybody does his part."""
        await self.take(0)
        await self.take(1)
        await self.page(1)
        await self.cold(1)
        for _ in range(400):
            await self.send(7)
            for notebook in self.notebooks:
                while notebook.left or (notebook.has_whole and notebook.number is not None):
                    if notebook.wire.is_closing():
                        break
                    notebook.say(7 if not notebook.left else 1)
            await asyncio.sleep(0)
            if self.plane.outages:
                await self.sweep(0)
            self.look()
            if len(self.ids) >= len(self.all) and self._is_over():
                break
        for _ in range(5):
            await asyncio.sleep(0)
        self.look()

    def _has_ended(self) -> bool:
        wire = self.wire
        return wire.is_closing() or wire.has_ended or self.connection not in self.plane.open.connections

    def _is_over(self) -> bool:
        wire = self.wire
        if self._has_ended():
            return True
        return self.connection.is_idle and not wire.waiting_bytes and not self.connection.reader.held_bytes

    async def leave(self) -> None:
        """Who is at rest goes when the gateway does."""
        if self._is_over() and not self.is_drained:
            await self.drain(0)
            await self.turn(3)
            assert self._has_ended()

    async def check(self) -> None:
        """What holds at the end."""
        connection, wire = self.connection, self.wire
        assert self._is_over(), (connection, self.records, self.ids)
        if connection in self.plane.open.connections and not wire.is_closing() and not wire.has_ended:
            assert not connection.intake.reasons
            assert not self.is_drained
            assert len(self.ids) == len(self.all)
        wire.lose()
        for _ in range(5):
            await asyncio.sleep(0)
        self.look()
        assert not self.plane.open.connections
        assert not self.plane.budgets.in_all
        assert sorted(record.request_id for record in self.records) == self.ids
        for record in self.records:
            assert record.status != 400 or self.all[int(record.request_id, 16) - 1].is_faulty, record
        for notebook in self.notebooks:
            assert notebook.wire.is_closing() or notebook.has_nothing_left
        self._answers()

    def _answers(self) -> None:
        """What the caller was sent: answers, whole and in order, each its own request's."""
        sent, place, last = bytes(self.wire.sent), 0, 0
        records = {record.request_id: record for record in self.records}
        unanswered = {one for one, record in records.items() if record.status and not record.error}
        while place < len(sent):
            end = sent.find(HEAD_END, place) + 4
            assert end > 3, sent[place : place + 300]
            head = sent[place:end]
            place = end
            status = int(head[9:12])
            if 100 <= status < 200 and status != 101:
                continue
            found = re.search(rb"\r\nX-Request-Id: ([0-9a-f]{16})\r\n", head)
            assert found, head
            assert head.count(b"X-Request-Id") == 1
            number = int(found[1], 16)
            unanswered.discard(found[1].decode())
            assert number > last
            last = number
            record = records[found[1].decode()]
            if named := re.search(rb"\r\nX-N: (\d+)\r\n", head):
                assert int(named[1]) == number
            if status == 101:
                break
            method = record.method.encode()
            mine = mark(number)
            is_whole, body, place = read_body(sent, place, head, method, status)
            if named:
                assert not body.strip(mine), body.strip(mine)[:200]
            if not is_whole:
                # What was written and not taken when the connection was cut was complete for us.
                assert record.error or self.is_cut, record
                assert place == len(sent)
            else:
                assert record.status == status
        # What a caller that took nothing was not sent in its time was complete for us, too.
        assert self.is_cut or self.wire.dropped_bytes or not unanswered, unanswered


def read_body(sent: bytes, place: int, head: bytes, method: bytes, status: int) -> tuple[bool, bytes, int]:
    """Whether it is whole, the payload, and where it ends."""
    lower = head.lower()
    if method == b"HEAD" or status in (204, 304):
        return True, b"", place
    if b"\r\ntransfer-encoding: chunked\r\n" in lower:
        body = b""
        while match := re.compile(rb"([0-9a-fA-F]+)\r\n").match(sent, place):
            size = int(match[1], 16)
            part = sent[match.end() : match.end() + size]
            body += part
            if len(sent) < match.end() + size + 2:
                return False, body, len(sent)
            place = match.end() + size + 2
            if not size:
                return True, body, place
        return False, body, len(sent)
    match = re.search(rb"\r\ncontent-length: (\d+)\r\n", lower)
    if match is None:
        # For HTTP/1.0: its end is the connection's.
        assert b"\r\nconnection: close\r\n" in lower
        return True, sent[place:], len(sent)
    body = sent[place : place + int(match[1])]
    return len(body) == int(match[1]), body, place + len(body)


async def play(steps: list[tuple[str, int]], *, is_tls: bool, is_mounted: bool) -> Play:
    playing = Play(is_tls=is_tls, is_mounted=is_mounted)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _loop, context: playing.errors.append(
            context.get("exception") or RuntimeError(context["message"])
        )
    )
    try:
        for name, how in steps:
            await getattr(playing, name)(how)
            playing.look()
        await playing.finish()
        if steps and steps[0][1] % 2:
            await playing.leave()
        await playing.check()
        return playing
    finally:
        await playing.plane.close()
        for task in playing.judging:
            task.cancel()
        await asyncio.gather(*playing.judging, return_exceptions=True)
        await playing.tasks.close()


def run(steps: list[tuple[str, int]], *, is_tls: bool = False, is_mounted: bool = False) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play(steps, is_tls=is_tls, is_mounted=is_mounted))


async def _sent_much_and_went(playing: Play) -> None:
    """An upload that comes in large reads, its answer, and the loss of its connection."""
    await playing.ask(4)
    size = len(playing.to_send)
    for part in (bytes(playing.to_send[at : at + size // 2]) for at in (0, size // 2)):
        playing.wire.feed(part)
        await playing.turn(3)
    playing.wire.feed(bytes(playing.to_send[size // 2 * 2 :]))
    playing.to_send.clear()
    for notebook in playing.notebooks:
        assert notebook.has_whole
        notebook.say(7)
    await playing.finish()
    await playing.check()


def test_a_connection_that_has_ended_waits_for_no_collector() -> None:
    async def held() -> int:
        playing = Play(is_tls=False, is_mounted=False)
        gc.collect()
        gc.disable()
        try:
            await _sent_much_and_went(playing)
            kind = type(playing.connection)
            del playing.connection
            return sum(type(one) is kind for one in gc.get_objects())
        finally:
            gc.enable()
            await playing.plane.close()
            await playing.tasks.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(held()) == 0


def test_what_waits_for_a_caller_that_takes_nothing_is_counted() -> None:
    """Of a page: what was written to the caller, and what its handler wrote and nobody has read yet."""

    async def held() -> int:
        playing = Play(is_tls=False, is_mounted=False)
        await playing.stall(1)
        await playing.ask(31)
        await playing.send(7)
        for _ in range(5):
            await playing.turn(3)
        size: int = playing.connection.held_bytes
        playing.wire.lose()
        await playing.turn(3)
        await playing.plane.close()
        await playing.tasks.close()
        return size

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(held()) >= LARGE


OFTEN = ["ask", "send", "answer", "turn"]
SELDOM = ["stall", "take", "page", "cold", "honoured", "sweep", "reload", "drain", "end"]
GOOD_KINDS = 19
"""The first of them are requests after which a connection goes on."""
ANY_STEP = st.tuples(st.sampled_from([*OFTEN, *OFTEN, *SELDOM]), st.integers(0, 127))
STEP = st.one_of(ANY_STEP, ANY_STEP, ANY_STEP, st.tuples(st.just("ask"), st.integers(0, GOOD_KINDS - 1)))
# Of lists whose length is not said, most are hardly longer than the shortest.
STEPS = st.integers(5, 60).flatmap(lambda count: st.lists(STEP, min_size=count, max_size=count))


FOUND = {
    "a large part of a page": [("ask", 12), ("send", 7)],
    "a body's last part filled the notebook, and part of the next request came with it": [
        *[
            ("ask", 26),
            ("ask", 2),
            ("send", 3),
            ("turn", 3),
            ("turn", 3),
            ("stall", 0),
            ("send", 5),
            ("send", 1),
        ],
        *[("turn", 3), ("answer", 7), ("turn", 3), ("turn", 3)],
    ],
    "a drain while requests wait for a caller that takes nothing": [
        *[("stall", 1), ("ask", 14), ("ask", 14), ("ask", 0), ("send", 7), *[("turn", 3)] * 9],
        *[("drain", 0), ("turn", 3)],
    ],
    "a page that fails when its answer has begun": [("ask", 13), ("ask", 7), ("send", 7)],
    "cut while a stream ends": [("ask", 12), ("send", 7), ("turn", 3), ("page", 1), ("end", 2)],
    "cut while a page answers": [("ask", 15), ("send", 7), ("turn", 3), ("page", 1), ("end", 2)],
}
"""What was found so, once, in words and in steps."""


@pytest.mark.parametrize("steps", FOUND.values(), ids=FOUND)
def test_what_was_found_once(steps: list[tuple[str, int]]) -> None:
    run(steps)


@given(steps=STEPS, is_tls=st.booleans(), is_mounted=st.booleans())
@settings(max_examples=50)
def test_whatever_comes_in_whatever_order(
    steps: list[tuple[str, int]], is_tls: bool, is_mounted: bool
) -> None:
    run(steps, is_tls=is_tls, is_mounted=is_mounted)


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(steps=STEPS, is_tls=st.booleans(), is_mounted=st.booleans())
@settings(max_examples=2000)
def test_whatever_comes_in_whatever_order_and_often(
    steps: list[tuple[str, int]], is_tls: bool, is_mounted: bool
) -> None:
    run(steps, is_tls=is_tls, is_mounted=is_mounted)


def _taken_too_far(body: LengthBody, data: Data) -> tuple[Data, Data]:
    size = min(len(data), body.remaining + 1)
    body.remaining = max(0, body.remaining - size)
    body.done = body.remaining == 0
    return data[:size], data[size:]


def _not_resumed(intake: Intake, reasons: int) -> None:
    intake.reasons &= ~reasons


def _not_drained(_connection: CallerConnection) -> None: ...


def _given_back(forward: Forward) -> None:
    connection, forward.connection = forward.connection, None
    forward.out.source = None
    if connection is not None:
        forward.out.plane.pool.give_back(connection)


PLANTED: dict[str, tuple[type, str, Any]] = {
    "a byte of the next request is taken for the body of this one": (LengthBody, "feed", _taken_too_far),
    "nobody reads on when the last reason is gone": (Intake, "resume", _not_resumed),
    "a connection stays when the gateway goes away": (CallerConnection, "drain", _not_drained),
    "every body ends where it is cut": (UpstreamConnection, "eof_received", UpstreamConnection.abort),
}


@pytest.mark.parametrize("size", [2, 5], ids=["a small body", "a large one"])
def test_a_notebooks_connection_that_is_used_again_while_a_body_is_on_its_way_to_it_is_found(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted, and played: a request whose body is not whole is answered, and another one follows."""
    early = [("ask", 4), ("send", size), ("turn", 3), ("answer", 7), ("turn", 3)]
    steps = [*early, ("ask", 0), ("send", 7), ("turn", 3), ("turn", 3), ("answer", 7), ("turn", 3)]
    run(steps)
    monkeypatch.setattr(Forward, "_release", _given_back)
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        run(steps)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("where", "name", "broken"), PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_found(
    where: type, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, broken)

    @given(steps=STEPS, is_tls=st.booleans(), is_mounted=st.booleans())
    @settings(max_examples=1500, phases=[Phase.generate], database=None, derandomize=True)
    def playing(steps: list[tuple[str, int]], is_tls: bool, is_mounted: bool) -> None:
        run(steps, is_tls=is_tls, is_mounted=is_mounted)

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        playing()
