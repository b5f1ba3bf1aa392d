"""The gateway's own credentials on their way in: found in a request, and taken out before it goes upstream.

    GET /lab?authToken=nbgate2_u…               a link, which a browser opens
    GET /api/kernels?token=nbgate2_a…           a program's token, where Jupyter's own would stand
    Authorization: token nbgate2_a…             the same; `Bearer`, too
    Sec-WebSocket-Protocol: v1.token…nbgate2_a… the same, from who can set no other field of a WebSocket's (JEP 119)
    Cookie: __Host-nbgate-session=nbgate2_s…    a session

The rule: what is the gateway's never travels to the notebook, and what is somebody else's (Jupyter's own token, another
scheme of authorization) passes byte for byte. `authToken` is always the gateway's: the notebook's front end knows a
parameter of that name, too, and must never meet a caller's. Nothing here knows whether a credential is good.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, unquote_plus

from proxy.wire.cookies import parse_cookie_pairs

LINK_PARAMETER: Final = "authToken"
"""As SageMaker's presigned URLs have it."""
TOKEN_PARAMETER: Final = "token"  # noqa: S105 - its name, as Jupyter's programs have it

_OURS: Final = re.compile(r"nbgate[0-9]+_")
_SUBPROTOCOL: Final = "v1.token.websocket.jupyter.org."
"""What a token follows among a WebSocket's subprotocols (Jupyter Enhancement Proposal 119)."""
_AUTHORIZATION: Final = re.compile(r"\s*(?:token|bearer)\s+(\S+)\s*", re.IGNORECASE)
_DECODED_AT_MOST: Final = 3
_TELLING: Final = re.compile(r"nbgate[0-9]+_|\bauthtoken=", re.IGNORECASE)
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")

FieldSequence = Sequence[tuple[bytes, bytes]]


def is_our_credential(text: str) -> bool:
    """Whether this is, or means to be, a credential of this gateway's, of whatever version."""
    return _OURS.match(text) is not None


class FoundCredentials(NamedTuple):
    """A request target without the gateway's credentials, and those."""

    target: str
    links: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()


def take_out(target: str) -> FoundCredentials:
    """Split a target (origin-form, raw) from what is the gateway's in its query; the rest stays byte for byte."""
    if "oken" not in target and "%" not in target:
        # Neither parameter, nor one that is spelled in another way.
        return FoundCredentials(target)
    path, _, query = target.partition("?")
    links: list[str] = []
    tokens: list[str] = []
    kept: list[str] = []
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        match unquote_plus(name):
            case "authToken":
                links.append(unquote_plus(value))
            case "token" if is_our_credential(token := unquote_plus(value)):
                tokens.append(token)
            case _:
                kept.append(parameter)
    if not links and not tokens:
        return FoundCredentials(target)
    return FoundCredentials(f"{path}?{'&'.join(kept)}" if kept else path, tuple(links), tuple(tokens))


def authorization(values: Iterable[str]) -> tuple[str, ...]:
    """The gateway's tokens among the values of `Authorization` (RFC 6750 section 2.1, and Jupyter's `token`).

    Where one is written in another way, the whole value stands for it: it is judged, and mostly refused, not passed on.
    """
    return tuple(
        match[1]
        if (match := _AUTHORIZATION.fullmatch(value)) is not None and is_our_credential(match[1])
        else value
        for value in values
        if _OURS.search(value) is not None
    )


def subprotocols(values: Iterable[str]) -> tuple[str, ...]:
    """The gateway's tokens among the values of `Sec-WebSocket-Protocol`."""
    offered = (_offered_token(one) for value in values for one in value.split(","))
    return tuple(token for token in offered if is_our_credential(token))


def _offered_token(subprotocol: str) -> str:
    """What is offered as a token in the place of a subprotocol; "" for nothing."""
    name = subprotocol.strip()
    return unquote(name[len(_SUBPROTOCOL) :]) if name.lower().startswith(_SUBPROTOCOL) else ""


def session_tokens(cookie_fields: Iterable[str], name: str) -> tuple[str, ...]:
    """The different values of all cookies of that name, of which a browser may send several: script can put as many
    in front of the good one as a head holds."""
    encoded = [field.encode("utf-8", "surrogateescape") for field in cookie_fields]
    wanted = name.encode("ascii")
    values = (value.decode("latin-1") for pair, value in parse_cookie_pairs(encoded) if pair == wanted)
    return tuple(dict.fromkeys(values))


def without_credentials(address: bytes) -> bytes:
    """The address of a page (`Referer`), absolute or from its path on, without what is the gateway's in it.

    What `take_out` does not find, in a path or encoded once too often, leaves the origin alone (b"/" of a path).
    """
    lower = address.lower()
    if b"oken" not in lower and b"nbgate" not in lower and b"%" not in lower:
        return address
    text = take_out(address.decode("latin-1")).target
    if not _tells(text):
        return text.encode("latin-1")
    origin = _ORIGIN.match(text)
    if origin is None:
        return b"/"
    return b"" if _tells(origin[0]) else f"{origin[0]}/".encode("latin-1")


def _tells(text: str) -> bool:
    """Whether a credential of ours stands in `text`, however often it was percent-encoded."""
    for _ in range(_DECODED_AT_MOST):
        if _TELLING.search(text):
            return True
        decoded = unquote_plus(text, "latin-1")
        if decoded == text:
            return False
        text = decoded
    # Nobody's address is encoded so often; what hides in it, nobody has looked at.
    return True


def token_request_fields(fields: FieldSequence, *, xsrf: str) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a request that a token let in, as the notebook is to see them.

    Jupyter asks whoever brings no token *of its own* for a double-submitted cookie, which a program has no reason to
    know. What that guards against, a browser that sends its user's credentials along for another site, cannot be:
    the token was put into this very request. So the pair is added where the program sends none, the cookie behind
    the program's own, for Tornado takes the last.
    """
    kept = [kept for name, value in fields if (kept := _without_token(name, value)) is not None]
    if not any(name.lower() == b"x-xsrftoken" for name, _ in kept):
        value = xsrf.encode("ascii")
        kept += [(b"Cookie", b"_xsrf=" + value), (b"X-XSRFToken", value)]
    return tuple(kept)


def _without_token(name: bytes, value: bytes) -> tuple[bytes, bytes] | None:
    """The field without a token of the gateway's; None where nothing is left of it."""
    match name.lower():
        case b"authorization" if authorization([value.decode("latin-1")]):
            return None
        case b"sec-websocket-protocol" if subprotocols([text := value.decode("latin-1")]):
            others = [one.strip() for one in text.split(",") if not subprotocols([one])]
            return (name, ", ".join(others).encode("latin-1")) if others else None
        case _:
            return name, value
