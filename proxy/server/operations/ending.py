"""How the process ends: in time, whatever hangs.

The rule: a thread may wait for ever for an answer of AWS's, for a name server, a disk, or whoever reads the log, and
Python joins its threads before it leaves. So the process leaves by itself, once what is open was closed and the log was
written, or once its time is up. It must not know what is closed, nor why the process ends.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Final, NoReturn

CLOSE_SECONDS: Final = 5.0
"""What closing may take on top of draining."""
LOG_SECONDS: Final = 2.0
"""What writing the rest of the log may take."""


class Ending:
    """Ends the process when its time is up, unless it has ended by then.

    `within_seconds` says how long it may take once it was asked for; `write_log` writes what is left of the log, for so
    many seconds at most, and may be called from another thread.
    """

    def __init__(self, *, within_seconds: Callable[[], float], write_log: Callable[[float], object]) -> None:
        self._within_seconds = within_seconds
        self._write_log = write_log
        # A pipe, and a thread made now: what a signal's handler interrupts may hold a lock, or be the handler itself.
        self._reader, self._writer = os.pipe()
        threading.Thread(target=self._watch, name="nbgate-ending", daemon=True).start()

    def begin(self) -> None:
        """Count the time from now on. For a signal's handler."""
        os.write(self._writer, b"\0")

    def at_once(self) -> None:
        """The time is up. For a signal's handler, after `begin`."""
        os.write(self._writer, b"\0")

    def leave(self) -> NoReturn:
        """Write the log, and end the process now, whatever still hangs in its threads."""
        self._write_log(LOG_SECONDS)
        os._exit(0)

    def _watch(self) -> None:
        os.read(self._reader, 1)
        # The event loop itself may hang: nobody else is left to see that.
        select.select([self._reader], [], [], self._within_seconds())
        self.leave()
