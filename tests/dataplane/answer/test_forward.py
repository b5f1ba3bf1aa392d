"""HTTP through the data plane, byte by byte: what each side sends, and exactly what the other one sees."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from proxy.dataplane.notebook.connection import INTERIM_RESPONSES
from proxy.upstream import Origin
from proxy.wire.heads import RESPONSE_FIELDS
from tests.harness.gateway import Rig, body_of, status_of
from tests.harness.keeper import SESSION_COOKIE, session_at
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import FORWARDED_LINES, HOST, OpenPlane, get, post
from tests.harness.waiting import eventually, settle


async def test_a_request_reaches_the_notebook_and_its_answer_the_caller(rig: Rig) -> None:
    answer = await rig.get("/hello?x=1")
    assert status_of(answer) == 200
    seen = json.loads(body_of(answer))
    assert seen["target"] == "/hello?x=1"


# -- heads --------------------------------------------------------------------------------------------------


async def test_the_request_is_the_callers_with_the_gateways_fields(stage: OpenPlane) -> None:
    caller = await stage.call(get(b"/files/a%2Fb%20c;x=1?q=1&q=%2B", fields=b"X-One: 1\r\nX-One: 2\r\n"))
    notebook = await stage.notebook()
    assert await notebook.head() == (
        b"GET /files/a%%2Fb%%20c;x=1?q=1&q=%%2B HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"X-One: 1\r\nX-One: 2\r\n"
        b"Cookie: %b\r\n"
        b"%bX-Forwarded-Host: %b\r\n"
        b"\r\n" % (stage.upstream.port, SESSION_COOKIE, FORWARDED_LINES, HOST.encode())
    )
    notebook.send(ok(b"hello"))
    assert await caller.response() == (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello")


async def test_repeated_fields_of_a_response_arrive_repeated_and_in_order(stage: OpenPlane) -> None:
    fields = (
        b"X-A: 1\r\nSet-Cookie: _xsrf=a; Path=/\r\nX-A: 2\r\nset-cookie: username-x=b; Path=/\r\nX-a: 3\r\n"
    )
    caller, notebook = await stage.forwarded()
    notebook.send(ok(fields=fields))
    head = await caller.head()
    assert fields in head


async def test_bytes_beyond_ascii_in_fields_pass_as_they_are(stage: OpenPlane) -> None:
    caller = await stage.call(get(fields=b"X-Name: caf\xc3\xa9\r\n"))
    notebook = await stage.notebook()
    assert b"X-Name: caf\xc3\xa9\r\n" in await notebook.head()
    notebook.send(ok(fields=b"X-Answer: na\xefve\r\n"))
    assert b"X-Answer: na\xefve\r\n" in await caller.head()


async def test_the_notebooks_own_words_for_a_status_pass(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 418 Short and stout\r\nContent-Length: 0\r\n\r\n")
    assert (await caller.head()).startswith(b"HTTP/1.1 418 Short and stout\r\n")


async def test_fields_that_a_responses_connection_names_end_here(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(ok(b"x", fields=b"Connection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n"))
    assert await caller.response() == (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", b"x")


@pytest.mark.parametrize("cut", range(1, 40))
async def test_a_response_may_come_in_any_pieces(stage: OpenPlane, cut: int) -> None:
    whole = ok(b"hello", fields=b"X: y\r\n")
    caller, notebook = await stage.forwarded()
    notebook.send(whole[:cut])
    await notebook.drain()
    await eventually(lambda: len(stage.connections) == 1)
    notebook.send(whole[cut:])
    assert await caller.response() == (b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\n", b"hello")


# -- bodies of responses ------------------------------------------------------------------------------------


async def test_a_length_delimited_body_keeps_both_connections(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(ok(b"first"))
    assert (await caller.response())[1] == b"first"
    caller.send(get(b"/again"))
    assert (await notebook.head()).startswith(b"GET /again ")
    notebook.send(ok(b"second"))
    assert (await caller.response())[1] == b"second"
    assert stage.upstream.accepted == 1
    assert stage.idle == 1


async def test_a_chunked_body_passes_chunk_by_chunk(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert await caller.head() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    await caller.expect(b"5\r\nhello\r\n")
    notebook.send(b"6\r\n world\r\n0\r\n\r\n")
    await caller.expect(b"6\r\n world\r\n0\r\n\r\n")
    await eventually(lambda: stage.idle == 1)


async def test_chunk_extensions_and_trailers_of_a_response_are_dropped(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"5;name=value\r\nhello\r\n0;last\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n"
    )
    assert await caller.head() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    await caller.expect(b"5\r\nhello\r\n0\r\n\r\n")
    await eventually(lambda: stage.idle == 1)
    assert caller.is_silent


async def test_chunk_extensions_and_trailers_of_a_request_are_dropped(stage: OpenPlane) -> None:
    caller = await stage.call(
        get(method=b"POST", fields=b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")
        + b"3;a=b\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n"
    )
    notebook = await stage.notebook()
    head = await notebook.head()
    assert head.count(b"Transfer-Encoding: chunked\r\n") == 1
    assert b"Trailer" not in head
    await notebook.expect(b"3\r\nabc\r\n0\r\n\r\n")
    notebook.send(ok(b"done"))
    assert (await caller.response())[1] == b"done"
    assert notebook.is_silent


async def test_a_close_delimited_body_reaches_an_http_11_caller_in_chunks(stage: OpenPlane) -> None:
    """So its end can be told from a connection that broke, and the caller's connection lives on."""
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello")
    assert await caller.head() == b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"
    await caller.expect(b"5\r\nhello\r\n")
    notebook.send(b" world")
    await caller.expect(b"6\r\n world\r\n")
    notebook.close()
    await caller.expect(b"0\r\n\r\n")
    caller.send(get())
    another = await stage.notebook()
    await another.head()
    another.send(ok(b"next"))
    assert (await caller.response())[1] == b"next"


