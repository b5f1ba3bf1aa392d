"""What of an answer changes under a path mount, so that Jupyter at base URL `/` works below `/research/`.

The list is exact and was found by trial (JupyterLab 4, Notebook 7, the classic notebook, Voilà): links in the tags of
pages, the page's configuration, what the classic notebook tells RequireJS, JSON that names addresses for a page to use
as they are (logos of kernels, icons of applications, a person's picture), style sheets of themes, `Location`, the CSP's
report address. More would break: `appUrl` and its like are joined to `baseUrl` by the page, and so is the `request_url`
of jupyter-server-nbmodel. What users made (`/files/`, `/nbconvert/`) is not touched. All of it is linear in the input,
passes what it cannot read as it came, and never raises: pages are hostile too. `prefix` is `/research` throughout.
Knows no sockets and no mounts.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from proxy.errors import BadRequest
from proxy.routing.authority import DEFAULT_PORTS, Authority, parse_authority
from proxy.routing.json_texts import Each, JsonAddresses, JsonPlace
from proxy.routing.jupyters import is_jupyters_own
from proxy.routing.links import Rewriter, is_below, is_outside
from proxy.routing.markup import HtmlLinks
from proxy.routing.quoted import CONFIGURED, THEMED, QuotedAddresses

Rewriting = Literal["html", "jupyters html", "theme", "kernelspecs", "applications", "person"]

_CONFIG_FIELD: Final = re.compile(r"baseUrl|frontendUrl|full[A-Z]\w*Url", re.ASCII)
_USERS_OWN: Final = ("/files/", "/nbconvert/")
_THEMES: Final = re.compile(r"/(?:lab|voila)/api/themes/.+")
_JSON: Final[tuple[tuple[re.Pattern[str], Rewriting], ...]] = (
    (re.compile(r"/api/kernelspecs(?:/[^/]+)?/?"), "kernelspecs"),
    (re.compile(r"/api/me/?"), "person"),
    (re.compile(r"/server-proxy/servers-info"), "applications"),
)
_HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
# Tags are found as ASCII; in these encodings they would not be.
_WIDE_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?(?:utf-?(?:16|32)|ucs|iso-10646)", re.IGNORECASE)

_ETAG: Final = re.compile(rb'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_REPORT_URI: Final = re.compile(rb"((?:\A|[;,])\s*+report-uri\s)([^;,]*+)", re.IGNORECASE)
_ABSOLUTE_URL: Final = re.compile(r"(?:(https?):)?//([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL)


def needs_rewrite(*, target: str, content_type: str, status: int) -> Rewriting | None:
    """Tell what of this answer is rewritten under a path mount; None: it passes as it is.

    `target` is the upstream's, `content_type` the field's value. Below `/files/` and `/nbconvert/` only error
    pages are Jupyter's own. A part of a page (206) cannot be rewritten.
    """
    if status < 200 or status in (204, 206, 304):
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    path = target.partition("?")[0]
    if media_type in _HTML_TYPES:
        if _WIDE_CHARSET.search(content_type) or (status < 400 and path.startswith(_USERS_OWN)):
            return None
        return "jupyters html" if is_jupyters_own(target) else "html"
    if status != 200:
        return None
    if media_type == "text/css":
        return "theme" if _THEMES.fullmatch(path) else None
    return _json_at(path) if media_type == "application/json" else None


def is_of_interest(target: str) -> bool:
    """Whether what is there is rewritten although nobody who asks for it wants a page."""
    path = target.partition("?")[0]
    return _json_at(path) is not None or _THEMES.fullmatch(path) is not None


def _json_at(path: str) -> Rewriting | None:
    return next((kind for pattern, kind in _JSON if pattern.fullmatch(path)), None)


def rewriter(kind: Rewriting, prefix: str) -> Rewriter:
    """What rewrites an answer of that kind while it streams by."""
    match kind:
        case "html":
            return HtmlLinks(prefix, _config)
        case "jupyters html":
            return HtmlLinks(prefix, _config, CONFIGURED)
        case "theme":
            return QuotedAddresses(prefix, THEMED)
        case _:
            return JsonAddresses(prefix, _PLACES[kind])


def _config(name: str) -> JsonPlace | Literal["address"] | None:
    """The page's configuration, as Jupyter writes it."""
    return "address" if _CONFIG_FIELD.fullmatch(name) else None


