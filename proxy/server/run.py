"""Run the gateway: open the listeners, sweep, follow the configuration, and on SIGTERM drain.

The rule: everything opened here is closed here. What is served is put together in `proxy.server.compose`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy import __version__
from proxy.aws.keeper import SessionKeeper
from proxy.aws.sagemaker import SageMaker
from proxy.chance import new_id, secret_key
from proxy.clock import Clock, SystemClock
from proxy.config.load import load as load_settings
from proxy.config.settings import Bind, Limits, Settings, SocketAddress
from proxy.dataplane import descriptors
from proxy.dataplane.plane import SWEEP_SECONDS, DataPlane
from proxy.dataplane.register import DRAIN_STEP_SECONDS
from proxy.dataplane.traffic import Traffic
from proxy.faults import Faults
from proxy.identity.entrance import Entrance
from proxy.identity.sigv4 import Signatures
from proxy.identity.tokens import Tokens
from proxy.lifecycle.idle_stopper import TICK_SECONDS, IdleStopper
from proxy.policy.dates import format_instant
from proxy.rounds import Rounds
from proxy.server import checking, compose
from proxy.server.api.json_api import JsonApi
from proxy.server.api.links import Links
from proxy.server.listening import OpenListener, address_of, bind, listen
from proxy.server.operations import aws_check
from proxy.server.operations.admin import Readiness, admin_application
from proxy.server.operations.admin_connection import HEAD_BYTES
from proxy.server.operations.admin_listener import AdminListener
from proxy.server.operations.ending import CLOSE_SECONDS, Ending
from proxy.server.operations.fleet import Fleet
from proxy.server.operations.idleness import ByItself
from proxy.server.operations.longest_turn import LongestTurn
from proxy.server.operations.telling import (
    NotebookTeller,
    SessionTeller,
    audit,
    task_failed,
    tell_fault,
    tell_unkept,
)
from proxy.server.own_pages import OwnPages
from proxy.server.pages import link_page, sign_in
from proxy.server.pages.forms import FormTokens
from proxy.server.pages.portal import Portal
from proxy.server.pages.streams import Streams
from proxy.server.reload import DATE_LOOK_SECONDS, Reloader
from proxy.server.sagemaker.service import SageMakerApi
from proxy.server.sagemaker.signed import Signers, access_keys
from proxy.server.sight import Sight
from proxy.server.watch import LOOK_SECONDS, Watcher
from proxy.signals import PROCESS
from proxy.tasks import Tasks
from proxy.telemetry.events import EventLog
from proxy.telemetry.logs import Logs, open_logs
from proxy.telemetry.troubles import Troubles

FLUSH_SECONDS = 0.2
GC_THRESHOLDS = (10_000, 20, 50)
"""A proxy makes much short-lived garbage and few cycles: look for those less often than Python would. Not
much less: to look through so many new objects is one turn of the loop, at up to 1 us for each."""
READ_SECONDS = 120.0
"""How long reading a changed configuration may take before the loop that follows it counts as stuck."""
SWITCH_SECONDS = 0.0005
"""How long traffic may wait for another thread to let go of the interpreter. A large configuration is read in one:
with Python's 5 ms, each answer meanwhile would come up to 14 ms later, with this 2 ms."""


