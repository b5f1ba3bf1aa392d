"""A stage for the data plane alone: the test plays the caller, and the notebook, byte by byte.

Between them stands the real data plane on a real socket, built by the composition root; only the keeper of the
session is a stand-in, whose session is there at once. So a test reads like a transcript:

    caller = await stage.call()
    caller.send(b"GET / HTTP/1.1\\r\\nHost: nb\\r\\n\\r\\n")
    notebook = await stage.notebook()
    ...
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from proxy.aws.cookies import Cookies, parse_set_cookies
from proxy.aws.sessions import UpstreamSession
from proxy.config.load import load
from proxy.dataplane.plane import DataPlane
from proxy.errors import NbgateError
from proxy.server import compose
from proxy.server.listening import listen
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.upstream import Honoured, Origin
from tests.harness.clocks import FakeClock, settle
from tests.harness.faulty import collecting
from tests.harness.raw_upstream import READ_LIMIT_BYTES, Peer, RawUpstream, dial
from tests.harness.waiting import eventually as eventually

HOST = "notebooks.test"
SESSION_COOKIE = b"FrontEnd=front-end-1"
FORWARDED_LINES = b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"


@dataclass(eq=False)
class StandInKeeper:
    """Implements what the data plane uses of `proxy.aws.keeper.SessionKeeper`; `waits` is how long callers would wait.

    `reject` signs in anew while there are `successors`; `gate` holds `acquire` back; `failure` ends it. Sessions with
    a generation in `ended` are over. `honoured_as` is what the front end says of its session, once `asking` lets it.
    """

    session: UpstreamSession | None
    successors: list[UpstreamSession] = field(default_factory=list)
    rejected: int = 0
    absorbed: list[tuple[bytes, ...]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failure: NbgateError | None = None
    ended: set[int] = field(default_factory=set)
    waits: list[dict[str, float]] = field(default_factory=list)
    is_up: bool = True
    honoured_as: Honoured = Honoured.YES
    asked: int = 0
    asking: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.asking.set()

    def live(self) -> UpstreamSession | None:
        return self.session

    async def acquire(self, *, asked_by: str = "", **how_long: float) -> UpstreamSession:
        self.waits.append(how_long)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if self.session is None:
            self.session = self.successors.pop(0)
        return self.session

    async def honoured(self, session: UpstreamSession, *, again: bool = False) -> Honoured:
        self.asked += 1
        await self.asking.wait()
        return self.honoured_as

    def reject(self, session: UpstreamSession) -> bool:
        self.rejected += 1
        if session is self.session:
            if not self.successors:
                return False
            self.session = None
        return True

    def is_over(self, session: UpstreamSession) -> bool:
        return session.generation in self.ended

    def absorb(self, session: UpstreamSession, set_cookie_fields: Sequence[bytes]) -> None:
        self.absorbed.append(tuple(set_cookie_fields))


def session_at(port: int, *, number: int = 1, tls: bool = False) -> UpstreamSession:
    """A session whose notebook is on a port of this machine; its cookie's value ends in `number`."""
    host = "localhost" if tls else "127.0.0.1"
    fields = parse_set_cookies([b"FrontEnd=front-end-%d" % number])
    return UpstreamSession(
        origin=Origin("https" if tls else "http", host, port),
        cookies=Cookies().apply(fields, host=host, now=datetime.max),
        obtained_at=0.0,
        renew_at=float("inf"),
        expires_at=float("inf"),
        generation=number,
    )


class WithoutIds(asyncio.StreamReader):
    """What a caller is sent, without the answers' ids (`X-Request-Id`): transcripts are of all else.

    That every answer has its id, `tests/dataplane/test_request_ids.py` sees.
    """

    _LINE = re.compile(rb"X-Request-Id: [0-9a-f]{16}\r\n")
    _START = b"X-Request-Id: "

    def __init__(self) -> None:
        super().__init__(limit=READ_LIMIT_BYTES)
        self._kept = b""

    def feed_data(self, data: bytes) -> None:
        data = self._LINE.sub(b"", self._kept + data)
        # Of a line that has not come as a whole, the rest is waited for.
        at = data.rfind(b"X", -len(self._START) - 18)
        whole = len(self._START)
        is_begun = at >= 0 and (data[at : at + whole] == self._START[: len(data) - at])
        self._kept = data[at:] if is_begun else b""
        super().feed_data(data[: len(data) - len(self._kept)])

    def feed_eof(self) -> None:
        kept, self._kept = self._kept, b""
        if kept:
            super().feed_data(kept)
        super().feed_eof()


