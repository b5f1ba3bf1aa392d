"""Nothing that a notebook sends may raise: examples that once did, the fuzzer's first, and what it would notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from proxy.dataplane.notebook import response_heads as upstream
from proxy.upstream import Honoured
from proxy.wire.body import Body, FramingError, LengthBody, response_body
from tests.fuzz.fuzz_notebook import LENGTHS, Example, Stages, check, open_stages, run


@pytest.fixture
async def stages() -> AsyncIterator[Stages]:
    async with AsyncExitStack() as stack:
        yield await open_stages(stack)


@pytest.mark.parametrize("mount", ["root", "path"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204), ("GET", 200)])
async def test_a_length_that_is_none_is_refused_also_where_nothing_follows(
    stages: Stages, method: str, status: int, mount: str
) -> None:
    """B10: it raised in `data_received`, where a page under a path mount was to be rewritten."""
    for length in LENGTHS:
        head = b"HTTP/1.1 %d X\r\nContent-Type: text/html\r\nContent-Length: %b\r\n\r\n" % (status, length)
        body = b"hello" if (method, status) == ("GET", 200) else b""
        await check(stages, Example(method, "/lab", mount, (head + body,), end="close"))


@pytest.mark.parametrize("honoured", Honoured)
@pytest.mark.parametrize("end", ["stay", "close", "reset"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 403 No\r\n\r\nno",
        b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 302 No\r\nLocation: https://signin.aws.amazon.com/\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_an_answer_that_waits_is_framed_like_any_other(
    stages: Stages, answer: bytes, end: Any, honoured: Honoured
) -> None:
    for at in range(1, len(answer) + 1, 7):
        parts = tuple(part for part in (answer[:at], answer[at:]) if part)
        await check(stages, Example("GET", "/proxy/8000/", "root", parts, end=end, honoured=honoured))


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_first_examples_hold(seed: int) -> None:
    assert await run(seed, examples=250) == 250


def as_in_0_1(**facts: Any) -> Body | None:
    """What a length says was read only where a body follows."""
    try:
        return response_body(**facts)
    except FramingError:
        return response_body(**{**facts, "content_length": None})


def one_byte_short(**facts: Any) -> Body | None:
    body = response_body(**facts)
    if isinstance(body, LengthBody) and body.remaining > 1:
        body.remaining -= 1
    return body


@pytest.mark.parametrize("wrong", [as_in_0_1, one_byte_short])
async def test_what_is_wrong_would_be_found(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    monkeypatch.setattr(upstream, "response_body", wrong)
    # All lengths are read by it, plain ones too.
    monkeypatch.setattr(upstream, "MAX_LENGTH_DIGITS", 0)
    # What is missed here is missed rightly.
    monkeypatch.setattr("tests.fuzz.fuzz_notebook.patience_seconds", 1.0)
    with pytest.raises((AssertionError, ValueError, TimeoutError)):
        await run(1, examples=2000)
