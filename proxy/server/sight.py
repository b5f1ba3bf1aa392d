"""What one caller may see of the instances, and do to them: for the portal, the JSON API, and pages about a state.

The rule: an instance that the caller may not reach does not exist here; a state is shown to who may describe it, and a
button to who may press it. At an origin that belongs to one instance alone (a mount on a host or port), that is the
only one: script in its notebooks can read the gateway's pages there. It must not know pages or HTTP.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.aws.control_plane import InstanceDescription
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.errors import AccessDenied, ControlPlaneError, NbgateError, RouteNotFound
from proxy.gateway import Admission, Caller, Gateway
from proxy.instance_status import STARTABLE, InstanceStatus
from proxy.lifecycle.awake import AwakeState
from proxy.policy.context import CONNECT
from proxy.policy.evaluate import Decision
from proxy.server.addresses import mount_url
from proxy.server.operations.fleet import Fleet
from proxy.server.pages.error_pages import Form, Progress, Standing, public_reason
from proxy.server.pages.forms import FormTokens
from proxy.tasks import Tasks

DESCRIBE: Final = "sagemaker:DescribeNotebookInstance"
START: Final = "sagemaker:StartNotebookInstance"
STOP: Final = "sagemaker:StopNotebookInstance"

PATIENCE_SECONDS: Final = 2.5
"""How long a page waits for SageMaker before it shows what is known. The rest follows by itself."""
START_PATH: Final = "/.nbgate/start/"
STOP_PATH: Final = "/.nbgate/stop/"
AWAKE_PATH: Final = "/.nbgate/awake/"
AWAKE: Final = "keep awake"
"""No action of SageMaker's: who may start an instance may also say that it is not to be stopped."""
_PATHS: Final = {START: START_PATH, STOP: STOP_PATH, AWAKE: AWAKE_PATH}


@dataclass(frozen=True, slots=True)
class Beholder:
    """Who looks: a caller, by the gateway of now, at a listener's `port`."""

    gateway: Gateway
    caller: Caller
    port: int

    def may(self, instance: str, action: str = CONNECT, *, username: str | None = None) -> bool:
        caller = self.caller
        return self.gateway.decide(
            caller.client.address,
            instance,
            secure_transport=caller.scheme == "https",
            action=action,
            username=username,
        ).allowed


class Visit(Protocol):
    """What of an `OwnVisit` is used here."""

    @property
    def beholder(self) -> Beholder: ...
    def decide(self, instance: str) -> Decision: ...
    def miss(self) -> None: ...


@dataclass(frozen=True, slots=True)
class View:
    """An instance as one caller may see it.

    `url` is its address, with a slash at the end. `description` is None where it may not be seen, or is not known:
    then `problem` says why not, if it may be told. `start` and `stop` are there where they may be pressed.
    """

    name: str
    url: str
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
        if self.description is None or self.status != InstanceStatus.FAILED:
            return ""
        return public_reason(self.description.failure_reason)


