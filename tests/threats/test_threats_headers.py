"""Threats, "Headers/identity" (what is built of it: no identity yet) and the rows on cookies and caches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.sandbox.instance import InstanceSpec
from tests.harness.gateway import open_rig, status_of
from tests.harness.peer import Response
from tests.harness.plane import OpenPlane, open_plane

OURS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path) as opened:
        yield opened


async def upstream_head(opened: OpenPlane, extra: str, *, upgrade: bool = False) -> Response:
    """What the notebook's side sees of a request with these fields."""
    peer = await opened.call()
    peer.send(opened.upgrade(extra=extra) if upgrade else opened.head(extra=extra))
    assert (await peer.response()).status == (101 if upgrade else 200)
    peer.abort()
    return opened.upstream.fields()


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "X_Forwarded_User",
        "x-Forwarded_user",
        "X.Forwarded.User",
        "X-Forwarded-User",
        "X_Auth_Request_Email",
        "X-Auth-User",
        "X.Real.IP",
        "x_real_ip",
        "REMOTE_USER",
        "Remote.User",
        "X-Nbgate-Identity",
        "X_Nbgate_Identity",
        "X-Amzn-Oidc-Data",
        "Cf-Access-Jwt-Assertion",
        "X-Forwarded-Prefix",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Anything-New",
        "X_Forwarded_For",
        "Forwarded",
        "Via",
        "Proxy",
    ],
)
async def test_fields_that_only_proxies_set_are_removed_in_every_spelling(
    opened: OpenPlane, name: str, upgrade: bool
) -> None:
    """CVE-2025-64484: look-alikes never reach the notebook; CVE-2026-35051, CVE-2024-45410, CVE-2021-32813: all of one
    list is rebuilt."""
    seen = await upstream_head(opened, f"{name}: evil\r\n{name}: evil2\r\n", upgrade=upgrade)
    assert b"evil" not in seen.head
    assert [value for field in OURS for value in seen.values(field)] == [
        "127.0.0.1",
        "http",
        opened.authority,
    ]


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize(
    "nominated",
    [
        "X-Forwarded-For, X-Auth-User, Cookie",
        "x-forwarded-for",
        "X-Forwarded-Host, X-Forwarded-Proto, Host, Cookie",
        "Host, Content-Length, Connection, Upgrade",
        " , ,cookie,",
    ],
)
async def test_connection_cannot_remove_what_the_gateway_sets(
    opened: OpenPlane, nominated: str, upgrade: bool
) -> None:
    """CVE-2026-35051, CVE-2024-45410, Fabio CVE-2025-48865: callers' fields go first, ours are added last."""
    extra = f"Connection: {nominated}\r\nCookie: mine=1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Kept: yes\r\n"
    seen = await upstream_head(opened, extra, upgrade=upgrade)
    assert [value for field in OURS for value in seen.values(field)] == [
        "127.0.0.1",
        "http",
        opened.authority,
    ]
    assert "nb-auth=upstream-secret-1; nb-session=upstream-secret-2" in seen.value("cookie")
    assert seen.values("x-kept") == ["yes"]
    assert len(seen.values("host")) == 1
    assert seen.values("upgrade") == (["websocket"] if upgrade else [])


async def test_fields_that_connection_names_end_here(opened: OpenPlane) -> None:
    """RFC 9110 section 7.6.1, with the row above: hop by hop, and nothing else is lost or reordered."""
    seen = await upstream_head(
        opened,
        "A: 1\r\nX-Hop: 2\r\nConnection: x-hop, keep-alive\r\nB: 3\r\nTE: trailers\r\nTrailer: X\r\nKeep-Alive: 5\r\n"
        "Proxy-Authorization: Basic x\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nA: 4\r\n",
    )
    assert [field for field in seen.fields if field[0] in ("a", "b")] == [("a", "1"), ("b", "3"), ("a", "4")]
    for name in (
        "x-hop",
        "connection",
        "te",
        "trailer",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
    ):
        assert seen.values(name) == [], name
    assert seen.values("upgrade") == seen.values("http2-settings") == []


