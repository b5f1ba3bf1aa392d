"""Requests that repeat an earlier one's fields to the letter are spared the parser, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from planes import open_plane
from raw_upstream import Peer
from stage import HOST, Stage, eventually, get, ok, open_stage
from waiting import PATIENCE_SECONDS
from websocket_peers import SWITCHED, UPGRADE

from proxy import gateway as gateway_module
from proxy.dataplane import downstream as downstream_module
from proxy.dataplane.downstream import Downstream
from proxy.dataplane.known_heads import HEAD_BYTES, HEADS, KnownFields, KnownHeads, Room
from proxy.dataplane.link import Link, Way, link
from proxy.wire import heads as heads_module
from proxy.wire.heads import RequestFields

FIELDS = b"Accept: */*\r\nCookie: _xsrf=a\r\n"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as stage:
        yield stage


def the_connection(stage: Stage) -> Downstream:
    [connection] = stage.plane.connections
    return connection


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The heads that aiohttp's parser was asked to read."""
    heads: list[bytes] = []
    parse = Downstream.parse

    def noting(self: Downstream, head: bytes):
        heads.append(head)
        return parse(self, head)

    monkeypatch.setattr(Downstream, "parse", noting)
    return heads


async def exchange(caller: Peer, notebook: Peer, request: bytes) -> bytes:
    """Send a request, answer it, and return what the notebook read of it."""
    caller.send(request)
    head = await notebook.head()
    notebook.send(ok(b"x"))
    await caller.response()
    return head


async def test_the_same_fields_are_parsed_once_and_sent_on_alike(stage: Stage, parsed: list[bytes]) -> None:
    caller, notebook = await stage.get(b"/first", fields=FIELDS)
    notebook.send(ok(b"x"))
    await caller.response()
    heads = [
        await exchange(caller, notebook, get(target, fields=FIELDS, method=method))
        for target, method in [(b"/a?b=%2F", b"GET"), (b"/c", b"DELETE"), (b"/d", b"OPTIONS")]
    ]
    assert len(parsed) == 1
    assert [head.split(b" HTTP")[0] for head in heads] == [b"GET /a?b=%2F", b"DELETE /c", b"OPTIONS /d"]
    fields = {head.partition(b"\r\n")[2] for head in heads}
    assert len(fields) == 1
    assert b"Cookie: _xsrf=a; FrontEnd=front-end-1\r\n" in fields.pop()
    assert [record.target for record in stage.records] == ["/first", "/a?b=%2F", "/c", "/d"]
    assert [record.method for record in stage.records] == ["GET", "GET", "DELETE", "OPTIONS"]


async def test_one_letter_of_difference_is_read_anew(stage: Stage, parsed: list[bytes]) -> None:
    caller, notebook = await stage.get(fields=FIELDS)
    notebook.send(ok(b"x"))
    await caller.response()
    head = await exchange(caller, notebook, get(fields=FIELDS.replace(b"=a", b"=b")))
    assert b"_xsrf=b; " in head
    assert len(parsed) == 2


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT /x HTTP/1.1", b"400"),
        (b"TRACE /x HTTP/1.1", b"400"),
        (b"GET /x#y HTTP/1.1", b"400"),
        (b"GET /x HTTP/2.0", b"400"),
        (b"GET /\xc3\xa4 HTTP/1.1", b"400"),
        (b"GET http://elsewhere.test/x HTTP/1.1", b"400"),
        (b"get /x HTTP/1.1", b"400"),
    ],
)
async def test_a_request_line_that_is_not_plain_goes_to_the_parser(
    stage: Stage, parsed: list[bytes], line: bytes, status: bytes
) -> None:
    caller, notebook = await stage.get(fields=FIELDS)
    notebook.send(ok(b"x"))
    await caller.response()
    caller.send(line + b"\r\n" + get(fields=FIELDS).partition(b"\r\n")[2])
    head, _ = await caller.response()
    assert head.split(b" ")[1] == status
    assert len(parsed) == 2


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"Content-Length: 3\r\n", id="a length"),
        pytest.param(b"Content-Length: 0\r\n", id="no length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", id="chunked"),
        pytest.param(b"Connection: close\r\n", id="the last one"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: h2c\r\n", id="an upgrade"),
        pytest.param(b"X: " + b"y" * HEAD_BYTES + b"\r\n", id="large"),
    ],
)
async def test_fields_that_say_more_are_never_remembered(stage: Stage, fields: bytes) -> None:
    """What decides about framing, or about the connection, is parsed each time."""
    caller = await stage.call(get(fields=fields))
    if b"Length: 3" in fields:
        caller.send(b"abc")
    elif b"chunked" in fields:
        caller.send(b"0\r\n\r\n")
    notebook = await stage.notebook()
    await notebook.head()
    assert len(the_connection(stage)._known) == 0


async def test_few_heads_are_remembered(stage: Stage) -> None:
    caller, notebook = await stage.get(fields=b"X: first\r\n")
    notebook.send(ok(b"x"))
    await caller.response()
    for number in range(3 * HEADS):
        await exchange(caller, notebook, get(fields=b"X: %d\r\n" % number))
        assert 1 <= len(the_connection(stage)._known) <= HEADS


async def test_a_page_of_our_own_may_follow(tmp_path: Path, parsed: list[bytes]) -> None:
    """aiohttp serves it, from a message of its own parser's."""
    async with open_stage(tmp_path, mount={"path": "/nb/"}) as stage:
        caller, notebook = await stage.get(b"/nb/x", fields=FIELDS)
        notebook.send(ok(b"x"))
        await caller.response()
        caller.send(get(b"/.nbgate/x", fields=FIELDS))
        # The stage has no page there: it is the server's to answer.
        connection = the_connection(stage)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(parsed) < 2:
                await asyncio.sleep(0)
        assert connection._inbound is not None
        assert connection._inbound.target == "/.nbgate/x"
        head, _ = await caller.response()
        assert head.startswith(b"HTTP/1.1 404 ")
        # ... and a notebook after that.
        assert (await exchange(caller, notebook, get(b"/nb/y", fields=FIELDS))).startswith(b"GET /y ")


