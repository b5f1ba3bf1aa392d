"""What of an answer changes under a path mount, so that Jupyter at base URL `/` works below `/research/`.

The list is exact and was found by trial (JupyterLab 4, Notebook 7): links in the tags of Jupyter's own
pages, the page's configuration, kernel logos, `Location`, the CSP's report address. More would break:
`appUrl` and its like are joined to `baseUrl` by the page. What users made (`/files/`, `/nbconvert/`) is not
touched, nor scripts and text. All of it is linear in the input, returns what it cannot read as it came, and
never raises: pages are hostile too. `prefix` is `/research` throughout. Knows no sockets and no mounts.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal

from proxy.errors import BadRequest
from proxy.routing.authority import DEFAULT_PORTS, Authority, parse_authority

Rewriting = Literal["html", "kernelspecs"]

_LINKS: Final = frozenset({b"src", b"href", b"action"})
_CONFIG_ID: Final = b"jupyter-config-data"
_CONFIG_FIELD: Final = re.compile(r"baseUrl|frontendUrl|full[A-Z]\w*Url", re.ASCII)
_USERS_OWN: Final = ("/files/", "/nbconvert/")
_KERNELSPECS: Final = re.compile(r"/api/kernelspecs(?:/[^/]+)?/?")
_HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
# Tags are found as ASCII; in these encodings they would not be.
_WIDE_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?(?:utf-?(?:16|32)|ucs|iso-10646)", re.IGNORECASE)

# WHATWG HTML section 13.2.5, as far as it takes to tell tags from text. Possessive: no input can backtrack.
_TAG_NAME: Final = re.compile(rb"[a-zA-Z][^\s/>]*+")
_ATTRIBUTE: Final = re.compile(rb"[\s/]*+([^\s/>][^\s/>=]*+)(\s*+=\s*+)?")
_UNQUOTED: Final = re.compile(rb"[^\s>]++")
_TEXT_ONLY: Final = frozenset(
    {b"script", b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes", b"plaintext"}
)
_END_OF_TEXT: Final = {name: re.compile(rb"</" + name + rb"(?=[\s/>])", re.IGNORECASE) for name in _TEXT_ONLY}

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
        return "html"
    if media_type == "application/json" and status == 200 and _KERNELSPECS.fullmatch(path):
        return "kernelspecs"
    return None


def rewrite_html(body: bytes, prefix: str) -> bytes:
    """Put `prefix` before the links of a page's tags, and into its Jupyter configuration.

    Links are the values of `src`, `href` and `action` that begin with one `/` and are not below the prefix
    yet; of the classic notebook's `<body>` also `data-base-url`. Returns the same object if there are none.
    """
    under = prefix.encode("ascii")
    pieces: list[bytes] = []
    copied = position = 0
    while (position := body.find(b"<", position)) >= 0:
        name = _TAG_NAME.match(body, position + 1)
        if name is None:
            position = _after_other_markup(body, position)
            continue
        tag = name[0].lower()
        is_config = False
        position = name.end()
        while found := _ATTRIBUTE.match(body, position):
            attribute = found[1].lower()
            start, end, position = _attribute_value(body, found)
            if attribute in _LINKS or (attribute == b"data-base-url" and tag == b"body"):
                if _is_outside(body[start:end], under):
                    pieces += (body[copied:start], under)
                    copied = start
            elif attribute == b"id" and tag == b"script":
                is_config = body[start:end] == _CONFIG_ID
        position = _after(body, b">", position)
        if tag in _TEXT_ONLY:
            start, position = position, _end_of_text(body, tag, position)
            if is_config:
                text = body[start:position]
                config = _rewrite_config(text, prefix)
                if config is not text:
                    pieces += (body[copied:start], config)
                    copied = position
    if not pieces:
        return body
    pieces.append(body[copied:])
    return b"".join(pieces)


def _after(body: bytes, mark: bytes, position: int) -> int:
    end = body.find(mark, position)
    return len(body) if end < 0 else end + len(mark)


def _after_other_markup(body: bytes, position: int) -> int:
    """Return where a comment, an end tag, a declaration or a lone `<` ends."""
    if body.startswith(b"<!--", position):
        return _after(body, b"-->", position + 2)
    if body.startswith((b"</", b"<!", b"<?"), position):
        return _after(body, b">", position)
    return position + 1


def _attribute_value(body: bytes, found: re.Match[bytes]) -> tuple[int, int, int]:
    """Return (start and end of the value, where the tag goes on)."""
    start = found.end()
    if found[2] is None:
        return start, start, start
    quote = body[start : start + 1]
    if quote in (b'"', b"'"):
        end = body.find(quote, start + 1)
        # A quote that nothing closes takes the rest of the page with it, in browsers too.
        return (len(body),) * 3 if end < 0 else (start + 1, end, end + 1)
    unquoted = _UNQUOTED.match(body, start)
    end = unquoted.end() if unquoted else start
    return start, end, end


def _end_of_text(body: bytes, tag: bytes, position: int) -> int:
    end = _END_OF_TEXT[tag].search(body, position)
    return len(body) if end is None or tag == b"plaintext" else end.start()


def _is_outside(link: bytes, under: bytes) -> bool:
    """Whether a link is absolute on its host and not below the prefix. Browsers take `/\\` for `//`."""
    return link.startswith(b"/") and link[1:2] not in (b"/", b"\\") and not _is_below(link, under)


def _is_below(link: bytes, under: bytes) -> bool:
    return link.startswith(under) and link[len(under) : len(under) + 1] in (b"", b"/", b"?", b"#")


def _rewrite_config(text: bytes, prefix: str) -> bytes:
    config = _parse(text)
    if not isinstance(config, dict):
        return text
    changes = {
        name: prefix + value
        for name, value in config.items()
        if _CONFIG_FIELD.fullmatch(name) and _is_outside(_as_bytes(value), prefix.encode("ascii"))
    }
    if not changes:
        return text
    written = _write(config | changes, text)
    # As Jinja's tojson does: nothing in a JSON text that stands in a script element may end it.
    for character in b"<>&'":
        written = written.replace(bytes([character]), b"\\u%04x" % character)
    return written


def rewrite_kernelspecs(body: bytes, prefix: str) -> bytes:
    """Put `prefix` before the addresses of kernels' resources (`logo-64x64` …), in a list or a single one."""
    answer = _parse(body)
    if not isinstance(answer, dict):
        return body
    listed = answer.get("kernelspecs")
    specs = [answer, *(listed.values() if isinstance(listed, dict) else ())]
    under = prefix.encode("ascii")
    for spec in specs:
        resources = spec.get("resources") if isinstance(spec, dict) else None
        if isinstance(resources, dict):
            for name, address in resources.items():
                if _is_outside(_as_bytes(address), under):
                    resources[name] = prefix + address
    return _write(answer, body)


