"""Addresses and networks: one canonical form, nothing guessed, and sets that agree with the naive answer."""

from __future__ import annotations

import timeit
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address import networks
from proxy.client_address.networks import (
    Address,
    AddressError,
    Memberships,
    Network,
    NetworkSet,
    parse_address,
    parse_network,
    peer_address,
    read_address,
    subscriber,
)

# Crowded into few bits, so that networks touch, nest and repeat.
small_v4 = st.integers(0, 0x3FF).map(lambda n: IPv4Address(0x0A000000 + n))
small_v6 = st.integers(0, 0x3FF).map(lambda n: IPv6Address((0x20010DB8 << 96) + n))


def _network(address: Address, prefix: int) -> Network:
    bits = address.max_prefixlen
    return ip_network((int(address), bits - prefix % (bits + 1)), strict=False)


def _unmapped(network: Network) -> Network:
    """What a network is once IPv4-mapped addresses are IPv4: the other way to say it, by ipaddress's own means."""
    mapped = IPv6Network("::ffff:0:0/96")
    if isinstance(network, IPv6Network) and network.subnet_of(mapped):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


mapped_v4 = st.integers(0, 0x3FF).map(lambda n: IPv6Address((0xFFFF << 32) + n))
addresses = st.one_of(small_v4, small_v6, mapped_v4, st.ip_addresses())
some_networks = st.builds(_network, addresses, st.one_of(st.integers(0, 8), st.integers(0, 128)))


class TestParseAddress:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("203.0.113.7", "203.0.113.7"),
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("2001:DB8:0::0007", "2001:db8::7"),
            ("::1", "::1"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("::FFFF:cb00:7105", "203.0.113.5"),
            ("0:0:0:0:0:ffff:203.0.113.5", "203.0.113.5"),
            # 6to4, NAT64 and IPv4-compatible addresses name other hosts than the IPv4 address inside.
            ("2002:cb00:7105::1", "2002:cb00:7105::1"),
            ("64:ff9b::203.0.113.5", "64:ff9b::cb00:7105"),
            ("::203.0.113.5", "::cb00:7105"),
        ],
    )
    def test_has_one_canonical_form(self, text: str, canonical: str) -> None:
        assert parse_address(text) == ip_address(canonical)
        assert read_address(text) == ip_address(canonical)

    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            ("010.0.0.1", "leading zeros", "10.0.0.1"),  # CVE-2021-29921
            ("10.0.0.00", "leading zeros", "10.0.0.0"),
            ("::ffff:10.0.0.01", "leading zeros", "::ffff:10.0.0.1"),
            ("fe80::1%eth0", "has a zone", "write fe80::1:"),
            ("10.0.0.1%eth0", "has a zone", "write 10.0.0.1:"),
            (" 10.0.0.1", "spaces", "write 10.0.0.1"),
            ("10.0.0.1\n", "spaces", "write 10.0.0.1"),
            ("10.0.0.\u0661", "not an IP address", "ASCII"),
            ("10.0.0.1\udcff", "not an IP address", "ASCII"),
            ("\uff11\uff10.0.0.1", "not an IP address", "ASCII"),
            ("10.0.0.1\x00", "not an IP address", ""),
            ("::1\x00", "not an IP address", ""),
            ("", "not an IP address", ""),
            ("10.1", "not an IP address", ""),
            ("0x0a000001", "not an IP address", ""),
            ("167772161", "not an IP address", ""),
            ("10.0.0.256", "not an IP address", ""),
            ("10.0.0.1.2", "not an IP address", ""),
            ("[::1]", "not an IP address", ""),
            ("10.0.0.1:80", "not an IP address", ""),
            ("1::2::3", "not an IP address", ""),
            ("12345::", "not an IP address", ""),
            ("office.example", "not an IP address", ""),
        ],
    )
    def test_refuses_what_readers_read_differently(self, text: str, message: str, hint: str) -> None:
        with pytest.raises(AddressError, match=message) as caught:
            parse_address(text)
        assert hint in caught.value.hint
        assert read_address(text) is None

    @pytest.mark.parametrize("text", ["010.0.0.1", "::ffff:010.0.0.1"])
    def test_refuses_leading_zeros_under_a_c_library_that_lets_them_pass(
        self, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        strict = getattr(networks, "inet_pton")  # noqa: B009
        monkeypatch.setattr(networks, "inet_pton", lambda family, t: strict(family, t.replace("010.", "10.")))
        assert read_address(text) is None

    @given(st.ip_addresses())
    def test_reads_what_ipaddress_writes(self, address: Address) -> None:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        assert parse_address(str(address)) == (mapped or address)

    @given(st.text(alphabet="0123456789abcdefF:.%[]/ \u0661\udc80x", max_size=24))
    def test_accepts_nothing_that_ipaddress_refuses(self, text: str) -> None:
        found = read_address(text)
        if found is not None:
            address = ip_address(text)
            assert found == address or found == getattr(address, "ipv4_mapped", None)


class TestPeerAddress:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("203.0.113.5", IPv4Address("203.0.113.5")),
            ("::ffff:203.0.113.5", IPv4Address("203.0.113.5")),
            ("fe80::1%eth0", IPv6Address("fe80::1")),
            ("fe80::1%25", IPv6Address("fe80::1")),
            ("2001:db8::1", IPv6Address("2001:db8::1")),
            ("", None),
            ("/run/nbgate.sock", None),
            ("\x00abstract", None),
            ("@\udcff", None),
            ("::nonsense", None),
        ],
    )
    def test_drops_the_zone_and_unwraps(self, text: str, address: Address | None) -> None:
        assert peer_address(text) == address
        # `fe80::1%a == fe80::1` is False for ipaddress: the zone must be gone, not ignored.
        assert getattr(peer_address(text), "scope_id", None) is None

    @given(st.text())
    def test_never_raises(self, text: str) -> None:
        peer_address(text)


