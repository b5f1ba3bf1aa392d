"""Threats, "Path/host/SSRF", and the gaps of aiohttp that concern targets and hosts."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.gateway import body_of, open_rig, status_of
from tests.harness.plane import OpenPlane, open_plane
from tests.threats.callers import HANDSHAKE, ask, denying, untouched

TWO_MOUNTS = {
    "private": {"notebook": "research-gpu-1", "mount": {"path": "/private"}, "allow": ["elsewhere"]},
    "open": {"notebook": "research-gpu-1", "mount": {"path": "/open"}},
}
TWO_LISTS = {"here": ["127.0.0.0/8"], "elsewhere": ["203.0.113.0/24"]}


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path) as opened:
        yield opened


async def one(opened: OpenPlane, target: str, *, host: str | None = None, upgrade: bool = False) -> int:
    """The status of a request with this target and this Host."""
    host = opened.authority if host is None else host
    extra = HANDSHAKE if upgrade else "Connection: close\r\n"
    peer = await opened.call()
    peer.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n")
    status = (await peer.response()).status
    peer.abort()
    return status


async def both(opened: OpenPlane, target: str, *, host: str | None = None) -> list[int]:
    return [await one(opened, target, host=host), await one(opened, target, host=host, upgrade=True)]


@pytest.mark.parametrize(
    "field", ["X-Forwarded-Uri", "X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Path"]
)
async def test_no_header_chooses_the_path_that_is_judged(tmp_path: Path, field: str) -> None:
    """CVE-2026-40575: judged on the request target; the header is not forwarded."""
    async with open_plane(
        tmp_path, allowlists=TWO_LISTS, policy={"allow": ["here"]}, instances=TWO_MOUNTS
    ) as opened:
        for value in ("/healthz", "/open/", "/.nbgate/x"):
            for head in (opened.head, opened.upgrade):
                peer = await opened.call()
                peer.send(head("/private/x", extra=f"{field}: {value}\r\n"))
                assert (await peer.response()).status == 403
        assert opened.upstream.accepted == 0
        assert (await opened.get("/open/x", extra=f"{field}: /private/\r\n")).status == 200
        assert opened.upstream.fields().values(field) == []


@pytest.mark.parametrize("agent", ["kube-probe/1.29", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Googlebot"])
async def test_no_user_agent_is_let_in(tmp_path: Path, agent: str) -> None:
    """GHSA-5hvv-m4w4-gf6v: a health check's User-Agent skipped authentication."""
    async with denying(tmp_path) as rig:
        for target in ("/", "/healthz", "/readyz", "/.nbgate/x"):
            assert await ask(rig, target, extra=f"User-Agent: {agent}\r\n") == [403, 403]


async def test_a_fragment_is_refused_and_an_encoded_one_is_part_of_the_path(opened: OpenPlane) -> None:
    """GHSA-pxq7-h93f-9jrg: raw `#` -> 400 (aiohttp passes it); `%23` is judged and forwarded as it is."""
    for target in ("/private#/healthz", "/#", "/a?b#c", f"http://{opened.authority}/a#b"):
        assert await both(opened, target) == [400, 400], target
    assert opened.upstream.accepted == 0
    assert await one(opened, "/private%23/healthz") == 200
    assert opened.upstream.heads[-1].startswith(b"GET /private%23/healthz HTTP/1.1\r\n")


async def test_neither_fragment_nor_query_makes_a_private_path_public(tmp_path: Path) -> None:
    """GHSA-pxq7-h93f-9jrg, GHSA-7rh7-c77v-6434: `/private?x=/healthz`, `/private%23/healthz` -> deny."""
    async with denying(tmp_path, mounted=TWO_MOUNTS, allowlists=TWO_LISTS, policy={"allow": ["here"]}) as rig:
        for target in (
            "/private/?x=/healthz",
            "/private/?/open/",
            "/private/%23/healthz",
            "/private/..%2fopen/",
            "/private/../open/",
            "/private/%2e%2e/open/x",
            "/private/..;/open/",
            "/private/;/../open/",
            "/private//open/",
        ):
            assert await ask(rig, target) == [403, 403], target


