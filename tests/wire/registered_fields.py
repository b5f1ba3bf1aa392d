"""Every field name that a notebook's response may carry, and how far it may go: the verdicts that the code must give.

The names are those of IANA's registry of HTTP field names (permanent, provisional, deprecated and obsoleted, as of
2026, requests' included, for a notebook can send any of them), those that browsers know besides (MDN's and
Blink's lists), and what web servers and load balancers take from their upstreams. Written down by hand, name by name,
and not derived from `proxy.wire.reach`.
"""

from __future__ import annotations


def _names(text: str) -> list[str]:
    return text.split()


PASSES = _names(
    """
A-IM Accept Accept-Additions Accept-Charset Accept-Datetime Accept-Encoding Accept-Features Accept-Language
Accept-Patch Accept-Post Accept-Query Accept-Ranges Accept-Signature Access-Control Access-Control-Allow-Credentials
Access-Control-Allow-Headers Access-Control-Allow-Methods Access-Control-Allow-Origin Access-Control-Expose-Headers
Access-Control-Max-Age Access-Control-Request-Headers Access-Control-Request-Method Activate-Storage-Access Age Allow
ALPN Alt-Used Alternates AMP-Cache-Transform Apply-To-Redirect-Ref Authentication-Info Authorization
Available-Dictionary C-Ext C-Man C-Opt C-PEP C-PEP-Info Cache-Control Cache-Groups Cache-Status Cal-Managed-ID
CalDAV-Timezones Capsule-Protocol CDN-Cache-Control CDN-Loop Cert-Not-After Cert-Not-Before Client-Cert
Client-Cert-Chain Close CMCD-Object CMCD-Request CMCD-Session CMCD-Status CMSD-Dynamic CMSD-Static
Concealed-Auth-Export Configuration-Context Content-Base Content-Digest Content-Disposition Content-ID
Content-Language Content-MD5 Content-Range Content-Script-Type Content-Security-Policy
Content-Security-Policy-Report-Only Content-Style-Type Content-Version Cookie Cookie2 Cross-Origin-Embedder-Policy
Cross-Origin-Embedder-Policy-Report-Only Cross-Origin-Opener-Policy Cross-Origin-Opener-Policy-Report-Only
Cross-Origin-Resource-Policy CTA-Common-Access-Token DASL Date DAV Default-Style Delta-Base Deprecation Depth
Derived-From Destination Detached-JWS Differential-ID Dictionary-ID Digest DPoP DPoP-Nonce Early-Data EDIINT-Features
ETag Expect Expires Ext Forwarded From GetProfile Hobareg Host If If-Match If-Modified-Since If-None-Match If-Range
If-Schedule-Tag-Match If-Unmodified-Since IM Incremental Isolation Label Last-Event-ID Last-Modified Link
Link-Template Lock-Token Man Max-Forwards Memento-Datetime Meter Method-Check Method-Check-Expires MIME-Version
Negotiate OData-EntityId OData-Isolation OData-MaxVersion OData-Version Opt Optional-WWW-Authenticate Ordering-Type
Origin OSCORE OSLC-Core-Version Overwrite P3P PEP PEP-Info Permissions-Policy PICS-Label Ping-From Ping-To Position
Pragma Prefer Preference-Applied Priority ProfileObject Protocol Protocol-Info Protocol-Query Protocol-Request
Proxy-Status Public Range Redirect-Ref Referer Referer-Root Referrer-Policy Refresh Repeatability-Client-ID
Repeatability-First-Sent Repeatability-Request-ID Repeatability-Result Replay-Nonce Reporting-Endpoints Repr-Digest
Retry-After Safe Schedule-Reply Schedule-Tag Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-Storage-Access
Sec-Fetch-User Sec-GPC Sec-Purpose Sec-Token-Binding Sec-WebSocket-Accept Sec-WebSocket-Extensions Sec-WebSocket-Key
Sec-WebSocket-Protocol Sec-WebSocket-Version Security-Scheme Server-Timing Set-Txn SetProfile Signature
Signature-Input SLUG SoapAction Status-URI Sunset Surrogate-Capability Surrogate-Control TCN Timeout
Timing-Allow-Origin Topic Traceparent Tracestate TTL Unencoded-Digest Urgency URI User-Agent Variant-Vary Vary Via
Want-Content-Digest Want-Digest Want-Repr-Digest Want-Unencoded-Digest Warning WWW-Authenticate X-Content-Type-Options
X-Frame-Options

Access-Control-Allow-External Access-Control-Allow-Private-Network Ad-Auction-Additional-Bid Ad-Auction-Allowed
Ad-Auction-Result Ad-Auction-Signals Allow-CSP-From Allow-Fenced-Frame-Automatic-Beacons
Attribution-Reporting-Eligible Attribution-Reporting-Support Content-DPR Delegate-CH Document-Isolation-Policy
Document-Policy Document-Policy-Report-Only Downlink DPR ECT Feature-Policy Feature-Policy-Report-Only Idempotency-Key
Integrity-Policy Integrity-Policy-Report-Only No-Vary-Search Onion-Location Permissions-Policy-Report-Only
Require-Document-Policy Resource-Freshness Save-Data Sec-Secure-Session-Id Secure-Session-Response
Secure-Session-Skipped Service-Worker Service-Worker-Navigation-Preload Snapshot-Content-Location SourceMap
Speculation-Rules Supports-Loading-Mode Tk Upgrade-Insecure-Requests Viewport-Width Width X-Accel-Buffering
X-Accel-Charset X-Accel-Expires X-Accel-Limit-Rate X-Allow-FLEDGE X-DNS-Prefetch-Control X-Download-Options
X-Forwarded-For X-Powered-By X-Robots-Tag X-SourceMap X-UA-Compatible X-XSS-Protection X-LIGHTTPD-KBytes-per-second
Edge-Control Surrogate-Key Cache-Tag

Content-Type Content-Encoding Server
"""
)
"""About the response, its document or its address alone (and whatever means nothing in a response)."""

