"""The control plane contract, kept by the in-memory fake and by boto3 against a server of the test's own."""

from __future__ import annotations

from typing import ClassVar

import pytest

from proxy.aws.control_plane import ControlPlane
from proxy.aws.sagemaker import AwsOptions
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    CredentialsRefused,
    LimitReached,
    PermissionMissing,
    Throttled,
)
from tests.aws.contract import Backend, ControlPlaneContract
from tests.aws.fakes import FakeControlPlane
from tests.aws.servers import Build, Fault, SageMakerApi
from tests.harness.clocks import FakeClock


class InMemory:
    def __init__(self) -> None:
        self.fake = FakeControlPlane(FakeClock())
        self.fake.may_list = True

    @property
    def control_plane(self) -> ControlPlane:
        return self.fake

    def put(self, notebook: str, status: str = "InService", failure_reason: str = "") -> None:
        self.fake.put(notebook, status, failure_reason)

    def fail_next(self, error: type[ControlPlaneError]) -> None:
        self.fake.failures.append(error())


class Boto3:
    FAULTS: ClassVar = {
        Throttled: Fault("ThrottlingException", "Rate exceeded"),
        PermissionMissing: Fault("AccessDeniedException", "User: arn:… is not authorized to perform: …"),
        CredentialsRefused: Fault("UnrecognizedClientException", "The security token … is invalid."),
        ControlPlaneFailed: Fault("InternalFailure", status=500),
        LimitReached: Fault(
            "ResourceLimitExceeded", "The account-level service limit 'ml.p3.2xlarge …' is 0"
        ),
    }

    def __init__(self, api: SageMakerApi, control_plane: ControlPlane) -> None:
        self._api = api
        self._control_plane = control_plane

    @property
    def control_plane(self) -> ControlPlane:
        return self._control_plane

    def put(self, notebook: str, status: str = "InService", failure_reason: str = "") -> None:
        self._api.put(notebook, status, failure_reason)

    def fail_next(self, error: type[ControlPlaneError]) -> None:
        self._api.faults.append(self.FAULTS[error])


class TestInMemory(ControlPlaneContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return InMemory()


class TestBoto3(ControlPlaneContract):
    @pytest.fixture
    def backend(self, api: SageMakerApi, build: Build, options: AwsOptions) -> Backend:
        return Boto3(api, build(options).control_plane())