async def test_an_empty_close_delimited_body_is_one_last_chunk(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\n\r\n").close()
    assert await caller.head() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    await caller.expect(b"0\r\n\r\n")


async def test_a_close_delimited_body_ends_although_the_notebook_reads_nothing_more(stage: OpenPlane) -> None:
    """The upload that it left unread must not keep the gateway from seeing the response's end."""
    caller = await stage.call(get(method=b"POST", fields=b"Content-Length: 10000000\r\n"))
    notebook = await stage.notebook()
    await notebook.head()
    caller.send(bytes(9_000_000))
    notebook.send(b"HTTP/1.1 413 Too much\r\n\r\nno")
    assert (await caller.head()).startswith(b"HTTP/1.1 413 Too much\r\n")
    notebook.end()
    await caller.expect(b"2\r\nno\r\n0\r\n\r\n")


@pytest.mark.parametrize("framing", [b"Content-Length: 500", b"Transfer-Encoding: chunked", b"X: y"])
async def test_the_answer_to_head_has_no_body_whatever_it_announces(stage: OpenPlane, framing: bytes) -> None:
    caller = await stage.call(get(method=b"HEAD"))
    notebook = await stage.notebook()
    assert (await notebook.head()).startswith(b"HEAD / HTTP/1.1\r\n")
    notebook.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
    head = await caller.head()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"Content-Length: 500\r\n" in head) is (framing == b"Content-Length: 500")
    caller.send(get(b"/next"))
    assert (await notebook.head()).startswith(b"GET /next ")


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (
            b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n',
            b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n',
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_responses_without_a_body_end_with_their_head(
    stage: OpenPlane, sent: bytes, passed: bytes
) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(sent)
    assert await caller.head() == passed
    caller.send(get(b"/next"))
    assert (await notebook.head()).startswith(b"GET /next ")


async def test_interim_responses_come_before_the_final_one(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    assert await caller.head() == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    notebook.send(b"HTTP/1.1 102 Processing\r\n\r\n" + ok(b"x"))
    assert await caller.head() == b"HTTP/1.1 102 Processing\r\n\r\n"
    assert (await caller.response())[1] == b"x"


async def test_an_interim_response_is_never_sent_to_an_http_10_caller(stage: OpenPlane) -> None:
    caller = await stage.call(b"GET / HTTP/1.0\r\nHost: notebooks.test\r\n\r\n")
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(b"x"))
    assert await caller.rest() == b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"


async def test_interim_responses_without_end_are_no_http(stage: OpenPlane) -> None:
    """They would fill the gateway on behalf of a caller who does not read."""
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000)
    heads = 0
    while b" 103 " in (head := await caller.head()):
        heads += 1
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert heads == INTERIM_RESPONSES
    assert await notebook.gone()


