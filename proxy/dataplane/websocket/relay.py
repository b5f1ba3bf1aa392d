"""A WebSocket carried between a caller and a notebook: both of its sides, and what happens to them together.

The rule: each side (`proxy.dataplane.websocket.end`) passes its bytes on verbatim, and after a close of ours no frame
passes any more. One thing is changed: the code of a close frame from the notebook's side, where
`proxy.dataplane.websocket.closes` says so, in its place and with its reason kept. Who may still send is decided
elsewhere: this module knows close codes and silence, and of policy only that it may have to be asked again, which is
done before the next byte passes. So a decision that changed costs frames nothing: the one flag that they look at says
both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.client_address.networks import Address
from proxy.dataplane.bounds import FRAME_TOO_LARGE, WEBSOCKET_SILENT
from proxy.dataplane.buffers import ReadMemory
from proxy.dataplane.endings import (
    CALLER_GONE,
    FRAME_MALFORMED,
    UPSTREAM_FRAME_MALFORMED,
    UPSTREAM_GONE,
)
from proxy.dataplane.websocket.closes import FOR_EVER
from proxy.dataplane.websocket.end import End
from proxy.errors import InternalError
from proxy.telemetry.limits_met import Bound
from proxy.wire.frames import (
    ABNORMAL_CLOSURE,
    MESSAGE_TOO_BIG,
    TIMED_OUT,
    FrameError,
)

LINGER_SECONDS: Final = 3.0
"""How long a peer may take to answer our close frame before its connection is cut (RFC 6455 section 7.1.1)."""


@dataclass(frozen=True, slots=True)
class RelayTimeouts:
    """Seconds."""

    ping_seconds: float = 25.0
    silence_seconds: float = 90.0


class Relay:
    """Both ends, and what happens to them together."""

    __slots__ = (
        "_deadline",
        "_judge",
        "_on_end",
        "_tell",
        "caller",
        "client",
        "close_code",
        "closing",
        "is_suspended",
        "met",
        "notebook",
        "read_memory",
        "timeouts",
        "why",
    )

    def __init__(
        self,
        *,
        caller: asyncio.Transport,
        notebook: asyncio.Transport,
        max_frame_bytes: int,
        extensions: bool,
        timeouts: RelayTimeouts,
        read_memory: ReadMemory,
        judge: Callable[[Relay], None],
        on_end: Callable[[Relay], None],
        client: Address | None = None,
        tell: Callable[[int, bool], int] = lambda code, _page_closed: code,
    ) -> None:
        """`judge` closes the relay, or does not; it is called where `suspend` was.

        `tell` says which code the caller is told for one of FOR_EVER, and is told whether the caller closed first.
        """
        self.caller = End(
            self, caller, is_upstream=False, max_frame_bytes=max_frame_bytes, extensions=extensions
        )
        self.notebook = End(
            self, notebook, is_upstream=True, max_frame_bytes=max_frame_bytes, extensions=extensions
        )
        self.caller.other = self.notebook
        self.notebook.other = self.caller
        self.caller._pass_on = notebook.write
        self.notebook._pass_on = caller.write
        self.closing: tuple[int, str] | None = None
        self.is_suspended = False
        """What comes may not simply pass: it is to be judged, or the relay is closing."""
        self.close_code = ABNORMAL_CLOSURE
        """How it ended, for the log: what was sent or seen first."""
        self.met: Bound | None = None
        """The limit that ended it."""
        self.why = ""
        """Why it ended, for the log, where no limit and no close of the two ended it."""
        self.timeouts = timeouts
        self.read_memory = read_memory
        self.client = client
        """Whom it is attributed to."""
        self._judge = judge
        self._on_end = on_end
        self._tell = tell
        self._deadline = 0.0

    def start(self, *, is_full: bool, tail: bytes, inbox: bytes) -> None:
        """Take both transports over. `is_full`: the caller's takes no more for now.

        Reading resumes before what already came is fed: feeding may pause it again, and nobody would resume.
        """
        self.caller.is_full = is_full
        self.caller.transport.set_protocol(self.caller)
        self.notebook.transport.set_protocol(self.notebook)
        self.caller.transport.resume_reading()
        if is_full:
            self.notebook.read_paused = self.notebook.is_held = True
        else:
            self.notebook.transport.resume_reading()
        if tail:
            self.notebook.data_received(tail)
        if inbox:
            self.caller.data_received(inbox)

    def suspend(self) -> None:
        """No byte passes before `judge_now` was called, by the next byte itself if by nobody sooner."""
        self.is_suspended = True

    def judge_now(self) -> bool:
        """Have it judged, if it is to be. True: bytes pass."""
        if self.closing is None and self.is_suspended:
            self.is_suspended = False
            try:
                self._judge(self)
            except BaseException:
                # Undecided: no byte passes.
                self.is_suspended = True
                self.abort()
                raise
        return self.closing is None

    def close(self, code: int, reason: str, *, now: float, why: str = "") -> None:
        """End both sides with `code`, each at its next frame boundary, at once where it is at one.

        No frame that begins after this call passes in either direction. `now` is the monotonic clock's.
        """
        if self.closing is not None:
            return
        self.closing = (code, reason)
        self.why = why
        self.is_suspended = True
        self.close_code = code
        self._deadline = now + LINGER_SECONDS
        for end in (self.caller, self.notebook):
            end.send_close(code, reason)
        for end in (self.caller, self.notebook):
            end.read_for_close()

    def code_for_other(self, end: End, code: int) -> int:
        """The code for the other side, where `end` begins a close: another one for the caller, perhaps, where the
        notebook's is one of FOR_EVER.
        """
        told = code
        if end is self.notebook and code in FOR_EVER:
            told = self._tell(code, self.caller.tracker.close_seen)
        if self.close_code == ABNORMAL_CLOSURE or told != code:
            self.close_code = told
        return told

    def finish(self) -> None:
        """Both have closed: end their connections as soon as what they are owed has been sent (RFC 6455 section 7.1.1).

        The deadline for that is the next sweep's to set.
        """
        if self.closing is None:
            self.closing = (self.close_code, "")
            self.is_suspended = True
        for end in (self.caller, self.notebook):
            end.transport.close()

    def broken(self, end: End, error: FrameError) -> None:
        """`end` sent an ill-formed frame: both sides are told, and nothing that `end` still sends is looked at.

        It is read all the same: closing with unread bytes would reset the connection, and `end` would never
        see why (RFC 6455 section 7.1.1). The deadline is the next sweep's to set.
        """
        self.closing = (error.close_code, error.reason)
        self.is_suspended = True
        self.close_code = error.close_code
        if error.close_code == MESSAGE_TOO_BIG:
            self.met = FRAME_TOO_LARGE
        else:
            self.why = UPSTREAM_FRAME_MALFORMED if end is self.notebook else FRAME_MALFORMED
        end.is_broken = True
        end.send_close(error.close_code, error.reason)
        end.other.send_close(error.close_code, error.reason)
        if end.other.close_sent:
            end.other.read_for_close()
        else:
            # Half of the offending frame's header has passed: there is no boundary to come.
            end.other.transport.close()

    def lost(self, end: End) -> None:
        """`end` is gone: so is the other, as soon as what it is owed has been sent.

        But a caller is left the time to answer our close where the notebook was quicker: its answer would meet a
        reset, which may take our close from it before it was read (RFC 6455 section 7.1.1).
        """
        if end.other.is_lost:
            self._on_end(self)
            return
        if self.closing is None and not self.why and self.close_code == ABNORMAL_CLOSURE and self.met is None:
            self.why = UPSTREAM_GONE if end is self.notebook else CALLER_GONE
        if not end.other.is_broken and not self._awaits_answer(end):
            end.other.transport.close()

    def _awaits_answer(self, gone: End) -> bool:
        caller = self.caller
        return (
            self.closing is not None
            and gone is self.notebook
            and gone.tracker.close_seen
            and caller.close_sent
            and not caller.tracker.close_seen
        )

    @property
    def held_bytes(self) -> int:
        """What waits here in memory for one of the sides to take it."""
        return self.caller.held_bytes + self.notebook.held_bytes

    def cut(self, bound: Bound) -> None:
        """End it for a limit that it met."""
        self.met = bound
        self.abort()

    def abort(self) -> None:
        """Cut both connections. Where nothing is known that would make it so, a fault of our own does."""
        if self.closing is None and self.met is None:
            self.why = InternalError.code
        self.caller.transport.abort()
        self.notebook.transport.abort()

    def sweep(self, now: float) -> None:
        """Ping what is silent, close what stays so. Called about once a second; `now` is the monotonic clock's."""
        if self.closing is not None:
            if not self._deadline:
                self._deadline = now + LINGER_SECONDS
            elif now >= self._deadline:
                self.abort()
            return
        moved = {end: end.bytes_received != end.seen_bytes for end in (self.caller, self.notebook)}
        for end, has_moved in moved.items():
            # Within a frame that it is taking, a side cannot be pinged, and need not be.
            is_taking = moved[end.other] and not end.other.tracker.at_boundary
            if has_moved or is_taking or end.read_paused or not end.quiet_since:
                end.seen_bytes = end.bytes_received
                end.quiet_since = now
                end.pinged = False
            elif now - end.quiet_since >= self.timeouts.silence_seconds:
                self.met = WEBSOCKET_SILENT
                self.close(TIMED_OUT, "nothing came for too long", now=now)
                return
            elif not end.pinged and now - end.quiet_since >= self.timeouts.ping_seconds:
                end.pinged = end.send_ping()
