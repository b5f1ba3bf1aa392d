"""The client address: peer first, headers second, and never a more trusting answer than the evidence allows."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.client_address.networks import Address, NetworkSet, parse_address, peer_address
from proxy.client_address.resolve import (
    MAX_HOPS,
    ClientAddress,
    ForwardingHeader,
    HopCount,
    SingleHeader,
    Strategy,
    TrustedProxies,
    forwarded_scheme,
    resolve,
)

PROXIES = NetworkSet([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
XFF = TrustedProxies(PROXIES)
RFC7239 = TrustedProxies(PROXIES, ForwardingHeader.FORWARDED)
SECOND = HopCount(PROXIES, hops=2)
SECOND_OF_RFC7239 = HopCount(PROXIES, hops=2, header=ForwardingHeader.FORWARDED)
CLOUDFLARE = SingleHeader(PROXIES, "cf-connecting-ip")
STRATEGIES: list[Strategy] = [XFF, RFC7239, SECOND, SECOND_OF_RFC7239, CLOUDFLARE]
PROXY = peer_address("10.0.0.1")
ALLOWED, EVIL = "203.0.113.5", "192.0.2.66"


def headers(*fields: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(fields)


def xff(*lines: str) -> CIMultiDict[str]:
    return headers(*(("X-Forwarded-For", line) for line in lines))


def forwarded(*lines: str) -> CIMultiDict[str]:
    return headers(*(("Forwarded", line) for line in lines))


class TestThePeer:
    @pytest.mark.parametrize("trusted", [*STRATEGIES, TrustedProxies()])
    @pytest.mark.parametrize(
        "name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "X_Forwarded_For"]
    )
    def test_an_untrusted_peer_is_the_client_whatever_it_sends(self, trusted: Strategy, name: str) -> None:
        value = f"for={ALLOWED}" if name == "Forwarded" else ALLOWED
        peer = parse_address(EVIL)
        assert resolve(peer, headers((name, value)), trusted) == ClientAddress(
            peer, peer, source="peer", problem=""
        )

    @pytest.mark.parametrize("trusted", [XFF, RFC7239])
    def test_a_trusted_peer_that_names_nobody_is_the_client(self, trusted: TrustedProxies) -> None:
        assert resolve(PROXY, headers(), trusted) == ClientAddress(PROXY, PROXY, source="peer", problem="")

    def test_only_the_configured_header_counts(self) -> None:
        """The other one was written by the caller and passed on by a proxy that does not know it."""
        both = headers(("X-Forwarded-For", EVIL), ("Forwarded", f"for={ALLOWED}"))
        assert resolve(PROXY, both, XFF).address == parse_address(EVIL)
        assert resolve(PROXY, both, RFC7239).address == parse_address(ALLOWED)
        assert resolve(PROXY, headers(("Forwarded", f"for={ALLOWED}")), XFF).address == PROXY
        assert resolve(PROXY, headers(("X-Real-IP", ALLOWED)), XFF).address == PROXY

    def test_a_peer_without_an_address_has_no_client_address(self) -> None:
        """A Unix socket; or a TCP peer that is gone, for whom no header may speak either."""
        for trusted in STRATEGIES:
            found = resolve(None, xff(ALLOWED), trusted)
            assert found == ClientAddress(None, None, source="peer", problem="the peer has no IP address")
            assert forwarded_scheme(None, headers(("X-Forwarded-Proto", "https")), trusted) is None

    def test_a_dual_stack_peer_is_matched_as_ipv4(self) -> None:
        assert resolve(peer_address("::ffff:10.0.0.1"), xff(ALLOWED), XFF).address == parse_address(ALLOWED)
        peer = peer_address("::ffff:192.0.2.66")
        assert resolve(peer, xff(ALLOWED), XFF).address == parse_address(EVIL)


class TestTheWalk:
    @pytest.mark.parametrize(
        ("lines", "client"),
        [
            ([f"{ALLOWED}, {EVIL}"], EVIL),  # oauth2-proxy #1778: the leftmost was trusted
            ([ALLOWED, EVIL], EVIL),  # two lines are one list
            ([f"{ALLOWED}, {EVIL}, 10.9.9.9"], EVIL),
            ([f"{ALLOWED}, {EVIL}", "10.9.9.9, fd00::1"], EVIL),
            ([f"{EVIL}:443"], EVIL),
            (["[2001:db8::1]:80"], "2001:db8::1"),
            (["::ffff:192.0.2.66"], EVIL),
            ([f"{ALLOWED}, {EVIL}, ::ffff:10.9.9.9"], EVIL),
            (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # all trusted: the leftmost
            (["10.0.0.4", "10.0.0.3, 10.0.0.2"], "10.0.0.4"),
            ([f"garbage, , {EVIL}"], EVIL),  # left of the client nothing is looked at
            ([f"\udcff, {EVIL}"], EVIL),
        ],
    )
    def test_x_forwarded_for_gives_the_rightmost_untrusted_hop(self, lines: list[str], client: str) -> None:
        found = resolve(PROXY, xff(*lines), XFF)
        assert found == ClientAddress(parse_address(client), PROXY, source="x-forwarded-for", problem="")

    @pytest.mark.parametrize(
        ("lines", "client"),
        [
            ([f"for={ALLOWED}, for={EVIL}"], EVIL),
            ([f"for={ALLOWED}", f'for="{EVIL}:80";proto=https'], EVIL),
            ([f'for={ALLOWED}, for={EVIL}, for="[fd00::1]"'], EVIL),
            ([f'for={ALLOWED};x=", for={EVIL}'], EVIL),
            (["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3"),
            ([f"for=unknown, for={EVIL}"], EVIL),
        ],
    )
    def test_forwarded_gives_the_rightmost_untrusted_hop(self, lines: list[str], client: str) -> None:
        found = resolve(PROXY, forwarded(*lines), RFC7239)
        assert found == ClientAddress(parse_address(client), PROXY, source="forwarded", problem="")

    @pytest.mark.parametrize(
        ("trusted", "fields", "hop"),
        [
            (XFF, xff(f"{ALLOWED}, garbage"), 1),
            (XFF, xff(f"{ALLOWED}, garbage, 10.0.0.2"), 2),
            (XFF, xff(f"{ALLOWED}, 010.0.0.1"), 1),
            (XFF, xff(f"{ALLOWED}, fd00::1%eth0"), 1),
            (XFF, xff(f"{ALLOWED},"), 1),
            (XFF, xff(f"{ALLOWED},, 10.0.0.2"), 2),
            (XFF, xff(""), 1),
            (XFF, xff(ALLOWED, ""), 1),
            (XFF, xff(f"{ALLOWED}, 10.0.0.\u0662"), 1),
            (XFF, xff(f"{ALLOWED}, \udcff10.0.0.2"), 1),
            (XFF, xff(f"{ALLOWED}, unknown"), 1),
            (RFC7239, forwarded(f"for={ALLOWED}, for=unknown"), 1),
            (RFC7239, forwarded(f"for={ALLOWED}, for=_hidden, for=10.0.0.2"), 2),
            (RFC7239, forwarded(f"for={ALLOWED}, proto=https"), 1),
            (RFC7239, forwarded(f'for={ALLOWED}, for="'), 1),
            (RFC7239, forwarded(f"for={ALLOWED};for={EVIL}"), 1),
            (RFC7239, forwarded(ALLOWED), 1),
        ],
    )
    def test_a_hop_that_cannot_be_read_leaves_no_address(
        self, trusted: TrustedProxies, fields: CIMultiDict[str], hop: int
    ) -> None:
        found = resolve(PROXY, fields, trusted)
        source = trusted.header.value
        assert (found.address, found.peer, found.source) == (None, PROXY, source)
        assert found.problem.startswith(f"hop {hop} from the right of {source} is not an IP address: ")
        assert found.problem.isascii()

    @pytest.mark.parametrize("hop", ["for=2001:db8::9", "for=[2001:db8::9]:80", "for=192.0.2.9:80"])
    def test_what_lacks_its_quotes_is_not_read_and_the_problem_says_how_to_write_it(self, hop: str) -> None:
        for trusted in (RFC7239, SECOND_OF_RFC7239):
            found = resolve(PROXY, forwarded(f"for={ALLOWED}, {hop}"), trusted)
            assert found.address is None
            assert found.is_unquoted
            assert "which RFC 7239 wants quoted: 'for=\"" in found.problem
        found = resolve(PROXY, forwarded("for=" + "1:" * 10_000), RFC7239)
        assert found.problem.isprintable()
        assert len(found.problem) < 300

    def test_other_problems_are_not_of_quotes(self) -> None:
        assert not resolve(PROXY, forwarded("for=unknown"), RFC7239).is_unquoted
        assert not resolve(PROXY, xff("for=[2001:db8::9]:80"), XFF).is_unquoted

    def test_the_problem_quotes_little_and_escapes_it(self) -> None:
        problem = resolve(PROXY, xff("\x1b[31m\r\n" + "x" * 10_000), XFF).problem
        assert problem.isprintable()
        assert len(problem) < 200

    @pytest.mark.parametrize(
        ("trusted", "hop", "name"),
        [(XFF, "10.0.0.2", "X-Forwarded-For"), (RFC7239, "for=10.0.0.2", "Forwarded")],
    )
    def test_a_chain_of_trusted_hops_is_walked_so_far_and_no_further(
        self, trusted: TrustedProxies, hop: str, name: str
    ) -> None:
        longest = headers((name, ", ".join([hop] * MAX_HOPS)))
        assert resolve(PROXY, longest, trusted).address == parse_address("10.0.0.2")
        for count in (MAX_HOPS + 1, 10_000):
            found = resolve(PROXY, headers((name, ", ".join([hop] * count))), trusted)
            assert found.address is None
            assert found.problem == f"more than {MAX_HOPS} trusted hops in {trusted.header.value}"

    def test_hops_beyond_the_client_are_not_even_looked_at(self) -> None:
        long = ", ".join([ALLOWED] * 10_000)
        assert resolve(PROXY, xff(long, EVIL), XFF).address == parse_address(EVIL)
        assert resolve(PROXY, xff(f"{long}, {EVIL}"), XFF).address == parse_address(EVIL)

    @given(
        st.text(alphabet='0123456789.:,;="[]\\ forunkw\udcff', max_size=60),
        st.lists(st.sampled_from(["10.0.0.2", "10.200.0.1"]), max_size=3),
        st.booleans(),
    )
    def test_nothing_a_caller_writes_moves_the_address_that_its_proxy_saw(
        self, caller: str, chain: list[str], own_line: bool
    ) -> None:
        """What the caller sent stands to the left of the proxies' words, in their line or in one of its own."""
        for trusted, name, prefix in ((XFF, "X-Forwarded-For", ""), (RFC7239, "Forwarded", "for=")):
            appended = ", ".join(prefix + hop for hop in [EVIL, *chain])
            lines = [caller, appended] if own_line else [f"{caller}, {appended}"]
            assert resolve(
                PROXY, headers(*((name, line) for line in lines)), trusted
            ).address == parse_address(EVIL)


