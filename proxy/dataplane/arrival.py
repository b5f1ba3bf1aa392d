"""A connection that begins with a PROXY protocol prelude, until it is known where it comes from.

The rule: only listed peers may send a prelude, and they have to. Whoever else connects, sends something else or
nothing in time, is cut off without a byte. Reading stops exactly where the prelude does, so that what follows is
read from its beginning by whom it is meant for: a TLS handshake, or `Downstream`. The source that the prelude
names is the connection's peer from then on; forwarding headers count only if *it* is a trusted proxy.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from proxy.client_address.networks import Address
from proxy.client_address.proxy_protocol import Prelude, PreludeError
from proxy.config.settings import UnixSocket
from proxy.dataplane.transports import peer_of
from proxy.telemetry.access_log import RequestRecord

if TYPE_CHECKING:
    from proxy.config.settings import Listener
    from proxy.dataplane.downstream import Downstream
    from proxy.dataplane.plane import DataPlane

NOT_LISTED: Final = "PROXY_NOT_LISTED"
MALFORMED: Final = "PROXY_MALFORMED"
TIMEOUT: Final = "PROXY_TIMEOUT"


class Arrival(asyncio.BufferedProtocol):
    """One connection. `make` makes the one that takes over; with `tls`, a handshake comes in between."""

    __slots__ = (
        "_buffer",
        "_deadline",
        "_listener",
        "_make",
        "_peer",
        "_plane",
        "_prelude",
        "_started_at",
        "_tls",
        "_transport",
    )

    def __init__(
        self,
        plane: DataPlane,
        listener: Listener,
        *,
        make: Callable[[], Downstream],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._plane = plane
        self._listener = listener
        self._make = make
        self._tls = tls
        self._prelude = Prelude()
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = peer_of(transport)
        self._started_at = self._plane.clock.monotonic()
        self._deadline = self._started_at + self._plane.timeouts.request_head_seconds
        if not self._plane.arrived(self):
            self.abort()
        elif not self._is_listed():
            self._refuse(NOT_LISTED)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._plane.arrivals.discard(self)
        # Load balancers look whether somebody listens: they come and go without a word.
        if self._deadline != math.inf and not self._prelude.is_empty:
            self._log(MALFORMED)

    def get_buffer(self, sizehint: int) -> bytearray:
        # No larger than what surely belongs to the prelude.
        self._buffer = bytearray(self._prelude.wanted)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            origin = self._prelude.feed(bytes(self._buffer[:nbytes]))
        except PreludeError:
            self._refuse(MALFORMED)
            return
        if origin is None:
            return
        self._deadline = math.inf
        self._transport.pause_reading()
        peer = self._peer if origin.source is None else origin.source
        if self._tls is None:
            self._hand_over(self._transport, peer)
            self._transport.resume_reading()
        else:
            self._plane.tasks.start(self._shake_hands(self._tls, peer), name="TLS handshake")

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
        if now >= self._deadline:
            self._refuse(TIMEOUT)

    def abort(self) -> None:
        """Cut it off."""
        self._deadline = math.inf
        self._transport.abort()

    def _is_listed(self) -> bool:
        networks = self._listener.proxy_protocol
        assert networks is not None
        if isinstance(self._listener.bind, UnixSocket):
            # Who may open the socket was decided by its file's permissions.
            return True
        return self._peer is not None and self._peer in networks

    async def _shake_hands(self, context: ssl.SSLContext, peer: Address | None) -> None:
        early = _Early()
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport,
                early,
                context,
                server_side=True,
                ssl_handshake_timeout=self._plane.timeouts.request_head_seconds,
            )
        except OSError:
            # Not TLS, or none that both know; too slow, or gone. Nobody has asked for anything yet.
            self._transport.abort()
            return
        finally:
            self._plane.arrivals.discard(self)
        if transport is None or transport.is_closing():
            self._transport.abort()
            return
        downstream = self._hand_over(transport, peer)
        if early.data:
            downstream.data_received(bytes(early.data))

    def _hand_over(self, transport: asyncio.Transport, peer: Address | None) -> Downstream:
        self._plane.arrivals.discard(self)
        downstream = self._make()
        transport.set_protocol(downstream)
        downstream.begin(transport, peer)
        return downstream

    def _refuse(self, code: str) -> None:
        self._log(code)
        self.abort()

    def _log(self, code: str) -> None:
        peer = None if self._peer is None else str(self._peer)
        request_id = self._plane.new_id()
        self._plane.log(
            RequestRecord(request_id, None, peer, "", "-", "-", "", 0, 0, 0, self._started_at, None, code)
        )


class _Early(asyncio.Protocol):
    """Keeps what comes between the end of the handshake and the turn in which it is known to have ended."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def data_received(self, data: bytes) -> None:
        self.data += data
