"""Links, sessions and tokens over real sockets: who is let in, what is never passed on, and where nothing leads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from aiohttp import web

from proxy.client_address.networks import parse_address
from proxy.dataplane.plane import Current
from proxy.identity.tokens import TokenKind, authorized_url
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.threats.callers import HANDSHAKE, ask, asked, audited, untouched

BROWSER = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\n"
HERE = parse_address("127.0.0.1")
PRESIGNED: dict[str, Any] = {"access": "presigned"}
BARE = "v1.token.websocket.jupyter.org"
IN_SUBPROTOCOL = f"{BARE}."


def made(rig: Rig, kind: TokenKind = TokenKind.URL, **changes: Any) -> str:
    said = {"instance": "research", "principal": "zoe", "address": HERE, "seconds": 300, **changes}
    settings = rig.gateway.reloader.settings
    name = said["instance"]
    said.setdefault("leads_to", settings.leads_to(name) if name in settings.instances else "nothing")
    if kind is TokenKind.URL:
        said.setdefault("session_seconds", 1800)
    return rig.gateway.serving.tokens.issue(kind, **said)


def fields_of(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def enter(rig: Rig, target: str = "/", **changes: Any) -> str:
    """Open a link as a browser does; the `Cookie` line that it sends from then on."""
    mark = "&" if "?" in target else "?"
    answer = await rig.get(f"{target}{mark}authToken={made(rig, **changes)}", extra=BROWSER)
    assert status_of(answer) == 302
    return f"Cookie: {fields_of(answer)['set-cookie'].partition(';')[0]}\r\n"


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, clock=FakeClock(), **PRESIGNED) as rig:
        yield rig


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, clock=FakeClock()) as rig:
        yield rig


# -- access: presigned --------------------------------------------------------------------------------


async def test_without_a_session_nobody_comes_in_and_nothing_is_dialled(guarded: Rig) -> None:
    assert await ask(guarded) == [401, 403]
    assert await ask(guarded, "/api/kernels?token=jupyters-own") == [401, 403]
    assert await ask(guarded, "/lab", extra="Cookie: nbgate-session=x\r\n") == [401, 403]
    assert untouched(guarded)
    records = audited(guarded)
    assert len(records) == 6
    assert {record["instance"] for record in records} == {"research"}
    assert {record["reason"] for record in records} == {"no session and no token", "malformed"}


async def test_programs_get_json_and_browsers_the_sign_in_page(guarded: Rig) -> None:
    program = await guarded.get("/api/status", extra="Accept: */*\r\n")
    assert status_of(program) == 401
    assert fields_of(program)["www-authenticate"] == "Bearer"
    assert json.loads(body_of(program))["error"]["code"] == "SIGN_IN_REQUIRED"
    script = await guarded.get("/api/status", extra="Accept: text/html\r\nSec-Fetch-Mode: cors\r\n")
    # JupyterLab's own question: after a 401 it would give its kernels up.
    assert status_of(script) == 424
    assert json.loads(body_of(script))["reason"] == "SESSION_ENDED"
    browser = await guarded.get("/lab", extra=BROWSER)
    assert status_of(browser) == 302
    assert fields_of(browser)["location"] == "/.nbgate/sign-in"
    assert fields_of(browser)["cache-control"] == "no-store"
    # What is fetched ahead must not put the page in a later visit's place.
    ahead = await guarded.get("/lab", extra=f"{BROWSER}Sec-Purpose: prefetch\r\n")
    assert status_of(ahead) == 401
    page = await guarded.get("/.nbgate/sign-in", extra=BROWSER)
    assert status_of(page) == 200
    assert b"Ask whoever runs this gateway" in page
    assert b'href="/"' in page or b'href="/.nbgate/"' in page
    assert (
        status_of(await guarded.get("/.nbgate/sign-in?next=//evil.example", extra="Accept: */*\r\n")) == 401
    )
    assert "default-src 'none'" in fields_of(page)["content-security-policy"]


NODE_FETCH = (
    "Accept: */*\r\nUser-Agent: node-fetch/1.0 (+https://github.com/bitinn/node-fetch)\r\n"
    "Accept-Encoding: gzip,deflate\r\n"
)


@pytest.mark.parametrize("mount", ["root", {"path": "/research/"}])
@pytest.mark.parametrize("page", ["lab", "lab/tree/a.ipynb", "notebooks/a.ipynb"])
async def test_vs_code_finds_the_server_of_a_page_and_asks_for_no_password(
    tmp_path: Path, mount: Any, page: str
) -> None:
    """As vscode-jupyter does it (userServerUrlProvider.ts, getBaseJupyterUrl; jupyterPasswordConnect.ts, needPassword):
    the page without its token leads to `SERVER/login?…`; what follows must not lead on and on, and `tree` is no 200.
    """
    mounted = {"research": {"notebook": "research-gpu-1", "mount": mount}}
    async with open_rig(tmp_path, clock=FakeClock(), mounted=mounted, **PRESIGNED) as rig:
        prefix = "/" if mount == "root" else "/research/"
        answer = await rig.get(f"{prefix}{page}", extra=NODE_FETCH)
        assert status_of(answer) == 302
        fields = fields_of(answer)
        server, found, _ = fields["location"].partition("login?")
        assert found
        assert server == f"{rig.origin}{prefix}"
        assert fields["cache-control"] == "no-store"
        assert "set-cookie" not in fields
        led_on = await rig.get(fields["location"].removeprefix(rig.origin), extra=NODE_FETCH)
        assert [status_of(led_on), status_of(await rig.get(prefix, extra=NODE_FETCH))] == [401, 401]
        assert status_of(await rig.get(f"{prefix}tree?", extra=NODE_FETCH)) != 200
        token = f"Authorization: token {made(rig, TokenKind.API)}\r\n"
        assert status_of(await rig.get(f"{prefix}api/kernels", extra=NODE_FETCH + token)) == 200
        # It is a refusal like any other, and on record as one.
        assert [record["reason"] for record in audited(rig)] == ["no session and no token"] * 4


async def test_only_who_brings_nothing_and_is_no_browser_is_led_to_a_login_page(tmp_path: Path) -> None:
    async with open_rig(tmp_path, clock=FakeClock(), **PRESIGNED) as rig:
        bad = f"Authorization: token {made(rig, TokenKind.API, instance='other')}\r\n"
        for extra in (bad, "Cookie: a=b\r\n", "Referer: http://x/\r\n", "Sec-Fetch-Mode: no-cors\r\n"):
            assert status_of(await rig.get("/lab", extra=NODE_FETCH + extra)) == 401
        assert await ask(rig, "/lab", extra=NODE_FETCH) == [302, 403]
        assert status_of(await rig.get("/lab", extra=NODE_FETCH, method="POST")) == 401
        assert untouched(rig)


async def test_a_link_lets_a_browser_in_for_http_and_websockets(guarded: Rig) -> None:
    cookie = await enter(guarded, "/lab")
    assert await ask(guarded, "/api/kernels", extra=cookie) == [200, 101]
    head = asked(guarded)[-1]
    assert "nbgate" not in json.dumps(head.headers)
    # SameSite=Lax or not: without it there is no way in.
    assert await ask(guarded, "/api/kernels") == [401, 403]


async def test_a_denied_address_learns_nothing_of_tokens(tmp_path: Path) -> None:
    async with open_rig(tmp_path, **PRESIGNED, policy={"allow": ["elsewhere"]}) as rig:
        good, api = made(rig), made(rig, TokenKind.API)
        session = made(rig, TokenKind.SESSION)
        for target, extra in [
            (f"/?authToken={good}", ""),
            ("/?authToken=x", ""),
            (f"/?token={api}", ""),
            ("/", f"Authorization: token {api}\r\n"),
            ("/", "Authorization: token nbgate2_a.x\r\n"),
            ("/", f"Cookie: nbgate-session={session}\r\n"),
            ("/", ""),
        ]:
            answers = [json.loads(body_of(await rig.get(target, extra=extra)))["error"] for _ in range(2)]
            assert {answer["code"] for answer in answers} == {"ACCESS_DENIED"}
            assert await ask(rig, target, extra=extra) == [403, 403]
        assert untouched(rig)
        # And the link was not used up.
        entrance: Any = rig.gateway.plane.current.gateway._access
        assert not entrance._used


@pytest.mark.parametrize(
    ("changes", "spoil", "reason"),
    [
        ({}, lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"), "the signature is wrong"),
        ({}, lambda token: token[:40], "malformed"),
        ({"instance": "nlp"}, str, "for another instance"),
        ({}, lambda token: token.replace("nbgate2_u", "nbgate2_s"), "a token of another kind"),
        ({}, lambda token: token.replace("nbgate2_", "nbgate1_"), "a token of another version"),
        ({}, lambda token: "eyJhbGciOiJub25lIn0.e30.", "malformed"),
    ],
)
async def test_each_refusal_is_logged_with_its_reason_and_told_without(
    guarded: Rig, changes: dict[str, Any], spoil: Any, reason: str
) -> None:
    token = spoil(made(guarded, **changes))
    answer = await guarded.get(f"/?authToken={token}")
    assert status_of(answer) == 401
    assert json.loads(body_of(answer))["error"]["code"] == "TOKEN_REFUSED"
    assert reason.encode() not in answer
    # A browser is sent to the page that says what to do.
    answer = await guarded.get(f"/?authToken={token}", extra=BROWSER)
    assert (status_of(answer), fields_of(answer)["location"]) == (302, "/.nbgate/sign-in")
    assert untouched(guarded)
    for record in audited(guarded):
        assert record["reason"] == reason
        assert token not in json.dumps(record)


async def test_tokens_that_are_bound_to_an_address_are_refused_from_another(tmp_path: Path) -> None:
    changes = {**PRESIGNED, "tokens": {"bind_address": True}, "client_address": {"trusted_proxies": ["::1"]}}
    async with open_rig(tmp_path, clock=FakeClock(), **changes) as rig:
        elsewhere = parse_address("127.0.0.2")
        bound = made(rig, address=elsewhere)
        assert status_of(await rig.get(f"/?authToken={bound}")) == 401
        assert audited(rig)[-1]["reason"].endswith("from another address than it was issued to")


async def test_a_link_is_good_once_and_its_browser_may_open_it_again(guarded: Rig) -> None:
    link = f"/lab?authToken={made(guarded)}"
    answer = await guarded.get(link, extra=BROWSER)
    cookie = f"Cookie: {fields_of(answer)['set-cookie'].partition(';')[0]}\r\n"
    replayed = await guarded.get(link, extra=BROWSER)
    assert (status_of(replayed), fields_of(replayed)["location"]) == (302, "/.nbgate/sign-in")
    again = await guarded.get(link, extra=BROWSER + cookie)
    assert (status_of(again), fields_of(again)["location"]) == (302, f"{guarded.origin}/lab")
    assert "set-cookie" not in fields_of(again)
    assert audited(guarded)[-1]["reason"].endswith("a link that was used before")


@pytest.mark.parametrize("access", ["open", "presigned"])
async def test_301_seconds_later_a_link_leads_to_the_sign_in_page(tmp_path: Path, access: str) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock, access=access) as rig:
        link = f"/lab?authToken={made(rig)}"
        await clock.advance(301)
        answer = await rig.get(link, extra=BROWSER)
        assert (status_of(answer), fields_of(answer)["location"]) == (302, "/.nbgate/sign-in")
        assert audited(rig)[-1]["reason"].endswith("expired")


async def test_a_session_that_ends_closes_its_websockets_and_no_others(guarded: Rig) -> None:
    clock: Any = guarded.gateway.plane.clock
    short, long = await enter(guarded, session_seconds=1800), await enter(guarded, session_seconds=3600)
    token = made(guarded, TokenKind.API, seconds=1700)
    sockets = []
    for target, cookie in (("/ws", short), ("/ws", long), (f"/ws?token={token}", "")):
        reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port)
        head = f"GET {target} HTTP/1.1\r\nHost: {guarded.authority}\r\n{HANDSHAKE}{cookie}\r\n"
        writer.write(head.encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        sockets.append((reader, writer))
    plane = guarded.gateway.plane
    # A WebSocket that is silent for so long is pinged, and gone when it does not answer: not what is tested here.
    for relay in plane.open.relays:
        relay.timeouts = type(relay.timeouts)(1e9, 1e9)
    assert len(plane.open.relays) == 3
    await clock.jump(1699)
    plane.sweep()
    assert len([relay for relay in plane.open.relays if relay.closing is None]) == 3
    await clock.jump(2)
    plane.sweep()
    assert len([relay for relay in plane.open.relays if relay.closing is None]) == 2
    frame = await asyncio.wait_for(sockets[2][0].readexactly(4), 30)
    assert (frame[0], int.from_bytes(frame[2:4], "big")) == (0x88, 1008)
    await clock.jump(100)
    plane.sweep()
    assert len([relay for relay in plane.open.relays if relay.closing is None]) == 1
    frame = await asyncio.wait_for(sockets[0][0].readexactly(2), 30)
    assert b"the session has ended" in await sockets[0][0].readexactly(frame[1])
    # The longer one works on.
    sockets[1][1].write(b"\x81\x82\0\0\0\0hi")
    assert await asyncio.wait_for(sockets[1][0].readexactly(4), 30) == b"\x81\x02hi"
    assert status_of(await guarded.get("/lab", extra=short)) == 401
    assert status_of(await guarded.get("/lab", extra=long)) == 200
    for _, writer in sockets:
        writer.close()
    assert {record["reason"] for record in audited(guarded)} == {"expired"}
    assert len(audited(guarded)) == 3


async def test_turning_access_to_presigned_ends_what_came_in_without(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        head = f"GET /ws HTTP/1.1\r\nHost: {rig.authority}\r\n{HANDSHAKE}Origin: {rig.origin}\r\n\r\n"
        writer.write(head.encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        file = tmp_path / "nbgate.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **PRESIGNED}))
        assert await rig.gateway.reloader.reload_now()
        frame = await asyncio.wait_for(reader.readexactly(4), 30)
        assert (frame[0], int.from_bytes(frame[2:4], "big")) == (0x88, 1008)
        writer.close()
        assert await ask(rig) == [401, 403]
        assert await ask(rig, extra=await enter(rig)) == [200, 101]


async def test_a_session_that_was_not_needed_at_first_ends_what_needs_it_later(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock) as rig:
        cookie = await enter(rig)
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(f"GET /ws HTTP/1.1\r\nHost: {rig.authority}\r\n{HANDSHAKE}{cookie}\r\n".encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        file = tmp_path / "nbgate.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **PRESIGNED}))
        assert await rig.gateway.reloader.reload_now()
        writer.write(b"\x81\x82\0\0\0\0hi")
        assert await asyncio.wait_for(reader.readexactly(4), 30) == b"\x81\x02hi"
        plane = rig.gateway.plane
        for relay in plane.open.relays:
            relay.timeouts = type(relay.timeouts)(1e9, 1e9)
        await clock.jump(1800)
        plane.sweep()
        frame = await asyncio.wait_for(reader.readexactly(4), 30)
        assert (frame[0], int.from_bytes(frame[2:4], "big")) == (0x88, 1008)
        writer.close()


async def test_exchanged_keys_end_sessions_when_the_old_one_goes(tmp_path: Path) -> None:
    old, new = "old-key-0123456789-abcdefghijklmnop", "new-key-0123456789-abcdefghijklmnop"
    async with open_rig(tmp_path, clock=FakeClock(), **PRESIGNED, tokens={"key": old}) as rig:
        cookie = await enter(rig)

        async def exchange(key: Any) -> None:
            file = tmp_path / "nbgate.yaml"
            file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "tokens": {"key": key}}))
            assert await rig.gateway.reloader.reload_now()

        await exchange([new, old])
        assert status_of(await rig.get("/lab", extra=cookie)) == 200
        newer = await enter(rig)
        await exchange(new)
        assert status_of(await rig.get("/lab", extra=cookie)) == 401
        assert status_of(await rig.get("/lab", extra=newer)) == 200
        lines = json.dumps(rig.log_lines())
        assert old not in lines
        assert new not in lines


async def test_a_kept_connection_on_which_a_link_was_opened_survives_a_reload(guarded: Rig) -> None:
    """What is judged again is the last request; a link that it used is its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port)
    writer.write(f"GET /?authToken={made(guarded)} HTTP/1.1\r\nHost: {guarded.authority}\r\n\r\n".encode())
    assert b" 302 " in await reader.readuntil(b"\r\n\r\n")
    assert await guarded.gateway.reloader.reload_now()
    plane = guarded.gateway.plane
    reloader = guarded.gateway.reloader
    await plane.adopt(
        Current(
            gateway=reloader._make_gateway(reloader.settings, at=plane.clock.now()),
            keepers=reloader.keepers,
            limits=plane.current.limits,
            timeouts=plane.current.timeouts,
        )
    )
    writer.write(f"GET /.nbgate/sign-in HTTP/1.1\r\nHost: {guarded.authority}\r\n\r\n".encode())
    assert b" 401 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    writer.close()
    assert audited(guarded) == []


