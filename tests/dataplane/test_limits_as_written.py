"""Sizes below `limits` mean what they say: what is just below one passes, to the notebook and to pages of the gateway's
own alike, however it is made up; what is just above it meets the answer that the configuration's comment names.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.config.sections import Limits
from proxy.dataplane.plane import REQUEST_FIELDS, Current
from proxy.errors import HeadTooLarge, TooManyRequestFields
from proxy.server.own_pages import OwnPages
from proxy.telemetry.access_log import loggable_path
from tests.harness.peer import Response
from tests.harness.plane import OpenPlane, open_plane

HEAD = Limits().request_head_bytes
LARGEST = 1024 * 1024
"""What `limits.request_head` can be set to."""
MOUNT = "/research"


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    instances = {"research": {"notebook": "research-gpu-1", "mount": {"path": MOUNT}}}
    async with open_plane(tmp_path, own_pages=OwnPages(), instances=instances) as opened:
        yield opened


def long_target(opened: OpenPlane, target: str, size: int) -> str:
    """A head of so many bytes, most of them in its target."""
    head = opened.head(f"{target}?{{}}")
    return head.format("q" * (size - len(head) + 2))


def long_cookie(opened: OpenPlane, target: str, size: int) -> str:
    """All cookies of a browser stand in one line."""
    head = opened.head(target, extra="Cookie: {}\r\n")
    return head.format("c=" + "c" * (size - len(head)))


def many_fields(opened: OpenPlane, target: str, size: int) -> str:
    head = opened.head(target, extra="{}")
    each = (size - len(head) + 2) // 100
    lines = [f"X-{number:03}: ".ljust(each - 2, "x") + "\r\n" for number in range(100)]
    rest = size - len(head) + 2 - sum(map(len, lines))
    lines[0] = lines[0][:-2] + "x" * rest + "\r\n"
    return head.format("".join(lines))


SHAPES = (long_target, long_cookie, many_fields)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_head_up_to_the_limit_reaches_the_notebook_whole(opened: OpenPlane, shape) -> None:
    peer = await opened.call()
    for _ in range(3):
        # The second and the third time its fields are known.
        head = shape(opened, f"{MOUNT}/api", HEAD)
        assert len(head) == HEAD
        peer.send(head)
        assert (await peer.response()).status == 200
        sent, came = re.sub(MOUNT, "", head), opened.upstream.heads[-1].decode()
        assert came.partition("\r\n")[0] == sent.partition("\r\n")[0]
        assert all(line in came for line in sent.split("\r\n") if line.startswith("X-"))
        assert came.count("c" * 1000) == sent.count("c" * 1000)


@pytest.mark.parametrize("shape", SHAPES)
async def test_and_so_it_does_pages_of_the_gateways_own(opened: OpenPlane, shape) -> None:
    peer = await opened.call()
    for _ in range(3):
        peer.send(shape(opened, "/.nbgate/none", HEAD))
        assert (await peer.response()).status == 404


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", [f"{MOUNT}/api", "/.nbgate/none"])
async def test_one_byte_more_is_431(opened: OpenPlane, shape, target: str) -> None:
    peer = await opened.call()
    peer.send(shape(opened, target, HEAD + 1))
    answer = await peer.response()
    assert (answer.status, opened.records[-1].error) == (431, HeadTooLarge.code)


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_largest_setting_counts_too_also_on_a_connection_from_before(tmp_path: Path, shape) -> None:
    async with open_plane(tmp_path) as opened:
        peer = await opened.call()
        peer.send(opened.head())
        assert (await peer.response()).status == 200
        plane = opened.plane
        await plane.adopt(
            Current(
                gateway=plane.current.gateway,
                keepers={"research": opened.keeper},
                limits=Limits(request_head_bytes=LARGEST),
                timeouts=plane.current.timeouts,
            )
        )
        peer.send(shape(opened, "/api", LARGEST))
        assert (await peer.response()).status == 200


def of_fields(opened: OpenPlane, target: str, count: int) -> str:
    """A head of so many fields, `Host` among them."""
    return opened.head(target, extra="".join(f"X-{number}: y\r\n" for number in range(count - 1)))


@pytest.mark.parametrize("target", [f"{MOUNT}/api", "/.nbgate/none"])
async def test_fields_beyond_those_that_are_read_are_431(opened: OpenPlane, target: str) -> None:
    peer = await opened.call()
    peer.send(of_fields(opened, target, REQUEST_FIELDS))
    assert (await peer.response()).status in (200, 404)
    peer.send(of_fields(opened, target, REQUEST_FIELDS + 1))
    answer: Response = await peer.response()
    assert (answer.status, answer.value("connection")) == (431, "close")
    assert opened.records[-1].error == TooManyRequestFields.code
    assert {"limits.request_head"} == {event["limit"] for event in opened.events}
    assert all("not raised by it" in event["remedy"] for event in opened.events)


@pytest.mark.parametrize("end", ["", "\r\n\r\n"], ids=["that has not ended", "whole"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_of_a_head_that_is_not_read_it_is_recorded_what_it_asks_for(
    opened: OpenPlane, method: str, end: str
) -> None:
    """Who meets the limit looks for the application that has so many cookies."""
    cookies = ("Cookie: " + "c" * (HEAD + 1), "\r\n".join(f"X-{number}: y" for number in range(HEAD // 8)))
    for field in cookies:
        answer = await opened.raw(f"{method} {MOUNT}/proxy/8050/?x=1 HTTP/1.1\r\n{field}{end}")
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert (answer.partition(b"\r\n\r\n")[2] == b"") is (method == "HEAD")
        record = opened.records[-1]
        assert (record.method, record.target.partition("?")[0]) == (method, f"{MOUNT}/proxy/8050/")
    few = "\r\n".join(f"X-{number}: y" for number in range(REQUEST_FIELDS + 1))
    await opened.raw(f"{method} {MOUNT}/few HTTP/1.1\r\n{few}\r\n\r\n")
    assert (opened.records[-1].target, opened.records[-1].error) == (
        f"{MOUNT}/few",
        TooManyRequestFields.code,
    )


async def test_an_address_that_is_too_long_is_recorded_without_its_query(opened: OpenPlane) -> None:
    assert b" 431 " in await opened.raw(f"GET {MOUNT}/report?token={'a' * HEAD}")
    assert opened.records[-1].method == "GET"
    assert loggable_path(opened.records[-1].target) == f"{MOUNT}/report"


async def test_what_is_too_large_and_no_request_asks_for_nothing(opened: OpenPlane) -> None:
    for first in ("GETT / HTTP/1.1\r\n", "GET\t/", "GET"):
        assert b" 431 " in await opened.raw(first + "a" * HEAD)
        assert (opened.records[-1].method, opened.records[-1].target) == ("-", "-")
