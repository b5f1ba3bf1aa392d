"""A data plane alone, over real sockets: callers and notebook are bytes that the test writes and reads itself.

`async with open_plane(tmp_path, **config changes) as opened:` serves the instance `research` (mounted at the root
unless changed) with a session that is there already, in front of a `RawUpstream`. No sandbox, no AWS.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yarl import URL

from proxy.aws.cookies import Cookies, parse_set_cookies
from proxy.aws.sessions import UpstreamSession
from proxy.config.load import load
from proxy.dataplane.caller.connection import CallerConnection
from proxy.dataplane.plane import DataPlane
from proxy.errors import NbgateError
from proxy.gateway import Inbound, Refusal
from proxy.server import compose
from proxy.server.listening import listen
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.upstream import Honoured, Origin
from tests.harness.clocks import FakeClock
from tests.harness.faulty import collecting
from tests.harness.waiting import PATIENCE_SECONDS, eventually

OK = b"HTTP/1.1 200 OK\r\nServer: TornadoServer/6.5\r\nContent-Length: 2\r\n\r\nok"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PATIENCE = PATIENCE_SECONDS
"""Seconds of the machine's own clock after which a test that waits has failed."""


class Peer:
    """One end of a connection, for a test that reads and writes bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)

    async def head(self) -> bytes:
        """Up to and with the next empty line."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def exactly(self, count: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), PATIENCE)

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE)

    async def rest(self) -> bytes:
        """All that comes until the other end closes. Raises ConnectionResetError where it was aborted."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE)

    async def response(self) -> Response:
        """One response with a length, or without a body."""
        head = await self.head()
        response = Response.of(head)
        if length := response.value("content-length"):
            response.body = await self.exactly(int(length))
        return response

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


@dataclass
class Response:
    """A response that was read."""

    status: int
    fields: list[tuple[str, str]]
    head: bytes
    body: bytes = b""

    @classmethod
    def of(cls, head: bytes) -> Response:
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return cls(int(first.split(" ")[1]), fields, head)

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found == name.lower()]

    def value(self, name: str) -> str:
        return ", ".join(self.values(name))


class RawUpstream:
    """A notebook host in bytes. Answers `answer(head, body)`, `OK` by default; upgrades get a 101 unless `answer`
    says otherwise. With `by_hand` it only accepts, and the test speaks (`await upstream.accept()`).
    """

    def __init__(self, *, by_hand: bool = False) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.tunnelled: list[bytearray] = []
        self.connections = 0
        self.answer: Callable[[bytes, bytes], bytes] | None = None
        self._by_hand = by_hand
        self._accepted: asyncio.Queue[Peer] = asyncio.Queue()
        self._peers: list[Peer] = []

    async def accept(self) -> Peer:
        return await asyncio.wait_for(self._accepted.get(), PATIENCE)

    def fields(self, index: int = -1) -> Response:
        """A head that arrived, its fields in reach; `status` means nothing."""
        return Response.of(b"HTTP/1.1 200 OK\r\n" + self.heads[index].partition(b"\r\n")[2])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        peer = Peer(reader, writer)
        self._peers.append(peer)
        if self._by_hand:
            self._accepted.put_nowait(peer)
            return
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                lower = head.lower()
                body = b""
                if b"\r\ntransfer-encoding: chunked" in lower:
                    body = await reader.readuntil(b"0\r\n\r\n")
                elif b"\r\ncontent-length: " in lower:
                    body = await reader.readexactly(
                        int(lower.partition(b"\r\ncontent-length: ")[2].split(b"\r")[0])
                    )
                self.bodies.append(body)
                if self.answer is not None:
                    answer = self.answer(head, body)
                    writer.write(answer)
                    if b"\r\nconnection: close" in answer.lower():
                        writer.close()
                        return
                elif b"\r\nupgrade: websocket" in lower:
                    writer.write(switching(head))
                    tunnelled = bytearray()
                    self.tunnelled.append(tunnelled)
                    while data := await reader.read(65536):
                        tunnelled += data
                    return
                else:
                    writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def close(self) -> None:
        for peer in self._peers:
            peer.abort()


def switching(head: bytes) -> bytes:
    """The 101 that belongs to a handshake (RFC 6455 section 4.2.2)."""
    key = head.lower().partition(b"sec-websocket-key: ")[2].split(b"\r")[0]
    start = head.lower().find(key)
    accept = hashlib.sha1(head[start : start + len(key)] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(accept)
    )


class HeldSession:
    """What the data plane asks of a `SessionKeeper`: a session that is there, or, once `cold`, after `warm()`, or never
    where signing in `fails`.
    """

    def __init__(self, session: UpstreamSession) -> None:
        self.session = session
        self.is_up = True
        self.honoured_as = Honoured.YES
        self.absorbed: list[bytes] = []
        self._failure: NbgateError | None = None
        self._warm = asyncio.Event()
        self._warm.set()

    def cold(self) -> None:
        self._warm.clear()

    def fails(self, error: NbgateError) -> None:
        self.cold()
        self._failure = error

    def warm(self) -> None:
        self._warm.set()

    def live(self) -> UpstreamSession | None:
        return self.session if self._warm.is_set() else None

    async def acquire(self, **_how_long: float) -> UpstreamSession:
        if self._failure is not None:
            raise self._failure
        await self._warm.wait()
        return self.session

    async def honoured(self, session: UpstreamSession, *, again: bool = False) -> Honoured:
        return self.honoured_as

    def reject(self, session: UpstreamSession) -> bool:
        return True

    def is_over(self, session: UpstreamSession) -> bool:
        return False

    def absorb(self, session: UpstreamSession, set_cookie_fields: tuple[bytes, ...]) -> None:
        self.absorbed += set_cookie_fields


@dataclass
class OpenPlane:
    """A data plane that serves. `errors` are those that reached the event loop, `faults` those that were met: a test
    expects none.
    """

    plane: DataPlane
    upstream: RawUpstream
    keeper: HeldSession
    clock: FakeClock
    port: int
    records: list[RequestRecord] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    """The warnings of limits that were met."""
    _peers: list[Peer] = field(default_factory=list)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.authority}"

    @property
    def connection(self) -> CallerConnection:
        """The one downstream connection that is open."""
        [connection] = self.plane.connections
        return connection

    async def connect(self) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self._peers.append(peer)
        return peer

    async def raw(self, data: bytes | str) -> bytes:
        """Send bytes on a connection of their own; all that came back until it was closed."""
        peer = await self.connect()
        peer.send(data)
        return await peer.rest()

    async def get(self, target: str = "/", *, extra: str = "", method: str = "GET") -> Response:
        """One request on a connection of its own."""
        peer = await self.connect()
        peer.send(self.head(target, extra=extra + "Connection: close\r\n", method=method))
        answer = await peer.rest()
        head, _, body = answer.partition(b"\r\n\r\n")
        response = Response.of(head + b"\r\n\r\n")
        response.body = body
        return response

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

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, and have everybody judge what is overdue."""
        await self.clock.advance(seconds)
        self.plane.sweep()

    async def settled(self, holds: Callable[[], bool]) -> None:
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
    """`changes` replace sections of the configuration; `own_pages` is an aiohttp handler for the gateway's own; `tls`
    is whom the gateway trusts."""
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
    upstream = RawUpstream(by_hand=by_hand)
    loop = asyncio.get_running_loop()
    upstream_server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, limit=2**24)
    origin = Origin.of(URL(f"http://127.0.0.1:{upstream_server.sockets[0].getsockname()[1]}"))
    cookies = Cookies().apply(parse_set_cookies(session_cookies), host=origin.host, now=clock.now())
    keeper = HeldSession(UpstreamSession(origin, cookies, 0.0, 1e9, 2e9))
    records: list[RequestRecord] = []
    refusals: list[Refusal] = []
    events: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    faults: list[BaseException] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))

    def audit(_inbound: Inbound, refusal: Refusal) -> None:
        refusals.append(refusal)

    numbers = itertools.count(1)
    tasks = Tasks(lambda name, error: errors.append({"message": name, "exception": error}))
    plane = compose.data_plane(
        settings,
        door=compose.gateway(settings, audit=audit),
        sessions=dict.fromkeys(settings.instances, keeper),
        clock=clock,
        new_id=lambda: f"request-{next(numbers)}",
        tasks=tasks,
        log=records.append,
        faults=collecting(faults),
        tls=tls,
        warn=lambda event, **fields: events.append({"event": event, **fields}),
    )
    if own_pages is not None:
        plane._own_pages = own_pages
    listener = listen(plane, settings.listeners[0])
    port = listener.address.port
    opened = OpenPlane(plane, upstream, keeper, clock, port, records, refusals, errors, faults, events)
    try:
        yield opened
        assert not errors, errors
        assert not faults, faults
    finally:
        for peer in opened._peers:
            peer.abort()
        listener.close()
        upstream_server.close()
        await plane.close()
        upstream.close()
        await tasks.close()
        # The transports' own goodbyes.
        await asyncio.sleep(0.01)
