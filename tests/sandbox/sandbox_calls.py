"""How the sandbox's tests reach it: the instance's name, a real SDK client, a session cookie by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

NAME = "research-gpu-1"

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""The request fields of a WebSocket's opening handshake (RFC 6455 section 1.3)."""

Call = Callable[..., Awaitable[Any]]


def sagemaker_client(endpoint_url: str) -> SageMakerClient:
    """Credentials are required by the sandbox, and not verified."""
    return boto3.client(
        "sagemaker",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="example",
    )
