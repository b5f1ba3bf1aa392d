"""One HTTP request carried to a notebook and its response carried back; or an upgrade, up to its 101.

The rule: nothing is held but what may have to be repeated. A request is repeated at most once for a connection
that had gone stale in the pool, and once for a session that the notebook no longer accepts. Whether it accepts it is
asked separately before an answer counts that looks like it. A response that has begun is never repeated, and one that
breaks off never looks complete. What the caller may do was decided before: this module knows no policy. It runs in
callbacks; only waiting for a session or a connection takes a task.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from proxy.dataplane.answer.rewriting import PageRewrite, page_rewrite
from proxy.dataplane.bounds import RESPONSE_LATE, SEND_LATE
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.notebook.link import Link
from proxy.errors import (
    BodyNotKept,
    InternalError,
    JupyterStarting,
    NbgateError,
    OutcomeUnknown,
    ResponseTimeout,
    SessionRejected,
    UploadStalled,
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.routing.jupyters import is_jupyters_own, is_proxied
from proxy.routing.pages import rewrite_location
from proxy.routing.workers import worker_scope
from proxy.upstream import Outcome
from proxy.wire.body import Body, ChunkedBody, Data, LengthBody
from proxy.wire.codings import CodingError
from proxy.wire.credentials import take_out
from proxy.wire.heads import OutgoingRequest, ResponseFacts, request_head, response_head

if TYPE_CHECKING:
    from proxy.dataplane.caller.request import Request
    from proxy.dataplane.plane import DataPlane
    from proxy.dataplane.sessions import Keeper, Suspicion
    from proxy.routing.router import Route
    from proxy.upstream import NotebookSession, Origin

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND"})
"""RFC 9110 section 9.2.2: what may be sent again when the connection broke before an answer."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"})
"""RFC 9110 section 9.2.1, and WebDAV's: what changes nothing, whether it arrived or not."""

PAGE_SECONDS: Final = 3.0
"""How long a browser's window stays as it is while the gateway signs in: then it shows a page that asks again."""