@dataclass(slots=True)
class RunningGateway:
    """A gateway that serves. `addresses` are the bound ones, in the order of the configuration's listeners."""

    plane: DataPlane
    fleet: Fleet
    lifecycle: IdleStopper
    tokens: Tokens
    pages: OwnPages
    streams: Streams
    forms: FormTokens
    reloader: Reloader
    logs: Logs
    tasks: Tasks
    rounds: Rounds
    sagemaker: SageMaker
    addresses: list[Bind]
    admin_address: SocketAddress | None
    _listeners: list[OpenListener]
    _stack: AsyncExitStack

    def stop_listening(self) -> None:
        """Take no new connections."""
        self.plane.faults.each("drain", self._listeners, OpenListener.close)

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
        faults.each("drain", (self.lifecycle,), lambda one: one.leave())
        clock = self.plane.clock
        stop_at = clock.monotonic() + delay_seconds
        while clock.monotonic() < stop_at and not is_hurried():
            await clock.sleep(min(DRAIN_STEP_SECONDS, stop_at - clock.monotonic()))
        self.stop_listening()
        faults.each("drain", (self.streams,), lambda one: one.close())
        await self.plane.drain(seconds, is_hurried=is_hurried)

    async def end(self) -> None:
        """End everything at once, but for the log."""
        self.stop_listening()
        await self.plane.close()
        await self._stack.aclose()

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
    files = descriptors.allowed()
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
        stack = await unless_started.enter_async_context(AsyncExitStack())
        faults = Faults(partial(tell_fault, logs.events), monotonic=clock.monotonic)
        troubles = Troubles(clock, logs.events.warning)
        stack.callback(_faults_of_callbacks(faults))

        def failed(name: str, error: BaseException) -> None:
            plane.ran_out(error)
            task_failed(logs.events, faults, name, error)

        tasks = Tasks(failed)
        rounds = Rounds(clock=clock, tasks=tasks, faults=faults)
        sagemaker = SageMaker(compose.aws_options(settings), clock=clock)
        stack.callback(sagemaker.close)
        stack.push_async_callback(tasks.close)
        tokens = compose.tokens(settings, clock=clock)
        signatures = Signatures(access_keys(settings.api), region=settings.aws.region, clock=clock)
        entrance = Entrance(tokens, clock=clock)
        make_gateway = partial(compose.gateway, audit=audit(logs, troubles), entrance=entrance)
        door = make_gateway(settings, at=clock.now())
        session_teller = SessionTeller(logs.events, troubles, logs.counts, settings=lambda: reloader.settings)
        make_keeper = compose.keeper_maker(
            settings,
            sagemaker=sagemaker,
            clock=clock,
            tasks=tasks,
            on_event=session_teller.happened,
            on_news=session_teller.told,
            on_unkept=tell_unkept(logs.events),
            tls=upstream_tls,
        )
        keepers = compose.keepers(settings, make_keeper)
        fleet = Fleet(
            settings,
            sessions=keepers,
            control_plane=sagemaker.control_plane,
            clock=clock,
            tasks=tasks,
            rounds=rounds,
            faults=faults,
            events=logs.events,
        )
        # Its handlers are added below, by the parts that they belong to.
        pages = OwnPages(on_fault=lambda request_id, error: faults.met("page", error, what=request_id))
        log = logs.access.write if logs.access is not None else logs.counts.count
        sign_in.register(pages)
        link_page.register(pages)
        forms = FormTokens(settings.tokens.keys, own_key=secret_key(), clock=clock)
        sight = Sight(
            lambda: reloader.settings,
            fleet=fleet,
            forms=forms,
            websockets=lambda name: sum(record.instance == name for record in plane.open.relays.values()),
            awake=lambda name: by_itself.lifecycle.state(name),
            clock=clock,
            tasks=tasks,
        )
        plane = compose.data_plane(
            settings,
            door=door,
            sessions=keepers,
            clock=clock,
            new_id=new_id,
            tasks=tasks,
            log=log,
            faults=faults,
            tls=upstream_tls,
            pages=pages,
            standing=sight.standing,
            warn=logs.events.warning,
            files=files,
        )
        _tell_held(settings.limits, logs.events, files=files)
        by_itself = ByItself(
            fleet=fleet,
            plane=plane,
            traffic=Traffic(clock, log),
            clock=clock,
            tasks=tasks,
            faults=faults,
            events=logs.events,
            questions=compose.question_limits(settings, tls=upstream_tls),
        )
        by_itself.adopt(settings, keepers)
        notebook_teller = NotebookTeller(logs.events, troubles, settings=lambda: reloader.settings)
        plane.on_trouble = notebook_teller.failed
        plane.on_recovery = notebook_teller.answered

        def follow(settings: Settings, keepers: Mapping[str, SessionKeeper]) -> None:
            followers: tuple[Callable[[], object], ...] = (
                lambda: tokens.adopt(settings.tokens.keys, bind_address=settings.tokens.bind_address),
                lambda: forms.adopt(settings.tokens.keys),
                lambda: signatures.adopt(access_keys(settings.api)),
                lambda: fleet.adopt(settings, keepers),
                lambda: by_itself.adopt(settings, keepers),
                lambda: _tell_held(settings.limits, logs.events, files=files),
            )
            # One that fails must not keep what the file says from the others, the policy least of all.
            faults.each("reload", followers, lambda adopt: adopt())

        reloader = Reloader(
            settings,
            gateway=door,
            keepers=keepers,
            plane=plane,
            load=load or partial(load_settings, environ=os.environ),
            make_gateway=lambda settings, at: make_gateway(settings, at=at),
            make_keepers=lambda settings, known: compose.keepers(settings, make_keeper, known=known),
            events=logs.events,
            faults=faults,
            threshold=logs.threshold,
            clock=clock,
            on_adopt=follow,
        )
        streams = Streams(
            sight=sight,
            fleet=fleet,
            limit=lambda: reloader.settings.limits.event_streams_per_address,
            clock=clock,
            rounds=rounds,
            faults=faults,
        )
        streams.register(pages)
        Portal(sight=sight, fleet=fleet, keep_awake=by_itself.keep_awake).register(pages)
        link = Links(sight=sight, tokens=tokens, settings=lambda: reloader.settings, clock=clock)
        JsonApi(sight=sight, fleet=fleet, keep_awake=by_itself.keep_awake, link=link).register(pages)
        SageMakerApi(
            fleet=fleet,
            tokens=tokens,
            settings=lambda: reloader.settings,
            events=logs.events,
            identify=Signers(signatures, api=lambda: reloader.settings.api),
        ).add_to(pages)
        listeners: list[OpenListener] = []
        for listener in settings.listeners:
            opened = listen(plane, listener)
            stack.callback(opened.close)
            listeners.append(opened)
        addresses = [opened.address for opened in listeners]
        certificates = checking.certificates(settings, now=clock.now())
        for finding in certificates.problems:
            logs.events.error("a certificate", message=finding.message)
        for finding in certificates.warnings:
            logs.events.warning("a certificate", message=finding.message, hint=finding.hint)
        longest_turn = LongestTurn(asyncio.get_running_loop())
        stack.callback(longest_turn.stop)
        admin_address = None
        if settings.admin is not None:
            application = admin_application(
                lambda: _readiness(reloader, plane, by_itself, certificates, sagemaker),
                partial(_metrics, plane, reloader, by_itself, logs, longest_turn),
                lambda: (*rounds.unwell(), *logs.unwell(), *sagemaker.unwell()),
                hosts=settings.admin.hosts,
            )
            runner = web.AppRunner(
                application, access_log=None, max_line_size=HEAD_BYTES, max_field_size=HEAD_BYTES
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            server = runner.server
            assert server is not None
            sock = bind(settings.admin.bind)
            admin = AdminListener(
                sock,
                make=server,
                seconds=lambda: plane.current.timeouts.request_head_seconds,
                refused=plane.refused,
                on_fault=plane.ran_out,
                clock=clock,
                tasks=tasks,
            )
            stack.callback(admin.close)
            admin.open()
            admin_address = address_of(sock)
        rounds.start("sweep", plane.sweep, every_seconds=SWEEP_SECONDS)
        rounds.start("flush", logs.flush, every_seconds=FLUSH_SECONDS)
        rounds.start("dates", reloader.follow_dates, every_seconds=DATE_LOOK_SECONDS, at_once=True)
        rounds.start("idleness", by_itself.lifecycle.tick, every_seconds=TICK_SECONDS, at_once=True)
        reloader.tell_warnings()
        if settings.files:
            watcher = Watcher(reloader.files, clock=clock)
            rounds.start(
                "configuration",
                partial(_follow, watcher, reloader),
                every_seconds=LOOK_SECONDS,
                stuck_seconds=READ_SECONDS,
                at_once=True,
            )
        unless_started.pop_all()
        return RunningGateway(
            plane,
            fleet,
            by_itself.lifecycle,
            tokens,
            pages,
            streams,
            forms,
            reloader,
            logs,
            tasks,
            rounds,
            sagemaker,
            addresses,
            admin_address,
            listeners,
            stack.pop_all(),
        )


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; the process's main work."""
    import uvloop

    # Done already, unless somebody else than `proxy.__main__` runs the command.
    PROCESS.take()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    asked, hurry = asyncio.Event(), asyncio.Event()
    running: RunningGateway | None = None

    def within_seconds() -> float:
        if running is None:
            return CLOSE_SECONDS
        timeouts = running.reloader.settings.timeouts
        return timeouts.drain_delay_seconds + timeouts.drain_seconds + CLOSE_SECONDS

    def write_log(seconds: float) -> None:
        if running is not None:
            running.logs.close(timeout_seconds=seconds)

    def asked_to_end(times: int) -> None:
        """The first signal ends the serving, a second one the waiting, and a third one the process itself."""
        if times == 1:
            ending.begin()
            loop.call_soon_threadsafe(asked.set)
        elif times == 2:
            loop.call_soon_threadsafe(hurry.set)
        else:
            ending.at_once()

    ending = Ending(within_seconds=within_seconds, write_log=write_log)
    PROCESS.on_stop(asked_to_end)
    descriptors.take_all()
    running = await start(settings)
    PROCESS.on_reload(lambda: loop.call_soon_threadsafe(_reload, running))
    events = running.logs.events
    events.info(
        "serving",
        version=__version__,
        listeners=[str(address) for address in running.addresses],
        admin=str(running.admin_address) if running.admin_address else None,
        instances=list(settings.instances),
    )
    # What was made until now stays: the collector need not look at it, and was off while it was made (proxy.cli).
    # A last look would stop the loop for 50 ms, just when the first callers come, and find half a megabyte.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    sys.setswitchinterval(SWITCH_SECONDS)
    # Whoever started it looks at the log now, not when the first visitor comes.
    running.tasks.start(look_at_aws(running, settings), name="first look at AWS")
    # Who was asked to end while it started has nobody to wait for.
    if not asked.is_set():
        await asked.wait()
        await _drain(running, is_hurried=hurry.is_set)
    events.info("stopped")
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await running.end()
    except TimeoutError:
        events.warning("ended although something hangs", seconds=CLOSE_SECONDS)
    except Exception as error:
        running.plane.faults.met("end", error)
    ending.leave()


async def look_at_aws(running: RunningGateway, settings: Settings) -> None:
    """Say what stands in the way at AWS; nobody waits for it."""
    events = running.logs.events
    if (region := aws_check.unknown_region(settings)) is not None:
        events.warning("the Region is not known", message=region.message, hint=region.hint)
    async for answered in aws_check.first_look(settings, running.sagemaker):
        error = answered.error
        assert error is not None
        instance = settings.instances[answered.about]
        events.error(
            "AWS does not let the gateway do its work",
            instance=instance.name,
            notebook=instance.notebook,
            region=settings.aws.region,
            **error.log_fields(),
        )


async def _drain(running: RunningGateway, *, is_hurried: Callable[[], bool]) -> None:
    timeouts = running.reloader.settings.timeouts
    delay, seconds = timeouts.drain_delay_seconds, timeouts.drain_seconds
    running.logs.events.info("draining", delay_seconds=delay, seconds=seconds)
    try:
        await running.drain(seconds, delay_seconds=delay, is_hurried=is_hurried)
    except Exception as error:
        # The process ends all the same.
        running.plane.faults.met("drain", error)


def _reload(running: RunningGateway) -> None:
    running.tasks.start(running.reloader.reload_now(), name="reload")


def _tell_held(limits: Limits, events: EventLog, *, files: int | None) -> None:
    """Say so where fewer connections can be held than the configuration says."""
    if files is not None and (held := descriptors.connections_for(files)) < limits.connections:
        needed = descriptors.needed_for(limits.connections)
        events.warning(
            "fewer connections can be held than limits.connections",
            configured=limits.connections,
            held=held,
            file_descriptors=files,
            needed=needed,
            hint=f"set LimitNOFILE={needed} (systemd), ulimit -n {needed}, or limits.connections: {held}",
        )


def _readiness(
    reloader: Reloader,
    plane: DataPlane,
    by_itself: ByItself,
    certificates: checking.Checked,
    sagemaker: SageMaker,
) -> Readiness:
    ends_at = certificates.ends_at
    # A configuration that was refused is no reason to send callers elsewhere: what counted before still does.
    return Readiness(
        ready=not plane.leaving,
        details={
            "draining": plane.leaving,
            "instances": len(reloader.settings.instances),
            "connections": len(plane.open.connections),
            "websockets": len(plane.open.relays),
            "aws": sagemaker.last_answer,
            "aws_region": aws_check.region_in_words(reloader.settings),
            **({"certificate_ends_at": format_instant(ends_at)} if ends_at is not None else {}),
            **by_itself.details(),
            **reloader.status.details(),
        },
    )


def _metrics(
    plane: DataPlane,
    reloader: Reloader,
    by_itself: ByItself,
    logs: Logs,
    longest_turn: LongestTurn,
    accept: str,
) -> tuple[bytes, str]:
    # Its library is loaded when somebody first asks, in some 10 ms: most gateways start, and many run, without.
    from proxy.server.operations.metrics import exposition

    return exposition(
        plane=plane,
        reloader=reloader,
        by_itself=by_itself,
        logs=logs,
        longest_turn=longest_turn,
        accept=accept,
    )


async def _follow(watcher: Watcher, reloader: Reloader) -> None:
    if not await watcher.has_changed():
        return
    try:
        await reloader.reload_now(asked=False)
    except BaseException:
        watcher.forget()
        raise


def _faults_of_callbacks(faults: Faults) -> Callable[[], None]:
    """Have faults met that reach the event loop itself, such as a connection's; the result undoes it."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def met(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        message = str(context["message"])
        faults.met("callback", context.get("exception") or RuntimeError(message), what=message)

    loop.set_exception_handler(met)
    return lambda: loop.set_exception_handler(before)
