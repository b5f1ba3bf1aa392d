"""Does a response from the notebook host look like one that Jupyter has not given? Decided from its head alone.

AWS documents none of what its front end says by itself, so each shape that was reported or is likely counts:

- a redirect to a sign-in host: nobody else sends a browser there, and this is how it says "not signed in";
- a redirect away from the host on `/api/*`: Jupyter's API never does that;
- 401 and 403;
- HTML with any 2xx, for nobody has told which: the page that stands in Jupyter's place while that is starting, and
  whatever else it may show;
- 400, 404 and 5xx: of an instance that it does not reach.

A mark of Jupyter's (`proxy.aws.jupyter_marks`) clears all but the first. A shape is a suspicion, no proof: what runs
behind Jupyter answers without marks, and may send browsers where it likes. So what is the matter is asked separately
(`proxy.aws.notebook_api.honours`), of a path that only Jupyter answers; `proxy.aws.front_end` says what follows. The
data plane asks this for every response: the common one is decided by two comparisons. Knows no sockets, no sessions.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from proxy.aws.hosts import SIGN_IN_HOSTS, foreign_host, is_sign_in
from proxy.aws.jupyter_marks import JudgedHead, is_from_jupyter, is_html
from proxy.routing.jupyters import is_jupyters_own
from proxy.upstream import Origin

_API: Final = "/api/"
_DOCUMENTS: Final = frozenset(
    {"custom", "files", "kernelspecs", "nbconvert", "nbextensions", "view", "voila"}
)
"""First segments below which Jupyter itself serves what users made, or put in."""
_ABSENT: Final = frozenset({400, 502, 503, 504})
"""What proxies say of a server that they do not reach, or do not know."""


class Shape(Enum):
    """What makes a response look like one of the front end's own."""

    SIGN_IN = "a redirect to sign in"
    ELSEWHERE = "a redirect of the API's to another host"
    REFUSED = "401 or 403"
    PAGE = "a page in Jupyter's place"
    FAULT = "400, 404 or 5xx"


def shape_of(
    head: JudgedHead,
    *,
    target: str,
    origin: Origin,
    is_up: bool = False,
    sign_in_hosts: frozenset[str] = SIGN_IN_HOSTS,
) -> Shape | None:
    """Judge a response of `origin` to a request for `target` (origin-form, from its first slash); None: it is clean.

    `is_up`: Jupyter answered a moment ago, so that a page of what runs behind it needs no second look.
    `sign_in_hosts` is `NotebookHosts.sign_in_hosts`.
    """
    status = head.status
    if status < 300:
        if not is_html(head.content_type) or (is_up and not _is_jupyters_place(target)):
            return None
        return None if is_from_jupyter(head) else Shape.PAGE
    if status in {401, 403}:
        return None if is_from_jupyter(head) else Shape.REFUSED
    if status >= 400:
        is_fault = status in _ABSENT or ((status == 404 or status >= 500) and _is_jupyters_place(target))
        return Shape.FAULT if is_fault and not is_from_jupyter(head) else None
    if not head.location:
        return None
    elsewhere = foreign_host(head.location, origin)
    if elsewhere is None:
        return None
    if is_sign_in(*elsewhere, sign_in_hosts):
        return Shape.SIGN_IN
    return Shape.ELSEWHERE if target.startswith(_API) and not is_from_jupyter(head) else None


def _is_jupyters_place(target: str) -> bool:
    return is_jupyters_own(target) or target.partition("?")[0][1:].partition("/")[0] in _DOCUMENTS
