"""What is served, exchanged while it is served: when the file changes, on SIGHUP, and when a date passes.

The rule: a version of the configuration counts whole or not at all. It is read and understood off the event
loop's thread; then one step exchanges the gateway and all that goes with it, and the data plane judges what is
open. A version that cannot be used changes nothing, and is shouted about until there is one that can. Sections that
only a restart can change keep their old content, and that is said, but what was changed beside them counts: to
hold it back would go on letting in whom the operator has just shut out.
It must not know sockets, nor how files are watched.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from proxy.aws.keeper import SessionKeeper
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.dataplane.plane import Current, DataPlane
from proxy.errors import ConfigError, Problem
from proxy.faults import Faults
from proxy.gateway import Gateway
from proxy.server.in_effect import InEffect
from proxy.server.operations.admin import Detail
from proxy.telemetry.events import EventLog, Threshold

DATE_LOOK_SECONDS: Final = 0.5
"""The wall clock may be set meanwhile: no sleep until a date is longer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadStatus:
    """How far what is served is what the files say.

    `applied` counts versions that took effect since the start, `refused` those that could not be used;
    `problems` are those of the files as they are now, none if they are in effect; `restart_for` names the
    sections whose new content waits for a restart.
    """

    applied: int = 0
    refused: int = 0
    problems: tuple[Problem, ...] = ()
    restart_for: tuple[str, ...] = ()
    applied_at: datetime | None = None

    @property
    def word(self) -> str:
        if self.problems:
            return "refused"
        return "restart needed" if self.restart_for else "in effect"

    def details(self) -> dict[str, Detail]:
        """For /readyz, where anybody may ask: counts and sections' names, nothing of what stands in them."""
        return {
            "config": self.word,
            "config_problems": len(self.problems),
            "config_restart_needed_for": ", ".join(self.restart_for),
            "config_applied_at": "" if self.applied_at is None else f"{self.applied_at:%Y-%m-%dT%H:%M:%SZ}",
            "reloads_applied": self.applied,
            "reloads_refused": self.refused,
        }