# -- cookies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mount", "scheme", "name", "path"),
    [
        ("root", "https", "__Host-nbgate-session", "/"),
        ("root", "http", "nbgate-session", "/"),
        ({"path": "/research/"}, "https", "__Secure-nbgate-session", "/research/"),
        ({"path": "/research/"}, "http", "nbgate-session", "/research/"),
        ({"host": "research.localhost"}, "https", "__Host-nbgate-session", "/"),
        ({"port": 443}, "https", "__Host-nbgate-session-443", "/"),
    ],
    ids=str,
)
async def test_a_sessions_cookie_is_for_its_mount_alone(
    tmp_path: Path, mount: Any, scheme: str, name: str, path: str
) -> None:
    mounted = {"research": {"notebook": "research-gpu-1", "mount": mount, **PRESIGNED}}
    listeners = [{"bind": "127.0.0.1:0", "scheme": scheme}]
    async with open_rig(tmp_path, clock=FakeClock(), mounted=mounted, listeners=listeners) as rig:
        host = mount.get("host", "127.0.0.1") if isinstance(mount, dict) else "127.0.0.1"
        link = authorized_url(f"{path}lab", made(rig))
        answer = await rig.get(link, extra=BROWSER, host=host)
        assert status_of(answer) == 302
        fields = fields_of(answer)
        assert fields["location"] == f"{scheme}://{host}{path}lab"
        assert fields["cache-control"] == "no-store"
        assert fields["referrer-policy"] == "no-referrer"
        pair, *attributes = fields["set-cookie"].split("; ")
        assert pair.partition("=")[0] == name
        secure = ["Secure"] if scheme == "https" else []
        assert attributes == [f"Path={path}", "Max-Age=1800", "HttpOnly", "SameSite=Lax", *secure]
        assert await ask(rig, f"{path}lab", extra=f"Cookie: {pair}\r\n", host=host) == [
            200,
            101 if scheme == "http" else 403,  # `ask` says http in its Origin
        ]


