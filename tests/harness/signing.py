"""Signature Version 4 written down once more, from AWS's documentation and without botocore, so that tests can sign
well and badly. Source: IAM User Guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256


@dataclass(frozen=True)
class Signing:
    """What goes into a signature; `sign()` makes the fields of the request. `scope` and `signature` replace parts."""

    key_id: str = "NBGATEALICE1"
    secret: str = "0123456789abcdef0123456789abcdef"
    at: datetime = datetime(2026, 1, 1)
    region: str = "eu-west-1"
    service: str = "sagemaker"
    method: str = "POST"
    target: str = "/"
    host: str = "notebooks.test"
    operation: str = "DescribeNotebookInstance"
    body: bytes = b'{"NotebookInstanceName": "nb"}'
    more: Sequence[tuple[str, str]] = ()
    unsigned: frozenset[str] = frozenset()
    """Names of fields, in lower case, that are left out of the signature."""
    scope_date: str | None = None
    terminator: str = "aws4_request"
    signature: str | None = None
    algorithm: str = "AWS4-HMAC-SHA256"
    fields: Sequence[tuple[str, str]] = field(init=False, default=())

    def but(self, **changes: object) -> Signing:
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def stamp(self) -> str:
        return f"{self.at:%Y%m%dT%H%M%SZ}"

    def sign(self) -> list[tuple[str, str]]:
        """All fields, in the order in which they are sent."""
        fields = [
            ("Host", self.host),
            ("X-Amz-Date", self.stamp),
            ("X-Amz-Target", f"SageMaker.{self.operation}"),
            ("Content-Type", "application/x-amz-json-1.1"),
            *self.more,
        ]
        names = sorted({name.lower() for name, _ in fields} - self.unsigned)
        canonical_fields = "".join(
            f"{name}:{','.join(' '.join(value.split()) for key, value in fields if key.lower() == name)}\n"
            for name in names
        )
        path, _, query = self.target.partition("?")
        told = next((value for name, value in fields if name.lower() == "x-amz-content-sha256"), None)
        canonical = "\n".join(
            [
                self.method,
                path,
                "&".join(sorted(query.split("&"))) if query else "",
                canonical_fields,
                ";".join(names),
                told or sha256(self.body).hexdigest(),
            ]
        )
        date = self.scope_date or self.stamp[:8]
        scope = "/".join([date, self.region, self.service, self.terminator])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", self.stamp, scope, sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self.secret}".encode()
        for part in (date, self.region, self.service, self.terminator):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = self.signature or hmac.new(key, to_sign.encode(), "sha256").hexdigest()
        authorization = (
            f"{self.algorithm} Credential={self.key_id}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={signature}"
        )
        return [*fields, ("Authorization", authorization)]
