"""The PROXY protocol, versions 1 and 2: what a load balancer says of a connection before its first byte.

The rule: strict, because whoever writes this names the client. What a reader might read differently is
refused, and as soon as it shows; a prelude is never read past its end, since what follows may be a TLS
handshake, which is for others to read. Source: haproxy.org/download/2.9/doc/proxy-protocol.txt, sections
2.1 and 2.2. This module must not know sockets, nor who may send a prelude: that is asked before.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from proxy.client_address.networks import Address, read_address

MAX_V1_BYTES: Final = 107
"""The longest version 1 line, its CRLF included (section 2.1)."""
MAX_V2_BLOCK_BYTES: Final = 4096
"""The most that may follow a version 2 header. The addresses take 36 bytes, what load balancers add some 100."""
READ_BYTES: Final = MAX_V2_BLOCK_BYTES
"""No `Prelude.wanted` is larger."""

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEADER: Final = struct.Struct("!12sBBH")
# The shortest line of version 1, `PROXY UNKNOWN` and its end; a header of version 2 is longer.
_SHORTEST: Final = 15

_V1_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?\r\n")
_V1_TCP: Final = re.compile(
    rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n"
)

_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_ADDRESS_BYTES: Final = {_TCP4: 12, _TCP6: 36}


class PreludeError(ValueError):
    """This is no prelude that can be trusted. The message is for the operator's log and quotes nothing."""


@dataclass(frozen=True, slots=True)
class PreludeSource:
    """Where a connection began; `source` None: at the peer itself (`LOCAL`, `UNKNOWN`), as health checks do."""

    source: Address | None


def is_check(origin: PreludeSource, peer: Address) -> bool:
    """Whether a prelude of `peer` speaks for `peer` alone, as those of health checks do: with version 2, HAProxy's say
    `LOCAL`; with version 1 they name HAProxy's own address.
    """
    return origin.source is None or origin.source == peer


class Prelude:
    """Reads one prelude: feed it at most `wanted` bytes, until it tells an `PreludeSource`."""

    __slots__ = ("_received", "wanted")

    def __init__(self) -> None:
        self._received = bytearray()
        self.wanted = _SHORTEST
        """How many bytes may be read without reading past the prelude's end. 0: it is complete."""

    @property
    def is_empty(self) -> bool:
        """Nothing has come yet."""
        return not self._received

    def feed(self, data: bytes) -> PreludeSource | None:
        """Take 1 to `wanted` bytes; None while there is more to come. Raises PreludeError, then for good."""
        assert 0 < len(data) <= self.wanted
        received = self._received
        received += data
        if received.startswith(_V1[: len(received)]):
            return self._line(bytes(received))
        if received.startswith(_V2[: len(received)]):
            return self._binary(received)
        raise PreludeError("neither version 1 nor version 2 of the PROXY protocol begins like this")

    def _line(self, line: bytes) -> PreludeSource | None:
        end = line.find(b"\r")
        if 0 <= end < len(line) - 1:
            self.wanted = 0
            return PreludeSource(_v1_source(line))
        # An end takes two bytes, or one more if half of it is here.
        self.wanted = max(_SHORTEST - len(line), 2 if end < 0 else 1)
        if len(line) + self.wanted > MAX_V1_BYTES:
            raise PreludeError(f"a version 1 line of more than {MAX_V1_BYTES} bytes")
        return None

    def _binary(self, received: bytearray) -> PreludeSource | None:
        size = _V2_HEADER.size
        if len(received) >= size:
            _, command, family, length = _V2_HEADER.unpack_from(received)
            if command not in (_LOCAL, _PROXY):
                raise PreludeError("an unknown version or command of the PROXY protocol's version 2")
            if length > MAX_V2_BLOCK_BYTES:
                raise PreludeError(f"a version 2 header with more than {MAX_V2_BLOCK_BYTES} bytes behind it")
            size += length
            if len(received) == size:
                self.wanted = 0
                # Section 2.2: with LOCAL, all else is ignored.
                return PreludeSource(None if command == _LOCAL else _v2_source(family, bytes(received)))
        self.wanted = size - len(received)
        return None


def _v1_source(line: bytes) -> Address | None:
    if _V1_UNKNOWN.fullmatch(line):
        return None
    match = _V1_TCP.fullmatch(line)
    if match is None:
        raise PreludeError("a malformed line of the PROXY protocol's version 1")
    family, source, destination = (field.decode("ascii") for field in match.group(1, 2, 3))
    # Both belong to the family that was announced, though a mapped address comes back as IPv4.
    if any((":" in field) != (family == "6") for field in (source, destination)):
        raise PreludeError("a version 1 line with an address of another family")
    address = read_address(source)
    if address is None or read_address(destination) is None:
        raise PreludeError("a version 1 line with something that is not an IP address")
    if any(int(port) > 65535 for port in match.group(4, 5)):
        raise PreludeError("a version 1 line with a port beyond 65535")
    return address


def _v2_source(family: int, received: bytes) -> Address | None:
    if family == _UNSPECIFIED:
        return None
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        raise PreludeError("a version 2 header for something other than TCP over IPv4 or IPv6")
    start = _V2_HEADER.size
    if len(received) < start + size:
        raise PreludeError("a version 2 header that ends within its addresses")
    _skip_tlvs(received, start + size)
    if family == _TCP4:
        return IPv4Address(received[start : start + 4])
    address = IPv6Address(received[start : start + 16])
    return address.ipv4_mapped or address


def _skip_tlvs(received: bytes, at: int) -> None:
    """Section 2.2.1: type, length, value, up to the very end. None of them is needed here."""
    while at < len(received):
        if at + 3 > len(received):
            raise PreludeError("a version 2 header that ends within a TLV")
        at += 3 + int.from_bytes(received[at + 1 : at + 3], "big")
    if at > len(received):
        raise PreludeError("a version 2 header with a TLV that is longer than what is left of it")
