"""SageMaker's API at the gateway, called by a real boto3: what is configured and allowed, in AWS's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from proxy.client_address.networks import read_address
from proxy.errors import PlatformRetired
from proxy.identity.tokens import TokenKind
from proxy.sandbox.instance import InstanceSpec
from proxy.wire.aws_json import CONTENT_TYPE
from tests.harness.aws_clients import call, post, refused, sagemaker
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig

pytestmark = pytest.mark.slow

INSTANCES = {
    "research": {"notebook": "research-gpu-1"},
    "nlp": {"notebook": "nlp-team"},
    "secret": {"notebook": "Secret-1", "allow": ["elsewhere"]},
    "gone": {"notebook": "deleted-long-ago"},
}
SPECS = [
    InstanceSpec(name="research-gpu-1"),
    InstanceSpec(name="nlp-team", status="Stopped"),
    InstanceSpec(name="Secret-1"),
    InstanceSpec(name="not-configured"),
]
OPERATIONS = {
    "create_presigned_notebook_instance_url": "CreatePresignedNotebookInstanceUrl",
    "describe_notebook_instance": "DescribeNotebookInstance",
    "start_notebook_instance": "StartNotebookInstance",
    "stop_notebook_instance": "StopNotebookInstance",
}
ARN = "arn:aws:sagemaker:us-east-1:123456789012:notebook-instance"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def rig(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, instances=SPECS, mounted=INSTANCES, clock=clock) as rig:
        yield rig


@pytest.fixture
def client(rig: Rig) -> Any:
    return sagemaker(rig.origin)


def denials(rig: Rig) -> list[dict[str, Any]]:
    return [line for line in rig.log_lines() if line["kind"] == "audit"]


# -- the five operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["research-gpu-1", "research"])
async def test_a_url_is_the_gateways_own_and_says_nothing_of_sagemakers(
    rig: Rig, client: Any, name: str
) -> None:
    """An instance goes by SageMaker's name, and by the gateway's."""
    answer = await call(client, "create_presigned_notebook_instance_url", NotebookInstanceName=name)
    url = URL(answer["AuthorizedUrl"])
    assert str(url.with_query(None)) == f"{rig.origin}/research/"
    assert list(url.query) == ["authToken"]
    assert rig.sandbox.calls["CreatePresignedNotebookInstanceUrl"] == 0


async def test_the_urls_token_is_for_that_instance_and_as_long_a_session_as_was_asked_for(
    rig: Rig, client: Any, clock: FakeClock
) -> None:
    tokens = rig.gateway.serving.tokens
    for seconds, more in ((43200, {}), (1800, {"SessionExpirationDurationInSeconds": 1800})):
        answer = await call(
            client, "create_presigned_notebook_instance_url", NotebookInstanceName="research-gpu-1", **more
        )
        text = URL(answer["AuthorizedUrl"]).query["authToken"]
        claims = tokens.verify(
            TokenKind.URL,
            text,
            instance="research",
            leads_to=rig.gateway.reloader.settings.leads_to("research"),
            address=read_address("127.0.0.1"),
        )
        assert claims.session_seconds == seconds
        assert claims.ends_at - claims.issued_at == 300
        assert claims.principal == "127.0.0.1"


async def test_no_url_for_an_instance_that_is_not_in_service(client: Any) -> None:
    assert await refused(
        client, "create_presigned_notebook_instance_url", NotebookInstanceName="nlp-team"
    ) == (
        "ValidationException",
        "Status (Stopped) not in ([InService]). Unable to create a presigned URL for Notebook Instance "
        f"({ARN}/nlp-team).",
        400,
    )


async def test_describe_is_sagemakers_with_the_gateways_address(
    rig: Rig, client: Any, clock: FakeClock
) -> None:
    answer = await call(client, "describe_notebook_instance", NotebookInstanceName="research-gpu-1")
    assert answer.pop("ResponseMetadata")["HTTPHeaders"]["content-type"] == CONTENT_TYPE
    assert answer == {
        "NotebookInstanceName": "research-gpu-1",
        "NotebookInstanceArn": f"{ARN}/research-gpu-1",
        "NotebookInstanceStatus": "InService",
        "Url": f"{rig.authority}/research/",
        "InstanceType": "ml.t3.medium",
        "CreationTime": clock.now(),
        "LastModifiedTime": clock.now(),
        "RoleArn": "arn:aws:iam::123456789012:role/service-role/AmazonSageMaker-ExecutionRole",
        "VolumeSizeInGB": 5,
        "DirectInternetAccess": "Enabled",
        "RootAccess": "Enabled",
        "PlatformIdentifier": "notebook-al2023-v1",
    }


async def test_a_list_has_what_is_configured_and_allowed_and_there(rig: Rig, client: Any) -> None:
    answer = await call(client, "list_notebook_instances")
    assert [one["NotebookInstanceName"] for one in answer["NotebookInstances"]] == [
        "nlp-team",
        "research-gpu-1",
    ]
    assert [one["Url"] for one in answer["NotebookInstances"]] == [
        f"{rig.authority}/nlp/",
        f"{rig.authority}/research/",
    ]
    assert "NextToken" not in answer
    answer = await call(client, "list_notebook_instances", StatusEquals="Stopped", SortBy="CreationTime")
    assert [one["NotebookInstanceName"] for one in answer["NotebookInstances"]] == ["nlp-team"]
    # What the gateway itself lists, of all the account's, shows nowhere.
    assert rig.sandbox.calls["ListNotebookInstances"] <= 1


async def test_botocores_paginator_reads_it_all(rig: Rig, client: Any) -> None:
    pages = await call(
        client.get_paginator("list_notebook_instances").paginate(PaginationConfig={"PageSize": 1}),
        "build_full_result",
    )
    assert [one["NotebookInstanceName"] for one in pages["NotebookInstances"]] == [
        "nlp-team",
        "research-gpu-1",
    ]


async def test_start_and_stop_and_the_states_between(rig: Rig, client: Any, clock: FakeClock) -> None:
    async def status() -> str:
        answer = await call(client, "describe_notebook_instance", NotebookInstanceName="nlp-team")
        return str(answer["NotebookInstanceStatus"])

    assert await status() == "Stopped"
    answer = await call(client, "start_notebook_instance", NotebookInstanceName="nlp-team")
    assert set(answer) == {"ResponseMetadata"}
    assert await status() == "Pending"
    assert await refused(client, "stop_notebook_instance", NotebookInstanceName="nlp") == (
        "ValidationException",
        f"Status (Pending) not in ([InService]). Unable to transition to (Stopping) for Notebook Instance "
        f"({ARN}/nlp-team).",
        400,
    )
    while await status() != "InService":
        await clock.advance(5)
    assert await refused(client, "start_notebook_instance", NotebookInstanceName="nlp-team") == (
        "ValidationException",
        "Status (InService) not in ([Stopped, Failed]). Unable to transition to (Pending) for Notebook Instance "
        f"({ARN}/nlp-team).",
        400,
    )
    await call(client, "stop_notebook_instance", NotebookInstanceName="nlp-team")
    assert await status() == "Stopping"


async def test_a_failed_instance_says_why(tmp_path: Path) -> None:
    spec = InstanceSpec(name="research-gpu-1", status="Failed", failure_reason="The volume is full.")
    async with open_rig(
        tmp_path, instances=[spec], mounted={"research": {"notebook": "research-gpu-1"}}
    ) as rig:
        answer = await call(
            sagemaker(rig.origin), "describe_notebook_instance", NotebookInstanceName="research-gpu-1"
        )
    assert answer["FailureReason"] == "The volume is full."


# -- which instances, and who may -------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_instance_that_sagemaker_does_not_know(client: Any, operation: str) -> None:
    """Who may do this to it is told."""
    assert await refused(client, operation, NotebookInstanceName="deleted-long-ago") == (
        "ValidationException",
        "RecordNotFound",
        400,
    )


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["not-configured", "nobody"])
async def test_an_instance_that_is_not_configured(rig: Rig, client: Any, operation: str, name: str) -> None:
    """It is answered as one that is denied, be it in the account or not; only the record says that there is none."""
    assert await refused(client, operation, NotebookInstanceName=name) == (
        "AccessDeniedException",
        f"User: 127.0.0.1 is not authorized to perform: sagemaker:{OPERATIONS[operation]} on resource: "
        f"notebook-instance/{name}",
        403,
    )
    assert rig.sandbox.instances["not-configured"].status == "InService"
    assert rig.sandbox.calls.total() == 0
    [line] = denials(rig)
    assert line["instance"] is None
    assert line["reason"] == "denied: there is no such instance"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["Secret-1", "secret"])
async def test_an_instance_that_is_denied(rig: Rig, client: Any, operation: str, name: str) -> None:
    before = rig.sandbox.calls.total()
    assert await refused(client, operation, NotebookInstanceName=name) == (
        "AccessDeniedException",
        f"User: 127.0.0.1 is not authorized to perform: sagemaker:{OPERATIONS[operation]} on resource: "
        f"notebook-instance/{name}",
        403,
    )
    assert rig.sandbox.calls.total() == before
    [line] = denials(rig)
    assert (line["instance"], line["action"]) == ("secret", f"sagemaker:{OPERATIONS[operation]}")


async def test_a_policy_may_allow_some_actions_and_not_others(tmp_path: Path) -> None:
    """Here: look, and open, but neither start nor stop."""
    policy = {
        "allow": ["here"],
        "statements": [
            {
                "Effect": "Deny",
                "Action": ["sagemaker:StartNotebookInstance", "sagemaker:StopNotebookInstance"],
                "Resource": "arn:aws:sagemaker:us-east-1:*:notebook-instance/research-gpu-1",
            }
        ],
    }
    async with open_rig(tmp_path, instances=SPECS, mounted=INSTANCES, policy=policy) as rig:
        client = sagemaker(rig.origin)
        await call(client, "describe_notebook_instance", NotebookInstanceName="research-gpu-1")
        await call(client, "create_presigned_notebook_instance_url", NotebookInstanceName="research-gpu-1")
        await call(client, "start_notebook_instance", NotebookInstanceName="nlp-team")
        for operation in ("start_notebook_instance", "stop_notebook_instance"):
            code, _, _ = await refused(client, operation, NotebookInstanceName="research-gpu-1")
            assert code == "AccessDeniedException"
        assert rig.sandbox.instances["research-gpu-1"].status == "InService"


async def test_a_list_may_be_denied_as_a_whole_or_in_part(tmp_path: Path) -> None:
    def deny(resource: str) -> dict[str, Any]:
        statement = {"Effect": "Deny", "Action": "sagemaker:ListNotebookInstances", "Resource": resource}
        return {"allow": ["here"], "statements": [statement]}

    one = "arn:aws:sagemaker:us-east-1:*:notebook-instance/research-gpu-1"
    async with open_rig(tmp_path, instances=SPECS, mounted=INSTANCES, policy=deny(one)) as rig:
        answer = await call(sagemaker(rig.origin), "list_notebook_instances")
        assert [found["NotebookInstanceName"] for found in answer["NotebookInstances"]] == ["nlp-team"]
    async with open_rig(tmp_path, instances=SPECS, mounted=INSTANCES, policy=deny("*")) as rig:
        assert await refused(sagemaker(rig.origin), "list_notebook_instances") == (
            "AccessDeniedException",
            "User: 127.0.0.1 is not authorized to perform: sagemaker:ListNotebookInstances on resource: *",
            403,
        )
        assert [line["action"] for line in denials(rig)] == ["sagemaker:ListNotebookInstances"]


async def test_who_is_not_let_in_at_all_is_told_so_as_aws_tells(tmp_path: Path) -> None:
    async with open_rig(tmp_path, mounted=INSTANCES, policy={"allow": ["elsewhere"]}) as rig:
        code, message, status = await refused(sagemaker(rig.origin), "list_notebook_instances")
        assert (code, status) == ("AccessDeniedException", 403)
        assert "127.0.0.1" in message
        assert rig.sandbox.calls.total() == 0


async def test_sagemakers_name_counts_before_the_gateways_own(tmp_path: Path) -> None:
    mounted = {"nlp-team": {"notebook": "research-gpu-1"}, "other": {"notebook": "nlp-team"}}
    async with open_rig(tmp_path, instances=SPECS, mounted=mounted) as rig:
        answer = await call(
            sagemaker(rig.origin), "describe_notebook_instance", NotebookInstanceName="nlp-team"
        )
        assert answer["NotebookInstanceArn"] == f"{ARN}/nlp-team"


async def test_of_two_names_for_a_notebook_the_one_that_the_caller_may_use_counts(tmp_path: Path) -> None:
    mounted = {
        "closed": {"notebook": "research-gpu-1", "allow": ["elsewhere"]},
        "open": {"notebook": "research-gpu-1"},
    }
    async with open_rig(tmp_path, instances=SPECS, mounted=mounted) as rig:
        client = sagemaker(rig.origin)
        answer = await call(
            client, "create_presigned_notebook_instance_url", NotebookInstanceName="research-gpu-1"
        )
        assert URL(answer["AuthorizedUrl"]).path == "/open/"
        listed = await call(client, "list_notebook_instances")
        assert [one["Url"] for one in listed["NotebookInstances"]] == [f"{rig.authority}/open/"]


# -- SageMaker's own troubles -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (("ThrottlingException", "Rate exceeded"), ("ThrottlingException", "Rate exceeded", 400)),
        (
            ("AccessDeniedException", "User: arn:aws:iam::1:role/nbgate is not authorized"),
            ("AccessDeniedException", "The gateway's AWS role lacks a permission that it needs.", 403),
        ),
        (
            ("ResourceLimitExceeded", "The account-level service limit is 0"),
            (
                "ResourceLimitExceeded",
                "The AWS account's limit for instances of this type is reached.",
                400,
            ),
        ),
        (
            ("UnrecognizedClientException", "The security token is invalid"),
            ("AccessDeniedException", "The gateway has no usable AWS credentials.", 403),
        ),
        (
            (
                "ValidationException",
                "Platform identifier (notebook-al2-v1) is not supported for this service.",
            ),
            (
                "ValidationException",
                "Platform identifier (notebook-al2-v1) is not supported for this service. "
                + PlatformRetired(platform="notebook-al2-v1").message,
                400,
            ),
        ),
        (("Novelty", "of next year"), ("ServiceUnavailable", "SageMaker's API answered with an error.", 503)),
    ],
)
async def test_what_sagemaker_answers_the_gateway_is_not_told_in_its_words(
    rig: Rig, client: Any, clock: FakeClock, fault: tuple[str, str], expected: tuple[str, str, int]
) -> None:
    rig.sandbox.faults.fail(*fault, operation="StartNotebookInstance", times=3)
    asking = asyncio.ensure_future(
        refused(client, "start_notebook_instance", NotebookInstanceName="nlp-team")
    )
    # The pauses between the tries of one that is throttled.
    while not asking.done():
        await asyncio.sleep(0.01)
        await clock.advance(0.5)
    assert await asking == expected


async def test_a_list_with_gaps_is_none(rig: Rig, client: Any) -> None:
    rig.sandbox.faults.throttle(operation="DescribeNotebookInstance", times=20)
    code, _, _ = await refused(client, "list_notebook_instances")
    assert code == "ThrottlingException"


# -- the wire ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "body", "code", "status"),
    [
        (None, {}, "UnknownOperationException", 404),
        ("SageMaker.CreateNotebookInstance", {}, "UnknownOperationException", 404),
        (
            "SageMaker.DeleteNotebookInstance",
            {"NotebookInstanceName": "nlp-team"},
            "UnknownOperationException",
            404,
        ),
        ("DynamoDB_20120810.ListTables", {}, "UnknownOperationException", 404),
        ("SageMaker.DescribeNotebookInstance", {}, "ValidationException", 400),
        ("SageMaker.DescribeNotebookInstance", {"NotebookInstanceName": "../x"}, "ValidationException", 400),
        (
            "SageMaker.DescribeNotebookInstance",
            {"NotebookInstanceName": "\ud800"},
            "ValidationException",
            400,
        ),
        ("SageMaker.ListNotebookInstances", b"{", "SerializationException", 400),
        ("SageMaker.ListNotebookInstances", {"NextToken": "x"}, "ValidationException", 400),
        (
            "SageMaker.ListNotebookInstances",
            b'"' + b"x" * 40_000 + b'"',
            "RequestEntityTooLargeException",
            413,
        ),
    ],
)
async def test_what_no_sdk_sends(
    rig: Rig, operation: str | None, body: object, code: str, status: int
) -> None:
    answered, fields, told = await post(rig, operation, body)
    assert (answered, told["__type"]) == (status, code)
    assert set(told) == {"__type", "message"}
    assert fields["content-type"] == CONTENT_TYPE
    assert fields["x-amzn-requestid"] == fields["x-request-id"]
    assert fields["cache-control"] == "no-store"


async def test_an_answer_carries_the_request_id_that_the_log_has(rig: Rig, client: Any) -> None:
    answer = await call(client, "list_notebook_instances")
    request_id = answer["ResponseMetadata"]["RequestId"]
    [line] = [line for line in rig.log_lines() if line.get("request_id") == request_id]
    assert (line["method"], line["status"]) == ("POST", 200)


@pytest.mark.parametrize("path", ["/.nbgate/aws/", "/.nbgate/aws"])
async def test_beside_an_instance_at_the_root_the_api_has_a_path_of_its_own(
    tmp_path: Path, path: str
) -> None:
    async with open_rig(tmp_path, instances=SPECS) as rig:
        client = sagemaker(f"{rig.origin}{path}")
        answer = await call(
            client, "create_presigned_notebook_instance_url", NotebookInstanceName="research-gpu-1"
        )
        url = URL(answer["AuthorizedUrl"])
        assert str(url.with_query(None)) == f"{rig.origin}/"
        # The root itself is the notebook's.
        _, _, told = await post(rig, "SageMaker.ListNotebookInstances")
        assert told["target"] == "/"


async def test_no_token_of_anybodys_is_logged(rig: Rig, client: Any) -> None:
    answer = await call(
        client, "create_presigned_notebook_instance_url", NotebookInstanceName="research-gpu-1"
    )
    token = URL(answer["AuthorizedUrl"]).query["authToken"]
    assert rig.log_lines()
    assert token not in rig.log_file.read_text()


# -- what the URL leads to --------------------------------------------------------------------------------


@pytest.mark.parametrize("access", ["open", "presigned"])
async def test_the_url_opens_the_instance_once_and_in_time(
    tmp_path: Path, clock: FakeClock, access: str
) -> None:
    """As at AWS, but that the token is gone from the address after the first step."""
    mounted = {"research": {"notebook": "research-gpu-1", "access": access}}
    async with open_rig(tmp_path, instances=SPECS, mounted=mounted, clock=clock) as rig:
        client = sagemaker(rig.origin)

        async def made() -> str:
            answer = await call(
                client, "create_presigned_notebook_instance_url", NotebookInstanceName="research-gpu-1"
            )
            return answer["AuthorizedUrl"].removeprefix(rig.origin)

        async def visit(target: str, cookie: str = "") -> tuple[int, dict[str, str]]:
            answer = await rig.get(
                target, extra=f"Accept: text/html\r\nCookie: {cookie}\r\n" if cookie else ""
            )
            lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
            return int(answer.split(b" ", 2)[1]), {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }

        target = await made()
        status, fields = await visit(target)
        assert (status, fields["location"]) == (302, f"{rig.origin}/research/")
        cookie = fields["set-cookie"].partition(";")[0]
        status, _ = await visit("/research/", cookie)
        assert status == 200
        for late in (target, await made()):
            await clock.advance(301)
            status, fields = await visit(late)
            assert status == 401
