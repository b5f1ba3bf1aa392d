"""State-changing requests from browsers: only from our own pages, and only those that such a page offered.

Two checks, both needed for a form: where the request comes from (`Origin` and Fetch Metadata, which a page of another
site cannot forge), and a token that stands in the form and is bound to the caller's address, the instance, the notebook
that it leads to and the action, so that one that leaked is of no use elsewhere, and a page that still lies open never
stops another notebook than it showed. What is missing counts as foreign.
It must not know what the actions are.
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from multidict import MultiMapping

from proxy.admission.caller import Caller
from proxy.clock import Clock
from proxy.errors import OriginRefused
from proxy.wire.browsers import CALLS_THE_API, SENDS_A_FORM

TOKEN_SECONDS: Final = 12 * 3600
"""How long a page may lie open before its forms have to be fetched anew."""
_FOREIGN: Final = "This was not sent from a page of this gateway."


def require_same_origin(headers: MultiMapping[str], caller: Caller, *, browsers_only: bool = False) -> None:
    """Raise OriginRefused for a request that a page of another origin may have caused.

    `browsers_only`: a request without any of the fields that browsers send passes, as a program's own.
    """
    rule = CALLS_THE_API if browsers_only else SENDS_A_FORM
    if not rule.lets(headers, scheme=caller.scheme, authority=caller.authority):
        raise OriginRefused(_FOREIGN)


def form_key(secret: str) -> bytes:
    """The key of forms' tokens out of a secret that signs other things, too: neither tells anything of the other."""
    return hmac.digest(secret.encode("utf-8", "surrogatepass"), b"nbgate forms 2", "sha256")


class FormTokens:
    """Issues and verifies the tokens of forms: HMAC-SHA256 over what they are bound to and when they end.

    One for each process; `adopt` exchanges its keys. They come from the secrets that sign links, too: the first signs,
    all verify; where there are none, from `own_key`, which is drawn for this process.
    """

    def __init__(self, keys: Sequence[str], *, own_key: str, clock: Clock) -> None:
        self._own_key = own_key
        self._clock = clock
        self.adopt(keys)

    def adopt(self, keys: Sequence[str]) -> None:
        """Sign and verify with these from now on."""
        self._keys = tuple(form_key(secret) for secret in keys or (self._own_key,))

    def issue(self, *, address: str | None, instance: str, leads_to: str, action: str) -> str:
        """A token for one form, good for `TOKEN_SECONDS`, and while the instance `leads_to` that notebook."""
        ends_at = struct.pack(">Q", int(self._clock.now().timestamp()) + TOKEN_SECONDS)
        bound = _bound(ends_at, address, instance, leads_to, action)
        return urlsafe_b64encode(ends_at + _mark(self._keys[0], bound)).decode()

    def verify(self, token: str, *, address: str | None, instance: str, leads_to: str, action: str) -> None:
        """Raises OriginRefused for any token but one that was issued for exactly this, and is not too old."""
        try:
            raw = urlsafe_b64decode(token.encode("ascii"))
        except ValueError:
            raw = b""
        ends_at, mark = raw[:8], raw[8:]
        bound = _bound(ends_at, address, instance, leads_to, action)
        # Compared before anything in it is believed.
        is_ours = any(hmac.compare_digest(mark, _mark(key, bound)) for key in self._keys)
        if not is_ours or struct.unpack(">Q", ends_at)[0] <= self._clock.now().timestamp():
            raise OriginRefused("This form is too old, or was made for somebody else.")


def _bound(ends_at: bytes, address: str | None, instance: str, leads_to: str, action: str) -> bytes:
    # Lengths before texts: no two different bindings may be the same bytes.
    texts = (address or "", instance, leads_to, action)
    return b"".join(
        struct.pack(">I", len(part)) + part for part in (ends_at, *(one.encode() for one in texts))
    )


def _mark(key: bytes, bound: bytes) -> bytes:
    return hmac.new(key, b"nbgate form 2" + bound, sha256).digest()
