"""What the page of an error says of the instance that it is about, as far as its caller may know.

The rule: a page is shown at once. What SageMaker has not said yet is asked for meanwhile, and known by the next turn of
the page. A state is told to who may describe the instance, and a button offered to who may press it.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.admission.verdict import Admission
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.errors import ControlPlaneError
from proxy.policy.context import DESCRIBE, START
from proxy.server.instance_starts import progress_of
from proxy.server.operations.fleet import Fleet
from proxy.server.pages.buttons import Buttons
from proxy.server.pages.error_pages import InstanceNotice, failure_reason
from proxy.server.viewer import Viewer
from proxy.tasks import Tasks


class Notices:
    """Makes them. `settings` are those of now."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        fleet: Fleet,
        buttons: Buttons,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._buttons = buttons
        self._clock = clock
        self._tasks = tasks

    def about(self, admission: Admission, port: int) -> InstanceNotice:
        """The instance that a caller was admitted to, at a listener's `port`."""
        viewer = Viewer(admission.rules, admission.caller, port)
        name = admission.instance
        if name not in self._settings().instances:
            return InstanceNotice(name)
        known = self._fleet.known(name) if viewer.may(name, DESCRIBE) else None
        if known is None:
            self._tasks.start(self._look(name), name=f"look at {name}")
        return InstanceNotice(
            name,
            start=self._buttons.make(viewer, name, START) if viewer.may(name, START) else None,
            progress=None if known is None else progress_of(name, fleet=self._fleet, clock=self._clock),
            reason="" if known is None else failure_reason(known.description),
            home=viewer.home,
        )

    async def _look(self, name: str) -> None:
        try:
            await self._fleet.describe(name)
        except ControlPlaneError:
            pass  # the fleet has said so
