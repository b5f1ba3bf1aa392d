"""boto3 as nbgate uses it: in threads, with its own options, as each role, and without telling secrets."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import traceback
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.aws.sagemaker import PAUSE_SECONDS, AwsOptions
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    ControlPlaneTimeout,
    CredentialsMissing,
    InstanceNotFound,
    InstanceNotInService,
    PermissionMissing,
    Throttled,
)
from tests.aws.fakes import SECRET
from tests.aws.servers import Build, Fault, SageMakerApi
from tests.harness.clocks import FakeClock
from tests.harness.waiting import eventually

ROLE = "arn:aws:iam::123456789012:role/notebooks"


async def test_the_operation_and_its_parameters(api: SageMakerApi, build: Build, options: AwsOptions) -> None:
    api.put("nb")
    url = await build(options).control_plane().create_presigned_url("nb", session_seconds=3600)
    assert url.reveal() == api.url
    assert api.calls == [
        (
            "CreatePresignedNotebookInstanceUrl",
            {"NotebookInstanceName": "nb", "SessionExpirationDurationInSeconds": 3600},
        )
    ]
    assert api.signed_by == ["AKIASOURCE"]


async def test_a_urls_life_is_counted_from_before_the_call(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    api.put("nb")
    url = await build(options).control_plane().create_presigned_url("nb", session_seconds=3600)
    assert url.requested_at == 1000.0


def test_importing_the_package_does_not_import_boto3() -> None:
    """It is imported in a worker thread, off the path to the first answer."""
    modules = "proxy.aws.sagemaker, proxy.aws.keeper, proxy.aws.exchange, proxy.aws.probe"
    code = f"import sys, {modules}; print([m for m in sys.modules if m.startswith(('boto3', 'botocore'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_calls_run_in_the_threads_of_their_own(build: Build, options: AwsOptions) -> None:
    sagemaker = build(options)
    names = await asyncio.gather(
        *(sagemaker.run(lambda _client: threading.current_thread().name, role_arn="") for _ in range(8))
    )
    assert all(name.startswith("nbgate-aws") for name in names)


async def test_one_client_serves_each_role(api: SageMakerApi, build: Build, options: AwsOptions) -> None:
    api.put("nb")
    sagemaker = build(options)

    def identity(client: Any) -> int:
        return id(client)

    own = await asyncio.gather(*(sagemaker.run(identity, role_arn="") for _ in range(4)))
    role = await asyncio.gather(*(sagemaker.run(identity, role_arn=ROLE) for _ in range(4)))
    assert len(set(own)) == len(set(role)) == 1
    assert own[0] != role[0]


async def test_an_assumed_role_signs_the_call_and_is_assumed_once(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    api.put("nb")
    plane = build(replace(options, external_id="ext")).control_plane(ROLE)
    await plane.describe("nb")
    await plane.create_presigned_url("nb", session_seconds=1800)
    assert api.signed_by == ["ASIAROLE00000001"] * 2
    [assumed] = api.assumed
    assert assumed["RoleArn"] == ROLE
    assert assumed["RoleSessionName"] == "nbgate"
    assert assumed["ExternalId"] == "ext"


async def test_a_role_near_its_end_is_assumed_again(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    """botocore renews credentials within 15 minutes of their end; these have 12 left, by the machine's clock."""
    from datetime import UTC, datetime, timedelta

    api.put("nb")
    api.role_expires = (datetime.now(UTC) + timedelta(minutes=12)).strftime("%Y-%m-%dT%H:%M:%SZ")
    plane = build(options).control_plane(ROLE)
    await plane.describe("nb")
    await plane.describe("nb")
    assert len(api.assumed) >= 2


async def test_a_role_that_may_not_be_assumed(api: SageMakerApi, build: Build, options: AwsOptions) -> None:
    api.sts_faults.append(Fault("AccessDenied", "not authorized to perform: sts:AssumeRole", 403))
    with pytest.raises(PermissionMissing) as caught:
        await build(options).control_plane(ROLE).describe("nb")
    assert "AssumeRole" in caught.value.detail
    assert api.calls == []


async def test_no_credentials(
    api: SageMakerApi, build: Build, options: AwsOptions, aws_environment: pytest.MonkeyPatch
) -> None:
    aws_environment.delenv("AWS_ACCESS_KEY_ID")
    aws_environment.delenv("AWS_SECRET_ACCESS_KEY")
    sagemaker = build(options)
    for role in ("", ROLE):
        with pytest.raises(CredentialsMissing):
            await sagemaker.control_plane(role).describe("nb")