TRAVERSALS = [
    "/a/../b",
    "/a/./b",
    "/%2e%2e/a",
    "/%252e%252e/a",
    "/a%2fb",
    "/a%2Fb",
    "/a/..;/b",
    "//x",
    "///x//",
    "/\\x",
    "/a%5cb",
    "/%00",
    "/a%00/../b",
    "/a;x=1/b",
    "/a?b=../c&b=%2e",
    "/a??",
    "/?",
    "/a%",
    "/a%zz",
    '/a"b<c>',
    "/a|b^c`{}",
    "/files/a%2Fb%20c;x=1?q=1&q=%2B",
]


@pytest.mark.parametrize("target", TRAVERSALS)
async def test_policy_and_notebook_see_the_same_bytes(opened: OpenPlane, target: str) -> None:
    """Traversal (decode/normalise mismatch): nothing is decoded, normalised or merged."""
    assert await one(opened, target) == 200
    assert opened.upstream.heads[-1].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()
    assert await one(opened, target, upgrade=True) == 101
    assert opened.upstream.heads[-1].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()
    assert {record.target for record in opened.records} == {target}


@pytest.mark.parametrize("target", TRAVERSALS)
async def test_no_target_leaves_its_mount(tmp_path: Path, target: str) -> None:
    """Traversal, path mounts: a prefix is matched on raw bytes, at a segment's boundary."""
    async with open_plane(
        tmp_path, allowlists=TWO_LISTS, policy={"allow": ["here"]}, instances=TWO_MOUNTS
    ) as opened:
        assert await one(opened, f"/open{target}") == 200
        assert opened.upstream.heads[-1].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()
        assert await one(opened, f"/private{target}") == 403
        for spelling in (
            "/%6fpen/x",
            "/Open/x",
            "//open/x",
            "/./open/x",
            "/openx/",
            "/open%2fx",
            "/open;a/x",
            "/open\\x",
        ):
            assert await one(opened, spelling) == 403, spelling


@pytest.mark.parametrize(
    "target", ["/\x00", "/a\x7f", "/\xe9", "/a b", "/\t", "/a\x01", "*", "a", "?x", "a:80", ""]
)
async def test_bytes_that_no_target_may_hold_are_refused(opened: OpenPlane, target: str) -> None:
    """Traversal: `%00` passes as it is, NUL itself, other controls, white space and non-ASCII bytes do not."""
    assert await both(opened, target) == [400, 400]
    assert opened.upstream.accepted == 0


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        "evil@a",
        "a/b",
        "a:99999",
        "a:0",
        "a:",
        "a:b",
        "a,b",
        "a\\b",
        "a%41",
        "[::1",
        "::1",
        "[fe80::1%25a]",
        "a#b",
        "a?b",
        "127.0.0.1:80:80",
        "é",
        "a..b",
        ".",
        "-a",
        "http://a",
    ],
)
async def test_a_host_that_is_none_is_refused(opened: OpenPlane, host: str) -> None:
    """CVE-2026-34525: what aiohttp still serves (empty, `a b`, `evil@a`, `a/b`, `a:99999`) is 400."""
    assert await both(opened, "/", host=host) == [400, 400]
    assert opened.upstream.accepted == 0


