"""`nbgate serve`: serve until a signal says otherwise, then drain, and end in time.

The rule: from the first moment on signals are answered, whether something serves already or not; the process ends
within the time that the configuration gives it, whatever hangs. What serves is started in `proxy.server.running`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Final

from proxy import __version__
from proxy.config.settings import Settings
from proxy.dataplane import descriptors
from proxy.server.operations.ending import CLOSE_SECONDS, Ending
from proxy.server.operations.first_look import report_first_look
from proxy.server.running import RunningGateway, start
from proxy.signals import PROCESS

GC_THRESHOLDS: Final = (10_000, 20, 50)
"""A proxy makes much short-lived garbage and few cycles: look for those less often than Python would. Not
much less: to look through so many new objects is one turn of the loop, at up to 1 us for each."""
SWITCH_SECONDS: Final = 0.0005
"""How long traffic may wait for another thread to let go of the interpreter. A large configuration is read in one:
with Python's 5 ms, each answer meanwhile would come up to 14 ms later, with this 2 ms."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; the process's main work."""
    import uvloop

    # Done already, unless somebody else than `proxy.__main__` runs the command.
    PROCESS.take()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    orders = _Orders(asyncio.get_running_loop())
    PROCESS.on_stop(orders.stop)
    descriptors.take_all()
    running = await start(settings)
    orders.running = running
    PROCESS.on_reload(orders.reload)
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
    running.process.tasks.start(
        report_first_look(settings, sagemaker=running.process.sagemaker, events=events),
        name="first look at AWS",
    )
    # Who was asked to end while it started has nobody to wait for.
    if not orders.to_end.is_set():
        await orders.to_end.wait()
        await _drain(running, orders)
    events.info("stopped")
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await running.end()
    except TimeoutError:
        events.warning("ended although something hangs", seconds=CLOSE_SECONDS)
    except Exception as error:
        running.plane.faults.met("end", error)
    orders.ending.leave()


class _Orders:
    """What signals ask for. `running` is what serves, None while that is being started: there is nothing to wait for
    then, and no log to write.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.running: RunningGateway | None = None
        self.to_end, self.to_hurry = asyncio.Event(), asyncio.Event()
        self.ending = Ending(within_seconds=self._within_seconds, write_log=self._write_log)
        self._loop = loop

    def stop(self, times: int) -> None:
        """The first signal ends the serving, a second one the waiting, and a third one the process itself."""
        if times == 1:
            self.ending.begin()
            self._loop.call_soon_threadsafe(self.to_end.set)
        elif times == 2:
            self._loop.call_soon_threadsafe(self.to_hurry.set)
        else:
            self.ending.at_once()

    def reload(self) -> None:
        """Have the configuration read anew."""
        self._loop.call_soon_threadsafe(self._reload)

    def _reload(self) -> None:
        if self.running is not None:
            self.running.process.tasks.start(self.running.reloader.reload_now(), name="reload")

    def _within_seconds(self) -> float:
        if self.running is None:
            return CLOSE_SECONDS
        timeouts = self.running.reloader.settings.timeouts
        return timeouts.drain_delay_seconds + timeouts.drain_seconds + CLOSE_SECONDS

    def _write_log(self, seconds: float) -> None:
        if self.running is not None:
            self.running.logs.close(timeout_seconds=seconds)


async def _drain(running: RunningGateway, orders: _Orders) -> None:
    timeouts = running.reloader.settings.timeouts
    delay, seconds = timeouts.drain_delay_seconds, timeouts.drain_seconds
    running.logs.events.info("draining", delay_seconds=delay, seconds=seconds)
    try:
        await running.drain(seconds, delay_seconds=delay, is_hurried=orders.to_hurry.is_set)
    except Exception as error:
        # The process ends all the same.
        running.plane.faults.met("drain", error)
