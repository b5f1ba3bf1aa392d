"""A name that leads to another notebook now: nothing that was given out, or remembered, for the one before counts.

The table below is of everything that is known by the gateway's name of an instance and outlives a reload. Each row
looks at it twice: before the name is pointed at another notebook, and after.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from proxy.client_address.networks import parse_address
from proxy.identity.tokens import TokenKind
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.plain_upstream import SERVER
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.portals import HTML, Shown, post_form, shown
from tests.harness.waiting import eventually
from tests.threats.callers import HANDSHAKE, ask, audited

BROWSER = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
OLD, NEW = "research-gpu-1", "research-gpu-2"
SPECS = (InstanceSpec(name=OLD), InstanceSpec(name=NEW))
ACCOUNT, OTHER_ACCOUNT = "111122223333", "444455556666"
LIFECYCLE = {"start_on_open": True, "stop_after_idle": "60m"}
MOUNTED: dict[str, Any] = {
    "a": {"notebook": OLD, "mount": {"path": "/a/"}, "access": "presigned"},
    "open": {"notebook": OLD, "mount": {"path": "/open/"}},
}


class Pointed:
    """A gateway whose name `a` (with a session or token alone) and `open` can be pointed elsewhere."""

    def __init__(self, rig: Rig, clock: FakeClock) -> None:
        self.rig = rig
        self.clock = clock

    async def reload(self, **changes: Any) -> None:
        file = self.rig.log_file.parent / "nbgate.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))
        assert await self.rig.gateway.reloader.reload_now()

    async def point(self, **changes: Any) -> None:
        """Both names at another notebook, or at what `changes` say."""
        changes = changes or {"notebook": NEW}
        await self.reload(instances={name: one | changes for name, one in MOUNTED.items()})

    def token(self, kind: TokenKind, *, name: str = "a") -> str:
        return self.rig.gateway.serving.tokens.issue(
            kind,
            instance=name,
            leads_to=self.rig.gateway.reloader.settings.leads_to(name),
            principal="zoe",
            address=parse_address("127.0.0.1"),
            seconds=300,
            session_seconds=1800 if kind is TokenKind.URL else 0,
        )

    async def enter(self) -> str:
        answer = await self.rig.get(f"/a/lab?authToken={self.token(TokenKind.URL)}", extra=BROWSER)
        assert status_of(answer) == 302
        cookie = re.search(rb"Set-Cookie: ([^;]*);", answer)
        assert cookie is not None
        return f"Cookie: {cookie[1].decode()}\r\n"


@asynccontextmanager
async def open_pointed(directory: Path, **changes: Any) -> AsyncIterator[Pointed]:
    # boto3 signs with the machine's clock.
    clock = FakeClock(datetime.now(UTC))
    changes = {"mounted": MOUNTED, "lifecycle": LIFECYCLE, **changes}
    async with open_rig(directory, instances=SPECS, clock=clock, **changes) as rig:
        for upstream in rig.sandbox.plain.values():
            upstream.handler = jupyter
        yield Pointed(rig, clock)


async def jupyter(request: web.BaseRequest) -> web.StreamResponse:
    if request.headers.get("Upgrade"):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket
    path = request.raw_path.partition("?")[0]
    if path in ("/api/kernels", "/api/terminals"):
        return web.json_response([], headers=SERVER)
    if path == "/api/status":
        said = {"started": "2026-01-01T00:00:00Z", "last_activity": "2026-01-01T00:00:00Z"}
        return web.json_response(said, headers=SERVER | {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    return web.Response(text="here", headers=SERVER)


Row = Callable[[Pointed], AsyncIterator[None]]
"""Looks at one thing, yields for the name to be pointed elsewhere, and looks again."""


# -- what was given out -------------------------------------------------------------------------------


async def a_sessions_cookie(pointed: Pointed) -> AsyncIterator[None]:
    cookie = await pointed.enter()
    assert await ask(pointed.rig, "/a/lab", extra=cookie) == [200, 101]
    yield
    assert await ask(pointed.rig, "/a/lab", extra=cookie) == [401, 403]
    reasons = {record["reason"] for record in audited(pointed.rig)}
    assert "for the notebook that the instance led to before" in reasons


async def a_link_that_nobody_opened(pointed: Pointed) -> AsyncIterator[None]:
    link = f"/a/lab?authToken={pointed.token(TokenKind.URL)}"
    yield
    assert status_of(await pointed.rig.get(link)) == 401


async def a_programs_token(pointed: Pointed) -> AsyncIterator[None]:
    token = pointed.token(TokenKind.API)
    extra = f"Authorization: token {token}\r\n"
    assert await ask(pointed.rig, "/a/api", extra=extra) == [200, 101]
    assert await ask(pointed.rig, f"/a/api?token={token}") == [200, 101]
    yield
    assert await ask(pointed.rig, "/a/api", extra=extra) == [401, 403]
    assert await ask(pointed.rig, f"/a/api?token={token}") == [401, 403]


async def an_open_websocket_of_a_session(pointed: Pointed) -> AsyncIterator[None]:
    async for _ in _websocket(pointed, "/a/ws", await pointed.enter()):
        yield


async def an_open_websocket_of_a_token(pointed: Pointed) -> AsyncIterator[None]:
    async for _ in _websocket(pointed, f"/a/ws?token={pointed.token(TokenKind.API)}", ""):
        yield


async def an_open_websocket_of_an_address(pointed: Pointed) -> AsyncIterator[None]:
    async for _ in _websocket(pointed, "/open/ws", ""):
        yield


async def _websocket(pointed: Pointed, target: str, extra: str) -> AsyncIterator[None]:
    rig = pointed.rig
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    head = f"GET {target} HTTP/1.1\r\nHost: {rig.authority}\r\n{HANDSHAKE}Origin: {rig.origin}\r\n{extra}\r\n"
    writer.write(head.encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    yield
    try:
        frame = await asyncio.wait_for(reader.readexactly(4), 30)
        assert frame[0] == 0x88
        assert int.from_bytes(frame[2:4]) == 1008
    finally:
        writer.transport.abort()


async def a_button_on_an_open_page(pointed: Pointed) -> AsyncIterator[None]:
    """Who meant to stop the one must not stop the other."""
    forms = {form.action: form for form in (await shown(pointed.rig)).forms}
    assert {"/.nbgate/stop/open", "/.nbgate/awake/open"} <= set(forms)
    forms["/.nbgate/awake/open"].fields["hours"] = "8"
    yield
    for form in forms.values():
        assert status_of(await pointed.rig.raw(post_form(pointed.rig, form))) == 403
    assert pointed.rig.sandbox.calls["StopNotebookInstance"] == 0
    # The page of now has buttons that work.
    page = await shown(pointed.rig)
    assert status_of(await pointed.rig.raw(post_form(pointed.rig, page.form("/.nbgate/stop/open")))) == 303
    assert pointed.rig.sandbox.instances[OLD].status == "InService"
    assert pointed.rig.sandbox.instances[NEW].status != "InService"


# -- what is remembered -------------------------------------------------------------------------------


async def kept_awake(pointed: Pointed) -> AsyncIterator[None]:
    lifecycle = pointed.rig.gateway.serving.idleness.lifecycle
    lifecycle.keep_awake("open", 8)
    assert lifecycle.state("open").kept_awake_until is not None
    yield
    assert lifecycle.state("open").kept_awake_until is None


async def its_idleness(pointed: Pointed) -> AsyncIterator[None]:
    """An hour of idleness is not the next notebook's."""
    lifecycle = pointed.rig.gateway.serving.idleness.lifecycle
    await _look(pointed)
    assert lifecycle.state("open").why != "not looked at yet"
    yield
    assert lifecycle.state("open").why == "not looked at yet"


