"""Signature Version 4, verified: who of those that hold an access key of ours signed a request, and what exactly.

The rule: what is signed is made canonical by botocore, as the clients' own SDK does it, and everything that could
change what a request does must be among it: host, target, every x-amz- field, and the body's very bytes. A signature
counts within five minutes of its date, and once. Faults are AWS's words for the caller; `reason` is for the audit log.
Source: IAM User Guide, "Create a signed AWS API request". It must not know operations, policies or HTTP connections.

The scheme needs the secret itself: it is the key of an HMAC (RFC 2104) on both sides, so a gateway that kept only a
hash of it could verify nothing. Keys derived from it would do for one day and Region each, and would be as good as the
secret for as long.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from proxy.clock import Clock
from proxy.identity.used_once import UsedOnce
from proxy.wire.aws_json import AwsFault

if TYPE_CHECKING:
    from collections.abc import Callable

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "sagemaker"
SKEW_SECONDS: Final = 300
"""How far a signature's date may be from now, in both directions; AWS's own bound."""
REPEAT_SECONDS: Final = 5
"""For how long the same question may be asked again: a date has whole seconds, so that two alike in one second have the
same signature."""
SIGNATURES_REMEMBERED: Final = 10_000
"""For each access key. A signature is remembered for as long as it could count: ten minutes at most."""
FIELDS_SIGNED: Final = 64
"""Of one request; SDKs sign half a dozen. botocore looks at all of them for each."""

_REMEMBERED_SECONDS: Final = 2 * SKEW_SECONDS
_TERMINATOR: Final = "aws4_request"
_DATE: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SINGLE: Final = frozenset({"host", "x-amz-date", "x-amz-target", "x-amz-content-sha256", "content-type"})
"""Fields of which there may be one only: two readers could go by different ones."""
_PARTS: Final = ("Credential", "SignedHeaders", "Signature")

_MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
    "Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key that the gateway gave out. `user` is who holds it; `instances` are the only ones it is for, None: all."""

    id: str
    secret: str = field(repr=False)
    user: str
    instances: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it arrived: raw target, all fields in order, the whole body. `source` is whom it came from."""

    method: str
    target: str
    _: KW_ONLY
    fields: Sequence[tuple[str, str]]
    body: bytes
    source: str


class SignatureRefused(AwsFault):
    """A signature that does not count. `reason` is for the audit log; `key_id` is the key that it names, or ""."""

    def __init__(self, code: str, message: str, *, reason: str, status: int = 403, key_id: str = "") -> None:
        super().__init__(code, message, status=status)
        self.reason = reason
        self.key_id = key_id


@dataclass(frozen=True, slots=True)
class _Claim:
    """What an Authorization field says: whose signature, of which fields, for which day, Region and service."""

    key_id: str
    scope: tuple[str, ...]
    signed: frozenset[str]
    signature: str


@dataclass(slots=True)
class _Seen:
    at: float
    source: str


class Signatures:
    """Verifies, and remembers what it has seen. One for each process; `adopt` exchanges the keys.

    Its memory is the process's: another gateway, or this one after a restart, does not know what was seen.
    """

    def __init__(self, keys: Mapping[str, AccessKey], *, region: str, clock: Clock) -> None:
        self._clock = clock
        self._region = region
        self._seen: dict[str, UsedOnce[bytes, _Seen]] = {}
        self._keys: Mapping[str, AccessKey] = {}
        self.adopt(keys)

    def __repr__(self) -> str:
        return f"Signatures({len(self._keys)} keys)"

    def adopt(self, keys: Mapping[str, AccessKey]) -> None:
        """Verify with these keys from now on; what was seen of those that stay is kept."""
        self._keys = dict(keys)
        self._seen = {key_id: self._seen.get(key_id, UsedOnce()) for key_id in keys}

    def knows(self, authorization: str) -> bool:
        """Whether an Authorization field names one of our keys, well formed or not."""
        named = (text.partition("/")[0] for text in authorization.split("Credential=")[1:])
        return any(key_id in self._keys for key_id in named)

    def verify(self, request: SignedRequest, *, is_question: bool) -> AccessKey:
        """Whose signature the request bears. Raises SignatureRefused.

        `is_question`: it changes nothing and gives nothing out, so that its sender may repeat it for a moment.
        """
        fields = _Fields(request.fields)
        claim = _claim(fields)
        try:
            self._check_scope(claim, fields)
            key = self._keys.get(claim.key_id)
            if key is None:
                raise SignatureRefused(
                    "UnrecognizedClientException",
                    "The security token included in the request is invalid.",
                    reason="an access key that is not configured",
                )
            _check_body(fields, request.body)
            expected = _signature(request, fields, claim, key.secret)
            if not hmac.compare_digest(expected, claim.signature):
                raise SignatureRefused(
                    "InvalidSignatureException", _MISMATCH, reason="the signature does not match"
                )
            self._check_once(claim, request.source, is_question=is_question)
        except SignatureRefused as error:
            error.key_id = claim.key_id
            raise
        return key

    def _check_scope(self, claim: _Claim, fields: _Fields) -> None:
        date, region, service, terminator = claim.scope
        stamp = fields.one("x-amz-date")
        if not _DATE.fullmatch(stamp):
            raise _incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
                reason="no x-amz-date, or not a date",
            )
        missing = [name for name in fields.names if name.startswith("x-amz-") and name not in claim.signed]
        if missing or "host" not in claim.signed:
            raise SignatureRefused(
                "InvalidSignatureException",
                "'Host' and all 'X-Amz-*' headers must be in the 'SignedHeaders' list in the AWS authorization.",
                reason=f"not signed: {', '.join(sorted(missing)) or 'host'}",
            )
        for wrong, text, reason in (
            (terminator != _TERMINATOR, f"with a valid terminator: '{_TERMINATOR}'", "terminator"),
            (service != SERVICE, f"to correct service: '{SERVICE}'", "service"),
            (region != self._region, "to a valid region", "Region"),
        ):
            if wrong:
                message = f"Credential should be scoped {text}."
                raise SignatureRefused(
                    "InvalidSignatureException", message, reason=f"signed for another {reason}"
                )
        if date != stamp[:8]:
            raise SignatureRefused(
                "InvalidSignatureException",
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{date}' != '{stamp[:8]}', from '{stamp}'.",
                reason="the credential's date is another than the request's",
            )
        self._check_time(stamp)

    def _check_time(self, stamp: str) -> None:
        now = self._clock.now().astimezone(UTC)
        try:
            at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise _incomplete("Date must be in ISO-8601 'basic format'.", reason="no such date") from None
        skew = timedelta(seconds=SKEW_SECONDS)
        if at < now - skew:
            text = f"Signature expired: {stamp} is now earlier than {_stamp(now - skew)} ({_stamp(now)} - 5 min.)"
            raise SignatureRefused("InvalidSignatureException", text, reason="the signature is too old")
        if at > now + skew:
            text = (
                f"Signature not yet current: {stamp} is still later than {_stamp(now + skew)} "
                f"({_stamp(now)} + 5 min.)"
            )
            raise SignatureRefused("InvalidSignatureException", text, reason="the signature is of the future")

    def _check_once(self, claim: _Claim, source: str, *, is_question: bool) -> None:
        """AWS's clients repeat a throttled request, signed anew: so a crowd of honest ones gets through, and whoever
        only overheard one does not."""
        now, seen = self._clock.monotonic(), self._seen[claim.key_id]
        digest = bytes.fromhex(claim.signature)
        earlier = seen.earlier(digest, now=now)
        if earlier is not None:
            if is_question and earlier.source == source and now - earlier.at <= REPEAT_SECONDS:
                return
            raise SignatureRefused(
                "ThrottlingException",
                "The request's signature was used before. Sign each request anew.",
                reason="a signature that was used before",
                status=400,
            )
        until = now + _REMEMBERED_SECONDS
        if not seen.note(digest, _Seen(now, source), until=until, most=SIGNATURES_REMEMBERED):
            raise SignatureRefused(
                "ThrottlingException",
                "Rate exceeded",
                reason="more requests of one access key than are remembered",
                status=400,
            )


class _Fields:
    """A request's fields by lower-case name, in order."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name.lower(), []).append(value)
        for name in _SINGLE & self._values.keys():
            if len(self._values[name]) > 1:
                raise _incomplete(f"'{name}' is there more than once.", reason=f"more than one {name}")

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._values)

    def all(self, name: str) -> Sequence[str]:
        return self._values.get(name, ())

    def one(self, name: str) -> str:
        """ "" where it is absent."""
        return self._values.get(name, [""])[0]


