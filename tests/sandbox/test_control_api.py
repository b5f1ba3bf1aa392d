"""The local SageMaker answers the real SDK as SageMaker does, its errors included."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import boto3
import pytest
from botocore.exceptions import ClientError
from yarl import URL

from proxy.sandbox.control_api import RETIRED_PLATFORMS
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from tests.harness.clocks import FakeClock
from tests.harness.waiting import eventually
from tests.sandbox.sandbox_calls import NAME, Call, sagemaker_client

ARN = f"arn:aws:sagemaker:us-east-1:123456789012:notebook-instance/{NAME}"


async def error_of(call: Call, operation: str, **parameters: object) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        await call(operation, **parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


async def test_a_presigned_url_is_the_hosts_origin_with_a_token_and_no_slash_between(
    sandbox: Sandbox, call: Call
) -> None:
    answer = await call("create_presigned_notebook_instance_url", NotebookInstanceName=NAME)
    assert answer["AuthorizedUrl"].startswith(f"{sandbox.origins[NAME]}?authToken=ey")
    assert URL(answer["AuthorizedUrl"]).query["authToken"].count(".") == 2
    assert sandbox.calls == {"CreatePresignedNotebookInstanceUrl": 1}
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


async def test_each_call_gives_another_url(call: Call) -> None:
    urls = {
        (await call("create_presigned_notebook_instance_url", NotebookInstanceName=NAME))["AuthorizedUrl"]
        for _ in range(3)
    }
    assert len(urls) == 3


async def test_describe_gives_a_bare_host(sandbox: Sandbox, call: Call, clock: FakeClock) -> None:
    answer = await call("describe_notebook_instance", NotebookInstanceName=NAME)
    assert answer["Url"] == URL(sandbox.origins[NAME]).authority
    assert answer["NotebookInstanceStatus"] == "InService"
    assert answer["NotebookInstanceArn"] == ARN
    assert answer["CreationTime"] == clock.now()
    assert "FailureReason" not in answer


async def test_a_failed_instance_says_why(clock: FakeClock) -> None:
    spec = InstanceSpec(name="broken", status="Failed", failure_reason="The volume is full.")
    async with Sandbox([spec], clock=clock) as sandbox:
        client = sagemaker_client(sandbox.endpoint_url)
        answer = await asyncio.to_thread(client.describe_notebook_instance, NotebookInstanceName="broken")
    assert answer["FailureReason"] == "The volume is full."


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({}, ["alpha", "beta", "gamma"]),
        ({"SortOrder": "Descending"}, ["gamma", "beta", "alpha"]),
        ({"SortBy": "Status"}, ["alpha", "gamma", "beta"]),
        ({"StatusEquals": "Stopped"}, ["beta"]),
        ({"NameContains": "A"}, ["alpha", "beta", "gamma"]),
        ({"NameContains": "amm"}, ["gamma"]),
    ],
)
async def test_list_filters_and_sorts(clock: FakeClock, parameters: dict[str, str], names: list[str]) -> None:
    specs = [
        InstanceSpec(name="gamma"),
        InstanceSpec(name="beta", status="Stopped"),
        InstanceSpec(name="alpha"),
    ]
    async with Sandbox(specs, clock=clock) as sandbox:
        client = sagemaker_client(sandbox.endpoint_url)
        answer = await asyncio.to_thread(lambda: client.list_notebook_instances(**parameters))  # type: ignore[arg-type]
    assert [found["NotebookInstanceName"] for found in answer["NotebookInstances"]] == names


async def test_list_pages(clock: FakeClock) -> None:
    async with Sandbox([InstanceSpec(name=f"n{i}") for i in range(5)], clock=clock) as sandbox:
        pages = sagemaker_client(sandbox.endpoint_url).get_paginator("list_notebook_instances")

        def read() -> list[list[str]]:
            return [
                [found["NotebookInstanceName"] for found in page["NotebookInstances"]]
                for page in pages.paginate(MaxResults=2)  # type: ignore[call-arg]
            ]

        assert await asyncio.to_thread(read) == [["n0", "n1"], ["n2", "n3"], ["n4"]]
        assert sandbox.calls["ListNotebookInstances"] == 3


async def test_stop_and_start_pass_through_the_states_by_the_clock(call: Call, clock: FakeClock) -> None:
    async def status() -> str:
        answer = await call("describe_notebook_instance", NotebookInstanceName=NAME)
        return str(answer["NotebookInstanceStatus"])

    await call("stop_notebook_instance", NotebookInstanceName=NAME)
    assert await status() == "Stopping"
    assert await error_of(call, "start_notebook_instance", NotebookInstanceName=NAME) == (
        "ValidationException",
        "Status (Stopping) not in ([Stopped, Failed]). Unable to transition to (Pending) "
        f"for Notebook Instance ({ARN}).",
    )
    await clock.advance(5)
    # Ending the server behind the host takes turns of the loop; asking gives it some.
    while (stopping := await status()) == "Stopping":
        pass
    assert stopping == "Stopped"
    await call("start_notebook_instance", NotebookInstanceName=NAME)
    assert await status() == "Pending"
    await clock.advance(5)
    while (pending := await status()) == "Pending":
        pass
    assert pending == "InService"


@pytest.mark.parametrize("platform", sorted(RETIRED_PLATFORMS))
async def test_nothing_starts_on_a_retired_platform(sandbox: Sandbox, call: Call, platform: str) -> None:
    sandbox.faults.set_status(status="Stopped")
    await sandbox.faults.apply({"fault": "set_platform", "platform": platform})
    described = await call("describe_notebook_instance", NotebookInstanceName=NAME)
    assert described["PlatformIdentifier"] == platform
    assert await error_of(call, "start_notebook_instance", NotebookInstanceName=NAME) == (
        "ValidationException",
        f"Platform identifier ({platform}) is not supported for this service.",
    )
    sandbox.faults.set_platform(platform="notebook-al2023-v1")
    await call("start_notebook_instance", NotebookInstanceName=NAME)


async def test_an_instance_that_was_stopped_and_started_takes_new_urls_only(
    sandbox: Sandbox, call: Call, clock: FakeClock, url: URL, browser: aiohttp.ClientSession
) -> None:
    sandbox.faults.set_status(status="Stopped")
    await call("start_notebook_instance", NotebookInstanceName=NAME)
    await clock.advance(5)
    while sandbox.instances[NAME].status != "InService":
        await call("list_notebook_instances")
    async with browser.get(url, allow_redirects=False) as response:
        assert response.headers["Location"].startswith("https://signin.aws.amazon.com/")
    fresh = await call("create_presigned_notebook_instance_url", NotebookInstanceName=NAME)
    async with browser.get(fresh["AuthorizedUrl"]) as response:
        assert response.status == 200


@pytest.mark.parametrize("status", ["Pending", "Stopping", "Stopped", "Failed", "Updating"])
async def test_no_url_for_an_instance_that_is_not_in_service(
    sandbox: Sandbox, call: Call, status: str
) -> None:
    sandbox.faults.set_status(status=status)
    code, message = await error_of(call, "create_presigned_notebook_instance_url", NotebookInstanceName=NAME)
    assert code == "ValidationException"
    assert message.startswith(f"Status ({status}) not in ([InService]).")


@pytest.mark.parametrize(
    "operation",
    [
        "create_presigned_notebook_instance_url",
        "describe_notebook_instance",
        "start_notebook_instance",
        "stop_notebook_instance",
    ],
)
async def test_an_instance_that_does_not_exist(call: Call, operation: str) -> None:
    assert await error_of(call, operation, NotebookInstanceName="nobody") == (
        "ValidationException",
        "RecordNotFound",
    )


@pytest.mark.parametrize(
    ("seconds", "constraint"),
    [(1799, "greater than or equal to 1800"), (43201, "less than or equal to 43200")],
)
async def test_a_session_duration_out_of_range(sandbox: Sandbox, seconds: int, constraint: str) -> None:
    """The SDK itself checks the lower bound; another client is told."""
    answer = await post(
        sandbox,
        "SageMaker.CreatePresignedNotebookInstanceUrl",
        {"NotebookInstanceName": NAME, "SessionExpirationDurationInSeconds": seconds},
    )
    assert answer == (
        400,
        "ValidationException",
        f"1 validation error detected: Value '{seconds}' at 'sessionExpirationDurationInSeconds' "
        f"failed to satisfy constraint: Member must have value {constraint}",
    )


async def post(sandbox: Sandbox, target: str, body: object, *, signed: bool = True) -> tuple[int, str, str]:
    content = body if isinstance(body, bytes) else json.dumps(body)
    scope = "AKID/20260101/us-east-1/sagemaker/aws4_request"
    signature = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
    headers = {"X-Amz-Target": target} | ({"Authorization": signature} if signed else {})
    async with (
        aiohttp.ClientSession() as session,
        session.post(sandbox.endpoint_url, data=content, headers=headers) as response,
    ):
        answer = await response.json(content_type="application/x-amz-json-1.1")
        return response.status, answer["__type"], answer["message"]


async def test_a_request_without_a_signature_is_refused(sandbox: Sandbox) -> None:
    answer = await post(sandbox, "SageMaker.ListNotebookInstances", {}, signed=False)
    assert answer == (403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    assert not sandbox.calls


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        ("SageMaker.CreateNotebookInstance", {}, "UnknownOperationException"),
        ("ListNotebookInstances", {}, "UnknownOperationException"),
        ("SageMaker.ListNotebookInstances", [], "SerializationException"),
        ("SageMaker.ListNotebookInstances", b"{", "SerializationException"),
        ("SageMaker.DescribeNotebookInstance", {}, "ValidationException"),
        ("SageMaker.ListNotebookInstances", {"SortBy": "Size"}, "ValidationException"),
        ("SageMaker.ListNotebookInstances", {"MaxResults": 0}, "ValidationException"),
        ("SageMaker.ListNotebookInstances", {"NextToken": "x"}, "ValidationException"),
        ("SageMaker.DescribeNotebookInstance", {"NotebookInstanceName": "a--"}, "ValidationException"),
    ],
)
async def test_a_malformed_request(sandbox: Sandbox, target: str, body: object, code: str) -> None:
    status, answered, _ = await post(sandbox, target, body)
    assert (status, answered) == (400, code)


@pytest.mark.slow
async def test_throttling_uses_the_words_of_aws_and_the_sdk_retries_it(sandbox: Sandbox, call: Call) -> None:
    sandbox.faults.throttle(times=2)
    await call("describe_notebook_instance", NotebookInstanceName=NAME)
    assert sandbox.calls["DescribeNotebookInstance"] == 3


async def test_a_fault_may_be_meant_for_one_operation(sandbox: Sandbox, call: Call) -> None:
    sandbox.faults.deny()
    await call("describe_notebook_instance", NotebookInstanceName=NAME)
    code, message = await error_of(call, "create_presigned_notebook_instance_url", NotebookInstanceName=NAME)
    assert code == "AccessDeniedException"
    assert "is not authorized to perform: sagemaker:CreatePresignedNotebookInstanceUrl" in message
    await call("create_presigned_notebook_instance_url", NotebookInstanceName=NAME)


async def test_an_assumed_role_is_known_as_the_caller(sandbox: Sandbox) -> None:
    role = "arn:aws:iam::123456789012:role/notebooks"

    def work() -> dict[str, str]:
        sts = boto3.client(
            "sts",
            endpoint_url=sandbox.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="example",
        )
        assumed = sts.assume_role(RoleArn=role, RoleSessionName="alice")
        boto3.client(
            "sagemaker",
            endpoint_url=sandbox.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=assumed["Credentials"]["AccessKeyId"],
            aws_secret_access_key=assumed["Credentials"]["SecretAccessKey"],
            aws_session_token=assumed["Credentials"]["SessionToken"],
        ).list_notebook_instances()
        with pytest.raises(ClientError, match="InvalidAction"):
            sts.get_session_token()
        return {"arn": assumed["AssumedRoleUser"]["Arn"]}

    answer = await asyncio.to_thread(work)
    assert answer["arn"] == "arn:aws:sts::123456789012:assumed-role/notebooks/alice"
    assert sandbox.calls_by == {("AssumeRole", "AKIDEXAMPLE"): 1, ("ListNotebookInstances", role): 1}


async def test_a_role_that_must_not_be_assumed(sandbox: Sandbox) -> None:
    sandbox.faults.fail("AccessDenied", "not authorized to perform: sts:AssumeRole", status=403)
    sts = boto3.client(
        "sts",
        endpoint_url=sandbox.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="example",
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        await asyncio.to_thread(sts.assume_role, RoleArn="arn:aws:iam::1:role/x", RoleSessionName="alice")


async def test_a_slow_api_answers_when_the_clock_says(sandbox: Sandbox, call: Call, clock: FakeClock) -> None:
    sandbox.faults.slow_api(seconds=30)
    pending = asyncio.ensure_future(call("describe_notebook_instance", NotebookInstanceName=NAME))
    await eventually(lambda: clock.sleeping)
    assert not pending.done()
    await clock.advance(30)
    await pending
