"""Work in pieces: a few in each turn of the event loop, whoever brings how many."""

from __future__ import annotations

import asyncio
from functools import partial

from proxy.dataplane.turns import A_TURN, Turns


async def test_little_work_is_done_at_once() -> None:
    turns, done = Turns(), list[int]()
    for number in range(A_TURN):
        turns.now_or_later(partial(done.append, number))
    assert done == list(range(A_TURN))
    await asyncio.sleep(0)
    turns.now_or_later(lambda: done.append(A_TURN))
    assert done == list(range(A_TURN + 1))


async def test_more_work_takes_turns_in_its_order() -> None:
    turns, done = Turns(), list[int]()
    for number in range(4 * A_TURN):
        turns.now_or_later(partial(done.append, number))
    seen = [len(done)]
    while len(done) < 4 * A_TURN:
        await asyncio.sleep(0)
        seen.append(len(done))
    assert seen == [A_TURN, 2 * A_TURN, 3 * A_TURN, 4 * A_TURN]
    assert done == list(range(4 * A_TURN))


async def test_work_that_goes_on_for_ever_leaves_a_part_of_each_turn_to_others() -> None:
    turns, done = Turns(), list[str]()

    def endless() -> None:
        done.append("endless")
        turns.later(endless)

    for _ in range(A_TURN):
        turns.later(endless)
    turns.later(lambda: done.append("other"))
    await asyncio.sleep(0)
    assert done == ["endless"] * A_TURN
    await asyncio.sleep(0)
    assert done[A_TURN:] == ["other", *["endless"] * (A_TURN - 1)]


async def test_what_waits_is_not_overtaken() -> None:
    turns, done = Turns(), list[str]()
    turns.later(lambda: done.append("first"))
    turns.now_or_later(lambda: done.append("second"))
    assert done == []
    await asyncio.sleep(0)
    assert done == ["first", "second"]


async def test_a_piece_that_fails_leaves_all_others_their_turn() -> None:
    """Else one caller's page would hold up everybody's, until somebody happens to bring more work."""
    turns, done, met = Turns(), list[int](), list[Exception]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: met.append(context["exception"]))

    def broken() -> None:
        raise RuntimeError

    turns.later(broken)
    for number in range(2 * A_TURN):
        turns.later(partial(done.append, number))
    for _ in range(4):
        await asyncio.sleep(0)
    assert done == list(range(2 * A_TURN))
    assert [type(error) for error in met] == [RuntimeError]