class TestParseNetwork:
    @pytest.mark.parametrize(
        ("text", "network"),
        [
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("198.51.100.7", "198.51.100.7/32"),
            ("2001:db8:10::/48", "2001:db8:10::/48"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("::/0", "::/0"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:203.0.113.5", "203.0.113.5/32"),
        ],
    )
    def test_reads_cidr_notation(self, text: str, network: str) -> None:
        assert parse_network(text) == ip_network(network)

    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            # YAML's other types, which ip_network takes for 0.0.0.1/32, 0.0.0.7/32 and so on.
            (True, "is a bool, not text", "quotes"),
            (7, "is a int, not text", "quotes"),
            (10.1, "is a float, not text", "quotes"),
            (None, "is a NoneType, not text", "quotes"),
            (["10.0.0.0/8"], "is a list, not text", "quotes"),
            (b"\n\0\0\1", "is a bytes, not text", "quotes"),
            ("10.0.0.1/8", "host bits", "10.0.0.0/8 for the network, or 10.0.0.1"),
            ("2001:db8::1/32", "host bits", "2001:db8::/32 for the network, or 2001:db8::1"),
            ("10.0.0.0/0.255.255.255", "prefix length", "write 10.0.0.0/8"),
            ("10.0.0.0/255.0.0.0", "prefix length", "write 10.0.0.0/8"),
            ("10.0.0.0/255.0.255.0", "prefix length", "from 0 to 32"),
            ("10.0.0.0/08", "leading zero", "write /8"),
            ("10.0.0.0/00", "leading zero", "write /0"),
            ("10.0.0.0/", "prefix length", "from 0 to 32"),
            ("10.0.0.0/-1", "prefix length", "from 0 to 32"),
            ("10.0.0.0/+8", "prefix length", "from 0 to 32"),
            ("10.0.0.0/8/8", "prefix length", "from 0 to 32"),
            ("10.0.0.0/\u0668", "prefix length", "from 0 to 32"),
            ("10.0.0.0/33", "longer than 32", "from 0 to 32"),
            ("::/129", "longer than 128", "from 0 to 128"),
            ("10.0.0.0/" + "9" * 5000, "longer than 32", "from 0 to 32"),
            # ip_network('::ffff:10.0.0.0/8', strict=False) is ::/8.
            ("::ffff:10.0.0.0/8", "IPv4-mapped", "such as 10.0.0.0/8"),
            ("::ffff:10.0.0.0/95", "IPv4-mapped", "write the IPv4 network"),
            ("::ffff:10.0.0.1/104", "host bits", "10.0.0.0/8"),
            ("fe80::%eth0/10", "has a zone", "fe80::"),
            ("fe80::1%eth0", "has a zone", "fe80::1"),
            ("010.0.0.0/8", "leading zeros", "10.0.0.0"),
            ("office", "not an IP address", ""),
            ("", "not an IP address", ""),
            (" 10.0.0.0/8", "spaces", "10.0.0.0"),
        ],
    )
    def test_refuses_what_ipaddress_would_guess_at(self, text: object, message: str, hint: str) -> None:
        with pytest.raises(AddressError, match=message) as caught:
            parse_network(text)
        assert hint in caught.value.hint

    @pytest.mark.parametrize(
        ("text", "networks"),
        [
            ("10.0.0.1-10.0.0.9", "10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31"),
            ("10.0.0.1 - 10.0.0.9", "10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31"),
            ("10.0.0.9-10.0.0.1", "10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31"),
            ("10.0.0.1\u201310.0.0.9", "10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31"),
            ("10.0.0.0-255", "10.0.0.0/24"),
            ("10.0.0.7-10.0.0.7", "10.0.0.7/32"),
            ("::ffff:10.0.0.4-::ffff:10.0.0.7", "10.0.0.4/30"),
            ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
            ("2001:db8::4-2001:db8::7", "2001:db8::4/126"),
            ("2001:db8::7-2001:db8::4", "2001:db8::4/126"),
            ("10.0.3.*", "10.0.3.0/24"),
            ("10.0.*.*", "10.0.0.0/16"),
            ("10.*", "10.0.0.0/8"),
        ],
    )
    def test_a_range_is_told_as_networks(self, text: str, networks: str) -> None:
        with pytest.raises(AddressError, match="is a range of addresses") as caught:
            parse_network(text)
        assert caught.value.hint == f"write networks: {networks}"
        assert [str(parse_network(one)) for one in networks.split(", ")] == networks.split(", ")

    @pytest.mark.parametrize(
        "text",
        [
            "10.0.0.1-2001:db8::1",
            "10.0.0.1-",
            "10.0.0.1-256",
            "10.0.0.1-09",
            "a-b",
            "10.0.*.1",
            "300.*",
            "10.*.*",
            "*",
        ],
    )
    def test_what_is_no_range_is_no_address(self, text: str) -> None:
        with pytest.raises(AddressError, match="is not an IP address"):
            parse_network(text)

    def test_the_longest_range_of_ipv4_is_told_in_full_and_one_of_ipv6_up_to_there(self) -> None:
        with pytest.raises(AddressError) as caught:
            parse_network("0.0.0.1-255.255.255.254")
        assert len(caught.value.hint.split(", ")) == 62
        with pytest.raises(AddressError) as caught:
            parse_network("::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")
        assert caught.value.hint.endswith(", and 190 more")

    @given(some_networks)
    def test_reads_what_ipaddress_writes(self, network: Network) -> None:
        assert parse_network(str(network)) == _unmapped(network)


