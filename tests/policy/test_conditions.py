"""Condition operators: IAM's tables of present and absent keys for each, and nothing unsupported let in."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.networks import AddressError, NetworkSet, parse_address
from proxy.policy.conditions import KEYS, OPERATORS, Kind, compile_condition, find_key, find_operator
from proxy.policy.context import Context
from proxy.policy.dates import TICK
from proxy.policy.errors import PolicyError

INSIDE, OUTSIDE = parse_address("203.0.113.5"), parse_address("192.0.2.66")
LIST = ["203.0.113.0/24", "2001:db8:10::/48", "198.51.100.7"]
NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
NAMES = ["alice", "B?b*"]

NOBODY = Context(None)
ALICE = Context(INSIDE, now=NOON, secure_transport=True, username="alice", tags={"team": "Research"})


TLS, PLAIN = Context(None, secure_transport=True), Context(None, secure_transport=False)


def at(instant: datetime) -> Context:
    return Context(None, now=instant)


def called(name: str) -> Context:
    return Context(None, username=name)


def tagged(team: str) -> Context:
    return Context(None, tags={"team": team})


def to_region(region: str) -> Context:
    return Context(None, region=region)


# Operator, key, values, a context that is among the values and one that is not; what they, and an absent key, come to.
TABLE = [
    ("IpAddress", "aws:SourceIp", LIST, Context(INSIDE), Context(OUTSIDE), "+--"),
    ("NotIpAddress", "aws:SourceIp", LIST, Context(INSIDE), Context(OUTSIDE), "-++"),
    ("IpAddress", "aws:VpcSourceIp", LIST, Context(INSIDE), Context(OUTSIDE), "+--"),
    ("NotIpAddress", "aws:VpcSourceIp", LIST, Context(INSIDE), Context(OUTSIDE), "-++"),
    ("StringEquals", "aws:username", NAMES, called("alice"), called("Alice"), "+--"),
    ("StringEquals", "aws:username", NAMES, called("B?b*"), called("Bob"), "+--"),
    ("StringNotEquals", "aws:username", NAMES, called("alice"), called("Alice"), "-++"),
    ("StringEqualsIgnoreCase", "aws:username", NAMES, called("ALICE"), called("Bob"), "+--"),
    ("StringNotEqualsIgnoreCase", "aws:username", NAMES, called("ALICE"), called("Bob"), "-++"),
    ("StringLike", "aws:username", NAMES, called("Bobby"), called("bobby"), "+--"),
    ("StringNotLike", "aws:username", NAMES, called("Bobby"), called("bobby"), "-++"),
    ("StringEquals", "aws:PrincipalTag/Team", ["Research"], tagged("Research"), tagged("x"), "+--"),
    ("StringEquals", "aws:RequestedRegion", ["eu-west-1"], to_region("eu-west-1"), to_region("x"), "+--"),
    ("DateEquals", "aws:CurrentTime", ["2027-01-31T12:00:00Z"], at(NOON), at(NOON + TICK), "+--"),
    ("DateNotEquals", "aws:CurrentTime", ["2027-01-31T12:00:00Z"], at(NOON), at(NOON + TICK), "-++"),
    ("DateLessThan", "aws:CurrentTime", ["2027-01-31T12:00:00Z"], at(NOON - TICK), at(NOON), "+--"),
    ("DateLessThanEquals", "aws:CurrentTime", ["2027-01-31T12:00:00Z"], at(NOON), at(NOON + TICK), "+--"),
    ("DateGreaterThan", "aws:CurrentTime", ["2027-01-31T12:00:00Z"], at(NOON + TICK), at(NOON), "+--"),
    ("DateGreaterThanEquals", "aws:CurrentTime", ["2027-01-31T12:00:00Z"], at(NOON), at(NOON - TICK), "+--"),
    # One of them is enough.
    ("DateLessThan", "aws:CurrentTime", ["2027-01-01", "2027-02-01"], at(NOON), at(NOON.replace(month=3)), "+--"),
    ("DateGreaterThan", "aws:CurrentTime", ["2027-02-01", "2027-01-01"], at(NOON), at(NOON.replace(year=2026)), "+--"),
    ("Bool", "aws:SecureTransport", ["true"], TLS, PLAIN, "+--"),
    ("Bool", "aws:SecureTransport", [False], PLAIN, TLS, "+--"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "key", "values", "among", "other", "outcomes"), TABLE)
def test_hold_as_iam_says(operator, key, values, among, other, outcomes: str) -> None:
    """IAM: a missing key fails an operator, satisfies a negated one and every `…IfExists`."""
    if_among, if_other, absent = (outcome == "+" for outcome in outcomes)
    for name, when_absent in (
        (operator, absent),
        (f"{operator}IfExists", True),
        (f"ForAnyValue:{operator}", False),
        (f"ForAllValues:{operator}", True),
        (f"ForAnyValue:{operator}IfExists", True),
        (f"ForAllValues:{operator}IfExists", True),
    ):
        condition = compile_condition(name, key, values)
        assert condition.holds(among) is if_among, name
        assert condition.holds(other) is if_other, name
        assert condition.holds(NOBODY) is when_absent, name


@pytest.mark.parametrize("key", [*KEYS, "aws:PrincipalTag/Team"])
def test_null_asks_whether_a_key_is_there(key: str) -> None:
    everything = ALICE._replace(region="eu-west-1")
    for values, if_absent, if_present in (
        (["true"], True, False),
        ([False], False, True),
        (["TRUE", "false"], True, True),
    ):
        condition = compile_condition("Null", key, values)
        assert condition.holds(NOBODY) is if_absent
        assert condition.holds(everything) is if_present


def test_every_operator_is_in_the_table() -> None:
    plain = {name for name in OPERATORS if ":" not in name and not name.endswith("IfExists")}
    assert plain == {row[0] for row in TABLE} | {"Null"}


def test_every_operator_has_its_variants_but_null() -> None:
    variants = {name for name in OPERATORS if name.endswith(("StringLike", "StringLikeIfExists"))}
    assert variants == {
        f"{prefix}StringLike{suffix}"
        for prefix in ("", "ForAnyValue:", "ForAllValues:")
        for suffix in ("", "IfExists")
    }
    assert [name for name in OPERATORS if "Null" in name] == ["Null"]


def test_values_of_all_families_meet_in_one_list() -> None:
    condition = compile_condition("IpAddress", "aws:SourceIp", LIST)
    assert condition.holds(Context(parse_address("2001:db8:10::1")))
    assert condition.holds(Context(parse_address("198.51.100.7")))
    assert not condition.holds(Context(parse_address("198.51.100.8")))


def test_a_mapped_address_is_judged_as_ipv4() -> None:
    """3proxy #807: IPv4 rules were bypassed through `::ffff:`."""
    assert compile_condition("IpAddress", "aws:SourceIp", LIST).holds(
        Context(parse_address("::ffff:203.0.113.5"))
    )


