"""SageMaker's API through boto3, in a few threads of its own.

boto3 blocks, and takes a quarter of a second until a client is there: that happens in the worker threads, on
first use, off the path to the gateway's first answer. One client serves each role; its
credentials renew themselves. Calls are repeated here and nowhere else: botocore does not, whose pauses would hold a
thread, nor do those who ask. What botocore raises is translated in the thread (`proxy.aws.botocore_errors`). Knows
no sessions, no caches, no configuration file: its options are its own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from enum import Flag, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.aws.control_plane import InstanceDescription, not_in_service
from proxy.aws.dial import DIRECT, Egress
from proxy.aws.presigned import PresignedUrl
from proxy.chance import Jitter, jitter
from proxy.clock import Clock
from proxy.errors import (
    ControlPlaneError,
    ControlPlaneFailed,
    ControlPlaneTimeout,
    InstanceNotFound,
    InstanceNotInService,
    LimitReached,
    PlatformRetired,
    Throttled,
)
from proxy.threads import Threads

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.config import Config
    from botocore.session import Session as BotocoreSession
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import (
        DescribeNotebookInstanceOutputTypeDef,
        NotebookInstanceSummaryTypeDef,
    )

T = TypeVar("T")

_OF_AN_INSTANCE: Final = (InstanceNotFound, InstanceNotInService, LimitReached, PlatformRetired, Throttled)
"""What AWS says of an instance, or of how often it is asked: it knows us, and lets us ask."""
_THREADS: Final = 4
_PAGE_SIZE: Final = 100
"""Of a listing: the most that SageMaker gives at once."""
CALL_SECONDS: Final = 30.0
"""For the most that a call takes, by default: load balancers give up after 60 s."""


@dataclass(frozen=True, slots=True)
class AwsOptions:
    """How to reach AWS. None means boto3's own default (environment, shared files, instance role).

    `max_attempts` counts the first one. `call_seconds` is the most that a call takes for whoever waits, all attempts
    and the pauses between them, assuming a role and waiting for a thread included.
    `role_session_name` and `external_id` go with every assumed role.
    """

    region: str
    profile: str | None = None
    _: KW_ONLY
    endpoint_url: str | None = None
    sts_endpoint_url: str | None = None
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 20.0
    max_attempts: int = 3
    call_seconds: float = CALL_SECONDS
    role_session_name: str = "nbgate"
    external_id: str | None = None
    ca_bundle: str | None = None
    egress: Egress = DIRECT
    """Of which `endpoint` is for notebooks alone."""


class Repeat(Flag):
    """What a call is repeated after."""

    NOTHING = 0
    THROTTLED = auto()
    """AWS did nothing of it. Not for what is asked again by itself: that would make it worse."""
    LOST = auto()
    """A broken connection, no answer, a 5xx: for what may be done twice."""


PAUSE_SECONDS: Final = 2.0
"""Before a call is repeated, at most; twice as much with each time. Throttling passes within seconds."""


class _Failed(Exception):
    """What a thread brings in the place of a result: the error to raise, and whether repeating may help."""

    def __init__(self, failure: ControlPlaneError, *, may_pass: bool) -> None:
        super().__init__()
        self.failure = failure
        self.may_pass = may_pass


class SageMaker:
    """One account and Region. `control_plane(role)` is the port of `proxy.aws.control_plane`, as that
    role."""

    def __init__(self, options: AwsOptions, *, clock: Clock, jitter: Jitter = jitter) -> None:
        self._options = options
        self._jitter = jitter
        self._clock = clock
        timeouts = options.connect_timeout_seconds + options.read_timeout_seconds
        self.threads = Threads(
            _THREADS,
            name="nbgate-aws",
            # By then botocore has given up, unless it hangs where it has no timeout: a name server, a program that is
            # to bring credentials.
            lost_seconds=2 * (timeouts + options.call_seconds),
            monotonic=clock.monotonic,
        )
        self._clients: dict[str, SageMakerClient] = {}
        self._sessions: dict[str, Session] = {}
        self._last_codes: dict[str, str] = {}
        """By role: the last answer's code, "" for one that was none."""
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def control_plane(self, role_arn: str = "") -> RoleControlPlane:
        """SageMaker as the role (assumed with our own credentials), or as ourselves for ""."""
        return RoleControlPlane(self, role_arn=role_arn, clock=self._clock)

    async def run(
        self,
        operation: Callable[[SageMakerClient], T],
        *,
        role_arn: str,
        repeat: Repeat = Repeat.NOTHING,
        is_needed: bool = True,
    ) -> T:
        """Call `operation` with the role's client in a worker thread. Raises ControlPlaneError's branch.

        After what `repeat` names it is called again, `max_attempts` times in all. A thread cannot be ended: one that
        takes longer than `call_seconds` goes on, and nobody hears of its result. What the gateway does without where it
        fails (not `is_needed`) is nothing that stands in its way.
        """
        try:
            async with asyncio.timeout(self._options.call_seconds):
                result = await self._repeated(partial(self._work, operation, role_arn), repeat)
        except TimeoutError as error:
            self._last_codes[role_arn] = ControlPlaneTimeout.code
            raise ControlPlaneTimeout(detail=f"no outcome within {self._options.call_seconds:g} s") from error
        except ControlPlaneError as error:
            if is_needed:
                self._last_codes[role_arn] = "" if isinstance(error, _OF_AN_INSTANCE) else error.code
            raise
        self._last_codes[role_arn] = ""
        return result

    async def identity(self, role_arn: str = "") -> str:
        """The ARN that AWS knows us by (STS GetCallerIdentity, which needs no permission). Raises as `run`."""

        def call(client: SageMakerClient) -> str:
            with self._locks[role_arn]:
                sts = self._sessions[role_arn].client(
                    "sts", endpoint_url=self._options.sts_endpoint_url, config=client.meta.config
                )
            try:
                return _text(sts.get_caller_identity(), "Arn")
            finally:
                sts.close()

        return await self.run(call, role_arn=role_arn, repeat=Repeat.THROTTLED | Repeat.LOST)

    @property
    def last_answer(self) -> str:
        """How the last calls went: `ok`, `not asked`, or what is wrong for some role, such as `CREDENTIALS_MISSING`."""
        if not self._last_codes:
            return "not asked"
        return next((code for code in self._last_codes.values() if code), "ok")

    async def _repeated(self, call: Callable[[], T], repeat: Repeat) -> T:
        attempt = 1
        while True:
            try:
                return await self.threads.run(call)
            except _Failed as failed:
                failure, may_pass = failed.failure, failed.may_pass
            kind = Repeat.THROTTLED if isinstance(failure, Throttled) else Repeat.LOST
            is_worth_it = kind in repeat and (may_pass or kind is Repeat.THROTTLED)
            if not is_worth_it or attempt >= self._options.max_attempts:
                raise failure
            await self._clock.sleep(self._jitter(PAUSE_SECONDS * 2 ** (attempt - 1)))
            attempt += 1

    def unwell(self) -> tuple[str, ...]:
        """What is stuck, in words, as `proxy.rounds.Rounds.unwell` has it."""
        return ("calls to AWS: stuck",) if self.threads.is_stuck else ()

    def close(self) -> None:
        """Take no more calls; those under way end by their own timeouts and are not waited for."""
        self.threads.close()
        for client in tuple(self._clients.values()):
            client.close()

    def _work(self, operation: Callable[[SageMakerClient], T], role_arn: str) -> T:
        from proxy.aws.botocore_errors import cause, is_foreign, may_pass, translate

        try:
            return operation(self._client(role_arn))
        except ControlPlaneError as error:
            failure, passing = error, False
        except Exception as error:
            if not is_foreign(error):
                raise
            failure, passing = translate(error), may_pass(error)
            # Without a reason to chain, nothing leads back to botocore's error.
            failure.__cause__ = cause(error)
        raise _Failed(failure, may_pass=passing)

    def _client(self, role_arn: str) -> SageMakerClient:
        # Using a client is thread-safe in botocore; building one is not, with the same session. Each role has its own,
        # and one whose credentials hang is not to hold the others up.
        with self._locks[role_arn]:
            if role_arn not in self._clients:
                self._clients[role_arn] = self._build_client(role_arn)
            return self._clients[role_arn]

    def _build_client(self, role_arn: str) -> SageMakerClient:
        from boto3.session import Session
        from botocore.config import Config

        from proxy.aws.service_data import new_session

        options = self._options
        logging.getLogger("botocore.parsers").addFilter(_without_bodies)
        config = Config(
            connect_timeout=options.connect_timeout_seconds,
            read_timeout=options.read_timeout_seconds,
            max_pool_connections=_THREADS,
            user_agent_extra="nbgate",
        )
        session = Session(
            botocore_session=new_session(options.profile, ca_bundle=options.ca_bundle, egress=options.egress),
            region_name=options.region,
        )
        if role_arn:
            session = Session(
                botocore_session=_assuming(role_arn, source=session, config=config, options=options),
                region_name=options.region,
            )
        self._sessions[role_arn] = session
        return session.client("sagemaker", endpoint_url=options.endpoint_url, config=config)