async def test_field_values_are_not_touched(opened: OpenPlane) -> None:
    """Bytes that are not ASCII, quotes, and repeated fields in their order."""
    seen = await upstream_head(opened, 'X-A: \xe9"\\;,  b\r\nx-a: 2\r\nX-B: \r\nAuthorization: token abc\r\n')
    assert b'\r\nX-A: \xe9"\\;,  b\r\nx-a: 2\r\n' in seen.head
    assert seen.values("authorization") == ["token abc"]


async def test_repeated_response_fields_arrive_repeated_and_in_order(opened: OpenPlane) -> None:
    opened.upstream.answer = lambda _head, _body: (
        b"HTTP/1.1 200 OK\r\nServer: T\r\nX-Repeated: one\r\nSet-Cookie: _xsrf=a; Path=/\r\nx-repeated: two\r\n"
        b"Set-Cookie: username-x=b; HttpOnly\r\nX-Repeated: three\r\nContent-Length: 0\r\n\r\n"
    )
    answer = await opened.get()
    assert answer.values("x-repeated") == ["one", "two", "three"]
    assert answer.values("set-cookie") == ["_xsrf=a; Path=/", "username-x=b; HttpOnly"]
    names = [name for name, _ in answer.fields if name in ("x-repeated", "set-cookie")]
    assert names == ["x-repeated", "set-cookie", "x-repeated", "set-cookie", "x-repeated"]


async def test_control_bytes_in_a_response_head_are_refused(opened: OpenPlane) -> None:
    """CVE-2026-34520: response splitting; 502, and nothing of it reaches the caller."""
    for bad in (
        b"X: a\x00b",
        b"X: a\x0bb",
        b"X: a\rSet-Cookie: evil=1",
        b"X: a\nSet-Cookie: evil=1",
        b"X: a\x7f",
    ):
        opened.upstream.answer = lambda _head, _body, bad=bad: (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + bad + b"\r\n\r\n"
        )
        answer = await opened.get()
        assert answer.status == 502, bad
        assert b"evil" not in answer.head


# -- cookies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize(
    "cookie",
    [
        "nb-auth=tossed",
        "a=1; nb-auth=tossed; b=2",
        "a=1\r\nCookie: nb-session=tossed; b=2",
        "nb-auth=tossed; nb-auth=tossed",
        'a="x; nb-auth=tossed"; b=2',
        "a=1, nb-auth=tossed; b=2",
        "=nb-auth=tossed",
        " nb-auth = tossed",
        "\tnb-auth=tossed",
        "$Version=1; nb-auth=tossed; $Path=/",
    ],
)
async def test_a_callers_copy_of_a_session_cookie_is_dropped(
    opened: OpenPlane, cookie: str, upgrade: bool
) -> None:
    """CVE-2026-54279 and its kin (tossing): the session's cookies upstream are the gateway's alone."""
    seen = await upstream_head(opened, f"Cookie: {cookie}\r\n", upgrade=upgrade)
    assert len(seen.values("cookie")) == 1
    assert "tossed" not in seen.value("cookie")
    assert seen.value("cookie").endswith("nb-auth=upstream-secret-1; nb-session=upstream-secret-2")


