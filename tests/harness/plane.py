"""The data plane alone, on a real socket, built by the composition root: no sandbox, no AWS.

Only the keeper of the session is a stand-in. With `open_plane` the notebook answers by itself; with `open_stage` the
test plays the caller and the notebook, byte by byte, so that it reads like a transcript:

    caller = await stage.call()
    caller.send(b"GET / HTTP/1.1\\r\\nHost: nb\\r\\n\\r\\n")
    notebook = await stage.notebook()
    ...
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Refusal
from proxy.config.binds import SocketAddress
from proxy.config.load import load
from proxy.dataplane.caller.connection import CallerConnection
from proxy.dataplane.plane import DataPlane
from proxy.server import compose
from proxy.server.listening import listen
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.limits_met import LimitsMet
from proxy.upstream import Origin
from tests.harness.clocks import FakeClock
from tests.harness.faulty import collecting
from tests.harness.keeper import Keeper, session_at
from tests.harness.notebook import Notebook
from tests.harness.peer import READ_LIMIT_BYTES, Peer, Response, WithoutIds, dial
from tests.harness.waiting import eventually, settle

HOST = "notebooks.test"
"""What a stage is called."""
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FORWARDED_LINES = b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"


def get(target: bytes = b"/", *, fields: bytes = b"", method: bytes = b"GET") -> bytes:
    """A request without a body."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, HOST.encode(), fields)


def post(body: bytes, target: bytes = b"/", *, fields: bytes = b"", method: bytes = b"POST") -> bytes:
    """A request with a body of known length."""
    return get(target, fields=fields + b"Content-Length: %d\r\n" % len(body), method=method) + body


