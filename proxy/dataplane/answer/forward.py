"""One HTTP request carried to a notebook and its response carried back; or an upgrade, up to its 101.

The rule: nothing is held but what may have to be repeated. A request is repeated at most once for a connection
that had gone stale in the pool, and once for a session that the notebook no longer accepts. A response that has begun
is never repeated, and one that breaks off never looks complete. What the caller may do was decided before: this module
knows no policy. It runs in callbacks; only waiting for a session or a connection takes a task.

Beside it: `forwarded_answer` (what the caller gets), `suspected` (an answer that may be the front end's own), `absence`
(waiting for a notebook that is away), `repeating` (what may be sent again).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proxy.dataplane.answer.absence import PAGE_SECONDS, WaitingRequest, may_pass
from proxy.dataplane.answer.forwarded_answer import ForwardedAnswer
from proxy.dataplane.answer.mount_heads import may_set_session
from proxy.dataplane.answer.repeating import IDEMPOTENT, SAFE, outcome_unknown
from proxy.dataplane.answer.stream import Standstill
from proxy.dataplane.answer.suspected import is_let_through, or_fail
from proxy.dataplane.websocket.splice import switch
from proxy.errors import (
    BodyNotKept,
    NbgateError,
    ResponseTimeout,
    SessionRejected,
    UploadStalled,
    UpstreamError,
    UpstreamInvalid,
)
from proxy.wire.body import Body, Data
from proxy.wire.heads import OutgoingRequest, ResponseFacts, request_head

if TYPE_CHECKING:
    from proxy.dataplane.caller.request import Request
    from proxy.dataplane.notebook.connection import UpstreamConnection
    from proxy.dataplane.notebook.exchange import BodyTaker
    from proxy.dataplane.notebook.translation import ToNotebook
    from proxy.dataplane.plane import DataPlane
    from proxy.dataplane.sessions import Keeper, Suspicion
    from proxy.routing.router import Route
    from proxy.upstream import NotebookSession, Origin


class Forward:
    """The exchange of one request; implements `proxy.dataplane.notebook.exchange.UpstreamExchange`.

    What few requests need has its first value in the class: an instance is then made for little.
    """

    status = 0
    code = ""
    takes_views = True
    bytes_in = 0
    has_renewed = False
    taker: BodyTaker
    session: NotebookSession | None = None
    to_notebook: ToNotebook | None = None
    connection: UpstreamConnection | None = None
    _upstream_full = False
    _upload_standstill: Standstill | None = None
    _body_seen = False
    is_cleared = False
    """The answer looked like one of the front end's own, and passes."""
    _fresh_connection = False
    has_ended = False
    _reports = False
    """Its answer may be the first one after an outage."""
    waiting: WaitingRequest | None = None
    """For a notebook that is away."""
    _awaited_since = 0.0

    def __init__(
        self,
        plane: DataPlane,
        caller: Request,
        *,
        keeper: Keeper,
        head: OutgoingRequest,
        route: Route,
        has_body: bool,
        is_http_10: bool,
        keep_alive: bool,
    ) -> None:
        self.method = head.method
        self.keeper = keeper
        self.out = ForwardedAnswer(
            plane, caller, method=head.method, is_http_10=is_http_10, keep_alive=keep_alive
        )
        self._plane = plane
        self._caller = caller
        self.head = head
        self.route = route
        self._body_done = not has_body
        self._replay: list[bytes] | None = []
        """The body so far, for as long as it can be repeated."""
        if has_body:
            self._replay_room = plane.current.limits.replay_body_bytes

    @property
    def held_bytes(self) -> int:
        """What of the request waits for the notebook to take it, or for a second time."""
        size = sum(map(len, self._replay)) if self._replay else 0
        if self.connection is not None:
            size += self.connection.transport.get_write_buffer_size()
        return size

    @property
    def may_be_done(self) -> bool:
        """Whether the notebook may be acting on it, or may have acted, although nothing of an answer came."""
        return self.method not in SAFE and (self.connection is not None or self._fresh_connection)

    # -- towards the notebook ---------------------------------------------------------------------------

    def start(self) -> None:
        """Send the request as soon as there is a session and a connection: at once, mostly."""
        session = self.keeper.live()
        if session is None:
            self._plane.tasks.start(self._start_cold(), name="session")
        else:
            self._send(session)

    async def _start_cold(self) -> None:
        session = await or_fail(
            self.keeper.acquire(
                within_seconds=self._plane.current.timeouts.sign_in_seconds,
                patience_seconds=PAGE_SECONDS if self._caller.is_window else math.inf,
                asked_by=self._caller.id,
            ),
            self.fail,
        )
        if session is not None and not self.has_ended:
            self._send(session)

    def _send(self, session: NotebookSession) -> None:
        self.session = session
        self.to_notebook = to_notebook = self._caller.on_the_way_to(session)
        connection = None if self._fresh_connection else self._plane.pool.take(to_notebook.idle)
        if connection is None:
            self._plane.tasks.start(self._connect(session.origin), name="connect")
        else:
            self._begin(connection)

    async def _connect(self, origin: Origin) -> None:
        connection = await or_fail(self._plane.pool.connect(origin), self.fail)
        if connection is not None and self.has_ended:
            connection.abort()
        elif connection is not None:
            self._reports = True
            self._begin(connection)

    def _begin(self, connection: UpstreamConnection) -> None:
        assert self.to_notebook is not None
        self.connection = connection
        connection.begin(self)
        head = request_head(self.head, self.to_notebook.translation)
        if self._body_done:
            self._plane.batch.add(
                connection.transport, b"".join((head, *self._replay)) if self._replay else head
            )
            self._awaited_since = self._plane.clock.monotonic()
        else:
            connection.transport.write(head)
            if self._replay:
                connection.transport.write(b"".join(self._replay))
            self._caller.take_body()

    def on_request_body(self, data: Data) -> None:
        self.bytes_in += len(data)
        self._body_seen = True
        if self._replay is not None:
            self._replay_room -= len(data)
            if self._replay_room < 0:
                self._replay = None
            else:
                self._replay.append(bytes(data))
        connection = self.connection
        if connection is not None:
            connection.transport.write(data)

    def on_request_end(self) -> None:
        self._body_done = True
        self._awaited_since = self._plane.clock.monotonic()

    # -- from the notebook ------------------------------------------------------------------------------

    def on_interim(self, facts: ResponseFacts) -> None:
        # RFC 9110 section 15.2: never to an HTTP/1.0 client. A second "continue", for a repeated request,
        # means nothing to a caller that already continued.
        if not self.out.is_http_10 and not (facts.status == 100 and self._body_seen):
            assert self.to_notebook is not None
            self._caller.write_interim(
                self.out.mounts_head(facts, b"", self.to_notebook.translation, self.route)
            )

    def on_head(self, facts: ResponseFacts, body: Body | None) -> Body | None:
        assert self.session is not None
        assert self.to_notebook is not None
        # Nearly all answers are plain ones with status 200, which the notebook's front end never gives by itself.
        if facts.status != 200 or b"html" in facts.content_type:
            if not self.is_cleared and not is_let_through(self, self._plane, facts):
                return None
        elif facts.set_cookies and may_set_session(self.route.upstream_target):
            self.keeper.absorb(self.session, facts.set_cookies)
        if self._reports:
            self._plane.answered(self.keeper, self.route.instance)
        self.status = facts.status
        if self._replay:
            # It was heard: a long answer is no reason to keep what was asked.
            self._replay = None
        out = self.out
        out.source = self.connection
        try:
            body = out.begin(facts, body, self.to_notebook.translation, self)
        except UpstreamInvalid as error:
            self.fail(error)
            return None
        self.taker = out if out.page is None else out.page
        return body

    def on_end(self) -> None:
        if self.has_ended:
            return  # its page turned out broken
        page = self.out.page
        if page is None:
            self.complete()
            return
        if page.is_waiting:
            # The notebook is done with. What is left of its page is the caller's alone.
            self._release()
        page.ended()

    def on_switched(self, facts: ResponseFacts, tail: bytes) -> None:
        connection = self.connection
        assert connection is not None
        if not self.head.is_upgrade or facts.upgrade.lower() != b"websocket":
            self.fail(UpstreamInvalid(detail="a 101 that nobody asked for"))
            return
        if self._reports:
            self._plane.answered(self.keeper, self.route.instance)
        self.status = 101
        self.has_ended = True
        assert self.session is not None
        switch(self._caller, connection, session=self.session, facts=facts, tail=tail)

    def on_failure(self, error: UpstreamError) -> None:
        connection = self.connection
        if self.out.has_begun:
            self._end()
            self._caller.broken(detail=f"{error.code}: {error.log_detail}")
            return
        self.out.forget()
        was_stale = connection is not None and connection.may_have_been_stale and not self._fresh_connection
        if was_stale and self._replay is not None and self.method in IDEMPOTENT:
            self._fresh_connection = True
            self._wait_for_another()
            assert self.session is not None
            self._send(self.session)
        else:
            self.fail(error)

    def on_upstream_full(self) -> None:
        self._upstream_full = True
        self._caller.pause_body()

    def on_upstream_drained(self) -> None:
        self._upstream_full = False
        self._caller.resume_body()

    # -- from the caller --------------------------------------------------------------------------------

    def on_caller_drained(self) -> None:
        self.out.on_caller_drained()

    def cancel(self) -> None:
        """The caller is gone: so is its request."""
        if not self.has_ended:
            self._end()
            if self.waiting is not None:
                self.waiting.forget()

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
        timeouts, connection = self._plane.current.timeouts, self.connection
        if self.out.has_begun:
            late = self.out.late(now, response_seconds=timeouts.response_body_seconds)
            if late is not None:
                self._end()
                self._caller.broken(late)
        elif connection is None:
            return
        elif self._body_done:
            if now - self._awaited_since >= timeouts.response_head_seconds:
                self.fail(ResponseTimeout(detail="response head"))
        elif self._upstream_full:
            taken = self.bytes_in - connection.transport.get_write_buffer_size()
            if self._upload_standstill is None:
                self._upload_standstill = Standstill()
            if self._upload_standstill.seconds(taken, now) >= timeouts.send_seconds:
                self.fail(UploadStalled(detail="request body"))

    def repeat(self, suspicion: Suspicion) -> None:
        """An unsafe one is repeated only where nothing of it can have been acted on: the front end sends who is not
        signed in to sign in, and passes nothing on. A refusal may be an application's, of something that it did.
        """
        self.has_renewed = True
        if self._replay is None or (self.method not in SAFE and not suspicion.sends_to_sign_in):
            is_kept = self._replay is not None
            self.fail((SessionRejected if is_kept else BodyNotKept)(retry_after_seconds=1))
            return
        self._wait_for_another()
        self.start()

    def page_is_spoilt(self, error: NbgateError) -> None:
        if isinstance(error, UpstreamError):
            if self.connection is not None:
                self.connection.abort()
            self.on_failure(error)
        elif self.out.has_begun:
            self.drop()
        else:
            self.out.forget()
            self.fail(error)

    # -- its end ----------------------------------------------------------------------------------------

    def complete(self) -> None:
        """The response ends here."""
        out = self.out
        out.end()
        self._release()
        self.has_ended = True
        if out.page is not None:
            out.forget_page()
        self._caller.finished(keep_alive=out.keep_alive)

    def _release(self) -> None:
        connection, self.connection = self.connection, None
        self.out.source = None
        if connection is not None:
            if self._body_done:
                self._plane.pool.give_back(connection)
            else:
                # Another request's head would land inside this one's body (cross-caller smuggling).
                connection.abort()

    def drop_connection(self) -> None:
        """Nothing more is sent or read there."""
        self.out.source = None
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    def _end(self) -> None:
        self.has_ended = True
        self.out.forget_page()
        self.drop_connection()

    def _wait_for_another(self) -> None:
        """Another connection, or another session: the body waits, too."""
        self.drop_connection()
        self._upstream_full = False
        self._caller.hold_body()

    def fail(self, error: NbgateError) -> None:
        if self.has_ended:
            return
        if self.session is not None and isinstance(error, UpstreamError) and not error.setting:
            self._plane.on_trouble(error, self.route.instance, self._caller.id)
        error = self.in_place_of(error)
        if may_pass(error, self.connection) and self._replay is not None and self._caller.is_patient:
            if self.waiting is None:
                self.waiting = WaitingRequest(self._plane)
            if self.waiting.begins(self, error):
                self._wait_for_another()
                return
        self.answer(error)

    def again(self) -> None:
        """The notebook may be back: ask it again."""
        self.is_cleared = False
        self._reports = True
        self.start()

    def answer(self, error: NbgateError) -> None:
        """Tell the caller that no answer came."""
        self._end()
        self.status = error.status
        self._caller.answer(error)

    def drop(self) -> None:
        """Cut the caller off."""
        if not self.has_ended:
            self._end()
            self._caller.broken()

    def in_place_of(self, error: NbgateError) -> NbgateError:
        return outcome_unknown(error) if self.may_be_done else error
