"""One caller's connection: aiohttp's request handler, with the bodies of forwarded requests led past it.

The rule: every head is parsed by aiohttp (llhttp) and every request passes `Gateway.admit`, one after the
other. No feed to aiohttp's parser ever straddles the end of a head, so a message with a body is announced
before any byte of the body was fed; a strict tracker then says where the body ends, and a fresh parser takes
over behind it. States:

    HEAD   feed the parser up to the end of each head; heads are bounded in size and in time
    HELD   a request waits for its notebook, or its response is under way: what arrives waits too, up to 64 KiB
    RAW    the body goes to the notebook as it comes
    NATIVE a page of the gateway's own: the body, to its end, goes to aiohttp
    DROP   answered already: discard the body, while tracking where it ends
    DEAD   nothing more is read: broken framing, or the connection is about to close

HEAD -> HELD -> RAW -> HELD | NATIVE | DROP -> HEAD, and DEAD from everywhere. aiohttp's internals that this
relies on are listed in `proxy.dataplane.aiohttp_internals`. This module knows no policy and nothing of AWS.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from enum import Enum
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.dataplane.aiohttp_internals import Connection, has_too_many_fields, new_parser
from proxy.dataplane.answers import Page, message_of
from proxy.dataplane.bounds import DRAIN_OVER, HEAD_LATE, IDLE, SEND_LATE, TLS_FAILED, bound_of
from proxy.dataplane.budgets import Claim, Place
from proxy.dataplane.forward import Forward
from proxy.dataplane.handshake import handshake_fault
from proxy.dataplane.known_heads import HEADS, HEADS_OF_PROXY, KnownFields, KnownHeads
from proxy.dataplane.landing import LARGE_BYTES, LargeReads
from proxy.dataplane.link import Link, Way, link
from proxy.dataplane.records import CALLER_GONE, RESPONSE_CUT, request_record, text_of
from proxy.dataplane.request_framing import framing_lines, request_framing
from proxy.dataplane.rewriting import wants_plain
from proxy.dataplane.transports import reset
from proxy.dataplane.visit import Visit
from proxy.errors import (
    AccessDenied,
    BadRequest,
    BodyTimeout,
    HeadTooLarge,
    NbgateError,
    OriginRefused,
    RequestTimeout,
    TooManyRequestFields,
    UpstreamUnreachable,
)
from proxy.gateway import FOREIGN_PAGE, Admission, Caller, Inbound, Refusal
from proxy.routing.jupyters import is_proxied
from proxy.routing.router import OwnPage, Redirect, Route
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.limits_met import Bound
from proxy.wire.body import ChunkedBody, Data, FramingError, LengthBody
from proxy.wire.browsers import Asker, is_patient, who_asks
from proxy.wire.credentials import programs_fields
from proxy.wire.heads import RequestFields, RequestHead, ResponseFacts, response_head

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

    from proxy.aws.keeper import SessionKeeper
    from proxy.aws.sessions import UpstreamSession
    from proxy.client_address.networks import Address
    from proxy.config.settings import Listener
    from proxy.dataplane.plane import DataPlane
    from proxy.dataplane.upstream import UpstreamConnection

HELD_BYTES: Final = 64 * 1024
"""Reading pauses when this much waits. What one read brings (256 KiB) may come on top of it."""
DROPPED_BYTES: Final = 16 * 1024 * 1024
"""A request that is answered early may send this much more before its connection is closed."""
LINGER_SECONDS: Final = 5.0
"""How long a caller that was answered early may go on sending before its connection is cut."""
_WORKER: Final = "Service-Worker"
_NEVER: Final = math.inf
_WELCOME, _STRANGER = Claim.WELCOME, Claim.STRANGER
_HEAD_END: Final = b"\r\n\r\n"
_NO_FIELDS: Final = CIMultiDictProxy[str](CIMultiDict())
_NOT_HTTP: Final = ("not HTTP", "a TLS handshake, on a port that speaks plain HTTP")
_NOT_FORWARDED: Final = frozenset({"CONNECT", "TRACE"})
"""CONNECT would make a tunnel of the gateway, TRACE would show the caller the session's cookies."""


class State(Enum):
    """See the module's docstring."""

    HEAD = "head"
    HELD = "held"
    RAW = "raw"
    NATIVE = "native"
    DROP = "drop"
    DEAD = "dead"


_HEAD, _HELD, _RAW, _NATIVE, _DROP, _DEAD = State


