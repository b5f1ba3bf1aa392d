"""Where a browser is sent whose link, or whose session, is not good (any more): a page that says what to do.

The rule: it says the same to everybody, takes no parameter and leads to the gateway's first page alone, so that no
link to it can be made into a link to somewhere else. Programs are not sent here: they get the error itself.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from multidict import MultiMapping

from proxy.errors import NbgateError, SignInRequired, TokenRefused
from proxy.server import error_pages
from proxy.server.own_pages import OwnPages, OwnVisit

PATH: Final = "/.nbgate/sign-in"


def is_for(error: NbgateError, *, method: str, headers: MultiMapping[str]) -> bool:
    """Whether a browser that met `error` is to be sent there: its window only, not what a page of it asks for."""
    return (
        isinstance(error, SignInRequired | TokenRefused)
        and method == hdrs.METH_GET
        and hdrs.UPGRADE not in headers
        and "prefetch" not in headers.get("Sec-Purpose", headers.get("Purpose", ""))
        and error_pages.wants_html(headers.get(hdrs.ACCEPT, ""), headers.get("Sec-Fetch-Mode", ""))
    )


def register(pages: OwnPages) -> None:
    """Have the page answered."""
    pages.add(hdrs.METH_GET, PATH, _page)


async def _page(visit: OwnVisit) -> web.StreamResponse:
    headers = visit.request.headers
    wants_html = error_pages.wants_html(headers.get(hdrs.ACCEPT, ""), headers.get("Sec-Fetch-Mode", ""))
    rendered = error_pages.render(
        SignInRequired(),
        wants_html=wants_html,
        request_id=visit.request_id,
        client_address=None,
        standing=error_pages.Standing("", home=visit.gateway.home(visit.caller, visit.inbound.port)),
    )
    return web.Response(
        # For people this is the page that they came for, and no error.
        status=200 if wants_html else SignInRequired.status,
        body=rendered.body,
        headers={hdrs.CONTENT_TYPE: rendered.content_type, **dict(rendered.headers)},
    )