def _claim(fields: _Fields) -> _Claim:
    """Read the Authorization field. Raises SignatureRefused."""
    values = fields.all("authorization")
    if not values:
        raise SignatureRefused(
            "MissingAuthenticationTokenException", "Missing Authentication Token", reason="not signed"
        )
    if len(values) > 1:
        raise _incomplete("There is more than one Authorization header.", reason="more than one signature")
    algorithm, _, rest = values[0].strip().partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': use '{ALGORITHM}'.", reason="another algorithm")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name not in _PARTS or name in parts:
            raise _incomplete(
                "Authorization header holds something else than one Credential, SignedHeaders and Signature.",
                reason="malformed",
            )
        parts[name] = value
    if missing := [name for name in _PARTS if not parts.get(name)]:
        told = " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        raise _incomplete(told, reason=f"malformed: no {', '.join(missing)}")
    key_id, *scope = parts["Credential"].split("/")
    if len(scope) != 4:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
            reason="malformed credential",
        )
    signed = parts["SignedHeaders"].split(";")
    if len(signed) > FIELDS_SIGNED:
        raise SignatureRefused(
            "InvalidSignatureException", _MISMATCH, reason="too many signed fields", key_id=key_id
        )
    if not _SIGNATURE.fullmatch(parts["Signature"]) or signed != sorted(set(signed)):
        raise SignatureRefused(
            "InvalidSignatureException", _MISMATCH, reason="malformed signature", key_id=key_id
        )
    return _Claim(key_id, tuple(scope), frozenset(signed), parts["Signature"])


