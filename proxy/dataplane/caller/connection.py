"""One caller's connection: a thin shell around a reader, a writer and the request under way.

Bytes come in, `caller.reader` takes them apart, `caller.admitting` says who answers, and that one's bytes go out
through `caller.writer`. What is done with bytes at a moment is said by `caller.states` alone. The rule: one request
after the other, each with one answer and one record; reading goes on exactly while nobody has a reason against it.
Knows no policy.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Final, cast

from proxy.dataplane.bounds import HEAD_LATE, IDLE, SEND_LATE, TLS_FAILED
from proxy.dataplane.budgets import Claim
from proxy.dataplane.buffers import LARGE_BYTES
from proxy.dataplane.caller.asking import read_head, read_heads, turn_away
from proxy.dataplane.caller.closing import NEVER, Closing
from proxy.dataplane.caller.intake import ANSWERER, INBOX, Intake
from proxy.dataplane.caller.request import Request
from proxy.dataplane.caller.states import START, Answering, Doing, Reading
from proxy.dataplane.caller.writer import Writer
from proxy.dataplane.notebook.translation import ToNotebook, ToNotebooks
from proxy.errors import BadRequest, RequestTimeout
from proxy.wire.body import Data, FramingError
from proxy.wire.request_heads import HeadFault

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.admission.verdict import Admission
    from proxy.client_address.networks import Address
    from proxy.config.settings import Listener
    from proxy.dataplane.budgets import Place
    from proxy.dataplane.plane import DataPlane
    from proxy.telemetry.limits_met import Bound

_TO_NONE: Final = ToNotebook()
_READ, _CARRY, _DROP = Doing.READ, Doing.CARRY, Doing.DROP


class CallerConnection(asyncio.Protocol):
    """See the module's docstring."""

    writer: Writer

    def __init__(
        self, plane: DataPlane, listener: Listener, *, place: Place, deadline: float, pages: web.Server
    ) -> None:
        """`deadline` is that of the first head, by the monotonic clock; `pages` makes what answers for own pages."""
        self.plane = plane
        self.listener = listener
        self.place = place
        self.pages = pages
        self.transport: asyncio.Transport | None = None
        self.request: Request | None = None
        """The one under way; when it is answered, the last one."""
        self.closing = Closing(deadline)
        self.state = START
        self.intake = Intake(plane.reading, is_proxys=place.claim is Claim.TRUSTED)
        self.reader = self.intake.reader
        self.to_notebooks = ToNotebooks()
        self.known: Admission | None = None
        self.to_notebook = _TO_NONE
        self.keeps = True

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
        if self.request is not None and not self.is_idle:
            self.request.lost()
        elif isinstance(exc, ssl.SSLError) and self.request is None:
            # With TLS 1.3 a caller that does not trust our certificate says so after the handshake.
            self.plane.refused(TLS_FAILED, self.peer, detail=f"tls: {exc.reason or 'failed'}")
        self.over()

    def data_received(self, data: bytes) -> None:
        doing = self.state.doing
        if doing is _READ:
            if self.reader.whole_head(data):
                read_head(self, data)
            else:
                self.reader.hold(data)
                read_heads(self)
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
        if request is not None and request.answerer is not None and not self.is_idle:
            request.answerer.on_caller_drained()
        else:
            self._next_soon()

    # -- reading ----------------------------------------------------------------------------------------

    def go(self, event: str) -> None:
        self.state = self.state.after[event]

    @property
    def is_carrying(self) -> bool:
        """Whether a body goes to whoever answers, as it comes."""
        request = self.request
        return (
            self.state.doing is _CARRY
            and request is not None
            and request.takes_body
            and not self.intake.gives_others_a_turn
        )

    @property
    def takes_views(self) -> bool:
        """Whether whoever answers does."""
        request = self.request
        return request is not None and request.answerer is not None and request.answerer.takes_views

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
            size = len(self.intake.part_of_body(data, self._go_on))
        except FramingError:
            self._hang_up(is_listening=True)
            return
        if not self.reader.has_body:
            self._body_ended()
            self._next()
        elif self.closing.has_dropped(size):
            self._hang_up(is_listening=True)

    def _body_ended(self) -> None:
        if self.state.reading is Reading.BODY:
            self.go("end")
            self.intake.hold(b"")

    def _go_on(self) -> None:
        if self.state.doing is _DROP or self.is_carrying:
            self.deliver()

    # -- for the request under way (`caller.channel`) ---------------------------------------------------

    def began(self) -> None:
        """Something of the answer is sent, so that no other one can be given."""
        self.go("began")

    def stop_reading(self) -> None:
        """Read nothing more: where this message ends is not known."""
        self.keeps = False
        self.closing.is_listening = True
        self.reader.stop()
        self.go("stop")

    def answered(self) -> None:
        """The answer is complete: go on behind the request, or let the rest of it run out first."""
        request = self.request
        assert request is not None
        # Whoever answered it reaches nobody any more.
        request.answerer = request.connection = None
        self.state = self.state.after["answered"]
        if self.intake.reasons:
            # Whoever answered has none any more.
            self.intake.resume(ANSWERER)
        if self.reader.body is None:
            self._next()
            return
        request.takes_body = False
        self.closing.let_run_out(self.plane.clock)
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
        if not self.keeps or self.state.reading is Reading.STOPPED:
            # Or it was cut in this turn, and does not know yet that it is lost.
            self._hang_up(is_listening=self.closing.is_listening)
            return
        self.closing.deadline = self.plane.clock.monotonic() + self.plane.current.timeouts.idle_seconds
        if self.reader.inbox or self.writer.is_full:
            # Pipelined: a turn of the loop for each, so that one caller's queue delays nobody else. Nothing is
            # begun for a caller that does not take what it was answered: its answers would pile up here.
            asyncio.get_running_loop().call_soon(self._next_soon)
        else:
            self.state = self.state.after["next"]
            if self.intake.reasons:
                self.intake.resume(INBOX)

    def _next_soon(self) -> None:
        state = self.state
        if state.reading is not Reading.DONE or state.answering is not Answering.IDLE or self.writer.is_full:
            return
        self.go("next")
        read_heads(self)
        if self.state.doing is _READ:
            self.intake.resume(INBOX)
        if self.plane.draining:
            # When that began, it was not at rest.
            self.drain()

    def _hang_up(self, *, is_listening: bool) -> None:
        """Close once everything written has been sent."""
        self.go("stop")
        if self.transport is not None:
            self.closing.is_listening = is_listening
            self.closing.hang_up(self.writer, self.intake, self.plane.clock, self.plane.current.timeouts)

    def _leave(self) -> None:
        """No longer one of the connections that are open."""
        self.plane.open.connections.discard(self)
        self.intake.close()

    def over(self) -> None:
        """It is cut, or somebody else's: nothing of it is for anybody any more."""
        self.go("stop")
        self.go("over")
        self._let_go()
        self.closing.deadline = self.plane.clock.monotonic() + self.plane.current.timeouts.send_seconds

    # -- time -------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
        if now >= self.closing.deadline:
            self._overdue()
            return
        if self.request is not None and not self.is_idle:
            is_held = self.intake.was_paused
            self.intake.was_paused = self.intake.reasons != 0
            self.request.sweep(now, is_held=is_held)

    def _overdue(self) -> None:
        due, self.closing.deadline = self.closing.deadline, NEVER
        plane = self.plane
        if self.state.doing is _READ and self.reader.held_bytes:
            turn_away(
                self,
                HeadFault("it did not come in time"),
                RequestTimeout(),
                began_at=due - plane.current.timeouts.request_head_seconds,
            )
        elif self.state.doing is _READ:
            if self.request is not None:
                plane.limits_met.count(IDLE)
            else:
                plane.refused(HEAD_LATE, self.peer)
            self._hang_up(is_listening=False)
        elif self.transport is not None:
            if self.state.reading is Reading.STOPPED and not self.closing.is_listening:
                # Answered, recorded, and not taken.
                plane.refused(SEND_LATE, self.peer)
            self.abort()

    def drain(self) -> None:
        """No request after the one under way."""
        self.keeps = False
        state = self.state
        if not self.reader.held_bytes and (
            state.doing is _READ or (state.reading is Reading.DONE and self.is_idle)
        ):
            self._hang_up(is_listening=False)

    def abort(self) -> None:
        """Cut it off, and what is under way: an answer that ended before the loss is told would not have gone out."""
        self.go("stop")
        if self.transport is not None:
            self.transport.abort()
        if self.request is not None and not self.is_idle:
            self.request.lost()
            self.over()

    def cut(self, bound: Bound) -> None:
        """End it for a limit that it met."""
        if self.request is not None and not self.is_idle:
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
        self.to_notebooks = ToNotebooks()
        request = self.request
        if self.transport is None or request is None or not (reason := request.objection()):
            return
        if not self.is_idle:
            self.plane.open.withdrawn["requests"] += 1
            request.withdraw(reason)
        elif request.refusal is not None:
            self.plane.open.withdrawn["connections"] += 1
            self.drain()

    # -- what others look at ----------------------------------------------------------------------------

    @property
    def peer(self) -> Address | None:
        return self.place.peer

    @property
    def client(self) -> Address | None:
        """Whom what is under way is attributed to."""
        return self.peer if self.request is None else self.request.client

    @property
    def is_idle(self) -> bool:
        """No request is under way."""
        return self.state.answering is Answering.IDLE or self.state.answering is Answering.OVER

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
    def under_way(self) -> tuple[Admission, str, str, int] | None:
        """The request that is being answered: its admission, method and target, and the bytes of bodies so far."""
        return None if self.request is None else self.request.under_way
