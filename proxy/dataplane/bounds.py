"""Limits that callers and notebooks meet, each with the setting that it stands in and the code that it has in records.

The rule: whatever ends, is refused or is passed over because of a setting has a bound here, or its error says the
setting (`NbgateError.setting`); so the log, the events and the metrics name it alike. How a limit is kept is the matter
of whoever keeps it.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import NbgateError, RequestTimeout, TooManyConnections, TooManyFromAddress
from proxy.telemetry.limits_met import Bound

# At accept.
IN_ALL: Final = Bound("limits.connections", TooManyConnections.code)
OF_ADDRESS: Final = Bound("limits.connections_per_address", TooManyFromAddress.code)
OF_STRANGER: Final = Bound("limits.connections_per_stranger", "TOO_MANY_FROM_STRANGER")
OF_STRANGERS: Final = Bound("limits.connections", "TOO_MANY_STRANGERS")

# Before the first request.
NOT_LISTED: Final = Bound("listeners.proxy_protocol", "PROXY_NOT_LISTED")
MALFORMED: Final = Bound("listeners.proxy_protocol", "PROXY_MALFORMED")
PRELUDE_LATE: Final = Bound("timeouts.request_head", "PROXY_TIMEOUT")
PLAIN_ON_TLS: Final = Bound("listeners.tls", "PLAIN_HTTP_ON_TLS")
TLS_FAILED: Final = Bound("listeners.tls", "TLS_FAILED")
HANDSHAKE_LATE: Final = Bound("timeouts.request_head", "TLS_TIMEOUT")
HEAD_LATE: Final = Bound("timeouts.request_head", RequestTimeout.code)

OF_CONNECTIONS: Final = (
    *(IN_ALL, OF_ADDRESS, OF_STRANGER, OF_STRANGERS),
    *(NOT_LISTED, MALFORMED, PRELUDE_LATE, PLAIN_ON_TLS, TLS_FAILED, HANDSHAKE_LATE, HEAD_LATE),
)
"""Those that end a connection before its first request."""

# Of what is under way.
SEND_LATE: Final = Bound("timeouts.send", "SEND_TIMEOUT")
RESPONSE_LATE: Final = Bound("timeouts.response_body", "RESPONSE_TIMEOUT")
HELD_TOO_MUCH: Final = Bound("limits.held_per_address", "HELD_TOO_MUCH")
FRAME_TOO_LARGE: Final = Bound("limits.websocket_frame", "FRAME_TOO_LARGE")
WEBSOCKET_SILENT: Final = Bound("timeouts.websocket_silence", "WEBSOCKET_SILENT")

DRAIN_OVER: Final = Bound("timeouts.drain", "DRAIN_TIMEOUT")

# What is only counted: nobody is refused anything, and all that rests ends like this.
IDLE: Final = Bound("timeouts.idle", "IDLE")
UPSTREAM_IDLE: Final = Bound("timeouts.upstream_idle", "UPSTREAM_IDLE")
UPSTREAM_SURPLUS: Final = Bound("limits.upstream_idle_connections", "UPSTREAM_SURPLUS")

RAN_OUT: Final = Bound("RLIMIT_NOFILE", "NO_DESCRIPTORS")

_CHAIN: Final = 8
"""Errors that are looked at behind one: those that it came from."""


def bound_of(error: BaseException | None) -> Bound | None:
    """The limit that made an error, or what that came from; None where none did."""
    for _ in range(_CHAIN):
        if error is None:
            return None
        if isinstance(error, NbgateError) and error.setting:
            return Bound(error.setting, error.code)
        error = error.__cause__
    return None
