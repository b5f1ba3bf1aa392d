"""Tokens that the gateway gives out and takes back: links, sessions and programs' keys, signed and opaque.

    nbgate2_u.KEY.PAYLOAD.MAC      version and kind, the signing key's name, claims, HMAC-SHA256

The rule: there is one algorithm, and no field that could name another. Each kind has a key of its own, derived from the
configured one, so that a session's token never passes as a link. The MAC covers the text itself, so that no other
spelling of it passes, and it is compared in constant time before any claim is looked at. A token says who, where and
until when, and never what is allowed: the policy decides that, each time. "Where" is the gateway's name of an instance
and the notebook that it leads to, of which it holds a mark alone: whoever reads it learns no account and no role, and
what was made for one notebook does not open the next one of that name. It must not know HTTP or the configuration.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Final

from proxy.chance import Nonce
from proxy.client_address.networks import Address, read_address
from proxy.clock import Clock
from proxy.errors import TokenRefused
from proxy.memory import Memo
from proxy.wire.credentials import LINK_PARAMETER, is_our_credential

URL_SECONDS: Final = 300
"""What a link is valid for where nobody says otherwise; at AWS it is fixed. One that lasts longer is good for one
address alone: which links were used is known to this process, so after a restart it would be good once more."""
MAX_SESSION_SECONDS: Final = 43_200
"""SessionExpirationDurationInSeconds is at most this (API_CreatePresignedNotebookInstanceUrl)."""
MAX_SECONDS: Final = 366 * 86_400
MAX_CHARACTERS: Final = 3072
"""Of a whole token: browsers keep cookies of up to 4096 bytes, their names and attributes included."""
MAX_PRINCIPAL_BYTES: Final = 1024
MARK_BYTES: Final = 15
VERIFIED_REMEMBERED: Final = 4096
"""Tokens whose signature need not be computed again; forgotten all at once when there are more, or other keys."""
SKEW_SECONDS: Final = 60
"""How far the clock of the gateway that issued a token may be ahead of this one's."""

_VERSION: Final = "nbgate2_"
_SHAPE: Final = re.compile(
    r"nbgate2_(?P<kind>[a-z])\.(?P<key>[0-9a-f]{8})\.(?P<payload>[A-Za-z0-9_-]+)\.(?P<mac>[A-Za-z0-9_-]{43})",
    re.ASCII,
)


class TokenKind(Enum):
    """What a token is for; each has its own key."""

    URL = "u"
    """A link, which buys a session. Short-lived, and good once."""
    SESSION = "s"
    """What the browser's cookie holds."""
    API = "a"
    """A program's, sent with each request."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. Times are UNIX seconds; `ends_at` is the first at which it is over.

    `mark` stands for the notebook that the instance led to when it was issued. `address` is the only client address
    that it is good for, None for any. `session_seconds` is how long the session lasts that a link buys. `nonce` tells
    it from every other token.
    """

    kind: TokenKind
    instance: str
    _: KW_ONLY
    mark: str
    principal: str
    address: Address | None
    issued_at: int
    ends_at: int
    session_seconds: int
    nonce: str


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    by_kind: dict[TokenKind, bytes] = field(repr=False)
    marking: bytes = field(repr=False)
    marks: dict[str, str] = field(default_factory=dict, repr=False)
    """By notebook, those that were asked for: as many as there were in configurations since the key was adopted."""

    def mark(self, leads_to: str) -> str:
        """What stands for a notebook in a token. Without the key nobody can tell, or try out, for which."""
        mark = self.marks.get(leads_to)
        if mark is None:
            digest = hmac.digest(self.marking, leads_to.encode("utf-8"), "sha256")
            mark = self.marks[leads_to] = _encode(digest[:MARK_BYTES])
        return mark


