"""PROXY protocol preludes: who is named, what is refused, and that nothing behind a prelude is ever read."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.networks import Address, NetworkSet
from proxy.client_address.proxy_protocol import (
    MAX_V1_BYTES,
    MAX_V2_BLOCK_BYTES,
    READ_BYTES,
    Prelude,
    PreludeError,
    PreludeSource,
    is_check,
)

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4, V6 = "203.0.113.7", "2001:db8::7"


def v2(command: int, family: int, block: bytes, *, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if length is None else length) + block


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def addresses(source: str, destination: str) -> bytes:
    return ip_address(source).packed + ip_address(destination).packed + struct.pack("!HH", 51234, 443)


TCP4 = addresses(V4, "10.0.0.1")
TCP6 = addresses(V6, "2001:db8::1")

LONGEST_V1 = "PROXY TCP6 " + "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + "65535 65535\r\n"

VALID: list[tuple[str, bytes, str | None]] = [
    ("v1 TCP4", b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443\r\n", V4),
    ("v1 TCP4, shortest", b"PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n", "1.1.1.1"),
    ("v1 TCP4, longest", b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    ("v1 TCP6", b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n", V6),
    ("v1 TCP6, longest", LONGEST_V1.encode(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("v1 TCP6, capitals", b"PROXY TCP6 2001:DB8::7 2001:DB8::1 51234 443\r\n", V6),
    ("v1 TCP6, mapped", b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:10.0.0.1 1 2\r\n", V4),
    ("v1 UNKNOWN", b"PROXY UNKNOWN\r\n", None),
    ("v1 UNKNOWN with words", b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n", None),
    ("v1 UNKNOWN, longest", b"PROXY UNKNOWN " + b"f" * (MAX_V1_BYTES - 16) + b"\r\n", None),
    ("v2 TCP4", v2(0x21, 0x11, TCP4), V4),
    ("v2 TCP6", v2(0x21, 0x21, TCP6), V6),
    ("v2 TCP6, mapped", v2(0x21, 0x21, addresses("::ffff:203.0.113.7", "::1")), V4),
    ("v2 TCP4 with TLVs", v2(0x21, 0x11, TCP4 + tlv(0x01, b"http/1.1") + tlv(0x02, b"nb.internal")), V4),
    ("v2 TCP6 with an empty TLV", v2(0x21, 0x21, TCP6 + tlv(0x04, b"")), V6),
    # What a Network Load Balancer sends: the VPC endpoint's id (0xEA), a CRC32C (0x03), padding (0x04).
    (
        "v2 of AWS",
        v2(
            0x21, 0x11, TCP4 + tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9") + tlv(3, bytes(4)) + tlv(4, bytes(30))
        ),
        V4,
    ),
    ("v2, as long as can be", v2(0x21, 0x11, TCP4 + tlv(4, bytes(MAX_V2_BLOCK_BYTES - 15))), V4),
    ("v2 LOCAL", v2(0x20, 0x00, b""), None),
    ("v2 LOCAL with addresses", v2(0x20, 0x11, TCP4), None),
    ("v2 LOCAL with anything", v2(0x20, 0xFF, b"\xff\xff\xff"), None),
    ("v2 unspecified", v2(0x21, 0x00, b"anything"), None),
]

BROKEN: list[tuple[str, bytes]] = [
    ("HTTP", b"GET / HTTP/1.1\r\nHost: nb\r\n\r\n"),
    ("TLS", bytes.fromhex("16030100fa010000f603")),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("lower case", b"proxy TCP4 203.0.113.7 10.0.0.1 1 2\r\n"),
    ("empty lines first", b"\r\nPROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n"),
    ("two spaces", b"PROXY  TCP4 203.0.113.7 10.0.0.1 1 2\r\n"),
    ("two spaces, later", b"PROXY TCP4  203.0.113.7 10.0.0.1 1 2\r\n"),
    ("a space at the end", b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2 \r\n"),
    ("a tab", b"PROXY TCP4\t203.0.113.7 10.0.0.1 1 2\r\n"),
    ("UDP", b"PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n"),
    ("no addresses", b"PROXY TCP4\r\nxxxxx"),
    ("too short to be one", b"PROXY \r\n"),
    ("UNKNOWNS", b"PROXY UNKNOWNS\r\n"),
    ("UNKNOWN with a line feed", b"PROXY UNKNOWN a\nPROXY TCP4 203.0.113.7\r\n"),
    ("UNKNOWN with a control character", b"PROXY UNKNOWN \x1b[31m\r\n"),
    ("UNKNOWN, not ASCII", "PROXY UNKNOWN é\r\n".encode()),
    ("families swapped", b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n"),
    ("families swapped, other", b"PROXY TCP6 203.0.113.7 10.0.0.1 1 2\r\n"),
    ("families mixed", b"PROXY TCP4 203.0.113.7 2001:db8::1 1 2\r\n"),
    ("a mapped address as TCP4", b"PROXY TCP4 ::ffff:203.0.113.7 10.0.0.1 1 2\r\n"),
    ("leading zeros", b"PROXY TCP4 203.0.113.007 10.0.0.1 1 2\r\n"),
    ("an octal address", b"PROXY TCP4 0313.0.113.7 10.0.0.1 1 2\r\n"),
    ("a hexadecimal address", b"PROXY TCP4 0xCB.0.113.7 10.0.0.1 1 2\r\n"),
    ("a short address", b"PROXY TCP4 203.0.28935 10.0.0.1 1 2\r\n"),
    ("a bad destination", b"PROXY TCP4 203.0.113.7 10.0.0.256 1 2\r\n"),
    ("a zone", b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n"),
    ("brackets", b"PROXY TCP6 [2001:db8::7] [2001:db8::1] 1 2\r\n"),
    ("a port beyond", b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 2\r\n"),
    ("a port with zeros", b"PROXY TCP4 203.0.113.7 10.0.0.1 01 2\r\n"),
    ("a negative port", b"PROXY TCP4 203.0.113.7 10.0.0.1 -1 2\r\n"),
    ("no port", b"PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n"),
    ("a carriage return within", b"PROXY TCP4 203.0.113.7\r10.0.0.1 1 2\r\n"),
    ("a carriage return too many", b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\r\n"),
    ("a line feed alone", b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\n" + b"x" * MAX_V1_BYTES),
    ("no end in 107 bytes", b"PROXY UNKNOWN " + b"f" * MAX_V1_BYTES),
    ("an end at the 108th byte", b"PROXY UNKNOWN " + b"f" * (MAX_V1_BYTES - 15) + b"\r\n"),
    ("v2, another version", v2(0x11, 0x11, TCP4)),
    ("v2, version 3", v2(0x31, 0x11, TCP4)),
    ("v2, another command", v2(0x22, 0x11, TCP4)),
    ("v2, UDP", v2(0x21, 0x12, TCP4)),
    ("v2, UDP over IPv6", v2(0x21, 0x22, TCP6)),
    ("v2, a Unix socket", v2(0x21, 0x31, bytes(216))),
    ("v2, an unknown family", v2(0x21, 0x41, TCP4)),
    ("v2, IPv4 without a transport", v2(0x21, 0x10, TCP4)),
    ("v2, no addresses", v2(0x21, 0x11, b"")),
    ("v2, short addresses", v2(0x21, 0x11, TCP4[:-1])),
    ("v2, IPv4 addresses as IPv6", v2(0x21, 0x21, TCP4)),
    ("v2, half a TLV", v2(0x21, 0x11, TCP4 + b"\x04\x00")),
    ("v2, a TLV beyond the end", v2(0x21, 0x11, TCP4 + b"\x04\x00\x05abcd")),
    ("v2, a second TLV beyond the end", v2(0x21, 0x11, TCP4 + tlv(1, b"a") + b"\x04\xff\xff")),
    ("v2, too long", v2(0x21, 0x11, b"", length=MAX_V2_BLOCK_BYTES + 1)),
    ("v2, too long for LOCAL", v2(0x20, 0x00, b"", length=0xFFFF)),
    ("v2, a broken signature", SIGNATURE[:-1] + b"\0" + b"\x21\x11\0\x0c" + TCP4),
]


class Reading:
    """Feeds a stream as a socket would: never more than is wanted, and never more than has arrived."""

    def __init__(self) -> None:
        self.prelude = Prelude()
        self.found: PreludeSource | None = None
        self.unread = b""

    def arrive(self, data: bytes) -> None:
        self.unread += data
        while self.found is None and self.unread:
            part, self.unread = self.unread[: self.prelude.wanted], self.unread[self.prelude.wanted :]
            self.found = self.prelude.feed(part)


def read(*parts: bytes) -> Reading:
    reading = Reading()
    for part in parts:
        reading.arrive(part)
    return reading


def address(text: str | None) -> Address | None:
    return None if text is None else ip_address(text)


@pytest.mark.parametrize(("data", "source"), [row[1:] for row in VALID], ids=[row[0] for row in VALID])
class TestAPrelude:
    def test_names_the_source_and_leaves_what_follows_unread(self, data: bytes, source: str | None) -> None:
        reading = read(data + b"\r\n\r\nGET / HTTP/1.1\r\n")
        assert reading.found == PreludeSource(address(source))
        assert reading.prelude.wanted == 0
        assert reading.unread == b"\r\n\r\nGET / HTTP/1.1\r\n"

    def test_may_be_split_at_any_byte(self, data: bytes, source: str | None) -> None:
        for at in range(1, len(data)):
            reading = Reading()
            reading.arrive(data[:at])
            assert reading.found is None, at
            reading.arrive(data[at:] + b"next")
            assert (reading.found, reading.unread) == (PreludeSource(address(source)), b"next"), at

    def test_may_come_byte_by_byte(self, data: bytes, source: str | None) -> None:
        prelude = Prelude()
        for byte in data[:-1]:
            assert prelude.feed(bytes([byte])) is None
            assert 0 < prelude.wanted <= READ_BYTES
        assert prelude.feed(data[-1:]) == PreludeSource(address(source))

    def test_is_never_read_past_its_end(self, data: bytes, source: str | None) -> None:
        """At no point of it is more wanted than is still to come: nothing has to be given back."""
        prelude = Prelude()
        for at in range(len(data)):
            assert prelude.wanted <= len(data) - at
            prelude.feed(data[at : at + 1])


@pytest.mark.parametrize("data", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
class TestWhatIsNoPrelude:
    def test_is_refused(self, data: bytes) -> None:
        with pytest.raises(PreludeError):
            read(data)

    def test_is_refused_however_it_is_split(self, data: bytes) -> None:
        for at in range(1, len(data)):
            with pytest.raises(PreludeError):
                read(data[:at], data[at:])
        with pytest.raises(PreludeError):
            read(*(bytes([byte]) for byte in data))

    def test_is_refused_in_words_that_quote_nothing(self, data: bytes) -> None:
        with pytest.raises(PreludeError) as caught:
            read(data)
        assert str(caught.value).isprintable()
        for word in ("203.0", "ffff", "evil"):
            assert word not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"G", b"\x16", b"\r\n\r\r", b"PROXY\t", SIGNATURE[:4] + b"\x01", b"P\0", b" PROXY"]
)
def test_what_cannot_become_a_prelude_is_refused_at_its_first_wrong_byte(data: bytes) -> None:
    """Nobody who speaks something else is kept waiting for a timeout."""
    with pytest.raises(PreludeError):
        read(data)


@pytest.mark.parametrize("data", [row[1] for row in VALID])
def test_a_truncated_prelude_names_nobody(data: bytes) -> None:
    for at in range(len(data)):
        reading = read(data[:at])
        assert reading.found is None
        assert reading.prelude.is_empty == (at == 0)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.ip_addresses(v=4), st.ip_addresses(v=6))
def test_both_versions_name_the_same_source(source: Address, four: Address, six: Address) -> None:
    """And it is canonical: a mapped address is the IPv4 address."""
    destination = four if source.version == 4 else six
    line = f"PROXY TCP{source.version} {source} {destination} 1 2\r\n".encode()
    binary = v2(0x21, 0x11 if source.version == 4 else 0x21, source.packed + destination.packed + bytes(4))
    named = read(line).found
    assert named == read(binary).found
    assert named is not None
    assert named.source is not None
    assert named.source in NetworkSet([ip_network(source)])
    assert getattr(named.source, "ipv4_mapped", None) is None


@given(
    st.tuples(
        st.sampled_from(
            [b"", SIGNATURE, SIGNATURE + b"\x21\x11", b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN"]
        ),
        st.one_of(st.binary(max_size=60), st.text(alphabet="1. \r\n", max_size=60).map(str.encode)),
    ).map(b"".join),
    st.data(),
)
def test_how_bytes_are_split_changes_nothing(data: bytes, draw: st.DataObject) -> None:
    def outcome(*parts: bytes) -> object:
        try:
            reading = read(*parts)
        except PreludeError:
            return PreludeError
        return reading.found, reading.unread

    at = draw.draw(st.integers(0, len(data)))
    assert outcome(data) == outcome(data[:at], data[at:])


def test_whoever_feeds_more_than_is_wanted_made_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Prelude().feed(bytes(16))


@pytest.mark.parametrize(
    ("source", "is_one"), [(None, True), ("127.0.0.1", True), ("127.0.0.2", False), ("::1", False)]
)
def test_a_health_check_speaks_for_its_own_address(source: str | None, is_one: bool) -> None:
    origin = PreludeSource(None if source is None else ip_address(source))
    assert is_check(origin, ip_address("127.0.0.1")) is is_one
