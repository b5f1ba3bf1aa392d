"""Which fields cross the gateway: by name, in any spelling, with bounded memory of the names met."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.fields import REQUEST_RULES, RESPONSE_RULES, Rule, has_token, nominated, only_proxies_may_set

SEPARATORS = "!#$%&'*+-.^_`|~"
"""All that a field's name may hold besides letters and digits (RFC 9110 section 5.6.2)."""

ONLY_PROXIES = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Uri",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Real-IP",
    "Forwarded",
    "Via",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Auth-Request-User",
    "X-Auth-User",
    "Remote-User",
    "X-Remote-User",
    "Proxy",
    "X-Request-Id",
    "X-Envoy-External-Address",
]


OF_FRAMING = [
    "Transfer-Encoding",
    "Content-Length",
    "Proxy-Connection",
    "Proxy-Authorization",
    "Keep-Alive",
    "HTTP2-Settings",
    "Accept-Encoding",
    "Sec-WebSocket-Key1",
]
MORE_THAT_ONLY_PROXIES_SAY = [
    "Client-Cert",
    "Client-Cert-Chain",
    "Concealed-Auth-Export",
    "CF-Connecting-IPv6",
    "CloudFront-Viewer-Address",
    "Fly-Client-IP",
    "Forwarded-For",
    "HTTP-Host",
    "OIDC-Claim-Sub",
    "Remote-Groups",
    "Script-Name",
    "SSL-Client-S-DN",
    "Tailscale-User-Login",
    "WL-Proxy-Client-IP",
    "X-Accel-Mapping",
    "X-Amzn-Ava-User-Context",
    "X-Amzn-Mtls-Clientcert-Subject",
    "X-Amzn-Oidc-Identity",
    "X-Anonymous-Consumer",
    "X-ARR-ClientCert",
    "X-Authentik-Username",
    "X-Client-Cert-DN",
    "X-Consumer-Username",
    "X-Credential-Identifier",
    "X-Forwarded",
    "X-Goog-IAP-JWT-Assertion",
    "X-HTTP-Host-Override",
    "X-MS-Client-Principal-Name",
    "X-Original-Forwarded-For",
    "X-Original-Method",
    "X-Real-Port",
    "X-Sendfile-Type",
    "X-SSL-Client-Verify",
    "X-True-Client-IP",
    "X-Vouch-User",
    "X-WebAuth-User",
]


@pytest.mark.parametrize("name", [*ONLY_PROXIES, *MORE_THAT_ONLY_PROXIES_SAY])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_no_spelling_of_what_only_proxies_say_comes_from_a_caller(name: str, separator: str) -> None:
    for spelled in (name.replace("-", separator), name.upper().replace("-", separator, 1)):
        assert REQUEST_RULES[spelled.encode()] is Rule.DROP, spelled


@pytest.mark.parametrize("name", OF_FRAMING)
@pytest.mark.parametrize("separator", SEPARATORS.replace("-", ""))
def test_look_alikes_of_framing_fields_are_removed(name: str, separator: str) -> None:
    """CGI and WSGI read `Transfer_Encoding` and `Transfer.Encoding` as the field that they look like."""
    for spelled in (name.replace("-", separator), name.lower().replace("-", separator, 1)):
        assert REQUEST_RULES[spelled.encode()] is Rule.DROP, spelled


@given(
    st.sampled_from([*ONLY_PROXIES, *MORE_THAT_ONLY_PROXIES_SAY, *OF_FRAMING]),
    st.lists(st.sampled_from(SEPARATORS), min_size=4, max_size=4),
    st.integers(min_value=0),
)
def test_whatever_reads_as_a_field_of_the_gateways_is_removed(
    name: str, separators: list[str], case: int
) -> None:
    """Each separator for itself, each letter in either case."""
    left = iter(separators * 2)
    spelled = "".join(next(left) if letter == "-" else letter for letter in name)
    spelled = "".join(
        letter.swapcase() if case >> place & 1 else letter for place, letter in enumerate(spelled)
    )
    if spelled.lower() != "accept-encoding":  # that one is read, and said anew
        assert REQUEST_RULES[spelled.encode()] is Rule.DROP


