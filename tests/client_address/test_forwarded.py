"""Hops: read from the right, with the grammar of RFC 7239, at a cost that depends on what is read."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.forwarded import (
    as_quoted,
    forwarded_address,
    forwarded_hops,
    forwarded_pairs,
    x_forwarded_for_address,
    x_forwarded_for_hops,
)
from proxy.client_address.networks import parse_address

field_text = st.text(alphabet='abf=,;:"\\ \t[]1.0_\udcff\u0661', max_size=40)


class TestXForwardedForHops:
    @pytest.mark.parametrize(
        ("lines", "hops"),
        [
            (["1.1.1.1"], ["1.1.1.1"]),
            (["1.1.1.1, 2.2.2.2"], [" 2.2.2.2", "1.1.1.1"]),
            (["1.1.1.1,2.2.2.2", "3.3.3.3"], ["3.3.3.3", "2.2.2.2", "1.1.1.1"]),
            ([""], [""]),
            ([",a"], ["a", ""]),
            (["a,"], ["", "a"]),
            ([], []),
        ],
    )
    def test_come_from_the_right(self, lines: list[str], hops: list[str]) -> None:
        assert list(x_forwarded_for_hops(lines)) == hops

    @given(st.lists(field_text, min_size=1, max_size=4))
    def test_repeated_lines_are_one_list(self, lines: list[str]) -> None:
        assert list(x_forwarded_for_hops(lines)) == list(x_forwarded_for_hops([",".join(lines)]))
        assert list(x_forwarded_for_hops(lines)) == ",".join(lines).split(",")[::-1]


class TestXForwardedForAddress:
    @pytest.mark.parametrize(
        ("hop", "address"),
        [
            ("203.0.113.5", "203.0.113.5"),
            (" \t203.0.113.5\t ", "203.0.113.5"),
            ("203.0.113.5:80", "203.0.113.5"),
            ("203.0.113.5:65535", "203.0.113.5"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[::1]:80", "::1"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("[::ffff:203.0.113.5]:80", "203.0.113.5"),
        ],
    )
    def test_the_port_is_dropped_and_mapped_addresses_are_ipv4(self, hop: str, address: str) -> None:
        assert x_forwarded_for_address(hop) == parse_address(address)

    @pytest.mark.parametrize(
        "hop",
        [
            "",
            " ",
            "unknown",
            "-",
            "localhost",
            "010.0.0.1",  # CVE-2021-29921: nginx reads 10.0.0.1
            "010.0.0.1:80",
            "::ffff:010.0.0.1",
            "0x7f.0.0.1",
            "2130706433",
            "127.1",
            "fe80::1%eth0",
            "[fe80::1%eth0]:80",
            "203.0.113.5:",
            "203.0.113.5:http",
            "203.0.113.5:65536",
            "203.0.113.5:123456",
            "203.0.113.5:+80",
            "203.0.113.5:80:80",
            "[203.0.113.5]",
            "[203.0.113.5]:80",
            "[::1",
            "::1]",
            "[::1]80",
            "[[::1]]",
            "203.0.113.0/24",
            "203.0.113.5 203.0.113.6",
            '"203.0.113.5"',
            "203.0.113.5\x00",
            "203.0.113.5\n",
            "203.0.113.5\xa0",  # a space for str.strip(), not for HTTP
            "203.0.113.5\u2003",
            "203.0.113.\u0665",
            "203.0.113.5:\u0668\u0660",
            "\uff12\uff10\uff13.0.113.5",
            "203.0.113.5\udcff",
            "\udce2\udc80\udc8b203.0.113.5",
        ],
    )
    def test_anything_else_is_not_an_address(self, hop: str) -> None:
        assert x_forwarded_for_address(hop) is None

    @given(st.text())
    def test_never_raises(self, hop: str) -> None:
        x_forwarded_for_address(hop)


class TestForwardedHops:
    @pytest.mark.parametrize(
        ("lines", "hops"),
        [
            # RFC 7239 section 4
            (['for="_gazonk"'], ['for="_gazonk"']),
            (["for=192.0.2.43, for=198.51.100.17"], [" for=198.51.100.17", "for=192.0.2.43"]),
            (["for=192.0.2.43", "for=198.51.100.17"], ["for=198.51.100.17", "for=192.0.2.43"]),
            (['for=a;x=",,", for=b;y=","'], [' for=b;y=","', 'for=a;x=",,"']),
            (['for=a;x="\\", for=c", for=b'], [" for=b", 'for=a;x="\\", for=c"']),
            (['for=a;x="\\\\", for=b'], [" for=b", 'for=a;x="\\\\"']),
            (['x="1";y="2"'], ['x="1";y="2"']),
            (["a,b", "", ",c"], ["c", "", "", "b", "a"]),
            ([], []),
        ],
    )
    def test_come_from_the_right_with_quoted_commas_inside(self, lines: list[str], hops: list[str]) -> None:
        assert list(forwarded_hops(lines)) == hops

    @pytest.mark.parametrize(
        ("line", "hops"),
        [
            # What the caller left open to the left must not swallow what the proxy wrote to the right.
            ('for=ALLOWED;x=", for=EVIL', [" for=EVIL", 'for=ALLOWED;x="']),
            ('for=ALLOWED;x=", for="[2001:db8::1]"', [' for="[2001:db8::1]"', 'for=ALLOWED;x="']),
            ('for=ALLOWED, x="a"b", for=EVIL', [" for=EVIL", 'for=ALLOWED, x="a"b"']),
            ('"', ['"']),
            ('\\"', ['\\"']),
        ],
    )
    def test_an_unbalanced_quote_spoils_only_what_is_left_of_it(self, line: str, hops: list[str]) -> None:
        assert list(forwarded_hops([line])) == hops

    @given(
        field_text,
        st.lists(
            st.sampled_from(["for=1.1.1.1", 'for="[::1]:80";by=_x', 'for=b;host="a,\\"b\\\\"', "proto=http"])
        ),
    )
    def test_what_the_caller_wrote_changes_no_later_hop(self, caller: str, proxies: list[str]) -> None:
        line = ", ".join([caller, *proxies])
        hops = list(islice(forwarded_hops([line]), len(proxies)))
        assert [hop.strip() for hop in hops] == proxies[::-1]

    @given(st.lists(field_text, max_size=3))
    def test_nothing_is_lost(self, lines: list[str]) -> None:
        for line in lines:
            assert ",".join(list(forwarded_hops([line]))[::-1]) == line

    @pytest.mark.parametrize("unit", ['a="",', 'a="";', '\\"', '"', '",', "\\", ",", " ", 'a="\\\\\\"";'])
    def test_long_fields_cost_no_more_than_their_length(self, unit: str) -> None:
        """A quadratic reader would take minutes for this (the suite's timeout is two)."""
        for hop in forwarded_hops([unit * 200_000]):
            forwarded_pairs(hop)


class TestForwardedPairs:
    @pytest.mark.parametrize(
        ("element", "pairs"),
        [
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                {"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"},
            ),
            ('For="[2001:db8:cafe::17]:4711"', {"for": "[2001:db8:cafe::17]:4711"}),
            ('for="\\1\\"\\\\"', {"for": '1"\\'}),
            ('for=""', {"for": ""}),
            (" for=a ; by=b\t", {"for": "a", "by": "b"}),
            (";;for=a;;", {"for": "a"}),
            ("", {}),
            ("secret=x;for=a", {"secret": "x", "for": "a"}),
        ],
    )
    def test_are_read_as_rfc_7239_writes_them(self, element: str, pairs: dict[str, str]) -> None:
        assert forwarded_pairs(element) == pairs

    @pytest.mark.parametrize(
        "element",
        [
            "for",
            "for=",
            "=a",
            "for =a",
            "for= a",
            "for=a b",
            "for=1.1.1.1:80",  # a colon needs quotes
            "for=[::1]",
            'for="a',
            'for=a"',
            'for="a"b',
            "for=a;for=b",
            "for=a;FOR=a",
            'for="\xe9"',
            'for="\udcff"',
            'for="a\x00"',
            "for=a\n",
            "for=\u0661",
        ],
    )
    def test_malformed_elements_are_refused(self, element: str) -> None:
        assert forwarded_pairs(element) is None
        assert forwarded_address(element) is None

    @given(field_text)
    def test_names_and_values_are_ascii(self, element: str) -> None:
        for name, value in (forwarded_pairs(element) or {}).items():
            assert re.fullmatch(r"[!-~]+", name)
            assert value.isascii()


