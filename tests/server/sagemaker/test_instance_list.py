"""ListNotebookInstances: SageMaker's filters and orders, and pages that stay where they are when instances move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from proxy.aws.control_plane import InstanceDescription
from proxy.server.sagemaker.instance_list import needs_states, page, page_of_names, summary
from proxy.wire.aws_json import AwsFault, Parameters, Value

DAY = timedelta(days=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def one(name: str, status: str = "InService", *, day: int = 0, **more: Any) -> InstanceDescription:
    at = NEW_YEAR + day * DAY
    return InstanceDescription(name, status, created_at=at, modified_at=at + DAY / 2, **more)


FLEET = [
    one("beta", "Stopped", day=2, lifecycle_config="auto-stop"),
    one("Alpha", day=1, default_code_repository="team-repo", code_repositories=("other", "third")),
    one("gamma-gpu", "Pending", day=0),
    InstanceDescription("unknown", "InService"),
]


def wanted(**values: Value) -> Parameters:
    return Parameters(values)


def names(parameters: Parameters, fleet: list[InstanceDescription] = FLEET) -> list[str]:
    return [found.name for found in page(fleet, parameters)[0]]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["Alpha", "beta", "gamma-gpu", "unknown"]),
        ({"SortOrder": "Descending"}, ["unknown", "gamma-gpu", "beta", "Alpha"]),
        ({"SortBy": "Status"}, ["Alpha", "unknown", "gamma-gpu", "beta"]),
        ({"SortBy": "Status", "SortOrder": "Descending"}, ["beta", "gamma-gpu", "unknown", "Alpha"]),
        ({"SortBy": "CreationTime"}, ["unknown", "gamma-gpu", "Alpha", "beta"]),
        ({"NameContains": "A"}, ["Alpha", "beta", "gamma-gpu"]),
        ({"NameContains": "gpu"}, ["gamma-gpu"]),
        ({"StatusEquals": "Stopped"}, ["beta"]),
        ({"StatusEquals": "Failed"}, []),
        ({"CreationTimeAfter": NEW_YEAR}, ["Alpha", "beta"]),
        ({"CreationTimeBefore": NEW_YEAR + DAY}, ["gamma-gpu"]),
        ({"CreationTimeAfter": NEW_YEAR, "CreationTimeBefore": NEW_YEAR + 2 * DAY}, ["Alpha"]),
        ({"LastModifiedTimeAfter": NEW_YEAR + 2 * DAY}, ["beta"]),
        ({"LastModifiedTimeBefore": NEW_YEAR + DAY}, ["gamma-gpu"]),
        ({"NotebookInstanceLifecycleConfigNameContains": "stop"}, ["beta"]),
        ({"DefaultCodeRepositoryContains": "team"}, ["Alpha"]),
        ({"AdditionalCodeRepositoryEquals": "third"}, ["Alpha"]),
        ({"AdditionalCodeRepositoryEquals": "thir"}, []),
    ],
)
def test_filters_and_orders(parameters: dict[str, Value], expected: list[str]) -> None:
    assert names(wanted(**parameters)) == expected


def test_instants_are_compared_whatever_their_zone() -> None:
    zone = timezone(timedelta(hours=9))
    early = InstanceDescription("early", "InService", created_at=datetime(2026, 1, 1, 8, tzinfo=zone))
    late = InstanceDescription("late", "InService", created_at=datetime(2026, 1, 1, 0, tzinfo=UTC))
    assert names(wanted(SortBy="CreationTime"), [late, early]) == ["early", "late"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, False),
        ({"SortBy": "Name", "SortOrder": "Descending", "NameContains": "a", "MaxResults": 5}, False),
        ({"SortBy": "Status"}, True),
        ({"SortBy": "CreationTime"}, True),
        ({"StatusEquals": "Stopped"}, True),
        ({"CreationTimeAfter": NEW_YEAR}, True),
    ],
)
def test_states_are_asked_for_only_where_names_do_not_tell(
    parameters: dict[str, Value], expected: bool
) -> None:
    assert needs_states(wanted(**parameters)) is expected


@pytest.mark.parametrize("by", ["Name", "Status", "CreationTime"])
@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_pages_are_the_whole_list_in_its_order(by: str, order: str, size: int) -> None:
    whole = names(wanted(SortBy=by, SortOrder=order))
    read: list[str] = []
    token = ""
    while True:
        more = {"NextToken": token} if token else {}
        shown, token = page(FLEET, wanted(SortBy=by, SortOrder=order, MaxResults=size, **more))
        read += [found.name for found in shown]
        assert len(shown) <= size
        if not token:
            break
    assert read == whole


def test_names_alone_make_the_same_pages() -> None:
    everybody = [found.name for found in FLEET]
    first, token = page_of_names(everybody, wanted(MaxResults=2, NameContains="a"))
    assert first == ["Alpha", "beta"]
    second, end = page_of_names(everybody, wanted(MaxResults=2, NameContains="a", NextToken=token))
    assert (second, end) == (["gamma-gpu"], "")


def test_without_a_size_a_page_has_ten() -> None:
    shown, token = page_of_names([f"n{number:02}" for number in range(11)], wanted())
    assert len(shown) == 10
    assert token


def test_an_instance_that_comes_or_goes_moves_nobody_else() -> None:
    _, token = page(FLEET, wanted(MaxResults=2))
    without = [found for found in FLEET if found.name != "beta"]
    assert names(wanted(MaxResults=2, NextToken=token), [*without, one("aaa")]) == ["gamma-gpu", "unknown"]


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "ä",
        "W10=",
        "bnVsbA==",
        "WzEsMiwzXQ==",
        "WyJhIiwiYiIsImMiXQ==",
        "W1tbW1tb",
        "e30=",
    ],
)
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(AwsFault) as caught:
        page(FLEET, wanted(NextToken=token))
    assert caught.value.code == "ValidationException"


def test_a_token_is_for_its_own_list() -> None:
    _, token = page(FLEET, wanted(MaxResults=1))
    with pytest.raises(AwsFault):
        page(FLEET, wanted(MaxResults=1, NextToken=token, NameContains="a"))
    with pytest.raises(AwsFault):
        page(FLEET, wanted(MaxResults=1, NextToken=token, SortOrder="Descending"))
    assert names(wanted(MaxResults=3, NextToken=token)) == ["beta", "gamma-gpu", "unknown"]


def test_a_summary_has_what_sagemaker_says() -> None:
    found = summary(FLEET[1])
    assert found["NotebookInstanceName"] == "Alpha"
    assert found["AdditionalCodeRepositories"] == ("other", "third")
    assert summary(FLEET[0])["AdditionalCodeRepositories"] is None