VALUES = {
    Kind.ADDRESS: LIST,
    Kind.TEXT: NAMES,
    Kind.INSTANT: ["2027-01-31", "2027-03-01T00:00:00Z"],
    Kind.FLAG: ["true"],
}
NEGATIONS = {
    "IpAddress": "NotIpAddress",
    "DateEquals": "DateNotEquals",
    "DateLessThan": "DateGreaterThanEquals",
    "DateGreaterThan": "DateLessThanEquals",
    **{f"String{name}": f"StringNot{name}" for name in ("Equals", "EqualsIgnoreCase", "Like")},
}
contexts = st.builds(
    Context,
    st.one_of(st.none(), st.sampled_from([INSIDE, OUTSIDE]), st.ip_addresses()),
    now=st.one_of(
        st.none(), st.datetimes(datetime(2026, 12, 1), datetime(2027, 4, 1), timezones=st.just(UTC))
    ),
    secure_transport=st.one_of(st.none(), st.booleans()),
    region=st.one_of(st.none(), st.sampled_from(["alice", "eu-west-1"])),
    username=st.one_of(st.none(), st.sampled_from(["alice", "ALICE", "Bob", "B?b*", ""]), st.text()),
    tags=st.dictionaries(st.just("team"), st.text()),
)
fitting = st.sampled_from(
    [(operator, key) for operator in OPERATORS.values() for key in KEYS.values() if operator.kind is key.kind]
)