@pytest.mark.parametrize("access", ["open", "presigned"])
async def test_the_gateways_cookies_never_travel_upstream_nor_can_it_set_them(
    tmp_path: Path, access: str
) -> None:
    names = ["nbgate-session", "__Host-nbgate-session", "__Secure-nbgate-session", "nbgate-session-8444"]
    mounted = {
        "research": {"notebook": "research-gpu-1", "mount": "root", "access": access},
        "vision": {"notebook": "research-gpu-1", "mount": {"port": 8444}},
    }
    listeners = [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "public_port": 8444}]
    async with open_rig(tmp_path, clock=FakeClock(), mounted=mounted, listeners=listeners) as rig:
        cookie = await enter(rig)
        own = cookie.partition("nbgate-session=")[2].strip()
        assert status_of(await rig.get("/lab", extra=cookie)) == 200

        async def tossing(request: web.BaseRequest) -> web.Response:
            response = web.Response(text="x")
            for name in [*names, "_xsrf"]:
                response.headers.add("Set-Cookie", f"{name}=tossed; Path=/")
            return response

        rig.upstream.handler = tossing
        cookies = "; ".join(f"{name}={own}" for name in names)
        answer = await rig.get("/lab", extra=f"Cookie: a=1; {cookies}; _xsrf=2\r\n")
        assert status_of(answer) == 200
        assert answer.count(b"Set-Cookie") == 1
        assert b"_xsrf=tossed" in answer
        assert b"nbgate" not in answer
        [seen] = asked(rig)[-1:]
        assert seen.values("cookie")[0].startswith("a=1; _xsrf=2")
        assert "nbgate" not in json.dumps(seen.headers)


