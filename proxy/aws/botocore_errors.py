"""botocore's errors in nbgate's words.

The operations that nbgate calls model no errors (but for Start's ResourceLimitExceeded), so that codes and texts are
all there is to go by; the texts matched here were seen in the wild (Terraform's AWS provider, public issue
reports). AWS's own words go into `detail`, for the operator, after `scrub`: no presigned URL and no token
passes here. Importing this module imports botocore (0.2 s and more): only the threads of
`proxy.aws.sagemaker` do so.
"""

from __future__ import annotations

import errno
import re
from typing import Final

from botocore import exceptions as botocore

from proxy.aws.control_plane import not_in_service
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    ControlPlaneProxyRefused,
    ControlPlaneTimeout,
    ControlPlaneUnreachable,
    CredentialsMissing,
    CredentialsRefused,
    InstanceNotFound,
    LimitReached,
    PermissionMissing,
    PlatformRetired,
    Throttled,
)

# botocore.retries.standard's list, of what a control plane can answer.
_THROTTLED: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
        "429",
    }
)

# Our identity is fine and may not do this.
_FORBIDDEN: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "NotAuthorized",
        "UnauthorizedException",
        "UnauthorizedOperation",
        "403",
    }
)

# Our identity itself is not accepted.
_UNIDENTIFIED: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)

_LIMITED: Final = frozenset({"ResourceLimitExceeded", "ResourceLimitExceededException"})
_NOT_FOUND: Final = frozenset({"ResourceNotFound", "ResourceNotFoundException"})
_TIMED_OUT: Final = frozenset({"RequestTimeout", "RequestTimeoutException"})

_NO_CREDENTIALS: Final = (
    botocore.NoCredentialsError,
    botocore.PartialCredentialsError,
    botocore.CredentialRetrievalError,
    botocore.TokenRetrievalError,
    botocore.NoAuthTokenError,
    botocore.SSOError,
    botocore.ProfileNotFound,
    botocore.UnknownCredentialError,
    botocore.RefreshWithMFAUnsupportedError,
    botocore.InvalidConfigError,
    botocore.ConfigParseError,
    botocore.ConfigNotFound,
)
_NO_FILE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOEXEC}
)
"""Why a file with credentials is of no use, as `AWS_WEB_IDENTITY_TOKEN_FILE`, or a program that is to print some:
botocore lets the system's error pass."""
# RefreshableCredentials' words, in a RuntimeError.
_STILL_EXPIRED: Final = "refreshed credentials are still expired"

_UNREACHABLE: Final = (botocore.ConnectTimeoutError, botocore.EndpointConnectionError)
_UNANSWERED: Final = (botocore.ReadTimeoutError, botocore.ConnectionClosedError)

# http.client's words, which urllib3 passes on. 5xx: the proxy itself found no way.
_REFUSED_BY_PROXY: Final = re.compile(r"Tunnel connection failed: ([1-4][0-9]{2})")

# "Status (Stopping) not in ([InService]). Unable to transition to (Stopping) for Notebook Instance (arn...)."
_STATUS: Final = re.compile(r"\bStatus \((\w+)\) not in \(")
_RECORD_NOT_FOUND: Final = "RecordNotFound"
# "Platform identifier (notebook-al2-v1) is not supported for this service."
_PLATFORM: Final = re.compile(
    r"\bPlatform identifier \(([a-z0-9-]{1,64})\) is not supported\b", re.IGNORECASE
)

_QUERY: Final = re.compile(r"\?[^\s\"'<>]*")
_USERINFO: Final = re.compile(r"(//)[^/\s\"']*@")
_TOKEN: Final = re.compile(r"(authToken\W{0,4})[^\s\"'<>,;]+|\beyJ[\w-]{8,}[\w.=-]*", re.IGNORECASE)
_DETAIL_LENGTH: Final = 500


def translate(error: Exception) -> ControlPlaneError:
    """The error to raise for one that botocore raised; its message is public, its `detail` scrubbed."""
    if isinstance(error, botocore.ClientError):
        return _from_answer(error)
    detail = scrub(f"{type(error).__name__}: {error}")
    if isinstance(error, _NO_CREDENTIALS) or _lacks_file(error) or _are_still_expired(error):
        return CredentialsMissing(detail=detail)
    if isinstance(error, botocore.ProxyConnectionError):
        # Why it failed is in what it came from.
        why = str(error.kwargs.get("error"))
        if refused := _REFUSED_BY_PROXY.search(why):
            return ControlPlaneProxyRefused(detail=f"{detail} answered {refused[1]} to CONNECT")
        return ControlPlaneUnreachable(detail=detail)
    if isinstance(error, _UNREACHABLE):
        return ControlPlaneUnreachable(detail=detail)
    if isinstance(error, _UNANSWERED):
        return ControlPlaneTimeout(detail=detail)
    return ControlPlaneFailed(detail=detail)


def is_foreign(error: Exception) -> bool:
    """Whether it is AWS's, or of what stands between: whatever else an operation raises is a fault of our own."""
    foreign = (botocore.BotoCoreError, botocore.ClientError, ValueError, OSError)
    return isinstance(error, foreign) or _are_still_expired(error)


def _lacks_file(error: Exception) -> bool:
    return isinstance(error, OSError) and error.filename is not None and error.errno in _NO_FILE


def _are_still_expired(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and _STILL_EXPIRED in str(error)


def _from_answer(error: botocore.ClientError) -> ControlPlaneError:
    code, message = error_code(error), str(error.response.get("Error", {}).get("Message", ""))
    detail = scrub(f"{error.operation_name}: {code}: {message}")
    if code in _THROTTLED:
        return Throttled(detail=detail)
    if code in _FORBIDDEN:
        return PermissionMissing(detail=detail)
    if code in _UNIDENTIFIED:
        return CredentialsRefused(detail=detail)
    if code in _TIMED_OUT:
        return ControlPlaneTimeout(detail=detail)
    if code in _LIMITED:
        return LimitReached(detail=detail)
    if code in _NOT_FOUND or _RECORD_NOT_FOUND in message:
        return InstanceNotFound(detail=detail)
    if status := _STATUS.search(message):
        return not_in_service(status[1], detail=detail)
    if platform := _PLATFORM.search(message):
        return PlatformRetired(platform=platform[1], detail=detail)
    return ControlPlaneFailed(detail=detail)


_PASSING_STATUSES: Final = frozenset({500, 502, 503, 504})
_LOST: Final = (*_UNREACHABLE, *_UNANSWERED, botocore.ProxyConnectionError)


def may_pass(error: Exception) -> bool:
    """Whether the same call may well do at once what this one did not: a connection that broke, a 5xx. Whether AWS did
    what it was asked is not known."""
    if isinstance(error, botocore.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _PASSING_STATUSES or error_code(error) in _TIMED_OUT
    return isinstance(error, _LOST)


def error_code(error: Exception) -> str:
    """AWS's code, such as `ValidationException`; "" for an error that is not an answer of AWS."""
    if not isinstance(error, botocore.ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def scrub(text: str) -> str:
    """Text fit for a log: no queries and no credentials of URLs, no tokens, one line, bounded."""
    text = _USERINFO.sub(r"\1", text)
    text = _TOKEN.sub(lambda match: f"{match[1] or ''}***", _QUERY.sub("?***", text))
    return " ".join(text.split())[:_DETAIL_LENGTH]


def cause(error: Exception) -> Exception | None:
    """The error itself, to be chained to its translation, unless its text holds something secret."""
    text = str(error)
    return None if any(secret.search(text) for secret in (_QUERY, _USERINFO, _TOKEN)) else error