async def the_last_use(pointed: Pointed) -> AsyncIterator[None]:
    traffic = pointed.rig.gateway.serving.idleness.lifecycle.traffic
    assert status_of(await pointed.rig.get("/open/files/a.csv")) == 200
    assert traffic.last_use("open") is not None
    yield
    assert traffic.last_use("open") is None


async def a_download_that_is_cut(pointed: Pointed) -> AsyncIterator[None]:
    """Its end, after the exchange, is no use of what the name leads to now."""
    rig, held = pointed.rig, asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=dict(SERVER) | {"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"begun")
        await held.wait()
        return response

    rig.sandbox.plain[OLD].handler = endless
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(f"GET /open/files/a.csv HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b"begun"), 30)
    yield
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 30)
    assert rig.gateway.serving.idleness.lifecycle.traffic.last_use("open") is None
    held.set()
    writer.close()


async def its_state(pointed: Pointed) -> AsyncIterator[None]:
    fleet = pointed.rig.gateway.serving.fleet
    pointed.rig.sandbox.instances[OLD].status = "Failed"
    await fleet.describe("open")
    yield
    assert fleet.known("open") is None
    assert (await shown(pointed.rig)).cards["open"] == "Running"


async def how_long_it_takes_to_start(pointed: Pointed) -> AsyncIterator[None]:
    fleet = pointed.rig.gateway.serving.fleet
    fleet._watched["open"].starts.append(240.0)
    assert fleet.started_in("open") == 240.0
    yield
    assert fleet.started_in("open") is None


async def that_it_was_started(pointed: Pointed) -> AsyncIterator[None]:
    """The next one is stopped, too, and its first visitor starts it."""
    rig = pointed.rig
    for instance in rig.sandbox.instances.values():
        instance.status = "Stopped"
    assert status_of(await rig.get("/open/lab", extra=BROWSER)) == 503
    await eventually(lambda: rig.sandbox.instances[OLD].status == "Pending")
    yield
    assert rig.sandbox.instances[NEW].status == "Stopped"
    assert status_of(await rig.get("/open/lab", extra=BROWSER)) == 503
    await eventually(lambda: rig.sandbox.instances[NEW].status == "Pending")


async def the_session_with_sagemaker(pointed: Pointed) -> AsyncIterator[None]:
    rig = pointed.rig
    assert status_of(await rig.get("/open/lab")) == 200
    yield
    assert status_of(await rig.get("/open/lab")) == 200
    for notebook in (OLD, NEW):
        assert [seen.target for seen in rig.sandbox.plain[notebook].seen].count("/lab") == 1


# -- what stays, and why ------------------------------------------------------------------------------


async def a_link_that_was_used(pointed: Pointed) -> AsyncIterator[None]:
    """Remembered by the link itself, whatever its name leads to: it is good once, also when the name leads back."""
    link = f"/a/lab?authToken={pointed.token(TokenKind.URL)}"
    assert status_of(await pointed.rig.get(link, extra=BROWSER)) == 302
    yield
    await pointed.reload(instances=MOUNTED)
    assert status_of(await pointed.rig.get(link)) == 401
    assert "a link that was used before" in audited(pointed.rig)[-1]["reason"]


async def what_was_counted(pointed: Pointed) -> AsyncIterator[None]:
    """Counters are of the name, as their label says: one that began anew would look like a restart."""
    counts = pointed.rig.gateway.logs.counts.finished
    assert status_of(await pointed.rig.get("/open/lab")) == 200
    before = counts["open", 200]
    yield
    assert counts["open", 200] >= before


ROWS: list[Row] = [
    a_sessions_cookie,
    a_link_that_nobody_opened,
    a_programs_token,
    an_open_websocket_of_a_session,
    an_open_websocket_of_a_token,
    an_open_websocket_of_an_address,
    a_button_on_an_open_page,
    kept_awake,
    its_idleness,
    the_last_use,
    a_download_that_is_cut,
    its_state,
    how_long_it_takes_to_start,
    that_it_was_started,
    the_session_with_sagemaker,
    a_link_that_was_used,
    what_was_counted,
]


async def _look(pointed: Pointed) -> None:
    watches = pointed.rig.gateway.serving.idleness.lifecycle._watches
    for _ in range(8):
        await pointed.clock.jump(10)
        await eventually(lambda: not any(watch.is_looking for watch in watches.values()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
async def test_what_is_of_one_notebook_is_not_of_the_next_of_its_name(tmp_path: Path, row: Row) -> None:
    async with open_pointed(tmp_path) as pointed:
        steps = row(pointed)
        await anext(steps)
        await pointed.point()
        with pytest.raises(StopAsyncIteration):
            await anext(steps)


GIVEN_OUT = ROWS[:5]
"""What outlives the process, too."""


@pytest.mark.parametrize("row", GIVEN_OUT, ids=lambda row: row.__name__)
async def test_the_same_notebook_by_another_role_is_another(tmp_path: Path, row: Row) -> None:
    """The role is what its sessions may do at AWS; and the account, in which another notebook may have the name."""
    async with open_pointed(tmp_path) as pointed:
        steps = row(pointed)
        await anext(steps)
        await pointed.point(assume_role=f"arn:aws:iam::{ACCOUNT}:role/nbgate")
        with pytest.raises(StopAsyncIteration):
            await anext(steps)


@pytest.mark.parametrize("row", GIVEN_OUT, ids=lambda row: row.__name__)
async def test_the_same_name_in_another_account_is_another(tmp_path: Path, row: Row) -> None:
    async with open_pointed(tmp_path) as pointed:
        aws = yaml.safe_load((tmp_path / "nbgate.yaml").read_text())["aws"]
        await pointed.reload(aws=aws | {"account": ACCOUNT})
        steps = row(pointed)
        await anext(steps)
        await pointed.reload(aws=aws | {"account": OTHER_ACCOUNT})
        with pytest.raises(StopAsyncIteration):
            await anext(steps)


async def test_a_notebook_that_moves_to_another_name_takes_along_what_is_its_own(tmp_path: Path) -> None:
    """What people said of a notebook is not forgotten because it is called something else now."""
    async with open_pointed(tmp_path) as pointed:
        gateway = pointed.rig.gateway
        gateway.serving.idleness.lifecycle.keep_awake("open", 8)
        assert status_of(await pointed.rig.get("/open/files/a.csv")) == 200
        used_at = gateway.serving.idleness.lifecycle.traffic.last_use("open")
        moved = {"open": MOUNTED["open"] | {"notebook": NEW}, "moved": {"notebook": OLD}}
        await pointed.reload(instances=moved)
        assert gateway.serving.idleness.lifecycle.state("moved").kept_awake_until is not None
        assert gateway.serving.idleness.lifecycle.state("open").kept_awake_until is None
        assert gateway.serving.idleness.lifecycle.traffic.last_use("moved") == used_at
        assert gateway.serving.idleness.lifecycle.traffic.last_use("open") is None


async def test_a_reload_that_points_nothing_elsewhere_ends_nothing(tmp_path: Path) -> None:
    async with open_pointed(tmp_path) as pointed:
        cookie = await pointed.enter()
        token = pointed.token(TokenKind.API)
        forms = (await shown(pointed.rig)).forms
        await pointed.point(start_on_open=False)
        assert await ask(pointed.rig, "/a/lab", extra=cookie) == [200, 101]
        assert await ask(pointed.rig, "/a/lab", extra=f"Authorization: token {token}\r\n") == [200, 101]
        [stop] = [form for form in forms if form.action == "/.nbgate/stop/open"]
        assert status_of(await pointed.rig.raw(post_form(pointed.rig, stop))) == 303


async def test_a_region_that_waits_for_a_restart_ends_nothing(tmp_path: Path) -> None:
    """The file names another Region, and the old one is what is served: the notebook is the same."""
    async with open_pointed(tmp_path) as pointed:
        cookie = await pointed.enter()
        aws = yaml.safe_load((tmp_path / "nbgate.yaml").read_text())["aws"]
        await pointed.reload(aws=aws | {"region": "eu-west-1"})
        assert pointed.rig.gateway.reloader.status.restart_for == ("aws",)
        assert await ask(pointed.rig, "/a/lab", extra=cookie) == [200, 101]


async def test_a_link_that_is_asked_for_while_the_name_moves_is_for_what_was_asked_about(
    tmp_path: Path,
) -> None:
    """SageMaker's API: while it is asked for the instance's state, a reload points the name elsewhere."""
    mounted = {"open": MOUNTED["open"] | {"access": "presigned"}}
    async with open_pointed(tmp_path, mounted=mounted, lifecycle={}) as pointed:
        rig = pointed.rig
        fleet, describe = rig.gateway.serving.fleet, rig.gateway.serving.fleet.describe

        async def slowly(name: str, **options: Any) -> Any:
            description = await describe(name, **options)
            await pointed.reload(instances={"open": mounted["open"] | {"notebook": NEW}})
            return description

        fleet.describe = slowly  # type: ignore[method-assign]
        body = '{"NotebookInstanceName": "open"}'
        answer = await rig.raw(
            (
                f"POST / HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\n"
                "X-Amz-Target: SageMaker.CreatePresignedNotebookInstanceUrl\r\n"
                f"Content-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        assert status_of(answer) == 200
        found = re.search(rb"authToken=([^\"]*)", body_of(answer))
        assert found is not None
        assert status_of(await rig.get(f"/open/lab?authToken={found[1].decode()}", extra=BROWSER)) == 302
        reason = audited(rig)[-1]["reason"]
        assert reason == "for the notebook that the instance led to before"


async def test_a_state_that_is_learnt_while_the_name_moves_is_not_shown_as_the_next_ones(
    tmp_path: Path,
) -> None:
    async with open_pointed(tmp_path, lifecycle={}) as pointed:
        rig = pointed.rig
        rig.sandbox.instances[OLD].status = "Failed"
        fleet, describe = rig.gateway.serving.fleet, rig.gateway.serving.fleet.describe
        moved: list[Any] = []

        async def slowly(name: str, **options: Any) -> Any:
            description = await describe(name, **options)
            if not moved:
                moved.append(name)
                await pointed.point()
            return description

        fleet.describe = slowly  # type: ignore[method-assign]
        page = Shown(await rig.get("/", extra=HTML))
        assert moved
        assert "Failed" not in page.cards.values()
