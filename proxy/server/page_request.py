"""A request for a page of the gateway's own, as the page's handler sees it.

The rule: it was admitted to the gateway as a whole, and is asked (`decide`) about each instance and action. Gateway and
caller are those of now: a reload while a handler waits changes them. It must not know what the pages are about.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from proxy.admission.caller import Caller, Inbound
from proxy.admission.verdict import Refusal
from proxy.dataplane.caller.request import Request
from proxy.errors import AccessDenied, BodyTooLarge, NbgateError, RouteNotFound
from proxy.gateway import Gateway
from proxy.lifecycle.order import OrderedBy
from proxy.policy.context import CONNECT, Principal
from proxy.policy.evaluate import Decision
from proxy.routing.router import OwnPage
from proxy.server.pages.error_pages import HEADERS
from proxy.server.viewer import Viewer

BODY_BYTES: Final = 64 * 1024
"""The longest body that a page of the gateway's own reads, unless it says otherwise."""

API: Final = "/api/"
"""Below it programs are served alone: errors are JSON, whatever `Accept` says."""
NOTHING_ALLOWED: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class PageRequest:
    """Handed to a page's handler.

    `names` are what the path has where the handler's pattern has `{…}`, raw. Gateway and caller are those of now: a
    reload while a handler waits changes them, and whoever is not admitted any more meets AccessDenied.
    """

    __slots__ = ("_asked", "inbound", "instance", "names", "path", "request_id", "web")

    def __init__(self, request: web.BaseRequest) -> None:
        transport = request.transport
        # The caller may be gone already, before anything was done for it.
        asked = None if transport is None else transport.get_extra_info("request")
        if not isinstance(asked, Request):
            raise ConnectionResetError
        self._asked = asked
        self.web = request
        self.request_id = asked.id
        self.inbound: Inbound = asked.asked
        admission = asked.admission
        route = None if admission is None else admission.route
        self.path = route.path if isinstance(route, OwnPage) else ""
        """Raw, without the query. Mostly that of the request; a page may stand in the place of another address."""
        self.instance = "" if admission is None else admission.instance
        """That in whose place the page stands; "" for a page of its own right."""
        self.names: tuple[str, ...] = ()

    @property
    def gateway(self) -> Gateway:
        return self._asked.plane.current.gateway

    @property
    def caller(self) -> Caller:
        """Raises AccessDenied where the admission was withdrawn meanwhile."""
        admission = self._asked.admission
        if admission is None:
            raise AccessDenied
        return admission.caller

    @property
    def viewer(self) -> Viewer:
        """Who looks, as of now. Raises as `caller`."""
        return Viewer(self.gateway.rules, self.caller, self.inbound.port)

    def may(self, instance: str, action: str = CONNECT, principal: Principal | None = None) -> bool:
        """What the policy says, for what is only shown or not: nothing is written down."""
        return self.viewer.may(instance, action, principal)

    def decide(self, instance: str, action: str = CONNECT, principal: Principal | None = None) -> Decision:
        """What the policy says of something that the caller asks for; a denial is audited.

        `principal` is who signed the request. Raises AccessDenied.
        """
        caller = self.caller
        verdict = self.gateway.permit(self.inbound, caller, caller.question(instance, action, principal))
        if isinstance(verdict, Refusal):
            raise verdict.error
        return verdict

    def ordered_by(self, way: str) -> OrderedBy:
        """Who has something done by this request."""
        return OrderedBy(way, self.caller.address, self._asked.page_user, self.request_id)

    def named(self, user: str) -> None:
        """The caller proved to be this user, which the request's record is to say."""
        self._asked.page_user = user

    def miss(self) -> None:
        """Have it written down that the caller asked for an instance that is not there, as a denial would be."""
        self.gateway.refuse(
            self.inbound, self.caller, RouteNotFound(), reason="denied: there is no such instance here"
        )

    async def body(self, *, max_bytes: int = BODY_BYTES) -> bytes:
        """The request's whole body. Raises BodyTooLarge. A handler whose request's body breaks off is cancelled."""
        if (self.web.content_length or 0) > max_bytes:
            raise BodyTooLarge
        self._asked.ask_for_body()
        parts: list[bytes] = []
        size = 0
        while part := await self.web.content.readany():
            size += len(part)
            if size > max_bytes:
                raise BodyTooLarge
            parts.append(part)
        return b"".join(parts)

    def headers(self) -> dict[str, str]:
        """What every answer carries. A handler that prepares its response itself starts from these."""
        return {
            **dict(HEADERS),
            "Content-Security-Policy": NOTHING_ALLOWED,
        }

    def end_connection(self) -> None:
        """No request of the caller's follows this one on its connection."""
        self._asked.ends_connection = True

    def error(self, error: NbgateError, *, instance: str = "") -> web.Response:
        """An error as this caller wants to see it; `instance` is the one that it is about, which it may reach.

        Raises ConnectionResetError where another answer has begun: this one would be taken for a part of its body.
        """
        if self.web.writer.output_size:
            raise ConnectionResetError("the answer has begun")
        self._asked.page_failed(error)
        page = self._asked.error_page(error, instance=instance, json_only=self.path.startswith(API))
        return web.Response(status=page.status or error.status, body=page.body, headers=dict(page.headers))
