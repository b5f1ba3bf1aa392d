"""Callers whose connections begin with a PROXY protocol prelude, plain or with TLS behind it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from ipaddress import ip_address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21


def v1(source: str, destination: str = "") -> bytes:
    """`PROXY TCP4 …`"""
    version = ip_address(source).version
    destination = destination or ("10.0.0.1" if version == 4 else "2001:db8::1")
    return f"PROXY TCP{version} {source} {destination} 51234 443\r\n".encode()


def v2(source: str, *, tlvs: bytes = b"", command: int = PROXY, length: int | None = None) -> bytes:
    """The binary header. `length` is what it says of itself, where that is not true."""
    address = ip_address(source)
    block = address.packed * 2 + struct.pack("!HH", 51234, 443) + tlvs
    family = 0x11 if address.version == 4 else 0x21
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if length is None else length) + block


def local() -> bytes:
    """What a health check sends."""
    return SIGNATURE + struct.pack("!BBH", LOCAL, 0, 0)


async def received(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other end closes, or breaks the connection."""
    data = bytearray()
    try:
        async with asyncio.timeout(30):
            while part := await reader.read(65536):
                data += part
    except ConnectionResetError:
        pass
    return bytes(data)


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send `parts` on a connection of its own, as segments of their own if the kernel lets them; what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        return await received(reader)
    finally:
        writer.close()


async def exchange_in_tls(port: int, prelude: bytes, context: ssl.SSLContext, request: bytes) -> bytes:
    """The same with TLS behind the prelude, in as few segments as can be: the prelude comes together with the
    ClientHello, and the request with the end of the handshake.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()
    try:
        async with asyncio.timeout(30):
            pending = prelude
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(pending + outgoing.read())
                    pending = b""
                    if not (data := await reader.read(65536)):
                        return b""
                    incoming.write(data)
            tls.write(request)
            writer.write(outgoing.read())
            while data := await reader.read(65536):
                incoming.write(data)
                try:
                    while part := tls.read(65536):
                        answer += part
                    break  # close_notify
                except ssl.SSLWantReadError:
                    pass
    except ConnectionResetError:
        pass
    finally:
        writer.transport.abort()
    return bytes(answer)