class TestHopCount:
    """A fixed number of proxies in front, each of which adds a hop."""

    @pytest.mark.parametrize(
        ("trusted", "fields", "client"),
        [
            (SECOND, xff(f"{EVIL}, 198.51.100.1"), EVIL),
            (SECOND, xff(f"{ALLOWED}, {EVIL}, 198.51.100.1"), EVIL),
            (SECOND, xff(f"{ALLOWED}, {EVIL}", "198.51.100.1"), EVIL),
            (SECOND, xff(f"garbage,,{EVIL}:1, [2001:db8::1]:2"), EVIL),
            (SECOND, xff(f"{EVIL}, 10.0.0.1"), EVIL),
            (SECOND, xff(f"{ALLOWED}, 10.0.0.2, 10.0.0.1"), "10.0.0.2"),  # trusted or not: a count is a count
            (HopCount(PROXIES, 1), xff(f"{ALLOWED}, {EVIL}"), EVIL),
            (SECOND_OF_RFC7239, forwarded(f"for={EVIL}, for=198.51.100.1"), EVIL),
            (
                SECOND_OF_RFC7239,
                forwarded(f"for={ALLOWED}", f'for="{EVIL}:7";proto=https, for=10.0.0.1'),
                EVIL,
            ),
        ],
    )
    def test_the_client_is_so_many_hops_from_the_right(
        self, trusted: HopCount, fields: CIMultiDict[str], client: str
    ) -> None:
        found = resolve(PROXY, fields, trusted)
        assert found == ClientAddress(parse_address(client), PROXY, source=trusted.header.value, problem="")

    @pytest.mark.parametrize(
        ("trusted", "fields", "problem"),
        [
            (SECOND, headers(), "0 hops in x-forwarded-for, where 2 are expected"),
            (SECOND, xff(ALLOWED), "1 hops in x-forwarded-for, where 2 are expected"),
            (
                SECOND,
                xff(f"{ALLOWED}, unknown"),
                "hop 1 from the right of x-forwarded-for is not an IP address: ' unknown'",
            ),
            (
                SECOND,
                xff(f"{ALLOWED}, 010.0.0.1, 10.0.0.1"),
                "hop 2 from the right of x-forwarded-for is not an IP address: ' 010.0.0.1'",
            ),
            (
                SECOND_OF_RFC7239,
                forwarded(f"for={ALLOWED}, for=_hidden"),
                "hop 1 from the right of forwarded is not an IP address: ' for=_hidden'",
            ),
        ],
    )
    def test_a_list_that_is_shorter_or_cannot_be_read_leaves_no_address(
        self, trusted: HopCount, fields: CIMultiDict[str], problem: str
    ) -> None:
        found = resolve(PROXY, fields, trusted)
        assert found == ClientAddress(None, PROXY, source=trusted.header.value, problem=problem)


