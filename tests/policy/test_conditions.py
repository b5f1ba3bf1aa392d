"""Condition operators: IAM's table of present and absent keys, and nothing unsupported let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.networks import Address, AddressError, NetworkSet, parse_address
from proxy.policy.conditions import KEYS, OPERATORS, Context, PolicyError, compile_condition

INSIDE, OUTSIDE = parse_address("203.0.113.5"), parse_address("192.0.2.66")
LIST = ["203.0.113.0/24", "2001:db8:10::/48", "198.51.100.7"]


@pytest.mark.parametrize("key", ["aws:SourceIp", "aws:VpcSourceIp"])
@pytest.mark.parametrize(
    ("operator", "inside", "outside", "absent"),
    [
        ("IpAddress", True, False, False),
        ("NotIpAddress", False, True, True),
        ("IpAddressIfExists", True, False, True),
        ("NotIpAddressIfExists", False, True, True),
    ],
)
def test_hold_as_iam_says(operator: str, key: str, inside: bool, outside: bool, absent: bool) -> None:
    """UPSTREAM-FACTS section 3: a missing key fails `IpAddress` and satisfies `NotIpAddress` and `…IfExists`."""
    condition = compile_condition(operator, key, LIST)
    assert condition.holds(Context(INSIDE)) is inside
    assert condition.holds(Context(parse_address("2001:db8:10::1"))) is inside
    assert condition.holds(Context(parse_address("198.51.100.7"))) is inside
    assert condition.holds(Context(OUTSIDE)) is outside
    assert condition.holds(Context(parse_address("198.51.100.8"))) is outside
    assert condition.holds(Context(None)) is absent


def test_a_mapped_address_is_judged_as_ipv4() -> None:
    """3proxy #807: IPv4 rules were bypassed through `::ffff:`."""
    assert compile_condition("IpAddress", "aws:SourceIp", LIST).holds(
        Context(parse_address("::ffff:203.0.113.5"))
    )


@given(
    st.sampled_from(sorted(OPERATORS)), st.sampled_from(sorted(KEYS)), st.one_of(st.none(), st.ip_addresses())
)
def test_negation_turns_the_answer_round_and_holds_never_raises(
    operator: str, key: str, address: Address | None
) -> None:
    holds = compile_condition(operator, key, LIST).holds(Context(address))
    if address is not None:
        negation = operator[3:] if operator.startswith("Not") else f"Not{operator}"
        assert compile_condition(negation, key, LIST).holds(Context(address)) is not holds


def test_compiled_values_are_taken_as_they_are() -> None:
    networks = NetworkSet()
    condition = compile_condition("NotIpAddress", "aws:SourceIp", networks)
    assert condition.values is networks
    assert condition.holds(Context(INSIDE))
    assert not compile_condition("IpAddress", "aws:SourceIp", networks).holds(Context(INSIDE))


def test_keys_are_not_case_sensitive_and_come_back_in_iams_spelling() -> None:
    assert compile_condition("IpAddress", "AWS:sourceip", LIST).key.name == "aws:SourceIp"


def test_conditions_that_say_the_same_are_equal() -> None:
    one = compile_condition("IpAddress", "aws:SourceIp", ["10.0.0.0/24", "10.0.1.0/24"])
    assert one == compile_condition("IpAddress", "aws:sourceIP", ["10.0.0.0/23"])
    assert one != compile_condition("IpAddressIfExists", "aws:SourceIp", ["10.0.0.0/23"])
    assert one != compile_condition("IpAddress", "aws:VpcSourceIp", ["10.0.0.0/23"])


@pytest.mark.parametrize(
    ("operator", "key", "values", "message", "hint"),
    [
        ("IPAddress", "aws:SourceIp", LIST, "operator 'IPAddress' is not supported", "IpAddress, "),
        ("IpAddressIfexists", "aws:SourceIp", LIST, "not supported", "IpAddressIfExists"),
        ("IpAddress", "aws:SourceVpce", LIST, "key 'aws:SourceVpce' is not supported", "aws:VpcSourceIp"),
        ("IpAddress", "aws:SourceIp", [], "IpAddress on aws:SourceIp has no values", "at least one"),
    ],
)
def test_what_is_not_supported_is_refused(
    operator: str, key: str, values: list[str], message: str, hint: str
) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        compile_condition(operator, key, values)
    assert hint in caught.value.hint


@pytest.mark.parametrize("value", ["10.0.0.1/8", "010.0.0.1", "fe80::1%eth0", "${aws:SourceIp}", True])
def test_values_are_networks_in_their_strict_spelling(value: object) -> None:
    with pytest.raises(AddressError):
        compile_condition("IpAddress", "aws:SourceIp", ["10.0.0.0/8", value])