async def test_a_response_of_too_many_fields_is_no_http(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=1\r\n" * (RESPONSE_FIELDS + 1) + b"\r\n")
    assert (await caller.response())[0].startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert await notebook.gone()
    assert [(record.status, record.error) for record in stage.records] == [(502, "RESPONSE_TOO_MANY_FIELDS")]


# -- HTTP/1.0 callers ---------------------------------------------------------------------------------------


async def test_an_http_10_caller_gets_a_chunked_body_without_its_framing(stage: OpenPlane) -> None:
    caller = await stage.call(b"GET / HTTP/1.0\r\nHost: notebooks.test\r\n\r\n")
    notebook = await stage.notebook()
    assert (await notebook.head()).startswith(b"GET / HTTP/1.1\r\n")
    notebook.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    )
    assert await caller.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world"
    assert stage.idle == 1


async def test_an_http_10_caller_gets_a_close_delimited_body_as_it_is(stage: OpenPlane) -> None:
    caller = await stage.call(b"GET / HTTP/1.0\r\nHost: notebooks.test\r\nConnection: keep-alive\r\n\r\n")
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.0 200 OK\r\n\r\nhello").close()
    assert await caller.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n\r\n64\r\nhello", b"\r\nhello"])
async def test_an_http_10_caller_sees_a_broken_body_as_a_reset(stage: OpenPlane, framing: bytes) -> None:
    """For it, nothing but the way in which the connection ends tells a whole body from half a one."""
    caller = await stage.call(b"GET / HTTP/1.0\r\nHost: notebooks.test\r\n\r\n")
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\n" + framing)
    await caller.head()
    await caller.expect(b"hello")
    notebook.reset()
    with pytest.raises(ConnectionResetError):
        await caller.rest()


# -- Expect, and answers that come early --------------------------------------------------------------------


