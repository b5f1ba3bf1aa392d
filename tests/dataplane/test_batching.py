"""Messages sent at the end of a turn: all of them, in order, and none later than what depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.dataplane.batching import DIRECT_MESSAGES, LONELY_TURNS, TurnBatch
from proxy.dataplane.caller.writer import Writer
from tests.harness.notebook import ok
from tests.harness.plane import OpenPlane, get, open_stage


class Wire(asyncio.Transport):
    """A transport that notes what is written, by whom."""

    def __init__(self, sent: list[tuple[str, bytes]], name: str) -> None:
        super().__init__()
        self.sent = sent
        self.name = name
        self.ended = False

    def write(self, data: Any) -> None:
        self.sent.append((self.name, bytes(data)))

    def is_closing(self) -> bool:
        return self.ended


@pytest.fixture
def sent() -> list[tuple[str, bytes]]:
    return []


async def test_messages_wait_for_the_end_of_the_turn_and_go_in_their_order(sent: list[Any]) -> None:
    batch, one, other = TurnBatch(), Wire(sent, "one"), Wire(sent, "other")
    batch.add(one, b"1")
    batch.add(other, b"2")
    batch.add(one, b"3")
    assert sent == []
    await asyncio.sleep(0)
    assert sent == [("one", b"1"), ("other", b"2"), ("one", b"3")]


async def test_a_flush_sends_at_once_and_nothing_twice(sent: list[Any]) -> None:
    batch, wire = TurnBatch(), Wire(sent, "one")
    before = batch.turn
    batch.add(wire, b"1")
    assert batch.turn == before
    batch.flush()
    assert batch.turn == before + 1
    batch.add(wire, b"2")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sent == [("one", b"1"), ("one", b"2")]


async def test_what_waits_for_an_ended_connection_is_dropped(sent: list[Any]) -> None:
    batch, one, other = TurnBatch(), Wire(sent, "one"), Wire(sent, "other")
    batch.add(one, b"1")
    batch.add(other, b"2")
    one.ended = True
    batch.flush()
    assert sent == [("other", b"2")]


async def test_single_messages_soon_go_at_once_and_company_is_looked_for_again(sent: list[Any]) -> None:
    batch, wire = TurnBatch(), Wire(sent, "one")
    for _ in range(LONELY_TURNS + 1):
        batch.add(wire, b"waits")
        batch.flush()
    sent.clear()
    for number in range(DIRECT_MESSAGES):
        batch.add(wire, b"%d" % number)
        assert sent[-1] == ("one", b"%d" % number)
    batch.add(wire, b"waits again")
    assert len(sent) == DIRECT_MESSAGES
    batch.flush()
    assert sent[-1] == ("one", b"waits again")


async def test_company_in_between_keeps_messages_waiting(sent: list[Any]) -> None:
    batch, wire = TurnBatch(), Wire(sent, "one")
    for _ in range(3 * LONELY_TURNS):
        batch.add(wire, b"a")
        batch.flush()
        batch.add(wire, b"a")
        batch.add(wire, b"a")
        batch.flush()
    sent.clear()
    batch.add(wire, b"b")
    assert sent == []


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_stage(tmp_path) as stage:
        yield stage


async def test_an_answer_of_our_own_does_not_overtake_the_one_before_it(
    stage: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response ends, and the same turn brings the connection's next request, which is refused at once."""
    caller, notebook = await stage.forwarded()
    notebook.send(ok(b"x"))
    await caller.response()
    [connection] = stage.connections
    flushed: list[bytes] = []
    connection.data_received(get(b"/again"))
    await notebook.head()
    forward = connection.request.answerer
    assert forward is not None
    write, upstream = connection.writer.write, forward.connection
    monkeypatch.setattr(Writer, "write", lambda _self, data: (flushed.append(data), write(data)))
    assert upstream is not None
    # One turn of the loop: the notebook's answer, then the caller's next request.
    upstream.data_received(ok(b"second"))
    assert flushed == []
    connection.data_received(get(b"/x").replace(b"Host: notebooks.test", b"Host: elsewhere.test"))
    head, body = await caller.response()
    assert (head.startswith(b"HTTP/1.1 200 "), body) == (True, b"second")
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 421 ")


async def test_a_last_answer_is_sent_before_the_connection_ends(stage: OpenPlane) -> None:
    caller = await stage.call(get(fields=b"Connection: close\r\n"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(ok(b"bye"))
    _, body = await caller.response()
    assert body == b"bye"
    assert await caller.rest() == b""


async def test_a_message_that_cannot_be_sent_keeps_no_other_back(sent: list[Any]) -> None:
    """Its connection ends, since something of it is missing now; the fault reaches the loop."""

    class Broken(Wire):
        def write(self, data: Any) -> None:
            raise RuntimeError(self.name)

        def abort(self) -> None:
            self.ended = True

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    batch, one, broken, other = TurnBatch(), Wire(sent, "one"), Broken(sent, "broken"), Wire(sent, "other")
    batch.add(one, b"1")
    batch.add(broken, b"2")
    batch.add(other, b"3")
    batch.flush()
    assert sent == [("one", b"1"), ("other", b"3")]
    assert broken.ended
    assert [str(error) for error in told] == ["broken"]
    batch.add(one, b"4")
    await asyncio.sleep(0)
    assert sent[-1] == ("one", b"4")
