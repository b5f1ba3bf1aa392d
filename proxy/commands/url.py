"""What `nbgate url` prints: an address that lets a browser, or a program, in at a running gateway.

The rule: it signs with the configured key, which the gateway knows, too; nothing is asked or told. The address is a
credential, so it goes to standard output alone. It must not know the command line.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from proxy.chance import nonce, secret_key
from proxy.client_address.networks import Address
from proxy.clock import SystemClock
from proxy.config.settings import Settings
from proxy.identity.tokens import TokenKind, Tokens, authorized_url
from proxy.wire.credentials import TOKEN_PARAMETER

PROGRAM_SECONDS: Final = 43_200
"""What a program's token is good for where nobody says otherwise."""


def browsers_url(
    settings: Settings,
    name: str,
    *,
    tokens: Tokens,
    principal: str,
    address: Address | None,
    seconds: int,
    session_seconds: int,
    lab: str | None,
) -> str:
    """A link to an instance that is good once. `lab`: to JupyterLab, with that file or folder open.

    Raises ValueError where a token cannot say that.
    """
    page = settings.urls(name)[0]
    if lab is not None:
        path = lab.strip("/")
        page += f"lab/tree/{quote(path)}" if path else "lab"
    token = tokens.issue(
        TokenKind.URL,
        instance=name,
        leads_to=settings.leads_to(name),
        principal=principal,
        address=address,
        seconds=seconds,
        session_seconds=session_seconds,
    )
    return authorized_url(page, token)


def programs_url(
    settings: Settings, name: str, *, tokens: Tokens, principal: str, address: Address | None, seconds: int
) -> str:
    """The address of an instance as Jupyter's programs take it, `…/?token=…`. Raises ValueError."""
    token = tokens.issue(
        TokenKind.API,
        instance=name,
        leads_to=settings.leads_to(name),
        principal=principal,
        address=address,
        seconds=seconds,
    )
    return f"{settings.urls(name)[0]}?{TOKEN_PARAMETER}={token}"


def programs_token(settings: Settings, name: str) -> str:
    """A program's token for whoever has the configuration at hand; "" where it has no key that a gateway knows."""
    if not settings.tokens.keys or settings.tokens.bind_address:
        # Which address the gateway would see is not known here.
        return ""
    tokens = Tokens(
        settings.tokens.keys, own_key=secret_key(), clock=SystemClock(), nonce=nonce, bind_address=False
    )
    made = programs_url(
        settings,
        name,
        tokens=tokens,
        principal="nbgate connect",
        address=None,
        seconds=PROGRAM_SECONDS,
    )
    return made.partition(f"?{TOKEN_PARAMETER}=")[2]
