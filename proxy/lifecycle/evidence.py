"""What is known of an instance's use, as values: SageMaker's status, what Jupyter says, what passed the gateway.

The rule: instants of our own are monotonic seconds, so that no clock that is set moves them; Jupyter's instants stand
on the instance's clock, and are only ever compared with each other and with the `Date` of the answer that they came
in. Bodies are the notebook's, so anything may stand in them: they are read strictly, and what is not understood is
UNREADABLE, never "nothing there". It must not judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

MOST_ENTRIES: Final = 1000
"""Kernels, or terminals, of one instance. More cannot be told apart from nonsense."""

_LONGEST_INSTANT: Final = 64


class UnreadableState(ValueError):
    """Jupyter's answer is not what its API promises. The message holds nothing of the answer."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel as GET /api/kernels tells it. `state` is "" and `last_activity` None where an old Jupyter is silent.

    `connections` are WebSockets, of open tabs mostly: they are shown, and no sign of use.
    """

    id: str
    state: str = ""
    last_activity: datetime | None = None
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal as GET /api/terminals tells it; before jupyter_server 1.0 without its `last_activity`."""

    name: str
    last_activity: datetime | None = None


@dataclass(frozen=True, slots=True)
class JupyterReading:
    """What Jupyter said of itself at one moment: `read_at` on our clock (monotonic), `clock` on its own.

    `last_activity` is that of /api/status, which the polls of an open tab move, too.
    """

    read_at: float
    clock: datetime
    _: KW_ONLY
    started: datetime
    last_activity: datetime
    kernels: tuple[Kernel, ...] = ()
    terminals: tuple[Terminal, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a judgement rests on. Instants are monotonic seconds; None: not known, or not so far.

    `status` is SageMaker's word, "" where it could not be read. `reading` is the latest one (None: Jupyter's state
    could not be read) and `previous` the one before it. `used_at` is the last use that earlier judgements found,
    `traffic_at` the last that passed the gateway, `in_service_since` when the instance was seen to come into service.
    `warned_at` is when the warning was given that still stands; `judged_at` the last judgement's own.
    """

    status: str
    reading: JupyterReading | None = None
    _: KW_ONLY
    previous: JupyterReading | None = None
    used_at: float | None = None
    traffic_at: float | None = None
    in_service_since: float | None = None
    awake_until: float | None = None
    warned_at: float | None = None
    judged_at: float | None = None


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of Jupyter's three answers, and the `Date` of the last of them; `terminals` None: no such API."""

    status: bytes
    kernels: bytes
    terminals: bytes | None
    date: str = ""


def read_state(bodies: Bodies, *, read_at: float, now: datetime) -> JupyterReading:
    """Read the answers of /api/status, /api/kernels and /api/terminals. `now` stands in for a missing `Date`.

    Raises UnreadableState.
    """
    status = _json(bodies.status, "status")
    if not isinstance(status, dict):
        raise UnreadableState("the status is no object")
    started, last_activity = _instant(status, "started"), _instant(status, "last_activity")
    if started is None or last_activity is None:
        raise UnreadableState("the status does not say since when, or when last")
    terminals = [] if bodies.terminals is None else _objects(bodies.terminals, "terminals")
    return JupyterReading(
        read_at=read_at,
        clock=_date(bodies.date) or now,
        started=started,
        last_activity=last_activity,
        kernels=tuple(
            Kernel(
                id=_text(one, "id"),
                state=_text(one, "execution_state", default=""),
                last_activity=_instant(one, "last_activity"),
                connections=_count(one, "connections"),
            )
            for one in _objects(bodies.kernels, "kernels")
        ),
        terminals=tuple(Terminal(_text(one, "name"), _instant(one, "last_activity")) for one in terminals),
    )


def _json(body: bytes, what: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableState(f"the {what} are no JSON") from error


def _objects(body: bytes, what: str) -> list[Mapping[str, Any]]:
    listed = _json(body, what)
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UnreadableState(f"the {what} are no list of objects")
    if len(listed) > MOST_ENTRIES:
        raise UnreadableState(f"there are more than {MOST_ENTRIES} {what}")
    return listed


def _text(one: Mapping[str, Any], key: str, *, default: str | None = None) -> str:
    value = one.get(key, default)
    if not isinstance(value, str):
        raise UnreadableState(f"a {key} is no text")
    return value


def _count(one: Mapping[str, Any], key: str) -> int:
    value = one.get(key)
    return value if isinstance(value, int) and value >= 0 else 0


def _instant(one: Mapping[str, Any], key: str) -> datetime | None:
    """An instant in ISO 8601, which Jupyter writes with `Z`; None where there is none."""
    value = one.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_INSTANT:
        raise UnreadableState(f"a {key} is no instant")
    try:
        instant = datetime.fromisoformat(value)
        # Without a zone it is UTC: Jupyter's own, before it wrote the `Z`.
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnreadableState(f"a {key} is no instant") from error


def _date(text: str) -> datetime | None:
    """A `Date` field (RFC 9110 section 6.6.1); None for one that is none."""
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
