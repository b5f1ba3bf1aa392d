"""Does a response from the notebook host look like "not signed in"? Decided from its head alone.

AWS documents none of what an expired session looks like, so each shape that was reported or is likely counts:

- a redirect to a sign-in host: nobody else sends a browser there;
- a redirect away from the host on `/api/*`: Jupyter's API never does that;
- 401 and 403 that do not come from Jupyter: its own (XSRF, origin, password) carry `Server:
TornadoServer/...`;
- 200 with HTML on `/api/*`, where Jupyter answers JSON: users' clients saw "Invalid response: 200 OK";
- 200 with HTML on a page of Jupyter's without its name, if its name came through when we signed in.

Never the status alone; and a shape is a suspicion, no proof. What runs under `/proxy/PORT/` answers without Tornado's
name, so that a 401 or 403 of its own looks like the front end's, and it may send browsers where it likes. So whether a
session is over is asked separately (`proxy.aws.notebook_api.honours`), of a path that only Jupyter answers. The data
plane asks this for every response: the common one is decided by two comparisons. Knows no sockets, no sessions.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from proxy.aws.hosts import SIGN_IN_HOSTS, foreign_host, is_sign_in
from proxy.aws.sessions import Origin

APPLICATIONS: Final = "/proxy/"
"""Below it runs what people start beside Jupyter (jupyter-server-proxy)."""
_API: Final = "/api/"
_PAGES: Final = ("/lab", "/tree", "/notebooks", "/edit", "/consoles", "/login")
_JUPYTER: Final = b"TornadoServer"


class Shape(Enum):
    """What makes a response look like one to somebody who is not signed in."""

    SIGN_IN = "a redirect to sign in"
    ELSEWHERE = "a redirect of the API's to another host"
    REFUSED = "401 or 403"
    PAGE = "a page in Jupyter's place"


def shape_of(
    *,
    status: int,
    target: str,
    origin: Origin,
    location: bytes = b"",
    content_type: bytes = b"",
    server: bytes = b"",
    jupyter_shows: bool = False,
    sign_in_hosts: frozenset[str] = SIGN_IN_HOSTS,
) -> Shape | None:
    """Judge a response of `origin` to a request for `target` (origin-form, from its first slash); None: it is clean.

    `location`, `content_type` and `server` are the fields' values as received, b"" where absent.
    `jupyter_shows` is the session's, `sign_in_hosts` is `NotebookHosts.sign_in_hosts`.
    """
    if status == 200:
        if is_jupyter(server) or not _is_html(content_type):
            return None
        is_jupyters = target.startswith(_API) or (jupyter_shows and _is_page(target))
        return Shape.PAGE if is_jupyters else None
    if status in {401, 403}:
        return None if is_jupyter(server) else Shape.REFUSED
    if not 300 <= status < 400 or not location:
        return None
    elsewhere = foreign_host(location, origin)
    if elsewhere is None:
        return None
    if is_sign_in(*elsewhere, sign_in_hosts):
        return Shape.SIGN_IN
    return Shape.ELSEWHERE if target.startswith(_API) and not is_jupyter(server) else None


def is_jupyter(server: bytes) -> bool:
    """Whether a `Server` field is that of Jupyter's HTTP server."""
    return server.startswith(_JUPYTER)


def _is_page(target: str) -> bool:
    path = target.partition("?")[0]
    return path == "/" or any(path == page or path.startswith(f"{page}/") for page in _PAGES)


def _is_html(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() in {b"text/html", b"application/xhtml+xml"}
