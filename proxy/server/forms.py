"""State-changing requests from browsers: only from our own pages, and only those that such a page offered.

Two checks, both needed for a form: where the request comes from (`Origin` and Fetch Metadata, which a page of another
site cannot forge), and a token that stands in the form and is bound to the caller's address, the instance and the
action, so that one that leaked is of no use elsewhere. What is missing counts as foreign.
It must not know what the actions are.
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

from multidict import MultiMapping

from proxy.clock import Clock
from proxy.errors import OriginRefused
from proxy.gateway import Caller
from proxy.routing.authority import same_origin

TOKEN_SECONDS: Final = 12 * 3600
"""How long a page may lie open before its forms have to be fetched anew."""
_FOREIGN: Final = "This was not sent from a page of this gateway."


def require_same_origin(headers: MultiMapping[str], caller: Caller, *, browsers_only: bool = False) -> None:
    """Raise OriginRefused for a request that a page of another origin may have caused.

    `browsers_only`: a request without any of the fields that browsers send passes, as a program's own.
    """
    origins = headers.getall("Origin", [])
    site = headers.get("Sec-Fetch-Site", "").strip().lower()
    mode = headers.get("Sec-Fetch-Mode", "").strip().lower()
    if not origins and not site and not mode and browsers_only:
        return
    # `no-cors` is what a foreign page can send without asking, whatever else the request says of itself.
    if mode == "no-cors" or (site and site != "same-origin") or (not origins and site != "same-origin"):
        raise OriginRefused(_FOREIGN)
    if len(origins) > 1 or (
        origins and not same_origin(origins[0], scheme=caller.scheme, authority=caller.authority)
    ):
        raise OriginRefused(_FOREIGN)


def form_key(secret: str) -> bytes:
    """The key of forms' tokens out of a secret that signs other things, too: neither tells anything of the other."""
    return hmac.digest(secret.encode("utf-8", "surrogatepass"), b"nbgate forms 1", "sha256")


class FormTokens:
    """Issues and verifies the tokens of forms: HMAC-SHA256 over what they are bound to and when they end."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self, *, address: str | None, instance: str, action: str) -> str:
        """A token for one form, good for `TOKEN_SECONDS`."""
        ends_at = struct.pack(">Q", int(self._clock.now().timestamp()) + TOKEN_SECONDS)
        return urlsafe_b64encode(ends_at + self._mark(ends_at, address, instance, action)).decode()

    def verify(self, token: str, *, address: str | None, instance: str, action: str) -> None:
        """Raises OriginRefused for any token but one that was issued for exactly this, and is not too old."""
        try:
            raw = urlsafe_b64decode(token.encode("ascii"))
        except ValueError:
            raw = b""
        ends_at, mark = raw[:8], raw[8:]
        # Compared before anything in it is believed.
        is_ours = hmac.compare_digest(mark, self._mark(ends_at, address, instance, action))
        if not is_ours or struct.unpack(">Q", ends_at)[0] <= self._clock.now().timestamp():
            raise OriginRefused("This form is too old, or was made for somebody else.")

    def _mark(self, ends_at: bytes, address: str | None, instance: str, action: str) -> bytes:
        # Lengths before texts: no two different bindings may be the same bytes.
        bound = b"".join(
            struct.pack(">I", len(part)) + part
            for part in (ends_at, (address or "").encode(), instance.encode(), action.encode())
        )
        return hmac.new(self._key, b"nbgate form 1" + bound, sha256).digest()