# -- links that are only looked at --------------------------------------------------------------------

TRICKS = [
    "//evil.example/?{}",
    "///evil.example?{}",
    "/\\evil.example?{}",
    "/\\/evil.example/?{}",
    "/%5Cevil.example?{}",
    "/%2F%2Fevil.example?{}",
    "/%2e%2e//evil.example?{}",
    "/@evil.example/?{}",
    "/user:password@evil.example?{}",
    "/.evil.example?{}",
    "/https://evil.example?{}",
    "/?next=//evil.example&{}",
    "/?{}&view=//evil.example",
    "/?{}&view=lab//evil.example",
    "/?{}&view=https://evil.example",
    "/?{}&view=lab%0d%0aLocation:%20https://evil.example",
    "/%0d%0aLocation:%20https://evil.example?{}",
    "/?a=%0d%0aSet-Cookie:%20x=1&{}",
    "http://{host}//evil.example?{}",
]

LOOKS = [
    ("GET", "Sec-Purpose: prefetch\r\nSec-Fetch-Mode: no-cors\r\n"),
    ("GET", "Sec-Purpose: prefetch;prerender\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n"),
    (
        "GET",
        "User-Agent: Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)\r\nRange: bytes=0-32768\r\n",
    ),
    ("GET", "User-Agent: WhatsApp/2\r\nAccept: application/json\r\n"),
    ("HEAD", "User-Agent: Mozilla/5.0\r\n"),
]


