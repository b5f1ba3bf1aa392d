"""Lists whose entries end: an address counts for as long as any entry that covers it, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.networks import Address, Network, NetworkSet, parse_network
from proxy.policy.context import Context
from proxy.policy.dates import TICK
from proxy.policy.evaluate import evaluate
from proxy.policy.lists import NamedList, Remark, by_end, lasting, union, without
from proxy.policy.short_form import ShortForm, gateway_policy, instance_policy

MARCH, MAY = datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 5, 1, tzinfo=UTC)
BASE = int(IPv4Address("203.0.113.0"))

# Crowded into few bits, so that entries nest, touch and repeat.
networks = st.builds(
    lambda start, bits: IPv4Network((BASE + (start >> bits << bits), 32 - bits)),
    st.integers(0, 31),
    st.integers(0, 4),
)
remarks = st.builds(
    Remark, networks, st.sampled_from(["", "contractor"]), st.sampled_from([None, MARCH, MAY])
)
instants = st.sampled_from(
    [None, MARCH - TICK, MARCH, MARCH + TICK, MAY - TICK, MAY, MAY + timedelta(days=9)]
)


@st.composite
def lists(draw: st.DrawFn) -> NamedList:
    given_remarks = draw(st.lists(remarks, max_size=4))
    plain = draw(st.lists(networks, max_size=2))
    return NamedList(
        "list",
        NetworkSet([*plain, *(remark.network for remark in given_remarks)]),
        _sorted(given_remarks, plain),
    )


def _sorted(given_remarks: list[Remark], plain: list[IPv4Network]) -> tuple[Remark, ...]:
    # As the configuration makes them: an entry that is listed plainly, too, is remarked as such.
    return (*(remark for remark in given_remarks if remark.note or remark.until), *map(Remark, plain))


def counts(each: NamedList, address: Address, now: datetime | None, *, unknown: bool) -> bool:
    """The rule in one line. An unknown time is taken for the worst: ended where it lets in, not where it keeps out."""
    remarked = {remark.network for remark in each.remarks}
    entries = [*each.remarks, *(Remark(network) for network in each.networks if network not in remarked)]
    return any(
        address in entry.network and (entry.until is None or (unknown if now is None else now < entry.until))
        for entry in entries
    )


@given(st.lists(lists(), min_size=1, max_size=2), st.lists(lists(), max_size=2), lists(), instants)
def test_an_entry_counts_until_its_end(
    allow: list[NamedList], deny: list[NamedList], own: NamedList, now
) -> None:
    gateway = gateway_policy(ShortForm(tuple(allow), tuple(deny)))
    policy = instance_policy(gateway, name="research", form=ShortForm((own,)))
    for number in range(32):
        address = IPv4Address(BASE + number)
        let_in = any(counts(each, address, now, unknown=False) for each in allow) and not any(
            counts(each, address, now, unknown=True) for each in deny
        )
        assert evaluate(gateway, Context(address, now=now)).allowed is let_in
        narrowed = let_in and counts(own, address, now, unknown=False)
        assert evaluate(policy, Context(address, now=now)).allowed is narrowed
    assert set(policy.changes_at) <= {MARCH, MAY}


def test_an_end_is_a_deny_that_names_the_entry() -> None:
    contractor = Remark(IPv4Network("198.51.100.7/32"), "contractor", MARCH)
    vpn = NamedList(
        "vpn", NetworkSet([parse_network("198.51.100.7"), parse_network("10.0.0.0/8")]), (contractor,)
    )
    policy = gateway_policy(ShortForm((vpn,), (), "nbgate.yaml:4"))
    assert policy.changes_at == (MARCH,)
    decision = evaluate(policy, Context(IPv4Address("198.51.100.7"), now=MARCH))
    assert decision.sids == ("gateway-allow-until-2027-03-01T00:00:00Z",)
    assert decision.reason == (
        "denied: no longer on gateway-allow (198.51.100.7/32: contractor, until 2027-03-01T00:00:00Z)"
    )
    assert {statement.origin for statement in policy.statements} == {"nbgate.yaml:4"}


def test_a_deny_list_ends_too() -> None:
    flood = Remark(IPv4Network("203.0.113.0/24"), "", MARCH)
    tor = NamedList("tor", NetworkSet([flood.network]), (flood,))
    policy = gateway_policy(ShortForm((NamedList("all", NetworkSet([IPv4Network("0.0.0.0/0")])),), (tor,)))
    context = Context(IPv4Address("203.0.113.1"), now=MARCH - TICK)
    assert (
        evaluate(policy, context).reason
        == "denied: on gateway-deny (203.0.113.0/24, until 2027-03-01T00:00:00Z)"
    )
    assert evaluate(policy, context._replace(now=MARCH)).allowed


def test_what_another_list_holds_on_to_needs_no_end() -> None:
    ended = Remark(IPv4Network("10.1.0.0/16"), "", MARCH)
    both = (
        NamedList("a", NetworkSet([ended.network]), (ended,)),
        NamedList("b", NetworkSet([IPv4Network("10.0.0.0/8")])),
    )
    assert gateway_policy(ShortForm(both)).changes_at == ()


def test_lists_without_ends_are_not_copied() -> None:
    office = NamedList(
        "office", NetworkSet([IPv4Network("10.0.0.0/8")]), (Remark(IPv4Network("10.0.0.0/8"), "HQ"),)
    )
    assert lasting([office]) is union([office]) is office.networks
    assert by_end([office]) == {}


subnets = st.one_of(
    networks,
    st.builds(
        lambda start, bits: IPv6Network((start >> bits << bits, 128 - bits)),
        st.integers(0, 31),
        st.integers(0, 4),
    ),
)


@given(st.lists(subnets, max_size=5), st.lists(subnets, max_size=5))
def test_what_is_left_without_others(some: list[Network], others: list[Network]) -> None:
    left = without(some, NetworkSet(others))
    for network in (*some, *others):
        for address in network:
            assert (address in left) == (address in NetworkSet(some) and address not in NetworkSet(others))


def test_what_is_left_of_a_network_begins_and_ends_where_the_others_do() -> None:
    left = without([IPv4Network("203.0.113.0/28")], NetworkSet([IPv4Network("203.0.113.4/30")]))
    assert list(left) == [IPv4Network("203.0.113.0/30"), IPv4Network("203.0.113.8/29")]
    whole = [IPv6Network("2001:db8::/32")]
    assert list(without(whole, NetworkSet(whole))) == []
