"""All logs of one process, opened together: they share one sink, so that their lines stay whole and in
order.

This is what the composition root opens first and closes last. It knows the parts, and nothing of what is
logged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from proxy.clock import Clock
from proxy.telemetry.access_log import AccessLog, LogStyle
from proxy.telemetry.audit import AuditLog
from proxy.telemetry.counts import GatewayCounts
from proxy.telemetry.events import EventLog, Level, Threshold, loss_line, open_events, route_standard_logging
from proxy.telemetry.sink import LineSink

STANDARD_ERROR = 2
"""Where it is said that the log itself cannot be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """The open logs. `access` is None where the configuration switched the line per request off."""

    sink: LineSink
    access: AccessLog | None
    audit: AuditLog
    events: EventLog
    counts: GatewayCounts
    """Requests that have ended are counted with their access lines; without those, by whoever would log them."""
    threshold: Threshold
    """Of the events."""
    undo_routing: Callable[[], None]

    @property
    def lost(self) -> int:
        """How many lines were dropped since the start."""
        return self.sink.lost

    def unwell(self) -> tuple[str, ...]:
        """What has died, in words, as `proxy.rounds.Rounds.unwell` has it."""
        return ("log: ended",) if self.sink.is_dead else ()

    def flush(self) -> None:
        """Hand buffered access and audit lines over; the server's sweep calls it about five times a
        second.
        """
        self.sink.flush()

    def close(self, *, timeout_seconds: float = 2.0) -> None:
        """Write what is left, for `timeout_seconds` at most, and give `logging` back."""
        self.undo_routing()
        self.sink.close(timeout_seconds=timeout_seconds)


def open_logs(
    clock: Clock,
    *,
    fd: int = 1,
    style: Literal["auto", "console", "json"] = "auto",
    level: Level = "info",
    access: bool = True,
    denials: bool = True,
    environ: Mapping[str, str],
) -> Logs:
    """Open the logs on file descriptor `fd` (default: standard output).

    `auto` is console on a terminal and JSON elsewhere. A terminal gets colours unless `environ` has
    NO_COLOR (no-color.org) or says that it is a dumb one. `access` False leaves out the line per request,
    not denials; `denials` False leaves out that of a refused request, which the audit log has.
    """
    terminal = os.isatty(fd)
    chosen = (LogStyle.CONSOLE if terminal else LogStyle.JSON) if style == "auto" else LogStyle(style)
    colour = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    lost = loss_line(clock, style=chosen, colour=colour)

    def complain(why: str) -> None:
        if not os.path.sameopenfile(fd, STANDARD_ERROR):
            os.write(STANDARD_ERROR, lost(0, why).encode("utf-8", "backslashreplace"))

    sink = LineSink(fd, loss_line=lost, complain=complain)
    threshold = Threshold(level)
    counts = GatewayCounts()
    events = open_events(sink, clock, style=chosen, threshold=threshold, colour=colour)
    return Logs(
        sink=sink,
        access=AccessLog(sink, clock, style=chosen, finished=counts.finished, colour=colour, denials=denials)
        if access
        else None,
        audit=AuditLog(sink, clock, style=chosen, colour=colour),
        events=events,
        counts=counts,
        threshold=threshold,
        undo_routing=route_standard_logging(events),
    )
