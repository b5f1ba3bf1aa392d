"""Who judges links, sessions and programs' tokens, once the policy has let a caller's address in.

    link (authToken)   -> a session's cookie, and the same address without it; a page with a button, if nobody opened it
    session (cookie)   -> in, until it ends
    token (program's)  -> in, for this request
    none of them       -> in where the instance is open to allowed addresses; else "a link is needed"

The rule: whatever is presented must be good, also where nothing would be needed, so that a link that has ended looks
ended everywhere. A link buys one session: presented again, it is refused, unless by the browser that it let in. So it
is spent by who opens it, not by a browser that fetches it ahead, nor by a chat's or a mail scanner's program that looks
at it; the page that these get spends it when somebody presses its button (a POST to the link's own address). It must
not know policies or sockets; implements `proxy.admission.access.AccessCheck`.
"""

from __future__ import annotations

from typing import Final

from proxy.clock import Clock
from proxy.errors import SignInRequired, TokenRefused
from proxy.identity.tokens import MAX_SESSION_SECONDS, Claims, TokenKind, TokenSigner
from proxy.identity.used_once import UsedOnce
from proxy.routing.entry import (
    LINK_PAGE,
    SESSION_COOKIE,
    EntryRedirect,
    Permit,
    Presented,
    Recognised,
    cookie_name,
    entry_address,
    login_address,
    set_cookie,
)
from proxy.routing.router import OwnPage
from proxy.wire.browsers import OPENS_A_LINK, PASTES_AN_ADDRESS, PRESSES_A_BUTTON, only_looks
from proxy.wire.credentials import FoundCredentials, authorization, session_tokens, subprotocols, take_out

LINKS_REMEMBERED: Final = 65_536
"""Links that were used and have not ended yet. If there are ever more, new ones are refused."""

_VIEWS: Final = {"view=lab": "/lab", "view=classic": "/tree"}
"""As SageMaker's presigned URLs have it, on the mount's own address."""