@given(fitting, contexts)
def test_holds_never_raises_and_a_negation_turns_the_answer_round(pair, context: Context) -> None:
    operator, key = pair
    # One value, so that the opposite of "before one of them" is "not before it".
    values = VALUES[key.kind][:1]
    holds = compile_condition(operator.name, key.name, values).holds(context)
    assert isinstance(holds, bool)
    plain = operator.name.removesuffix("IfExists").rpartition(":")[2]
    if plain in NEGATIONS and key.read(context) is not None:
        negation = compile_condition(operator.name.replace(plain, NEGATIONS[plain]), key.name, values)
        assert negation.holds(context) is not holds


@given(
    st.sampled_from([name for name, operator in OPERATORS.items() if operator.kind is Kind.INSTANT]),
    st.lists(st.sampled_from(["2027-01-01", "2027-01-31T12:00:00Z", "1800000000"]), min_size=1, max_size=3),
    st.lists(st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)), max_size=3),
)
def test_time_alone_changes_nothing_from_one_announced_change_to_the_next(operator, values, more) -> None:
    condition = compile_condition(operator, "aws:CurrentTime", values)
    announced = sorted(condition.changes_at)
    assert announced
    for start, end in zip([datetime.min.replace(tzinfo=UTC), *announced], [*announced, None], strict=True):
        last = end - TICK if end else datetime.max.replace(tzinfo=UTC)
        inside = [start, last, *(instant for instant in more if start <= instant <= last)]
        assert len({condition.holds(at(instant)) for instant in inside}) == 1
    assert all(condition.holds(at(each)) is not condition.holds(at(each - TICK)) for each in announced)


@pytest.mark.parametrize(
    ("operator", "instants"),
    [
        ("DateEquals", (NOON, NOON + TICK)),
        ("DateNotEquals", (NOON, NOON + TICK)),
        ("DateLessThan", (NOON,)),
        ("DateLessThanEquals", (NOON + TICK,)),
        ("DateGreaterThan", (NOON + TICK,)),
        ("DateGreaterThanEquals", (NOON,)),
    ],
)
def test_changes_are_announced_to_the_tick(operator: str, instants: tuple[datetime, ...]) -> None:
    assert compile_condition(operator, "aws:CurrentTime", [NOON.isoformat()]).changes_at == instants


def test_only_conditions_on_the_time_change_with_it() -> None:
    for operator, key in (("IpAddress", "aws:SourceIp"), ("StringLike", "aws:username")):
        assert compile_condition(operator, key, VALUES[find_key(key).kind]).changes_at == ()
    assert compile_condition("Null", "aws:CurrentTime", ["true"]).changes_at == ()


def test_compiled_networks_are_taken_as_they_are() -> None:
    networks = NetworkSet()
    condition = compile_condition("NotIpAddress", "aws:SourceIp", networks)
    assert condition.values is networks
    assert condition.holds(Context(INSIDE))
    assert not compile_condition("IpAddress", "aws:SourceIp", networks).holds(Context(INSIDE))


def test_keys_are_not_case_sensitive_and_come_back_in_iams_spelling() -> None:
    assert compile_condition("IpAddress", "AWS:sourceip", LIST).key.name == "aws:SourceIp"
    condition = compile_condition("StringEquals", "AWS:principaltag/TEAM", ["Research"])
    assert condition.key.name == "aws:PrincipalTag/TEAM"
    assert condition.holds(ALICE)


