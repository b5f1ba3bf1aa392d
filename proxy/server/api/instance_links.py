"""Links that the JSON API gives out: an instance's address, with a token where it opens for nobody without one.

The rule: an address alone opens what an address alone may reach. For an instance with `access: presigned` a link is
made as SageMaker's API at this gateway makes one: not where signatures are required, and not for a page, so that no
script in a notebook can use its reader's address. It must not know how tokens are made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.errors import AccessDenied
from proxy.identity.tokens import URL_SECONDS, TokenKind, TokenSigner, authorized_url
from proxy.server.api.json_api import InstanceLink
from proxy.server.instance_views import InstanceViews
from proxy.server.page_request import PageRequest
from proxy.wire.browsers import is_of_page


class Links:
    """Implements `proxy.server.api.json_api.MakeLink`. `settings` are those of now."""

    def __init__(
        self, *, instances: InstanceViews, tokens: TokenSigner, settings: Callable[[], Settings], clock: Clock
    ) -> None:
        self._instances = instances
        self._tokens = tokens
        self._settings = settings
        self._clock = clock

    def __call__(self, request: PageRequest, name: str, session_seconds: int) -> InstanceLink:
        settings, caller = self._settings(), request.caller
        url = self._instances.url(request.viewer, name)
        if settings.instances[name].access == "open":
            return InstanceLink(url)
        if settings.api.is_signed or is_of_page(request.inbound.headers):
            request.gateway.refuse(
                request.inbound,
                caller,
                AccessDenied(),
                reason="a link without a signature, or for a page",
                instance=name,
            )
            raise AccessDenied("Links to this notebook are made for programs, and signed requests, alone.")
        token = self._tokens.issue(
            TokenKind.URL,
            instance=name,
            leads_to=settings.leads_to(name),
            principal=caller.address or "",
            address=caller.client.address,
            seconds=URL_SECONDS,
            session_seconds=session_seconds,
        )
        return InstanceLink(authorized_url(url, token), self._clock.now() + timedelta(seconds=URL_SECONDS))
