"""Where a browser is sent whose link, or whose session, is not good (any more): a page that says what to do.

The rule: it says the same to everybody, takes no parameter and leads to the gateway's first page alone, so that no
link to it can be made into a link to somewhere else. Programs are not sent here: they get the error itself.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from proxy.admission.caller import Inbound
from proxy.errors import NbgateError, SignInRequired, TokenRefused
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import PageRequest
from proxy.server.pages import error_pages
from proxy.wire.browsers import IS_LED_TO_SIGN_IN, Asker, is_of_browser, who_asks

PATH: Final = "/.nbgate/sign-in"


def is_for(error: NbgateError, inbound: Inbound) -> bool:
    """Whether a browser that met `error` is to be sent there: its window only, not what a page of it asks for."""
    is_about_it = isinstance(error, SignInRequired | TokenRefused)
    return is_about_it and IS_LED_TO_SIGN_IN.fits(inbound.method, inbound.headers)


def for_program(error: NbgateError, asker: Asker, inbound: Inbound) -> str:
    """Where a program is led that asks for one of Jupyter's pages, such as VS Code: it wants the server's address,
    which it takes from there. "" for none: browsers, in whatever way they ask, are told as ever.
    """
    if not isinstance(error, SignInRequired) or asker is not Asker.PROGRAM:
        return ""
    return "" if is_of_browser(inbound.headers) else error.login


def register(pages: OwnPages) -> None:
    """Have the page answered."""
    pages.add(hdrs.METH_GET, PATH, _page)


async def _page(request: PageRequest) -> web.StreamResponse:
    inbound = request.inbound
    asker = who_asks(inbound.headers, host=inbound.host, target=inbound.target)
    wants_html = asker is Asker.WINDOW
    rendered = error_pages.render(
        SignInRequired(),
        wants_html=wants_html,
        request_id=request.request_id,
        client_address=None,
        notice=error_pages.InstanceNotice("", home=request.viewer.home),
    )
    # For people this is the page that they came for, and no error.
    return rendered.response(status=200 if wants_html else SignInRequired.status)