class TestSingleHeader:
    """A field that holds the client's address alone."""

    @pytest.mark.parametrize(
        ("value", "client"),
        [(EVIL, EVIL), (f" {EVIL} ", EVIL), ("2001:db8::1", "2001:db8::1"), (f"::ffff:{EVIL}", EVIL)],
    )
    def test_is_the_client(self, value: str, client: str) -> None:
        fields = headers(("CF-Connecting-IP", value), ("X-Forwarded-For", ALLOWED))
        found = resolve(PROXY, fields, CLOUDFLARE)
        assert found == ClientAddress(parse_address(client), PROXY, source="cf-connecting-ip", problem="")

    @pytest.mark.parametrize(
        ("values", "problem"),
        [
            ([], "0 lines of cf-connecting-ip, where one is expected"),
            ([EVIL, EVIL], "2 lines of cf-connecting-ip, where one is expected"),
            ([f"{ALLOWED}, {EVIL}"], f"cf-connecting-ip is not an IP address: '{ALLOWED}, {EVIL}'"),
            ([""], "cf-connecting-ip is not an IP address: ''"),
            (["010.0.0.1"], "cf-connecting-ip is not an IP address: '010.0.0.1'"),
        ],
    )
    def test_that_is_missing_repeated_or_unreadable_leaves_no_address(
        self, values: list[str], problem: str
    ) -> None:
        fields = headers(*(("cf-connecting-ip", value) for value in values), ("X-Forwarded-For", ALLOWED))
        assert resolve(PROXY, fields, CLOUDFLARE) == ClientAddress(
            None, PROXY, source="cf-connecting-ip", problem=problem
        )


