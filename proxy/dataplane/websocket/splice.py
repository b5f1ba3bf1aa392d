"""From a request to a WebSocket: both transports change hands, and its record is kept until it ends.

The rule: whatever a relay needs to know of the world around it is asked here, and written down here when it has ended:
whether its caller is still admitted, which close code the page is told, and how it ended. Knows no frames.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.admission.verdict import Objection
from proxy.dataplane.bounds import DRAIN_OVER
from proxy.dataplane.caller.records import record_of
from proxy.dataplane.endings import LEADS_ELSEWHERE
from proxy.dataplane.websocket.closes import code_for_page
from proxy.dataplane.websocket.relay import Relay
from proxy.routing.jupyters import is_proxied
from proxy.routing.router import Route
from proxy.wire.frames import MAX_PAYLOAD, POLICY_VIOLATION
from proxy.wire.heads import response_head

if TYPE_CHECKING:
    from proxy.admission.verdict import Admission
    from proxy.dataplane.budgets import Place
    from proxy.dataplane.caller.request import Request
    from proxy.dataplane.notebook.connection import UpstreamConnection
    from proxy.dataplane.plane import DataPlane
    from proxy.dataplane.sessions import Keeper
    from proxy.telemetry.access_log import RequestRecord
    from proxy.upstream import NotebookSession
    from proxy.wire.heads import ResponseFacts

_UPGRADED: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


class _WebSocket:
    """What is known of one beside its bytes."""

    __slots__ = ("_admission", "_connection", "_keeper", "_place", "_plane", "_record", "_session", "_target")

    def __init__(
        self,
        plane: DataPlane,
        connection: UpstreamConnection,
        *,
        place: Place,
        admission: Admission,
        keeper: Keeper,
        session: NotebookSession,
        record: RequestRecord,
    ) -> None:
        assert isinstance(admission.route, Route)
        self._plane = plane
        self._connection = connection
        self._place = place
        self._admission = admission
        self._keeper = keeper
        self._session = session
        self._record = record
        self._target = admission.route.upstream_target

    def judge(self, relay: Relay) -> None:
        """Close it where its caller is not admitted any more."""
        plane = self._plane
        if relay not in plane.open.relays:
            return  # it ended while others were judged
        verdict = plane.still_admits(
            self._admission, self._keeper, has_ended=plane.has_ended(self._admission)
        )
        if isinstance(verdict, Objection):
            plane.open.withdrawn["websockets"] += 1
            why = LEADS_ELSEWHERE if verdict.refusal is None else verdict.refusal.error.code
            relay.close(POLICY_VIOLATION, verdict.reason, now=plane.clock.monotonic(), why=why)
            return
        self._admission = verdict
        if verdict.permit is not None:
            # Here and not once at the start: a reload may have made a session needed that was not.
            plane.open.ending[relay] = verdict.permit.ends_at

    def tell(self, code: int, page_closed: bool) -> int:
        """The close code for the page, where the notebook's side sends `code`."""
        said = code_for_page(
            code,
            target=self._target,
            page_closed=page_closed,
            session_is_over=lambda: self._keeper.is_over(self._session),
        )
        if said != code:
            self._record.error = f"UPSTREAM_CLOSED_{code}"
        return said

    def ended(self, relay: Relay) -> None:
        """Write down how."""
        plane, record = self._plane, self._record
        plane.open.relays.pop(relay, None)
        plane.open.ending.pop(relay, None)
        plane.pool.forget(self._connection)
        self._place.leave()
        record.bytes_in = relay.caller.bytes_received
        record.bytes_out = relay.notebook.bytes_received
        record.close_code = relay.close_code
        if plane.is_over and relay.closing is None:
            relay.met = DRAIN_OVER
        if relay.why:
            record.error = relay.why
        if relay.met is not None:
            record.error, record.detail = relay.met.code, relay.met.setting
            plane.met(relay.met, relay.client)
        if relay.closing is not None and record.error:
            record.detail = relay.closing[1]
        record.is_websocket = True
        plane.log(record)


def switch(
    request: Request,
    notebook: UpstreamConnection,
    *,
    session: NotebookSession,
    facts: ResponseFacts,
    tail: bytes,
) -> None:
    """The notebook answered 101 to a handshake with `session`: become a WebSocket, somebody else's connection.

    `tail` is what came behind the answer's head.
    """
    connection = request.connection
    assert connection is not None
    assert request.admission is not None
    assert request.keeper is not None
    route = request.admission.route
    head = response_head(
        facts,
        request.on_the_way_to(session).translation,
        framing=_UPGRADED + request.id_line,
        by_application=isinstance(route, Route) and is_proxied(route.upstream_target),
    )
    connection.writer.write(head)
    record = record_of(request, 101)
    # From here on request and connection are done with, and nothing may hold them: a WebSocket may last for days.
    transport, waiting, is_full = connection.hand_over()
    try:
        _splice(
            request.plane,
            transport,
            notebook,
            place=connection.place,
            admission=request.admission,
            keeper=request.keeper,
            session=session,
            record=record,
            extensions=any(name.lower() == b"sec-websocket-extensions" for name, _ in facts.fields),
            is_full=is_full,
            tail=tail,
            inbox=waiting,
        )
    except BaseException:
        # Nobody else would end it.
        connection.place.leave()
        transport.abort()
        raise


def _splice(
    plane: DataPlane,
    caller: asyncio.Transport,
    connection: UpstreamConnection,
    *,
    place: Place,
    admission: Admission,
    keeper: Keeper,
    session: NotebookSession,
    record: RequestRecord,
    extensions: bool,
    is_full: bool,
    tail: bytes,
    inbox: bytes,
) -> None:
    """Join both transports, before anything else can arrive.

    `session` is the upstream session that the handshake was made with; `tail` and `inbox` are what already came from
    the notebook and from the caller.
    """
    known = _WebSocket(
        plane, connection, place=place, admission=admission, keeper=keeper, session=session, record=record
    )
    connection.exchange = None
    relay = Relay(
        caller=caller,
        notebook=connection.transport,
        max_frame_bytes=plane.current.limits.websocket_frame_bytes or MAX_PAYLOAD,
        extensions=extensions,
        timeouts=plane.current.relay_timeouts,
        read_memory=plane.read_memory,
        judge=known.judge,
        on_end=known.ended,
        client=admission.caller.client.address,
        tell=known.tell,
    )
    plane.open.relays[relay] = record
    # The gateway may have changed since the handshake was admitted.
    relay.suspend()
    relay.start(is_full=is_full, tail=tail, inbox=inbox)
    relay.judge_now()
    if plane.draining:
        plane.open.say_goodbye(relay)
