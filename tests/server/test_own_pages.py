"""Pages of the gateway's own: the right handler for path and method, and what every answer has in common."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.errors import Throttled
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import NOTHING_ALLOWED, PageRequest
from tests.harness.gateway import Rig, body_of, open_rig, status_of

INSTANCES = {
    "research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}},
    "secret": {"notebook": "research-gpu-1", "mount": {"path": "/secret/"}, "allow": ["elsewhere"]},
}
START = "sagemaker:StartNotebookInstance"


async def told(visit: PageRequest) -> web.StreamResponse:
    return web.json_response({"names": visit.names, "method": visit.inbound.method})


@pytest.fixture
async def own(tmp_path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, mounted=INSTANCES) as rig:
        yield rig


def fields(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


async def test_a_path_that_nobody_answers_is_the_404_it_always_was(own: Rig) -> None:
    for target in ("/.nbgate/nothing", "/api/gateway/nothing"):
        answer = await own.get(target)
        assert status_of(answer) == 404
        assert json.loads(body_of(answer))["error"]["code"] == "NOT_FOUND"
    # Elsewhere an instance could be mounted: it is answered as one that the caller may not reach.
    assert status_of(await own.get("/nothing")) == 403


async def test_names_in_the_path_reach_the_handler_as_they_came(own: Rig) -> None:
    own.gateway.serving.pages.add("GET", "/.nbgate/try/{name}", told)
    assert json.loads(body_of(await own.get("/.nbgate/try/a%2Fb?c=d")))["names"] == ["a%2Fb"]
    assert status_of(await own.get("/.nbgate/try/")) == 404
    assert status_of(await own.get("/.nbgate/try/a/b")) == 404


async def test_a_path_without_names_comes_before_one_with_them(own: Rig) -> None:
    own.gateway.serving.pages.add("GET", "/.nbgate/try/{name}", told)
    own.gateway.serving.pages.add("GET", "/.nbgate/try/it", told)
    assert json.loads(body_of(await own.get("/.nbgate/try/it")))["names"] == []


async def test_another_method_is_a_405_that_names_those_that_there_are(own: Rig) -> None:
    """RFC 9110 section 15.5.6."""
    own.gateway.serving.pages.add("GET", "/.nbgate/try", told)
    own.gateway.serving.pages.add("POST", "/.nbgate/try", told)
    answer = await own.get("/.nbgate/try", method="DELETE")
    assert status_of(answer) == 405
    assert fields(answer)["allow"] == "GET, HEAD, POST"


async def test_head_is_answered_as_get_without_the_body(own: Rig) -> None:
    own.gateway.serving.pages.add("GET", "/.nbgate/try", told)
    answer = await own.get("/.nbgate/try", method="HEAD")
    assert status_of(answer) == 200
    assert body_of(answer) == b""


def test_a_second_handler_for_the_same_thing_is_refused() -> None:
    pages = OwnPages()
    pages.add("GET", "/.nbgate/try/{name}", told)
    pages.add("POST", "/.nbgate/try/{name}", told)
    with pytest.raises(ValueError, match="has a handler already"):
        pages.add("GET", "/.nbgate/try/{other}", told)


async def test_every_answer_carries_the_security_headers(own: Rig) -> None:
    own.gateway.serving.pages.add("GET", "/.nbgate/try", told)
    for target in ("/.nbgate/try", "/.nbgate/nothing"):
        sent = fields(await own.get(target))
        assert sent["cache-control"] == "no-store"
        assert sent["x-content-type-options"] == "nosniff"
        assert sent["referrer-policy"] == "no-referrer"
        assert sent["content-security-policy"] == NOTHING_ALLOWED
        assert sent["x-request-id"]
        assert "server" not in sent


async def test_an_answer_may_bring_its_own_content_security_policy(own: Rig) -> None:
    async def page(visit: PageRequest) -> web.StreamResponse:
        return web.Response(text="", headers={"Content-Security-Policy": "default-src 'self'"})

    own.gateway.serving.pages.add("GET", "/.nbgate/try", page)
    assert fields(await own.get("/.nbgate/try"))["content-security-policy"] == "default-src 'self'"


async def test_what_a_handler_raises_is_the_error_page_of_anywhere(own: Rig) -> None:
    async def page(visit: PageRequest) -> web.StreamResponse:
        raise Throttled(retry_after_seconds=7)

    own.gateway.serving.pages.add("GET", "/.nbgate/try", page)
    answer = await own.get("/.nbgate/try")
    assert status_of(answer) == 503
    assert fields(answer)["retry-after"] == "7"
    assert json.loads(body_of(answer))["error"]["code"] == "THROTTLED"


async def test_a_fault_of_our_own_is_a_500_that_tells_nothing_and_is_logged(own: Rig) -> None:
    async def page(visit: PageRequest) -> web.StreamResponse:
        raise KeyError("of the implementation")

    own.gateway.serving.pages.add("GET", "/.nbgate/try", page)
    answer = await own.get("/.nbgate/try")
    assert status_of(answer) == 500
    assert b"implementation" not in answer
    request_id = fields(answer)["x-request-id"]
    [line] = [line for line in own.log_lines() if line.get("event") == "a fault of the gateway's own"]
    assert (line["where"], line["what"]) == ("page", request_id)
    assert "of the implementation" in line["exception"]


async def test_a_denied_action_is_a_403_and_one_audit_record_that_names_it(own: Rig) -> None:
    async def page(visit: PageRequest) -> web.StreamResponse:
        assert visit.may("research", START)
        assert not visit.may("secret", START)
        visit.decide("research", START)
        visit.decide("secret", START)
        raise AssertionError

    own.gateway.serving.pages.add("POST", "/.nbgate/try", page)
    assert status_of(await own.get("/.nbgate/try", method="POST")) == 403
    [line] = [line for line in own.log_lines() if line["kind"] == "audit"]
    assert (line["instance"], line["action"]) == ("secret", START)


async def test_a_body_is_read_up_to_its_bound(own: Rig) -> None:
    async def page(visit: PageRequest) -> web.StreamResponse:
        return web.Response(body=await visit.body(max_bytes=5))

    own.gateway.serving.pages.add("POST", "/.nbgate/try", page)
    head = "POST /.nbgate/try HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}"
    assert body_of(await own.raw(head.format(own.authority, 5, "12345").encode())) == b"12345"
    assert status_of(await own.raw(head.format(own.authority, 6, "123456").encode())) == 413