class TestNetworkSet:
    @given(st.lists(some_networks, max_size=12), addresses)
    def test_agrees_with_asking_every_network(self, members: list[Network], address: Address) -> None:
        networks = NetworkSet(members)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        assert (address in networks) == any((mapped or address) in _unmapped(network) for network in members)

    @given(st.lists(some_networks, min_size=1, max_size=12))
    def test_holds_the_ends_of_every_network(self, members: list[Network]) -> None:
        networks = NetworkSet(members)
        for network in members:
            if network.version == 6 and IPv6Address("::ffff:0:0") in network:
                continue
            assert network.network_address in networks
            assert network.broadcast_address in networks

    @given(small_v4, st.lists(some_networks, max_size=6))
    def test_a_mapped_address_is_the_ipv4_address(self, address: IPv4Address, members: list[Network]) -> None:
        """Else deny rules fail open: `ip_address('::ffff:10.0.0.1') in ip_network('10.0.0.0/8')` is False."""
        mapped = IPv6Address((0xFFFF << 32) + int(address))
        assert (mapped in NetworkSet(members)) == (address in NetworkSet(members))

    def test_a_mapped_network_is_the_ipv4_network(self) -> None:
        assert NetworkSet([IPv6Network("::ffff:10.0.0.0/104")]) == NetworkSet([IPv4Network("10.0.0.0/8")])

    def test_a_mapped_address_that_nobody_unwrapped_is_found(self) -> None:
        assert IPv6Address("::ffff:10.0.0.1") in NetworkSet([IPv4Network("10.0.0.0/8")])
        assert IPv6Address("::ffff:11.0.0.1") not in NetworkSet([IPv4Network("10.0.0.0/8")])

    def test_the_families_are_apart(self) -> None:
        assert IPv6Address("::a00:1") not in NetworkSet([IPv4Network("10.0.0.0/8")])
        assert IPv4Address("10.0.0.1") not in NetworkSet([IPv6Network("::/0")])

    def test_a_zone_makes_no_difference(self) -> None:
        assert IPv6Address("fe80::1%eth0") in NetworkSet([IPv6Network("fe80::/10")])

    @given(st.ip_addresses())
    def test_an_empty_set_holds_nothing(self, address: Address) -> None:
        assert address not in NetworkSet()

    def test_keeps_the_networks_as_listed(self) -> None:
        listed: list[Network] = [
            IPv4Network("10.0.1.0/24"),
            IPv6Network("::1/128"),
            IPv4Network("10.0.0.0/24"),
        ]
        assert list(NetworkSet(listed)) == listed
        assert len(NetworkSet(listed)) == 3

    def test_sets_are_equal_when_they_hold_the_same_addresses(self) -> None:
        halves = NetworkSet([IPv4Network("10.0.1.0/24"), IPv4Network("10.0.0.0/24")])
        whole = NetworkSet([IPv4Network("10.0.0.0/23")])
        assert halves == whole
        assert hash(halves) == hash(whole)
        assert whole != NetworkSet([IPv4Network("10.0.0.0/24")])
        assert whole != NetworkSet([IPv6Network("::/0")])
        assert whole != "10.0.0.0/23"

    def test_shows_the_first_few(self) -> None:
        assert repr(NetworkSet([IPv4Network("10.0.0.0/8")])) == "NetworkSet(10.0.0.0/8)"
        many = NetworkSet(IPv4Network((n << 8, 24)) for n in range(6))
        assert repr(many) == "NetworkSet(0.0.0.0/24, 0.0.1.0/24, 0.0.2.0/24, 0.0.3.0/24, and 2 more)"

    def test_a_lookup_is_not_linear_in_the_networks(self) -> None:
        """10,000 times the networks cost a few comparisons more; a linear search would cost 10,000 times."""
        ten = NetworkSet(IPv4Network((n << 9, 24)) for n in range(10))
        many = NetworkSet(IPv4Network((n << 9, 24)) for n in range(100_000))
        probes = [IPv4Address(n * 65_537) for n in range(1000)]

        def seconds(networks: NetworkSet) -> float:
            return min(timeit.repeat(lambda: [probe in networks for probe in probes], number=1, repeat=20))

        assert seconds(many) < 20 * seconds(ten)


