"""What is kept of the callers of one connection on their way to a notebook."""

from __future__ import annotations

from dataclasses import replace

from proxy.admission.caller import Caller
from proxy.client_address.networks import parse_address
from proxy.client_address.resolve import ClientAddress
from proxy.dataplane.notebook.translation import CALLERS_REMEMBERED, ToNotebooks
from proxy.routing.authority import parse_authority
from tests.harness.held import most_held_by

ONE = Caller(
    "203.0.113.1",
    "10.0.0.1",
    host="notebooks.internal",
    scheme="https",
    is_behind_proxy=True,
    client=ClientAddress(parse_address("203.0.113.1"), parse_address("10.0.0.1"), source="x-forwarded-for"),
    authority=parse_authority("notebooks.internal"),
)


def test_callers_that_are_equal_share_what_is_prepared_and_others_do_not() -> None:
    kept = ToNotebooks()
    assert kept.of(ONE) is kept.of(replace(ONE))
    for other in (
        replace(ONE, address="203.0.113.2"),
        replace(ONE, host="other.internal"),
        replace(ONE, scheme="http"),
    ):
        assert kept.of(other) is not kept.of(ONE)


def test_a_connection_of_many_callers_keeps_few() -> None:
    kept = ToNotebooks()
    for number in range(10 * CALLERS_REMEMBERED):
        kept.of(replace(ONE, address=f"2001:db8::{number:x}"))
    assert most_held_by(kept) <= CALLERS_REMEMBERED
