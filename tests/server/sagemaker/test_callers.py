"""Calls that are signed with access keys of the gateway's: by a real boto3, and by hand where no client would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from yarl import URL

from proxy.client_address.networks import read_address
from proxy.identity.tokens import TokenKind
from proxy.sandbox.instance import InstanceSpec
from tests.harness.aws_clients import call, post, refused, sagemaker
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.signing import Signing

ALICE = ("NBGATEALICE1", "0123456789abcdef0123456789abcdef")
BUILD = ("NBGATEBUILD1", "fedcba9876543210fedcba9876543210")
KEYS = {
    "NBGATEALICE1": {"secret": ALICE[1], "user": "alice"},
    "NBGATEBUILD1": {"secret": BUILD[1], "user": "build", "instances": ["nlp"]},
}
INSTANCES = {"research": {"notebook": "research-gpu-1"}, "nlp": {"notebook": "nlp-team"}}
SPECS = [InstanceSpec(name="research-gpu-1"), InstanceSpec(name="nlp-team", status="Stopped")]
DESCRIBE = "SageMaker.DescribeNotebookInstance"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, instances=SPECS, mounted=INSTANCES, api_keys=KEYS) as rig:
        yield rig


@pytest.fixture
async def lenient(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(
        tmp_path, instances=SPECS, mounted=INSTANCES, api_keys=KEYS, api={"signed": "optional"}
    ) as rig:
        yield rig


def denials(rig: Rig) -> list[dict[str, Any]]:
    return [line for line in rig.log_lines() if line["kind"] == "audit"]


def signed(rig: Rig, **changes: Any) -> Signing:
    """A request that is signed well, now."""
    return Signing(
        host=rig.authority,
        region="us-east-1",
        at=datetime.now(UTC),
        body=b'{"NotebookInstanceName": "research"}',
        **changes,
    )


async def send(rig: Rig, signing: Signing) -> tuple[int, dict[str, Any]]:
    lines = "".join(f"{name}: {value}\r\n" for name, value in signing.sign())
    head = f"POST {signing.target} HTTP/1.1\r\n{lines}Connection: close\r\nContent-Length: {len(signing.body)}\r\n\r\n"
    answer = await rig.raw(head.encode("latin-1") + signing.body)
    return status_of(answer), yaml.safe_load(answer.partition(b"\r\n\r\n")[2])


# -- required ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/.nbgate/aws", "/.nbgate/aws/"])
async def test_boto3_signs_and_is_let_in(rig: Rig, path: str) -> None:
    client = sagemaker(f"{rig.origin}{path}", key=ALICE[0], secret=ALICE[1])
    listed = await call(client, "list_notebook_instances", NameContains="E", MaxResults=5)
    assert [one["NotebookInstanceName"] for one in listed["NotebookInstances"]] == [
        "nlp-team",
        "research-gpu-1",
    ]
    answer = await call(
        client, "create_presigned_notebook_instance_url", NotebookInstanceName="research-gpu-1"
    )
    token = URL(answer["AuthorizedUrl"]).query["authToken"]
    claims = rig.gateway.serving.tokens.verify(
        TokenKind.URL,
        token,
        instance="research",
        leads_to=rig.gateway.reloader.settings.leads_to("research"),
        address=read_address("127.0.0.1"),
    )
    assert claims.principal == "alice"
    await call(client, "start_notebook_instance", NotebookInstanceName="nlp-team")


async def test_who_did_what_is_on_record(rig: Rig) -> None:
    """CloudTrail shows the gateway's role."""
    client = sagemaker(rig.origin, key=ALICE[0], secret=ALICE[1])
    await call(client, "describe_notebook_instance", NotebookInstanceName="nlp")
    await call(client, "create_presigned_notebook_instance_url", NotebookInstanceName="research-gpu-1")
    answer = await call(client, "start_notebook_instance", NotebookInstanceName="nlp")
    noted = [line for line in rig.log_lines() if line.get("event") == "SageMaker API called"]
    assert [(line["operation"], line["instance"], line["user"], line["client"]) for line in noted] == [
        ("CreatePresignedNotebookInstanceUrl", "research", "alice", "127.0.0.1"),
        ("StartNotebookInstance", "nlp", "alice", "127.0.0.1"),
    ]
    assert noted[1]["request_id"] == answer["ResponseMetadata"]["RequestId"]