@pytest.mark.parametrize(
    "name", ["X_Custom", "Content_Type", "If_None.Match", "X-Xsrftoken", "Cookie_", "Hosts"]
)
def test_other_names_with_odd_separators_pass(name: str) -> None:
    assert REQUEST_RULES[name.encode()] is Rule.PASS


@pytest.mark.parametrize("name", ONLY_PROXIES)
@pytest.mark.parametrize("spell", [str, str.lower, str.upper, lambda name: name.replace("-", "_")])
def test_what_only_proxies_may_say_never_comes_from_a_caller(name: str, spell) -> None:
    assert REQUEST_RULES[spell(name).encode()] is Rule.DROP


@pytest.mark.parametrize(
    "name", ["X_Forwarded_User", "x-Forwarded_user", "X.Forwarded.User", "X-Forwarded.User"]
)
def test_look_alikes_count_as_the_field_that_they_become_downstream(name: str) -> None:
    """CVE-2025-64484: WSGI and CGI read `X_Forwarded_User` as `X-Forwarded-User`."""
    assert REQUEST_RULES[name.encode()] is Rule.DROP


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
    ],
)
def test_hop_by_hop_fields_end_here_in_both_directions(name: str) -> None:
    """RFC 9110 section 7.6.1. The ones that are read before they go have a rule of their own."""
    assert REQUEST_RULES[name.encode()] in {Rule.DROP, Rule.CONNECTION}
    read_first = {Rule.CONNECTION, Rule.TRANSFER_ENCODING, Rule.UPGRADE}
    assert RESPONSE_RULES[name.encode()] in {Rule.DROP} | read_first


@pytest.mark.parametrize(
    "name", ["Accept", "Authorization", "X-XSRFToken", "Range", "Sec-WebSocket-Key", "X_Custom"]
)
def test_all_other_fields_of_a_request_pass(name: str) -> None:
    assert REQUEST_RULES[name.encode()] is Rule.PASS


def test_a_notebook_cannot_advertise_a_way_around_the_gateway() -> None:
    assert RESPONSE_RULES[b"Alt-Svc"] is Rule.DROP
    assert RESPONSE_RULES[b"X-Accel-Redirect"] is Rule.DROP
    assert RESPONSE_RULES[b"X-Forwarded-For"] is Rule.PASS


def test_names_that_callers_invent_do_not_pile_up() -> None:
    for number in range(10_000):
        assert REQUEST_RULES[b"X-Invented-%d" % number] is Rule.PASS
    assert len(REQUEST_RULES) <= 1024


@given(st.binary(max_size=40))
def test_a_rule_does_not_depend_on_case_or_on_having_been_asked_before(name: bytes) -> None:
    assert (
        REQUEST_RULES[name]
        is REQUEST_RULES[name.upper()]
        is REQUEST_RULES[name.lower()]
        is REQUEST_RULES[name]
    )


def test_told_by_proxies_goes_by_prefix_too() -> None:
    assert only_proxies_may_set(b"x-forwarded-anything")
    assert not only_proxies_may_set(b"x-forward")


def test_connection_nominates_fields() -> None:
    assert nominated([b"keep-alive, X-Foo", b" cookie ,close"]) == {b"x-foo", b"cookie"}
    assert nominated([b"Upgrade, keep-alive,,"]) == frozenset()


def test_tokens_are_found_in_lists_in_any_case() -> None:
    assert has_token(b"keep-alive, CLOSE", b"close")
    assert not has_token(b"not-close", b"close")


@pytest.mark.parametrize("rules", [REQUEST_RULES, RESPONSE_RULES])
def test_names_that_others_choose_are_remembered_within_a_bound_and_long_ones_not_at_all(
    rules: Mapping[bytes, Rule],
) -> None:
    for number in range(3000):
        assert rules[b"X-%d" % number] is Rule.PASS
    assert rules[b"X-" + b"long" * 100] is Rule.PASS
    assert rules[b"X-Forwarded-" + b"x" * 400] is (Rule.DROP if rules is REQUEST_RULES else Rule.PASS)
    assert len(rules) <= 1024
    assert sum(map(len, rules)) <= 1024 * 64
    assert all(len(name) <= 64 for name in rules)
