"""Everything worth saying that is not a request: start, reload, drain, failures of the control plane.

Events are structlog's, bound to a sink instead of a stream; whatever libraries say through the standard
`logging` (aiohttp, botocore, asyncio) joins them from WARNING up. Each event passes `redact` last, so that
no field and no traceback carries a credential out. Nothing here is configured globally but `logging`'s
root, and that is undone by the function that `route_standard_logging` returns.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any, Final, Literal, Protocol

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from proxy.clock import Clock
from proxy.telemetry.access_log import LogStyle, printable
from proxy.telemetry.redact import redact
from proxy.telemetry.sink import LineSink

EventLog = FilteringBoundLogger
"""`events.info("session renewed", instance="research", seconds=0.4)`: a phrase, then fields."""


class Warn(Protocol):
    """`EventLog.warning`, for whoever has nothing else to say."""

    def __call__(self, event: str, **fields: object) -> object: ...


Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Final[dict[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_HIGHEST: Final = 50
_COLOURS: Final = {"debug": "2", "info": "34", "warning": "33", "error": "31", "critical": "31"}
_OF_OTHERS: Final = frozenset({"botocore", "boto3", "urllib3"})
"""Libraries that tell of what others failed at, such as the refreshing of credentials: a traceback into them shows
nobody what to mend."""

EventFields = MutableMapping[str, Any]


class Threshold:
    """The lowest level that is written. `move` takes effect with the next event, whoever logs it."""

    __slots__ = ("_least",)

    def __init__(self, level: Level) -> None:
        self.move(level)

    def move(self, level: Level) -> None:
        self._least = _LEVELS[level]

    def __call__(self, logger: Any, method: str, fields: EventFields) -> EventFields:
        if _LEVELS.get(method, _HIGHEST) < self._least:
            raise structlog.DropEvent
        return fields


def open_events(
    sink: LineSink, clock: Clock, *, style: LogStyle, threshold: Threshold, colour: bool = False
) -> EventLog:
    """A logger whose events go to `sink` at once, from any thread; those below `threshold` go nowhere."""
    render = _console_renderer(colour=colour) if style is LogStyle.CONSOLE else _render_json
    processors: list[Processor] = [
        threshold,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        _stamper(clock),
        _redacted,
        render,
    ]
    logger: EventLog = structlog.wrap_logger(
        _SinkLogger(sink),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS["debug"]),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    return logger


def loss_line(clock: Clock, *, style: LogStyle, colour: bool = False) -> Callable[[int, str], str]:
    """What a sink writes where lines are missing, and what it complains with (0): an event like any other."""
    render = _console_renderer(colour=colour) if style is LogStyle.CONSOLE else _render_json
    stamp = _stamper(clock)

    def line(count: int, why: str) -> str:
        event = "log lines lost" if count else "the log cannot be written"
        fields: EventFields = {"event": event, "level": "error", "code": "LOG_LOST", "detail": why}
        if count:
            fields["count"] = count
        fields["remedy"] = "make room on the disk, or look at what reads the log"
        return f"{render(None, '', stamp(None, '', fields))}\n"

    return line


def route_standard_logging(events: EventLog, *, level: int = logging.WARNING) -> Callable[[], None]:
    """Send `logging`'s records and `warnings` from `level` up to `events`; the result undoes it."""
    root = logging.getLogger()
    previous_level = root.level
    handler = _EventHandler(events)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)

    def undo() -> None:
        if handler in root.handlers:
            root.removeHandler(handler)
            root.setLevel(previous_level)
            logging.captureWarnings(False)

    return undo


def unquoting(name: str, text: str) -> logging.Logger:
    """A logger for a library that quotes what callers send: whatever it says becomes `text`, with the error's kind. It
    writes to standard error, beside all events."""

    def reword(record: logging.LogRecord) -> bool:
        error = None if record.exc_info is None else record.exc_info[1]
        record.msg = text if error is None else f"{text} ({type(error).__name__})"
        record.args, record.exc_info = (), None
        return True

    logger = logging.Logger(name, logging.WARNING)
    logger.addFilter(reword)
    return logger


class _SinkLogger:
    """The far end of structlog's chain: a finished line, under whatever level's name."""

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink

    def msg(self, line: str) -> None:
        self._sink.put(f"{line}\n")

    debug = info = warning = error = critical = msg


class _EventHandler(logging.Handler):
    """The far end of the standard `logging`."""

    def __init__(self, events: EventLog) -> None:
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        # structlog knows the standard levels only; a library's own level counts as the next lower one.
        level = max(10, min(50, record.levelno // 10 * 10))
        try:
            message = record.getMessage()
        except Exception:
            # Not `handleError`: it prints the arguments as they are to standard error.
            message = str(record.msg)
        error = None if record.exc_info is None else record.exc_info[1]
        if error is not None and record.name.partition(".")[0] in _OF_OTHERS:
            self._events.log(level, message, logger=record.name, detail=f"{type(error).__name__}: {error}")
        else:
            self._events.log(level, message, logger=record.name, exc_info=record.exc_info)


def _stamper(clock: Clock) -> Callable[[Any, str, EventFields], EventFields]:
    def stamp(logger: Any, method: str, fields: EventFields) -> EventFields:
        first = {"time": _timestamp(clock.now()), "kind": "event"}
        return {**first, "level": fields.pop("level"), "event": fields.pop("event"), **fields}

    return stamp


def _timestamp(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def _redacted(logger: Any, method: str, fields: EventFields) -> EventFields:
    return redact(fields)


def _render_json(logger: Any, method: str, fields: EventFields) -> str:
    return json.dumps(fields, separators=(",", ":"))


def _console_renderer(*, colour: bool) -> Callable[[Any, str, EventFields], str]:
    def render(logger: Any, method: str, fields: EventFields) -> str:
        level, text = fields["level"], fields["event"]
        traceback = fields.get("exception")
        named = " ".join(
            f"{name}={printable(value if isinstance(value, str) else json.dumps(value))}"
            for name, value in fields.items()
            if name not in ("time", "kind", "level", "event", "exception")
        )
        tint, reset = (f"\x1b[{_COLOURS.get(level, '0')}m", "\x1b[0m") if colour else ("", "")
        line = f"{fields['time'][11:-1]} {tint}{level:<7}{reset} {printable(str(text))}"
        if named:
            line = f"{line}  {named}"
        if traceback:
            line += "".join(f"\n    {printable(part)}" for part in str(traceback).splitlines())
        return line

    return render