class TestForwardedAddress:
    @pytest.mark.parametrize(
        ("element", "address"),
        [
            ("for=203.0.113.5", "203.0.113.5"),
            ('for="203.0.113.5"', "203.0.113.5"),
            ('for="203.0.113.5:80"', "203.0.113.5"),
            ('for="203.0.113.5:_hidden"', "203.0.113.5"),
            ('for="[2001:db8::1]"', "2001:db8::1"),
            ('FOR="[2001:db8::1]:80";proto=https', "2001:db8::1"),
            ('for="[::ffff:203.0.113.5]"', "203.0.113.5"),
            ('for="\\2\\03.0.113.5"', "203.0.113.5"),
        ],
    )
    def test_is_the_node_less_its_port(self, element: str, address: str) -> None:
        assert forwarded_address(element) == parse_address(address)

    @pytest.mark.parametrize(
        "element",
        [
            "for=unknown",
            "for=_hidden",
            'for="_SEVKISEK"',
            'for="unknown:80"',
            "proto=https",
            "",
            'for="2001:db8::1"',  # IPv6 needs brackets here
            'for="[203.0.113.5]"',
            'for="[fe80::1%eth0]"',
            "for=010.0.0.1",
            'for="203.0.113.5:70000"',
            'for=" 203.0.113.5"',
        ],
    )
    def test_is_none_for_what_names_no_address(self, element: str) -> None:
        assert forwarded_address(element) is None


