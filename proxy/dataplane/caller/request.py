"""One request: from its head, or what could not be read as one, to the end of its answer.

The rule: whoever answers sees the caller through the request, and nothing else of the connection. When the answer has
ended the request is let go of, so that an answer that goes on all the same reaches nobody. Its access record is made
here, once. Knows no bytes of HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Admission, Refusal
from proxy.dataplane.answer.fixed import FixedAnswer, message_of
from proxy.dataplane.bounds import DRAIN_OVER, bound_of
from proxy.dataplane.caller.intake import ANSWERER
from proxy.dataplane.caller.records import record_of, text_of
from proxy.dataplane.endings import CALLER_GONE, RESPONSE_CUT
from proxy.errors import BadRequest, BodyTimeout, InternalError, NbgateError, UpstreamUnreachable
from proxy.routing.router import Route
from proxy.wire.browsers import Asker, is_patient, who_asks

if TYPE_CHECKING:
    from proxy.client_address.networks import Address
    from proxy.dataplane.answer import Answerer
    from proxy.dataplane.caller.channel import Channel
    from proxy.dataplane.notebook.translation import ToNotebook
    from proxy.dataplane.plane import DataPlane
    from proxy.dataplane.sessions import Keeper
    from proxy.routing.router import Redirect
    from proxy.telemetry.limits_met import Bound
    from proxy.upstream import NotebookSession
    from proxy.wire.body import Data


_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Request:
    """See the module's docstring. `inbound` is None while nothing could be read.

    What most requests do not need has its first value in the class: an instance is then made for little.
    """

    inbound: Inbound | None = None
    admission: Admission | None = None
    """By the gateway that counts; None once it is withdrawn."""
    refusal: Refusal | None = None
    keeper: Keeper | None = None
    answerer: Answerer | None = None
    to_notebook: ToNotebook
    """Of one that is admitted."""
    waits_to_be_asked = False
    """The caller waits to be asked for the body (RFC 9110 section 10.1.1), and nobody has."""
    ends_connection = False
    """A page wants no request to follow on the connection."""
    has_begun = False
    """Something of the answer was sent, so that no other can be given."""
    takes_body = False
    """Whoever answers takes the body now; it waits until then."""
    page_error: NbgateError | None = None
    page_user = ""
    """Who a page of the gateway's own knows its caller to be."""
    _swept_bytes = -1
    _quiet_since = 0.0

    def __init__(self, connection: Channel, plane: DataPlane) -> None:
        self.connection: Channel | None = connection
        self.plane = plane
        self.id = plane.new_id()
        self.started_at = plane.clock.monotonic()

    # -- who asks ---------------------------------------------------------------------------------------

    @property
    def client(self) -> Address | None:
        """Whom the request is attributed to."""
        if self.admission is not None:
            return self.admission.caller.client.address
        if self.refusal is not None:
            return self.refusal.client.address
        return None if self.connection is None else self.connection.peer

    @property
    def is_window(self) -> bool:
        """Whether a person looks at the answer, and can be shown a page that asks again by itself."""
        return self.asker is Asker.WINDOW and self.asked.method in ("GET", "HEAD")

    @property
    def is_patient(self) -> bool:
        """Whether it had rather wait for a moment than be told that the notebook is away."""
        assert self.admission is not None
        assert isinstance(self.admission.route, Route)
        target = self.admission.route.upstream_target
        return is_patient(self.asker, method=self.asked.method, target=target)

    @property
    def under_way(self) -> tuple[Admission, str, str, int] | None:
        """While it is being answered: its admission, method and target, and the bytes of bodies so far."""
        answerer, admission = self.answerer, self.admission
        if answerer is None or admission is None:
            return None
        return admission, self.asked.method, self.asked.target, answerer.bytes_in + answerer.out.bytes_out

    @property
    def asker(self) -> Asker:
        asked = self.asked
        return who_asks(asked.headers, host=asked.host, target=asked.target)

    @property
    def asked(self) -> Inbound:
        """The request as it stood at the door."""
        assert self.inbound is not None
        return self.inbound

    def on_the_way_to(self, session: NotebookSession) -> ToNotebook:
        """How heads change on the way to a session; the same for all requests of a connection, mostly."""
        assert self.admission is not None
        assert isinstance(self.admission.route, Route)
        to_notebook = self.to_notebook
        joined = (session, self.admission.caller, self.admission.route.mount)
        if joined != to_notebook.joined:
            plane, origin = self.plane, session.origin
            to_notebook.join(*joined, idle=plane.pool.idle(origin), tells_address=plane.tells_address(origin))
        return to_notebook

    # -- for whoever answers ----------------------------------------------------------------------------

    @property
    def _connection(self) -> Channel:
        assert self.connection is not None
        return self.connection

    def write(self, data: Data) -> None:
        """Send a part of the answer."""
        connection = self._connection
        if not self.has_begun:
            self.has_begun = True
            connection.began()
        connection.writer.write(data)

    def write_interim(self, data: bytes) -> None:
        """Send a head that is not yet the answer's (RFC 9110 section 15.2)."""
        self._connection.writer.write(data)

    def write_last(self, data: bytes) -> None:
        """Send the end of the answer to the caller, at the end of this turn of the event loop."""
        connection = self.connection
        assert connection is not None
        connection.writer.write_last(data)

    @property
    def is_full(self) -> bool:
        """The caller takes no more for now; `Answerer.on_caller_drained` follows."""
        return self._connection.writer.is_full

    @property
    def unsent_bytes(self) -> int:
        """How much of what was written still waits for the caller to take it."""
        return self._connection.writer.unsent_bytes

    def take_body(self) -> None:
        """Deliver the request's body from now on."""
        self.takes_body = True
        self._connection.deliver()

    def hold_body(self) -> None:
        """Keep the request's body until `take_body`."""
        self.takes_body = False
        self._connection.intake.resume(ANSWERER)

    def pause_body(self) -> None:
        """Whoever answers takes no more of it for now."""
        self._connection.intake.pause(ANSWERER)

    def resume_body(self) -> None:
        """It does again."""
        self._connection.intake.resume(ANSWERER)

    def finished(self, *, keep_alive: bool) -> None:
        """Whoever answers has sent all of it."""
        answerer, connection, plane = self.answerer, self.connection, self.plane
        assert answerer is not None
        assert connection is not None
        if self.waits_to_be_asked:
            # It may never come.
            connection.stop_reading()
        if not keep_alive or plane.leaving:
            connection.keeps = False
        error = self.page_error
        code, detail = (answerer.code, "") if error is None else (error.code, error.log_detail)
        plane.log(record_of(self, answerer.status, size=answerer.out.bytes_out, code=code, detail=detail))
        connection.answered()

    def broken(self, bound: Bound | None = None, *, detail: str = "") -> None:
        """The answer cannot be completed: let the caller see that. Why: a limit, or `detail`, or a fault of our own."""
        connection, code, detail = self._connection, RESPONSE_CUT, detail or InternalError.code
        if bound is not None:
            code, detail = bound.code, bound.setting
            self.plane.met(bound, self.client)
        answerer = self.answerer
        status, size = (0, 0) if answerer is None else (answerer.status, answerer.out.bytes_out)
        self.plane.log(record_of(self, status, size=size, code=code, detail=detail))
        connection.over()
        connection.writer.reset()

    @property
    def id_line(self) -> bytes:
        """The field of the answer that tells the request's id, its line end included."""
        return b"X-Request-Id: %b\r\n" % self.id.encode("ascii")

    # -- in the gateway's own words ---------------------------------------------------------------------

    def answer(self, error: NbgateError) -> None:
        """Answer with an error; nothing was sent to the caller yet."""
        self._blame(error)
        detail = error.log_detail
        if self.admission is not None:
            error = self.plane.on_error(error, self.admission, self.asked)
        page = self.error_page(error)
        status = page.status or error.status
        self._send_whole(status, page)
        self._answered(status, len(page.body), error.code, error.log_detail or detail)

    def redirect(self, route: Redirect) -> None:
        """Send the caller elsewhere."""
        self._send_whole(route.status, FixedAnswer((*route.fields, ("X-Request-Id", self.id)), b""))
        self._answered(route.status, 0, "")

    def refuse(self, error: NbgateError) -> None:
        """Answer without asking anybody, and read on behind the request if that is safe."""
        if isinstance(error, BadRequest):
            self.stop(error)
        else:
            self.answer(error)

    def stop(self, error: NbgateError) -> None:
        """Answer, and read nothing more: where this message ends is not known."""
        self._connection.stop_reading()
        self.answer(error)

    def abandon(self, error: NbgateError, *, why: str = "") -> None:
        """The request turned out broken in its middle, or is not to be answered any more; `why` is for the record of an
        answer that is cut, where no limit says it.
        """
        why = why or error.code
        if self.answerer is not None:
            error = self.answerer.in_place_of(error)
            self.answerer.cancel()
        if self.has_begun:
            bound = bound_of(error)
            self.broken(bound, detail=why if bound is None else "")
        else:
            self.stop(error)

    def withdraw(self, reason: str) -> None:
        """It is not admitted any more."""
        error: NbgateError = UpstreamUnreachable(f"{reason}. Try again.", retry_after_seconds=1)
        if self.refusal is not None:
            error = self.refusal.error
        self.abandon(error, why=reason)

    def cut(self, bound: Bound) -> None:
        """End it for a limit that it met."""
        if self.answerer is not None:
            self.answerer.cancel()
        self.broken(bound)

    def lost(self) -> None:
        """The caller is gone before its answer was complete."""
        code = CALLER_GONE
        if self.plane.is_over:
            code = DRAIN_OVER.code
            self.plane.met(DRAIN_OVER, self.client)
        status, size, answerer = 0, 0, self.answerer
        if answerer is not None:
            answerer.cancel()
            status, size = answerer.status, answerer.out.bytes_out
        self.plane.log(record_of(self, status, size=size, code=code))

    def sweep(self, now: float, *, is_held: bool) -> None:
        """Judge silence; `is_held`: nothing is read for now, for a reason of ours."""
        answerer = self.answerer
        if answerer is None:
            return
        answerer.sweep(now)
        if self.answerer is None or not self._connection.is_carrying:
            self._swept_bytes = -1
        elif answerer.bytes_in != self._swept_bytes or is_held or self.waits_to_be_asked:
            self._swept_bytes = answerer.bytes_in
            self._quiet_since = now
        elif now - self._quiet_since >= self.plane.current.timeouts.request_body_seconds:
            self.abandon(BodyTimeout())

    def _blame(self, error: NbgateError) -> None:
        instance = "" if self.admission is None else self.admission.instance
        self.plane.blame(error, self.client, instance=instance, request_id=self.id)

    def _send_whole(self, status: int, page: FixedAnswer) -> None:
        connection = self._connection
        if connection.reader.has_body or self.plane.leaving:
            # Who expects 100 Continue may never send the body, and what comes would be taken for it.
            connection.keeps = False
        without_body = self.inbound is not None and self.inbound.method == "HEAD"
        if connection.transport is not None:
            connection.writer.write(
                message_of(status, page, keep_alive=connection.keeps, without_body=without_body)
            )

    def _answered(self, status: int, size: int, code: str, detail: str = "") -> None:
        connection = self._connection
        self.plane.log(record_of(self, status, size=size, code=code, detail=detail))
        connection.answered()

    # -- for pages of the gateway's own -----------------------------------------------------------------

    def ask_for_body(self) -> None:
        """A page reads it (RFC 9110 section 10.1.1)."""
        if self.waits_to_be_asked and self.answerer is not None:
            self.waits_to_be_asked = False
            self.write_interim(_CONTINUE)

    def page_failed(self, error: NbgateError) -> None:
        """A page answers an error: it stands in the record."""
        self.page_error = error
        self._blame(error)

    def error_page(self, error: NbgateError, *, instance: str = "", json_only: bool = False) -> FixedAnswer:
        """How the caller is told of an error, perhaps one about an instance that the request did not lead to."""
        admission = self.admission
        if admission is not None:
            client = admission.caller.address
            if instance:
                admission = admission._replace(instance=instance)
        else:
            client = text_of(self.client)
        return self.plane.render(
            error,
            self.inbound,
            request_id=self.id,
            client=client,
            admission=admission,
            port=0 if self.connection is None else self.connection.listener.public_port,
            json_only=json_only,
        )

    # -- judged again -----------------------------------------------------------------------------------

    def objection(self) -> str:
        """What the gateway of now has against it, answered or not; "" for nothing."""
        if self.admission is None or self.inbound is None:
            return ""
        # It may be that of an earlier request, which asked for the same.
        admission = self.admission._replace(inbound=self.inbound)
        verdict = self.plane.still_admits(admission, self.keeper)
        if isinstance(verdict, Admission):
            self.admission = verdict
            return ""
        if verdict.refusal is not None:
            self.admission, self.refusal = None, verdict.refusal
        return verdict.reason
