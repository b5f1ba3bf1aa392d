"""How connections end. Knows transports, and nothing of what they carried."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

_AT_ONCE: Final = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """Break a connection so that its peer sees that (RST), and drop what is still to be sent.

    `abort()` alone closes the socket, which the peer may see as an ordinary end (FIN): a body that only the end
    of the connection ends would look complete.
    """
    try:
        if (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    except (OSError, ValueError):
        pass  # closed already: there is no descriptor any more
    transport.abort()
