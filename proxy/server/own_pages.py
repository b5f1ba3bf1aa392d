"""Pages of the gateway's own: which handler answers which path and method, and what every answer has in common.

The rule: what a handler raises becomes the same error page as anywhere. Every answer carries the security headers of
error pages, and a Content-Security-Policy that allows nothing, unless it brings one of its own. A table that is not
asked is empty: unknown paths are a 404. It must not know what the pages are about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import hdrs, web

from proxy.errors import InternalError, MethodNotAllowed, NbgateError, RouteNotFound
from proxy.server.page_request import PageRequest

PageHandler = Callable[[PageRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A path, cut at its slashes (None: any segment that is not empty), and its handlers by method."""

    segments: tuple[str | None, ...]
    handlers: dict[str, PageHandler]

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
        self._pages: dict[tuple[str | None, ...], _Pattern] = {}
        self._on_fault = on_fault

    def add(self, method: str, pattern: str, handler: PageHandler) -> None:
        """Have `handler` answer `method` (GET: HEAD too) at `pattern`, such as `/.nbgate/start/{name}`.

        Raises ValueError where there is one already.
        """
        segments = tuple(
            None if one.startswith("{") and one.endswith("}") else one for one in pattern.split("/")
        )
        page = self._pages.setdefault(segments, _Pattern(segments, {}))
        for each in (hdrs.METH_GET, hdrs.METH_HEAD) if method == hdrs.METH_GET else (method,):
            if each in page.handlers:
                raise ValueError(f"{each} {pattern} has a handler already")
            page.handlers[each] = handler

    async def __call__(self, received: web.BaseRequest) -> web.StreamResponse:
        """Answer a request that was admitted to a page of the gateway's own."""
        request = PageRequest(received)
        try:
            response = await self._find(request)(request)
        except NbgateError as error:
            response = request.error(error)
        except ConnectionError:
            raise  # the caller is gone
        except Exception as error:
            self._on_fault(request.request_id, error)
            response = request.error(InternalError())
        if not response.prepared:
            for name, value in request.headers().items():
                response.headers.setdefault(name, value)
        return response

    def _find(self, request: PageRequest) -> PageHandler:
        segments = tuple(request.path.split("/"))
        page = self._pages.get(segments)
        if page is None:
            page = self._with_names(request, segments, self._pages.values())
        handler = page.handlers.get(request.inbound.method)
        if handler is None:
            raise MethodNotAllowed(allow=sorted(page.handlers))
        return handler

    @staticmethod
    def _with_names(request: PageRequest, segments: tuple[str, ...], pages: Iterable[_Pattern]) -> _Pattern:
        for page in pages:
            if (names := page.names(segments)) is not None:
                request.names = names
                return page
        raise RouteNotFound
