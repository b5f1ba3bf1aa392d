"""boto3 and bare requests to the gateway's SageMaker API, as its tests want them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.harness.gateway import Rig

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


def sagemaker(
    endpoint_url: str,
    *,
    key: str = "AKIDANYBODY",
    secret: str = "anything",
    region: str = "us-east-1",
    attempts: int = 1,
) -> SageMakerClient:
    """A real client, with its own opinion of how often to try."""
    return boto3.client(
        "sagemaker",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}),
    )


async def call(client: Any, operation: str, **parameters: Any) -> Any:
    """Call it in a thread: client and gateway share this process."""
    return await asyncio.to_thread(getattr(client, operation), **parameters)


async def refused(client: Any, operation: str, **parameters: Any) -> tuple[str, str, int]:
    """Code, message and HTTP status of the error that a call meets."""
    try:
        answer = await call(client, operation, **parameters)
    except ClientError as error:
        status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return error.response["Error"]["Code"], error.response["Error"]["Message"], status
    raise AssertionError(f"{operation} was answered: {answer}")


async def post(
    rig: Rig, operation: str | None, body: object = None, *, path: str = "/", extra: str = ""
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """A bare request: status, fields (names in lower case) and what the body says."""
    content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    target = f"X-Amz-Target: {operation}\r\n" if operation is not None else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\n{target}"
        f"Content-Type: application/x-amz-json-1.1\r\n{extra}Content-Length: {len(content)}\r\n\r\n"
    )
    answer = await rig.raw(head.encode("latin-1") + content)
    first, *lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    told = answer.partition(b"\r\n\r\n")[2]
    return int(first.split(" ")[1]), fields, json.loads(told) if told else {}