@pytest.mark.parametrize(
    "field",
    [
        "nb-auth=new-secret; Path=/",
        "nb-session=new-secret; Path=/; HttpOnly; Secure",
        " nb-auth = new-secret",
        "=nb-auth=new-secret",
        "nb-auth",
    ],
)
async def test_a_session_cookie_that_is_set_again_stays_here(opened: OpenPlane, field: str) -> None:
    """Upstream Set-Cookie for the session never reaches the browser; Jupyter's own beside it does."""
    opened.upstream.answer = lambda _head, _body: (
        f"HTTP/1.1 200 OK\r\nServer: T\r\nSet-Cookie: {field}\r\nSet-Cookie: _xsrf=2|x; Path=/\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()
    answer = await opened.get()
    assert answer.values("set-cookie") == ["_xsrf=2|x; Path=/"]
    assert opened.keeper.absorbed[0].strip() == field.strip().encode()


async def test_a_cookies_domain_is_removed(opened: OpenPlane) -> None:
    """Upstream `Domain=` is removed, in any spelling: cookies are host-only."""
    fields = {
        "a=1; Domain=.sagemaker.aws; Path=/": "a=1; Path=/",
        "a=1; domain = x; HttpOnly": "a=1; HttpOnly",
        "a=1;DOMAIN": "a=1",
        "a=Domain=x": "a=Domain=x",
    }
    for sent, arrives in fields.items():
        opened.upstream.answer = lambda _head, _body, sent=sent: (
            f"HTTP/1.1 200 OK\r\nServer: T\r\nSet-Cookie: {sent}\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        assert (await opened.get()).values("set-cookie") == [arrives]


async def test_one_instances_session_never_goes_to_another(tmp_path: Path) -> None:
    """Per-instance session store: nb1's cookie never to nb2 (CVE-2026-34518, -34993, -47265)."""
    specs = (
        InstanceSpec(name="one", cookie_names=("first-auth",)),
        InstanceSpec(name="two", cookie_names=("second-auth",)),
    )
    mounted = {
        "one": {"notebook": "one", "mount": {"path": "/one"}},
        "two": {"notebook": "two", "mount": {"path": "/two"}},
    }
    async with open_rig(tmp_path, instances=specs, mounted=mounted) as rig:
        for _ in range(2):
            for name in ("one", "two"):
                assert status_of(await rig.get(f"/{name}/x")) == 200
        for name, plain in rig.sandbox.plain.items():
            assert plain.seen, name
            assert rig.sandbox.instances[name].counts.signed_out == 0
            # The host takes its own cookies away before Jupyter: another's would still be there.
            assert not any("-auth" in value for seen in plain.seen for value in seen.values("cookie"))


async def test_the_exchange_follows_no_redirect_with_its_cookies(tmp_path: Path) -> None:
    """CVE-2026-34518 and its pair: cookies on a cross-origin redirect. A sign-in that leads to a foreign host fails."""
    async with open_plane(tmp_path) as trap:
        directory = tmp_path / "rig"
        directory.mkdir()
        async with open_rig(directory) as rig:

            async def elsewhere(request: object) -> object:
                from aiohttp import web

                return web.Response(status=302, headers={"Location": f"{trap.origin}/steal", "Server": "T"})

            rig.upstream.handler = elsewhere  # type: ignore[assignment]
            await rig.get("/")
            assert trap.records == []
            assert trap.upstream.accepted == 0


# -- caches -------------------------------------------------------------------------------------------


async def test_what_the_gateway_makes_is_not_stored(tmp_path: Path) -> None:
    """Cache: gateway-made redirects and errors carry `Cache-Control: no-store`."""
    mounts = {"research": {"notebook": "research-gpu-1", "mount": {"path": "/research"}}}
    async with open_plane(tmp_path, instances=mounts) as opened:
        for target, status in (("/research", 308), ("/.nbgate/x", 404), ("/nowhere", 403), ("/a#b", 400)):
            answer = await opened.get(target)
            assert (answer.status, answer.values("cache-control")) == (status, ["no-store"]), target
    denied = tmp_path / "denied"
    denied.mkdir()
    async with open_plane(denied, policy={"allow": ["elsewhere"]}) as opened:
        for head in (opened.head, opened.upgrade):
            peer = await opened.call()
            peer.send(head("/x"))
            answer = await peer.response()
            assert (answer.status, answer.values("cache-control")) == (403, ["no-store"])
