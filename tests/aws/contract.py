"""What every `ControlPlane` promises. A test class inherits the contract and provides the `backend` fixture.

The in-memory fake, boto3 against a small server, and the sandbox all pass it: so tests that use the fake say
something about the real one.
"""

from __future__ import annotations

from typing import Protocol

import pytest

from proxy.aws.control_plane import ControlPlane
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    CredentialsRefused,
    InstanceNotFound,
    InstanceNotInService,
    LimitReached,
    PermissionMissing,
    Throttled,
)


class Backend(Protocol):
    """A SageMaker that the test arranges."""

    @property
    def control_plane(self) -> ControlPlane: ...

    def put(self, notebook: str, status: str = "InService", failure_reason: str = "") -> None:
        """Make an instance, or change its state."""

    def fail_next(self, error: type[ControlPlaneError]) -> None:
        """Answer the next call (with its retries) such that the caller should see `error`."""


class ControlPlaneContract:
    """Inherit, name the class `Test…`, and provide `backend`."""

    async def test_a_url_for_an_instance_in_service(self, backend: Backend) -> None:
        backend.put("nb")
        url = await backend.control_plane.create_presigned_url("nb", session_seconds=1800)
        assert "authToken=" in url.reveal()
        assert str(url) == "***"

    async def test_two_urls_are_two_objects(self, backend: Backend) -> None:
        backend.put("nb")
        first = await backend.control_plane.create_presigned_url("nb", session_seconds=43200)
        assert await backend.control_plane.create_presigned_url("nb", session_seconds=43200) is not first

    @pytest.mark.parametrize("status", ["InService", "Pending", "Stopped", "Failed"])
    async def test_describe_tells_the_state_of_any_instance(self, backend: Backend, status: str) -> None:
        backend.put("nb", status)
        described = await backend.control_plane.describe("nb")
        assert described.name == "nb"
        assert described.status == status
        assert described.in_service is (status == "InService")
        assert described.arn.endswith(":notebook-instance/nb")
        assert described.instance_type

    async def test_the_host_has_no_scheme(self, backend: Backend) -> None:
        backend.put("nb")
        described = await backend.control_plane.describe("nb")
        assert described.url
        assert "/" not in described.url

    async def test_a_listing_tells_every_instances_state(self, backend: Backend) -> None:
        backend.put("nb", "Stopped")
        [listed] = [one for one in await backend.control_plane.list_all(at_most=1000) if one.name == "nb"]
        described = await backend.control_plane.describe("nb")
        assert listed.status == "Stopped"
        assert (listed.url, listed.arn, listed.instance_type, listed.modified_at) == (
            described.url,
            described.arn,
            described.instance_type,
            described.modified_at,
        )

    @pytest.mark.parametrize("error", [Throttled, PermissionMissing])
    async def test_a_listing_fails_as_a_description_does(
        self, backend: Backend, error: type[ControlPlaneError]
    ) -> None:
        backend.put("nb")
        backend.fail_next(error)
        with pytest.raises(error):
            await backend.control_plane.list_all(at_most=1000)

    async def test_a_missing_instance(self, backend: Backend) -> None:
        with pytest.raises(InstanceNotFound):
            await backend.control_plane.create_presigned_url("nowhere", session_seconds=1800)
        with pytest.raises(InstanceNotFound):
            await backend.control_plane.describe("nowhere")

    @pytest.mark.parametrize(
        ("status", "sentence", "retry_after_seconds"),
        [
            ("Pending", "The notebook instance is starting.", 15),
            ("Updating", "The notebook instance is being updated.", 30),
            ("Stopping", "The notebook instance is stopping.", None),
            ("Stopped", "The notebook instance is stopped.", None),
            ("Deleting", "The notebook instance is being deleted.", None),
        ],
    )
    async def test_an_instance_that_is_not_in_service(
        self, backend: Backend, status: str, sentence: str, retry_after_seconds: int | None
    ) -> None:
        backend.put("nb", status)
        with pytest.raises(InstanceNotInService) as caught:
            await backend.control_plane.create_presigned_url("nb", session_seconds=1800)
        assert caught.value.instance_status == status
        assert caught.value.message == sentence
        assert caught.value.retry_after_seconds == retry_after_seconds

    async def test_a_failed_instance_tells_the_reason_to_the_operator_only(self, backend: Backend) -> None:
        backend.put("nb", "Failed", failure_reason="lifecycle script timed out")
        with pytest.raises(InstanceNotInService) as caught:
            await backend.control_plane.create_presigned_url("nb", session_seconds=1800)
        assert caught.value.instance_status == "Failed"
        assert "lifecycle script" in caught.value.detail
        assert "lifecycle script" not in caught.value.message

    async def test_describe_tells_when_it_was_made_and_changed_and_how_large_it_is(
        self, backend: Backend
    ) -> None:
        backend.put("nb")
        described = await backend.control_plane.describe("nb")
        assert described.created_at is not None
        assert described.modified_at is not None
        assert described.created_at.tzinfo is not None
        assert described.created_at <= described.modified_at
        assert described.volume_size_gb == 5

    @pytest.mark.parametrize("status", ["Stopped", "Failed"])
    async def test_an_instance_that_is_started_is_pending(self, backend: Backend, status: str) -> None:
        backend.put("nb", status)
        await backend.control_plane.start("nb")
        assert (await backend.control_plane.describe("nb")).status == "Pending"

    async def test_an_instance_that_is_stopped_is_stopping(self, backend: Backend) -> None:
        backend.put("nb")
        await backend.control_plane.stop("nb")
        assert (await backend.control_plane.describe("nb")).status == "Stopping"

    @pytest.mark.parametrize(
        ("operation", "status"),
        [
            ("start", "InService"),
            ("start", "Pending"),
            ("start", "Stopping"),
            ("stop", "Stopped"),
            ("stop", "Stopping"),
            ("stop", "Pending"),
        ],
    )
    async def test_no_start_and_no_stop_from_the_wrong_state(
        self, backend: Backend, operation: str, status: str
    ) -> None:
        backend.put("nb", status)
        with pytest.raises(InstanceNotInService) as caught:
            await getattr(backend.control_plane, operation)("nb")
        assert caught.value.instance_status == status

    @pytest.mark.parametrize("operation", ["start", "stop"])
    async def test_no_start_and_no_stop_of_a_missing_instance(self, backend: Backend, operation: str) -> None:
        with pytest.raises(InstanceNotFound):
            await getattr(backend.control_plane, operation)("nowhere")

    @pytest.mark.parametrize("operation", ["start", "stop"])
    @pytest.mark.parametrize("error", [Throttled, PermissionMissing, LimitReached])
    async def test_errors_of_start_and_stop_change_nothing(
        self, backend: Backend, operation: str, error: type[ControlPlaneError]
    ) -> None:
        status = "Stopped" if operation == "start" else "InService"
        backend.put("nb", status)
        backend.fail_next(error)
        with pytest.raises(ControlPlaneError) as caught:
            await getattr(backend.control_plane, operation)("nb")
        assert type(caught.value) is error
        assert (await backend.control_plane.describe("nb")).status == status

    @pytest.mark.parametrize("error", [Throttled, PermissionMissing, CredentialsRefused, ControlPlaneFailed])
    async def test_errors_are_of_our_tree_and_the_next_call_works(
        self, backend: Backend, error: type[ControlPlaneError]
    ) -> None:
        backend.put("nb")
        backend.fail_next(error)
        with pytest.raises(ControlPlaneError) as caught:
            await backend.control_plane.create_presigned_url("nb", session_seconds=1800)
        assert type(caught.value) is error
        assert (await backend.control_plane.describe("nb")).in_service
