"""Which header fields may cross the gateway, as two tables: one towards the notebook, one towards the caller.

The rule: hop-by-hop fields (RFC 9110 section 7.6.1) end here, in both directions; fields by which a proxy tells
its upstream who is calling are only ever ours, so a caller's copies are removed whatever spelling they come
in (`X_Forwarded_For` and `X.Forwarded.For` reach a WSGI or CGI application under the same name). Everything
else passes byte for byte. This module knows names, not values, and nothing of sockets.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Rule(IntEnum):
    """What becomes of a field. 0 is the common case, so that a truth test finds the others."""

    PASS = 0
    DROP = 1
    HOST = 2
    COOKIE = 3
    ORIGIN = 4
    REFERER = 5
    CONNECTION = 6
    ACCEPT_ENCODING = 7
    SET_COOKIE = 8
    LOCATION = 9
    CONTENT_LENGTH = 10
    TRANSFER_ENCODING = 11
    CONTENT_TYPE = 12
    CONTENT_ENCODING = 13
    SERVER = 14
    UPGRADE = 15


_HOP_BY_HOP: Final = (
    b"connection",
    b"http2-settings",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
)

_TOLD_BY_PROXIES: Final = frozenset(
    {
        b"cf-connecting-ip",
        b"client-ip",
        b"fastly-client-ip",
        b"forwarded",
        b"front-end-https",
        b"proxy",  # httpoxy
        b"remote-user",
        b"true-client-ip",
        b"via",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-envoy-external-address",
        b"x-host",
        b"x-original-host",
        b"x-original-uri",
        b"x-original-url",
        b"x-real-ip",
        b"x-remote-addr",
        b"x-remote-ip",
        b"x-remote-user",
        b"x-request-id",
        b"x-rewrite-url",
        b"x-scheme",
        b"x-url-scheme",
    }
)
_TOLD_BY_PROXIES_PREFIXES: Final = (
    b"x-forwarded-",
    b"x-auth-request-",
    b"x-auth-user",
    b"x-authenticated-",
    b"x-envoy-",
    b"x-nbgate-",
    b"x-amzn-oidc-",
    b"x-goog-authenticated-user-",
    b"x-pomerium-",
    b"x-remote-",
    b"cf-access-",
    b"tailscale-user-",
)
_LOOK_ALIKES: Final = bytes.maketrans(b"_.", b"--")

_REQUEST_RULES: Final[dict[bytes, Rule]] = {
    **dict.fromkeys(_HOP_BY_HOP, Rule.DROP),
    b"connection": Rule.CONNECTION,
    b"host": Rule.HOST,
    b"cookie": Rule.COOKIE,
    b"origin": Rule.ORIGIN,
    b"referer": Rule.REFERER,
    b"accept-encoding": Rule.ACCEPT_ENCODING,
    # The framing of the body is stated anew by whoever builds the head.
    b"content-length": Rule.DROP,
    b"sec-websocket-key1": Rule.DROP,
}

_RESPONSE_RULES: Final[dict[bytes, Rule]] = {
    **dict.fromkeys(_HOP_BY_HOP, Rule.DROP),
    b"connection": Rule.CONNECTION,
    b"upgrade": Rule.UPGRADE,
    b"set-cookie": Rule.SET_COOKIE,
    b"location": Rule.LOCATION,
    b"content-length": Rule.CONTENT_LENGTH,
    b"transfer-encoding": Rule.TRANSFER_ENCODING,
    b"content-type": Rule.CONTENT_TYPE,
    b"content-encoding": Rule.CONTENT_ENCODING,
    b"server": Rule.SERVER,
    b"x-request-id": Rule.DROP,
    # An upstream that advertises another host would lead callers around the gateway, and one that is a
    # notebook's user must not command the web server that may stand in front of the gateway.
    b"alt-svc": Rule.DROP,
    b"x-accel-redirect": Rule.DROP,
    b"x-sendfile": Rule.DROP,
}

_MEMO_LIMIT: Final = 1024


def told_by_proxies(name: bytes) -> bool:
    """Whether `name` (lower case), in any look-alike spelling, is a field that only proxies may set."""
    canonical = name.translate(_LOOK_ALIKES)
    return canonical in _TOLD_BY_PROXIES or canonical.startswith(_TOLD_BY_PROXIES_PREFIXES)


class _RuleBook(dict[bytes, Rule]):
    """Rules by the name as it was spelled; a name not met before is looked up in lower case and remembered.

    Callers choose the names, so the memory of them is bounded: when full it starts again from nothing.
    """

    def __init__(self, rules: dict[bytes, Rule], *, is_request: bool) -> None:
        super().__init__()
        self._rules = rules
        self._is_request = is_request

    def __missing__(self, name: bytes) -> Rule:
        lower = name.lower()
        rule = self._rules.get(lower, Rule.PASS)
        if self._is_request and rule is Rule.PASS and told_by_proxies(lower):
            rule = Rule.DROP
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        self[name] = rule
        return rule


REQUEST_RULES: Final = _RuleBook(_REQUEST_RULES, is_request=True)
"""`REQUEST_RULES[name]`: the rule for a field on its way to the notebook."""

RESPONSE_RULES: Final = _RuleBook(_RESPONSE_RULES, is_request=False)
"""`RESPONSE_RULES[name]`: the rule for a field on its way to the caller."""

_PLAIN_OPTIONS: Final = frozenset({b"keep-alive", b"close", b"upgrade", b"te", b"http2-settings", b""})


def nominated(connection_values: list[bytes]) -> frozenset[bytes]:
    """The fields, in lower case, that `Connection` declares hop-by-hop (RFC 9110 section 7.6.1)."""
    names = {token.strip(b" \t").lower() for value in connection_values for token in value.split(b",")}
    return frozenset(names - _PLAIN_OPTIONS)


def has_token(value: bytes, token: bytes) -> bool:
    """Whether the comma-separated list `value` holds `token` (lower case), in any case."""
    return any(part.strip(b" \t").lower() == token for part in value.split(b","))
