"""Which header fields may cross the gateway, as two tables: one towards the notebook, one towards the caller.

The rule: hop-by-hop fields (RFC 9110 section 7.6.1) end here, in both directions; fields by which a proxy tells
its upstream who is calling are only ever ours, so a caller's copies are removed. They and the fields of framing
are removed in whatever spelling they come (`X_Forwarded_For`, `Content.Length`): CGI, WSGI and their like read all of
them under one name. Towards the caller, `proxy.wire.reach` says what goes no further than its mount. Everything else
passes byte for byte. This module knows names, not values, and nothing of sockets.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from proxy.memory import Memo
from proxy.wire.reach import FAR_REACHING, FAR_REACHING_VALUES, Reach


class Rule(IntEnum):
    """What becomes of a field. 0 is the common case, so that a truth test finds the others."""

    PASS = 0
    DROP = 1
    HOST = 2
    COOKIE = 3
    ORIGIN = 4
    REFERER = 5
    ADDRESS = 6
    """An address of the caller's, which may hold a credential of the gateway's."""
    CONNECTION = 7
    ACCEPT_ENCODING = 8
    CONTENT_LENGTH = 9
    TRANSFER_ENCODING = 10
    CONTENT_TYPE = 11
    CONTENT_ENCODING = 12
    SERVER = 13
    UPGRADE = 14
    BY_VALUE = 15
    """Passes or not, as `proxy.wire.reach.FAR_REACHING_VALUES` says of its value."""
    # From here on, what becomes of it depends on the mount.
    SET_COOKIE = 16
    LOCATION = 17
    OWN_ORIGIN = 18
    """Passes where the mount has its origin to itself."""
    WORKER_SCOPE = 19
    CLEAR_SITE_DATA = 20


FIRST_OF_MOUNTS: Final = Rule.SET_COOKIE
"""This rule, and all that are greater, depend on the mount."""

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
        b"ali-cdn-real-ip",
        b"cdn-src-ip",
        b"cf-ipcountry",
        b"cf-pseudo-ipv4",
        b"cf-visitor",
        b"client-cert",  # RFC 9440
        b"client-cert-chain",
        b"client-ip",
        b"concealed-auth-export",  # RFC 9729
        b"do-connecting-ip",
        b"fastly-client-ip",
        b"fly-client-ip",
        b"forwarded",
        b"forwarded-for",
        b"forwarded-for-ip",
        b"forwarded-host",
        b"forwarded-proto",
        b"front-end-https",
        b"http-client-ip",
        b"http-host",
        b"incap-client-ip",
        b"proxy",  # httpoxy
        b"script-name",
        b"ssl-offloaded",
        b"via",
        b"wl-proxy-client-ip",
        b"x-accel-mapping",  # with x-sendfile-type: which files a proxy sends in the application's place
        b"x-anonymous-consumer",
        b"x-appengine-user-ip",
        b"x-azure-clientip",
        b"x-azure-socketip",
        b"x-backend-host",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-coming-from",
        b"x-forwarded",
        b"x-host",
        b"x-host-override",
        b"x-http-host-override",
        b"x-nf-client-connection-ip",
        b"x-proto",
        b"x-proxyuser-ip",
        b"x-real-host",
        b"x-real-ip",
        b"x-real-port",
        b"x-request-id",
        b"x-scheme",
        b"x-script-name",
        b"x-sendfile-type",
        b"x-server-name",
        b"x-sucuri-clientip",
        b"x-true-client-ip",
        b"x-url-scheme",
    }
)
_TOLD_BY_PROXIES_PREFIXES: Final = (
    b"akamai-",
    b"cf-access-",
    b"cf-connecting-",
    b"cloudfront-viewer-",
    b"oidc-",
    b"remote-",
    b"ssl-client-",
    b"tailscale-",
    b"true-client-",
    b"x-amzn-ava-",
    b"x-amzn-mtls-",
    b"x-amzn-oidc-",
    b"x-arr-",
    b"x-auth-request-",
    b"x-auth-user",
    b"x-authenticated-",
    b"x-authentik-",
    b"x-client-cert",
    b"x-client-dn",
    b"x-client-verify",
    b"x-consumer-",
    b"x-credential-",
    b"x-envoy-",
    b"x-forwarded-",
    b"x-goog-authenticated-user-",
    b"x-goog-iap-",
    b"x-ms-client-principal",
    b"x-nbgate-",
    b"x-original-",
    b"x-pomerium-",
    b"x-remote-",
    b"x-rewrite-",
    b"x-ssl-",
    b"x-vercel-",
    b"x-vouch-",
    b"x-webauth-",
)
# All that a name may hold besides letters and digits (RFC 9110 section 5.6.2).
_SEPARATORS: Final = b"!#$%&'*+-.^_`|~"
_LOOK_ALIKES: Final = bytes.maketrans(_SEPARATORS, b"-" * len(_SEPARATORS))

_REQUEST_RULES: Final[dict[bytes, Rule]] = {
    **dict.fromkeys(_HOP_BY_HOP, Rule.DROP),
    b"connection": Rule.CONNECTION,
    b"host": Rule.HOST,
    b"cookie": Rule.COOKIE,
    b"origin": Rule.ORIGIN,
    b"referer": Rule.REFERER,
    b"ping-from": Rule.ADDRESS,
    b"ping-to": Rule.ADDRESS,
    b"accept-encoding": Rule.ACCEPT_ENCODING,
    # The framing of the body is stated anew by whoever builds the head.
    b"content-length": Rule.DROP,
    b"sec-websocket-key1": Rule.DROP,
}

_RESPONSE_RULES: Final[dict[bytes, Rule]] = {
    **{
        name: Rule.OWN_ORIGIN if row.reach is Reach.ORIGIN else Rule.DROP
        for name, row in FAR_REACHING.items()
    },
    **dict.fromkeys(FAR_REACHING_VALUES, Rule.BY_VALUE),
    b"service-worker-allowed": Rule.WORKER_SCOPE,
    b"clear-site-data": Rule.CLEAR_SITE_DATA,
    b"connection": Rule.CONNECTION,
    b"upgrade": Rule.UPGRADE,
    b"set-cookie": Rule.SET_COOKIE,
    b"location": Rule.LOCATION,
    b"content-length": Rule.CONTENT_LENGTH,
    b"transfer-encoding": Rule.TRANSFER_ENCODING,
    b"content-type": Rule.CONTENT_TYPE,
    b"content-encoding": Rule.CONTENT_ENCODING,
    b"server": Rule.SERVER,
}

_NAMES_REMEMBERED: Final = 1024
_NAME_BYTES_REMEMBERED: Final = 64


def only_proxies_may_set(name: bytes) -> bool:
    """Whether `name` (lower case), in any look-alike spelling, is a field that only proxies may set."""
    canonical = name.translate(_LOOK_ALIKES)
    return canonical in _TOLD_BY_PROXIES or canonical.startswith(_TOLD_BY_PROXIES_PREFIXES)


def looks_like_another(name: bytes) -> bool:
    """Whether `name` (lower case) is another spelling of a field that has a rule of its own in a request, such as
    `transfer_encoding`."""
    canonical = name.translate(_LOOK_ALIKES)
    return canonical != name and canonical in _REQUEST_RULES


# Of credentials. Two carry one all the same: an address, and a WebSocket's subprotocols (JEP 119).
_SECRET_NAMES: Final = re.compile(
    rb"auth|cookie|csrf|key|oidc|password|referer|secret|session|token|websocket-protocol|xsrf"
)


def may_be_secret(name: bytes) -> bool:
    """Whether a field of this name (lower case) may hold a credential: no memory of several connections keeps it."""
    return _SECRET_NAMES.search(name) is not None


class _RuleBook(Memo[bytes, Rule]):
    """Rules by the name as it was spelled; a name not met before is looked up in lower case and remembered."""

    def __init__(self, rules: dict[bytes, Rule], *, is_request: bool) -> None:
        super().__init__(_NAMES_REMEMBERED)
        self._rules = rules
        self._is_request = is_request

    def __missing__(self, name: bytes) -> Rule:
        lower = name.lower()
        rule = self._rules.get(lower, Rule.PASS)
        if (
            self._is_request
            and rule is Rule.PASS
            and (only_proxies_may_set(lower) or looks_like_another(lower))
        ):
            rule = Rule.DROP
        return self.keep(name, rule) if len(name) <= _NAME_BYTES_REMEMBERED else rule


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
