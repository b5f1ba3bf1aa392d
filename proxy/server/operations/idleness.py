"""Instances that are stopped because nobody uses them: the lifecycle, wired to SageMaker, Jupyter and the traffic.

The rule: adapters only. When to stop is judged in `proxy.lifecycle.judge`; here stands who is asked. What is started
for visitors follows the same configuration, and an instance that was stopped idle is not started again by a script.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final

from proxy.aws.control_plane import InstanceDescription
from proxy.aws.keeper import SessionKeeper
from proxy.aws.notebook_api import QuestionLimits, ask_jupyter
from proxy.aws.presigned import SessionKey
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.dataplane.plane import DataPlane
from proxy.dataplane.traffic import Traffic
from proxy.errors import Draining, InstanceNotFound, NotTheStopper
from proxy.faults import Faults
from proxy.lifecycle.awake import AwakeState
from proxy.lifecycle.evidence import Bodies
from proxy.lifecycle.idle_stopper import Events, IdleStopper
from proxy.lifecycle.judge import IdleRules
from proxy.lifecycle.opening import Opening
from proxy.lifecycle.order import THE_GATEWAY, OrderedBy
from proxy.server.operations.admin import Detail
from proxy.server.operations.fleet import Fleet
from proxy.tasks import Tasks

_PATHS: Final = ("/api/status", "/api/kernels", "/api/terminals")
_NOT_FOUND: Final = 404
_GONE: Final = "not configured any more"


class Idleness:
    """One per process; `adopt` follows the configuration."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        plane: DataPlane,
        traffic: Traffic,
        clock: Clock,
        tasks: Tasks,
        faults: Faults,
        events: Events,
        questions: QuestionLimits,
        opening: Opening,
    ) -> None:
        """`traffic` is where the plane's access records go; `questions` bounds what Jupyter is asked."""
        self.opening = opening
        self._notebooks = _Notebooks(questions)
        self.lifecycle = IdleStopper(
            clock=clock,
            tasks=tasks,
            faults=faults,
            instances=_Instances(fleet, opening),
            notebooks=self._notebooks,
            traffic=traffic,
            events=events,
        )
        self._is_stopper = True
        self._plane = plane
        self._traffic = traffic

    def adopt(self, settings: Settings, keepers: Mapping[str, SessionKeeper]) -> None:
        """Go by this configuration from now on."""
        instances = settings.instances
        notebooks: dict[str, Hashable] = {
            name: SessionKey(one.notebook, one.assume_role or "") for name, one in instances.items()
        }
        rules = {
            name: IdleRules(
                after_seconds=one.lifecycle.stop_after_idle_seconds if settings.stopper else None,
                warning_seconds=one.lifecycle.stop_warning_seconds,
                dry_run=one.lifecycle.stop_dry_run,
                ignore_unknown_terminals=one.lifecycle.stop_ignore_unknown_terminals,
            )
            for name, one in instances.items()
        }
        self._is_stopper = settings.stopper
        self._notebooks.keepers = keepers
        self.lifecycle.adopt(rules, notebooks)
        self.opening.adopt(
            {name: notebooks[name] for name, one in instances.items() if one.lifecycle.start_on_open}
        )
        self._plane.log = self._traffic.watch(
            {
                name: instances[name].mount.prefix
                for name, rule in rules.items()
                if rule.after_seconds is not None
            },
            notebooks,
        )

    def keep_awake(self, name: str, hours: float, by: OrderedBy = THE_GATEWAY) -> AwakeState:
        """As `IdleStopper.keep_awake`. Raises NotTheStopper; and Draining, since a promise would soon be forgotten."""
        if not self._is_stopper:
            raise NotTheStopper
        if self._plane.leaving:
            raise Draining
        return self.lifecycle.keep_awake(name, hours, by)

    def details(self) -> dict[str, Detail]:
        """For /readyz and metrics: counts since the process started."""
        return {
            "idle_stops": self.lifecycle.stops,
            "idle_hours_saved": round(self.lifecycle.saved_hours, 2),
            "starts_on_open": self.opening.starts,
        }


class _Instances:
    """Implements `proxy.lifecycle.idle_stopper.Instances`."""

    def __init__(self, fleet: Fleet, opening: Opening) -> None:
        self._fleet = fleet
        self._opening = opening

    async def describe(self, name: str, *, max_age_seconds: float) -> InstanceDescription:
        return await self._fleet.describe(name, max_age_seconds=max_age_seconds)

    async def stop(self, name: str) -> None:
        await self._fleet.stop(name, by=OrderedBy("idleness"))
        self._opening.stopped_idle(name)


class _Notebooks:
    """`proxy.lifecycle.idle_stopper.Notebooks`. Signs in where nobody has: what is not read is not stopped."""

    def __init__(self, limits: QuestionLimits) -> None:
        self.keepers: Mapping[str, SessionKeeper] = {}
        self._limits = limits

    async def read(self, name: str) -> Bodies:
        keeper = self.keepers.get(name)
        if keeper is None:
            raise InstanceNotFound(detail=_GONE)
        status, kernels, terminals = await ask_jupyter(keeper, _PATHS, self._limits)
        return Bodies(
            status.body,
            kernels.body,
            # Terminals can be switched off; the other two always answer.
            None if terminals.status == _NOT_FOUND else terminals.body,
            terminals.date,
        )
