"""Status changes as they happen, to the pages that show them: server-sent events at `/.nbgate/events`.

The rule: each event is judged anew for each stream, by the gateway of now, before it is written, so that who lost
access hears no more. An event says an instance's name and status and nothing else; the page asks for the rest. One
subscription to the fleet serves all streams, and there is none while nobody listens. A stream whose caller does not
take what it is sent is cut, not stored up. It must not know pages.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Network
from typing import Final

from aiohttp import web

from proxy.aws.control_plane import InstanceDescription
from proxy.client_address.networks import Address, subscriber
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.errors import AccessDenied, Draining, TooManyStreams
from proxy.faults import Faults
from proxy.policy.context import DESCRIBE
from proxy.rounds import Round, Rounds
from proxy.server.instance_views import InstanceViews
from proxy.server.operations.fleet import Fleet
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import PageRequest

HEARTBEAT_SECONDS: Final = 15.0
"""Between two signs of life on a stream where nothing happens; load balancers cut what is quiet for a minute."""
STUCK_SECONDS: Final = 45.0
"""How long one event may wait for a caller that takes nothing."""
RETRY_MILLISECONDS: Final = 3000
"""When a browser asks again after a stream ended (HTML standard, section 9.2.5)."""
_Address = Address | IPv6Network | None
"""What streams are counted by: of IPv6 the /64."""
PATH: Final = "/.nbgate/events"


class _Stream:
    """One listening page, and the names of what changed since the last write: the status is read when it is told, for a
    name may lead to another notebook by then."""

    __slots__ = ("changed", "is_over", "request", "wakes", "writing_since")

    def __init__(self, request: PageRequest) -> None:
        self.request = request
        self.changed: dict[str, None] = {}
        self.wakes = asyncio.Event()
        self.is_over = False
        self.writing_since = math.inf

    def end(self) -> None:
        self.is_over = True
        self.wakes.set()


class Streams:
    """The open streams of this process; `settings` (those of now) are read when one is opened."""

    def __init__(
        self,
        *,
        instances: InstanceViews,
        fleet: Fleet,
        settings: Callable[[], Settings],
        clock: Clock,
        rounds: Rounds,
        faults: Faults,
    ) -> None:
        self._instances = instances
        self._fleet = fleet
        self._settings = settings
        self._clock = clock
        self._rounds = rounds
        self._faults = faults
        self._open: set[_Stream] = set()
        self._by_address: Counter[_Address] = Counter()
        self._unsubscribe: Callable[[], None] = _nothing
        self._heart: Round | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._open)

    def register(self, table: OwnPages) -> None:
        table.add("GET", PATH, self.events)

    def close(self) -> None:
        """End all streams, and begin none: the gateway goes away. Browsers find the next one by themselves."""
        self._is_closed = True
        for stream in self._open:
            stream.end()

    async def events(self, request: PageRequest) -> web.StreamResponse:
        """A stream, until the page closes it or `close`. Raises TooManyStreams, Draining."""
        if self._is_closed:
            raise Draining
        client = request.caller.client.address
        address = None if client is None else subscriber(client)
        if self._by_address[address] >= self._settings().limits.event_streams_per_address:
            raise TooManyStreams
        response = web.StreamResponse(
            headers={
                **request.headers(),
                "Content-Type": "text/event-stream",
                # nginx would hold events back.
                "X-Accel-Buffering": "no",
            }
        )
        # It ends with this response: what is under way on a connection must not be confused with what follows.
        request.end_connection()
        if request.inbound.method == "HEAD":
            return response
        stream = _Stream(request)
        # What changed since the page was made is not to be missed.
        stream.changed = dict.fromkeys(self._instances.names(request.viewer))
        stream.wakes.set()
        self._opened(stream, address)
        try:
            await response.prepare(request.web)
            await self._send(stream, response, f"retry: {RETRY_MILLISECONDS}\n\n")
            await self._run(stream, response)
        finally:
            self._closed(stream, address)
        return response

    async def _run(self, stream: _Stream, response: web.StreamResponse) -> None:
        while not stream.is_over:
            await stream.wakes.wait()
            stream.wakes.clear()
            changed, stream.changed = stream.changed, {}
            try:
                text = "".join(
                    _event(name, known.description.status)
                    for name in changed
                    if self._may_hear(stream, name) and (known := self._fleet.known(name)) is not None
                )
            except AccessDenied:
                return
            if not stream.is_over:
                await self._send(stream, response, text or ":\n\n")

    async def _send(self, stream: _Stream, response: web.StreamResponse, text: str) -> None:
        stream.writing_since = self._clock.monotonic()
        try:
            await response.write(text.encode())
        finally:
            stream.writing_since = math.inf

    def _may_hear(self, stream: _Stream, name: str) -> bool:
        """Raises AccessDenied for a caller that is not admitted at all any more."""
        viewer = stream.request.viewer
        return name in self._instances.names(viewer) and viewer.may(name, DESCRIBE)

    def _happened(self, name: str, _description: InstanceDescription) -> None:
        def note(stream: _Stream) -> None:
            stream.changed[name] = None
            stream.wakes.set()

        self._faults.each("status streams", tuple(self._open), note, broken=_Stream.end)

    def _beat(self) -> None:
        """A sign of life on each stream; one whose caller takes nothing is cut."""
        now = self._clock.monotonic()

        def beat(stream: _Stream) -> None:
            if now - stream.writing_since > STUCK_SECONDS:
                transport = stream.request.web.transport
                if transport is not None:
                    transport.abort()
            stream.wakes.set()

        self._faults.each("status streams", tuple(self._open), beat, broken=_Stream.end)

    def _opened(self, stream: _Stream, address: _Address) -> None:
        self._by_address[address] += 1
        self._open.add(stream)
        if self._heart is None:
            self._unsubscribe = self._fleet.subscribe(self._happened)
            self._heart = self._rounds.start("status streams", self._beat, every_seconds=HEARTBEAT_SECONDS)

    def _closed(self, stream: _Stream, address: _Address) -> None:
        self._open.discard(stream)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        if not self._open and self._heart is not None:
            self._heart.stop()
            self._heart = None
            self._unsubscribe()


def _event(name: str, status: str) -> str:
    return f"event: status\ndata: {json.dumps({'name': name, 'status': status})}\n\n"


def _nothing() -> None:
    pass
