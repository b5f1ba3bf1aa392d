"""What one caller may see of the instances, and do to them: for the portal, the JSON API, and streams of changes.

The rule: an instance that the caller may not reach does not exist here; a state is shown to who may describe it, and a
button to who may press it. At an origin that belongs to one instance alone (a mount on a host or port), that is the
only one: script in its notebooks can read the gateway's pages there. It must not know pages or HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Final

from proxy.aws.control_plane import InstanceDescription
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.errors import AccessDenied, NbgateError, RouteNotFound
from proxy.instance_status import STARTABLE, InstanceStatus
from proxy.lifecycle.awake import AwakeState
from proxy.policy.context import DESCRIBE, START, STOP
from proxy.server.addresses import mount_url
from proxy.server.instance_starts import Progress, progress_of
from proxy.server.operations.fleet import Fleet
from proxy.server.page_request import PageRequest
from proxy.server.pages.error_pages import failure_reason
from proxy.server.viewer import Viewer
from proxy.tasks import Tasks

PATIENCE_SECONDS: Final = 2.5
"""How long a page waits for SageMaker before it shows what is known. The rest follows by itself."""


@dataclass(frozen=True, slots=True)
class InstanceView:
    """An instance as one caller may see it.

    `url` is its address, with a slash at the end. `description` is None where it may not be seen, or is not known:
    then `problem` says why not, if it may be told. `start` and `stop` are there where they may be pressed.
    """

    name: str
    url: str
    _: KW_ONLY
    description: InstanceDescription | None
    problem: str
    needs_link: bool
    may_describe: bool
    may_start: bool
    may_stop: bool
    may_keep_awake: bool
    progress: Progress | None
    websockets: int
    awake: AwakeState

    @property
    def status(self) -> str:
        return "" if self.description is None else self.description.status

    @property
    def reason(self) -> str:
        """SageMaker's, for a failure."""
        return "" if self.description is None else failure_reason(self.description)


class InstanceViews:
    """Asks the policy and the fleet. `settings` are those of now; `websockets` says how many an instance has open, and
    `awake` what is known of its idleness.
    """

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        fleet: Fleet,
        websockets: Callable[[str], int],
        awake: Callable[[str], AwakeState],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._websockets = websockets
        self._awake = awake
        self._clock = clock
        self._tasks = tasks

    def names(self, viewer: Viewer) -> tuple[str, ...]:
        """The instances that exist for this caller, in the configuration's order."""
        tenant = viewer.tenant
        return tuple(
            name for name in self._settings().instances if (not tenant or name == tenant) and viewer.may(name)
        )

    def reach(self, request: PageRequest, name: str) -> None:
        """Raise RouteNotFound unless an instance exists for this caller; that is audited, be it denied or not there."""
        viewer = request.viewer
        tenant = viewer.tenant
        if name not in self._settings().instances or (tenant and name != tenant):
            request.miss()
            raise RouteNotFound
        try:
            request.decide(name)
        except AccessDenied:
            raise RouteNotFound from None

    def url(self, viewer: Viewer, name: str) -> str:
        """Where this caller finds an instance: at the host that it called us by, where the mount leaves that open.

        Raises RouteNotFound where a reload took it away meanwhile.
        """
        if name not in self._settings().instances:
            raise RouteNotFound
        return mount_url(self._settings(), name, caller=viewer.caller, port=viewer.port)

    async def view(self, viewer: Viewer, name: str) -> InstanceView:
        """An instance as it is now, asked of SageMaker if need be; what goes wrong there is in the view.

        Raises RouteNotFound where a reload took it away meanwhile.
        """
        if name not in self._settings().instances:
            raise RouteNotFound
        description, problem = None, ""
        leads_to = self._settings().leads_to(name)
        if viewer.may(name, DESCRIBE):
            try:
                description = await self._fleet.describe(name)
            except NbgateError as error:
                problem = error.message
        if name not in self._settings().instances:
            raise RouteNotFound
        if leads_to != self._settings().leads_to(name):
            # What was learnt is another notebook's.
            return self.last_seen(viewer, name)
        return self._view(viewer, name, description, problem)

    async def view_all(self, viewer: Viewer) -> list[InstanceView]:
        """All that exist for this caller. What SageMaker has not said for a while is shown as it was last seen."""
        before = self._settings()
        asked = {
            name: self._tasks.start(self.view(viewer, name), name=f"show {name}")
            for name in self.names(viewer)
        }
        patience = self._tasks.start(self._clock.sleep(PATIENCE_SECONDS), name="patience")
        pending = set(asked.values())
        try:
            while pending and not patience.done():
                done, _ = await asyncio.wait({*pending, patience}, return_when=asyncio.FIRST_COMPLETED)
                pending -= done
        finally:
            for task in (patience, *pending):
                task.cancel()
        now = self._settings()
        return [
            self.last_seen(viewer, name)
            # Some may have been learnt before a reload that came while others were waited for.
            if task in pending or before.leads_to(name) != now.leads_to(name)
            else task.result()
            for name, task in asked.items()
            if name in now.instances
        ]

    def last_seen(self, viewer: Viewer, name: str) -> InstanceView:
        """An instance as it was last seen, at once."""
        known = self._fleet.known(name) if viewer.may(name, DESCRIBE) else None
        return self._view(viewer, name, known.description if known is not None else None, "")

    def _view(
        self, viewer: Viewer, name: str, description: InstanceDescription | None, problem: str
    ) -> InstanceView:
        may_describe = viewer.may(name, DESCRIBE)
        status = "" if description is None else description.status
        awake = self._awake(name) if status == InstanceStatus.IN_SERVICE else AwakeState()
        return InstanceView(
            name,
            self.url(viewer, name),
            description=description,
            problem=problem,
            needs_link=self._settings().instances[name].access == "presigned",
            may_describe=may_describe,
            # To who may start it and see no state, it is offered always: SageMaker refuses what cannot be done.
            may_start=(status in STARTABLE or not may_describe) and viewer.may(name, START),
            may_stop=(status == InstanceStatus.IN_SERVICE or not may_describe) and viewer.may(name, STOP),
            may_keep_awake=awake.after_seconds is not None and viewer.may(name, START),
            progress=progress_of(name, fleet=self._fleet, clock=self._clock)
            if status == InstanceStatus.PENDING
            else None,
            websockets=self._websockets(name),
            awake=awake,
        )
