"""Pages under a path mount: rewritten as they stream by, whatever their size; everything else passes as it came."""

from __future__ import annotations

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.rules import Rules
from proxy.client_address.resolve import TrustedProxies
from proxy.dataplane.answer.rewriting import PageRewrite
from proxy.dataplane.turns import A_TURN
from proxy.gateway import Gateway
from proxy.policy.judge import Judge
from proxy.policy.statements import Policy
from proxy.routing.links import STEPS_A_FEED
from proxy.routing.mounts import Mount
from proxy.routing.pages import rewriter
from proxy.routing.router import Router
from proxy.wire.heads import read_response
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import HOST, OpenPlane, get, open_stage
from tests.harness.waiting import eventually, settle
from tests.routing.streaming import cut, rewritten

PAGE = b'<html><script src="/static/a.js"></script><a href="/lab">lab</a></html>'
REWRITTEN = b'<html><script src="/research/static/a.js"></script><a href="/research/lab">lab</a></html>'
HTML = b"Content-Type: text/html; charset=UTF-8\r\n"
BROWSER = b"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, br\r\n"
ORIGIN = f"http://{HOST}".encode()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    """An instance mounted at /research/."""
    async with open_stage(tmp_path, mount={"path": "/research/"}) as opened:
        yield opened


async def page(
    stage: OpenPlane, target: bytes = b"/research/lab", *, fields: bytes = BROWSER
) -> tuple[Peer, Peer]:
    return await stage.forwarded(target, fields=fields)


