"""Signals, from the process's first moment on.

The rule: no signal is lost, and none ends the process by accident. One that comes before anybody can act on it is
remembered (SIGHUP, which would kill), or ends the process at once (SIGTERM, SIGINT: nobody is served, and nothing was
opened). That holds while modules are loaded and a configuration is read, however long that hangs, and for process 1 of
a container, whom the kernel spares a signal that it does not handle. It must cost next to nothing to import.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """What was asked of the process, and who is to do it."""

    def __init__(self) -> None:
        self._stops = 0
        self._reload_asked = False
        self._stop: Callable[[int], object] | None = None
        self._reload: Callable[[], object] | None = None
        self._wake = -1

    def take(self) -> None:
        """Handle them from now on. Harmless when done already."""
        if self._wake >= 0:
            return
        # Python runs a handler between two of its own steps. Who waits for the kernel meanwhile may never come to the
        # next one; but the number of a signal is written to this pipe at once.
        reader, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        threading.Thread(target=self._watch, args=(reader,), name="nbgate-start", daemon=True).start()
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, self._on_hangup)
        for number in _ENDING:
            signal.signal(number, self._on_stop)

    def on_stop(self, stop: Callable[[int], object]) -> None:
        """Have `stop` called, with how often it was asked for, in the place of ending at once. For an event loop that
        runs: it has seen to it that signals wake it.
        """
        self._stop = stop
        if self._wake >= 0:
            os.write(self._wake, b"\0")
        if self._stops:
            stop(self._stops)

    def on_reload(self, reload: Callable[[], object]) -> None:
        """Have `reload` called at each SIGHUP; at once, if there was one already."""
        self._reload = reload
        if self._reload_asked:
            self._reload_asked = False
            reload()

    def _watch(self, reader: int) -> None:
        while self._stop is None:
            if os.read(reader, 1)[0] in _ENDING and self._stop is None:
                os._exit(0)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stops += 1
        if self._stop is not None:
            self._stop(self._stops)

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        if self._reload is None:
            self._reload_asked = True
        else:
            self._reload()


PROCESS: Final = Signals()
"""Those of this process."""