class RoleControlPlane:
    """Implements `proxy.aws.control_plane.ControlPlane` as one role."""

    def __init__(self, sagemaker: SageMaker, *, role_arn: str, clock: Clock) -> None:
        self._sagemaker = sagemaker
        self._role_arn = role_arn
        self._clock = clock

    async def create_presigned_url(self, notebook: str, *, session_seconds: int) -> PresignedUrl:
        def call(client: SageMakerClient) -> str:
            from botocore.exceptions import ClientError

            try:
                answer = client.create_presigned_notebook_instance_url(
                    NotebookInstanceName=notebook, SessionExpirationDurationInSeconds=session_seconds
                )
            except ClientError as error:
                reason = _reason_behind(error, client, notebook)
                if reason is None:
                    raise
            else:
                return _text(answer, "AuthorizedUrl")
            raise reason

        requested_at = self._clock.monotonic()
        url = await self._sagemaker.run(call, role_arn=self._role_arn, repeat=Repeat.THROTTLED | Repeat.LOST)
        if not url:
            raise ControlPlaneFailed(
                detail="CreatePresignedNotebookInstanceUrl: no AuthorizedUrl in the answer"
            )
        return PresignedUrl(url, requested_at=requested_at)

    async def describe(self, notebook: str) -> InstanceDescription:
        def call(client: SageMakerClient) -> InstanceDescription:
            return _description(notebook, client.describe_notebook_instance(NotebookInstanceName=notebook))

        return await self._sagemaker.run(call, role_arn=self._role_arn, repeat=Repeat.LOST)

    async def list_all(self, *, at_most: int) -> tuple[InstanceDescription, ...]:
        def call(client: SageMakerClient) -> tuple[InstanceDescription, ...]:
            found: list[InstanceDescription] = []
            more: dict[str, Any] = {}
            while True:
                answer = client.list_notebook_instances(MaxResults=_PAGE_SIZE, **more)
                found += (_description("", one) for one in answer["NotebookInstances"])
                if "NextToken" not in answer:
                    return tuple(found)
                if len(found) >= at_most:
                    raise ControlPlaneFailed(detail=f"ListNotebookInstances: more than {at_most} instances")
                more = {"NextToken": answer["NextToken"]}

        return await self._sagemaker.run(call, role_arn=self._role_arn, is_needed=False)

    async def start(self, notebook: str) -> None:
        def call(client: SageMakerClient) -> None:
            client.start_notebook_instance(NotebookInstanceName=notebook)

        await self._sagemaker.run(call, role_arn=self._role_arn, repeat=Repeat.THROTTLED)

    async def stop(self, notebook: str) -> None:
        def call(client: SageMakerClient) -> None:
            client.stop_notebook_instance(NotebookInstanceName=notebook)

        await self._sagemaker.run(call, role_arn=self._role_arn, repeat=Repeat.THROTTLED)


