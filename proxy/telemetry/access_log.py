"""One line for each HTTP request and for the end of each WebSocket.

This runs once per request, so a line is one f-string, what repeats (the second, the connection's fields,
paths) is formatted once, and only what a caller controls goes through JSON's escaper. A line never holds a
credential: the query and the fragment are cut here, whatever `write` is given, and with them every
`authToken`; headers are not logged at all; nothing accepts a token in a path segment or in a host, but what looks
like one is scrubbed there.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import UTC
from enum import Enum
from json.encoder import encode_basestring_ascii
from typing import Final

from proxy.clock import Clock
from proxy.memory import Memo
from proxy.telemetry.redact import may_hold_secrets, scrub
from proxy.telemetry.sink import LineSink

MAX_PATH_CHARACTERS: Final = 2048
MAX_HOST_CHARACTERS: Final = 255
MAX_DETAIL_CHARACTERS: Final = 400
MAX_REMEMBERED: Final = 1024
MAX_REMEMBERED_CHARACTERS: Final = 256

_MILLISECONDS: Final = tuple(f".{number:03d}" for number in range(1000))
_DECISIONS: Final = {True: '"allow"', False: '"deny"', None: "null"}


_quote = encode_basestring_ascii
_COLOURS: Final = {2: "32", 3: "36", 4: "33", 5: "31"}


class LogStyle(Enum):
    """How lines look: JSON for collectors, aligned columns for people."""

    JSON = "json"
    CONSOLE = "console"


@dataclass(slots=True)
class RequestRecord:
    """What is known of an HTTP request, or of a WebSocket, when it is over.

    `request_id` is the gateway's own; `client` and `peer` are addresses as text (formatted once per
    connection), None where they could not be determined; `instance` is "" for the gateway's own pages;
    `target` is the raw request target, bytes that are not ASCII as `surrogateescape` has them; `status` is 0
    where no answer went out; `bytes_in` and `bytes_out` count body (HTTP) or frame (WebSocket) bytes from and to
    the caller; `started_at` is `Clock.monotonic()` at the request's first byte; `allowed` is what the policy
    said, None where the request was refused before it was asked; `error` is an `NbgateError.code`;
    `close_code` is RFC 6455's (section 7.4), for a WebSocket only, 0 where none was seen.
    """

    request_id: str
    client: str | None
    peer: str | None
    instance: str
    method: str
    target: str
    host: str
    status: int
    bytes_in: int
    bytes_out: int
    started_at: float
    allowed: bool | None
    error: str = ""
    close_code: int = 0
    is_websocket: bool = False
    detail: str = ""
    """What the error's code does not say, in words for the operator (`NbgateError.log_detail`)."""
    user: str = ""
    """Who the caller proved to be, by a link, session, token or key; "" for nobody."""
    is_audited: bool = False
    """The audit log has a record of what was refused to it."""
    incoming_ids: tuple[tuple[str, str], ...] = ()
    """What trusted proxies call the request (`proxy.telemetry.incoming_ids`), each by its field's name in the log."""


class AccessLog:
    """Formats access lines into `sink`, and counts them in `finished`. Event loop's thread only."""

    def __init__(
        self,
        sink: LineSink,
        clock: Clock,
        *,
        style: LogStyle,
        finished: MutableMapping[tuple[str, int], int],
        colour: bool = False,
        denials: bool = True,
    ) -> None:
        """`denials` False leaves out the line of a request that was refused and of which the audit log has a record."""
        self._sink = sink
        self._denials = denials
        self._finished = finished
        self._clock = clock
        self._monotonic = clock.monotonic
        self._add = sink.add
        self._console = style is LogStyle.CONSOLE
        self._colour = colour
        self._second = ""
        self._second_json = ""
        self._second_began_at = -math.inf
        self._where: Memo[tuple[str | None, str | None, str, str], str] = Memo(MAX_REMEMBERED)
        self._paths: Memo[str, str] = Memo(MAX_REMEMBERED)

    def write(self, record: RequestRecord) -> None:
        """Log one finished request."""
        self._finished[record.instance, record.status] += 1
        if record.is_audited and not self._denials and 400 <= record.status < 500:
            return
        ended_at = self._monotonic()
        into_second = ended_at - self._second_began_at
        if not 0.0 <= into_second < 1.0:
            into_second = self._read_clock(ended_at)
        if self._console:
            self._add(
                self._console_line(
                    record, into_second=into_second, duration_ms=(ended_at - record.started_at) * 1000
                )
            )
            return
        where = (record.client, record.peer, record.instance, record.host)
        where_json = self._where.get(where) or self._remember_where(where)
        target = record.target
        path_json = self._paths.get(target) or self._remember_path(target)
        kind = "websocket" if record.is_websocket else "http"
        end = f',"close_code":{record.close_code}}}\n' if record.is_websocket else "}\n"
        if record.detail or record.user or record.incoming_ids:
            end = _more(record) + end
        tenths = int((ended_at - record.started_at) * 10_000 + 0.5)
        error = record.error
        self._add(
            f'{self._second_json}{_MILLISECONDS[int(into_second * 1000)]}Z","kind":"{kind}"'
            f',"request_id":"{record.request_id}",{where_json},"method":{_quote(record.method)},"path":{path_json}'
            f',"status":{record.status},"bytes_in":{record.bytes_in},"bytes_out":{record.bytes_out}'
            f',"duration_ms":{tenths // 10}.{tenths % 10},"decision":{_DECISIONS[record.allowed]}'
            f',"error":{_quote(error) if error else "null"}{end}'
        )

    def flush(self) -> None:
        """Hand the buffered lines over; the server's sweep calls this about five times a second."""
        self._sink.flush()

    def _read_clock(self, monotonic: float) -> float:
        """Cache the second that it is now; return how far into it we are, in seconds."""
        now = self._clock.now()
        self._second = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        self._second_json = f'{{"time":"{self._second}'
        into_second = now.microsecond / 1_000_000
        self._second_began_at = monotonic - into_second
        return into_second

    def _remember_where(self, where: tuple[str | None, str | None, str, str]) -> str:
        client, peer, instance, host = where
        fields = (
            f'"client":{_quote(client) if client else "null"},"peer":{_quote(peer) if peer else "null"}'
            f',"instance":{_quote(instance) if instance else "null"}'
            f',"host":{_quote(loggable_host(host))}'
        )
        if len(host) <= MAX_HOST_CHARACTERS and loggable_host(host) == host:
            self._where.keep(where, fields)
        return fields

    def _remember_path(self, target: str) -> str:
        path = loggable_path(target)
        quoted = _quote(path)
        # A credential is not kept in memory either.
        if (
            len(target) <= MAX_REMEMBERED_CHARACTERS
            and target[:1] == "/"
            and target.startswith(path)
            and not _is_dubious(target)
        ):
            self._paths.keep(target, quoted)
        return quoted

    def _console_line(self, record: RequestRecord, *, into_second: float, duration_ms: float) -> str:
        status = record.status
        code = str(status) if status else "---"
        dim, reset, tint = ("\x1b[2m", "\x1b[0m", f"\x1b[{_COLOURS.get(status // 100, '0')}m")
        if not self._colour:
            dim = reset = tint = ""
        clock = f"{self._second[11:]}.{int(into_second * 1000):03d}"
        method = "WS" if record.is_websocket else record.method
        return (
            f"{dim}{clock}{reset} {tint}{code}{reset} {printable(method):<7} "
            f"{printable(record.client or '-'):<15} {printable(record.instance or '-'):<12} "
            f"{_duration(duration_ms):>7} "
            f"{dim}in{reset} {_size(record.bytes_in):>7} {dim}out{reset} {_size(record.bytes_out):>7}  "
            f"{printable(loggable_host(record.host))}{printable(loggable_path(record.target))}{_note(record)} "
            f"{dim}{printable(record.request_id)}{reset}\n"
        )