@dataclass
class OpenPlane:
    """A data plane that serves.

    `records` is what the access log would be told, `events` the warnings of limits that were met. `errors` are those
    that reached the event loop, `faults` those that were met, also in the background: a test expects none.
    """

    plane: DataPlane
    upstream: Notebook
    keeper: Keeper
    clock: FakeClock
    port: int
    shows_ids: bool = True
    records: list[RequestRecord] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    callers: list[Peer] = field(default_factory=list)
    """All that were opened, to be closed at the end."""

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.authority}"

    @property
    def connection(self) -> CallerConnection:
        """The one downstream connection that is open."""
        [connection] = self.connections
        return connection

    @property
    def connections(self) -> list[CallerConnection]:
        """All that are open."""
        return [one for one in self.plane.open.connections if isinstance(one, CallerConnection)]

    # -- callers ----------------------------------------------------------------------------------------

    async def call(self, data: bytes | str = b"", *, receive_bytes: int = 0) -> Peer:
        """A caller's connection, on which `data` was sent."""
        reader = asyncio.StreamReader(limit=READ_LIMIT_BYTES) if self.shows_ids else WithoutIds()
        caller = await dial(self.port, receive_bytes=receive_bytes, reader=reader)
        self.callers.append(caller)
        return caller.send(data) if data else caller

    async def raw(self, data: bytes | str) -> bytes:
        """Send bytes on a connection of their own; all that came back until it was closed."""
        return await (await self.call(data)).rest()

    async def get(self, target: str = "/", *, extra: str = "", method: str = "GET") -> Response:
        """One request on a connection of its own."""
        answer = await self.raw(self.head(target, extra=extra + "Connection: close\r\n", method=method))
        head, _, body = answer.partition(b"\r\n\r\n")
        return Response(head + b"\r\n\r\n", body)

    async def forwarded(self, target: bytes = b"/", *, fields: bytes = b"") -> tuple[Peer, Peer]:
        """A caller that sent a GET, and the new connection on which the notebook has read its head."""
        caller = await self.call(get(target, fields=fields))
        notebook = await self.notebook()
        await notebook.head()
        return caller, notebook

    def head(self, target: str = "/", *, extra: str = "", method: str = "GET") -> str:
        return f"{method} {target} HTTP/1.1\r\nHost: {self.authority}\r\n{extra}\r\n"

    def upgrade(self, target: str = "/ws", *, extra: str = "", origin: str | None = "own") -> str:
        """A WebSocket handshake; `origin` None: the field is missing."""
        own = self.origin if origin == "own" else origin
        return self.head(
            target,
            extra="Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\n" + (f"Origin: {own}\r\n" if own is not None else "") + extra,
        )

    # -- notebooks --------------------------------------------------------------------------------------

    async def notebook(self) -> Peer:
        """The next connection that the gateway opens to the notebook."""
        return await self.upstream.accept()

    @property
    def idle(self) -> int:
        """Connections to the notebook that wait in the pool."""
        return len(self.plane.pool.idle(self._origin))

    @property
    def open(self) -> int:
        """All connections to the notebook."""
        return self.plane.pool.open_connections(self._origin)

    @property
    def _origin(self) -> Origin:
        return session_at(self.upstream.port).origin

    # -- time -------------------------------------------------------------------------------------------

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, and have everybody judge what is overdue."""
        await self.clock.advance(seconds)
        self.plane.sweep()

    async def sweep(self, seconds: float) -> None:
        """Let time pass, a sweep at each end of it."""
        self.plane.sweep()
        await self.pass_time(seconds)
        await settle()

    async def settled(self, holds: Callable[..., object]) -> None:
        """Return when the other ends of the sockets have come so far that `holds()`."""
        await eventually(holds)


@asynccontextmanager
async def open_plane(
    directory: Path,
    *,
    by_hand: bool = False,
    own_pages: Any = None,
    tls: ssl.SSLContext | None = None,
    session_cookies: tuple[bytes, ...] = (b"nb-auth=upstream-secret-1", b"nb-session=upstream-secret-2"),
    **changes: Any,
) -> AsyncIterator[OpenPlane]:
    """The instance `research` (mounted at the root unless changed), with a session that is there already.

    `changes` replace sections of the configuration; `own_pages` is an aiohttp handler for the gateway's own; `tls` is
    whom the gateway trusts.
    """
    upstream = Notebook(by_hand=by_hand, limit_bytes=2**24)
    async with _opened(directory, upstream, session_cookies, changes, own_pages=own_pages, tls=tls) as opened:
        yield opened


@asynccontextmanager
async def open_stage(
    directory: Path,
    *,
    mount: str | dict[str, Any] = "root",
    tls: ssl.SSLContext | None = None,
    **changes: Any,
) -> AsyncIterator[OpenPlane]:
    """The same at `HOST`, port 80, whose callers read no ids: the test plays the notebook by hand."""
    instances = {"research": {"notebook": "research-gpu-1", "mount": mount}}
    changes = {"hostname": [HOST], "instances": instances, **changes}
    async with _opened(directory, Notebook(), (), changes, tls=tls, public_port=80) as opened:
        opened.shows_ids = False
        yield opened


@asynccontextmanager
async def _opened(
    directory: Path,
    upstream: Notebook,
    session_cookies: tuple[bytes, ...],
    changes: dict[str, Any],
    *,
    own_pages: Any = None,
    tls: ssl.SSLContext | None = None,
    public_port: int = 0,
) -> AsyncIterator[OpenPlane]:
    file = directory / "nbgate.yaml"
    config = {
        "hostname": ["127.0.0.1", "localhost"],
        "listeners": [{"bind": "127.0.0.1:0"}],
        "aws": {"region": "us-east-1"},
        "allowlists": {"here": ["127.0.0.0/8", "::1"], "elsewhere": ["203.0.113.0/24"]},
        "policy": {"allow": ["here"]},
        "instances": {"research": {"notebook": "research-gpu-1", "mount": "root"}},
        **changes,
    }
    file.write_text(yaml.safe_dump(config))
    settings = load(file, environ={})
    clock = FakeClock()
    records: list[RequestRecord] = []
    refusals: list[Refusal] = []
    events: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    faults: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))

    def audit(_inbound: Inbound, refusal: Refusal) -> None:
        refusals.append(refusal)

    numbers = iter(range(1, 1_000_000))
    tasks = Tasks(lambda _name, error: faults.append(error))
    async with upstream:
        keeper = Keeper(session_at(upstream.port, cookies=session_cookies))
        plane = compose.data_plane(
            settings,
            door=compose.gateway(settings, audit=audit),
            sessions=dict.fromkeys(settings.instances, keeper),
            clock=clock,
            new_id=lambda: f"{next(numbers):016x}",
            jitter=lambda seconds: seconds / 2,
            tasks=tasks,
            log=records.append,
            faults=collecting(faults),
            tls=tls,
            pages=own_pages,
            limits_met=LimitsMet(clock, lambda event, **fields: events.append({"event": event, **fields})),
        )
        listener = listen(plane, replace(settings.listeners[0], public_port=public_port))
        assert isinstance(listener.address, SocketAddress)
        opened = OpenPlane(
            plane=plane,
            upstream=upstream,
            keeper=keeper,
            clock=clock,
            port=listener.address.port,
            records=records,
            refusals=refusals,
            errors=errors,
            faults=faults,
            events=events,
        )
        try:
            yield opened
            assert not errors, errors
            assert not faults, faults
        finally:
            for caller in opened.callers:
                caller.abort()
            listener.close()
            await plane.close()
            await tasks.close()
            await settle()
    # The transports' own goodbyes.
    await asyncio.sleep(0.01)