def _assuming(role_arn: str, *, source: Session, config: Config, options: AwsOptions) -> BotocoreSession:
    """A session whose credentials come from AssumeRole with `source`'s, and renew themselves in time."""
    from botocore.credentials import (
        AssumeRoleCredentialFetcher,
        CredentialProvider,
        CredentialResolver,
        DeferredRefreshableCredentials,
    )
    from botocore.exceptions import NoCredentialsError

    from proxy.aws.service_data import new_session

    source_credentials = source.get_credentials()
    if source_credentials is None:
        raise NoCredentialsError

    def create_client(service: str, **credentials: Any) -> Any:
        # botocore asks for "sts" and hands over the frozen credentials by keyword.
        session_client: Callable[..., Any] = source.client
        return session_client(service, endpoint_url=options.sts_endpoint_url, config=config, **credentials)

    extra = {"RoleSessionName": options.role_session_name}
    if options.external_id is not None:
        extra["ExternalId"] = options.external_id
    fetcher = AssumeRoleCredentialFetcher(create_client, source_credentials, role_arn, extra_args=extra)

    class AssumedRole(CredentialProvider):
        METHOD = "assume-role"

        def load(self) -> DeferredRefreshableCredentials:
            return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)

    session = new_session(ca_bundle=options.ca_bundle, egress=options.egress)
    session.register_component("credential_provider", CredentialResolver([AssumedRole()]))
    return session