async def test_the_prefix_is_the_gateways_and_not_the_notebooks(stage: OpenPlane) -> None:
    caller = await stage.call(get(b"/research/files/a%2Fb?x=/research/", fields=BROWSER))
    notebook = await stage.notebook()
    head = await notebook.head()
    assert head.startswith(b"GET /files/a%2Fb?x=/research/ HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in head
    assert b"gzip" not in head
    notebook.send(ok(b"x"))
    await caller.response()


CHUNKED = b"HTTP/1.1 200 OK\r\n" + HTML + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS = pytest.mark.parametrize(
    "answer",
    [
        ok(PAGE, fields=HTML),
        CHUNKED
        + b"%x;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (20, PAGE[:20], len(PAGE) - 20, PAGE[20:]),
    ],
    ids=["length", "chunked"],
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def dechunked(peer: Peer) -> bytes:
    body = b""
    while size := int((await peer.line()), 16):
        body += await peer.exactly(size)
        await peer.expect(b"\r\n")
    await peer.expect(b"\r\n")
    return body


async def streamed(peer: Peer) -> bytes:
    """The body of a response whose length was not known when it began."""
    head = await peer.head()
    assert b"Transfer-Encoding: chunked\r\n" in head
    assert b"Content-Length" not in head
    return await dechunked(peer)


@ANSWERS
async def test_a_page_that_comes_at_once_is_rewritten_and_has_a_length_of_its_own(
    stage: OpenPlane, answer: bytes
) -> None:
    caller, notebook = await page(stage)
    notebook.send(answer)
    head, body = await caller.response()
    assert body == REWRITTEN
    assert head.count(b"Content-Length") == 1
    assert b"Transfer-Encoding" not in head
    await eventually(lambda: stage.idle == 1)
    caller.send(get(b"/research/api", fields=BROWSER))
    assert (await notebook.head()).startswith(b"GET /api ")


@ANSWERS
async def test_a_page_that_comes_in_parts_is_rewritten_as_it_comes(stage: OpenPlane, answer: bytes) -> None:
    caller, notebook = await page(stage)
    for start in range(0, len(answer), 50):
        notebook.send(answer[start : start + 50])
        await notebook.drain()
        await settle()
    assert await streamed(caller) == REWRITTEN
    await eventually(lambda: stage.idle == 1)
    caller.send(get(b"/research/api", fields=BROWSER))
    assert (await notebook.head()).startswith(b"GET /api ")


async def test_what_has_come_of_a_page_does_not_wait_for_its_end(stage: OpenPlane) -> None:
    """Progress pages and Voilà's show their parts as they are made, and may take longer than a head."""
    caller, notebook = await page(stage)
    notebook.send(CHUNKED)
    assert b"Transfer-Encoding: chunked\r\n" in await caller.head()
    await stage.sweep(299.0)
    await stage.sweep(299.0)
    for sent, seen in ((b"<p>1<a hre", b"<p>1<a "), (b"f='/x'>2 ", b"href='/research/x'>2 ")):
        notebook.send(b"%x\r\n%b\r\n" % (len(sent), sent))
        await caller.expect(b"%x\r\n%b\r\n" % (len(seen), seen))
        await stage.sweep(299.0)
    notebook.send(b"3\r\n<a \r\n0\r\n\r\n")
    await caller.expect(b"3\r\n<a \r\n0\r\n\r\n")


async def test_a_page_that_the_notebooks_end_ends_is_rewritten_too(stage: OpenPlane) -> None:
    caller, notebook = await page(stage)
    notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"\r\n" + PAGE).close()
    assert await streamed(caller) == REWRITTEN


async def test_an_http_10_caller_gets_the_page_with_a_length(stage: OpenPlane) -> None:
    caller = await stage.call(b"GET /research/lab HTTP/1.0\r\nHost: notebooks.test\r\n" + BROWSER + b"\r\n")
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(ok(PAGE, fields=HTML))
    head, body = await caller.response()
    assert b"Connection: close\r\n" in head
    assert body == REWRITTEN
    assert await caller.gone()


async def test_an_http_10_caller_gets_a_page_in_parts_until_the_connections_end(stage: OpenPlane) -> None:
    caller = await stage.call(b"GET /research/lab HTTP/1.0\r\nHost: notebooks.test\r\n" + BROWSER + b"\r\n")
    notebook = await stage.notebook()
    await notebook.head()
    answer = ok(PAGE, fields=HTML)
    notebook.send(answer[:-5])
    head = await caller.head()
    assert b"Content-Length" not in head
    assert b"chunked" not in head
    notebook.send(answer[-5:])
    assert await caller.rest() == REWRITTEN


async def test_an_http_10_caller_sees_that_a_page_broke_off(stage: OpenPlane) -> None:
    caller = await stage.call(b"GET /research/lab HTTP/1.0\r\nHost: notebooks.test\r\n" + BROWSER + b"\r\n")
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(ok(PAGE, fields=HTML)[:-5])
    await caller.head()
    notebook.close()
    with pytest.raises(ConnectionResetError):
        await caller.rest()


async def test_an_empty_page_stays_empty(stage: OpenPlane) -> None:
    caller, notebook = await page(stage)
    notebook.send(ok(fields=HTML))
    assert (await caller.response())[1] == b""


async def test_addresses_of_kernels_resources_are_rewritten(stage: OpenPlane) -> None:
    caller, notebook = await page(stage, b"/research/api/kernelspecs", fields=b"Accept: */*\r\n")
    specs = b'{"kernelspecs": {"py": {"resources": {"logo": "/kernelspecs/py/logo.png"}}}}'
    notebook.send(ok(specs, fields=b"Content-Type: application/json\r\n"))
    assert (await caller.response())[1] == specs.replace(b'"/kernelspecs', b'"/research/kernelspecs')


@pytest.mark.parametrize(
    ("target", "fields", "body"),
    [
        (b"/research/api/contents", b"Content-Type: application/json\r\n", b'{"path": "/lab"}'),
        (b"/research/static/a.js", b"Content-Type: text/javascript\r\n", b'"/static/b.js"'),
        (b"/research/files/mine.html", HTML, PAGE),
    ],
)
async def test_everything_else_passes_as_it_came(
    stage: OpenPlane, target: bytes, fields: bytes, body: bytes
) -> None:
    caller, notebook = await page(stage, target)
    notebook.send(ok(body, fields=fields))
    assert await caller.response() == (
        b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body),
        body,
    )


CODINGS = pytest.mark.parametrize(
    ("coding", "encode"), [(b"gzip", gzip.compress), (b"X-GZIP", gzip.compress), (b"deflate", zlib.compress)]
)