@pytest.mark.parametrize(
    ("key", "secret", "region", "code", "reason"),
    [
        (ALICE[0], BUILD[1], "us-east-1", "InvalidSignatureException", "the signature does not match"),
        ("AKIASOMEBODY", ALICE[1], "us-east-1", "UnrecognizedClientException", "an access key that is not"),
        (*ALICE, "eu-west-1", "InvalidSignatureException", "signed for another Region"),
    ],
)
async def test_a_bad_signature_is_refused_and_audited_with_the_reason(
    rig: Rig, key: str, secret: str, region: str, code: str, reason: str
) -> None:
    client = sagemaker(rig.origin, key=key, secret=secret, region=region)
    answered, _, status = await refused(
        client, "stop_notebook_instance", NotebookInstanceName="research-gpu-1"
    )
    assert (answered, status) == (code, 403)
    assert rig.sandbox.calls.total() == 0
    [line] = denials(rig)
    assert line["action"] == "sagemaker:StopNotebookInstance"
    assert line["client"] == "127.0.0.1"
    assert reason in line["reason"]
    assert key in line["reason"]
    assert line["user"] is None


async def test_what_is_not_signed_is_refused(rig: Rig) -> None:
    status, _, told = await post(rig, "SageMaker.ListNotebookInstances")
    assert (status, told) == (
        403,
        {"__type": "MissingAuthenticationTokenException", "message": "Missing Authentication Token"},
    )
    [line] = denials(rig)
    assert line["reason"] == "denied: not signed"


async def test_a_signed_request_is_good_once(rig: Rig) -> None:
    signing = signed(rig, operation="CreatePresignedNotebookInstanceUrl")
    assert (await send(rig, signing))[0] == 200
    status, told = await send(rig, signing)
    assert (status, told["__type"]) == (400, "ThrottlingException")
    [line] = denials(rig)
    assert "a signature that was used before" in line["reason"]


async def test_equal_questions_of_one_second_are_answered(rig: Rig) -> None:
    client = sagemaker(rig.origin, key=ALICE[0], secret=ALICE[1])
    # Loads what the gateway verifies with: in a thread of those that the clients are about to fill.
    await call(client, "list_notebook_instances")
    await asyncio.gather(
        *(call(client, "describe_notebook_instance", NotebookInstanceName="research") for _ in range(20))
    )


@pytest.mark.slow
async def test_equal_demands_of_one_second_are_signed_anew_by_the_client_and_answered(rig: Rig) -> None:
    client = sagemaker(rig.origin, key=ALICE[0], secret=ALICE[1], attempts=8)
    answers = await asyncio.gather(
        *(
            call(client, "create_presigned_notebook_instance_url", NotebookInstanceName="research")
            for _ in range(3)
        )
    )
    assert len({answer["AuthorizedUrl"] for answer in answers}) == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"unsigned": frozenset({"x-amz-target"})}, "InvalidSignatureException"),
        ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, "InvalidSignatureException"),
        ({"more": (("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"),)}, "InvalidSignatureException"),
        ({"algorithm": "AWS4-HMAC-SHA1"}, "IncompleteSignatureException"),
    ],
)
async def test_what_no_client_would_sign(rig: Rig, changes: dict[str, Any], code: str) -> None:
    status, told = await send(rig, signed(rig).but(**changes))
    assert (status, told["__type"]) == (403, code)
    assert len(denials(rig)) == 1


async def test_a_key_is_for_the_instances_that_it_is_for(rig: Rig) -> None:
    client = sagemaker(rig.origin, key=BUILD[0], secret=BUILD[1])
    listed = await call(client, "list_notebook_instances")
    assert [one["NotebookInstanceName"] for one in listed["NotebookInstances"]] == ["nlp-team"]
    await call(client, "start_notebook_instance", NotebookInstanceName="nlp-team")
    assert await refused(client, "stop_notebook_instance", NotebookInstanceName="research-gpu-1") == (
        "AccessDeniedException",
        "User: build is not authorized to perform: sagemaker:StopNotebookInstance on resource: "
        "notebook-instance/research-gpu-1",
        403,
    )
    assert rig.sandbox.instances["research-gpu-1"].status == "InService"
    [line] = denials(rig)
    assert (line["instance"], line["user"]) == ("research", "build")
    assert line["reason"] == "the access key is for other instances"