def _as_bytes(value: object) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _write(value: Any, otherwise: bytes) -> bytes:
    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except ValueError:
        # A number too large for a float has become infinity, which JSON cannot say.
        return otherwise


def rewrite_location(value: str, *, prefix: str, upstream_origin: str, own_origin: str) -> str:
    """Return `Location` (RFC 9110 section 10.2.2) as the caller must see it, on every kind of mount.

    Origins are `https://host[:port]`. An address on the notebook's host, in either scheme, becomes one of
    ours; a path gets the prefix once; other hosts and relative references stay, and so does a `next=`.
    """
    under = prefix.encode("ascii")
    absolute = _ABSOLUTE_URL.match(value)
    if absolute is None:
        return prefix + value if _is_outside(_as_bytes(value), under) else value
    upstream_scheme, _, upstream_host = upstream_origin.partition("://")
    try:
        named, upstream = parse_authority(absolute[2]), parse_authority(upstream_host)
    except BadRequest:
        return value
    named_port = _unusual_port(named, (absolute[1] or upstream_scheme).lower())
    if named.host != upstream.host or named_port != _unusual_port(upstream, upstream_scheme):
        return value
    rest = absolute[3] if absolute[3].startswith("/") else f"/{absolute[3]}"
    return own_origin + (rest if _is_below(_as_bytes(rest), under) else prefix + rest)


def _unusual_port(authority: Authority, scheme: str) -> int | None:
    return None if authority.port == DEFAULT_PORTS.get(scheme) else authority.port


def rewrite_csp(value: bytes, prefix: str) -> bytes:
    """Put `prefix` before the paths of `report-uri` in a Content-Security-Policy field."""
    under = prefix.encode("ascii")

    def directive(match: re.Match[bytes]) -> bytes:
        addresses = (
            under + address if _is_outside(address, under) else address for address in match[2].split(b" ")
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