async def test_a_known_head_for_another_host_is_refused(stage: Stage) -> None:
    """The host is part of what is remembered."""
    caller, notebook = await stage.get(fields=FIELDS)
    notebook.send(ok(b"x"))
    await caller.response()
    caller.send(get(fields=FIELDS).replace(HOST.encode(), b"elsewhere.test"))
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 421 ")


# -- behind a trusted proxy, whose connections have many callers

BEHIND_PROXY = {
    "client_address": {"trusted_proxies": ["127.0.0.0/8"]},
    "allowlists": {"here": ["203.0.113.0/28"]},
}


def forwarded(number: int) -> str:
    return f"Accept: */*\r\nX-Forwarded-For: 203.0.113.{number}\r\nX-Forwarded-Proto: https\r\n"


@pytest.mark.parametrize("callers", [1, 8])
async def test_what_repeats_is_prepared_once_for_each_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, callers: int
) -> None:
    """As it is where the peer speaks for itself: not once for each of 200 requests."""
    counts: Counter[str] = Counter()

    def counting(module: ModuleType, name: str) -> None:
        counted = getattr(module, name)

        def count(*args: object, **named: object) -> object:
            counts[name] += 1
            return counted(*args, **named)

        monkeypatch.setattr(module, name, count)

    for module, name in (
        (heads_module, "_translated"),
        (gateway_module, "resolve"),
        (downstream_module, "link"),
    ):
        counting(module, name)
    async with open_plane(tmp_path, **BEHIND_PROXY) as opened:
        peer = await opened.connect()
        for request in range(200):
            number = request % callers
            peer.send(opened.head(f"/{request}", extra=forwarded(number)))
            assert (await peer.response()).status == 200
            came = opened.upstream.heads[-1].decode()
            assert came.startswith(f"GET /{request} ")
            assert f"X-Forwarded-Host: {opened.authority}\r\n" in came
            assert opened.records[-1].client == f"203.0.113.{number}"
    assert counts == dict.fromkeys(counts, callers)
    assert len(counts) == 3


async def test_heads_that_differ_each_time_have_one_link_for_each_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Load balancers of AWS add an id to each request."""
    made = 0

    def counting(*args: Any, **named: Any) -> Link:
        nonlocal made
        made += 1
        return link(*args, **named)

    monkeypatch.setattr(downstream_module, "link", counting)
    async with open_plane(tmp_path, **BEHIND_PROXY) as opened:
        peer = await opened.connect()
        for number in range(20):
            body = "" if number % 2 else "Content-Length: 1\r\n"
            head = opened.head(extra=f"{forwarded(1)}X-Request-Id: {number}\r\n{body}", method="PUT")
            peer.send(head + ("x" if body else ""))
            assert (await peer.response()).status == 200
    assert made == 1


async def test_each_caller_of_a_proxys_connection_is_decided_about_by_itself(tmp_path: Path) -> None:
    async with open_plane(tmp_path, **BEHIND_PROXY) as opened:
        peer = await opened.connect()
        for _ in range(3):
            for number, status in ((1, 200), (99, 403), (2, 200)):
                peer.send(opened.head(extra=forwarded(number)))
                assert (await peer.response()).status == status
                assert opened.records[-1].client == f"203.0.113.{number}"


# -- what all connections remember together


def known(fields: int) -> KnownFields:
    headers = CIMultiDictProxy(CIMultiDict((f"X{number}", "y") for number in range(fields)))
    return KnownFields(headers, "nb", RequestFields([]), None, Way())  # type: ignore[arg-type]


def head_of(name: str) -> bytes:
    return f"GET / HTTP/1.1\r\n{name}: y\r\n\r\n".encode()


def test_what_all_connections_remember_together_is_bounded() -> None:
    """One caller may have thousands of them."""
    room = Room(100)
    first, second = KnownHeads(room), KnownHeads(room)
    for number in range(3):
        first.remember(head_of(f"A{number}"), known(30))
    second.remember(head_of("B"), known(11))
    assert (len(first), len(second), room.fields) == (3, 0, 10)
    second.remember(head_of("C"), known(10))
    assert (len(second), room.fields) == (1, 0)
    assert second.find(head_of("B")) is None
    assert second.find(head_of("C")) is not None


def test_a_connection_that_ends_or_begins_anew_makes_room_for_others() -> None:
    room = Room(100)
    heads = KnownHeads(room)
    for number in range(HEADS + 1):
        heads.remember(head_of(f"A{number}"), known(20))
    assert (len(heads), room.fields) == (HEADS, 100 - 20 * HEADS)
    assert heads.find(head_of("A0")) is None
    assert heads.find(head_of("A1")) is not None
    heads.forget()
    heads.forget()
    assert (len(heads), room.fields) == (0, 100)


@pytest.mark.parametrize("how", ["closed", "upgraded"])
async def test_a_connection_that_is_over_remembers_nothing(stage: Stage, how: str) -> None:
    room = stage.plane.known_heads
    before = room.fields
    caller, notebook = await stage.get(b"/first", fields=FIELDS)
    notebook.send(ok(b"x"))
    await caller.response()
    assert room.fields < before
    if how == "closed":
        caller.close()
        await eventually(lambda: not stage.plane.connections)
    else:
        caller.send(get(fields=UPGRADE))
        await notebook.head()
        notebook.send(SWITCHED % b"")
        await caller.head()
    assert room.fields == before