@CODINGS
async def test_a_page_that_comes_compressed_is_decoded_and_rewritten(
    stage: OpenPlane, coding: bytes, encode
) -> None:
    """Although it was asked not to; and what is said of its bytes goes, for they are others."""
    caller, notebook = await page(stage)
    fields = b"Content-Encoding: %b\r\nContent-Digest: x\r\nAccept-Ranges: bytes\r\nVary: Accept\r\n" % coding
    notebook.send(ok(encode(PAGE), fields=HTML + fields))
    head, body = await caller.response()
    assert body == REWRITTEN
    assert b"Vary: Accept\r\n" in head
    for name in (b"Content-Encoding", b"Content-Digest", b"Accept-Ranges"):
        assert name not in head


async def test_one_that_comes_in_parts_is_decoded_as_it_comes(stage: OpenPlane) -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(PAGE) + packer.flush(zlib.Z_SYNC_FLUSH)
    caller, notebook = await page(stage)
    notebook.send(CHUNKED.replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer") + chunk(first))
    assert b"Transfer-Encoding: chunked\r\n" in await caller.head()
    size = int(await caller.line(), 16)
    assert await caller.exactly(size) == REWRITTEN
    await caller.expect(b"\r\n")
    notebook.send(chunk(packer.compress(PAGE) + packer.flush()) + b"0\r\n\r\n")
    assert await dechunked(caller) == REWRITTEN
    await eventually(lambda: stage.idle == 1)


async def test_little_that_stands_for_much_takes_turns_and_little_memory(stage: OpenPlane) -> None:
    text = b" " * 10_000_000
    caller = await stage.call(get(b"/research/lab", fields=BROWSER), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(ok(gzip.compress(text), fields=HTML + b"Content-Encoding: gzip\r\n"))
    [downstream] = stage.connections
    await eventually(lambda: downstream.writer.is_full)
    await settle(200)
    assert downstream.writer.unsent_bytes < 1_000_000
    assert len(await streamed(caller)) == len(text)


@pytest.mark.parametrize("body", [gzip.compress(PAGE * 9)[:-9], b"no gzip at all", gzip.compress(PAGE)[:1]])
async def test_one_that_does_not_decode_is_an_error(stage: OpenPlane, body: bytes) -> None:
    caller, notebook = await page(stage)
    notebook.send(ok(body, fields=HTML + b"Content-Encoding: gzip\r\n"))
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert [record.error for record in stage.records] == ["UPSTREAM_INVALID"]
    assert stage.idle == 0


async def test_or_cut_where_a_part_of_it_was_sent(stage: OpenPlane) -> None:
    packed = gzip.compress(os.urandom(300_000))
    caller, notebook = await page(stage)
    head = CHUNKED.replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer")
    notebook.send(head + chunk(packed[:150_000]))
    assert (await caller.head()).startswith(b"HTTP/1.1 200 ")
    notebook.send(chunk(b"x" * 500) + b"0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    await eventually(lambda: stage.records != [])
    assert [record.error for record in stage.records] == ["RESPONSE_CUT"]


@pytest.mark.parametrize(
    "coding", [b"br", b"zstd", b"gzip, br", b"br\r\nContent-Encoding: gzip", b"gzip\r\nContent-Encoding: br"]
)
async def test_one_in_a_coding_that_cannot_be_undone_is_refused_with_the_reason(
    stage: OpenPlane, coding: bytes
) -> None:
    caller, notebook = await page(stage)
    notebook.send(ok(b"coded", fields=HTML + b"Content-Encoding: %b\r\n" % coding))
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"compressed a page although it was asked not to" in body


async def test_what_was_asked_for_in_that_coding_passes_as_it_came(stage: OpenPlane) -> None:
    """A script that fetches a part of a page does not say that it wants HTML."""
    fields = b"Accept: */*\r\nAccept-Encoding: br\r\n"
    caller, notebook = await page(stage, b"/research/proxy/1/part", fields=fields)
    answer = HTML + b"Content-Encoding: br\r\n"
    notebook.send(ok(b"coded", fields=answer))
    assert await caller.response() == (
        b"HTTP/1.1 200 OK\r\n" + answer + b"Content-Length: 5\r\n\r\n",
        b"coded",
    )


async def test_a_head_alone_is_that_of_the_page(stage: OpenPlane) -> None:
    caller = await stage.call(get(b"/research/lab", fields=BROWSER, method=b"HEAD"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\n")
    assert (await caller.head()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("status", [201, 202, 300])
async def test_a_location_that_scripts_read_is_absolute(stage: OpenPlane, status: int) -> None:
    caller, notebook = await page(stage, b"/research/api/kernels/1/requests/2", fields=b"Accept: */*\r\n")
    notebook.send(b"HTTP/1.1 %d X\r\nLocation: /api/kernels/1/input\r\nContent-Length: 0\r\n\r\n" % status)
    assert b"Location: %b/research/api/kernels/1/input\r\n" % ORIGIN in await caller.head()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_one_that_browsers_follow_stays_a_path(stage: OpenPlane, status: int) -> None:
    caller, notebook = await page(stage, b"/research/api/x", fields=b"Accept: */*\r\n")
    notebook.send(b"HTTP/1.1 %d X\r\nLocation: /api/y\r\nContent-Length: 0\r\n\r\n" % status)
    assert b"Location: /research/api/y\r\n" in await caller.head()


async def test_a_head_that_has_come_ends_the_heads_time(stage: OpenPlane) -> None:
    """A page may say nothing for long after its head, as anything else that streams."""
    caller, notebook = await page(stage)
    notebook.send(CHUNKED)
    assert (await caller.head()).startswith(b"HTTP/1.1 200 ")
    await stage.sweep(stage.plane.current.timeouts.response_head_seconds + 1)
    notebook.send(chunk(PAGE) + b"0\r\n\r\n")
    assert await dechunked(caller) == REWRITTEN


async def test_each_field_of_a_page_is_rewritten_for_itself(stage: OpenPlane) -> None:
    """A policy that only reports must never stand in for the one that counts."""
    caller, notebook = await page(stage)
    policies = (
        b"Content-Security-Policy: frame-ancestors 'self'; report-uri %b/api/security/csp-report\r\n"
        b"Content-Security-Policy: default-src 'none'\r\n"
        b"Content-Security-Policy-Report-Only: script-src 'none'; report-uri %b/api/other\r\n"
    )
    notebook.send(ok(PAGE, fields=HTML + b'ETag: "a"\r\n' + policies % (b"", b"")))
    head, _ = await caller.response()
    assert policies % (b"/research", b"/research") in head
    assert b'ETag: W/"a-nbgate"\r\n' in head


async def test_the_head_of_a_page_says_what_get_would_say(stage: OpenPlane) -> None:
    caller = await stage.call(get(b"/research/lab", fields=BROWSER, method=b"HEAD"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b'ETag: "a"\r\nContent-Length: 71\r\n\r\n')
    assert await caller.head() == b"HTTP/1.1 200 OK\r\n" + HTML + b'ETag: W/"a-nbgate"\r\n\r\n'


# -- wherever a page is cut, and whatever it is packed in ----------------------------------------------------------


def packed(coding: bytes, text: bytes) -> bytes:
    match coding:
        case b"gzip":
            return gzip.compress(text)
        case b"gzip members":
            half = len(text) // 2
            return gzip.compress(text[:half]) + gzip.compress(b"") + gzip.compress(text[half:])
        case b"deflate raw":
            packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            return packer.compress(text) + packer.flush()
        case b"deflate":
            return zlib.compress(text)
        case _:
            return text


def passed(fields: bytes, pieces: Iterable[bytes]) -> bytes:
    """What becomes of a page that comes in these pieces, taken in turns."""
    head = b"HTTP/1.1 200 OK\r\n" + HTML + fields + b"\r\n"
    facts = read_response(head)
    assert facts is not None
    page = PageRewrite("html", facts, prefix="/research")
    assert page.is_readable
    out = []
    for piece in pieces:
        page.add(piece)
        while page.is_waiting:
            out.append(page.rewrite())
    out.append(page.finish())
    return b"".join(out)


_MARKUP = [b"<a href=", b'"/x"', b"'/x'>", b"/y>", b"<script>", b"</script>", b'<script id="jupyter-config-data">',
           b'{"baseUrl": "/"}', b"<!--", b"-->", b" ", b"text", b"<", b"=", b'"', b"\xc3\xa9",
           b"/research/z"]  # fmt: skip


@given(
    st.lists(st.sampled_from(_MARKUP), max_size=40).map(b"".join),
    st.sampled_from([b"", b"gzip", b"gzip members", b"deflate", b"deflate raw"]),
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
)
def test_where_chunks_end_and_what_a_page_is_packed_in_change_nothing(
    text: bytes, coding: bytes, sizes: list[int]
) -> None:
    fields = b"Content-Encoding: %b\r\n" % coding.split()[0] if coding else b""
    at_once = passed(b"", [text])
    assert passed(fields, cut(packed(coding, text), *sizes)) == at_once
    assert at_once == rewritten(rewriter("html", "/research"), [text])


# -- large pages, and hostile ones --------------------------------------------------------------------------------

NOBODY = Gateway(
    Rules(
        Router([HOST], {"research": Mount.at_path("/research/")}),
        Judge({"research": Policy(())}, Policy(())),
        address_strategy=TrustedProxies(),
    ),
    audit=lambda _inbound, _refusal: None,
)
"""Lets nobody in."""

LARGE = PAGE * 20_000
"""1.4 MB, in 20 pieces and more, of which each is done in a turn of its own."""
LARGE_REWRITTEN = REWRITTEN * 20_000


def framed(body: bytes, framing: str) -> bytes:
    head = b"HTTP/1.1 200 OK\r\n" + HTML
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == "chunked":
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"\r\n" + body


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_large_page_is_rewritten_too(stage: OpenPlane, framing: str) -> None:
    caller, notebook = await page(stage)
    notebook.send(framed(LARGE, framing))
    if framing == "close":
        notebook.close()
    assert await streamed(caller) == LARGE_REWRITTEN
    caller.send(get(b"/research/"))
    another = await stage.notebook() if framing == "close" else notebook
    await another.head()
    another.send(ok(b"next"))
    assert (await caller.response())[1] == b"next"
    assert [record.bytes_out > len(LARGE) for record in stage.records] == [True, False]


async def test_others_get_their_turns_while_a_hostile_page_is_rewritten(stage: OpenPlane) -> None:
    """Each turn does the work of some thousand marks at most, however many pages there are."""
    turns = 0
    watching = True
    loop = asyncio.get_running_loop()

    def turn() -> None:
        nonlocal turns
        turns += 1
        if watching:
            loop.call_soon(turn)

    pages = 5
    hostile = b"<a>" * 100_000
    callers = [await page(stage) for _ in range(pages)]
    loop.call_soon(turn)
    for _, notebook in callers:
        notebook.send(framed(hostile, "length"))
    for caller, _ in callers:
        assert await streamed(caller) == hostile
    watching = False
    marks = pages * 100_000
    assert turns > marks / (2 * A_TURN * STEPS_A_FEED)


async def test_a_caller_that_does_not_read_a_page_stops_the_notebook_and_loses_nothing(
    stage: OpenPlane,
) -> None:
    part = b"%b" + b" " * 70_000
    caller = await stage.call(get(b"/research/lab", fields=BROWSER), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(framed(part % PAGE * 300, "length"))
    [downstream] = stage.connections
    await eventually(lambda: downstream.writer.is_full)
    await settle(200)
    assert downstream.writer.unsent_bytes < 1_000_000
    assert notebook.unsent_bytes > 0
    assert await streamed(caller) == part % REWRITTEN * 300
    await eventually(lambda: stage.idle == 1)


async def all_there(stage: OpenPlane) -> tuple[Peer, Peer, int]:
    """A caller that does not read, and a page that the notebook has ended, of which a part is still to be rewritten;
    and how often `PAGE` stands in it."""
    caller = await stage.call(get(b"/research/lab", fields=BROWSER), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    [downstream] = stage.connections
    connection = downstream.request.answerer.connection
    part = (PAGE + b" " * 1000) * 500
    chunk = b"%x\r\n%b\r\n" % (len(part), part)
    connection.data_received(CHUNKED)
    count = 0
    while not downstream.writer.is_full:
        connection.data_received(chunk)
        count += 500
        await settle()
    # The rest comes in the same turn of the loop as what filled the caller's connection.
    connection.data_received(chunk + b"0\r\n\r\n")
    assert stage.idle == 1
    assert stage.records == []
    return caller, notebook, count + 500


async def test_a_notebook_is_free_for_others_while_its_last_page_is_still_rewritten(stage: OpenPlane) -> None:
    caller, notebook, count = await all_there(stage)
    other = await stage.call(get(b"/research/api"))
    assert (await notebook.head()).startswith(b"GET /api ")
    notebook.send(ok(b"other"))
    assert (await other.response())[1] == b"other"
    assert await streamed(caller) == (REWRITTEN + b" " * 1000) * count


async def test_a_caller_that_leaves_while_its_page_is_rewritten_is_forgotten(stage: OpenPlane) -> None:
    caller = await stage.call(get(b"/research/lab", fields=BROWSER), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(framed((PAGE + b" " * 70_000) * 300, "length"))
    [downstream] = stage.connections
    await eventually(lambda: downstream.writer.is_full)
    caller.reset()
    await eventually(lambda: not stage.connections and stage.open == 0)
    await settle()
    assert [record.error for record in stage.records] == ["CALLER_GONE"]


async def test_a_caller_that_takes_nothing_of_a_page_that_is_all_there_is_cut(stage: OpenPlane) -> None:
    caller, _, _ = await all_there(stage)
    await stage.sweep(119.0)
    assert stage.connections
    await stage.sweep(1.0)
    await eventually(lambda: not stage.connections)
    with pytest.raises(ConnectionResetError):
        await caller.rest()


async def test_a_page_whose_caller_may_not_see_it_any_more_never_looks_complete(stage: OpenPlane) -> None:
    caller, _, _ = await all_there(stage)
    stage.plane.current = replace(stage.plane.current, gateway=NOBODY)
    for connection in tuple(stage.connections):
        connection.judge()
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    await settle()
    assert [record.error for record in stage.records] == ["RESPONSE_CUT"]


async def test_a_caller_that_leaves_a_page_that_is_all_there_is_forgotten(stage: OpenPlane) -> None:
    caller, _, _ = await all_there(stage)
    caller.reset()
    await eventually(lambda: not stage.connections)
    await settle()
    assert [record.error for record in stage.records] == ["CALLER_GONE"]


@pytest.mark.parametrize("body", [PAGE[:30], LARGE])
async def test_a_page_that_breaks_off_never_looks_complete(stage: OpenPlane, body: bytes) -> None:
    caller, notebook = await page(stage)
    notebook.send(framed(body + PAGE, "length")[: -len(PAGE)])
    assert b"Transfer-Encoding: chunked\r\n" in await caller.head()
    if body is LARGE:
        await caller.exactly(len(LARGE))
    notebook.close()
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    assert [record.error for record in stage.records] == ["RESPONSE_CUT"]


async def test_a_page_that_is_broken_before_anything_of_it_is_sent_is_a_502(stage: OpenPlane) -> None:
    caller, notebook = await page(stage)
    notebook.send(CHUNKED + b"5\r\n<a hr\r\nx")
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"<a hr" not in body
    caller.send(get(b"/research/api"))
    another = await stage.notebook()
    await another.head()
    another.send(ok(b"next"))
    assert (await caller.response())[1] == b"next"


@pytest.mark.parametrize("is_busy", [False, True], ids=["at once", "in its turn"])
async def test_a_fault_of_the_gateways_own_in_a_page_that_is_all_there_is_no_silence(
    stage: OpenPlane, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    """The notebook may be done with by then, so that no deadline of its counts."""
    met: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: met.append(context["exception"]))

    def broken(_page: PageRewrite) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(PageRewrite, "rewrite", broken)
    caller, notebook = await page(stage)
    busy = is_busy

    def other_work() -> None:
        if busy:
            stage.plane.turns.later(other_work)

    for _ in range(A_TURN if is_busy else 0):
        stage.plane.turns.later(other_work)
    notebook.send(ok(PAGE, fields=HTML + b"Server: TornadoServer/6.5\r\n"))
    assert (await caller.response())[0].startswith(b"HTTP/1.1 500 ")
    busy = False
    assert [type(error) for error in met] == [ZeroDivisionError]


async def test_a_fault_of_the_gateways_own_in_a_page_that_has_begun_says_so_in_its_record(
    stage: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    caller, notebook = await page(stage)
    notebook.send(CHUNKED + chunk(LARGE))
    assert (await caller.head()).startswith(b"HTTP/1.1 200 ")

    def broken(_page: PageRewrite) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(PageRewrite, "rewrite", broken)
    notebook.send(chunk(LARGE))
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    await eventually(lambda: stage.records != [])
    assert [(record.error, record.detail) for record in stage.records] == [("RESPONSE_CUT", "INTERNAL_ERROR")]


async def test_a_page_that_answers_before_the_requests_body_is_there_ends_both(stage: OpenPlane) -> None:
    """Pooled, the notebook's connection would take the rest of the body for another request."""
    caller = await stage.call(
        get(b"/research/login", method=b"POST", fields=BROWSER + b"Content-Length: 9\r\n")
    )
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(framed(LARGE, "length"))
    assert await streamed(caller) == LARGE_REWRITTEN
    assert await notebook.gone()
    caller.send(b"123456789" + get(b"/research/next"))
    another = await stage.notebook()
    assert (await another.head()).startswith(b"GET /next ")


async def test_an_answer_that_is_no_page_may_follow_a_page_that_broke_off(stage: OpenPlane) -> None:
    """A page of which nothing was sent leaves nothing behind when the request is repeated."""
    caller = await stage.call(get(b"/research/lab", fields=BROWSER))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(CHUNKED + b"zz")
    head, _ = await caller.response()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert stage.records[0].error == "UPSTREAM_INVALID"


# -- locations and cookies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"/lab?next=/tree", b"/research/lab?next=/tree"),
        (b"http://%b/lab", ORIGIN + b"/research/lab"),
        (b"//%b/lab", ORIGIN + b"/research/lab"),
        (b"other", b"other"),
        (b"https://example.org/lab", b"https://example.org/lab"),
        (b"//evil.example/", b"//evil.example/"),
    ],
)
async def test_locations_lead_back_to_the_mount(stage: OpenPlane, sent: bytes, seen: bytes) -> None:
    caller, notebook = await page(stage)
    sent = sent.replace(b"%b", b"127.0.0.1:%d" % stage.upstream.port)
    notebook.send(b"HTTP/1.1 302 Found\r\nLocation: " + sent + b"\r\nContent-Length: 0\r\n\r\n")
    assert b"\r\nLocation: " + seen + b"\r\n" in await caller.head()


async def test_a_created_things_location_is_the_callers_too(tmp_path: Path) -> None:
    """Under a root mount only the notebook's own origin is replaced."""
    async with open_stage(tmp_path) as stage:
        caller, notebook = await stage.forwarded()
        own = b"http://127.0.0.1:%d" % stage.upstream.port
        notebook.send(b"HTTP/1.1 201 Created\r\nLocation: " + own + b"/api/x\r\nContent-Length: 0\r\n\r\n")
        assert b"\r\nLocation: " + ORIGIN + b"/api/x\r\n" in await caller.head()


async def test_cookies_stay_below_the_mount(stage: OpenPlane) -> None:
    caller, notebook = await page(stage)
    notebook.send(ok(fields=b"Set-Cookie: _xsrf=a; Path=/\r\nSet-Cookie: u=b; Path=/api; Domain=x.aws\r\n"))
    head = await caller.head()
    assert b"Set-Cookie: _xsrf=a; Path=/research/\r\n" in head
    assert b"Set-Cookie: u=b; Path=/research/api\r\n" in head


async def test_origin_and_referer_are_the_notebooks_own(stage: OpenPlane) -> None:
    own = b"http://127.0.0.1:%d" % stage.upstream.port
    caller = await stage.call(
        get(b"/research/x", fields=b"Origin: %b\r\nReferer: %b/research/lab?a\r\n" % (ORIGIN, ORIGIN))
    )
    head = await (await stage.notebook()).head()
    assert b"Origin: " + own + b"\r\n" in head
    assert b"Referer: " + own + b"/lab?a\r\n" in head
    caller.close()
