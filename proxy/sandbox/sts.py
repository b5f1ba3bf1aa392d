"""STS AssumeRole and GetCallerIdentity in its own dialect: a form comes in, XML goes out. No sockets; `control_api`
counts and answers.

The credentials work for the sandbox only, which knows by their access key which role calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from proxy.chance import new_id
from proxy.clock import SystemClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What AssumeRole gives: for a role, under a session's name, until a moment."""

    role: str
    session_name: str
    access_key: str
    secret: str
    token: str
    expires_at: datetime


def read_form(body: bytes) -> dict[str, str]:
    """The parameters of a query-protocol request."""
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def credentials(role: str, session_name: str, *, seconds: int) -> Credentials:
    """New credentials for a role, good for so many seconds."""
    return Credentials(
        role=role,
        session_name=session_name,
        access_key=f"ASIA{new_id().upper()}",
        secret=new_id() + new_id(),
        token=new_id() + new_id(),
        # By the machine's clock, not by the sandbox's: the AWS SDK judges the expiry by its own.
        expires_at=SystemClock().now() + timedelta(seconds=seconds),
    )


def assumed(given: Credentials, *, account: str, request_id: str) -> str:
    """The answer that hands them over."""
    role_name = given.role.rpartition("/")[2]
    return _ANSWER.format(
        arn=escape(f"arn:aws:sts::{account}:assumed-role/{role_name}/{given.session_name}"),
        id=escape(f"AROASANDBOX:{given.session_name}"),
        access_key=given.access_key,
        secret=given.secret,
        token=given.token,
        expires=given.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        request_id=request_id,
    )


def identity(caller: str, *, account: str, request_id: str) -> str:
    """The answer that says who calls: a role that was assumed, or whoever has an access key."""
    role = caller.partition(":role/")[2].rpartition("/")[2]
    arn = (
        f"arn:aws:sts::{account}:assumed-role/{role}/nbgate"
        if role
        else f"arn:aws:iam::{account}:user/sandbox"
    )
    return _IDENTITY.format(arn=escape(arn), account=account, request_id=request_id)


def error(code: str, message: str, *, request_id: str) -> str:
    """An error of the query protocol."""
    return _ERROR.format(code=escape(code), message=escape(message), request_id=request_id)


_ANSWER = """\
<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser><Arn>{arn}</Arn><AssumedRoleId>{id}</AssumedRoleId></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>{access_key}</AccessKeyId>
      <SecretAccessKey>{secret}</SecretAccessKey>
      <SessionToken>{token}</SessionToken>
      <Expiration>{expires}</Expiration>
    </Credentials>
  </AssumeRoleResult>
  <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>
</AssumeRoleResponse>
"""

_IDENTITY = """\
<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>{arn}</Arn><UserId>AIDASANDBOX</UserId><Account>{account}</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>
"""

_ERROR = """\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>
  <RequestId>{request_id}</RequestId>
</ErrorResponse>
"""