class Sight:
    """Asks the policy and the fleet. `settings` are those of now; `websockets` says how many an instance has open, and
    `awake` what is known of its idleness.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        *,
        fleet: Fleet,
        forms: FormTokens,
        websockets: Callable[[str], int],
        awake: Callable[[str], AwakeState],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._forms = forms
        self._websockets = websockets
        self._awake = awake
        self._clock = clock
        self._tasks = tasks

    def names(self, beholder: Beholder) -> tuple[str, ...]:
        """The instances that exist for this caller, in the configuration's order."""
        tenant = beholder.gateway.tenant(beholder.caller, beholder.port)
        return tuple(
            name
            for name in self._settings().instances
            if (not tenant or name == tenant) and beholder.may(name)
        )

    def reach(self, visit: Visit, name: str) -> None:
        """Raise RouteNotFound unless an instance exists for this caller; that is audited, be it denied or not there."""
        beholder = visit.beholder
        tenant = beholder.gateway.tenant(beholder.caller, beholder.port)
        if name not in self._settings().instances or (tenant and name != tenant):
            visit.miss()
            raise RouteNotFound
        try:
            visit.decide(name)
        except AccessDenied:
            raise RouteNotFound from None

    def url(self, beholder: Beholder, name: str) -> str:
        """Where this caller finds an instance: at the host that it called us by, where the mount leaves that open.

        Raises RouteNotFound where a reload took it away meanwhile.
        """
        if name not in self._settings().instances:
            raise RouteNotFound
        return mount_url(self._settings(), name, caller=beholder.caller, port=beholder.port)

    async def view(self, beholder: Beholder, name: str) -> View:
        """An instance as it is now, asked of SageMaker if need be; what goes wrong there is in the view.

        Raises RouteNotFound where a reload took it away meanwhile.
        """
        if name not in self._settings().instances:
            raise RouteNotFound
        description, problem = None, ""
        leads_to = self._settings().leads_to(name)
        if beholder.may(name, DESCRIBE):
            try:
                description = await self._fleet.describe(name)
            except NbgateError as error:
                problem = error.message
        if name not in self._settings().instances:
            raise RouteNotFound
        if leads_to != self._settings().leads_to(name):
            # What was learnt is another notebook's.
            return self.glance(beholder, name)
        return self._view(beholder, name, description, problem)

    async def views(self, beholder: Beholder) -> list[View]:
        """All that exist for this caller. What SageMaker has not said for a while is shown as it was last seen."""
        before = self._settings()
        asked = {
            name: self._tasks.start(self.view(beholder, name), name=f"show {name}")
            for name in self.names(beholder)
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
            self.glance(beholder, name)
            # Some may have been learnt before a reload that came while others were waited for.
            if task in pending or before.leads_to(name) != now.leads_to(name)
            else task.result()
            for name, task in asked.items()
            if name in now.instances
        ]

    def glance(self, beholder: Beholder, name: str) -> View:
        """An instance as it was last seen, at once."""
        known = self._fleet.known(name) if beholder.may(name, DESCRIBE) else None
        return self._view(beholder, name, known.description if known is not None else None, "")

    def verify(self, beholder: Beholder, name: str, action: str, token: str) -> None:
        """Raise OriginRefused unless `token` is of a button that `form` made for this, where the name still leads."""
        self._forms.verify(
            token,
            address=beholder.caller.address,
            instance=name,
            leads_to=self._settings().leads_to(name),
            action=action,
        )

    def form(self, beholder: Beholder, name: str, action: str) -> Form:
        """A button for an action, to be shown to who may press it."""
        token = self._forms.issue(
            address=beholder.caller.address,
            instance=name,
            leads_to=self._settings().leads_to(name),
            action=action,
        )
        return Form(name, _PATHS[action] + name, token)

    def standing(self, admission: Admission, port: int) -> Standing:
        """What the page of an error may say of the instance that it is about."""
        beholder = Beholder(admission.gateway, admission.caller, port)
        name = admission.instance
        if name not in self._settings().instances:
            return Standing(name)
        view = self.glance(beholder, name)
        if view.description is None:
            # Known by the next turn of the page.
            self._tasks.start(self._peek(name), name=f"look at {name}")
        return Standing(
            name,
            start=self.form(beholder, name, START) if beholder.may(name, START) else None,
            progress=view.progress,
            reason=view.reason,
            home=beholder.gateway.home(beholder.caller, port),
        )

    def progress(self, name: str) -> Progress | None:
        """How far an instance's start has come; None if it is not starting, as far as is known."""
        known = self._fleet.known(name)
        if known is None or known.description.status != InstanceStatus.PENDING:
            return None
        waited = self._clock.monotonic() - known.since
        if known.description.modified_at is not None:
            # It may have been starting before it was first looked at.
            waited = max(waited, (self._clock.now() - known.description.modified_at).total_seconds())
        usual = self._fleet.started_in(name)
        return Progress(name, int(waited), None if usual is None else max(1, math.ceil(usual)))

    async def _peek(self, name: str) -> None:
        try:
            await self._fleet.describe(name)
        except ControlPlaneError:
            pass  # the fleet has said so

    def _view(
        self, beholder: Beholder, name: str, description: InstanceDescription | None, problem: str
    ) -> View:
        may_describe = beholder.may(name, DESCRIBE)
        status = "" if description is None else description.status
        awake = self._awake(name) if status == InstanceStatus.IN_SERVICE else AwakeState()
        return View(
            name,
            self.url(beholder, name),
            description,
            problem,
            self._settings().instances[name].access == "presigned",
            may_describe,
            # To who may start it and see no state, it is offered always: SageMaker refuses what cannot be done.
            may_start=(status in STARTABLE or not may_describe) and beholder.may(name, START),
            may_stop=(status == InstanceStatus.IN_SERVICE or not may_describe) and beholder.may(name, STOP),
            may_keep_awake=awake.after_seconds is not None and beholder.may(name, START),
            progress=self.progress(name) if status == InstanceStatus.PENDING else None,
            websockets=self._websockets(name),
            awake=awake,
        )
