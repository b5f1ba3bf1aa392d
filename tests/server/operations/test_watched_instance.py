"""What is known of one instance's state: what counts as a change, as a start, and as being on the way."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.aws.control_plane import InstanceDescription
from proxy.aws.presigned import SessionKey
from proxy.errors import Throttled
from proxy.server.operations.watched_instance import (
    LOOK_SECONDS,
    MOVING_SECONDS,
    STARTS_REMEMBERED,
    WatchedInstance,
    says_the_same,
)
from proxy.shared_fetch import SharedFetch
from proxy.tasks import Tasks
from tests.harness.clocks import FakeClock


@pytest.fixture
def watched() -> WatchedInstance:
    fetch: SharedFetch[InstanceDescription] = SharedFetch(clock=FakeClock(), tasks=Tasks(lambda *_: None))
    return WatchedInstance(SessionKey("research-gpu-1"), fetch, names=("research",))


def described(status: str, **more: Any) -> InstanceDescription:
    return InstanceDescription("research-gpu-1", status, **more)


def test_the_first_status_that_is_known_is_a_change_and_the_same_again_is_none(
    watched: WatchedInstance,
) -> None:
    assert watched.learn(described("InService"), 10.0)
    assert not watched.learn(described("InService"), 20.0)
    assert watched.known is not None
    assert (watched.known.since, watched.known.seen_at) == (10.0, 20.0)
    assert watched.learn(described("Stopping"), 30.0)
    assert watched.known.since == 30.0


@pytest.mark.parametrize(
    ("status", "is_passing"),
    [("Pending", True), ("Stopping", True), ("Updating", True), ("InService", False), ("Stopped", False)],
)
def test_some_statuses_are_on_the_way_to_others(
    watched: WatchedInstance, status: str, is_passing: bool
) -> None:
    watched.learn(described(status), 10.0)
    assert watched.is_passing(10.0) is is_passing


def test_what_was_told_to_move_is_on_its_way_until_another_status_shows_or_too_long_has_passed(
    watched: WatchedInstance,
) -> None:
    watched.learn(described("Stopped"), 10.0)
    watched.failure = Throttled()
    watched.moves(20.0, starts=True)
    assert not watched.is_fresh
    assert watched.failure is None
    assert watched.changes == 1
    watched.learn(described("Stopped"), 21.0)
    assert watched.is_passing(20.0 + MOVING_SECONDS - 1)
    assert not watched.is_passing(20.0 + MOVING_SECONDS)
    watched.learn(described("InService"), 22.0)
    assert not watched.is_passing(22.0)


def test_a_start_that_was_ordered_counts_from_the_order(watched: WatchedInstance) -> None:
    watched.learn(described("Stopped"), 0.0)
    assert watched.usual_start_seconds() is None
    watched.moves(100.0, starts=True)
    watched.learn(described("Pending"), 105.0)
    watched.learn(described("InService"), 200.0)
    assert watched.usual_start_seconds() == 100.0


@pytest.mark.parametrize(
    ("looked_before", "counts"), [(2 * LOOK_SECONDS, True), (2 * LOOK_SECONDS + 1, False)]
)
def test_a_start_whose_begin_was_not_seen_counts_for_nothing(
    watched: WatchedInstance, looked_before: float, counts: bool
) -> None:
    watched.learn(described("Stopped"), 100.0 - looked_before)
    watched.learn(described("Pending"), 100.0)
    watched.learn(described("InService"), 180.0)
    assert watched.usual_start_seconds() == (80.0 if counts else None)


def test_a_start_that_failed_or_was_stopped_counts_for_nothing(watched: WatchedInstance) -> None:
    for end in ("Failed", "Stopping"):
        watched.learn(described("Stopped"), 0.0)
        watched.moves(1.0, starts=True)
        watched.learn(described("Pending"), 2.0)
        watched.learn(described(end), 50.0)
        watched.learn(described("InService"), 900.0)
    watched.moves(1000.0, starts=True)
    watched.moves(1001.0, starts=False)
    watched.learn(described("InService"), 1100.0)
    assert watched.usual_start_seconds() is None


def test_the_usual_start_is_the_median_of_the_last_ones(watched: WatchedInstance) -> None:
    now = 0.0
    for seconds in (*([1000.0] * STARTS_REMEMBERED), *range(1, STARTS_REMEMBERED + 1)):
        watched.learn(described("Stopped"), now)
        watched.moves(now, starts=True)
        watched.learn(described("InService"), now + seconds)
        now += 5000.0
    assert watched.usual_start_seconds() == (STARTS_REMEMBERED + 1) / 2


def test_a_listing_has_news_where_anything_differs_that_it_tells(watched: WatchedInstance) -> None:
    known = described("InService", url="a.example", instance_type="ml.t3.medium", volume_size_gb=5)
    assert says_the_same(
        known, described("InService", url="a.example", instance_type="ml.t3.medium", volume_size_gb=None)
    )
    for change in ({"url": "b.example"}, {"instance_type": "ml.t3.large"}):
        assert not says_the_same(
            known, described("InService", **{"url": "a.example", "instance_type": "ml.t3.medium", **change})
        )
    assert not says_the_same(known, described("Stopped", url="a.example", instance_type="ml.t3.medium"))
