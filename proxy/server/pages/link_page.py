"""What is answered in the place of a link that nobody has opened yet: a page whose button opens it.

Browsers that fetch ahead get it, and programs that look at links for a preview or a scan. The rule: the button is a
form's POST to the very address that was asked for, so the page works without script, and it holds nothing of the
request: neither the link's token, nor whom or what it is for. Who spends links is `proxy.identity.entrance`'s to say.
"""

from __future__ import annotations

from aiohttp import hdrs, web

from proxy.errors import RouteNotFound
from proxy.routing.entry import LINK_PAGE
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import PageRequest
from proxy.server.pages import templates as pages


def register(table: OwnPages) -> None:
    """Have the page answered where a link is looked at."""
    table.add(hdrs.METH_GET, LINK_PAGE, _page)


async def _page(request: PageRequest) -> web.StreamResponse:
    if not request.instance:
        # It is no page to go to: there it would have nothing to open.
        raise RouteNotFound
    # What the form leads to is asked for without a referrer.
    return pages.LINK.page(live=False, forms=True, request_id=request.request_id).response()