def _check_body(fields: _Fields, body: bytes) -> None:
    """Where the hash of the body is told, it must be the body's: `UNSIGNED-PAYLOAD` is none."""
    told = fields.one("x-amz-content-sha256")
    if told and not hmac.compare_digest(told.encode("utf-8", "replace"), sha256(body).hexdigest().encode()):
        raise SignatureRefused(
            "InvalidSignatureException", _MISMATCH, reason="the body is another than was signed"
        )


def _signature(request: SignedRequest, fields: _Fields, claim: _Claim, secret: str) -> str:
    """The signature that the request should have, made by botocore. Imports botocore on its first call."""
    from botocore.awsrequest import AWSRequest

    signer = _signer()(_Credentials(claim.key_id, secret), claim.scope[2], claim.scope[1])
    aws_request: Any = AWSRequest(request.method, f"https://host{request.target}", data=request.body)
    for name in claim.signed:
        for value in fields.all(name) or ("",):
            if not value.isascii():
                # What botocore makes of such bytes depends on how they were read.
                raise SignatureRefused(
                    "InvalidSignatureException", _MISMATCH, reason="a signed field is not ASCII"
                )
            aws_request.headers[name] = value
    aws_request.context["timestamp"] = fields.one("x-amz-date")
    canonical = signer.canonical_request(aws_request)
    return str(signer.signature(signer.string_to_sign(aws_request, canonical), aws_request))


def prepare() -> None:
    """Import botocore's signing (a tenth of a second), off the event loop's thread."""
    _signer()


def _signer() -> Callable[..., Any]:
    from botocore.auth import SigV4Auth

    class Verifying(SigV4Auth):
        """Signs the fields that the client says it signed, and the body whatever is told of it."""

        def headers_to_sign(self, request: Any) -> Any:
            return request.headers

        def payload(self, request: Any) -> str:
            return sha256(request.data).hexdigest()

    return Verifying


@dataclass(frozen=True, slots=True)
class _Credentials:
    """What of botocore's credentials signing reads."""

    access_key: str
    secret_key: str = field(repr=False)
    token: None = None


def _incomplete(message: str, *, reason: str) -> SignatureRefused:
    return SignatureRefused("IncompleteSignatureException", message, reason=reason)


def _stamp(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%SZ}"
