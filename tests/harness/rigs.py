"""A gateway and its sandbox in a thread of their own, for tests that wait in the main one (Chromium, the AWS CLI)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from proxy.clock import SystemClock
from tests.harness.gateways import Rig, open_rig


class AheadClock(SystemClock):
    """The machine's clock, put forward by the test. Whoever sleeps is not woken by it."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_seconds)

    def monotonic(self) -> float:
        return SystemClock.monotonic() + self.ahead_seconds


@contextmanager
def open_rig_beside(directory: Path, **options: Any) -> Iterator[Rig]:
    """`open_rig` in a thread. What it gives is only read, or touched in ways that need no loop."""
    opened: list[Rig] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    ending = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        try:
            async with open_rig(directory, **options) as rig:
                opened.append(rig)
                ready.set()
                await ending.wait()
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="rig")
    thread.start()
    ready.wait()
    try:
        if failed:
            raise failed[0]
        yield opened[0]
    finally:
        if not failed:
            loops[0].call_soon_threadsafe(ending.set)
        thread.join()
