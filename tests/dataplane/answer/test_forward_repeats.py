"""When a request is sent twice: a connection that had gone stale, a session that the notebook no longer honours.

Each at most once, and never for a request that may not be repeated.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.errors import InstanceNotInService
from proxy.upstream import Honoured
from tests.harness.keeper import SESSION_COOKIE, session_at
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import OpenPlane, get, open_stage, post
from tests.harness.waiting import eventually, settle

REJECTIONS = {
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: https://signin.aws.amazon.com/signin\r\nContent-Length: 0\r\n\r\n",
    "401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nsign in",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nsign in",
    "page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\nsign in",
    "401 in chunks": b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nsign in\r\n0\r\n\r\n",
    "403 until close": b"HTTP/1.1 403 No\r\n\r\nsign in",
}
SECOND_COOKIE = SESSION_COOKIE[:-1] + b"2"
LIMIT = 64 * 1024


def sign_in_again(stage: OpenPlane, *, times: int = 1) -> None:
    """Let the keeper find that many further sessions. The front end does not honour the one that there is."""
    stage.keeper.honoured_as = Honoured.NO
    for number in range(2, 2 + times):
        stage.keeper.successors.append(session_at(stage.upstream.port, number=number))


async def pooled(stage: OpenPlane) -> tuple[Peer, Peer]:
    """A caller with one answered request behind it, and the connection to the notebook that it left idle."""
    caller, notebook = await stage.forwarded(b"/first")
    notebook.send(ok(b"1"))
    await caller.response()
    await eventually(lambda: stage.idle == 1)
    return caller, notebook


# -- stale connections ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
async def test_a_connection_that_had_gone_stale_is_replaced_once(
    stage: OpenPlane, method: bytes, way: str
) -> None:
    caller, stale = await pooled(stage)
    caller.send(get(b"/again", method=method))
    await stale.head()
    getattr(stale, way)()
    notebook = await stage.notebook()
    assert (await notebook.head()).startswith(method + b" /again ")
    notebook.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert await caller.head() == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert stage.upstream.accepted == 2


async def test_it_is_replaced_by_a_new_connection_and_not_by_another_that_may_be_stale(
    stage: OpenPlane,
) -> None:
    caller, first = await pooled(stage)
    another_caller = await stage.call(get())
    await first.head()
    caller.send(get())
    second = await stage.notebook()
    await second.head()
    second.send(ok())
    await caller.response()
    first.send(ok())
    await another_caller.response()
    await eventually(lambda: stage.idle == 2)
    caller.send(get(b"/again"))
    await first.head()
    first.close()
    fresh = await stage.notebook()
    assert (await fresh.head()).startswith(b"GET /again ")
    assert second.is_silent


async def test_a_request_is_never_sent_a_third_time(stage: OpenPlane) -> None:
    caller, stale = await pooled(stage)
    caller.send(get(b"/again"))
    await stale.head()
    stale.close()
    notebook = await stage.notebook()
    await notebook.head()
    notebook.close()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")
    assert stage.upstream.accepted == 2


async def test_a_new_connection_that_breaks_is_not_replaced(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.close()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")
    assert stage.upstream.accepted == 1


async def test_a_request_that_may_not_be_repeated_is_not(stage: OpenPlane) -> None:
    caller, stale = await pooled(stage)
    caller.send(post(b"hello"))
    await stale.head()
    stale.close()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 504 ")
    assert stage.upstream.accepted == 1


async def test_a_response_that_has_begun_is_not_repeated(stage: OpenPlane) -> None:
    caller, stale = await pooled(stage)
    caller.send(get())
    await stale.head()
    stale.send(b"HTTP/1.1 2")
    await stale.drain()
    await eventually(lambda: stage.records)
    stale.close()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")
    assert stage.upstream.accepted == 1


async def test_a_put_whose_body_was_kept_is_repeated_whole(stage: OpenPlane) -> None:
    caller, stale = await pooled(stage)
    caller.send(get(method=b"PUT", fields=b"Content-Length: 10\r\n") + b"hello")
    await stale.head()
    await stale.expect(b"hello")
    stale.close()
    notebook = await stage.notebook()
    assert b"Content-Length: 10\r\n" in await notebook.head()
    await notebook.expect(b"hello")
    caller.send(b"world")
    await notebook.expect(b"world")
    notebook.send(ok(b"done"))
    assert (await caller.response())[1] == b"done"


async def test_a_put_whose_body_was_too_long_to_keep_is_not_repeated(stage: OpenPlane) -> None:
    caller, stale = await pooled(stage)
    body = bytes(LIMIT + 1)
    caller.send(post(body, method=b"PUT"))
    await stale.head()
    await stale.exactly(len(body))
    stale.close()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 504 ")
    assert stage.upstream.accepted == 1


async def test_a_connection_that_the_notebook_closed_in_the_pool_is_never_taken(stage: OpenPlane) -> None:
    caller, stale = await pooled(stage)
    stale.close()
    await eventually(lambda: stage.idle == 0)
    caller.send(post(b"hello"))
    notebook = await stage.notebook()
    await notebook.head()
    await notebook.expect(b"hello")


# -- rejected sessions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rejection", REJECTIONS.values(), ids=REJECTIONS.keys())
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
async def test_a_rejected_session_is_replaced_and_the_caller_sees_nothing_of_it(
    stage: OpenPlane, rejection: bytes, method: bytes
) -> None:
    sign_in_again(stage)
    caller = await stage.call(get(b"/api/status", method=method))
    notebook = await stage.notebook()
    assert SESSION_COOKIE in await notebook.head()
    notebook.send(rejection.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == b"HEAD" else rejection)
    another = await stage.notebook()
    assert SECOND_COOKIE in await another.head()
    assert await notebook.gone()
    another.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert await caller.head() == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert stage.keeper.rejected == 1
    assert caller.is_silent


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"LOCK", b"GET"])
async def test_who_is_sent_to_sign_in_was_not_heard_and_is_repeated_whatever_it_asks(
    stage: OpenPlane, method: bytes
) -> None:
    """The front end passes nothing on of a request that it redirects."""
    sign_in_again(stage)
    caller = await stage.call(get(b"/api/contents/a", method=method))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(REJECTIONS["redirect"])
    another = await stage.notebook()
    assert SECOND_COOKIE in await another.head()
    another.send(ok(b"done"))
    assert (await caller.response())[1] == b"done"


@pytest.mark.parametrize("rejection", [name for name in REJECTIONS if name != "redirect"])
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"LOCK"])
async def test_an_unsafe_request_that_may_have_been_acted_on_is_not_repeated(
    stage: OpenPlane, method: bytes, rejection: str
) -> None:
    """An application's refusal may be of something that it did: a wrong password that it counted."""
    sign_in_again(stage)
    caller = await stage.call(get(b"/api/contents/a", method=method))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(REJECTIONS[rejection])
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in head
    assert stage.upstream.accepted == 1
    assert stage.keeper.rejected == 1


