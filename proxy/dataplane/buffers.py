"""Where large reads land: memory that is used again, so that bulk passes without being copied.

An event loop's ordinary read copies what came into a new object. While a peer sends much at once, `LargeReads` stands
in for its connection's protocol and takes each read as a view of memory that all connections share. The rule: memory
is used again only when nothing looks at it any more, which the memory itself knows (a bytearray that is being looked
at refuses to change its size), whoever kept a view of it and why. Knows nothing of what is carried.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Protocol, cast

FIRST_BYTES: Final = 1024 * 1024
OTHER_BYTES: Final = 256 * 1024
"""The more a read takes, the less it costs a byte. What is read for a peer that takes nothing stays in memory,
though: so there is one large piece for all, and smaller ones for as long as it is held."""
LARGE_BYTES: Final = 64 * 1024
"""A read of so much makes it worth while; a smaller one than `FEW_BYTES` ends it."""
FEW_BYTES: Final = 16 * 1024
KEPT: Final = 8


class ReadMemory:
    """The memory of one event loop's large reads."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def take(self) -> bytearray:
        """Memory that nobody looks at, for what is read next; it need not be given back."""
        for memory in self._kept:
            with suppress(BufferError):
                memory.append(0)
                memory.pop()
                return memory
        memory = bytearray(OTHER_BYTES if self._kept else FIRST_BYTES)
        if len(self._kept) < KEPT:
            self._kept.append(memory)
        return memory


class Receiver(Protocol):
    """A connection's own protocol (asyncio.Protocol), which may be given views."""

    def data_received(self, data: bytes) -> None: ...

    def large_received(self, data: memoryview) -> bool:
        """As `data_received`, for a view that is not to be changed. False: no such reads any more."""

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


def begin_large_reads(receiver: Receiver, transport: asyncio.Transport, read_memory: ReadMemory) -> None:
    """Much comes at once: from the next read on, until one brings little, it lands in memory that is used again.

    Not under TLS, which makes objects of its own from what it decrypts: there this does nothing.
    """
    if (
        transport.get_extra_info("sslcontext") is None
        and not transport.is_closing()
        and cast(object, transport.get_protocol()) is receiver
    ):
        transport.set_protocol(LargeReads(receiver, transport, read_memory))


class LargeReads(asyncio.BufferedProtocol):
    """Stands in for `receiver` on its transport until a read brings little."""

    __slots__ = ("_memory", "_read_memory", "_receiver", "_transport")

    def __init__(self, receiver: Receiver, transport: asyncio.Transport, read_memory: ReadMemory) -> None:
        self._receiver = receiver
        self._transport = transport
        self._read_memory = read_memory
        self._memory: bytearray

    # -- asyncio.BufferedProtocol ------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> bytearray:
        self._memory = memory = self._read_memory.take()
        return memory

    def buffer_updated(self, nbytes: int) -> None:
        data = memoryview(self._memory)[:nbytes]
        del self._memory
        if nbytes >= FEW_BYTES:
            if not self._receiver.large_received(data.toreadonly()):
                self._end()
        else:
            self._end()
            self._receiver.data_received(bytes(data))

    def _end(self) -> None:
        # Somebody else may have taken the transport over while the receiver was told.
        if self._transport.get_protocol() is self:
            self._transport.set_protocol(self._receiver)  # type: ignore[arg-type]

    def eof_received(self) -> bool | None:
        return self._receiver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()