def _reason_behind(error: Exception, client: SageMakerClient, notebook: str) -> ControlPlaneError | None:
    """Why no URL was made, where that is the instance's state; None where it is not, or cannot be told.

    What CreatePresigned answers for a stopped instance is not documented; most likely a validation error. So
    Describe is asked, which also knows why an instance failed.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from proxy.aws.botocore_errors import error_code, scrub, translate

    translated = translate(error)
    in_its_state = isinstance(translated, InstanceNotInService)
    unexplained = isinstance(translated, ControlPlaneFailed) and error_code(error) == "ValidationException"
    if not in_its_state and not unexplained:
        return None
    known = translated if in_its_state else None
    try:
        described = _description(notebook, client.describe_notebook_instance(NotebookInstanceName=notebook))
    except (BotoCoreError, ClientError) as second:
        missing = translate(second)
        return missing if isinstance(missing, InstanceNotFound) else known
    if described.in_service:
        return known
    detail = "; ".join(filter(None, (translated.detail, scrub(described.failure_reason))))
    return not_in_service(described.status, detail=detail)


def _description(
    notebook: str, answer: DescribeNotebookInstanceOutputTypeDef | NotebookInstanceSummaryTypeDef
) -> InstanceDescription:
    return InstanceDescription(
        name=_text(answer, "NotebookInstanceName") or notebook,
        status=_text(answer, "NotebookInstanceStatus"),
        arn=_text(answer, "NotebookInstanceArn"),
        url=_text(answer, "Url"),
        instance_type=_text(answer, "InstanceType"),
        failure_reason=_text(answer, "FailureReason"),
        created_at=_instant(answer, "CreationTime"),
        modified_at=_instant(answer, "LastModifiedTime"),
        volume_size_gb=_count(answer, "VolumeSizeInGB"),
        role_arn=_text(answer, "RoleArn"),
        lifecycle_config=_text(answer, "NotebookInstanceLifecycleConfigName"),
        direct_internet_access=_text(answer, "DirectInternetAccess"),
        root_access=_text(answer, "RootAccess"),
        platform=_text(answer, "PlatformIdentifier"),
        default_code_repository=_text(answer, "DefaultCodeRepository"),
        code_repositories=tuple(answer.get("AdditionalCodeRepositories", ())),
    )


def _text(answer: Any, member: str) -> str:
    """A member of an answer; "" where it is absent, which the API's model allows for all of them."""
    value = answer.get(member)
    return value if isinstance(value, str) else ""


def _instant(answer: Any, member: str) -> datetime | None:
    value = answer.get(member)
    return value if isinstance(value, datetime) else None


def _count(answer: Any, member: str) -> int | None:
    value = answer.get(member)
    return value if isinstance(value, int) else None


def _without_bodies(record: logging.LogRecord) -> bool:
    """botocore.parsers logs whole answers at DEBUG: presigned URLs, and an assumed role's keys."""
    return record.levelno > logging.DEBUG