@pytest.mark.parametrize(("method", "extra"), LOOKS, ids=str)
@pytest.mark.parametrize("access", ["open", "presigned"])
@pytest.mark.parametrize("mount", ["root", {"path": "/research/"}, {"host": "research.localhost"}], ids=str)
async def test_who_looks_at_a_link_gets_a_page_that_opens_it(
    tmp_path: Path, mount: Any, access: str, method: str, extra: str
) -> None:
    """The page's button works without script, at the link's own address, and the page holds nothing of the link."""
    mounted = {"research": {"notebook": "research-gpu-1", "mount": mount, "access": access}}
    async with open_rig(tmp_path, clock=FakeClock(), mounted=mounted) as rig:
        prefix = "/research" if "path" in mount else ""
        host = "research.localhost" if "host" in mount else rig.authority
        token = made(rig)
        link = f"{prefix}/lab?a=1&authToken={token}"
        for _ in range(2):
            answer = await rig.get(link, extra=extra, method=method, host=host)
            assert status_of(answer) == 200
            fields = fields_of(answer)
            assert fields["cache-control"] == "no-store"
            assert fields["referrer-policy"] == "same-origin"
            assert fields["content-type"] == "text/html; charset=utf-8"
            assert "form-action 'self'" in fields["content-security-policy"]
            assert "frame-ancestors 'none'" in fields["content-security-policy"]
            assert "script" not in fields["content-security-policy"]
            assert not {"set-cookie", "location"} & fields.keys()
            assert token not in answer.decode()
            assert b"oken" not in answer
        assert untouched(rig)
        if method == "GET":
            assert (
                b'<form method="post"><button class="button main">Open the notebook</button></form>' in answer
            )
        # As a browser sends a form without fields.
        pressed = await rig.raw(
            (
                f"POST {link} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{BROWSER}"
                f"Content-Type: application/x-www-form-urlencoded\r\nOrigin: http://{host}\r\n\r\n"
            ).encode()
        )
        assert status_of(pressed) == 302
        assert fields_of(pressed)["location"] == f"http://{host}{prefix}/lab?a=1"
        assert fields_of(pressed)["referrer-policy"] == "no-referrer"
        cookie = f"Cookie: {fields_of(pressed)['set-cookie'].partition(';')[0]}\r\n"
        assert await ask(rig, f"{prefix}/lab?a=1", extra=cookie, host=host) == [200, 101]
        # And that was its one use.
        assert status_of(await rig.get(link, extra="Accept: */*\r\n", host=host)) == 401
        [used] = audited(rig)
        assert used["reason"] == "a link that was used before"


