"""The last of three steps: open the listeners, keep the loops going, and in the end go away without a loss.

The rule: everything opened here is closed here. What is served was put together in `proxy.server.serving`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from proxy.clock import Clock, SystemClock
from proxy.config.binds import Bind, SocketAddress
from proxy.config.load import load as load_settings
from proxy.config.sections import Admin
from proxy.config.settings import Settings
from proxy.dataplane.plane import SWEEP_SECONDS, DataPlane
from proxy.dataplane.register import DRAIN_STEP_SECONDS
from proxy.lifecycle.idle_stopper import TICK_SECONDS
from proxy.server import checking, compose
from proxy.server.listening import OpenListener, listen
from proxy.server.operations.admin import admin_application
from proxy.server.operations.admin_listener import open_admin
from proxy.server.operations.longest_turn import LongestTurn
from proxy.server.operations.readiness import metrics, readiness
from proxy.server.process import GatewayProcess, open_process
from proxy.server.reload import DATE_LOOK_SECONDS, Reloader
from proxy.server.serving import Serving, prepare_serving
from proxy.server.watch import LOOK_SECONDS, Watcher
from proxy.telemetry.logs import Logs, open_logs

FLUSH_SECONDS = 0.2
READ_SECONDS = 120.0
"""How long reading a changed configuration may take before the loop that follows it counts as stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningGateway:
    """A gateway that serves. `addresses` are the bound ones, in the order of the configuration's listeners."""

    process: GatewayProcess
    serving: Serving
    listeners: tuple[OpenListener, ...]
    admin_address: SocketAddress | None
    closing: AsyncExitStack

    @property
    def addresses(self) -> list[Bind]:
        return [opened.address for opened in self.listeners]

    @property
    def plane(self) -> DataPlane:
        return self.serving.plane

    @property
    def reloader(self) -> Reloader:
        return self.serving.reloader

    @property
    def logs(self) -> Logs:
        return self.process.logs

    def stop_listening(self) -> None:
        """Take no new connections."""
        self.plane.faults.each("drain", self.listeners, OpenListener.close)

    async def drain(
        self,
        seconds: float,
        *,
        delay_seconds: float = 0.0,
        is_hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        """Go away without a loss: not ready, but serving, for `delay_seconds`; then stop listening, and let what is
        under way end, for `seconds` at most. `is_hurried` ends both waits.
        """
        faults = self.plane.faults
        self.plane.leaving = True
        # What fails at it must not have everything cut that is under way.
        faults.each("drain", (self.serving.idleness.lifecycle,), lambda one: one.leave())
        clock = self.plane.clock
        stop_at = clock.monotonic() + delay_seconds
        while clock.monotonic() < stop_at and not is_hurried():
            await clock.sleep(min(DRAIN_STEP_SECONDS, stop_at - clock.monotonic()))
        self.stop_listening()
        faults.each("drain", (self.serving.streams,), lambda one: one.close())
        await self.plane.drain(seconds, is_hurried=is_hurried)

    async def end(self) -> None:
        """End everything at once, but for the log."""
        self.stop_listening()
        await self.plane.close()
        await self.closing.aclose()

    async def close(self) -> None:
        """End everything at once."""
        try:
            await self.end()
        finally:
            self.logs.close()


async def start(
    settings: Settings,
    *,
    clock: Clock | None = None,
    log_fd: int = 1,
    upstream_tls: ssl.SSLContext | None = None,
    load: Callable[[Path], Settings] | None = None,
) -> RunningGateway:
    """Open the listeners and serve, in the running event loop. `load` reads the configuration when it changed.

    Raises OSError where a listener cannot be opened, or a certificate not be read.
    """
    clock = clock or SystemClock()
    upstream_tls = upstream_tls or compose.upstream_trust(settings)
    async with AsyncExitStack() as unless_started:
        logs = open_logs(
            clock,
            fd=log_fd,
            style=settings.log.format,
            level=settings.log.level,
            access=settings.log.access,
            denials=settings.log.denials == "both",
            environ=os.environ,
        )
        unless_started.callback(logs.close)
        closing = await unless_started.enter_async_context(AsyncExitStack())
        process = open_process(settings, clock=clock, logs=logs, upstream_tls=upstream_tls, closing=closing)
        serving = prepare_serving(settings, process, load=load or partial(load_settings, environ=os.environ))
        listeners = _listen(settings, serving.plane, closing)
        certificates = _look_at_certificates(settings, process)
        admin_address = None
        if settings.admin is not None:
            admin_address = await _open_admin(
                settings.admin, process=process, serving=serving, certificates=certificates, closing=closing
            )
        _start_rounds(settings, process, serving)
        unless_started.pop_all()
        return RunningGateway(
            process=process,
            serving=serving,
            listeners=listeners,
            admin_address=admin_address,
            closing=closing.pop_all(),
        )


def _listen(settings: Settings, plane: DataPlane, closing: AsyncExitStack) -> tuple[OpenListener, ...]:
    listeners = []
    for listener in settings.listeners:
        opened = listen(plane, listener)
        closing.callback(opened.close)
        listeners.append(opened)
    return tuple(listeners)


def _look_at_certificates(settings: Settings, process: GatewayProcess) -> checking.Checked:
    certificates = checking.certificates(settings, now=process.clock.now())
    for finding in certificates.problems:
        process.logs.events.error("a certificate", message=finding.message)
    for finding in certificates.warnings:
        process.logs.events.warning("a certificate", message=finding.message, hint=finding.hint)
    return certificates


async def _open_admin(
    admin: Admin,
    *,
    process: GatewayProcess,
    serving: Serving,
    certificates: checking.Checked,
    closing: AsyncExitStack,
) -> SocketAddress:
    longest_turn = LongestTurn(asyncio.get_running_loop())
    closing.callback(longest_turn.stop)
    application = admin_application(
        partial(
            readiness,
            reloader=serving.reloader,
            plane=serving.plane,
            idleness=serving.idleness,
            certificates=certificates,
            sagemaker=process.sagemaker,
        ),
        partial(
            metrics,
            plane=serving.plane,
            reloader=serving.reloader,
            idleness=serving.idleness,
            logs=process.logs,
            longest_turn=longest_turn,
        ),
        partial(_unwell, process),
        hosts=admin.hosts,
    )
    return await open_admin(admin.bind, application, plane=serving.plane, closing=closing)


def _unwell(process: GatewayProcess) -> tuple[str, ...]:
    """What has died of what must not, in words."""
    return (*process.rounds.unwell(), *process.logs.unwell(), *process.sagemaker.unwell())


def _start_rounds(settings: Settings, process: GatewayProcess, serving: Serving) -> None:
    rounds, reloader = process.rounds, serving.reloader
    rounds.start("sweep", serving.plane.sweep, every_seconds=SWEEP_SECONDS)
    rounds.start("flush", process.logs.flush, every_seconds=FLUSH_SECONDS)
    rounds.start("dates", reloader.follow_dates, every_seconds=DATE_LOOK_SECONDS, at_once=True)
    rounds.start("idleness", serving.idleness.lifecycle.tick, every_seconds=TICK_SECONDS, at_once=True)
    reloader.tell_warnings()
    if settings.files:
        watcher = Watcher(reloader.files, clock=process.clock)
        rounds.start(
            "configuration",
            partial(_follow, watcher, reloader),
            every_seconds=LOOK_SECONDS,
            stuck_seconds=READ_SECONDS,
            at_once=True,
        )


async def _follow(watcher: Watcher, reloader: Reloader) -> None:
    if not await watcher.has_changed():
        return
    try:
        await reloader.reload_now(asked=False)
    except BaseException:
        watcher.forget()
        raise
