"""What holding a port promises: it is nobody's by chance, and the one whom it is for may listen there."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.harness.ports import held_port, held_ports


def test_a_held_port_is_refused_until_somebody_listens_there_and_again_afterwards() -> None:
    with held_port() as port:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            # With SO_REUSEADDR, as all servers do it.
            with (
                socket.create_server(("127.0.0.1", port)) as server,
                socket.create_connection(("127.0.0.1", port)) as caller,
            ):
                accepted, peer = server.accept()
                accepted.close()
                assert peer == caller.getsockname()


def test_nobody_else_gets_it() -> None:
    with held_ports(2) as (one, other), socket.socket() as stranger:
        assert one != other
        with pytest.raises(OSError, match="in use") as refused:
            stranger.bind(("127.0.0.1", one))
        assert refused.value.errno == errno.EADDRINUSE
