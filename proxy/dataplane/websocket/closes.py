"""Which close codes of the notebook's side a page is told as they are, and which not.

The rule: after 1000 and 1001 JupyterLab 4.6 and Notebook 7.6 never connect again (`@jupyterlab/services` 7.6: kernels
and terminals alike), so a page hears them only where they are Jupyter's, an application's or its own. All else passes
verbatim: other codes, a close without a code (1005) and an end without a close (1006), after all of which these pages
connect again by themselves.

Jupyter itself begins no close with a code: a kernel that is shut down closes nothing, a terminal that ends says
`["disconnect", 1]` and then, like a connection that is replaced or timed out, closes without one, and a server that
stops just ends (seen with jupyter_server 2.21, terminado 0.18, Tornado 6.5; jupyter-server-proxy 4 closes without a
code, whatever its application said). What it answers to a page's close is that page's own code. So a 1000 or 1001
that the page did not begin was put there by what stands in front: AWS's front end, which ends its session, is
exchanged, or turned a close without a code into one. Other handlers and applications may mean it, and keep their
word while the session that lets them through is good. It must not know sockets, frames or keepers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from proxy.wire.frames import GOING_AWAY, NORMAL_CLOSURE, SERVICE_RESTART

FOR_EVER: Final = frozenset({NORMAL_CLOSURE, GOING_AWAY})
"""Codes after which a page never connects again."""

_JUPYTERS: Final = re.compile(
    r"/api/kernels/[^/?]+/channels|/terminals/websocket/[^/?]+|/api/events/subscribe"
)
"""Paths of Jupyter's own WebSockets, whose closes are known; all others may be an application's."""


def code_for_page(code: int, *, target: str, page_closed: bool, session_is_over: Callable[[], bool]) -> int:
    """The close code for the page, where the notebook's side sends `code`, one of FOR_EVER.

    `target` is the handshake's, as the notebook saw it. `page_closed`: the page had sent its own close, which this
    one answers. `session_is_over` tells whether the upstream session that the handshake was made with has ended.
    """
    if page_closed:
        return code
    if _JUPYTERS.fullmatch(target.partition("?")[0]) or session_is_over():
        return SERVICE_RESTART
    return code