class TestMemberships:
    SETS = (
        NetworkSet([IPv4Network("10.0.0.0/8"), IPv6Network("2001:db8::/32")]),
        NetworkSet([IPv4Network("10.1.0.0/16")]),
        NetworkSet([IPv6Network("::/0")]),
    )

    @pytest.mark.parametrize(
        ("address", "found"),
        [
            ("10.1.0.1", 0b110),
            ("10.2.0.1", 0b100),
            ("192.0.2.1", 0b000),
            ("2001:db8::1", 0b101),
            ("2001:db9::1", 0b001),
            ("::a01:1", 0b001),
            # As in a set: one that nobody unwrapped is the IPv4 address all the same.
            ("::ffff:10.1.0.1", 0b110),
        ],
    )
    def test_a_bit_for_each_set(self, address: str, found: int) -> None:
        assert Memberships(self.SETS).of(ip_address(address)) == found

    def test_no_sets_tell_nobody_apart(self) -> None:
        assert Memberships([]).of(IPv4Address("10.0.0.1")) == Memberships([]).of(IPv6Address("::1")) == 0

    @given(st.lists(st.lists(some_networks, max_size=6).map(NetworkSet), max_size=4), addresses)
    def test_agrees_with_asking_every_set(self, sets: list[NetworkSet], address: Address) -> None:
        bits = [address in one for one in sets]
        assert Memberships(sets).of(address) == int("0" + "".join(str(int(bit)) for bit in bits), 2)