async def test_a_missing_or_repeated_host_is_refused(opened: OpenPlane) -> None:
    """CVE-2026-34525: duplicate or missing Host -> 400."""
    own = f"Host: {opened.authority}\r\n"
    for hosts in ("", own + own, own + "Host: evil\r\n", "Host: evil\r\n" + own, own + "host: \r\n"):
        assert (await opened.raw(f"GET / HTTP/1.1\r\n{hosts}\r\n")).startswith(b"HTTP/1.1 400 ")
    assert (await opened.raw("GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert opened.upstream.accepted == 0


async def test_a_host_that_is_not_ours_is_misdirected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host SSRF: the instance comes from the configured map only: 421, and no name is looked up or dialled.

    CVE-2022-21697, GHSA-gcv9-6737-pjqw: as above.
    """
    async with open_rig(tmp_path) as rig:
        looked_up: list[object] = []
        # What everything that dials by name goes through.
        monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **_: looked_up.append(asked) or [])
        for host in (
            "evil",
            "127.0.0.1.evil",
            "nb1.evil",
            "169.254.169.254",
            "[::1]",
            "localhost.evil",
            "research",
            "research-gpu-1.notebook.us-east-1.sagemaker.aws",
            "0x7f000001",
            "2130706433",
            "0127.0.0.1",
        ):
            assert await ask(rig, host=host) == [421, 421], host
        assert (await ask(rig, host="nb1@evil")) == [400, 400]
        assert untouched(rig)
        assert not looked_up
        monkeypatch.undo()
        assert await ask(rig, host=f"LOCALHOST.:{rig.port}") == [200, 101]


async def test_an_absolute_target_must_name_the_host(opened: OpenPlane) -> None:
    """Absolute-form host confusion: a mismatch is 400; a match is forwarded in origin-form, never concatenated."""
    own = opened.authority
    for target, host in (
        ("http://evil/api", own),
        (f"http://{own}/api", "evil"),
        (f"http://{own}@evil/api", own),
        (f"http://evil@{own}/api", own),
        (f"http://{own}.evil/api", own),
        (f"http://{own.split(':')[0]}/api", own),
        (f"https://{own.split(':')[0]}/api", own),
        (f"ftp://{own}/api", own),
        ("http:///api", own),
        (f"http:{own}/api", own),
        ("http://", own),
        ("evil:443", own),
    ):
        assert await both(opened, target, host=host) == [400, 400], target
    assert opened.upstream.accepted == 0
    for target in (f"http://{own}/api?x=%2F", f"HTTP://{own}/api?x=%2F"):
        assert await both(opened, target) == [200, 101]
        assert opened.upstream.heads[-1].startswith(b"GET /api?x=%2F HTTP/1.1\r\n")
    assert await one(opened, f"http://{own}") == 200
    assert opened.upstream.heads[-1].startswith(b"GET / HTTP/1.1\r\n")


async def test_connect_and_trace_are_refused(opened: OpenPlane) -> None:
    """aiohttp's gaps: CONNECT reaches the handler."""
    for line in ("CONNECT 127.0.0.1:22", f"CONNECT {opened.authority}", "CONNECT /", "TRACE /"):
        assert (await opened.raw(f"{line} HTTP/1.1\r\nHost: {opened.authority}\r\n\r\n")).startswith(
            b"HTTP/1.1 400 "
        )
    assert opened.upstream.accepted == 0


async def test_a_presigned_url_for_a_foreign_host_is_not_followed(tmp_path: Path) -> None:
    """Host SSRF: the presigned URL's host must be a notebook's; a forged answer makes no open proxy of the gateway."""
    async with open_rig(tmp_path) as probe:
        aws: dict[str, Any] = {"region": probe.sandbox.region, "endpoint_url": probe.sandbox.endpoint_url}
        directory = tmp_path / "inner"
        directory.mkdir()
        async with open_plane(directory) as trap:
            aws["notebook_origins"] = [trap.origin]
            inner = tmp_path / "rig"
            inner.mkdir()
            async with open_rig(inner, aws=aws) as rig:
                # The API is the first sandbox's, whose notebook hosts this gateway was not told of.
                answer = await rig.get("/")
                assert status_of(answer) == 502
                assert b"authToken" not in answer
                assert probe.sandbox.calls["CreatePresignedNotebookInstanceUrl"] >= 1
                assert probe.sandbox.instances["research-gpu-1"].counts.requests == 0
                assert trap.records == []


async def test_redirects_stay_what_they_are(tmp_path: Path) -> None:
    """CVE-2026-33709: upstream `Location` to foreign hosts is not rewritten to ours, nor made of ours; one to the
    notebook's own origin leads to the gateway."""
    async with open_plane(
        tmp_path, instances={"research": {"notebook": "research-gpu-1", "mount": {"path": "/research"}}}
    ) as opened:
        notebook = str(opened.keeper.known.origin)
        for location, seen in (
            ("https://evil/x", "https://evil/x"),
            ("//evil/x", "//evil/x"),
            (f"{notebook}.evil/x", f"{notebook}.evil/x"),
            (f"{notebook}@evil/x", f"{notebook}@evil/x"),
            (f"{notebook}/lab", f"{opened.origin}/research/lab"),
            ("/lab", "/research/lab"),
        ):
            opened.upstream.answer = lambda _head, _body, location=location: (
                f"HTTP/1.1 302 Found\r\nServer: TornadoServer/6.5\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            ).encode()
            assert (await opened.get("/research/x")).values("location") == [seen]


async def test_our_own_redirect_leads_nowhere_else(tmp_path: Path) -> None:
    """CVE-2026-33709: the only redirect that the gateway makes by itself is a local path, whatever the query."""
    async with open_plane(
        tmp_path, instances={"research": {"notebook": "research-gpu-1", "mount": {"path": "/research"}}}
    ) as opened:
        for query in ("", "?next=//evil", "?next=/\\evil", "?//evil", "?\\evil"):
            answer = await opened.get(f"/research{query}")
            assert answer.status == 308
            assert answer.values("location") == [f"/research/{query}"]
        for target in ("//research", "/\\research", "//evil/research", "//evil/..//research"):
            assert (await opened.get(target)).status == 403, target


MARK = "echo-4711<script>alert(1)</script>"


async def test_error_pages_echo_nothing(tmp_path: Path) -> None:
    """CVE-2024-35225, aiohttp's own 400 page: no bytes of the request; a content security policy; no-store."""
    html = "Accept: text/html\r\n"
    async with open_rig(tmp_path) as rig:
        own = f"Host: {rig.authority}\r\n"
        heads = [
            f"GET /{MARK}#{MARK} HTTP/1.1\r\n{own}{html}X: {MARK}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: {MARK}\r\n{html}\r\n",
            f"GET / HTTP/1.1\r\nHost: echo-4711.evil\r\n{html}Connection: close\r\n\r\n",
            f"GET /.nbgate/{MARK} HTTP/1.1\r\n{own}{html}Connection: close\r\n\r\n",
            f"G{MARK} / HTTP/1.1\r\n{own}{html}\r\n",
            f"GET / HTTP/{MARK}\r\n{own}{html}\r\n",
            f"GET / HTTP/1.1\r\n{own}{html}{MARK}: x\r\n\r\n",
            f"GET / HTTP/1.1\r\n{own}{html}Content-Length: {MARK}\r\n\r\n",
            f"GET /{MARK * 5000} HTTP/1.1\r\n{own}{html}\r\n",
        ]
        for head in heads:
            answer = await rig.raw(head.encode())
            assert status_of(answer) >= 400, head
            assert b"echo-4711" not in answer, head
            assert b"\r\nCache-Control: no-store\r\n" in answer
            if b"text/html" in answer.partition(b"\r\n\r\n")[0]:
                assert b"\r\nContent-Security-Policy: default-src 'none'" in answer
                assert b"<script" not in body_of(answer)


async def test_the_gateways_own_paths_are_judged_too(tmp_path: Path) -> None:
    """One door: what no notebook answers is denied as well."""
    async with denying(tmp_path) as rig:
        for target in ("/.nbgate/", "/api/gateway/v1/x", "/nowhere"):
            assert await ask(rig, target) == [403, 403]
