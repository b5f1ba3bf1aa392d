"""Open the sockets that callers connect to, TCP and Unix, and close them again.

The rule: what is opened here is closed by `OpenListener.close`, the file of a Unix socket included, unless another
process has put its own in its place by then. What arrives on a socket is the data plane's matter.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
from dataclasses import dataclass, replace

from proxy.config.binds import Bind, SocketAddress, UnixSocket
from proxy.config.settings import Listener
from proxy.dataplane.caller.reception import Reception
from proxy.dataplane.plane import DataPlane
from proxy.server import certificates
from proxy.server.accepting import Acceptor

_Identity = tuple[int, int]
"""Device and inode of a file."""


@dataclass(slots=True)
class OpenListener:
    """A socket that takes connections; `address` is the bound one."""

    address: Bind
    _acceptor: Acceptor
    _file: _Identity | None

    def close(self) -> None:
        """Take no new connections. Harmless when done already."""
        if isinstance(self.address, UnixSocket) and self._file is not None:
            remove(self.address, self._file)
            self._file = None
        self._acceptor.close()


def listen(plane: DataPlane, listener: Listener) -> OpenListener:
    """Serve a listener, in the running event loop.

    Raises OSError where it cannot be opened, or its certificate not be read.
    """
    context = None if listener.tls is None else server_context(listener)
    sock = bind(listener.bind)
    address = listener.bind if isinstance(listener.bind, UnixSocket) else address_of(sock)
    if not listener.public_port and isinstance(address, SocketAddress):
        listener = replace(listener, public_port=address.port)
    acceptor = Acceptor(
        sock,
        Reception(plane, listener, tls=context).receive,
        on_fault=plane.ran_out,
        clock=plane.clock,
        tasks=plane.tasks,
    )
    acceptor.open()
    return OpenListener(address, acceptor, _identity(address) if isinstance(address, UnixSocket) else None)


def server_context(listener: Listener) -> ssl.SSLContext:
    """The TLS side of a listener that has one. Raises UnusableCertificateError, an OSError."""
    assert listener.tls is not None
    try:
        context = certificates.server_context(listener.tls.certificate, listener.tls.key)
    except certificates.UnusableCertificateError as error:
        reason = error.strerror or str(error)
        raise certificates.UnusableCertificateError(
            f"cannot serve TLS on {listener.bind}: {reason}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def bind(address: Bind) -> socket.socket:
    """A socket at an address, not listening yet. Raises OSError that names the address."""
    if isinstance(address, UnixSocket):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if isinstance(address, UnixSocket):
            _clear(address)
            sock.bind(os.fspath(address.path))
            # Nobody can connect before it listens, so this comes early enough.
            address.path.chmod(address.mode)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> SocketAddress:
    """Where a TCP socket is bound."""
    host, port = sock.getsockname()[:2]
    return SocketAddress(host, port)


def remove(address: UnixSocket, file: _Identity) -> None:
    """Remove the file of a socket, if it is still the one that was made."""
    if _identity(address) == file:
        try:
            address.path.unlink()
        except OSError:
            pass  # its directory is gone, or not ours any more


def _clear(address: UnixSocket) -> None:
    """Remove the socket that a process left behind which ended without doing so. Raises OSError otherwise."""
    try:
        if not stat.S_ISSOCK(address.path.lstat().st_mode):
            raise OSError(errno.EEXIST, "there is a file of that name that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(address.path))
        except ConnectionRefusedError:
            address.path.unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full
    raise OSError(errno.EADDRINUSE, "another process is listening there")


def _identity(address: UnixSocket) -> _Identity | None:
    try:
        found = address.path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