class TestAVouchedPeer:
    """A Unix socket that only a trusted proxy can open: its headers count, and nothing but its headers."""

    @pytest.mark.parametrize(
        ("trusted", "fields"),
        [
            (XFF, xff(f"{ALLOWED}, {EVIL}")),
            (TrustedProxies(), xff(f"{ALLOWED}, {EVIL}")),
            (RFC7239, forwarded(f"for={ALLOWED}, for={EVIL}")),
            (SECOND, xff(f"{EVIL}, 10.0.0.1")),
            (CLOUDFLARE, headers(("CF-Connecting-IP", EVIL))),
        ],
    )
    def test_speaks_for_the_client(self, trusted: Strategy, fields: CIMultiDict[str]) -> None:
        found = resolve(None, fields, trusted, vouched=True)
        assert (found.address, found.peer, found.problem) == (parse_address(EVIL), None, "")

    @pytest.mark.parametrize("trusted", [*STRATEGIES, TrustedProxies()])
    def test_that_names_nobody_leaves_no_address(self, trusted: Strategy) -> None:
        found = resolve(None, headers(), trusted, vouched=True)
        assert found.address is None
        assert found.problem

    def test_tells_the_scheme(self) -> None:
        fields = headers(("X-Forwarded-Proto", "https"), ("Forwarded", "proto=http"))
        assert forwarded_scheme(None, fields, XFF, vouched=True) == "https"
        assert forwarded_scheme(None, fields, CLOUDFLARE, vouched=True) == "https"
        assert forwarded_scheme(None, fields, RFC7239, vouched=True) == "http"

    @pytest.mark.parametrize("trusted", STRATEGIES)
    def test_that_has_an_address_after_all_is_nobody_special(self, trusted: Strategy) -> None:
        peer = parse_address(EVIL)
        fields = headers(("X-Forwarded-For", ALLOWED), ("X-Forwarded-Proto", "https"))
        assert resolve(peer, fields, trusted, vouched=True) == ClientAddress(peer, peer)
        assert forwarded_scheme(peer, fields, trusted, vouched=True) is None