def test_conditions_that_say_the_same_are_equal() -> None:
    one = compile_condition("IpAddress", "aws:SourceIp", ["10.0.0.0/24", "10.0.1.0/24"])
    assert one == compile_condition("IpAddress", "aws:sourceIP", ["10.0.0.0/23"])
    assert one != compile_condition("IpAddressIfExists", "aws:SourceIp", ["10.0.0.0/23"])
    assert one != compile_condition("IpAddress", "aws:VpcSourceIp", ["10.0.0.0/23"])


def test_what_is_written_is_kept() -> None:
    assert compile_condition("DateLessThan", "aws:CurrentTime", ["2027-01-31"]).written == ("2027-01-31",)


@pytest.mark.parametrize(
    ("operator", "key", "values", "message", "hint"),
    [
        ("IPAddress", "aws:SourceIp", LIST, "operator 'IPAddress' is not supported", "write IpAddress"),
        ("IpAddressIfexists", "aws:SourceIp", LIST, "not supported", "write IpAddressIfExists"),
        ("NumericEquals", "aws:SourceIp", ["1"], "not supported", "use one of IpAddress, NotIpAddress, String"),
        ("NullIfExists", "aws:SourceIp", ["true"], "not supported", "use one of"),
        ("ForAnyValue:Null", "aws:SourceIp", ["true"], "not supported", "use one of"),
        ("ForSomeValues:Bool", "aws:SecureTransport", ["true"], "not supported", "use one of"),
        ("IpAddress", "aws:SourceVpce", LIST, "key 'aws:SourceVpce' is not supported", "aws:VpcSourceIp"),
        ("StringEquals", "aws:PrincipalTag/", ["x"], "not supported", "aws:PrincipalTag/…"),
        ("IpAddress", "aws:SourceIp", [], "IpAddress on aws:SourceIp has no values", "at least one"),
        ("StringLike", "aws:SourceIp", ["203.0.113.*"], "does not fit aws:SourceIp, which is an IP address",
         "use IpAddress, NotIpAddress or Null"),
        ("StringEquals", "aws:SecureTransport", ["true"], "which is true or false", "use Bool or Null"),
        ("IpAddress", "aws:username", LIST, "which is text", "StringLike"),
        ("Bool", "aws:SecureTransport", ["yes"], "'yes' is neither true nor false", "write true or false"),
        ("Bool", "aws:SecureTransport", [1], "1 is neither", "write true or false"),
        ("Null", "aws:username", ["none"], "neither", "write true or false"),
        ("StringEquals", "aws:username", [42], "42 is not text", 'put it in quotes: "42"'),
        ("StringEquals", "aws:username", [True], "True is not text", 'put it in quotes: "true"'),
        ("StringLike", "aws:username", ["${aws:username}"], "policy variable", "write the value itself"),
        ("IpAddress", "aws:SourceIp", ["${aws:SourceIp}"], "policy variable", "not even AWS"),
        ("DateLessThan", "aws:CurrentTime", ["${aws:TokenIssueTime}"], "policy variable", "not even AWS"),
        ("DateLessThan", "aws:CurrentTime", ["tomorrow"], "'tomorrow' is not a date", "such as 2027-01-31"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused(operator, key, values, message: str, hint: str) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        compile_condition(operator, key, values)
    assert hint in caught.value.hint


@pytest.mark.parametrize("value", ["10.0.0.1/8", "010.0.0.1", "fe80::1%eth0", True])
def test_addresses_are_networks_in_their_strict_spelling(value: object) -> None:
    with pytest.raises(AddressError):
        compile_condition("IpAddress", "aws:SourceIp", ["10.0.0.0/8", value])


def test_operators_are_found_by_name() -> None:
    assert find_operator("ForAllValues:StringLikeIfExists").name == "ForAllValues:StringLikeIfExists"
