"""One caller's connection: a thin shell around a reader, a writer and the request under way.

Bytes come in, `caller.reader` takes them apart, `caller.admitting` says who answers, and that one's bytes go out
through `caller.writer`. What is done with bytes at a moment is said by `caller.states` alone. The rule: one request
after the other, each with one answer and one record; reading goes on exactly while nobody has a reason against it.
Knows no policy.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from typing import TYPE_CHECKING, Final, cast

from proxy.dataplane.bounds import HEAD_LATE, IDLE, SEND_LATE, TLS_FAILED
from proxy.dataplane.budgets import Claim
from proxy.dataplane.buffers import LARGE_BYTES
from proxy.dataplane.caller.admitting import turn_away, who_answers
from proxy.dataplane.caller.intake import ALL, ANSWERER, INBOX, Intake
from proxy.dataplane.caller.request import Request
from proxy.dataplane.caller.states import START, Answering, Doing, Reading
from proxy.dataplane.caller.writer import Writer
from proxy.dataplane.notebook.link import Ways
from proxy.errors import (
    BadRequest,
    HeadTooLarge,
    NbgateError,
    RequestTimeout,
    TooManyRequestFields,
)
from proxy.wire.body import Data, FramingError
from proxy.wire.request_heads import FaultKind, HeadFault

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.client_address.networks import Address
    from proxy.config.settings import Listener
    from proxy.dataplane.budgets import Place
    from proxy.dataplane.plane import DataPlane
    from proxy.gateway import Admission
    from proxy.telemetry.limits_met import Bound

DROPPED_BYTES: Final = 16 * 1024 * 1024
"""A request that is answered early may send this much more before its connection is closed."""
LINGER_SECONDS: Final = 5.0
"""How long a caller that was answered early may go on sending before its connection is cut."""
_ERRORS: Final[dict[FaultKind, type[NbgateError]]] = {
    FaultKind.MALFORMED: BadRequest,
    FaultKind.TOO_LARGE: HeadTooLarge,
    FaultKind.TOO_MANY_FIELDS: TooManyRequestFields,
    FaultKind.NO_HTTP: BadRequest,
}
_NEVER: Final = math.inf
_READ, _CARRY, _DROP = Doing.READ, Doing.CARRY, Doing.DROP
_OWED, _BEGUN = Answering.OWED, Answering.BEGUN


class CallerConnection(asyncio.Protocol):
    """See the module's docstring."""

    __slots__ = (
        "_deadline",
        "_dropped",
        "_lingers",
        "_state",
        "intake",
        "keeps",
        "known",
        "listener",
        "pages",
        "place",
        "plane",
        "reader",
        "request",
        "transport",
        "ways",
        "writer",
    )

    writer: Writer

    def __init__(
        self, plane: DataPlane, listener: Listener, place: Place, *, deadline: float, pages: web.Server
    ) -> None:
        """`deadline` is that of the first head, by the monotonic clock; `pages` makes what answers for own pages."""
        self.plane = plane
        self.listener = listener
        self.place = place
        self.pages = pages
        self.transport: asyncio.Transport | None = None
        self.request: Request | None = None
        """The one under way; when it is answered, the last one."""
        self._deadline = deadline
        self._state = START
        self.intake = Intake(plane.reading, is_proxys=place.claim is Claim.TRUSTED)
        self.reader = self.intake.reader
        self.ways = Ways()
        self.known: Admission | None = None
        """That of the last request that was admitted."""
        self.keeps = True
        """Another request may follow the one under way."""
        self._lingers = False
        self._dropped = 0

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.writer = Writer(self.transport, self.plane.batch)
        self.intake.open(self.transport)
        if (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.place.is_held = True
        self.plane.open.connections.add(self)
        if self.plane.draining:
            self.go("stop")
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self._leave()
        self.place.leave()
        if self.request is not None and self.is_owed:
            self.request.lost()
        elif isinstance(exc, ssl.SSLError) and self.request is None:
            # With TLS 1.3 a caller that does not trust our certificate says so after the handshake.
            self.plane.refused(TLS_FAILED, self.peer, detail=f"tls: {exc.reason or 'failed'}")
        self.over()

    def data_received(self, data: bytes) -> None:
        doing = self._state.doing
        if doing is _READ:
            if self.reader.whole_head(data):
                self._read_head(data)
            else:
                self.reader.hold(data)
                self._read_heads()
        elif self.is_carrying:
            self._carry(data)
            if len(data) >= LARGE_BYTES and self.is_carrying and self.takes_views:
                self.intake.read_large(self, self.plane.read_memory)
        elif doing is _DROP and not self.intake.gives_others_a_turn:
            self._drop(data)
        elif doing is not Doing.IGNORE:
            self.intake.hold(data)

    def large_received(self, data: memoryview) -> bool:
        """As `data_received`, for a view of memory that is used again."""
        if not self.is_carrying:
            self.data_received(bytes(data))
            return False
        self._carry(data)
        return True

    def pause_writing(self) -> None:
        self.writer.is_full = True

    def resume_writing(self) -> None:
        self.writer.is_full = False
        request = self.request
        if request is not None and request.answerer is not None and self.is_owed:
            request.answerer.on_caller_drained()
        else:
            self._next_soon()

    # -- reading ----------------------------------------------------------------------------------------

    def go(self, event: str) -> None:
        self._state = self._state.after[event]

    @property
    def is_owed(self) -> bool:
        answering = self._state.answering
        return answering is _OWED or answering is _BEGUN

    @property
    def is_carrying(self) -> bool:
        """Whether a body goes to whoever answers, as it comes."""
        request = self.request
        return (
            self._state.doing is _CARRY
            and request is not None
            and request.takes_body
            and not self.intake.gives_others_a_turn
        )

    @property
    def takes_views(self) -> bool:
        """Whether whoever answers does."""
        request = self.request
        return request is not None and request.answerer is not None and request.answerer.takes_views

    def _read_heads(self) -> None:
        """Take heads out of what waits."""
        reader = self.reader
        while self._state.doing is _READ:
            had_begun = reader.has_begun
            try:
                head = reader.next_head()
            except HeadFault as fault:
                self._begin()
                self._refuse_head(fault)
                return
            if head is None:
                if reader.has_begun and not had_begun and self.request is not None:
                    # The first head's time began with the connection.
                    self._deadline = (
                        self.plane.clock.monotonic() + self.plane.current.timeouts.request_head_seconds
                    )
                return
            self._read_head(head)
        self.intake.hold(b"")

    def _begin(self) -> Request:
        """A request, read or refused unread: from here on it has its id, and nothing of the one before it."""
        self.request = request = Request(self, self.plane)
        self._deadline = _NEVER
        return request

    def _read_head(self, head: bytes) -> None:
        request = self._begin()
        try:
            read = self.reader.read(head)
        except HeadFault as fault:
            self._refuse_head(fault)
            return
        self.go("head with body" if read.has_body else "head")
        self.go("asked")
        self.keeps = read.is_kept and not self.plane.leaving
        answerer = who_answers(self, request, read)
        if answerer is not None:
            request.answerer = answerer
            answerer.start()

    def _refuse_head(self, fault: HeadFault) -> None:
        if fault.fault is FaultKind.NO_HTTP:
            self._turn_away(BadRequest("This is not an HTTP request.", detail=str(fault)), fault)
        else:
            self._turn_away(_ERRORS[fault.fault](detail=f"head: {fault}"), fault)

    def _turn_away(self, error: NbgateError, fault: HeadFault) -> None:
        """Refuse what could not be read, so that nobody was asked about it."""
        assert self.request is not None
        self.go("stop")
        self.go("asked")
        turn_away(self, self.request, error, fault)
        self.request.stop(error)

    def deliver(self) -> None:
        """Whoever is to have it takes what waits now."""
        if not self.intake.gives_others_a_turn:
            if self.reader.held_bytes:
                self.data_received(self.reader.take())
            self.intake.has_taken()

    def _carry(self, data: Data) -> None:
        request = self.request
        assert request is not None
        answerer = request.answerer
        assert answerer is not None
        try:
            part = self.intake.part_of_body(data, self._go_on)
        except FramingError:
            request.abandon(BadRequest("The request's body is malformed."))
            return
        has_ended = not self.reader.has_body
        if part:
            answerer.on_request_body(part)
        if has_ended:
            self._body_ended()
            answerer.on_request_end()

    def _drop(self, data: bytes) -> None:
        try:
            self._dropped += len(self.intake.part_of_body(data, self._go_on))
        except FramingError:
            self._hang_up(lingers=True)
            return
        if not self.reader.has_body:
            self._body_ended()
            self._next()
        elif self._dropped > DROPPED_BYTES:
            self._hang_up(lingers=True)

    def _body_ended(self) -> None:
        if self._state.reading is Reading.BODY:
            self.go("end")
            self.intake.hold(b"")

    def _go_on(self) -> None:
        if self._state.doing is _DROP or self.is_carrying:
            self.deliver()

    # -- for the request under way ----------------------------------------------------------------------

    def stop_reading(self) -> None:
        """Read nothing more: where this message ends is not known."""
        self.keeps = False
        self._lingers = True
        self.reader.stop()
        self.go("stop")

    def answered(self) -> None:
        """The answer is complete: go on behind the request, or let the rest of it run out first."""
        self._let_go()
        self.go("answered")
        if self.intake.reasons:
            # Whoever answered has none any more.
            self.intake.resume(ANSWERER)
        if not self.reader.has_body:
            self._next()
            return
        self._dropped = 0
        self._deadline = self.plane.clock.monotonic() + LINGER_SECONDS
        self.deliver()

    def hand_over(self) -> tuple[asyncio.Transport, bytes, bool]:
        """Give the transport away, with what waits, and whether the caller takes no more: this object is done with."""
        assert self.transport is not None
        transport, waiting, is_full = self.writer.give(), self.reader.take(), self.writer.is_full
        self.transport = None
        self._leave()
        self.over()
        return transport, waiting, is_full

    def _let_go(self) -> None:
        """Whoever answered the request reaches nobody any more."""
        request = self.request
        if request is not None:
            request.answerer = request.connection = None
            request.takes_body = False

    def _next(self) -> None:
        """Behind a request that is wholly received and answered."""
        if not self.keeps or self._state.reading is Reading.STOPPED:
            # Or it was cut in this turn, and does not know yet that it is lost.
            self._hang_up(lingers=self._lingers)
            return
        self._deadline = self.plane.clock.monotonic() + self.plane.current.timeouts.idle_seconds
        if self.reader.held_bytes or self.writer.is_full:
            # Pipelined: a turn of the loop for each, so that one caller's queue delays nobody else. Nothing is
            # begun for a caller that does not take what it was answered: its answers would pile up here.
            asyncio.get_running_loop().call_soon(self._next_soon)
        else:
            self.go("next")
            self.intake.resume(INBOX)

    def _next_soon(self) -> None:
        state = self._state
        if state.reading is not Reading.DONE or state.answering is not Answering.IDLE or self.writer.is_full:
            return
        self.go("next")
        self._read_heads()
        if self._state.doing is _READ:
            self.intake.resume(INBOX)
        if self.plane.draining:
            # When that began, it was not at rest.
            self.drain()

    def _hang_up(self, *, lingers: bool) -> None:
        """Close once everything written has been sent."""
        self.go("stop")
        if self.transport is None:
            return
        if lingers and self.writer.half_close():
            # Closing with unread bytes would reset the connection, and the caller would not see the answer
            # (RFC 9112 section 9.6): tell it to stop, and read on for a while.
            self._lingers = True
            self._deadline = self.plane.clock.monotonic() + LINGER_SECONDS
            self.intake.resume(ALL)
        else:
            self._lingers = False
            self._deadline = self.plane.clock.monotonic() + self.plane.current.timeouts.send_seconds
            self.writer.close()

    def _leave(self) -> None:
        """No longer one of the connections that are open."""
        self.plane.open.connections.discard(self)
        self.intake.close()

    def over(self) -> None:
        """It is cut, or somebody else's: nothing of it is for anybody any more."""
        self.go("stop")
        self.go("over")
        self._let_go()
        self._deadline = self.plane.clock.monotonic() + self.plane.current.timeouts.send_seconds

    # -- time -------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
        if now >= self._deadline:
            self._overdue()
            return
        if self.request is not None and self.is_owed:
            is_held = self.intake.was_paused
            self.intake.was_paused = self.intake.reasons != 0
            self.request.sweep(now, is_held=is_held)

    def _overdue(self) -> None:
        due, self._deadline = self._deadline, _NEVER
        plane = self.plane
        if self._state.doing is _READ and self.reader.held_bytes:
            request = self._begin()
            request.started_at = due - plane.current.timeouts.request_head_seconds
            self._turn_away(RequestTimeout(), HeadFault("it did not come in time"))
        elif self._state.doing is _READ:
            if self.request is not None:
                plane.limits_met.count(IDLE)
            else:
                plane.refused(HEAD_LATE, self.peer)
            self._hang_up(lingers=False)
        elif self.transport is not None:
            if self._state.reading is Reading.STOPPED and not self._lingers:
                # Answered, recorded, and not taken.
                plane.refused(SEND_LATE, self.peer)
            self.abort()

    def drain(self) -> None:
        """No request after the one under way."""
        self.keeps = False
        state = self._state
        if not self.reader.held_bytes and (
            state.doing is _READ or (state.reading is Reading.DONE and self.is_idle)
        ):
            self._hang_up(lingers=False)

    def abort(self) -> None:
        """Cut it off, and what is under way: an answer that ended before the loss is told would not have gone out."""
        self.go("stop")
        if self.transport is not None:
            self.transport.abort()
        if self.request is not None and self.is_owed:
            self.request.lost()
            self.over()

    def cut(self, bound: Bound) -> None:
        """End it for a limit that it met."""
        if self.request is not None and self.is_owed:
            self.request.cut(bound)
        else:
            self.plane.refused(bound, self.client)
            self.abort()

    def judge(self) -> None:
        """Another gateway decides now: end what it does not admit, be it under way or only kept open.

        A connection that is only kept for a caller who is still let in stays, wherever its last request went: to
        close it could break the next one, which is decided anew as it is.
        """
        # What was found out by the gateway before does not count any more.
        self.reader.forget()
        self.known = None
        self.ways = Ways()
        request = self.request
        if self.transport is None or request is None or not (reason := request.objection()):
            return
        withdrawn = self.plane.open.withdrawn
        if self.is_owed:
            withdrawn["requests"] += 1
            request.withdraw(reason)
        elif request.refusal is not None:
            withdrawn["connections"] += 1
            self.drain()

    # -- what others look at ----------------------------------------------------------------------------

    @property
    def peer(self) -> Address | None:
        return self.place.peer

    @property
    def public_port(self) -> int:
        """The listener's, as callers see it."""
        return self.listener.public_port

    @property
    def client(self) -> Address | None:
        """Whom what is under way is attributed to."""
        return self.peer if self.request is None else self.request.client

    @property
    def is_idle(self) -> bool:
        """No request is under way."""
        return not self.is_owed

    @property
    def held_bytes(self) -> int:
        """What waits here in memory for somebody to take it."""
        held = self.reader.held_bytes
        if self.transport is not None:
            held += self.writer.unsent_bytes
        if self.request is not None and self.request.answerer is not None:
            held += self.request.answerer.held_bytes
        return held

    @property
    def unread_bytes(self) -> int:
        """What has come and waits."""
        return self.reader.held_bytes

    @property
    def is_reading(self) -> bool:
        """Nobody has a reason against reading on."""
        return not self.intake.reasons

    @property
    def doing(self) -> Doing:
        """What becomes of bytes that arrive now."""
        return self._state.doing

    @property
    def under_way(self) -> tuple[Admission, str, str, int] | None:
        """The request that is being answered: its admission, method and target, and the bytes of bodies so far."""
        request = self.request
        if request is None or request.answerer is None or request.admission is None:
            return None
        asked, answerer = request.asked, request.answerer
        return request.admission, asked.method, asked.target, answerer.bytes_in + answerer.bytes_out
