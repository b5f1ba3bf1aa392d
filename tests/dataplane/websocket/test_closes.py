"""What a page is told when the notebook's side closes: the table, and the bytes that the page gets.

After 1000 and 1001 JupyterLab 4.6 and Notebook 7.6 never connect again, so neither may come of an end that is AWS's.
"""

from __future__ import annotations

import asyncio

import pytest

from proxy.dataplane.websocket.closes import FOR_EVER, code_for_page
from proxy.wire.frames import close_frame
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane
from tests.harness.waiting import eventually, settle
from tests.harness.websocket_peers import MASK, client_frame, close_of, server_frame, websocket

KERNEL = "/api/kernels/0c9f/channels"
JUPYTERS = [
    KERNEL,
    f"{KERNEL}?session_id=a%2Fb",
    "/terminals/websocket/1",
    "/terminals/websocket/my%20shell?x=1",
    "/api/events/subscribe",
]
OTHERS = [
    "/proxy/8501/_stcore/stream",
    "/proxy/8501/api/kernels/1/channels",
    "/api/collaboration/room/json:notebook:1",
    "/lsp/ws/pylsp",
    "/api/kernels/1/channels/more",
    "/files/x?/api/events/subscribe",
    "/",
]


@pytest.mark.parametrize("code", FOR_EVER)
class TestTheTable:
    @pytest.mark.parametrize("target", JUPYTERS)
    def test_jupyter_itself_never_says_so_and_so_nobody_does_in_its_place(
        self, code: int, target: str
    ) -> None:
        assert code_for_page(code, target=target, page_closed=False, session_is_over=lambda: False) == 1012

    @pytest.mark.parametrize("target", OTHERS)
    def test_an_application_may_mean_it(self, code: int, target: str) -> None:
        assert code_for_page(code, target=target, page_closed=False, session_is_over=lambda: False) == code

    @pytest.mark.parametrize("target", OTHERS)
    def test_but_not_once_the_session_is_over(self, code: int, target: str) -> None:
        assert code_for_page(code, target=target, page_closed=False, session_is_over=lambda: True) == 1012

    @pytest.mark.parametrize("target", JUPYTERS + OTHERS)
    def test_the_answer_to_a_pages_own_close_is_the_pages_own_code(self, code: int, target: str) -> None:
        assert code_for_page(code, target=target, page_closed=True, session_is_over=lambda: True) == code


async def test_both_codes_after_which_pages_stay_away_are_held() -> None:
    assert frozenset({1000, 1001}) == FOR_EVER


CLOSE = close_frame(1001, "Going away", mask=None)
TOLD = close_frame(1012, "Going away", mask=None)


@pytest.mark.parametrize("cut", range(len(CLOSE) + 1))
async def test_a_close_of_awss_side_reaches_the_page_as_a_restart_wherever_it_is_cut(
    stage: OpenPlane, cut: int
) -> None:
    caller, notebook = await websocket(stage)
    before = server_frame(b"last output")
    notebook.send(before + CLOSE[:cut])
    await caller.expect((before + TOLD)[: len(before) + min(cut, 3)])
    await settle()
    notebook.send(CLOSE[cut:])
    await caller.expect(TOLD[min(cut, 3) :])
    caller.send(close_frame(1012, mask=MASK))
    assert await close_of(notebook, masked=True) == 1012
    notebook.close()
    assert await caller.gone()
    await eventually(lambda: stage.records)
    record = stage.records[-1]
    assert (record.close_code, record.error) == (1012, "UPSTREAM_CLOSED_1001")
    assert record.bytes_out == len(before) + len(CLOSE)


@pytest.mark.parametrize("code", FOR_EVER)
async def test_what_was_under_way_before_such_a_close_still_arrives(stage: OpenPlane, code: int) -> None:
    caller, notebook = await websocket(stage, receive_bytes=65536)
    frames = server_frame(bytes(60_000)) * 100
    notebook.send(frames + close_frame(code, mask=None) + server_frame(b"pong", opcode=10)).close()
    assert await caller.rest() == frames + close_frame(1012, mask=None) + server_frame(b"pong", opcode=10)


