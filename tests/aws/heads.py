"""Heads of answers of a notebook host, for the tables of judgements: Jupyter's, and those that nothing marks."""

from __future__ import annotations

from proxy.wire.heads import ResponseFacts, read_response

TORNADO = "Server: TornadoServer/6.5.2"
POLICY = (
    "Content-Security-Policy: frame-ancestors 'self'; report-uri /api/security/csp-report; default-src 'none'"
)
XSRF = "Set-Cookie: _xsrf=2|1a|b; expires=Sun, 27 Dec 2026 00:00:00 GMT; Path=/"
USER = "set-cookie: username-127-0-0-1-8888=x; HttpOnly; Path=/"

JUPYTERS = {
    "all marks": (TORNADO, POLICY, XSRF),
    "Server": (TORNADO,),
    "policy": ("Server: front-end", POLICY),
    "policy under a base URL": ("content-security-policy: report-uri /nb/api/security/csp-report",),
    "xsrf": (XSRF,),
    "user": (USER,),
}
"""Fields of which each is enough, whatever else the front end hides."""
UNMARKED = {
    "nothing": (),
    "another server": ("Server: awselb/2.0", "X-Content-Type-Options: nosniff"),
    "another policy": ("Content-Security-Policy: frame-ancestors 'self'; report-uri /csp",),
    "another cookie": ("Set-Cookie: AWSALB=x; Path=/", "Set-Cookie: x_xsrf=1"),
}


def head(status: int, *lines: str, location: str = "", content_type: str = "") -> ResponseFacts:
    """A head as the data plane reads it."""
    fields = [*lines]
    if location:
        fields.append(f"Location: {location}")
    if content_type:
        fields.append(f"Content-Type: {content_type}")
    text = "\r\n".join([f"HTTP/1.1 {status} x", *fields, "", ""])
    facts = read_response(text.encode("latin-1"))
    assert facts is not None
    return facts