async def test_policies_know_who_signed(tmp_path: Path) -> None:
    """Only alice may start and stop, whoever else is let in."""
    statement = {
        "Sid": "OnlyAlice",
        "Effect": "Deny",
        "Action": ["sagemaker:StartNotebookInstance", "sagemaker:StopNotebookInstance"],
        "Resource": "*",
        "Condition": {"StringNotEquals": {"aws:username": "alice"}},
    }
    policy = {"allow": ["here"], "statements": [statement]}
    async with open_rig(
        tmp_path, instances=SPECS, mounted=INSTANCES, api_keys=KEYS, policy=policy, api={"signed": "optional"}
    ) as rig:
        for client in (sagemaker(rig.origin, key=BUILD[0], secret=BUILD[1]), sagemaker(rig.origin)):
            await call(client, "describe_notebook_instance", NotebookInstanceName="nlp-team")
            code, _, _ = await refused(client, "start_notebook_instance", NotebookInstanceName="nlp-team")
            assert code == "AccessDeniedException"
        # Nor by the ways in that nobody signs.
        answer = await rig.raw(
            f"POST /api/gateway/v1/instances/nlp/start HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\n"
            "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".encode()
        )
        assert status_of(answer) == 403
        assert rig.sandbox.instances["nlp-team"].status == "Stopped"
        client = sagemaker(rig.origin, key=ALICE[0], secret=ALICE[1])
        await call(client, "start_notebook_instance", NotebookInstanceName="nlp-team")
        assert [(line["user"], line["sids"]) for line in denials(rig)] == [
            ("build", ["OnlyAlice"]),
            (None, ["OnlyAlice"]),
            (None, ["OnlyAlice"]),
        ]


async def test_keys_change_with_a_reload(rig: Rig) -> None:
    client = sagemaker(rig.origin, key=ALICE[0], secret=ALICE[1])
    await call(client, "list_notebook_instances")
    file = rig.log_file.parent / "nbgate.yaml"
    content = yaml.safe_load(file.read_text())
    del content["api_keys"]["NBGATEALICE1"]
    file.write_text(yaml.safe_dump(content))
    assert await rig.gateway.reloader.reload_now()
    code, _, _ = await refused(client, "list_notebook_instances")
    assert code == "UnrecognizedClientException"
    await call(sagemaker(rig.origin, key=BUILD[0], secret=BUILD[1]), "list_notebook_instances")


# -- optional ---------------------------------------------------------------------------------------------


async def test_where_signing_is_optional_strangers_signatures_are_not_looked_at(lenient: Rig) -> None:
    """Clients sign with whatever credentials they find."""
    await call(sagemaker(lenient.origin), "list_notebook_instances")
    assert (await post(lenient, "SageMaker.ListNotebookInstances"))[0] == 200


async def test_where_signing_is_optional_our_own_keys_must_sign_well_all_the_same(lenient: Rig) -> None:
    code, _, _ = await refused(
        sagemaker(lenient.origin, key=ALICE[0], secret="wrong"), "list_notebook_instances"
    )
    assert code == "InvalidSignatureException"
    answer = await call(sagemaker(lenient.origin, key=BUILD[0], secret=BUILD[1]), "list_notebook_instances")
    assert [one["NotebookInstanceName"] for one in answer["NotebookInstances"]] == ["nlp-team"]


@pytest.mark.parametrize(
    "field", ["Origin: http://127.0.0.1", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"]
)
async def test_a_page_cannot_use_its_readers_address(lenient: Rig, field: str) -> None:
    """Notebooks under path mounts share the gateway's origin with this API."""
    status, _, told = await post(
        lenient, "SageMaker.StopNotebookInstance", {"NotebookInstanceName": "research"}, extra=f"{field}\r\n"
    )
    assert (status, told["__type"]) == (403, "MissingAuthenticationTokenException")
    assert lenient.sandbox.instances["research-gpu-1"].status == "InService"
    assert [line["reason"] for line in denials(lenient)] == ["denied: a page's request that is not signed"]


# -- secrets ----------------------------------------------------------------------------------------------


async def test_neither_secrets_nor_signatures_are_logged(rig: Rig) -> None:
    signing = signed(rig, operation="StopNotebookInstance")
    await send(rig, signing.but(body=b"{}"))
    await send(rig, signing.but(key_id="NBGATEBUILD1"))
    await send(rig, signing)
    await send(rig, signing)
    assert len(denials(rig)) == 2
    said = rig.log_file.read_text()
    signature = signing.sign()[-1][1].partition("Signature=")[2]
    assert signature not in said
    assert not any(secret in said for secret in (ALICE[1], BUILD[1]))
    assert ALICE[1] not in repr(rig.gateway.reloader.settings)
