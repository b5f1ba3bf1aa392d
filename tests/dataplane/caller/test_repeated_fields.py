"""Requests that repeat an earlier one's fields to the letter, over sockets: what is prepared once, and for whom."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from proxy.admission import caller as caller_module
from proxy.admission.caller import Inbound
from proxy.dataplane.caller.reader import REPEATED_HEADS, HeadFields
from proxy.dataplane.caller.request import Request
from proxy.dataplane.notebook import translation as translation_module
from proxy.dataplane.notebook.translation import translation_for
from proxy.wire import heads as heads_module
from proxy.wire.heads import Translation
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import HOST, OpenPlane, get, open_plane, open_stage
from tests.harness.waiting import eventually
from tests.harness.websocket_peers import SWITCHED, UPGRADE

FIELDS = b"Accept: */*\r\nCookie: _xsrf=a\r\n"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_stage(tmp_path) as stage:
        yield stage


async def exchange(caller: Peer, notebook: Peer, request: bytes) -> bytes:
    """Send a request, answer it, and return what the notebook read of it."""
    caller.send(request)
    head = await notebook.head()
    notebook.send(ok(b"x"))
    await caller.response()
    return head


async def test_the_same_fields_are_sent_on_alike(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded(b"/first", fields=FIELDS)
    notebook.send(ok(b"x"))
    await caller.response()
    heads = [
        await exchange(caller, notebook, get(target, fields=FIELDS, method=method))
        for target, method in [(b"/a?b=%2F", b"GET"), (b"/c", b"DELETE"), (b"/d", b"OPTIONS")]
    ]
    assert [head.split(b" HTTP")[0] for head in heads] == [b"GET /a?b=%2F", b"DELETE /c", b"OPTIONS /d"]
    fields = {head.partition(b"\r\n")[2] for head in heads}
    assert len(fields) == 1
    assert b"Cookie: _xsrf=a; FrontEnd=front-end-1\r\n" in fields.pop()
    assert [record.target for record in stage.records] == ["/first", "/a?b=%2F", "/c", "/d"]
    assert [record.method for record in stage.records] == ["GET", "GET", "DELETE", "OPTIONS"]


async def test_a_page_of_our_own_may_follow(tmp_path: Path) -> None:
    """And a notebook after that."""
    async with open_stage(tmp_path, mount={"path": "/nb/"}) as stage:
        caller, notebook = await stage.forwarded(b"/nb/x", fields=FIELDS)
        notebook.send(ok(b"x"))
        await caller.response()
        caller.send(get(b"/.nbgate/x", fields=FIELDS))
        head, _ = await caller.response()
        assert head.startswith(b"HTTP/1.1 404 ")
        assert (await exchange(caller, notebook, get(b"/nb/y", fields=FIELDS))).startswith(b"GET /y ")


async def test_a_known_head_for_another_host_is_refused(stage: OpenPlane) -> None:
    """The host is part of what is remembered."""
    caller, notebook = await stage.forwarded(fields=FIELDS)
    notebook.send(ok(b"x"))
    await caller.response()
    caller.send(get(fields=FIELDS).replace(HOST.encode(), b"elsewhere.test"))
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 421 ")


async def test_a_request_of_other_fields_waits_for_no_collector(stage: OpenPlane) -> None:
    """Whether its fields are remembered for a while or not: under load, collecting would be a tenth of the work."""
    caller, notebook = await stage.forwarded()
    notebook.send(ok(b"x"))
    await caller.response()
    gc.collect()
    gc.disable()
    try:
        for number in range(50):
            await exchange(caller, notebook, get(b"/n", fields=b"X-Number: %d\r\n" % number))
        kinds = Counter(type(one) for one in gc.get_objects())
    finally:
        gc.enable()
    assert max(kinds[Inbound], kinds[HeadFields]) <= REPEATED_HEADS + 4
    assert kinds[Request] <= 2


# -- behind a trusted proxy, whose connections have many callers

BEHIND_PROXY: dict[str, Any] = {
    "client_address": {"trusted_proxies": ["127.0.0.0/8"]},
    "allowlists": {"here": ["203.0.113.0/28"]},
}


def forwarded(number: int) -> str:
    return f"Accept: */*\r\nX-Forwarded-For: 203.0.113.{number}\r\nX-Forwarded-Proto: https\r\n"


NUMBERS = (
    "X-Amzn-Trace-Id: Root=1-67891233-{0:024x}\r\n",
    "traceparent: 00-{0:032x}-{0:016x}-01\r\nTRACESTATE: vendor={0}\r\n",
    "X-Request-ID: {0:032x}\r\nCF-Ray: {0}\r\n",
)


@pytest.mark.parametrize("callers", [1, 8])
@pytest.mark.parametrize("numbers", ["", *NUMBERS, "".join(NUMBERS)])
async def test_what_repeats_is_prepared_once_for_each_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, callers: int, numbers: str
) -> None:
    """As it is where the peer speaks for itself: not once for each of 200 requests, though a proxy numbers them."""
    counts: Counter[str] = Counter()

    def counting(module: ModuleType, name: str) -> None:
        counted = getattr(module, name)

        def count(*args: object, **named: object) -> object:
            counts[name] += 1
            return counted(*args, **named)

        monkeypatch.setattr(module, name, count)

    for module, name in (
        (heads_module, "_translated"),
        (caller_module, "resolve"),
        (translation_module, "translation_for"),
    ):
        counting(module, name)
    async with open_plane(tmp_path, **BEHIND_PROXY) as opened:
        peer = await opened.call()
        for request in range(200):
            number = request % callers
            numbered = numbers.format(request)
            peer.send(opened.head(f"/{request}", extra=numbered + forwarded(number)))
            assert (await peer.response()).status == 200
            came = opened.upstream.heads[-1].decode()
            for line in numbered.splitlines():
                assert came.count(f"\r\n{line}\r\n") == (not line.startswith("X-Request-ID"))
            told = [line.partition(": ")[2] for line in numbered.splitlines() if line[0] in "Xt"]
            assert sorted(value for _, value in opened.records[-1].incoming_ids) == sorted(told)
            assert came.startswith(f"GET /{request} ")
            assert f"X-Forwarded-Host: {opened.authority}\r\n" in came
            assert opened.records[-1].client == f"203.0.113.{number}"
    assert counts == dict.fromkeys(counts, callers)
    assert len(counts) == 3


@pytest.mark.parametrize("callers", [1, 8])
async def test_heads_that_differ_each_time_have_one_translation_for_each_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, callers: int
) -> None:
    """Load balancers of AWS add an id to each request."""
    made = 0

    def counting(*args: Any, **named: Any) -> Translation:
        nonlocal made
        made += 1
        return translation_for(*args, **named)

    monkeypatch.setattr(translation_module, "translation_for", counting)
    async with open_plane(tmp_path, **BEHIND_PROXY) as opened:
        peer = await opened.call()
        for number in range(40):
            body = "" if number % 3 else "Content-Length: 1\r\n"
            head = opened.head(
                extra=f"{forwarded(number % callers)}X-Request-Id: {number}\r\n{body}", method="PUT"
            )
            peer.send(head + ("x" if body else ""))
            assert (await peer.response()).status == 200
    assert made == callers


async def test_each_caller_of_a_proxys_connection_is_decided_about_by_itself(tmp_path: Path) -> None:
    async with open_plane(tmp_path, **BEHIND_PROXY) as opened:
        peer = await opened.call()
        for _ in range(3):
            for number, status in ((1, 200), (99, 403), (2, 200)):
                peer.send(opened.head(extra=forwarded(number)))
                assert (await peer.response()).status == status
                assert opened.records[-1].client == f"203.0.113.{number}"


@pytest.mark.parametrize("how", ["closed", "upgraded"])
async def test_a_connection_that_is_over_remembers_nothing(stage: OpenPlane, how: str) -> None:
    room = stage.plane.reading
    before = room.fields
    caller, notebook = await stage.forwarded(b"/first", fields=FIELDS)
    notebook.send(ok(b"x"))
    await caller.response()
    await exchange(caller, notebook, get(fields=FIELDS))
    assert room.fields < before
    if how == "closed":
        caller.close()
        await eventually(lambda: not stage.connections)
    else:
        caller.send(get(fields=UPGRADE))
        await notebook.head()
        notebook.send(SWITCHED % b"")
        await caller.head()
    assert room.fields == before