async def test_expect_100_continue_goes_from_end_to_end(stage: OpenPlane) -> None:
    caller = await stage.call(get(method=b"PUT", fields=b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
    notebook = await stage.notebook()
    assert b"Expect: 100-continue\r\n" in await notebook.head()
    assert caller.is_silent
    notebook.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert await caller.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    caller.send(b"hello")
    await notebook.expect(b"hello")
    notebook.send(ok(b"thanks"))
    assert (await caller.response())[1] == b"thanks"
    await eventually(lambda: stage.idle == 1)


async def test_a_final_answer_in_place_of_100_continue_passes(stage: OpenPlane) -> None:
    caller = await stage.call(get(method=b"PUT", fields=b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
    assert (await caller.head()).startswith(b"HTTP/1.1 417 Expectation Failed\r\n")
    assert await notebook.gone()
    assert stage.idle == 0


async def test_an_early_answer_is_passed_on_and_the_rest_of_the_upload_dropped(stage: OpenPlane) -> None:
    """And the notebook's connection, in the middle of a body, is never used again: another request's head
    would land inside that body (cross-caller smuggling)."""
    caller = await stage.call(
        get(b"/upload", method=b"POST", fields=b"Content-Length: 1000\r\n") + bytes(400)
    )
    notebook = await stage.notebook()
    await notebook.head()
    await notebook.exactly(400)
    notebook.send(b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno")
    assert await caller.response() == (b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\n", b"no")
    assert stage.idle == stage.open == 0 or await notebook.gone()
    caller.send(bytes(600) + get(b"/next"))
    another = await stage.notebook()
    assert (await another.head()).startswith(b"GET /next ")
    another.send(ok(b"here"))
    assert (await caller.response())[1] == b"here"
    assert await notebook.gone()


async def test_an_early_answer_with_a_long_body_flows_while_the_upload_is_dropped(stage: OpenPlane) -> None:
    caller = await stage.call(
        get(b"/upload", method=b"POST", fields=b"Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n"
    )
    notebook = await stage.notebook()
    await notebook.head()
    await notebook.expect(b"3\r\nabc\r\n")
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    await caller.head()
    await caller.expect(b"abc")
    caller.send(b"3\r\ndef\r\n")
    await notebook.expect(b"3\r\ndef\r\n")
    notebook.send(b"def")
    await caller.expect(b"def")
    assert await notebook.gone()
    caller.send(b"3\r\nghi\r\n0\r\n\r\n" + get(b"/next"))
    another = await stage.notebook()
    assert (await another.head()).startswith(b"GET /next ")


async def test_a_body_that_turns_out_malformed_cuts_an_early_answer_and_the_record_says_why(
    stage: OpenPlane,
) -> None:
    caller = await stage.call(
        get(b"/upload", method=b"POST", fields=b"Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n"
    )
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    await caller.head()
    await caller.expect(b"abc")
    caller.send(b"no chunk\r\n")
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    assert [(record.error, record.detail) for record in stage.records] == [("RESPONSE_CUT", "BAD_REQUEST")]


async def test_an_early_answer_between_two_turns_of_tiny_chunks_goes_on_to_the_next_request(
    stage: OpenPlane,
) -> None:
    chunks = b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
    caller = await stage.call(get(method=b"POST", fields=b"Transfer-Encoding: chunked\r\n"))
    notebook = await stage.notebook()
    await notebook.head()
    [downstream] = stage.connections
    # What one turn of the loop brings.
    downstream.data_received(chunks)
    downstream.request.answerer.connection.data_received(ok(b"enough"))
    assert (await caller.response())[1] == b"enough"
    caller.send(get(b"/next"))
    another = await stage.notebook()
    assert (await another.head()).startswith(b"GET /next ")


async def test_the_connection_is_kept_when_the_body_ends_before_the_response(stage: OpenPlane) -> None:
    caller = await stage.call(get(method=b"POST", fields=b"Content-Length: 6\r\n") + b"abc")
    notebook = await stage.notebook()
    await notebook.head()
    await notebook.expect(b"abc")
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    await caller.head()
    await caller.expect(b"abc")
    caller.send(b"def")
    await notebook.expect(b"def")
    notebook.send(b"def")
    await caller.expect(b"def")
    await eventually(lambda: stage.idle == 1)


# -- one side goes ------------------------------------------------------------------------------------------


async def test_a_caller_that_goes_takes_its_request_with_it(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    caller.close()
    assert await notebook.gone()
    assert stage.open == 0
    assert stage.records[-1].error == "CALLER_GONE"


async def test_a_caller_that_goes_in_the_middle_of_its_upload_ends_it(stage: OpenPlane) -> None:
    caller = await stage.call(get(method=b"POST", fields=b"Content-Length: 10\r\n") + b"abc")
    notebook = await stage.notebook()
    await notebook.head()
    await notebook.expect(b"abc")
    caller.close()
    assert await notebook.gone()


async def test_a_caller_that_goes_in_the_middle_of_a_response_ends_it(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    await caller.head()
    caller.reset()
    assert await notebook.gone()


async def test_a_caller_that_goes_before_there_is_a_session_is_not_sent_to_the_notebook(
    stage: OpenPlane,
) -> None:
    stage.keeper.successors.append(stage.keeper.known)
    stage.keeper.session = None
    stage.keeper.gate.clear()
    caller = await stage.call(get())
    await eventually(lambda: len(stage.connections) == 1 and len(stage.plane.tasks) > 0)
    caller.close()
    await eventually(lambda: not stage.connections)
    stage.keeper.gate.set()
    await eventually(lambda: not len(stage.plane.tasks))
    assert stage.upstream.accepted == 0


async def test_a_caller_that_goes_while_the_gateway_connects_leaves_no_connection(stage: OpenPlane) -> None:
    stage.keeper.session = session_at(stage.upstream.port, tls=True)
    caller = await stage.call(get())
    notebook = await stage.notebook()
    await notebook.exactly(5)  # a TLS handshake begins, and is not answered
    caller.close()
    await eventually(lambda: not stage.connections)
    notebook.close()
    await eventually(lambda: not len(stage.plane.tasks))
    assert stage.plane.pool.open_connections(stage.keeper.known.origin) == 0


@pytest.mark.parametrize(
    ("start", "seen"),
    [
        (b"Content-Length: 10\r\n\r\nhello", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"5\r\nhello\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n7\r\nhello", b"7\r\nhello"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\n"),
    ],
)
@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_body_that_is_cut_short_never_looks_complete(
    stage: OpenPlane, start: bytes, seen: bytes, way: str
) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\n" + start)
    await caller.head()
    await caller.expect(seen)
    getattr(notebook, way)()
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    assert stage.records[-1].error == "RESPONSE_CUT"


async def test_a_reset_in_a_close_delimited_body_never_looks_like_its_end(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    await caller.head()
    await caller.expect(b"5\r\nhello\r\n")
    notebook.reset()
    with pytest.raises(ConnectionResetError):
        await caller.rest()


async def test_a_chunked_body_that_turns_out_broken_never_looks_complete(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await caller.head()
    await caller.expect(b"5\r\nhello\r\n")
    notebook.send(b"nonsense\r\n")
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    assert await notebook.gone()


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_a_connection_that_breaks_before_the_response_is_a_503(
    stage: OpenPlane, part: bytes, way: str
) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(part)
    await notebook.drain()
    getattr(notebook, way)()
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert stage.upstream.accepted == 1


async def test_nobody_listens_at_the_notebook(stage: OpenPlane) -> None:
    stage.upstream.refuse()
    caller = await stage.call(get())
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    caller.send(get())
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 Service Unavailable\r\n")


async def test_a_fault_of_the_gateways_own_while_it_connects_is_a_500_and_not_a_silence(
    stage: OpenPlane,
) -> None:
    origin = Origin("http", "x" * 64 + ".test", 80)  # no name that could be looked up
    stage.keeper.session = replace(session_at(stage.upstream.port), origin=origin)
    caller = await stage.call(get())
    assert (await caller.response())[0].startswith(b"HTTP/1.1 500 ")
    [error] = stage.faults
    assert isinstance(error, UnicodeError)
    stage.faults.clear()


# -- answers that are not HTTP ------------------------------------------------------------------------------

_OK = b"HTTP/1.1 200 OK\r\n"
GARBAGE = {
    "a length beside chunks": _OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks beside a length": _OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": _OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": _OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": _OK + b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": _OK + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": _OK + b"Content-Length: -5\r\n\r\nhello",
    "a hexadecimal length": _OK + b"Content-Length: 0x5\r\n\r\nhello",
    "an empty length": _OK + b"Content-Length:\r\n\r\nhello",
    "a length that overflows": _OK + b"Content-Length: 18446744073709551616\r\n\r\nhello",
    "chunks twice": _OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks in two lines": _OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": _OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "another coding before": _OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is nearly one": _OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a control byte in a value": _OK + b"X: a\x01b\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": _OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "DEL in a value": _OK + b"X: a\x7fb\r\nContent-Length: 0\r\n\r\n",
    "a control byte in the reason": b"HTTP/1.1 200 O\x08K\r\nContent-Length: 0\r\n\r\n",
    "a bare CR in a value": _OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "a bare LF in a value": _OK + b"X: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "bare LFs": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    "a folded line": _OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a folded first line": _OK + b" X: a\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": _OK + b"Content-Length : 5\r\n\r\nhello",
    "a space in a name": _OK + b"X Y: 5\r\nContent-Length: 0\r\n\r\n",
    "a line without a colon": _OK + b"X\r\nContent-Length: 0\r\n\r\n",
    "an empty name": _OK + b": x\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below all classes": b"HTTP/1.1 099 Hm\r\nContent-Length: 0\r\n\r\n",
    "a page without a head": b"<html>hello</html>\r\n\r\n",
    "something that begins like it": b"HTTP-ish 200\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9 by name": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: you\r\n\r\n",
    "empty lines first": b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "101 that nobody asked for": b"HTTP/1.1 101 Go on\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a head without end": _OK + b"X: y\r\n" * 20_000,
    "a line without end": _OK + b"X: " + b"y" * 100_000,
    "a head that is too large": _OK + b"X: " + b"y" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a bad first chunk": _OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE.keys())
async def test_an_answer_that_is_not_http_is_a_502(stage: OpenPlane, answer: bytes) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(answer)
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"Set-Cookie" not in head + body
    assert await notebook.gone()
    assert stage.idle == 0


async def test_after_a_502_the_callers_connection_goes_on(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"nonsense\r\n\r\n")
    await caller.response()
    caller.send(get(b"/next"))
    another = await stage.notebook()
    assert (await another.head()).startswith(b"GET /next ")
    another.send(ok(b"here"))
    assert (await caller.response())[1] == b"here"


# -- response splitting -------------------------------------------------------------------------------------

EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"GET", ok(b"x")),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_bytes_behind_a_response_are_nobodys_answer(
    stage: OpenPlane, method: bytes, answer: bytes, together: bool
) -> None:
    caller = await stage.call(get(method=method))
    notebook = await stage.notebook()
    await notebook.head()
    if together:
        notebook.send(answer + EVIL)
        await caller.head()
    else:
        notebook.send(answer)
        await caller.head()
        await eventually(lambda: stage.idle == 1)
        notebook.send(EVIL)
    assert await notebook.gone()
    assert stage.idle == 0
    if answer.endswith(b"x"):
        await caller.expect(b"x")
    elif answer.endswith(b"0\r\n\r\n"):
        await caller.expect(b"0\r\n\r\n")
    caller.send(get(b"/next"))
    another = await stage.notebook()
    await another.head()
    another.send(ok(b"good"))
    assert (await caller.response())[1] == b"good"


# -- flow -----------------------------------------------------------------------------------------------------


async def test_a_caller_that_does_not_read_stops_the_notebook_and_loses_nothing(stage: OpenPlane) -> None:
    size = 24_000_000
    body = bytes(range(256)) * (size // 256)
    caller = await stage.call(get(), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body)
    await caller.head()
    [downstream] = stage.connections
    await eventually(lambda: downstream.writer.is_full)
    held = downstream.transport.get_write_buffer_size()
    assert held < 1_000_000
    assert notebook.unsent_bytes > 0
    assert await caller.exactly(size) == body
    await eventually(lambda: stage.idle == 1)


async def test_a_notebook_that_does_not_read_stops_the_caller_and_loses_nothing(stage: OpenPlane) -> None:
    size = 24_000_000
    body = bytes(range(256)) * (size // 256)
    caller = await stage.call(get(method=b"PUT", fields=b"Content-Length: %d\r\n" % size) + body)
    notebook = await stage.notebook()
    await notebook.head()
    [downstream] = stage.connections
    await eventually(lambda: bool(downstream.intake.reasons))
    held = downstream.request.answerer.connection.transport.get_write_buffer_size()
    assert held < 1_000_000
    assert caller.unsent_bytes > 0
    assert await notebook.exactly(size) == body
    notebook.send(ok(b"all"))
    assert (await caller.response())[1] == b"all"


async def answer_all(notebook: Peer, body: bytes) -> None:
    """A notebook that answers whatever comes, for as long as it comes."""
    while True:
        await notebook.reader.readuntil(b"\r\n\r\n")
        notebook.send(ok(body))
        await notebook.writer.drain()


@pytest.mark.parametrize("pipelined", [True, False])
async def test_a_caller_that_asks_on_and_never_reads_waits(stage: OpenPlane, pipelined: bool) -> None:
    """Each answer would be kept for it: memory without a bound."""
    count, body = 1500, bytes(10_000)
    caller = await stage.call(get(), receive_bytes=65536)
    notebook = await stage.notebook()
    answering = asyncio.ensure_future(answer_all(notebook, body))
    [downstream] = stage.connections
    if pipelined:
        caller.send(get() * (count - 1))
        await eventually(lambda: downstream.writer.is_full)
        await settle(200)
    else:
        asked = 1
        while not downstream.writer.is_full:
            await eventually(lambda asked=asked: len(stage.records) == asked)
            if downstream.writer.is_full:
                break
            caller.send(get())
            asked += 1
        caller.send(get() * (count - asked))
        await settle(200)
    assert len(stage.records) < count
    assert downstream.writer.unsent_bytes < 200_000
    for _ in range(count):
        assert (await caller.response())[1] == body
    answering.cancel()


async def test_a_caller_that_never_takes_the_end_of_its_last_response_is_cut(stage: OpenPlane) -> None:
    caller = await stage.call(get(fields=b"Connection: close\r\n"), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    [downstream] = stage.connections
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    sent = 0
    while not downstream.writer.is_full:
        notebook.send(chunk)
        sent += len(chunk)
        await eventually(lambda sent=sent: downstream.request.answerer.out.bytes_out == sent)
    # The end comes in the same turn of the loop as what filled the caller's connection.
    downstream.request.answerer.connection.data_received(b"0\r\n\r\n")
    assert stage.records
    await stage.sweep(119.0)
    assert stage.connections
    await stage.sweep(1.0)
    await eventually(lambda: not stage.connections)
    assert len(await caller.rest()) < sent


async def test_tiny_chunks_pass_in_order_although_the_loop_gets_its_turns(stage: OpenPlane) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % (65 + number % 26) for number in range(60_000)) + b"0\r\n\r\n"
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    await caller.head()
    assert await caller.exactly(len(chunks)) == chunks
    await eventually(lambda: stage.idle == 1)


# -- silence ------------------------------------------------------------------------------------------------


async def test_a_notebook_that_does_not_answer_in_time_is_a_503(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    await stage.sweep(299.0)
    assert caller.is_silent
    await stage.sweep(1.0)
    assert (await caller.response())[0].startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert await notebook.gone()


async def test_the_time_for_an_answer_begins_when_the_request_is_complete(stage: OpenPlane) -> None:
    caller = await stage.call(get(method=b"POST", fields=b"Content-Length: 20\r\n"))
    notebook = await stage.notebook()
    await notebook.head()
    for _ in range(10):
        caller.send(b"x")
        await notebook.expect(b"x")
        await stage.sweep(50.0)
    caller.send(bytes(10))
    await notebook.exactly(10)
    await stage.sweep(299.0)
    notebook.send(ok(b"in time"))
    assert (await caller.response())[1] == b"in time"


async def test_a_notebook_that_falls_silent_within_a_body_is_cut(stage: OpenPlane) -> None:
    caller, notebook = await stage.forwarded()
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    await caller.head()
    await caller.expect(b"abc")
    await stage.sweep(899.0)
    notebook.send(b"d")
    await caller.expect(b"d")
    await stage.sweep(899.0)
    assert caller.is_silent
    await stage.sweep(1.0)
    with pytest.raises(ConnectionResetError):
        await caller.rest()
    assert await notebook.gone()


async def test_a_caller_that_takes_nothing_of_a_response_is_cut(stage: OpenPlane) -> None:
    await stage.call(get(), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: 24000000\r\n\r\n" + bytes(24_000_000))
    [downstream] = stage.connections
    await eventually(lambda: downstream.writer.is_full)
    await stage.sweep(119.0)
    assert stage.connections
    await stage.sweep(1.0)
    await eventually(lambda: not stage.connections)
    await eventually(lambda: stage.open == 0)


async def test_a_caller_that_takes_a_little_is_not_cut(stage: OpenPlane) -> None:
    """What the gateway holds for it shrinks, if only a little: it is slow, not gone."""
    caller = await stage.call(get(), receive_bytes=65536)
    notebook = await stage.notebook()
    await notebook.head()
    size = 24_000_000
    notebook.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    await caller.head()
    [downstream] = stage.connections
    await eventually(lambda: downstream.writer.is_full)
    transport = downstream.transport
    read = 0
    for _ in range(4):
        await stage.sweep(60.0)
        before = transport.get_write_buffer_size()
        passed = downstream.request.answerer.out.bytes_out
        while (transport.get_write_buffer_size(), downstream.request.answerer.out.bytes_out) == (
            before,
            passed,
        ):
            read += len(await caller.reader.read(4096))
    assert len(await caller.exactly(size - read)) == size - read


async def test_a_notebook_that_takes_nothing_of_an_upload_is_a_504(stage: OpenPlane) -> None:
    caller = await stage.call(get(method=b"PUT", fields=b"Content-Length: 24000000\r\n") + bytes(24_000_000))
    notebook = await stage.notebook()
    await notebook.head()
    [downstream] = stage.connections
    await eventually(lambda: bool(downstream.intake.reasons))
    await stage.sweep(119.0)
    await stage.sweep(0.5)
    assert stage.open == 1
    await stage.sweep(1.0)
    assert (await caller.response())[0].startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    await eventually(lambda: stage.open == 0)


async def test_a_post_of_known_length_arrives_whole(stage: OpenPlane) -> None:
    caller = await stage.call(post(b"hello", fields=b"Content-Type: text/plain\r\n"))
    notebook = await stage.notebook()
    assert b"Content-Length: 5\r\n" in await notebook.head()
    await notebook.expect(b"hello")
    notebook.send(ok(b"hi"))
    assert (await caller.response())[1] == b"hi"


async def test_a_length_of_nothing_is_said_again(stage: OpenPlane) -> None:
    """Some servers insist on it for POST."""
    caller = await stage.call(post(b""))
    notebook = await stage.notebook()
    assert b"Content-Length: 0\r\n" in await notebook.head()
    notebook.send(ok(b"hi"))
    assert (await caller.response())[1] == b"hi"