async def test_the_page_of_a_link_is_no_page_of_its_own(guarded: Rig) -> None:
    for method in ("GET", "HEAD"):
        assert status_of(await guarded.get("/.nbgate/link", method=method)) == 404
    assert status_of(await guarded.raw(post("/.nbgate/link", guarded))) == 405


async def test_a_denied_address_that_looks_at_a_link_is_denied(tmp_path: Path) -> None:
    async with open_rig(tmp_path, **PRESIGNED, policy={"allow": ["elsewhere"]}) as rig:
        for method, extra in LOOKS:
            assert status_of(await rig.get(f"/?authToken={made(rig)}", extra=extra, method=method)) == 403
        assert status_of(await rig.raw(post(f"/?authToken={made(rig)}", rig))) == 403


def post(target: str, rig: Rig) -> bytes:
    return (
        f"POST {target} HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\nContent-Length: 0\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("trick", TRICKS)
async def test_the_button_leads_nowhere_else(guarded: Rig, trick: str) -> None:
    target = trick.replace("{}", f"authToken={made(guarded)}").replace("{host}", guarded.authority)
    answer = await guarded.raw(post(target, guarded))
    assert status_of(answer) == 302
    parts = urlsplit(fields_of(answer)["location"].replace("\\", "/"))
    assert (parts.scheme, parts.netloc) == ("http", guarded.authority)
    assert "authToken" not in parts.query


# -- no open redirect ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("mount", ["root", {"path": "/research/"}], ids=str)
async def test_a_link_leads_nowhere_else(tmp_path: Path, mount: Any, trick: str) -> None:
    mounted = {"research": {"notebook": "research-gpu-1", "mount": mount}}
    async with open_rig(tmp_path, clock=FakeClock(), mounted=mounted) as rig:
        prefix = "" if mount == "root" else "/research"
        target = trick.replace("{}", f"authToken={made(rig)}")
        if target.startswith("http://{host}"):
            target = target.replace("http://{host}", f"http://{rig.authority}{prefix}")
        else:
            target = prefix + target
        answer = await rig.get(target, extra=BROWSER)
        assert status_of(answer) == 302
        head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
        assert head.lower().count("\r\nlocation:") == 1
        assert head.lower().count("\r\nset-cookie:") == 1
        # A browser reads a backslash as a slash (WHATWG URL).
        parts = urlsplit(fields_of(answer)["location"].replace("\\", "/"))
        assert (parts.scheme, parts.netloc) == ("http", rig.authority)
        assert parts.path.startswith(f"{prefix}/")
        assert "authToken" not in parts.query
        assert "nbgate" not in fields_of(answer)["location"]


@pytest.mark.parametrize("trick", TRICKS)
async def test_a_refused_link_leads_to_one_page_whatever_it_says(guarded: Rig, trick: str) -> None:
    target = trick.replace("{}", "authToken=x").replace("{host}", guarded.authority)
    answer = await guarded.get(target, extra=BROWSER)
    assert (status_of(answer), fields_of(answer)["location"]) == (302, "/.nbgate/sign-in")


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\r\n "])
async def test_line_ends_in_an_address_are_no_address(guarded: Rig, end: str) -> None:
    answer = await guarded.get(f"/{end}X-Evil: 1?authToken={made(guarded)}", extra=BROWSER)
    assert status_of(answer) == 400
    assert b"X-Evil" not in answer


# -- programs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("access", ["open", "presigned"])
async def test_a_programs_token_lets_it_in_and_stops_at_the_gateway(tmp_path: Path, access: str) -> None:
    async with open_rig(tmp_path, clock=FakeClock(), access=access) as rig:
        token = made(rig, TokenKind.API, seconds=3600)
        for target, extra in [
            (f"/api/kernels?token={token}&x=%2F", ""),
            ("/api/kernels?x=%2F", f"Authorization: token {token}\r\n"),
            ("/api/kernels?x=%2F", f"authorization: Bearer {token}\r\n"),
            (f"/api/kernels?token={token}&x=%2F", f"Authorization: token {token}\r\n"),
            # Where a page's script puts it, which can set no other field of a WebSocket's (JEP 119).
            ("/api/kernels?x=%2F", f"Sec-WebSocket-Protocol: a, {IN_SUBPROTOCOL}{token}, {BARE}\r\n"),
            (
                "/api/kernels?x=%2F",
                f"Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol:{IN_SUBPROTOCOL}{token}\r\n",
            ),
            (
                "/api/kernels?x=%2F",
                f"Sec-WebSocket-Protocol: a,{IN_SUBPROTOCOL}{token.replace('_', '%5f')}\r\n",
            ),
        ]:
            assert await ask(rig, target, extra=extra) == [200, 101]
            for seen in asked(rig)[-2:]:
                assert seen.target == "/api/kernels?x=%2F"
                assert seen.values("authorization") == []
                offered = ",".join(seen.values("sec-websocket-protocol")).replace(" ", "")
                assert offered in ("", "a", f"a,{BARE}")
                assert "nbgate" not in json.dumps(seen.headers)
                # What Jupyter asks of whoever brings no token that it knows.
                [xsrf] = seen.values("x-xsrftoken")
                assert f"_xsrf={xsrf}" in "; ".join(seen.values("cookie"))


async def test_an_open_gateway_looks_at_nothing_until_there_is_a_token(opened: Rig) -> None:
    entrance: Any = opened.gateway.plane.current.gateway._access
    judged = []
    judge = entrance.judge
    entrance.judge = lambda presented, *, guarded: (
        judged.append(presented) or judge(presented, guarded=guarded)
    )
    assert await ask(opened, "/api/kernels?token=jupyters-own") == [200, 101]
    assert judged == []
    made(opened)
    assert await ask(opened, "/api/kernels?token=jupyters-own") == [200, 101]
    assert len(judged) == 2


async def test_jupyters_own_token_passes_untouched(opened: Rig) -> None:
    made(opened)  # from here on, every request is looked at
    offer = f"{BARE},{IN_SUBPROTOCOL}0123456789abcdef"
    extra = f"Authorization: token 0123456789abcdef\r\nSec-WebSocket-Protocol: {offer}\r\n"
    answer = await opened.get("/api/kernels?token=0123456789abcdef&b=1", extra=extra)
    assert status_of(answer) == 200
    [seen] = asked(opened)
    assert seen.target == "/api/kernels?token=0123456789abcdef&b=1"
    assert seen.values("authorization") == ["token 0123456789abcdef"]
    assert seen.values("sec-websocket-protocol") == [offer]
    assert seen.values("x-xsrftoken") == []


@pytest.mark.parametrize("access", ["open", "presigned"])
async def test_a_programs_token_that_is_not_good_is_refused(tmp_path: Path, access: str) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock, access=access) as rig:
        other, ended = made(rig, TokenKind.API, instance="nlp"), made(rig, TokenKind.API)
        await clock.advance(300)
        for token in (other, ended, ended + "x", "nbgate2_a", made(rig)):
            if not token.startswith("nbgate2_"):
                continue
            assert await ask(rig, f"/api?token={token}") == [401, 403]
            assert await ask(rig, "/api", extra=f"Authorization: token {token}\r\n") == [401, 403]
            # Written wrongly it is one all the same.
            for value in (token, f"token={token}", f'token "{token}"', f"Bearer {token} x", f"Basic {token}"):
                assert await ask(rig, "/api", extra=f"Authorization: {value}\r\n") == [401, 403], value
            offer = f"Sec-WebSocket-Protocol: {BARE}, {IN_SUBPROTOCOL}{token}\r\n"
            assert await ask(rig, "/api", extra=offer) == [401, 403]
        assert untouched(rig)


