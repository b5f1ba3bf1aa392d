"""The control plane contract, kept by boto3 against the sandbox: what nbgate learns there holds for the port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from proxy.aws.control_plane import ControlPlane
from proxy.aws.sagemaker import AwsOptions, SageMaker
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    CredentialsRefused,
    LimitReached,
    PermissionMissing,
    Throttled,
)
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from tests.aws.contract import Backend, ControlPlaneContract
from tests.harness.clocks import FakeClock


class InSandbox:
    FAULTS: ClassVar = {
        Throttled: ("ThrottlingException", "Rate exceeded", 400),
        PermissionMissing: ("AccessDeniedException", "User: arn:… is not authorized to perform: …", 400),
        CredentialsRefused: ("UnrecognizedClientException", "The security token … is invalid.", 400),
        ControlPlaneFailed: ("InternalFailure", "", 500),
        LimitReached: ("ResourceLimitExceeded", "The account-level service limit … is 0 Instances", 400),
    }

    def __init__(self, sandbox: Sandbox, control_plane: ControlPlane) -> None:
        self._sandbox = sandbox
        self._control_plane = control_plane

    @property
    def control_plane(self) -> ControlPlane:
        return self._control_plane

    def put(self, notebook: str, status: str = "InService", failure_reason: str = "") -> None:
        instance = self._sandbox.instances[notebook]
        instance.set_status(status)
        instance.failure_reason = failure_reason

    def fail_next(self, error: type[ControlPlaneError]) -> None:
        code, message, status = self.FAULTS[error]
        self._sandbox.faults.fail(code, message, status=status)


class TestSandbox(ControlPlaneContract):
    @pytest.fixture
    async def backend(self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backend]:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
        async with Sandbox([InstanceSpec(name="nb")], clock=clock) as sandbox:
            options = AwsOptions(sandbox.region, endpoint_url=sandbox.endpoint_url, max_attempts=1)
            sagemaker = SageMaker(options, clock=clock)
            yield InSandbox(sandbox, sagemaker.control_plane())
            sagemaker.close()
