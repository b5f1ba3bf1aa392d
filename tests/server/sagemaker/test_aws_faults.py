"""Errors of our own tree, as AWS's clients are told of them."""

from __future__ import annotations

import json

import pytest

from proxy import errors
from proxy.errors import (
    AccessDenied,
    BadRequest,
    ConfigError,
    Draining,
    InstanceNotFound,
    NbgateError,
    PermissionMissing,
    PlatformRetired,
    Throttled,
)
from proxy.server.sagemaker.aws_faults import fault_of, fault_page
from tests.test_errors import LEAVES

RETRIED = {"ThrottlingException", "ServiceUnavailable", "InternalFailure", "RequestTimeoutException"}
"""Codes, and statuses of 500 and more, that botocore's standard mode repeats."""


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_fault_that_says_no_more_than_its_page(kind: type[NbgateError]) -> None:
    fault = fault_of(kind(detail="arn:aws:iam::123456789012:role/nbgate"))
    assert fault.code
    assert 400 <= fault.status < 600
    assert "123456789012" not in str(fault)


@pytest.mark.parametrize(
    "error",
    [AccessDenied(), PermissionMissing(), InstanceNotFound(), BadRequest(), PlatformRetired()],
    ids=lambda error: error.code,
)
def test_what_no_repetition_mends_is_not_repeated(error: NbgateError) -> None:
    fault = fault_of(error)
    assert fault.code not in RETRIED
    assert fault.status < 500


@pytest.mark.parametrize("error", [Throttled(), Draining()], ids=lambda error: error.code)
def test_what_passes_is_repeated(error: NbgateError) -> None:
    assert fault_of(error).code in RETRIED


def test_a_retired_platform_is_told_in_sagemakers_words_and_the_way_out_in_ours() -> None:
    fault = fault_of(PlatformRetired(platform="notebook-al2-v1"))
    assert fault.code == "ValidationException"
    assert str(fault).startswith("Platform identifier (notebook-al2-v1) is not supported for this service. ")
    assert "UpdateNotebookInstance" in str(fault)


def test_a_configurations_problems_are_nobodys_business() -> None:
    problem = errors.Problem("/etc/nbgate.yaml", 3, where="policy", message="is missing")
    assert "nbgate.yaml" not in str(fault_of(ConfigError([problem])))


@pytest.mark.parametrize("address", ["203.0.113.9", None])
def test_a_denied_caller_is_told_its_address_and_the_request_id(address: str | None) -> None:
    page = fault_page(AccessDenied(), request_id="0123456789abcdef", client_address=address)
    told = json.loads(page.body)
    assert told["__type"] == "AccessDeniedException"
    assert ("203.0.113.9" in told["message"]) is (address is not None)
    headers = dict(page.headers)
    assert headers["x-amzn-RequestId"] == headers["X-Request-Id"] == "0123456789abcdef"
    assert headers["Content-Type"] == "application/x-amz-json-1.1"