_CODED: Final = (
    "The notebook's side compressed a page although it was asked not to, and in a way that cannot be undone here (gzip "
    "and deflate can), so that its links could not be rewritten. Switch it off, or give the notebook a host of its own."
)
_FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses whose `Location` browsers go to by themselves (Fetch, "redirect status")."""

CORKED_BYTES: Final = 16 * 1024
"""A first part of a body up to this size is joined to the head; copying more costs more than a second buffer."""


class Forward:
    """The exchange of one request; implements `proxy.dataplane.notebook.exchange.UpstreamExchange`.

    What few requests need has its first value in the class: an instance is then made for little.
    """

    status = 0
    code = ""
    """For the record, where there is something to say of a response that is complete."""
    takes_views = True
    has_not_asked = False
    """Never known here: the notebook is told of what the caller expects, and asks by itself."""
    bytes_in = 0
    bytes_out = 0
    _session: NotebookSession | None = None
    _link: Link | None = None
    _connection: UpstreamConnection | None = None
    _page: PageRewrite | None = None
    """What is rewritten on its way. Its head waits until it is known whether all of it is there."""
    _page_begun = False
    _page_stalled = False
    """The caller takes no more of it for now."""
    _chunks = False
    _upstream_full = False
    _body_seen = False
    _renewed = False
    _is_cleared = False
    """The answer looked like one of the front end's own, and passes."""
    _fresh_connection = False
    _head_sent = False
    _unsent = b""
    """The response's head, until it is known whether a body comes with it: they then go out as one."""
    _response_done = False
    _ended = False
    _reports = False
    """Its answer may be the first one after an outage."""
    _stands_by: NbgateError | None = None
    """What to answer if the notebook stays away: until then it waits (`proxy.dataplane.answer.outages`)."""
    _failed_at: float | None = None
    """When it first met that the notebook was away."""
    _awaited_since = 0.0
    _quiet_since = 0.0
    _swept_bytes = -1

    def __init__(
        self,
        plane: DataPlane,
        caller: Request,
        keeper: Keeper,
        head: OutgoingRequest,
        route: Route,
        *,
        has_body: bool,
        is_http_10: bool,
        keep_alive: bool,
    ) -> None:
        self.method = head.method
        self._plane = plane
        self._caller = caller
        self._keeper = keeper
        self._head = head
        self._route = route
        self._is_http_10 = is_http_10
        self._keep_alive = keep_alive
        self._body_done = not has_body
        self._replay: list[bytes] | None = []
        """The body so far, for as long as it can be repeated."""
        if has_body:
            self._replay_room = plane.current.limits.replay_body_bytes

    @property
    def held_bytes(self) -> int:
        """What of the request waits for the notebook to take it, or for a second time."""
        size = sum(map(len, self._replay)) if self._replay else 0
        if self._connection is not None:
            size += self._connection.transport.get_write_buffer_size()
        return size

    @property
    def is_in_doubt(self) -> bool:
        """Whether the notebook may be acting on it, or may have acted, although nothing of an answer came."""
        return self.method not in SAFE and (self._connection is not None or self._fresh_connection)

    def ask_for_body(self) -> None:
        """The notebook does."""

    # -- towards the notebook ---------------------------------------------------------------------------

    def start(self) -> None:
        """Send the request as soon as there is a session and a connection: at once, mostly."""
        session = self._keeper.live()
        if session is None:
            self._plane.tasks.start(self._start_cold(), name="session")
        else:
            self._send(session)

    async def _start_cold(self) -> None:
        try:
            session = await self._keeper.acquire(
                within_seconds=self._plane.current.timeouts.sign_in_seconds,
                patience_seconds=PAGE_SECONDS if self._caller.is_window else math.inf,
                asked_by=self._caller.id,
            )
        except NbgateError as error:
            self._fail(error)
            return
        except Exception:
            # A fault of our own; the task's owner logs it. The caller must not wait for ever.
            self._fail(InternalError())
            raise
        if not self._ended:
            self._send(session)

    def _send(self, session: NotebookSession) -> None:
        self._session = session
        self._link = link = self._caller.link(session)
        connection = None if self._fresh_connection else self._plane.pool.take(link.shelf)
        if connection is None:
            self._plane.tasks.start(self._connect(session.origin), name="connect")
        else:
            self._begin(connection)

    async def _connect(self, origin: Origin) -> None:
        try:
            connection = await self._plane.pool.connect(origin)
        except NbgateError as error:
            self._fail(error)
            return
        except Exception:
            self._fail(InternalError())
            raise
        if self._ended:
            connection.abort()
        else:
            self._reports = True
            self._begin(connection)

    def _begin(self, connection: UpstreamConnection) -> None:
        assert self._link is not None
        self._connection = connection
        connection.begin(self)
        head = request_head(self._head, self._link.translation)
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
        """Bytes of the request's body, framing included."""
        self.bytes_in += len(data)
        self._body_seen = True
        if self._replay is not None:
            self._replay_room -= len(data)
            if self._replay_room < 0:
                self._replay = None
            else:
                self._replay.append(bytes(data))
        connection = self._connection
        if connection is not None and not self._response_done:
            connection.transport.write(data)

    def on_request_end(self) -> None:
        """The request's body is complete."""
        self._body_done = True
        self._awaited_since = self._plane.clock.monotonic()

    # -- from the notebook ------------------------------------------------------------------------------

    def on_interim(self, facts: ResponseFacts) -> None:
        # RFC 9110 section 15.2: never to an HTTP/1.0 client. A second "continue", for a repeated request,
        # means nothing to a caller that already continued.
        if not self._is_http_10 and not (facts.status == 100 and self._body_seen):
            assert self._link is not None
            self._caller.write_interim(self._mounts_head(facts, b""))

    def on_head(self, facts: ResponseFacts, body: Body | None) -> Body | None:
        assert self._session is not None
        assert self._link is not None
        # Nearly all answers are plain ones with status 200, which the notebook's front end never gives by itself.
        if facts.status != 200 or b"html" in facts.content_type:
            if not self._is_let_through(facts, self._session):
                return None
        elif facts.set_cookies and self._sets_session():
            self._keeper.absorb(self._session, facts.set_cookies)
        if self._reports:
            self._plane.answered(self._keeper, self._route.instance)
        self.status = facts.status
        if self._replay:
            # It was heard: a long answer is no reason to keep what was asked.
            self._replay = None
        page: PageRewrite | None = None
        if self._route.prefix:
            page = page_rewrite(self._route, facts)
            if page is not None and not page.is_readable:
                if self._head.plain_encoding and body is not None:
                    self._fail(UpstreamInvalid(_CODED, detail="a coding that was not asked for"))
                    return None
                page = None
        if page is not None:
            if self.method != "HEAD":
                self._page = page
                return ChunkedBody(decode=True) if isinstance(body, ChunkedBody) else body
            facts = page.facts_as_rewritten
        framing = self._framing(facts, body)
        self._unsent = (
            self._mounts_head(facts, framing)
            if facts.translated
            else response_head(facts, self._link.translation, framing=framing)
        )
        if self._is_http_10 and isinstance(body, ChunkedBody):
            return ChunkedBody(decode=True)
        return body

    def on_body(self, data: Data) -> None:
        if self._page is not None:
            self._take_page(self._page, bytes(data))
            return
        if self._chunks:
            data = b"".join((b"%x\r\n" % len(data), data, b"\r\n"))
        self.bytes_out += len(data)
        if self._unsent:
            if len(data) <= CORKED_BYTES:
                self._unsent += data
                return
            self.flush()
        self._write(data)

    def flush(self) -> None:
        if self._page is not None and not self._page_begun:
            self._begin_page(self._page, self._unknown_length())
        if self._unsent:
            unsent, self._unsent = self._unsent, b""
            self._head_sent = True
            self._write(unsent)

    def _write(self, data: Data) -> None:
        self._caller.write(data)
        if self._caller.is_full and self._connection is not None:
            self._connection.pause_reading()

    def on_end(self) -> None:
        if self._ended:
            return  # its page turned out broken
        self._response_done = True
        page = self._page
        if page is None:
            self._complete()
        elif page.is_waiting:
            # The notebook is done with. What is left of its page is the caller's alone.
            self._release()
        else:
            self._end_page(page)

    def on_switched(self, facts: ResponseFacts, tail: bytes) -> None:
        connection = self._connection
        assert connection is not None
        if not self._head.is_upgrade or facts.upgrade.lower() != b"websocket":
            connection.abort()
            self._fail(UpstreamInvalid(detail="a 101 that nobody asked for"))
            return
        if self._reports:
            self._plane.answered(self._keeper, self._route.instance)
        self.status = 101
        self._ended = True
        assert self._session is not None
        self._caller.switch(connection, self._session, facts, tail)

    def on_failure(self, error: UpstreamError) -> None:
        connection = self._connection
        if self._head_sent:
            self._end()
            self._caller.broken(detail=f"{error.code}: {error.log_detail}")
            return
        self._forget_page()
        if (
            connection is not None
            and connection.exchanges > 1
            and not connection.has_answered
            and not self._fresh_connection
            and self._replay is not None
            and self.method in IDEMPOTENT
        ):
            self._connection = None
            self._fresh_connection = True
            self._upstream_full = False
            self._caller.hold_body()
            assert self._session is not None
            self._send(self._session)
        else:
            self._fail(error)

    def on_upstream_full(self) -> None:
        self._upstream_full = True
        self._caller.pause_body()

    def on_upstream_drained(self) -> None:
        self._upstream_full = False
        self._caller.resume_body()

    # -- from the caller --------------------------------------------------------------------------------

    def on_caller_drained(self) -> None:
        """The caller takes bytes again."""
        if self._page_stalled:
            self._page_stalled = False
            self._plane.turns.later(self._rewrite)
        elif self._connection is not None and (self._page is None or not self._page.is_waiting):
            self._connection.resume_reading()

    def cancel(self) -> None:
        """The caller is gone: so is its request."""
        if not self._ended:
            self._end()
            if self._stands_by is not None:
                self._plane.outages.forget(self._keeper, self)

    def sweep(self, now: float) -> None:
        """Judge silence. Called about once a second; `now` is the monotonic clock's."""
        timeouts = self._plane.current.timeouts
        if self._head_sent:
            patience = timeouts.send_seconds if self._caller.is_full else timeouts.response_body_seconds
            if self._stands_still(self.bytes_out - self._caller.unsent_bytes, now, patience):
                self._end()
                self._caller.broken(SEND_LATE if self._caller.is_full else RESPONSE_LATE)
        elif self._connection is None:
            return
        elif self._body_done:
            if now - self._awaited_since >= timeouts.response_head_seconds:
                self._fail(ResponseTimeout(detail="response head"))
        elif self._upstream_full:
            taken = self.bytes_in - self._connection.transport.get_write_buffer_size()
            if self._stands_still(taken, now, timeouts.send_seconds):
                self._fail(UploadStalled(detail="request body"))

    def _stands_still(self, taken: int, now: float, patience: float) -> bool:
        """Whether nothing was `taken` for so many seconds."""
        if taken != self._swept_bytes:
            self._swept_bytes = taken
            self._quiet_since = now
        return now - self._quiet_since >= patience

    # -- inside -----------------------------------------------------------------------------------------

    def _is_let_through(self, facts: ResponseFacts, session: NotebookSession) -> bool:
        """Whether a head may pass now. If not, it is known later, or the request has failed."""
        front_end, target = self._plane.front_end, self._route.upstream_target
        suspicion = front_end.suspect(
            facts, target=target, session=session, is_up=facts.status < 300 and self._keeper.is_up
        )
        if suspicion is not None:
            if not self._is_cleared:
                self._put_off(facts, suspicion)
            return self._is_cleared
        if front_end.has_answered(facts, target=target):
            self._fail(UpstreamUnreachable(detail=_answered(facts)))
            return False
        if facts.set_cookies and self._sets_session():
            self._keeper.absorb(session, facts.set_cookies)
        return True

    def _put_off(self, facts: ResponseFacts, suspicion: Suspicion) -> None:
        """The answer looks like one of the front end's own: nothing of it passes before it is known whose it is."""
        assert self._connection is not None
        self._connection.put_off(facts)
        self._plane.tasks.start(self._settle(self._connection, facts, suspicion), name="whether signed in")

    async def _settle(
        self, connection: UpstreamConnection, facts: ResponseFacts, suspicion: Suspicion
    ) -> None:
        assert self._session is not None
        try:
            honoured = await self._keeper.honoured(self._session, again=suspicion.contradicts)
        except NbgateError as error:
            self._fail(error)
            return
        except Exception:
            self._fail(InternalError())
            raise
        if self._ended or self._connection is not connection:
            return  # the caller left, or the answer's time ran out
        assert self._link is not None
        becomes = suspicion.outcome(honoured)
        if becomes is Outcome.RENEW and (self._renewed or not self._keeper.reject(self._session)):
            becomes = suspicion.without_renewal()
        match becomes:
            case Outcome.PASS:
                self._is_cleared = True
                connection.proceed()
            case Outcome.RENEW:
                self._repeat(suspicion)
            case Outcome.REFUSE:
                self._fail(SessionRejected(retry_after_seconds=5))
            case Outcome.OUT:
                await self._tell_state(facts, suspicion)
            case Outcome.STARTING:
                self._tell_absence(suspicion, JupyterStarting(detail=_answered(facts)))
                # Whoever comes next connects anew, and so tells when the outage is over (`_reports`).
                self._plane.pool.empty(self._link.shelf)
            case Outcome.AWAY:
                self._tell_absence(suspicion, UpstreamUnreachable(detail=_answered(facts)))

    async def _tell_state(self, facts: ResponseFacts, suspicion: Suspicion) -> None:
        """The instance is not in service: signing in says in which state it is."""
        error: NbgateError = JupyterStarting(detail=_answered(facts))
        try:
            await self._keeper.acquire(within_seconds=self._plane.current.timeouts.sign_in_seconds)
        except NbgateError as its_state:
            error = its_state
        except Exception:
            self._fail(InternalError())
            raise
        self._tell_absence(suspicion, error)

    def _tell_absence(self, suspicion: Suspicion, error: NbgateError) -> None:
        """The front end answered in Jupyter's place: was the request passed on, that is in doubt, else it was not."""
        if self.is_in_doubt and suspicion.may_have_passed_on:
            error = UpstreamUnreachable(detail=error.detail)
        elif self._connection is not None:
            self._connection.abort()
            self._connection = None
        self._fail(error)

    def _repeat(self, suspicion: Suspicion) -> None:
        """We were signed out: repeat the request with another session, if it may be.

        An unsafe one is repeated only where nothing of it can have been acted on: the front end sends who is not
        signed in to sign in, and passes nothing on. A refusal may be an application's, of something that it did.
        """
        self._renewed = True
        if self._replay is None or (self.method not in SAFE and not suspicion.sends_to_sign_in):
            is_kept = self._replay is not None
            self._fail((SessionRejected if is_kept else BodyNotKept)(retry_after_seconds=1))
            return
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        self._upstream_full = False
        self._caller.hold_body()
        self.start()

    def _framing(self, facts: ResponseFacts, body: Body | None) -> bytes:
        if isinstance(body, LengthBody):
            framing = b"Content-Length: %d\r\n" % body.remaining
        elif body is None:
            framing = self._length_of_nothing(facts)
        elif isinstance(body, ChunkedBody) and not self._is_http_10:
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            return self._unknown_length()
        return framing + self._closing()

    def _length_of_nothing(self, facts: ResponseFacts) -> bytes:
        """What a head says of the length of a body that does not follow (RFC 9110 section 8.6)."""
        if facts.status == 204:
            return b""
        if facts.content_length is not None:
            return b"Content-Length: %b\r\n" % facts.content_length
        return b"" if self.method == "HEAD" or facts.status == 304 else b"Content-Length: 0\r\n"

    def _unknown_length(self) -> bytes:
        """Framing for a body whose end only the notebook knows, as chunks of our own where the caller knows those:
        the end of a connection alone does not tell a whole body from half a one."""
        if self._is_http_10:
            self._keep_alive = False
            return self._closing()
        self._chunks = True
        return b"Transfer-Encoding: chunked\r\n" + self._closing()

    def _closing(self) -> bytes:
        """What every head that is not an interim one ends in."""
        if self._plane.leaving:
            self._keep_alive = False
        line = self._caller.id_line
        return line if self._keep_alive else line + b"Connection: close\r\n"

    def _take_page(self, page: PageRewrite, data: bytes) -> None:
        """More of a page came. Where it is more than is rewritten at once, nothing is read meanwhile."""
        was_waiting = page.is_waiting
        page.add(data)
        if not was_waiting:
            self._plane.turns.now_or_later(self._rewrite)
        if page.is_waiting and self._connection is not None:
            self._connection.pause_reading()

    def _rewrite(self) -> None:
        """Rewrite a piece of the page."""
        try:
            self._rewrite_piece()
        except Exception:
            # A fault of our own; the event loop tells of it. The notebook may be done with, so that no deadline of its
            # counts any more, and the caller must not wait for ever.
            if self._head_sent:
                self.drop()
            else:
                self._forget_page()
                self._fail(InternalError())
            raise

    def _rewrite_piece(self) -> None:
        page = self._page
        if page is None or not page.is_waiting:
            return  # it ended meanwhile
        if self._caller.is_full:
            self._page_stalled = True
            return
        try:
            text = page.rewrite()
        except CodingError:
            self._spoil_page()
            return
        self._pass_page(text)
        if self._page_begun or page.is_waiting:
            self.flush()
        if page.is_waiting:
            self._plane.turns.later(self._rewrite)
        elif self._response_done:
            self._end_page(page)
        elif self._connection is not None and not self._caller.is_full:
            self._connection.resume_reading()

    def _begin_page(self, page: PageRewrite, framing: bytes) -> None:
        self._page_begun = True
        text, self._unsent = self._unsent, self._mounts_head(page.facts_as_rewritten, framing)
        self._pass_page(text)

    def _pass_page(self, text: bytes) -> None:
        if self._page_begun and text:
            if self._chunks:
                text = b"%x\r\n%b\r\n" % (len(text), text)
            self.bytes_out += len(text)
        self._unsent += text

    def _end_page(self, page: PageRewrite) -> None:
        """All of it is there, and rewritten. A page that was there at once is told with its length."""
        try:
            text = page.finish()
        except CodingError:
            self._spoil_page()
            return
        self._pass_page(text)
        if not self._page_begun:
            self._begin_page(page, b"Content-Length: %d\r\n" % len(self._unsent) + self._closing())
        self._page = None
        self._complete()

    def _spoil_page(self) -> None:
        """It does not decode: what was sent of it must not look like all of it."""
        if self._connection is not None:
            self._connection.abort()
        self.on_failure(UpstreamInvalid(detail="a page that does not decode"))

    def _mounts_head(self, facts: ResponseFacts, framing: bytes) -> bytes:
        """The head of a response of which something depends on the mount."""
        assert self._link is not None
        return response_head(
            facts,
            self._link.translation,
            framing=framing,
            location=self._location(facts) if facts.location else b"",
            worker_scope=self._worker_scope,
            by_application=is_proxied(self._route.upstream_target),
        )

    def _sets_session(self) -> bool:
        """Whether cookies of this answer may be those of the session that all callers share.

        Not those that an application sets, whatever it calls them, nor what a caller's own presigned URL buys.
        """
        target = self._route.upstream_target
        return is_jupyters_own(target) and not take_out(target).links

    def _worker_scope(self, allowed: bytes) -> bytes:
        """`Service-Worker-Allowed`, cut to the mount."""
        route = self._route
        scope = worker_scope(
            allowed.decode("latin-1"),
            script=(route.prefix + route.upstream_target).partition("?")[0],
            mount=route.mount.path or "/",
            others=self._plane.current.gateway.rules.router.others_at(route.mount),
        )
        return scope.encode("latin-1")

    def _location(self, facts: ResponseFacts) -> bytes:
        """`Location` as the caller is to see it."""
        assert self._link is not None
        translation = self._link.translation
        return rewrite_location(
            facts.location.decode("utf-8", "surrogateescape"),
            prefix=self._route.prefix,
            upstream_origin=translation.upstream_origin.decode("ascii"),
            own_origin=translation.own_origin.decode("ascii"),
            is_followed=facts.status in _FOLLOWED,
        ).encode("utf-8", "surrogateescape")

    def _complete(self) -> None:
        """The response ends here."""
        last = self._unsent + b"0\r\n\r\n" if self._chunks else self._unsent
        if last:
            self._unsent = b""
            self._head_sent = True
            self._caller.write_last(last)
        self._release()
        self._ended = True
        self._caller.finished(keep_alive=self._keep_alive)

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._body_done:
                self._plane.pool.give_back(connection)
            else:
                # Another request's head would land inside this one's body (cross-caller smuggling).
                connection.abort()

    def _forget_page(self) -> None:
        """Of an answer that broke off before anything of it was sent."""
        self._page = None
        self._page_begun = self._page_stalled = False
        self._unsent = b""

    def _end(self) -> None:
        self._ended = True
        self._page = None
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def _fail(self, error: NbgateError) -> None:
        if self._ended:
            return
        if self._session is not None and isinstance(error, UpstreamError) and not error.setting:
            self._plane.on_trouble(error, self._route.instance, self._caller.id)
        error = self.told(error)
        if self._may_wait(error):
            self._stand_by(error)
            return
        self._end()
        self.status = error.status
        self._caller.answer(error)

    def _may_wait(self, error: NbgateError) -> bool:
        """Whether a later try may do better, and may be made."""
        no_connection = isinstance(error, UpstreamTimeout) and self._connection is None
        if (
            not (no_connection or isinstance(error, UpstreamUnreachable | JupyterStarting))
            or self._replay is None
            or not self._caller.is_patient
        ):
            return False
        now = self._plane.clock.monotonic()
        if self._failed_at is None:
            self._failed_at = now
        return self._plane.outages.may_wait(self._keeper, self, since=self._failed_at, now=now)

    def _stand_by(self, error: NbgateError) -> None:
        self._stands_by = error
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        self._upstream_full = False
        self._caller.hold_body()

    def try_again(self) -> None:
        if not self._ended:
            self._stands_by = None
            self._is_cleared = False
            self._reports = True
            self.start()

    def give_up(self) -> None:
        error, self._stands_by = self._stands_by, None
        if error is not None and not self._ended:
            self._end()
            self.status = error.status
            self._caller.answer(error)

    def drop(self) -> None:
        if not self._ended:
            self._end()
            self._caller.broken()

    def told(self, error: NbgateError) -> NbgateError:
        """What to answer where no answer came: nothing that invites to repeat what may have been done."""
        if isinstance(error, UpstreamUnreachable | UpstreamTimeout) and self.is_in_doubt:
            unknown = OutcomeUnknown(detail=f"{error.code}: {error.detail}")
            unknown.__cause__ = error
            return unknown
        return error


def _answered(facts: ResponseFacts) -> str:
    return f"the notebook's front end answered {facts.status}"