async def test_an_unknown_profile(build: Build, options: AwsOptions) -> None:
    with pytest.raises(CredentialsMissing) as caught:
        await build(replace(options, profile="nowhere")).control_plane().describe("nb")
    assert "nowhere" in caught.value.detail


async def test_an_endpoint_that_nobody_listens_at(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    await api.close()
    with pytest.raises(ControlPlaneTimeout):
        await build(options).control_plane().describe("nb")


async def test_an_endpoint_that_is_no_url(build: Build, options: AwsOptions) -> None:
    with pytest.raises(ControlPlaneFailed):
        await build(replace(options, endpoint_url="nonsense")).control_plane().describe("nb")


async def test_an_endpoint_that_stays_silent(build: Build, options: AwsOptions) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    async with server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        silent = replace(options, endpoint_url=endpoint, read_timeout_seconds=0.05)
        with pytest.raises(ControlPlaneTimeout):
            await build(silent).control_plane().describe("nb")


async def outcome(calling: Coroutine[Any, Any, Any], clock: FakeClock) -> Any:
    """A call's result or error, all its pauses included."""
    task = asyncio.ensure_future(calling)
    while not task.done():
        await asyncio.sleep(0.001)
        await clock.advance(1.0)
    return task.exception() or task.result()


PASSING = {
    "throttled": Fault("ThrottlingException", "Rate exceeded"),
    "failing": Fault("InternalFailure", status=500),
    "away": Fault("ServiceUnavailable", status=503),
}
REPEATED = {
    "create_presigned_url": {"throttled", "failing", "away"},
    # Whoever watches asks again by itself.
    "describe": {"failing", "away"},
    # What may have been done is not done twice.
    "start": {"throttled"},
    "stop": {"throttled"},
}


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("operation", REPEATED)
async def test_a_call_is_repeated_by_one_policy_and_no_more_often_than_configured(
    api: SageMakerApi, build: Build, options: AwsOptions, clock: FakeClock, operation: str, fault: str
) -> None:
    api.put("nb", "Stopped" if operation == "start" else "InService")
    plane = build(replace(options, max_attempts=3)).control_plane()
    more = {"session_seconds": 1800} if operation == "create_presigned_url" else {}
    is_repeated = fault in REPEATED[operation]
    api.faults.extend([PASSING[fault]] * 2)
    done = await outcome(getattr(plane, operation)("nb", **more), clock)
    assert isinstance(done, ControlPlaneError) is not is_repeated
    assert len(api.calls) == (3 if is_repeated else 1)
    api.calls.clear()
    api.faults.clear()
    api.faults.extend([PASSING[fault]] * 9)
    assert isinstance(await outcome(getattr(plane, operation)("nb", **more), clock), ControlPlaneError)
    assert len(api.calls) == (3 if is_repeated else 1)


async def test_a_role_that_is_throttled_is_assumed_no_more_often_either(
    api: SageMakerApi, build: Build, options: AwsOptions, clock: FakeClock
) -> None:
    api.put("nb")
    api.sts_faults.extend([Fault("Throttling", "Rate exceeded")] * 9)
    plane = build(replace(options, max_attempts=3)).control_plane(ROLE)
    assert isinstance(await outcome(plane.create_presigned_url("nb", session_seconds=1800), clock), Throttled)
    assert len(api.assumed) == 3


async def test_nor_are_credentials_fetched_more_often_that_botocore_finds_by_itself(
    api: SageMakerApi,
    build: Build,
    options: AwsOptions,
    clock: FakeClock,
    aws_environment: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """As on Kubernetes (IAM roles for service accounts), where botocore asks STS with a client of its own."""
    (tmp_path / "token").write_text("a.web.token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        aws_environment.delenv(name)
    aws_environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    aws_environment.setenv("AWS_ROLE_ARN", ROLE)
    aws_environment.setenv("AWS_ENDPOINT_URL_STS", api.endpoint_url)
    api.sts_faults.extend([Fault("Throttling", "Rate exceeded")] * 30)
    plane = build(replace(options, max_attempts=3)).control_plane()
    assert isinstance(await outcome(plane.create_presigned_url("nb", session_seconds=1800), clock), Throttled)
    assert {one["Action"] for one in api.assumed} == {"AssumeRoleWithWebIdentity"}
    assert len(api.assumed) == 3


async def test_nothing_is_repeated_that_would_fail_again(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    api.put("nb")
    plane = build(replace(options, max_attempts=3)).control_plane()
    for fault in (Fault("AccessDeniedException"), Fault("ValidationException", "no"), Fault("ExpiredToken")):
        api.calls.clear()
        api.faults.append(fault)
        with pytest.raises(ControlPlaneError):
            await plane.create_presigned_url("nb", session_seconds=1800)
        assert [name for name, _ in api.calls].count("CreatePresignedNotebookInstanceUrl") == 1


async def test_the_pauses_grow_and_hold_no_thread(
    api: SageMakerApi, build: Build, options: AwsOptions, clock: FakeClock
) -> None:
    api.put("nb")
    api.faults.extend([Fault("ThrottlingException")] * 8)
    sagemaker = build(replace(options, max_attempts=3))
    plane = sagemaker.control_plane()
    waiting = [
        asyncio.ensure_future(plane.create_presigned_url("nb", session_seconds=1800)) for _ in range(8)
    ]
    await eventually(lambda: clock.sleeping == 8)
    assert await sagemaker.run(lambda _client: "free", role_arn="") == "free"
    await clock.advance(PAUSE_SECONDS)
    assert len(await asyncio.gather(*waiting)) == 8
    assert len(api.calls) == 16


async def test_a_state_that_only_describe_knows(api: SageMakerApi, build: Build, options: AwsOptions) -> None:
    """CreatePresigned's text for a stopped instance is not documented."""
    api.put("nb", "InMaintenance")
    api.stopped_fault = lambda _status: Fault("ValidationException", "Some text that nobody has seen")
    with pytest.raises(InstanceNotInService) as caught:
        await build(options).control_plane().create_presigned_url("nb", session_seconds=1800)
    assert caught.value.instance_status == "InMaintenance"
    assert [operation for operation, _ in api.calls][1:] == ["DescribeNotebookInstance"]


async def test_a_validation_error_of_an_instance_in_service_stays_what_it_is(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    api.put("nb")
    api.faults.append(Fault("ValidationException", "1 validation error detected"))
    with pytest.raises(ControlPlaneFailed) as caught:
        await build(options).control_plane().create_presigned_url("nb", session_seconds=1800)
    assert "1 validation error detected" in caught.value.detail


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (Fault("AccessDeniedException"), ControlPlaneFailed),
        (Fault("ValidationException", "RecordNotFound"), InstanceNotFound),
    ],
)
async def test_when_describe_fails_too(
    api: SageMakerApi,
    build: Build,
    options: AwsOptions,
    second: Fault,
    expected: type[ControlPlaneError],
) -> None:
    api.put("nb")
    api.faults.extend([Fault("ValidationException", "unclear"), second])
    with pytest.raises(ControlPlaneError) as caught:
        await build(options).control_plane().create_presigned_url("nb", session_seconds=1800)
    assert type(caught.value) is expected


async def test_the_text_tells_the_state_when_describe_is_not_allowed(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    api.put("nb")
    stopping = (
        "Status (Stopping) not in ([InService]). Unable to transition to (Stopping) for Notebook Instance"
    )
    api.faults.extend([Fault("ValidationException", stopping), Fault("AccessDeniedException")])
    with pytest.raises(InstanceNotInService) as caught:
        await build(options).control_plane().create_presigned_url("nb", session_seconds=1800)
    assert caught.value.instance_status == "Stopping"


async def test_an_answer_without_a_url(api: SageMakerApi, build: Build, options: AwsOptions) -> None:
    api.put("nb")
    api.url = ""
    with pytest.raises(ControlPlaneFailed):
        await build(options).control_plane().create_presigned_url("nb", session_seconds=1800)


async def test_a_name_that_sagemaker_does_not_allow_never_leaves(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    with pytest.raises(ControlPlaneFailed):
        await build(options).control_plane().create_presigned_url("nb", session_seconds=60)
    assert api.calls == []


async def test_neither_urls_nor_role_keys_are_logged_even_at_debug(
    api: SageMakerApi, build: Build, options: AwsOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.put("nb")
    await build(options).control_plane(ROLE).create_presigned_url("nb", session_seconds=1800)
    assert SECRET not in caplog.text
    assert "<SecretAccessKey>" not in caplog.text


async def test_an_error_that_echoes_a_url_is_scrubbed_and_not_chained(
    api: SageMakerApi, build: Build, options: AwsOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.put("nb")
    api.faults.append(Fault("InternalFailure", f"cannot make {api.url}", 500))
    with pytest.raises(ControlPlaneFailed) as caught:
        await build(options).control_plane().create_presigned_url("nb", session_seconds=1800)
    assert "cannot make https://nb.notebook" in caught.value.detail
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caught.value.detail
    assert caught.value.__context__ is None
    assert SECRET not in caplog.text


async def test_a_call_that_hangs_is_waited_for_so_long_and_no_longer(
    build: Build, options: AwsOptions
) -> None:
    """botocore's own bounds are for each attempt, and start anew with each byte. A thread cannot be ended: it goes on,
    and nobody hears of what it brings."""
    sagemaker = build(replace(options, call_seconds=0.05))
    goes_on, ended = threading.Event(), threading.Event()

    def hang(_client: Any) -> None:
        goes_on.wait(10)
        ended.set()
        raise RuntimeError("nobody listens")

    with pytest.raises(ControlPlaneTimeout) as told:
        await sagemaker.run(hang, role_arn="")
    assert told.value.status == 503
    assert not ended.is_set()
    goes_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert await sagemaker.run(lambda _client: "answered", role_arn="") == "answered"


async def test_waiting_for_a_thread_counts_too_and_what_waited_is_not_done_later(
    build: Build, options: AwsOptions
) -> None:
    sagemaker = build(replace(options, call_seconds=0.3))
    goes_on, done = threading.Event(), list[str]()
    hanging = [
        asyncio.ensure_future(sagemaker.run(lambda _client: goes_on.wait(10), role_arn="")) for _ in range(4)
    ]
    await asyncio.sleep(0)
    with pytest.raises(ControlPlaneTimeout):
        await sagemaker.run(lambda _client: done.append("stopped an instance"), role_arn="")
    goes_on.set()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert await sagemaker.run(lambda _client: "answered", role_arn="") == "answered"
    assert done == []


async def test_after_closing_no_call_is_taken(build: Build, options: AwsOptions) -> None:
    sagemaker = build(options)
    sagemaker.close()
    with pytest.raises(RuntimeError, match="closed"):
        await sagemaker.control_plane().describe("nb")


async def test_credentials_that_hang_hold_up_no_other_role(
    api: SageMakerApi, build: Build, options: AwsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as those of a program that never answers."""
    api.put("nb")
    sagemaker = build(options)
    hangs, let_go = threading.Event(), threading.Event()
    made = sagemaker._build_client

    def building(role_arn: str) -> Any:
        if role_arn == ROLE:
            hangs.set()
            let_go.wait(30)
        return made(role_arn)

    monkeypatch.setattr(sagemaker, "_build_client", building)
    hanging = asyncio.ensure_future(sagemaker.control_plane(ROLE).describe("nb"))
    assert await asyncio.to_thread(hangs.wait, 30)
    assert (await sagemaker.control_plane().describe("nb")).status == "InService"
    assert sagemaker.unwell() == ()
    let_go.set()
    assert (await hanging).status == "InService"


async def test_a_listing_goes_through_its_pages_up_to_a_bound(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    for number in range(250):
        api.put(f"nb-{number}")
    plane = build(options).control_plane()
    listed = await plane.list_all(at_most=1000)
    assert [one.name for one in listed] == [f"nb-{number}" for number in range(250)]
    assert len(api.calls) == 3
    api.calls.clear()
    with pytest.raises(ControlPlaneFailed) as caught:
        await plane.list_all(at_most=200)
    assert "more than 200 instances" in caught.value.detail
    assert len(api.calls) == 2


async def test_that_nothing_can_be_listed_does_not_stand_in_the_way(
    api: SageMakerApi, build: Build, options: AwsOptions
) -> None:
    """A role needs no right to see all instances."""
    api.put("nb")
    sagemaker = build(options)
    plane = sagemaker.control_plane()
    await plane.describe("nb")
    api.faults.append(Fault("AccessDeniedException"))
    with pytest.raises(PermissionMissing):
        await plane.list_all(at_most=1000)
    assert sagemaker.last_answer == "ok"