class Downstream(Connection):
    """One connection. Implements `proxy.dataplane.forward.Caller` for the request under way."""

    __slots__ = (
        "_admission",
        "_answered",
        "_body",
        "_caller",
        "_deadline",
        "_dropped",
        "_forward",
        "_has_leave",
        "_inbound",
        "_inbox",
        "_is_http_10",
        "_is_upgrade",
        "_keep_alive",
        "_keeper",
        "_known",
        "_large_reads",
        "_last_turn",
        "_lingers",
        "_listener",
        "_own_way",
        "_page_error",
        "_peer",
        "_place",
        "_plane",
        "_quiet_since",
        "_read_held",
        "_received",
        "_refusal",
        "_request_id",
        "_resumes",
        "_scanned",
        "_started_at",
        "_state",
        "_swept_bytes",
        "_upstream_full",
        "_way",
        "page_user",
        "write",
    )

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        plane: DataPlane,
        listener: Listener,
        place: Place,
        *,
        deadline: float,
    ) -> None:
        """`deadline` is that of the first head, by the monotonic clock."""
        super().__init__(server, loop)
        self._plane = plane
        self._listener = listener
        self._place = place
        self._peer = place.peer
        self._deadline = deadline
        self._state = _HEAD
        self._inbox = bytearray()
        self._scanned = 0
        self._body: LengthBody | ChunkedBody | None = None
        self._forward: Forward | None = None
        self._admission: Admission | None = None
        self._refusal: Refusal | None = None
        self._inbound: Inbound | None = None
        most = HEADS_OF_PROXY if place.claim is Claim.TRUSTED else HEADS
        self._known = KnownHeads(plane.known_heads, most=most)
        self._caller: Caller | None = None
        self._keeper: SessionKeeper | None = None
        self._own_way = self._way = Way()
        """The one for requests whose fields are not known, and the one of the request under way."""
        self._resumes: State | None = None
        self._large_reads: LargeReads | None = None
        self._read_held = False
        self._last_turn = -1
        """The outbox's, when the last answer was put there."""
        self._upstream_full = False
        self._lingers = False
        self._answered = True
        self._keep_alive = True
        self._is_http_10 = False
        self._is_upgrade = False
        self._request_id = ""
        self._page_error: NbgateError | None = None
        self.page_user = ""
        """Who a page of the gateway's own knows its caller to be."""
        self._started_at = 0.0
        self._dropped = 0
        self._received = 0
        self._has_leave = False
        self._swept_bytes = -1
        self._quiet_since = 0.0

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.write = self.transport.write
        self._place.is_held = True
        self._plane.connections.add(self)
        if self._plane.draining:
            self._state = _DEAD
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._plane.connections.discard(self)
        self._known.forget()
        self._place.leave()
        self._state = _DEAD
        forward, self._forward = self._forward, None
        code = CALLER_GONE
        if self._plane.is_over and not self._answered:
            code = DRAIN_OVER.code
            self._plane.met(DRAIN_OVER, self.client)
        if forward is not None:
            forward.cancel()
            self._log(forward.status, forward.bytes_in, forward.bytes_out, code)
        elif not self._answered:
            self._log(0, self._received, 0, code)
        elif isinstance(exc, ssl.SSLError) and not self._request_id:
            # With TLS 1.3 a caller that does not trust our certificate says so after the handshake.
            self._plane.refused(TLS_FAILED, self._peer, detail=f"tls: {exc.reason or 'failed'}")
        self._answered = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is _RAW:
            self._carry(data)
            if len(data) >= LARGE_BYTES and self._state is _RAW:
                self._read_large()
        elif state is _HEAD:
            inbox = self._inbox
            if not inbox and data.endswith(_HEAD_END) and data.find(_HEAD_END) == len(data) - 4:
                self._read_head(data)
            else:
                inbox += data
                self._read_heads()
                if self._state is _HELD:
                    self._hold(b"")
        elif state is _HELD:
            self._hold(data)
        elif state is _NATIVE:
            self._feed_page(data)
        elif state is _DROP:
            self._drop(data)

    def large_received(self, data: memoryview) -> bool:
        if self._state is not _RAW:
            self.data_received(bytes(data))
            return False
        self._carry(data)
        return True

    def resume_writing(self) -> None:
        if self._paused:
            super().resume_writing()
        if self._forward is not None:
            self._forward.on_caller_drained()
        elif self._state is _HELD and self._answered and self._body is None:
            self._next_pipelined()

    # -- HEAD -------------------------------------------------------------------------------------------

    def _read_heads(self) -> None:
        """Take one head out of what has arrived, if it is there."""
        inbox = self._inbox
        while inbox and self._state is _HEAD:
            if not self._scanned:
                if inbox[0] in b"\r\n":
                    # RFC 9112 section 2.2: empty lines before a request are ignored.
                    del inbox[: len(inbox) - len(inbox.lstrip(b"\r\n"))]
                    continue
                if not (0x41 <= inbox[0] <= 0x5A):
                    # No method begins like this: a TLS handshake, mostly. Waiting for more would help nobody.
                    self._begin()
                    self._unreadable(
                        BadRequest("This is not an HTTP request.", detail=_NOT_HTTP[inbox[0] == 0x16])
                    )
                    return
                if self._request_id:
                    # The first head's time began with the connection.
                    self._deadline = self._plane.clock.monotonic() + self._plane.timeouts.request_head_seconds
            end = inbox.find(_HEAD_END, max(0, self._scanned - 3)) + 4
            if end == 3:
                self._scanned = len(inbox)
                if self._scanned > self._plane.limits.request_head_bytes:
                    self._begin()
                    self._unreadable(HeadTooLarge())
                return
            head = bytes(inbox[:end])
            del inbox[:end]
            self._scanned = 0
            self._read_head(head)

    def _begin(self) -> None:
        """A request, read or refused unread: from here on it has its id, and nothing of the one before it."""
        self._state = _HELD
        self._answered = False
        if self._last_turn == self._plane.outbox.turn:
            # The answer to the request before this one is not to be overtaken.
            self._plane.outbox.flush()
        self._request_id = self._plane.new_id()
        self._started_at = self._plane.clock.monotonic()
        self._admission = self._refusal = self._inbound = None
        self.page_user = ""

    def _read_head(self, head: bytes) -> None:
        self._begin()
        if len(head) > self._plane.limits.request_head_bytes:
            self._unreadable(HeadTooLarge())
            return
        found = self._known.find(head)
        if found is None:
            self._read_new_head(head)
            return
        method, target, known = found
        self._deadline = _NEVER
        self._keep_alive = not self._plane.leaving
        self._is_http_10 = self._is_upgrade = False
        self._way = known.way
        inbound = self._new_inbound(known.headers, known.host, target, method, known.caller, True)
        if (route := self._admit(inbound)) is not None:
            self._start_forward(inbound, route, known.fields, b"")
        elif self._state is _NATIVE:
            # aiohttp wants a message of its own making.
            parsed = self.parse(head)
            assert parsed is not None
            self._serve(*parsed)

    def _read_new_head(self, head: bytes) -> None:
        try:
            parsed = self.parse(head)
        except HttpProcessingError as error:
            # The parser's own message quotes the request.
            self._unreadable(
                TooManyRequestFields()
                if has_too_many_fields(head)
                else BadRequest(detail=f"head: {type(error).__name__}")
            )
            return
        if parsed is None:
            # Nothing but empty lines. The deadline stands: they put nothing off.
            self._state = _HEAD
            self._answered = True
            return
        self._deadline = _NEVER
        message, payload = parsed
        headers = message.headers
        host = headers.get(hdrs.HOST, "")
        inbound = self._new_inbound(headers, host, message.path, message.method, self._caller)
        try:
            body, self._is_http_10, self._is_upgrade, is_kept = request_framing(message)
        except FramingError:
            self._unreadable(BadRequest("The request's framing is ambiguous."), inbound)
            return
        self._body = body
        self._keep_alive = is_kept and not self._plane.leaving
        if body is not None:
            self._swept_bytes = -1
            self._received = 0
            self._has_leave = False
        is_worker = _WORKER in headers
        route = self._admit(inbound, is_worker=is_worker)
        if route is not None:
            fields = RequestFields(message.raw_headers)
            assert self._caller is not None
            if not self._own_way.is_for(self._caller):
                # The other one goes on with the heads that are known of it.
                self._own_way = Way()
            self._way = self._own_way
            if body is None and is_kept and not is_worker:
                self._known.remember(head, KnownFields(headers, host, fields, self._caller, self._way))
            self._start_forward(inbound, route, fields, framing_lines(message))
        elif self._state is _NATIVE:
            self._serve(message, payload)

    # -- the door ---------------------------------------------------------------------------------------

    def _admit(self, inbound: Inbound, *, is_worker: bool = False) -> Route | None:
        """Ask the gateway. The notebook to go to, or None: it was answered, or is a page of our own (`_NATIVE`).

        `is_worker`: a browser fetches the script of a service worker.
        """
        self._inbound = inbound
        gateway = self._plane.gateway
        admission = gateway.admit(inbound)
        if is_worker and isinstance(admission, Admission):
            admission = gateway.worker_objection(inbound, admission) or admission
        if isinstance(admission, Refusal):
            self._refusal = admission
            place = self._place
            if (
                place.claim is _STRANGER
                or place.met is not None
                or (place.claim is _WELCOME and isinstance(admission.error, AccessDenied))
            ):
                # It speaks for itself, so that nobody else is on this connection; or there is no place for it, and
                # the next one is to be told so. It need not be kept.
                self._keep_alive = False
            self._refuse(admission.error)
            return None
        self._caller = admission.caller
        self._admission = admission
        if self._place.met is not None:
            self._keep_alive = False
            self.answer(self._place.fault)
            return None
        route = admission.route
        if inbound.method in _NOT_FORWARDED and not (
            inbound.method == "TRACE" and isinstance(route, OwnPage)  # there it is a 405, as any other
        ):
            self._fault(BadRequest("This method is not supported."))
        elif isinstance(route, Redirect):
            self._redirect(route)
        elif isinstance(route, OwnPage):
            self._state = _NATIVE
        elif self._is_upgrade and (
            error := handshake_fault(inbound, admission.caller, draining=self._plane.draining)
        ):
            if isinstance(error, OriginRefused):
                gateway.refuse(
                    inbound,
                    admission.caller,
                    error,
                    reason=FOREIGN_PAGE,
                    instance=admission.instance,
                    user=admission.user,
                )
            self._refuse(error)
        else:
            return route
        return None

    def _new_inbound(
        self,
        headers: CIMultiDictProxy[str],
        host: str,
        target: str,
        method: str,
        known: Caller | None = None,
        is_repeated: bool = False,
    ) -> Inbound:
        listener = self._listener
        return Inbound(
            self._peer,
            headers,
            host,
            target,
            method,
            listener.public_port,
            listener.scheme,
            self._request_id,
            known,
            listener.trust_unix,
            listener.is_scheme_written,
            is_repeated,
        )

    def _serve(self, message: RawRequestMessage, payload: StreamReader) -> None:
        self.serve_native(message, payload)
        if self._body is None:
            self._state = _HELD
        else:
            self._take_inbox()

    # -- for pages of the gateway's own -----------------------------------------------------------------

    @property
    def plane(self) -> DataPlane:
        return self._plane

    @property
    def request_id(self) -> str:
        return self._request_id

    @property
    def id_line(self) -> bytes:
        return b"X-Request-Id: %b\r\n" % self._request_id.encode("ascii")

    @property
    def admission(self) -> Admission | None:
        """That of the request under way, by the gateway that counts; None once it is withdrawn."""
        return self._admission

    @property
    def inbound(self) -> Inbound:
        """The request under way, as it stood at the door."""
        assert self._inbound is not None
        return self._inbound

    @property
    def under_way(self) -> tuple[Admission, str, str, int] | None:
        """The request that is being forwarded: its admission, method and target, and the bytes of bodies so far."""
        forward, admission, inbound = self._forward, self._admission, self._inbound
        if forward is None or admission is None or inbound is None:
            return None
        return admission, inbound.method, inbound.target, forward.bytes_in + forward.bytes_out

    @property
    def awaits_leave(self) -> bool:
        """Whether the caller of a page waits to be asked for the body (RFC 9110 section 10.1.1)."""
        return (
            self._body is not None
            and not (self._has_leave or self._received or self._is_http_10)
            and self.inbound.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
        )

    def ask_for_body(self) -> None:
        """A page reads it."""
        if self.awaits_leave:
            self._has_leave = True
            self._swept_bytes = -1
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def is_last(self) -> bool:
        """A page's answer ends its connection: the gateway goes away, or where the request ends will not be known."""
        return self._plane.leaving or self._lingers or self.awaits_leave

    def end_behind_page(self) -> None:
        """It does, and says so."""
        self._keep_alive = False

    def page_failed(self, error: NbgateError) -> None:
        """A page of the gateway's own answers an error: it stands in the record."""
        self._page_error = error
        self._blame(error)

    # -- judged again -----------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """No request is under way."""
        return self._answered

    def judge(self) -> None:
        """Another gateway decides now: end what it does not admit, be it under way or only kept open.

        A connection that is only kept for a caller who is still let in stays, wherever its last request went: to
        close it could break the next one, which is decided anew as it is.
        """
        # What was found out by the gateway before does not count any more.
        self._known.forget()
        self._own_way = Way()
        if self.transport is None or not (reason := self.objection()):
            return
        withdrawn = self._plane.withdrawn
        if not self._answered:
            withdrawn["requests"] += 1
            self._abandon(
                UpstreamUnreachable(f"{reason}. Try again.", retry_after_seconds=1)
                if self._refusal is None
                else self._refusal.error
            )
        elif self._refusal is not None:
            withdrawn["connections"] += 1
            self.drain()

    def objection(self) -> str:
        """What the gateway of now has against the request under way, or the last one; "" for nothing."""
        if self._admission is None or self._inbound is None:
            return ""
        visit = Visit(self._inbound, self._admission, self._keeper)
        objection = visit.objection(self._plane.gateway, self._plane.keeper)
        if visit.refusal is not None:
            self._admission, self._refusal = None, visit.refusal
        else:
            self._admission, self._caller = visit.admission, visit.admission.caller
        return objection

    def _start_forward(self, inbound: Inbound, route: Route, fields: RequestFields, framing: bytes) -> None:
        assert self._admission is not None
        if (permit := self._admission.permit) is not None and permit.xsrf:
            fields = RequestFields(programs_fields(fields.received, xsrf=permit.xsrf))
        head = RequestHead(
            inbound.method,
            route.upstream_target.encode("ascii"),
            fields,
            framing,
            self._is_upgrade,
            bool(route.prefix) and wants_plain(inbound.method, route, inbound.headers),
        )
        self._keeper = keeper = self._plane.keeper(route.instance)
        self._forward = forward = Forward(
            self._plane,
            self,
            keeper,
            head,
            route,
            has_body=self._body is not None,
            is_http_10=self._is_http_10,
            keep_alive=self._keep_alive,
        )
        forward.start()

    def link(self, session: UpstreamSession) -> Link:
        """The way from this caller's mount to a session; the same for all its requests, mostly."""
        admission = self._admission
        assert admission is not None
        assert isinstance(admission.route, Route)
        way = self._way
        joined = (session, admission.caller, admission.route.mount)
        if joined != way.joined:
            if not way.leads(*joined):
                way.link = link(
                    session,
                    admission.caller,
                    mount=admission.route.mount,
                    shelf=self._plane.pool.shelf(session.origin),
                    tells_address=self._plane.tells_address(session.origin),
                )
            way.joined = joined
        return way.link

    def _hold(self, data: Data) -> None:
        self._inbox += data
        if len(self._inbox) >= HELD_BYTES:
            self._pause_reading()

    # -- RAW --------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        return self._paused

    @property
    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def write_last(self, data: bytes) -> None:
        assert self.transport is not None
        outbox = self._plane.outbox
        self._last_turn = outbox.turn
        outbox.add(self.transport, data)

    @property
    def is_window(self) -> bool:
        return self._asker is Asker.WINDOW and self.inbound.method in ("GET", "HEAD")

    @property
    def is_patient(self) -> bool:
        assert self._admission is not None
        assert isinstance(self._admission.route, Route)
        target = self._admission.route.upstream_target
        return is_patient(self._asker, method=self.inbound.method, target=target)

    @property
    def _asker(self) -> Asker:
        inbound = self.inbound
        return who_asks(inbound.headers, host=inbound.host, target=inbound.target)

    def take_body(self) -> None:
        self._resumes = None
        self._state = _RAW
        self._swept_bytes = -1
        self._take_inbox()

    def hold_body(self) -> None:
        self._resumes = None
        self._upstream_full = False
        if self._state is _RAW:
            self._state = _HELD
        self._resume_reading()

    def pause_body(self) -> None:
        self._upstream_full = True
        self._pause_reading()

    def resume_body(self) -> None:
        self._upstream_full = False
        self._resume_reading()

    def _read_large(self) -> None:
        if self._large_reads is None:
            assert self.transport is not None
            self._large_reads = LargeReads(self, self.transport, self._plane.landing)
        self._large_reads.begin()

    def _carry(self, data: Data) -> None:
        body, forward = self._body, self._forward
        assert body is not None
        assert forward is not None
        try:
            part, rest = body.feed(data)
        except FramingError:
            self._abandon(BadRequest("The request's body is malformed."))
            return
        if part:
            forward.on_request_body(part)
        if body.done:
            self._body_ended(rest)
            forward.on_request_end()
        elif rest:
            self._yield_then_take(rest)

    def _body_ended(self, rest: Data) -> None:
        """Behind a body stands a new message: a fresh parser, and what came with the body's end waits."""
        self._body = None
        self._parser = new_parser(self, self._loop)
        if self._state is not _DEAD:
            self._state = _HELD
            self._hold(rest)

    def _yield_then_take(self, rest: Data) -> None:
        """Tiny chunks: give the loop a turn between two bounds of work."""
        self._inbox[:0] = rest
        self._resumes, self._state = self._state, _HELD
        self._pause_reading()
        self._loop.call_soon(self._take_on)

    def _take_on(self) -> None:
        # What was to be done may have changed within the turn: no notebook any more, or answered already.
        resumes, self._resumes = self._resumes, None
        if resumes is not None and self._state is _HELD and self._body is not None:
            self._state = resumes
            self._take_inbox()

    def _take_inbox(self) -> None:
        """Deliver what waited, in the state of now."""
        if self._inbox:
            data = bytes(self._inbox)
            self._inbox.clear()
            self.data_received(data)
        self._resume_reading()

    # -- NATIVE and DROP --------------------------------------------------------------------------------

    def _feed_page(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        try:
            part, rest = body.feed(data)
        except FramingError:
            self._spoil(BadRequest("The request's body is malformed."))
            return
        self._received += len(part)
        self.feed_native(bytes(part))
        if body.done:
            self._body = None
            self._state = _HELD
            self._hold(rest)
        elif rest:
            self._yield_then_take(rest)

    def _spoil(self, error: NbgateError) -> None:
        """The body of a page's request turned out broken: the page says so, if it reads it, and the connection ends."""
        self._state = _DEAD
        self._body = None
        self._inbox.clear()
        self._lingers = True
        self._keep_alive = False
        # What is still to come is read once the answer is there.
        self._pause_reading()
        self.fail_native(error)

    def native_finished(self, response: web.StreamResponse) -> None:
        if self._answered:
            return  # the caller was gone, and that is on record
        self._answered = True
        error, self._page_error = self._page_error, None
        code, detail = ("", "") if error is None else (error.code, error.log_detail)
        self._log(response.status, self._received, response.body_length, code, detail)
        if not response.keep_alive:
            self._state = _DEAD
            return
        self.end_native()
        if self._keep_alive:
            self._continue()
            return
        self._lingers = self._lingers or self._body is not None
        self._body = None
        self._hang_up()

    def _drop(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        try:
            _, rest = body.feed(data)
        except FramingError:
            self._lingers = True
            self._hang_up()
            return
        self._dropped += len(data) - len(rest)
        if body.done:
            self._body_ended(rest)
            self._next()
        elif self._dropped > DROPPED_BYTES:
            self._lingers = True
            self._hang_up()
        elif rest:
            self._yield_then_take(rest)

    # -- answers ----------------------------------------------------------------------------------------

    def _refuse(self, error: NbgateError) -> None:
        """Answer without asking the notebook, and read on behind the request if that is safe."""
        if isinstance(error, BadRequest):
            self._fault(error)
        else:
            self.answer(error)

    def _unreadable(self, error: NbgateError, inbound: Inbound | None = None) -> None:
        """Refuse what could not be read, so that nobody was asked about it."""
        unread = inbound or self._new_inbound(_NO_FIELDS, "", "-", "-")
        self._plane.gateway.turn_away(unread, error, has_fields=inbound is not None)
        self._fault(error)

    def _fault(self, error: NbgateError) -> None:
        """Answer, and read nothing more: where this message ends is not known."""
        self._keep_alive = False
        self._lingers = True
        self._body = None
        self._inbox.clear()
        self.answer(error)

    def _abandon(self, error: NbgateError) -> None:
        """The request turned out broken in its middle."""
        forward = self._forward
        if forward is not None:
            error = forward.told(error)
            forward.cancel()
        if (forward is not None and forward.has_begun) or not self.is_native_idle:
            self.broken(bound_of(error))
        else:
            self._fault(error)

    def answer(self, error: NbgateError) -> None:
        self._blame(error)
        detail = error.log_detail
        if self._admission is not None:
            error = self._plane.on_error(error, self._admission, self.inbound)
        page = self.error_page(error)
        status = page.status or error.status
        self._send(status, page)
        self._done(status, len(page.body), error.code, error.log_detail or detail)

    def _blame(self, error: NbgateError) -> None:
        admission = self._admission
        instance = admission.instance if admission is not None else ""
        self._plane.blame(error, self.client, instance=instance, request_id=self._request_id)

    @property
    def client(self) -> Address | None:
        """Whom the request under way is attributed to."""
        if self._admission is not None:
            return self._admission.caller.client.address
        return self._peer if self._refusal is None else self._refusal.client.address

    def error_page(self, error: NbgateError, *, instance: str = "", json_only: bool = False) -> Page:
        """How the request under way is told of an error, perhaps one about an instance that it did not lead to."""
        admission = self._admission
        if admission is not None:
            client = admission.caller.address
            if instance:
                admission = admission._replace(instance=instance)
        else:
            client = text_of(self.client)
        return self._plane.render(
            error,
            self._inbound,
            request_id=self._request_id,
            client=client,
            admission=admission,
            port=self._listener.public_port,
            json_only=json_only,
        )

    def _redirect(self, route: Redirect) -> None:
        self._send(route.status, Page((*route.fields, ("X-Request-Id", self._request_id)), b""))
        self._done(route.status, 0, "")

    def _send(self, status: int, page: Page) -> None:
        if self._body is not None or self._plane.leaving:
            # Who expects 100 Continue may never send the body, and what comes would be taken for it.
            self._keep_alive = False
        without_body = self._inbound is not None and self._inbound.method == "HEAD"
        if self.transport is not None:
            self.write(message_of(status, page, keep_alive=self._keep_alive, without_body=without_body))

    def _done(self, status: int, size: int, code: str, detail: str = "") -> None:
        forward, self._forward = self._forward, None
        self._answered = True
        self._log(status, forward.bytes_in if forward is not None else 0, size, code, detail)
        self._continue()

    def finished(self, *, keep_alive: bool) -> None:
        forward, self._forward = self._forward, None
        assert forward is not None
        self._answered = True
        self._keep_alive = keep_alive and not self._plane.leaving
        self._log(forward.status, forward.bytes_in, forward.bytes_out, forward.code)
        self._continue()

    def broken(self, bound: Bound | None = None, *, detail: str = "") -> None:
        forward, self._forward = self._forward, None
        code = RESPONSE_CUT
        if bound is not None:
            code, detail = bound.code, detail or bound.setting
            self._plane.met(bound, self.client)
        if forward is not None:
            self._log(forward.status, forward.bytes_in, forward.bytes_out, code, detail)
            self._answered = True
        self._state = _DEAD
        if self.transport is not None:
            reset(self.transport)

    def switch(
        self, connection: UpstreamConnection, session: UpstreamSession, facts: ResponseFacts, tail: bytes
    ) -> None:
        self._forward = None
        assert self._admission is not None
        assert self._inbound is not None
        route = self._admission.route
        self.write(
            response_head(
                facts,
                self._way.link.translation,
                framing=b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + self.id_line,
                by_application=isinstance(route, Route) and is_proxied(route.upstream_target),
            )
        )
        inbox = bytes(self._inbox)
        self._answered = True
        self._state = _DEAD
        record = self._record(101, 0, 0, "")
        visit = Visit(self._inbound, self._admission, self._keeper)
        is_full = self._paused
        self._known.forget()
        # From here on this object is done with, and nothing may hold it: a WebSocket may last for days.
        self._plane.connections.discard(self)
        self._plane.splice(
            self.take_transport(),
            connection,
            place=self._place,
            visit=visit,
            session=session,
            record=record,
            extensions=any(name.lower() == b"sec-websocket-extensions" for name, _ in facts.fields),
            is_full=is_full,
            tail=tail,
            inbox=inbox,
        )

    def _continue(self) -> None:
        """The answer is out: go on behind the request, or let the rest of it run out first."""
        if self._body is not None:
            self._dropped = 0
            self._upstream_full = False
            self._resumes = None
            self._state = _DROP
            self._deadline = self._plane.clock.monotonic() + LINGER_SECONDS
            self._take_inbox()
        else:
            self._next()

    def _next(self) -> None:
        """Behind a request that is wholly received and answered."""
        if not self._keep_alive:
            self._hang_up()
            return
        self._state = _HEAD
        self._deadline = self._plane.clock.monotonic() + self._plane.timeouts.idle_seconds
        self._scanned = 0
        if self._inbox or self._paused:
            # Pipelined: a turn of the loop for each, so that one caller's queue delays nobody else. Nothing is
            # begun for a caller that does not take what it was answered: its answers would pile up here.
            self._state = _HELD
            self._loop.call_soon(self._next_pipelined)
        else:
            self._resume_reading()

    def _next_pipelined(self) -> None:
        if self._state is _HELD and self._answered and not self._paused:
            self._state = _HEAD
            self._read_heads()
            self._resume_reading()
            if self._plane.draining:
                # When that began, it was not at rest.
                self.drain()

    def _hang_up(self) -> None:
        """Close once everything written has been sent."""
        self._plane.outbox.flush()
        self._state = _DEAD
        transport = self.transport
        if transport is None:
            return
        if self._lingers and transport.can_write_eof():
            # Closing with unread bytes would reset the connection, and the caller would not see the answer
            # (RFC 9112 section 9.6): tell it to stop, and read on for a while.
            transport.write_eof()
            self._deadline = self._plane.clock.monotonic() + LINGER_SECONDS
            self._upstream_full = False
            self._resume_reading()
        else:
            self._deadline = self._plane.clock.monotonic() + self._plane.timeouts.send_seconds
            transport.close()

    # -- flow and time ----------------------------------------------------------------------------------

    def _pause_reading(self) -> None:
        if not self._read_held and self.transport is not None:
            self._read_held = True
            self._pause_transport_reading()

    def _resume_reading(self) -> None:
        """Read on, unless somebody still cannot take it. A head has a bound of its own."""
        if (
            self._read_held
            and not self._upstream_full
            and (len(self._inbox) < HELD_BYTES or self._state is _HEAD)
        ):
            self._read_held = False
            self._swept_bytes = -1
            if not self._reading_paused:
                super()._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        # aiohttp's payload buffer has room again; ours may not.
        self._swept_bytes = -1
        if not self._read_held:
            super()._resume_transport_reading()

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
        if now >= self._deadline:
            self._overdue()
        elif self._forward is not None:
            self._forward.sweep(now)
        if self._body is not None and (self._state is _RAW or self._state is _NATIVE):
            self._sweep_body(now)

    def _overdue(self) -> None:
        due, self._deadline = self._deadline, _NEVER
        if self._state is _HEAD and self._inbox:
            self._begin()
            self._started_at = due - self._plane.timeouts.request_head_seconds
            self._unreadable(RequestTimeout())
        elif self._state is _HEAD:
            if self._request_id:
                self._plane.limits_met.count(IDLE)
            else:
                self._plane.refused(HEAD_LATE, self._peer)
            self._hang_up()
        elif self.transport is not None:
            if self._state is _DEAD and not self._lingers:
                # Answered, recorded, and not taken.
                self._plane.refused(SEND_LATE, self._peer)
            self._state = _DEAD
            self.transport.abort()

    def _sweep_body(self, now: float) -> None:
        forward = self._forward
        received = forward.bytes_in if forward is not None else self._received
        if received != self._swept_bytes or self._is_held:
            self._swept_bytes = received
            self._quiet_since = now
        elif now - self._quiet_since < self._plane.timeouts.request_body_seconds:
            return
        elif forward is not None:
            self._abandon(BodyTimeout())
        else:
            self._spoil(BodyTimeout())

    @property
    def _is_held(self) -> bool:
        """The caller cannot send, or was not asked to yet: it is not the one who is slow."""
        return self._read_held or self._reading_paused or (self._state is _NATIVE and self.awaits_leave)

    @property
    def held_bytes(self) -> int:
        """What waits here in memory for somebody to take it."""
        forward = self._forward
        return len(self._inbox) + self.unsent_bytes + (forward.held_bytes if forward is not None else 0)

    def cut(self, bound: Bound) -> None:
        """End it for a limit that it met."""
        if self._answered:
            self._plane.refused(bound, self.client)
            self.abort()
            return
        if self._forward is not None:
            self._forward.cancel()
        else:
            self._answered = True
            self._log(0, self._received, 0, bound.code, bound.setting)
        self.broken(bound)

    def abort(self) -> None:
        """Cut it off."""
        self._state = _DEAD
        if self.transport is not None:
            self.transport.abort()

    def drain(self) -> None:
        """No request after the one under way."""
        self._keep_alive = False
        if self._state is _HEAD and not self._inbox:
            self._hang_up()

    # -- the record -------------------------------------------------------------------------------------

    def _log(self, status: int, bytes_in: int, bytes_out: int, code: str, detail: str = "") -> None:
        self._plane.log(self._record(status, bytes_in, bytes_out, code, detail))

    def _record(
        self, status: int, bytes_in: int, bytes_out: int, code: str, detail: str = ""
    ) -> RequestRecord:
        return request_record(
            self._request_id,
            self._inbound,
            self._admission or self._refusal,
            peer=self._peer,
            status=status,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            started_at=self._started_at,
            code=code,
            detail=detail,
            user=self.page_user,
        )
