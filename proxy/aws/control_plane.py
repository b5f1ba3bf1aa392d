"""The control plane as a port: what nbgate asks of the SageMaker API, and nothing of how it is asked.

`ControlPlane` is bound to one account, Region and role; its methods take SageMaker's name of a notebook
instance. Each raises only errors of `proxy.errors.ControlPlaneError`'s branch. Listing is a convenience: a role
without the right to see all instances of the account does without, and its own are described one by one.
`tests/aws/contract.py` states what every implementation promises.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import Final, Protocol

from proxy.aws.presigned import PresignedUrl
from proxy.errors import InstanceNotInService
from proxy.instance_status import TEXTS, InstanceStatus

SESSION_SECONDS_MIN: Final = 1800
SESSION_SECONDS_MAX: Final = 43200
"""SessionExpirationDurationInSeconds: 1800 to 43200, default 43200 (API reference)."""


@dataclass(frozen=True, slots=True)
class InstanceDescription:
    """A notebook instance as SageMaker describes it (DescribeNotebookInstance).

    `status` is SageMaker's word, such as `InService`; new words may appear, so it is text. `url` is the bare
    host without a scheme, as the API gives it; "" while there is none. `failure_reason` is for operators.
    "" and None stand for what SageMaker did not say; instants are aware, `modified_at` moves with the status, too.
    """

    name: str
    status: str
    _: KW_ONLY
    arn: str = ""
    url: str = ""
    instance_type: str = ""
    failure_reason: str = ""
    created_at: datetime | None = None
    modified_at: datetime | None = None
    volume_size_gb: int | None = None
    role_arn: str = ""
    """The role of what runs on the instance."""
    lifecycle_config: str = ""
    direct_internet_access: str = ""
    root_access: str = ""
    platform: str = ""
    default_code_repository: str = ""
    code_repositories: tuple[str, ...] = ()
    """The additional ones."""

    @property
    def in_service(self) -> bool:
        return self.status == InstanceStatus.IN_SERVICE


class ControlPlane(Protocol):
    """SageMaker's API, as one role sees it."""

    async def create_presigned_url(self, notebook: str, *, session_seconds: int) -> PresignedUrl:
        """CreatePresignedNotebookInstanceUrl. `session_seconds` bounds the session that the URL buys.

        Raises InstanceNotFound, InstanceNotInService (with the status where SageMaker tells it), Throttled,
        PermissionMissing, CredentialsMissing, ControlPlaneTimeout or ControlPlaneFailed.
        """

    async def describe(self, notebook: str) -> InstanceDescription:
        """DescribeNotebookInstance. Raises as `create_presigned_url`, except InstanceNotInService."""

    async def list_all(self, *, at_most: int) -> tuple[InstanceDescription, ...]:
        """ListNotebookInstances: all of the account and Region, with what a listing says of them: no failure's reason,
        no volume, no role, no platform. Raises as `describe`, but InstanceNotFound; ControlPlaneFailed where there are
        more than `at_most`.
        """

    async def start(self, notebook: str) -> None:
        """StartNotebookInstance, for an instance that is Stopped or Failed; it is Pending when this returns.

        Raises as `create_presigned_url`, InstanceNotInService for one in any other state (also InService), and
        LimitReached where the account may not run more of its type.
        """

    async def stop(self, notebook: str) -> None:
        """StopNotebookInstance, for an instance InService; it is Stopping when this returns. Raises as
        `start`."""


def not_in_service(status: str, *, detail: str = "") -> InstanceNotInService:
    """The error for an instance whose status is `status`; "" where it is not known."""
    text = TEXTS.get(status)
    if text is None:
        return InstanceNotInService(instance_status=status, detail=detail)
    return InstanceNotInService(
        text.sentence,
        instance_status=status,
        detail=detail,
        retry_after_seconds=text.retry_after_seconds,
    )
