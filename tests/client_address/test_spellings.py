"""However an address is spelled: an untrusted caller's headers change nothing, and a trusted proxy's words cannot be
moved by what the caller wrote before them.
"""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.client_address.forwarded import forwarded_address, x_forwarded_for_address
from proxy.client_address.networks import Address, NetworkSet, parse_address, peer_address, read_address
from proxy.client_address.resolve import (
    ClientAddress,
    ForwardingHeader,
    HopCount,
    SingleHeader,
    Strategy,
    TrustedProxies,
    forwarded_scheme,
    resolve,
)
from tests.client_address.spellings import ALLOWED, FIELDS, SPELLINGS, hostile

PROXIES = NetworkSet([ip_network("10.0.0.0/8")])
PROXY = parse_address("10.0.0.1")
EVIL = parse_address("192.0.2.66")

STRATEGIES: list[Strategy] = [
    TrustedProxies(),
    TrustedProxies(PROXIES),
    TrustedProxies(PROXIES, ForwardingHeader.FORWARDED),
    HopCount(PROXIES, 1),
    HopCount(PROXIES, 3, ForwardingHeader.FORWARDED),
    SingleHeader(PROXIES, "cf-connecting-ip"),
    SingleHeader(PROXIES, "true-client-ip"),
]

# What one meant by each spelling that is read at all: everything else in the corpus leaves no address.
READ_IN_X_FORWARDED_FOR = {
    **dict.fromkeys(
        [
            ALLOWED,
            f" {ALLOWED} ",
            f"\t{ALLOWED}\t",
            f"::ffff:{ALLOWED}",
            f"::FFFF:{ALLOWED}",
            "::ffff:cb00:7105",
            "0:0:0:0:0:ffff:cb00:7105",
            f"{ALLOWED}:443",
            f"{ALLOWED}:0",
            f"{ALLOWED}:00443",
            f"{ALLOWED}:_obfuscated",
            "[::ffff:203.0.113.5]:443",
        ],
        ALLOWED,
    ),
    **{
        spelling: spelling
        for spelling in (
            "127.0.0.1",
            "0.0.0.0",
            "255.255.255.255",
            f"::{ALLOWED}",
            f"::ffff:0:{ALLOWED}",
            f"64:ff9b::{ALLOWED}",
            "64:ff9b::cb00:7105",
            "2002:cb00:7105::1",
            "2001:0:cb00:7105::",
            "::",
        )
    },
    "[2001:db8::5]": "2001:db8::5",
    "[2001:db8::5]:443": "2001:db8::5",
}
READ_IN_FORWARDED = {
    **dict.fromkeys(
        [
            f"for={ALLOWED}",
            f"For={ALLOWED}",
            f'for="{ALLOWED}"',
            f'for="{ALLOWED}:443"',
            f"for={ALLOWED};by=10.0.0.1;proto=https;host=notebooks.internal",
            'for="\\2\\0\\3.0.113.5"',
        ],
        ALLOWED,
    ),
    'for="[2001:db8::5]:443"': "2001:db8::5",
}


def lines_of(name: str, lines: list[str]) -> CIMultiDict[str]:
    return CIMultiDict([(name, line) for line in lines])


class TestAnUntrustedPeer:
    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_is_the_client_whatever_it_spells(self, spelling: str) -> None:
        for lines in hostile(spelling):
            for name in FIELDS:
                fields = lines_of(name, lines)
                for trusted in STRATEGIES:
                    assert resolve(EVIL, fields, trusted) == ClientAddress(EVIL, EVIL)
                    assert forwarded_scheme(EVIL, fields, trusted) is None

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(FIELDS),
                st.one_of(
                    st.text(),
                    st.sampled_from(SPELLINGS),
                    st.lists(st.sampled_from(SPELLINGS)).map(",".join),
                    st.from_regex(r"[0-9.:,;=\[\]\" forunkw%x-]*", fullmatch=True),
                ),
            )
        ),
        st.one_of(st.none(), st.ip_addresses().map(lambda address: peer_address(str(address)))),
        st.sampled_from(STRATEGIES),
    )
    def test_has_no_words_that_change_anything(
        self, fields: list[tuple[str, str]], peer: Address | None, trusted: Strategy
    ) -> None:
        if peer is not None and peer in trusted.networks:
            return
        spoken = CIMultiDict(fields)
        assert resolve(peer, spoken, trusted) == resolve(peer, CIMultiDict(), trusted)
        assert resolve(peer, spoken, trusted).address == peer
        assert forwarded_scheme(peer, spoken, trusted) is None


class TestBehindATrustedProxy:
    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_what_the_caller_wrote_does_not_move_what_the_proxy_saw(self, spelling: str) -> None:
        """The proxy appends, in the caller's line or in one of its own; a single field it replaces."""
        for lines in hostile(spelling):
            for name, element, trusted in (
                ("X-Forwarded-For", f"{EVIL}", STRATEGIES[1]),
                ("Forwarded", f"for={EVIL}", STRATEGIES[2]),
                ("X-Forwarded-For", f"{EVIL}", STRATEGIES[3]),
            ):
                for appended in ([*lines, element], [*lines[:-1], f"{lines[-1]}, {element}"]):
                    found = resolve(PROXY, lines_of(name, appended), trusted)
                    assert (found.address, found.problem) == (EVIL, ""), appended[-1][-80:]

    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_a_spelling_is_read_in_one_way_or_not_at_all(self, spelling: str) -> None:
        """Nothing octal, nothing hexadecimal, nothing guessed: what is not listed leaves no address."""
        for table, read in (
            (READ_IN_X_FORWARDED_FOR, x_forwarded_for_address),
            (READ_IN_FORWARDED, forwarded_address),
        ):
            meant = table.get(spelling)
            assert read(spelling) == (None if meant is None else parse_address(meant))

    @pytest.mark.parametrize("spelling", [one for one in SPELLINGS if "," not in one])
    def test_a_spelling_that_cannot_be_read_leaves_no_address(self, spelling: str) -> None:
        for name, table, strategies in (
            ("X-Forwarded-For", READ_IN_X_FORWARDED_FOR, (STRATEGIES[1], STRATEGIES[3])),
            ("CF-Connecting-IP", READ_IN_X_FORWARDED_FOR, (STRATEGIES[5],)),
            ("Forwarded", READ_IN_FORWARDED, (STRATEGIES[2],)),
        ):
            for trusted in strategies:
                found = resolve(PROXY, lines_of(name, [spelling]), trusted)
                meant = table.get(spelling)
                assert found.address == (None if meant is None else parse_address(meant))
                assert (found.problem == "") == (meant is not None)
                assert found.problem.isprintable()


@given(st.one_of(st.text(max_size=50), st.sampled_from(SPELLINGS)))
def test_an_address_that_is_read_is_canonical(text: str) -> None:
    """One address, one value: what is read prints as something that is read as the same, and is never mapped."""
    for read in (read_address, x_forwarded_for_address, forwarded_address, peer_address):
        address = read(text)
        if address is not None:
            assert read_address(str(address)) == address
            assert getattr(address, "ipv4_mapped", None) is None