def _more(record: RequestRecord) -> str:
    """What most lines do not have, as JSON's members."""
    members = [("detail", loggable_text(record.detail)), ("user", loggable_text(record.user))]
    members += record.incoming_ids
    return "".join(f',"{name}":{_quote(value)}' for name, value in members if value)


def loggable_text(text: str) -> str:
    """Words about a request, of bounded length and without a credential."""
    # Cut last: half of a credential would not be known as one.
    text = scrub(text) if may_hold_secrets(text) else text
    return text if len(text) <= MAX_DETAIL_CHARACTERS else f"{text[:MAX_DETAIL_CHARACTERS]}…"


def loggable_path(target: str) -> str:
    """The path of any request target, fit for a log: valid text of bounded length, with no query, fragment,
    user part or token. Bytes that are not UTF-8 become `\\xNN`. "" where a refused target has no path at
    all.
    """
    path = target.partition("?")[0].partition("#")[0]
    if not path.startswith("/") and path != "*":
        # absolute-form, RFC 9112 section 3.2.2: the authority, which may hold a password, is not the path
        scheme, separator, rest = path.partition("://")
        path = rest[rest.find("/") :] if separator and scheme and "/" in rest else ""
    if not path.isascii():
        path = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if len(path) > MAX_PATH_CHARACTERS:
        path = f"{path[:MAX_PATH_CHARACTERS]}…"
    return scrub(path) if may_hold_secrets(path) else path


def loggable_host(host: str) -> str:
    """`host` as it is, of bounded length, without the user part (perhaps a password) or a token of one that will be
    refused.
    """
    host = host.rpartition("@")[2][:MAX_HOST_CHARACTERS]
    return scrub(host) if may_hold_secrets(host) else host


def _is_dubious(target: str) -> bool:
    """Whether there may be a credential in a target, the query included."""
    lower = target.lower()
    return "oken" in lower or "nbgate" in lower or "%25" in lower


def _note(record: RequestRecord) -> str:
    parts = ["denied"] if record.allowed is False else []
    if record.user:
        parts.append(f"as {loggable_text(record.user)}")
    if record.error:
        parts.append(f"{record.error}: {loggable_text(record.detail)}" if record.detail else record.error)
    if record.close_code:
        parts.append(f"closed {record.close_code}")
    parts += (f"{name}={value}" for name, value in record.incoming_ids)
    return printable(f" [{', '.join(parts)}]") if parts else ""


def printable(text: str) -> str:
    """`text` with whatever could steer a terminal escaped."""
    return text if text.isprintable() else _quote(text)[1:-1]


def _size(count: int) -> str:
    """Bytes for people, at most seven characters."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.5:
            return f"{amount:.{1 if amount < 99.95 else 0}f} {unit}"
    return f"{amount / 1000:.0f} TB"


def _duration(milliseconds: float) -> str:
    """A duration for people, at most seven characters below a day."""
    if milliseconds < 999.5:
        return f"{milliseconds:.{1 if milliseconds < 99.95 else 0}f}ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, seconds_left = divmod(int(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}h{minutes_left:02d}m" if hours else f"{minutes}m{seconds_left:02d}s"
