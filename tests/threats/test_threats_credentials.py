"""No presigned URL's token and no upstream session cookie in anything sent downstream or logged.

One long mixed scenario, with everything that the gateway sent, everything that it logged (at its most talkative), and
then a search for what the sandbox gave out.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from proxy.sandbox.instance import (
    URL_SECONDS,
    InstanceSpec,
    NotebookInstance,
    Session,
    SignedOutShape,
    SignInShape,
)
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig, status_of
from tests.threats.callers import HANDSHAKE

HOSTILE = "authToken"


@asynccontextmanager
async def recording(rig: Rig) -> AsyncIterator[list[bytes]]:
    """Everything that arrives from the gateway through `rig.raw` and `rig.get`."""
    sent: list[bytes] = []
    raw = rig.raw

    async def recorded(data: bytes, *, until_eof: bool = True, timeout: float = 10.0) -> bytes:
        answer = await raw(data, until_eof=until_eof, timeout=timeout)
        sent.append(answer)
        return answer

    rig.raw = recorded  # type: ignore[method-assign]
    yield sent


def given_out(rig: Rig) -> set[str]:
    """A set that from now on gathers every token and every cookie value that the sandbox gives out."""
    secrets: set[str] = set()
    for instance in rig.sandbox.instances.values():
        gather(instance, secrets)
    return secrets


def gather(instance: NotebookInstance, secrets: set[str]) -> None:
    mint, redeem, reissue = instance.mint, instance.redeem, instance.reissue

    def minted(*, session_seconds: int) -> str:
        token = mint(session_seconds=session_seconds)
        secrets.add(token)
        return token

    def redeemed(token: str) -> Session | None:
        session = redeem(token)
        if session is not None:
            secrets.update(value for values in session.cookies.values() for value in values)
        return session

    def reissued(session: Session) -> str:
        value = reissue(session)
        secrets.add(value)
        return value

    instance.mint, instance.redeem, instance.reissue = minted, redeemed, reissued  # type: ignore[method-assign]


def spellings(secret: str) -> set[bytes]:
    """As it is, in what it may have been wrapped into, and its halves."""
    plain = secret.encode()
    half = len(plain) // 2
    return {
        plain,
        plain[: max(16, half)],
        plain[half:],
        quote(secret, safe="").encode(),
        quote(quote(secret, safe=""), safe="").encode(),
        base64.b64encode(plain),
        json.dumps(secret).encode()[1:-1],
    }


async def answers(rig: Rig, target: str, *, extra: str = "", method: str = "GET", body: str = "") -> int:
    framing = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: {rig.authority}\r\n{extra}{framing}Connection: close\r\n\r\n"
    return status_of(await rig.raw((head + body).encode("latin-1")))


async def upgrade(rig: Rig, target: str = "/ws", *, origin: str | None = None) -> int:
    head = (
        f"GET {target} HTTP/1.1\r\nHost: {rig.authority}\r\n{HANDSHAKE}Origin: {origin or rig.origin}\r\n\r\n"
    )
    return status_of(await rig.raw(head.encode(), until_eof=False))


async def mixed_scenario(rig: Rig, clock: FakeClock) -> set[int]:
    """Everything that a day brings: pages, uploads, sockets, faults, expiries, refusals, nonsense."""
    seen: set[int] = set()
    later = URL_SECONDS + 1
    faults = rig.sandbox.faults
    html = "Accept: text/html\r\n"
    for target in (
        "/",
        "/lab?token=x",
        "/repeated",
        "/bytes/1000",
        "/chunks/1000",
        "/status/404",
        "/status/500",
    ):
        seen.add(await answers(rig, target))
    seen.add(await answers(rig, "/up", method="POST", body="x" * 1000))
    seen.add(await answers(rig, "/x", extra="Cookie: nb-auth=mine; nb-session=mine; _xsrf=1\r\n"))
    seen.add(await upgrade(rig))
    seen.add(await upgrade(rig, origin="http://evil"))
    for shape in SignedOutShape:
        faults.signed_out_as(shape=shape)
        for target in ("/lab", "/api/contents", "/ws"):
            # Long enough for URLs to expire, and for the gateway's caution after a rejection.
            await clock.advance(later)
            faults.expire_sessions()
            seen.add(await answers(rig, target, extra=html))
            if shape is not SignedOutShape.PAGE:
                # There a page's handshake waits: Jupyter may be starting.
                faults.expire_sessions()
                seen.add(await upgrade(rig, target))
            faults.expire_sessions()
            seen.add(await answers(rig, target, method="POST", body="y" * 100_000))
    faults.signed_out_as(shape=SignedOutShape.REDIRECT)
    for sign_in in SignInShape:
        await clock.advance(later)
        faults.sign_in_as(shape=sign_in)
        faults.expire_sessions()
        faults.expire_urls()
        seen.add(await answers(rig, "/lab?x"))
    faults.drop(times=2)
    seen.add(await answers(rig, "/dropped", extra=html))
    faults.drop_connections()
    seen.add(await answers(rig, "/again"))
    await faults.refuse()
    seen.add(await answers(rig, "/refused", extra=html))
    faults.expire_sessions()
    seen.add(await answers(rig, "/refused", extra=html))
    await faults.accept()
    await clock.advance(later)
    seen.add(await answers(rig, "/back"))
    for nonsense in (f"/?{HOSTILE}=x#y", "/a b", "*", f"http://evil/?{HOSTILE}=x", f"/.nbgate/?{HOSTILE}=x"):
        seen.add(await answers(rig, nonsense, extra=html))
    try:
        await answers(rig, "/truncated/100000")
    except ConnectionError:
        pass
    return seen


async def parrot(request: web.BaseRequest) -> web.Response:
    """A notebook that says back all that it was told, in headers, a redirect and the body; gzip if asked for."""
    told = json.dumps(list(request.headers.items())).encode()
    headers = {
        "Server": "TornadoServer/6.5",
        "X-Told": request.headers.get("Cookie", "-"),
        "Location": request.raw_path,
    }
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=gzip.compress(told), headers=headers | {"Content-Encoding": "gzip"})
    return web.Response(body=told, headers=headers)


@pytest.mark.slow
@pytest.mark.parametrize("reissue", [False, True])
async def test_no_token_and_no_session_cookie_goes_downstream_or_into_a_log(
    tmp_path: Path, reissue: bool
) -> None:
    """Over the whole scenario."""
    specs = (InstanceSpec(name="research-gpu-1", reissue_cookies=reissue),)
    log = {"format": "json", "level": "debug"}
    clock = FakeClock()
    async with open_rig(tmp_path, instances=specs, log=log, clock=clock) as rig, recording(rig) as sent:
        secrets = given_out(rig)
        statuses = await mixed_scenario(rig, clock)
        assert {101, 200, 400, 403, 404, 503} <= statuses
        rig.upstream.handler = parrot
        for extra in ("", "Accept-Encoding: gzip\r\n", "Cookie: a=1\r\n"):
            assert await answers(rig, "/parrot?x=1", extra=extra) == 200
        rig.log_lines()
        assert len(secrets) > 30
        everything = {"sent": b"\n".join(sent), "logged": rig.log_file.read_bytes()}
        assert len(sent) > 50
        assert everything["logged"].count(b"\n") > 50
        for where, data in everything.items():
            for secret in secrets:
                for spelling in spellings(secret):
                    assert spelling not in data, where
        # Nor by name, where nobody but the gateway and the test could have said it.
        assert b"Set-Cookie: nb-" not in everything["sent"]
        assert HOSTILE.encode() not in everything["sent"].replace(b"/?authToken=x", b"")
        assert b"authToken=" not in everything["logged"].replace(b"authToken=***", b"")


async def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    """The test above is worth something: what the gateway itself sends upstream holds what is searched for."""
    async with open_rig(tmp_path) as rig:
        secrets = given_out(rig)
        assert await answers(rig, "/") == 200
        session = rig.gateway.plane.keeper("research").live()
        assert session is not None
        found = [
            secret for secret in secrets if any(form in session.cookie_header for form in spellings(secret))
        ]
        assert len(found) == 2


async def test_a_denied_caller_makes_no_credential(tmp_path: Path) -> None:
    """Who may not come in causes no presigned URL either."""
    async with open_rig(tmp_path, policy={"allow": ["elsewhere"]}) as rig:
        secrets = given_out(rig)
        assert await answers(rig, "/lab") == 403
        assert await upgrade(rig) == 403
        assert not secrets
        assert not rig.sandbox.calls


async def test_reprs_hold_no_credential(tmp_path: Path) -> None:
    """What may end in a traceback or a debugger's log line."""
    async with open_rig(tmp_path) as rig:
        secrets = given_out(rig)
        assert await answers(rig, "/") == 200
        plane = rig.gateway.plane
        session = plane.keeper("research").live()
        texts = [repr(thing) for thing in (session, plane.keeper("research"), plane, plane.pool, rig.gateway)]
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        for connection in plane.open.connections:
            texts += [repr(connection)] + [
                repr(getattr(connection, name, None))
                for name in type(connection).__slots__  # type: ignore[attr-defined]
                if name != "_plane"
            ]
        writer.close()
        assert len(secrets) == 3
        for secret in secrets:
            assert not any(secret in text for text in texts)
