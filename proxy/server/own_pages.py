"""Pages of the gateway's own, handled by aiohttp: what stands at its hostname where no instance is mounted."""

from __future__ import annotations

from typing import cast

from aiohttp import web

from proxy.dataplane.downstream import Downstream
from proxy.errors import RouteNotFound


async def own_pages(request: web.BaseRequest) -> web.StreamResponse:
    """Answer a request that was admitted to a page of the gateway's own."""
    connection = cast(Downstream, request.protocol)
    page = connection.error_page(RouteNotFound())
    return web.Response(status=RouteNotFound.status, body=page.body, headers=dict(page.headers))
