"""AWS JSON 1.1: operations and parameters as botocore's model of SageMaker has them, errors in AWS's words."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import aws_json
from proxy.wire.aws_json import (
    INPUTS,
    LIST,
    AwsFault,
    InstantRule,
    NumberRule,
    TextRule,
    answer,
    answer_fault,
    read_operation,
    read_parameters,
)

NAME = {"NotebookInstanceName": "research-gpu-1"}
MODEL = json.loads(
    (Path(aws_json.__file__).parent.parent / "aws/models/sagemaker/2017-07-24/service-2.json").read_text()
)


def fault_of(operation: str, body: object) -> AwsFault:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(AwsFault) as caught:
        read_parameters(operation, content)
    return caught.value


# -- the model --------------------------------------------------------------------------------------------


def test_operations_are_those_of_the_model() -> None:
    assert set(aws_json.INPUTS) == set(MODEL["operations"])
    assert MODEL["metadata"]["targetPrefix"] == "SageMaker"
    assert f"application/x-amz-json-{MODEL['metadata']['jsonVersion']}" == aws_json.CONTENT_TYPE


@pytest.mark.parametrize("operation", sorted(aws_json.INPUTS))
def test_parameters_and_their_constraints_are_those_of_the_model(operation: str) -> None:
    shape = MODEL["shapes"][MODEL["operations"][operation]["input"]["shape"]]
    ours = aws_json.INPUTS[operation]
    assert list(ours) == list(shape["members"])
    assert set(shape.get("required", [])) == aws_json.REQUIRED & set(ours)
    for name, member in ours.items():
        modelled = MODEL["shapes"][shape["members"][name]["shape"]]
        if isinstance(member, TextRule):
            assert modelled["type"] == "string"
            assert member.words == tuple(modelled.get("enum", ()))
            assert (member.most, member.least) == (modelled.get("max"), modelled.get("min", 0))
            assert member.pattern == modelled.get("pattern", "")
        elif isinstance(member, NumberRule):
            assert modelled["type"] == "integer"
            assert (member.least, member.most) == (modelled["min"], modelled["max"])
        else:
            assert isinstance(member, InstantRule)
            assert modelled["type"] == "timestamp"


# -- operations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", sorted(aws_json.INPUTS))
def test_an_operation_goes_by_its_target(operation: str) -> None:
    assert read_operation(f"SageMaker.{operation}") == operation


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "SageMaker.",
        "ListNotebookInstances",
        "sagemaker.ListNotebookInstances",
        "SageMaker.DeleteNotebookInstance",
        "SageMaker.SageMaker.ListNotebookInstances",
        "SageMaker.ListNotebookInstances ",
    ],
)
def test_anything_else_is_an_unknown_operation(target: str | None) -> None:
    with pytest.raises(AwsFault) as caught:
        read_operation(target)
    assert (caught.value.code, caught.value.status) == ("UnknownOperationException", 404)


# -- parameters -------------------------------------------------------------------------------------------


def test_parameters_are_read_by_what_they_are() -> None:
    found = read_parameters(
        aws_json.LIST,
        b'{"MaxResults": 7, "NameContains": "gpu", "CreationTimeAfter": 1767225600.5, "Novelty": [1],'
        b' "SortBy": null}',
    )
    assert found.number("MaxResults", 10) == 7
    assert found.text("NameContains") == "gpu"
    assert found.instant("CreationTimeAfter") == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert found.text("SortBy") == ""
    assert found.instant("CreationTimeBefore") is None
    assert read_parameters(aws_json.LIST, b"").number("MaxResults", 10) == 10


@pytest.mark.parametrize(
    "name", ["a", "a" * 63, "A-b", "a--b", "0"], ids=["one", "63", "hyphen", "hyphens", "digit"]
)
def test_names_that_sagemaker_takes(name: str) -> None:
    found = read_parameters(aws_json.DESCRIBE, json.dumps({"NotebookInstanceName": name}).encode())
    assert found.text("NotebookInstanceName") == name


@given(st.text(alphabet="/a-\n", max_size=12), st.booleans())
def test_the_linear_pattern_matches_what_the_services_own_does(text: str, is_address: bool) -> None:
    member = INPUTS[LIST]["AdditionalCodeRepositoryEquals"]
    assert isinstance(member, TextRule)
    text = f"https://{text}" if is_address else text
    matches = [
        re.fullmatch(pattern, text, re.ASCII) is not None for pattern in (member.pattern, member.linear)
    ]
    assert matches[0] is matches[1]


PATTERN = "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9])*"


@pytest.mark.parametrize(
    ("operation", "body", "message"),
    [
        (
            aws_json.DESCRIBE,
            {},
            "1 validation error detected: Value null at 'notebookInstanceName' failed to satisfy constraint: "
            "Member must not be null",
        ),
        (
            aws_json.DESCRIBE,
            {"NotebookInstanceName": "a-"},
            f"1 validation error detected: Value 'a-' at 'notebookInstanceName' failed to satisfy constraint: "
            f"{PATTERN}",
        ),
        (
            aws_json.STOP,
            {"NotebookInstanceName": "a\n"},
            f"1 validation error detected: Value 'a\n' at 'notebookInstanceName' failed to satisfy constraint: "
            f"{PATTERN}",
        ),
        (
            aws_json.START,
            {"NotebookInstanceName": "a" * 300},
            f"1 validation error detected: Value '{'a' * 256}' at 'notebookInstanceName' failed to satisfy "
            "constraint: Member must have length less than or equal to 63",
        ),
        (
            aws_json.CREATE_URL,
            {**NAME, "SessionExpirationDurationInSeconds": 1799},
            "1 validation error detected: Value '1799' at 'sessionExpirationDurationInSeconds' failed to satisfy "
            "constraint: Member must have value greater than or equal to 1800",
        ),
        (
            aws_json.CREATE_URL,
            {**NAME, "SessionExpirationDurationInSeconds": 43201},
            "1 validation error detected: Value '43201' at 'sessionExpirationDurationInSeconds' failed to satisfy "
            "constraint: Member must have value less than or equal to 43200",
        ),
        (
            aws_json.LIST,
            {"SortOrder": "Up", "MaxResults": 0},
            "2 validation errors detected: Value '0' at 'maxResults' failed to satisfy constraint: Member must have "
            "value greater than or equal to 1; Value 'Up' at 'sortOrder' failed to satisfy constraint: Member must "
            "satisfy enum value set: [Ascending, Descending]",
        ),
        (
            aws_json.LIST,
            {"AdditionalCodeRepositoryEquals": ""},
            "2 validation errors detected: Value '' at 'additionalCodeRepositoryEquals' failed to satisfy "
            "constraint: Member must have length greater than or equal to 1; Value '' at "
            "'additionalCodeRepositoryEquals' failed to satisfy constraint: Member must satisfy regular expression "
            "pattern: https://([^/]+)/?(.*)$|^[a-zA-Z0-9](-*[a-zA-Z0-9])*",
        ),
    ],
)
def test_what_breaks_a_constraint_is_told_in_the_words_of_aws(
    operation: str, body: dict[str, Any], message: str
) -> None:
    fault = fault_of(operation, body)
    assert (fault.code, fault.status) == ("ValidationException", 400)
    assert str(fault) == message


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (aws_json.LIST, b"{"),
        (aws_json.LIST, b"[]"),
        (aws_json.LIST, b'"x"'),
        (aws_json.LIST, b"null"),
        (aws_json.LIST, b'{"MaxResults": 1, "MaxResults": 2}'),
        (aws_json.LIST, b'{"MaxResults": "1"}'),
        (aws_json.LIST, b'{"MaxResults": true}'),
        (aws_json.LIST, b'{"MaxResults": 1.5}'),
        (aws_json.LIST, b'{"MaxResults": [1]}'),
        (aws_json.LIST, b'{"MaxResults": NaN}'),
        (aws_json.LIST, b'{"NameContains": 1}'),
        (aws_json.LIST, b'{"NameContains": {"a": 1}}'),
        (aws_json.LIST, b'{"CreationTimeAfter": "2026-01-01"}'),
        (aws_json.LIST, b'{"CreationTimeAfter": 1e400}'),
        (aws_json.LIST, b'{"CreationTimeAfter": 1e300}'),
        (aws_json.LIST, b'{"CreationTimeAfter": -Infinity}'),
        (aws_json.LIST, b'{"CreationTimeAfter": true}'),
        (aws_json.LIST, b'{"MaxResults": ' + b"9" * 5000 + b"}"),
        (aws_json.LIST, b"\xff"),
        (aws_json.LIST, "{}".encode("utf-16")),
        (aws_json.LIST, b"[" * 60_000),
        (aws_json.LIST, b'{"a":' * 10_000),
        (aws_json.DESCRIBE, b'{"NotebookInstanceName": ["a"]}'),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_read_is_a_serialization_exception(operation: str, body: bytes) -> None:
    fault = fault_of(operation, body)
    assert (fault.code, fault.status) == ("SerializationException", 400)
    assert len(str(fault)) < 100


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"MaxResults": "1"}', "STRING_VALUE can not be converted to Integer"),
        (b'{"MaxResults": true}', "TRUE_VALUE can not be converted to Integer"),
        (b'{"NameContains": 1}', "NUMBER_VALUE can not be converted to String"),
        (b'{"CreationTimeAfter": "x"}', "STRING_VALUE can not be converted to Timestamp"),
    ],
)
def test_a_value_of_another_kind_is_named(body: bytes, message: str) -> None:
    assert str(fault_of(aws_json.LIST, body)) == message


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(sorted(aws_json.INPUTS)).flatmap(
        lambda operation: st.tuples(
            st.just(operation), st.dictionaries(st.sampled_from(sorted(aws_json.INPUTS[operation])), _JSON)
        )
    )
)
def test_whatever_comes_is_read_or_a_fault(call: tuple[str, dict[str, Any]]) -> None:
    operation, members = call
    told = {"__type": "ValidationException"}
    try:
        read_parameters(operation, json.dumps(members).encode())
    except AwsFault as fault:
        told = json.loads(answer_fault(fault))
    assert told["__type"] in ("ValidationException", "SerializationException")


@given(st.sampled_from(sorted(aws_json.INPUTS)), st.binary(max_size=60))
def test_whatever_bytes_come_are_read_or_a_fault(operation: str, body: bytes) -> None:
    try:
        read_parameters(operation, body)
    except AwsFault as fault:
        json.loads(answer_fault(fault))


# -- answers ----------------------------------------------------------------------------------------------


def test_a_result_leaves_out_what_is_not_known_and_has_instants_in_seconds() -> None:
    at = datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    members = {"A": "ä", "B": None, "C": "", "D": 0, "E": [{"F": at, "G": ""}], "H": at, "I": False}
    assert json.loads(answer(members)) == {
        "A": "ä",
        "D": 0,
        "E": [{"F": 1767225600.25}],
        "H": 1767225600.25,
        "I": False,
    }


def test_an_operation_without_a_result_has_no_body() -> None:
    assert answer(None) == b""


def test_a_faults_body() -> None:
    body = answer_fault(AwsFault("ValidationException", 'a "b"'))
    assert json.loads(body) == {"__type": "ValidationException", "message": 'a "b"'}