class Entrance:
    """One for each process: it remembers which links were used."""

    def __init__(self, tokens: TokenSigner, *, clock: Clock) -> None:
        self.is_watching = False
        """Whether there can be anything to judge; what is checked before each request."""
        self._tokens = tokens
        self._clock = clock
        self._used: UsedOnce[str, str] = UsedOnce()
        """By a link's nonce: the request that it let in."""
        tokens.when_about(self.watch)

    def watch(self) -> None:
        """Look at every request from now on: there are tokens about, or instances that need them."""
        self.is_watching = True

    def judge(
        self, presented: Presented, *, guarded: bool
    ) -> Permit | EntryRedirect | OwnPage | Recognised | None:
        """What a request's credentials let it do; None: there are none, and none is needed. A page of our own stands in
        for a link that is only looked at.

        `guarded`: the instance is only for those who bring one. Raises TokenRefused and SignInRequired.
        """
        target, headers = presented.route.upstream_target, presented.headers
        found = take_out(target)
        borne = authorization(headers.getall("Authorization", ()))
        if "Sec-WebSocket-Protocol" in headers:
            borne += subprotocols(headers.getall("Sec-WebSocket-Protocol"))
        if found.links:
            return self._link(presented, found, borne)
        if found.tokens or borne:
            return self._token(presented, found, borne)
        return self._session(presented, found) if guarded else self._recognise(presented, found)

    def _link(
        self, presented: Presented, found: FoundCredentials, borne: tuple[str, ...]
    ) -> EntryRedirect | OwnPage:
        if len(found.links) > 1 or found.tokens or borne:
            raise TokenRefused(reason="more than one credential")
        method, headers = presented.method, presented.headers
        is_looked_at = only_looks(method, headers)
        if not (is_looked_at or OPENS_A_LINK.fits(method, headers) or PRESSES_A_BUTTON.fits(method, headers)):
            raise TokenRefused(reason="a link that was not opened in a browser's window")
        claims = self._verify(TokenKind.URL, found.links[0], presented)
        if is_looked_at:
            return OwnPage(LINK_PAGE)
        location = entry_address(presented, _view(found.target))
        if not self._is_first_use(claims, presented.request_id):
            try:
                self._session(presented, found)
            except (SignInRequired, TokenRefused):
                raise TokenRefused(reason="a link that was used before", user=claims.principal) from None
            return EntryRedirect(location, principal=claims.principal)
        return self._enter(presented, claims, location=location, seconds=claims.session_seconds)

    def _token(
        self, presented: Presented, found: FoundCredentials, borne: tuple[str, ...]
    ) -> Permit | EntryRedirect:
        # VS Code and JupyterLab's own client send the same token in the query and in the field.
        if len({*found.tokens, *borne}) > 1:
            raise TokenRefused(reason="more than one credential")
        claims = self._verify(TokenKind.API, (*found.tokens, *borne)[0], presented)
        if found.tokens and PASTES_AN_ADDRESS.fits(presented.method, presented.headers):
            # Somebody pasted a program's address into a browser: its page's own requests would bring nothing, and
            # would tell the token as their referrer.
            left = claims.ends_at - int(self._clock.now().timestamp())
            seconds = max(1, min(left, MAX_SESSION_SECONDS))
            return self._enter(
                presented, claims, location=entry_address(presented, found.target), seconds=seconds
            )
        return Permit(claims.principal, claims.ends_at, found.target, xsrf=claims.nonce)

    def _session(self, presented: Presented, found: FoundCredentials) -> Permit:
        name = cookie_name(presented.route.mount, scheme=presented.scheme)
        error: TokenRefused | None = None
        for text in session_tokens(presented.headers.getall("Cookie", ()), name):
            try:
                claims = self._verify(TokenKind.SESSION, text, presented)
            except TokenRefused as refused:
                error = refused
            else:
                return Permit(claims.principal, claims.ends_at, found.target)
        raise error or SignInRequired(login=login_address(presented))

    def _recognise(self, presented: Presented, found: FoundCredentials) -> Recognised | None:
        """Who asks for an instance that is open to allowed addresses: for the log, and no matter if it is not known."""
        if SESSION_COOKIE not in presented.headers.get("Cookie", ""):
            return None
        try:
            return Recognised(self._session(presented, found).principal)
        except (SignInRequired, TokenRefused):
            return None

    def _verify(self, kind: TokenKind, text: str, presented: Presented) -> Claims:
        return self._tokens.verify(
            kind,
            text,
            instance=presented.route.instance,
            leads_to=presented.leads_to,
            address=presented.address,
        )

    def _enter(self, presented: Presented, claims: Claims, *, location: str, seconds: int) -> EntryRedirect:
        mount = presented.route.mount
        token = self._tokens.issue(
            TokenKind.SESSION,
            instance=claims.instance,
            leads_to=presented.leads_to,
            principal=claims.principal,
            address=presented.address,
            seconds=seconds,
        )
        cookie = set_cookie(mount, token, scheme=presented.scheme, seconds=seconds)
        return EntryRedirect(location, cookie, claims.principal)

    def _is_first_use(self, claims: Claims, request_id: str) -> bool:
        """Remember a link as used. A request that is judged again is the same one."""
        used_by = self._used.earlier(claims.nonce, now=self._clock.now().timestamp())
        if used_by is not None:
            return used_by == request_id
        if not self._used.note(claims.nonce, request_id, until=claims.ends_at, most=LINKS_REMEMBERED):
            raise TokenRefused(reason="more links in use than can be remembered")
        return True


def _view(target: str) -> str:
    """The mount's own address with `view=` becomes that of JupyterLab, or of the classic file list."""
    path, _, query = target.partition("?")
    parameters = query.split("&")
    asked = next((parameter for parameter in parameters if parameter in _VIEWS), None)
    if path != "/" or asked is None:
        return target
    parameters.remove(asked)
    return f"{_VIEWS[asked]}?{'&'.join(parameters)}" if parameters else _VIEWS[asked]