class TokenSigner:
    """Issues and verifies. One for each process; `adopt` exchanges its keys.

    `keys` are secrets of at least 32 characters: the first signs, all verify. Where there are none, it is `own_key`,
    which is drawn for this process. `bind_address`: whether what is issued is good for the client address alone that
    it is issued to.
    """

    def __init__(
        self,
        keys: Sequence[str],
        *,
        own_key: str,
        clock: Clock,
        nonce: Nonce,
        bind_address: bool = False,
    ) -> None:
        self._own_key = own_key
        self._clock = clock
        self._nonce = nonce
        self._are_about = False
        self._listeners: list[Callable[[], None]] = []
        self.adopt(keys, bind_address=bind_address)

    def adopt(self, keys: Sequence[str], *, bind_address: bool) -> None:
        """Sign and verify with these from now on."""
        self._verified: Memo[tuple[TokenKind, str], tuple[Claims, _Key]] = Memo(VERIFIED_REMEMBERED)
        self._keys = tuple(_derive(secret) for secret in keys or (self._own_key,))
        self.bind_address = bind_address

    def when_about(self, tell: Callable[[], None]) -> None:
        """Call `tell` once there can be tokens: at the first that is issued, or now."""
        self._listeners.append(tell)
        if self._are_about:
            tell()

    def __repr__(self) -> str:
        return f"TokenSigner({len(self._keys)} keys)"

    def issue(
        self,
        kind: TokenKind,
        *,
        instance: str,
        leads_to: str,
        principal: str,
        address: Address | None,
        seconds: int,
        session_seconds: int = 0,
    ) -> str:
        """A token for one instance, good for `seconds` from now, and while the instance `leads_to` that notebook.

        A link (`TokenKind.URL`) says how many `session_seconds` its session lasts. `address` is ignored unless tokens
        are bound to addresses. Raises ValueError for what no token can say.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"a token cannot last {seconds} s")
        if kind is TokenKind.URL and not 0 < session_seconds <= MAX_SESSION_SECONDS:
            raise ValueError(f"a session cannot last {session_seconds} s")
        bound = str(address) if address is not None and self.bind_address else None
        if kind is TokenKind.URL and seconds > URL_SECONDS and bound is None:
            raise ValueError(f"a link that is good from anywhere cannot last longer than {URL_SECONDS} s")
        if (
            len(principal.encode("utf-8", "surrogatepass")) > MAX_PRINCIPAL_BYTES
            or not principal.isprintable()
        ):
            raise ValueError("that is no principal's name")
        now = int(self._clock.now().timestamp())
        key = self._keys[0]
        claims = [
            instance,
            key.mark(leads_to),
            principal,
            bound,
            now,
            now + seconds,
            session_seconds,
            self._nonce(),
        ]
        payload = _encode(json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode())
        signed = f"{_VERSION}{kind.value}.{key.name}.{payload}"
        if not self._are_about:
            self._are_about = True
            for tell in self._listeners:
                tell()
        return f"{signed}.{_mac(key, kind, signed)}"

    def verify(
        self, kind: TokenKind, text: str, *, instance: str, leads_to: str, address: Address | None
    ) -> Claims:
        """What `text` says, if it is a token of that kind, for that instance and notebook, from that address, now.

        Raises TokenRefused, whose `reason` is for the audit log.
        """
        # A session's is verified for each request. To find it here one has to have all of it: no time tells more.
        claims, key = self._verified.get((kind, text)) or self._authenticate(kind, text)
        now = self._clock.now().timestamp()
        if claims.instance != instance:
            raise TokenRefused(reason="for another instance", user=claims.principal)
        if claims.mark != key.mark(leads_to):
            raise TokenRefused(
                reason="for the notebook that the instance led to before", user=claims.principal
            )
        if now >= claims.ends_at:
            raise TokenRefused(reason="expired", user=claims.principal)
        if claims.issued_at - now > SKEW_SECONDS:
            raise TokenRefused(reason="issued in the future", user=claims.principal)
        if claims.address is not None and claims.address != address:
            raise TokenRefused(reason="from another address than it was issued to", user=claims.principal)
        return claims

    def _authenticate(self, kind: TokenKind, text: str) -> tuple[Claims, _Key]:
        """The claims of a token that one of the keys has signed, whatever they say, and that key."""
        shape = _shape(text)
        if shape["kind"] != kind.value:
            raise TokenRefused(reason="a token of another kind")
        key = next((key for key in self._keys if key.name == shape["key"]), None)
        if key is None:
            raise TokenRefused(reason="signed with a key that is not configured")
        signed, _, mac = text.rpartition(".")
        if not hmac.compare_digest(_mac(key, kind, signed), mac):
            raise TokenRefused(reason="the signature is wrong")
        found = _read(kind, shape["payload"]), key
        return self._verified.keep((kind, text), found)


def authorized_url(mount_url: str, token: str) -> str:
    """A link that lets a browser in: `mount_url` with `authToken`, its own query kept (`view=lab`)."""
    mark = "&" if "?" in mount_url else "?"
    return f"{mount_url}{mark}{LINK_PARAMETER}={token}"


def _shape(text: str) -> re.Match[str]:
    if len(text) > MAX_CHARACTERS:
        raise TokenRefused(reason="too long to be a token")
    if is_our_credential(text) and not text.startswith(_VERSION):
        raise TokenRefused(reason="a token of another version")
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise TokenRefused(reason="malformed")
    return shape


def _derive(secret: str) -> _Key:
    """Keys for each purpose, of which none tells anything of another (as HKDF-Expand, RFC 5869 section 2.3)."""
    master = secret.encode("utf-8")

    def expand(purpose: str) -> bytes:
        return hmac.digest(master, f"nbgate token 2 {purpose}".encode() + b"\x01", "sha256")

    by_kind = {kind: expand(kind.name) for kind in TokenKind}
    return _Key(expand("name").hex()[:8], by_kind, expand("notebook"))


def _mac(key: _Key, kind: TokenKind, signed: str) -> str:
    return _encode(hmac.new(key.by_kind[kind], signed.encode("ascii"), sha256).digest())


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _read(kind: TokenKind, payload: str) -> Claims:
    """The claims of a token whose signature was verified: written by `issue`, so there is no other form."""
    instance, mark, principal, address, issued_at, ends_at, session_seconds, nonce = json.loads(
        urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    bound = None if address is None else read_address(address)
    return Claims(
        kind,
        instance,
        mark=mark,
        principal=principal,
        address=bound,
        issued_at=issued_at,
        ends_at=ends_at,
        session_seconds=session_seconds,
        nonce=nonce,
    )
