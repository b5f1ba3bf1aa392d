"""Errors as AWS's clients understand them: of our own tree, in codes that botocore and the AWS CLI act on.

The rule: a code that clients repeat (throttled, unavailable) only where repeating helps; texts that other tools match
are SageMaker's. Like our own pages, a fault tells nothing of the rules, and nothing that is meant for operators.
"""

from __future__ import annotations

from typing import Final

from proxy.dataplane.answer.fixed import FixedAnswer
from proxy.errors import (
    AccessDenied,
    BodyTooLarge,
    ClientError,
    ConfigError,
    ControlPlaneProxyRefused,
    CredentialsMissing,
    InstanceNotFound,
    InstanceNotInService,
    InternalError,
    LimitReached,
    NbgateError,
    PermissionMissing,
    PlatformRetired,
    RequestTimeout,
    RouteNotFound,
    SignInRequired,
    Throttled,
    TokenRefused,
)
from proxy.wire.aws_json import CONTENT_TYPE, AwsFault, answer_fault

_FAULTS: Final[tuple[tuple[type[NbgateError], str, int], ...]] = (
    (AccessDenied, "AccessDeniedException", 403),
    (SignInRequired, "MissingAuthenticationTokenException", 403),
    (TokenRefused, "UnrecognizedClientException", 403),
    (BodyTooLarge, "RequestEntityTooLargeException", 413),
    (RequestTimeout, "RequestTimeoutException", 408),
    (RouteNotFound, "UnknownOperationException", 404),
    (ClientError, "ValidationException", 400),
    (Throttled, "ThrottlingException", 400),
    (LimitReached, "ResourceLimitExceeded", 400),
    (InstanceNotInService, "ValidationException", 400),
    (PlatformRetired, "ValidationException", 400),
    # Not ours to give, and no repetition helps; the message says whose the fault is.
    (PermissionMissing, "AccessDeniedException", 403),
    (CredentialsMissing, "AccessDeniedException", 403),
    (ControlPlaneProxyRefused, "AccessDeniedException", 403),
    (NbgateError, "InternalFailure", 500),
)
_TOLD_OTHERWISE: Final = (CredentialsMissing, InstanceNotInService, LimitReached)
"""503 in our own words, and in SageMaker's one that its clients do not simply repeat."""
_UNAVAILABLE: Final = 503


def fault_of(error: NbgateError) -> AwsFault:
    """The fault that tells a client of an error."""
    if isinstance(error, InstanceNotFound):
        # What Terraform's provider, for one, looks for.
        return AwsFault("ValidationException", "RecordNotFound")
    if isinstance(error, PlatformRetired) and error.platform:
        said = f"Platform identifier ({error.platform}) is not supported for this service."
        return AwsFault("ValidationException", f"{said} {error.message}")
    if isinstance(error, Throttled):
        return AwsFault("ThrottlingException", "Rate exceeded")
    if isinstance(error, ConfigError):
        # Its problems name files and lines.
        return AwsFault("InternalFailure", InternalError.default_message, status=500)
    if error.wait_seconds and error.status == _UNAVAILABLE and not isinstance(error, _TOLD_OTHERWISE):
        return AwsFault("ServiceUnavailable", error.message, status=_UNAVAILABLE)
    code, status = next((code, status) for kind, code, status in _FAULTS if isinstance(error, kind))
    return AwsFault(code, error.message, status=status)


def fault_page(error: NbgateError, *, request_id: str, client_address: str | None) -> FixedAnswer:
    """A refusal at the door, for a client that called an operation. A denied one is told its address."""
    fault = fault_of(error)
    if isinstance(error, AccessDenied):
        seen = f" (seen here: {client_address})" if client_address else ""
        fault = AwsFault(fault.code, f"{error.message}{seen}", status=fault.status)
    headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", CONTENT_TYPE),
        ("Cache-Control", "no-store"),
        ("x-amzn-RequestId", request_id),
        ("X-Request-Id", request_id),
    )
    if fault.status == _UNAVAILABLE and error.wait_seconds:
        headers += (("Retry-After", str(error.wait_seconds)),)
    return FixedAnswer(headers, answer_fault(fault), fault.status)