async def test_a_body_goes_on_with_a_programs_token(guarded: Rig) -> None:
    token = made(guarded, TokenKind.API)
    body = "x" * 1000
    extra = f"Authorization: token {token}\r\nContent-Length: {len(body)}\r\n"
    head = (
        f"POST /api/kernels HTTP/1.1\r\nHost: {guarded.authority}\r\n{extra}Connection: close\r\n\r\n{body}"
    )
    answer = await guarded.raw(head.encode())
    assert json.loads(body_of(answer))["body_bytes"] == 1000


async def test_each_request_of_a_kept_connection_is_judged_by_itself(tmp_path: Path) -> None:
    """Fields that a connection repeats are read once; what they prove may end between two requests."""
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock, **PRESIGNED, timeouts={"idle": "1d"}) as rig:
        cookie = await enter(rig)
        token = made(rig, TokenKind.API, seconds=1700)
        for fields, seconds in ((f"Authorization: token {token}\r\n", 1700), (cookie, 100)):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            head = f"GET /api HTTP/1.1\r\nHost: {rig.authority}\r\n{fields}\r\n".encode()
            for expected in (200, 200, 200, 401, 401):
                if expected == 401 and seconds:
                    await clock.jump(seconds)
                    seconds = 0
                writer.write(head)
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
                await reader.readexactly(int(fields_of(answer)["content-length"]))
                assert status_of(answer) == expected
            writer.close()
        for seen in asked(rig):
            assert "nbgate" not in json.dumps(seen.headers)
        assert len(asked(rig)) == 6


# -- logs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["json", "console"])
async def test_no_token_is_in_any_line(tmp_path: Path, style: str) -> None:
    log = {"format": style, "level": "debug"}
    async with open_rig(tmp_path, clock=FakeClock(), **PRESIGNED, log=log) as rig:
        link, api = made(rig), made(rig, TokenKind.API)
        refused = made(rig, instance="nlp")
        cookie = await enter(rig, "/lab?a=1")
        for target, extra in [
            (f"/lab?authToken={link}", BROWSER),
            (f"/lab?authToken={link}", ""),
            (f"/lab?authToken={refused}", BROWSER),
            (f"//x?authToken={refused}", ""),
            (f"/api?token={api}", ""),
            (f"/api?token={api}x", ""),
            ("/api", f"Authorization: token {api}\r\n"),
            ("/api", cookie),
            (f"/?authToken={link} HTTP/1.1 x", ""),
        ]:
            await rig.get(target, extra=extra)
        with pytest.raises(ConnectionResetError):
            await rig.get("/truncated/1000", extra=cookie)
        rig.gateway.logs.close()
        text = rig.log_file.read_text()
        assert len(text.splitlines()) > 10
        assert "authToken" not in text
        assert "nbgate2_" not in text