class TestAsQuoted:
    @pytest.mark.parametrize(
        ("element", "meant"),
        [
            ("for=2001:db8::1", 'for="[2001:db8::1]"'),
            ("for=[2001:db8::1]", 'for="[2001:db8::1]"'),
            ("for=[2001:db8::1]:4711", 'for="[2001:db8::1]:4711"'),
            ("for=192.0.2.1:80", 'for="192.0.2.1:80"'),
            (" For=192.0.2.1:80 ;proto=https", 'For="192.0.2.1:80"'),
            ('for="2001:db8::1"', 'for="[2001:db8::1]"'),
            ("for=192.0.2.1;host=notebooks.internal:8443", 'host="notebooks.internal:8443"'),
            ('by="[::1]";for=::2', 'for="[::2]"'),
        ],
    )
    def test_says_how_it_has_to_be_written(self, element: str, meant: str) -> None:
        assert forwarded_pairs(element) is None or forwarded_address(element) is None
        assert as_quoted(element) == meant
        assert forwarded_pairs(meant) is not None
        if meant.lower().startswith("for="):
            assert forwarded_address(meant) is not None

    @pytest.mark.parametrize(
        "element",
        [
            "",
            "for=unknown",
            "for=_hidden",
            'for="[2001:db8::1]:80"',
            "for=010.0.0.1",
            'for="',
            "proto=https",
            'a="b:c\\"',
        ],
    )
    def test_says_nothing_of_what_is_wrong_in_another_way_or_not_at_all(self, element: str) -> None:
        assert as_quoted(element) == ""

    @given(field_text)
    def test_takes_anything(self, element: str) -> None:
        as_quoted(element)
