"""Two protocols joined in memory, which see what two sockets would show them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dataplane.answer.memory_pipe import HIGH_BYTES, LOW_BYTES, PipeEnd, pipe


class Side(asyncio.Protocol):
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.told.append(len(data))

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


def joined() -> tuple[PipeEnd, PipeEnd, Side, Side]:
    one, other = Side(), Side()
    near, far = pipe(one, other, facts={"visit": 7})
    return near, far, one, other


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_bytes_arrive_at_once_in_order_both_ways() -> None:
    near, far, one, other = joined()
    near.write(b"ab")
    near.writelines([b"c", memoryview(b"d"), bytearray(b"e")])
    near.write(b"")
    far.write(b"x")
    assert (other.received, one.received) == (b"abcde", b"x")
    assert (near.get_extra_info("visit"), far.get_extra_info("visit"), far.get_extra_info("socket", 1)) == (
        None,
        7,
        1,
    )
    assert (near.get_protocol(), near.can_write_eof(), near.get_write_buffer_limits()) == (
        one,
        False,
        (LOW_BYTES, HIGH_BYTES),
    )
    near.set_write_buffer_limits(1, 1)
    near.abort()
    await turns()


async def test_what_is_not_read_waits_and_its_writer_is_told_once() -> None:
    near, far, one, other = joined()
    far.pause_reading()
    far.pause_reading()
    assert (far.is_reading(), near.is_reading()) == (False, True)
    near.write(b"x" * HIGH_BYTES)
    assert one.told == ["made"]
    near.write(b"y")
    near.write(b"z")
    assert one.told == ["made", "pause"]
    assert near.get_write_buffer_size() == HIGH_BYTES + 2
    far.resume_reading()
    far.resume_reading()
    assert other.received == b""
    await turns()
    assert other.received == b"x" * HIGH_BYTES + b"yz"
    assert one.told == ["made", "pause", "resume"]
    near.abort()
    await turns()


async def test_a_reader_that_pauses_in_the_middle_gets_no_more() -> None:
    near, far, _, other = joined()
    far.pause_reading()
    near.write(b"1")
    near.write(b"2")
    received, other.data_received = other.data_received, lambda data: (received(data), far.pause_reading())  # type: ignore
    far.resume_reading()
    await turns()
    assert other.received == b"1"
    far.resume_reading()
    await turns()
    assert other.received == b"12"
    near.abort()
    await turns()


async def test_a_close_comes_behind_what_was_written_and_in_another_turn() -> None:
    near, far, one, other = joined()
    far.pause_reading()
    near.write(b"last")
    near.close()
    near.close()
    near.write(b"too late")
    far.write(b"not heard")
    await turns()
    assert (near.is_closing(), far.is_closing(), other.told, one.told) == (True, False, ["made"], ["made"])
    far.resume_reading()
    await turns()
    assert (other.told, one.told, bytes(other.received)) == (["made", 4, "lost"], ["made", "lost"], b"last")
    assert far.is_closing()
    far.write(b"gone")
    far.close()
    far.abort()


async def test_an_abort_drops_what_waits_and_is_told_in_another_turn() -> None:
    near, far, one, other = joined()
    far.pause_reading()
    near.write(b"lost")
    far.abort()
    far.abort()
    assert (one.told, other.told) == (["made"], ["made"])
    await turns()
    assert (one.told, other.told, near.get_write_buffer_size()) == (["made", "lost"], ["made", "lost"], 0)


async def test_both_may_close_although_neither_reads() -> None:
    near, far, one, other = joined()
    for end in (near, far):
        end.pause_reading()
    for end in (near, far):
        end.write(b"x")
    near.close()
    far.close()
    await turns()
    assert (one.told, other.told) == (["made", "lost"], ["made", "lost"])


@pytest.mark.parametrize("method", ["data_received", "connection_lost"])
async def test_what_fails_at_the_far_end_reaches_the_loop_and_not_the_writer(method: str) -> None:
    near, far, one, other = joined()
    met: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: met.append(context))

    def broken(_argument: object) -> None:
        raise ValueError

    setattr(other, method, broken)
    near.write(b"x")
    near.close()
    await turns(5)
    assert [type(context["exception"]) for context in met] == [ValueError]
    assert one.told == ["made", "lost"]
    assert far.is_closing()


@given(st.lists(st.one_of(st.binary(max_size=HIGH_BYTES), st.sampled_from(["pause", "resume", "turn"]))))
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_and_pauses_alternate(steps: list[Any]) -> None:
    async def run() -> None:
        near, far, one, other = joined()
        sent = bytearray()
        for step in steps:
            match step:
                case "pause":
                    far.pause_reading()
                case "resume":
                    far.resume_reading()
                case "turn":
                    await asyncio.sleep(0)
                case data:
                    sent += data
                    near.write(data)
        far.resume_reading()
        near.close()
        await turns(5)
        assert other.received == sent
        flow = [said for said in one.told if said in ("pause", "resume")]
        assert flow[::2] == ["pause"] * len(flow[::2])
        assert flow[1::2] == ["resume"] * len(flow[1::2])
        assert (one.told[-1], other.told[-1]) == ("lost", "lost")

    asyncio.run(run())


async def test_what_has_ended_is_let_go_of_at_once() -> None:
    """Whoever asked is reached from there, and is not to wait for the collector."""
    near, far, *_ = joined()
    ends = weakref.ref(near), weakref.ref(far)
    near.pause_reading()
    far.write(b"x")
    near.resume_reading()
    far.abort()
    gc.disable()
    try:
        del near, far, _
        await turns()
        assert [end() for end in ends] == [None, None]
    finally:
        gc.enable()
