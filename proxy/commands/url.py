"""What `nbgate url` prints: an address that lets a browser, or a program, in at a running gateway.

The rule: it signs with the configured key, which the gateway knows, too; nothing is asked or told. The address is a
credential, so it goes to standard output alone. It must not know how a command line is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from proxy.chance import nonce, secret_key
from proxy.client_address.networks import Address, AddressError, parse_address
from proxy.clock import SystemClock
from proxy.commands.usage import UsageProblem
from proxy.config.settings import Settings
from proxy.config.values import ValueProblem, parse_duration
from proxy.identity.tokens import (
    MAX_SECONDS,
    MAX_SESSION_SECONDS,
    URL_SECONDS,
    TokenKind,
    TokenSigner,
    authorized_url,
)
from proxy.wire.credentials import TOKEN_PARAMETER

PROGRAM_SECONDS: Final = 43_200
"""What a program's token is good for where nobody says otherwise."""
TOKENS_KEY: Final = 'tokens: {key: "${NBGATE_TOKEN_KEY}"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlOptions:
    """What was asked for, as it was typed. `lab` None: no page in particular; `token`: for a program."""

    lab: str | None
    token: bool
    expires: str | None
    session: str
    user: str
    ip: str | None


def run(settings: Settings, file: Path, instance: str, options: UrlOptions) -> str:
    """The address. `file` is what `settings` were read from. Raises UsageProblem."""
    token, signed_by = options.token, settings.tokens
    if not signed_by.keys:
        raise UsageProblem(
            f"{file} has no tokens.key, so each gateway draws one that only its own process knows. "
            f"Write {TOKENS_KEY}, with the same key there and here."
        )
    try:
        usual, most = (PROGRAM_SECONDS, MAX_SECONDS) if token else (URL_SECONDS, MAX_SESSION_SECONDS)
        seconds = int(parse_duration(options.expires, at_least=1, at_most=most)) if options.expires else usual
        session_seconds = int(parse_duration(options.session, at_least=60, at_most=MAX_SESSION_SECONDS))
        address = parse_address(options.ip) if options.ip else None
    except (AddressError, ValueProblem) as error:
        raise UsageProblem(f"{error} ({error.hint})") from error
    if not token and seconds > URL_SECONDS and (address is None or not signed_by.bind_address):
        raise UsageProblem(
            "A link that is good for more than 5m has to be bound to an address, for it is good once only until the "
            "gateway restarts. Write bind_address: true under tokens, which the gateway has to know, too, and give "
            "--ip."
        )
    tokens = TokenSigner(
        signed_by.keys,
        own_key=secret_key(),
        clock=SystemClock(),
        nonce=nonce,
        bind_address=signed_by.bind_address,
    )
    try:
        if token:
            return programs_url(
                settings, instance, tokens=tokens, principal=options.user, address=address, seconds=seconds
            )
        return browsers_url(
            settings,
            instance,
            tokens=tokens,
            principal=options.user,
            address=address,
            seconds=seconds,
            session_seconds=session_seconds,
            lab=options.lab,
        )
    except ValueError as error:
        raise UsageProblem(f"{error}") from error


def browsers_url(
    settings: Settings,
    name: str,
    *,
    tokens: TokenSigner,
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
    settings: Settings,
    name: str,
    *,
    tokens: TokenSigner,
    principal: str,
    address: Address | None,
    seconds: int,
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
    tokens = TokenSigner(
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
