"""What comes before a connection's first request: the PROXY protocol's prelude, and TLS.

The rule: it has its place already (`proxy.dataplane.caller.reception`). Where the listener asks for a prelude, only
listed peers may send it, and they have to; whoever else connects, sends something else or nothing in time is cut off.
It is read from the bare socket, exactly up to its end, so that what follows is read from its beginning by whom it is
meant for. The source that it names is the connection's peer from then on. Last comes TLS. All of it has one deadline,
which the sweep judges.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from proxy.client_address.networks import Address
from proxy.client_address.proxy_protocol import Prelude, PreludeError, PreludeSource, is_check
from proxy.dataplane.answer.fixed import FixedAnswer, message_of
from proxy.dataplane.bounds import (
    HANDSHAKE_LATE,
    MALFORMED,
    NOT_LISTED,
    PLAIN_ON_TLS,
    PRELUDE_LATE,
    TLS_FAILED,
)
from proxy.dataplane.budgets import Place
from proxy.telemetry.limits_met import Bound

if TYPE_CHECKING:
    from proxy.config.settings import Listener
    from proxy.dataplane.plane import DataPlane

LOOP_PATIENCE_SECONDS: Final = 10.0
"""So long after the deadline the event loop gives a handshake up by itself, should nobody sweep."""

LINGER_SECONDS: Final = 5.0
LINGER_READS: Final = 64
LINGER_READ_BYTES: Final = 64 * 1024
SPEAKS_TLS: Final = b"This port speaks TLS: the address begins with https://\n"
_TLS_RECORDS: Final = frozenset({0x16, 0x80})
"""A TLS client's first byte: a handshake's (RFC 8446 section 5.1), or an SSL 2.0 hello's, which OpenSSL refuses."""

Make = Callable[[Place, float], asyncio.Protocol]
"""Makes the protocol that takes a connection over, in its place; its first head's deadline comes with it."""


class NewConnection:
    """One connection that has a place, and nobody yet who reads requests from it."""

    __slots__ = (
        "_deadline",
        "_is_answered",
        "_listener",
        "_make",
        "_place",
        "_plane",
        "_prelude",
        "_sock",
        "_task",
        "_tls",
    )

    def __init__(
        self,
        plane: DataPlane,
        listener: Listener,
        *,
        sock: socket.socket,
        place: Place,
        make: Make,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._plane = plane
        self._listener = listener
        self._sock = sock
        self._place = place
        self._make = make
        self._tls = tls
        self._is_answered = False
        self._prelude = None if listener.proxy_protocol is None else Prelude()
        self._deadline = plane.clock.monotonic() + plane.patience(place)

    def start(self, *, is_listed: bool = True) -> None:
        """Go on in a task of its own. Who is not listed is only looked at: this machine's health check, perhaps."""
        self._plane.open.new_connections.add(self)
        coming = self._prepare() if is_listed else self._look()
        self._task = self._plane.tasks.start(coming, name="new connection")
        # Not at the end of what it runs: one that is ended in the turn in which it came runs nothing.
        self._task.add_done_callback(self._ended)

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
        if now >= self._deadline and self._is_answered:
            self.abort()
        elif now >= self._deadline:
            late = HANDSHAKE_LATE if self._prelude is None else PRELUDE_LATE
            self._plane.refused(late, self._place.peer)
            self.abort()

    def abort(self) -> None:
        """Cut it off."""
        self._deadline = math.inf
        self._task.cancel()

    async def _prepare(self) -> None:
        sock = self._sock
        try:
            if self._prelude is not None and not await self._read_prelude(self._prelude):
                return
            if self._tls is not None and not await self._speaks_tls():
                return
            connection = self._make(self._place, self._deadline)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, sock, **self._tls_options()
            )
        except ssl.SSLError as error:
            if not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                # None that both know, or the caller does not trust our certificate.
                plane = self._plane
                plane.refused(TLS_FAILED, self._place.peer, detail=f"tls: {error.reason or 'failed'}")
        except OSError:
            # Gone. Nobody has asked for anything yet.
            pass

    async def _look(self) -> None:
        """Somebody on this machine who is not listed. A health check that speaks for itself, and then is silent, leaves
        no trace."""
        prelude = self._prelude
        assert prelude is not None
        peer = self._place.peer
        assert peer is not None
        loop = asyncio.get_running_loop()
        try:
            origin = None
            while origin is None:
                data = await loop.sock_recv(self._sock, prelude.wanted)
                if not data and prelude.is_empty:
                    return
                origin = prelude.feed(data) if data else PreludeSource(None)
            if data and is_check(origin, peer) and not await loop.sock_recv(self._sock, 1):
                return
        except ConnectionError:
            return
        except PreludeError:
            pass
        self._plane.refused(NOT_LISTED, peer)

    async def _speaks_tls(self) -> bool:
        """Look at the first byte, which stays where it is. Who speaks plain HTTP is told so, as nginx does."""
        first = await _first_byte(self._sock)
        if not first or first[0] in _TLS_RECORDS:
            return True
        plane = self._plane
        self._is_answered = True
        self._deadline = min(self._deadline, plane.clock.monotonic() + LINGER_SECONDS)
        request_id, status = plane.new_id(), 0
        if first.isalpha():
            status = 400
            headers = (
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Cache-Control", "no-store"),
                ("X-Request-Id", request_id),
            )
            answer = message_of(
                status, FixedAnswer(headers, SPEAKS_TLS), keep_alive=False, without_body=False
            )
            await asyncio.get_running_loop().sock_sendall(self._sock, answer)
        plane.refused(
            *(PLAIN_ON_TLS, self._place.peer),
            detail="plain HTTP, on a port that speaks TLS" if status else "neither TLS nor HTTP",
            status=status,
            request_id=request_id,
        )
        if status:
            await self._let_read()
        return False

    async def _let_read(self) -> None:
        """Closing with unread bytes would reset the connection, and the caller would not see the answer (RFC 9112
        section 9.6): tell it to stop, and read on for a while."""
        loop = asyncio.get_running_loop()
        self._sock.shutdown(socket.SHUT_WR)
        for _ in range(LINGER_READS):
            if not await loop.sock_recv(self._sock, LINGER_READ_BYTES):
                return

    def _ended(self, _task: asyncio.Task[None]) -> None:
        """It is over, however it ended: somebody reads requests, or the connection is given up."""
        self._plane.open.new_connections.discard(self)
        if not self._place.is_held:
            self._place.leave()
            self._sock.close()

    def _tls_options(self) -> dict[str, Any]:
        if self._tls is None:
            return {}
        seconds = self._plane.current.timeouts.request_head_seconds + LOOP_PATIENCE_SECONDS
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


async def _first_byte(sock: socket.socket) -> bytes:
    """A connection's first byte, which is not taken; b"" where it ended. Raises OSError."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            pass
        readable = loop.create_future()
        loop.add_reader(sock, _tell, readable)
        try:
            await readable
        finally:
            loop.remove_reader(sock)


def _tell(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
