"""A connection from the moment it is accepted until somebody reads requests from it.

The rule: it is counted before anything else, whatever kind of listener it came to, and refused without a byte where it
has no place. Then comes the PROXY protocol's prelude, where the listener asks for one: only listed peers may send it,
and they have to; whoever else connects, sends something else or nothing in time is cut off. It is read from the bare
socket, exactly up to its end, so that what follows is read from its beginning by whom it is meant for. The source that
it names is the connection's peer from then on. Last comes TLS. All of it has one deadline, which the sweep judges.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from proxy.client_address.networks import Address
from proxy.client_address.proxy_protocol import Prelude, PreludeError
from proxy.config.settings import UnixSocket
from proxy.dataplane.bounds import HANDSHAKE_LATE, MALFORMED, NOT_LISTED, PRELUDE_LATE
from proxy.dataplane.budgets import Claim, Place
from proxy.telemetry.limits_met import Bound

if TYPE_CHECKING:
    from proxy.config.settings import Listener
    from proxy.dataplane.downstream import Downstream
    from proxy.dataplane.plane import DataPlane

LOOP_PATIENCE_SECONDS: Final = 10.0
"""So long after the deadline the event loop gives a handshake up by itself, should nobody sweep."""

Make = Callable[[Place, float], "Downstream"]
"""Makes the protocol that takes a connection over, in its place; its first head's deadline comes with it."""


class Reception:
    """Takes the connections of one listener."""

    def __init__(
        self, plane: DataPlane, listener: Listener, *, make: Make, tls: ssl.SSLContext | None
    ) -> None:
        self._plane = plane
        self._listener = listener
        self._make = make
        self._tls = tls

    def receive(self, sock: socket.socket, peer: Address | None) -> None:
        """Take a connection that was accepted a moment ago, or close it. `peer`: None on a Unix socket."""
        plane, listener = self._plane, self._listener
        if plane.draining:
            sock.close()
            return
        claim = plane.claim(peer)
        if listener.proxy_protocol is not None:
            if not isinstance(listener.bind, UnixSocket) and (
                peer is None or peer not in listener.proxy_protocol
            ):
                plane.refused(NOT_LISTED, peer)
                sock.close()
                return
            # It is a load balancer of ours, whoever is behind it.
            claim = Claim.TRUSTED
        place = plane.budgets.take(peer, claim)
        if isinstance(place, Bound):
            plane.refused(place, peer)
            sock.close()
            return
        if place.met is not None:
            plane.met(place.met, peer)
        Arrival(plane, listener, sock, place, make=self._make, tls=self._tls).start()


class Arrival:
    """One connection that has a place, and nobody yet who reads requests from it."""

    __slots__ = ("_deadline", "_listener", "_make", "_place", "_plane", "_prelude", "_sock", "_task", "_tls")

    def __init__(
        self,
        plane: DataPlane,
        listener: Listener,
        sock: socket.socket,
        place: Place,
        *,
        make: Make,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._plane = plane
        self._listener = listener
        self._sock = sock
        self._place = place
        self._make = make
        self._tls = tls
        self._prelude = None if listener.proxy_protocol is None else Prelude()
        self._deadline = plane.clock.monotonic() + plane.patience(place)

    def start(self) -> None:
        """Go on in a task of its own."""
        self._plane.arrivals.add(self)
        self._task = self._plane.tasks.start(self._arrive(), name="arrival")
        # Not at the end of what it runs: one that is ended in the turn in which it came runs nothing.
        self._task.add_done_callback(self._arrived)

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
        if now >= self._deadline:
            late = HANDSHAKE_LATE if self._prelude is None else PRELUDE_LATE
            self._plane.refused(late, self._place.peer)
            self.abort()

    def abort(self) -> None:
        """Cut it off."""
        self._deadline = math.inf
        self._task.cancel()

    async def _arrive(self) -> None:
        sock = self._sock
        try:
            if self._prelude is not None and not await self._read_prelude(self._prelude):
                return
            downstream = self._make(self._place, self._deadline)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: downstream, sock, **self._tls_options()
            )
        except OSError:
            # Gone, or not TLS, or none that both know. Nobody has asked for anything yet.
            pass

    def _arrived(self, _task: asyncio.Task[None]) -> None:
        """It is over, however it ended: somebody reads requests, or the connection is given up."""
        self._plane.arrivals.discard(self)
        if not self._place.is_held:
            self._place.leave()
            self._sock.close()

    def _tls_options(self) -> dict[str, Any]:
        if self._tls is None:
            return {}
        seconds = self._plane.timeouts.request_head_seconds + LOOP_PATIENCE_SECONDS
        return {"ssl": self._tls, "ssl_handshake_timeout": seconds}

    async def _read_prelude(self, prelude: Prelude) -> bool:
        """Read it, and have the place of the source that it names. False: the connection goes no further."""
        loop, plane = asyncio.get_running_loop(), self._plane
        origin = None
        while origin is None:
            try:
                data = await loop.sock_recv(self._sock, prelude.wanted)
                origin = prelude.feed(data) if data else None
            except ConnectionError:
                data = b""
            except PreludeError:
                plane.refused(MALFORMED, self._place.peer)
                return False
            if not data:
                # Load balancers look whether somebody listens: they come and go without a word.
                if not prelude.is_empty:
                    plane.refused(MALFORMED, self._place.peer)
                return False
        self._prelude = None
        return origin.source is None or self._move(origin.source)

    def _move(self, source: Address) -> bool:
        """From the load balancer's place to one of the source's own."""
        plane = self._plane
        self._place.leave()
        place = plane.budgets.take(source, plane.claim(source))
        if isinstance(place, Bound):
            plane.refused(place, source)
            return False
        if place.met is not None:
            plane.met(place.met, source)
        self._place = place
        self._deadline = min(self._deadline, plane.clock.monotonic() + plane.patience(place))
        return True
