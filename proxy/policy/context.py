"""What a policy may know of one request: IAM's request context, as frozen data.

The rule: a key that is not known is None, never a guess; what an absent key means is for the condition
operators to say. Source: IAM User Guide, "AWS global condition context keys". It must not know how anything
in it was found out, nor what a policy makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from proxy.client_address.networks import Address

CONNECT = "sagemaker:CreatePresignedNotebookInstanceUrl"
"""The action that covers connecting as well: SageMaker has no other for the requests that follow."""

DESCRIBE: Final = "sagemaker:DescribeNotebookInstance"
START: Final = "sagemaker:StartNotebookInstance"
STOP: Final = "sagemaker:StopNotebookInstance"

ACTIONS = (CONNECT, DESCRIBE, "sagemaker:ListNotebookInstances", START, STOP)
"""All that can be asked of this gateway."""

REGION: Final = "aws:RequestedRegion"
TIME: Final = "aws:CurrentTime"
SOURCE_IP: Final = "aws:SourceIp"
VPC_SOURCE_IP: Final = "aws:VpcSourceIp"

NO_TAGS: Mapping[str, str] = MappingProxyType({})


class Principal(NamedTuple):
    """Who proved to ask, as far as a policy may know of it."""

    username: str | None = None
    """aws:username."""
    tags: tuple[tuple[str, str], ...] = ()
    """aws:PrincipalTag/…: the tag's key in lower case, and its value."""


class Context(NamedTuple):
    """One request. None is an absent key."""

    source_ip: Address | None
    """aws:SourceIp and aws:VpcSourceIp: the client address."""
    action: str = CONNECT
    """One of `ACTIONS`."""
    resource: str = "*"
    """The notebook instance's ARN; "*" where no instance is concerned."""
    now: datetime | None = None
    """aws:CurrentTime, in UTC."""
    secure_transport: bool | None = None
    """aws:SecureTransport: whether the caller speaks TLS, to us or to the trusted proxy in front."""
    region: str | None = None
    """aws:RequestedRegion."""
    username: str | None = None
    """aws:username."""
    tags: Mapping[str, str] = NO_TAGS
    """aws:PrincipalTag/…: values by the tag's key in lower case, for IAM's keys know no case."""
