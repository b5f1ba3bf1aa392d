"""Takes the connections of one listener, each in the moment in which it is accepted.

The rule: it is counted before anything else, whatever kind of listener it came to, and refused without a byte where it
has no place. Who may send the PROXY protocol's prelude is decided here; how it is read, and what else comes before the
first request, is `proxy.dataplane.caller.prelude`'s.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from proxy.client_address.networks import Address, read_address
from proxy.config.binds import UnixSocket
from proxy.dataplane.answer.page import page_server
from proxy.dataplane.bounds import NOT_LISTED
from proxy.dataplane.budgets import Claim, Place
from proxy.dataplane.caller.connection import CallerConnection
from proxy.dataplane.caller.prelude import NewConnection
from proxy.telemetry.limits_met import Bound

if TYPE_CHECKING:
    from proxy.config.settings import Listener
    from proxy.dataplane.plane import DataPlane


class Reception:
    """Of one listener."""

    def __init__(self, plane: DataPlane, listener: Listener, *, tls: ssl.SSLContext | None = None) -> None:
        self._plane = plane
        self._listener = listener
        self._tls = tls
        self._pages = page_server(plane.own_pages)
        plane.page_servers.append(self._pages)

    def receive(self, sock: socket.socket, peer: Address | None) -> None:
        """Take a connection that was accepted a moment ago, or close it. `peer`: None on a Unix socket."""
        plane, listener = self._plane, self._listener
        if plane.draining:
            sock.close()
            return
        claim, is_listed = plane.claim(peer), True
        if listener.proxy_protocol is not None:
            if not isinstance(listener.bind, UnixSocket) and (
                peer is None or peer not in listener.proxy_protocol
            ):
                is_listed = False
                if peer is None or peer != _own_address(sock):
                    plane.refused(NOT_LISTED, peer)
                    sock.close()
                    return
            else:
                # It is a load balancer of ours, whoever is behind it.
                claim = Claim.TRUSTED
        place = plane.budgets.take(peer, claim)
        if isinstance(place, Bound):
            plane.refused(place, peer)
            sock.close()
            return
        if place.met is not None:
            plane.met(place.met, peer)
        new = NewConnection(plane, listener, sock=sock, place=place, make=self.connection, tls=self._tls)
        new.start(is_listed=is_listed)

    def connection(self, place: Place, deadline: float) -> CallerConnection:
        """What reads the requests of a connection; `deadline` is that of its first head, by the monotonic clock."""
        return CallerConnection(
            self._plane, self._listener, place=place, deadline=deadline, pages=self._pages
        )


def _own_address(sock: socket.socket) -> Address | None:
    """The address of this machine that a connection came to."""
    return read_address(sock.getsockname()[0])