@given(
    st.lists(st.builds(lambda start: IPv4Network((start << 2, 30)), st.integers(0, 63)), max_size=12),
    st.builds(
        lambda start, bits: IPv4Network((start >> bits << bits, 32 - bits)),
        st.integers(0, 255),
        st.integers(0, 7),
    ),
)
def test_stretches_that_meet_a_network_hold_what_both_have(
    networks: list[IPv4Network], network: IPv4Network
) -> None:
    listed = NetworkSet(networks)
    stretches = list(listed.meeting(network))
    assert stretches == sorted(stretches)
    inside = {number for start, stop in stretches for number in range(start, stop)}
    for address in network:
        assert (int(address) in inside) == (address in listed)
    assert listed.covers(network) == all(address in listed for address in network)


@pytest.mark.parametrize(
    ("listed", "network", "expected"),
    [
        (["0.0.0.0/1", "128.0.0.0/1"], "0.0.0.0/0", True),
        (["128.0.0.0/1", "0.0.0.0/2", "64.0.0.0/2"], "0.0.0.0/0", True),
        (["0.0.0.0/1", "128.0.0.0/2"], "0.0.0.0/0", False),
        (["10.0.0.0/8"], "10.1.0.0/16", True),
        (["::/0"], "2000::/3", True),
        (["::/0"], "0.0.0.0/0", False),
        ([], "10.0.0.0/8", False),
    ],
)
def test_a_network_is_covered_by_however_many(listed: list[str], network: str, expected: bool) -> None:
    assert NetworkSet(map(ip_network, listed)).covers(ip_network(network)) is expected


def test_stretches_of_one_family_do_not_meet_the_other() -> None:
    assert list(NetworkSet([IPv4Network("0.0.0.0/0")]).meeting(IPv6Network("::/0"))) == []
    assert list(NetworkSet([IPv6Network("::/0")]).meeting(IPv6Network("2001:db8::/32"))) == [(0, 1 << 128)]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 65, 500])
def test_the_edges_of_many_networks_are_found_exactly(count: int) -> None:
    """Each network's first and last address, and their neighbours, where a search begins in a selection of edges."""
    v4 = NetworkSet(parse_network(f"10.{number // 128}.{number % 128 * 2}.0/24") for number in range(count))
    v6 = NetworkSet(parse_network(f"2001:db8:{number * 2:x}::/48") for number in range(count))
    for listed, make, bits in ((v4, IPv4Address, 32), (v6, IPv6Address, 128)):
        for network in listed:
            first, last = int(network.network_address), int(network.broadcast_address)
            assert make(first) in listed
            assert make(last) in listed
            assert make(first - 1) not in listed
            assert make(last + 1) not in listed
        assert make(0) not in listed
        assert make((1 << bits) - 1) not in listed


@pytest.mark.parametrize(
    ("text", "counted_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::1", "::/64"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::/64"),
    ],
)
def test_a_subscriber_is_an_ipv4_address_or_an_ipv6_prefix_of_64_bits(text: str, counted_as: str) -> None:
    assert str(subscriber(parse_address(text))) == counted_as


@given(st.ip_addresses(), st.ip_addresses())
def test_two_addresses_are_one_subscribers_if_their_first_64_bits_are_the_same(
    one: Address, other: Address
) -> None:
    same = one == other or (one.version == other.version == 6 and int(one) >> 64 == int(other) >> 64)
    assert (subscriber(one) == subscriber(other)) is same
