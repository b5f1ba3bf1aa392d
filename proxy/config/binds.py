"""Where to listen, or to connect: an address and a port, or a socket in the file system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where to listen: an IP address without brackets, and a port (0: the kernel picks one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """Where to listen: a socket in the file system, and the permission bits of its file."""

    path: Path
    mode: int = 0o660

    def __str__(self) -> str:
        return f"unix:{self.path}"


Bind = SocketAddress | UnixSocket
