"""A WebSocket carried between a caller and a notebook: two transports spliced, with an eye on frame boundaries.

The rule: bytes pass verbatim and are never held; frames of the gateway's own (close, ping) are put in at a frame
boundary only, and after a close of ours no frame passes any more. One thing is changed: the code of a close frame
from the notebook's side, where `proxy.dataplane.websocket.closes` says so, in its place and with its reason kept. Who
may still send is decided elsewhere: this module knows close codes and silence, and of policy only that there may be a
doubt, which is settled before the next byte passes. So a decision that changed costs frames nothing: the one flag that
they look at says both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from proxy.chance import mask_key
from proxy.client_address.networks import Address
from proxy.dataplane.bounds import FRAME_TOO_LARGE, WEBSOCKET_SILENT
from proxy.dataplane.buffers import LARGE_BYTES, Landing, LargeReads
from proxy.dataplane.records import CALLER_GONE
from proxy.dataplane.websocket.closes import FOR_EVER
from proxy.errors import NbgateError
from proxy.telemetry.limits_met import Bound
from proxy.wire.frames import (
    ABNORMAL_CLOSURE,
    MESSAGE_TOO_BIG,
    TIMED_OUT,
    CloseBegins,
    FrameError,
    FrameTracker,
    MessageOpenings,
    close_frame,
    is_only_control,
    ping_frame,
)

PING_PAYLOAD: Final = b"nbgate"
CLOSES: Final = frozenset(range(1000, 5000))
"""All codes of close frames, and what stands for none: whichever comes first is looked at."""
FRAME_MALFORMED: Final = "FRAME_MALFORMED"
UPSTREAM_FRAME_MALFORMED: Final = "UPSTREAM_FRAME_MALFORMED"
"""In the record of a WebSocket that a frame of the caller's, or of the notebook's, ended."""
UPSTREAM_GONE: Final = "UPSTREAM_GONE"
"""In the record of a WebSocket that ended with the notebook's connection, which nobody had closed (RFC 6455's 1006);
`CALLER_GONE` where it was the caller's.
"""
LINGER_SECONDS: Final = 3.0
"""How long a peer may take to answer our close frame before its connection is cut (RFC 6455 section 7.1.1)."""


@dataclass(frozen=True, slots=True)
class RelayTimeouts:
    """Seconds."""

    ping_seconds: float = 25.0
    silence_seconds: float = 90.0


class End(asyncio.Protocol):
    """One side of a relay: receives its frames and hands them to the other side."""

    __slots__ = (
        "_follow",
        "_is_upstream",
        "_large_reads",
        "_openings",
        "_pass_on",
        "_rest",
        "bytes_received",
        "close_sent",
        "is_broken",
        "is_full",
        "is_held",
        "is_lost",
        "is_used",
        "other",
        "pinged",
        "quiet_since",
        "read_paused",
        "relay",
        "seen_bytes",
        "tracker",
        "transport",
    )

    other: End
    _pass_on: Callable[[bytes | memoryview], None]
    """The other side's `transport.write`, looked up once for all frames, as is `_follow`."""

    def __init__(
        self,
        relay: Relay,
        transport: asyncio.Transport,
        *,
        is_upstream: bool,
        max_frame_bytes: int,
        extensions: bool,
    ) -> None:
        self.relay = relay
        self.transport = transport
        self._is_upstream = is_upstream
        # Clients mask, servers don't (RFC 6455 section 5.1).
        self.tracker = FrameTracker(
            masked=not is_upstream,
            max_frame_bytes=max_frame_bytes,
            extensions=extensions,
            told_codes=CLOSES,
        )
        self._follow = self.tracker.feed
        self._large_reads: LargeReads | None = None
        self._rest: memoryview | None = None
        """What came in one read and is more than one turn's work; nothing more is read meanwhile."""
        self.is_used = False
        """A message began since `watch`, or one that counts since `watch_openings`."""
        self._openings: MessageOpenings | None = None
        self.bytes_received = 0
        self.seen_bytes = 0
        self.quiet_since = 0.0
        self.pinged = False
        self.close_sent = False
        self.is_broken = False
        self.is_full = False
        self.is_lost = False
        self.read_paused = False
        """The other side takes no more for now."""
        self.is_held = False
        """The transport does not read."""

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def data_received(self, data: bytes | memoryview) -> None:
        self.bytes_received += len(data)
        relay = self.relay
        if relay.halted and not relay.settle():
            self._receive_while_closing(data)
            return
        try:
            stopped_at = self._follow(data)
        except CloseBegins as begun:
            data = self._told(data, begun)
            self._follow = self._follow_to_the_end
            try:
                stopped_at = self._follow(data[begun.size :])
                if stopped_at:
                    stopped_at += begun.size
            except FrameError as error:
                self._pass_on(data[: begun.size + error.good])
                relay.broken(self, error)
                return
        except FrameError as error:
            if error.good:
                self._pass_on(data[: error.good])
            relay.broken(self, error)
            return
        if stopped_at:
            self._pass_on(data[:stopped_at])
            self._go_on_later(data[stopped_at:])
            return
        self._pass_on(data)
        if len(data) >= LARGE_BYTES:
            self._read_large()

    def _go_on_later(self, rest: bytes | memoryview) -> None:
        """Tiny frames: give the loop a turn between two bounds of work."""
        view = memoryview(rest)
        # What large reads land in is used again.
        self._rest = view if isinstance(view.obj, bytes) else memoryview(bytes(view))
        self.bytes_received -= len(view)
        self._read_or_not()
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            self.data_received(rest)
            self._read_or_not()

    def _follow_to_the_end(self, data: bytes | memoryview) -> int:
        """Its close has begun. Once both are whole nothing is to come, and neither need wait for the other's end."""
        stopped_at = self.tracker.feed(data)
        if self.tracker.is_over and self.other.tracker.is_over:
            # What came is passed on first.
            asyncio.get_running_loop().call_soon(self.relay.finish)
        return stopped_at

    def _told(self, data: bytes | memoryview, begun: CloseBegins) -> bytes | memoryview:
        """`data`, with the code that has just come as the other side is to be told it.

        The codes in question differ in their last byte alone, which is here: their first may have passed already.
        """
        told = self.relay.told(self, begun.code)
        if told == begun.code:
            return data
        assert told >> 8 == begun.code >> 8
        return b"".join((data[: begun.size - 1], bytes((told & 0xFF,)), data[begun.size :]))

    def large_received(self, data: memoryview) -> bool:
        self.data_received(data)
        return True

    def _read_large(self) -> None:
        if self._large_reads is None:
            self._large_reads = LargeReads(self, self.transport, self.relay.landing)
        self._large_reads.begin()

    def watch(self) -> None:
        """Note in `is_used` whether a message comes. The first one ends the looking: the others cost nothing."""
        self.is_used = False
        if not self.tracker.close_seen:
            self._follow = self._look

    def _look(self, data: bytes | memoryview) -> int:
        tracker = self.tracker
        if not tracker.at_boundary or not is_only_control(data):
            self.is_used = True
            self._follow = tracker.feed
        return tracker.feed(data)

    def watch_openings(self, counts: Callable[[bytes], bool]) -> None:
        """Note in `is_used` whether a message comes that counts by its first bytes. The first one ends the looking.

        Where none came since the last call, the looking goes on, also within a frame.
        """
        self.is_used = False
        if self._openings is None:
            self._follow = partial(self._look_into, counts)

    def _look_into(self, counts: Callable[[bytes], bool], data: bytes | memoryview) -> int:
        tracker = self.tracker
        reader = self._openings
        if reader is None and tracker.at_boundary:
            reader = self._openings = MessageOpenings()
        stopped_at = tracker.feed(data)
        openings = None if reader is None else reader.feed(data[:stopped_at] if stopped_at else data)
        # What cannot be looked at counts: the rest of a frame that began before, and very many small ones.
        if openings is None or any(map(counts, openings)):
            self.is_used = True
            self._openings = None
            self._follow = tracker.feed
        return stopped_at

    def eof_received(self) -> None:
        return None  # the transport closes itself, and `connection_lost` follows

    def connection_lost(self, exc: Exception | None) -> None:
        # Under TLS the end may be told although reading is paused.
        while self._rest is not None:
            self._go_on()
        self.is_lost = True
        self.relay.lost(self)

    def pause_writing(self) -> None:
        self.is_full = True
        self.other.pause_reading()

    def resume_writing(self) -> None:
        self.is_full = False
        self.other.resume_reading()

    # -- for the relay ----------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        self.read_paused = True
        self._read_or_not()

    def resume_reading(self) -> None:
        self.read_paused = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read while the other side takes it, and nothing that came before still waits."""
        held = self.read_paused or self._rest is not None
        if held != self.is_held and not self.is_lost and not self.transport.is_closing():
            self.is_held = held
            if held:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    @property
    def held_bytes(self) -> int:
        """What this side was sent and did not take, and what it sent that is still to be looked at."""
        rest = 0 if self._rest is None else len(self._rest)
        return rest + (0 if self.is_lost else self.transport.get_write_buffer_size())

    def send_close(self, code: int, reason: str) -> None:
        """Tell this side that it is over; once, and only at a boundary of what it was being sent."""
        if self.close_sent or self.is_lost or not self.other.tracker.at_boundary:
            return
        self.close_sent = True
        if not self.other.tracker.close_seen:
            self.transport.write(close_frame(code, reason, mask=mask_key() if self._is_upstream else None))
        if self.is_broken and self.transport.can_write_eof():
            self.transport.write_eof()

    def send_ping(self) -> bool:
        """Ask this side for a sign of life, if it stands at a boundary of what it is being sent."""
        if not self.other.tracker.at_boundary or self.other.tracker.close_seen:
            return False
        self.transport.write(ping_frame(PING_PAYLOAD, mask=mask_key() if self._is_upstream else None))
        return True

    def read_for_close(self) -> None:
        """Read until this side closes: also if it was paused, once nothing it sends is passed on any more.

        Until then a frame under way waits for the other side to take it, and is cut when that takes too long.
        """
        if self.other.close_sent or not self.other.is_full:
            self.resume_reading()
        if self.tracker.is_over and self.close_sent:
            self.transport.close()

    def _receive_while_closing(self, data: bytes | memoryview) -> None:
        """Let the frame under way end, then put our close behind it; what follows is not passed on."""
        closing = self.relay.closing
        assert closing is not None
        if self.is_broken:
            return
        tracker = self.tracker
        try:
            if not self.other.close_sent:
                rest_of_frame = data[: tracker.boundary_in(data)]
                told, _ = self._fed(rest_of_frame)
                self.other.transport.write(told)
                data = data[len(rest_of_frame) :]
                self.other.send_close(*closing)
            # Only its own close is still of interest.
            _, stopped_at = self._fed(data)
        except FrameError:
            self.transport.abort()
            return
        if stopped_at:
            self._go_on_later(data[stopped_at:])
        self.read_for_close()

    def _fed(self, data: bytes | memoryview) -> tuple[bytes | memoryview, int]:
        """Follow `data`; returns it as the other side is to get it, and where that stopped, as `feed` has it."""
        try:
            return data, self.tracker.feed(data)
        except CloseBegins as begun:
            data = self._told(data, begun)
            stopped_at = self.tracker.feed(data[begun.size :])
            return data, stopped_at + begun.size if stopped_at else 0


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
        "halted",
        "landing",
        "met",
        "notebook",
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
        landing: Landing,
        judge: Callable[[Relay], None],
        on_end: Callable[[Relay], None],
        client: Address | None = None,
        tell: Callable[[int, bool], int] = lambda code, _page_closed: code,
    ) -> None:
        """`judge` closes the relay, or does not; it is called where `doubt` was.

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
        self.halted = False
        """What comes may not simply pass: there is a doubt, or the relay is closing."""
        self.close_code = ABNORMAL_CLOSURE
        """How it ended, for the log: what was sent or seen first."""
        self.met: Bound | None = None
        """The limit that ended it."""
        self.why = ""
        """Why it ended, for the log, where no limit and no close of the two ended it."""
        self.timeouts = timeouts
        self.landing = landing
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

    def doubt(self) -> None:
        """No byte passes before `settle` was called, by the next byte itself if by nobody sooner."""
        self.halted = True

    def settle(self) -> bool:
        """Have a doubt judged, if there is one. True: bytes pass."""
        if self.closing is None and self.halted:
            self.halted = False
            try:
                self._judge(self)
            except BaseException:
                # Undecided: no byte passes.
                self.halted = True
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
        self.halted = True
        self.close_code = code
        self._deadline = now + LINGER_SECONDS
        for end in (self.caller, self.notebook):
            end.send_close(code, reason)
        for end in (self.caller, self.notebook):
            end.read_for_close()

    def told(self, end: End, code: int) -> int:
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
            self.halted = True
        for end in (self.caller, self.notebook):
            end.transport.close()

    def broken(self, end: End, error: FrameError) -> None:
        """`end` sent an ill-formed frame: both sides are told, and nothing that `end` still sends is looked at.

        It is read all the same: closing with unread bytes would reset the connection, and `end` would never
        see why (RFC 6455 section 7.1.1). The deadline is the next sweep's to set.
        """
        self.closing = (error.close_code, error.reason)
        self.halted = True
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
            self.why = NbgateError.code
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
