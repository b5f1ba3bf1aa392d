"""How a caller's connection comes to its end: when its time is up, and so that the caller sees what was sent.

The rule: a connection is closed when all that was written has gone out. One whose caller may still be sending is told
first that nothing more is read, and has a while to listen (RFC 9112 section 9.6): closing with unread bytes would reset
it, and the answer would be lost. One deadline counts at a time. Knows no requests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from proxy.dataplane.caller.intake import ALL

if TYPE_CHECKING:
    from proxy.clock import Clock
    from proxy.config.sections import Timeouts
    from proxy.dataplane.caller.intake import Intake
    from proxy.dataplane.caller.writer import Writer

DROPPED_BYTES: Final = 16 * 1024 * 1024
"""A request that is answered early may send this much more before its connection is closed."""
LINGER_SECONDS: Final = 5.0
"""How long a caller that was answered early may go on sending before its connection is cut."""
NEVER: Final = math.inf


class Closing:
    """One connection's. Instants are the monotonic clock's."""

    __slots__ = ("_dropped", "deadline", "is_listening")

    def __init__(self, deadline: float) -> None:
        """`deadline` is that of the first head."""
        self.deadline = deadline
        self.is_listening = False
        """The caller may still be sending, and is to see its answer all the same."""
        self._dropped = 0

    def let_run_out(self, clock: Clock) -> None:
        """A request is answered before it was wholly received: the rest of it may come, for a while."""
        self._dropped = 0
        self.deadline = clock.monotonic() + LINGER_SECONDS

    def has_dropped(self, size: int) -> bool:
        """So many bytes more of that rest came. True: they are too many."""
        self._dropped += size
        return self._dropped > DROPPED_BYTES

    def hang_up(self, writer: Writer, intake: Intake, clock: Clock, timeouts: Timeouts) -> None:
        """Close once everything written has been sent."""
        if self.is_listening and writer.half_close():
            self.deadline = clock.monotonic() + LINGER_SECONDS
            intake.resume(ALL)
        else:
            self.is_listening = False
            self.deadline = clock.monotonic() + timeouts.send_seconds
            writer.close()
