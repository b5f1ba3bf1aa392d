"""Stand-ins for the two ports that a keeper uses: scripted, counting, and stopped or let go by the test."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from proxy.aws.control_plane import InstanceDescription, not_in_service
from proxy.aws.cookies import Cookies, parse_set_cookies
from proxy.aws.presigned import PresignedUrl
from proxy.aws.sessions import SignIn
from proxy.clock import Clock
from proxy.errors import ControlPlaneFailed, InstanceNotFound, PermissionMissing
from proxy.instance_status import InstanceStatus
from proxy.upstream import Origin

SECRET = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0LXRva2Vu.c2lnbmF0dXJl"
COOKIE_SECRET = "front-end-session-value-9f8e7d"
NOTEBOOK = "research-gpu-1"
NOTEBOOK_HOST = "research-gpu-1.notebook.eu-west-1.sagemaker.aws"
ORIGIN = Origin("https", NOTEBOOK_HOST, 443)


class FakeControlPlane:
    """SageMaker in memory. `failures` are raised first, one a call; `gate` holds calls back while it is clear."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.instances: dict[str, InstanceDescription] = {}
        self.asked: Counter[str] = Counter()
        """How often each instance was described."""
        self.listed = 0
        self.may_list = False
        self.list_failures: deque[Exception] = deque()
        self.failures: deque[Exception] = deque()
        self.minted = 0
        self.session_seconds: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def put(self, notebook: str, status: str = InstanceStatus.IN_SERVICE, failure_reason: str = "") -> None:
        self.instances[notebook] = InstanceDescription(
            notebook,
            status,
            url=NOTEBOOK_HOST,
            arn=f"arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/{notebook}",
            instance_type="ml.t3.medium",
            failure_reason=failure_reason,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            modified_at=self._clock.now(),
            volume_size_gb=5,
        )

    async def create_presigned_url(self, notebook: str, *, session_seconds: int) -> PresignedUrl:
        requested_at = self._clock.monotonic()
        self.minted += 1
        self.session_seconds.append(session_seconds)
        await self.gate.wait()
        described = self._find(notebook)
        if not described.in_service:
            raise not_in_service(described.status, detail=described.failure_reason)
        text = f"https://{NOTEBOOK_HOST}?authToken={SECRET}{self.minted}"
        return PresignedUrl(text, requested_at=requested_at)

    async def describe(self, notebook: str) -> InstanceDescription:
        self.asked[notebook] += 1
        found = self._find(notebook)
        await self.gate.wait()
        return found

    async def list_all(self, *, at_most: int) -> tuple[InstanceDescription, ...]:
        self.listed += 1
        if self.list_failures or self.failures:
            raise (self.list_failures or self.failures).popleft()
        if not self.may_list:
            raise PermissionMissing(detail="sagemaker:ListNotebookInstances")
        await self.gate.wait()
        if len(self.instances) > at_most:
            raise ControlPlaneFailed(detail=f"more than {at_most}")
        return tuple(replace(one, failure_reason="", volume_size_gb=None) for one in self.instances.values())

    async def start(self, notebook: str) -> None:
        self._move(notebook, frozenset({"Stopped", "Failed"}), to="Pending")

    async def stop(self, notebook: str) -> None:
        self._move(notebook, frozenset({InstanceStatus.IN_SERVICE}), to="Stopping")

    def _move(self, notebook: str, allowed: frozenset[str], *, to: str) -> None:
        described = self._find(notebook)
        if described.status not in allowed:
            raise not_in_service(described.status)
        self.put(notebook, to)

    def _find(self, notebook: str) -> InstanceDescription:
        if self.failures:
            raise self.failures.popleft()
        if notebook not in self.instances:
            raise InstanceNotFound(detail="RecordNotFound")
        return self.instances[notebook]


class FakeExchange:
    """Sets one cookie, numbered by the exchange. `failures` and `gate` as in `FakeControlPlane`; of `gates` one is for
    each exchange in turn, in the place of `gate`.
    """

    def __init__(self) -> None:
        self.urls: list[PresignedUrl] = []
        self.failures: deque[Exception] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.gates: deque[asyncio.Event] = deque()
        self.at_once = 0
        self.most_at_once = 0

    @property
    def count(self) -> int:
        return len(self.urls)

    async def __call__(self, url: PresignedUrl) -> SignIn:
        self.urls.append(url)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await (self.gates.popleft() if self.gates else self.gate).wait()
        finally:
            self.at_once -= 1
        if self.failures:
            raise self.failures.popleft()
        field = f"FrontEnd={COOKIE_SECRET}-{self.count}; Secure; HttpOnly".encode()
        return SignIn(ORIGIN, jar(field))


def jar(
    *fields: bytes, host: str = NOTEBOOK_HOST, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
) -> Cookies:
    return Cookies().apply(parse_set_cookies(fields), host=host, now=now)


def whole(seconds: float) -> float:
    """Jitter that draws all of it."""
    return seconds


JitterFn = Callable[[float], float]
