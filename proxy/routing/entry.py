"""What lets a caller in besides its address: the outcome of a link, a session or a token that it brought.

The rule: plain data, which the gateway passes from who judges credentials to who carries bytes. A better address is
always an absolute one on the very authority that was asked, so that no path, however written, leads elsewhere
(`//host`, `/\\host`, user information). Nothing here knows what a token looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple
from urllib.parse import quote

from multidict import MultiMapping

from proxy.client_address.networks import Address
from proxy.routing.authority import Authority
from proxy.routing.mounts import Mount, MountKind
from proxy.routing.router import Redirect, Route

LINK_PAGE: Final = "/.nbgate/link"
"""The gateway's own page in the place of a link that nobody has opened yet."""
SESSION_COOKIE: Final = "nbgate-session"
_PAGES: Final = frozenset(
    {
        "consoles",
        "doc",
        "edit",
        "lab",
        "nbclassic",
        "notebooks",
        "retro",
        "terminals",
        "tree",
        "view",
        "voila",
    }
)
"""What the paths of Jupyter's own pages begin with, as they stand in people's address bars."""


class Presented(NamedTuple):
    """A request for an instance, as far as credentials are concerned. The policy has let its address in.

    `leads_to` is the notebook that the instance is (`proxy.config.settings.Settings.leads_to`).
    """

    route: Route
    leads_to: str
    method: str
    headers: MultiMapping[str]
    address: Address | None
    scheme: str
    authority: Authority
    request_id: str


@dataclass(frozen=True, slots=True)
class Permit:
    """A request is let in until `ends_at` (UNIX seconds), and goes upstream as `upstream_target`.

    `xsrf` is not "" where a token let it in, which is to be taken out of the fields.
    """

    principal: str
    ends_at: int
    upstream_target: str
    xsrf: str = ""


@dataclass(frozen=True, slots=True)
class Recognised:
    """Nothing was needed to be let in; a session came along all the same, and says who asks."""

    principal: str


@dataclass(frozen=True, slots=True)
class EntryRedirect(Redirect):
    """The same address without the link's token; `set_cookie` is the session's, "" where there is one already."""

    # Browsers ask for it by GET, also after a form's POST (Fetch, "HTTP-redirect fetch").
    status: ClassVar[int] = 302
    set_cookie: str = ""
    principal: str = ""
    """Whom the link was made for."""

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        cookie = (("Set-Cookie", self.set_cookie),) if self.set_cookie else ()
        return (
            ("Location", self.location),
            *cookie,
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
        )


def entry_address(presented: Presented, upstream_target: str) -> str:
    """The absolute address, in the caller's words, of a target in the notebook's."""
    route = presented.route
    return f"{presented.scheme}://{presented.authority}{route.prefix}{upstream_target}"


def login_address(presented: Presented) -> str:
    """Where Jupyter would send whoever asks for one of its pages and is not signed in; "" for all that is no page.

    Programs that are given a page's address (VS Code's "existing Jupyter server") ask for it without its token, and
    take for the server's address what stands before `login?`. Nothing is there: who goes on is told 401. The query, in
    which credentials of others may stand, is not repeated.
    """
    route = presented.route
    path = route.upstream_target.partition("?")[0]
    first, _, rest = path[1:].partition("/")
    if presented.method != "GET" or first not in _PAGES or rest.startswith("api/"):
        return ""
    following = quote(f"{route.prefix}{path}", safe="", encoding="utf-8", errors="surrogateescape")
    return entry_address(presented, f"/login?next={following}")


def cookie_name(mount: Mount, *, scheme: str) -> str:
    """The session cookie's name at a mount.

    Prefixes bind browsers (RFC 6265bis section 4.1.3): `__Host-` demands `Path=/`, which a path mount cannot have.
    Ports share one jar, so a port mount's cookie is named after it.
    """
    name = f"{SESSION_COOKIE}-{mount.port}" if mount.kind is MountKind.PORT else SESSION_COOKIE
    if scheme != "https":
        return name
    return f"__Secure-{name}" if mount.kind is MountKind.PATH else f"__Host-{name}"


def set_cookie(mount: Mount, token: str, *, scheme: str, seconds: int) -> str:
    """The value of `Set-Cookie` for a session's token at a mount."""
    secure = "; Secure" if scheme == "https" else ""
    return (
        f"{cookie_name(mount, scheme=scheme)}={token}; Path={mount.prefix}/; Max-Age={seconds}; HttpOnly; "
        f"SameSite=Lax{secure}"
    )
