"""botocore's errors in nbgate's words, by codes and by texts that were seen in the wild."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore import exceptions as botocore
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws.botocore_errors import cause, error_code, scrub, translate
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    ControlPlaneTimeout,
    ControlPlaneUnreachable,
    CredentialsMissing,
    CredentialsRefused,
    InstanceNotFound,
    InstanceNotInService,
    LimitReached,
    PermissionMissing,
    PlatformRetired,
    Throttled,
)
from tests.aws.fakes import SECRET

ENDPOINT = {"endpoint_url": "https://api.sagemaker.eu-west-1.amazonaws.com/"}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    client = boto3.client(
        "sagemaker", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    yield client
    client.close()


def raised(client: Any, code: str, message: str = "") -> ClientError:
    """The error as a real client raises it."""
    with Stubber(client) as stub:
        stub.add_client_error("create_presigned_notebook_instance_url", code, message)
        with pytest.raises(ClientError) as caught:
            client.create_presigned_notebook_instance_url(NotebookInstanceName="nb")
    return caught.value


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("ThrottlingException", "Rate exceeded", Throttled),
        ("Throttling", "Rate exceeded", Throttled),
        ("TooManyRequestsException", "", Throttled),
        ("RequestLimitExceeded", "", Throttled),
        ("429", "Too Many Requests", Throttled),
        ("AccessDeniedException", "User: x is not authorized to perform: y", PermissionMissing),
        ("AccessDenied", "", PermissionMissing),
        ("UnauthorizedOperation", "", PermissionMissing),
        ("403", "Forbidden", PermissionMissing),
        (
            "ExpiredTokenException",
            "The security token included in the request is expired",
            CredentialsRefused,
        ),
        ("ExpiredToken", "", CredentialsRefused),
        ("InvalidClientTokenId", "", CredentialsRefused),
        ("UnrecognizedClientException", "", CredentialsRefused),
        ("InvalidSignatureException", "Signature expired", CredentialsRefused),
        ("MissingAuthenticationTokenException", "", CredentialsRefused),
        ("ValidationException", "RecordNotFound", InstanceNotFound),
        ("ValidationException", "Notebook Instance not found: RecordNotFound.", InstanceNotFound),
        ("ResourceNotFound", "", InstanceNotFound),
        ("RequestTimeout", "", ControlPlaneTimeout),
        ("ResourceLimitExceeded", "The account-level service limit 'ml.p3.2xlarge' is 0", LimitReached),
        ("ValidationException", "1 validation error detected", ControlPlaneFailed),
        ("InternalFailure", "", ControlPlaneFailed),
        ("ServiceUnavailable", "", ControlPlaneFailed),
        ("SomethingNew", "of next year", ControlPlaneFailed),
    ],
)
def test_answers_of_aws(client: Any, code: str, message: str, expected: type[ControlPlaneError]) -> None:
    error = raised(client, code, message)
    translated = translate(error)
    assert type(translated) is expected
    assert translated.detail == f"CreatePresignedNotebookInstanceUrl: {code}: {message}".strip()
    assert error_code(error) == code
    assert translated.message == expected.default_message


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (
            "Status (Stopping) not in ([InService]). Unable to transition to (Stopping) for Notebook Instance "
            "(arn:aws:sagemaker:us-east-1:123456789012:notebook-instance/x).",
            "Stopping",
        ),
        ("Status (Stopped) not in ([Stopped, Failed]). Unable to transition to (Pending)", "Stopped"),
        ("Status (BrandNew) not in ([InService]).", "BrandNew"),
    ],
)
def test_real_texts_of_a_wrong_state(client: Any, message: str, status: str) -> None:
    translated = translate(raised(client, "ValidationException", message))
    assert isinstance(translated, InstanceNotInService)
    assert translated.instance_status == status


@pytest.mark.parametrize(
    ("message", "platform"),
    [
        ("Platform identifier (notebook-al2-v1) is not supported for this service.", "notebook-al2-v1"),
        (
            "Platform identifier (notebook-al2-v3) is not supported for starting an instance.",
            "notebook-al2-v3",
        ),
    ],
)
def test_a_retired_platform_is_named_and_the_way_out_with_it(
    client: Any, message: str, platform: str
) -> None:
    translated = translate(raised(client, "ValidationException", message))
    assert type(translated) is PlatformRetired
    assert translated.platform == platform
    for word in (platform, "UpdateNotebookInstance", "notebook-al2023-v1", "stopped", "start it"):
        assert word in translated.message


def test_what_is_no_platforms_name_is_not_shown(client: Any) -> None:
    message = "Platform identifier (<script>) is not supported for this service."
    assert type(translate(raised(client, "ValidationException", message))) is ControlPlaneFailed


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (botocore.NoCredentialsError(), CredentialsMissing),
        (botocore.PartialCredentialsError(provider="env", cred_var="X"), CredentialsMissing),
        (botocore.CredentialRetrievalError(provider="x", error_msg="y"), CredentialsMissing),
        (botocore.TokenRetrievalError(provider="x", error_msg="y"), CredentialsMissing),
        (botocore.UnauthorizedSSOTokenError(), CredentialsMissing),
        (botocore.ProfileNotFound(profile="x"), CredentialsMissing),
        (botocore.ConnectTimeoutError(**ENDPOINT), ControlPlaneUnreachable),
        (botocore.InvalidConfigError(error_msg="x"), CredentialsMissing),
        (botocore.InfiniteLoopConfigError(source_profile="x", visited_profiles=["x"]), CredentialsMissing),
        (botocore.ConfigParseError(path="x"), CredentialsMissing),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/token"), CredentialsMissing),
        (PermissionError(errno.EACCES, "Permission denied", "/token"), CredentialsMissing),
        (OSError(errno.EMFILE, "Too many open files", "/token"), ControlPlaneFailed),
        (OSError(errno.EPIPE, "Broken pipe"), ControlPlaneFailed),
        (
            RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
            CredentialsMissing,
        ),
        (botocore.ReadTimeoutError(**ENDPOINT), ControlPlaneTimeout),
        (botocore.EndpointConnectionError(**ENDPOINT), ControlPlaneUnreachable),
        (botocore.ConnectionClosedError(**ENDPOINT), ControlPlaneTimeout),
        (botocore.ProxyConnectionError(proxy_url="http://proxy"), ControlPlaneUnreachable),
        (botocore.SSLError(error=ValueError("certificate"), **ENDPOINT), ControlPlaneFailed),
        (botocore.ParamValidationError(report="x"), ControlPlaneFailed),
        (ValueError("Invalid endpoint"), ControlPlaneFailed),
    ],
)
def test_errors_without_an_answer(error: Any, expected: type[ControlPlaneError]) -> None:
    translated = translate(error)
    assert type(translated) is expected
    assert type(error).__name__ in translated.detail
    assert error_code(error) == ""
    assert cause(error) is error


@pytest.mark.parametrize(
    "text",
    [
        f"https://nb.notebook.eu-west-1.sagemaker.aws?authToken={SECRET}",
        f"b'https://nb/x?view=lab&authToken={SECRET}'",
        f'{{"authToken": "{SECRET}"}}',
        f"authToken={SECRET}, and more",
        f"the token {SECRET}",
        f"AUTHTOKEN: {SECRET}",
    ],
)
def test_no_token_passes_the_scrubber(text: str) -> None:
    assert SECRET not in scrub(text)
    assert cause(ValueError(text)) is None


@given(st.text(max_size=2000))
def test_a_scrubbed_text_is_one_bounded_line(text: str) -> None:
    scrubbed = scrub(text)
    assert len(scrubbed) <= 500
    assert "\n" not in scrubbed
    assert "\r" not in scrubbed


def test_plain_texts_pass() -> None:
    assert scrub("Rate exceeded") == "Rate exceeded"