def _kernelspecs(name: str) -> JsonPlace | Literal["address"] | None:
    """The answer of /api/kernelspecs, which holds all specs, and of /api/kernelspecs/NAME, which is one."""
    return (lambda _name: _spec) if name == "kernelspecs" else _spec(name)


def _spec(name: str) -> JsonPlace | Literal["address"] | None:
    """A kernel's: the addresses of its resources (`logo-64x64` …)."""
    return (lambda _name: "address") if name == "resources" else None


def _person(name: str) -> JsonPlace | None:
    """The answer of /api/me."""
    return (lambda name: "address" if name == "avatar_url" else None) if name == "identity" else None


def _applications(name: str) -> Each | None:
    """jupyter-server-proxy's list, for JupyterLab's launcher."""
    return Each(_application) if name == "server_processes" else None


def _application(name: str) -> JsonPlace | None:
    return (lambda name: "address" if name == "icon_url" else None) if name == "launcher_entry" else None


_PLACES: Final[dict[str, JsonPlace]] = {
    "kernelspecs": _kernelspecs,
    "applications": _applications,
    "person": _person,
}


def rewrite_location(
    value: str, *, prefix: str, upstream_origin: str, own_origin: str, is_followed: bool = True
) -> str:
    """Return `Location` (RFC 9110 section 10.2.2) as the caller must see it, on every kind of mount.

    Origins are `https://host[:port]`. An address on the notebook's host, in either scheme, becomes one of
    ours; a path gets the prefix once; other hosts and relative references stay, and so does a `next=`. Where no browser
    follows it (201, 202, 300), a script may join a path to the mount's own address: it is absolute then.
    """
    under = prefix.encode("ascii")
    absolute = _ABSOLUTE_URL.match(value)
    if absolute is None:
        if not is_outside(_as_bytes(value), under):
            return value
        return prefix + value if is_followed or not prefix else own_origin + prefix + value
    upstream_scheme, _, upstream_host = upstream_origin.partition("://")
    try:
        named, upstream = parse_authority(absolute[2]), parse_authority(upstream_host)
    except BadRequest:
        return value
    named_port = _unusual_port(named, (absolute[1] or upstream_scheme).lower())
    if named.host != upstream.host or named_port != _unusual_port(upstream, upstream_scheme):
        return value
    rest = absolute[3] if absolute[3].startswith("/") else f"/{absolute[3]}"
    return own_origin + (rest if is_below(_as_bytes(rest), under) else prefix + rest)


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _unusual_port(authority: Authority, scheme: str) -> int | None:
    return None if authority.port == DEFAULT_PORTS.get(scheme) else authority.port


def rewrite_csp(value: bytes, prefix: str) -> bytes:
    """Put `prefix` before the paths of `report-uri` in a Content-Security-Policy field."""
    under = prefix.encode("ascii")

    def directive(match: re.Match[bytes]) -> bytes:
        addresses = (
            under + address if is_outside(address, under) else address for address in match[2].split(b" ")
        )
        return match[1] + b" ".join(addresses)

    return _REPORT_URI.sub(directive, value)


def rewritten_etag(value: bytes) -> bytes:
    """Return the entity tag of a page that was rewritten, or b"" (send none) if the tag is malformed.

    `/tree` has the same tag every time: given on as it is, the notebook would answer 304 for a page that
    this gateway's next version may write otherwise. A tag that the notebook does not know prevents that.
    """
    tag = _ETAG.fullmatch(value.strip())
    return b'W/"%b-nbgate"' % tag[1] if tag else b""
