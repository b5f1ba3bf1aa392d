"""A gateway in front of a sandbox on an event loop of its own, for tests that drive a browser in the foreground."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from proxy.clock import SystemClock
from tests.harness.gateways import Rig, open_rig

T = TypeVar("T")
START_SECONDS = 90.0


class Held(SystemClock):
    """The machine's clock. Who sleeps by it does not wake while it is held: a state that a test looks at stays."""

    def __init__(self) -> None:
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await self.going_on.wait()


class Background:
    """`rig` belongs to the other thread: use `call` and `run` to touch it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rig: Rig, held: Held) -> None:
        self._loop = loop
        self._held = held
        self.rig = rig

    @property
    def origin(self) -> str:
        return self.rig.origin

    def hold(self) -> None:
        """No instance goes on from Pending or Stopping until `let_go`."""
        self.call(self._held.going_on.clear)

    def let_go(self) -> None:
        self.call(self._held.going_on.set)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await something over there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_SECONDS)

    def call(self, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        """Call something over there."""

        async def calling() -> T:
            return function(*arguments, **keywords)

        return self.run(calling())


@contextmanager
def in_background(directory: Path, **options: Any) -> Iterator[Background]:
    """`options` are those of `open_rig`."""
    started = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        over, held = asyncio.Event(), Held()
        async with open_rig(directory, **{"sandbox_clock": held, **options}) as rig:
            found.update(background=Background(asyncio.get_running_loop(), rig, held), over=over)
            started.set()
            await over.wait()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:
            found["error"] = error
        finally:
            started.set()

    thread = threading.Thread(target=work, name="gateway")
    thread.start()
    assert started.wait(START_SECONDS)
    try:
        if "error" in found:
            raise found["error"]
        yield found["background"]
    finally:
        if "background" in found:
            found["background"].call(found["over"].set)
        thread.join(START_SECONDS)
    if "error" in found:
        raise found["error"]
