"""One record for each request that the policy denied, with what an operator needs to see why.

Every denial is recorded: none is sampled, merged or rate-limited, since the one that is left out is the one
that is asked for. A flood is bounded by the sink alone, which counts what it had to drop and says so in the
same stream. The denial itself never waits for its record and stands without it. No header but for proxies'
ids, no query and none of the values that the configuration's rules hold is written: statements appear by their ids and
lines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from proxy.clock import Clock
from proxy.telemetry.access_log import LogStyle, loggable_host, loggable_path, printable
from proxy.telemetry.redact import scrub
from proxy.telemetry.sink import LineSink

MAX_STATEMENTS = 16
"""In one record: the first of those that decided."""


@dataclass(frozen=True, slots=True)
class AuditedStatement:
    """A statement that made a decision: whether it applied, why, and the line that it was written on."""

    sid: str
    effect: str
    _: KW_ONLY
    applies: bool
    because: tuple[str, ...]
    origin: str


class AuditLog:
    """Formats audit records into `sink`. Event loop's thread only."""

    def __init__(self, sink: LineSink, clock: Clock, *, style: LogStyle, colour: bool = False) -> None:
        self._sink = sink
        self._clock = clock
        self._style = style
        self._colour = colour

    def denied(
        self,
        *,
        request_id: str,
        client: str | None,
        peer: str | None,
        action: str,
        source: str,
        problem: str,
        instance: str,
        sids: Sequence[str],
        reason: str,
        method: str,
        target: str,
        host: str,
        statements: Sequence[AuditedStatement] = (),
        user: str = "",
        error: str = "",
        incoming_ids: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Record one denial.

        `client` and `peer` are addresses as text, None where they could not be determined, which `problem`
        explains; `action` is SageMaker's name for what was denied; `source` says where the client address comes
        from (the peer, a forwarding field); `sids` and `reason` are the decision's own, or `reason` why there was
        none; `user` is who the caller proved to be, or whom the genuine link, session or token was made for that was
        refused, "" for nobody; `error` is the code of what was answered; `target` is the raw request target.
        `incoming_ids` are what trusted proxies call the request (`proxy.telemetry.incoming_ids`); `statements` made the
        decision, of which `MAX_STATEMENTS` are written.
        """
        now = self._clock.now()
        path = loggable_path(target)
        host = loggable_host(host)
        if self._style is LogStyle.CONSOLE:
            red, reset = ("\x1b[31m", "\x1b[0m") if self._colour else ("", "")
            clock = f"{now:%H:%M:%S}.{now.microsecond // 1000:03d}"
            decided_by = ", ".join(sids) or "default"
            why = f"{reason}; {problem}" if problem else reason
            lines = ", ".join(dict.fromkeys(one.origin for one in statements[:MAX_STATEMENTS] if one.origin))
            written = f" [{printable(lines)}]" if lines else ""
            ids = "".join(f" {name}={printable(value)}" for name, value in incoming_ids)
            self._sink.add(
                f"{clock} {red}DENIED{reset} {printable(client or 'unknown address')} "
                f"(from {printable(source)}, peer {printable(peer or '-')}) {printable(instance or '-')} "
                f"{printable(method)} {printable(host)}{printable(path)} by {printable(decided_by)}: "
                f"{printable(scrub(why))}{written} {printable(request_id)}{ids}\n"
            )
            return
        record = {
            "time": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z",
            "kind": "audit",
            "event": "denied",
            "request_id": request_id,
            "client": client,
            "peer": peer,
            "action": action,
            "user": scrub(user) or None,
            "source": source,
            "problem": scrub(problem) or None,
            "instance": instance or None,
            "sids": list(sids),
            "reason": scrub(reason),
            "error": error or None,
            "statements": [
                {
                    "sid": one.sid,
                    "effect": one.effect,
                    "applies": one.applies,
                    "because": [scrub(reason) for reason in one.because],
                    "at": one.origin or None,
                }
                for one in statements[:MAX_STATEMENTS]
            ],
            "method": method,
            "host": host,
            "path": path,
            **dict(incoming_ids),
        }
        self._sink.add(json.dumps(record, separators=(",", ":")) + "\n")