OWN_ORIGIN = _names(
    """
Accept-CH Critical-CH
Origin-Agent-Cluster Origin-Isolation
Origin-Trial Critical-Origin-Trial
Set-Login IdP-SignIn-Status
Authentication-Control
Use-As-Dictionary
Cache-Group-Invalidation Content-Location
Shared-Storage-Write
"""
)
"""About all of the origin: for mounts alone that have one to themselves."""

NEVER = _names(
    """
Strict-Transport-Security Public-Key-Pins Public-Key-Pins-Report-Only Expect-CT
Alt-Svc Alternate-Protocol
NEL Report-To
Secure-Session-Registration Secure-Session-Challenge Sec-Session-Registration Sec-Session-Challenge
Set-Cookie2
X-Permitted-Cross-Domain-Policies
Observe-Browsing-Topics Attribution-Reporting-Info Attribution-Reporting-Register-Source
Attribution-Reporting-Register-Trigger Attribution-Reporting-Register-OS-Source
Attribution-Reporting-Register-OS-Trigger
Sec-Private-State-Token Sec-Private-State-Token-Lifetime
Include-Referred-Token-Binding-ID
Connection Keep-Alive TE Trailer Upgrade HTTP2-Settings Proxy-Connection
Proxy-Authenticate Proxy-Authentication-Info Proxy-Authorization Proxy-Features Proxy-Instruction
Proxy-Support Persistent-Auth
X-Accel-Redirect X-Sendfile X-Sendfile2 X-Sendfile-Temporary X-LIGHTTPD-send-file X-LIGHTTPD-send-tempfile
X-Reproxy-URL X-Reproxy-File X-LiteSpeed-Location X-LiteSpeed-Purge Fly-Replay Fly-Replay-Cache
X-Envoy-Immediate-Health-Check-Fail X-Envoy-Degraded
X-Request-Id
Content-Length Transfer-Encoding
"""
)
"""About the host, the browser, the connection or what stands in front; or said by the gateway in its own words."""

TRANSLATED = ["Set-Cookie", "Location", "Service-Worker-Allowed", "Clear-Site-Data"]
"""Cut to the mount; each has tests of its own."""

VALUES = [
    ("WWW-Authenticate", "Basic realm=x", True),
    ("WWW-Authenticate", "Digest realm=\"negotiate-x\", nonce=1", True),
    ("WWW-Authenticate", "Bearer", True),
    ("WWW-Authenticate", "Negotiate", False),
    ("WWW-Authenticate", "NTLM TlRMTVNTUAAC", False),
    ("WWW-Authenticate", "Basic realm=x, negotiate", False),
    ("WWW-Authenticate", "Basic realm=x,NTLM", False),
    ("Optional-WWW-Authenticate", "Kerberos", False),
    ("Link", "</static/a.js>; rel=preload; as=script", True),
    ("Link", "<https://x.example>; rel=preconnect", True),
    ("Link", "</sw.js>; rel=serviceworker; scope=/", False),
    ("Link", "</a>; rel=preload, </sw.js>; rel=\"ServiceWorker\"", False),
]  # fmt: skip
"""Fields whose value decides, and whether they pass."""
