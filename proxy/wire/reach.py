"""Response fields that act on more than the response that carries them, and how far they reach.

A notebook's pages are whatever its users made, and under most mounts other notebooks and the gateway's own pages live
at the same origin, host or connection. So each field that a response may carry was looked at (the IANA registry, and
what browsers and web servers know besides; `tests/wire/registered_fields.py` has them all): what is not in this table
is about the response, its document or its URL alone, and passes. The rule: a field that reaches no further than the
origin passes where the mount has the origin to itself; what reaches further never does. Two are cut to size instead:
`Service-Worker-Allowed` and `Clear-Site-Data`. This module is data, and knows no mounts.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple


class Reach(Enum):
    """How far a field acts."""

    ORIGIN = "origin"
    """All that has the same scheme, host and port."""
    HOST = "host"
    """All ports of the host, and mostly its subdomains or its whole registrable domain."""
    BROWSER = "browser"
    """What the browser keeps for itself, whatever the site."""
    CONNECTION = "connection"
    """The caller's connection, which is the gateway's, or the notebook's, which all callers share."""
    FRONT = "front"
    """The web server or load balancer that may stand in front of the gateway."""


class FarReaching(NamedTuple):
    """A row of the table."""

    reach: Reach
    why: str


_ORIGIN, _HOST, _BROWSER, _CONNECTION, _FRONT = Reach

FAR_REACHING: Final[dict[bytes, FarReaching]] = {
    name: FarReaching(reach, why)
    for reach, why, names in (
        (_ORIGIN, "lets a service worker answer for paths above its script", (b"service-worker-allowed",)),
        (_HOST, "deletes storage of the origin and cookies of the whole domain", (b"clear-site-data",)),
        (_HOST, "makes browsers refuse plain http, or certificates, for as long as it says",
         (b"strict-transport-security", b"public-key-pins", b"public-key-pins-report-only", b"expect-ct")),
        (_HOST, "has browsers ask another server in this one's place", (b"alt-svc", b"alternate-protocol")),
        (_HOST, "reports every later request, links with their tokens included, to whom it names",
         (b"nel", b"report-to")),
        (_HOST, "binds cookies of the site to a key, and holds its requests back while that is renewed",
         (b"secure-session-registration", b"secure-session-challenge", b"sec-session-registration",
          b"sec-session-challenge")),
        (_HOST, "sets cookies by rules that nothing here reads (RFC 2965)", (b"set-cookie2",)),
        (_HOST, "says for Flash and PDF readers whose policy files count", (b"x-permitted-cross-domain-policies",)),
        (_ORIGIN, "has browsers tell every page of the origin more of themselves", (b"accept-ch", b"critical-ch")),
        (_ORIGIN, "decides for all documents of the origin whether they share a process",
         (b"origin-agent-cluster", b"origin-isolation")),
        (_ORIGIN, "switches trial features on, some for all of the origin",
         (b"origin-trial", b"critical-origin-trial")),
        (_ORIGIN, "says that somebody is signed in there, or is not", (b"set-login", b"idp-signin-status")),
        (_ORIGIN, "steers how browsers sign in and out elsewhere (RFC 8053)", (b"authentication-control",)),
        (_ORIGIN, "becomes the dictionary for other addresses", (b"use-as-dictionary",)),
        (_ORIGIN, "makes other stored answers stale (RFC 9111 section 4.4, RFC 9875)",
         (b"cache-group-invalidation", b"content-location")),
        (_ORIGIN, "writes storage that the origin's other pages read", (b"shared-storage-write",)),
        (_BROWSER, "adds to what the browser knows of its user's interests and purchases",
         (b"observe-browsing-topics", b"attribution-reporting-register-source",
          b"attribution-reporting-register-trigger", b"attribution-reporting-register-os-source",
          b"attribution-reporting-register-os-trigger", b"attribution-reporting-info")),
        (_BROWSER, "issues tokens, of which the browser keeps few for each site",
         (b"sec-private-state-token", b"sec-private-state-token-lifetime")),
        (_CONNECTION, "is about one connection (RFC 9110 section 7.6.1)",
         (b"keep-alive", b"http2-settings", b"te", b"trailer", b"proxy-connection")),
        (_CONNECTION, "is between a client and its proxy",
         (b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"proxy-features",
          b"proxy-instruction")),
        (_CONNECTION, "signs in whole connections, which callers share (RFC 4559)",
         (b"proxy-support", b"persistent-auth")),
        (_CONNECTION, "has clients reveal what their connection to another server is known by (RFC 8473)",
         (b"include-referred-token-binding-id",)),
        (_FRONT, "has it send another file, or another server's answer",
         (b"x-accel-redirect", b"x-sendfile", b"x-sendfile2", b"x-sendfile-temporary", b"x-lighttpd-send-file",
          b"x-lighttpd-send-tempfile", b"x-reproxy-url", b"x-reproxy-file",
          b"x-litespeed-location", b"fly-replay", b"fly-replay-cache")),
        (_FRONT, "has it forget what it stored of other addresses", (b"x-litespeed-purge",)),
        (_FRONT, "has it take the gateway for ill or draining",
         (b"x-envoy-immediate-health-check-fail", b"x-envoy-degraded")),
        (_FRONT, "is the id of a request, which the gateway gives", (b"x-request-id",)),
    )
    for name in names
}  # fmt: skip
"""By name, in lower case."""


class FarReachingValue(NamedTuple):
    """A row of the second table: what the field says where it goes too far."""

    pattern: re.Pattern[bytes]
    reach: Reach
    why: str


_CONNECTION_SCHEMES: Final = FarReachingValue(
    re.compile(rb"(?:\A|[,\s])(?:negotiate|ntlm|kerberos)(?:\Z|[,\s])", re.IGNORECASE),
    _CONNECTION,
    "signs in whole connections, which callers share (RFC 4559)",
)

FAR_REACHING_VALUES: Final[dict[bytes, FarReachingValue]] = {
    b"www-authenticate": _CONNECTION_SCHEMES,
    b"optional-www-authenticate": _CONNECTION_SCHEMES,
    b"link": FarReachingValue(
        re.compile(rb"serviceworker", re.IGNORECASE),
        _ORIGIN,
        "installs a service worker, in browsers that still know it",
    ),
}
"""Fields that pass, but for a value in which the pattern is found: such a field goes no further, at any mount."""

_OF_ONE_ORIGIN: Final = frozenset(
    {
        b'"cache"',
        b'"storage"',
        b'"executionContexts"',
        b'"prefetchCache"',
        b'"prerenderCache"',
        b'"clientHints"',
    }
)


def clear_of_own_origin(value: bytes) -> bytes:
    """What is left of `Clear-Site-Data` for a mount that has its origin to itself; b"" for nothing.

    `"cookies"` reaches the whole registrable domain, and with it other mounts' sessions; `"*"` is all there is.
    """
    return b", ".join(kept for part in value.split(b",") if (kept := part.strip(b" \t")) in _OF_ONE_ORIGIN)
