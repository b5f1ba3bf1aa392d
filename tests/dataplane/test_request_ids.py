"""Every answer tells its request's id, under which the log has it, and what proxies call the request is logged, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.telemetry.incoming_ids import MAX_CHARACTERS
from tests.harness.notebook import OK
from tests.harness.peer import Response
from tests.harness.plane import OpenPlane, open_plane

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\n\r\n<a href=/x>x</"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
OWN_ID = b"HTTP/1.1 200 OK\r\nX-Request-Id: the-notebooks\r\nContent-Length: 2\r\n\r\nok"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
UNCHANGED = b"HTTP/1.1 304 Not Modified\r\n\r\n"

PROXIED: dict[str, Any] = {"client_address": {"trusted_proxies": ["127.0.0.0/8"]}}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("answer", [OK, CHUNKED, UNTIL_CLOSE, NOTHING, UNCHANGED, OWN_ID, PAGE], ids=str)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("mount", ["root", {"path": "/research/"}], ids=["root", "path"])
async def test_a_forwarded_answer_tells_the_id_under_which_it_is_logged(
    tmp_path: Path, answer: bytes, method: str, mount: object
) -> None:
    instances = {"research": {"notebook": "research-gpu-1", "mount": mount}}
    async with open_plane(tmp_path, instances=instances) as opened:
        opened.upstream.answer = lambda _head, _body: (
            answer
            if method == "GET" or b"chunked" in answer
            else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        )
        answered = await opened.get("/research/x", method=method)
        assert answered.values("x-request-id") == [opened.records[-1].request_id]


async def test_interim_answers_have_none(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as opened:
        opened.upstream.answer = lambda _head, _body: INTERIM + OK
        peer = await opened.call()
        peer.send(opened.head("/x"))
        assert Response(await peer.head()).values("x-request-id") == []
        assert (await peer.response()).value("x-request-id") == opened.records[-1].request_id


async def test_a_handshake_tells_the_id_of_its_websocket(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as opened:
        peer = await opened.call()
        peer.send(opened.upgrade())
        told = Response(await peer.head()).values("x-request-id")
        peer.abort()
        await opened.settled(lambda: len(opened.records) == 1)
        assert told == [opened.records[0].request_id]


async def test_what_nobody_is_asked_about_has_one(tmp_path: Path) -> None:
    instances = {"research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}}}
    async with open_plane(tmp_path, instances=instances) as opened:
        host = f"Host: {opened.authority}\r\nConnection: close\r\n\r\n"
        for request in (
            f"GET /research HTTP/1.1\r\n{host}",
            "GET /research/a HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n",
            f"GET /nothing HTTP/1.1\r\n{host}",
            f"GET nothing HTTP/1.1\r\n{host}",
            "GET\r\n\r\n",
            "\x16\x03\x01",
        ):
            head, _, _ = (await opened.raw(request)).partition(b"\r\n\r\n")
            answered = Response(head + b"\r\n\r\n")
            assert answered.values("x-request-id") == [opened.records[-1].request_id], request
        assert [record.status for record in opened.records] == [308, 421, 403, 400, 400, 400]


async def logged(opened: OpenPlane, fields: str) -> dict[str, str]:
    await opened.get("/x", extra=fields)
    return dict(opened.records[-1].incoming_ids)


async def test_what_a_trusted_proxy_calls_a_request_is_logged(tmp_path: Path) -> None:
    """Of a refusal's, too."""
    fields = (
        f"traceparent: {TRACEPARENT}\r\nX-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678;Sampled=1\r\n"
        "X-Request-Id: 0b7c8e/front-1\r\n"
    )
    async with open_plane(tmp_path, **PROXIED) as opened:
        expected = {
            "traceparent": TRACEPARENT,
            "amzn_trace_id": "Root=1-67891233-abcdef012345678912345678;Sampled=1",
            "proxy_request_id": "0b7c8e/front-1",
        }
        assert await logged(opened, fields) == expected
        assert await logged(opened, fields + "X-Forwarded-For: 192.0.2.1\r\n") == expected
        assert opened.records[-1].status == 403
        # Nobody believes it of a notebook's own caller: the field that goes on is not the proxy's.
        assert opened.upstream.fields(0).value("x-request-id") == ""


async def test_a_caller_that_speaks_for_itself_names_nothing(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as opened:
        assert await logged(opened, f"traceparent: {TRACEPARENT}\r\nX-Request-Id: mine\r\n") == {}


@pytest.mark.parametrize(
    "field",
    [
        f"X-Request-Id: {'a' * (MAX_CHARACTERS + 1)}",
        "X-Request-Id: a b",
        'X-Request-Id: a"b',
        "X-Request-Id: a\x7f",
        "X-Request-Id: \xe9",
        "X-Request-Id: ",
        "X-Request-Id: one\r\nX-Request-Id: two",
        "X-Request-Id: nbgate2_u.abcdef",
        "X-Amzn-Trace-Id: Root=1;token=abcdefghijkl",
        "X-Request-Id: eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    ],
)
async def test_what_is_no_id_is_not_logged(tmp_path: Path, field: str) -> None:
    async with open_plane(tmp_path, **PROXIED) as opened:
        assert await logged(opened, f"{field}\r\n") == {}
        assert opened.records
