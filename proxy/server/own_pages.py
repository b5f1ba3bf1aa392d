"""Pages of the gateway's own: which handler answers which path and method, and what every answer has in common.

The rule: a handler gets an `OwnVisit` that was admitted to the gateway as a whole, and asks it (`decide`) about each
instance and action; what it raises becomes the same error page as anywhere. Every answer carries the security
headers of error pages, and a Content-Security-Policy that allows nothing, unless it brings one of its own.
A table that is not asked is empty: unknown paths are a 404. It must not know what the pages are about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import hdrs, web

from proxy.dataplane.caller.request import Request
from proxy.errors import (
    AccessDenied,
    BodyTooLarge,
    InternalError,
    MethodNotAllowed,
    NbgateError,
    RouteNotFound,
)
from proxy.gateway import Caller, Gateway, Inbound, Refusal
from proxy.lifecycle.order import OrderedBy
from proxy.policy.context import CONNECT
from proxy.policy.evaluate import Decision
from proxy.routing.router import OwnPage
from proxy.server.pages.error_pages import HEADERS
from proxy.server.sight import Beholder

BODY_BYTES: Final = 64 * 1024
"""The longest body that a page of the gateway's own reads, unless it says otherwise."""

API: Final = "/api/"
"""Below it programs are served alone: errors are JSON, whatever `Accept` says."""
NOTHING_ALLOWED: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class OwnVisit:
    """A request for a page of the gateway's own, as its handler sees it.

    `names` are what the path has where the handler's pattern has `{…}`, raw. Gateway and caller are those of now: a
    reload while a handler waits changes them, and whoever is not admitted any more meets AccessDenied.
    """

    __slots__ = ("_asked", "inbound", "instance", "names", "path", "request", "request_id")

    def __init__(self, request: web.BaseRequest) -> None:
        transport = request.transport
        # The caller may be gone already, before anything was done for it.
        asked = None if transport is None else transport.get_extra_info("request")
        if not isinstance(asked, Request):
            raise ConnectionResetError
        self._asked = asked
        self.request = request
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
    def beholder(self) -> Beholder:
        """Who looks, as of now. Raises as `caller`."""
        return Beholder(self.gateway, self.caller, self.inbound.port)

    def may(self, instance: str, action: str = CONNECT, *, username: str | None = None) -> bool:
        """What the policy says, for what is only shown or not: nothing is written down."""
        return self.beholder.may(instance, action, username=username)

    def decide(self, instance: str, action: str = CONNECT, *, username: str | None = None) -> Decision:
        """What the policy says of something that the caller asks for; a denial is audited.

        `username` is who signed the request. Raises AccessDenied.
        """
        verdict = self.gateway.permit(self.inbound, self.caller, instance, action, username=username)
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
        if (self.request.content_length or 0) > max_bytes:
            raise BodyTooLarge
        self._asked.ask_for_body()
        parts: list[bytes] = []
        size = 0
        while part := await self.request.content.readany():
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
        if self.request.writer.output_size:
            raise ConnectionResetError("the answer has begun")
        self._asked.page_failed(error)
        page = self._asked.error_page(error, instance=instance, json_only=self.path.startswith(API))
        return web.Response(status=page.status or error.status, body=page.body, headers=dict(page.headers))


Handler = Callable[[OwnVisit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Page:
    """A path, cut at its slashes (None: any segment that is not empty), and its handlers by method."""

    segments: tuple[str | None, ...]
    handlers: dict[str, Handler]

    def names(self, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """What stands for each `{…}`; None where the path is another one."""
        if len(segments) != len(self.segments):
            return None
        found = []
        for wanted, there in zip(self.segments, segments, strict=True):
            if wanted is None and there:
                found.append(there)
            elif wanted != there:
                return None
        return tuple(found)


def _ignore(_what: str, _error: BaseException) -> None:
    pass


class OwnPages:
    """The table of pages; `on_fault` is told of errors that are no `NbgateError`, for the log."""

    def __init__(self, *, on_fault: Callable[[str, BaseException], None] = _ignore) -> None:
        self._pages: dict[tuple[str | None, ...], _Page] = {}
        self._on_fault = on_fault

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        """Have `handler` answer `method` (GET: HEAD too) at `pattern`, such as `/.nbgate/start/{name}`.

        Raises ValueError where there is one already.
        """
        segments = tuple(
            None if one.startswith("{") and one.endswith("}") else one for one in pattern.split("/")
        )
        page = self._pages.setdefault(segments, _Page(segments, {}))
        for each in (hdrs.METH_GET, hdrs.METH_HEAD) if method == hdrs.METH_GET else (method,):
            if each in page.handlers:
                raise ValueError(f"{each} {pattern} has a handler already")
            page.handlers[each] = handler

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request that was admitted to a page of the gateway's own."""
        visit = OwnVisit(request)
        try:
            response = await self._find(visit)(visit)
        except NbgateError as error:
            response = visit.error(error)
        except ConnectionError:
            raise  # the caller is gone
        except Exception as error:
            self._on_fault(visit.request_id, error)
            response = visit.error(InternalError())
        if not response.prepared:
            for name, value in visit.headers().items():
                response.headers.setdefault(name, value)
        return response

    def _find(self, visit: OwnVisit) -> Handler:
        segments = tuple(visit.path.split("/"))
        page = self._pages.get(cast(tuple[str | None, ...], segments))
        if page is None:
            page = self._with_names(visit, segments, self._pages.values())
        handler = page.handlers.get(visit.inbound.method)
        if handler is None:
            raise MethodNotAllowed(allow=sorted(page.handlers))
        return handler

    @staticmethod
    def _with_names(visit: OwnVisit, segments: tuple[str, ...], pages: Iterable[_Page]) -> _Page:
        for page in pages:
            if (names := page.names(segments)) is not None:
                visit.names = names
                return page
        raise RouteNotFound
