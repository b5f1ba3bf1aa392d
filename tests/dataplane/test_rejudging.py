"""What is open when another gateway takes over: judged again, ended if it is no longer admitted, else untouched.

The transcripts are of one connection each; many at once, with a file that changes, are `tests/server/test_reload.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Refusal
from proxy.config.load import load
from proxy.dataplane import register as register_module
from proxy.dataplane.plane import Current
from proxy.server import compose
from proxy.wire.frames import POLICY_VIOLATION, close_frame
from tests.harness.keeper import Keeper
from tests.harness.notebook import OK, switching
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, open_plane

DENY: dict[str, Any] = {"policy": {"allow": ["elsewhere"]}}
PING = b"\x89\x00"
HELLO = b"\x82\x05hello"
MASKED_HELLO = b"\x82\x85\0\0\0\0hello"


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path, by_hand=True) as opened:
        yield opened


def change(directory: Path, opened: OpenPlane, keeper: Keeper | None = None, **changes: Any) -> Any:
    """What begins to serve the configuration of `opened`, changed; await it until all was judged."""
    file = directory / "nbgate.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))
    settings = load(file, environ={})

    def audit(_inbound: Inbound, refusal: Refusal) -> None:
        opened.refusals.append(refusal)

    return opened.plane.adopt(
        Current(
            gateway=compose.gateway(settings, audit=audit),
            keepers=dict.fromkeys(settings.instances, keeper or opened.keeper),
            limits=settings.limits,
            timeouts=settings.timeouts,
        )
    )


async def rest_of(judging: Any) -> None:
    """What is left of a judging that was begun by hand."""
    for turn in judging.__await__():
        assert turn is None
        await asyncio.sleep(0)


async def websocket(opened: OpenPlane) -> tuple[Peer, Peer]:
    """A WebSocket that is open from end to end."""
    caller = await opened.call()
    caller.send(opened.upgrade())
    notebook = await opened.upstream.accept()
    notebook.send(switching(await notebook.head()))
    assert b" 101 " in await caller.head()
    return caller, notebook


async def exchange(opened: OpenPlane) -> tuple[Peer, Peer]:
    """A caller whose request the notebook has read."""
    caller = await opened.call()
    caller.send(opened.head())
    notebook = await opened.upstream.accept()
    await notebook.head()
    return caller, notebook


async def closed_with_1008(caller: Peer) -> None:
    head = await caller.exactly(2)
    assert head[0] == 0x88
    payload = await caller.exactly(head[1])
    assert int.from_bytes(payload[:2], "big") == POLICY_VIOLATION


# -- WebSockets ---------------------------------------------------------------------------------------


async def test_a_websocket_whose_caller_is_let_in_no_longer_is_closed_with_1008(
    tmp_path: Path, opened: OpenPlane
) -> None:
    caller, notebook = await websocket(opened)
    await change(tmp_path, opened, **DENY)
    notebook.send(HELLO)
    caller.send(MASKED_HELLO)
    await closed_with_1008(caller)
    assert (await notebook.exactly(2))[0] == 0x88
    caller.close()
    notebook.close()
    await opened.settled(lambda: not opened.plane.open.relays)
    record = opened.records[-1]
    assert (record.close_code, record.error) == (POLICY_VIOLATION, "ACCESS_DENIED")
    assert opened.plane.open.withdrawn["websockets"] == 1
    [refusal] = opened.refusals
    assert refusal.instance == "research"


async def test_a_websocket_whose_caller_stays_let_in_notices_nothing(
    tmp_path: Path, opened: OpenPlane
) -> None:
    caller, notebook = await websocket(opened)
    await change(tmp_path, opened, allowlists={"here": ["127.0.0.1"], "elsewhere": ["203.0.113.0/24"]})
    notebook.send(HELLO)
    assert await caller.exactly(7) == HELLO
    caller.send(MASKED_HELLO)
    assert await notebook.exactly(11) == MASKED_HELLO
    assert not opened.refusals


async def test_a_frame_under_way_ends_and_none_follows(tmp_path: Path, opened: OpenPlane) -> None:
    """RFC 6455 knows no close inside a frame: what the caller has half of, it gets the rest of."""
    caller, notebook = await websocket(opened)
    notebook.send(HELLO[:4])
    assert await caller.exactly(4) == HELLO[:4]
    await change(tmp_path, opened, **DENY)
    notebook.send(HELLO[4:] + HELLO)
    assert await caller.exactly(3) == HELLO[4:]
    await closed_with_1008(caller)


@pytest.mark.parametrize("sender", ["caller", "notebook"])
async def test_a_frame_that_comes_before_its_websocket_was_judged_does_not_pass(
    tmp_path: Path, opened: OpenPlane, monkeypatch: pytest.MonkeyPatch, sender: str
) -> None:
    """Many are judged by and by; whose frame comes first is judged by that frame."""
    monkeypatch.setattr(register_module, "JUDGED_AT_ONCE", 1)
    caller, notebook = await websocket(opened)
    await opened.call()
    await opened.settled(lambda: len(opened.connections) == 1)
    judging = change(tmp_path, opened, **DENY)
    # As far as the exchange goes without the loop: the one connection is looked at, its WebSocket is not yet.
    judging.send(None)
    [relay] = opened.plane.open.relays
    assert relay.closing is None
    if sender == "caller":
        relay.caller.data_received(MASKED_HELLO)
    else:
        relay.notebook.data_received(HELLO)
    assert relay.closing is not None
    judging.close()
    await closed_with_1008(caller)
    assert (await notebook.exactly(2))[0] == 0x88


async def test_a_handshake_that_is_answered_after_the_change_is_judged_by_it(
    tmp_path: Path, opened: OpenPlane
) -> None:
    caller = await opened.call()
    caller.send(opened.upgrade())
    notebook = await opened.upstream.accept()
    head = await notebook.head()
    await change(tmp_path, opened, **DENY)
    notebook.send(switching(head) + HELLO)
    assert (await caller.response()).status == 403


async def test_a_101_that_outruns_its_judging_opens_nothing(
    tmp_path: Path, opened: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_module, "JUDGED_AT_ONCE", 1)
    callers = []
    notebooks = []
    for _ in range(2):
        caller = await opened.call()
        caller.send(opened.upgrade())
        callers.append(caller)
        notebooks.append(await opened.upstream.accept())
    heads = [await notebook.head() for notebook in notebooks]
    judging = change(tmp_path, opened, **DENY)
    judging.send(None)
    [behind] = [one for one in opened.connections if not one.is_idle]
    behind.request.answerer.connection.data_received(switching(heads[0]) + HELLO)
    judging.close()
    answers = {bytes(await caller.head()).split(b" ")[1]: caller for caller in callers}
    assert set(answers) == {b"403", b"101"}
    await closed_with_1008(answers[b"101"])


# -- requests -----------------------------------------------------------------------------------------


async def test_a_request_that_waits_for_its_answer_is_refused_and_the_notebook_dropped(
    tmp_path: Path, opened: OpenPlane
) -> None:
    caller, notebook = await exchange(opened)
    await change(tmp_path, opened, **DENY)
    answer = await caller.response()
    assert answer.status == 403
    assert answer.value("connection") == "close"
    assert await caller.rest() == b""
    assert await notebook.rest() == b""
    assert opened.plane.open.withdrawn["requests"] == 1
    assert opened.records[-1].allowed is False


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_an_answer_under_way_is_cut_and_does_not_look_complete(
    tmp_path: Path, opened: OpenPlane, framing: bytes
) -> None:
    caller, notebook = await exchange(opened)
    notebook.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % framing)
    notebook.send(b"2\r\nab\r\n" if b"chunked" in framing else b"ab")
    await caller.until(b"ab")
    await change(tmp_path, opened, **DENY)
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    assert await notebook.rest() == b""
    assert opened.records[-1].error == "RESPONSE_CUT"
    assert opened.records[-1].detail == "access was withdrawn"
    assert opened.records[-1].allowed is False


async def test_an_upload_under_way_ends_at_the_notebook_too(tmp_path: Path, opened: OpenPlane) -> None:
    caller = await opened.call()
    caller.send(opened.head(method="PUT", extra="Content-Length: 1000000\r\n") + "x" * 1000)
    notebook = await opened.upstream.accept()
    await notebook.head()
    await notebook.exactly(1000)
    await change(tmp_path, opened, **DENY)
    answer = await caller.response()
    assert answer.status == 403
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await notebook.exactly(1)


async def test_a_request_that_waits_for_a_session_is_refused(tmp_path: Path, opened: OpenPlane) -> None:
    opened.keeper.cold()
    caller = await opened.call()
    caller.send(opened.head())
    await opened.settled(lambda: bool(opened.connections) and not opened.connection.is_idle)
    await change(tmp_path, opened, **DENY)
    assert (await caller.response()).status == 403
    opened.keeper.warm()
    assert await caller.rest() == b""
    assert opened.upstream.accepted == 0


async def test_a_request_of_a_caller_who_stays_let_in_notices_nothing(
    tmp_path: Path, opened: OpenPlane
) -> None:
    caller, notebook = await exchange(opened)
    await change(tmp_path, opened, allowlists={"here": ["127.0.0.1"], "elsewhere": ["203.0.113.0/24"]})
    notebook.send(OK)
    assert (await caller.response()).status == 200
    caller.send(opened.head("/next"))
    assert (await notebook.head()).startswith(b"GET /next ")
    notebook.send(OK)
    assert (await caller.response()).status == 200


async def test_a_page_of_the_gateways_own_is_refused_as_a_notebook_would_be(tmp_path: Path) -> None:
    asked, gate = asyncio.Event(), asyncio.Event()

    async def page(request: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await gate.wait()
        return web.Response(text="late")

    mounted = {"research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}}}
    async with open_plane(tmp_path, own_pages=page, instances=mounted) as opened:
        caller = await opened.call()
        caller.send(opened.head("/"))
        await asked.wait()
        await change(tmp_path, opened, **DENY)
        assert (await caller.response()).status == 403
        assert await caller.rest() == b""


# -- connections --------------------------------------------------------------------------------------


async def test_a_connection_kept_open_is_closed(tmp_path: Path, opened: OpenPlane) -> None:
    caller, notebook = await exchange(opened)
    notebook.send(OK)
    assert (await caller.response()).status == 200
    await change(tmp_path, opened, **DENY)
    assert await caller.rest() == b""
    assert opened.plane.open.withdrawn["connections"] == 1


async def test_a_connection_that_asked_for_nothing_yet_stays(tmp_path: Path, opened: OpenPlane) -> None:
    """There is nobody to judge, and its first request meets the gateway of then."""
    caller = await opened.call()
    await opened.settled(lambda: bool(opened.connections))
    await change(tmp_path, opened, **DENY)
    caller.send(opened.head())
    assert (await caller.response()).status == 403


async def test_the_next_request_of_a_connection_is_decided_anew(tmp_path: Path, opened: OpenPlane) -> None:
    """What a connection's requests share is the old gateway's, and not believed by the new one."""
    caller, notebook = await exchange(opened)
    caller.send(opened.head("/pipelined"))
    await opened.settled(lambda: bool(opened.connection.reader.held_bytes))
    await change(tmp_path, opened, policy={"allow": ["here"], "deny": ["elsewhere"]})
    notebook.send(OK)
    assert (await caller.response()).status == 200
    await notebook.head()
    assert opened.connection.known.rules is opened.plane.current.gateway.rules


async def test_what_a_proxys_connection_repeats_is_decided_anew_too(tmp_path: Path) -> None:
    """What the same fields told of their caller counts for the gateway that found it out."""
    proxied: dict[str, Any] = {"client_address": {"trusted_proxies": ["127.0.0.0/8"]}}
    lists = {"here": ["203.0.113.1", "203.0.113.2"], "elsewhere": ["203.0.113.3"]}
    async with open_plane(tmp_path, **proxied, allowlists=lists) as opened:
        peer = await opened.call()

        async def statuses() -> list[int]:
            found = []
            for number in (1, 2, 3):
                peer.send(opened.head(extra=f"X-Forwarded-For: 203.0.113.{number}\r\n"))
                found.append((await peer.response()).status)
            return found

        assert await statuses() == await statuses() == [200, 200, 403]
        await change(tmp_path, opened, allowlists={**lists, "here": ["203.0.113.2", "203.0.113.3"]})
        assert await statuses() == await statuses() == [403, 200, 200]


# -- where an address leads ---------------------------------------------------------------------------


async def test_an_instance_that_is_gone_takes_its_websockets_along(tmp_path: Path, opened: OpenPlane) -> None:
    caller, _ = await websocket(opened)
    mounted = {"other": {"notebook": "other", "mount": {"path": "/other/"}}}
    await change(tmp_path, opened, instances=mounted)
    await closed_with_1008(caller)


async def test_an_instance_that_is_another_notebook_now_ends_what_went_to_the_old_one(
    tmp_path: Path, opened: OpenPlane
) -> None:
    caller, _ = await websocket(opened)
    waiting, _ = await exchange(opened)
    another = Keeper(replace(opened.keeper.known, generation=2))
    await change(tmp_path, opened, another)
    await closed_with_1008(caller)
    caller.abort()
    await opened.settled(lambda: not opened.plane.open.relays)
    assert "LEADS_ELSEWHERE" in {record.error for record in opened.records}
    answer = await waiting.response()
    assert answer.status == 503
    assert answer.value("retry-after") == "1"


async def test_a_connection_kept_open_stays_where_its_address_leads_to_another_notebook(
    tmp_path: Path, opened: OpenPlane
) -> None:
    """Its next request goes there; to close it might break that request, which nobody objects to."""
    caller, notebook = await exchange(opened)
    notebook.send(OK)
    assert (await caller.response()).status == 200
    another = Keeper(replace(opened.keeper.known, generation=2))
    await change(tmp_path, opened, another)
    caller.send(opened.head("/next"))
    assert (await notebook.head()).startswith(b"GET /next ")
    notebook.send(OK)
    assert (await caller.response()).status == 200
    assert opened.connection.request.keeper is another
    assert not opened.plane.open.withdrawn


async def test_a_host_name_that_is_ours_no_longer_ends_its_websockets(
    tmp_path: Path, opened: OpenPlane
) -> None:
    caller, _ = await websocket(opened)
    await change(tmp_path, opened, hostname=["localhost"])
    await closed_with_1008(caller)


async def test_whose_word_counts_for_an_address_is_judged_again(tmp_path: Path) -> None:
    """A proxy that is no longer trusted: its connections are its own, whatever it said of callers."""
    proxied = {"trusted_proxies": ["127.0.0.1"]}
    async with open_plane(tmp_path, by_hand=True, client_address=proxied, **DENY) as opened:
        caller = await opened.call()
        caller.send(opened.upgrade(extra="X-Forwarded-For: 203.0.113.9\r\n"))
        notebook = await opened.upstream.accept()
        notebook.send(switching(await notebook.head()))
        assert b" 101 " in await caller.head()
        await change(tmp_path, opened, client_address={"trusted_proxies": []})
        await closed_with_1008(caller)


# -- the rest of a configuration ----------------------------------------------------------------------


async def test_new_limits_and_timeouts_count_for_what_comes(tmp_path: Path, opened: OpenPlane) -> None:
    caller, notebook = await websocket(opened)
    await change(
        tmp_path,
        opened,
        limits={"request_head": "4KiB", "upstream_connections": 1},
        timeouts={"websocket_ping": "2s", "websocket_silence": "60s"},
    )
    large = await opened.call()
    large.send(opened.head(extra="X: " + "a" * 5000 + "\r\n"))
    assert (await large.response()).status == 431
    crowded = await opened.call()
    crowded.send(opened.head())
    assert (await crowded.response()).status == 503
    await opened.pass_time(1.0)
    await opened.pass_time(2.5)
    assert (await caller.exactly(1))[0] == PING[0]
    notebook.send(close_frame(1000, "", mask=None))


async def test_everything_open_is_judged_however_many_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_module, "JUDGED_AT_ONCE", 3)
    async with open_plane(tmp_path) as opened:
        callers = [await opened.call() for _ in range(20)]
        for number, caller in enumerate(callers):
            caller.send(opened.upgrade() if number % 2 else opened.head())
            await caller.head()
        await change(tmp_path, opened, **DENY)
        assert opened.plane.open.withdrawn == {"websockets": 10, "connections": 10}
        for number, caller in enumerate(callers):
            if number % 2:
                await closed_with_1008(caller)
            else:
                assert await caller.rest() == b"ok"


async def test_what_was_not_judged_yet_is_judged_by_the_latest(
    tmp_path: Path, opened: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One change overtakes another: nobody is closed for a version that is no longer in effect."""
    monkeypatch.setattr(register_module, "JUDGED_AT_ONCE", 1)
    pairs = [await websocket(opened) for _ in range(3)]
    overtaken = change(tmp_path, opened, **DENY)
    overtaken.send(None)
    await change(tmp_path, opened, policy={"allow": ["here"]})
    await asyncio.ensure_future(rest_of(overtaken))
    first, *rest = sorted(opened.plane.open.relays, key=lambda relay: relay.closing is None)
    assert first.closing is not None
    assert all(relay.closing is None and not relay.is_suspended for relay in rest)
    assert len(pairs) == 1 + len(rest)