async def test_a_kept_body_is_repeated(stage: OpenPlane) -> None:
    sign_in_again(stage)
    body = bytes(range(256)) * (LIMIT // 256)
    caller = await stage.call(post(body))
    notebook = await stage.notebook()
    await notebook.head()
    assert await notebook.exactly(len(body)) == body
    notebook.send(REJECTIONS["redirect"])
    another = await stage.notebook()
    await another.head()
    assert await another.exactly(len(body)) == body
    another.send(ok(b"done"))
    assert (await caller.response())[1] == b"done"


@pytest.mark.parametrize("framing", [b"Content-Length: 11\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_is_repeated_also_when_some_of_it_comes_after_the_rejection(
    stage: OpenPlane, framing: bytes
) -> None:
    sign_in_again(stage)
    first, second, third = (
        (b"hello", b" wo", b"rld")
        if framing.startswith(b"Content")
        else (b"5\r\nhello\r\n", b"3\r\n wo\r\n", b"3\r\nrld\r\n0\r\n\r\n")
    )
    stage.keeper.gate.clear()
    caller = await stage.call(get(method=b"POST", fields=framing) + first)
    notebook = await stage.notebook()
    await notebook.head()
    await notebook.expect(first)
    notebook.send(REJECTIONS["redirect"])
    assert await notebook.gone()
    caller.send(second)
    stage.keeper.gate.set()
    another = await stage.notebook()
    assert framing in await another.head()
    await another.expect(first + second)
    caller.send(third)
    await another.expect(third)
    another.send(ok(b"done"))
    assert (await caller.response())[1] == b"done"


async def test_a_body_that_outgrows_the_limit_after_the_rejection_still_arrives_whole(
    stage: OpenPlane,
) -> None:
    """What was sent before is kept, and what comes later need not be."""
    sign_in_again(stage)
    stage.keeper.gate.clear()
    size = 3 * LIMIT
    body = bytes(range(256)) * (size // 256)
    caller = await stage.call(get(method=b"POST", fields=b"Content-Length: %d\r\n" % size) + body[:1000])
    notebook = await stage.notebook()
    await notebook.head()
    await notebook.exactly(1000)
    notebook.send(REJECTIONS["redirect"])
    assert await notebook.gone()
    caller.send(body[1000:])
    stage.keeper.gate.set()
    another = await stage.notebook()
    await another.head()
    assert await another.exactly(size) == body


@pytest.mark.parametrize("caller_first", [True, False])
async def test_tiny_chunks_on_their_way_when_the_session_is_rejected_arrive_whole(
    stage: OpenPlane, caller_first: bool
) -> None:
    """The gateway takes them in turns of the loop; none of these turns may run while there is no notebook."""
    sign_in_again(stage)
    stage.keeper.gate.clear()
    chunks = b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n"
    caller = await stage.call(get(method=b"POST", fields=b"Transfer-Encoding: chunked\r\n"))
    notebook = await stage.notebook()
    await notebook.head()
    [downstream] = stage.connections
    if caller_first:
        # What one turn of the loop brings: tiny chunks, then the rejection.
        downstream.data_received(chunks[: 6 * 5000])
        downstream.request.answerer.connection.data_received(REJECTIONS["redirect"])
    else:
        notebook.send(REJECTIONS["redirect"])
        await eventually(lambda: stage.keeper.rejected == 1)
        downstream.data_received(chunks[: 6 * 5000])
    downstream.data_received(chunks[6 * 5000 :])
    await settle()
    stage.keeper.gate.set()
    another = await stage.notebook()
    await another.head()
    assert await another.exactly(len(chunks)) == chunks
    another.send(ok(b"done"))
    assert (await caller.response())[1] == b"done"


async def test_a_notebook_that_was_full_says_nothing_of_the_one_that_the_body_is_repeated_to(
    tmp_path: Path,
) -> None:
    """Otherwise the caller's own pause would be held against the new one."""
    async with open_stage(tmp_path, timeouts={"request_body": 600}) as stage:
        sign_in_again(stage)
        caller = await stage.call(get(method=b"POST", fields=b"Content-Length: 4\r\n") + b"ab")
        notebook = await stage.notebook()
        await notebook.head()
        await notebook.expect(b"ab")
        [downstream] = stage.connections
        first = downstream.request.answerer.connection
        first.pause_writing()
        first.data_received(REJECTIONS["redirect"])
        another = await stage.notebook()
        await another.head()
        await another.expect(b"ab")
        await stage.sweep(200.0)
        caller.send(b"cd")
        await another.expect(b"cd")
        another.send(ok(b"done"))
        assert (await caller.response())[1] == b"done"


async def test_a_body_too_long_to_be_kept_is_answered_503_and_never_sent_by_half(stage: OpenPlane) -> None:
    sign_in_again(stage)
    caller = await stage.call(get(method=b"POST", fields=b"Content-Length: 200000\r\n") + bytes(150_000))
    notebook = await stage.notebook()
    await notebook.head()
    await notebook.exactly(150_000)
    notebook.send(REJECTIONS["redirect"])
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in head
    assert b"Connection: close\r\n" in head
    assert await notebook.gone()
    assert stage.upstream.accepted == 1
    assert stage.keeper.rejected == 1


async def test_a_request_is_repeated_for_its_session_only_once(stage: OpenPlane) -> None:
    sign_in_again(stage, times=2)
    caller, notebook = await stage.forwarded()
    notebook.send(REJECTIONS["redirect"])
    another = await stage.notebook()
    await another.head()
    another.send(REJECTIONS["redirect"])
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5\r\n" in head
    assert b"signin" not in head + body
    assert stage.upstream.accepted == 2


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden"])
async def test_a_refusal_that_signing_in_again_did_not_help_is_the_notebooks_own(
    stage: OpenPlane, status: bytes
) -> None:
    """What runs beside Jupyter on the instance has refusals of its own, which look like the front end's."""
    sign_in_again(stage)
    caller, notebook = await stage.forwarded(b"/proxy/8000/")
    answer = b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nno" % status
    notebook.send(answer)
    another = await stage.notebook()
    await another.head()
    another.send(answer)
    assert await caller.response() == (b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\n" % status, b"no")


# -- an answer that only looks like it -------------------------------------------------------------------------

LOOK_ALIKES = {
    "401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nmine",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nmine",
    "401 in chunks": b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmine\r\n0\r\n\r\n",
    "403 until close": b"HTTP/1.1 403 No\r\n\r\nmine",
    "redirect to AWS": (
        b"HTTP/1.1 302 Found\r\nLocation: https://console.aws.amazon.com/s3\r\nContent-Length: 4\r\n\r\nmine"
    ),
}


@pytest.mark.parametrize("answer", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"DELETE"])
async def test_an_applications_own_answer_passes_and_costs_nobody_the_session(
    stage: OpenPlane, method: bytes, answer: bytes
) -> None:
    sign_in_again(stage)
    stage.keeper.honoured_as = Honoured.YES
    caller = await stage.call(get(b"/proxy/8000/login", method=method))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(answer)
    if b"\r\nContent-Length" not in answer and b"chunked" not in answer:
        notebook.close()
    head = await caller.head()
    assert head.split(b" ", 2)[1] == answer.split(b" ", 2)[1]
    body = {True: b"4\r\nmine\r\n0\r\n\r\n", False: b"mine"}[b"chunked" in head]
    await caller.expect(body)
    assert (stage.keeper.asked, stage.keeper.rejected, stage.upstream.accepted) == (1, 0, 1)
    assert [(record.status, record.error) for record in stage.records] == [(int(head.split(b" ", 2)[1]), "")]
    if b"\r\nContent-Length" in answer:
        # Both connections are as good as after any other answer.
        caller.send(get(b"/proxy/8000/again"))
        assert (await notebook.head()).startswith(b"GET /proxy/8000/again ")


@pytest.mark.parametrize("size", [0, 1, 100_000, 40_000_000])
async def test_what_comes_behind_the_head_while_it_is_asked_waits_and_arrives_whole(
    stage: OpenPlane, size: int
) -> None:
    """And no more of it is read than came with the head: the rest stays with the notebook, and in the kernel."""
    stage.keeper.honoured_as = Honoured.YES
    stage.keeper.asking.clear()
    body = bytes(size)
    caller, notebook = await stage.forwarded(b"/proxy/8000/")
    notebook.send(b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n" % size + body[:10])
    await eventually(lambda: stage.keeper.asked == 1)
    notebook.send(body[10:])
    await settle()
    assert caller.is_silent
    assert notebook.unsent_bytes >= size // 2 - 100_000
    stage.keeper.asking.set()
    assert (await caller.head()).startswith(b"HTTP/1.1 401 No\r\n")
    assert await caller.exactly(size) == body


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_notebook_that_goes_while_it_is_asked_is_told_as_ever(stage: OpenPlane, how: str) -> None:
    """A body that the end ends is whole after a proper end, and cut after any other."""
    stage.keeper.honoured_as = Honoured.YES
    stage.keeper.asking.clear()
    caller, notebook = await stage.forwarded(b"/proxy/8000/")
    notebook.send(b"HTTP/1.1 403 No\r\nContent-Length: 8\r\n\r\nhalf")
    await eventually(lambda: stage.keeper.asked == 1)
    getattr(notebook, how)()
    await settle()
    stage.keeper.asking.set()
    assert (await caller.head()).startswith(b"HTTP/1.1 403 No\r\n")
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    assert [(record.status, record.error) for record in stage.records] == [(403, "RESPONSE_CUT")]
    await eventually(lambda: stage.open == 0)


async def test_a_caller_that_goes_while_it_is_asked_takes_its_request_along(stage: OpenPlane) -> None:
    stage.keeper.asking.clear()
    caller, notebook = await stage.forwarded(b"/proxy/8000/")
    notebook.send(LOOK_ALIKES["401"])
    await eventually(lambda: stage.keeper.asked == 1)
    caller.reset()
    assert await notebook.gone()
    stage.keeper.asking.set()
    await settle()
    assert (stage.keeper.rejected, stage.open) == (0, 0)


async def test_an_answer_for_which_nobody_can_say_has_the_patience_of_any_other(stage: OpenPlane) -> None:
    stage.keeper.asking.clear()
    caller, notebook = await stage.forwarded(b"/proxy/8000/")
    notebook.send(LOOK_ALIKES["401"])
    await eventually(lambda: stage.keeper.asked == 1)
    await stage.sweep(stage.plane.current.timeouts.response_head_seconds)
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")
    assert await notebook.gone()
    stage.keeper.asking.set()
    await settle()
    assert stage.keeper.rejected == 0


async def test_an_upload_goes_on_while_it_is_asked(stage: OpenPlane) -> None:
    """The notebook answered before the end of the body, as it may; and takes no more for a while."""
    stage.keeper.honoured_as = Honoured.YES
    stage.keeper.asking.clear()
    size = 3_000_000
    body = bytes(range(250)) * (size // 250)
    caller = await stage.call(
        get(b"/proxy/8000/up", method=b"POST", fields=b"Content-Length: %d\r\n" % size) + body[:1000]
    )
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
    await eventually(lambda: stage.keeper.asked == 1)
    caller.send(body[1000:])
    assert await notebook.exactly(size) == body
    stage.keeper.asking.set()
    assert (await caller.response())[1] == b"no"
    assert stage.upstream.accepted == 1


UNTOLD = [
    (b"/proxy/8000/", "401", 401),
    (b"/proxy/8000/", "403", 403),
    (b"/api/contents", "401", 503),
    (b"/api/contents", "page", 503),
    (b"/lab", "redirect", 503),
    (b"/proxy/8000/", "redirect", 503),
]


@pytest.mark.parametrize(("target", "rejection", "status"), UNTOLD)
async def test_where_nobody_can_say_no_session_is_dropped_and_no_page_of_awss_passes(
    stage: OpenPlane, target: bytes, rejection: str, status: int
) -> None:
    sign_in_again(stage)
    stage.keeper.honoured_as = Honoured.UNTOLD
    caller, notebook = await stage.forwarded(target)
    notebook.send(REJECTIONS[rejection])
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (b"Retry-After: 5\r\n" in head) is (status == 503)
    assert (body == b"sign in") is (status != 503)
    assert b"Location" not in head
    assert (stage.keeper.rejected, stage.upstream.accepted) == (0, 1)


async def test_a_redirect_to_sign_in_that_is_not_an_applications_never_passes(stage: OpenPlane) -> None:
    stage.keeper.honoured_as = Honoured.YES
    caller, notebook = await stage.forwarded(b"/lab")
    notebook.send(REJECTIONS["redirect"])
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Location" not in head
    assert stage.keeper.rejected == 0


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden"])
async def test_jupyters_own_refusal_passes_at_once(stage: OpenPlane, status: bytes) -> None:
    sign_in_again(stage)
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 %b\r\nServer: TornadoServer/6.5\r\nContent-Length: 2\r\n\r\nno" % status)
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 " + status)
    assert body == b"no"
    assert (stage.keeper.rejected, stage.keeper.asked) == (0, 0)


async def test_a_redirect_of_an_applications_own_passes(stage: OpenPlane) -> None:
    sign_in_again(stage)
    caller, notebook = await stage.forwarded(b"/files/a")
    notebook.send(b"HTTP/1.1 302 Found\r\nLocation: https://login.example.org/\r\nContent-Length: 0\r\n\r\n")
    assert b"Location: https://login.example.org/\r\n" in await caller.head()
    assert stage.keeper.rejected == 0


async def test_a_sign_in_that_fails_is_told_in_the_gateways_words(stage: OpenPlane) -> None:
    sign_in_again(stage)
    stage.keeper.failure = InstanceNotInService(instance_status="Stopped", retry_after_seconds=9)
    caller, notebook = await stage.forwarded()
    notebook.send(REJECTIONS["401"])
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 9\r\n" in head


async def test_a_fault_of_the_gateways_own_while_it_signs_in_is_a_500_and_not_a_silence(
    stage: OpenPlane,
) -> None:
    stage.keeper.session = None  # and no successor: the stand-in fails with an IndexError
    caller = await stage.call(get())
    assert (await caller.response())[0].startswith(b"HTTP/1.1 500 ")
    assert [type(error) for error in stage.faults] == [IndexError]
    stage.faults.clear()


async def test_an_upgrade_is_repeated_with_a_new_session_too(stage: OpenPlane) -> None:
    sign_in_again(stage)
    caller = await stage.call(
        get(
            fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
    )
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(REJECTIONS["redirect"])
    another = await stage.notebook()
    assert b"Upgrade: websocket\r\n" in await another.head()
    another.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await caller.head()).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")


async def test_100_continue_is_said_once_although_the_request_is_repeated(stage: OpenPlane) -> None:
    sign_in_again(stage)
    caller = await stage.call(get(method=b"PUT", fields=b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert await caller.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    caller.send(b"hello")
    await notebook.expect(b"hello")
    notebook.send(REJECTIONS["redirect"])
    another = await stage.notebook()
    await another.head()
    await another.expect(b"hello")
    another.send(b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"done"))
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"done"


# -- cookies ---------------------------------------------------------------------------------------------------


async def test_cookies_of_the_session_and_of_the_caller_never_cross(stage: OpenPlane) -> None:
    caller = await stage.call(
        get(fields=b"Cookie: _xsrf=a; FrontEnd=stolen; u=b\r\nCookie: FrontEnd=more\r\n")
    )
    notebook = await stage.notebook()
    cookies = [line for line in (await notebook.head()).split(b"\r\n") if line.lower().startswith(b"cookie")]
    assert cookies == [b"Cookie: _xsrf=a; u=b; " + SESSION_COOKIE]
    notebook.send(
        ok(
            fields=b"Set-Cookie: FrontEnd=renewed; Path=/; HttpOnly\r\n"
            b"Set-Cookie: _xsrf=c; Path=/; Domain=.sagemaker.aws\r\n"
        )
    )
    head = await caller.head()
    assert b"FrontEnd" not in head
    assert b"Set-Cookie: _xsrf=c; Path=/\r\n" in head
    assert stage.keeper.absorbed == [
        b"FrontEnd=renewed; Path=/; HttpOnly",
        b"_xsrf=c; Path=/; Domain=.sagemaker.aws",
    ]


@pytest.mark.parametrize(
    "target", [b"/?authToken=of-theirs", b"/lab?view=lab&authToken=of-theirs", b"/?auth%54oken=of-theirs"]
)
async def test_what_a_callers_own_link_buys_is_not_taken_for_the_session(
    stage: OpenPlane, target: bytes
) -> None:
    """A presigned URL that a caller brings along must not change who everybody else is at the notebook."""
    caller = await stage.call(get(target))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(ok(fields=b"Set-Cookie: FrontEnd=of-theirs; Path=/\r\n"))
    assert b"FrontEnd" not in await caller.head()
    assert stage.keeper.absorbed == []


async def test_a_smaller_limit_counts(tmp_path) -> None:
    async with open_stage(tmp_path, limits={"replay_body": "1KiB"}) as stage:
        sign_in_again(stage)
        caller = await stage.call(post(bytes(1025)))
        notebook = await stage.notebook()
        await notebook.head()
        await notebook.exactly(1025)
        notebook.send(REJECTIONS["redirect"])
        assert (await caller.response())[0].startswith(b"HTTP/1.1 503 ")
