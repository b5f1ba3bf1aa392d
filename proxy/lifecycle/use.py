"""Which requests are a person's, or a program's, doing, and which only say that a tab is open.

The rule: what changes something is use, unless it is known to be asked by itself, again and again; what only reads is
none, but for downloads and for pages that are opened. In doubt it is use: an instance that runs for too long costs
money, one that is stopped under somebody's hands costs work. Sources: the requests of JupyterLab 4, Notebook 6 and 7,
and jupyterlab-git, which SageMaker's notebook instances bring along.
"""

from __future__ import annotations

import re
from typing import Final

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_OPENED: Final = re.compile(
    r"/(?:lab(?:/(?:tree|workspaces|doc)(?:/.*)?)?|tree(?:/.*)?|(?:notebooks|edit|consoles|view|files|nbconvert)/.*)?"
)
"""Pages, documents and downloads. What such pages fetch by themselves is elsewhere: /api, /lab/api, /static."""

_GIT_POLLS: Final = frozenset(
    {
        "all_history",
        "branch",
        "changed_files",
        "fetch",
        "ignore",
        "show_prefix",
        "show_top_level",
        "stash",
        "status",
        "submodules",
        "tag_list",
        "tags",
    }
)
"""Last segments of what jupyterlab-git posts every few seconds while its tab is open."""


def is_use(method: str, target: str) -> bool:
    """Judge a request to Jupyter by its method and target (origin-form, without the mount's prefix)."""
    path = target.partition("?")[0]
    if method in _READING:
        return method == "GET" and _OPENED.fullmatch(path) is not None
    if path.startswith("/git/"):
        return path.rpartition("/")[2] not in _GIT_POLLS
    return path != "/api/security/csp-report"