def servable(current: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """`new` as far as it can be served without a restart, and the sections for which that is not far enough."""
    served = replace(
        new,
        listeners=current.listeners,
        admin=current.admin,
        # A role belongs to an instance's session, of which there can be another one at any time.
        aws=replace(current.aws, assume_role=new.aws.assume_role),
        log=replace(current.log, level=new.log.level),
    )
    sections = ("listeners", "admin", "aws", "log")
    return served, tuple(name for name in sections if getattr(served, name) != getattr(new, name))


def _nobody_follows(_settings: Settings, _keepers: Mapping[str, SessionKeeper]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of the files that is ready to be served."""

    settings: Settings
    gateway: Gateway
    restart_for: tuple[str, ...]
    is_news: bool


class MakeGateway(Protocol):
    """Makes the gateway of a configuration, at an instant (UTC)."""

    def __call__(self, settings: Settings, *, at: datetime) -> Gateway: ...


class MakeKeepers(Protocol):
    """Makes a keeper for each instance of a configuration, out of those that are known."""

    def __call__(
        self, settings: Settings, *, known: Mapping[str, SessionKeeper]
    ) -> Mapping[str, SessionKeeper]: ...


class Reloader:
    """Exchanges what counts now, and owns the keepers of sessions.

    `load` reads the files (raises ConfigError); `threshold` is that of `events`. `on_adopt` is told what is served from
    now on, in the same step.
    """

    def __init__(
        self,
        in_effect: InEffect,
        *,
        keepers: Mapping[str, SessionKeeper],
        plane: DataPlane,
        load: Callable[[Path], Settings],
        make_gateway: MakeGateway,
        make_keepers: MakeKeepers,
        events: EventLog,
        faults: Faults,
        threshold: Threshold,
        clock: Clock,
        on_adopt: Callable[[Settings, Mapping[str, SessionKeeper]], None] = _nobody_follows,
    ) -> None:
        self.status = ReloadStatus(applied_at=clock.now())
        self.keepers = keepers
        self._in_effect = in_effect
        self._plane = plane
        self._load = load
        self._make_gateway = make_gateway
        self._make_keepers = make_keepers
        self._events = events
        self._faults = faults
        self._threshold = threshold
        self._clock = clock
        self._on_adopt = on_adopt
        self._warned: frozenset[Problem] = frozenset()
        self._one_at_a_time = asyncio.Lock()

    @property
    def settings(self) -> Settings:
        """Those in effect."""
        return self._in_effect.settings()

    def files(self) -> tuple[Path, ...]:
        """The files to watch: those that are in effect, and those in which the last version had problems."""
        blamed = (Path(problem.file) for problem in self.status.problems)
        return tuple(dict.fromkeys((*self.settings.files, *blamed)))

    async def reload_now(self, *, asked: bool = True) -> bool:
        """Read the files and serve what they say; True if that is what is served when this returns.

        What changes nothing, or is refused for the same problems as before, is worth a word only if somebody
        `asked`.
        """
        async with self._one_at_a_time:
            try:
                version = await asyncio.to_thread(self._read)
                if version.is_news:
                    await self._serve(version)
                else:
                    self._confirm(version, asked=asked)
            except ConfigError as error:
                self._refuse(error.problems, asked=asked)
                return False
            except Exception as error:
                self._faults.met("reload", error)
                message = f"could not be put into effect: {type(error).__name__}"
                self._refuse([Problem(str(self.settings.source), 0, where="", message=message)], asked=asked)
                return False
            return True

    async def follow_dates(self) -> float:
        """Where a date of the policy has passed, serve a gateway that decides by the time of now. Returns in how many
        seconds the next one does; called again by then, and no later than in `DATE_LOOK_SECONDS`.
        """
        if self._date_in() <= 0:
            gateway = self._make_gateway(self.settings, at=self._clock.now())
            ended = await self._adopt(self.settings, gateway, self.keepers)
            self._events.info("a date in the policy has passed", **ended)
        return self._date_in()

    def _date_in(self) -> float:
        """Seconds until the next date that changes a decision."""
        changes_at = self._in_effect.gateway().rules.judge.changes_at
        return math.inf if changes_at is None else (changes_at - self._clock.now()).total_seconds()

    def _read(self) -> _Version:
        """In a thread of its own."""
        new = self._load(self.settings.source)
        served, restart_for = servable(self.settings, new)
        # Where lines have moved, explanations have to point at the new ones.
        is_news = served != self.settings or served.origins != self.settings.origins
        return _Version(served, self._make_gateway(served, at=self._clock.now()), restart_for, is_news)

    async def _serve(self, version: _Version) -> None:
        old = self.keepers
        keepers = self._make_keepers(version.settings, known=old)
        self._note(version)
        self._threshold.move(version.settings.log.level)
        ended = await self._adopt(version.settings, version.gateway, keepers)
        gone = set(old.values()) - set(keepers.values())
        self._faults.each("reload", gone, lambda keeper: keeper.close())
        self._events.info(
            "configuration reloaded", file=str(version.settings.source), instances=list(keepers), **ended
        )
        self._tell_restart(version)
        self.tell_warnings()

    async def _adopt(
        self, settings: Settings, gateway: Gateway, keepers: Mapping[str, SessionKeeper]
    ) -> dict[str, int]:
        """Serve this from now on; returns how much of what was open was ended, by kind, once all is judged."""
        before = self._plane.open.withdrawn.copy()
        self._in_effect.exchange(settings, gateway)
        self.keepers = keepers
        self._on_adopt(settings, keepers)
        await self._plane.adopt(
            Current(gateway=gateway, keepers=keepers, limits=settings.limits, timeouts=settings.timeouts)
        )
        ended = self._plane.open.withdrawn - before
        return {f"{kind}_ended": ended[kind] for kind in ("websockets", "requests", "connections")}

    def _confirm(self, version: _Version, *, asked: bool) -> None:
        """The files say what is served already, or nothing more than a restart could change."""
        is_news = asked or bool(self.status.problems) or version.restart_for != self.status.restart_for
        self._note(version, applied=0)
        if is_news:
            self._events.info("configuration is in effect", file=str(version.settings.source))
            self._tell_restart(version)

    def _note(self, version: _Version, *, applied: int = 1) -> None:
        self.status = replace(
            self.status,
            applied=self.status.applied + applied,
            problems=(),
            restart_for=version.restart_for,
            applied_at=self._clock.now() if applied else self.status.applied_at,
        )

    def tell_warnings(self) -> None:
        """Say what of the configuration in effect is hardly meant, each once for as long as it is there."""
        there = frozenset(replace(one, line=0) for one in self.settings.warnings)
        for warning in self.settings.warnings:
            if replace(warning, line=0) not in self._warned:
                self._events.warning("configuration warning", problem=str(warning))
        self._warned = there

    def _tell_restart(self, version: _Version) -> None:
        if version.restart_for:
            self._events.warning(
                "configuration changed where only a restart helps", sections=list(version.restart_for)
            )

    def _refuse(self, problems: Sequence[Problem], *, asked: bool) -> None:
        problems = tuple(problems)
        if problems == self.status.problems and not asked:
            return
        self.status = replace(self.status, refused=self.status.refused + 1, problems=problems)
        self._events.error(
            "configuration refused, the one before it stays in effect",
            file=str(self.settings.source),
            problems=[str(problem) for problem in problems],
        )