class TestForwardedScheme:
    @pytest.mark.parametrize(
        ("trusted", "fields", "scheme"),
        [
            (XFF, headers(("X-Forwarded-Proto", "https")), "https"),
            (SECOND, headers(("X-Forwarded-Proto", "https")), "https"),
            (CLOUDFLARE, headers(("X-Forwarded-Proto", "https")), "https"),
            (SECOND_OF_RFC7239, headers(("Forwarded", "for=1.1.1.1;proto=https")), "https"),
            (XFF, headers(("X-Forwarded-Proto", "HTTP")), "http"),
            (XFF, headers(("X-Forwarded-Proto", "https, http ")), "http"),
            (XFF, headers(("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https")), "https"),
            (XFF, headers(("X-Forwarded-Proto", "wss")), "https"),
            (XFF, headers(("X-Forwarded-Proto", "ws")), "http"),
            (XFF, headers(("X-Forwarded-Proto", "")), None),
            (XFF, headers(("X-Forwarded-Proto", "https,")), None),
            (XFF, headers(("X-Forwarded-Proto", "javascript")), None),
            (XFF, headers(("X-Forwarded-Proto", "http\u017f")), None),
            (XFF, headers(("X-Forwarded-Proto", "https\udcff")), None),
            (XFF, headers(("Forwarded", "for=1.1.1.1;proto=https")), None),
            (XFF, headers(), None),
            (RFC7239, headers(("Forwarded", "for=1.1.1.1;proto=https")), "https"),
            (RFC7239, headers(("Forwarded", 'for=1.1.1.1;Proto="HTTP"')), "http"),
            (RFC7239, headers(("Forwarded", "proto=http, for=1.1.1.1;proto=https")), "https"),
            (RFC7239, headers(("Forwarded", "proto=https, for=1.1.1.1")), None),
            (RFC7239, headers(("Forwarded", "proto=https;proto=https")), None),
            (RFC7239, headers(("X-Forwarded-Proto", "https")), None),
            (RFC7239, headers(), None),
        ],
    )
    def test_is_what_the_nearest_proxy_wrote(
        self, trusted: Strategy, fields: CIMultiDict[str], scheme: str | None
    ) -> None:
        assert forwarded_scheme(PROXY, fields, trusted) == scheme

    @pytest.mark.parametrize("peer", [None, parse_address(EVIL)])
    def test_nobody_else_is_believed(self, peer: Address | None) -> None:
        assert forwarded_scheme(peer, headers(("X-Forwarded-Proto", "https")), XFF) is None
        assert forwarded_scheme(peer, headers(("Forwarded", "proto=https")), RFC7239) is None