async def page_begins(caller: Peer, notebook: Peer) -> None:
    caller.send(close_frame(1000, mask=MASK))
    assert await close_of(notebook, masked=True) == 1000


async def nobody_began(_caller: Peer, _notebook: Peer) -> None:
    """The notebook's side begins."""


VERBATIM = {
    "the answer to the page's own close": (page_begins, close_frame(1000, mask=None)),
    "no code": (nobody_began, b"\x88\x00"),
    "a restart": (nobody_began, close_frame(1012, "soon back", mask=None)),
    "policy": (nobody_began, close_frame(1008, mask=None)),
    "a fault": (nobody_began, close_frame(1011, mask=None)),
    "an application's own": (nobody_began, close_frame(4000, "x", mask=None)),
    "no close at all": (nobody_began, b""),
}


@pytest.mark.parametrize(("begin", "frames"), VERBATIM.values(), ids=VERBATIM)
async def test_everything_else_passes_as_it_is(stage: OpenPlane, begin, frames: bytes) -> None:
    caller, notebook = await websocket(stage)
    await begin(caller, notebook)
    notebook.send(frames).close()
    assert await caller.rest() == frames
    await eventually(lambda: stage.records)
    assert stage.records[-1].error == ("" if frames else "UPSTREAM_GONE")


@pytest.mark.parametrize("code", FOR_EVER)
@pytest.mark.parametrize("is_over", [False, True])
async def test_an_applications_close_is_its_own_while_the_session_lasts(
    stage: OpenPlane, code: int, is_over: bool
) -> None:
    caller, notebook = await websocket(stage, target=b"/proxy/8501/stream")
    if is_over:
        stage.keeper.ended.add(1)
    notebook.send(close_frame(code, "x", mask=None))
    assert await close_of(caller, masked=False) == (1012 if is_over else code)


async def test_a_session_that_was_followed_by_another_ends_its_own_websockets_alone(stage: OpenPlane) -> None:
    """Each is judged by the session of its own handshake."""
    first, first_notebook = await websocket(stage, target=b"/proxy/8501/stream")
    assert stage.keeper.session is not None
    stage.keeper.session = type(stage.keeper.session)(
        origin=stage.keeper.known.origin,
        cookies=stage.keeper.session.cookies,
        obtained_at=0.0,
        renew_at=float("inf"),
        expires_at=float("inf"),
        generation=2,
    )
    second, second_notebook = await websocket(stage, target=b"/proxy/8501/stream")
    stage.keeper.ended.add(1)
    first_notebook.send(close_frame(1000, mask=None))
    second_notebook.send(close_frame(1000, mask=None))
    assert await close_of(first, masked=False) == 1012
    assert await close_of(second, masked=False) == 1000


async def test_a_data_frame_behind_such_a_close_does_not_pass(stage: OpenPlane) -> None:
    caller, notebook = await websocket(stage)
    notebook.send(CLOSE + server_frame(b"pong", opcode=10) + server_frame(b"more"))
    await caller.expect(TOLD + server_frame(b"pong", opcode=10))
    assert await close_of(notebook, masked=True) == 1002


@pytest.mark.parametrize("cut", range(1, len(CLOSE)))
async def test_a_close_that_is_half_through_when_the_gateway_drains_is_a_restart_too(
    stage: OpenPlane, cut: int
) -> None:
    caller, notebook = await websocket(stage)
    notebook.send(CLOSE[:cut])
    await caller.expect(TOLD[: min(cut, 3)])
    draining = asyncio.ensure_future(stage.plane.drain(30.0))
    await settle()
    await stage.clock.advance(15.0)
    assert await close_of(notebook, masked=True) == 1012
    notebook.send(CLOSE[cut:])
    assert (await caller.exactly(len(CLOSE) - min(cut, 3))) == TOLD[min(cut, 3) :]
    caller.send(client_frame(b"unheard") + close_frame(1012, mask=MASK)).close()
    notebook.close()
    await eventually(lambda: not stage.plane.open.relays)
    await stage.clock.advance(0.1)
    await draining
