"""Whether instances are listed as one role, or described one by one."""

from __future__ import annotations

import pytest

from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    ControlPlaneTimeout,
    PermissionMissing,
    Throttled,
)
from proxy.server.operations.role_listing import (
    LIST_FAILED_SECONDS,
    LIST_FROM,
    NOT_LISTED_SECONDS,
    RoleListing,
)
from proxy.shared_fetch import SharedFetch
from proxy.tasks import Tasks
from tests.harness.clocks import FakeClock


@pytest.fixture
def listing() -> RoleListing:
    return RoleListing(SharedFetch(clock=FakeClock(), tasks=Tasks(lambda *_: None)))


def test_a_few_instances_are_described(listing: RoleListing) -> None:
    assert not listing.is_worth_it(LIST_FROM - 1, 0.0)
    assert listing.is_worth_it(LIST_FROM, 0.0)


@pytest.mark.parametrize(("found", "calls"), [(0, 1), (100, 1), (101, 2), (950, 10)])
def test_a_listing_of_many_calls_has_to_save_as_many_again(
    listing: RoleListing, found: int, calls: int
) -> None:
    listing.succeeded(found)
    assert listing.is_worth_it(max(LIST_FROM, 2 * calls), 0.0)
    assert not listing.is_worth_it(max(LIST_FROM, 2 * calls) - 1, 0.0)


@pytest.mark.parametrize(
    ("error", "describes", "seconds"),
    [
        (PermissionMissing(), True, NOT_LISTED_SECONDS),
        (ControlPlaneFailed(), True, NOT_LISTED_SECONDS),
        (ControlPlaneTimeout(), True, LIST_FAILED_SECONDS),
        (Throttled(), False, LIST_FAILED_SECONDS / 2),
    ],
)
def test_what_failed_is_tried_again_after_a_while(
    listing: RoleListing, error: ControlPlaneError, describes: bool, seconds: float
) -> None:
    assert listing.failed(error, 1000.0) is describes
    assert not listing.is_worth_it(50, 1000.0 + seconds - 1)
    assert listing.is_worth_it(50, 1000.0 + seconds)
    # Who is throttled is left alone; else each is described.
    assert (listing.rests_until > 1000.0) is not describes
