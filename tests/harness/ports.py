"""Ports that a test chooses for a process that it starts: nobody else is given them before, and between two runs of it.

A port that was bound and closed again may be anybody's by the time it is used. One that is held is not: the kernel
gives it to nobody who asks for any port, connections to it are refused, and who names it, with SO_REUSEADDR as servers
do, may listen there all the same, as long as the holder doesn't (Linux; socket(7)).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """So many ports of 127.0.0.1."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
        yield [sock.getsockname()[1] for sock in sockets]


@contextmanager
def held_port() -> Iterator[int]:
    with held_ports(1) as [port]:
        yield port