@dataclass
class Stage:
    """`records` is what the access log would be told; `failed` what went wrong in the background."""

    upstream: RawUpstream
    plane: DataPlane
    keeper: StandInKeeper
    clock: FakeClock
    port: int
    records: list[RequestRecord]
    failed: list[BaseException]
    _callers: list[Peer] = field(default_factory=list)

    async def call(self, data: bytes = b"", *, receive_bytes: int = 0) -> Peer:
        """A caller's connection, on which `data` was sent."""
        caller = await dial(self.port, receive_bytes=receive_bytes, reader=WithoutIds())
        self._callers.append(caller)
        return caller.send(data) if data else caller

    async def get(self, target: bytes = b"/", *, fields: bytes = b"") -> tuple[Peer, Peer]:
        """A caller that sent a GET, and the new connection on which the notebook has read its head."""
        caller = await self.call(get(target, fields=fields))
        notebook = await self.notebook()
        await notebook.head()
        return caller, notebook

    async def notebook(self) -> Peer:
        """The next connection that the gateway opens to the notebook."""
        return await self.upstream.accept()

    async def sweep(self, seconds: float) -> None:
        """Let time pass, a sweep at each end of it."""
        self.plane.sweep()
        await self.clock.advance(seconds)
        self.plane.sweep()
        await settle()

    @property
    def idle(self) -> int:
        """Connections to the notebook that wait in the pool."""
        return self.plane.pool.idle_connections(self._origin)

    @property
    def open(self) -> int:
        """All connections to the notebook."""
        return self.plane.pool.open_connections(self._origin)

    @property
    def _origin(self) -> Origin:
        return session_at(self.upstream.port).origin


def get(target: bytes = b"/", *, fields: bytes = b"", method: bytes = b"GET") -> bytes:
    """A request without a body."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, HOST.encode(), fields)


def post(body: bytes, target: bytes = b"/", *, fields: bytes = b"", method: bytes = b"POST") -> bytes:
    """A request with a body of known length."""
    return get(target, fields=fields + b"Content-Length: %d\r\n" % len(body), method=method) + body


def ok(body: bytes = b"", *, fields: bytes = b"") -> bytes:
    """A response with a body of known length."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


@asynccontextmanager
async def open_stage(
    directory: Path, *, mount: str | dict[str, Any] = "root", **changes: Any
) -> AsyncIterator[Stage]:
    """A stage. `changes` replace sections of the configuration file."""
    file = directory / "stage.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "hostname": [HOST],
                "listeners": [{"bind": "127.0.0.1:0"}],
                "aws": {"region": "eu-west-1"},
                "allowlists": {"here": ["127.0.0.0/8"]},
                "policy": {"allow": ["here"]},
                "instances": {"research": {"notebook": "research-gpu-1", "mount": mount}},
                **changes,
            }
        )
    )
    settings = load(file, environ={})
    clock = FakeClock()
    failed: list[BaseException] = []
    records: list[RequestRecord] = []
    tasks = Tasks(lambda _name, error: failed.append(error))
    numbers = iter(range(1, 1_000_000))
    async with RawUpstream() as upstream:
        keeper = StandInKeeper(session_at(upstream.port))
        plane = compose.data_plane(
            settings,
            door=compose.gateway(settings, audit=lambda _inbound, _refusal: None),
            sessions={"research": keeper},  # type: ignore[dict-item]
            clock=clock,
            new_id=lambda: f"{next(numbers):016x}",
            jitter=lambda seconds: seconds / 2,
            tasks=tasks,
            log=records.append,
            faults=collecting(failed),
        )
        listener = listen(plane, replace(settings.listeners[0], public_port=80))
        port = listener.address.port
        stage = Stage(upstream, plane, keeper, clock, port, records, failed)
        try:
            yield stage
        finally:
            listener.close()
            await plane.close()
            await tasks.close()
            for caller in stage._callers:
                caller._writer.transport.abort()
            await settle()
    assert failed == []
