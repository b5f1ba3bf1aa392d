"""Pages under a path mount: collected, rewritten and sent anew; everything else passes as it came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from raw_upstream import Peer
from stage import HOST, Stage, eventually, get, ok, open_stage

PAGE = b'<html><script src="/static/a.js"></script><a href="/lab">lab</a></html>'
REWRITTEN = b'<html><script src="/research/static/a.js"></script><a href="/research/lab">lab</a></html>'
HTML = b"Content-Type: text/html; charset=UTF-8\r\n"
BROWSER = b"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, br\r\n"
ORIGIN = f"http://{HOST}".encode()
LIMIT = 64 * 1024


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """An instance mounted at /research/."""
    async with open_stage(
        tmp_path, mount={"path": "/research/"}, limits={"rewritten_page": "64KiB"}
    ) as opened:
        yield opened


async def page(
    stage: Stage, target: bytes = b"/research/lab", *, fields: bytes = BROWSER
) -> tuple[Peer, Peer]:
    return await stage.get(target, fields=fields)


async def test_the_prefix_is_the_gateways_and_not_the_notebooks(stage: Stage) -> None:
    caller = await stage.call(get(b"/research/files/a%2Fb?x=/research/", fields=BROWSER))
    notebook = await stage.notebook()
    head = await notebook.head()
    assert head.startswith(b"GET /files/a%2Fb?x=/research/ HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in head
    assert b"gzip" not in head
    notebook.send(ok(b"x"))
    await caller.response()


@pytest.mark.parametrize(
    "answer",
    [
        ok(PAGE, fields=HTML),
        b"HTTP/1.1 200 OK\r\n" + HTML + b"Transfer-Encoding: chunked\r\n\r\n"
        b"%x;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (20, PAGE[:20], len(PAGE) - 20, PAGE[20:]),
    ],
    ids=["length", "chunked"],
)
async def test_a_page_is_rewritten_and_has_a_length_of_its_own(stage: Stage, answer: bytes) -> None:
    caller, notebook = await page(stage)
    for start in range(0, len(answer), 50):
        notebook.send(answer[start : start + 50])
        await notebook.drain()
    head, body = await caller.response()
    assert body == REWRITTEN
    assert head.count(b"Content-Length") == 1
    assert b"Transfer-Encoding" not in head
    await eventually(lambda: stage.idle == 1)
    caller.send(get(b"/research/api", fields=BROWSER))
    assert (await notebook.head()).startswith(b"GET /api ")


async def test_a_page_that_the_notebooks_end_ends_is_rewritten_too(stage: Stage) -> None:
    caller, notebook = await page(stage)
    notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"\r\n" + PAGE).close()
    assert (await caller.response())[1] == REWRITTEN


async def test_an_http_10_caller_gets_the_page_with_a_length(stage: Stage) -> None:
    caller = await stage.call(b"GET /research/lab HTTP/1.0\r\nHost: notebooks.test\r\n" + BROWSER + b"\r\n")
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(ok(PAGE, fields=HTML))
    head, body = await caller.response()
    assert b"Connection: close\r\n" in head
    assert body == REWRITTEN
    assert await caller.gone()


async def test_an_empty_page_stays_empty(stage: Stage) -> None:
    caller, notebook = await page(stage)
    notebook.send(ok(fields=HTML))
    assert (await caller.response())[1] == b""


async def test_addresses_of_kernels_resources_are_rewritten(stage: Stage) -> None:
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
        (b"/research/lab", HTML + b"Content-Encoding: gzip\r\n", b"\x1f\x8b not really"),
    ],
)
async def test_everything_else_passes_as_it_came(
    stage: Stage, target: bytes, fields: bytes, body: bytes
) -> None:
    caller, notebook = await page(stage, target)
    notebook.send(ok(body, fields=fields))
    assert await caller.response() == (
        b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body),
        body,
    )


async def test_each_field_of_a_page_is_rewritten_for_itself(stage: Stage) -> None:
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


async def test_the_head_of_a_page_says_what_get_would_say(stage: Stage) -> None:
    caller = await stage.call(get(b"/research/lab", fields=BROWSER, method=b"HEAD"))
    notebook = await stage.notebook()
    await notebook.head()
    notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b'ETag: "a"\r\nContent-Length: 71\r\n\r\n')
    assert await caller.head() == b"HTTP/1.1 200 OK\r\n" + HTML + b'ETag: W/"a-nbgate"\r\n\r\n'


# -- pages that are too large -----------------------------------------------------------------------------------

LARGE = PAGE + b" " * LIMIT


async def test_a_large_page_passes_unchanged_at_once_if_its_length_says_so(stage: Stage) -> None:
    caller, notebook = await page(stage)
    notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE[:10])
    assert b"Content-Length: %d\r\n" % len(LARGE) in await caller.head()
    await caller.expect(LARGE[:10])
    notebook.send(LARGE[10:])
    await caller.expect(LARGE[10:])


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_large_page_of_unknown_length_passes_unchanged(stage: Stage, framing: str) -> None:
    caller, notebook = await page(stage)
    if framing == "chunked":
        notebook.send(
            b"HTTP/1.1 200 OK\r\n" + HTML + b"Transfer-Encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE)
        )
    else:
        notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"\r\n" + LARGE).close()
    assert b"Transfer-Encoding: chunked\r\n" in await caller.head()
    assert await dechunked(caller) == LARGE
    caller.send(get(b"/research/"))
    another = notebook if framing == "chunked" else await stage.notebook()
    await another.head()


async def dechunked(peer: Peer) -> bytes:
    body = b""
    while size := int(await peer._reader.readline(), 16):
        body += await peer.exactly(size)
        await peer.expect(b"\r\n")
    await peer.expect(b"\r\n")
    return body


async def test_a_large_page_that_breaks_off_never_looks_complete(stage: Stage) -> None:
    caller, notebook = await page(stage)
    notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"\r\n" + LARGE)
    await caller.head()
    notebook.reset()
    with pytest.raises(ConnectionResetError):
        await caller.rest()


async def test_a_page_that_breaks_off_is_a_503(stage: Stage) -> None:
    caller, notebook = await page(stage)
    notebook.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"Content-Length: 71\r\n\r\n" + PAGE[:30])
    await notebook.drain()
    notebook.close()
    head, body = await caller.response()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"static" not in body


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
async def test_locations_lead_back_to_the_mount(stage: Stage, sent: bytes, seen: bytes) -> None:
    caller, notebook = await page(stage)
    sent = sent.replace(b"%b", b"127.0.0.1:%d" % stage.upstream.port)
    notebook.send(b"HTTP/1.1 302 Found\r\nLocation: " + sent + b"\r\nContent-Length: 0\r\n\r\n")
    assert b"\r\nLocation: " + seen + b"\r\n" in await caller.head()


async def test_a_created_things_location_is_the_callers_too(tmp_path: Path) -> None:
    """Under a root mount only the notebook's own origin is replaced."""
    async with open_stage(tmp_path) as stage:
        caller, notebook = await stage.get()
        own = b"http://127.0.0.1:%d" % stage.upstream.port
        notebook.send(b"HTTP/1.1 201 Created\r\nLocation: " + own + b"/api/x\r\nContent-Length: 0\r\n\r\n")
        assert b"\r\nLocation: " + ORIGIN + b"/api/x\r\n" in await caller.head()


async def test_cookies_stay_below_the_mount(stage: Stage) -> None:
    caller, notebook = await page(stage)
    notebook.send(ok(fields=b"Set-Cookie: _xsrf=a; Path=/\r\nSet-Cookie: u=b; Path=/api; Domain=x.aws\r\n"))
    head = await caller.head()
    assert b"Set-Cookie: _xsrf=a; Path=/research/\r\n" in head
    assert b"Set-Cookie: u=b; Path=/research/api\r\n" in head


async def test_origin_and_referer_are_the_notebooks_own(stage: Stage) -> None:
    own = b"http://127.0.0.1:%d" % stage.upstream.port
    caller = await stage.call(
        get(b"/research/x", fields=b"Origin: %b\r\nReferer: %b/research/lab?a\r\n" % (ORIGIN, ORIGIN))
    )
    head = await (await stage.notebook()).head()
    assert b"Origin: " + own + b"\r\n" in head
    assert b"Referer: " + own + b"/lab?a\r\n" in head
    caller.close()
